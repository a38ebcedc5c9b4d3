//! The kernels, by the families of `unisono-graph`, and the registry by which a node finds its own.
//!
//! An operator without a line here is served by the reference implementation, which *is* the canonical arithmetic; a
//! kernel here exists because it is faster and must give the same bits.

pub mod control;
pub mod conv;
pub mod linear;
mod operands;
pub mod pool;
pub mod reference;
pub mod rowwise;

use crate::exec::kernel::{Build, Builder, Kernel};
use unisono_graph::Operator;
use unisono_runtime::Error;

/// Kernels of our own, by the operator's kind. A kind may stand here more than once; the first that takes the types
/// and shapes serves.
const KERNELS: &[(&str, Builder)] = &[
    ("Conv", conv::build_conv),
    ("ConvTranspose", conv::build_conv_transpose),
    ("GlobalPool", pool::build_global_pool),
    ("If", control::build_if),
    ("Linear", linear::build_linear),
    ("Pool", pool::build_pool),
];

/// Has the device an implementation of this operator?
pub fn supports(op: &dyn Operator) -> bool {
    KERNELS.iter().any(|(kind, _)| *kind == op.kind()) || reference::supports(op)
}

/// The kernel for a node.
pub fn build(build: &Build<'_>) -> Result<Box<dyn Kernel>, Error> {
    for (_, builder) in KERNELS.iter().filter(|(kind, _)| *kind == build.op.kind()) {
        if let Some(kernel) = builder(build)? {
            return Ok(kernel);
        }
    }
    Ok(Box::new(reference::ReferenceKernel::new(build)))
}
