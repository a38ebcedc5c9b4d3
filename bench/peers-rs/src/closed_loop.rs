//! Callers that each send the next request when the last one is answered.
//!
//! One idea: callers run freely from start to end, and a window is laid over what they do, so neither starting nor stopping threads is
//! measured. Latencies are those of the requests that are answered inside the window. For the rate, a request counts by the part of its time that lies
//! inside: where a window holds a few batches, whole answers would be off by one batch of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What was seen in the window.
pub struct Seen {
    elapsed: Duration,
    /// Parts of requests that lie in the window, added up.
    parts: f64,
    /// Sorted, from request to answer.
    latencies: Vec<Duration>,
}

impl Seen {
    pub fn requests(&self) -> usize {
        self.latencies.len()
    }

    pub fn requests_per_second(&self) -> f64 {
        self.parts / self.elapsed.as_secs_f64()
    }

    /// The smallest latency that a share of the requests did not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (share * self.requests() as f64).ceil() as usize;
        let latency = self
            .latencies
            .get(rank.clamp(1, self.requests().max(1)) - 1);
        latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// What a caller is given once it is ready to ask.
pub struct Ready<'a> {
    answered: &'a Counter,
    over: &'a AtomicBool,
}

/// A caller's answers, on cache lines of its own so that counting disturbs nobody.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// When a request was answered, and how long it took.
type Answered = (Instant, Duration);

/// The part of a request's time that lies between two moments.
fn part_within((at, latency): &Answered, opened: Instant, closed: Instant) -> f64 {
    let asked = at.checked_sub(*latency).unwrap_or(*at);
    let inside = (*at)
        .min(closed)
        .saturating_duration_since(asked.max(opened));
    match latency.is_zero() {
        true => f64::from(u8::from((opened..closed).contains(at))),
        false => inside.as_secs_f64() / latency.as_secs_f64(),
    }
}

impl Ready<'_> {
    /// Asks until the loop is over.
    ///
    /// # Errors
    /// The first error of `ask`.
    pub fn repeat(
        self,
        mut ask: impl FnMut() -> Result<(), String>,
    ) -> Result<Vec<Answered>, String> {
        let mut answers = Vec::with_capacity(1 << 14);
        // Relaxed: the flag and the counts order nothing; joining the thread publishes its answers.
        while !self.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            ask()?;
            let now = Instant::now();
            answers.push((now, now - asked));
            self.answered.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answers)
    }
}

/// Starts `callers` threads. The window opens after the warm-up, when every caller has been answered, and stays open
/// until there are as many answers as callers.
///
/// # Errors
/// The first error of a caller, or a thread that cannot be started.
pub fn run(
    callers: usize,
    warm_up: Duration,
    window: Duration,
    caller: impl Fn(Ready<'_>) -> Result<Vec<Answered>, String> + Sync,
) -> Result<Seen, String> {
    let counters: Vec<Counter> = (0..callers).map(|_| Counter::default()).collect();
    let over = AtomicBool::new(false);
    let (over, caller) = (&over, &caller);
    std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(callers);
        for answered in &counters {
            let body = move || {
                let result = caller(Ready { answered, over });
                if result.is_err() {
                    over.store(true, Ordering::Relaxed);
                }
                result
            };
            threads.push(
                std::thread::Builder::new()
                    .spawn_scoped(scope, body)
                    .map_err(|error| {
                        over.store(true, Ordering::Relaxed);
                        format!("cannot start a thread: {error}")
                    })?,
            );
        }
        let counts = || {
            counters
                .iter()
                .map(|counter| counter.0.load(Ordering::Relaxed))
        };
        let wait = |enough: &dyn Fn(Duration) -> bool, wanted: Duration| {
            let since = Instant::now();
            while !over.load(Ordering::Relaxed)
                && (since.elapsed() < wanted || !enough(since.elapsed()))
            {
                let left = wanted.saturating_sub(since.elapsed());
                std::thread::sleep(
                    left.clamp(Duration::from_millis(1), Duration::from_millis(100)),
                );
            }
        };
        wait(&|_| counts().all(|answers| answers > 0), warm_up);
        let (before, opened) = (counts().sum::<u64>(), Instant::now());
        wait(
            &|_| counts().sum::<u64>() - before >= callers as u64,
            window,
        );
        let closed = Instant::now();
        over.store(true, Ordering::Relaxed);
        let (mut latencies, mut parts) = (Vec::new(), 0.0);
        for thread in threads {
            let answers = thread
                .join()
                .map_err(|_| "a caller panicked".to_owned())??;
            parts += answers
                .iter()
                .map(|answer| part_within(answer, opened, closed))
                .sum::<f64>();
            let inside = answers
                .iter()
                .filter(|(at, _)| (opened..closed).contains(at));
            latencies.extend(inside.map(|(_, latency)| *latency));
        }
        latencies.sort_unstable();
        Ok(Seen {
            elapsed: closed - opened,
            parts,
            latencies,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_latencies_are_those_of_the_calls() {
        let pause = Duration::from_millis(5);
        let span = Duration::from_millis(100);
        let seen = run(4, span / 4, span, |ready| {
            ready.repeat(|| {
                std::thread::sleep(pause);
                Ok(())
            })
        })
        .unwrap();
        assert!(seen.requests() >= 4);
        assert!(seen.requests_per_second() <= 4.0 * 200.0 * 1.1);
        assert!(seen.quantile_ms(0.0) >= 5.0 && seen.quantile_ms(0.5) <= seen.quantile_ms(0.99));
    }

    #[test]
    fn a_request_counts_by_its_part_in_the_window() {
        let opened = Instant::now();
        let at = |ms: u64| opened + Duration::from_millis(ms);
        let second = Duration::from_secs(1);
        let part = |answered, latency| {
            part_within(
                &(at(answered), Duration::from_millis(latency)),
                opened,
                opened + second,
            )
        };
        assert!((part(500, 100) - 1.0).abs() < 1e-9);
        assert!((part(30, 40) - 0.75).abs() < 1e-9);
        assert!((part(1300, 400) - 0.25).abs() < 1e-9);
        assert!((part(2000, 3000) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(part(1100, 50), 0.0);
    }

    #[test]
    fn the_first_error_ends_all_callers() {
        let hour = Duration::from_secs(3600);
        let calls = AtomicU64::new(0);
        let ended = run(3, hour, hour, |ready| {
            ready.repeat(|| match calls.fetch_add(1, Ordering::Relaxed) {
                50 => Err("on purpose".to_owned()),
                _ => Ok(()),
            })
        });
        assert_eq!(ended.err().as_deref(), Some("on purpose"));
    }
}
