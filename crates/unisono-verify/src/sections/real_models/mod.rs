//! Real models parallel: models under many callers, and models beside each other on one device.
//!
//! The one idea: whatever shares the device (threads, lanes, memory) is shared by models that know nothing of each other, so the answer
//! of each must be the one that it gives alone, whoever else computes, and none may be starved by another.

mod files;
mod together;

use std::sync::Arc;
use std::time::Instant;

use unisono::Error;

use super::{Context, Description, Findings, Running, Scope, SectionId, hung, is_heavy};
use crate::callers::{Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::compare::Difference;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::RowId;
use crate::seed::SeedModel;
use crate::subject::{Rig, Setup};

/// What it says of itself.
/// Evidence: same-bits-callers, neighbours-untouched, census-closes
pub const DESCRIPTION: Description = Description {
    name: "real-models",
    title: "Real models parallel",
    scope: Scope::Models(&[SeedModel::Mlp, SeedModel::Conv1d]),
    proves: "Models run beside each other on one device, each as if it were alone: the bits of its answers do not change, and \
             it is not starved.",
    claim: "models run beside each other on one device, each with the answers that it gives alone",
    cannot: "Models that nobody tried. How the device's time is divided is shown, not promised.",
    checks: &[
        (
            "2 callers x 20 requests",
            "the original's row, requests of 4 rows; every answer compared with the one alone",
        ),
        (
            "8 callers x 20 requests",
            "the original's row that it skipped because it crashed",
        ),
        (
            "all models beside each other",
            "sessions of all models on one device, callers for each at once; every answer compared, and each model must go \
             on while the others do",
        ),
        (
            "real ONNX models beside each other",
            "the same with the models that `cargo xtask models` puts into ./models, if they are there",
        ),
        (
            "nothing left behind",
            "everything that was created for the sessions was released with them",
        ),
    ],
};

/// The original's rows: callers, and the figures of both models.
const CALLERS: [usize; 2] = [2, 8];
const EACH: usize = 20;
const ROWS: usize = 4;

/// Operations a second in the original report, with 2 callers.
fn original(model: &str) -> Option<f64> {
    match model {
        "mlp" => Some(1_711.0),
        "conv1d" => Some(1_505.0),
        _ => None,
    }
}

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let effort = cx.options.effort;
    let mut checks = Vec::new();
    let opened = case
        .lab
        .rig(Setup::DEFAULT)
        .and_then(|rig| Ok((rig.open()?, rig)));
    let (subject, rig) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let running = start(case, "2-callers", &row_name(2, EACH), cx.progress);
            return vec![running.could_not_run(&error)].into();
        }
    };
    // The amount of work of the original's rows is fixed; a model that is too large for it gets less.
    let heavy = is_heavy(case, effort) || !case.maker.has_rows();
    let (each, rows) = if heavy { (3, 1) } else { (EACH, ROWS) };
    for callers in CALLERS {
        let mut running = start(
            case,
            &format!("{callers}-callers"),
            &row_name(callers, each),
            cx.progress,
        );
        let scripts = match scripts(case, callers, each, rows) {
            Ok(scripts) => Arc::new(scripts),
            Err(error) => {
                checks.push(running.could_not_run(&error));
                continue;
            }
        };
        let repeats = if heavy { 1 } else { effort.choose(2, 10, 100) };
        let total = (repeats * callers * each) as u64;
        let (mut tally, mut seconds) = (Tally::default(), 0.0);
        for _ in 0..repeats {
            let before = tally.answers;
            let what = format!("{callers} callers");
            let started = Instant::now();
            tally.add(drive(
                &subject,
                &scripts,
                Round {
                    outputs: &case.outputs,
                    circumstances: &what,
                    patience: case.patience,
                    tick: &mut |n| running.step(before + n, total),
                },
            ));
            seconds += started.elapsed().as_secs_f64();
            if hung(&tally) {
                break;
            }
        }
        let check = running.check();
        check.figure("throughput", tally.answers as f64 / seconds, "ops/s");
        if let (Some(figure), 2) = (original(&case.name), callers) {
            check.figure("throughput of the original", figure, "ops/s");
        }
        if heavy {
            check.notes.push(format!(
                "{each} requests of {rows} row for each caller instead of {EACH} of {ROWS}: the model is large, or its rows \
                 are not proven independent"
            ));
        }
        let hangs = hung(&tally);
        checks.push(running.tallied(tally.answers, tally));
        if hangs {
            return checks.into();
        }
    }
    drop(subject);
    let section = SectionId::RealModels;
    let what = "nothing left behind";
    let running = Running::start(section, case, "census", what, "objects", cx.progress);
    checks.push(census(running, &*rig));
    checks.into()
}

/// Checks all of them beside each other.
pub fn check_together(cases: &mut [Case], cx: &mut Context<'_>) -> Findings {
    let mut checks = Vec::new();
    // A user's models are the real ones.
    let files = cx.options.models.is_empty().then(files::Files::find);
    let left_out = files.as_ref().and_then(|files| files.left_out());
    if !cases.is_empty() {
        let what = "all models beside each other";
        let warnings = Vec::from_iter(left_out);
        let (more, healthy) = together::check("together", what, cases, Vec::new(), warnings, cx);
        checks.extend(more);
        if !healthy {
            return checks.into();
        }
    }
    if let Some(files) = files {
        checks.extend(files.check(cx));
    }
    checks.into()
}

fn row_name(callers: usize, each: usize) -> String {
    format!("{callers} callers x {each} requests")
}

fn start<'a>(case: &Case, id: &str, what: &str, progress: &'a mut dyn Progress) -> Running<'a> {
    Running::start(SectionId::RealModels, case, id, what, "answers", progress)
}

/// Two different requests for each caller, in turn.
fn scripts(case: &mut Case, callers: usize, each: usize, rows: usize) -> Result<Scripts, Error> {
    let mut scripts = Scripts::new();
    for caller in 0..callers {
        let mut own = Vec::new();
        for which in 0..2 {
            let first = ((2 * caller + which) * rows) as u32;
            let rows: Vec<RowId> = (first..).take(rows).map(RowId::ordinary).collect();
            let answer = case.alone_for_the_record(&rows)?;
            own.push(Arc::new(Job {
                request: case.maker.request(&rows)?,
                expected: Expected::Answer(answer),
            }));
        }
        scripts.push(own.iter().cycle().take(each).cloned().collect());
    }
    Ok(scripts)
}

/// Everything that was made for the sessions has been unmade.
fn census(mut running: Running<'_>, rig: &dyn Rig) -> Check {
    let (mut created, mut wrong) = (0, Tally::default());
    for held in rig.census() {
        let check = running.check();
        check.figure(&format!("{} created", held.what), held.created as f64, "");
        check.figure(&format!("{} released", held.what), held.released as f64, "");
        created += held.created;
        if held.created != held.released || held.bytes != 0 {
            wrong.wrong += held.created.abs_diff(held.released).max(1);
            let found = format!("{} released, {} bytes held", held.released, held.bytes);
            let expected = format!("{} released, 0 bytes held", held.created);
            wrong.differences.push(
                Difference::of_kind(held.what, found, expected)
                    .during("after the last session was dropped"),
            );
        }
    }
    let mut check = running.tallied(created, wrong);
    // It counts everything there is: there is no rate to bound.
    check.rate_bound = None;
    check
}

/// How many requests of this many rows are as much work as this effort asks for.
fn requests(case: &Case, effort: Effort, rows: usize) -> usize {
    let flops: u64 = effort.choose(8_000_000_000, 40_000_000_000, 400_000_000_000);
    let most = effort.choose(400, 2_000, 20_000);
    let affordable = flops / (rows as u64 * case.flops_per_row);
    usize::try_from(affordable).unwrap_or(most).min(most)
}
