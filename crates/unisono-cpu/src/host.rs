//! The processor as another device's helper: nodes that the device has no kernel for, and whole plans.
//!
//! The one idea: what such a device cannot do itself is done here in the canonical arithmetic, so its answers have the same
//! bits wherever a node runs. It has threads of its own, and no lanes: memory comes from whoever asks.

use std::sync::Arc;

use unisono_graph::Node;
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Backend, Executable};
use unisono_runtime::program::Known;
use unisono_runtime::program::facts::locate;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{TensorMut, TensorRef, fault};

use crate::device::{Cpu, CpuOptions};
use crate::exec::kernel::{Access, Context, Kernel, failed};
use crate::exec::lane::Memory;
use crate::exec::model::{Engine, Store};
use crate::exec::program::build_kernel;
use crate::simd::FpEnv;

/// See the [module](self).
pub struct Host(Cpu);

/// Memory that a [`HostNode`] needs while it runs; kept from run to run.
#[derive(Debug, Default)]
pub struct HostScratch(Memory);

impl HostScratch {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// One node for one set of shapes. Run by any number of threads at the same time.
pub struct HostNode {
    node: Node,
    kernel: Box<dyn Kernel>,
    engine: Arc<Engine>,
}

impl Host {
    /// The processor with these options.
    ///
    /// # Errors
    /// As [`crate::backend`].
    pub fn new(options: &CpuOptions) -> Result<Host, Error> {
        Cpu::new(options).map(Host)
    }

    /// A model whose plans run here.
    ///
    /// # Errors
    /// An operator has no kernel.
    pub fn prepare(&self, model: Arc<ModelGraph>) -> Result<Arc<dyn Executable>, Error> {
        self.0.prepare(model)
    }

    /// A lane for the plans of such a model.
    ///
    /// # Errors
    /// None so far.
    pub fn new_lane(&self) -> Result<Box<dyn Lane>, Error> {
        self.0.new_lane()
    }

    /// A node, number `index` of the graph that `store` belongs to. All shapes of inputs and outputs are known.
    ///
    /// # Errors
    /// Attributes, types or shapes that the operator does not have; memory for packed weights.
    pub fn node(
        &self,
        node: &Node,
        index: usize,
        inputs: &[Option<Known>],
        outputs: &[Option<Known>],
        store: &Store,
    ) -> Result<HostNode, Error> {
        let engine = &self.0.engine;
        let kernel = build_kernel(&node.op, inputs, outputs, index, store, engine)
            .map_err(|e| locate(&e, node, inputs))?;
        Ok(HostNode {
            node: node.clone(),
            kernel,
            engine: Arc::clone(engine),
        })
    }
}

impl HostNode {
    /// Is input `index` read when it runs? One whose contents were taken when it was built is not.
    pub fn reads(&self, index: usize) -> bool {
        self.kernel.access(index) != Access::Unused
    }

    /// Runs it. Inputs and outputs are aligned for their types and have the shapes for which it was built.
    ///
    /// # Errors
    /// Data that the operator refuses; scratch memory beyond the limit.
    pub fn run(
        &self,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut HostScratch,
    ) -> Result<(), Error> {
        let _attendance = self.engine.team.attend();
        self.run_small(inputs, outputs, scratch)
    }

    /// The same for a node with so little to do that no other thread has a part in it: the team is not told.
    ///
    /// # Errors
    /// As [`HostNode::run`].
    pub fn run_small(
        &self,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut HostScratch,
    ) -> Result<(), Error> {
        let _default_rounding = FpEnv::new();
        let cx = Context {
            team: &self.engine.team,
            isa: self.engine.isa,
        };
        let shapes = || -> Vec<Option<Known>> {
            let known = |t: &TensorRef<'_>| Known {
                dtype: t.dtype(),
                shape: Some(t.shape().into()),
                integers: None,
                constant: None,
                value: 0,
            };
            inputs.iter().map(|t| t.as_ref().map(known)).collect()
        };
        let mut run = || {
            if let Some(why) = fault!(node) {
                return Err(failed(why));
            }
            let overflow = || Error::new(ErrorKind::Limit, "scratch overflows");
            let len = self.kernel.scratch_len();
            let bytes = len.checked_mul(4).ok_or_else(overflow)?;
            let memory = scratch.0.at_least(bytes, self.engine.arena_limit)?;
            self.kernel.run(&cx, inputs, outputs, as_f32s(memory, len))
        };
        run().map_err(|e| locate(&e, &self.node, &shapes()))
    }
}

/// The first `len` floats of bytes that are aligned to a cache line.
fn as_f32s(memory: &mut [u8], len: usize) -> &mut [f32] {
    // SAFETY: any bits are an f32.
    let (_, floats, _) = unsafe { memory.align_to_mut::<f32>() };
    floats.get_mut(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_graph::ops::unary::{Unary, UnaryFunction};
    use unisono_tensor::{DType, Shape, Tensor};

    fn known(shape: &[usize]) -> Option<Known> {
        Some(Known {
            dtype: DType::F32,
            shape: Some(Shape::from_slice(shape)),
            integers: None,
            constant: None,
            value: 0,
        })
    }

    #[test]
    fn a_node_by_itself_does_what_it_does_in_a_program() {
        let options = CpuOptions {
            threads: 1,
            ..CpuOptions::default()
        };
        let host = Host::new(&options).unwrap();
        let node = Node {
            name: "root".to_owned(),
            op: Arc::new(Unary {
                function: UnaryFunction::Sqrt,
            }),
            inputs: vec![None],
            outputs: vec![None],
        };
        let shapes = [known(&[2, 2])];
        let store = Store::default();
        let node = host.node(&node, 0, &shapes, &shapes, &store).unwrap();
        assert!(node.reads(0));
        let x = Tensor::from_slice(&[2, 2], &[1f32, 4.0, 9.0, 2.0]).unwrap();
        let mut y = Tensor::zeros(DType::F32, &[2, 2]).unwrap();
        let output = TensorMut::new(DType::F32, &[2, 2], y.bytes_mut().unwrap()).unwrap();
        let mut scratch = HostScratch::default();
        let inputs = [Some(x.view().unwrap())];
        node.run(&inputs, &mut [Some(output)], &mut scratch)
            .unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 2f32.sqrt()]);
        let x = Tensor::from_slice(&[2, 2], &[25f32, 36.0, 3.0, 0.0]).unwrap();
        let output = TensorMut::new(DType::F32, &[2, 2], y.bytes_mut().unwrap()).unwrap();
        let inputs = [Some(x.view().unwrap())];
        node.run_small(&inputs, &mut [Some(output)], &mut scratch)
            .unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [5.0, 6.0, 3f32.sqrt(), 0.0]);
    }
}
