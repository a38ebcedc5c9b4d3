//! Says by constants what shapes are asked for.
//!
//! Before: a `Reshape` or `Expand` whose target a chain of `Shape`, `Gather` and `Concat` computes, where inference knows each entry as an
//! expression. After: a constant target, in which 0 (for `Expand`: 1) stands for a length that the input has at the same position, and -1 for at
//! most one other. Pays everywhere: the chain dies, and with it a dozen steps per reshape. Values stay equal.

use super::edit::{self, Edit, Input};
use super::view::{View, input};
use crate::ops::shape::{Expand, Reshape};
use crate::{Dim, Graph, Node, NodeId, ValueId};
use unisono_tensor::{DType, Tensor};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, constant_target)
}

fn constant_target(view: &View<'_>, _id: NodeId, node: &Node) -> Option<Edit> {
    let (x, target) = (input(node, 0)?, input(node, 1)?);
    let fact = view.fact(target)?;
    if view.constant(target).is_some() || fact.dtype != DType::I64 {
        return None;
    }
    let wanted = fact.integers.as_deref()?;
    let shape = view.shape(x)?;
    let entries = if let Some(op) = node.op.downcast_ref::<Reshape>() {
        reshape_target(wanted, shape, op.allow_zero)?
    } else if node.op.is::<Expand>() {
        expand_target(wanted, shape)?
    } else {
        return None;
    };
    let target = Tensor::from_slice(&[entries.len()], &entries).ok()?;
    Some(with_target(node, x, target))
}

fn with_target(node: &Node, x: ValueId, target: Tensor) -> Edit {
    Edit {
        before: Vec::new(),
        op: node.op.clone(),
        inputs: vec![Some(x.into()), Some(Input::New(target))],
        absorbed: Vec::new(),
    }
}

/// A constant that asks for these lengths, given those of the input; `None` if no constant says it.
pub(super) fn reshape_target(wanted: &[Dim], shape: &[Dim], allow_zero: bool) -> Option<Vec<i64>> {
    let mut rest = wanted.iter().any(|n| n.as_const() == Some(-1));
    let has_zero = wanted.iter().any(|n| n.as_const() == Some(0));
    let mut entries = Vec::with_capacity(wanted.len());
    for (i, n) in wanted.iter().enumerate() {
        entries.push(match n.as_const() {
            Some(n) => n,
            // 0 and -1 would mean something else.
            None if n.lower_bound() < Some(1) => return None,
            None if !allow_zero && shape.get(i) == Some(n) => 0,
            // What is left cannot be told beside an empty axis.
            None if rest || (allow_zero && has_zero) => return None,
            None => {
                rest = true;
                -1
            }
        });
    }
    Some(entries)
}

fn expand_target(wanted: &[Dim], shape: &[Dim]) -> Option<Vec<i64>> {
    let offset = wanted.len().checked_sub(shape.len());
    wanted
        .iter()
        .enumerate()
        .map(|(i, n)| {
            let own = offset.and_then(|o| shape.get(i.checked_sub(o)?));
            match n.as_const() {
                Some(n) => Some(n),
                None => (own == Some(n)).then_some(1),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::infer;
    use crate::ops::indexing::Gather;
    use crate::ops::movement::Concat;
    use crate::ops::shape::Shape;

    /// The length of one axis of `x` as a list of one.
    fn length(b: &mut Builder, x: ValueId, axis: i64) -> ValueId {
        let shape = b.op(
            Shape {
                start: 0,
                end: None,
            },
            &[x],
        );
        let axis = b.ints(&[axis]);
        b.op(Gather { axis: 0 }, &[shape, axis])
    }

    fn output_shape(g: &Graph) -> Vec<Dim> {
        let facts = infer::infer_partial(g, &infer::declared_inputs(g)).unwrap();
        let fact = facts[g.outputs()[0].index()].clone().unwrap();
        fact.shape.unwrap()
    }

    #[test]
    fn the_chain_that_computes_a_target_dies() {
        let mut b = Builder::new();
        let x = b.input("x", &["t", "n", "8"]);
        let (t, n) = (length(&mut b, x, 0), length(&mut b, x, 1));
        let four = b.ints(&[4]);
        let n4 = b.mul(n, four);
        let two = b.ints(&[2]);
        let target = b.op(Concat { axis: 0 }, &[t, n4, two]);
        let y = b.op(Reshape { allow_zero: false }, &[x, target]);
        let mut g = b.finish(&[y]);
        let before = output_shape(&g);
        let report = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(report.count("targets"), 1);
        assert_eq!(kinds(&g), ["Reshape"]);
        let target = g.constant(g.nodes()[0].inputs[1].unwrap()).unwrap();
        assert_eq!(target.to_i64s(), Some(vec![0, -1, 2]));
        assert_eq!(output_shape(&g), before);
    }

    #[test]
    fn an_expansion_keeps_the_lengths_that_it_has() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "1"]);
        let n = length(&mut b, x, 0);
        let four = b.ints(&[4]);
        let target = b.op(Concat { axis: 0 }, &[n, four]);
        let y = b.op(Expand, &[x, target]);
        let mut g = b.finish(&[y]);
        let before = output_shape(&g);
        let _ = optimize(&mut g, &NoFolding);
        assert_eq!(kinds(&g), ["Expand"]);
        let target = g.constant(g.nodes()[0].inputs[1].unwrap()).unwrap();
        assert_eq!(target.to_i64s(), Some(vec![1, 4]));
        assert_eq!(output_shape(&g), before);
    }

    #[test]
    fn what_two_numbers_cannot_say_stays_computed() {
        type Row = (&'static str, Vec<Dim>, Vec<Dim>, bool, Option<Vec<i64>>);
        let s = |names: &[&str]| dims(names);
        let rows: &[Row] = &[
            (
                "two moved lengths",
                s(&["a", "b"]),
                s(&["b", "a"]),
                false,
                None,
            ),
            (
                "one moved length",
                s(&["a", "4"]),
                s(&["4", "a"]),
                false,
                Some(vec![4, -1]),
            ),
            (
                "a rest already",
                s(&["a", "4"]),
                s(&["-1", "a"]),
                false,
                None,
            ),
            (
                "a length that may be 0",
                s(&["a", "4"]),
                vec![&s(&["a"])[0] - &1i64.into()],
                false,
                None,
            ),
            (
                "zero means empty",
                s(&["a", "b"]),
                s(&["a", "b"]),
                true,
                None,
            ),
        ];
        let mut failures = Vec::new();
        for (name, shape, wanted, allow_zero, expected) in rows {
            let found = reshape_target(wanted, shape, *allow_zero);
            if found != *expected {
                failures.push(format!("{name}: {found:?}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}
