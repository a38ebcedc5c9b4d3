//! Requests that are taken back, and requests that come too late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono::fault::{Fault, inject};
use unisono::{Error, ErrorKind};

use super::ground::{CALLERS, Ground, jobs, patiently, wrong};
use super::{Ended, end, over, rounds, start};
use crate::callers::{Expected, Job, Scripts, Tally};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::sections::Running;

/// How long the first kernel sleeps, so that others wait behind it.
const SLEEP: Duration = Duration::from_millis(4);

/// Futures that are dropped.
pub(super) fn cancelled(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "cancelled", "cancelled requests", progress);
    let mut dropped = 0;
    let outcome = cancelling(case, effort, &mut dropped, &mut running);
    end(running, outcome, dropped, "futures dropped")
}

fn cancelling(
    case: &mut Case,
    effort: Effort,
    dropped: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let ground = Ground::warm(case, &jobs, &mut tally)?;
    let total = rounds(case, effort, 3 * CALLERS, (20, 80, 800));
    let (mut started, before) = (0, ground.subject.counters().requests);
    let mut asked = 0;
    for round in 0..total {
        // In turn: the one that runs, those that wait, both, all.
        let (first, others, all) = (round % 4 != 1, round % 4 != 0, round % 4 == 3);
        let circumstances = format!(
            "{CALLERS} futures, {} dropped",
            match round % 4 {
                0 => "the first",
                1 => "every second of the others",
                2 => "the first and every second of the others",
                _ => "all",
            }
        );
        let slow = inject(Fault::Slow(SLEEP), 0..1);
        let (subject, own) = (Arc::clone(&ground.subject), jobs.clone());
        let called = move || {
            let since = Instant::now();
            let mut pending = Vec::new();
            for (i, job) in own.iter().enumerate() {
                pending.push(Some(subject.start(&job.request.tensors)));
                // Those behind the first are to wait, so it must be asleep in its kernel. If it does not come to that, what is
                // checked is the same.
                while i == 0 && slow.strikes() == 0 && since.elapsed() < SLEEP {
                    std::thread::yield_now();
                }
            }
            let mut left = 0;
            for (i, pending) in pending.iter_mut().enumerate() {
                let leaves = if i == 0 {
                    first
                } else {
                    others && (all || i % 2 == 1)
                };
                if leaves {
                    *pending = None;
                    left += 1;
                }
            }
            let mut found = Vec::new();
            for (i, pending) in pending.into_iter().enumerate() {
                if let Some(pending) = pending {
                    found.push((i, pending.and_then(|pending| pending.wait())));
                }
            }
            drop(slow);
            (left, found)
        };
        let Some((left, found)) = patiently(ground.patience, &mut tally, called) else {
            break;
        };
        *dropped += left;
        started += jobs.len() as u64;
        tally.answers += left;
        for (i, found) in found {
            if let Some(job) = jobs.get(i) {
                ground.judge(job, found, &[], &circumstances, &mut tally);
            }
        }
        ground.aftermath(&circumstances, &mut tally);
        asked += jobs.len() as u64;
        running.step(round + 1, total);
        if over(&tally) {
            break;
        }
    }
    let ran = ground.subject.counters().requests.saturating_sub(before);
    let withdrawn = (started + asked).saturating_sub(ran);
    let check = running.check();
    check.figure(
        "of these taken back before they began",
        withdrawn as f64,
        "",
    );
    if !over(&tally) {
        ground.end(&mut tally);
    }
    Ok(tally)
}

/// Deadlines that have passed, and that pass in the queue.
pub(super) fn late(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "late", "late requests", progress);
    let mut asked = 0;
    let outcome = being_late(case, effort, &mut asked, &mut running);
    end(running, outcome, asked, "late requests")
}

fn being_late(
    case: &mut Case,
    effort: Effort,
    asked: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let ground = Ground::warm(case, &jobs, &mut tally)?;
    let total = rounds(case, effort, 4 * CALLERS, (8, 30, 300));
    let is_late = |job: &Arc<Job>| {
        Arc::new(Job {
            request: job.request.clone(),
            expected: Expected::Late,
        })
    };
    for round in 0..total {
        let slow = inject(Fault::Slow(SLEEP), 0..1);
        let mut scripts = Scripts::new();
        for (caller, job) in jobs.iter().enumerate() {
            let own = [Arc::clone(job), is_late(job), Arc::clone(job)];
            let own: Vec<_> = own.into_iter().skip(caller % 2).collect();
            *asked += 1;
            scripts.push(own);
        }
        ground.ask(scripts, "half of the callers begin late", &mut tally);
        drop(slow);
        *asked += in_the_queue(&ground, &jobs, &mut tally);
        ground.aftermath("late requests", &mut tally);
        running.step(round + 1, total);
        if over(&tally) {
            break;
        }
    }
    if !over(&tally) {
        ground.end(&mut tally);
    }
    Ok(tally)
}

/// Calls with little time behind a kernel that sleeps for longer: the right answer, or an error that says why.
fn in_the_queue(ground: &Ground, jobs: &[Arc<Job>], tally: &mut Tally) -> u64 {
    let circumstances = "a deadline that passes behind a slow kernel";
    let slow = inject(Fault::Slow(SLEEP), 0..1);
    let (subject, own) = (Arc::clone(&ground.subject), jobs.to_vec());
    let called = move || {
        let (first, others) = own.split_first()?;
        let ahead = subject.start(&first.request.tensors);
        let call =
            |job: &Arc<Job>| subject.run_by(&job.request.tensors, Instant::now() + SLEEP / 4);
        let others: Vec<_> = others.iter().take(2).map(call).collect();
        // At the moment of asking, it is certain.
        let passed = subject.run_by(&first.request.tensors, Instant::now());
        Some((ahead.and_then(|ahead| ahead.wait()), others, passed))
    };
    let found = patiently(ground.patience, tally, called).flatten();
    drop(slow);
    let (Some((ahead, others, passed)), Some(first)) = (found, jobs.first()) else {
        return 0;
    };
    let kinds = [ErrorKind::DeadlineExceeded];
    ground.judge(first, ahead, &[], circumstances, tally);
    let count = others.len() as u64 + 1;
    for (job, found) in jobs.iter().skip(1).zip(others) {
        ground.judge(job, found, &kinds, circumstances, tally);
    }
    if passed.is_ok() {
        wrong(
            tally,
            "an answer",
            "an error: too late",
            "a deadline that has passed",
        );
    }
    ground.judge(first, passed, &kinds, "a deadline that has passed", tally);
    count
}
