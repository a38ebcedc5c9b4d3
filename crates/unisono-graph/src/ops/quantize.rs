//! Conversions between floats and 8- or 16-bit integers by scale and zero point.
//!
//! The one idea: scale and zero point are one for all, one per index of an axis, or one per block along an axis. Which
//! of the three follows from the scale's shape and `block_size`.

use unisono_tensor::DType;

/// `saturate(round_ties_even(x / scale) + zero_point)`. Inputs: `x` (float or i32), `scale`, optionally the zero point, of the scale's shape,
/// whose type the output has. Kind `QuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// The axis of the scale, if it is not a scalar; negative ones count from the end.
    pub axis: i64,
    /// Elements along the axis that share a scale, for block quantisation; 0 for none.
    pub block_size: usize,
    /// The type of the output where there is no zero point to say it.
    pub output: DType,
}

/// `(x - zero_point) * scale`. Inputs: `x` (8- or 16-bit integers, or i32), `scale`, optionally the zero point, of `x`'s type and the scale's shape.
/// Kind `DequantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// The axis of the scale, if it is not a scalar; negative ones count from the end.
    pub axis: i64,
    /// Elements along the axis that share a scale, for block quantisation; 0 for none.
    pub block_size: usize,
    /// The type of the output; `None` for the scale's.
    pub output: Option<DType>,
}

/// Quantisation to u8 by the smallest and largest element. Input: `x`, f32. Outputs: u8 like `x`, the scale
/// `(max(x, 0) - min(x, 0)) / 255`, the zero point `saturate(round_ties_even(-min(x, 0) / scale))`. Kind `DynamicQuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicQuantizeLinear;
