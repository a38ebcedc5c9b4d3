//! Windows that slide over spatial axes: what convolutions and pooling share.
//!
//! The one idea: [`Window`] holds what the node says, [`Window::place`] turns it into numbers for concrete shapes, and the
//! symbolic formula of `infer` is the same one over [`crate::Dim`].

/// How the input is padded at the ends of its spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Before every axis, then behind every axis; empty for none. Never negative.
    Explicit(Vec<usize>),
    /// As much as makes the output `ceil(input / stride)`, the odd one behind.
    SameUpper,
    /// As much as makes the output `ceil(input / stride)`, the odd one in front.
    SameLower,
}

/// A window over the spatial axes (all but the first two) of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The kernel's lengths; empty if they are the weights' to say (convolutions).
    pub kernel: Vec<usize>,
    /// How far the window moves; empty for 1 everywhere.
    pub strides: Vec<usize>,
    /// How far the taps are apart; empty for 1 everywhere.
    pub dilations: Vec<usize>,
    /// The padding.
    pub padding: Padding,
    /// The output's length is rounded up (pooling); a window that would start behind the input and its padding in front
    /// is dropped.
    pub ceil_mode: bool,
}

/// One spatial axis of a placed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAxis {
    /// The kernel's length.
    pub kernel: usize,
    /// How far the window moves.
    pub stride: usize,
    /// How far the taps are apart.
    pub dilation: usize,
    /// Padding in front.
    pub pad_begin: usize,
    /// Padding behind, as the node or its padding rule says; `ceil_mode` may let windows reach beyond it.
    pub pad_end: usize,
    /// The input's length.
    pub input: usize,
    /// The output's length.
    pub output: usize,
}

impl Default for Window {
    /// A window that takes its kernel from the weights, moves by 1 and is not padded.
    fn default() -> Window {
        Window {
            kernel: Vec::new(),
            strides: Vec::new(),
            dilations: Vec::new(),
            padding: Padding::Explicit(Vec::new()),
            ceil_mode: false,
        }
    }
}
