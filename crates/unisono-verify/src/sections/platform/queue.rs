//! A.002, queue thread safety: threads submit real kernels to one shared session and to sessions of their own.
//!
//! The one idea: the original's command buffers were empty and its queues unshared, so nothing could be mixed up. Here every
//! request is two matrix products on random words, all threads share one queue (then one device), they call and start in turn,
//! and every word of every answer is compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Bench;
use super::crew::{Pulse, Watch, crew};
use super::probe::{ROW_WORDS, answer_difference, random_words, relay_input};
use super::row::{Part, Row, conclude};
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Setup, Subject};

/// The original's row.
pub const ROW: Row = Row {
    id: "a.002",
    name: "A.002 queue thread safety",
    unit: "requests",
    original: "8 queues, one thread each, 100 empty command buffers",
    original_ms: 8.0,
};

/// Threads, and the requests of each.
const THREADS: usize = 8;
const REQUESTS: usize = 100;

/// What a session was asked at the same time by all threads, or each by its own.
pub fn submit(
    subjects: Vec<Arc<dyn Subject>>,
    rounds: usize,
    seed: u64,
    watch: &mut Watch<'_>,
) -> Part {
    let what = match subjects.len() {
        1 => "8 threads, one session",
        _ => "8 threads, a session each",
    };
    let mut part = Part::new(what);
    part.add_all(crew(THREADS, watch, move |me, pulse| {
        let own = subjects.get(me % subjects.len().max(1));
        own.map_or_else(Part::default, |subject| {
            ask(&**subject, me, rounds, seed, pulse)
        })
    }));
    part
}

fn ask(subject: &dyn Subject, me: usize, rounds: usize, seed: u64, pulse: &Pulse) -> Part {
    let mut part = Part::default();
    for turn in 0..rounds * REQUESTS {
        let rows = 1 + turn % 3;
        let words = random_words(seed, &[me as u64, turn as u64], rows * ROW_WORDS);
        let submit = |x| match turn % 2 {
            0 => subject.run(&[x]),
            _ => subject.start(&[x])?.wait(),
        };
        let answer = relay_input(&words).and_then(submit);
        let during = || format!("thread {me}, request {turn} of {rows} rows");
        part.judge(answer_difference(&answer, &words).map(|d| d.during(during())));
        pulse.beat();
    }
    part
}

/// Checks it.
pub fn check(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    let mut running = ROW.start(progress);
    let opened = bench.relay.rig(Setup::DEFAULT).and_then(|rig| {
        let own: Result<Vec<_>, _> = (0..THREADS).map(|_| rig.open()).collect();
        Ok((rig.open()?, own?, rig))
    });
    let (shared, own, _rig) = match opened {
        Ok(opened) => opened,
        Err(error) => return running.could_not_run(&error),
    };
    let rounds = bench.effort.choose(1, 5, 100);
    let mut step = |_| running.step(0, 0);
    let mut watch = bench.watch(&mut step);
    let started = Instant::now();
    let own = submit(own, rounds, bench.seed, &mut watch);
    // Rounds are alike.
    let a_round = started.elapsed() / u32::try_from(rounds).unwrap_or(1).max(1);
    let shared = submit(vec![shared], rounds, bench.seed ^ 1, &mut watch);
    let at_original_size: Option<Duration> = own.broken.is_none().then_some(a_round);
    conclude(&ROW, running, vec![shared, own], &[], at_original_size)
}
