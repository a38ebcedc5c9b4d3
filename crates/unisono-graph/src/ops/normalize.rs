//! Normalisations: softmax and its relatives, batch, layer, instance, group and RMS norm, and older ones.
//!
//! The one idea: each of them says over which axes its statistics run. Along the others rows stay apart.

use unisono_tensor::DType;

/// Which member of the softmax family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SoftmaxFunction {
    /// `exp(x - max) / sum(exp(x - max))`.
    Softmax,
    /// `x - max - log(sum(exp(x - max)))`.
    LogSoftmax,
    /// 1 at the first largest element, 0 elsewhere.
    Hardmax,
}

/// Softmax, log-softmax or hardmax. Input: `x`, floats. Kind `Softmax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Which one.
    pub function: SoftmaxFunction,
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// The statistics run over `axis` and all axes behind it taken as one (before opset 13) instead of over `axis` alone.
    pub flatten: bool,
}

/// Batch normalisation at inference: `(x - mean) / sqrt(var + epsilon) * scale + bias`, per channel (axis 1). Inputs: `x`,
/// `scale`, `bias`, `mean`, `var`. Kind `BatchNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Layer normalisation over `axis` and all axes behind it: `(x - mean) / sqrt(var + epsilon) * scale + bias`. Inputs: `x`, `scale`,
/// optionally `bias`, both stretched to `x`. Outputs: the result, and optionally the mean and `1 / sqrt(var + epsilon)`, whose
/// normalised axes have length 1. Kind `LayerNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormalization {
    /// The first normalised axis; negative ones count from the end.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// The type of the optional outputs: f32 or bf16. (Statistics are computed in f32, in f64 for f64 inputs.)
    pub stash: DType,
}

/// RMS normalisation over `axis` and all axes behind it: `x / sqrt(mean(x^2) + epsilon) * scale`. Inputs: `x`, `scale`
/// (stretched to `x`, whose type the output has). Kind `RmsNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormalization {
    /// The first normalised axis; negative ones count from the end.
    pub axis: i64,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Normalisation of every channel of every sample over its spatial axes. Inputs: `x` (N x C x spatial), `scale`, `bias` of
/// length C. Kind `InstanceNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Normalisation of groups of channels of every sample. Inputs: `x` (N x C x spatial), `scale`, `bias`. Kind `GroupNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormalization {
    /// Into how many groups the channels are divided.
    pub groups: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// `scale` and `bias` have one value per channel (opset 21) instead of one per group (opset 18).
    pub per_channel: bool,
}

/// Division by the L1 or L2 norm along an axis. A zero norm gives zeros. Input: `x`, floats. Kind `LpNormalization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpNormalization {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// 1 or 2.
    pub p: u8,
}

/// `(x - mean) / (sqrt(mean(x^2) - mean^2) + 1e-9)` over the axes, with the variance computed in two passes. Input: `x`.
/// Kind `MeanVarianceNormalization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanVarianceNormalization {
    /// The axes; negative ones count from the end.
    pub axes: Vec<i64>,
}

/// Local response normalisation across channels (axis 1): `x / (bias + alpha / size * s)^beta`, where `s` sums the squares
/// of channels `c - floor((size - 1) / 2)` to `c + ceil((size - 1) / 2)` inclusive. Input: `x`. Kind `LocalResponseNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNormalization {
    /// The factor of the mean square.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// The summand.
    pub bias: f32,
    /// How many channels are summed.
    pub size: usize,
}
