//! Memory that cannot be had.
//!
//! The one idea: the allocations of a run are counted, and then each of them fails once. A call in which one failed ends with an
//! error or, if whoever needed the memory knew another way, with the right answer.

use std::sync::Arc;

use unisono::fault::{Fault, inject};
use unisono::{Error, ErrorKind};

use super::ground::{CALLERS, Ground, jobs, or_else, wrong};
use super::kernels::GATHERING;
use super::{Ended, end, over, rounds, spread, start};
use crate::callers::{Job, Tally};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::sections::Running;
use crate::subject::Setup;

const KINDS: &[ErrorKind] = &[ErrorKind::OutOfMemory];

/// Every allocation fails once.
pub(super) fn check(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "allocation", "a failed allocation", progress);
    let mut strikes = 0;
    let outcome = campaign(case, effort, &mut strikes, &mut running);
    end(running, outcome, strikes, "allocations that failed")
}

fn campaign(
    case: &mut Case,
    effort: Effort,
    strikes: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let lenient = or_else(&jobs, KINDS);
    let most = rounds(case, effort, 4 * CALLERS, (64, 200, 2_000));
    cold(case, &jobs, &lenient, most, strikes, &mut tally, running)?;
    if !over(&tally) {
        warm(case, &jobs, &lenient, most, strikes, &mut tally, running)?;
    }
    if !over(&tally) {
        let most = rounds(case, effort, 4 * CALLERS, (16, 60, 600));
        batch(case, &jobs, &lenient, most, strikes, &mut tally, running)?;
    }
    Ok(tally)
}

/// A device, a session on it, and two calls: all from nothing, so that weights are packed and arenas made.
fn cold(
    case: &Case,
    jobs: &[Arc<Job>],
    lenient: &[Arc<Job>],
    most: u64,
    strikes: &mut u64,
    tally: &mut Tally,
    running: &mut Running<'_>,
) -> Result<(), Error> {
    let script: Vec<Arc<Job>> = lenient.iter().take(2).cloned().collect();
    // How many allocations there are, from one time without a fault.
    let count = {
        let rig = case.lab.rig(Setup::DEFAULT)?;
        let counting = inject(Fault::NoMemory, 0..0);
        let subject = rig.open()?;
        let ground = Ground::on(case, rig, subject, jobs);
        ground.ask(vec![script.clone()], "a cold session", tally);
        counting.occasions()
    };
    let mut places = spread(count, most);
    if (places.len() as u64) < count {
        running.check().warnings.push(format!(
            "{} of {count} allocations of a cold session were made to fail; more with --full",
            places.len()
        ));
    }
    // One place more than there are: the whole run must go through without a strike.
    places.push(count);
    let total = places.len() as u64;
    for (done, place) in places.into_iter().enumerate() {
        let circumstances = format!("a cold session, allocation {} of {count} fails", place + 1);
        let rig = case.lab.rig(Setup::DEFAULT)?;
        let injected = inject(Fault::NoMemory, place..place + 1);
        let opened = rig.open();
        let ground = match opened {
            Ok(subject) => {
                let ground = Ground::on(case, rig, subject, jobs);
                ground.ask(vec![script.clone()], &circumstances, tally);
                Some(ground)
            }
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {
                tally.answers += 1;
                tally.refusals += 1;
                super::ground::nothing_left(&*rig, case.patience, tally);
                None
            }
            Err(error) => {
                tally.answers += 1;
                wrong(tally, error.to_string(), "a session", &circumstances);
                None
            }
        };
        let struck = injected.strikes();
        drop(injected);
        if place < count && struck == 0 {
            let found = "fewer allocations than the time before";
            let check = running.check();
            check.notes.push(format!("{circumstances}: {found}"));
        }
        if place == count && struck > 0 {
            let check = running.check();
            check.warnings.push(format!(
                "a cold session made more than {count} allocations at the last time; not each has failed"
            ));
        }
        *strikes += struck;
        if let Some(ground) = ground {
            // What it holds may have grown in these calls; the next answers must be right, and nothing may be left at the end.
            ground.ask(
                vec![jobs.to_vec()],
                &format!("after {circumstances}"),
                tally,
            );
            ground.end(tally);
        }
        running.step(done as u64 + 1, total);
        if over(tally) {
            return Ok(());
        }
    }
    let check = running.check();
    check.figure(
        "allocations of a cold session and two calls",
        count as f64,
        "",
    );
    Ok(())
}

/// A session that has all that it keeps: what is left are the outputs.
fn warm(
    case: &Case,
    jobs: &[Arc<Job>],
    lenient: &[Arc<Job>],
    most: u64,
    strikes: &mut u64,
    tally: &mut Tally,
    running: &mut Running<'_>,
) -> Result<(), Error> {
    let ground = Ground::warm(case, jobs, tally)?;
    let script: Vec<Arc<Job>> = lenient.iter().take(2).cloned().collect();
    let mut place = 0;
    loop {
        let circumstances = format!("a warm session, allocation {} fails", place + 1);
        let injected = inject(Fault::NoMemory, place..place + 1);
        ground.ask(vec![script.clone()], &circumstances, tally);
        let struck = injected.strikes();
        drop(injected);
        *strikes += struck;
        ground.aftermath(&circumstances, tally);
        if over(tally) {
            return Ok(());
        }
        if struck == 0 || place >= most {
            break;
        }
        place += 1;
    }
    let check = running.check();
    check.figure(
        "allocations of two calls of a warm session",
        place as f64,
        "",
    );
    ground.end(tally);
    Ok(())
}

/// Callers at once on a cold session: the first call alone, a batch of the others behind it.
fn batch(
    case: &Case,
    jobs: &[Arc<Job>],
    lenient: &[Arc<Job>],
    most: u64,
    strikes: &mut u64,
    tally: &mut Tally,
    running: &mut Running<'_>,
) -> Result<(), Error> {
    let scripts = || lenient.iter().map(|job| vec![Arc::clone(job)]).collect();
    let once = |place: Option<u64>, tally: &mut Tally| -> Result<(u64, u64), Error> {
        let ground = Ground::cold(case, jobs)?;
        let slow = inject(Fault::Slow(GATHERING), 0..1);
        let range = place.map_or(0..0, |place| place..place + 1);
        let injected = inject(Fault::NoMemory, range);
        let circumstances = match place {
            Some(place) => format!("{CALLERS} callers at once, allocation {} fails", place + 1),
            None => format!("{CALLERS} callers at once"),
        };
        ground.ask(scripts(), &circumstances, tally);
        let seen = (injected.occasions(), injected.strikes());
        drop((slow, injected));
        ground.ask(
            vec![jobs.to_vec()],
            &format!("after {circumstances}"),
            tally,
        );
        ground.end(tally);
        Ok(seen)
    };
    let (count, _) = once(None, tally)?;
    let places = spread(count, most);
    let total = places.len() as u64;
    for (done, place) in places.into_iter().enumerate() {
        *strikes += once(Some(place), tally)?.1;
        running.step(done as u64 + 1, total);
        if over(tally) {
            break;
        }
    }
    let check = running.check();
    check.figure("allocations of 8 callers at once", count as f64, "");
    Ok(())
}
