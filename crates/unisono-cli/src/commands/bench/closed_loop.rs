//! Closed-loop load: every caller sends its next request when the last one is answered.
//!
//! The one idea: callers run freely from start to end, and a window is laid over what they do. A request counts if it is
//! answered inside the window, so neither starting nor stopping the threads is measured.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::window::{Seen, Watcher, Window};

const WARMING: u8 = 0;
const OPEN: u8 = 1;
const OVER: u8 = 2;

/// A caller's count of answers, on cache lines of its own so that counting disturbs nobody.
#[derive(Default)]
#[repr(align(128))]
struct Answered(AtomicU64);

/// Lets `callers` threads repeat `call`, which gets the caller's number. The window opens when every caller has been
/// answered, and stays open until there are as many answers as callers.
///
/// # Errors
/// The first error of any call; all callers then stop. If a thread cannot be started, that.
pub fn closed_loop<E: Send>(
    callers: usize,
    window: Window,
    call: impl Fn(usize) -> Result<(), E> + Sync,
    watcher: &mut impl Watcher,
) -> Result<Seen, LoopError<E>> {
    let phase = AtomicU8::new(WARMING);
    let answered: Vec<Answered> = (0..callers).map(|_| Answered::default()).collect();
    let failed = Mutex::new(None);
    let caller = |number: usize| {
        let count = &answered[number].0;
        let mut latencies = Vec::with_capacity(1 << 14);
        loop {
            let asked = Instant::now();
            let result = call(number);
            let latency = asked.elapsed();
            // Relaxed throughout: the numbers order nothing, and joining the threads publishes the latencies.
            match phase.load(Ordering::Relaxed) {
                OVER => break,
                _ if result.is_err() => {
                    let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(error) = result {
                        first.get_or_insert(error);
                    }
                    phase.store(OVER, Ordering::Relaxed);
                    break;
                }
                OPEN => latencies.push(latency),
                _ => {}
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        latencies
    };
    let caller = &caller;
    let total = || {
        answered
            .iter()
            .map(|a| a.0.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let everybody = || answered.iter().all(|a| a.0.load(Ordering::Relaxed) > 0);
    let over = || phase.load(Ordering::Relaxed) == OVER;
    std::thread::scope(|scope| {
        let mut threads = Vec::with_capacity(callers);
        for number in 0..callers {
            let name = format!("caller-{number}");
            let spawned = std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || caller(number));
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    phase.store(OVER, Ordering::Relaxed);
                    return Err(LoopError::Thread(error));
                }
            }
        }
        let started = Instant::now();
        while !over() && (started.elapsed() < window.warm_up || !everybody()) {
            nap(window.warm_up.saturating_sub(started.elapsed()));
        }
        watcher.opened();
        let before = total();
        let opened = Instant::now();
        // An error may have ended it already.
        let _ = phase.compare_exchange(WARMING, OPEN, Ordering::Relaxed, Ordering::Relaxed);
        while !over() && (opened.elapsed() < window.measured || total() - before < callers as u64) {
            watcher.progress(total() - before, opened.elapsed());
            nap(window.measured.saturating_sub(opened.elapsed()));
        }
        phase.store(OVER, Ordering::Relaxed);
        let elapsed = opened.elapsed();
        watcher.closed();
        let mut latencies = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(own) => latencies.extend(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(LoopError::Call(error));
        }
        Ok(Seen::new(elapsed, latencies))
    })
}

/// Why there is no measurement.
#[derive(Debug)]
pub enum LoopError<E> {
    /// A call failed.
    Call(E),
    /// A thread could not be started.
    Thread(std::io::Error),
}

fn nap(left: Duration) {
    std::thread::sleep(left.clamp(Duration::from_millis(1), Duration::from_millis(100)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Window = Window {
        warm_up: Duration::from_millis(20),
        measured: Duration::from_millis(100),
    };

    #[test]
    fn rate_and_latencies_are_those_of_the_calls() {
        let pause = Duration::from_millis(5);
        let call = |_| {
            std::thread::sleep(pause);
            Ok::<(), ()>(())
        };
        let seen = closed_loop(4, SHORT, call, &mut ()).unwrap();
        assert!(seen.quantile(0.0) >= pause);
        assert!(seen.quantile(0.5) <= seen.quantile(0.99));
        // Four callers of 200 calls a second each at most; a loaded machine may be slower.
        assert!(seen.rate() <= 4.0 * 200.0 * 1.1, "{}", seen.rate());
        assert!(seen.requests() >= 4);
    }

    #[test]
    fn the_window_waits_for_slow_calls() {
        let call = |_| {
            std::thread::sleep(Duration::from_millis(150));
            Ok::<(), ()>(())
        };
        let window = Window {
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(1),
        };
        let seen = closed_loop(2, window, call, &mut ()).unwrap();
        assert!(seen.requests() >= 2);
    }

    #[test]
    fn the_first_error_ends_all_callers() {
        let calls = AtomicU64::new(0);
        let call = |caller| match calls.fetch_add(1, Ordering::Relaxed) {
            n if n > 50 && caller == 1 => Err("on purpose"),
            _ => {
                std::thread::yield_now();
                Ok(())
            }
        };
        let endless = Window {
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(3600),
        };
        let error = closed_loop(3, endless, call, &mut ()).unwrap_err();
        assert!(matches!(error, LoopError::Call("on purpose")));
    }
}
