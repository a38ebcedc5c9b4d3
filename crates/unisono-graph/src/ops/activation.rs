//! Activations: functions of one float that stand behind layers, and that [`Linear`](super::linear::Linear) and
//! [`Conv`](super::conv::Conv) may absorb.
//!
//! The one idea: an [`Activation`] is a plain value with its parameters, so that an operator of its own, the epilogue of
//! a product and the gates of a recurrent cell speak of the same function.

use super::rules::{self, FLOATS, NUMBERS};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

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

impl Activation {
    /// The ONNX name.
    pub const fn name(self) -> &'static str {
        use Activation::*;
        match self {
            Relu => "Relu",
            LeakyRelu { .. } => "LeakyRelu",
            Elu { .. } => "Elu",
            Selu { .. } => "Selu",
            Celu { .. } => "Celu",
            Sigmoid => "Sigmoid",
            Tanh => "Tanh",
            HardSigmoid { .. } => "HardSigmoid",
            HardSwish => "HardSwish",
            GeluErf | GeluTanh => "Gelu",
            Swish { .. } => "Swish",
            Mish => "Mish",
            Softplus => "Softplus",
            Softsign => "Softsign",
            ThresholdedRelu { .. } => "ThresholdedRelu",
            Shrink { .. } => "Shrink",
            Clip { .. } => "Clip",
            Affine { .. } => "Affine",
            ScaledTanh { .. } => "ScaledTanh",
        }
    }
}

impl Operator for Activate {
    fn kind(&self) -> &'static str {
        "Activation"
    }

    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let allowed = match self.function {
            Activation::Relu | Activation::Shrink { .. } => NUMBERS,
            _ => FLOATS,
        };
        let x = rules::typed(cx, 0, "x", allowed)?;
        let mut y = rules::like(x);
        if self.function == Activation::Relu {
            let zero = Dim::constant(0);
            let known = x.integers.as_ref();
            y.integers = known.map(|k| k.iter().map(|n| n.larger(&zero)).collect());
        }
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }
}

impl Operator for Clip {
    fn kind(&self) -> &'static str {
        "Clip"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "input", NUMBERS)?;
        let mut y = rules::like(x);
        let mut bounds: [Option<&Fact>; 2] = [None, None];
        for (i, name) in [(1, "min"), (2, "max")] {
            let bound = rules::optional(cx, i, name, &[x.dtype])?;
            // Rank 1 with one element is wrong by the standard's letter and frequent in files.
            let fits = bound.and_then(|b| b.shape.as_deref()).is_none_or(|shape| {
                shape.len() <= 1
                    && shape
                        .iter()
                        .all(|n| n.equals(&Dim::constant(1)) != Some(false))
            });
            if !fits {
                return Err(OpError::new(format!(
                    "input {i} ({name}) should be a scalar"
                )));
            }
            bounds[i - 1] = bound;
        }
        y.integers = x.integers.as_ref().and_then(|known| {
            let bound = |b: Option<&Fact>| match b {
                None => Some(None),
                Some(fact) => Some(Some(fact.integers.as_ref()?.first()?.clone())),
            };
            let (low, high) = (bound(bounds[0])?, bound(bounds[1])?);
            let clip = |n: &Dim| {
                let n = low.as_ref().map_or_else(|| n.clone(), |l| n.larger(l));
                high.as_ref().map_or_else(|| n.clone(), |h| n.smaller(h))
            };
            Some(known.iter().map(clip).collect())
        });
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        rules::axis_of_data(cx, &["input", "min", "max"])?;
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }
}

fn activate(function: Activation) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(Activate { function }))
}

fn gelu(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    match spec.attributes.string("approximate")?.as_deref() {
        None | Some("none") => activate(Activation::GeluErf),
        Some("tanh") => activate(Activation::GeluTanh),
        Some(other) => Err(OpError::attribute(
            "approximate",
            format!("should be \"none\" or \"tanh\" but is \"{other}\""),
        )),
    }
}

const fn line(
    name: &'static str,
    since: i64,
    build: fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>,
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets: (since, i64::MAX),
        build,
        inputs: (1, 1),
        outputs: (1, 1),
    }
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    line("Relu", 7, |_| activate(Activation::Relu)),
    line("LeakyRelu", 7, |s| {
        let alpha = s.attributes.float_or("alpha", 0.01)?;
        activate(Activation::LeakyRelu { alpha })
    }),
    line("Elu", 7, |s| {
        let alpha = s.attributes.float_or("alpha", 1.0)?;
        activate(Activation::Elu { alpha })
    }),
    line("Selu", 7, |s| {
        // The standard's defaults: the float32 nearest to the paper's constants (Klambauer et al., 2017).
        let alpha = s.attributes.float_or("alpha", 1.673_263_2)?;
        let gamma = s.attributes.float_or("gamma", 1.050_701)?;
        activate(Activation::Selu { alpha, gamma })
    }),
    line("Celu", 12, |s| {
        let alpha = s.attributes.float_or("alpha", 1.0)?;
        activate(Activation::Celu { alpha })
    }),
    line("Sigmoid", 7, |_| activate(Activation::Sigmoid)),
    line("Tanh", 7, |_| activate(Activation::Tanh)),
    line("HardSigmoid", 7, |s| {
        let alpha = s.attributes.float_or("alpha", 0.2)?;
        let beta = s.attributes.float_or("beta", 0.5)?;
        activate(Activation::HardSigmoid { alpha, beta })
    }),
    line("HardSwish", 14, |_| activate(Activation::HardSwish)),
    line("Gelu", 20, gelu),
    line("Swish", 24, |s| {
        let alpha = s.attributes.float_or("alpha", 1.0)?;
        activate(Activation::Swish { alpha })
    }),
    line("Mish", 18, |_| activate(Activation::Mish)),
    line("Softplus", 7, |_| activate(Activation::Softplus)),
    line("Softsign", 7, |_| activate(Activation::Softsign)),
    line("ThresholdedRelu", 10, |s| {
        let alpha = s.attributes.float_or("alpha", 1.0)?;
        activate(Activation::ThresholdedRelu { alpha })
    }),
    line("Shrink", 9, |s| {
        let bias = s.attributes.float_or("bias", 0.0)?;
        let lambd = s.attributes.float_or("lambd", 0.5)?;
        activate(Activation::Shrink { bias, lambd })
    }),
    Definition {
        opsets: (7, 10),
        ..line("Clip", 7, |s| {
            let low = s.attributes.float_or("min", f32::MIN)?;
            let high = s.attributes.float_or("max", f32::MAX)?;
            activate(Activation::Clip { low, high })
        })
    },
    Definition {
        inputs: (1, 3),
        ..line("Clip", 11, |_| Ok(Arc::new(Clip)))
    },
];
