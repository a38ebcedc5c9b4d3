//! Models that are built by hand, on a GPU and on the processor.

#![allow(dead_code, reason = "every test program uses its part")]

use std::sync::Arc;

use unisono_cuda::CudaOptions;
use unisono_graph::contract::contract;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::{Dim, Graph, Operator, Symbol, TensorType, ValueId};
use unisono_reference::arith::first_difference;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::session::SessionOptions;
use unisono_runtime::{Device, Session};
use unisono_tensor::{DType, Tensor};

/// An input; letters stand for lengths.
pub fn input(graph: &mut Graph, name: &str, dtype: DType, shape: &[&str]) -> ValueId {
    let dim = |n: &&str| match n.parse::<i64>() {
        Ok(n) => Dim::constant(n),
        Err(_) => Dim::symbol(&Symbol::new(n)),
    };
    let shape = Some(shape.iter().map(dim).collect());
    graph.add_input(name, TensorType { dtype, shape })
}

/// A node with one output.
pub fn node(graph: &mut Graph, op: impl Operator, inputs: &[ValueId]) -> ValueId {
    let name = format!("node{}", graph.nodes().len());
    graph.append(name, Arc::new(op), inputs, 1)[0]
}

/// Numbers without a pattern in which a row that is repeated or misplaced could hide.
pub fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_slice(shape, &values).unwrap()
}

fn model(graph: Graph) -> Arc<ModelGraph> {
    graph.check().unwrap();
    let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
    let outputs = graph.outputs().iter();
    let outputs: Vec<_> = outputs.map(|id| facts[id.index()].clone()).collect();
    let contract = contract(&graph);
    Arc::new(ModelGraph::new(graph, contract, &outputs).unwrap())
}

/// A model on both devices.
pub struct Bench {
    pub gpu: Device,
    pub on_gpu: Session,
    pub on_cpu: Session,
}

impl Bench {
    pub fn new(graph: Graph) -> Bench {
        let model = model(graph);
        let gpu = unisono_cuda::device(&CudaOptions::default()).unwrap();
        let cpu = unisono_cpu::device(&unisono_cpu::CpuOptions::default()).unwrap();
        let options = SessionOptions::default();
        Bench {
            on_gpu: Session::new(Arc::clone(&model), &gpu, &options).unwrap(),
            on_cpu: Session::new(model, &cpu, &options).unwrap(),
            gpu,
        }
    }

    /// Holds the GPU's answer against the processor's, bit for bit but for which NaN it is.
    pub fn check(&self, x: &Tensor) {
        self.check_all(std::slice::from_ref(x));
    }

    /// The same for a model of several inputs.
    pub fn check_all(&self, inputs: &[Tensor]) {
        let (got, expected) = (self.on_gpu.run(inputs), self.on_cpu.run(inputs));
        let (got, expected) = (got.unwrap(), expected.unwrap());
        assert_eq!(got.len(), expected.len());
        let shapes: Vec<_> = inputs.iter().map(Tensor::shape).collect();
        for n in 0..expected.len() {
            assert_eq!(got[n].shape(), expected[n].shape(), "output {n}");
            if expected[n].dtype() == DType::F32 {
                let of = |t: &Tensor| t.as_slice::<f32>().unwrap().to_vec();
                let difference = first_difference(&of(&got[n]), &of(&expected[n]));
                assert!(
                    difference.is_none(),
                    "{shapes:?}: output {n}: {difference:?}"
                );
            } else {
                let same = got[n].bytes() == expected[n].bytes();
                assert!(same, "{shapes:?}: output {n} has other bytes");
            }
        }
    }

    /// The kernels that a request runs, in order.
    pub fn kernels(&self, inputs: &[Tensor]) -> Vec<String> {
        let profile = self.on_gpu.profile(inputs, 1).unwrap();
        profile.steps.into_iter().map(|step| step.kernel).collect()
    }
}
