//! Are the bits that never change the right ones?

use unisono::Tensor;

use super::super::Running;
use super::{Pool, RANDOM};
use crate::accuracy::{Bound, errors};
use crate::callers::{Answer, Tally};
use crate::case::Case;
use crate::compare::{Difference, answer_difference};
use crate::options::{Effort, SectionId};
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::{Request, RowId};
use crate::verdict::Verdict;

/// How many rows are computed by the plain implementations, which need a second for about this many operations.
fn rows(case: &Case, effort: Effort) -> usize {
    let (flops, most) = match effort {
        Effort::Quick => (200_000_000, 2),
        Effort::Standard => (500_000_000, 4),
    };
    usize::try_from(flops / case.flops_per_row)
        .unwrap_or(most)
        .clamp(1, most)
}

/// Both checks.
pub(super) fn checks(
    case: &Case,
    pool: &Pool,
    effort: Effort,
    progress: &mut dyn Progress,
) -> Vec<Check> {
    let rows = rows(case, effort);
    let (what, id) = ("the canonical arithmetic, done plainly", "canonical");
    let running = Running::start(SectionId::Correctness, case, id, what, "rows", progress);
    let canonical = canonical(case, pool, rows, running);
    let (what, id) = ("64-bit floats, within the bound", "float64");
    let running = Running::start(SectionId::Correctness, case, id, what, "rows", progress);
    vec![canonical, float64(case, pool, rows, running)]
}

/// Rows with their answers, one request each.
fn asked<'p>(
    case: &'p Case,
    rows: &[&'p (RowId, Answer)],
) -> impl Iterator<Item = Result<(Request, &'p [Tensor]), unisono::Error>> {
    rows.iter()
        .map(|(row, answer)| Ok((case.maker.request(&[*row])?, answer.as_slice())))
}

fn canonical(case: &Case, pool: &Pool, rows: usize, mut running: Running<'_>) -> Check {
    let mut tally = Tally::default();
    // One of each kind besides: a device that loses a NaN does so in every company, and only this sees it.
    let others = pool.neighbours.iter().filter(|(name, _)| *name != RANDOM);
    let others = others.filter_map(|(_, rows)| rows.first());
    let rows: Vec<&(RowId, Answer)> = pool.ordinary.iter().take(rows).chain(others).collect();
    for (done, asked) in asked(case, &rows).enumerate() {
        running.step(done as u64, rows.len() as u64);
        let (request, answer) = match asked {
            Ok(asked) => asked,
            Err(error) => return running.could_not_run(&error),
        };
        let plain = match case.oracle.canonical(&request.tensors) {
            Ok(plain) => plain,
            Err(why) => return refused(running, why),
        };
        tally.rows += 1;
        if let Some(difference) = answer_difference(&case.outputs, answer, &plain) {
            tally.wrong += 1;
            let during = format!(
                "row {}; expected: the plain implementation",
                request.rows[0]
            );
            tally.differences.push(difference.during(during));
        }
    }
    let elements: usize = rows
        .iter()
        .flat_map(|(_, answer)| answer.iter())
        .map(Tensor::len)
        .sum();
    running
        .check()
        .figure("elements compared", elements as f64, "");
    running.tallied(tally.rows, tally)
}

fn float64(case: &Case, pool: &Pool, rows: usize, mut running: Running<'_>) -> Check {
    let Bound {
        relative: bound, ..
    } = case.bound;
    let (mut tally, mut worst) = (Tally::default(), 0f64);
    let mut floats = 0;
    let rows: Vec<&(RowId, Answer)> = pool.ordinary.iter().take(rows).collect();
    for (done, asked) in asked(case, &rows).enumerate() {
        running.step(done as u64, rows.len() as u64);
        let (request, answer) = match asked {
            Ok(asked) => asked,
            Err(error) => return running.could_not_run(&error),
        };
        let reference = match case.oracle.float64(&request.tensors) {
            Ok(reference) => reference,
            Err(why) => return refused(running, why),
        };
        tally.rows += 1;
        for error in errors(&case.outputs, answer, &reference) {
            floats += 1;
            worst = worst.max(error.relative);
            // A NaN is beyond every bound.
            if !matches!(error.relative.partial_cmp(&bound), Some(o) if o.is_le()) {
                tally.wrong += 1;
                let during = format!(
                    "row {}; expected: 64-bit floats; off by {:.2e} of the largest, {bound:.2e} allowed",
                    request.rows[0], error.relative
                );
                tally
                    .differences
                    .push(Difference { ..error.worst }.during(during));
            }
        }
    }
    let check = running.check();
    check.figure("measured", worst, "of max|y|");
    check.figure("bound", bound, "of max|y|");
    check.figure("share of the bound", 100.0 * worst / bound, "%");
    let jumps = &case.bound.jumps;
    let mut check = running.tallied(tally.rows, tally);
    // It measures a distance; how often it looked says nothing about a rate.
    check.rate_bound = None;
    if floats == 0 && check.verdict == Verdict::Pass {
        check.verdict = Verdict::NotDistinguishable;
        check.notes.push("no output holds floats".to_owned());
    }
    if check.verdict == Verdict::Fail && !jumps.is_empty() {
        check.verdict = Verdict::NotDistinguishable;
        check.notes.push(format!(
            "beyond the bound, but the model rounds or chooses ({}): a rounding difference may become a jump",
            jumps.join(", ")
        ));
    }
    check
}

fn refused(mut running: Running<'_>, why: String) -> Check {
    running
        .check()
        .notes
        .push(format!("the plain implementation refuses: {why}"));
    running.finish()
}
