//! Operators that make values out of nothing but a shape or a few scalars.

use unisono_tensor::{DType, Tensor};

/// `start + i * delta` for `i` in `0..max(ceil((limit - start) / delta), 0)`. Inputs: `start`, `limit`, `delta`, scalars of
/// one type. Kind `Range`.
///
/// f16 and bf16 are computed in f32 and rounded once per element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range;

/// One value everywhere, in the shape that the input (a list of i64) gives. Kind `ConstantOfShape`.
#[derive(Clone, Debug)]
pub struct ConstantOfShape {
    /// The value: a tensor of one element, whose type is the output's.
    pub value: Tensor,
}

/// A matrix of the input's shape with ones on a diagonal and zeros elsewhere. Kind `EyeLike`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EyeLike {
    /// The type of the output; `None` for the input's.
    pub dtype: Option<DType>,
    /// Which diagonal: element `(i, i + k)` is one.
    pub k: i64,
}
