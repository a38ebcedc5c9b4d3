//! A queue with more at its door than it may hold.
//!
//! While every kernel sleeps, one thread starts many more requests than the queue was given places. Those that found no
//! place must hear so at once, with the error that names the limit, and the others must be answered as ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono::fault::{Fault, inject};
use unisono::{Error, ErrorKind};

use super::ground::{CALLERS, Ground, jobs, patiently, wrong};
use super::{Ended, end, rounds, start};
use crate::callers::Tally;
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::sections::{Running, hung};
use crate::subject::{Opening, Setup};

/// Places in the queue.
const PLACES: usize = 4;
/// Requests that are started at once: far more than the queue and every batch that may begin meanwhile can take.
const CROWD: usize = 32 * PLACES;
/// How long each kernel sleeps meanwhile.
const SLEEP: Duration = Duration::from_millis(4);

/// More requests than places.
pub(super) fn check(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "crowd", "a full queue", progress);
    let mut strikes = 0;
    let outcome = campaign(case, effort, &mut strikes, &mut running);
    end(running, outcome, strikes, "kernels that slept")
}

fn campaign(
    case: &mut Case,
    effort: Effort,
    strikes: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let opening = Opening {
        queue_capacity: Some(PLACES),
        ..Opening::default()
    };
    let subject = rig.open_with(&opening)?;
    let ground = Ground::on(case, rig, subject, &jobs);
    let alone = || vec![jobs.clone()];
    ground.ask(alone(), "before the crowd", &mut tally);
    let total = rounds(case, effort, CALLERS, (3, 10, 100));
    for round in 0..total {
        let circumstances = format!("{CROWD} requests at once for a queue of {PLACES} places");
        let slow = inject(Fault::Slow(SLEEP), 0..u64::MAX);
        let (subject, own) = (Arc::clone(&ground.subject), jobs.clone());
        let called = move || {
            let crowd = own.iter().cycle().take(CROWD);
            let started: Vec<_> = crowd
                .map(|job| subject.start(&job.request.tensors))
                .collect();
            // The first of them begins on a thread that may not have had a core yet.
            let began = Instant::now();
            while slow.strikes() == 0 && began.elapsed() < Duration::from_secs(5) {
                std::thread::yield_now();
            }
            // Those that wait are answered sooner without the fault.
            let strikes = slow.strikes();
            drop(slow);
            let found = started
                .into_iter()
                .map(|pending| pending.and_then(|p| p.wait()));
            (strikes, found.collect::<Vec<_>>())
        };
        let Some((struck, found)) = patiently(ground.patience, &mut tally, called) else {
            break;
        };
        *strikes += struck;
        let refused = found.iter().filter(|found| found.is_err()).count();
        for (job, found) in jobs.iter().cycle().zip(found) {
            ground.judge(job, found, &[ErrorKind::Limit], &circumstances, &mut tally);
        }
        if refused == 0 {
            wrong(
                &mut tally,
                "nobody was refused",
                "an error: the queue is full",
                &circumstances,
            );
        }
        ground.ask(alone(), "after the crowd", &mut tally);
        running.step(round + 1, total);
        if hung(&tally) {
            break;
        }
    }
    if !hung(&tally) {
        ground.end(&mut tally);
    }
    Ok(tally)
}
