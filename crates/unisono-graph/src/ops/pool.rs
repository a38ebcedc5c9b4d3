//! Pooling: windows and whole spatial planes folded by maximum, average or norm.
//!
//! The one idea: as in convolutions the samples and channels (axes 0 and 1) never meet.

use super::window::Window;

/// How a window is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolFunction {
    /// The largest; padding never wins; NaN does. Floats and 8-bit integers.
    Max {
        /// The optional second output counts positions with the first spatial axis fastest instead of the last.
        column_major_indices: bool,
    },
    /// The mean. Floats.
    Average {
        /// Divide by the count of taps in the input and its padding (never those that `ceil_mode` adds beyond it) instead
        /// of by the count of taps in the input.
        count_include_pad: bool,
    },
    /// The `p`-norm: `(sum |x|^p)^(1/p)`. Floats.
    Lp {
        /// At least 1.
        p: u32,
    },
}

/// Pooling by windows. Input: `x` (N x C x spatial). Outputs: the result, and for `Max` optionally the position of each
/// winner in the flattened input (i64). Kind `Pool`. [`Window::place`] gives the geometry in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How a window is folded.
    pub function: PoolFunction,
    /// The windows.
    pub window: Window,
}

/// Pooling of every channel over all spatial axes, which stay with length 1. Input: `x` (N x C x spatial), floats. Kind
/// `GlobalPool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalPool {
    /// How the plane is folded. Flags about padding and indices mean nothing here.
    pub function: PoolFunction,
}
