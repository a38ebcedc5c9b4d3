//! The reference implementation as a kernel: for operators that are rare or only move data.

use std::sync::Arc;

use unisono_graph::Operator;
use unisono_graph::ops::indexing::Gather;
use unisono_reference::eval;
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_runtime::Error;
use unisono_tensor::{Tensor, TensorMut, TensorRef};

use crate::exec::kernel::{Access, Build, Context, Kernel, failed};

/// Is there a reference implementation?
pub fn supports(op: &dyn Operator) -> bool {
    eval::supports(op) || !op.subgraphs().is_empty()
}

/// Runs an operator's reference implementation, on one thread.
pub struct ReferenceKernel {
    op: Arc<dyn Operator>,
}

impl ReferenceKernel {
    /// For the node that is being built.
    pub fn new(build: &Build<'_>) -> ReferenceKernel {
        ReferenceKernel { op: Arc::clone(build.op) }
    }
}

impl Kernel for ReferenceKernel {
    fn access(&self, index: usize) -> Access {
        // Embedding tables are large and only copied from.
        if index == 0 && self.op.is::<Gather>() { Access::Bytes } else { Access::Typed }
    }

    fn run(
        &self,
        _cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        if !self.op.subgraphs().is_empty() {
            return interpret(&*self.op, inputs, outputs);
        }
        eval::evaluate(&*self.op, inputs, outputs).map_err(|e| failed(e.to_string()))
    }
}
