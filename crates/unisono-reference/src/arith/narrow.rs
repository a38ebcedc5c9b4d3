//! Between number types: casts, half precision, and 8-bit quantities.
//!
//! Every conversion rounds once. Floats become integers by truncation with saturation and NaN as 0 (Rust's `as`); integers become narrower integers by
//! dropping upper bits (also `as`); integers become f32 by rounding to nearest even (`as` again).

use half::{bf16, f16};

/// f32 to f16, ties to even, beyond the range to infinity.
#[inline]
pub fn f32_to_f16(x: f32) -> f16 {
    f16::from_f32(x)
}

/// f32 to bf16, ties to even.
#[inline]
pub fn f32_to_bf16(x: f32) -> bf16 {
    bf16::from_f32(x)
}

/// f64 to f16 with a single rounding.
pub fn f64_to_f16(x: f64) -> f16 {
    f16::from_f32(to_odd(x))
}

/// f64 to bf16 with a single rounding.
pub fn f64_to_bf16(x: f64) -> bf16 {
    bf16::from_f32(to_odd(x))
}

/// f64 to f32, rounded to odd where inexact: a second, narrower rounding then equals a single one.
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || !near.is_finite() || near.to_bits() & 1 == 1 {
        return near;
    }
    let bits = near.to_bits();
    // Towards x: away from zero if x has the greater magnitude. A zero steps to the least subnormal of its sign.
    f32::from_bits(if x.abs() > back.abs() {
        bits + 1
    } else {
        bits - 1
    })
}

/// ONNX `QuantizeLinear` for one value: `x / scale` to the nearest integer (ties to even), plus the zero point, saturated to
/// `low ..= high`. NaN counts as 0.
#[inline]
pub fn quantize(x: f32, scale: f32, zero_point: i32, low: i32, high: i32) -> i32 {
    // Beyond 2^24 the cast saturates or is a whole number; i64 leaves room for the zero point.
    let rounded = (x / scale).round_ties_even() as i64;
    rounded
        .saturating_add(i64::from(zero_point))
        .clamp(i64::from(low), i64::from(high)) as i32
}

/// ONNX `DequantizeLinear` for one value: `(q - zero_point) * scale`.
#[inline]
pub fn dequantize(q: i32, scale: f32, zero_point: i32) -> f32 {
    q.wrapping_sub(zero_point) as f32 * scale
}

/// The exact sum of integer products, wrapping in i32: `term(i)` gives both factors, zero points already taken off.
#[inline]
pub fn integer_sum(k: usize, mut term: impl FnMut(usize) -> (i32, i32)) -> i32 {
    (0..k).fold(0i32, |s, i| {
        let (a, b) = term(i);
        s.wrapping_add(a.wrapping_mul(b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f64_rounds_once_on_its_way_to_f16() {
        // Just above a tie of f16 by less than f32 can hold: rounding through f32 would fall back on the tie, and then to even.
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(f64_to_f16(tie), f16::from_f32(1.0));
        assert_eq!(
            f64_to_f16(tie + 2f64.powi(-40)),
            f16::from_f32(1.0 + 2f32.powi(-10))
        );
        assert_eq!(f64_to_f16(tie - 2f64.powi(-40)), f16::from_f32(1.0));
        assert_eq!(
            f64_to_f16(-tie - 2f64.powi(-40)),
            f16::from_f32(-1.0 - 2f32.powi(-10))
        );
        assert_eq!(f64_to_f16(1e300), f16::INFINITY);
        assert!(f64_to_f16(f64::NAN).is_nan());
        let tie = 1.0 + 2f64.powi(-8);
        assert_eq!(
            f64_to_bf16(tie + 2f64.powi(-40)),
            bf16::from_f32(1.0 + 2f32.powi(-7))
        );
        assert_eq!(f64_to_bf16(tie), bf16::from_f32(1.0));
    }

    #[test]
    fn every_f16_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let h = f16::from_bits(bits);
            let back = f32_to_f16(h.to_f32());
            assert!(back.to_bits() == bits || (h.is_nan() && back.is_nan()));
            let b = bf16::from_bits(bits);
            let back = f32_to_bf16(b.to_f32());
            assert!(back.to_bits() == bits || (b.is_nan() && back.is_nan()));
        }
    }

    #[test]
    fn quantities_saturate() {
        assert_eq!(quantize(1.5, 1.0, 0, -128, 127), 2);
        assert_eq!(quantize(2.5, 1.0, 0, -128, 127), 2);
        assert_eq!(quantize(1e30, 1.0, 5, 0, 255), 255);
        assert_eq!(quantize(f32::NEG_INFINITY, 1.0, 128, 0, 255), 0);
        assert_eq!(quantize(f32::NAN, 1.0, 7, 0, 255), 7);
        assert_eq!(dequantize(130, 0.5, 128), 1.0);
        assert_eq!(integer_sum(3, |i| (i as i32, -2)), -6);
    }
}
