//! Values made out of a shape or a few scalars.

use super::EvalError;
use super::element::{Float, Number, Wide, with_float, with_int, with_number};
use super::io::{Io, concrete};
use super::movement::fill;
use crate::arith::Real;
use unisono_graph::Operator;
use unisono_graph::ops::generate::{ConstantOfShape, EyeLike};
use unisono_tensor::{DType, TensorRef};

/// `start + i * delta`: a product and a sum, each rounded, in the type itself (f16 and bf16 in f32).
pub(super) fn range(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let (start, delta) = (io.input(0)?, io.input(2)?);
    let mut out = io.output(0)?;
    if start.dtype().is_float() {
        return with_float!(start.dtype(), "a range", T => {
            let (start, delta) = (scalar::<T>(start)?.widen(), scalar::<T>(delta)?.widen());
            for (i, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
                *slot = T::narrow(start + <T as Float>::Real::from_count(i) * delta);
            }
            Ok(())
        });
    }
    with_int!(start.dtype(), "a range", T => {
        let (start, delta) = (scalar::<T>(start)?, scalar::<T>(delta)?);
        for (i, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
            *slot = start.wrapping_add((i as T).wrapping_mul(delta));
        }
        Ok(())
    })
}

/// How many elements a range has: `max(ceil((limit - start) / delta), 0)`.
pub(super) fn range_length(
    start: TensorRef<'_>,
    limit: TensorRef<'_>,
    delta: TensorRef<'_>,
) -> Result<usize, EvalError> {
    let zero = EvalError::Value {
        what: "a range's step should not be 0",
        found: 0,
    };
    if start.dtype().is_float() {
        return with_float!(start.dtype(), "a range", T => {
            let value = |t| Ok::<f64, EvalError>(scalar::<T>(t)?.widen().to_f64());
            let (start, limit, delta) = (value(start)?, value(limit)?, value(delta)?);
            if delta == 0.0 {
                return Err(zero);
            }
            // Saturates; NaN gives 0.
            Ok(((limit - start) / delta).ceil() as usize)
        });
    }
    with_int!(start.dtype(), "a range", T => {
        let value = |t| Ok::<i128, EvalError>(scalar::<T>(t)? as i128);
        let (start, limit, delta) = (value(start)?, value(limit)?, value(delta)?);
        if delta == 0 {
            return Err(zero);
        }
        let (distance, step) = if delta > 0 { (limit - start, delta) } else { (start - limit, -delta) };
        Ok(usize::try_from((distance.max(0) + step - 1) / step).unwrap_or(usize::MAX))
    })
}

fn scalar<T: unisono_tensor::Element>(t: TensorRef<'_>) -> Result<T, EvalError> {
    match t.as_slice::<T>()? {
        &[value] => Ok(value),
        _ => Err(EvalError::Shape {
            what: "a range's parameters should be scalars",
        }),
    }
}

pub(super) fn constant_of_shape(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<ConstantOfShape>(op)?;
    let mut out = io.output(0)?;
    if op.value.dtype() == out.dtype() {
        return fill(&mut out, op.value.bytes());
    }
    // The caller computes in a wider type than the model's.
    let value = op.value.to_aligned()?;
    let (mut wide, shape) = ([0u64; 1], [1usize]);
    let bytes = bytemuck::bytes_of_mut(&mut wide)
        .get_mut(..out.dtype().size())
        .unwrap_or_default();
    let mut one = unisono_tensor::TensorMut::new(out.dtype(), &shape, bytes)?;
    super::cast::convert(value.view()?, &mut one)?;
    fill(&mut out, one.as_ref().bytes())
}

pub(super) fn eye_like(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<EyeLike>(op)?;
    let mut out = io.output(0)?;
    let &[rows, cols] = out.shape() else {
        return Err(EvalError::Shape {
            what: "an identity matrix should have two axes",
        });
    };
    out.bytes_mut().fill(0);
    let ones = |i: usize| {
        let j = usize::try_from((i as i64).saturating_add(op.k)).ok()?;
        (j < cols).then_some(i * cols + j)
    };
    let places = (0..rows).filter_map(ones);
    if out.dtype() == DType::Bool {
        let out = out.as_slice_mut::<u8>()?;
        places.for_each(|at| out[at] = 1);
        return Ok(());
    }
    with_number!(out.dtype(), "an identity matrix", T => {
        let out = out.as_slice_mut::<T>()?;
        places.for_each(|at| out[at] = T::store(<<T as Number>::Wide as Wide>::ONE));
        Ok(())
    })
}
