//! Recognises layer norm and RMS norm where an exporter spelled them out.
//!
//! | before | after |
//! | --- | --- |
//! | `d / sqrt(mean(d^2) + e)` with `d = x - mean(x)`, means over the last axes | `LayerNormalization` with a scale of ones |
//! | `x / sqrt(mean(x^2) + e)` | `RMSNormalization` with a scale of ones |
//! | a norm with a scale of ones, times a constant | the norm with that scale |
//! | a layer norm without bias, plus a constant | the norm with that bias |
//!
//! Quotients may be products with a reciprocal or a power of -1/2, squares may be products or powers. Pays everywhere: nine
//! passes over memory become one. Values are rounded differently: the norm multiplies by one over the deviation and adds the
//! bias in the same step.
//!
//! Scale and bias must be constants of exactly the normalised shape: one that a request can change, or that stretches, would
//! not be the norm's parameter.

use super::edit::{self, Edit, Input};
use super::view::{View, input, operands};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::normalize::{LayerNormalization, RmsNormalization};
use crate::ops::reduce::{Reduce, ReduceFunction};
use crate::ops::unary::{Unary, UnaryFunction};
use crate::{Graph, Node, NodeId, ValueId};
use unisono_tensor::{DType, Tensor, bf16, f16};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| {
        core(view, node)
            .or_else(|| scaled(view, node))
            .or_else(|| biased(view, node))
    })
}

/// The quotient that centres and scales, or only scales.
fn core(view: &View<'_>, node: &Node) -> Option<Edit> {
    let function = node.op.downcast_ref::<Binary>()?.function;
    let [a, b] = operands(node)?;
    let mut absorbed = Vec::new();
    let (numerator, mean_square, epsilon) = match function {
        BinaryFunction::Div => {
            let inner = root(view, b, &mut absorbed)?;
            let (mean, epsilon) = plus_epsilon(view, inner, &mut absorbed)?;
            (a, mean, epsilon)
        }
        BinaryFunction::Mul => [(a, b), (b, a)].into_iter().find_map(|(x, factor)| {
            let mut tried = Vec::new();
            let inner = inverse_root(view, factor, &mut tried)?;
            let (mean, epsilon) = plus_epsilon(view, inner, &mut tried)?;
            absorbed = tried;
            Some((x, mean, epsilon))
        })?,
        _ => return None,
    };
    let rank = view.shape(numerator)?.len();
    let (id, squares, axes) = mean_over_last(view, mean_square, rank)?;
    absorbed.push(id);
    let reads = square_of(view, squares, numerator, &mut absorbed)?;
    let axis = i64::try_from(axes).ok()?;
    let normalised = view.shape(numerator)?.get(axes..)?;
    let lengths: Vec<usize> = normalised
        .iter()
        .map(|n| n.as_len())
        .collect::<Option<_>>()?;
    let dtype = view.fact(numerator)?.dtype;
    let scale = ones(dtype, &lengths)?;
    // Centred? Then all that reads the difference is the square and this quotient.
    if view.uses(numerator) == reads + 1
        && let Some((x, centring)) = centred(view, numerator, axes)
    {
        absorbed.extend(centring);
        let op = LayerNormalization {
            axis,
            epsilon,
            stash: DType::F32,
        };
        let inputs = vec![Some(x.into()), Some(Input::New(scale))];
        return Some(Edit::new(op, inputs, absorbed));
    }
    let op = RmsNormalization { axis, epsilon };
    let inputs = vec![Some(numerator.into()), Some(Input::New(scale))];
    Some(Edit::new(op, inputs, absorbed))
}

/// What a private square root is taken of.
fn root(view: &View<'_>, value: ValueId, absorbed: &mut Vec<NodeId>) -> Option<ValueId> {
    if let Some((id, node, unary)) = view.private::<Unary>(value)
        && unary.function == UnaryFunction::Sqrt
    {
        absorbed.push(id);
        return input(node, 0);
    }
    power(view, value, 0.5, absorbed)
}

/// What one over a private square root is taken of.
fn inverse_root(view: &View<'_>, value: ValueId, absorbed: &mut Vec<NodeId>) -> Option<ValueId> {
    if let Some((id, node, unary)) = view.private::<Unary>(value)
        && unary.function == UnaryFunction::Reciprocal
    {
        absorbed.push(id);
        return root(view, input(node, 0)?, absorbed);
    }
    if let Some((id, [one, divisor])) = view.private_binary(value, BinaryFunction::Div)
        && view.is_number(one, 1.0)
    {
        absorbed.push(id);
        return root(view, divisor, absorbed);
    }
    power(view, value, -0.5, absorbed)
}

fn power(
    view: &View<'_>,
    value: ValueId,
    exponent: f64,
    absorbed: &mut Vec<NodeId>,
) -> Option<ValueId> {
    let (id, [base, power]) = view.private_binary(value, BinaryFunction::Pow)?;
    if view.number(power) != Some(exponent) {
        return None;
    }
    absorbed.push(id);
    Some(base)
}

/// The operands of a private sum with a small positive number.
fn plus_epsilon(
    view: &View<'_>,
    value: ValueId,
    absorbed: &mut Vec<NodeId>,
) -> Option<(ValueId, f32)> {
    let (id, [a, b]) = view.private_binary(value, BinaryFunction::Add)?;
    let (mean, epsilon) = match (view.number(a), view.number(b)) {
        (None, Some(e)) => (a, e),
        (Some(e), None) => (b, e),
        _ => return None,
    };
    if !(0.0..=0.1).contains(&epsilon) {
        return None;
    }
    absorbed.push(id);
    Some((mean, epsilon as f32))
}

/// The input of a private mean that keeps its axes, and the first of these, if they are the last ones of so many.
fn mean_over_last(
    view: &View<'_>,
    value: ValueId,
    rank: usize,
) -> Option<(NodeId, ValueId, usize)> {
    let (id, node, reduce) = view.private::<Reduce>(value)?;
    if reduce.function != ReduceFunction::Mean || !reduce.keepdims {
        return None;
    }
    let listed = match input(node, 1) {
        None => None,
        Some(axes) => Some(view.constant(axes)?.to_i64s()?),
    };
    let axes = reduce.resolve_axes(rank, listed.as_deref()).ok()?;
    let first = *axes.first()?;
    axes.into_iter()
        .eq(first..rank)
        .then_some((id, input(node, 0)?, first))
}

/// How often a private square reads the value that it is of.
fn square_of(
    view: &View<'_>,
    value: ValueId,
    of: ValueId,
    absorbed: &mut Vec<NodeId>,
) -> Option<usize> {
    if let Some((id, [a, b])) = view.private_binary(value, BinaryFunction::Mul)
        && a == of
        && b == of
    {
        absorbed.push(id);
        return Some(2);
    }
    let (id, [base, exponent]) = view.private_binary(value, BinaryFunction::Pow)?;
    if base != of || view.number(exponent) != Some(2.0) {
        return None;
    }
    absorbed.push(id);
    Some(1)
}

/// `x` of a difference `x - mean(x)` over the axes from `first` on.
fn centred(view: &View<'_>, value: ValueId, first: usize) -> Option<(ValueId, Vec<NodeId>)> {
    let (id, node, op) = view.made_by::<Binary>(value)?;
    let [x, mean] = operands(node)?;
    if op.function != BinaryFunction::Sub {
        return None;
    }
    let rank = view.shape(value)?.len();
    let (mean_id, of, axis) = mean_over_last(view, mean, rank)?;
    (of == x && axis == first && view.shape(x)?.len() == rank).then_some((x, vec![id, mean_id]))
}

fn ones(dtype: DType, shape: &[usize]) -> Option<Tensor> {
    let count = unisono_tensor::element_count(shape)?;
    // Beyond this it is no norm, but a file that wants memory.
    if count > 1 << 20 {
        return None;
    }
    match dtype {
        DType::F32 => Tensor::from_slice(shape, &vec![1f32; count]),
        DType::F64 => Tensor::from_slice(shape, &vec![1f64; count]),
        DType::F16 => Tensor::from_slice(shape, &vec![f16::ONE; count]),
        DType::BF16 => Tensor::from_slice(shape, &vec![bf16::ONE; count]),
        _ => return None,
    }
    .ok()
}

fn is_ones(tensor: &Tensor) -> bool {
    tensor
        .to_f64s()
        .is_some_and(|values| values.iter().all(|&v| v == 1.0))
}

/// The two operands in both orders.
fn both_orders(node: &Node) -> Option<[(ValueId, ValueId); 2]> {
    let [a, b] = operands(node)?;
    Some([(a, b), (b, a)])
}

/// A norm whose scale is all ones, times its real scale.
fn scaled(view: &View<'_>, node: &Node) -> Option<Edit> {
    if node.op.downcast_ref::<Binary>()?.function != BinaryFunction::Mul {
        return None;
    }
    both_orders(node)?.into_iter().find_map(|(norm, scale)| {
        let new = view.constant(scale)?;
        let fits = |maker: &Node| {
            let old = view.constant(input(maker, 1)?)?;
            (old.shape() == new.shape() && old.dtype() == new.dtype() && is_ones(old)).then_some(())
        };
        if let Some((id, maker, op)) = view.private::<LayerNormalization>(norm) {
            fits(maker)?;
            if input(maker, 2).is_some() {
                return None;
            }
            let inputs = vec![Some(input(maker, 0)?.into()), Some(scale.into())];
            return Some(Edit::new(*op, inputs, vec![id]));
        }
        let (id, maker, op) = view.private::<RmsNormalization>(norm)?;
        fits(maker)?;
        let inputs = vec![Some(input(maker, 0)?.into()), Some(scale.into())];
        Some(Edit::new(*op, inputs, vec![id]))
    })
}

/// A layer norm without bias, plus one.
fn biased(view: &View<'_>, node: &Node) -> Option<Edit> {
    if node.op.downcast_ref::<Binary>()?.function != BinaryFunction::Add {
        return None;
    }
    both_orders(node)?.into_iter().find_map(|(norm, bias)| {
        let new = view.constant(bias)?;
        let (id, maker, op) = view.private::<LayerNormalization>(norm)?;
        let scale = input(maker, 1)?;
        if input(maker, 2).is_some() || view.constant(scale)?.shape() != new.shape() {
            return None;
        }
        let inputs = vec![
            Some(input(maker, 0)?.into()),
            Some(scale.into()),
            Some(bias.into()),
        ];
        Some(Edit::new(*op, inputs, vec![id]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::ops::reduce::ReduceFunction;

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
}
