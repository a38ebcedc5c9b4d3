//! Lets a product carry what stands around it.
//!
//! | before | after |
//! | --- | --- |
//! | a product times a number, or divided by one | the product with `alpha` |
//! | a product of operands that were multiplied by numbers | the product with `alpha` |
//! | a product plus a constant row | the product with that bias |
//! | an activation of a product | the product with that activation |
//!
//! Pays everywhere: each step was a pass over the product's memory, and becomes work on numbers that are in registers.
//! What stands behind leaves values in f32 and f64 equal, because the product's own order is scale, bias, activation; f16 and bf16 are
//! rounded once instead of after every step. Numbers that move from an operand behind the product, and
//! divisors, which become factors, round differently unless they are powers of two.

use super::edit::{self, Edit, Input};
use super::view::{View, input, operands};
use crate::ops::activation::{Activate, Activation};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::linear::Linear;
use crate::{Dim, Graph, Node, NodeId, ValueId};
use unisono_tensor::{DType, Tensor};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::until_settled(graph, |view, _, node| {
        scaled(view, node)
            .or_else(|| scaled_operands(view, node))
            .or_else(|| biased(view, node))
            .or_else(|| activated(view, node))
    })
}

/// A private product of floats that has no activation yet.
fn product<'g>(view: &View<'g>, value: ValueId) -> Option<(NodeId, &'g Node, &'g Linear)> {
    let found = view.private::<Linear>(value)?;
    let is_float = view.fact(value)?.dtype.is_float();
    (is_float && found.2.activation.is_none()).then_some(found)
}

fn inputs_of(node: &Node) -> Vec<Option<Input>> {
    node.inputs.iter().map(|i| i.map(Input::Value)).collect()
}

fn scaled(view: &View<'_>, node: &Node) -> Option<Edit> {
    let function = node.op.downcast_ref::<Binary>()?.function;
    let [a, b] = operands(node)?;
    let (value, number) = match function {
        BinaryFunction::Mul => match (view.number(a), view.number(b)) {
            (None, Some(n)) => (a, n),
            (Some(n), None) => (b, n),
            _ => return None,
        },
        BinaryFunction::Div => (a, 1.0 / view.number(b)?),
        _ => return None,
    };
    let alpha = number as f32;
    let (id, maker, op) = product(view, value)?;
    // A product in f64 would lose digits to a factor that f32 does not hold.
    let is_exact = f64::from(alpha) == number || view.fact(value)?.dtype != DType::F64;
    if !is_exact || !alpha.is_normal() {
        return None;
    }
    if op.alpha != 1.0 || input(maker, 2).is_some() || !keeps_shape(view, node, value) {
        return None;
    }
    Some(Edit::new(
        Linear { alpha, ..*op },
        inputs_of(maker),
        vec![id],
    ))
}

/// Attention scales its operands before they meet: `(x s) (y s)` is `s^2 (x y)`.
fn scaled_operands(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = node.op.downcast_ref::<Linear>()?;
    let mut inputs = inputs_of(node);
    let mut absorbed = Vec::new();
    let mut factor = 1.0;
    for (index, slot) in inputs.iter_mut().enumerate().take(2) {
        let operand = input(node, index)?;
        let Some((id, [a, b])) = view.private_binary(operand, BinaryFunction::Mul) else {
            continue;
        };
        let (x, number) = match (view.number(a), view.number(b)) {
            (None, Some(n)) => (a, n),
            (Some(n), None) => (b, n),
            _ => continue,
        };
        if view.shape(x)? != view.shape(operand)? || !view.fact(x)?.dtype.is_float() {
            continue;
        }
        factor *= number;
        absorbed.push(id);
        *slot = Some(x.into());
    }
    let exact = f64::from(op.alpha) * factor;
    let alpha = exact as f32;
    let output = (*node.outputs.first()?)?;
    let is_exact = f64::from(alpha) == exact || view.fact(output)?.dtype != DType::F64;
    if absorbed.is_empty() || !is_exact || !alpha.is_normal() {
        return None;
    }
    Some(Edit::new(Linear { alpha, ..*op }, inputs, absorbed))
}

fn keeps_shape(view: &View<'_>, node: &Node, value: ValueId) -> bool {
    let output = node.outputs.first().copied().flatten();
    match (output.and_then(|o| view.shape(o)), view.shape(value)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

fn biased(view: &View<'_>, node: &Node) -> Option<Edit> {
    if node.op.downcast_ref::<Binary>()?.function != BinaryFunction::Add {
        return None;
    }
    let [a, b] = operands(node)?;
    [(a, b), (b, a)].into_iter().find_map(|(value, bias)| {
        let constant = view.constant(bias)?;
        let (id, maker, op) = product(view, value)?;
        if input(maker, 2).is_some() || !is_row(constant, view.shape(value)?) {
            return None;
        }
        let mut inputs = inputs_of(maker);
        inputs.truncate(2);
        inputs.push(Some(bias.into()));
        Some(Edit::new(Linear { beta: 1.0, ..*op }, inputs, vec![id]))
    })
}

/// Does the constant add the same number to a whole column, or everywhere, without making the product larger?
fn is_row(constant: &Tensor, product: &[Dim]) -> bool {
    let Some((columns, in_front)) = constant.shape().split_last() else {
        return true;
    };
    let fits = match product.last() {
        Some(n) => *columns == 1 || n.as_len() == Some(*columns),
        None => false,
    };
    fits && in_front.iter().all(|&n| n == 1) && constant.rank() <= product.len()
}

fn activated(view: &View<'_>, node: &Node) -> Option<Edit> {
    let function = node.op.downcast_ref::<Activate>()?.function;
    let (id, maker, op) = product(view, input(node, 0)?)?;
    let activation = Some(absorbable(function)?);
    Some(Edit::new(
        Linear { activation, ..*op },
        inputs_of(maker),
        vec![id],
    ))
}

/// The activation if an epilogue may carry it.
pub(super) fn absorbable(function: Activation) -> Option<Activation> {
    match function {
        // Gates of recurrent cells only.
        Activation::Affine { .. } | Activation::ScaledTanh { .. } => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;

    fn product(b: &mut Builder) -> ValueId {
        let x = b.input("x", &["b", "t", "4"]);
        let w = b.floats(&[4, 2], &[1.0; 8]);
        b.op(Linear::default(), &[x, w])
    }

    #[test]
    fn scale_bias_and_activation_are_absorbed_in_order() {
        let mut b = Builder::new();
        let y = product(&mut b);
        let eight = b.number(8.0);
        let y = b.div(y, eight);
        let bias = b.floats(&[2], &[3.0, 4.0]);
        let y = b.add(bias, y);
        let y = b.relu(y);
        let mut g = b.finish(&[y]);
        let report = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["MatMul"]);
        assert_eq!(report.count("linear"), 3);
        let op = only::<Linear>(&g);
        assert_eq!(op.alpha, 0.125);
        assert_eq!(op.activation, Some(Activation::Relu));
        assert_eq!(g.nodes()[0].inputs[2], Some(bias));
        assert_eq!(output_names(&g), ["out_0"]);
    }

    #[test]
    fn numbers_move_from_operands_behind_the_product() {
        let mut b = Builder::new();
        let q = b.input("q", &["b", "t", "8"]);
        let k = b.input("k", &["b", "8", "s"]);
        let (half, quarter) = (b.number(0.5), b.number(0.25));
        let q2 = b.mul(q, half);
        let k2 = b.mul(quarter, k);
        let y = b.op(Linear::default(), &[q2, k2]);
        let mut g = b.finish(&[y]);
        let _ = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["MatMul"]);
        assert_eq!(only::<Linear>(&g).alpha, 0.125);
        assert_eq!(g.nodes()[0].inputs, [Some(q), Some(k)]);

        let mut b = Builder::new();
        let q = b.input("q", &["b", "t", "8"]);
        let k = b.input("k", &["b", "8", "s"]);
        let half = b.number(0.5);
        let scaled = b.mul(q, half);
        let y = b.op(Linear::default(), &[scaled, k]);
        let mut g = b.finish(&[y, scaled]);
        assert_eq!(apply(&mut g), 0, "the scaled operand is an output");
    }

    #[test]
    fn what_is_no_epilogue_of_this_product_stays() {
        type Tail = fn(&mut Builder, ValueId) -> ValueId;
        let rows: &[(&str, Tail)] = &[
            ("a bias that stretches the product", |b, y| {
                let c = b.floats(&[1, 1, 1, 2], &[0.0; 2]);
                b.add(y, c)
            }),
            ("a constant per row", |b, y| {
                let c = b.floats(&[3, 1], &[0.0; 3]);
                b.add(y, c)
            }),
            ("a bias that is an input", |b, y| {
                let c = b.input("c", &["2"]);
                b.add(y, c)
            }),
            ("a quotient by zero", |b, y| {
                let c = b.number(0.0);
                b.div(y, c)
            }),
            ("a scale per column", |b, y| {
                let c = b.floats(&[2], &[2.0, 3.0]);
                b.mul(y, c)
            }),
        ];
        let mut failures = Vec::new();
        for (name, tail) in rows {
            let mut b = Builder::new();
            let y = product(&mut b);
            let z = tail(&mut b, y);
            let mut g = b.finish(&[z]);
            if apply(&mut g) != 0 {
                failures.push(*name);
            }
        }
        assert!(failures.is_empty(), "{failures:?}");
    }

    #[test]
    fn a_product_that_is_an_output_or_read_twice_stays() {
        let mut b = Builder::new();
        let y = product(&mut b);
        let z = b.relu(y);
        let mut g = b.finish(&[y, z]);
        assert_eq!(apply(&mut g), 0);

        let mut b = Builder::new();
        let y = product(&mut b);
        let (p, q) = (b.relu(y), b.activate(Activation::Tanh, y));
        let mut g = b.finish(&[p, q]);
        assert_eq!(apply(&mut g), 0);
    }

    #[test]
    fn a_scale_behind_a_bias_stays() {
        let mut b = Builder::new();
        let y = product(&mut b);
        let bias = b.floats(&[2], &[3.0, 4.0]);
        let y = b.add(y, bias);
        let two = b.number(2.0);
        let y = b.mul(y, two);
        let mut g = b.finish(&[y]);
        let report = optimize(&mut g, &NoFolding);
        assert_eq!(report.count("linear"), 1);
        assert_eq!(kinds(&g), ["MatMul", "Mul"]);
    }
}
