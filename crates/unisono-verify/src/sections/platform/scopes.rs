//! A.005, scoped release: whatever a scope holds is released at its end, however it ends.
//!
//! The one idea: the original's scopes passed by being reached. Here each scope opens a session, gets an answer and has another
//! request under way when it ends, by return, by an error on its way up, or by a panic; after each the device's census must be
//! exactly where it was before. The twin lets one session outlive its scope, which the census must show.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use unisono::Error;

use super::Bench;
use super::probe::Tag;
use super::row::{Part, Row, Twin, conclude};
use crate::compare::Difference;
use crate::progress::Progress;
use crate::report::Check;
use crate::subject::{Held, Rig, Setup, Subject};

/// The original's row.
pub const ROW: Row = Row {
    id: "a.005",
    name: "A.005 scoped release",
    unit: "scopes",
    original: "100 autorelease pools of a queue and a command buffer each",
    original_ms: 11.5,
};

/// The original's number of scopes.
const SCOPES: usize = 100;

/// How a scope ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By return.
    Return,
    /// By an error.
    Error,
    /// By a panic.
    Panic,
}

impl End {
    /// All ways.
    pub const ALL: [End; 3] = [End::Return, End::Error, End::Panic];

    const fn name(self) -> &'static str {
        match self {
            End::Return => "return",
            End::Error => "error",
            End::Panic => "panic",
        }
    }
}

/// What is held, class by class: how many, and bytes.
fn alive(census: &[Held]) -> Vec<(&'static str, i128, u64)> {
    let alive = |held: &Held| i128::from(held.created) - i128::from(held.released);
    census
        .iter()
        .map(|held| (held.what, alive(held), held.bytes))
        .collect()
}

fn created(census: &[Held]) -> u64 {
    census.iter().map(|held| held.created).sum()
}

/// What is held now and was not before, or the other way round.
fn census_difference(rig: &dyn Rig, before: &[Held]) -> Option<Difference> {
    let (now, then) = (alive(&rig.census()), alive(before));
    let show = |(what, alive, bytes): &(&str, i128, u64)| format!("{alive} {what}, {bytes} bytes");
    let (now, then) = now.iter().zip(&then).find(|(now, then)| now != then)?;
    Some(Difference::of_kind("", show(now), show(then)))
}

/// The same, for as long as something may still be on its way out: a request that is taken back while it runs ends on the thread
/// that runs it.
fn settled_difference(rig: &dyn Rig, before: &[Held], patience: Duration) -> Option<Difference> {
    let started = Instant::now();
    loop {
        let difference = census_difference(rig, before)?;
        if started.elapsed() >= patience {
            return Some(difference);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// One scope: a session, a request that is answered, one that is under way.
fn scope(rig: &dyn Rig, turn: usize, end: End) -> Result<(), Error> {
    let subject = rig.open()?;
    let x = Tag { queue: 0, turn }.rows(1)?;
    let _answer = subject.run(std::slice::from_ref(&x))?;
    let pending = subject.start(&[x])?;
    match end {
        // Every second one is taken back.
        End::Return if turn.is_multiple_of(2) => pending.wait().map(drop),
        End::Return => Ok(()),
        // A request without inputs.
        End::Error => subject.run(&[]).map(drop),
        // Unlike `panic!`, this prints nothing.
        End::Panic => resume_unwind(Box::new(End::Panic.name())),
    }
}

/// So many scopes end in this way. Stops at the first that leaves something behind.
pub fn scopes(rig: &dyn Rig, end: End, count: usize, patience: Duration) -> Part {
    let mut part = Part::new(format!("by {}", end.name()));
    for turn in 0..count {
        let before = rig.census();
        let ended = catch_unwind(AssertUnwindSafe(|| scope(rig, turn, end)));
        let as_meant = match (&ended, end) {
            (Ok(Ok(())), End::Return) | (Ok(Err(_)), End::Error) => true,
            (Err(panic), End::Panic) => panic.downcast_ref() == Some(&End::Panic.name()),
            _ => false,
        };
        let otherwise = || {
            let found = match ended {
                Ok(Ok(())) => "return".to_owned(),
                Ok(Err(error)) => format!("an error: {error}"),
                Err(_) => "a panic".to_owned(),
            };
            Difference::of_kind(
                "",
                format!("an end by {found}"),
                format!("by {}", end.name()),
            )
        };
        // A session and a request, at least. Else nothing was counted and equal counts mean nothing.
        let uncounted = || {
            let made = created(&rig.census()) - created(&before).min(created(&rig.census()));
            let expected = "at least a session and a request";
            (made < 2).then(|| Difference::of_kind("", format!("{made} counted"), expected))
        };
        let left = settled_difference(rig, &before, patience);
        let leaks = left.is_some();
        let fault = left
            .or_else(|| (!as_meant).then(otherwise))
            .or_else(uncounted);
        part.judge(fault.map(|fault| fault.during(format!("scope {turn}, by {}", end.name()))));
        if leaks {
            break;
        }
    }
    part
}

/// A session that outlives its scope, which the census must show.
///
/// # Errors
/// It cannot be opened.
pub fn outliving(rig: &dyn Rig) -> Result<Twin, Error> {
    let before = rig.census();
    let escaped: Arc<dyn Subject> = rig.open()?;
    let seen = census_difference(rig, &before).is_some();
    drop(escaped);
    Ok(Twin {
        what: "a session outlives its scope".to_owned(),
        trials: 1,
        seen: u64::from(seen),
        broken: None,
    })
}

/// Checks it.
pub fn check(bench: &Bench<'_>, progress: &mut dyn Progress) -> Check {
    let mut running = ROW.start(progress);
    let rig = match bench.relay.rig(Setup::DEFAULT) {
        Ok(rig) => rig,
        Err(error) => return running.could_not_run(&error),
    };
    let twin = match outliving(&*rig) {
        Ok(twin) => twin,
        Err(error) => return running.could_not_run(&error),
    };
    let count = bench.effort.choose(1, 3, 50) * SCOPES;
    let mut parts = Vec::new();
    let mut first = None;
    for (done, end) in End::ALL.into_iter().enumerate() {
        running.step(done as u64, End::ALL.len() as u64);
        let started = Instant::now();
        parts.push(scopes(&*rig, end, count, bench.patience));
        // Scopes are alike.
        let a_hundred = started.elapsed() * SCOPES as u32 / count as u32;
        first.get_or_insert(a_hundred);
    }
    conclude(&ROW, running, parts, &[twin], first)
}
