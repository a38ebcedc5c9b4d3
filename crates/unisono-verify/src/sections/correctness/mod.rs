//! Chapter 4, correctness: the same bits whatever else goes on, and the right ones.
//!
//! The one idea: a row alone on an idle session is the truth, and the same row must come back with the same bits out of any
//! request, at any position, beside any neighbours, from any number of callers, threads and vector instructions
//! (`sweep`). That truth is then held against two computations that share no code with the device: the canonical
//! arithmetic done plainly, which must give the same bits, and 64-bit floats, which must be near (`truth`).

mod sweep;
mod truth;

use unisono::Error;

use crate::callers::Answer;
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::{RowId, RowKind};
use crate::seed::SeedModel;

use super::{Context, Description, Findings, Running, Scope, SectionId};

/// What it says of itself.
/// Evidence: same-bits-callers, same-bits-rows, same-bits-threads, same-bits-isa, canonical-arithmetic, nan-is-nan
pub const DESCRIPTION: Description = Description {
    name: "correctness",
    title: "Chapter 4: correctness",
    scope: Scope::Models(&SeedModel::STORY),
    proves: "A row's answer does not depend on what else is computed, by how many threads, or with which vector instructions, \
             and it is the right answer to within a stated bound.",
    claim: "a row's answer is the same to the last bit whatever else is computed with it, and it is the right one",
    cannot: "That the model itself is right: it compares with the model's own arithmetic in higher precision.",
    checks: &[
        (
            "same bits",
            "rows in requests of 1 to 16, at every position, beside random, zero and poisoned rows (NaN, infinity), from 1 to \
             16 callers at once, on a cold and a warm session: each must be, bit for bit, the row asked alone",
        ),
        (
            "plain arithmetic",
            "the same row by simple scalar code that shares nothing with the device: equal bits",
        ),
        (
            "64-bit floats",
            "the same row in higher precision: the largest error, as a share of the largest value, and the bound that follows \
             from the lengths of the model's sums",
        ),
    ],
};

/// The end of the id of what is out of reach where neither threads nor instruction sets can be chosen.
pub const SETUPS: &str = "bits/setups";

/// Rows of one request, at most.
const ROWS: usize = 16;
/// What neighbours are called that are ordinary rows.
const RANDOM: &str = "random";

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    checks(case, cx.options.effort, cx.progress).into()
}

fn checks(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Vec<Check> {
    let pool = match Pool::new(case) {
        Ok(pool) => pool,
        Err(error) => {
            let what = "same bits";
            let section = SectionId::Correctness;
            let running = Running::start(section, case, "bits", what, "rows", progress);
            return vec![running.could_not_run(&error)];
        }
    };
    let mut checks = Vec::new();
    for setup in sweep::setups(case) {
        let check = sweep::check(case, &pool, setup, effort, progress);
        let healthy = check.1;
        checks.push(check.0);
        if !healthy {
            return checks;
        }
    }
    checks.extend(sweep::out_of_reach(case, progress));
    checks.extend(truth::checks(case, &pool, effort, progress));
    checks
}

/// The rows that requests are made of, and the answer to each alone.
struct Pool {
    /// Ordinary ones.
    ordinary: Vec<(RowId, Answer)>,
    /// By kind of neighbour: what may stand around a row. Never empty: ordinary rows are neighbours too.
    neighbours: Vec<(&'static str, Vec<(RowId, Answer)>)>,
    /// What could not be made or answered.
    left_out: Vec<String>,
}

impl Pool {
    fn new(case: &mut Case) -> Result<Pool, Error> {
        let ordinary = (0..ROWS as u32)
            .map(|number| {
                let row = RowId::ordinary(number);
                Ok((row, case.alone_for_the_record(&[row])?))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut pool = Pool {
            neighbours: vec![(RANDOM, ordinary.clone())],
            ordinary,
            left_out: Vec::new(),
        };
        if case.maker.has_rows() {
            pool.add(case, "zeros", RowKind::Zeros, 1);
            pool.add(case, "poisoned", RowKind::Poisoned, 3);
        }
        Ok(pool)
    }

    fn add(&mut self, case: &mut Case, name: &'static str, kind: RowKind, count: u32) {
        if !case.maker.can_make(kind) {
            self.left_out
                .push(format!("no {name} neighbours: no input can hold them"));
            return;
        }
        let mut rows = Vec::new();
        for number in 0..count {
            let row = RowId { kind, number };
            match case.alone_for_the_record(&[row]) {
                Ok(answer) => rows.push((row, answer)),
                // A model may rightly refuse such a row: an index out of a NaN, say.
                Err(error) => {
                    self.left_out
                        .push(format!("no {name} neighbours: alone, one gives {error}"));
                    return;
                }
            }
        }
        self.neighbours.push((name, rows));
    }
}
