//! The two number types of the reference: `f32` is the canonical arithmetic, `f64` the same structure with more digits.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{accurate, double, elementary, fma_f32};

/// A floating-point type that the canonical structures are written in.
///
/// For `f32` every method is canonical: the same bits on every platform, from basic operations and this crate's own functions. For
/// `f64` the functions are the standard library's; its results judge accuracy and promise no bits.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Default
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// +0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// A NaN; which one is not defined.
    const NAN: Self;
    /// Positive infinity.
    const INFINITY: Self;

    /// Exact for both types: attributes of operators are `f32`.
    fn from_f32(x: f32) -> Self;
    /// A constant, rounded to this type once.
    fn from_f64(x: f64) -> Self;
    /// The value as `f64`, exact for both types.
    fn to_f64(self) -> f64;
    /// A count, rounded to this type once.
    fn from_count(n: usize) -> Self;
    /// `self * b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// IEEE square root.
    fn sqrt(self) -> Self;
    /// The magnitude.
    fn abs(self) -> Self;
    /// This magnitude with the sign bit of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// Whether this is a NaN.
    fn is_nan(self) -> bool;
    /// Whether this is an infinity.
    fn is_infinite(self) -> bool;
    /// Whether the sign bit is set.
    fn is_sign_negative(self) -> bool;
    /// Towards negative infinity.
    fn floor(self) -> Self;
    /// Towards positive infinity.
    fn ceil(self) -> Self;
    /// To the nearest integer, ties to even.
    fn round_ties_even(self) -> Self;
    /// The remainder of a truncated division, with the sign of `self`; exact.
    fn remainder(self, divisor: Self) -> Self;

    /// `e^x`.
    fn exp(self) -> Self;
    /// `e^x - 1`; the canonical one for x up to 88 and constant above, since only `Elu` and its kin use it.
    fn expm1(self) -> Self;
    /// Natural logarithm.
    fn log(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// `1 / (1 + e^-x)`.
    fn sigmoid(self) -> Self;
    /// `log(1 + e^x)`.
    fn softplus(self) -> Self;
    /// `x tanh(softplus(x))`.
    fn mish(self) -> Self;
    /// Sine of radians.
    fn sin(self) -> Self;
    /// Cosine of radians.
    fn cos(self) -> Self;
    /// Tangent of radians.
    fn tan(self) -> Self;
    /// Arc sine in radians.
    fn asin(self) -> Self;
    /// Arc cosine in radians.
    fn acos(self) -> Self;
    /// Arc tangent in radians.
    fn atan(self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// Inverse hyperbolic sine.
    fn asinh(self) -> Self;
    /// Inverse hyperbolic cosine.
    fn acosh(self) -> Self;
    /// Inverse hyperbolic tangent.
    fn atanh(self) -> Self;
    /// `self` to the power `exponent`.
    fn pow(self, exponent: Self) -> Self;
}

macro_rules! real {
    ($t:ty, $fma:expr, { $($name:ident: $function:expr,)* }, $pow:expr) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAN: Self = <$t>::NAN;
            const INFINITY: Self = <$t>::INFINITY;

            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                Self::from(x)
            }
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn from_count(n: usize) -> Self {
                n as Self
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                $fma(self, b, c)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                self.copysign(sign)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            #[inline(always)]
            fn is_infinite(self) -> bool {
                self.is_infinite()
            }
            #[inline(always)]
            fn is_sign_negative(self) -> bool {
                self.is_sign_negative()
            }
            #[inline(always)]
            fn floor(self) -> Self {
                self.floor()
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                self.ceil()
            }
            #[inline(always)]
            fn round_ties_even(self) -> Self {
                self.round_ties_even()
            }
            #[inline(always)]
            fn remainder(self, divisor: Self) -> Self {
                self % divisor
            }
            $(
                #[inline]
                fn $name(self) -> Self {
                    $function(self)
                }
            )*
            #[inline]
            fn pow(self, exponent: Self) -> Self {
                $pow(self, exponent)
            }
        }
    };
}

real!(f32, fma_f32, {
    exp: elementary::exp,
    expm1: elementary::expm1,
    log: elementary::log,
    tanh: elementary::tanh,
    erf: elementary::erf,
    sigmoid: elementary::sigmoid,
    softplus: elementary::softplus,
    mish: elementary::mish,
    sin: |x| double::sin(f64::from(x)) as f32,
    cos: |x| double::cos(f64::from(x)) as f32,
    tan: |x| double::tan(f64::from(x)) as f32,
    asin: |x| double::asin(f64::from(x)) as f32,
    acos: |x| double::acos(f64::from(x)) as f32,
    atan: |x| double::atan(f64::from(x)) as f32,
    sinh: |x| double::sinh(f64::from(x)) as f32,
    cosh: |x| double::cosh(f64::from(x)) as f32,
    asinh: |x| double::asinh(f64::from(x)) as f32,
    acosh: |x| double::acosh(f64::from(x)) as f32,
    atanh: |x| double::atanh(f64::from(x)) as f32,
}, double::pow);

real!(f64, f64::mul_add, {
    exp: f64::exp,
    expm1: f64::exp_m1,
    log: f64::ln,
    tanh: f64::tanh,
    erf: accurate::erf,
    sigmoid: accurate::sigmoid,
    softplus: accurate::softplus,
    mish: accurate::mish,
    sin: f64::sin,
    cos: f64::cos,
    tan: f64::tan,
    asin: f64::asin,
    acos: f64::acos,
    atan: f64::atan,
    sinh: f64::sinh,
    cosh: f64::cosh,
    asinh: f64::asinh,
    acosh: f64::acosh,
    atanh: f64::atanh,
}, f64::powf);

/// The greater of two values: NaN if either is, and +0 is above -0.
#[inline(always)]
pub fn max<R: Real>(a: R, b: R) -> R {
    if a.is_nan() || b.is_nan() {
        R::NAN
    } else if a > b || (a == b && b.is_sign_negative()) {
        a
    } else {
        b
    }
}

/// The lesser of two values: NaN if either is, and -0 is below +0.
#[inline(always)]
pub fn min<R: Real>(a: R, b: R) -> R {
    if a.is_nan() || b.is_nan() {
        R::NAN
    } else if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

/// `min(max(x, low), high)`: if `low > high` the result is `high`, as ONNX `Clip` has it.
#[inline(always)]
pub fn clip<R: Real>(x: R, low: R, high: R) -> R {
    min(max(x, low), high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::same_bits;

    #[test]
    fn max_and_min_propagate_nan_and_order_the_zeros() {
        let nan = f32::NAN;
        for (a, b, high, low) in [
            (0.0f32, -0.0, 0.0, -0.0),
            (-0.0, -0.0, -0.0, -0.0),
            (1.0, 2.0, 2.0, 1.0),
            (nan, 1.0, nan, nan),
            (f32::NEG_INFINITY, nan, nan, nan),
            (
                f32::NEG_INFINITY,
                f32::INFINITY,
                f32::INFINITY,
                f32::NEG_INFINITY,
            ),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                assert!(same_bits(max(a, b), high), "max({a}, {b})");
                assert!(same_bits(min(a, b), low), "min({a}, {b})");
            }
        }
        assert!(clip(nan, 0.0, 6.0).is_nan());
        assert_eq!(clip(5.0f32, 3.0, 1.0), 1.0);
    }
}
