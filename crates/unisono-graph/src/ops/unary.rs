//! Functions of one value that have no parameters, [`Identity`], and [`Dropout`] as inference sees it.
//!
//! The one idea: these share everything but a formula, so they are one operator with an enum. Functions that networks
//! use as activations, and that other operators may absorb, live in [`super::activation`].

/// Which function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryFunction {
    /// `|x|`; numbers. The smallest signed integer stays itself.
    Abs,
    /// `-x`; floats and signed integers.
    Neg,
    /// Towards plus infinity; floats.
    Ceil,
    /// Towards minus infinity; floats.
    Floor,
    /// To the nearest integer, ties to even; floats.
    Round,
    /// -1, 0 or 1; numbers. Zeros keep their sign, NaN stays NaN.
    Sign,
    /// The square root; floats.
    Sqrt,
    /// `1 / x`; floats.
    Reciprocal,
    /// Floats.
    Exp,
    /// The natural logarithm; floats.
    Log,
    /// Floats.
    Sin,
    /// Floats.
    Cos,
    /// Floats.
    Tan,
    /// Floats.
    Asin,
    /// Floats.
    Acos,
    /// Floats.
    Atan,
    /// Floats.
    Sinh,
    /// Floats.
    Cosh,
    /// Floats.
    Asinh,
    /// Floats.
    Acosh,
    /// Floats.
    Atanh,
    /// The error function; floats (ONNX allows integers too: not supported).
    Erf,
    /// Logical negation; booleans.
    Not,
    /// Every bit negated; integers.
    BitwiseNot,
    /// Floats to booleans.
    IsNaN,
    /// Floats to booleans.
    IsInf {
        /// Is minus infinity one?
        negative: bool,
        /// Is plus infinity one?
        positive: bool,
    },
}

/// One function applied to every element. Input: `x`. Output: the same shape; the same type except for `IsNaN` and `IsInf`,
/// which give booleans. Kind `Unary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unary {
    /// Which function.
    pub function: UnaryFunction,
}

/// The input itself, of any type. Kind `Identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity;

/// ONNX `Dropout` at inference: the first output is the input, the optional second a mask of ones of the same shape.
/// A node that asks for training is refused. Kind `Dropout`.
///
/// Inputs behind the first (`ratio`, `training_mode`) do not change the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    /// The mask is boolean (opset 10 and later) instead of having the input's type.
    pub boolean_mask: bool,
}
