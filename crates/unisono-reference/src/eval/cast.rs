//! Conversions between element types: truncating and saturating from floats, wrapping between integers, rounding once to floats.

use super::io::{Io, ensure};
use super::movement::same_bytes;
use super::{EvalError, walk};
use crate::arith;
use unisono_graph::Operator;
use unisono_tensor::{DType, Element, TensorMut, TensorRef, bf16, f16};

pub(super) fn cast(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    convert(x, &mut io.output(0)?)
}

/// A value on its way from one type to another; exact for every type.
#[derive(Clone, Copy)]
enum Scalar {
    Float(f64),
    Int(i64),
    Unsigned(u64),
}

/// An element type as conversions see it. Booleans, which are stored as `u8`, have a marker of their own.
trait Convert {
    type Stored: Element;
    fn read(x: Self::Stored) -> Scalar;
    fn write(x: Scalar) -> Self::Stored;
}

struct Truth;

impl Convert for Truth {
    type Stored = u8;
    #[inline(always)]
    fn read(x: u8) -> Scalar {
        Scalar::Unsigned(u64::from(x != 0))
    }
    #[inline(always)]
    fn write(x: Scalar) -> u8 {
        u8::from(match x {
            Scalar::Float(x) => x != 0.0,
            Scalar::Int(x) => x != 0,
            Scalar::Unsigned(x) => x != 0,
        })
    }
}

macro_rules! convert_int {
    ($($t:ty => $kind:ident as $wide:ty),*) => { $(impl Convert for $t {
        type Stored = $t;
        #[inline(always)]
        fn read(x: $t) -> Scalar { Scalar::$kind(x as $wide) }
        #[inline(always)]
        fn write(x: Scalar) -> $t {
            match x {
                Scalar::Float(x) => x as $t,
                Scalar::Int(x) => x as $t,
                Scalar::Unsigned(x) => x as $t,
            }
        }
    })* };
}
convert_int!(i8 => Int as i64, i16 => Int as i64, i32 => Int as i64, i64 => Int as i64,
             u8 => Unsigned as u64, u16 => Unsigned as u64, u32 => Unsigned as u64, u64 => Unsigned as u64);

macro_rules! convert_float {
    ($($t:ty),*) => { $(impl Convert for $t {
        type Stored = $t;
        #[inline(always)]
        fn read(x: $t) -> Scalar { Scalar::Float(x.into()) }
        #[inline(always)]
        fn write(x: Scalar) -> $t {
            match x {
                Scalar::Float(x) => x as $t,
                Scalar::Int(x) => x as $t,
                Scalar::Unsigned(x) => x as $t,
            }
        }
    })* };
}
convert_float!(f32, f64);

macro_rules! convert_half {
    ($($t:ty, $from_f64:path);*) => { $(impl Convert for $t {
        type Stored = $t;
        #[inline(always)]
        fn read(x: $t) -> Scalar { Scalar::Float(x.into()) }
        #[inline(always)]
        fn write(x: Scalar) -> $t {
            match x {
                Scalar::Float(x) => $from_f64(x),
                Scalar::Int(x) => <$t>::from_f32(odd(x as f32, x.into())),
                Scalar::Unsigned(x) => <$t>::from_f32(odd(x as f32, x.into())),
            }
        }
    })* };
}
convert_half!(f16, arith::f64_to_f16; bf16, arith::f64_to_bf16);

/// An integer rounded *to odd*, given the nearest f32: rounding that again to a format with at least two bits less is as if it had been
/// rounded once (Boldo and Melquiond, IEEE Transactions on Computers 57(4), 2008).
fn odd(near: f32, exact: i128) -> f32 {
    // All are below 2^65, far inside of what i128 holds.
    let back = near as i128;
    if back == exact {
        return near;
    }
    let away = back.unsigned_abs() > exact.unsigned_abs();
    f32::from_bits((near.to_bits() - u32::from(away)) | 1)
}

macro_rules! with_convert {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::Bool => {
                type $T = Truth;
                $body
            }
            dtype => super::element::with_number!(dtype, "a converted tensor", $T => $body),
        }
    };
}

/// Converts every element to the output's type.
pub(crate) fn convert(x: TensorRef<'_>, out: &mut TensorMut<'_>) -> Result<(), EvalError> {
    if x.dtype() == out.dtype() {
        return same_bytes(x, out);
    }
    ensure(
        x.len() == out.len(),
        "a conversion keeps the number of elements",
    )?;
    with_convert!(x.dtype(), From => convert_from::<From>(x, out))
}

fn convert_from<F: Convert>(x: TensorRef<'_>, out: &mut TensorMut<'_>) -> Result<(), EvalError> {
    let x = x.as_slice::<F::Stored>()?;
    with_convert!(out.dtype(), To => {
        let out = out.as_slice_mut::<<To as Convert>::Stored>()?;
        walk::map1(x, out, |x| To::write(F::read(x)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_tensor::Tensor;

    fn cast(x: &Tensor, to: DType) -> Tensor {
        let mut out = Tensor::zeros(to, x.shape()).unwrap();
        convert(x.view().unwrap(), &mut out.view_mut().unwrap()).unwrap();
        out
    }

    #[test]
    fn floats_truncate_and_saturate_and_nan_is_zero() {
        let x = Tensor::from_slice(
            &[6],
            &[1.9f32, -1.9, 300.0, -300.0, f32::NAN, f32::INFINITY],
        )
        .unwrap();
        assert_eq!(
            cast(&x, DType::I8).as_slice::<i8>().unwrap(),
            [1, -1, 127, -128, 0, 127]
        );
        assert_eq!(
            cast(&x, DType::U8).as_slice::<u8>().unwrap(),
            [1, 0, 255, 0, 0, 255]
        );
        assert_eq!(cast(&x, DType::Bool).as_slice::<u8>().unwrap(), [1; 6]);
    }

    #[test]
    fn integers_wrap() {
        let x = Tensor::from_slice(&[3], &[257i64, -1, i64::MIN]).unwrap();
        assert_eq!(cast(&x, DType::U8).as_slice::<u8>().unwrap(), [1, 255, 0]);
        assert_eq!(
            cast(&x, DType::U64).as_slice::<u64>().unwrap(),
            [257, u64::MAX, 1 << 63]
        );
    }

    #[test]
    fn conversions_to_half_types_round_once() {
        // 1 + 2^-11 lies half way between two f16; a little more must round up, though f32 cannot tell the two apart.
        let x = Tensor::from_slice(
            &[2],
            &[1.0 + 2f64.powi(-11), 1.0 + 2f64.powi(-11) + 2f64.powi(-40)],
        )
        .unwrap();
        let y = cast(&x, DType::F16);
        assert_eq!(
            y.as_slice::<f16>().unwrap(),
            [f16::from_f32(1.0), f16::from_f32(1.0009766)]
        );
        let x = Tensor::from_slice(
            &[3],
            &[
                (1i64 << 40) + (1 << 32) + 1,
                -((1i64 << 40) + (1 << 32) + 1),
                1i64 << 40,
            ],
        )
        .unwrap();
        let y = cast(&x, DType::BF16);
        let up = (1u64 << 40) as f32 + (1u64 << 33) as f32;
        assert_eq!(
            y.as_slice::<bf16>().unwrap(),
            [
                bf16::from_f32(up),
                bf16::from_f32(-up),
                bf16::from_f32((1u64 << 40) as f32)
            ]
        );
        let x = Tensor::from_slice(&[2], &[1e300f64, 65520.0]).unwrap();
        assert!(
            cast(&x, DType::F16)
                .as_slice::<f16>()
                .unwrap()
                .iter()
                .all(|x| x.is_infinite())
        );
    }
}
