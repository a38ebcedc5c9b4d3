//! Computes the same thing once.
//!
//! Before: two steps with the same operator, the same parameters and the same inputs; two small constants with the same
//! contents. After: the first of them, read by all. Pays everywhere: exporters repeat constants for every use and shape
//! computations for every layer, and patterns of other rewrites count on a value being one value. Values stay equal.

use super::edit;
use crate::{Graph, ValueId};
use std::collections::HashMap;
use unisono_tensor::Tensor;

/// Larger constants are compared by nobody: they are weights, and as many as the file has.
const COMPARED_BYTES: usize = 4096;

/// Operators whose parameters hold tensors, which their debug form does not spell out.
const NOT_SPELLED_OUT: &[&str] = &["ConstantOfShape"];

/// Applies the rewrite everywhere; gives the number of removed steps and constants.
pub fn apply(graph: &mut Graph) -> usize {
    merge_constants(graph) + merge_nodes(graph)
}

fn merge_constants(graph: &mut Graph) -> usize {
    let mut first: HashMap<(unisono_tensor::DType, Vec<usize>, Vec<u8>), ValueId> = HashMap::new();
    let mut replace: HashMap<ValueId, ValueId> = HashMap::new();
    let comparable = |t: &Tensor| t.strings().is_none() && t.bytes().len() <= COMPARED_BYTES;
    for id in graph.value_ids() {
        let Some(tensor) = graph.constant(id).filter(|t| comparable(t)) else {
            continue;
        };
        let key = (
            tensor.dtype(),
            tensor.shape().to_vec(),
            tensor.bytes().to_vec(),
        );
        let kept = *first.entry(key).or_insert(id);
        if kept != id {
            replace.insert(id, kept);
        }
    }
    let mut merged = std::collections::HashSet::new();
    let mut nodes = graph.take_nodes();
    for input in nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().flatten()) {
        if let Some(&kept) = replace.get(input) {
            merged.insert(*input);
            *input = kept;
        }
    }
    graph.set_nodes(nodes);
    merged.len()
}

fn merge_nodes(graph: &mut Graph) -> usize {
    type Key = (&'static str, String, Vec<Option<ValueId>>, usize);
    let mut first: HashMap<Key, usize> = HashMap::new();
    let mut replace: HashMap<ValueId, ValueId> = HashMap::new();
    let mut pairs = Vec::new();
    for (i, node) in graph.nodes().iter().enumerate() {
        let kind = node.op.kind();
        if !node.op.is_pure() || !node.op.subgraphs().is_empty() || NOT_SPELLED_OUT.contains(&kind)
        {
            continue;
        }
        let resolve = |id: &ValueId| *replace.get(id).unwrap_or(id);
        let inputs = node
            .inputs
            .iter()
            .map(|v| v.as_ref().map(resolve))
            .collect();
        let key = (kind, format!("{:?}", node.op), inputs, node.outputs.len());
        let earlier = *first.entry(key).or_insert(i);
        if earlier == i {
            continue;
        }
        let kept = &graph.nodes()[earlier].outputs;
        for (old, new) in node.outputs.iter().zip(kept) {
            if let (Some(old), Some(new)) = (old, new) {
                replace.insert(*old, *new);
                pairs.push((*old, *new));
            }
        }
    }
    edit::substitute(graph, pairs)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn equal_steps_over_equal_constants_become_one() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let (p, q) = (b.number(2.0), b.number(2.0));
        let (y, z) = (b.add(x, p), b.add(x, q));
        let (y, z) = (b.relu(y), b.relu(z));
        let sum = b.mul(y, z);
        let mut g = b.finish(&[sum]);
        assert_eq!(apply(&mut g), 3);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["Add", "Relu", "Mul"]);
    }

    #[test]
    fn steps_that_differ_in_a_parameter_an_input_or_a_constant_stay() {
        use crate::ops::activation::Activation::LeakyRelu;
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let (p, q) = (b.number(2.0), b.number(2.000_000_2));
        let outputs = [
            b.add(x, p),
            b.add(x, q),
            b.add(p, x),
            b.activate(LeakyRelu { alpha: 0.1 }, x),
            b.activate(LeakyRelu { alpha: 0.2 }, x),
        ];
        let mut g = b.finish(&outputs);
        assert_eq!(apply(&mut g), 0);
    }

    #[test]
    fn two_outputs_of_the_model_stay_two() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        let (y, z) = (b.relu(x), b.relu(x));
        let mut g = b.finish(&[y, z]);
        assert_eq!(apply(&mut g), 0);
        assert_eq!(output_names(&g), ["out_0", "out_1"]);
    }
}
