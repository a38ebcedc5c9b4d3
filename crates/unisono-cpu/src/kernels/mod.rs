//! The kernels, by the families of `unisono-graph`, and the registry by which a node finds its own.
//!
//! An operator without a line here is served by the reference implementation, which *is* the canonical arithmetic; a
//! kernel here exists because it is faster and must give the same bits.

pub mod attention;
pub mod control;
pub mod conv;
pub mod elementwise;
#[cfg(test)]
mod layouts;
pub mod linear;
pub mod movement;
pub mod normalize;
pub(crate) mod operands;
pub mod pool;
pub mod recurrent;
pub mod reduce;
pub mod reference;
pub mod resize;
pub mod rowwise;
mod split;
#[cfg(test)]
mod tests;

use crate::exec::kernel::{Build, Builder, Kernel};
use unisono_graph::Operator;
use unisono_runtime::Error;

/// Kernels of our own, by the operator's kind. A kind may stand here more than once; the first that takes the types
/// and shapes serves.
const KERNELS: &[(&str, Builder)] = &[
    ("Activation", elementwise::build_unary),
    ("BatchNormalization", normalize::build_batch_norm),
    ("Binary", elementwise::build_binary),
    ("Concat", movement::build_concat),
    ("Conv", conv::build_conv),
    ("ConvTranspose", conv::build_conv_transpose),
    ("Expand", movement::build_expand),
    ("Gather", movement::build_gather),
    ("GlobalPool", pool::build_global_pool),
    ("If", control::build_if),
    ("LayerNormalization", normalize::build_layer_norm),
    ("Linear", linear::build_linear),
    ("Pad", movement::build_pad),
    ("Pool", pool::build_pool),
    ("Recurrent", recurrent::build_lstm),
    ("Reduce", reduce::build_reduce),
    ("Resize", resize::build_resize),
    ("RmsNormalization", normalize::build_rms_norm),
    ("Slice", movement::build_slice),
    ("Softmax", normalize::build_softmax),
    ("Split", movement::build_split),
    ("Transpose", movement::build_transpose),
    ("Unary", elementwise::build_unary),
    ("Variadic", elementwise::build_binary),
];

/// Has the device an implementation of this operator?
pub fn supports(op: &dyn Operator) -> bool {
    KERNELS.iter().any(|(kind, _)| *kind == op.kind()) || reference::supports(op)
}

/// The kernel for a node.
pub fn build(build: &Build<'_>) -> Result<Box<dyn Kernel>, Error> {
    match own(build)? {
        Some(kernel) => Ok(kernel),
        None => Ok(Box::new(reference::ReferenceKernel::new(build))),
    }
}

/// Kinds whose kernels, if they serve at all, serve values that have their channels last: those that [`Build::channels_last`] tells, and those
/// that treat all axes alike.
const CHANNELS_LAST: &[&str] = &[
    "Activation",
    "Binary",
    "Concat",
    "Conv",
    "ConvTranspose",
    "GlobalPool",
    "Pool",
    "Resize",
    "Unary",
    "Variadic",
];

/// The kernel for a node whose values have their channels last, if there is one.
pub fn build_last(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    match CHANNELS_LAST.contains(&build.op.kind()) {
        true => own(build),
        false => Ok(None),
    }
}

/// The kernel of our own for a node, if there is one that takes its types and shapes.
fn own(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    for (_, builder) in KERNELS.iter().filter(|(kind, _)| *kind == build.op.kind()) {
        if let Some(kernel) = builder(build)? {
            return Ok(Some(kernel));
        }
    }
    Ok(None)
}
