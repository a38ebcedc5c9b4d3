//! Seeded numbers that are the same on every machine.
//!
//! The one idea: a stream is named by a seed and a path of integers (which model, which row, which input), and only
//! integer arithmetic, exact conversions and one IEEE multiplication stand between the seed and a value. No function of
//! the platform's mathematics library is called, so bytes are equal everywhere and reports of two machines compare.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed and path. Paths that differ anywhere give unrelated streams.
    pub fn new(seed: u64, path: &[u64]) -> Random {
        let mut random = Random(seed);
        for &step in path {
            random.0 = random.bits() ^ step.wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A multiple of 2^-23 from -1 up to, not including, 1: exact.
    pub fn unit(&mut self) -> f32 {
        let bits = (self.bits() >> 40) as i32;
        (bits - (1 << 23)) as f32 / (1 << 23) as f32
    }

    /// Like a standard normal number, within 4.9 either way: the sum of eight 16-bit integers, centred and scaled.
    ///
    /// The sum is an exact integer of 19 bits, so the one rounding is that of the product.
    pub fn normal(&mut self) -> f32 {
        /// The standard deviation of the sum: 65536 * sqrt(8 / 12).
        const DEVIATION: f32 = 53_509.91;
        let (a, b) = (self.bits(), self.bits());
        let sum: i32 = (0..4)
            .map(|i| ((a >> (16 * i)) & 0xffff) as i32 + ((b >> (16 * i)) & 0xffff) as i32)
            .sum();
        (sum - 4 * 65_535) as f32 * (1.0 / DEVIATION)
    }

    /// An integer from `low` to `high`, both included.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        let span = u128::from(high.abs_diff(low)) + 1;
        let step = (u128::from(self.bits()) * span) >> 64;
        low.wrapping_add(step as i64)
    }

    /// A number below `bound`, or 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }
}

/// SplitMix64's finaliser: every bit of the argument reaches every bit of the result.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for a name, to be a step of a path.
pub fn name_step(name: &str) -> u64 {
    name.bytes().fold(0, |h, b| mix(h ^ u64::from(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // The first outputs of SplitMix64 from state 1234567, as in Vigna's reference programme.
        let mut random = Random::new(1_234_567, &[]);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut random = Random::new(7, &[1, 2]);
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|_| f64::from(random.normal())).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert!(values.iter().all(|v| v.abs() < 4.9));
    }

    #[test]
    fn bounds_are_reached_and_kept() {
        let mut random = Random::new(7, &[]);
        let drawn: Vec<i64> = (0..1_000).map(|_| random.integer(-2, 2)).collect();
        assert_eq!(
            (drawn.iter().min(), drawn.iter().max()),
            (Some(&-2), Some(&2))
        );
        assert!((0..1_000).all(|_| random.below(3) < 3));
        assert!((0..1_000).all(|_| (-1.0..1.0).contains(&random.unit())));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn another_step_gives_another_stream() {
        let first = |path: &[u64]| Random::new(1, path).bits();
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[1]), first(&[1, 0]));
        assert_eq!(first(&[3]), first(&[3]));
    }
}
