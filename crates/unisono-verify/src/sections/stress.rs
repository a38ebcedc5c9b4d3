//! Stress extended: more callers than cores, up to 256, each with requests of its own, and a judge on every answer.

use std::sync::Arc;

use unisono::Error;

use super::load::{Pool, load};
use super::{Context, Description, Findings, Running, Scope, SectionId, hung, is_heavy};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::seed::SeedModel;
use crate::subject::Subject;

/// What it says of itself.
/// Evidence: same-bits-callers, every-call-ends
pub const DESCRIPTION: Description = Description {
    name: "stress",
    title: "Stress extended",
    scope: Scope::Models(&[SeedModel::MatmulRelu(256), SeedModel::MatmulRelu(1024)]),
    proves: "More callers than cores, up to 256, are all answered, and rightly: every answer has the bits of the same request \
             asked alone.",
    claim: "up to 256 callers at once are all answered rightly",
    cannot: "Interleavings that did not happen, and what more callers would do. The rates are of this load with all its comparisons, \
             for setting beside the original's; they are no benchmark.",
    checks: &[
        (
            "8 callers x 100",
            "the original's rows, with their sizes: a 256 x 256 product and ReLU from 8 and from 16 callers, one of 1,024 x 1,024 from \
             4; the original looked at none of the values",
        ),
        (
            "64 callers x",
            "far more callers than cores, and more than the device has lanes",
        ),
        (
            "256 callers x",
            "the same with as many as a busy server has",
        ),
    ],
};

/// A number of callers and of requests of each, and the original's operations per second, if it is one of its rows.
struct Crowd {
    callers: usize,
    each: usize,
    original: Option<f64>,
}

const fn row(callers: usize, each: usize, original: f64) -> Crowd {
    Crowd {
        callers,
        each,
        original: Some(original),
    }
}

/// The crowds that a model gets. The original's sizes are fixed; what is ours is less for a heavy model.
fn crowds(case: &Case, effort: Effort) -> Vec<Crowd> {
    let ours = |callers: usize, each: usize| Crowd {
        callers,
        each,
        original: None,
    };
    let [small, large] =
        [SeedModel::MatmulRelu(256), SeedModel::MatmulRelu(1024)].map(SeedModel::name);
    let mut crowds = match &case.name {
        name if *name == small => vec![row(8, 100, 4_926.0), row(16, 50, 4_915.0)],
        name if *name == large => vec![row(4, 20, 2_418.0)],
        // A user's model: the original's numbers, as far as they are affordable.
        _ if is_heavy(case, effort) => vec![ours(4, 2)],
        _ => vec![
            ours(8, effort.choose(10, 100, 100)),
            ours(16, effort.choose(5, 50, 50)),
        ],
    };
    if is_heavy(case, effort) {
        crowds.push(ours(64, 1));
    } else {
        crowds.push(ours(64, effort.choose(8, 20, 200)));
        crowds.push(ours(256, effort.choose(2, 5, 50)));
    }
    crowds
}

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let mut checks = Vec::new();
    let effort = cx.options.effort;
    let ready = open(case, effort);
    for crowd in crowds(case, effort) {
        let what = format!("{} callers x {}", crowd.callers, crowd.each);
        let running = start(case, &crowd, &what, cx.progress);
        let (pool, subject) = match &ready {
            Ok(ready) => ready,
            Err(error) => {
                checks.push(running.could_not_run(error));
                break;
            }
        };
        let (check, healthy) = one(case, pool, subject, &crowd, &what, running);
        checks.push(check);
        // Threads of ours still sit in the subject: what follows would say nothing.
        if !healthy {
            break;
        }
    }
    checks.into()
}

fn open(case: &mut Case, effort: Effort) -> Result<(Pool, Arc<dyn Subject>), Error> {
    let different = if is_heavy(case, effort) { 8 } else { 32 };
    let pool = Pool::new(case, 20_000, different)?;
    // The device goes with its last session.
    let subject = case.lab.rig(crate::subject::Setup::DEFAULT)?.open()?;
    Ok((pool, subject))
}

fn start<'a>(
    case: &Case,
    crowd: &Crowd,
    what: &str,
    progress: &'a mut dyn Progress,
) -> Running<'a> {
    let id = format!("{}x{}", crowd.callers, crowd.each);
    Running::start(SectionId::Stress, case, &id, what, "answers", progress)
}

fn one(
    case: &Case,
    pool: &Pool,
    subject: &Arc<dyn Subject>,
    crowd: &Crowd,
    what: &str,
    mut running: Running<'_>,
) -> (Check, bool) {
    let total = (crowd.callers * crowd.each) as u64;
    let scripts = pool.scripts(crowd.callers, crowd.each);
    let loaded = load(case, subject, scripts, what, &mut running, (0, total));
    let rate = loaded.tally.answers as f64 / loaded.seconds.max(f64::MIN_POSITIVE);
    let check = running.check();
    check.figure("requests per second", rate, "/s");
    if let Some(original) = crowd.original {
        check.figure("the original's", original, "/s");
        check
            .notes
            .push("a row of the original report, with its sizes".to_owned());
    }
    let healthy = !hung(&loaded.tally);
    (running.tallied(loaded.tally.answers, loaded.tally), healthy)
}
