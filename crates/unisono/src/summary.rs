//! A graph in numbers: how many of which operators, how many parameters.

use std::collections::BTreeMap;

use unisono_graph::Graph;
use unisono_tensor::{DType, Tensor};

/// What a graph holds, bodies of control flow included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many nodes there are of each operator, by its name.
    pub operators: BTreeMap<&'static str, usize>,
    /// Elements of constants that hold weights: floating-point and 8-bit ones with at least one axis. Shapes, axes,
    /// epsilons and the like are not weights.
    pub parameters: u64,
    /// Bytes of those.
    pub parameter_bytes: u64,
}

impl Summary {
    pub(crate) fn of(graph: &Graph) -> Summary {
        let mut summary = Summary::default();
        summary.add(graph);
        summary
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.operators.values().sum()
    }

    /// The reader bounds how deep bodies nest, so this recursion is bounded.
    fn add(&mut self, graph: &Graph) {
        let mut used = vec![false; graph.values().len()];
        let outputs = graph.outputs().iter();
        let read = graph
            .nodes()
            .iter()
            .flat_map(|node| node.inputs.iter().flatten());
        for id in read.chain(outputs) {
            if let Some(used) = used.get_mut(id.index()) {
                *used = true;
            }
        }
        for (value, used) in graph.values().iter().zip(used) {
            if let Some(constant) = value.constant.as_ref().filter(|_| used) {
                self.add_constant(constant);
            }
        }
        for node in graph.nodes() {
            *self.operators.entry(node.op.name()).or_default() += 1;
            for body in node.op.subgraphs() {
                self.add(&body.graph);
            }
        }
    }

    fn add_constant(&mut self, tensor: &Tensor) {
        let dtype = tensor.dtype();
        let is_weight = dtype.is_float() || matches!(dtype, DType::I8 | DType::U8);
        if is_weight && tensor.rank() > 0 {
            self.parameters += tensor.len() as u64;
            self.parameter_bytes += (tensor.len() * dtype.size()) as u64;
        }
    }
}
