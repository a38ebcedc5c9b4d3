//! A.003, sequential consistency, and A.008, message passing by release and acquire.
//!
//! The one idea: both are litmus tests, run with the ordering that the runtime uses and with relaxed words. The relaxed store
//! buffering is seen on every multiprocessor; relaxed message passing is seen on ARM and never on x86, whose stores and loads are
//! release and acquire by nature. What a compiler could do to relaxed words is not seen by running one build of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Bench;
use super::crew::{Broken, Watch, crew};
use super::dekker::dekker;
use super::litmus::{
    CELLS, Memory, Outcome, Relaxed, ReleaseAcquire, SequentiallyConsistent, message_passing,
    store_buffering,
};
use super::probe::Tag;
use super::row::{Part, Row, Twin, conclude};
use crate::compare::Difference;
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Setup, Subject};

/// The original's row.
pub const CONSISTENCY: Row = Row {
    id: "a.003",
    name: "A.003 sequential consistency",
    unit: "rounds",
    original: "Dekker's algorithm, 2 threads, 50,000 entries",
    original_ms: 1.2,
};

/// The original's row.
pub const PASSING: Row = Row {
    id: "a.008",
    name: "A.008 release/acquire message passing",
    unit: "messages",
    original: "200,000 rounds",
    original_ms: 28.9,
};

/// The original's 50,000 entries: two threads, a thousand each in a batch.
const DEKKER_BATCHES: usize = 25;
/// The original's 200,000 messages.
const MESSAGE_BATCHES: usize = 200_000 / CELLS;

/// The part that must hold, of a litmus test.
pub fn part<M: Memory>(test: &str, outcome: Result<Outcome, Broken>) -> Part {
    let mut part = Part::new(format!("{test}, {}", M::NAME));
    match outcome {
        Ok(Outcome { rounds, forbidden }) => part.count(rounds, forbidden, || {
            let found = format!("the forbidden outcome of {test}, {forbidden} times");
            Difference::of_kind("", found, "never")
        }),
        Err(broken) => part.broken = Some(broken),
    }
    part
}

/// The part that must be caught.
pub fn twin<M: Memory>(test: &str, outcome: Result<Outcome, Broken>) -> Twin {
    let part = part::<M>(test, outcome);
    Twin {
        what: part.what,
        trials: part.trials,
        seen: part.failures,
        broken: part.broken,
    }
}

/// Checks A.003.
pub fn check_consistency(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    /// What all of them run with.
    type Strong = SequentiallyConsistent;
    let mut running = CONSISTENCY.start(progress);
    let mut step = |_| running.step(0, 0);
    let mut watch = bench.watch(&mut step);
    let times = bench.effort.choose(1, 2, 100);
    let cells = 2 * DEKKER_BATCHES * times;
    let watch = &mut watch;
    let started = Instant::now();
    let first = part::<Strong>(
        "Dekker",
        dekker::<Strong>(DEKKER_BATCHES, bench.seed, watch),
    );
    let at_original_size = started.elapsed();
    let mut exclusion = first;
    if times > 1 {
        let more = dekker::<Strong>((times - 1) * DEKKER_BATCHES, bench.seed ^ 1, watch);
        exclusion.add(part::<Strong>("Dekker", more));
    }
    let buffering = store_buffering::<Strong>(cells, bench.seed, watch);
    let parts = vec![part::<Strong>("store buffering", buffering), exclusion];
    let buffering = store_buffering::<Relaxed>(cells, bench.seed, watch);
    let twins = [
        twin::<Relaxed>("store buffering", buffering),
        twin::<Relaxed>(
            "Dekker",
            dekker::<Relaxed>(times * DEKKER_BATCHES, bench.seed, watch),
        ),
    ];
    conclude(&CONSISTENCY, running, parts, &twins, Some(at_original_size))
}

/// Threads that ask at the same time.
const ASKERS: usize = 2;

/// Checks A.008.
pub fn check_passing(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    const TEST: &str = "message passing";
    let mut running = PASSING.start(progress);
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
    let watch = &mut watch;
    let started = Instant::now();
    let outcome = message_passing::<ReleaseAcquire>(MESSAGE_BATCHES, bench.seed, watch);
    let at_original_size = started.elapsed();
    let mut strong = part::<ReleaseAcquire>(TEST, outcome);
    let times = bench.effort.choose(1, 2, 50);
    if times > 1 {
        let batches = (times - 1) * MESSAGE_BATCHES;
        let more = message_passing::<ReleaseAcquire>(batches, bench.seed ^ 1, watch);
        strong.add(part::<ReleaseAcquire>(TEST, more));
    }
    let weak = message_passing::<Relaxed>(times * MESSAGE_BATCHES, bench.seed, watch);
    let twins = [twin::<Relaxed>(TEST, weak)];
    let through = through_the_device(&subject, bench.effort.choose(500, 2_000, 100_000), watch);
    conclude(
        &PASSING,
        running,
        vec![strong, through],
        &twins,
        Some(at_original_size),
    )
}

/// Host to device and back: each asker writes a message, asks, and must find that message in the answer, and that its arrival was
/// signalled exactly once.
pub fn through_the_device(
    subject: &Arc<dyn Subject>,
    messages: usize,
    watch: &mut Watch<'_>,
) -> Part {
    let mut part = Part::new("to the device and back, by the arrival of the answer");
    let subject = Arc::clone(subject);
    part.add_all(crew(ASKERS, watch, move |me, pulse| {
        let mut part = Part::default();
        for turn in 0..messages {
            let tag = Tag { queue: me, turn };
            let arrivals = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&arrivals);
            // Relaxed, here and below: waiting for the answer orders it, which is what is checked.
            let signal = Arc::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            let answer = tag
                .rows(1)
                .and_then(|x| subject.start(&[x])?.wait_signalling(signal));
            let signals = arrivals.load(Ordering::Relaxed);
            let unsignalled = || {
                let found = format!("{signals} signals of an arrival");
                (signals != 1).then(|| Difference::of_kind("", found, "1"))
            };
            part.judge(tag.answer_difference(&answer, 1).or_else(unsignalled));
            pulse.beat();
        }
        part
    }));
    part
}
