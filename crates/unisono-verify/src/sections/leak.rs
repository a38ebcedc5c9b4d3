//! Memory leak: what is created is released, to the last object and byte, after good requests and after bad ones.

use std::sync::Arc;

use unisono::{DType, Error, Tensor};

use super::census::{as_many_as_before, nothing_is_left};
use super::device_memory;
use super::load::{Pool, load};
use super::resident::resident;
use super::{Context, Description, Findings, Running, Scope, SectionId, hung, is_heavy};
use crate::callers::Tally;
use crate::case::Case;
use crate::compare::Difference;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::seed::SeedModel;
use crate::stats::slope::theil_sen;
use crate::subject::{Held, Rig, Setup, Subject};
use crate::verdict::Verdict;

/// What it says of itself.
/// Evidence: steady-allocations, census-closes
pub const DESCRIPTION: Description = Description {
    name: "leak",
    title: "Memory leak",
    scope: Scope::Models(&[SeedModel::MatmulRelu(256)]),
    proves: "Everything that is created is released: as many requests, batches, plans, models and sessions as were made, and every \
             byte. The counts are exact, so one object is enough to fail.",
    claim: "everything that is created is released, to the last object and byte",
    cannot: "Memory that is in no count is seen only from outside, in pages: less than the printed number of bytes a request would be missed. \
             The soak looks longer.",
    checks: &[
        (
            "1,010 requests one by one",
            "the original's row: 2,020 objects created, 2,020 released; it asserted only that fewer than 100 were alive",
        ),
        ("8 callers x 100", "the original's second row, at once"),
        (
            "after bad requests",
            "refused, late and cancelled requests leave nothing either",
        ),
        (
            "resident memory",
            "one caller goes on asking, and the process is weighed in between. Bytes that each request leaves behind (Theil-Sen, with interval) fail if \
             the whole interval is above none; the fewest that this run would have told from none are printed",
        ),
        (
            device_memory::WHAT,
            "only on a device with memory of its own: its bytes in use, counted beside the resident ones; growth that goes on fails (Theil-Sen, with interval)",
        ),
        (
            "nothing left behind",
            "when the session is dropped, everything that was made for it goes with it",
        ),
    ],
};

/// The original's row of single requests, and its row of callers.
const SINGLE: usize = 1_010;
const CALLERS: (usize, usize) = (8, 100);

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let effort = cx.options.effort;
    let progress = &mut *cx.progress;
    // A user's model may be too heavy for the original's numbers.
    let share = if is_heavy(case, effort) { 50 } else { 1 };
    let mut checks = Vec::new();
    let (pool, rig, subject) = match open(case) {
        Ok(ready) => ready,
        Err(error) => {
            let running = start(case, "single", "1,010 requests one by one", progress);
            return vec![running.could_not_run(&error)].into();
        }
    };
    let rows = [
        ("single", "1,010 requests one by one", 1, SINGLE / share),
        (
            "callers",
            "8 callers x 100",
            CALLERS.0,
            CALLERS.1.div_ceil(share),
        ),
    ];
    for (id, what, callers, each) in rows {
        let mut running = start(case, id, what, progress);
        let before = rig.census();
        let total = (callers * each) as u64;
        let scripts = pool.scripts(callers, each);
        let seen = load(case, &subject, scripts, what, &mut running, (0, total)).tally;
        if each * callers < SINGLE.min(CALLERS.0 * CALLERS.1) {
            running.check().notes.push(format!(
                "{} requests, because the model is heavy",
                callers * each
            ));
        }
        let healthy = !hung(&seen);
        checks.push(count(running, seen, &before, &rig.census()));
        if !healthy {
            return checks.into();
        }
    }
    checks.push(bad_requests(case, &pool, &*rig, &subject, effort, progress));
    let mut on_device = Vec::new();
    let mut weigh = |requests| on_device.extend(rig.device_bytes().map(|b| (requests, b as f64)));
    let work = (effort, share);
    checks.push(weighed(case, &pool, &subject, work, &mut weigh, progress));
    if rig.device_bytes().is_some() {
        let running = start(case, device_memory::ID, device_memory::WHAT, progress);
        checks.push(device_memory::is_flat(running, &on_device, "a request"));
    }
    drop(subject);
    let running = start(case, "census", "nothing left behind", progress);
    checks.push(nothing_is_left(running, &rig.census()));
    checks.into()
}

/// Ends a check of answers and counts. Wrong answers fail it as well.
fn count(running: Running<'_>, seen: Tally, before: &[Held], after: &[Held]) -> Check {
    if seen.wrong > 0 || seen.abandoned.is_some() {
        return running.tallied(seen.answers, seen);
    }
    as_many_as_before(running, before, after)
}

fn start<'a>(case: &Case, id: &str, what: &str, progress: &'a mut dyn Progress) -> Running<'a> {
    Running::start(SectionId::Leak, case, id, what, "objects", progress)
}

type Ready = (Pool, Box<dyn Rig>, Arc<dyn Subject>);

/// A session that has run once: its plan and its packed weights are there to stay.
fn open(case: &mut Case) -> Result<Ready, Error> {
    let pool = Pool::new(case, 30_000, 8)?;
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let subject = rig.open()?;
    subject.run(&pool.job(0).request.tensors)?;
    Ok((pool, rig, subject))
}

/// Requests that come to nothing, each in its own way.
fn bad_requests(
    case: &Case,
    pool: &Pool,
    rig: &dyn Rig,
    subject: &Arc<dyn Subject>,
    effort: Effort,
    progress: &mut dyn Progress,
) -> Check {
    let mut running = start(case, "bad", "after bad requests", progress);
    let heavy = is_heavy(case, effort);
    let times = if heavy {
        10
    } else {
        effort.choose(100, 1_000, 10_000)
    };
    let before = rig.census();
    let mut tally = Tally::default();
    let mut wrong = |found: &str, expected: &str, during: &str| {
        tally.wrong += 1;
        let difference = Difference::of_kind("", found, expected);
        tally.differences.push(difference.during(during));
    };
    for turn in 0..times {
        running.step(turn as u64, times as u64);
        let tensors = &pool.job(turn).request.tensors;
        match other_type(tensors) {
            Some(bad) if subject.run(&bad).is_ok() => {
                wrong("an answer", "an error", "a wrong type");
            }
            _ => {}
        }
        if subject.run_late(tensors).is_ok() {
            wrong("an answer", "an error", "a deadline that has passed");
        }
        // Dropped at once: cancelled in the queue, or abandoned while it runs. Every tenth is waited for.
        match subject.start(tensors) {
            Ok(pending) if turn % 10 == 9 => {
                if let Err(error) = pending.wait() {
                    wrong(
                        &error.to_string(),
                        "an answer",
                        "a request that is waited for",
                    );
                }
            }
            Ok(pending) => drop(pending),
            Err(error) => wrong(&error.to_string(), "a request under way", "starting one"),
        }
    }
    // One more in order: what was abandoned while it ran is over when a later one is answered.
    for turn in 0..8 {
        if let Err(error) = subject.run(&pool.job(turn).request.tensors) {
            wrong(&error.to_string(), "an answer", "after the bad requests");
        }
    }
    running.check().notes.push(format!(
        "{times} times: a wrong type, a late deadline, a request that is dropped (one in ten is waited for)"
    ));
    let after = settled(rig, &before);
    count(running, tally, &before, &after)
}

/// Weighs the process while one caller asks; `also` is told after how many requests something else may be weighed.
fn weighed(
    case: &Case,
    pool: &Pool,
    subject: &Arc<dyn Subject>,
    (effort, share): (Effort, usize),
    also: &mut dyn FnMut(f64),
    progress: &mut dyn Progress,
) -> Check {
    /// How often it is weighed; the first quarter fills caches and arenas.
    const STRETCHES: usize = 40;
    /// So few bytes in all are the allocator's, which takes memory in steps.
    const STEP: f64 = 5e5;
    /// The least by which resident memory can move, in bytes.
    const PAGE: f64 = 4_096.0;
    let mut running = Running::start(
        SectionId::Leak,
        case,
        "resident",
        "resident memory",
        "requests",
        progress,
    );
    let each = effort.choose(100, 200, 2_500usize).div_ceil(share);
    let mut points = Vec::with_capacity(STRETCHES);
    for stretch in 0..STRETCHES {
        for turn in 0..each {
            if let Err(error) = subject.run(&pool.job(turn).request.tensors) {
                return running.could_not_run(&error);
            }
        }
        if stretch >= STRETCHES / 4 {
            let requests = ((stretch + 1) * each) as f64;
            points.extend(resident().map(|bytes| (requests, bytes as f64)));
            also(requests);
        }
        running.step(stretch as u64 + 1, STRETCHES as u64);
    }
    let check = running.check();
    check.trials = (STRETCHES * each) as u64;
    let Some(slope) = theil_sen(&points, PAGE) else {
        check.verdict = Verdict::NotDistinguishable;
        let what = "this system does not say how much memory a process has";
        check.notes.push(what.to_owned());
        return running.finish();
    };
    let (low, high) = slope.interval;
    check.figure_within("left behind", slope.slope, "bytes a request", (low, high));
    check.figure(
        "smallest detectable leak",
        slope.detectable,
        "bytes a request",
    );
    let ends = points.first().zip(points.last());
    let rise = ends.map_or(0.0, |(first, last)| last.1 - first.1);
    check.figure("risen by", rise, "bytes");
    check.verdict = if low > 0.0 && rise > STEP {
        check.failures = 1;
        check.notes.push(format!(
            "{rise:.0} bytes more after {} requests: {low:.0} to {high:.0} bytes of each are never given back",
            points.len() * each
        ));
        Verdict::Fail
    } else {
        Verdict::Pass
    };
    running.finish()
}

/// The counts once those who run have let go, which takes them a moment; or as they are after a while.
fn settled(rig: &dyn Rig, before: &[Held]) -> Vec<Held> {
    let alive = |census: &[Held]| -> Vec<u64> {
        census
            .iter()
            .map(|held| held.created.saturating_sub(held.released))
            .collect()
    };
    for _ in 0..200 {
        let now = rig.census();
        if alive(&now) == alive(before) {
            return now;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    rig.census()
}

/// The same request with its first tensor in another type.
fn other_type(tensors: &[Tensor]) -> Option<Vec<Tensor>> {
    let first = tensors.first()?;
    let other = match first.dtype() {
        DType::I8 => DType::F32,
        _ => DType::I8,
    };
    let mut changed = tensors.to_vec();
    *changed.first_mut()? = Tensor::zeros(other, first.shape()).ok()?;
    Some(changed)
}
