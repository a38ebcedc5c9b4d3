//! Writes steps in their plain form.
//!
//! | before | after | values |
//! | --- | --- | --- |
//! | `Clip(x, low, high)` with constant bounds; `Max(x, c)`, `Min(x, c)` with a number; floats | the activation `Clip`, `Relu` for bounds 0 and infinity, nothing without bounds | equal |
//! | `Sum(a, b)` | `Add(a, b)` | equal |
//! | `Pow(x, 2)`, `Pow(x, 1/2)`, `Pow(x, -1)` of floats | `x * x`, `Sqrt(x)`, `Reciprocal(x)` | rounded at most differently in the last bit |
//!
//! Pays everywhere: an activation can be absorbed by the product in front of it, a square costs a hundredth of a power,
//! and patterns of other rewrites have fewer spellings to know.

use super::edit::{self, Edit, Input};
use super::view::{View, input, operands};
use crate::ops::activation::{Activate, Activation, Clip};
use crate::ops::binary::{Binary, BinaryFunction, Variadic, VariadicFunction};
use crate::ops::unary::{Identity, Unary, UnaryFunction};
use crate::{Graph, Node, ValueId};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| {
        constant_bounds(view, node)
            .or_else(|| sum_of_two(node))
            .or_else(|| power(view, node))
    })
}

fn sum_of_two(node: &Node) -> Option<Edit> {
    let [a, b] = operands(node)?;
    let op = node.op.downcast_ref::<Variadic>()?;
    let function = BinaryFunction::Add;
    (op.function == VariadicFunction::Sum)
        .then(|| Edit::new(Binary { function }, both(a, b), Vec::new()))
}

fn both(a: ValueId, b: ValueId) -> Vec<Option<Input>> {
    vec![Some(a.into()), Some(b.into())]
}

fn power(view: &View<'_>, node: &Node) -> Option<Edit> {
    if node.op.downcast_ref::<Binary>()?.function != BinaryFunction::Pow {
        return None;
    }
    let [x, exponent] = operands(node)?;
    let exponent = view.constant(exponent).filter(|t| t.len() == 1)?;
    let exponent = match exponent.to_i64s() {
        Some(whole) => *whole.first()? as f64,
        None => *exponent.to_f64s()?.first()?,
    };
    let fact = view.fact(x)?;
    let output = (*node.outputs.first()?)?;
    if !fact.dtype.is_float() || fact.shape.is_none() || view.shape(output) != view.shape(x) {
        return None;
    }
    let unary = |function| Edit::new(Unary { function }, vec![Some(x.into())], Vec::new());
    if exponent == 2.0 {
        let function = BinaryFunction::Mul;
        Some(Edit::new(Binary { function }, both(x, x), Vec::new()))
    } else if exponent == 0.5 {
        // The power of minus infinity is infinite and its root is not a number: nobody means either.
        Some(unary(UnaryFunction::Sqrt))
    } else if exponent == -1.0 {
        Some(unary(UnaryFunction::Reciprocal))
    } else {
        None
    }
}

fn constant_bounds(view: &View<'_>, node: &Node) -> Option<Edit> {
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
    fn small_powers_and_sums_are_spelled_plainly() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "4"]);
        let y = b.input("y", &["n", "1"]);
        let mut outputs = Vec::new();
        for exponent in [2.0, 0.5, -1.0, 3.0] {
            let exponent = b.number(exponent);
            outputs.push(b.pow(x, exponent));
        }
        let whole = b.ints(&[2]);
        outputs.push(b.pow(x, whole));
        let wide = b.floats(&[1, 1, 1], &[2.0]);
        outputs.push(b.pow(x, wide));
        let function = VariadicFunction::Sum;
        outputs.push(b.op(Variadic { function }, &[x, y]));
        outputs.push(b.op(Variadic { function }, &[x, y, x]));
        let mut g = b.finish(&outputs);
        assert_eq!(apply(&mut g), 5);
        g.check().unwrap();
        assert_eq!(
            kinds(&g),
            [
                "Mul",
                "Sqrt",
                "Reciprocal",
                "Pow",
                "Mul",
                "Pow",
                "Add",
                "Sum"
            ]
        );
        assert_eq!(g.nodes()[0].inputs, [Some(x), Some(x)]);
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
