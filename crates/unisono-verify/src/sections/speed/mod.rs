//! What the sections about speed share: callers against the clock, and the verdict on what they cost.
//!
//! The one idea: what is compared is measured in turn, round after round, by the same threads against the same clock, and
//! judged by the differences within rounds. A disturbance then hits both sides, and what is left of it shows in the interval.

pub(super) mod judge;
mod stopwatch;
pub mod wake_up;

use std::sync::Arc;

use unisono::Error;

use crate::callers::{Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::compare::row_difference;
use crate::options::Options;
use crate::requests::RowId;
use crate::stats::interval;
use crate::subject::Subject;
use stopwatch::Stopwatch;

/// How much is done, from the model's operations and the effort alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// How often everything is measured in turn.
    pub rounds: usize,
    /// Rows of one measurement, about.
    rows: usize,
    /// The most rows that callers may have under way together.
    most: usize,
}

/// So many times the work of a measurement on the processor makes one on a GPU, which would else be over before its callers, that are
/// threads just started, have found their pace.
const ON_A_GPU: u64 = 16;

impl Work {
    pub fn of(case: &Case, options: &Options) -> Work {
        let effort = options.effort;
        let on_processor: u64 = effort.choose(6_400_000_000, 12_800_000_000, 64_000_000_000);
        let flops = match &*options.device {
            "cpu" => on_processor,
            _ => ON_A_GPU * on_processor,
        };
        let rows = usize::try_from(flops / case.flops_per_row).unwrap_or(usize::MAX);
        Work {
            rounds: effort.choose(7, 15, 41),
            rows: rows.clamp(1, effort.choose(2048, 4096, 16_384)),
            most: rows.max(8),
        }
    }

    /// May so many rows be under way together?
    pub fn affords(&self, callers: usize) -> bool {
        callers <= self.most.next_power_of_two()
    }

    /// How often a batch of so many rows is asked for in one measurement.
    pub fn turns(&self, rows: usize) -> usize {
        // The first and the last of each caller are not counted.
        let least = if self.rows >= 8 { 4 } else { 1 };
        self.rows.div_ceil(rows).max(least)
    }
}

/// One measurement.
#[derive(Debug, Default)]
pub(super) struct Timed {
    /// Seconds in which every caller gets one answer ([`Stopwatch::cycle`]).
    pub cycle: f64,
    /// Seconds of each call, in no order.
    pub latencies: Vec<f64>,
    pub tally: Tally,
}

/// The first row that these sections ask for: no other section's.
const FIRST_ROW: u32 = 40_000;

/// Requests of one row, one for each caller.
pub(super) fn singles(case: &mut Case, callers: usize) -> Result<Vec<Arc<Job>>, Error> {
    let one = |i: usize| {
        // There are 64 callers.
        let rows = [RowId::ordinary(FIRST_ROW + i as u32)];
        let answer = case.alone_for_the_record(&rows)?;
        Ok(Arc::new(Job {
            request: case.maker.request(&rows)?,
            expected: Expected::Answer(answer),
        }))
    };
    (0..callers).map(one).collect()
}

/// The same rows as one request. The answer to it must hold the answers to its rows: what does not is tallied.
pub(super) fn batch(case: &mut Case, rows: usize, tally: &mut Tally) -> Result<Arc<Job>, Error> {
    let ids: Vec<RowId> = (0..rows)
        .map(|i| RowId::ordinary(FIRST_ROW + i as u32))
        .collect();
    let answer = case.alone(&ids)?;
    for (i, id) in ids.iter().enumerate() {
        let alone = case.alone(&[*id])?;
        tally.rows += 1;
        if let Some(difference) = row_difference(&case.outputs, &answer, i, rows, &alone) {
            tally.wrong += 1;
            let during = format!("an explicit batch of {rows} rows, alone");
            tally.differences.push(difference.during(during));
        }
    }
    Ok(Arc::new(Job {
        request: case.maker.request(&ids)?,
        expected: Expected::Answer(answer),
    }))
}

/// Closed-loop callers, each of which asks its own request so many times. Every answer is compared when its call's clock has stopped.
pub(super) fn timed(
    subject: &Arc<dyn Subject>,
    case: &Case,
    jobs: &[Arc<Job>],
    turns: usize,
    circumstances: &str,
) -> Timed {
    let script = |job: &Arc<Job>| vec![Arc::clone(job); turns];
    let scripts: Scripts = jobs.iter().map(script).collect();
    let stopwatch = Arc::new(Stopwatch::new(Arc::clone(subject), jobs.len() * turns));
    let timed: Arc<dyn Subject> = Arc::clone(&stopwatch) as Arc<dyn Subject>;
    let tally = drive(
        &timed,
        &Arc::new(scripts),
        Round {
            outputs: &case.outputs,
            circumstances,
            patience: case.patience,
            tick: &mut |_| {},
        },
    );
    Timed {
        cycle: stopwatch.cycle(jobs.len()),
        latencies: stopwatch.latencies(),
        tally,
    }
}

/// A number that was measured, and where the true one lies at 95 %, if known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantile {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

/// The median over rounds.
pub(super) fn median(values: &[f64]) -> Option<Quantile> {
    quantile(values, 0.5)
}

/// Any quantile.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<Quantile> {
    let (value, interval) = interval::quantile(values, share)?;
    Some(Quantile {
        value,
        interval: Some(interval),
    })
}
