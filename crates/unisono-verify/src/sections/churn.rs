//! Thread churn: threads that come, ask once and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono::Error;

use super::census::nothing_is_left;
use super::load::{Pool, load};
use super::{Context, Description, Findings, Running, Scope, SectionId, hung, is_heavy};
use crate::callers::Tally;
use crate::case::Case;
use crate::progress::Progress;
use crate::report::Check;
use crate::seed::SeedModel;
use crate::subject::{Rig, Setup, Subject};
use crate::verdict::Verdict;

/// What it says of itself.
/// Evidence: census-closes
pub const DESCRIPTION: Description = Description {
    name: "churn",
    title: "Thread churn",
    scope: Scope::Models(&[SeedModel::MatmulRelu(256)]),
    proves: "Threads may come and go: each is answered with its own bits, however many have gone before, and none leaves a thread or anything \
             else behind.",
    claim: "threads may come and go and leave nothing behind",
    cannot: "What happens where the system itself runs out of threads.",
    checks: &[
        (
            "50 threads one after another",
            "the original's row; it discarded the first outcome of each pair and looked at none",
        ),
        (
            "4 times 20 threads",
            "the original's second row: 20 threads start at one signal, ask once and end, four times",
        ),
        (
            "1,000 threads in all",
            "in crowds of 87, far more than the device has lanes, all held at a barrier before they ask",
        ),
        (
            "threads are gone",
            "the process has as many threads as before",
        ),
        (
            "nothing left behind",
            "when the session is dropped, everything that was made for it goes with it",
        ),
    ],
};

/// Rows of the section: how many crowds of how many threads. The first two are the original's; with the third they are 1,000.
const CROWDS: [(&str, &str, usize, usize); 3] = [
    ("sequential", "50 threads one after another", 50, 1),
    ("barrier", "4 times 20 threads", 4, 20),
    ("many", "1,000 threads in all", 10, 87),
];

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let progress = &mut *cx.progress;
    let heavy = is_heavy(case, cx.options.effort);
    let mut checks = Vec::new();
    let (pool, rig, subject) = match open(case) {
        Ok(ready) => ready,
        Err(error) => {
            let (id, what, ..) = CROWDS[0];
            return vec![start(case, id, what, "answers", progress).could_not_run(&error)].into();
        }
    };
    let base = threads();
    for (id, what, crowds, each) in CROWDS {
        // A heavy model gets one crowd of each kind.
        let crowds = if heavy { 1 } else { crowds };
        let running = start(case, id, what, "answers", progress);
        let (check, healthy) = churn(case, &pool, &subject, what, (crowds, each), running);
        checks.push(check);
        if !healthy {
            return checks.into();
        }
    }
    checks.push(gone(case, base, progress));
    drop(subject);
    let running = start(case, "census", "nothing left behind", "objects", progress);
    checks.push(nothing_is_left(running, &rig.census()));
    checks.into()
}

fn start<'a>(
    case: &Case,
    id: &str,
    what: &str,
    unit: &str,
    progress: &'a mut dyn Progress,
) -> Running<'a> {
    Running::start(SectionId::Churn, case, id, what, unit, progress)
}

type Ready = (Pool, Box<dyn Rig>, Arc<dyn Subject>);

/// A session that has run once, so that the threads of the device are there.
fn open(case: &mut Case) -> Result<Ready, Error> {
    let pool = Pool::new(case, 40_000, 16)?;
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let subject = rig.open()?;
    subject.run(&pool.job(0).request.tensors)?;
    Ok((pool, rig, subject))
}

fn churn(
    case: &Case,
    pool: &Pool,
    subject: &Arc<dyn Subject>,
    what: &str,
    (crowds, each): (usize, usize),
    mut running: Running<'_>,
) -> (Check, bool) {
    let total = (crowds * each) as u64;
    let mut tally = Tally::default();
    for _ in 0..crowds {
        let far = (tally.answers, total);
        let scripts = pool.scripts(each, 1);
        tally.add(load(case, subject, scripts, what, &mut running, far).tally);
        if tally.abandoned.is_some() {
            break;
        }
    }
    running
        .check()
        .figure("threads", (crowds * each) as f64, "");
    let healthy = !hung(&tally);
    (running.tallied(tally.answers, tally), healthy)
}

/// How many threads this process has, where the system says.
fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

fn gone(case: &Case, base: Option<usize>, progress: &mut dyn Progress) -> Check {
    let mut running = start(case, "threads", "threads are gone", "threads", progress);
    let Some(base) = base else {
        running.check().verdict = Verdict::NotDistinguishable;
        let note = "this system does not say how many threads a process has".to_owned();
        running.check().notes.push(note);
        return running.finish();
    };
    // A thread that has answered needs a moment to end.
    let until = Instant::now() + Duration::from_secs(5);
    let mut now = threads().unwrap_or(0);
    while now > base && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
        now = threads().unwrap_or(0);
    }
    let check = running.check();
    check.conclude(base as u64, now.saturating_sub(base) as u64);
    check.rate_bound = None;
    check.figure("threads before", base as f64, "");
    check.figure("threads after", now as f64, "");
    running.finish()
}
