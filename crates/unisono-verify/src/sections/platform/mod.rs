//! Platform checks: the primitives that everything else rests on, row by row as in the original.
//!
//! The one idea: a primitive is seen to hold only by a test that would have seen it break. So every row that can have one has a
//! *weakened twin*: the same code with a primitive that is not enough, which must be caught. Where this machine never shows the
//! fault (x86 has no reordering that a relaxed message could suffer), the row says NOT-DISTINGUISHABLE instead of PASS. Rows about
//! the device send recognisable patterns through real models and look at every word.
//!
//! No lock stands around anything whose safety is checked, and no thread waits for another where both should run.

pub mod crew;
pub mod dekker;
pub mod handoff;
pub mod isolation;
pub mod litmus;
pub mod memory;
pub mod ordering;
pub mod probe;
pub mod queue;
pub mod row;
pub mod scopes;
pub mod timeline;

use std::time::Duration;

use unisono::Error;

use super::{Context, Description, Findings, Scope};
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Lab, ModelLab};
use crew::Watch;
use row::Row;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "platform",
    title: "Platform checks",
    scope: Scope::Device,
    proves: "The primitives on which everything else rests (shared counters, queues, memory order, host and device memory, \
             release at the end of scopes, lanes, locks, events) do on this machine what the runtime relies on.",
    claim: "the primitives that the runtime rests on behave as they must",
    cannot: "Reorderings that this processor can never show. Where the weakened twin of a check was never caught, the check says \
             so; the model checker covers those. Guard bytes inside of a lane's arena: arenas are the device's own and cannot be \
             reached from outside, so what is watched is the memory on either side of every input, and every answer that was \
             given away.",
    checks: &[
        (
            "A.001",
            "host threads and arriving answers signal one counter without a lock; no signal may be lost, and nobody may see it go \
             back; a counter that is read and then written must be caught",
        ),
        (
            "A.002",
            "threads submit real kernels to one shared session and to sessions of their own; every word of every answer is compared",
        ),
        (
            "A.003",
            "store buffering and Dekker's algorithm with sequentially consistent words; the same with relaxed ones must be caught",
        ),
        (
            "A.004",
            "the device reads what the host wrote and the host what the device wrote, at page starts, odd words and odd bytes; \
             nothing around it changes",
        ),
        (
            "A.005",
            "scopes with a session, a request and a future in them end by return, by error and by panic; the census must be at its \
             base line after each; a session that outlives its scope must be caught",
        ),
        (
            "A.006",
            "queues send tagged patterns through real kernels at the same time; every word must come back to its own queue, and \
             nothing that was given away may change",
        ),
        (
            "A.007",
            "a producer hands over to a consumer under a mutex, by a condition variable, and by requests of a session; a lock that \
             tests and then sets must be caught",
        ),
        (
            "A.008",
            "message passing by release and acquire, and through the device by the arrival of an answer; the same with relaxed \
             words must be caught",
        ),
    ],
};

/// What the rows work with.
pub struct Bench<'a> {
    /// Devices for the model that returns its input, [`probe::relay`].
    pub relay: &'a dyn Lab,
    /// Devices for the model that adds one, [`probe::increment`].
    pub increment: &'a dyn Lab,
    /// How much is done.
    pub effort: Effort,
    /// The seed of what is random.
    pub seed: u64,
    /// After how long without anything happening threads count as hung.
    pub patience: Duration,
}

impl Bench<'_> {
    fn watch<'a>(&self, tick: &'a mut dyn FnMut(u64)) -> Watch<'a> {
        Watch {
            patience: self.patience,
            tick,
        }
    }
}

/// How a row is checked.
type RowCheck = fn(&Bench<'_>, &mut dyn Progress) -> Check;

/// The rows, in the original's order.
const ROWS: [(&Row, RowCheck); 8] = [
    (&timeline::ROW, timeline::check),
    (&queue::ROW, queue::check),
    (&ordering::CONSISTENCY, ordering::check_consistency),
    (&memory::ROW, memory::check),
    (&scopes::ROW, scopes::check),
    (&isolation::ROW, isolation::check),
    (&handoff::ROW, handoff::check),
    (&ordering::PASSING, ordering::check_passing),
];

/// Checks the device.
pub fn check(cx: &mut Context<'_>) -> Findings {
    let lab =
        |model: Result<unisono::Model, Error>| model.map(|model| ModelLab::of(model, cx.options));
    let labs = lab(probe::relay()).and_then(|relay| Ok((relay, lab(probe::increment())?)));
    let checks: Vec<Check> = match labs {
        Ok((relay, increment)) => {
            let bench = Bench {
                relay: &relay,
                increment: &increment,
                effort: cx.options.effort,
                seed: cx.options.seed,
                patience: Duration::from_secs(60),
            };
            check_on(&bench, cx.progress)
        }
        Err(error) => {
            let rows = ROWS.iter().map(|(row, _)| row);
            rows.map(|row| row.start(cx.progress).could_not_run(&error))
                .collect()
        }
    };
    checks.into()
}

/// Checks these devices.
pub fn check_on(bench: &Bench<'_>, progress: &mut dyn Progress) -> Vec<Check> {
    let rows = ROWS.iter().map(|(_, check)| check(bench, progress));
    rows.collect()
}
