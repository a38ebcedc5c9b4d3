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

    /// From the first beginning to the last end.
    pub fn seconds(&self) -> f64 {
        let first = self.noted().map(|(begin, _)| begin).min();
        let last = self.noted().map(|(_, end)| end).max();
        first
            .zip(last)
            .map_or(0.0, |(first, last)| (last - first) as f64 * 1e-9)
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
