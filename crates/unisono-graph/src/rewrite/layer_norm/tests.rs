use super::*;
use crate::ops::reduce::ReduceFunction;
use crate::rewrite::testing::*;
use crate::rewrite::{NoFolding, optimize};

fn mean(b: &mut Builder, x: ValueId, axes: &[i64], keepdims: bool) -> ValueId {
    let op = Reduce {
        function: ReduceFunction::Mean,
        axes: Some(axes.to_vec()),
        keepdims,
        noop_with_empty_axes: false,
    };
    b.op(op, &[x])
}

fn unary(b: &mut Builder, function: UnaryFunction, x: ValueId) -> ValueId {
    b.op(Unary { function }, &[x])
}

/// `sqrt(mean(d^2) + 1e-5)`
fn deviation(b: &mut Builder, d: ValueId, axes: &[i64]) -> ValueId {
    let two = b.number(2.0);
    let squares = b.pow(d, two);
    let variance = mean(b, squares, axes, true);
    let epsilon = b.number(1e-5);
    let sum = b.add(variance, epsilon);
    unary(b, UnaryFunction::Sqrt, sum)
}

/// The form of PyTorch's exporter before opset 17.
fn pytorch(b: &mut Builder, x: ValueId, axes: &[i64]) -> ValueId {
    let m = mean(b, x, axes, true);
    let d = b.sub(x, m);
    let s = deviation(b, d, axes);
    b.div(d, s)
}

fn affine(b: &mut Builder, x: ValueId) -> ValueId {
    let scale = b.floats(&[4], &[2.0; 4]);
    let bias = b.floats(&[4], &[3.0; 4]);
    let y = b.mul(x, scale);
    b.add(bias, y)
}

#[test]
fn the_exported_form_becomes_one_norm_with_its_parameters() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "t", "4"]);
    let y = pytorch(&mut b, x, &[-1]);
    let y = affine(&mut b, y);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(kinds(&g), ["LayerNormalization"]);
    let op = only::<LayerNormalization>(&g);
    assert_eq!((op.axis, op.epsilon), (2, 1e-5));
    let parameter = |i: usize| {
        let id = g.nodes()[0].inputs[i].unwrap();
        g.constant(id).unwrap().as_slice::<f32>().unwrap()[0]
    };
    assert_eq!((parameter(1), parameter(2)), (2.0, 3.0));
    assert_eq!(output_names(&g), ["out_0"]);
}

#[test]
fn a_norm_without_parameters_has_a_scale_of_ones() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "2", "3"]);
    let y = pytorch(&mut b, x, &[1, 2]);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    assert_eq!(kinds(&g), ["LayerNormalization"]);
    let scale = g.constant(g.nodes()[0].inputs[1].unwrap()).unwrap();
    assert_eq!(scale.shape(), [2, 3]);
    assert_eq!(scale.as_slice::<f32>().unwrap(), [1.0; 6]);
}

#[test]
fn reciprocals_and_products_are_the_same_norm() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "t", "4"]);
    let m = mean(&mut b, x, &[2], true);
    let d = b.sub(x, m);
    let squares = b.mul(d, d);
    let variance = mean(&mut b, squares, &[2], true);
    let epsilon = b.number(1e-6);
    let sum = b.add(epsilon, variance);
    let root = unary(&mut b, UnaryFunction::Sqrt, sum);
    let inverse = unary(&mut b, UnaryFunction::Reciprocal, root);
    let y = b.mul(d, inverse);
    let y = affine(&mut b, y);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    assert_eq!(kinds(&g), ["LayerNormalization"]);
}

#[test]
fn without_centring_it_is_an_rms_norm() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "t", "4"]);
    let s = deviation(&mut b, x, &[-1]);
    let y = b.div(x, s);
    let scale = b.floats(&[4], &[2.0; 4]);
    let y = b.mul(y, scale);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    assert_eq!(kinds(&g), ["RMSNormalization"]);
}

#[test]
fn what_only_looks_like_a_norm_stays() {
    type Form = fn(&mut Builder, ValueId) -> Vec<ValueId>;
    let rows: &[(&str, Form)] = &[
        ("means over the first axis", |b, x| {
            vec![pytorch(b, x, &[0])]
        }),
        ("different axes of the two means", |b, x| {
            let m = mean(b, x, &[1, 2], true);
            let d = b.sub(x, m);
            let s = deviation(b, d, &[2]);
            // The difference is read by others too, so that it is no RMS norm of it either.
            vec![b.div(d, s), d]
        }),
        ("a cube instead of a square", |b, x| {
            let three = b.number(3.0);
            let cubes = b.pow(x, three);
            let m = mean(b, cubes, &[2], true);
            let epsilon = b.number(1e-5);
            let sum = b.add(m, epsilon);
            let s = unary(b, UnaryFunction::Sqrt, sum);
            vec![b.div(x, s)]
        }),
        ("a large epsilon", |b, x| {
            let two = b.number(2.0);
            let squares = b.pow(x, two);
            let m = mean(b, squares, &[2], true);
            let epsilon = b.number(1.0);
            let sum = b.add(m, epsilon);
            let s = unary(b, UnaryFunction::Sqrt, sum);
            vec![b.div(x, s)]
        }),
        ("a variance that is an output", |b, x| {
            let two = b.number(2.0);
            let squares = b.pow(x, two);
            let m = mean(b, squares, &[2], true);
            let epsilon = b.number(1e-5);
            let sum = b.add(m, epsilon);
            let s = unary(b, UnaryFunction::Sqrt, sum);
            vec![b.div(x, s), m]
        }),
    ];
    let mut failures = Vec::new();
    for (name, form) in rows {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "t", "4"]);
        let outputs = form(&mut b, x);
        let mut g = b.finish(&outputs);
        let report = optimize(&mut g, &NoFolding);
        let is_layer_norm = kinds(&g).contains(&"LayerNormalization");
        let is_rms_of_difference = name.starts_with("different") && !is_layer_norm;
        if report.count("layer_norm") != 0 && !is_rms_of_difference {
            failures.push(format!("{name}: {:?}", kinds(&g)));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn parameters_that_vary_or_have_another_shape_stay_outside() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "t", "4"]);
    let y = pytorch(&mut b, x, &[-1]);
    let scale = b.input("scale", &["4"]);
    let y = b.mul(y, scale);
    let bias = b.floats(&[1], &[1.0]);
    let y = b.add(y, bias);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    assert_eq!(kinds(&g), ["LayerNormalization", "Mul", "Add"]);
}

/// The form of JAX and TensorFlow, with reshapes where reductions drop axes.
fn one_pass_form(b: &mut Builder, x: ValueId, count: f32, keepdims: bool) -> ValueId {
    let sum = |b: &mut Builder, x| {
        let op = Reduce {
            function: ReduceFunction::Sum,
            axes: Some(vec![-1]),
            keepdims,
            noop_with_empty_axes: false,
        };
        b.op(op, &[x])
    };
    let back = |b: &mut Builder, x| {
        if keepdims {
            return x;
        }
        let axes = Some(vec![2]);
        b.op(crate::ops::shape::Unsqueeze { axes }, &[x])
    };
    let factor = b.floats(&[1, 1], &[1.0 / count]);
    let total = sum(b, x);
    let m = b.mul(total, factor);
    let squares = b.mul(x, x);
    let total = sum(b, squares);
    let mean_square = b.mul(total, factor);
    let m2 = b.mul(m, m);
    let variance = b.sub(mean_square, m2);
    let variance = b.relu(variance);
    let variance = back(b, variance);
    let epsilon = b.floats(&[1, 1, 1], &[1e-6]);
    let sum = b.add(variance, epsilon);
    let root = unary(b, UnaryFunction::Sqrt, sum);
    let inverse = unary(b, UnaryFunction::Reciprocal, root);
    let scale = b.floats(&[1, 1, 4], &[2.0; 4]);
    let factor = b.mul(inverse, scale);
    let m = back(b, m);
    let d = b.sub(x, m);
    let y = b.mul(d, factor);
    let bias = b.floats(&[4], &[3.0; 4]);
    b.add(y, bias)
}

#[test]
fn the_form_of_one_pass_is_the_same_norm() {
    for keepdims in [false, true] {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "t", "4"]);
        let y = one_pass_form(&mut b, x, 4.0, keepdims);
        let mut g = b.finish(&[y]);
        let _ = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["LayerNormalization"], "keepdims {keepdims}");
        assert_eq!(only::<LayerNormalization>(&g).epsilon, 1e-6);
        let scale = g.constant(g.nodes()[0].inputs[1].unwrap()).unwrap();
        assert_eq!(scale.shape(), [4]);
    }
}

#[test]
fn a_sum_divided_by_another_count_is_no_mean() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "t", "4"]);
    let y = one_pass_form(&mut b, x, 5.0, true);
    let mut g = b.finish(&[y]);
    let report = optimize(&mut g, &NoFolding);
    assert_eq!(report.count("layer_norm"), 0);
}
