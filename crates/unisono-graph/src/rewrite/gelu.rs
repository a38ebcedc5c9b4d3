//! Recognises GELU and SiLU where an exporter spelled them out.
//!
//! | before, in any order and with any brackets | after |
//! | --- | --- |
//! | `x * 0.5 * (1 + erf(x / sqrt 2))` | `Gelu` |
//! | `x * 0.5 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))`, also with `x` or `x^2` factored out | `Gelu`, tanh form |
//! | `x * sigmoid(a * x)` | `Swish` with that factor |
//!
//! Pays everywhere: five to nine passes over memory become one, which a product in front may absorb. Values are rounded differently:
//! the activation's own formula has its own order of operations. Constants count as equal within a part in a million, or
//! what their narrower type holds.

use super::edit::{self, Edit, Input};
use super::product::Product;
use super::view::{View, input};
use crate::ops::activation::{Activate, Activation};
use crate::ops::binary::BinaryFunction;
use crate::ops::unary::{Unary, UnaryFunction};
use crate::{Graph, Node, NodeId, ValueId};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// `sqrt(2 / pi)`.
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The factor of the cube (Hendrycks and Gimpel, 2016).
const CUBIC: f64 = 0.044715;

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, spelled_out)
}

fn spelled_out(view: &View<'_>, id: NodeId, node: &Node) -> Option<Edit> {
    let product = Product::of_node(view, id, node)?;
    let &[a, b] = product.factors.as_slice() else {
        return None;
    };
    let output = (*node.outputs.first()?)?;
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        // Steps that stretch x are not an activation of x.
        if view.shape(x)? != view.shape(output)? || !view.fact(x)?.dtype.is_float() {
            return None;
        }
        let (function, mut absorbed) = match view.tolerance(x).near(product.scale, 0.5) {
            true => gelu(view, x, gate)?,
            false if product.scale == 1.0 => swish(view, x, gate)?,
            false => return None,
        };
        absorbed.extend(&product.nodes);
        let inputs = vec![Some(Input::Value(x))];
        Some(Edit::new(Activate { function }, inputs, absorbed))
    })
}

/// The gate `1 + erf(…)` or `1 + tanh(…)` of `x`.
fn gelu(view: &View<'_>, x: ValueId, gate: ValueId) -> Option<(Activation, Vec<NodeId>)> {
    let (sum, inner) = plus_number(view, gate, 1.0)?;
    let mut absorbed = vec![sum];
    if let Some((id, node, unary)) = view.private::<Unary>(inner)
        && unary.function == UnaryFunction::Erf
    {
        let argument = Product::of_value(view, input(node, 0)?);
        if argument.factors != [x] || !view.tolerance(x).near(argument.scale, FRAC_1_SQRT_2) {
            return None;
        }
        absorbed.push(id);
        absorbed.extend(&argument.nodes);
        return Some((Activation::GeluErf, absorbed));
    }
    let (id, node, activate) = view.private::<Activate>(inner)?;
    if activate.function != Activation::Tanh {
        return None;
    }
    absorbed.push(id);
    cubic(view, x, input(node, 0)?, &mut absorbed)?;
    Some((Activation::GeluTanh, absorbed))
}

/// `sqrt(2/pi) * (x + 0.044715 * x^3)`, or `sqrt(2/pi) * x * (1 + 0.044715 * x^2)`.
fn cubic(view: &View<'_>, x: ValueId, value: ValueId, absorbed: &mut Vec<NodeId>) -> Option<()> {
    let outer = Product::of_value(view, value);
    let tolerance = view.tolerance(x);
    if !tolerance.near(outer.scale, SQRT_2_OVER_PI) {
        return None;
    }
    absorbed.extend(&outer.nodes);
    let (sum, power) = match outer.factors.as_slice() {
        [sum] => {
            let (id, [a, b]) = view.private_binary(*sum, BinaryFunction::Add)?;
            absorbed.push(id);
            let other = match (a == x, b == x) {
                (true, _) => b,
                (_, true) => a,
                _ => return None,
            };
            (other, 3)
        }
        [a, b] => {
            let sum = match (*a == x, *b == x) {
                (true, _) => *b,
                (_, true) => *a,
                _ => return None,
            };
            let (id, inner) = plus_number(view, sum, 1.0)?;
            absorbed.push(id);
            (inner, 2)
        }
        _ => return None,
    };
    let term = Product::of_value(view, sum);
    if !tolerance.near(term.scale, CUBIC) {
        return None;
    }
    absorbed.extend(&term.nodes);
    let mut found = 0;
    for &factor in &term.factors {
        if factor == x {
            found += 1;
            continue;
        }
        let (id, [base, exponent]) = view.private_binary(factor, BinaryFunction::Pow)?;
        let exponent = view.number(exponent)?;
        if base != x || exponent.fract() != 0.0 || !(1.0..=3.0).contains(&exponent) {
            return None;
        }
        absorbed.push(id);
        found += exponent as i32;
    }
    (found == power).then_some(())
}

/// The gate `sigmoid(a * x)`.
fn swish(view: &View<'_>, x: ValueId, gate: ValueId) -> Option<(Activation, Vec<NodeId>)> {
    let (id, node, activate) = view.private::<Activate>(gate)?;
    if activate.function != Activation::Sigmoid {
        return None;
    }
    let argument = Product::of_value(view, input(node, 0)?);
    let alpha = argument.scale as f32;
    if argument.factors != [x] || !alpha.is_finite() || alpha == 0.0 {
        return None;
    }
    let mut absorbed = vec![id];
    absorbed.extend(&argument.nodes);
    Some((Activation::Swish { alpha }, absorbed))
}

/// The other operand of a private sum with a number.
fn plus_number(view: &View<'_>, value: ValueId, number: f64) -> Option<(NodeId, ValueId)> {
    let (id, [a, b]) = view.private_binary(value, BinaryFunction::Add)?;
    if view.is_number(a, number) {
        Some((id, b))
    } else if view.is_number(b, number) {
        Some((id, a))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    type Form = fn(&mut Builder, ValueId) -> ValueId;

    fn erf_gate(b: &mut Builder, x: ValueId) -> ValueId {
        let root = b.number(std::f32::consts::SQRT_2);
        let z = b.div(x, root);
        let function = UnaryFunction::Erf;
        let e = b.op(Unary { function }, &[z]);
        let one = b.number(1.0);
        b.add(e, one)
    }

    fn tanh_gate(b: &mut Builder, x: ValueId, cubic: f32) -> ValueId {
        let three = b.number(3.0);
        let cube = b.pow(x, three);
        let factor = b.number(cubic);
        let term = b.mul(factor, cube);
        let sum = b.add(x, term);
        let outer = b.number(0.797_884_6);
        let z = b.mul(sum, outer);
        let t = b.activate(Activation::Tanh, z);
        let one = b.number(1.0);
        b.add(one, t)
    }

    fn check(rows: &[(&str, Form, Option<Activation>)]) {
        let mut failures = Vec::new();
        for (name, form, expected) in rows {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "t", "8"]);
            let x = b.relu(x);
            let y = form(&mut b, x);
            let mut g = b.finish(&[y]);
            let applied = apply(&mut g);
            super::super::dead::apply(&mut g);
            g.check().unwrap();
            let last = g.nodes().last().unwrap().op.clone();
            let found = last.downcast_ref::<Activate>().map(|a| a.function);
            let alone = applied == 1 && g.nodes().len() == 2;
            let right = match expected {
                Some(_) => alone && found == *expected,
                None => applied == 0,
            };
            if !right {
                failures.push(format!("{name}: {found:?}, {:?}", kinds(&g)));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn every_spelling_becomes_one_activation() {
        check(&[
            (
                "(x * gate) * 0.5",
                |b, x| {
                    let gate = erf_gate(b, x);
                    let y = b.mul(x, gate);
                    let half = b.number(0.5);
                    b.mul(y, half)
                },
                Some(Activation::GeluErf),
            ),
            (
                "(0.5 * x) * gate",
                |b, x| {
                    let half = b.number(0.5);
                    let y = b.mul(half, x);
                    let gate = erf_gate(b, x);
                    b.mul(y, gate)
                },
                Some(Activation::GeluErf),
            ),
            (
                "x * (gate / 2)",
                |b, x| {
                    let gate = erf_gate(b, x);
                    let two = b.number(2.0);
                    let gate = b.div(gate, two);
                    b.mul(gate, x)
                },
                Some(Activation::GeluErf),
            ),
            (
                "erf of a product",
                |b, x| {
                    let root = b.number(std::f32::consts::FRAC_1_SQRT_2);
                    let z = b.mul(root, x);
                    let function = UnaryFunction::Erf;
                    let e = b.op(Unary { function }, &[z]);
                    let one = b.floats(&[1], &[1.0]);
                    let gate = b.add(one, e);
                    let half = b.floats(&[1], &[0.5]);
                    let y = b.mul(x, half);
                    b.mul(y, gate)
                },
                Some(Activation::GeluErf),
            ),
            (
                "tanh of a cube",
                |b, x| {
                    let gate = tanh_gate(b, x, 0.044715);
                    let half = b.number(0.5);
                    let y = b.mul(half, x);
                    b.mul(y, gate)
                },
                Some(Activation::GeluTanh),
            ),
            (
                "tanh with the square factored out",
                |b, x| {
                    let factor = b.number(0.044715);
                    let square = b.mul(x, factor);
                    let square = b.mul(square, x);
                    let one = b.number(1.0);
                    let sum = b.add(one, square);
                    let outer = b.number(0.797_884_6);
                    let z = b.mul(x, outer);
                    let z = b.mul(z, sum);
                    let t = b.activate(Activation::Tanh, z);
                    let gate = b.add(t, one);
                    let y = b.mul(x, gate);
                    let half = b.number(0.5);
                    b.mul(half, y)
                },
                Some(Activation::GeluTanh),
            ),
            (
                "x * sigmoid(x)",
                |b, x| {
                    let s = b.activate(Activation::Sigmoid, x);
                    b.mul(x, s)
                },
                Some(Activation::Swish { alpha: 1.0 }),
            ),
            (
                "sigmoid(1.702 x) * x",
                |b, x| {
                    let alpha = b.number(1.702);
                    let z = b.mul(alpha, x);
                    let s = b.activate(Activation::Sigmoid, z);
                    b.mul(s, x)
                },
                Some(Activation::Swish { alpha: 1.702 }),
            ),
        ]);
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        check(&[
            (
                "0.4 instead of a half",
                |b, x| {
                    let gate = erf_gate(b, x);
                    let y = b.mul(x, gate);
                    let c = b.number(0.4);
                    b.mul(y, c)
                },
                None,
            ),
            (
                "another cubic factor",
                |b, x| {
                    let gate = tanh_gate(b, x, 0.05);
                    let half = b.number(0.5);
                    let y = b.mul(half, x);
                    b.mul(y, gate)
                },
                None,
            ),
            (
                "another value in the gate",
                |b, x| {
                    let other = b.activate(Activation::Tanh, x);
                    let gate = erf_gate(b, other);
                    let y = b.mul(x, gate);
                    let half = b.number(0.5);
                    b.mul(y, half)
                },
                None,
            ),
            (
                "sigmoid of another value",
                |b, x| {
                    let other = b.activate(Activation::Tanh, x);
                    let s = b.activate(Activation::Sigmoid, other);
                    b.mul(x, s)
                },
                None,
            ),
            (
                "a half that stretches",
                |b, x| {
                    let gate = erf_gate(b, x);
                    let y = b.mul(x, gate);
                    let half = b.floats(&[1, 1, 1, 1], &[0.5]);
                    b.mul(y, half)
                },
                None,
            ),
        ]);
    }

    #[test]
    fn a_gate_that_is_an_output_too_stays() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let gate = erf_gate(&mut b, x);
        let y = b.mul(x, gate);
        let half = b.number(0.5);
        let y = b.mul(y, half);
        let mut g = b.finish(&[y, gate]);
        assert_eq!(apply(&mut g), 0);
    }
}
