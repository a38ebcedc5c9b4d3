//! The reference implementation as a kernel: for operators that are rare.

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

/// Runs an operator with bodies by the reference interpreter. Allocates; used where a body's shapes depend on data, and
/// for loops.
pub fn interpret(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    count: usize,
) -> Result<Vec<Option<Tensor>>, Error> {
    let copy = |t: &TensorRef<'_>| Tensor::from_bytes(t.dtype(), t.shape(), t.bytes());
    let inputs: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|t| t.as_ref().map(copy).transpose())
        .collect::<Result<_, _>>()?;
    Interpreter::new(Precision::Canonical)
        .run_operator(op, &inputs, count)
        .map_err(|e| failed(e.to_string()))
}

/// Runs an operator's reference implementation, on one thread.
pub struct ReferenceKernel {
    op: Arc<dyn Operator>,
}

impl ReferenceKernel {
    /// For the node that is being built.
    pub fn new(build: &Build<'_>) -> ReferenceKernel {
        ReferenceKernel {
            op: Arc::clone(build.op),
        }
    }
}

impl Kernel for ReferenceKernel {
    fn describe(&self, _cx: &Context<'_>) -> String {
        match self.op.subgraphs().is_empty() {
            true => "reference, one thread".to_owned(),
            false => "interpreted, one thread".to_owned(),
        }
    }

    fn access(&self, index: usize) -> Access {
        // Embedding tables are large and only copied from.
        if index == 0 && self.op.is::<Gather>() {
            Access::Bytes
        } else {
            Access::Typed
        }
    }

    fn run(
        &self,
        _cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        if !self.op.subgraphs().is_empty() {
            let results = interpret(&*self.op, inputs, outputs.len())?;
            for (index, (result, output)) in results.iter().zip(outputs).enumerate() {
                let (Some(result), Some(output)) = (result, output) else {
                    continue;
                };
                if result.shape() != output.shape() || result.dtype() != output.dtype() {
                    return Err(failed(format!(
                        "output {index} is {}{:?}, but {}{:?} was inferred",
                        result.dtype(),
                        result.shape(),
                        output.dtype(),
                        output.shape()
                    )));
                }
                output.bytes_mut().copy_from_slice(result.bytes());
            }
            return Ok(());
        }
        eval::evaluate(&*self.op, inputs, outputs).map_err(|e| failed(e.to_string()))
    }
}
