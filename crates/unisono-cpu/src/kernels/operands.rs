//! Typed slices of a kernel's operands.

use unisono_runtime::Error;
use unisono_tensor::{Element, TensorMut, TensorRef};

use crate::exec::kernel::failed;

/// A required input.
pub fn operand<'a, T: Element>(
    inputs: &[Option<TensorRef<'a>>],
    index: usize,
) -> Result<&'a [T], Error> {
    match inputs.get(index).copied().flatten() {
        Some(view) => Ok(view.as_slice()?),
        None => Err(failed(format!("input {index} is missing"))),
    }
}

/// The first output.
pub fn result<'a, T: Element>(
    outputs: &'a mut [Option<TensorMut<'_>>],
) -> Result<&'a mut [T], Error> {
    match outputs.first_mut() {
        Some(Some(view)) => Ok(view.as_slice_mut()?),
        _ => Err(failed("output 0 is missing")),
    }
}
