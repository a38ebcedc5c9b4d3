//! A kernel that takes its time.
//!
//! Whoever is behind it is late by as much, and not by more; a deadline that passes meanwhile is kept. The one place at which this
//! section looks at a clock is generous: a session that makes others wait for longer than ten undisturbed rounds and half a
//! second beyond the kernel's sleep is not merely slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono::fault::{Fault, inject};
use unisono::{Error, ErrorKind};

use super::ground::{CALLERS, Ground, jobs, patiently, wrong};
use super::{Ended, end, over, rounds, start};
use crate::callers::{Job, Tally};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::sections::Running;

/// How long the kernel sleeps.
const SLEEP: Duration = Duration::from_millis(40);
/// What is granted beyond it, besides ten rounds without any fault.
const GRACE: Duration = Duration::from_millis(500);

/// A kernel sleeps.
pub(super) fn check(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "slow", "a slow kernel", progress);
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
    let ground = Ground::warm(case, &jobs, &mut tally)?;
    let total = rounds(case, effort, 4 * CALLERS, (4, 10, 100));
    let scripts = || jobs.iter().map(|job| vec![Arc::clone(job)]).collect();
    let mut latest = Duration::ZERO;
    for round in 0..total {
        let started = Instant::now();
        ground.ask(scripts(), "no fault", &mut tally);
        let usual = started.elapsed();

        let circumstances = format!("{CALLERS} callers behind a kernel that sleeps");
        let slow = inject(Fault::Slow(SLEEP), 0..1);
        let started = Instant::now();
        ground.ask(scripts(), &circumstances, &mut tally);
        let took = started.elapsed();
        *strikes += slow.strikes();
        drop(slow);
        if over(&tally) {
            break;
        }
        latest = latest.max(took.saturating_sub(SLEEP));
        let granted = SLEEP + 10 * usual + GRACE;
        if took > granted {
            let found = format!("the last answer after {} ms", took.as_millis());
            let expected = format!("at most {} ms", granted.as_millis());
            wrong(&mut tally, found, expected, &circumstances);
        }
        *strikes += overslept(&ground, &jobs, &mut tally);
        ground.aftermath("a slow kernel", &mut tally);
        running.step(round + 1, total);
        if over(&tally) {
            break;
        }
    }
    let check = running.check();
    check.figure("kernel's sleep", SLEEP.as_secs_f64() * 1e3, "ms");
    let latest = latest.as_secs_f64() * 1e3;
    check.figure("last answer after the sleep, at worst", latest, "ms");
    if !over(&tally) {
        ground.end(&mut tally);
    }
    Ok(tally)
}

/// A call whose own kernel sleeps beyond its deadline cannot be in time, whatever the machine does.
fn overslept(ground: &Ground, jobs: &[Arc<Job>], tally: &mut Tally) -> u64 {
    let Some(job) = jobs.first().cloned() else {
        return 0;
    };
    let circumstances = "a kernel sleeps beyond its call's deadline";
    let slow = inject(Fault::Slow(SLEEP), 0..1);
    let (subject, own) = (Arc::clone(&ground.subject), Arc::clone(&job));
    let called = move || subject.run_by(&own.request.tensors, Instant::now() + SLEEP / 4);
    let Some(found) = patiently(ground.patience, tally, called) else {
        return slow.strikes();
    };
    let in_time = found.is_ok();
    let kinds = [ErrorKind::DeadlineExceeded];
    ground.judge(&job, found, &kinds, circumstances, tally);
    if in_time && slow.strikes() > 0 {
        wrong(tally, "an answer", "an error: too late", circumstances);
    }
    slow.strikes()
}
