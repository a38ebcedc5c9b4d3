//! Functions of one value: one definition each.

use super::coefficients::{GELU_CUBIC, SQRT_2_OVER_PI, SQRT_HALF};
use super::{Real, clip, max, min};

/// A function of one floating-point value, with its attributes.
///
/// The formula beside each is its definition, operation by operation; names like `exp` mean the canonical functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `|x|`.
    Abs,
    /// `-x`.
    Neg,
    /// `1 / x`.
    Reciprocal,
    /// `x * x`.
    Square,
    /// IEEE square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// -1, +0 or 1; NaN stays NaN.
    Sign,
    /// Towards negative infinity.
    Floor,
    /// Towards positive infinity.
    Ceil,
    /// To the nearest integer, ties to even.
    Round,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Arc sine.
    Asin,
    /// Arc cosine.
    Acos,
    /// Arc tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Hyperbolic tangent.
    Tanh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// Error function.
    Erf,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `max(x, +0)`: NaN stays NaN, -0 becomes +0.
    Relu,
    /// `x < 0 ? alpha * x : x`.
    LeakyRelu {
        /// The slope below zero.
        alpha: f32,
    },
    /// `x > alpha ? x : +0`; NaN stays NaN.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `x < 0 ? alpha * expm1(x) : x`.
    Elu {
        /// The negative limit.
        alpha: f32,
    },
    /// `gamma * (x < 0 ? alpha * expm1(x) : x)`.
    Selu {
        /// The negative limit.
        alpha: f32,
        /// The scale.
        gamma: f32,
    },
    /// `x < 0 ? alpha * expm1(x / alpha) : x`.
    Celu {
        /// The negative limit; positive.
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
    /// `x < -lambda ? x + bias : x > lambda ? x - bias : +0`; NaN stays NaN.
    Shrink {
        /// The half width of the zone that becomes zero.
        lambda: f32,
        /// What the rest moves by.
        bias: f32,
    },
    /// `max(x, 0) + log(1 + e^-|x|)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x * sigmoid(alpha * x)`, without the product if alpha is 1: SiLU.
    Swish {
        /// The scale within.
        alpha: f32,
    },
    /// `x * tanh(softplus(x))`, as `x * (n / (n + 2))` with `n = e * (e + 2)` and `e = exp(min(x, 20))`.
    Mish,
    /// `(0.5 * x) * (1 + erf(x * sqrt(1/2)))`.
    Gelu,
    /// `(0.5 * x) * (1 + tanh(sqrt(2/pi) * fma(0.044715 * (x * x), x, x)))`.
    GeluTanh,
}

impl Unary {
    /// The function's value at `x`.
    #[inline]
    pub fn eval<R: Real>(self, x: R) -> R {
        let half = R::from_f32(0.5);
        match self {
            Unary::Abs => x.abs(),
            Unary::Neg => -x,
            Unary::Reciprocal => R::ONE / x,
            Unary::Square => x * x,
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => R::ONE / x.sqrt(),
            Unary::Sign => {
                if x > R::ZERO {
                    R::ONE
                } else if x < R::ZERO {
                    -R::ONE
                } else if x.is_nan() {
                    x
                } else {
                    R::ZERO
                }
            }
            Unary::Floor => x.floor(),
            Unary::Ceil => x.ceil(),
            Unary::Round => x.round_ties_even(),
            Unary::Exp => x.exp(),
            Unary::Log => x.log(),
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            Unary::Tan => x.tan(),
            Unary::Asin => x.asin(),
            Unary::Acos => x.acos(),
            Unary::Atan => x.atan(),
            Unary::Sinh => x.sinh(),
            Unary::Cosh => x.cosh(),
            Unary::Tanh => x.tanh(),
            Unary::Asinh => x.asinh(),
            Unary::Acosh => x.acosh(),
            Unary::Atanh => x.atanh(),
            Unary::Erf => x.erf(),
            Unary::Sigmoid => x.sigmoid(),
            Unary::Relu => max(x, R::ZERO),
            Unary::LeakyRelu { alpha } => {
                if x < R::ZERO {
                    R::from_f32(alpha) * x
                } else {
                    x
                }
            }
            Unary::ThresholdedRelu { alpha } => {
                if x <= R::from_f32(alpha) {
                    R::ZERO
                } else {
                    x
                }
            }
            Unary::Elu { alpha } => elu(x, R::from_f32(alpha), R::ONE),
            Unary::Selu { alpha, gamma } => R::from_f32(gamma) * elu(x, R::from_f32(alpha), R::ONE),
            Unary::Celu { alpha } => elu(x, R::from_f32(alpha), R::from_f32(alpha)),
            Unary::Clip { low, high } => clip(x, R::from_f32(low), R::from_f32(high)),
            Unary::HardSigmoid { alpha, beta } => {
                let line = R::from_f32(alpha).fma(x, R::from_f32(beta));
                max(min(line, R::ONE), R::ZERO)
            }
            Unary::HardSwish => {
                let line = x.fma(R::from_f64(1.0 / 6.0), half);
                x * max(min(line, R::ONE), R::ZERO)
            }
            Unary::Shrink { lambda, bias } => {
                let (lambda, bias) = (R::from_f32(lambda), R::from_f32(bias));
                if x < -lambda {
                    x + bias
                } else if x > lambda {
                    x - bias
                } else if x.is_nan() {
                    x
                } else {
                    R::ZERO
                }
            }
            Unary::Softplus => x.softplus(),
            Unary::Softsign => x / (R::ONE + x.abs()),
            Unary::Swish { alpha: 1.0 } => x * x.sigmoid(),
            Unary::Swish { alpha } => x * (R::from_f32(alpha) * x).sigmoid(),
            Unary::Mish => x.mish(),
            Unary::Gelu => (half * x) * (R::ONE + (x * R::from_f32(SQRT_HALF)).erf()),
            Unary::GeluTanh => {
                let inner = (R::from_f32(GELU_CUBIC) * (x * x)).fma(x, x);
                (half * x) * (R::ONE + (R::from_f32(SQRT_2_OVER_PI) * inner).tanh())
            }
        }
    }

    /// Every function, the ones with attributes with ONNX's default or usual values: for tests and tables.
    pub const ALL: [Unary; 43] = [
        Unary::Abs,
        Unary::Neg,
        Unary::Reciprocal,
        Unary::Square,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Sign,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Exp,
        Unary::Log,
        Unary::Sin,
        Unary::Cos,
        Unary::Tan,
        Unary::Asin,
        Unary::Acos,
        Unary::Atan,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Tanh,
        Unary::Asinh,
        Unary::Acosh,
        Unary::Atanh,
        Unary::Erf,
        Unary::Sigmoid,
        Unary::Relu,
        Unary::LeakyRelu { alpha: 0.01 },
        Unary::ThresholdedRelu { alpha: 1.0 },
        Unary::Elu { alpha: 1.0 },
        Unary::Selu {
            alpha: 1.673_263_2,
            gamma: 1.050_701,
        },
        Unary::Celu { alpha: 2.0 },
        Unary::Clip {
            low: 0.0,
            high: 6.0,
        },
        Unary::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Unary::HardSwish,
        Unary::Shrink {
            lambda: 0.5,
            bias: 0.1,
        },
        Unary::Softplus,
        Unary::Softsign,
        Unary::Swish { alpha: 1.0 },
        Unary::Swish { alpha: 1.702 },
        Unary::Mish,
        Unary::Gelu,
        Unary::GeluTanh,
    ];
}

/// `x < 0 ? alpha * expm1(x / inner) : x`, without the division if `inner` is 1.
#[inline]
fn elu<R: Real>(x: R, alpha: R, inner: R) -> R {
    if x < R::ZERO {
        let scaled = if inner == R::ONE { x } else { x / inner };
        alpha * scaled.expm1()
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_values_lie_close_to_the_accurate_ones() {
        for f in Unary::ALL {
            for i in -800..=800 {
                let x = i as f32 / 64.0;
                let (canonical, accurate) = (f.eval(x), f.eval(f64::from(x)));
                let close = (f64::from(canonical) - accurate).abs() <= 1e-6 * accurate.abs() + 1e-6;
                // The attributes of the two are the same f32, so steps fall on the same side.
                assert!(
                    close
                        || (canonical.is_nan() && accurate.is_nan())
                        || f64::from(canonical) == accurate,
                    "{f:?}({x}) = {canonical}, accurate {accurate}"
                );
            }
        }
    }

    /// Evidence: nan-is-nan
    #[test]
    fn nan_stays_nan_in_every_function() {
        for f in Unary::ALL {
            assert!(f.eval(f32::NAN).is_nan(), "{f:?}");
            assert!(f.eval(f64::NAN).is_nan(), "{f:?} in f64");
        }
    }

    #[test]
    fn zeros_and_infinities_go_where_the_formula_sends_them() {
        use crate::arith::same_bits;
        let inf = f32::INFINITY;
        let rows: [(Unary, f32, f32); 22] = [
            (Unary::Relu, -0.0, 0.0),
            (Unary::Sign, -0.0, 0.0),
            (Unary::Exp, -inf, 0.0),
            (Unary::Exp, inf, inf),
            (Unary::Exp, 88.722_84, inf),
            (Unary::Exp, 88.8, inf),
            (Unary::Exp, -103.0, f32::from_bits(1)),
            (Unary::Log, 0.0, -inf),
            (Unary::Log, -0.0, -inf),
            (Unary::Log, -1.0, f32::NAN),
            (Unary::Log, inf, inf),
            (Unary::Log, 1.0, 0.0),
            (Unary::Log, f32::from_bits(1), -103.278_93),
            (Unary::Tanh, -0.0, -0.0),
            (Unary::Tanh, -inf, -1.0),
            (Unary::Tanh, f32::from_bits(1), f32::from_bits(1)),
            (Unary::Erf, -0.0, -0.0),
            (Unary::Erf, inf, 1.0),
            (Unary::Sigmoid, -inf, 0.0),
            (Unary::Sigmoid, inf, 1.0),
            (Unary::Softplus, inf, inf),
            (Unary::Softplus, -inf, 0.0),
        ];
        for (f, x, y) in rows {
            assert!(
                same_bits(f.eval(x), y),
                "{f:?}({x:e}) = {:e}, not {y:e}",
                f.eval(x)
            );
        }
    }
}
