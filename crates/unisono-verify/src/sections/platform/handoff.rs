//! A.007, mutex acquire and release: a producer hands over to a consumer, by the locks that the runtime really uses.
//!
//! The one idea: what is handed over lies beside the lock, in words that nothing orders but the lock itself, and everybody who
//! gets in counts the visit in two steps, a read and a write. A lock that lets two in at once loses visits; one that does not
//! order memory hands over old words; one that forgets to wake somebody hangs. The runtime uses the standard library's mutex and
//! condition variable, and its own bell for those who wait for an answer: that one is reached by asking on one thread and waiting
//! on another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Instant;

use super::Bench;
use super::crew::{Pulse, Watch, crew};
use super::probe::{Tag, refusal};
use super::row::{Part, Row, Twin, conclude};
use crate::compare::Difference;
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Pending, Setup, Subject};

/// The original's row.
pub const ROW: Row = Row {
    id: "a.007",
    name: "A.007 mutex acquire/release",
    unit: "hand-offs",
    original: "producer and consumer, 10,000 hand-offs",
    original_ms: 44.7,
};

/// The original's number of hand-offs.
const HAND_OFFS: usize = 10_000;

/// A lock under which something is attempted until it succeeds.
pub trait Monitor: Default + Send + Sync + 'static {
    /// What it is called.
    const NAME: &'static str;
    /// Attempts under the lock until it succeeds. Ends early if the crew was given up.
    fn attempt(&self, pulse: &Pulse, attempt: &mut dyn FnMut() -> bool);
    /// What is done in the middle of a visit: a moment, so that somebody else who is inside as well is noticed.
    fn dwell() {
        std::hint::spin_loop();
    }
}

/// Attempts, by entering through `enter`, until one succeeds; others get their turn in between.
fn until_it_succeeds(pulse: &Pulse, mut enter: impl FnMut() -> bool) {
    pulse.spin_until(&mut enter);
}

/// The standard library's mutex.
#[derive(Default)]
pub struct StdMutex(Mutex<()>);

impl Monitor for StdMutex {
    const NAME: &'static str = "mutex";

    fn attempt(&self, pulse: &Pulse, attempt: &mut dyn FnMut() -> bool) {
        until_it_succeeds(pulse, || {
            let _inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            attempt()
        });
    }
}

/// The same with its condition variable: who cannot go on sleeps.
#[derive(Default)]
pub struct StdCondvar {
    lock: Mutex<()>,
    changed: Condvar,
}

impl Monitor for StdCondvar {
    const NAME: &'static str = "mutex and condition variable";

    fn attempt(&self, _: &Pulse, attempt: &mut dyn FnMut() -> bool) {
        let mut inside = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a time-out, which would hide a wake-up that is lost.
        while !attempt() {
            let woken = self.changed.wait(inside);
            inside = woken.unwrap_or_else(PoisonError::into_inner);
        }
        drop(inside);
        self.changed.notify_all();
    }
}

/// The twin: looks whether the lock is free and then takes it, in two steps.
#[derive(Default)]
pub struct TestThenSet(AtomicBool);

impl Monitor for TestThenSet {
    const NAME: &'static str = "a lock that tests and then sets";

    fn attempt(&self, pulse: &Pulse, attempt: &mut dyn FnMut() -> bool) {
        until_it_succeeds(pulse, || {
            if self.0.load(Ordering::Acquire) {
                return false;
            }
            self.0.store(true, Ordering::Release);
            let succeeded = attempt();
            self.0.store(false, Ordering::Release);
            succeeded
        });
    }
}

/// What lies beside the lock. Relaxed throughout: the lock must order it.
#[derive(Default)]
struct Desk {
    full: AtomicBool,
    payload: [AtomicU64; 8],
    visits: AtomicU64,
}

impl Desk {
    fn visit<M: Monitor>(&self) {
        let visits = self.visits.load(Ordering::Relaxed);
        M::dwell();
        self.visits.store(visits + 1, Ordering::Relaxed);
    }

    /// Lays something down, if there is room.
    fn put<M: Monitor>(&self, turn: u64) -> bool {
        self.visit::<M>();
        if self.full.load(Ordering::Relaxed) {
            return false;
        }
        for (word, place) in (0..).zip(&self.payload) {
            place.store(crate::random::mix(turn + word), Ordering::Relaxed);
        }
        self.full.store(true, Ordering::Relaxed);
        true
    }

    /// Takes it, if it is there; then says what is wrong with it.
    fn take<M: Monitor>(&self, turn: u64) -> Option<Option<Difference>> {
        self.visit::<M>();
        if !self.full.load(Ordering::Relaxed) {
            return None;
        }
        let mut wrong = None;
        for (word, place) in (0..).zip(&self.payload) {
            let (found, expected) = (
                place.load(Ordering::Relaxed),
                crate::random::mix(turn + word),
            );
            if found != expected {
                let hex = |n: u64| format!("{n:#018x} in word {word} of hand-off {turn}");
                wrong = Some(Difference::of_kind("", hex(found), hex(expected)));
            }
        }
        self.full.store(false, Ordering::Relaxed);
        Some(wrong)
    }
}

/// A producer and a consumer, so many hand-offs.
pub fn hand_over<M: Monitor>(hand_offs: usize, watch: &mut Watch<'_>) -> Part {
    let mut part = Part::new(M::NAME);
    let shared = Arc::new((M::default(), Desk::default()));
    let (inside, hand_offs) = (Arc::clone(&shared), hand_offs as u64);
    let found = crew(2, watch, move |me, pulse| {
        let (monitor, desk) = &*inside;
        let (mut part, mut visits) = (Part::default(), 0);
        for turn in 0..hand_offs {
            let mut taken = None;
            monitor.attempt(pulse, &mut || {
                visits += 1;
                match me {
                    0 => desk.put::<M>(turn),
                    _ => {
                        taken = desk.take::<M>(turn);
                        taken.is_some()
                    }
                }
            });
            if let Some(fault) = taken {
                part.judge(fault);
            }
            if turn % 64 == 0 {
                pulse.beat();
            }
            if pulse.is_over() {
                break;
            }
        }
        (part, visits)
    });
    match found {
        Err(broken) => part.broken = Some(broken),
        Ok(members) => {
            let made: u64 = members.iter().map(|(_, visits)| visits).sum();
            members.into_iter().for_each(|(own, _)| part.add(own));
            let counted = shared.1.visits.load(Ordering::Relaxed);
            part.count(0, made.abs_diff(counted), || {
                let found = format!("{counted} visits under the lock");
                Difference::of_kind("", found, format!("{made}, as many as were made"))
            });
        }
    }
    part
}

/// One thread asks, another waits for the answers.
pub fn hand_over_requests(
    subject: &Arc<dyn Subject>,
    hand_offs: usize,
    watch: &mut Watch<'_>,
) -> Part {
    /// How many may be under way.
    const UNDER_WAY: usize = 16;
    type Handed = (Tag, Box<dyn Pending>);
    let mut part = Part::new("the session's bell");
    let subject = Arc::clone(subject);
    let (send, receive) = mpsc::sync_channel::<Handed>(UNDER_WAY);
    // Each is taken by the member whose it is.
    let ends = (Mutex::new(Some(send)), Mutex::new(Some(receive)));
    part.add_all(crew(2, watch, move |me, pulse| {
        let mut part = Part::default();
        if me == 0 {
            let send = ends.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            for turn in 0..hand_offs {
                let tag = Tag { queue: 0, turn };
                match tag.rows(1).and_then(|x| subject.start(&[x])) {
                    Err(error) => part.judge(Some(refusal(&error))),
                    Ok(pending) => {
                        // Fails if the consumer has gone, whose panic is reported.
                        let sent = send.as_ref().map(|send| send.send((tag, pending)));
                        if !matches!(sent, Some(Ok(()))) {
                            break;
                        }
                    }
                }
                pulse.beat();
            }
        } else {
            let receive = ends.1.lock().unwrap_or_else(PoisonError::into_inner).take();
            for (tag, pending) in receive.into_iter().flatten() {
                part.judge(tag.answer_difference(&pending.wait(), 1));
                pulse.beat();
            }
        }
        part
    }));
    part
}

/// Checks it.
pub fn check(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    let mut running = ROW.start(progress);
    let opened = bench
        .relay
        .rig(Setup::DEFAULT)
        .and_then(|rig| Ok((rig.open()?, rig)));
    let (subject, _rig) = match opened {
        Ok(opened) => opened,
        Err(error) => return running.could_not_run(&error),
    };
    let mut step = |_| running.step(0, 0);
    let mut watch = bench.watch(&mut step);
    let times = bench.effort.choose(1, 2, 50);
    let started = Instant::now();
    let mut mutex = hand_over::<StdMutex>(HAND_OFFS, &mut watch);
    let at_original_size = started.elapsed();
    if times > 1 {
        mutex.add(hand_over::<StdMutex>((times - 1) * HAND_OFFS, &mut watch));
    }
    let parts = vec![
        mutex,
        hand_over::<StdCondvar>(HAND_OFFS, &mut watch),
        hand_over_requests(
            &subject,
            bench.effort.choose(2_000, HAND_OFFS, 200_000),
            &mut watch,
        ),
    ];
    let weak = hand_over::<TestThenSet>(times * HAND_OFFS, &mut watch);
    let twin = Twin {
        what: TestThenSet::NAME.to_owned(),
        trials: weak.trials,
        seen: weak.failures,
        broken: weak.broken,
    };
    conclude(&ROW, running, parts, &[twin], Some(at_original_size))
}
