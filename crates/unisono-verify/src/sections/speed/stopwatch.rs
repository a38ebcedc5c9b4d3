//! A subject that notes when calls of another begin and end.
//!
//! It must never make callers wait for each other: times go into slots of their own, taken from a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use unisono::{Error, Tensor};

use crate::subject::{Counters, Pending, Subject};

pub(super) struct Stopwatch {
    inner: Arc<dyn Subject>,
    origin: Instant,
    next: AtomicUsize,
    /// Nanoseconds since the origin: beginning and end of each call, 0 before it is noted.
    calls: Vec<[AtomicU64; 2]>,
}

impl Stopwatch {
    /// For so many calls.
    pub fn new(inner: Arc<dyn Subject>, calls: usize) -> Stopwatch {
        Stopwatch {
            inner,
            origin: Instant::now(),
            next: AtomicUsize::new(0),
            calls: (0..calls).map(|_| Default::default()).collect(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    // Relaxed throughout: who reads has heard of the end of all callers through a channel.
    fn noted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let calls = self.calls.iter();
        let times =
            calls.map(|[begin, end]| (begin.load(Ordering::Relaxed), end.load(Ordering::Relaxed)));
        times.filter(|(_, end)| *end > 0)
    }

    /// Seconds of a cycle of so many callers: see [`cycle`].
    pub fn cycle(&self, callers: usize) -> f64 {
        cycle(self.noted().collect(), callers)
    }

    /// Of each call.
    pub fn latencies(&self) -> Vec<f64> {
        self.noted()
            .map(|(begin, end)| (end - begin) as f64 * 1e-9)
            .collect()
    }
}

impl Subject for Stopwatch {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let begin = self.now();
        let answer = self.inner.run(inputs);
        let end = self.now();
        let slot = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some([from, to]) = self.calls.get(slot) {
            from.store(begin, Ordering::Relaxed);
            to.store(end, Ordering::Relaxed);
        }
        answer
    }

    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error> {
        self.inner.run_by(inputs, deadline)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        self.inner.start(inputs)
    }

    fn counters(&self) -> Counters {
        self.inner.counters()
    }

    fn close(&self) {
        self.inner.close();
    }
}

/// The share of the calls that come before what is counted, if they are more than the first of each caller: threads that have just been
/// started are finding memory and cores.
const SETTLING: usize = 8;

/// Seconds in which each of so many callers gets one answer, once all are under way and until the first of them stops: callers
/// that begin and end at different moments have others for company only in between. Of fewer than three calls a caller, from the
/// first beginning to the last end. `calls` are beginnings and ends in nanoseconds.
fn cycle(mut calls: Vec<(u64, u64)>, callers: usize) -> f64 {
    calls.sort_unstable_by_key(|(_, end)| *end);
    let before = callers.max(calls.len() / SETTLING);
    let between = calls.len().saturating_sub(before + callers);
    let end = |i: usize| calls.get(i).map(|(_, end)| *end);
    let (from, to, counted) = if between >= callers {
        (end(before - 1), end(before + between - 1), between)
    } else {
        let begun = calls.iter().map(|(begin, _)| *begin).min();
        (begun, calls.last().map(|(_, end)| *end), calls.len())
    };
    let nanoseconds = to.zip(from).map_or(0, |(to, from)| to - from);
    nanoseconds as f64 * 1e-9 * callers as f64 / counted.max(1) as f64
}

#[cfg(test)]
mod tests {
    fn cycle(callers: usize, calls: &[(u64, u64)]) -> f64 {
        (super::cycle(calls.to_vec(), callers) * 1e9).round()
    }

    #[test]
    fn a_cycle_is_counted_while_all_callers_are_under_way() {
        // The first runs alone, the other two share the next; then all three share, and the last round is cut off.
        let calls = [
            (1, 10),
            (1, 30),
            (1, 30),
            (10, 60),
            (30, 60),
            (30, 60),
            (60, 90),
            (60, 90),
            (60, 90),
            (90, 190),
            (90, 200),
            (90, 210),
        ];
        assert_eq!(cycle(3, &calls), 30.0);
        assert_eq!(cycle(1, &[(5, 10), (12, 20), (21, 30), (31, 77)]), 10.0);
    }

    #[test]
    fn the_first_eighth_of_many_calls_is_not_counted() {
        // One caller of 32 calls, of which the first four take ten times as long as the others.
        let mut end = 0;
        let calls: Vec<(u64, u64)> = (0..32)
            .map(|i| {
                let begin = end;
                end += if i < 4 { 100 } else { 10 };
                (begin, end)
            })
            .collect();
        assert_eq!(cycle(1, &calls), 10.0);
        // Of few it is the first alone.
        assert_eq!(cycle(1, &calls[..8]), (300 + 30) as f64 / 6.0);
    }

    #[test]
    fn few_calls_are_counted_from_end_to_end() {
        assert_eq!(cycle(2, &[(5, 10), (5, 20), (11, 30), (21, 45)]), 20.0);
        assert_eq!(cycle(1, &[]), 0.0);
    }
}
