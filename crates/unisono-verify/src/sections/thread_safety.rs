//! Chapter 1, thread safety: any number of callers share one session without a lock.
//!
//! The one idea: every caller asks its own requests, whose answers were computed one by one beforehand on an idle session,
//! and compares each answer bit for bit. There is no lock and no semaphore of ours around a call, so whatever the runtime
//! does wrong under contention (rows swapped, a buffer used twice, a wake-up forgotten) shows as a wrong bit or as a call
//! that does not return.

use std::sync::Arc;

use unisono::{DType, Error, Tensor};

use super::census::nothing_is_left;
use super::{Context, Description, Findings, Running, Scope, SectionId, hung, is_heavy};
use crate::callers::{Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::{Request, RowId};
use crate::seed::SeedModel;
use crate::subject::{Rig, Setup, Subject};

/// What it says of itself.
/// Evidence: same-bits-callers, every-call-ends, neighbours-untouched, census-closes
pub const DESCRIPTION: Description = Description {
    name: "thread-safety",
    title: "Chapter 1: thread safety",
    scope: Scope::Models(&SeedModel::STORY),
    proves: "Any number of threads may share one session without a lock, and each gets, bit for bit, the answer that it \
             would have got alone.",
    claim: "any number of threads may share a session without a lock",
    cannot: "That no interleaving at all goes wrong: a run sees those that this machine happened to produce, and the bound \
             says how rare an unseen failure must be.",
    checks: &[
        (
            "1 to 64 callers at once",
            "that many threads call one session with requests of their own; each answer must be, bit for bit, the one that \
             was computed beforehand, alone",
        ),
        (
            "8 callers x 20 requests",
            "the same with the numbers of the original report, whose callers took turns behind a lock",
        ),
        (
            "beside refused requests",
            "half of the callers send what must be refused (a wrong type, a late deadline); nobody's next answer may change",
        ),
        (
            "nothing left behind",
            "everything that was created for the sessions was released with them",
        ),
    ],
};

/// Numbers of callers.
const CALLERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// The original's row: this many threads, this many requests each, of this many rows.
const ORIGINAL: (usize, usize, usize) = (8, 20, 4);
/// How much is done.
struct Work {
    /// Requests at each number of callers, at least.
    requests: usize,
    /// Rows of a caller's requests, in turn.
    rows: &'static [usize],
    /// Are a caller's two requests of different sizes both its own, or is there one per caller?
    both: bool,
}

impl Work {
    fn of(case: &Case, effort: Effort) -> Work {
        // Operations at each number of callers, and a limit for models so small that they would never end.
        let (flops, most) = match effort {
            Effort::Quick => (4_000_000_000, 200),
            Effort::Standard => (24_000_000_000, 1_000),
            Effort::Full => (240_000_000_000, 10_000),
        };
        let heavy = is_heavy(case, effort);
        // Each caller of a heavy model has one request, of few rows.
        let rows: &[usize] = match (case.maker.has_rows(), heavy) {
            (false, _) => &[1, 1],
            (true, true) => &[1, 2],
            (true, false) => &[1, 4],
        };
        let mean = rows.iter().sum::<usize>() as u64;
        let affordable = 2 * flops / (mean * case.flops_per_row);
        let requests = usize::try_from(affordable).unwrap_or(most).min(most);
        Work {
            requests,
            rows,
            both: !heavy,
        }
    }

    /// The rows of a caller's request: no two callers share one.
    fn rows_of(&self, caller: usize, which: usize) -> Vec<RowId> {
        let longest: usize = self.rows.iter().sum();
        let before: usize = self.rows[..which].iter().sum();
        let first = caller * longest + before;
        // Far below 2^32: there are 64 callers.
        (first..first + self.rows[which])
            .map(|n| RowId::ordinary(n as u32))
            .collect()
    }

    /// Which of its requests a caller has: both, or alternately the one or the other.
    fn which(&self, caller: usize) -> Vec<usize> {
        if self.both {
            (0..self.rows.len()).collect()
        } else {
            vec![caller % self.rows.len()]
        }
    }
}

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    checks(case, cx.options.effort, cx.progress).into()
}

fn checks(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Vec<Check> {
    let work = Work::of(case, effort);
    let mut checks = Vec::new();
    let Opened { rig, subject } = match open(case) {
        Ok(ready) => ready,
        Err(error) => {
            let running = start(case, "callers", "1 to 64 callers at once", progress);
            return vec![running.could_not_run(&error)];
        }
    };
    let (check, healthy) = callers(case, &work, &subject, progress);
    checks.push(check);
    // After a call that hangs, threads of ours sit in the subject; further checks on it would say nothing.
    if !healthy {
        return checks;
    }
    // Its amount of work is fixed.
    if case.maker.has_rows() && !is_heavy(case, effort) {
        checks.push(original(case, effort, &subject, progress));
    }
    checks.push(refusals(case, &work, &subject, progress));
    drop(subject);
    checks.push(census(case, &*rig, progress));
    checks
}

fn start<'a>(case: &Case, id: &str, what: &str, progress: &'a mut dyn Progress) -> Running<'a> {
    Running::start(SectionId::ThreadSafety, case, id, what, "answers", progress)
}

/// A device with a session on it.
struct Opened {
    rig: Box<dyn Rig>,
    subject: Arc<dyn Subject>,
}

fn open(case: &Case) -> Result<Opened, Error> {
    let rig = case.lab.rig(Setup::DEFAULT)?;
    let subject = rig.open()?;
    Ok(Opened { rig, subject })
}

/// A request and the answer to it alone.
fn job(case: &mut Case, rows: &[RowId]) -> Result<Arc<Job>, Error> {
    let answer = case.alone_for_the_record(rows)?;
    Ok(Arc::new(Job {
        request: case.maker.request(rows)?,
        expected: Expected::Answer(answer),
    }))
}

/// 1 to 64 callers. Also says whether all calls returned.
fn callers(
    case: &mut Case,
    work: &Work,
    subject: &Arc<dyn Subject>,
    progress: &mut dyn Progress,
) -> (Check, bool) {
    let mut running = start(case, "callers", "1 to 64 callers at once", progress);
    let most = CALLERS.iter().copied().max().unwrap_or(1);
    // As many for every caller, and each asks all that it has.
    let each = |callers: usize| work.requests.div_ceil(callers).max(work.which(0).len());
    let expected: u64 = CALLERS
        .iter()
        .map(|&callers| (callers * each(callers)) as u64)
        .sum();
    let mut own = Vec::new();
    for caller in 0..most {
        let jobs = work
            .which(caller)
            .into_iter()
            .map(|which| job(case, &work.rows_of(caller, which)));
        match jobs.collect::<Result<Vec<_>, _>>() {
            Ok(jobs) => own.push(jobs),
            Err(error) => return (running.could_not_run(&error), true),
        }
    }
    let mut tally = Tally::default();
    for callers in CALLERS {
        let turns = each(callers);
        let script = |jobs: &Vec<Arc<Job>>| jobs.iter().cycle().take(turns).cloned().collect();
        let scripts: Scripts = own.iter().take(callers).map(script).collect();
        let before = tally.answers;
        let circumstances = format!("{callers} callers");
        let seen = drive(
            subject,
            &Arc::new(scripts),
            Round {
                outputs: &case.outputs,
                circumstances: &circumstances,
                patience: case.patience,
                tick: &mut |n| running.step(before + n, expected),
            },
        );
        let figure = format!("answers with {callers} callers");
        running.check().figure(&figure, seen.answers as f64, "");
        tally.add(seen);
        if tally.abandoned.is_some() {
            break;
        }
    }
    running.check().notes.push(format!(
        "requests of {} rows in turn, each caller its own; {} rows compared",
        work.rows
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" and "),
        tally.rows
    ));
    let healthy = !hung(&tally);
    (running.tallied(tally.answers, tally), healthy)
}

/// The original's row, without its semaphore.
fn original(
    case: &mut Case,
    effort: Effort,
    subject: &Arc<dyn Subject>,
    progress: &mut dyn Progress,
) -> Check {
    let (callers, requests, rows) = ORIGINAL;
    // Asked again and again, four different requests do as well as twenty.
    let different = match effort {
        Effort::Quick => 2,
        Effort::Standard | Effort::Full => 4,
    };
    let what = format!("{callers} callers x {requests} requests");
    let mut running = start(case, "original", &what, progress);
    let mut scripts = Scripts::new();
    for caller in 0..callers {
        let jobs = (0..different).map(|i| {
            let first = (10_000 + (caller * different + i) * rows) as u32;
            let rows: Vec<RowId> = (first..).take(rows).map(RowId::ordinary).collect();
            job(case, &rows)
        });
        match jobs.collect::<Result<Vec<_>, _>>() {
            Ok(jobs) => scripts.push(jobs.iter().cycle().take(requests).cloned().collect()),
            Err(error) => return running.could_not_run(&error),
        }
    }
    let total = (callers * requests) as u64;
    let tally = drive(
        subject,
        &Arc::new(scripts),
        Round {
            outputs: &case.outputs,
            circumstances: &what,
            patience: case.patience,
            tick: &mut |n| running.step(n, total),
        },
    );
    running
        .check()
        .notes
        .push("the row of the original report, without its lock".to_owned());
    running.tallied(tally.answers, tally)
}

/// Half of the callers send requests that must be refused; nobody's next answer may change by a bit.
fn refusals(
    case: &mut Case,
    work: &Work,
    subject: &Arc<dyn Subject>,
    progress: &mut dyn Progress,
) -> Check {
    const CALLERS: usize = 4;
    const TURNS: usize = 3;
    let mut running = start(case, "refusals", "beside refused requests", progress);
    let wrong = match wrong_requests(case) {
        Ok(wrong) => wrong,
        Err(error) => return running.could_not_run(&error),
    };
    let mut scripts = Scripts::new();
    for caller in 0..CALLERS {
        let good = match job(case, &work.rows_of(caller, caller % work.rows.len())) {
            Ok(good) => good,
            Err(error) => return running.could_not_run(&error),
        };
        let mut script = Vec::new();
        for bad in wrong.iter().cycle().take(TURNS * wrong.len()) {
            // The others keep asking what is right.
            let beside = if caller % 2 == 0 { bad } else { &good };
            script.extend([Arc::clone(beside), Arc::clone(&good)]);
        }
        scripts.push(script);
    }
    let total: u64 = scripts.iter().map(|script| script.len() as u64).sum();
    let circumstances = format!("{CALLERS} callers, every second with wrong requests");
    let tally = drive(
        subject,
        &Arc::new(scripts),
        Round {
            outputs: &case.outputs,
            circumstances: &circumstances,
            patience: case.patience,
            tick: &mut |n| running.step(n, total),
        },
    );
    let kinds: Vec<&str> = wrong
        .iter()
        .map(|job| match job.expected {
            Expected::Refusal(why) => why,
            _ => "a deadline that has passed",
        })
        .collect();
    running
        .check()
        .figure("refused requests", tally.refusals as f64, "");
    running
        .check()
        .notes
        .push(format!("refused: {}", kinds.join(", ")));
    running.tallied(tally.answers, tally)
}

/// Requests that every session must refuse, each wrong in one way.
fn wrong_requests(case: &Case) -> Result<Vec<Arc<Job>>, Error> {
    let rows = vec![RowId::ordinary(0)];
    let right = case.maker.request(&rows)?.tensors;
    let mut wrong = Vec::new();
    let mut add = |tensors: Vec<Tensor>, expected: Expected| {
        let request = Request {
            rows: rows.clone(),
            tensors,
        };
        wrong.push(Arc::new(Job { request, expected }));
    };
    let with = |at: usize, tensor: Tensor| {
        let mut tensors = right.clone();
        if let Some(slot) = tensors.get_mut(at) {
            *slot = tensor;
        }
        tensors
    };
    if let Some(first) = right.first() {
        let other = if first.dtype() == DType::I8 {
            DType::F32
        } else {
            DType::I8
        };
        add(
            with(0, Tensor::zeros(other, first.shape())?),
            Expected::Refusal("a wrong type"),
        );
        let mut shape = vec![1, 1];
        shape.extend_from_slice(first.shape());
        add(
            with(0, first.reshaped(&shape)?),
            Expected::Refusal("too many axes"),
        );
        add(right[1..].to_vec(), Expected::Refusal("a missing input"));
    }
    for (at, input) in case.maker.inputs().iter().enumerate() {
        if input.picks_from.is_none() || !input.dtype.is_int() {
            continue;
        }
        // The largest positive number of any integer type: far behind the end of any table.
        let Some(tensor) = right.get(at) else {
            continue;
        };
        let size = tensor.dtype().size().max(1);
        let largest = |i: usize| {
            if (i + 1).is_multiple_of(size) {
                0x7f
            } else {
                0xff
            }
        };
        let bytes: Vec<u8> = (0..tensor.bytes().len()).map(largest).collect();
        let tensor = Tensor::from_bytes(tensor.dtype(), tensor.shape(), &bytes)?;
        add(
            with(at, tensor),
            Expected::Refusal("an index outside of its table"),
        );
        break;
    }
    add(right.clone(), Expected::Late);
    Ok(wrong)
}

/// Everything that was made for the sessions has been unmade.
fn census(case: &Case, rig: &dyn Rig, progress: &mut dyn Progress) -> Check {
    let section = SectionId::ThreadSafety;
    let running = Running::start(
        section,
        case,
        "census",
        "nothing left behind",
        "objects",
        progress,
    );
    nothing_is_left(running, &rig.census())
}
