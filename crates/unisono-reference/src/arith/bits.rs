//! Comparison by bits, in the arithmetic's own sense: all NaNs count as one, and -0 is not +0.

use std::fmt;

/// Whether two values are the same result: equal bits, or both NaN.
#[inline(always)]
pub fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The first place where two slices differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Difference {
    /// The slices have different lengths.
    Length {
        /// The length of the slice under test.
        found: usize,
        /// The length of the slice that it should equal.
        expected: usize,
    },
    /// The values at `index` are not the same.
    Value {
        /// The position of the first difference.
        index: usize,
        /// The value under test.
        found: f32,
        /// The value that it should equal.
        expected: f32,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Difference::Length { found, expected } => {
                write!(f, "{found} values where {expected} were expected")
            }
            Difference::Value {
                index,
                found,
                expected,
            } => write!(
                f,
                "at {index}: {found:e} ({:#010x}) where {expected:e} ({:#010x}) was expected",
                found.to_bits(),
                expected.to_bits()
            ),
        }
    }
}

/// Where `found` first differs from `expected` in the sense of [`same_bits`]; `None` if nowhere.
pub fn first_difference(found: &[f32], expected: &[f32]) -> Option<Difference> {
    if found.len() != expected.len() {
        return Some(Difference::Length {
            found: found.len(),
            expected: expected.len(),
        });
    }
    found
        .iter()
        .zip(expected)
        .position(|(&f, &e)| !same_bits(f, e))
        .map(|index| Difference::Value {
            index,
            found: found[index],
            expected: expected[index],
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evidence: nan-is-nan
    #[test]
    fn zeros_differ_by_sign_and_nans_do_not_differ() {
        assert!(!same_bits(0.0, -0.0));
        assert!(same_bits(f32::NAN, -f32::NAN));
        assert!(same_bits(f32::from_bits(0x7fc0_0001), f32::NAN));
        assert!(!same_bits(f32::NAN, f32::INFINITY));
        assert_eq!(first_difference(&[1.0, f32::NAN], &[1.0, -f32::NAN]), None);
        assert_eq!(
            first_difference(&[1.0, 0.0, 2.0], &[1.0, -0.0, 3.0]),
            Some(Difference::Value {
                index: 1,
                found: 0.0,
                expected: -0.0
            })
        );
        assert_eq!(
            first_difference(&[1.0], &[]),
            Some(Difference::Length {
                found: 1,
                expected: 0
            })
        );
    }
}
