use super::*;
use crate::infer;
use crate::rewrite::testing::*;
use crate::rewrite::{NoFolding, optimize};

fn transposed(b: &mut Builder, x: ValueId, perm: &[usize]) -> ValueId {
    let perm = Some(perm.to_vec());
    b.op(Transpose { perm }, &[x])
}

fn reshaped(b: &mut Builder, x: ValueId, target: &[i64]) -> ValueId {
    let target = b.ints(target);
    b.op(Reshape { allow_zero: false }, &[x, target])
}

fn output_shape(g: &Graph) -> Vec<Dim> {
    let facts = infer::infer_partial(g, &infer::declared_inputs(g)).unwrap();
    let fact = facts[g.outputs()[0].index()].clone().unwrap();
    fact.shape.unwrap()
}

fn perms(g: &Graph) -> Vec<Vec<usize>> {
    let ops = g.nodes().iter();
    ops.filter_map(|n| n.op.downcast_ref::<Transpose>()?.perm.clone())
        .collect()
}

#[test]
fn a_chain_becomes_one_transpose_of_what_stays_together() {
    let mut b = Builder::new();
    let x = b.input("x", &["32", "n", "256"]);
    // Heads out of features, to the front with the batch, then batch and heads apart and positions in front of heads.
    let y = reshaped(&mut b, x, &[32, -1, 64]);
    let y = transposed(&mut b, y, &[1, 0, 2]);
    let y = reshaped(&mut b, y, &[-1, 4, 32, 64]);
    let y = transposed(&mut b, y, &[0, 2, 1, 3]);
    let mut g = b.finish(&[y]);
    let before = output_shape(&g);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(output_shape(&g), before);
    // All in all positions and batch changed places.
    assert_eq!(perms(&g), [vec![1, 0, 2]]);
    assert_eq!(output_names(&g), ["out_0"]);
}

#[test]
fn a_chain_that_cancels_becomes_a_reshape() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "4", "6"]);
    let y = transposed(&mut b, x, &[1, 2, 0]);
    let y = reshaped(&mut b, y, &[24, -1]);
    let y = transposed(&mut b, y, &[1, 0]);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(kinds(&g), ["Reshape"]);
}

#[test]
fn a_transpose_of_short_axes_is_a_reshape() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "1", "6"]);
    let y = transposed(&mut b, x, &[1, 0, 2]);
    let mut g = b.finish(&[y]);
    let _ = optimize(&mut g, &NoFolding);
    assert_eq!(kinds(&g), ["Reshape"]);
}

#[test]
fn a_product_moves_in_front_of_what_splits_its_columns() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "32", "8"]);
    let y = transposed(&mut b, x, &[1, 0, 2]);
    let w = b.floats(&[8, 6], &[1.0; 48]);
    let y = b.op(Linear::default(), &[y, w]);
    let y = reshaped(&mut b, y, &[32, -1, 3, 2]);
    let y = transposed(&mut b, y, &[2, 0, 1, 3]);
    let mut g = b.finish(&[y]);
    let before = output_shape(&g);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(output_shape(&g), before);
    assert_eq!(kinds(&g), ["MatMul", "Reshape", "Transpose"]);
    assert_eq!(g.nodes()[0].inputs[0], Some(x));
    // [n, 32, 3, 2] to [3, 32, n, 2].
    assert_eq!(perms(&g), [vec![2, 1, 0, 3]]);
}

#[test]
fn a_product_moves_behind_what_leaves_its_columns_alone() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "4", "32", "2"]);
    let y = transposed(&mut b, x, &[2, 0, 1, 3]);
    let y = reshaped(&mut b, y, &[-1, 8]);
    let w = b.floats(&[5, 8], &[1.0; 40]);
    let c = b.floats(&[5], &[1.0; 5]);
    let op = Linear {
        transpose_b: true,
        gemm: true,
        ..Linear::default()
    };
    let y = b.op(op, &[y, w, c]);
    let y = reshaped(&mut b, y, &[32, -1, 5]);
    let y = transposed(&mut b, y, &[1, 0, 2]);
    let mut g = b.finish(&[y]);
    let before = output_shape(&g);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(output_shape(&g), before);
    assert_eq!(kinds(&g), ["Transpose", "Reshape", "MatMul"]);
    // [n, 4, 32, 2] to [n, 32, 4, 2].
    assert_eq!(perms(&g), [vec![0, 2, 1, 3]]);
}

#[test]
fn products_of_one_transposed_value_each_move_in_front_of_it() {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "32", "8"]);
    let turned = transposed(&mut b, x, &[1, 0, 2]);
    let outputs = [0.0f32, 1.0].map(|weight| {
        let w = b.floats(&[8, 8], &[weight; 64]);
        let y = b.op(Linear::default(), &[turned, w]);
        let y = reshaped(&mut b, y, &[32, -1, 4]);
        transposed(&mut b, y, &[1, 0, 2])
    });
    let mut g = b.finish(&outputs);
    let before = output_shape(&g);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(output_shape(&g), before);
    // [n, 32, 2, 4] to [n, 2, 32, 4], twice, and none in front.
    assert_eq!(perms(&g), vec![vec![0, 2, 1, 3]; 2]);
    assert_eq!(kinds(&g).first(), Some(&"MatMul"));
}

#[test]
fn what_saves_no_transpose_or_is_read_elsewhere_stays() {
    type Form = fn(&mut Builder, ValueId) -> Vec<ValueId>;
    let rows: &[(&str, Form)] = &[
        ("one transpose between reshapes", |b, x| {
            let y = reshaped(b, x, &[-1, 8]);
            let y = transposed(b, y, &[1, 0]);
            vec![reshaped(b, y, &[2, 4, -1])]
        }),
        ("a middle that is an output", |b, x| {
            let y = transposed(b, x, &[1, 0, 2]);
            vec![reshaped(b, y, &[0, -1]), y]
        }),
        (
            "a product that splits nothing and a transpose of its columns",
            |b, x| {
                let y = transposed(b, x, &[0, 2, 1]);
                let w = b.floats(&[4, 3], &[1.0; 12]);
                let y = b.op(Linear::default(), &[y, w]);
                vec![transposed(b, y, &[0, 2, 1])]
            },
        ),
    ];
    let mut failures = Vec::new();
    for (name, form) in rows {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "4", "8"]);
        let outputs = form(&mut b, x);
        let mut g = b.finish(&outputs);
        if apply(&mut g) != 0 {
            failures.push(format!("{name}: {:?}", kinds(&g)));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// `transposes` says whether each part is transposed again.
fn parts(transposes: bool, extra_reader: bool) -> Graph {
    let mut b = Builder::new();
    let x = b.input("x", &["n", "32", "24"]);
    let y = reshaped(&mut b, x, &[0, 32, 3, 8]);
    let y = transposed(&mut b, y, &[2, 1, 0, 3]);
    let mut outputs = Vec::new();
    for i in 0..3i64 {
        let index = b.constant(Tensor::scalar(i));
        let part = b.op(Gather { axis: 0 }, &[y, index]);
        let part = reshaped(&mut b, part, &[32, -1, 4]);
        outputs.push(match transposes {
            true => transposed(&mut b, part, &[1, 0, 2]),
            false => part,
        });
    }
    if extra_reader {
        outputs.push(b.relu(y));
    }
    b.finish(&outputs)
}

#[test]
fn indices_are_taken_before_a_transpose_that_another_one_follows() {
    let mut g = parts(true, false);
    let before = output_shape(&g);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(output_shape(&g), before);
    // Out of [n, 32, 8] come two heads: [n, 32, 2, 4] to [n, 2, 32, 4].
    assert_eq!(perms(&g), vec![vec![0, 2, 1, 3]; 3]);
    let gathers = g.nodes().iter();
    let axes: Vec<i64> = gathers
        .filter_map(|n| Some(n.op.downcast_ref::<Gather>()?.axis))
        .collect();
    assert_eq!(axes, [2, 2, 2]);

    for (transposes, extra_reader) in [(false, false), (true, true)] {
        let mut g = parts(transposes, extra_reader);
        assert_eq!(apply(&mut g), 0, "{transposes} {extra_reader}");
    }
}

#[test]
fn keys_keep_their_rows_together_and_the_product_swaps_them() {
    let mut b = Builder::new();
    let q = b.input("q", &["n", "4", "t", "64"]);
    let k = b.input("k", &["n", "s", "256"]);
    let heads = reshaped(&mut b, k, &[0, -1, 4, 64]);
    let keys = transposed(&mut b, heads, &[0, 2, 3, 1]);
    let y = b.op(Linear::default(), &[q, keys]);
    let mut g = b.finish(&[y]);
    let before = output_shape(&g);
    let _ = optimize(&mut g, &NoFolding);
    g.check().unwrap();
    assert_eq!(output_shape(&g), before);
    assert_eq!(kinds(&g), ["Reshape", "Transpose", "MatMul"]);
    assert_eq!(perms(&g), [vec![0, 2, 1, 3]]);
    assert!(only::<Linear>(&g).transpose_b);
}
