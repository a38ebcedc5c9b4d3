//! A large request among small ones: how many later ones are answered first?
//!
//! The one idea: nothing is left to chance but the moment. One thread starts, in this order, some requests that fill a batch each and keep
//! the session busy, a small one, a large one that leaves no room beside it, and many small ones. When the first small one's turn comes, the
//! later ones fit with it and the large one does not: they overtake it, as many as the session's bound allows. Answers announce themselves on
//! the thread that brings them, batch after batch, so their order is the session's, whatever the scheduler does to the callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use unisono::Error;

use super::super::faults::ground::{Outcome, judge, patiently};
use super::super::{Running, hung, is_heavy};
use crate::callers::{Expected, Job, Tally};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::RowId;
use crate::subject::{Opening, Pending, Setup, Signal, Subject};
use crate::verdict::Verdict;

/// What the session is told to allow.
const MAX_OVERTAKEN: u32 = 2;
/// Rows of a batch, and of a large request.
const ROWS: u32 = 8;
/// Large requests that keep the session busy while the others come.
const BUSY: usize = 3;
/// Small ones that come after the large one.
const LATER: usize = 24;
/// A row that no other part of the soak asks for.
const FIRST_ROW: u32 = 60_000;

/// Checks one model whose rows are independent.
pub(super) fn check(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Check {
    let mut running = super::start(case, "overtaking", "overtaking", "rounds", progress);
    let rounds = if is_heavy(case, effort) {
        3
    } else {
        effort.choose(20, 50, 500)
    };
    let mut seen = Seen::default();
    if let Err(error) = campaign(case, rounds, &mut seen, &mut running) {
        return running.could_not_run(&error);
    }
    let check = running.check();
    check.figure("most overtaken", seen.most as f64, "");
    check.figure("allowed", f64::from(MAX_OVERTAKEN), "");
    check.figure("rounds in which one was", seen.overtaken as f64, "");
    seen.tally.wrong += seen.too_often;
    if seen.too_often > 0 {
        check.notes.push(format!(
            "in {} of {} rounds more than {MAX_OVERTAKEN} later requests were answered before an earlier one, up to {}",
            seen.too_often, seen.rounds, seen.most
        ));
    }
    let undecided = seen.tally.wrong == 0 && seen.tally.abandoned.is_none() && seen.overtaken == 0;
    let mut check = running.tallied(seen.rounds, seen.tally);
    if undecided {
        check.verdict = Verdict::NotDistinguishable;
        let what = "no later request was ever answered before an earlier one: nobody shared a batch with room to spare";
        check.notes.push(what.to_owned());
    }
    check
}

#[derive(Default)]
struct Seen {
    rounds: u64,
    /// Rounds in which the large request was overtaken at all.
    overtaken: u64,
    /// Rounds in which it was overtaken more often than is allowed.
    too_often: u64,
    most: usize,
    tally: Tally,
}

fn campaign(
    case: &mut Case,
    rounds: u64,
    seen: &mut Seen,
    running: &mut Running<'_>,
) -> Result<(), Error> {
    let small = job(case, 1)?;
    let large = job(case, ROWS)?;
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let subject = rig.open_with(&Opening {
        max_overtaken: Some(MAX_OVERTAKEN),
        max_batch_rows: Some(ROWS as usize),
        ..Opening::default()
    })?;
    for warm in [&small, &large] {
        subject.run(&warm.request.tensors)?;
    }
    for round in 0..rounds {
        let (own, jobs) = (
            Arc::clone(&subject),
            [Arc::clone(&small), Arc::clone(&large)],
        );
        let called = move || {
            let [small, large] = jobs;
            one_round(&*own, &small, &large)
        };
        let Some(Round {
            overtakers,
            answers,
        }) = patiently(case.patience, &mut seen.tally, called).transpose()?
        else {
            break;
        };
        for (i, answer) in answers.into_iter().enumerate() {
            let job = if is_large(i) { &large } else { &small };
            let during = "a large request among small ones";
            judge(&case.outputs, job, answer, &[], during, &mut seen.tally);
        }
        seen.rounds += 1;
        seen.most = seen.most.max(overtakers);
        seen.overtaken += u64::from(overtakers > 0);
        seen.too_often += u64::from(overtakers > MAX_OVERTAKEN as usize);
        running.step(round + 1, rounds);
        if hung(&seen.tally) {
            break;
        }
    }
    Ok(())
}

fn job(case: &mut Case, rows: u32) -> Result<Arc<Job>, Error> {
    let ids: Vec<RowId> = (0..rows).map(|i| RowId::ordinary(FIRST_ROW + i)).collect();
    let answer = case.alone(&ids)?;
    Ok(Arc::new(Job {
        request: case.maker.request(&ids)?,
        expected: Expected::Answer(answer),
    }))
}

/// The place of the request that is watched, in the order of a round.
const WATCHED: usize = BUSY + 1;

fn is_large(place: usize) -> bool {
    place < BUSY || place == WATCHED
}

struct Round {
    /// How many later requests were answered before the one that is watched.
    overtakers: usize,
    answers: Vec<Outcome>,
}

fn one_round(subject: &dyn Subject, small: &Job, large: &Job) -> Result<Round, Error> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let all = WATCHED + 1 + LATER;
    let places: Vec<Arc<AtomicUsize>> = (0..all).map(|_| Arc::default()).collect();
    let mut under_way: Vec<Box<dyn Pending>> = Vec::with_capacity(all);
    for (i, place) in places.iter().enumerate() {
        let (arrived, place) = (Arc::clone(&arrived), Arc::clone(place));
        // Relaxed: batches follow each other, and who reads has waited for all answers.
        let signal: Signal = Arc::new(move || {
            place.store(arrived.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        });
        let job = if is_large(i) { large } else { small };
        under_way.push(subject.start(&job.request.tensors)?.watched(signal));
    }
    let answers = under_way.into_iter().map(Pending::wait).collect();
    let place = |i: usize| places.get(i).map(|place| place.load(Ordering::Relaxed));
    let later = (WATCHED + 1)..all;
    Ok(Round {
        overtakers: later.filter(|&i| place(i) < place(WATCHED)).count(),
        answers,
    })
}
