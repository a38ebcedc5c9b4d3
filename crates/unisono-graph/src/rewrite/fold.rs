//! Computes what does not depend on a request.
//!
//! Before: a step whose inputs are all constants, or whose contents follow from shapes (`Shape` of a fixed axis, and what exporters
//! compute with it). After: a constant. Pays everywhere: once when the model is loaded instead of with every request; and what
//! is constant can be packed, fused, and reasoned about. Values stay equal, because the evaluator follows the
//! arithmetic of all devices.
//!
//! A constant must not be larger than what it saves: a few numbers that describe a large tensor (`ConstantOfShape`, `Expand`,
//! `Tile`) stay a step, and a hostile file cannot make the loader fill memory or compute for long.

use super::ConstantEvaluator;
use super::edit;
use super::view::View;
use crate::ops::generate::ConstantOfShape;
use crate::ops::movement::Tile;
use crate::ops::shape::Expand;
use crate::{Fact, Graph, InferContext, Node, Operator, ValueId};
use std::collections::BTreeMap;
use unisono_tensor::{DType, Tensor};

/// A constant may always have this many bytes.
const SMALL: u64 = 1 << 20;
/// Beyond that, so many times the bytes of the inputs: dequantised weights are four times as large, and worth it.
const GROWTH: u64 = 8;
/// Bytes that one pass may add to a graph besides as many as its constants have.
const BUDGET: u64 = 64 << 20;
/// Operations that one step may take.
const WORK: u64 = 1 << 30;

/// Applies the rewrite everywhere; gives the number of steps that became constants.
pub fn apply(graph: &mut Graph, evaluator: &dyn ConstantEvaluator) -> usize {
    let known = contents_from_shapes(graph);
    let known = edit::make_constant(graph, known);
    let computed = computed(graph, evaluator);
    known + edit::make_constant(graph, computed)
}

/// Values whose contents inference knows as numbers.
fn contents_from_shapes(graph: &Graph) -> Vec<(ValueId, Tensor)> {
    let view = View::new(graph);
    let mut found = Vec::new();
    for node in graph.nodes().iter().filter(|n| n.op.is_pure()) {
        for &id in node.outputs.iter().flatten() {
            let Some(fact) = view.fact(id) else { continue };
            if let Some(tensor) = fact.constant.clone().or_else(|| integers(fact)) {
                found.push((id, tensor));
            }
        }
    }
    found
}

/// The tensor that a fact's integers describe.
fn integers(fact: &Fact) -> Option<Tensor> {
    let numbers: Vec<i64> = fact
        .integers
        .as_ref()?
        .iter()
        .map(|n| n.as_const())
        .collect::<Option<_>>()?;
    let shape = fact.concrete_shape()?;
    macro_rules! narrowed {
        ($t:ty) => {{
            let narrow = numbers.iter().map(|&n| <$t>::try_from(n).ok());
            let narrow: Vec<$t> = narrow.collect::<Option<_>>()?;
            Tensor::from_slice(&shape, &narrow).ok()
        }};
    }
    match fact.dtype {
        DType::I64 => Tensor::from_slice(&shape, &numbers).ok(),
        DType::I32 => narrowed!(i32),
        DType::I16 => narrowed!(i16),
        DType::I8 => narrowed!(i8),
        DType::U64 => narrowed!(u64),
        DType::U32 => narrowed!(u32),
        DType::U16 => narrowed!(u16),
        DType::U8 => narrowed!(u8),
        DType::Bool => {
            let flags: Vec<bool> = numbers.iter().map(|&n| n != 0).collect();
            Tensor::from_bools(&shape, &flags).ok()
        }
        _ => None,
    }
}

fn bytes(tensor: &Tensor) -> u64 {
    match tensor.strings() {
        Some(strings) => strings.iter().map(|s| s.len() as u64 + 24).sum(),
        None => tensor.len() as u64 * tensor.dtype().size() as u64,
    }
}

/// The contents of all steps over constants, one after the other.
fn computed(graph: &Graph, evaluator: &dyn ConstantEvaluator) -> Vec<(ValueId, Tensor)> {
    let stored = graph.values().iter().filter_map(|v| v.constant.as_ref());
    let mut budget = stored.map(bytes).fold(BUDGET, u64::saturating_add);
    let mut known: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    let mut found = Vec::new();
    for node in graph.nodes() {
        let Some(tensors) = evaluate(graph, evaluator, &known, node, budget) else {
            continue;
        };
        for (id, tensor) in node.outputs.iter().zip(tensors) {
            if let Some(id) = *id {
                budget = budget.saturating_sub(bytes(&tensor));
                known.insert(id, tensor.clone());
                found.push((id, tensor));
            }
        }
    }
    found
}

fn evaluate(
    graph: &Graph,
    evaluator: &dyn ConstantEvaluator,
    known: &BTreeMap<ValueId, Tensor>,
    node: &Node,
    budget: u64,
) -> Option<Vec<Tensor>> {
    if !node.op.is_pure() || !node.op.subgraphs().is_empty() {
        return None;
    }
    let constant = |id: ValueId| graph.constant(id).or_else(|| known.get(&id));
    let inputs: Vec<Option<Tensor>> = node
        .inputs
        .iter()
        .map(|input| match input {
            None => Some(None),
            Some(id) => constant(*id).cloned().map(Some),
        })
        .collect::<Option<_>>()?;
    let read: u64 = inputs.iter().flatten().map(bytes).sum();
    if !is_worth_it(&*node.op, &inputs, node.outputs.len(), read, budget) {
        return None;
    }
    let outputs = evaluator.evaluate(&*node.op, &inputs)?;
    (outputs.len() >= node.outputs.len()).then_some(outputs)
}

fn is_worth_it(
    op: &dyn Operator,
    inputs: &[Option<Tensor>],
    outputs: usize,
    read: u64,
    budget: u64,
) -> bool {
    let facts: Vec<Option<Fact>> = inputs
        .iter()
        .map(|t| t.as_ref().map(Fact::constant))
        .collect();
    let mut cx = InferContext::new(&facts, outputs);
    if op.infer(&mut cx).is_err() {
        return false;
    }
    let made = cx.into_outputs();
    let growth = if op.is::<ConstantOfShape>() || op.is::<Expand>() || op.is::<Tile>() {
        1
    } else {
        GROWTH
    };
    let limit = SMALL.max(read.saturating_mul(growth)).min(budget);
    let mut size = 0u64;
    for fact in made.iter().flatten() {
        // Where the shape depends on the contents it is bounded by them, but the factor is not known.
        let Some(elements) = fact.element_count() else {
            return read <= SMALL / 16;
        };
        let each = fact
            .dtype
            .size()
            .max(24 * usize::from(fact.dtype == DType::String));
        size = size.saturating_add(elements.saturating_mul(each as u64));
    }
    size <= limit && op.flops(&facts, &made).is_some_and(|work| work <= WORK)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::ops::shape::Shape;

    #[test]
    fn steps_over_constants_become_one_constant() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "2"]);
        let (p, q) = (b.floats(&[2], &[1.0, 2.0]), b.floats(&[2], &[10.0, 20.0]));
        let sum = b.add(p, q);
        let twice = b.add(sum, sum);
        let y = b.mul(x, twice);
        let mut g = b.finish(&[y]);
        assert_eq!(apply(&mut g, &AddsOnly), 2);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["Mul"]);
        let folded = g.constant(twice).unwrap();
        assert_eq!(folded.as_slice::<f32>().unwrap(), [22.0, 44.0]);
    }

    #[test]
    fn an_output_that_is_constant_keeps_its_name() {
        let mut b = Builder::new();
        let p = b.floats(&[1], &[3.0]);
        let sum = b.add(p, p);
        let mut g = b.finish(&[sum]);
        assert_eq!(apply(&mut g, &AddsOnly), 1);
        g.check().unwrap();
        assert_eq!(output_names(&g), ["out_0"]);
        assert_eq!(g.constant(sum).unwrap().as_slice::<f32>().unwrap(), [6.0]);
    }

    #[test]
    fn contents_that_follow_from_shapes_are_known_without_an_evaluator() {
        let shape = |start, end| Shape { start, end };
        let mut b = Builder::new();
        let x = b.input("x", &["n", "4", "8"]);
        let fixed = b.op(shape(1, None), &[x]);
        let open = b.op(shape(0, Some(1)), &[x]);
        let mut g = b.finish(&[fixed, open]);
        assert_eq!(apply(&mut g, &super::super::NoFolding), 1);
        g.check().unwrap();
        let lengths = g.constant(fixed).unwrap().to_i64s();
        assert_eq!(lengths, Some(vec![4, 8]));
        assert!(g.constant(open).is_none(), "n is not a number");
    }

    #[test]
    fn a_few_bytes_do_not_become_a_large_constant() {
        struct MustNotRun;
        impl ConstantEvaluator for MustNotRun {
            fn evaluate(&self, op: &dyn Operator, _: &[Option<Tensor>]) -> Option<Vec<Tensor>> {
                panic!("{} was evaluated", op.name())
            }
        }
        let mut b = Builder::new();
        let one = b.number(1.0);
        let shape = b.ints(&[1024, 1024]);
        let large = b.op(Expand, &[one, shape]);
        let mut g = b.finish(&[large]);
        assert_eq!(apply(&mut g, &MustNotRun), 0);
    }
}
