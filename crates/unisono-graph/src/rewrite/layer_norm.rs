//! Recognises layer norm and RMS norm where an exporter spelled them out.
//!
//! | before | after |
//! | --- | --- |
//! | `d / sqrt(mean(d^2) + e)` with `d = x - mean(x)`, means over the last axes | `LayerNormalization` with a scale of ones |
//! | `x / sqrt(mean(x^2) + e)` | `RMSNormalization` with a scale of ones |
//! | `(x - m) * r` with `m = mean(x)`, `r = 1 / sqrt(max(mean(x^2) - m^2, 0) + e)`, or `(x - m) * (r * scale)` | `LayerNormalization` |
//! | a norm with a scale of ones, times a constant | the norm with that scale |
//! | a layer norm without bias, plus a constant | the norm with that bias |
//!
//! Quotients may be products with a reciprocal or a power of -1/2, squares may be products or powers, means may be sums times one over the
//! count. Pays everywhere: nine
//! passes over memory become one. Values are rounded differently: the norm multiplies by one over the deviation and adds the
//! bias in the same step. The third form loses digits where the mean is far from 0; the norm does not.
//!
//! Scale and bias must be constants of exactly the normalised shape: one that a request can change, or that stretches, would
//! not be the norm's parameter.

use super::edit::{self, Edit, Input};
use super::view::{View, input, operands};
use crate::ops::activation::{Activate, Activation};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::normalize::{LayerNormalization, RmsNormalization};
use crate::ops::reduce::{Reduce, ReduceFunction};
use crate::ops::unary::{Unary, UnaryFunction};
use crate::{Dim, Graph, Node, NodeId, ValueId};
use unisono_tensor::{DType, Tensor, bf16, f16};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| {
        core(view, node)
            .or_else(|| one_pass(view, node))
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

/// The lengths of the axes from `first` on, if they are numbers.
fn normalised(view: &View<'_>, value: ValueId, first: usize) -> Option<Vec<usize>> {
    let lengths = view.shape(value)?.get(first..)?;
    lengths.iter().map(|n| n.as_len()).collect()
}

/// The form that takes mean and mean square in one pass (JAX, TensorFlow). Axes that were folded come back by a reshape.
fn one_pass(view: &View<'_>, node: &Node) -> Option<Edit> {
    if node.op.downcast_ref::<Binary>()?.function != BinaryFunction::Mul {
        return None;
    }
    both_orders(node)?
        .into_iter()
        .find_map(|(difference, factor)| {
            let (id, [x, mean]) = view.private_binary(difference, BinaryFunction::Sub)?;
            let mut absorbed = vec![id];
            let (inverse, scale) = match view.private_binary(factor, BinaryFunction::Mul) {
                None => (factor, None),
                Some((id, [a, b])) => {
                    absorbed.push(id);
                    match (view.constant(a), view.constant(b)) {
                        (None, Some(scale)) => (a, Some(scale)),
                        (Some(scale), None) => (b, Some(scale)),
                        _ => return None,
                    }
                }
            };
            let inner = inverse_root(view, inverse, &mut absorbed)?;
            let (variance, epsilon) = plus_epsilon(view, inner, &mut absorbed)?;
            let kept = (view.shape(mean)?, view.shape(variance)?);
            let variance = view.behind_views(variance, &mut absorbed);
            let variance = behind_relu(view, variance, &mut absorbed);
            let (id, [mean_square, squared_mean]) =
                view.private_binary(variance, BinaryFunction::Sub)?;
            absorbed.push(id);
            let (squares, first) = mean_of(view, mean_square, x, &mut absorbed)?;
            square_of(view, squares, x, &mut absorbed)?;
            let flat_mean = view.behind_views(mean, &mut absorbed);
            square_of(view, squared_mean, flat_mean, &mut absorbed)?;
            let (of, other) = mean_of(view, flat_mean, x, &mut absorbed)?;
            // Statistics of x alone, over the same axes, and put back where they were.
            let mut keepdims = view.shape(x)?.to_vec();
            keepdims[first..].fill(Dim::constant(1));
            if of != x || other != first || kept != (&keepdims, &keepdims) {
                return None;
            }
            let lengths = normalised(view, x, first)?;
            let scale = match scale {
                None => ones(view.fact(x)?.dtype, &lengths)?,
                Some(scale) => as_parameter(scale, &lengths)?,
            };
            let op = LayerNormalization {
                axis: i64::try_from(first).ok()?,
                epsilon,
                stash: DType::F32,
            };
            let inputs = vec![Some(x.into()), Some(Input::New(scale))];
            Some(Edit::new(op, inputs, absorbed))
        })
}

/// The value in front of a private bound at 0, which only keeps rounding from making a variance negative.
fn behind_relu(view: &View<'_>, value: ValueId, absorbed: &mut Vec<NodeId>) -> ValueId {
    match view.private::<Activate>(value) {
        Some((id, node, op)) if op.function == Activation::Relu => {
            let Some(x) = input(node, 0) else {
                return value;
            };
            absorbed.push(id);
            x
        }
        _ => value,
    }
}

/// What a mean over the last axes is taken of, and the first of them: a reduction by mean, or a sum times one over the
/// count. It may have other readers.
fn mean_of(
    view: &View<'_>,
    value: ValueId,
    x: ValueId,
    absorbed: &mut Vec<NodeId>,
) -> Option<(ValueId, usize)> {
    let shape = view.shape(x)?;
    if let Some((id, node, reduce)) = view.made_by::<Reduce>(value) {
        absorbed.push(id);
        let first = last_axes(view, node, reduce, shape.len())?;
        return (reduce.function == ReduceFunction::Mean).then_some((input(node, 0)?, first));
    }
    let (id, node, op) = view.made_by::<Binary>(value)?;
    let [a, b] = operands(node)?;
    let (sum, factor) = match (op.function, view.number(a), view.number(b)) {
        (BinaryFunction::Mul, None, Some(n)) => (a, n),
        (BinaryFunction::Mul, Some(n), None) => (b, n),
        (BinaryFunction::Div, None, Some(n)) => (a, 1.0 / n),
        _ => return None,
    };
    let (sum_id, node, reduce) = view.private::<Reduce>(sum)?;
    let first = last_axes(view, node, reduce, shape.len())?;
    let count: usize = normalised(view, x, first)?.into_iter().product();
    if reduce.function != ReduceFunction::Sum || !view.tolerance(x).near(factor, 1.0 / count as f64)
    {
        return None;
    }
    absorbed.extend([id, sum_id]);
    Some((input(node, 0)?, first))
}

/// A constant as a parameter of exactly this shape: axes of length 1 in front do not matter.
fn as_parameter(constant: &Tensor, lengths: &[usize]) -> Option<Tensor> {
    let shape = constant.shape();
    let in_front = shape.len().checked_sub(lengths.len())?;
    let fits = shape[in_front..] == *lengths && shape[..in_front].iter().all(|&n| n == 1);
    fits.then(|| constant.reshaped(lengths).ok()).flatten()
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
    let first = last_axes(view, node, reduce, rank)?;
    Some((id, input(node, 0)?, first))
}

/// The first folded axis, if the folded ones are the last of so many.
fn last_axes(view: &View<'_>, node: &Node, reduce: &Reduce, rank: usize) -> Option<usize> {
    let listed = match input(node, 1) {
        None => None,
        Some(axes) => Some(view.constant(axes)?.to_i64s()?),
    };
    let axes = reduce.resolve_axes(rank, listed.as_deref()).ok()?;
    let first = *axes.first()?;
    axes.into_iter().eq(first..rank).then_some(first)
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
        let (new, rank) = (view.constant(scale)?, view.shape(norm)?.len());
        // A parameter takes axes of length 1 in front, but must not give the norm more axes.
        let parameter = |maker: &Node| {
            let old = view.constant(input(maker, 1)?)?;
            if old.dtype() != new.dtype() || !is_ones(old) || new.rank() > rank {
                return None;
            }
            as_parameter(new, old.shape())
        };
        if let Some((id, maker, op)) = view.private::<LayerNormalization>(norm) {
            if input(maker, 2).is_some() {
                return None;
            }
            let inputs = vec![
                Some(input(maker, 0)?.into()),
                Some(parameter(maker)?.into()),
            ];
            return Some(Edit::new(*op, inputs, vec![id]));
        }
        let (id, maker, op) = view.private::<RmsNormalization>(norm)?;
        let inputs = vec![
            Some(input(maker, 0)?.into()),
            Some(parameter(maker)?.into()),
        ];
        Some(Edit::new(*op, inputs, vec![id]))
    })
}

/// A layer norm without bias, plus one.
fn biased(view: &View<'_>, node: &Node) -> Option<Edit> {
    if node.op.downcast_ref::<Binary>()?.function != BinaryFunction::Add {
        return None;
    }
    both_orders(node)?.into_iter().find_map(|(norm, bias)| {
        let (new, rank) = (view.constant(bias)?, view.shape(norm)?.len());
        let (id, maker, op) = view.private::<LayerNormalization>(norm)?;
        let scale = input(maker, 1)?;
        if input(maker, 2).is_some() || new.rank() > rank {
            return None;
        }
        let bias = as_parameter(new, view.constant(scale)?.shape())?;
        let inputs = vec![
            Some(input(maker, 0)?.into()),
            Some(scale.into()),
            Some(bias.into()),
        ];
        Some(Edit::new(*op, inputs, vec![id]))
    })
}

#[cfg(test)]
mod tests;
