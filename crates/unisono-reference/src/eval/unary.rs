//! Functions of one value, `Identity` and `Dropout`.

use super::element::{Float, with_float, with_int};
use super::io::{Io, concrete};
use super::movement::{fill, same_bytes};
use super::{EvalError, walk};
use crate::arith::{self, Real};
use unisono_graph::Operator;
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_tensor::{DType, Element};

/// The canonical function of floats behind an operator; `None` where the result or the input is no float.
pub fn canonical_unary(function: UnaryFunction) -> Option<arith::Unary> {
    use arith::Unary as U;
    Some(match function {
        UnaryFunction::Abs => U::Abs,
        UnaryFunction::Neg => U::Neg,
        UnaryFunction::Ceil => U::Ceil,
        UnaryFunction::Floor => U::Floor,
        UnaryFunction::Round => U::Round,
        UnaryFunction::Sign => U::Sign,
        UnaryFunction::Sqrt => U::Sqrt,
        UnaryFunction::Reciprocal => U::Reciprocal,
        UnaryFunction::Exp => U::Exp,
        UnaryFunction::Log => U::Log,
        UnaryFunction::Sin => U::Sin,
        UnaryFunction::Cos => U::Cos,
        UnaryFunction::Tan => U::Tan,
        UnaryFunction::Asin => U::Asin,
        UnaryFunction::Acos => U::Acos,
        UnaryFunction::Atan => U::Atan,
        UnaryFunction::Sinh => U::Sinh,
        UnaryFunction::Cosh => U::Cosh,
        UnaryFunction::Asinh => U::Asinh,
        UnaryFunction::Acosh => U::Acosh,
        UnaryFunction::Atanh => U::Atanh,
        UnaryFunction::Erf => U::Erf,
        UnaryFunction::Not
        | UnaryFunction::BitwiseNot
        | UnaryFunction::IsNaN
        | UnaryFunction::IsInf { .. } => return None,
    })
}

pub(super) fn unary(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let function = concrete::<Unary>(op)?.function;
    let x = io.input(0)?;
    let dtype = x.dtype();
    let mut out = io.output(0)?;
    match function {
        UnaryFunction::Not => {
            return walk::map1(x.as_slice::<u8>()?, out.as_slice_mut::<u8>()?, |x| {
                u8::from(x == 0)
            });
        }
        UnaryFunction::BitwiseNot => {
            return with_int!(dtype, "the input of BitwiseNot", T => {
                walk::map1(x.as_slice::<T>()?, out.as_slice_mut::<T>()?, |x| !x)
            });
        }
        UnaryFunction::IsNaN => {
            return with_float!(dtype, "the input of IsNaN", T => {
                walk::map1(x.as_slice::<T>()?, out.as_slice_mut::<u8>()?, |x| {
                    u8::from(Real::is_nan(x.widen()))
                })
            });
        }
        UnaryFunction::IsInf { negative, positive } => {
            return with_float!(dtype, "the input of IsInf", T => {
                walk::map1(x.as_slice::<T>()?, out.as_slice_mut::<u8>()?, |x| {
                    let x = x.widen();
                    let asked = if Real::is_sign_negative(x) { negative } else { positive };
                    u8::from(Real::is_infinite(x) && asked)
                })
            });
        }
        _ => {}
    }
    if let (true, Some(f)) = (dtype.is_float(), canonical_unary(function)) {
        return with_float!(dtype, "the input", T => {
            walk::map1(x.as_slice::<T>()?, out.as_slice_mut::<T>()?, |x| T::narrow(f.eval(x.widen())))
        });
    }
    with_int!(dtype, "the input of a function of floats", T => {
        use super::element::Wide;
        let (x, out) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        match function {
            UnaryFunction::Abs => walk::map1(x, out, Wide::abs),
            UnaryFunction::Neg => walk::map1(x, out, Wide::neg),
            UnaryFunction::Sign => walk::map1(x, out, Wide::sign),
            _ => Err(EvalError::Type {
                what: "the input of a function of floats",
                found: <T as Element>::DTYPE,
            }),
        }
    })
}

pub(super) fn identity(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    same_bytes(x, &mut io.output(0)?)
}

pub(super) fn dropout(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    if let Some(mut mask) = io.wanted(1) {
        match mask.dtype() {
            DType::Bool => fill(&mut mask, &[1])?,
            found => {
                with_float!(found, "a dropout's mask", T => {
                    fill(&mut mask, bytemuck::bytes_of(&T::narrow(Real::from_f32(1.0))))
                })?;
            }
        }
    }
    same_bytes(x, &mut io.output(0)?)
}
