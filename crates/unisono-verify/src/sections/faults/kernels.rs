//! A kernel that panics, or that gives an error.
//!
//! Alone, the call must end with that error: an answer would mean that nobody looked at the kernel's status. In a batch, every member
//! ends with its answer or that error, and no more of them with the error than kernels failed.

use std::time::Duration;

use unisono::fault::{Fault, inject};
use unisono::{Error, ErrorKind};

use super::ground::{CALLERS, Ground, jobs, or_else, wrong};
use super::{Ended, end, over, rounds, spread, start};
use crate::callers::Tally;
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::sections::{Running, hung};
use crate::verdict::Verdict;

/// How long the first kernel of a batch's predecessor sleeps, so that the batch forms behind it.
pub(super) const GATHERING: Duration = Duration::from_millis(3);

/// Id, name, fault, and the kind of error that it gives.
pub(super) type Kind = (&'static str, &'static str, Fault, ErrorKind);

/// One kind of kernel's fault, at every node in turn.
pub(super) fn check(
    case: &mut Case,
    (id, what, fault, error): Kind,
    effort: Effort,
    progress: &mut dyn Progress,
) -> Ended {
    let kinds: &'static [ErrorKind] = match error {
        ErrorKind::Panic => &[ErrorKind::Panic],
        _ => &[ErrorKind::Execution],
    };
    let mut running = start(case, id, what, progress);
    let mut strikes = 0;
    let outcome = campaign(case, fault, kinds, effort, &mut strikes, &mut running);
    let mut ended = end(running, outcome, strikes, "kernels that failed");
    if fault == Fault::PanicInside && strikes == 0 && ended.check.verdict == Verdict::CouldNotRun {
        ended.check.verdict = Verdict::NotDistinguishable;
        ended.check.notes = vec![
            "no kernel of this model shares its work between threads here, so none was inside of one"
                .to_owned(),
        ];
    }
    ended
}

fn campaign(
    case: &mut Case,
    fault: Fault,
    kinds: &'static [ErrorKind],
    effort: Effort,
    strikes: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let lenient = or_else(&jobs, kinds);
    let ground = Ground::warm(case, &jobs, &mut tally)?;
    let what = match fault {
        Fault::Error => "an error",
        _ => "a panic",
    };

    // How many there are in one call.
    let counting = inject(fault, 0..0);
    let script: Vec<_> = jobs.iter().take(1).cloned().collect();
    ground.ask(vec![script], "alone", &mut tally);
    let places = counting.occasions();
    drop(counting);

    let alone = spread(places, rounds(case, effort, 2 * CALLERS, (24, 64, 1_000)));
    let together = rounds(case, effort, 4 * CALLERS, (12, 40, 400));
    let total = alone.len() as u64 + together;
    let mut done = 0;
    for place in alone {
        let circumstances = format!("{what} at kernel {} of {places}", place + 1);
        let injected = inject(fault, place..place + 1);
        let mut own = Tally::default();
        // Another request than the one before: memory that still holds the last answer must not look like an answer.
        let turn = done as usize % lenient.len().max(1);
        let script: Vec<_> = lenient.iter().skip(turn).take(1).cloned().collect();
        ground.ask(vec![script], &circumstances, &mut own);
        let struck = injected.strikes();
        drop(injected);
        if struck > 0 && own.refusals == 0 && own.wrong == 0 && !hung(&own) {
            wrong(&mut own, "an answer", what, &circumstances);
        }
        *strikes += struck;
        tally.add(own);
        ground.aftermath(&circumstances, &mut tally);
        done += 1;
        running.step(done, total);
        if over(&tally) {
            return Ok(tally);
        }
    }
    let mut errors = 0;
    for round in 0..together {
        let times = 1 + round % 3;
        // The first call alone, then a batch of the others, in which it strikes.
        let place = places + round % places.max(1);
        let circumstances = format!(
            "{CALLERS} callers, {what} {times} times from kernel {} on",
            place + 1
        );
        let slow = inject(Fault::Slow(GATHERING), 0..1);
        let injected = inject(fault, place..place + times);
        let mut own = Tally::default();
        let scripts = lenient.iter().map(|job| vec![job.clone()]).collect();
        ground.ask(scripts, &circumstances, &mut own);
        let struck = injected.strikes();
        drop((slow, injected));
        if own.refusals > struck {
            let found = format!("{} calls ended with an error", own.refusals);
            let expected = format!("at most {struck}, the number of kernels that failed");
            wrong(&mut own, found, expected, &circumstances);
        }
        *strikes += struck;
        errors += own.refusals;
        tally.add(own);
        ground.aftermath(&circumstances, &mut tally);
        done += 1;
        running.step(done, total);
        if over(&tally) {
            return Ok(tally);
        }
    }
    let check = running.check();
    check.figure("kernels of one call", places as f64, "");
    check.figure("errors among callers in batches", errors as f64, "");
    batch_sizes(&ground, running);
    ground.end(&mut tally);
    Ok(tally)
}

/// Says how full batches were.
pub(super) fn batch_sizes(ground: &Ground, running: &mut Running<'_>) {
    let counters = ground.subject.counters();
    let seen = counters.batch_rows.iter().filter(|(_, count)| *count > 0);
    if let Some((largest, _)) = seen.max() {
        let check = running.check();
        check.figure("rows of the largest batch, at least", *largest as f64, "");
    }
}
