//! Activations as operators of their own, and their names in the arithmetic.

use super::element::{Float, Number, Wide, with_float, with_int};
use super::io::{Io, concrete};
use super::{EvalError, walk};
use crate::arith::{self, Real, Unary};
use unisono_graph::Operator;
use unisono_graph::ops::activation::{Activate, Activation};

/// The canonical function that an activation means; `None` for the two that only recurrent cells have ([`Activation::Affine`] and
/// [`Activation::ScaledTanh`], see [`activate`]).
pub fn canonical_activation(activation: Activation) -> Option<Unary> {
    Some(match activation {
        Activation::Relu => Unary::Relu,
        Activation::LeakyRelu { alpha } => Unary::LeakyRelu { alpha },
        Activation::Elu { alpha } => Unary::Elu { alpha },
        Activation::Selu { alpha, gamma } => Unary::Selu { alpha, gamma },
        Activation::Celu { alpha } => Unary::Celu { alpha },
        Activation::Sigmoid => Unary::Sigmoid,
        Activation::Tanh => Unary::Tanh,
        Activation::HardSigmoid { alpha, beta } => Unary::HardSigmoid { alpha, beta },
        Activation::HardSwish => Unary::HardSwish,
        Activation::GeluErf => Unary::Gelu,
        Activation::GeluTanh => Unary::GeluTanh,
        Activation::Swish { alpha } => Unary::Swish { alpha },
        Activation::Mish => Unary::Mish,
        Activation::Softplus => Unary::Softplus,
        Activation::Softsign => Unary::Softsign,
        Activation::ThresholdedRelu { alpha } => Unary::ThresholdedRelu { alpha },
        Activation::Shrink { bias, lambd } => Unary::Shrink {
            bias,
            lambda: lambd,
        },
        Activation::Clip { low, high } => Unary::Clip { low, high },
        Activation::Affine { .. } | Activation::ScaledTanh { .. } => return None,
    })
}

/// Any activation's value at `x`.
pub fn activate<R: Real>(activation: Activation, x: R) -> R {
    match (canonical_activation(activation), activation) {
        (Some(f), _) => f.eval(x),
        (None, Activation::ScaledTanh { alpha, beta }) => {
            R::from_f32(alpha) * (R::from_f32(beta) * x).tanh()
        }
        (None, Activation::Affine { alpha, beta }) => R::from_f32(alpha).fma(x, R::from_f32(beta)),
        // The two above are all that have no canonical function.
        (None, _) => x,
    }
}

/// The activation behind a product or convolution.
pub(super) fn epilogue(activation: Option<Activation>) -> Result<Option<Unary>, EvalError> {
    match activation {
        None => Ok(None),
        Some(a) => canonical_activation(a)
            .map(Some)
            .ok_or(EvalError::Unsupported {
                kind: "an activation of recurrent cells elsewhere",
            }),
    }
}

pub(super) fn activation(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let function = concrete::<Activate>(op)?.function;
    let x = io.input(0)?;
    let mut out = io.output(0)?;
    if x.dtype().is_float() {
        return with_float!(x.dtype(), "an activation's input", T => {
            walk::map1(x.as_slice::<T>()?, out.as_slice_mut::<T>()?, |x| {
                T::narrow(activate(function, x.widen()))
            })
        });
    }
    with_int!(x.dtype(), "an activation's input", T => {
        let (x, out) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        match function {
            Activation::Relu => walk::map1(x, out, |x| Wide::max(x, 0)),
            Activation::Shrink { bias, lambd } => walk::map1(x, out, |x| {
                // Every integer that a network shrinks is exact in f64.
                arith::Unary::Shrink { bias, lambda: lambd }.eval(x as f64) as T
            }),
            _ => Err(EvalError::Type {
                what: "the input of this activation",
                found: <T as unisono_tensor::Element>::DTYPE,
            }),
        }
    })
}

/// `min(max(x, low), high)` with bounds that are inputs.
pub(super) fn clip(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    let (low, high) = (io.optional(1), io.optional(2));
    let mut out = io.output(0)?;
    super::element::with_number!(x.dtype(), "a clipped tensor", T => {
        let bound = |t: Option<unisono_tensor::TensorRef<'_>>| match t {
            None => Ok(None),
            Some(t) => match t.as_slice::<T>()? {
                [] => Ok(None),
                &[b] => Ok(Some(b.load())),
                _ => Err(EvalError::Shape { what: "a bound should be a scalar" }),
            },
        };
        let (low, high) = (bound(low)?, bound(high)?);
        walk::map1(x.as_slice::<T>()?, out.as_slice_mut::<T>()?, |x| {
            let x = x.load();
            let x = low.map_or(x, |low| Wide::max(x, low));
            T::store(high.map_or(x, |high| Wide::min(x, high)))
        })
    })
}
