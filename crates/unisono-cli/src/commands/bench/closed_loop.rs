//! Closed-loop load: every caller sends its next request when the last one is answered.

use std::time::Instant;

use super::threads::{LoopError, under_a_window};
use super::window::{Seen, Watcher, Window};

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
    let kept = |_| 1;
    under_a_window(
        callers,
        window,
        kept,
        |caller, stage| {
            let mut latencies = Vec::with_capacity(1 << 14);
            loop {
                let asked = Instant::now();
                let result = call(caller);
                let latency = asked.elapsed();
                if stage.is_over() {
                    return latencies;
                }
                if let Err(error) = result {
                    stage.failed(error);
                    return latencies;
                }
                if stage.answered(caller) {
                    latencies.push(latency);
                }
            }
        },
        watcher,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

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
