//! Builds small graphs for the tests of rewrites, and says what became of them.

use super::ConstantEvaluator;
use crate::ops::activation::{Activate, Activation};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::{Dim, Graph, Operator, Symbol, TensorType, ValueId};
use std::sync::Arc;
use unisono_tensor::{DType, Tensor};

/// Lengths by their spelling: numbers and names.
pub fn dims(spelled: &[&str]) -> Vec<Dim> {
    spelled
        .iter()
        .map(|s| match s.parse::<i64>() {
            Ok(n) => Dim::constant(n),
            Err(_) => Dim::symbol(&Symbol::new(s)),
        })
        .collect()
}

/// Builds a graph node by node.
pub struct Builder {
    graph: Graph,
}

impl Builder {
    pub fn new() -> Builder {
        Builder {
            graph: Graph::new("test"),
        }
    }

    /// An f32 input.
    pub fn input(&mut self, name: &str, shape: &[&str]) -> ValueId {
        self.typed_input(name, DType::F32, shape)
    }

    pub fn typed_input(&mut self, name: &str, dtype: DType, shape: &[&str]) -> ValueId {
        let shape = Some(dims(shape));
        self.graph.add_input(name, TensorType { dtype, shape })
    }

    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant("", tensor)
    }

    pub fn floats(&mut self, shape: &[usize], data: &[f32]) -> ValueId {
        self.constant(Tensor::from_slice(shape, data).unwrap())
    }

    /// A scalar.
    pub fn number(&mut self, x: f32) -> ValueId {
        self.floats(&[], &[x])
    }

    pub fn ints(&mut self, data: &[i64]) -> ValueId {
        self.constant(Tensor::from_slice(&[data.len()], data).unwrap())
    }

    pub fn op(&mut self, op: impl Operator, inputs: &[ValueId]) -> ValueId {
        self.ops(op, inputs, 1)[0]
    }

    pub fn ops(&mut self, op: impl Operator, inputs: &[ValueId], outputs: usize) -> Vec<ValueId> {
        let name = format!("node_{}", self.graph.nodes().len());
        self.graph.append(name, Arc::new(op), inputs, outputs)
    }

    pub fn binary(&mut self, function: BinaryFunction, a: ValueId, b: ValueId) -> ValueId {
        self.op(Binary { function }, &[a, b])
    }

    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFunction::Add, a, b)
    }

    pub fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFunction::Sub, a, b)
    }

    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFunction::Mul, a, b)
    }

    pub fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFunction::Div, a, b)
    }

    pub fn pow(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryFunction::Pow, a, b)
    }

    pub fn activate(&mut self, function: Activation, x: ValueId) -> ValueId {
        self.op(Activate { function }, &[x])
    }

    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.activate(Activation::Relu, x)
    }

    /// The checked graph with these outputs, named `out_0`, `out_1`, …
    pub fn finish(mut self, outputs: &[ValueId]) -> Graph {
        for (i, &id) in outputs.iter().enumerate() {
            if self.graph.value(id).name.is_empty() {
                self.graph.value_mut(id).name = format!("out_{i}");
            }
        }
        self.graph.set_outputs(outputs.to_vec());
        self.graph.check().unwrap();
        self.graph
    }
}

/// The names of the operators in order.
pub fn kinds(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().iter().map(|n| n.op.name()).collect()
}

/// The names of the outputs.
pub fn output_names(graph: &Graph) -> Vec<&str> {
    let outputs = graph.outputs().iter();
    outputs.map(|&o| graph.value(o).name.as_str()).collect()
}

/// The only operator of its type in the graph.
pub fn only<T: Operator>(graph: &Graph) -> &T {
    let mut found = graph
        .nodes()
        .iter()
        .filter_map(|n| n.op.downcast_ref::<T>());
    let first = found.next().expect("there is one");
    assert!(found.next().is_none(), "there is only one");
    first
}

/// Adds f32 tensors of one shape: enough arithmetic to see folding happen.
pub struct AddsOnly;

impl ConstantEvaluator for AddsOnly {
    fn evaluate(&self, op: &dyn Operator, inputs: &[Option<Tensor>]) -> Option<Vec<Tensor>> {
        let binary = op.downcast_ref::<Binary>()?;
        let (a, b) = (inputs[0].as_ref()?, inputs[1].as_ref()?);
        if binary.function != BinaryFunction::Add || a.shape() != b.shape() {
            return None;
        }
        let (x, y) = (a.as_slice::<f32>().ok()?, b.as_slice::<f32>().ok()?);
        let sum: Vec<f32> = x.iter().zip(y).map(|(x, y)| x + y).collect();
        Some(vec![Tensor::from_slice(a.shape(), &sum).ok()?])
    }
}
