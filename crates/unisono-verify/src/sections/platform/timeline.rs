//! A.001, shared-event atomicity: host threads and the device's lanes signal one timeline.
//!
//! The one idea: a timeline is a number that only grows, and each signal moves it by one. Eight host threads signal it as
//! fast as they can; meanwhile requests are under way on a session, and the arrival of each answer signals it too, on whichever
//! thread of the device brings the answer. No lock stands around any of that. The last value must be the number of signals, no
//! two signals may have moved it to the same value, and nobody may see it go back: not even across the device, to which each
//! request carries the value that was read before it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use unisono::Tensor;

use super::Bench;
use super::crew::{Pulse, Watch, crew};
use super::probe::{self, ROW_WORDS};
use super::row::{Part, Row, Twin, conclude};
use crate::compare::Difference;
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Setup, Subject};

/// The original's row.
pub const ROW: Row = Row {
    id: "a.001",
    name: "A.001 shared-event atomicity",
    unit: "signals",
    original: "8 threads x 1,000 read-increment-writes of one event, with a lock around them",
    original_ms: 4.0,
};

/// Host threads, and the signals of each in a round.
const HOSTS: usize = 8;
const SIGNALS: usize = 1_000;
/// Threads that ask for answers which signal, and the answers of each in a round.
const ASKERS: usize = 2;
const ANSWERS: usize = 32;
/// Signals of a round.
const TOTAL: u64 = (HOSTS * SIGNALS + ASKERS * ANSWERS) as u64;

/// A number that signals move by one.
pub trait Timeline: Default + Send + Sync + 'static {
    /// Moves it; gives the value that it was moved to.
    fn signal(&self) -> u64;
    /// Its value now.
    fn value(&self) -> u64;
}

/// The timeline that must hold: one indivisible addition.
#[derive(Default)]
pub struct Atomic(AtomicU64);

impl Timeline for Atomic {
    fn signal(&self) -> u64 {
        // Release and acquire: a signal says that what its sender did before is done.
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The twin: read, increment and write, as in the original, but without its lock.
#[derive(Default)]
pub struct ReadThenWrite(AtomicU64);

impl Timeline for ReadThenWrite {
    fn signal(&self) -> u64 {
        let next = self.0.load(Ordering::Acquire) + 1;
        self.0.store(next, Ordering::Release);
        next
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What one thread saw.
#[derive(Default)]
struct Seen {
    /// The values that its signals moved the timeline to; empty for answers, whose signals come from elsewhere.
    values: Vec<u64>,
    /// How often the timeline was seen to go back.
    back: u64,
    /// Answers that were wrong.
    wrong: Part,
    /// How many answers were signalled by a thread of the device.
    by_device: u64,
}

/// What a round, or several, came to.
pub struct Rounds {
    /// What was wrong.
    pub part: Part,
    /// Answers whose arrival was signalled by a thread other than the one that had asked.
    pub by_device: u64,
    /// How long the host threads and answers of the first round took.
    pub first: Duration,
}

/// Lets host threads and answers of the subject, a relay, signal one timeline a round.
pub fn signal_rounds<T: Timeline>(
    subject: &Arc<dyn Subject>,
    rounds: usize,
    watch: &mut Watch<'_>,
) -> Rounds {
    let mut part = Part::new("host threads and answers signal one timeline");
    let (mut by_device, mut first) = (0, Duration::ZERO);
    for round in 0..rounds {
        let started = Instant::now();
        let timeline = Arc::new(T::default());
        let (shared, subject) = (Arc::clone(&timeline), Arc::clone(subject));
        let seen = crew(HOSTS + ASKERS, watch, move |me, pulse| match me {
            0..HOSTS => host(&*shared, pulse),
            _ => asker(&subject, &shared, pulse),
        });
        if round == 0 {
            first = started.elapsed();
        }
        match seen {
            Ok(seen) => {
                by_device += seen.iter().map(|seen| seen.by_device).sum::<u64>();
                judge(&mut part, timeline.value(), seen);
            }
            Err(broken) => {
                part.broken = Some(broken);
                break;
            }
        }
    }
    Rounds {
        part,
        by_device,
        first,
    }
}

fn host<T: Timeline>(timeline: &T, pulse: &Pulse) -> Seen {
    let mut seen = Seen::default();
    let mut last = 0;
    for _ in 0..SIGNALS {
        let moved = timeline.signal();
        let now = timeline.value();
        seen.back += u64::from(moved <= last || now < moved);
        last = now.max(moved);
        seen.values.push(moved);
    }
    pulse.beat();
    seen
}

fn asker<T: Timeline>(subject: &Arc<dyn Subject>, timeline: &Arc<T>, pulse: &Pulse) -> Seen {
    let mut seen = Seen::default();
    let me = thread::current().id();
    let by_device = Arc::new(AtomicU64::new(0));
    for _ in 0..ANSWERS {
        let before = timeline.value();
        // Exact: there are far fewer than 2^24 signals in a round.
        let words = vec![before as f32; ROW_WORDS];
        let (shared, counted) = (Arc::clone(timeline), Arc::clone(&by_device));
        let signal = Arc::new(move || {
            shared.signal();
            // Relaxed: read after the signal has come, which orders it.
            counted.fetch_add(u64::from(thread::current().id() != me), Ordering::Relaxed);
        });
        let ask = |x: Tensor| subject.start(&[x])?.wait_signalling(signal);
        let answer = probe::relay_input(&words).and_then(ask);
        let fault = probe::answer_difference(&answer, &words);
        // One of the signals since then is that of this very answer.
        seen.back += u64::from(timeline.value() <= before);
        seen.wrong.judge(fault);
        pulse.beat();
    }
    seen.by_device = by_device.load(Ordering::Relaxed);
    seen
}

fn judge(part: &mut Part, last: u64, seen: Vec<Seen>) {
    let difference = |found: String, expected: String| Difference::of_kind("", found, expected);
    let lost = TOTAL.abs_diff(last);
    part.count(TOTAL, lost, || {
        difference(
            format!("a timeline at {last}"),
            format!("at {TOTAL}, the number of signals"),
        )
    });
    let back = seen.iter().map(|seen| seen.back).sum();
    part.count(0, back, || {
        difference(
            format!("a timeline that went back {back} times"),
            "one that grows".to_owned(),
        )
    });
    let mut values: Vec<u64> = seen
        .iter()
        .flat_map(|seen| seen.values.iter().copied())
        .collect();
    let signals = values.len();
    values.sort_unstable();
    values.dedup();
    let twice = (signals - values.len()) as u64;
    part.count(0, twice, || {
        difference(
            format!("{twice} signals to a value that had been signalled"),
            "none".to_owned(),
        )
    });
    for own in seen {
        // Counted with the signals already.
        part.add(Part {
            trials: 0,
            ..own.wrong
        });
    }
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
    let rounds = bench.effort.choose(4, 20, 400);
    let mut step = |_| running.step(0, 0);
    let mut watch = bench.watch(&mut step);
    let strong = signal_rounds::<Atomic>(&subject, rounds, &mut watch);
    let weak = signal_rounds::<ReadThenWrite>(&subject, rounds, &mut watch);
    let check = running.check();
    check.notes.push(format!(
        "{rounds} rounds of {HOSTS} host threads x {SIGNALS} signals and {ASKERS} x {ANSWERS} answers; no lock"
    ));
    check.figure(
        "answers signalled by a thread of the device",
        strong.by_device as f64,
        "",
    );
    let twin = Twin {
        what: "read, then write".to_owned(),
        trials: weak.part.trials,
        seen: weak.part.failures,
        broken: weak.part.broken,
    };
    conclude(
        &ROW,
        running,
        vec![strong.part],
        &[twin],
        Some(strong.first),
    )
}
