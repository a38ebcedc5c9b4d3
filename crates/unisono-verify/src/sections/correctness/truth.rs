//! Are the bits that never change the right ones?

use unisono::Tensor;

use super::super::Running;
use super::{Pool, RANDOM};
use crate::accuracy::{Error, errors};
use crate::callers::{Answer, Tally};
use crate::case::Case;
use crate::compare::{Difference, answer_difference};
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::{Request, RowId};
use crate::sections::SectionId;
use crate::verdict::Verdict;

/// How many rows are computed by the plain implementations, which need a second for about this many operations.
fn rows(case: &Case, effort: Effort) -> usize {
    let (flops, most) = match effort {
        Effort::Quick => (200_000_000, 2),
        Effort::Standard => (500_000_000, 4),
        Effort::Full => (5_000_000_000, 16),
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
    let (what, id) = ("plain arithmetic", "canonical");
    let running = Running::start(SectionId::Correctness, case, id, what, "rows", progress);
    let canonical = canonical(case, pool, rows, running);
    let (what, id) = ("64-bit floats", "float64");
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
    // One of each other kind besides: a device that loses a NaN does so in every company, and only this sees it.
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

/// What was measured of one row.
struct Measured {
    /// The largest error of any output.
    error: f64,
    /// What was allowed for the output that came nearest to its bound, or furthest beyond.
    allowed: f64,
    /// The first output beyond its bound.
    beyond: Option<Difference>,
    /// Did the model have to be asked how much it amplifies errors?
    scattered: bool,
}

fn float64(case: &Case, pool: &Pool, rows: usize, mut running: Running<'_>) -> Check {
    let rows: Vec<&(RowId, Answer)> = pool.ordinary.iter().take(rows).collect();
    let mut tally = Tally::default();
    let mut worst: Option<Measured> = None;
    let mut amplifies = false;
    for (done, asked) in asked(case, &rows).enumerate() {
        running.step(done as u64, rows.len() as u64);
        let (request, answer) = match asked {
            Ok(asked) => asked,
            Err(error) => return running.could_not_run(&error),
        };
        let mut measured = match measure(case, &request, answer) {
            Ok(Some(measured)) => measured,
            Ok(None) => continue,
            Err(why) => return refused(running, why),
        };
        tally.rows += 1;
        amplifies |= measured.scattered;
        if let Some(difference) = measured.beyond.take() {
            tally.wrong += 1;
            tally.differences.push(difference);
        }
        let share = |m: &Measured| m.error / m.allowed;
        if worst
            .as_ref()
            .is_none_or(|known| share(&measured) > share(known))
        {
            worst = Some(measured);
        }
    }
    let check = running.check();
    let Some(Measured { error, allowed, .. }) = worst else {
        check.notes.push("no output holds floats".to_owned());
        check.verdict = Verdict::NotDistinguishable;
        return running.finish();
    };
    check.figure("measured", error, "of max|y|");
    check.figure("bound", allowed, "of max|y|");
    check.figure("share of the bound", 100.0 * error / allowed, "%");
    if amplifies {
        check.warnings.push(format!(
            "the model amplifies rounding errors beyond {:.1e}, what its sums alone would explain; the bound is \
             {SCATTER_FACTOR} times how far answers scatter when every intermediate value is moved by its rounding",
            case.bound.relative
        ));
    }
    let mut check = running.tallied(tally.rows, tally);
    // It measures a distance; how often it looked says nothing about a rate.
    check.rate_bound = None;
    let jumps = &case.bound.jumps;
    if check.verdict == Verdict::Fail && !jumps.is_empty() {
        check.verdict = Verdict::NotDistinguishable;
        check.warnings.push(format!(
            "beyond the bound, but the model rounds or chooses ({}): a rounding difference may become a jump",
            jumps.join(", ")
        ));
    }
    check
}

/// How many times answers are scattered.
const SCATTERED: u64 = 4;
/// How many times as far as any of those an answer may be off: four draws do not reach the end of what is possible.
const SCATTER_FACTOR: f64 = 4.0;

/// Measures one row; `None` if no output holds floats.
fn measure(case: &Case, request: &Request, answer: &[Tensor]) -> Result<Option<Measured>, String> {
    let reference = case.oracle.float64(&request.tensors)?;
    let found = errors(&case.outputs, answer, &reference);
    let within = |error: f64, bound: f64| matches!(error.partial_cmp(&bound), Some(o) if o.is_le());
    let mut bounds = vec![case.bound.relative; found.len()];
    let scattered = !found
        .iter()
        .zip(&bounds)
        .all(|(e, b)| within(e.relative, *b));
    if scattered {
        for draw in 0..SCATTERED {
            let moved = case.oracle.scattered(&request.tensors, draw)?;
            // How far it moved, as if that had been the answer.
            let spread = errors(&case.outputs, &moved, &reference);
            for (bound, spread) in bounds.iter_mut().zip(spread) {
                *bound = bound.max(SCATTER_FACTOR * spread.relative);
            }
        }
    }
    let share = |(error, bound): &(&Error, &f64)| error.relative / **bound;
    let pairs = || found.iter().zip(&bounds);
    let Some((worst, allowed)) = pairs().max_by(|a, b| share(a).total_cmp(&share(b))) else {
        return Ok(None);
    };
    let beyond = pairs().find(|(error, bound)| !within(error.relative, **bound));
    let beyond = beyond.map(|(error, bound)| {
        error.worst.clone().during(format!(
            "row {}; expected: 64-bit floats; off by {:.2e} of the largest value, {bound:.2e} allowed",
            request.rows[0], error.relative
        ))
    });
    Ok(Some(Measured {
        error: worst.relative,
        allowed: *allowed,
        beyond,
        scattered,
    }))
}

fn refused(mut running: Running<'_>, why: String) -> Check {
    running
        .check()
        .notes
        .push(format!("the plain implementation refuses: {why}"));
    running.finish()
}
