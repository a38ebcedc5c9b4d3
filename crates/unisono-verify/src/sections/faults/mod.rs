//! Fault campaign: what becomes of the others, and of the next answers, when something goes wrong.
//!
//! The one idea: each fault is let loose on a warm session whose census is known and whose answers are known, and afterwards
//! both must be what they were: as many things alive and as many bytes held as before, to the last one, and the next answers
//! equal to the last bit. While it lasts, every call must end, with the right answer or with an error of the kind that the
//! fault gives, and no more calls may end with an error than kernels or allocations failed.
//!
//! Faults in the device are injected by [`unisono::fault`], whose switches are the whole process's: nothing else may run in the
//! process of this section.

mod closing;
mod crowd;
pub(super) mod ground;
mod kernels;
mod leaving;
mod memory;
mod rows;
mod slow;

use unisono::fault::Fault;
use unisono::{Error, ErrorKind};

use super::{Context, Description, Findings, Running, Scope, SectionId};
use crate::callers::Tally;
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::seed::SeedModel;
use crate::verdict::Verdict;

/// What it says of itself.
/// Evidence: bounded-queue, every-call-ends, neighbours-untouched, census-closes
pub const DESCRIPTION: Description = Description {
    name: "faults",
    title: "Fault campaign",
    scope: Scope::Models(&[SeedModel::Mlp]),
    proves: "A fault reaches those whom it concerns and nobody else, every call ends, and nothing is left behind: the census \
             is equal afterwards, and the next answers have the same bits.",
    claim: "a fault reaches nobody whom it does not concern, and leaves nothing behind",
    cannot: "Faults of the machine itself, memory that the system grants and takes back by killing the process, and kernels \
             that write where they should not.",
    checks: &[
        (
            "a poisoned row",
            "requests of NaN and infinity beside ordinary ones, and in one request with them; each answer must be the one \
             alone",
        ),
        (
            "a panicking kernel",
            "a panic before each node in turn, alone and in batches of 8 callers, once and several times in a row; no more \
             callers may get an error than kernels panicked",
        ),
        (
            "a panic inside of a kernel",
            "the same in the middle of the work, on whichever thread computes that part",
        ),
        (
            "a kernel's error",
            "the same with an error status instead of a panic",
        ),
        (
            "a failed allocation",
            "each allocation of a cold session fails once, the k-th for k = 1, 2, 3, ... until nothing fails any more; then \
             those of a warm session, and those of batches",
        ),
        (
            "a slow kernel",
            "a kernel that sleeps: the others are late only by it, and deadlines that pass meanwhile are kept",
        ),
        (
            "cancelled requests",
            "futures that are dropped, waiting and running; the others' answers are right",
        ),
        (
            "late requests",
            "deadlines that have passed, and that pass in the queue: an error, and nobody else notices",
        ),
        (
            "a full queue",
            "many more requests than the queue has places, behind kernels that sleep; some must hear that it is full, and the \
             others are answered as ever",
        ),
        (
            "a session closed under load",
            "8 callers, and one of them closes the session; everybody gets an answer or hears that it is shut down. The same \
             with futures in flight, and with the last handle dropped",
        ),
    ],
};

/// Checks one model.
pub fn check(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    checks(case, cx.options.effort, cx.progress).into()
}

/// The kernels' faults: id, name, fault, and the error that it gives.
const KERNEL_FAULTS: [(&str, &str, Fault, ErrorKind); 3] = [
    (
        "panic",
        "a panicking kernel",
        Fault::Panic,
        ErrorKind::Panic,
    ),
    (
        "panic-inside",
        "a panic inside of a kernel",
        Fault::PanicInside,
        ErrorKind::Panic,
    ),
    (
        "error",
        "a kernel's error",
        Fault::Error,
        ErrorKind::Execution,
    ),
];

fn checks(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Vec<Check> {
    let mut checks = Vec::new();
    let campaigns: [&Campaign<'_>; 10] = [
        &|case, progress| rows::poisoned(case, effort, progress),
        &|case, progress| kernels::check(case, KERNEL_FAULTS[0], effort, progress),
        &|case, progress| kernels::check(case, KERNEL_FAULTS[1], effort, progress),
        &|case, progress| kernels::check(case, KERNEL_FAULTS[2], effort, progress),
        &|case, progress| memory::check(case, effort, progress),
        &|case, progress| slow::check(case, effort, progress),
        &|case, progress| leaving::cancelled(case, effort, progress),
        &|case, progress| leaving::late(case, effort, progress),
        &|case, progress| crowd::check(case, effort, progress),
        &|case, progress| closing::check(case, effort, progress),
    ];
    for campaign in campaigns {
        let ended = campaign(case, progress);
        checks.push(ended.check);
        // Threads of ours sit in a subject: faults that are injected from here on may strike there.
        if ended.hung {
            break;
        }
    }
    checks
}

/// One of the checks.
type Campaign<'a> = dyn Fn(&mut Case, &mut dyn Progress) -> Ended + 'a;

/// How a campaign ended.
struct Ended {
    check: Check,
    hung: bool,
}

fn start<'a>(case: &Case, id: &str, what: &str, progress: &'a mut dyn Progress) -> Running<'a> {
    Running::start(SectionId::Faults, case, id, what, "answers", progress)
}

/// Ends a check. A fault that never struck has shown nothing.
fn end(mut running: Running<'_>, outcome: Result<Tally, Error>, strikes: u64, what: &str) -> Ended {
    let tally = match outcome {
        Ok(tally) => tally,
        Err(error) => {
            return Ended {
                check: running.could_not_run(&error),
                hung: false,
            };
        }
    };
    let hung = super::hung(&tally);
    let check = running.check();
    check.figure(what, strikes as f64, "");
    check.figure("calls that ended with an error", tally.refusals as f64, "");
    check.figure("calls that ended", tally.answers as f64, "");
    let mut check = running.tallied(tally.answers, tally);
    if strikes == 0 && check.verdict == Verdict::Pass {
        check.verdict = Verdict::CouldNotRun;
        check.rate_bound = None;
        check
            .notes
            .push("the fault never struck, so nothing was seen".to_owned());
    }
    Ended { check, hung }
}

/// Has enough been seen? What comes after something wrong would only show it again, and what comes after a hang nothing at all.
fn over(tally: &Tally) -> bool {
    tally.wrong > 0 || super::hung(tally)
}

/// How many rounds of this many rows are affordable: one at least.
fn rounds(case: &Case, effort: Effort, rows: usize, most: (u64, u64, u64)) -> u64 {
    let flops = effort.choose(8_000_000_000, 24_000_000_000, 240_000_000_000u64);
    let most = effort.choose(most.0, most.1, most.2);
    let round = (rows.max(1) as u64).saturating_mul(case.flops_per_row);
    (flops / round.max(1)).clamp(1, most)
}

/// At most `most` of the numbers below `n`, evenly spread, the first and the last among them.
fn spread(n: u64, most: u64) -> Vec<u64> {
    if n <= most {
        return (0..n).collect();
    }
    let last = most.saturating_sub(1).max(1);
    let mut chosen: Vec<u64> = (0..most.max(1)).map(|i| i * (n - 1) / last).collect();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_all_or_spread_from_the_first_to_the_last() {
        assert_eq!(spread(0, 4), [0; 0]);
        assert_eq!(spread(3, 4), [0, 1, 2]);
        assert_eq!(spread(100, 4), [0, 33, 66, 99]);
        assert_eq!(spread(100, 1), [0]);
    }
}
