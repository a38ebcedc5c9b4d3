//! Latencies in bounded memory, and how many of them a quantile needs.
//!
//! The one idea: buckets that grow with the value, 128 to each doubling, so that a bucket is at most 0.8 % wide and a day of soak takes a few
//! kilobytes. (The layout of HdrHistogram, [Tene](http://hdrhistogram.org/).)

/// Values in buckets. A quantile is told as the middle of its bucket, at most 0.4 % off.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

/// Buckets to a doubling, as a power of two.
const BITS: u32 = 7;

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

impl Latencies {
    /// None.
    pub fn new() -> Latencies {
        Latencies {
            counts: Vec::new(),
            total: 0,
            largest: 0,
        }
    }

    /// Adds one, in nanoseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        let bucket = bucket(nanoseconds);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.largest = self.largest.max(nanoseconds);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Latencies) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.total += other.total;
        self.largest = self.largest.max(other.largest);
    }

    /// Forgets all, and keeps the buckets.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.largest = 0;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest, in nanoseconds.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// A quantile from 0 to 1, in nanoseconds. `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share.clamp(0.0, 1.0) * self.total.checked_sub(1)? as f64).round() as u64;
        self.at(rank)
    }

    /// The interval in which the true quantile lies at 95 %.
    pub fn interval(&self, share: f64) -> Option<(f64, f64)> {
        let (low, high) = super::interval::ranks(self.total, share);
        Some((self.at(low)?, self.at(high)?))
    }

    /// The value of a rank from 0.
    fn at(&self, rank: u64) -> Option<f64> {
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > rank {
                let (low, high) = bounds(bucket);
                let middle = (low as f64 + high as f64) / 2.0;
                return Some(middle.min(self.largest as f64));
            }
        }
        None
    }
}

/// How many values a quantile needs so that at least ten lie beyond it; with fewer it says more about single values than about the load.
pub fn needed(share: f64) -> u64 {
    (10.0 / (1.0 - share).max(1e-9)).round() as u64
}

fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    if bits <= BITS + 1 {
        return value as usize;
    }
    let shift = bits - BITS - 1;
    ((u64::from(shift) << BITS) + (value >> shift)) as usize
}

/// The lowest and the highest value of a bucket.
fn bounds(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < 2 << BITS {
        return (bucket, bucket);
    }
    let shift = (bucket >> BITS) - 1;
    let low = (bucket - (shift << BITS)) << shift;
    (low, low + (1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_its_bucket_and_buckets_are_narrow() {
        let values = (0..2_000).chain((0..60).map(|i| (1u64 << i) + (1 << i) / 3));
        for value in values {
            let (low, high) = bounds(bucket(value));
            assert!(low <= value && value <= high, "{value}: {low} to {high}");
            assert!((high - low) as f64 <= 0.008 * value as f64, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut own = Latencies::new();
        let mut other = Latencies::new();
        for value in 1..=10_000u64 {
            let half = if value % 2 == 0 { &mut own } else { &mut other };
            half.add(value * 1_000);
        }
        own.merge(&other);
        assert_eq!((own.count(), own.largest()), (10_000, 10_000_000));
        for share in [0.0, 0.5, 0.99, 0.999, 1.0] {
            let exact = 1_000.0 + share * 9_999_000.0;
            let found = own.quantile(share).unwrap();
            assert!((found - exact).abs() <= 0.006 * exact, "{share}: {found}");
        }
        let (low, high) = own.interval(0.99).unwrap();
        assert!(low < 9_900_000.0 && high > 9_900_000.0);
        own.clear();
        assert_eq!((own.count(), own.quantile(0.5)), (0, None));
        own.add(5);
        assert_eq!((own.quantile(0.5), own.largest()), (Some(5.0), 5));
        assert_eq!(Latencies::new().quantile(0.5), None);
        assert_eq!([0.99, 0.999].map(needed), [1_000, 10_000]);
    }
}
