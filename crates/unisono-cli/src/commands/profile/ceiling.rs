//! What the machine can do at best, and how near a step comes to it.
//!
//! The one idea: a step needs at least the time of its operations at the peak, and at least the time of its bytes at the rate of
//! reading; the longer of both is the roof's (Williams, Waterman, Patterson: "Roofline", 2009). What it takes beyond that is lost.

use unisono::profile::Times;
use unisono::roofline::{Ceilings, Rate};

/// The two rates.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// What computes beside each other: a thread, or a processor of a GPU.
    pub unit: &'static str,
    /// Operations per nanosecond on all of them.
    pub flops_per_ns: f64,
    /// Operations per nanosecond on one: if all threads have far less than their number times this, they share units or cores.
    pub one_thread_flops_per_ns: f64,
    /// Bytes per nanosecond that all threads read, from as many bytes as the run works on.
    pub bytes_per_ns: f64,
    /// How many those are.
    pub of_bytes: usize,
    /// Bytes per nanosecond from memory.
    pub memory_bytes_per_ns: f64,
}

/// Did something else want the cores? The arithmetic peak needs nothing but them, so it should not move; and half of the runs
/// should not take much longer than the fastest.
pub fn disturbed(before: &Ceilings, after: &Ceilings, runs: &Times) -> bool {
    let (a, b) = (before.all_units.best, after.all_units.best);
    let moved = (a - b).abs() > 0.15 * a.max(b);
    moved || runs.median_ns as f64 > 1.25 * runs.lowest_ns as f64
}

/// Time and counted work of a step, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// The time taken.
    pub ns: f64,
    /// Operations; 0 where nobody knows.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// The time that the roof allows, never more than was taken.
    pub roof_ns: f64,
}

impl Work {
    /// The share of the roof that was reached: from 0 to 1.
    pub fn roof_share(&self) -> f64 {
        ratio(self.roof_ns, self.ns)
    }

    /// The time above the roof.
    pub fn lost_ns(&self) -> f64 {
        self.ns - self.roof_ns
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Work) {
        self.ns += other.ns;
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.roof_ns += other.roof_ns;
    }
}

impl Ceiling {
    /// The best that was measured before and after: a neighbour on the same cores only ever makes it lower.
    pub fn of(before: &Ceilings, after: &Ceilings) -> Ceiling {
        const NS: f64 = 1e9;
        let best = |of: fn(&Ceilings) -> &Rate| of(before).best.max(of(after).best) / NS;
        Ceiling {
            unit: before.unit,
            flops_per_ns: best(|r| &r.all_units),
            one_thread_flops_per_ns: best(|r| &r.one_unit),
            bytes_per_ns: best(|r| &r.weights),
            of_bytes: before.weight_bytes,
            memory_bytes_per_ns: best(|r| &r.memory),
        }
    }

    /// What so much work in so much time is.
    pub fn work(&self, ns: u64, flops: Option<u64>, bytes: u64) -> Work {
        let (ns, flops) = (ns as f64, flops.unwrap_or(0));
        let least =
            ratio(flops as f64, self.flops_per_ns).max(ratio(bytes as f64, self.bytes_per_ns));
        Work {
            ns,
            flops,
            bytes,
            roof_ns: least.min(ns),
        }
    }
}

/// One over the other; 0 where that is nothing.
pub fn ratio(part: f64, whole: f64) -> f64 {
    let ratio = part / whole;
    if ratio.is_finite() { ratio } else { 0.0 }
}

/// Shares of the roof, from bad to good, that are told apart: each from its own bound to the next one's.
pub const CLASSES: [(f64, &str); 5] = [
    (0.0, "under 10 %"),
    (0.1, "10 to 25 %"),
    (0.25, "25 to 50 %"),
    (0.5, "50 to 75 %"),
    (0.75, "75 % and more"),
];

/// Which of [`CLASSES`] a share is in.
pub fn class(share: f64) -> usize {
    CLASSES
        .iter()
        .rposition(|(from, _)| share >= *from)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Ceiling = Ceiling {
        unit: "thread",
        flops_per_ns: 100.0,
        one_thread_flops_per_ns: 60.0,
        bytes_per_ns: 10.0,
        of_bytes: 1,
        memory_bytes_per_ns: 5.0,
    };

    #[test]
    fn the_longer_of_both_times_is_the_roof() {
        let arithmetic = CEILING.work(100, Some(5_000), 100);
        assert_eq!((arithmetic.roof_ns, arithmetic.roof_share()), (50.0, 0.5));
        let moving = CEILING.work(100, Some(100), 800);
        assert_eq!((moving.roof_ns, moving.lost_ns()), (80.0, 20.0));
        // Faster than reading from where most of the data lies.
        assert_eq!(CEILING.work(100, None, 5_000).roof_share(), 1.0);
        assert_eq!(CEILING.work(0, Some(0), 0).roof_share(), 0.0);
    }

    #[test]
    fn a_share_is_in_the_class_that_begins_below_it() {
        assert_eq!([0.0, 0.0999, 0.1, 0.5, 1.0].map(class), [0, 0, 1, 3, 4]);
    }
}
