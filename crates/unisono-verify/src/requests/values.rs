//! What one row of one input holds.

use std::fmt;

use unisono::{DType, Element, Error, ErrorKind, Tensor, bf16, f16};

use super::{InputPlan, RowKind};
use crate::random::Random;

/// Where an input's values come from.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Values {
    /// Floats like a standard normal distribution.
    Normal,
    /// Floats uniform in a range.
    Uniform {
        /// The least.
        low: f64,
        /// The most.
        high: f64,
    },
    /// Integers (or booleans) uniform in a range.
    Integers {
        /// The least.
        low: i64,
        /// The most, included.
        high: i64,
    },
    /// The same number everywhere.
    Constant(f64),
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Normal => f.write_str("normal, mean 0, deviation 1"),
            Values::Uniform { low, high } => write!(f, "uniform from {low} to {high}"),
            Values::Integers { low, high } => write!(f, "integers from {low} to {high}"),
            Values::Constant(value) => write!(f, "{value} everywhere"),
        }
    }
}

impl Values {
    /// The values of an input that nobody says anything about.
    pub fn default_for(dtype: DType) -> Values {
        match dtype {
            dtype if dtype.is_float() => Values::Normal,
            DType::U8 => Values::Integers { low: 0, high: 255 },
            // Masks and flags.
            _ => Values::Integers { low: 0, high: 1 },
        }
    }

    /// Are two rows different?
    pub fn vary(self) -> bool {
        match self {
            Values::Normal => true,
            Values::Uniform { low, high } => low < high,
            Values::Integers { low, high } => low < high,
            Values::Constant(_) => false,
        }
    }

    fn float(self, random: &mut Random, kind: RowKind) -> f32 {
        let ordinary = |random: &mut Random| match self {
            Values::Uniform { low, high } => {
                let (low, high) = (low as f32, high as f32);
                low + (high - low) * (0.5 + 0.5 * random.unit())
            }
            Values::Integers { low, high } => random.integer(low, high) as f32,
            Values::Constant(value) => value as f32,
            Values::Normal => random.normal(),
        };
        match kind {
            _ if !self.vary() => ordinary(random),
            RowKind::Ordinary => ordinary(random),
            RowKind::Zeros => 0.0,
            RowKind::Poisoned => {
                let value = ordinary(random);
                match random.below(16) {
                    0 => f32::NAN,
                    1 => f32::INFINITY,
                    2 => f32::NEG_INFINITY,
                    3 => f32::MAX.copysign(value),
                    // The smallest number there is, which a careless machine flushes to zero.
                    4 => f32::from_bits(1).copysign(value),
                    _ => value,
                }
            }
        }
    }

    fn integer(self, random: &mut Random, kind: RowKind, least: i64, most: i64) -> i64 {
        let (low, high) = match self {
            Values::Integers { low, high } => (low, high),
            // Both ends are whole numbers, or the command line would have refused them.
            Values::Uniform { low, high } => (low as i64, high as i64),
            Values::Constant(value) => (value as i64, value as i64),
            Values::Normal => (0, 1),
        };
        let (low, high) = (low.clamp(least, most), high.clamp(least, most));
        match kind {
            RowKind::Zeros => 0i64.clamp(low, high.max(low)),
            // Integers have no poison; the floats of the same row do.
            RowKind::Ordinary | RowKind::Poisoned => random.integer(low, high.max(low)),
        }
    }
}

/// Fills a new tensor element by element.
fn fill<T: Element>(tensor: &mut Tensor, mut value: impl FnMut() -> T) {
    let elements = tensor.as_slice_mut::<T>().unwrap_or(&mut []);
    elements.iter_mut().for_each(|e| *e = value());
}

impl InputPlan {
    /// The contents of one row.
    pub(super) fn one_row(&self, random: &mut Random, kind: RowKind) -> Result<Tensor, Error> {
        let mut tensor = match self.dtype {
            DType::String => return Err(self.cannot_be_made_up()),
            dtype => Tensor::zeros(dtype, &self.shape)?,
        };
        let (t, r, v) = (&mut tensor, random, self.values);
        match self.dtype {
            DType::F32 => fill(t, || v.float(r, kind)),
            DType::F64 => fill(t, || f64::from(v.float(r, kind))),
            DType::F16 => fill(t, || f16::from_f32(v.float(r, kind))),
            DType::BF16 => fill(t, || bf16::from_f32(v.float(r, kind))),
            DType::I64 => fill(t, || v.integer(r, kind, i64::MIN, i64::MAX)),
            DType::U64 => fill(t, || v.integer(r, kind, 0, i64::MAX) as u64),
            DType::I32 => fill(t, || {
                v.integer(r, kind, i32::MIN.into(), i32::MAX.into()) as i32
            }),
            DType::U32 => fill(t, || v.integer(r, kind, 0, u32::MAX.into()) as u32),
            DType::I16 => fill(t, || {
                v.integer(r, kind, i16::MIN.into(), i16::MAX.into()) as i16
            }),
            DType::U16 => fill(t, || v.integer(r, kind, 0, u16::MAX.into()) as u16),
            DType::I8 => fill(t, || {
                v.integer(r, kind, i8::MIN.into(), i8::MAX.into()) as i8
            }),
            DType::U8 => fill(t, || v.integer(r, kind, 0, u8::MAX.into()) as u8),
            DType::Bool => fill(t, || v.integer(r, kind, 0, 1) as u8),
            _ => return Err(self.cannot_be_made_up()),
        }
        Ok(tensor)
    }

    fn cannot_be_made_up(&self) -> Error {
        let message = format!(
            "input \"{}\" holds {}, which cannot be made up",
            self.name, self.dtype
        );
        Error::new(ErrorKind::Unsupported, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Role;

    #[test]
    fn every_type_but_strings_is_made_within_its_range() {
        for dtype in DType::ALL {
            let values = match Values::default_for(dtype) {
                Values::Integers { .. } if dtype.is_int() => Values::Integers { low: 0, high: 999 },
                values => values,
            };
            let plan = InputPlan {
                name: "x".into(),
                dtype,
                shape: vec![200],
                role: Role::Whole,
                values,
                picks_from: None,
            };
            let made = plan.one_row(&mut Random::new(3, &[]), RowKind::Ordinary);
            if dtype == DType::String {
                assert!(made.unwrap_err().message().contains("\"x\" holds string"));
                continue;
            }
            let tensor = made.unwrap();
            if let Some(integers) = tensor.to_i64s() {
                let most = match dtype {
                    DType::Bool => 1,
                    DType::U8 => 255,
                    DType::I8 => 127,
                    _ => 999,
                };
                assert!(integers.iter().all(|v| (0..=most).contains(v)), "{dtype}");
                assert!(integers.iter().any(|v| *v > most / 2), "{dtype}");
            }
            if let Some(floats) = tensor.to_f64s() {
                assert!(floats.iter().any(|v| *v < -1.0) && floats.iter().any(|v| *v > 1.0));
            }
        }
    }

    #[test]
    fn given_ranges_and_constants_are_kept_also_by_rows_of_zeros() {
        let plan = |dtype, values| InputPlan {
            name: "x".into(),
            dtype,
            shape: vec![50],
            role: Role::Whole,
            values,
            picks_from: None,
        };
        let make = |dtype, values, kind| {
            plan(dtype, values)
                .one_row(&mut Random::new(3, &[]), kind)
                .unwrap()
        };
        let range = Values::Integers { low: 3, high: 5 };
        let zeros = make(DType::I64, range, RowKind::Zeros);
        assert!(zeros.to_i64s().unwrap().iter().all(|v| *v == 3));
        let constant = make(DType::F32, Values::Constant(2.5), RowKind::Poisoned);
        assert!(constant.to_f64s().unwrap().iter().all(|v| *v == 2.5));
        let uniform = make(
            DType::F32,
            Values::Uniform {
                low: 0.0,
                high: 255.0,
            },
            RowKind::Ordinary,
        );
        let values = uniform.to_f64s().unwrap();
        assert!(
            values.iter().all(|v| (0.0..=255.0).contains(v)) && values.iter().any(|v| *v > 128.0)
        );
    }
}
