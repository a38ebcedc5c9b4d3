//! What a session did: counts, and distributions of sizes and times.
//!
//! The one idea: a distribution is a fixed set of buckets, each a counter, so that counting is one addition and no lock, and a
//! reader takes a copy. Buckets grow by a quarter of a power of two: a quantile read from them is at most a quarter
//! too high, never too low.

use std::time::Duration;

use crate::plan_cache::CacheCounts;
use crate::stripes::Striped;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Four buckets for each power of two of a `u64`.
const BUCKETS: usize = 64 * 4;

/// A value's bucket: below 4 its own, from there on four for each power of two.
fn bucket(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let power = value.ilog2();
    let quarter = (value >> (power - 2)) & 3;
    ((power as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let (power, quarter) = (bucket / 4 + 1, bucket as u64 % 4);
    let step = 1u64 << (power - 2);
    ((4 + quarter) * step).saturating_add(step - 1)
}

/// Counters of a distribution.
pub(crate) struct Counters {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn count(&self, value: u64) {
        // Relaxed throughout: the numbers order nothing.
        self.buckets[bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts several values. Those of one bucket that follow each other, as do times of a batch, are one addition.
    pub(crate) fn count_all(&self, values: impl Iterator<Item = u64>) {
        let (mut run, mut sum) = ((0, 0), 0u64);
        for value in values {
            let bucket = bucket(value);
            if bucket != run.0 {
                self.add(run);
                run = (bucket, 0);
            }
            run.1 += 1;
            sum = sum.wrapping_add(value);
        }
        self.add(run);
        // Relaxed: as in `count`.
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    fn add(&self, (bucket, times): (usize, u64)) {
        if times > 0 {
            self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Histogram {
        Histogram {
            counts: self
                .buckets
                .iter()
                .map(|b| b.load(Ordering::Relaxed))
                .collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// A distribution of whole numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    sum: u64,
}

impl Histogram {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean; 0 of nothing.
    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            n => self.sum as f64 / n as f64,
        }
    }

    /// A value that a share of all values (0 to 1) does not exceed: at most a quarter above the smallest such one. 0 of
    /// nothing.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (share.clamp(0.0, 1.0) * self.count() as f64)
            .ceil()
            .max(1.0) as u64;
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return upper(bucket);
            }
        }
        0
    }

    /// The buckets that are not empty: the least and the largest value that each holds, and how many it has.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let from = |bucket: usize| match bucket {
            0 => 0,
            _ => upper(bucket - 1) + 1,
        };
        let all = self.counts.iter().enumerate();
        all.filter(|(_, n)| **n > 0)
            .map(move |(bucket, n)| (from(bucket), upper(bucket), *n))
    }

    /// What was counted since `earlier`, an earlier reading of the same distribution.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = |i: usize| earlier.counts.get(i).copied().unwrap_or(0);
        let counts = self.counts.iter().enumerate();
        Histogram {
            counts: counts.map(|(i, n)| n.saturating_sub(before(i))).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }
}

/// What a session did since it was made. A value: it does not change while you look at it.
///
/// Taken while requests run, its numbers may be off against each other by those under way, since nothing is locked to
/// count: a request may be in one and not yet in another. Taken when nothing runs, they are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Requests that passed validation.
    pub requests: u64,
    /// Their rows.
    pub rows: u64,
    /// Requests that ended with an error, of whatever kind, after validation.
    pub failed: u64,
    /// Requests whose deadline passed before they were answered.
    pub late: u64,
    /// Futures dropped before they were answered.
    pub cancelled: u64,
    /// Batches run; a request that ran alone is one.
    pub batches: u64,
    /// Batches that failed and whose requests were then run singly.
    pub rerun_batches: u64,
    /// Requests of each batch.
    pub batch_requests: Histogram,
    /// Rows of each batch.
    pub batch_rows: Histogram,
    /// Nanoseconds from a request's arrival to the start of its batch.
    pub queue_ns: Histogram,
    /// Nanoseconds that each batch ran.
    pub run_ns: Histogram,
    /// Requests that wait now.
    pub waiting: u64,
    /// What the plan cache did.
    pub plans: CacheCounts,
}

impl SessionStats {
    /// Rows of a batch in the mean; 0 if there was none.
    pub fn mean_batch_rows(&self) -> f64 {
        self.batch_rows.mean()
    }

    /// The mean time that a request waited for its batch to start.
    pub fn mean_queue_time(&self) -> Duration {
        Duration::from_nanos(self.queue_ns.mean() as u64)
    }

    /// What happened since `earlier`, an earlier reading of the same session. What is now stays as it is.
    #[must_use]
    pub fn since(&self, earlier: &SessionStats) -> SessionStats {
        SessionStats {
            requests: self.requests - earlier.requests,
            rows: self.rows - earlier.rows,
            failed: self.failed - earlier.failed,
            late: self.late - earlier.late,
            cancelled: self.cancelled - earlier.cancelled,
            batches: self.batches - earlier.batches,
            rerun_batches: self.rerun_batches - earlier.rerun_batches,
            batch_requests: self.batch_requests.since(&earlier.batch_requests),
            batch_rows: self.batch_rows.since(&earlier.batch_rows),
            queue_ns: self.queue_ns.since(&earlier.queue_ns),
            run_ns: self.run_ns.since(&earlier.run_ns),
            waiting: self.waiting,
            plans: CacheCounts {
                compiles: self.plans.compiles - earlier.plans.compiles,
                failures: self.plans.failures - earlier.plans.failures,
                hits: self.plans.hits - earlier.plans.hits,
                evictions: self.plans.evictions - earlier.plans.evictions,
                ..self.plans
            },
        }
    }
}

/// What is counted when a request comes in, by the thread that brings it.
#[derive(Default)]
struct Arrivals {
    requests: AtomicU64,
    rows: AtomicU64,
}

/// The counters behind [`SessionStats`].
pub(crate) struct Stats {
    arrivals: Striped<Arrivals>,
    pub(crate) failed: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) rerun_batches: AtomicU64,
    pub(crate) batch_requests: Counters,
    pub(crate) batch_rows: Counters,
    pub(crate) queue_ns: Counters,
    pub(crate) run_ns: Counters,
}

impl Stats {
    pub(crate) fn new() -> Stats {
        let zero = || AtomicU64::new(0);
        Stats {
            arrivals: Striped::default(),
            failed: zero(),
            late: zero(),
            cancelled: zero(),
            rerun_batches: zero(),
            batch_requests: Counters::new(),
            batch_rows: Counters::new(),
            queue_ns: Counters::new(),
            run_ns: Counters::new(),
        }
    }

    /// Counts a request of so many rows.
    pub(crate) fn arrival(&self, rows: usize) {
        let arrivals = self.arrivals.own();
        tick(&arrivals.requests);
        arrivals.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, waiting: u64, plans: CacheCounts) -> SessionStats {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let batch_requests = self.batch_requests.read();
        SessionStats {
            requests: self.arrivals.iter().map(|a| get(&a.requests)).sum(),
            rows: self.arrivals.iter().map(|a| get(&a.rows)).sum(),
            failed: get(&self.failed),
            late: get(&self.late),
            cancelled: get(&self.cancelled),
            batches: batch_requests.count(),
            rerun_batches: get(&self.rerun_batches),
            batch_requests,
            batch_rows: self.batch_rows.read(),
            queue_ns: self.queue_ns.read(),
            run_ns: self.run_ns.read(),
            waiting,
            plans,
        }
    }
}

/// Adds one.
pub(crate) fn tick(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn values_counted_together_are_those_counted_one_by_one() {
        let values = [0, 0, 7, 7, 6, 1_000, 1_001, 0, 7, u64::from(u32::MAX)];
        let (together, single) = (Counters::new(), Counters::new());
        together.count_all(values.into_iter());
        together.count_all(std::iter::empty());
        values.into_iter().for_each(|value| single.count(value));
        assert_eq!(together.read(), single.read());
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_follow_each_other() {
        for value in (0..5000).chain([u64::MAX / 3, u64::MAX - 1, u64::MAX]) {
            let b = bucket(value);
            assert!(value <= upper(b), "{value}");
            assert!(b == 0 || value > upper(b - 1), "{value}");
            assert!(
                upper(b) - value <= value / 4,
                "{value} is told as {}",
                upper(b)
            );
        }
    }

    #[test]
    fn quantiles_and_means_are_those_of_what_was_counted() {
        let counters = Counters::new();
        for value in 1..=100 {
            counters.count(value);
        }
        let before = counters.read();
        assert_eq!((before.count(), before.mean()), (100, 50.5));
        assert!((50..=62).contains(&before.quantile(0.5)));
        assert!((99..=124).contains(&before.quantile(0.99)));
        counters.count(1000);
        let since = counters.read().since(&before);
        assert_eq!((since.count(), since.sum()), (1, 1000));
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
