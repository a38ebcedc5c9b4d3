//! A fused multiply-add that is right everywhere.
//!
//! Where the target has the instruction, `f32::mul_add` is it. Elsewhere `mul_add` calls the platform's C library, whose versions
//! have been wrong before, so this module brings its own. It must never round twice.

/// `a * b + c` with a single rounding, on every target.
///
/// Without hardware support the product is formed exactly in `f64` (24 + 24 bits fit in 53), the sum is rounded *to odd*, and the
/// final conversion to `f32` then rounds correctly (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", IEEE Transactions on Computers 57(4), 2008).
#[inline(always)]
pub fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        fma_to_odd(a, b, c)
    }
}

#[inline(always)]
fn fma_to_odd(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    // Knuth's two-sum: `sum + error` is the exact value. For infinities and NaN the error is NaN and no branch below is taken.
    let from_addend = sum - product;
    let error = (product - (sum - from_addend)) + (addend - from_addend);
    let mut bits = sum.to_bits();
    if error.abs() > 0.0 && bits & 1 == 0 {
        // An inexact sum is not zero, so stepping its magnitude by one stays within the same sign.
        bits = if (error > 0.0) == (sum > 0.0) {
            bits + 1
        } else {
            bits - 1
        };
    }
    f64::from_bits(bits) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::same_bits;

    fn check(a: f32, b: f32, c: f32) {
        let expected = a.mul_add(b, c);
        let found = fma_to_odd(a, b, c);
        assert!(
            same_bits(found, expected),
            "fma({a:e}, {b:e}, {c:e}) = {found:e}, not {expected:e}"
        );
    }

    #[test]
    fn agrees_with_the_platform_on_edges_and_on_random_bits() {
        let edges = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::MIN_POSITIVE,
            -f32::MIN_POSITIVE,
            f32::from_bits(1),
            f32::from_bits(0x007f_ffff),
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.0 + f32::EPSILON,
            1.0 - f32::EPSILON / 2.0,
        ];
        for a in edges {
            for b in edges {
                for c in edges {
                    check(a, b, c);
                }
            }
        }
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32
        };
        for _ in 0..300_000 {
            let (a, b) = (f32::from_bits(next()), f32::from_bits(next()));
            check(a, b, f32::from_bits(next()));
            // An addend close to the product, where a double rounding would show.
            let c = -(f64::from(a) * f64::from(b)) as f32;
            check(a, b, c);
            check(a, b, f32::from_bits(c.to_bits() ^ (next() & 3)));
            // Half an ulp of the addend away: the sum falls near a tie.
            check(
                a,
                f32::from_bits(0x3f80_0000 | (next() & 0xff)),
                a * 2f32.powi((next() % 60) as i32 - 30),
            );
        }
    }
}
