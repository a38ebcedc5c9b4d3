//! Closed-loop load without a thread for each request: a number of them is kept in flight as futures.
//!
//! The one idea: what answers a request sends the next one, so as many are in flight as were asked for, and no thread of
//! the program waits for any of them. Each of a few threads keeps its share.

use std::future::Future;
use std::time::{Duration, Instant};

use super::executor::Flock;
use super::threads::{LoopError, under_a_window};
use super::window::{Seen, Watcher, Window};

/// How long a thread sleeps at most before it looks whether the window has closed.
const LOOK: Duration = Duration::from_millis(10);

/// Keeps `count` futures in flight, made by `send`, which gets the number of the place, in so many threads. A latency is the time
/// from before `send` to the poll that gives the answer. The window opens when there have been as many answers as places,
/// and stays open until there are as many again.
///
/// # Errors
/// The first error of any request. If a thread cannot be started, that.
pub fn in_flight<F, A, E: Send>(
    count: usize,
    threads: usize,
    window: Window,
    send: impl Fn(usize) -> F + Sync,
    watcher: &mut impl Watcher,
) -> Result<Seen, LoopError<E>>
where
    F: Future<Output = Result<A, E>> + Unpin,
{
    let threads = threads.clamp(1, count.max(1));
    let places = |thread: usize| (thread..count).step_by(threads);
    under_a_window(
        threads,
        window,
        |thread| places(thread).count(),
        |thread, stage| {
            let mut flock = Flock::new();
            let begin = |place: usize| {
                let asked = Instant::now();
                (send(place), (place, asked))
            };
            for place in places(thread) {
                let (future, tag) = begin(place);
                flock.start(future, tag);
            }
            let mut latencies = Vec::with_capacity(1 << 14);
            while !stage.is_over() {
                flock.turn(|(place, asked), result| {
                    let latency = asked.elapsed();
                    if let Err(error) = result {
                        stage.failed(error);
                        return None;
                    }
                    if stage.answered(thread) {
                        latencies.push(latency);
                    }
                    Some(begin(place))
                });
                flock.sleep(Instant::now() + LOOK);
            }
            latencies
        },
        watcher,
    )
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::*;

    const SHORT: Window = Window {
        warm_up: Duration::from_millis(5),
        measured: Duration::from_millis(20),
    };

    #[test]
    fn as_many_are_in_flight_as_were_asked_for_whatever_threads_keep_them() {
        for threads in [1, 2, 9] {
            let most = most_in_flight(5, threads);
            assert!(most <= 5, "{most} by {threads} threads");
            // Each of several threads has its own share, and may be alone at any time.
            assert!(threads > 1 || most == 5, "{most} by {threads} threads");
        }
    }

    fn most_in_flight(count: usize, threads: usize) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let send = |_| {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let mut polls = 0;
            Box::pin(poll_fn({
                let now = &now;
                move |cx| {
                    polls += 1;
                    if polls > 3 {
                        now.fetch_sub(1, Ordering::Relaxed);
                        return Poll::Ready(Ok::<(), ()>(()));
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }))
        };
        let seen = in_flight(count, threads, SHORT, send, &mut ()).unwrap();
        assert!(seen.requests() >= count);
        assert!(seen.elapsed >= SHORT.measured);
        most.into_inner()
    }

    #[test]
    fn the_first_error_ends_it() {
        let sent = AtomicUsize::new(0);
        let send = |_| {
            let many = sent.fetch_add(1, Ordering::Relaxed) > 20;
            ready(if many { Err("on purpose") } else { Ok(()) })
        };
        let endless = Window {
            warm_up: Duration::from_secs(3600),
            ..SHORT
        };
        let error = in_flight(3, 2, endless, send, &mut ()).unwrap_err();
        assert!(matches!(error, LoopError::Call("on purpose")));
    }
}
