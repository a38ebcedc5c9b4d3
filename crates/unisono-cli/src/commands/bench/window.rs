//! The window that every kind of load is looked at through, and what is seen in it.
//!
//! The one idea: load runs before the window opens and after it closes, so neither starting nor stopping is measured.

use std::time::Duration;

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Before the window opens; longer if what loads the model has not come round once by then.
    pub warm_up: Duration,
    /// From its opening.
    pub measured: Duration,
}

/// Who wants to know what happens while it happens.
pub trait Watcher {
    /// The window opens now.
    fn opened(&mut self);
    /// Called several times a second: the answers so far in the window, and how long it has been open.
    fn progress(&mut self, answered: u64, open: Duration);
    /// The window closes now.
    fn closed(&mut self);
}

/// What was seen in the window.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How long the window was.
    pub elapsed: Duration,
    /// Time from request to answer, sorted.
    latencies: Vec<Duration>,
}

impl Seen {
    /// Latencies in any order, seen in a window that was so long.
    pub fn new(elapsed: Duration, mut latencies: Vec<Duration>) -> Seen {
        latencies.sort_unstable();
        Seen { elapsed, latencies }
    }

    /// Requests whose latency is known.
    pub fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// The same per second.
    pub fn rate(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that a share of the requests did not exceed: the smallest measured one of which that is true.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.requests() as f64).ceil() as usize;
        let index = rank.clamp(1, self.requests().max(1)) - 1;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// For tests that do not watch.
#[cfg(test)]
impl Watcher for () {
    fn opened(&mut self) {}
    fn progress(&mut self, _: u64, _: Duration) {}
    fn closed(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let latencies = (1..=200).rev().map(Duration::from_millis).collect();
        let seen = Seen::new(Duration::from_secs(1), latencies);
        assert_eq!(seen.quantile(0.5), Duration::from_millis(100));
        assert_eq!(seen.quantile(0.99), Duration::from_millis(198));
        assert_eq!(seen.quantile(1.0), Duration::from_millis(200));
        let nothing = Seen::new(Duration::from_secs(1), Vec::new());
        assert_eq!(nothing.quantile(0.5), Duration::ZERO);
    }
}
