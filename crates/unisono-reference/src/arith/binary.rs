//! Functions of two values: one definition each.

use super::{Real, max, min};

/// An arithmetic function of two floating-point values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The greater, NaN if either is, +0 above -0.
    Max,
    /// The lesser, NaN if either is, -0 below +0.
    Min,
    /// `a` to the power `b`: `a * a` for 2, `(a * a) * a` for 3, `1 / a` for -1, the square root (+0 for -0, infinity for -infinity) for 1/2; the
    /// others through f64.
    Pow,
    /// The remainder of the truncated division, with the sign of `a` (ONNX `Mod` with `fmod = 1`); exact.
    Fmod,
    /// `a < 0 ? b * a : a`, with `b` the slope.
    PRelu,
}

impl Binary {
    /// The function's value at (a, b).
    #[inline]
    pub fn eval<R: Real>(self, a: R, b: R) -> R {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max => max(a, b),
            Binary::Min => min(a, b),
            Binary::Pow => a.pow(b),
            Binary::Fmod => a.remainder(b),
            Binary::PRelu => {
                if a < R::ZERO {
                    b * a
                } else {
                    a
                }
            }
        }
    }

    /// All of them, for tests and tables.
    pub const ALL: [Binary; 9] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
        Binary::Pow,
        Binary::Fmod,
        Binary::PRelu,
    ];
}
