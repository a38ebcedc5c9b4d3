//! Removes steps that do nothing.
//!
//! Before: `Identity`, `Dropout` at inference, a cast to the type that a value has, a reshape or expansion to the shape that it
//! has, a transposition that keeps the order, a slice of everything, a product with 1, a join of one part. After: their input. And a reshape behind a step
//! that only changes the shape reads that step's input. Pays everywhere: each was a pass over memory or at least a
//! step to be planned. Values stay equal.
//!
//! Shapes count as equal only if they are the same expressions, whatever the model is asked.

use super::edit::{self, Edit, Input};
use super::view::{View, input, is_view, operands};
use crate::ops::binary::{Binary, BinaryFunction, Variadic};
use crate::ops::cast::{Cast, CastLike};
use crate::ops::movement::{Concat, Slice, Tile, Transpose};
use crate::ops::shape::{Expand, Reshape};
use crate::ops::unary::{Dropout, Identity};
use crate::{Graph, Node, NodeId, ValueId};

/// Applies the rewrite everywhere; gives the number of removed steps.
pub fn apply(graph: &mut Graph) -> usize {
    let pairs = {
        let view = View::new(graph);
        let nodes = graph.nodes().iter();
        nodes.filter_map(|node| unchanged(&view, node)).collect()
    };
    edit::substitute(graph, pairs) + edit::for_each_node(graph, reshape_of_reshape)
}

/// The output of a step that does nothing, and the input that it equals.
fn unchanged(view: &View<'_>, node: &Node) -> Option<(ValueId, ValueId)> {
    let mut wanted = node.outputs.iter().flatten();
    let (Some(&output), None) = (wanted.next(), wanted.next()) else {
        return None;
    };
    if node.outputs.first() != Some(&Some(output)) {
        return None;
    }
    let op = &*node.op;
    if let Some(binary) = op.downcast_ref::<Binary>() {
        let [a, b] = operands(node)?;
        let is_one = |v| view.number(v) == Some(1.0);
        let same = match binary.function {
            BinaryFunction::Mul if is_one(a) => b,
            BinaryFunction::Mul | BinaryFunction::Div if is_one(b) => a,
            _ => return None,
        };
        return same_shape(view, output, same).then_some((output, same));
    }
    let x = input(node, 0)?;
    let does_nothing = if op.is::<Identity>() || op.is::<Dropout>() {
        true
    } else if op.is::<Cast>() || op.is::<CastLike>() {
        view.fact(x)?.dtype == view.fact(output)?.dtype
    } else if is_view(op) || op.is::<Expand>() || op.is::<Tile>() {
        same_shape(view, output, x)
    } else if let Some(transpose) = op.downcast_ref::<Transpose>() {
        let rank = view.shape(x)?.len();
        transpose.permutation(rank).ok()?.into_iter().eq(0..rank)
    } else if op.is::<Slice>() {
        takes_all(view, node) && same_shape(view, output, x)
    } else if op.is::<Concat>() || op.is::<Variadic>() {
        node.inputs.len() == 1
    } else {
        false
    };
    does_nothing.then_some((output, x))
}

/// Does a slice that is as long as its axes take them in rising order? Then it takes them as they are.
fn takes_all(view: &View<'_>, node: &Node) -> bool {
    match input(node, 4) {
        None => true,
        Some(steps) => view
            .constant(steps)
            .and_then(|t| t.to_i64s())
            .is_some_and(|steps| steps.iter().all(|&s| s > 0)),
    }
}

fn same_shape(view: &View<'_>, a: ValueId, b: ValueId) -> bool {
    match (view.shape(a), view.shape(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// `Reshape` of a view: the target alone decides, unless it copies lengths from its input.
fn reshape_of_reshape(view: &View<'_>, _id: NodeId, node: &Node) -> Option<Edit> {
    let reshape = node.op.downcast_ref::<Reshape>()?;
    let (x, target) = (input(node, 0)?, input(node, 1)?);
    if !view.is_private(x) {
        return None;
    }
    let (first, maker) = view.maker(x)?;
    if !is_view(&*maker.op) {
        return None;
    }
    let lengths = view.fact(target)?.integers.as_ref()?;
    // A length that is not known might be the 0 that copies.
    let copies = |n: &crate::Dim| n.equals(&0i64.into()) != Some(false);
    if !reshape.allow_zero && lengths.iter().any(copies) {
        return None;
    }
    let source = input(maker, 0)?;
    let inputs = vec![Some(Input::Value(source)), Some(Input::Value(target))];
    Some(Edit::new(*reshape, inputs, vec![first]))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use unisono_tensor::DType;

    /// Axis 1 from `start` as far as it goes.
    fn slice(b: &mut Builder, x: ValueId, start: i64, step: i64) -> ValueId {
        let end = if step > 0 { i64::MAX } else { i64::MIN };
        let inputs = [
            x,
            b.ints(&[start]),
            b.ints(&[end]),
            b.ints(&[1]),
            b.ints(&[step]),
        ];
        b.op(Slice { bounds: None }, &inputs)
    }

    #[test]
    fn a_step_that_does_nothing_becomes_its_input() {
        type Step = fn(&mut Builder, ValueId) -> ValueId;
        let rows: &[(&str, Step, bool)] = &[
            ("Identity", |b, x| b.op(Identity, &[x]), true),
            (
                "Dropout",
                |b, x| b.op(Dropout { boolean_mask: true }, &[x]),
                true,
            ),
            (
                "Cast to f32",
                |b, x| b.op(Cast { to: DType::F32 }, &[x]),
                true,
            ),
            (
                "Cast to f16",
                |b, x| b.op(Cast { to: DType::F16 }, &[x]),
                false,
            ),
            (
                "Transpose 0 1 2",
                |b, x| {
                    let perm = Some(vec![0, 1, 2]);
                    b.op(Transpose { perm }, &[x])
                },
                true,
            ),
            (
                "Transpose 0 2 1",
                |b, x| {
                    let perm = Some(vec![0, 2, 1]);
                    b.op(Transpose { perm }, &[x])
                },
                false,
            ),
            (
                "Reshape 0 -1 8",
                |b, x| {
                    let shape = b.ints(&[0, -1, 8]);
                    b.op(Reshape { allow_zero: false }, &[x, shape])
                },
                true,
            ),
            (
                "Reshape -1 8",
                |b, x| {
                    let shape = b.ints(&[-1, 8]);
                    b.op(Reshape { allow_zero: false }, &[x, shape])
                },
                false,
            ),
            (
                "Mul 1",
                |b, x| {
                    let one = b.number(1.0);
                    b.mul(one, x)
                },
                true,
            ),
            (
                "Mul 1 that adds an axis",
                |b, x| {
                    let one = b.floats(&[1, 1, 1, 1], &[1.0]);
                    b.mul(x, one)
                },
                false,
            ),
            (
                "Div 2",
                |b, x| {
                    let two = b.number(2.0);
                    b.div(x, two)
                },
                false,
            ),
            ("Slice 0..max", |b, x| slice(b, x, 0, 1), true),
            ("Slice 1..max", |b, x| slice(b, x, 1, 1), false),
            ("Slice backwards", |b, x| slice(b, x, -1, -1), false),
            ("Concat of one", |b, x| b.op(Concat { axis: 0 }, &[x]), true),
        ];
        let mut failures = Vec::new();
        for (name, step, goes) in rows {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "4", "8"]);
            let y = step(&mut b, x);
            let z = b.relu(y);
            let mut g = b.finish(&[z]);
            apply(&mut g);
            g.check().unwrap();
            let gone = g.nodes().len() == 1;
            if gone != *goes {
                failures.push(format!("{name}: gone {gone}, should be {goes}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn an_output_keeps_its_name_and_its_maker_changes() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let y = b.relu(x);
        let z = b.op(Identity, &[y]);
        let other = b.relu(y);
        let mut g = b.finish(&[z, other]);
        assert_eq!(apply(&mut g), 1);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["Relu", "Relu"]);
        assert_eq!(output_names(&g), ["out_0", "out_1"]);
        assert_eq!(g.outputs()[0], z);
    }

    #[test]
    fn an_input_that_is_handed_through_stays_two_values() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let y = b.op(Identity, &[x]);
        let mut g = b.finish(&[y]);
        assert_eq!(apply(&mut g), 0);
        assert_eq!(kinds(&g), ["Identity"]);
        assert_eq!(output_names(&g), ["out_0"]);
    }

    #[test]
    fn of_two_reshapes_the_last_one_stays() {
        for (target, joined) in [(&[-1, 16][..], true), (&[0, 2, 4][..], false)] {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "4", "8"]);
            let first = b.ints(&[-1, 8]);
            let second = b.ints(target);
            let y = b.op(Reshape { allow_zero: false }, &[x, first]);
            let z = b.op(Reshape { allow_zero: false }, &[y, second]);
            let mut g = b.finish(&[z]);
            assert_eq!(apply(&mut g) == 1, joined, "{target:?}");
            super::super::dead::apply(&mut g);
            g.check().unwrap();
            assert_eq!(g.nodes().len(), if joined { 1 } else { 2 }, "{target:?}");
        }
    }

    #[test]
    fn a_dropout_whose_mask_is_wanted_stays() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let outputs = b.ops(Dropout { boolean_mask: true }, &[x], 2);
        let mut g = b.finish(&outputs);
        assert_eq!(apply(&mut g), 0);
    }
}
