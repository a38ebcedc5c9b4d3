//! A large request among small ones: how many later ones are answered first?
//!
//! The one idea: nothing is left to chance but the moment. One thread starts, in this order, some requests that fill a batch each and keep
//! the session busy, a small one, some of more than half a batch, a large one that leaves no room beside it, and many small ones. Each of the
//! batches before that of the large one has room for later ones and none for it: they overtake it, as many as the session's bound
//! allows and, were there no bound, nearly all. Answers announce themselves on the thread that brings them, batch after batch, so their
//! order is the session's, whatever the scheduler does to the callers.
//!
//! # Several batches in flight
//!
//! What is bounded is how many later requests are *claimed* before an earlier one. With one batch in flight answers come in the order of the
//! claims, and a round with more is wrong. With several, those that were claimed beside the large one or right after it may be
//! answered first: as many more are allowed as the other batches in flight hold. A thread that loses its core on the way out
//! lets still more of them pass, however fair the session is; that happens to few rounds, and a session without a bound shows it in all. So there,
//! rounds are wrong if they are more than a quarter, and more than one.

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
/// Rows of a request of more than half a batch.
const MIDDLE_ROWS: u32 = ROWS / 2 + 1;
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
    let mut seen = Seen {
        order: Order::of(1),
        ..Seen::default()
    };
    if let Err(error) = campaign(case, rounds, &mut seen, &mut running) {
        return running.could_not_run(&error);
    }
    let check = running.check();
    check.figure("most overtaken", seen.most as f64, "");
    let Order {
        in_flight, allowed, ..
    } = seen.order;
    check.figure("allowed", allowed as f64, "");
    check.figure("batches in flight", in_flight as f64, "");
    check.figure("rounds in which one was", seen.overtaken as f64, "");
    check.figure("rounds beyond what is allowed", seen.too_often as f64, "");
    if in_flight > 1 {
        check.notes.push(format!(
            "allowed: {MAX_OVERTAKEN} that are claimed earlier, and {} in the other batches in flight, {in_flight} - 1 of at most {ROWS} rows; \
             in at most a quarter of the rounds, more",
            allowed - MAX_OVERTAKEN as usize
        ));
    }
    if are_too_many(seen.too_often, seen.rounds, in_flight) {
        seen.tally.wrong += seen.too_often;
        check.notes.push(format!(
            "in {} of {} rounds more than {allowed} later requests were answered before an earlier one, up to {}",
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

/// How many requests there are of each kind, and how many of the later ones may be answered before the large one.
#[derive(Clone, Copy, Default)]
struct Order {
    in_flight: usize,
    allowed: usize,
    /// Requests of more than half a batch.
    middle: usize,
    /// Small ones that come after the large one.
    later: usize,
}

impl Order {
    /// For so many batches in flight.
    fn of(in_flight: usize) -> Order {
        let others = in_flight.saturating_sub(1) * ROWS as usize;
        let allowed = MAX_OVERTAKEN as usize + others;
        // Without a bound, at least twice as many would overtake.
        let later = (2 * allowed + 4).max(24);
        // Each of them has so much room beside it.
        let room = (ROWS - MIDDLE_ROWS) as usize;
        Order {
            in_flight,
            allowed,
            middle: later.div_ceil(room),
            later,
        }
    }

    /// The place of the request that is watched, in the order of a round.
    fn watched(&self) -> usize {
        BUSY + 1 + self.middle
    }

    fn all(&self) -> usize {
        self.watched() + 1 + self.later
    }

    fn rows(&self, place: usize) -> u32 {
        match place {
            _ if place < BUSY || place == self.watched() => ROWS,
            _ if place > BUSY && place < self.watched() => MIDDLE_ROWS,
            _ => 1,
        }
    }
}

/// Are so many rounds beyond what is allowed more than threads that lost their core explain?
fn are_too_many(beyond: u64, rounds: u64, in_flight: usize) -> bool {
    match in_flight {
        0 | 1 => beyond > 0,
        _ => beyond > (rounds / 4).max(1),
    }
}

#[derive(Default)]
struct Seen {
    order: Order,
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
    let jobs = Jobs {
        small: job(case, 1)?,
        middle: job(case, MIDDLE_ROWS)?,
        large: job(case, ROWS)?,
    };
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let order = Order::of(rig.batches_in_flight());
    seen.order = order;
    let subject = rig.open_with(&Opening {
        max_overtaken: Some(MAX_OVERTAKEN),
        max_batch_rows: Some(ROWS as usize),
        ..Opening::default()
    })?;
    for warm in [&jobs.small, &jobs.middle, &jobs.large] {
        subject.run(&warm.request.tensors)?;
    }
    for round in 0..rounds {
        let (own, asked) = (Arc::clone(&subject), jobs.clone());
        let called = move || one_round(&*own, &asked, &order);
        let Some(Round {
            overtakers,
            answers,
        }) = patiently(case.patience, &mut seen.tally, called).transpose()?
        else {
            break;
        };
        for (i, answer) in answers.into_iter().enumerate() {
            let job = jobs.with_rows(order.rows(i));
            let during = "a large request among small ones";
            judge(&case.outputs, job, answer, &[], during, &mut seen.tally);
        }
        seen.rounds += 1;
        seen.most = seen.most.max(overtakers);
        seen.overtaken += u64::from(overtakers > 0);
        seen.too_often += u64::from(overtakers > order.allowed);
        running.step(round + 1, rounds);
        if hung(&seen.tally) {
            break;
        }
    }
    Ok(())
}

/// A request of each kind.
#[derive(Clone)]
struct Jobs {
    small: Arc<Job>,
    middle: Arc<Job>,
    large: Arc<Job>,
}

impl Jobs {
    fn with_rows(&self, rows: u32) -> &Job {
        match rows {
            ROWS => &self.large,
            MIDDLE_ROWS => &self.middle,
            _ => &self.small,
        }
    }
}

fn job(case: &mut Case, rows: u32) -> Result<Arc<Job>, Error> {
    let ids: Vec<RowId> = (0..rows).map(|i| RowId::ordinary(FIRST_ROW + i)).collect();
    let answer = case.alone(&ids)?;
    Ok(Arc::new(Job {
        request: case.maker.request(&ids)?,
        expected: Expected::Answer(answer),
    }))
}

struct Round {
    /// How many later requests were answered before the one that is watched.
    overtakers: usize,
    answers: Vec<Outcome>,
}

fn one_round(subject: &dyn Subject, jobs: &Jobs, order: &Order) -> Result<Round, Error> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let (watched, all) = (order.watched(), order.all());
    let places: Vec<Arc<AtomicUsize>> = (0..all).map(|_| Arc::default()).collect();
    let mut under_way: Vec<Box<dyn Pending>> = Vec::with_capacity(all);
    for (i, place) in places.iter().enumerate() {
        let (arrived, place) = (Arc::clone(&arrived), Arc::clone(place));
        // Relaxed: batches follow each other, and who reads has waited for all answers.
        let signal: Signal = Arc::new(move || {
            place.store(arrived.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        });
        let job = jobs.with_rows(order.rows(i));
        under_way.push(subject.start(&job.request.tensors)?.watched(signal));
    }
    let answers = under_way.into_iter().map(Pending::wait).collect();
    let place = |i: usize| places.get(i).map(|place| place.load(Ordering::Relaxed));
    let later = (watched + 1)..all;
    Ok(Round {
        overtakers: later.filter(|&i| place(i) < place(watched)).count(),
        answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_batches_in_flight_allow_as_many_more_as_they_hold_and_never_as_many_as_there_are() {
        assert_eq!(Order::of(1).allowed, 2);
        assert_eq!(Order::of(2).allowed, 10);
        for in_flight in 0..40 {
            let order = Order::of(in_flight);
            // The batches before the large one have room for far more than is allowed.
            let room = order.middle * (ROWS - MIDDLE_ROWS) as usize;
            assert!(room.min(order.later) >= 2 * order.allowed);
            let rows = |rows| (0..order.all()).filter(|&i| order.rows(i) == rows).count();
            assert_eq!(
                [rows(ROWS), rows(MIDDLE_ROWS), rows(1)],
                [BUSY + 1, order.middle, 1 + order.later]
            );
        }
    }

    #[test]
    fn one_round_beyond_is_wrong_where_answers_come_in_the_order_of_claims() {
        assert!(are_too_many(1, 500, 1));
        assert!(!are_too_many(0, 500, 1));
        assert!(!are_too_many(5, 20, 2));
        assert!(are_too_many(6, 20, 2));
        assert!(!are_too_many(1, 3, 2));
        assert!(are_too_many(2, 3, 2));
    }
}
