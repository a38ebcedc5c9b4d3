//! Threads that start in step and are watched.
//!
//! The one idea: a litmus test shows something only while its threads run at the same time, so they meet at a spinning barrier
//! and not at a lock that wakes one after the other. Whoever waits for them notices when none of them gets on: a broken
//! primitive may well hang, and that is a finding. Spinning loops look at [`Pulse::is_over`], so that a crew that was given up ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A crew's sign of life.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    over: AtomicBool,
}

impl Pulse {
    /// Says that something was done.
    pub fn beat(&self) {
        // Relaxed, as below: neither number orders anything else.
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Was the crew given up? Then nobody waits for what it does.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Spins until `ready`, and gives the core away now and then, in case the one who is waited for has none. `false` if the crew
    /// was given up meanwhile.
    pub fn spin_until(&self, mut ready: impl FnMut() -> bool) -> bool {
        /// Far longer than the others take if they have cores of their own.
        const SPINS: u32 = 2_000;
        let mut spins = 0;
        while !ready() {
            if self.is_over() {
                return false;
            }
            spins += 1;
            if spins % SPINS == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        true
    }
}

/// A barrier that is passed in step: those who wait for the last one spin, and see it within a fraction of a microsecond.
#[derive(Debug)]
pub struct Rendezvous {
    members: usize,
    arrived: AtomicUsize,
}

impl Rendezvous {
    /// A barrier for so many.
    pub fn new(members: usize) -> Rendezvous {
        Rendezvous {
            members,
            arrived: AtomicUsize::new(0),
        }
    }

    /// Meets the others for the `meeting`th time, counted from 0. `false` if the crew was given up.
    ///
    /// What a member did before a meeting is seen by all after it.
    pub fn meet(&self, meeting: usize, pulse: &Pulse) -> bool {
        // Release and acquire: the additions of all members form one release sequence, and whoever reads the last of them
        // sees what each did before its own.
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (meeting + 1) * self.members;
        pulse.spin_until(|| self.arrived.load(Ordering::Acquire) >= all)
    }
}

/// Why a crew has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing happened any more.
    Hung(Duration),
    /// A member panicked, with this message.
    Panicked(String),
    /// A thread could not be started.
    NoThread(String),
}

/// How a crew is watched.
pub struct Watch<'a> {
    /// After how long without a beat it counts as hung.
    pub patience: Duration,
    /// Told the number of beats several times a second.
    pub tick: &'a mut dyn FnMut(u64),
}

/// Lets so many threads do the work, which is told the member's number, and gives what each returned, in their order.
///
/// # Errors
/// See [`Broken`]. Threads that hang are left behind.
pub fn crew<R: Send + 'static>(
    members: usize,
    watch: &mut Watch<'_>,
    work: impl Fn(usize, &Pulse) -> R + Send + Sync + 'static,
) -> Result<Vec<R>, Broken> {
    let pulse = Arc::new(Pulse::default());
    let start = Arc::new(Rendezvous::new(members));
    let work = Arc::new(work);
    let (send, receive) = mpsc::channel();
    let give_up = |why| {
        pulse.over.store(true, Ordering::Relaxed);
        Err(why)
    };
    for number in 0..members {
        let (pulse, start, work) = (Arc::clone(&pulse), Arc::clone(&start), Arc::clone(&work));
        let send = send.clone();
        let thread = std::thread::Builder::new().name(format!("crew-{number}"));
        let spawned = thread.spawn(move || {
            start.meet(0, &pulse);
            let result = catch_unwind(AssertUnwindSafe(|| work(number, &pulse)));
            // Before the report: who has heard of all members may rely on their having let go of what they shared.
            drop(work);
            // Nobody listens any more if the crew was given up.
            let _ = send.send((number, result));
        });
        if let Err(error) = spawned {
            return give_up(Broken::NoThread(error.to_string()));
        }
    }
    drop(send);
    let mut results: Vec<Option<R>> = (0..members).map(|_| None).collect();
    let (mut seen, mut since) = (0, Instant::now());
    while results.iter().any(Option::is_none) {
        match receive.recv_timeout(Duration::from_millis(50)) {
            Ok((number, Ok(result))) => {
                if let Some(slot) = results.get_mut(number) {
                    *slot = Some(result);
                }
                since = Instant::now();
            }
            Ok((_, Err(panic))) => {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                return give_up(Broken::Panicked(text.unwrap_or_default()));
            }
            Err(_) => {
                let now = pulse.beats.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                    (watch.tick)(now);
                } else if since.elapsed() >= watch.patience {
                    return give_up(Broken::Hung(since.elapsed()));
                }
            }
        }
    }
    Ok(results.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched<R: Send + 'static>(
        members: usize,
        work: impl Fn(usize, &Pulse) -> R + Send + Sync + 'static,
    ) -> Result<Vec<R>, Broken> {
        let mut watch = Watch {
            patience: Duration::from_millis(200),
            tick: &mut |_| {},
        };
        crew(members, &mut watch, work)
    }

    #[test]
    fn results_come_in_the_order_of_members() {
        assert_eq!(
            watched(5, |number, _| number * 10),
            Ok(vec![0, 10, 20, 30, 40])
        );
    }

    #[test]
    fn what_was_done_before_a_meeting_is_seen_after_it() {
        let meeting = Rendezvous::new(3);
        let cells: [AtomicU64; 3] = Default::default();
        let sums = watched(3, move |number, pulse| {
            (0..100u64)
                .map(|turn| {
                    cells[number].store(turn + 1, Ordering::Relaxed);
                    meeting.meet(2 * turn as usize, pulse);
                    let sum: u64 = cells.iter().map(|c| c.load(Ordering::Relaxed)).sum();
                    meeting.meet(2 * turn as usize + 1, pulse);
                    sum
                })
                .collect::<Vec<_>>()
        });
        let expected: Vec<u64> = (1..=100).map(|n| 3 * n).collect();
        assert_eq!(sums, Ok(vec![expected; 3]));
    }

    #[test]
    fn a_member_that_hangs_and_one_that_panics_are_reported() {
        let hung = watched(2, |number, pulse| pulse.spin_until(|| number == 0));
        assert!(matches!(hung, Err(Broken::Hung(_))), "{hung:?}");
        let panicked = watched(2, |number, _| {
            if number == 1 {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        });
        assert_eq!(panicked, Err(Broken::Panicked("on purpose".to_owned())));
    }
}
