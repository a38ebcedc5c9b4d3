//! Moves a change of shape that merges leading axes behind the products and softmaxes of attention.
//!
//! Before: `Linear(Reshape(a), Reshape(b))`, where both make one axis of the leading ones (batch and heads, as PyTorch exports
//! attention) and leave the last two alone; or the softmax of such a value over its last axis. After: the step on what was there before, then the
//! change of shape. Pays everywhere: what is left behind the last step meets the transpose there and becomes one with it, and
//! whoever looks for attention finds batch and heads where they are otherwise. Values stay equal, because the members of a product and the
//! rows of a softmax do not know of each other.

use super::edit::{self, Edit, Input};
use super::targets::reshape_target;
use super::view::{View, input};
use crate::ops::linear::Linear;
use crate::ops::normalize::Softmax;
use crate::ops::shape::Reshape;
use crate::{Dim, Graph, Node, NodeId, Operator, ValueId};
use unisono_tensor::Tensor;

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| {
        product(view, node).or_else(|| softmax(view, node))
    })
}

/// A private change of shape that merges leading axes: the node, and the value that it changes.
fn merged(view: &View<'_>, value: ValueId) -> Option<(NodeId, ValueId)> {
    let (id, node, _) = view.private::<Reshape>(value)?;
    let source = input(node, 0)?;
    let (from, to) = (view.shape(source)?, view.shape(value)?);
    let (_, last) = from.split_last_chunk::<2>()?;
    let is_merged = to.len() > 2 && from.len() > to.len() && to.ends_with(last);
    is_merged.then_some((id, source))
}

/// All axes but the last two.
fn lead<'v>(view: &'v View<'_>, value: ValueId) -> Option<&'v [Dim]> {
    Some(view.shape(value)?.split_last_chunk::<2>()?.0)
}

fn product(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = *node.op.downcast_ref::<Linear>()?;
    if input(node, 2).is_some() {
        return None;
    }
    let (a_id, a) = merged(view, input(node, 0)?)?;
    let (b_id, b) = merged(view, input(node, 1)?)?;
    let both = lead(view, a)?;
    if lead(view, b)? != both {
        return None;
    }
    let op = Linear { gemm: false, ..op };
    behind(view, node, op, vec![a, b], both, vec![a_id, b_id])
}

fn softmax(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = *node.op.downcast_ref::<Softmax>()?;
    let x = input(node, 0)?;
    let last = view.shape(x)?.len().checked_sub(1)?;
    if op.resolve_axes(last + 1).ok()? != [last] {
        return None;
    }
    let (id, source) = merged(view, x)?;
    let op = Softmax {
        axis: -1,
        flatten: false,
        ..op
    };
    behind(view, node, op, vec![source], lead(view, source)?, vec![id])
}

/// The step on these values, whose leading axes are these, and behind it the change of shape.
fn behind(
    view: &View<'_>,
    node: &Node,
    op: impl Operator,
    values: Vec<ValueId>,
    lead: &[Dim],
    absorbed: Vec<NodeId>,
) -> Option<Edit> {
    let to = view.shape((*node.outputs.first()?)?)?;
    let made: Vec<Dim> = lead.iter().chain(to.last_chunk::<2>()?).cloned().collect();
    let target = reshape_target(to, &made, false)?;
    let target = Tensor::from_slice(&[target.len()], &target).ok()?;
    let mut edit = Edit::new(Reshape { allow_zero: false }, Vec::new(), absorbed);
    let step = edit.step(op, values.into_iter().map(Input::Value).collect());
    edit.inputs = vec![Some(step), Some(target.into())];
    Some(edit)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::infer;
    use crate::ops::normalize::SoftmaxFunction;

    fn merge(b: &mut Builder, x: ValueId, target: &[i64]) -> ValueId {
        let target = b.ints(target);
        b.op(Reshape { allow_zero: false }, &[x, target])
    }

    fn softmax(b: &mut Builder, x: ValueId, axis: i64) -> ValueId {
        let softmax = Softmax {
            function: SoftmaxFunction::Softmax,
            axis,
            flatten: false,
        };
        b.op(softmax, &[x])
    }

    #[test]
    fn attention_over_batch_and_heads_as_one_axis_becomes_one_over_both() {
        let mut b = Builder::new();
        let [q, k, v] = ["q", "k", "v"].map(|name| {
            let x = b.input(name, &["n", "4", "32", "64"]);
            merge(&mut b, x, &[-1, 32, 64])
        });
        let transpose_b = true;
        let op = Linear {
            transpose_b,
            ..Linear::default()
        };
        let scores = b.op(op, &[q, k]);
        let weights = softmax(&mut b, scores, 2);
        let y = b.op(Linear::default(), &[weights, v]);
        let mut g = b.finish(&[y]);
        let shape = |g: &Graph| {
            let facts = infer::infer_partial(g, &infer::declared_inputs(g)).unwrap();
            facts[g.outputs()[0].index()].clone().unwrap().shape
        };
        let before = shape(&g);
        for applied in [1, 1, 1, 0] {
            assert_eq!(apply(&mut g), applied);
            super::super::dead::apply(&mut g);
            g.check().unwrap();
        }
        assert_eq!(kinds(&g), ["MatMul", "Softmax", "MatMul", "Reshape"]);
        assert_eq!(shape(&g), before);
        assert_eq!(output_names(&g), ["out_0"]);
    }

    #[test]
    fn other_changes_and_other_axes_stay_in_front() {
        type Form = fn(&mut Builder, ValueId, ValueId) -> ValueId;
        let rows: &[(&str, Form)] = &[
            ("a change of the last axes", |b, x, y| {
                let x = merge(b, x, &[-1, 64, 32]);
                let y = merge(b, y, &[-1, 32, 64]);
                b.op(Linear::default(), &[x, y])
            }),
            ("one of two operands", |b, x, _| {
                let x = merge(b, x, &[-1, 32, 64]);
                let w = b.floats(&[64, 2], &[1.0; 128]);
                b.op(Linear::default(), &[x, w])
            }),
            ("a softmax along another axis", |b, x, _| {
                let x = merge(b, x, &[-1, 32, 64]);
                softmax(b, x, 1)
            }),
            ("a value that others read", |b, x, _| {
                let x = merge(b, x, &[-1, 32, 64]);
                let weights = softmax(b, x, -1);
                b.add(weights, x)
            }),
        ];
        let mut failures = Vec::new();
        for (name, form) in rows {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "4", "32", "64"]);
            let y = b.input("y", &["n", "4", "32", "64"]);
            let y = form(&mut b, x, y);
            let mut g = b.finish(&[y]);
            if apply(&mut g) != 0 {
                failures.push(*name);
            }
        }
        assert!(failures.is_empty(), "{failures:?}");
    }
}
