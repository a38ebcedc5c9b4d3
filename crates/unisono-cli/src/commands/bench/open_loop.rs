//! Open-loop load: requests come at random times at a given rate, whether or not earlier ones are answered.
//!
//! The one idea: when a request is to start is settled before anything runs, and its latency counts from then. A machine that
//! stalls thus pays for every request that should have started meanwhile (G. Tene, "How NOT to Measure Latency": coordinated
//! omission), where callers in a closed loop would have politely waited.

use std::future::Future;
use std::time::{Duration, Instant};

use super::executor::Flock;
use super::window::{Seen, Watcher, Window};
use crate::request::random::Random;

/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// So many overdue requests are sent before answers are looked at again.
const AT_ONCE: usize = 64;

/// Of a Poisson process, the times of arrival since its start: the gaps are independent and distributed exponentially.
pub struct Arrivals {
    random: Random,
    rate: f64,
    at: f64,
}

impl Arrivals {
    /// So many a second in the mean, out of a seed.
    pub fn new(rate: f64, seed: u64) -> Arrivals {
        Arrivals {
            random: Random::new(seed, "arrivals"),
            rate,
            at: 0.0,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // A multiple of 2^-53 above 0 and up to 1, so that its logarithm is finite.
        let uniform = ((self.random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.at -= uniform.ln() / self.rate;
        Duration::try_from_secs_f64(self.at).ok()
    }
}

/// What became of the requests that were to start in the window.
#[derive(Clone, Debug)]
pub struct Offered {
    /// How many there were.
    pub offered: u64,
    /// Answers given while the window was open.
    pub answered: u64,
    /// Those that were not sent because too many were outstanding, or because the sender came too late to them. They have no
    /// latency.
    pub not_sent: u64,
    /// Those that had no answer when patience ended, after the window. Their latency so far counts.
    pub unanswered: u64,
    /// Requests outstanding when the window opened, and the fewest in its last quarter.
    pub backlog: (usize, usize),
    /// The time that 99 % of the requests were not sent later than they were to start.
    pub sent_late: Duration,
}

impl Offered {
    /// Did answers come as fast as requests? What chance makes, twice the root of their number, is forgiven.
    pub fn kept_up(&self) -> bool {
        let chance = 2.0 * (self.offered as f64).sqrt();
        let missing = self.offered.saturating_sub(self.answered) as f64;
        let slow = missing > 0.05 * self.offered as f64 && missing > chance;
        let grown = self.backlog.1.saturating_sub(self.backlog.0) as f64 > chance;
        self.not_sent == 0 && self.unanswered == 0 && !slow && !grown
    }
}

/// Sends a request made by `send`, which gets its number, at every one of the times of `arrivals`, but none if `most` are
/// outstanding. The first request of all is answered before the times begin, so that no plan is compiled while they run. After
/// the window, waits for answers as long as the window was, and at least a second.
///
/// # Errors
/// The first error of any request.
pub fn open_loop<F, A, E>(
    arrivals: impl IntoIterator<Item = Duration>,
    window: Window,
    most: usize,
    mut send: impl FnMut(usize) -> F,
    watcher: &mut impl Watcher,
) -> Result<(Seen, Offered), E>
where
    F: Future<Output = Result<A, E>> + Unpin,
{
    answer_first(send(0))?;
    let mut flock = Flock::new();
    let started = Instant::now();
    let opens = started + window.warm_up;
    let closes = opens + window.measured;
    let last_quarter = opens + window.measured.mul_f64(0.75);
    let gives_up = closes + window.measured.max(Duration::from_secs(1));
    let mut starts = arrivals
        .into_iter()
        .filter_map(|at| started.checked_add(at))
        .take_while(|start| *start < closes)
        .peekable();

    let mut seen = Offered {
        offered: 0,
        answered: 0,
        not_sent: 0,
        unanswered: 0,
        backlog: (0, usize::MAX),
        sent_late: Duration::ZERO,
    };
    let (mut latencies, mut delays) = (Vec::new(), Vec::new());
    let (mut open, mut over) = (false, false);
    let (mut sent, mut told) = (0, started);
    loop {
        let mut failed = None;
        flock.turn(|start: Instant, result: Result<A, E>| {
            let now = Instant::now();
            if let Err(error) = result {
                failed.get_or_insert(error);
                return None;
            }
            seen.answered += u64::from((opens..closes).contains(&now));
            if start >= opens {
                latencies.push(now.saturating_duration_since(start));
            }
            None
        });
        if let Some(error) = failed {
            return Err(error);
        }

        let now = Instant::now();
        if !open && now >= opens {
            open = true;
            seen.backlog.0 = flock.len();
            watcher.opened();
        }
        if (last_quarter..closes).contains(&now) {
            seen.backlog.1 = seen.backlog.1.min(flock.len());
        }
        if !over && now >= closes {
            over = true;
            seen.backlog.1 = seen.backlog.1.min(flock.len());
            watcher.closed();
        }

        for _ in 0..AT_ONCE {
            let Some(start) = starts.next_if(|start| *start <= now) else {
                break;
            };
            let counts = start >= opens;
            seen.offered += u64::from(counts);
            if flock.len() >= most {
                seen.not_sent += u64::from(counts);
                continue;
            }
            if counts {
                delays.push(start.elapsed());
            }
            sent += 1;
            flock.start(send(sent), start);
        }

        if open && !over && now >= told + TELL {
            told = now;
            watcher.progress(seen.answered, now - opens);
        }
        if now >= gives_up {
            break;
        }
        let next = match starts.peek() {
            Some(start) => *start,
            None if !over => closes,
            None if flock.len() == 0 => break,
            None => gives_up,
        };
        let corner = [opens, last_quarter, closes].into_iter().find(|t| *t > now);
        flock.sleep(corner.map_or(next, |corner| next.min(corner)));
    }

    // Those for which the sender itself was too slow.
    let rest = starts.filter(|start| *start >= opens).count() as u64;
    seen.offered += rest;
    seen.not_sent += rest;
    let now = Instant::now();
    for start in flock.abandon().filter(|start| *start >= opens) {
        seen.unanswered += 1;
        latencies.push(now - start);
    }
    seen.sent_late = Seen::new(window.measured, delays).quantile(0.99);
    Ok((Seen::new(window.measured, latencies), seen))
}

fn answer_first<F, A, E>(future: F) -> Result<(), E>
where
    F: Future<Output = Result<A, E>> + Unpin,
{
    let mut flock = Flock::new();
    flock.start(future, ());
    let mut answer = None;
    loop {
        flock.turn(|(), result| {
            answer = Some(result);
            None
        });
        match answer {
            Some(result) => return result.map(drop),
            None => flock.sleep(Instant::now() + TELL),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = Result<(), &'static str>>>>;

    const SHORT: Window = Window {
        warm_up: Duration::from_millis(5),
        measured: Duration::from_millis(50),
    };

    fn now_and_then() -> impl Iterator<Item = Duration> {
        (0..).map(Duration::from_millis)
    }

    #[test]
    fn arrivals_are_those_of_a_poisson_process_and_follow_from_the_seed() {
        let times = |seed| Arrivals::new(100.0, seed).take(10_000);
        assert!(times(1).eq(times(1)) && !times(1).eq(times(2)));
        let seconds: Vec<f64> = times(1).map(|t| t.as_secs_f64()).collect();
        // The mean gap has a deviation of 1 % of itself; a share of 1/e of the gaps exceeds it.
        assert!((seconds[9_999] / 100.0 - 1.0).abs() < 0.05);
        let long = seconds.windows(2).filter(|w| w[1] - w[0] > 0.01).count();
        assert!((3_400..3_960).contains(&long), "{long}");
    }

    #[test]
    fn everything_that_is_due_in_the_window_is_counted_and_answered() {
        let send = |_| ready(Ok::<(), ()>(()));
        let (seen, offered) = open_loop(now_and_then(), SHORT, 100, send, &mut ()).unwrap();
        // From 5 ms up to, not including, 55 ms.
        assert_eq!((offered.offered, seen.requests()), (50, 50));
        assert_eq!((offered.not_sent, offered.unanswered), (0, 0));
    }

    #[test]
    fn latency_counts_from_when_the_request_was_to_start() {
        let stall = Duration::from_millis(30);
        let send = |number| {
            // The sender itself is held up, once, after the window has opened.
            if number == 10 {
                std::thread::sleep(stall);
            }
            ready(Ok::<(), ()>(()))
        };
        let (seen, offered) = open_loop(now_and_then(), SHORT, 100, send, &mut ()).unwrap();
        assert_eq!(seen.requests(), 50);
        // Those due during the stall waited for its rest, 29, 28, 27 ms and so on.
        assert!(seen.quantile(0.8) >= Duration::from_millis(15));
        assert!(offered.sent_late >= Duration::from_millis(25));
    }

    #[test]
    fn what_is_outstanding_is_bounded_and_what_was_not_sent_is_told() {
        let mut sent = 0;
        let send = |_| -> Boxed {
            sent += 1;
            match sent {
                1 => Box::pin(ready(Ok(()))),
                _ => Box::pin(pending()),
            }
        };
        let (seen, offered) = open_loop(now_and_then(), SHORT, 20, send, &mut ()).unwrap();
        assert_eq!(sent, 21);
        assert_eq!((offered.offered, offered.answered), (50, 0));
        // 5 of the 20 were sent before the window opened.
        assert_eq!((offered.not_sent, offered.unanswered), (35, 15));
        assert_eq!(seen.requests(), 15);
        assert!(seen.quantile(0.0) >= Duration::from_secs(1));
        assert!(!offered.kept_up());
    }

    #[test]
    fn the_first_error_ends_it() {
        let send = |number| {
            ready(if number > 3 {
                Err("on purpose")
            } else {
                Ok(())
            })
        };
        let error = open_loop(now_and_then(), SHORT, 20, send, &mut ()).unwrap_err();
        assert_eq!(error, "on purpose");
    }

    #[test]
    fn a_machine_keeps_up_if_neither_answers_are_missing_nor_the_backlog_grows() {
        let seen = |answered, backlog, not_sent| Offered {
            offered: 10_000,
            answered,
            not_sent,
            unanswered: 0,
            backlog,
            sent_late: Duration::ZERO,
        };
        let table = [
            (seen(10_000, (3, 5), 0), true),
            (seen(9_900, (0, 100), 0), true),
            (seen(9_000, (0, 0), 0), false),
            (seen(9_700, (0, 300), 0), false),
            (seen(10_000, (0, 0), 1), false),
        ];
        for (seen, expected) in table {
            assert_eq!(seen.kept_up(), expected, "{seen:?}");
        }
    }
}
