//! Convolution and transposed convolution over one to three spatial axes.
//!
//! The one idea: the samples along axis 0 never meet, so a batch there passes whatever factors it carries.

use super::activation::Activation;
use super::window::{Padding, Window};

/// `activation(conv(x, w) + b)` (cross-correlation). Inputs: `x` (N x C x spatial), `w` (M x C/groups x kernel), optionally `b` (M). Output: N x M
/// x spatial. Kind `Conv`. [`Window::place`] gives the geometry in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Into how many groups the channels are divided.
    pub groups: usize,
    /// How the kernel moves. `window.kernel` may be empty: the weights say it.
    pub window: Window,
    /// Applied last.
    pub activation: Option<Activation>,
}

/// `activation(conv_transpose(x, w) + b)`. Inputs: `x` (N x C x spatial), `w` (C x M/groups x kernel), optionally `b` (M). Output: N x M x spatial with
/// `stride * (input - 1) + output_padding + dilation * (kernel - 1) + 1 - pad_begin - pad_end` per axis. Kind `ConvTranspose`.
/// [`ConvTranspose::place`] gives the geometry in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Into how many groups the channels are divided.
    pub groups: usize,
    /// The kernel's lengths; empty if only the weights say them.
    pub kernel: Vec<usize>,
    /// Distance between inputs in the output; empty for 1 everywhere.
    pub strides: Vec<usize>,
    /// How far the taps are apart; empty for 1 everywhere.
    pub dilations: Vec<usize>,
    /// What is cut off the full output; unused if `output_shape` is set, except for its side.
    pub padding: Padding,
    /// Added behind; empty for none.
    pub output_padding: Vec<usize>,
    /// The spatial lengths of the output, from which the padding follows; empty if not given.
    pub output_shape: Vec<usize>,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Default for Conv {
    /// One group, a window that moves by 1 without padding, no activation.
    fn default() -> Conv {
        Conv {
            groups: 1,
            window: Window::default(),
            activation: None,
        }
    }
}

impl Default for ConvTranspose {
    /// One group, stride 1, no padding, no activation.
    fn default() -> ConvTranspose {
        ConvTranspose {
            groups: 1,
            kernel: Vec::new(),
            strides: Vec::new(),
            dilations: Vec::new(),
            padding: Padding::Explicit(Vec::new()),
            output_padding: Vec::new(),
            output_shape: Vec::new(),
            activation: None,
        }
    }
}
