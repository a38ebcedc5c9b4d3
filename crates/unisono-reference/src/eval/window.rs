//! Windows that slide over spatial axes, in numbers.

use super::EvalError;
use super::io::ensure;
use smallvec::SmallVec;
use unisono_graph::ops::window::{Padding, Window};

/// One spatial axis of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// In front; a transposed convolution may have less than none.
    pub pad_begin: i64,
    /// Behind, as the node says it.
    pub pad_end: i64,
    pub input: usize,
    pub output: usize,
}

/// All spatial axes. Up to three live on the stack.
pub(super) type Placed = SmallVec<[Axis; 3]>;

/// A window over these lengths; `kernel` as the weights or the node say it.
pub(super) fn place(
    window: &Window,
    input: &[usize],
    kernel: &[usize],
    output: &[usize],
) -> Result<Placed, EvalError> {
    let axes = input.len();
    let named = |list: &[usize]| list.is_empty() || list.len() == axes;
    ensure(
        kernel.len() == axes
            && output.len() == axes
            && named(&window.strides)
            && named(&window.dilations),
        "a window should speak of every spatial axis",
    )?;
    let mut placed = Placed::new();
    for i in 0..axes {
        let or = |list: &[usize], default| list.get(i).copied().unwrap_or(default);
        let (stride, dilation) = (or(&window.strides, 1), or(&window.dilations, 1));
        // Saturating: attributes may be absurd where an axis is empty.
        let reach = (output[i] as i64 - 1)
            .max(0)
            .saturating_mul(stride as i64)
            .saturating_add((dilation as i64).saturating_mul(kernel[i] as i64 - 1))
            .saturating_add(1);
        let (pad_begin, pad_end) = match &window.padding {
            Padding::Explicit(pads) => (or(pads, 0), pads.get(axes + i).copied().unwrap_or(0)),
            same => {
                let total = usize::try_from(reach.saturating_sub(input[i] as i64)).unwrap_or(0);
                let small = total / 2;
                if *same == Padding::SameUpper {
                    (small, total - small)
                } else {
                    (total - small, small)
                }
            }
        };
        placed.push(Axis {
            kernel: kernel[i],
            stride,
            dilation,
            pad_begin: pad_begin as i64,
            pad_end: pad_end as i64,
            input: input[i],
            output: output[i],
        });
    }
    Ok(placed)
}
