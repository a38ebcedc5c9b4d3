//! Conversions between floats and narrow integers by scale and zero point.

use super::EvalError;
use super::element::{Float, with_float, with_int};
use super::io::{Indices, Io, around, axis, concrete, ensure};
use crate::arith::{self, Real};
use unisono_graph::Operator;
use unisono_graph::ops::quantize::{DequantizeLinear, QuantizeLinear};
use unisono_tensor::{DType, TensorRef};

/// Which scale belongs to which element: one for all, one per index of an axis, or one per block along it.
struct Scales {
    per_tensor: bool,
    inner: usize,
    len: usize,
    /// Elements along the axis that share a scale, and how many scales there are along it.
    block: usize,
    blocks: usize,
}

impl Scales {
    fn new(
        x: TensorRef<'_>,
        scale: TensorRef<'_>,
        zero: Option<TensorRef<'_>>,
        along: i64,
        block: usize,
    ) -> Result<Scales, EvalError> {
        ensure(
            zero.is_none_or(|z| z.len() == scale.len()),
            "there should be as many zero points as scales",
        )?;
        if scale.len() == 1 && block == 0 {
            return Ok(Scales {
                per_tensor: true,
                inner: 1,
                len: 1,
                block: 1,
                blocks: 1,
            });
        }
        let at = axis(along, x.rank())?;
        let [outer, len, inner] = around(x.shape(), at);
        let fits = if block == 0 {
            scale.len() == len
        } else {
            scale.len() == outer.wrapping_mul(len.div_ceil(block)).wrapping_mul(inner)
        };
        ensure(
            fits || x.is_empty(),
            "scales should be one, one per index of the axis, or one per block",
        )?;
        Ok(Scales {
            per_tensor: false,
            inner,
            len,
            block,
            blocks: if block == 0 { len } else { len.div_ceil(block) },
        })
    }

    fn of(&self, i: usize) -> usize {
        if self.per_tensor {
            return 0;
        }
        let along = i / self.inner % self.len;
        if self.block == 0 {
            return along;
        }
        let outer = i / self.inner / self.len;
        (outer * self.blocks + along / self.block) * self.inner + i % self.inner
    }
}

pub(super) fn quantize(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<QuantizeLinear>(op)?;
    let (x, scale, zero) = (io.input(0)?, io.input(1)?, io.optional(2));
    let scales = Scales::new(x, scale, zero, op.axis, op.block_size)?;
    let zero = zero.map(Indices::of).transpose()?;
    let mut out = io.output(0)?;
    ensure(x.len() == out.len(), "quantisation keeps the shape")?;
    let values = Values::of(x)?;
    with_float!(scale.dtype(), "a scale", S => {
        let scale = scale.as_slice::<S>()?;
        let (low, high) = integer_range(out.dtype())?;
        with_int!(out.dtype(), "a quantised tensor", T => {
            for (i, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
                let s = scales.of(i);
                let zero = zero.map_or(0, |z| z.get(s));
                *slot = quantized(values.get(i), scale[s].widen(), zero, low, high) as T;
            }
            Ok(())
        })
    })
}

/// The least and the greatest value of a quantised type.
fn integer_range(dtype: DType) -> Result<(i64, i64), EvalError> {
    Ok(match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::U16 => (0, u16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        found => {
            return Err(EvalError::Type {
                what: "a quantised tensor",
                found,
            });
        }
    })
}

/// `x / scale` in the scale's type, to the nearest integer (ties to even), plus the zero point, saturated. NaN counts as 0.
fn quantized<R: Real>(x: f64, scale: R, zero: i64, low: i64, high: i64) -> i64 {
    let rounded = (R::from_f64(x) / scale).round_ties_even().to_f64() as i64;
    rounded.saturating_add(zero).clamp(low, high)
}

/// Elements of a float or i32 tensor, as f64, which holds them exactly.
#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    F16(&'a [unisono_tensor::f16]),
    BF16(&'a [unisono_tensor::bf16]),
    Int(Indices<'a>),
}

impl<'a> Values<'a> {
    fn of(x: TensorRef<'a>) -> Result<Self, EvalError> {
        Ok(match x.dtype() {
            DType::F32 => Values::F32(x.as_slice()?),
            DType::F64 => Values::F64(x.as_slice()?),
            DType::F16 => Values::F16(x.as_slice()?),
            DType::BF16 => Values::BF16(x.as_slice()?),
            _ => Values::Int(Indices::of(x)?),
        })
    }

    fn get(&self, i: usize) -> f64 {
        match self {
            Values::F32(x) => x[i].into(),
            Values::F64(x) => x[i],
            Values::F16(x) => x[i].into(),
            Values::BF16(x) => x[i].into(),
            Values::Int(x) => x.get(i) as f64,
        }
    }
}

/// `(x - zero_point)`, an exact integer, times the scale, rounded once in the wider of the scale's and the output's type.
pub(super) fn dequantize(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<DequantizeLinear>(op)?;
    let (x, scale, zero) = (io.input(0)?, io.input(1)?, io.optional(2));
    let scales = Scales::new(x, scale, zero, op.axis, op.block_size)?;
    let (x_values, scale) = (Indices::of(x)?, Values::of(scale)?);
    let zero = zero.map(Indices::of).transpose()?;
    let mut out = io.output(0)?;
    ensure(x.len() == out.len(), "dequantisation keeps the shape")?;
    with_float!(out.dtype(), "a dequantised tensor", T => {
        type R = <T as Float>::Real;
        for (i, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
            let s = scales.of(i);
            // As arith::dequantize: both are at most 32 bits wide, their difference wraps.
            let q = (x_values.get(i) as i32).wrapping_sub(zero.map_or(0, |z| z.get(s) as i32));
            // An i32 becomes the real type by one rounding.
            *slot = T::narrow(R::from_f64(f64::from(q)) * R::from_f64(scale.get(s)));
        }
        Ok(())
    })
}

/// Scale and zero point from the extremes of the data and 0; three outputs, of which only the first is large.
pub(super) fn dynamic_quantize(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    let len = x.len();
    with_float!(x.dtype(), "a tensor to be quantised", T => {
        type R = <T as Float>::Real;
        let x = x.as_slice::<T>()?;
        let low = x.iter().fold(R::ZERO, |m, &v| arith::min(m, v.widen()));
        let high = x.iter().fold(R::ZERO, |m, &v| arith::max(m, v.widen()));
        let scale = (high - low) / R::from_f64(255.0);
        // Data without extent has the scale 0: everything is the zero point then.
        let zero = if scale == R::ZERO { 0 } else { quantized((-low).to_f64(), scale, 0, 0, 255) };
        if let Some(mut out) = io.wanted(1) {
            for slot in out.as_slice_mut::<T>()? {
                *slot = T::narrow(scale);
            }
        }
        if let Some(mut out) = io.wanted(2) {
            out.as_slice_mut::<u8>()?.fill(zero as u8);
        }
        let mut out = io.output(0)?;
        ensure(out.len() == len, "quantisation keeps the shape")?;
        super::walk::map1(x, out.as_slice_mut::<u8>()?, |v| {
            if scale == R::ZERO { zero as u8 } else { quantized(v.widen().to_f64(), scale, zero, 0, 255) as u8 }
        })
    })
}
