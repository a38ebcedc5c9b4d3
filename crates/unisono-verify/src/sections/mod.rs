//! The sections: what is checked, one file each.
//!
//! The one idea: a section turns a case into checks. How much it does follows from the model's floating-point operations
//! and the effort asked for, never from a stopwatch, so that the same seed gives the same work.

pub mod correctness;
pub mod thread_safety;

use std::time::Instant;

use unisono::Error;

use crate::callers::{Abandoned, KEPT_DIFFERENCES, Tally};
use crate::case::Case;
use crate::options::{Effort, SectionId};
use crate::progress::Progress;
use crate::report::Check;
use crate::verdict::Verdict;

/// A check in the making, with the clock running.
pub(crate) struct Running<'a> {
    check: Check,
    started: Instant,
    progress: &'a mut dyn Progress,
}

impl<'a> Running<'a> {
    /// Starts a check of this section.
    pub fn start(
        section: SectionId,
        case: &Case,
        id: &str,
        what: &str,
        unit: &str,
        progress: &'a mut dyn Progress,
    ) -> Running<'a> {
        let id = format!("{}/{}/{id}", section.name(), case.name);
        let check = Check::new(id, &case.name, what, unit);
        progress.step(&check.model, &check.what, 0, 0);
        Running {
            check,
            started: Instant::now(),
            progress,
        }
    }

    /// The check, to be added to.
    pub fn check(&mut self) -> &mut Check {
        &mut self.check
    }

    /// Tells how far it is.
    pub fn step(&mut self, done: u64, total: u64) {
        self.progress
            .step(&self.check.model, &self.check.what, done, total);
    }

    /// Ends it with what was tallied, counted in rows or answers.
    pub fn tallied(mut self, trials: u64, tally: Tally) -> Check {
        self.check.conclude(trials, tally.wrong);
        self.check.differences = tally.differences;
        match tally.abandoned {
            Some(Abandoned::Hung {
                waited,
                outstanding,
            }) => {
                self.check.verdict = Verdict::Fail;
                self.check.failures += outstanding;
                self.check.rate_bound = None;
                self.check.notes.push(format!(
                    "a call did not return: nothing happened for {} s with {outstanding} calls outstanding",
                    waited.as_secs()
                ));
            }
            Some(Abandoned::NoThread(why)) => {
                if self.check.verdict == Verdict::Pass {
                    self.check.verdict = Verdict::CouldNotRun;
                }
                self.check
                    .notes
                    .push(format!("a caller's thread could not be started: {why}"));
            }
            None => {}
        }
        self.finish()
    }

    /// Ends it: it could not look, because of this error.
    pub fn could_not_run(mut self, error: &Error) -> Check {
        self.check = self.check.could_not_run(error.to_string());
        self.finish()
    }

    /// Ends it as it stands.
    pub fn finish(mut self) -> Check {
        self.check.seconds = self.started.elapsed().as_secs_f64();
        self.check.differences.truncate(KEPT_DIFFERENCES);
        self.progress.finished(&self.check);
        self.check
    }
}

/// Is the model so large that even the least that is usually done takes too long?
pub(crate) fn is_heavy(case: &Case, effort: Effort) -> bool {
    // Operations of one row.
    let most = match effort {
        Effort::Quick => 200_000_000,
        Effort::Standard => 1_000_000_000,
    };
    case.flops_per_row > most
}

/// Did calls hang? Then threads of ours still sit in the subject, and what follows would measure them.
pub(crate) fn hung(tally: &Tally) -> bool {
    matches!(tally.abandoned, Some(Abandoned::Hung { .. }))
}
