//! Interpolation: `Resize` of all opsets, and `Upsample`, which is an old name for it.
//!
//! The one idea: the versions differ in where scales come from and in which coordinates they mean; both are fields here,
//! so a device knows one operator.

/// Which neighbour is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NearestMode {
    /// Halves go down.
    RoundPreferFloor,
    /// Halves go up.
    RoundPreferCeil,
    /// Always down.
    Floor,
    /// Always up.
    Ceil,
}

/// How values between samples are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// The nearest sample.
    Nearest(NearestMode),
    /// Linear along every axis (bilinear, trilinear).
    Linear,
    /// Cubic convolution along every axis.
    Cubic {
        /// Keys' parameter `a`, often -0.75 or -0.5.
        a: f32,
    },
}

/// Where an output index lies in the input. `scale` is output / input, `x` the output's index, `in_len` and `out_len` the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As half-pixel, but centred where `scale * in_len` is not whole:
    /// `in_len / 2 * (1 - out_len / (scale * in_len)) + (x + 0.5) / scale - 0.5`.
    HalfPixelSymmetric,
    /// As half-pixel, but 0 for an output of length 1.
    PytorchHalfPixel,
    /// `x * (in_len - 1) / (out_len - 1)`, 0 for an output of length 1.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// `(x + 0.5) / scale`: TensorFlow's nearest neighbour with half-pixel centres (opset 11 and 12).
    TfHalfPixelForNearest,
    /// Into the region of interest, an input of the node:
    /// `start * (in_len - 1) + x * (end - start) * (in_len - 1) / (out_len - 1)`.
    TfCropAndResize,
}

/// What `sizes` mean where they disagree about the aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AspectRatio {
    /// They are taken as they are.
    Stretch,
    /// One scale for all axes, so that no axis is larger than asked for.
    NotLarger,
    /// One scale for all axes, so that no axis is smaller than asked for.
    NotSmaller,
}

/// Interpolation along some or all axes. Inputs: `x`, and at the positions named by the fields the region of interest (floats, starts then
/// ends), scales (f32) or sizes (i64) per axis. An empty input counts as left out. Kind `Resize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How values between samples are made.
    pub interpolation: Interpolation,
    /// Where an output index lies in the input.
    pub coordinates: Coordinates,
    /// Samples outside of the input weigh nothing, and the others' weights are scaled to sum to 1 (cubic only), instead
    /// of the edge being repeated.
    pub exclude_outside: bool,
    /// What is outside of the input for [`Coordinates::TfCropAndResize`].
    pub extrapolation_value: f32,
    /// When shrinking, the filter is stretched by the scale (linear and cubic).
    pub antialias: bool,
    /// Which axes the region, scales and sizes speak of; `None` for all.
    pub axes: Option<Vec<i64>>,
    /// What sizes mean where they disagree about the aspect ratio.
    pub aspect_ratio: AspectRatio,
    /// Scales fixed by the node (`Upsample` before opset 9).
    pub scales: Option<Vec<f32>>,
    /// Which input holds the region of interest.
    pub roi_input: Option<usize>,
    /// Which input holds the scales.
    pub scales_input: Option<usize>,
    /// Which input holds the sizes.
    pub sizes_input: Option<usize>,
}

impl Default for Resize {
    /// The defaults of `Resize` since opset 13: the nearest sample, half-pixel centres; region, scales and sizes are inputs 1 to 3.
    fn default() -> Resize {
        Resize {
            interpolation: Interpolation::Nearest(NearestMode::RoundPreferFloor),
            coordinates: Coordinates::HalfPixel,
            exclude_outside: false,
            extrapolation_value: 0.0,
            antialias: false,
            axes: None,
            aspect_ratio: AspectRatio::Stretch,
            scales: None,
            roi_input: Some(1),
            scales_input: Some(2),
            sizes_input: Some(3),
        }
    }
}
