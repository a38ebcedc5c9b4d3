//! `exp`, `log`, `tanh`, `erf`, `sigmoid` and what is made of them: the functions that models spend time in.
//!
//! One idea: each is a straight line of f32 operations with explicit fused multiply-adds and selections, no tables and no branches that
//! a vector could not take on both sides. A device writes the same line in its own instructions and gets the same bits. Each is at most
//! 2 ulp off for normal results (`docs/arithmetic.md` has the measured figures).

use super::coefficients::*;
use super::fma_f32 as fma;

/// Horner's rule in fused multiply-adds, lowest coefficient first.
#[inline(always)]
fn horner<const N: usize>(x: f32, coefficients: &[f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        sum = fma(sum, x, coefficients[i]);
    }
    sum
}

/// 2^n for n in -126 ..= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// Splits x into `n ln 2 + r` and returns n and `e^r - 1`, for x in [`EXP_LOWEST`] ..= [`EXP_HIGHEST`]. For NaN the second is NaN and the
/// first any number.
#[inline(always)]
fn exp_parts(x: f32) -> (i32, f32) {
    let shifted = fma(x, LOG2_E, ROUND_MAGIC);
    let n = shifted - ROUND_MAGIC;
    let r = fma(n, -LN2_HIGH, x);
    let r = fma(n, -LN2_LOW, r);
    let integer = (shifted.to_bits() as i32).wrapping_sub(ROUND_MAGIC.to_bits() as i32);
    (integer, fma(r * r, horner(r, &exp_polynomial()), r))
}

/// `e^x`.
pub fn exp(x: f32) -> f32 {
    // Written so that NaN passes.
    let x = if x < EXP_LOWEST { EXP_LOWEST } else { x };
    let x = if x > EXP_HIGHEST { EXP_HIGHEST } else { x };
    if x.is_nan() {
        return x;
    }
    let (n, q) = exp_parts(x);
    // Two steps, since n runs from -150 to 128. The first is exact; the second rounds subnormal results and overflows to infinity.
    let half = n >> 1;
    ((1.0 + q) * power_of_two(half)) * power_of_two(n - half)
}

/// `e^x - 1`, accurate near 0, for x up to [`EXPM1_HIGHEST`].
pub(super) fn expm1(x: f32) -> f32 {
    let x = if x < EXPM1_LOWEST { EXPM1_LOWEST } else { x };
    let x = if x > EXPM1_HIGHEST { EXPM1_HIGHEST } else { x };
    if x.is_nan() {
        return x;
    }
    let (n, q) = exp_parts(x);
    let scale = power_of_two(n);
    fma(scale, q, scale - 1.0)
}

/// `log(1 + f) + k ln 2` for 1 + f in [sqrt(1/2), sqrt(2)].
#[inline(always)]
fn log_parts(f: f32, k: f32) -> f32 {
    let square = f * f;
    let y = (f * square) * horner(f, &LOG);
    let y = fma(k, LN2_SHORT_REST, y);
    let y = fma(-0.5, square, y);
    fma(k, LN2_SHORT, f + y)
}

/// The natural logarithm: NaN below zero, -infinity for both zeros.
pub fn log(x: f32) -> f32 {
    if x < 0.0 || x.is_nan() {
        return f32::NAN;
    }
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x == f32::INFINITY {
        return x;
    }
    let subnormal = x < f32::MIN_POSITIVE;
    let (x, bias) = if subnormal {
        (x * 8_388_608.0, -23.0)
    } else {
        (x, 0.0)
    };
    let bits = x.to_bits() as i32;
    let exponent = (bits - SQRT_HALF_BITS) >> 23;
    let mantissa = f32::from_bits((bits - (exponent << 23)) as u32);
    log_parts(mantissa - 1.0, exponent as f32 + bias)
}

/// The hyperbolic tangent, as `y = t / (t + 2)` with `t = e^(2|x|) - 1`. Below t = 1 the equal `h - h y`, `h = t / 2`, follows, which is
/// hardly touched by the roundings of the division.
pub fn tanh(x: f32) -> f32 {
    let t = expm1(2.0 * x.abs());
    let y = t / (t + 2.0);
    let h = 0.5 * t;
    (if t < 1.0 { fma(-h, y, h) } else { y }).copysign(x)
}

/// The error function.
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let y = if a < ERF_SPLIT {
        fma(a, horner(a * a, &ERF_SMALL), a)
    } else {
        let a = if a > ERF_HIGHEST { ERF_HIGHEST } else { a };
        1.0 - exp(horner(a, &ERF_LARGE))
    };
    y.copysign(x)
}

/// `1 / (1 + e^-x)`, from `e = e^-|x|` and `y = e / (1 + e)`: `1 - y`, or for negative x the equal `e - e y`, which is hardly touched by
/// the roundings of the division.
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let y = e / (1.0 + e);
    let s = if x < 0.0 { e } else { 1.0 };
    fma(-y, s, s)
}

/// `log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)`.
pub fn softplus(x: f32) -> f32 {
    let u = exp(-x.abs());
    // 1 + u is in [1, 2]; both forms hand an f to the logarithm that is exact or one rounding off.
    let rest = if u > SQRT_2_MINUS_1 {
        log_parts((u - 1.0) * 0.5, 1.0)
    } else {
        log_parts(u, 0.0)
    };
    super::max(x, 0.0) + rest
}

/// `x tanh(softplus(x))`, as `x n / (n + 2)` with `n = e^x (e^x + 2)`.
pub fn mish(x: f32) -> f32 {
    let e = exp(if x > MISH_HIGHEST { MISH_HIGHEST } else { x });
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}

#[cfg(test)]
mod tests {
    use crate::arith::Unary;

    /// The distance from `exact` in units in the last place of an f32 of its magnitude.
    fn ulps(found: f32, exact: f64) -> f64 {
        let exponent = (exact.to_bits() >> 52 & 0x7ff) as i32 - 1023;
        (f64::from(found) - exact).abs() / 2f64.powi(exponent.max(-126) - 23)
    }

    #[test]
    fn normal_results_are_at_most_two_ulp_off() {
        use Unary::{Erf, Exp, Log, Sigmoid, Softplus, Tanh};
        for f in [Exp, Log, Tanh, Erf, Sigmoid, Softplus] {
            for bits in (0..1u64 << 32).step_by(8191) {
                let x = f32::from_bits(bits as u32);
                let exact = f.eval(f64::from(x));
                let magnitude = exact.abs();
                if magnitude >= f64::from(f32::MIN_POSITIVE) && magnitude <= f64::from(f32::MAX) {
                    let error = ulps(f.eval(x), exact);
                    assert!(error <= 2.0, "{f:?}({x:e}) is {error} ulp off");
                }
            }
        }
    }
}
