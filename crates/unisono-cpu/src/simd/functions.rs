//! The canonical elementary functions in vectors: line for line the operations of `unisono_reference::arith`, with selections in place of branches.

use unisono_reference::arith::coefficients::*;

use super::Simd;

/// Horner's rule in fused multiply-adds, lowest coefficient first.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, x: S::F, coefficients: &[f32; N]) -> S::F {
    let mut sum = s.splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = s.fma(sum, x, s.splat(coefficients[i]));
    }
    sum
}

/// `x = n ln 2 + r`: n and `e^r - 1`.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::F) -> (S::I, S::F) {
    let magic = s.splat(ROUND_MAGIC);
    let shifted = s.fma(x, s.splat(LOG2_E), magic);
    let n = s.sub(shifted, magic);
    let r = s.nfma(n, s.splat(LN2_HIGH), x);
    let r = s.nfma(n, s.splat(LN2_LOW), r);
    let integer = s.sub_int(
        s.to_bits(shifted),
        s.splat_int(ROUND_MAGIC.to_bits() as i32),
    );
    (
        integer,
        s.fma(s.mul(r, r), horner(s, r, &exp_polynomial()), r),
    )
}

/// `e^x`.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.at_least(x, s.splat(EXP_LOWEST));
    let x = s.at_most(x, s.splat(EXP_HIGHEST));
    let (n, q) = exp_parts(s, x);
    let half = s.shr_1(n);
    let rest = s.sub_int(n, half);
    let y = s.mul(s.add(s.splat(1.0), q), s.power_of_two(half));
    s.mul(y, s.power_of_two(rest))
}

/// `e^x` where it is known to be normal: one scaling, which is exact, equals two.
#[inline(always)]
fn exp_normal<S: Simd>(s: S, x: S::F) -> S::F {
    let (n, q) = exp_parts(s, x);
    s.mul(s.add(s.splat(1.0), q), s.power_of_two(n))
}

/// `e^x - 1`.
#[inline(always)]
pub(super) fn expm1<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.at_least(x, s.splat(EXPM1_LOWEST));
    let (n, q) = exp_parts(s, s.at_most(x, s.splat(EXPM1_HIGHEST)));
    let scale = s.power_of_two(n);
    s.fma(scale, q, s.sub(scale, s.splat(1.0)))
}

/// `log(1 + f) + k ln 2`.
#[inline(always)]
fn log_parts<S: Simd>(s: S, f: S::F, k: S::F) -> S::F {
    let square = s.mul(f, f);
    let y = s.mul(s.mul(f, square), horner(s, f, &LOG));
    let y = s.fma(k, s.splat(LN2_SHORT_REST), y);
    let y = s.fma(s.splat(-0.5), square, y);
    s.fma(k, s.splat(LN2_SHORT), s.add(f, y))
}

/// The natural logarithm.
#[inline(always)]
pub fn log<S: Simd>(s: S, x: S::F) -> S::F {
    let subnormal = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let scaled = s.select(subnormal, s.mul(x, s.splat(8_388_608.0)), x);
    let bias = s.select(subnormal, s.splat(-23.0), s.zero());
    let bits = s.to_bits(scaled);
    let exponent = s.shr_23(s.sub_int(bits, s.splat_int(SQRT_HALF_BITS)));
    let mantissa = s.with_bits(s.sub_int(bits, s.shl_23(exponent)));
    let y = log_parts(
        s,
        s.sub(mantissa, s.splat(1.0)),
        s.add(s.to_float(exponent), bias),
    );
    // Infinity and NaN stand for themselves.
    let y = s.select(s.lt(x, s.splat(f32::INFINITY)), y, x);
    let y = s.select(s.lt(x, s.zero()), s.splat(f32::NAN), y);
    s.select(s.eq(x, s.zero()), s.splat(f32::NEG_INFINITY), y)
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let twice = s.mul(s.splat(2.0), s.abs(x));
    let t = expm1(s, twice);
    let y = s.div(t, s.add(t, s.splat(2.0)));
    let h = s.mul(s.splat(0.5), t);
    let y = s.select(s.lt(t, s.splat(1.0)), s.nfma(h, y, h), y);
    s.copysign(y, x)
}

/// The error function.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let small = s.fma(a, horner(s, s.mul(a, a), &ERF_SMALL), a);
    let bounded = s.at_most(a, s.splat(ERF_HIGHEST));
    let complement = exp_normal(s, horner(s, bounded, &ERF_LARGE));
    let large = s.sub(s.splat(1.0), complement);
    s.copysign(s.select(s.lt(a, s.splat(ERF_SPLIT)), small, large), x)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.neg(s.abs(x)));
    let one = s.splat(1.0);
    let y = s.div(e, s.add(one, e));
    let factor = s.select(s.lt(x, s.zero()), e, one);
    s.nfma(y, factor, factor)
}

/// `log(1 + e^x)`.
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let u = exp(s, s.neg(s.abs(x)));
    let one = s.splat(1.0);
    let large = s.lt(s.splat(SQRT_2_MINUS_1), u);
    let f = s.select(large, s.mul(s.sub(u, one), s.splat(0.5)), u);
    let k = s.select(large, one, s.zero());
    s.add(s.relu(x), log_parts(s, f, k))
}

/// `x tanh(softplus(x))`.
#[inline(always)]
pub fn mish<S: Simd>(s: S, x: S::F) -> S::F {
    let two = s.splat(2.0);
    let e = exp(s, s.at_most(x, s.splat(MISH_HIGHEST)));
    let n = s.mul(e, s.add(e, two));
    s.mul(x, s.div(n, s.add(n, two)))
}
