//! Makes bounds that are constants parameters.
//!
//! Before: `Clip(x, low, high)` with constant bounds, `Max(x, c)` or `Min(x, c)` with a number, of floats. After: the
//! activation `Clip`, `Relu` for bounds 0 and infinity, or nothing without bounds. Pays everywhere: an activation can be absorbed by the product in front
//! of it. Values stay equal.

use super::edit::{self, Edit, Input};
use super::view::{View, input, operands};
use crate::ops::activation::{Activate, Activation, Clip};
use crate::ops::binary::{Variadic, VariadicFunction};
use crate::ops::unary::Identity;
use crate::{Graph, Node, NodeId, ValueId};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, constant_bounds)
}

fn constant_bounds(view: &View<'_>, _id: NodeId, node: &Node) -> Option<Edit> {
    let (x, low, high) = if node.op.is::<Clip>() {
        let bound = |index, none| match input(node, index) {
            None => Some(none),
            Some(id) => exact(view, id),
        };
        let low = bound(1, f32::NEG_INFINITY)?;
        let high = bound(2, f32::INFINITY)?;
        (input(node, 0)?, low, high)
    } else {
        let function = node.op.downcast_ref::<Variadic>()?.function;
        let [a, b] = operands(node)?;
        let (x, c) = match (exact(view, a), exact(view, b)) {
            (Some(c), None) => (b, c),
            (None, Some(c)) => (a, c),
            _ => return None,
        };
        match function {
            VariadicFunction::Max => (x, c, f32::INFINITY),
            VariadicFunction::Min => (x, f32::NEG_INFINITY, c),
            VariadicFunction::Sum | VariadicFunction::Mean => return None,
        }
    };
    let output = (*node.outputs.first()?)?;
    let fact = view.fact(x)?;
    if !fact.dtype.is_float() || fact.shape.is_none() || fact.shape.as_deref() != view.shape(output)
    {
        return None;
    }
    let inputs = vec![Some(Input::Value(x))];
    if (low, high) == (f32::NEG_INFINITY, f32::INFINITY) {
        return Some(Edit::new(Identity, inputs, Vec::new()));
    }
    let function = if low == 0.0 && low.is_sign_positive() && high == f32::INFINITY {
        Activation::Relu
    } else {
        Activation::Clip { low, high }
    };
    Some(Edit::new(Activate { function }, inputs, Vec::new()))
}

/// A constant number that f32 holds exactly.
fn exact(view: &View<'_>, id: ValueId) -> Option<f32> {
    let number = view.number(id)?;
    let rounded = number as f32;
    (f64::from(rounded) == number).then_some(rounded)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn constant_bounds_become_an_activation() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "4"]);
        let (zero, six) = (b.number(0.0), b.number(6.0));
        let clipped = b.op(Clip, &[x, zero, six]);
        let above = b.op(Clip, &[x, zero]);
        let max = b.op(
            Variadic {
                function: VariadicFunction::Max,
            },
            &[zero, x],
        );
        let min = b.op(
            Variadic {
                function: VariadicFunction::Min,
            },
            &[x, six],
        );
        let mut g = b.finish(&[clipped, above, max, min]);
        assert_eq!(apply(&mut g), 4);
        g.check().unwrap();
        let functions: Vec<Activation> = g
            .nodes()
            .iter()
            .filter_map(|n| Some(n.op.downcast_ref::<Activate>()?.function))
            .collect();
        let clip = |low, high| Activation::Clip { low, high };
        let expected = [
            clip(0.0, 6.0),
            Activation::Relu,
            Activation::Relu,
            clip(f32::NEG_INFINITY, 6.0),
        ];
        assert_eq!(functions, expected);
    }

    #[test]
    fn no_bound_at_all_is_an_identity() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let infinite = b.number(f32::NEG_INFINITY);
        let op = Variadic {
            function: VariadicFunction::Max,
        };
        let max = b.op(op, &[infinite, x]);
        let clip = b.op(Clip, &[x]);
        let mut g = b.finish(&[max, clip]);
        assert_eq!(apply(&mut g), 2);
        assert_eq!(kinds(&g), ["Identity", "Identity"]);
    }

    #[test]
    fn bounds_that_vary_or_stretch_the_value_stay() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let low = b.input("low", &[]);
        let many = b.floats(&[2, 1], &[0.0, 1.0]);
        let not_a_number = b.number(f32::NAN);
        let max = Variadic {
            function: VariadicFunction::Max,
        };
        let outputs = [
            b.op(Clip, &[x, low]),
            b.op(max, &[x, many]),
            b.op(max, &[x, not_a_number]),
        ];
        let mut g = b.finish(&outputs);
        assert_eq!(apply(&mut g), 0);
    }
}
