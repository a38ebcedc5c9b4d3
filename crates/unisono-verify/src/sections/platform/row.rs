//! One row of the original's platform checks, and how a verdict on it is reached.
//!
//! The one idea: a row is made of parts that must hold and of weakened twins that must be seen to break. If a part breaks,
//! the row fails. If none does but a twin was never caught, the row is not distinguishable: the same test would have said the same of
//! a broken primitive.

use std::time::Duration;

use super::crew::Broken;
use crate::compare::Difference;
use crate::progress::Progress;
use crate::report::Check;
use crate::sections::{Running, SectionId};
use crate::verdict::Verdict;

/// A row of the original report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its number: `a.001`.
    pub id: &'static str,
    /// Its number and name, with which the check's name begins.
    pub name: &'static str,
    /// What a trial is.
    pub unit: &'static str,
    /// The original's work.
    pub original: &'static str,
    /// How long that took on the original's machine, in milliseconds.
    pub original_ms: f64,
}

/// Something that must hold.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// What was looked at, as part of a sentence.
    pub what: String,
    /// How many times.
    pub trials: u64,
    /// How many of these were wrong.
    pub failures: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Why it did not come to its end.
    pub broken: Option<Broken>,
}

impl Part {
    /// A part with nothing in it.
    pub fn new(what: impl Into<String>) -> Part {
        Part {
            what: what.into(),
            ..Part::default()
        }
    }

    /// Counts one trial and what was wrong with it.
    pub fn judge(&mut self, fault: Option<Difference>) {
        self.trials += 1;
        if let Some(difference) = fault {
            self.failures += 1;
            self.keep(difference);
        }
    }

    /// Counts many trials, of which so many were wrong in the way that `describe` tells.
    pub fn count(&mut self, trials: u64, failures: u64, describe: impl FnOnce() -> Difference) {
        self.trials += trials;
        self.failures += failures;
        if failures > 0 {
            self.keep(describe());
        }
    }

    /// Adds another part of the same kind.
    pub fn add(&mut self, other: Part) {
        self.trials += other.trials;
        self.failures += other.failures;
        other.differences.into_iter().for_each(|d| self.keep(d));
        self.broken = self.broken.take().or(other.broken);
    }

    /// Adds what a crew's members found, or why they did not.
    pub fn add_all(&mut self, found: Result<Vec<Part>, Broken>) {
        match found {
            Ok(parts) => parts.into_iter().for_each(|part| self.add(part)),
            Err(broken) => self.broken = self.broken.take().or(Some(broken)),
        }
    }

    fn keep(&mut self, difference: Difference) {
        if self.differences.len() < crate::callers::KEPT_DIFFERENCES {
            self.differences.push(difference);
        }
    }
}

/// A part weakened on purpose.
#[derive(Clone, Debug)]
pub struct Twin {
    /// How it is weaker.
    pub what: String,
    /// How many times it was tried.
    pub trials: u64,
    /// How many times it was seen to break.
    pub seen: u64,
    /// Why it did not come to its end. That is no fault of what is verified.
    pub broken: Option<Broken>,
}

impl Row {
    pub(super) fn start<'a>(&self, progress: &'a mut dyn Progress) -> Running<'a> {
        Running::start_of_device(SectionId::Platform, self.id, self.name, self.unit, progress)
    }
}

/// Concludes. `at_original_size` is how long the original's amount of work took here, if it was measured.
pub(super) fn conclude(
    row: &Row,
    mut running: Running<'_>,
    parts: Vec<Part>,
    twins: &[Twin],
    at_original_size: Option<Duration>,
) -> Check {
    let check = running.check();
    let trials = parts.iter().map(|part| part.trials).sum();
    let failures = parts.iter().map(|part| part.failures).sum();
    check.conclude(trials, failures);
    check.notes.push(format!("original: {}", row.original));
    check.figure("the original's time", row.original_ms, "ms");
    if let Some(time) = at_original_size {
        let ms = time.as_secs_f64() * 1e3;
        check.figure("as much work here", ms, "ms");
    }
    for part in &parts {
        let figure = format!("{}: wrong of {} {}", part.what, part.trials, row.unit);
        check.figure(&figure, part.failures as f64, "");
        // A part that looked at nothing must not hide behind another that did.
        if part.trials == 0 && part.broken.is_none() && check.verdict == Verdict::Pass {
            check.verdict = Verdict::CouldNotRun;
            check
                .notes
                .push(format!("{}: nothing was looked at", part.what));
        }
    }
    for part in &parts {
        let Some(broken) = &part.broken else { continue };
        check
            .notes
            .push(format!("{}: {}", part.what, describe(broken)));
        check.rate_bound = None;
        match broken {
            Broken::NoThread(_) if check.verdict == Verdict::Pass => {
                check.verdict = Verdict::CouldNotRun;
            }
            Broken::NoThread(_) => {}
            Broken::Hung(_) | Broken::Panicked(_) => {
                check.verdict = Verdict::Fail;
                check.failures += 1;
            }
        }
    }
    for part in parts {
        check.differences.extend(part.differences);
    }
    for twin in twins {
        let figure = format!("twin, {}: seen to break, of {}", twin.what, twin.trials);
        check.figure(&figure, twin.seen as f64, "");
        if let Some(broken) = &twin.broken {
            check
                .notes
                .push(format!("twin, {}: {}", twin.what, describe(broken)));
        }
        if twin.seen > 0 {
            continue;
        }
        check.notes.push(format!(
            "the weakened twin ({}) was never caught in {} trials: this machine would not show such a fault",
            twin.what, twin.trials
        ));
        if check.verdict == Verdict::Pass {
            check.verdict = Verdict::NotDistinguishable;
        }
    }
    running.finish()
}

fn describe(broken: &Broken) -> String {
    match broken {
        Broken::Hung(time) => format!("nothing happened for {:.1} s", time.as_secs_f64()),
        Broken::Panicked(text) => format!("a panic: {text}"),
        Broken::NoThread(why) => format!("a thread could not be started: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    const ROW: Row = Row {
        id: "a.000",
        name: "A.000 a row",
        unit: "turns",
        original: "one turn",
        original_ms: 1.0,
    };

    fn part(trials: u64, failures: u64) -> Part {
        let mut part = Part::new("turning");
        part.count(trials, failures, || {
            Difference::of_kind("", "left", "right")
        });
        part
    }

    fn twin(seen: u64) -> Twin {
        Twin {
            what: "turned loosely".to_owned(),
            trials: 10,
            seen,
            broken: None,
        }
    }

    fn verdict(parts: Vec<Part>, twins: &[Twin]) -> Verdict {
        conclude(&ROW, ROW.start(&mut Silent), parts, twins, None).verdict
    }

    #[test]
    fn a_pass_needs_parts_that_hold_and_twins_that_break() {
        assert_eq!(verdict(vec![part(5, 0)], &[twin(1)]), Verdict::Pass);
        assert_eq!(verdict(vec![part(5, 0)], &[]), Verdict::Pass);
        assert_eq!(verdict(vec![part(5, 1)], &[twin(1)]), Verdict::Fail);
        let unseen = [twin(1), twin(0)];
        assert_eq!(
            verdict(vec![part(5, 0)], &unseen),
            Verdict::NotDistinguishable
        );
        assert_eq!(verdict(vec![part(5, 1)], &unseen), Verdict::Fail);
    }

    #[test]
    fn what_did_not_end_or_did_not_look_is_no_pass() {
        let broken = |broken| Part {
            broken: Some(broken),
            ..part(5, 0)
        };
        let hung = broken(Broken::Hung(Duration::from_secs(1)));
        assert_eq!(verdict(vec![hung], &[]), Verdict::Fail);
        let panicked = broken(Broken::Panicked("oh".to_owned()));
        assert_eq!(verdict(vec![panicked], &[]), Verdict::Fail);
        let no_thread = broken(Broken::NoThread("none left".to_owned()));
        assert_eq!(verdict(vec![no_thread], &[twin(0)]), Verdict::CouldNotRun);
        assert_eq!(
            verdict(vec![part(5, 0), part(0, 0)], &[]),
            Verdict::CouldNotRun
        );
        assert_eq!(verdict(vec![], &[]), Verdict::CouldNotRun);
    }
}
