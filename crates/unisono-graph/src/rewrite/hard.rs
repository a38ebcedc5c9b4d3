//! Recognises hard sigmoid and hard swish where an exporter spelled them out.
//!
//! | before | after |
//! | --- | --- |
//! | `clip(x + 3, 0, 6) / 6` | `HardSigmoid` with 1/6 and 1/2 |
//! | `x * clip(x + 3, 0, 6) / 6`, in any order and with any brackets | `HardSwish` |
//! | `x * HardSigmoid(x)` with 1/6 and 1/2 | `HardSwish` |
//!
//! Pays everywhere: four passes over memory become one, which a convolution in front may absorb. Values are rounded differently:
//! the activation multiplies by 1/6 before it clips.

use super::edit::{self, Edit, Input};
use super::product::Product;
use super::view::{View, input, near};
use crate::ops::activation::{Activate, Activation};
use crate::ops::binary::BinaryFunction;
use crate::{Graph, Node, NodeId, ValueId};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, spelled_out)
}

fn spelled_out(view: &View<'_>, id: NodeId, node: &Node) -> Option<Edit> {
    let product = Product::of_node(view, id, node)?;
    let output = (*node.outputs.first()?)?;
    let (x, function, mut absorbed) = match product.factors.as_slice() {
        [gate] => {
            let (x, absorbed) = shifted_clip(view, *gate)?;
            if !view.tolerance(x).near(product.scale, 1.0 / 6.0) {
                return None;
            }
            let function = Activation::HardSigmoid {
                alpha: 1.0 / 6.0,
                beta: 0.5,
            };
            (x, function, absorbed)
        }
        &[a, b] => [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
            let (other, absorbed) = if view.tolerance(x).near(product.scale, 1.0 / 6.0) {
                shifted_clip(view, gate)?
            } else if product.scale == 1.0 {
                hard_sigmoid(view, gate)?
            } else {
                return None;
            };
            (other == x).then_some((x, Activation::HardSwish, absorbed))
        })?,
        _ => return None,
    };
    if view.shape(x)? != view.shape(output)? || !view.fact(x)?.dtype.is_float() {
        return None;
    }
    absorbed.extend(&product.nodes);
    let inputs = vec![Some(Input::Value(x))];
    Some(Edit::new(Activate { function }, inputs, absorbed))
}

/// `x` of a private `clip(x + 3, 0, 6)`.
fn shifted_clip(view: &View<'_>, value: ValueId) -> Option<(ValueId, Vec<NodeId>)> {
    let (id, node, activate) = view.private::<Activate>(value)?;
    if activate.function
        != (Activation::Clip {
            low: 0.0,
            high: 6.0,
        })
    {
        return None;
    }
    let (sum, [a, b]) = view.private_binary(input(node, 0)?, BinaryFunction::Add)?;
    let x = match (view.is_number(a, 3.0), view.is_number(b, 3.0)) {
        (true, false) => b,
        (false, true) => a,
        _ => return None,
    };
    Some((x, vec![id, sum]))
}

/// `x` of a private hard sigmoid whose parameters are those of hard swish.
fn hard_sigmoid(view: &View<'_>, value: ValueId) -> Option<(ValueId, Vec<NodeId>)> {
    let (id, node, activate) = view.private::<Activate>(value)?;
    match activate.function {
        Activation::HardSigmoid { alpha, beta } if near(alpha.into(), 1.0 / 6.0) && beta == 0.5 => {
            Some((input(node, 0)?, vec![id]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::ops::activation::Clip;

    /// `clip(x + shift, 0, high)` as files have it, with bounds as inputs.
    fn clip(b: &mut Builder, x: ValueId, shift: f32, high: f32) -> ValueId {
        let shift = b.number(shift);
        let sum = b.add(x, shift);
        let (low, high) = (b.number(0.0), b.number(high));
        b.op(Clip, &[sum, low, high])
    }

    #[test]
    fn spelled_out_forms_become_activations() {
        type Form = fn(&mut Builder, ValueId) -> ValueId;
        let sigmoid = Activation::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        };
        let rows: &[(&str, Form, Option<Activation>)] = &[
            (
                "(x * clip) / 6",
                |b, x| {
                    let c = clip(b, x, 3.0, 6.0);
                    let y = b.mul(x, c);
                    let six = b.number(6.0);
                    b.div(y, six)
                },
                Some(Activation::HardSwish),
            ),
            (
                "x * (clip * 1/6)",
                |b, x| {
                    let c = clip(b, x, 3.0, 6.0);
                    let sixth = b.number(1.0 / 6.0);
                    let c = b.mul(c, sixth);
                    b.mul(x, c)
                },
                Some(Activation::HardSwish),
            ),
            (
                "x * HardSigmoid",
                |b, x| {
                    let function = Activation::HardSigmoid {
                        alpha: 1.0 / 6.0,
                        beta: 0.5,
                    };
                    let s = b.activate(function, x);
                    b.mul(s, x)
                },
                Some(Activation::HardSwish),
            ),
            (
                "clip / 6",
                |b, x| {
                    let c = clip(b, x, 3.0, 6.0);
                    let six = b.number(6.0);
                    b.div(c, six)
                },
                Some(sigmoid),
            ),
            (
                "a bound of 5",
                |b, x| {
                    let c = clip(b, x, 3.0, 5.0);
                    let y = b.mul(x, c);
                    let six = b.number(6.0);
                    b.div(y, six)
                },
                None,
            ),
            (
                "a shift of 2",
                |b, x| {
                    let c = clip(b, x, 2.0, 6.0);
                    let y = b.mul(x, c);
                    let six = b.number(6.0);
                    b.div(y, six)
                },
                None,
            ),
            (
                "another slope",
                |b, x| {
                    let function = Activation::HardSigmoid {
                        alpha: 0.2,
                        beta: 0.5,
                    };
                    let s = b.activate(function, x);
                    b.mul(s, x)
                },
                None,
            ),
        ];
        let mut failures = Vec::new();
        for (name, form, expected) in rows {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "8"]);
            let x = b.activate(Activation::Tanh, x);
            let y = form(&mut b, x);
            let mut g = b.finish(&[y]);
            let report = optimize(&mut g, &NoFolding);
            g.check().unwrap();
            let last = g.nodes().last().unwrap().op.clone();
            let found = last.downcast_ref::<Activate>().map(|a| a.function);
            let right = match expected {
                Some(_) => g.nodes().len() == 2 && found == *expected,
                None => report.count("hard") == 0,
            };
            if !right {
                failures.push(format!("{name}: {found:?}, {:?}", kinds(&g)));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}
