//! Trigonometry, hyperbolic functions and powers, through `f64`.
//!
//! One idea: f64 has 29 bits more than a result needs, so textbook series with an error of some 2^-45 and one final rounding give an
//! f32 that is correctly rounded except for about one argument in a million. Only `+ - * /`, `sqrt` and comparisons of f64 are used, no fused operation
//! and no library function, so the bits are the same on every platform. A device must not let its compiler contract them.
//!
//! Every function here takes an f64 that is exactly an f32, unless it says otherwise.

const LN_2: f64 = std::f64::consts::LN_2;
const HALF_PI: f64 = std::f64::consts::FRAC_PI_2;

/// 1.5 * 2^52: adding and subtracting it rounds to an integer, ties to even.
const ROUND_MAGIC: f64 = 6_755_399_441_055_744.0;

#[inline(always)]
fn horner(x: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, &c| sum * x + c)
}

/// `1/2!, 1/3!, ...`: `e^r = 1 + r + r^2 (...)`.
const EXP: [f64; 12] = {
    let mut c = [0.0; 12];
    let mut factorial = 1.0;
    let mut i = 0;
    while i < c.len() {
        factorial *= (i + 2) as f64;
        c[i] = 1.0 / factorial;
        i += 1;
    }
    c
};

/// `1/3, 1/5, ...` of `artanh(s) = s + s^3 (1/3 + s^2/5 + ...)`.
const ARTANH: [f64; 12] = {
    let mut c = [0.0; 12];
    let mut i = 0;
    while i < c.len() {
        c[i] = 1.0 / (2 * i + 3) as f64;
        i += 1;
    }
    c
};

/// `-1/3, 1/5, ...` of `arctan(t) = t + t^3 (-1/3 + t^2/5 - ...)`.
const ARCTAN: [f64; 20] = {
    let mut c = [0.0; 20];
    let mut i = 0;
    let mut sign = -1.0;
    while i < c.len() {
        c[i] = sign / (2 * i + 3) as f64;
        sign = -sign;
        i += 1;
    }
    c
};

/// `-1/3!, 1/5!, ...` and `-1/2!, 1/4!, ...`.
const SIN: [f64; 8] = alternating(1);
const COS: [f64; 8] = alternating(0);

const fn alternating(first: usize) -> [f64; 8] {
    let mut c = [0.0; 8];
    let mut value = 1.0;
    let mut n = first;
    let mut i = 0;
    while i < c.len() {
        value = -value / ((n + 1) * (n + 2)) as f64;
        n += 2;
        c[i] = value;
        i += 1;
    }
    c
}

/// Splits x into `n ln 2 + r`, |r| <= 0.35, for |x| <= 200.
fn split(x: f64) -> (i64, f64) {
    // The upper part of ln 2 has 32 bits, so its product with n is exact.
    const HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    let n = (x * std::f64::consts::LOG2_E + ROUND_MAGIC) - ROUND_MAGIC;
    (n as i64, (x - n * HIGH) - n * LOW)
}

fn power_of_two(n: i64) -> f64 {
    f64::from_bits(((n + 1023) << 52) as u64)
}

/// `e^x` for any f64; 0 below -200 and infinite above 200, which is far outside of what f32 can tell apart.
pub(super) fn exp(x: f64) -> f64 {
    if x > 200.0 {
        return f64::INFINITY;
    }
    if x < -200.0 {
        return 0.0;
    }
    if x.is_nan() {
        return x;
    }
    let (n, r) = split(x);
    (1.0 + (r + r * r * horner(r, &EXP))) * power_of_two(n)
}

/// `e^x - 1`, accurate near 0, for any f64 with the limits of [`exp`].
fn expm1(x: f64) -> f64 {
    if x.abs() < 0.35 {
        x + x * x * horner(x, &EXP)
    } else {
        exp(x) - 1.0
    }
}

/// The natural logarithm of any normal positive f64, 0 or infinity; NaN for negative ones.
fn log(x: f64) -> f64 {
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x < 0.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == f64::INFINITY {
        return x;
    }
    let bits = x.to_bits() as i64;
    let exponent = (bits - std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64) >> 52;
    let mantissa = f64::from_bits((bits - (exponent << 52)) as u64);
    log1p_small(mantissa - 1.0) + exponent as f64 * LN_2
}

/// `log(1 + f)` for 1 + f in [sqrt(1/2), sqrt(2)].
fn log1p_small(f: f64) -> f64 {
    let s = f / (2.0 + f);
    let square = s * s;
    2.0 * (s + s * square * horner(square, &ARTANH))
}

/// `log(1 + x)`, accurate near 0, for any f64 of at least -1.
fn log1p(x: f64) -> f64 {
    if x.abs() < 0.29 {
        log1p_small(x)
    } else {
        log(1.0 + x)
    }
}

/// Bits of 2/pi after the binary point, preceded by one word of zeros.
const TWO_OVER_PI: [u32; 9] = [
    0,
    0xa2f9_836e,
    0x4e44_1529,
    0xfc27_57d1,
    0xf534_ddc0,
    0xdb62_9599,
    0x3c43_9041,
    0xfe51_63ab,
    0xdebb_c561,
];

/// Splits x into `n pi/2 + r`, |r| <= pi/4; returns n mod 4 and r.
fn reduce(x: f64) -> (u32, f64) {
    // The upper part of pi/2 has 33 bits, so its product with n is exact below 2^20.
    const HIGH: f64 = f64::from_bits(0x3ff9_21fb_5440_0000);
    const LOW: f64 = 6.077_100_506_506_192e-11;
    if x.abs() < 1_048_576.0 {
        let n = (x * std::f64::consts::FRAC_2_PI + ROUND_MAGIC) - ROUND_MAGIC;
        return ((n as i64 & 3) as u32, (x - n * HIGH) - n * LOW);
    }
    // Payne and Hanek, "Radian reduction for trigonometric functions", SIGNUM 18(1), 1983: of the product of the 24-bit significand with
    // the bits of 2/pi only those between weight 2 and 2^-94 matter.
    let bits = (x.abs() as f32).to_bits();
    let significand = u128::from(bits & 0x7f_ffff | 0x80_0000);
    let exponent = (bits >> 23) as i32 - 150;
    let start = (exponent - 2 + 32) as usize;
    let (word, shift) = (start / 32, start % 32);
    let mut window = 0u128;
    for &w in &TWO_OVER_PI[word..word + 4] {
        window = window << 32 | u128::from(w);
    }
    let window = window << shift >> 32;
    // Units of 2^-126 modulo 4: the quadrant in the two upper bits, the fraction below.
    let turns = (significand * window) << 32;
    let quadrant = (turns.wrapping_add(1 << 125) >> 126) as u32;
    let rest = turns.wrapping_sub(u128::from(quadrant) << 126) as i128;
    let r = rest as f64 * (HALF_PI / power_of_two(126));
    if x < 0.0 {
        (quadrant.wrapping_neg() & 3, -r)
    } else {
        (quadrant, r)
    }
}

/// Sine and cosine of |r| <= pi/4.
fn sin_small(r: f64) -> f64 {
    let square = r * r;
    r + r * square * horner(square, &SIN)
}

fn cos_small(r: f64) -> f64 {
    let square = r * r;
    1.0 + square * horner(square, &COS)
}

pub(super) fn sin(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    if x == 0.0 {
        return x;
    }
    let (quadrant, r) = reduce(x);
    match quadrant {
        0 => sin_small(r),
        1 => cos_small(r),
        2 => -sin_small(r),
        _ => -cos_small(r),
    }
}

pub(super) fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (quadrant, r) = reduce(x);
    match quadrant {
        0 => cos_small(r),
        1 => -sin_small(r),
        2 => -cos_small(r),
        _ => sin_small(r),
    }
}

pub(super) fn tan(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    if x == 0.0 {
        return x;
    }
    let (quadrant, r) = reduce(x);
    let (s, c) = (sin_small(r), cos_small(r));
    if quadrant & 1 == 0 { s / c } else { -c / s }
}

/// The arc tangent of any f64.
pub(super) fn atan(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    let inverted = a > 1.0;
    let t = if inverted { 1.0 / a } else { a };
    let turned = t > std::f64::consts::SQRT_2 - 1.0;
    let t = if turned { (t - 1.0) / (t + 1.0) } else { t };
    let square = t * t;
    let y = t + t * square * horner(square, &ARCTAN);
    let y = if turned { HALF_PI / 2.0 + y } else { y };
    let y = if inverted { HALF_PI - y } else { y };
    y.copysign(x)
}

pub(super) fn asin(x: f64) -> f64 {
    atan(x / ((1.0 - x) * (1.0 + x)).sqrt())
}

pub(super) fn acos(x: f64) -> f64 {
    2.0 * atan(((1.0 - x) / (1.0 + x)).sqrt())
}

pub(super) fn sinh(x: f64) -> f64 {
    let t = expm1(x.abs());
    // For infinity t / (t + 1) is NaN.
    let y = if t > 1e30 { t } else { t + t / (t + 1.0) };
    (0.5 * y).copysign(x)
}

pub(super) fn cosh(x: f64) -> f64 {
    let e = exp(x.abs());
    0.5 * (e + 1.0 / e)
}

pub(super) fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let y = if a > 1e30 {
        log(a) + LN_2
    } else {
        log1p(a + a * a / (1.0 + (1.0 + a * a).sqrt()))
    };
    y.copysign(x)
}

pub(super) fn acosh(x: f64) -> f64 {
    if x < 1.0 {
        return f64::NAN;
    }
    if x > 1e30 {
        return log(x) + LN_2;
    }
    let t = x - 1.0;
    log1p(t + (2.0 * t + t * t).sqrt())
}

pub(super) fn atanh(x: f64) -> f64 {
    let a = x.abs();
    if a > 1.0 {
        return f64::NAN;
    }
    (0.5 * log1p(2.0 * a / (1.0 - a))).copysign(x)
}

/// `x^y` with the special cases of IEEE 754-2019, 9.2.1. The exponents 2, 3, 1/2 and -1 are defined by what they mean, so that a device
/// may take them without a logarithm.
pub(super) fn pow(x: f32, y: f32) -> f32 {
    if y == 2.0 {
        return x * x;
    }
    if y == 3.0 {
        return (x * x) * x;
    }
    if y == -1.0 {
        return 1.0 / x;
    }
    if y == 0.5 {
        // Unlike a square root, a power turns -infinity into +infinity and -0 into +0.
        return if x == f32::NEG_INFINITY {
            f32::INFINITY
        } else {
            x.sqrt() + 0.0
        };
    }
    if y == 0.0 || x == 1.0 || (x == -1.0 && y.is_infinite()) {
        return 1.0;
    }
    if y == 1.0 {
        return x;
    }
    let integer = y.is_infinite() || y.abs() >= 16_777_216.0 || y as i32 as f32 == y;
    let odd = integer && y.abs() < 16_777_216.0 && y as i32 & 1 == 1;
    if x < 0.0 && x.is_finite() && !integer {
        return f32::NAN;
    }
    let magnitude = exp(f64::from(y) * log(f64::from(x.abs()))) as f32;
    if odd {
        magnitude.copysign(x)
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance in units in the last place of the f32 nearest to `exact`.
    fn ulps(found: f32, exact: f64) -> f64 {
        let near = exact as f32;
        if near == found || (near.is_nan() && found.is_nan()) {
            return 0.0;
        }
        let exponent = ((near.to_bits() >> 23 & 0xff) as i32).max(1) - 150;
        ((f64::from(found) - exact) / 2f64.powi(exponent)).abs()
    }

    type Pair = (&'static str, fn(f64) -> f64, fn(f64) -> f64);

    #[test]
    fn agrees_with_the_standard_library_over_the_whole_range() {
        let pairs: [Pair; 13] = [
            ("exp", exp, f64::exp),
            ("log", log, f64::ln),
            ("sin", sin, f64::sin),
            ("cos", cos, f64::cos),
            ("tan", tan, f64::tan),
            ("asin", asin, f64::asin),
            ("acos", acos, f64::acos),
            ("atan", atan, f64::atan),
            ("sinh", sinh, f64::sinh),
            ("cosh", cosh, f64::cosh),
            ("asinh", asinh, f64::asinh),
            ("acosh", acosh, f64::acosh),
            ("atanh", atanh, f64::atanh),
        ];
        let specials = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MAX,
            1e-45,
        ];
        for (name, ours, theirs) in pairs {
            let dense = (0..1u64 << 32)
                .step_by(65_521)
                .map(|b| f32::from_bits(b as u32));
            for x in dense.chain(specials) {
                let (x, found) = (f64::from(x), ours(f64::from(x)) as f32);
                let error = ulps(found, theirs(x));
                assert!(
                    error <= 0.5001,
                    "{name}({x:e}) = {found:e}, {error} ulp off"
                );
                if x == 0.0 && theirs(x) == 0.0 {
                    assert_eq!(
                        found.is_sign_negative(),
                        theirs(x).is_sign_negative(),
                        "{name}({x})"
                    );
                }
            }
        }
    }

    #[test]
    fn powers_agree_with_the_standard_library() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            2.0,
            -2.0,
            0.5,
            -0.5,
            3.0,
            -3.0,
            2.5,
            -2.5,
            7.0,
            1e-40,
            -1e-40,
            1e38,
            16_777_216.0,
            16_777_217.0,
            -16_777_216.0,
            8_388_609.0,
            0.999_999_9,
            1.000_000_1,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            0.333_333,
            10.0,
            -127.0,
        ];
        for x in values {
            for y in values {
                let exact = f64::from(x).powf(f64::from(y));
                let found = pow(x, y);
                // A cube is rounded twice.
                let bound = if y == 3.0 { 1.5001 } else { 0.5001 };
                assert!(
                    ulps(found, exact) <= bound,
                    "pow({x:e}, {y:e}) = {found:e}, not {exact:e}"
                );
                if exact == 0.0 {
                    assert_eq!(
                        found.is_sign_negative(),
                        exact.is_sign_negative(),
                        "pow({x:e}, {y:e})"
                    );
                }
            }
        }
    }
}
