//! A 64-bit digest of requests and answers, for telling at a glance whether two reports did and saw the same.
//!
//! It guards against accidents, not against somebody who wants two reports to look alike.

use std::fmt;

use unisono::{DType, Tensor};

use crate::random::mix;

/// Grows with everything that is put into it; shown as 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest::new()
    }
}

impl Digest {
    /// Of nothing.
    pub fn new() -> Digest {
        Digest(0x756e_6973_6f6e_6f31)
    }

    /// Adds one number.
    pub fn word(&mut self, word: u64) {
        // Two dependent rounds: neither order nor repetition of words can cancel out.
        self.0 = mix(self.0.rotate_left(29) ^ mix(word ^ 0x9e37_79b9_7f4a_7c15));
    }

    /// Adds bytes, and how many there were.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    /// Adds a tensor: type, shape and contents. All NaNs count as one, as everywhere in the arithmetic.
    pub fn tensor(&mut self, tensor: &Tensor) {
        self.bytes(tensor.dtype().name().as_bytes());
        for &n in tensor.shape() {
            self.word(n as u64);
        }
        if let Some(strings) = tensor.strings() {
            strings.iter().for_each(|s| self.bytes(s.as_bytes()));
            return;
        }
        if tensor.dtype() == DType::F32 {
            for four in tensor.bytes().as_chunks::<4>().0 {
                let value = f32::from_le_bytes(*four);
                let bits = if value.is_nan() {
                    0x7fc0_0000
                } else {
                    value.to_bits()
                };
                self.word(bits.into());
            }
        } else if let (true, Some(values)) = (tensor.dtype().is_float(), tensor.to_f64s()) {
            // Widening keeps the value, which is all that counts here.
            for value in values {
                let bits = if value.is_nan() {
                    0x7ff8_0000_0000_0000
                } else {
                    value.to_bits()
                };
                self.word(bits);
            }
        } else {
            self.bytes(tensor.bytes());
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32], shape: &[usize]) -> String {
        let mut digest = Digest::new();
        digest.tensor(&Tensor::from_slice(shape, values).unwrap());
        digest.to_string()
    }

    #[test]
    fn one_bit_order_and_shape_count_but_a_nans_payload_does_not() {
        let base = of(&[1.0, 2.0], &[2]);
        assert_eq!(base, of(&[1.0, 2.0], &[2]));
        assert_ne!(base, of(&[2.0, 1.0], &[2]));
        assert_ne!(base, of(&[1.0, 2.0], &[1, 2]));
        assert_ne!(base, of(&[1.0, f32::from_bits(2f32.to_bits() ^ 1)], &[2]));
        assert_ne!(of(&[0.0], &[1]), of(&[-0.0], &[1]));
        assert_eq!(of(&[f32::NAN], &[1]), of(&[-f32::NAN], &[1]));
    }

    #[test]
    fn lengths_count() {
        let of_bytes = |bytes: &[u8]| {
            let mut digest = Digest::new();
            digest.bytes(bytes);
            digest.to_string()
        };
        assert_ne!(of_bytes(&[0; 7]), of_bytes(&[0; 8]));
        assert_ne!(of_bytes(&[]), of_bytes(&[0]));
    }
}
