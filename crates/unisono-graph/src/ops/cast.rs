//! Conversions between element types.
//!
//! The one idea: ONNX leaves float to integer undefined outside of the target's range; here it truncates, saturates, and
//! turns NaN into 0, on every device. Integer to narrower integer wraps; everything but zero is true; true is 1.

use unisono_tensor::DType;

/// Converts to a fixed type. Kind `Cast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The type of the output.
    pub to: DType,
}

/// Converts to the type of the second input, whose contents do not matter. Kind `CastLike`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CastLike;
