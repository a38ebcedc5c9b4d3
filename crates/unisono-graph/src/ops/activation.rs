//! Activations: functions of one float that stand behind layers, and that [`Linear`](super::linear::Linear) and
//! [`Conv`](super::conv::Conv) may absorb.
//!
//! The one idea: an [`Activation`] is a plain value with its parameters, so that an operator of its own, the epilogue of
//! a product and the gates of a recurrent cell speak of the same function.

/// A function of one float with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`. Also for integers when it stands alone.
    Relu,
    /// `x < 0 ? alpha * x : x`.
    LeakyRelu {
        /// The slope below zero.
        alpha: f32,
    },
    /// `x < 0 ? alpha * (exp(x) - 1) : x`.
    Elu {
        /// Minus the limit towards minus infinity.
        alpha: f32,
    },
    /// `gamma * (x <= 0 ? alpha * (exp(x) - 1) : x)`.
    Selu {
        /// The inner factor.
        alpha: f32,
        /// The outer factor.
        gamma: f32,
    },
    /// `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`.
    Celu {
        /// The scale of the exponential part.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 1 / 2))`.
    HardSwish,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    GeluErf,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
    GeluTanh,
    /// `x * sigmoid(alpha * x)`; with `alpha` 1 it is also known as SiLU.
    Swish {
        /// The factor inside.
        alpha: f32,
    },
    /// `x * tanh(softplus(x))`.
    Mish,
    /// `log(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x > alpha ? x : 0`.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `x < -lambd ? x + bias : x > lambd ? x - bias : 0`. Also for integers when it stands alone.
    Shrink {
        /// Subtracted from what is outside.
        bias: f32,
        /// Half the width of the zone that becomes 0.
        lambd: f32,
    },
    /// `min(max(x, low), high)`; also where `low > high`, which gives `high`.
    Clip {
        /// The lower bound; minus infinity for none.
        low: f32,
        /// The upper bound; plus infinity for none.
        high: f32,
    },
    /// `alpha * x + beta`; only in recurrent cells.
    Affine {
        /// The factor.
        alpha: f32,
        /// The summand.
        beta: f32,
    },
    /// `alpha * tanh(beta * x)`; only in recurrent cells.
    ScaledTanh {
        /// The factor outside.
        alpha: f32,
        /// The factor inside.
        beta: f32,
    },
}

/// An activation as an operator. Input: `x`, a float tensor (`Relu` and `Shrink` also integers). Output: the same type and
/// shape. Kind `Activation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activate {
    /// Which function.
    pub function: Activation,
}

/// ONNX `Clip`: `min(max(x, low), high)` for all number types. Inputs: `x`, and optionally `low` (1) and `high` (2), scalars
/// of `x`'s type. Kind `Clip`.
///
/// Bounds that the model fixes as attributes (before opset 11), and constant float bounds after rewriting, are an
/// [`Activate`] with [`Activation::Clip`] instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip;
