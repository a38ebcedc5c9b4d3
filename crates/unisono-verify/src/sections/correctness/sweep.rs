//! The same bits whatever else goes on.
//!
//! The one idea: one long stream of requests walks through all numbers of rows, all kinds of neighbours and all positions;
//! each number of callers, on each setup of the device, takes the next piece of the stream. So every pair of circumstances
//! meets, though not every combination of all of them, and the amount of work can be anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use unisono::{Error, Isa};

use super::super::{Running, hung, is_heavy};
use super::{Pool, RANDOM, ROWS, SETUPS};
use crate::callers::{Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::random::mix;
use crate::report::Check;
use crate::sections::SectionId;
use crate::subject::Setup;
use crate::verdict::Verdict;

/// The setups that the machine allows: each set of instructions with one thread, two, and all; one where nothing can be chosen.
pub(super) fn setups(case: &Case) -> Vec<Setup> {
    if !case.machine.is_cpu() {
        return vec![Setup::DEFAULT];
    }
    let mut threads = vec![1, 2, case.machine.threads];
    threads.sort_unstable();
    threads.dedup();
    let isas = case.machine.isas.iter().rev();
    isas.flat_map(|&isa| {
        // Without vector instructions a model takes many times as long, so one setup must do.
        let threads = if is_slow(isa) {
            &threads[threads.len() - 1..]
        } else {
            &threads[..]
        };
        let setup = move |&n: &usize| Setup {
            threads: Some(n),
            isa: Some(isa),
        };
        threads.iter().map(setup).collect::<Vec<_>>()
    })
    .collect()
}

fn is_slow(isa: Isa) -> bool {
    isa == Isa::Scalar
}

/// How much is done on one setup.
struct Work {
    /// Callers that all meet a session that has compiled nothing.
    cold: usize,
    /// Numbers of callers afterwards.
    callers: &'static [usize],
    /// Requests for each number of callers, at least one for each caller.
    requests: usize,
    /// Numbers of rows, in the order in which the stream walks through them.
    rows: &'static [usize],
}

/// Large and small in turn, so that any few neighbours in the list differ much.
const ALL_ROWS: [usize; ROWS] = [1, 16, 2, 8, 3, 5, 4, 12, 7, 9, 6, 15, 10, 13, 11, 14];

impl Work {
    fn of(case: &Case, setup: Setup, effort: Effort) -> Work {
        let slow = setup.isa.is_some_and(is_slow);
        // Operations on this setup, and a limit for models so small that they would never end.
        let (flops, most): (u64, usize) = match (effort, slow) {
            (Effort::Quick, true) => (300_000_000, 16),
            (Effort::Quick, false) => (16_000_000_000, 48),
            (Effort::Standard, true) => (3_000_000_000, 64),
            (Effort::Full, true) => (30_000_000_000, 640),
            (Effort::Full, false) => (960_000_000_000, 1_920),
            (Effort::Standard, false) => (96_000_000_000, 192),
        };
        let all_callers: &[usize] = &[1, 2, 4, 8, 16];
        let plan: (usize, &[usize], &[usize]) = match (effort, slow, is_heavy(case, effort)) {
            (_, false, false) => (16, all_callers, &ALL_ROWS),
            (Effort::Standard | Effort::Full, false, true) => (16, &[1, 4], &ALL_ROWS),
            (Effort::Quick, false, true) => (4, &[1, 4], &[1, 16, 2, 5, 3, 8]),
            (_, true, false) => (2, &[1, 2], &[1, 3, 2]),
            (_, true, true) => (1, &[1], &[1]),
        };
        let (cold, callers, rows) = plan;
        let rows = if case.maker.has_rows() { rows } else { &[1] };
        let mean = rows.iter().sum::<usize>() as u64 / rows.len() as u64;
        let affordable = flops / (callers.len() as u64 * mean.max(1) * case.flops_per_row);
        let requests = usize::try_from(affordable).unwrap_or(most).min(most);
        Work {
            cold,
            callers,
            requests,
            rows,
        }
    }

    fn most_callers(&self) -> usize {
        self.callers.iter().copied().fold(self.cold, usize::max)
    }

    fn requests_for(&self, callers: usize) -> usize {
        self.requests.max(callers)
    }
}

/// Which requests were made.
#[derive(Default)]
struct Coverage {
    positions: BTreeSet<(usize, usize)>,
    company: BTreeSet<(&'static str, usize)>,
    callers: BTreeSet<(usize, usize)>,
}

/// Sweeps one setup. Also says whether all calls returned.
pub(super) fn check(
    case: &Case,
    pool: &Pool,
    setup: Setup,
    effort: Effort,
    progress: &mut dyn Progress,
) -> (Check, bool) {
    let isa = setup.isa.map_or("default", Isa::name);
    let threads = setup.threads.unwrap_or(case.machine.threads);
    let (what, id) = match case.machine.is_cpu() {
        true => (
            format!("same bits: {setup}"),
            format!("bits/{isa}/{threads}"),
        ),
        false => ("same bits".to_owned(), "bits".to_owned()),
    };
    let section = SectionId::Correctness;
    let mut running = Running::start(section, case, &id, &what, "rows", progress);
    match sweep(
        case,
        pool,
        setup,
        &Work::of(case, setup, effort),
        &mut running,
    ) {
        Ok(tally) => {
            let healthy = !hung(&tally);
            (running.tallied(tally.rows, tally), healthy)
        }
        Err(error) => (running.could_not_run(&error), true),
    }
}

/// What cannot be looked at where neither threads nor instruction sets can be chosen; nothing on a CPU.
pub(super) fn out_of_reach(case: &Case, progress: &mut dyn Progress) -> Option<Check> {
    if case.machine.is_cpu() {
        return None;
    }
    let (section, what) = (
        SectionId::Correctness,
        "same bits: threads and instructions",
    );
    let mut running = Running::start(section, case, SETUPS, what, "setups", progress);
    running.check().notes.push(
        "this device has neither threads nor vector instructions to choose: that it gives the bits of the CPU is what \
         \"plain arithmetic\" shows"
            .to_owned(),
    );
    running.check().verdict = Verdict::OutOfReach;
    Some(running.finish())
}

fn sweep(
    case: &Case,
    pool: &Pool,
    setup: Setup,
    work: &Work,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let rig = case.lab.rig(setup)?;
    let mut covered = Coverage::default();
    let mut stream = 0;
    let rounds: Vec<(usize, usize, &str)> = std::iter::once((work.cold, work.cold, "cold"))
        .chain(
            work.callers
                .iter()
                .map(|&c| (c, work.requests_for(c), "warm")),
        )
        .collect();
    let total: usize = rounds.iter().map(|(_, requests, _)| requests).sum();
    let mut tally = Tally::default();
    // The first round meets a session that has compiled nothing, and all callers want the same plan at once.
    let subject = rig.open()?;
    for (callers, requests, state) in rounds {
        let mut scripts: Scripts = vec![Vec::new(); callers];
        for i in 0..requests {
            let job = request(case, pool, work, stream, callers, &mut covered)?;
            stream += 1;
            if let Some(script) = scripts.get_mut(i % callers) {
                script.push(job);
            }
        }
        let circumstances = format!("{setup}; {callers} callers, {state}");
        let before = tally.answers;
        let seen = drive(
            &subject,
            &Arc::new(scripts),
            Round {
                outputs: &case.outputs,
                circumstances: &circumstances,
                patience: case.patience,
                tick: &mut |n| running.step(before + n, total as u64),
            },
        );
        tally.add(seen);
        if tally.abandoned.is_some() {
            break;
        }
    }
    describe(case, pool, work, &covered, &tally, running);
    Ok(tally)
}

/// The request at this place of the stream.
fn request(
    case: &Case,
    pool: &Pool,
    work: &Work,
    place: usize,
    callers: usize,
    covered: &mut Coverage,
) -> Result<Arc<Job>, Error> {
    let count = pick(work.rows, place).copied().unwrap_or(1);
    // One kind of neighbours for a walk through all numbers of rows would tie the two to the callers; so they drift apart.
    let lap = place / work.rows.len().max(1);
    let Some((kind, company)) = pick(&pool.neighbours, place + lap) else {
        return Err(nothing());
    };
    let draw = mix(place as u64) as usize;
    let ordinary = *kind == RANDOM;
    let probe = draw % count;
    let (mut rows, mut answers) = (Vec::new(), Vec::new());
    for position in 0..count {
        // Ordinary neighbours are a rotation of the ring of ordinary rows; others surround a single one.
        let from = if ordinary || position == probe {
            &pool.ordinary
        } else {
            company
        };
        let (row, answer) = pick(from, draw / ROWS + position).ok_or_else(nothing)?;
        rows.push(*row);
        answers.push(Arc::clone(answer));
        if ordinary || position == probe {
            covered.positions.insert((count, position));
        }
    }
    covered.company.insert((kind, count));
    covered.callers.insert((callers, count));
    let expected = match (case.maker.has_rows(), answers.pop()) {
        (false, Some(whole)) => Expected::Answer(whole),
        (_, last) => Expected::Rows(answers.into_iter().chain(last).collect()),
    };
    Ok(Arc::new(Job {
        request: case.maker.request(&rows)?,
        expected,
    }))
}

fn nothing() -> Error {
    Error::new(unisono::ErrorKind::InvalidInput, "there are no rows to ask")
}

/// Element `at` of a list that is repeated for ever.
fn pick<T>(list: &[T], at: usize) -> Option<&T> {
    list.get(at.checked_rem(list.len())?)
}

fn describe(
    case: &Case,
    pool: &Pool,
    work: &Work,
    covered: &Coverage,
    tally: &Tally,
    running: &mut Running<'_>,
) {
    let check = running.check();
    check.figure("requests", tally.answers as f64, "");
    if !case.maker.has_rows() {
        check
            .warnings
            .push("rows are not proven independent: whole requests are compared".to_owned());
        check.figure("most callers", work.most_callers() as f64, "");
        return;
    }
    let positions: usize = work.rows.iter().sum();
    check.figure(
        "positions covered",
        covered.positions.len() as f64,
        &format!("of {positions}"),
    );
    let cold_alone = usize::from(!work.callers.contains(&work.cold));
    let pairs = work.rows.len() * (work.callers.len() + cold_alone);
    check.figure(
        "callers x rows covered",
        covered.callers.len() as f64,
        &format!("of {pairs}"),
    );
    let kinds = work.rows.len() * pool.neighbours.len();
    check.figure(
        "neighbours x rows covered",
        covered.company.len() as f64,
        &format!("of {kinds}"),
    );
    let names: Vec<&str> = pool.neighbours.iter().map(|(name, _)| *name).collect();
    check.notes.push(format!(
        "1 to {} callers, requests of 1 to {} rows, neighbours {}, cold and warm",
        work.most_callers(),
        work.rows.iter().copied().max().unwrap_or(1),
        names.join(", ")
    ));
    check.warnings.extend(pool.left_out.iter().cloned());
}
