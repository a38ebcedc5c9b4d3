//! Closed-loop load from one thread: a number of requests is kept in flight as futures.
//!
//! The one idea: what answers a request sends the next one, so as many are in flight as were asked for, and no thread of
//! the program waits for any of them.

use std::future::Future;
use std::time::{Duration, Instant};

use super::executor::Flock;
use super::window::{Seen, Watcher, Window};

/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// Keeps `count` futures in flight, made by `send`, which gets the number of the place. A latency is the time from before
/// `send` to the poll that gives the answer. The window opens when every place has had an answer, and stays open until
/// there are as many answers as places.
///
/// # Errors
/// The first error of any request.
pub fn in_flight<F, A, E>(
    count: usize,
    window: Window,
    mut send: impl FnMut(usize) -> F,
    watcher: &mut impl Watcher,
) -> Result<Seen, E>
where
    F: Future<Output = Result<A, E>> + Unpin,
{
    let mut flock = Flock::new();
    let mut begin = |place: usize| {
        let asked = Instant::now();
        (send(place), (place, asked))
    };
    let started = Instant::now();
    for place in 0..count {
        let (future, tag) = begin(place);
        flock.start(future, tag);
    }
    let mut served = vec![false; count];
    let mut unserved = count;
    let mut latencies = Vec::with_capacity(1 << 14);
    let mut opened: Option<Instant> = None;
    let mut told = started;
    loop {
        let mut failed = None;
        flock.turn(|(place, asked), result| {
            let latency = asked.elapsed();
            if let Err(error) = result {
                failed.get_or_insert(error);
                return None;
            }
            if opened.is_some() {
                latencies.push(latency);
            } else if !std::mem::replace(&mut served[place], true) {
                unserved -= 1;
            }
            Some(begin(place))
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let now = Instant::now();
        let next = match opened {
            None if unserved == 0 && now >= started + window.warm_up => {
                watcher.opened();
                opened = Some(Instant::now());
                continue;
            }
            None => started + window.warm_up,
            Some(at) if now >= at + window.measured && latencies.len() >= count => {
                watcher.closed();
                return Ok(Seen::new(now - at, latencies));
            }
            Some(at) => {
                if now >= told + TELL {
                    told = now;
                    watcher.progress(latencies.len() as u64, now - at);
                }
                at + window.measured
            }
        };
        // What is overdue waits for answers.
        let next = if next > now { next } else { now + TELL };
        flock.sleep(next.min(now + TELL));
    }
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
    fn as_many_are_in_flight_as_were_asked_for() {
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
        let seen = in_flight(5, SHORT, send, &mut ()).unwrap();
        assert_eq!(most.load(Ordering::Relaxed), 5);
        assert!(seen.requests() >= 5);
        assert!(seen.elapsed >= SHORT.measured);
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut sent = 0;
        let send = |_| {
            sent += 1;
            ready(if sent > 20 { Err("on purpose") } else { Ok(()) })
        };
        let endless = Window {
            warm_up: Duration::from_secs(3600),
            ..SHORT
        };
        let error = in_flight(3, endless, send, &mut ()).unwrap_err();
        assert_eq!(error, "on purpose");
    }
}
