//! Functions of one value: one definition each.

use super::{Real, clip, max};

/// A function of one floating-point value, with its attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `max(x, +0)`: NaN stays NaN, -0 becomes +0.
    Relu,
    /// `x < 0 ? alpha * x : x`.
    LeakyRelu {
        /// The slope below zero.
        alpha: f32,
    },
    /// `min(max(x, low), high)`.
    Clip {
        /// The lower bound; -infinity for none.
        low: f32,
        /// The upper bound; +infinity for none.
        high: f32,
    },
    /// `max(0, min(1, fma(alpha, x, beta)))`.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `x * max(0, min(1, fma(x, 1/6, 0.5)))`.
    HardSwish,
}

impl Unary {
    /// The function's value at `x`.
    #[inline]
    pub fn eval<R: Real>(self, x: R) -> R {
        match self {
            Unary::Relu => max(x, R::ZERO),
            Unary::LeakyRelu { alpha } => {
                if x < R::ZERO {
                    R::from_f32(alpha) * x
                } else {
                    x
                }
            }
            Unary::Clip { low, high } => clip(x, R::from_f32(low), R::from_f32(high)),
            Unary::HardSigmoid { alpha, beta } => clip(
                R::from_f32(alpha).fma(x, R::from_f32(beta)),
                R::ZERO,
                R::ONE,
            ),
            Unary::HardSwish => {
                x * clip(
                    x.fma(R::from_f64(1.0 / 6.0), R::from_f64(0.5)),
                    R::ZERO,
                    R::ONE,
                )
            }
        }
    }
}
