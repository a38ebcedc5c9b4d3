//! Inputs out of a seed: the same numbers on every machine.
//!
//! The one idea: an input's values follow from the seed and the input's name alone, through integer arithmetic and exact
//! conversions, so that a report with a seed in it can be repeated anywhere.

use std::str::FromStr;

use unisono::{DType, Element, Tensor, bf16, f16};

use crate::failure::Failure;

/// SplitMix64 (Steele, Lea, Flood, 2014, "Fast splittable pseudorandom number generators").
pub struct Random(u64);

impl Random {
    /// A generator for one named thing under a seed.
    pub fn new(seed: u64, name: &str) -> Random {
        let mut random = Random(seed);
        for byte in name.bytes() {
            random.0 = random.next() ^ u64::from(byte);
        }
        random
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A multiple of 2^-23 from -1 up to, not including, 1.
    fn unit(&mut self) -> f32 {
        let bits = i32::try_from(self.next() >> 40).unwrap_or(0);
        // At most 24 bits: exact.
        (bits - (1 << 23)) as f32 / (1 << 23) as f32
    }

    fn int(&mut self, range: IntRange) -> i64 {
        let span = u128::from(range.high.abs_diff(range.low)) + 1;
        let step = (u128::from(self.next()) * span) >> 64;
        range.low.wrapping_add(step as i64)
    }
}

/// From which integers are drawn, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntRange {
    low: i64,
    high: i64,
}

impl IntRange {
    fn clamped(self, least: i64, most: i64) -> IntRange {
        IntRange {
            low: self.low.clamp(least, most),
            high: self.high.clamp(least, most),
        }
    }
}

impl std::fmt::Display for IntRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.low, self.high)
    }
}

impl FromStr for IntRange {
    type Err = String;

    fn from_str(text: &str) -> Result<IntRange, String> {
        let ends = text.split_once(':');
        let parsed = ends.and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        match parsed {
            Some((low, high)) if low <= high => Ok(IntRange { low, high }),
            _ => Err("should be LOW:HIGH, two integers, both included, such as 0:255".to_owned()),
        }
    }
}

/// A tensor of random values: floats from -1 to 1, integers from `ints`, booleans.
///
/// # Errors
/// Strings, which have no random values, and shapes that do not fit in memory.
pub fn tensor(
    dtype: DType,
    shape: &[usize],
    random: &mut Random,
    ints: IntRange,
) -> Result<Tensor, Failure> {
    let too_large = |e: unisono::TensorError| Failure::bad_input(e.to_string());
    let mut tensor = match dtype {
        DType::String => {
            return Err(Failure::bad_input("there are no random strings")
                .help("give this input as a file: --input NAME=FILE.npy"));
        }
        _ => Tensor::zeros(dtype, shape).map_err(too_large)?,
    };
    let r = random;
    match dtype {
        DType::F32 => fill(&mut tensor, || r.unit()),
        DType::F64 => fill(&mut tensor, || f64::from(r.unit())),
        DType::F16 => fill(&mut tensor, || f16::from_f32(r.unit())),
        DType::BF16 => fill(&mut tensor, || bf16::from_f32(r.unit())),
        DType::I64 => fill(&mut tensor, || r.int(ints)),
        DType::U64 => fill(&mut tensor, || r.int(ints.clamped(0, i64::MAX)) as u64),
        DType::I32 => fill(&mut tensor, || {
            r.int(ints.clamped(i32::MIN.into(), i32::MAX.into())) as i32
        }),
        DType::U32 => fill(&mut tensor, || {
            r.int(ints.clamped(0, u32::MAX.into())) as u32
        }),
        DType::I16 => fill(&mut tensor, || {
            r.int(ints.clamped(i16::MIN.into(), i16::MAX.into())) as i16
        }),
        DType::U16 => fill(&mut tensor, || {
            r.int(ints.clamped(0, u16::MAX.into())) as u16
        }),
        DType::I8 => fill(&mut tensor, || {
            r.int(ints.clamped(i8::MIN.into(), i8::MAX.into())) as i8
        }),
        DType::U8 => fill(&mut tensor, || r.int(ints.clamped(0, u8::MAX.into())) as u8),
        DType::Bool => fill(&mut tensor, || u8::from(r.next() >> 63 == 1)),
        other => {
            return Err(Failure::internal(format!("no random values for {other}")));
        }
    }
    Ok(tensor)
}

/// A tensor with the same number everywhere.
///
/// # Errors
/// The number does not fit the type.
pub fn filled(dtype: DType, shape: &[usize], value: f64) -> Result<Tensor, Failure> {
    let whole = value.fract() == 0.0;
    let fits = |least: f64, most: f64| whole && (least..=most).contains(&value);
    let mut tensor = Tensor::zeros(dtype, shape).map_err(|e| Failure::bad_input(e.to_string()))?;
    let t = &mut tensor;
    match dtype {
        DType::F32 => fill(t, || value as f32),
        DType::F64 => fill(t, || value),
        DType::F16 => fill(t, || f16::from_f64(value)),
        DType::BF16 => fill(t, || bf16::from_f64(value)),
        // Beyond 2^53 an f64 names no single integer.
        DType::I64 if fits(-9e15, 9e15) => fill(t, || value as i64),
        DType::U64 if fits(0.0, 9e15) => fill(t, || value as u64),
        DType::I32 if fits(i32::MIN.into(), i32::MAX.into()) => fill(t, || value as i32),
        DType::U32 if fits(0.0, u32::MAX.into()) => fill(t, || value as u32),
        DType::I16 if fits(i16::MIN.into(), i16::MAX.into()) => fill(t, || value as i16),
        DType::U16 if fits(0.0, u16::MAX.into()) => fill(t, || value as u16),
        DType::I8 if fits(i8::MIN.into(), i8::MAX.into()) => fill(t, || value as i8),
        DType::U8 if fits(0.0, u8::MAX.into()) => fill(t, || value as u8),
        DType::Bool if fits(0.0, 1.0) => fill(t, || value as u8),
        _ => return Err(Failure::bad_input(format!("{value} is no {dtype}"))),
    }
    Ok(tensor)
}

/// Writes every element of a tensor that was just made.
fn fill<T: Element>(tensor: &mut Tensor, mut value: impl FnMut() -> T) {
    let elements = tensor.as_slice_mut::<T>().unwrap_or(&mut []);
    elements.iter_mut().for_each(|e| *e = value());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_seed_and_name_and_stay_in_range() {
        let make = |dtype, seed, name| {
            let range = "-3:3".parse().unwrap();
            tensor(dtype, &[100], &mut Random::new(seed, name), range).unwrap()
        };
        for dtype in DType::ALL {
            if dtype == DType::String {
                continue;
            }
            let a = make(dtype, 1, "x");
            assert_eq!(a.bytes(), make(dtype, 1, "x").bytes());
            assert_ne!(a.bytes(), make(dtype, 2, "x").bytes(), "{dtype}");
            assert_ne!(a.bytes(), make(dtype, 1, "y").bytes(), "{dtype}");
            if let Some(ints) = a.to_i64s() {
                let least = if dtype.is_int() && matches!(dtype.name().as_bytes()[0], b'i') {
                    -3
                } else {
                    0
                };
                assert_eq!(ints.iter().min(), Some(&least), "{dtype}");
                assert!(ints.iter().all(|&v| v <= 3), "{dtype}");
            }
            if let Some(floats) = a.to_f64s() {
                assert!(floats.iter().all(|v| (-1.0..=1.0).contains(v)), "{dtype}");
                assert!(floats.iter().any(|v| *v < -0.5) && floats.iter().any(|v| *v > 0.5));
            }
        }
    }

    #[test]
    fn the_widest_range_of_integers_is_drawn_from() {
        let range: IntRange = format!("{}:{}", i64::MIN, i64::MAX).parse().unwrap();
        let mut random = Random::new(0, "");
        let drawn: Vec<i64> = (0..100).map(|_| random.int(range)).collect();
        assert!(drawn.iter().any(|v| *v < 0) && drawn.iter().any(|v| *v > 0));
        assert!("3:2".parse::<IntRange>().is_err());
        assert!("3".parse::<IntRange>().is_err());
    }

    #[test]
    fn a_number_that_the_type_cannot_hold_is_refused() {
        assert_eq!(
            filled(DType::I64, &[], 16000.0).unwrap().to_i64s().unwrap(),
            [16000]
        );
        assert!(filled(DType::I8, &[], 128.0).is_err());
        assert!(filled(DType::I32, &[], 0.5).is_err());
        assert!(filled(DType::Bool, &[], 2.0).is_err());
        assert!(filled(DType::String, &[], 2.0).is_err());
    }
}
