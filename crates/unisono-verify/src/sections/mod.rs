//! The sections: what is checked, one file or folder each.
//!
//! The one idea: a section turns a case into checks. How much it does follows from the model's floating-point operations
//! and the effort asked for, never from a stopwatch, so that the same seed gives the same work. (The soak is the exception: its
//! length is a time.)

pub mod batching;
mod catalog;
mod census;
pub mod churn;
pub mod compile_stress;
pub mod correctness;
pub mod crash_status;
mod device_memory;
pub mod efficiency;
pub mod faults;
pub mod leak;
mod load;
pub mod platform;
pub mod real_models;
mod resident;
pub mod soak;
mod speed;
pub mod status;
pub mod stress;
pub mod success_metrics;
pub mod thread_safety;

use std::time::Instant;

use unisono::Error;

pub use catalog::{Description, Scope, SectionId};

use crate::callers::{Abandoned, KEPT_DIFFERENCES, Tally};
use crate::case::{Case, Machine};
use crate::options::{Effort, Options};
use crate::progress::Progress;
use crate::report::{Chart, Check, Report};
use crate::verdict::Verdict;

/// What a section is given besides its models.
pub struct Context<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// The machine's choices.
    pub machine: &'a Machine,
    /// Hears what goes on.
    pub progress: &'a mut dyn Progress,
}

/// What a section has found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Its checks.
    pub checks: Vec<Check>,
    /// What is better looked at than read.
    pub charts: Vec<Chart>,
}

impl From<Vec<Check>> for Findings {
    fn from(checks: Vec<Check>) -> Findings {
        Findings {
            checks,
            charts: Vec::new(),
        }
    }
}

impl Findings {
    /// Adds what was found elsewhere.
    pub fn extend(&mut self, more: Findings) {
        self.checks.extend(more.checks);
        self.charts.extend(more.charts);
    }
}

/// Runs a section on one model. Only for those whose [`Scope`] is models.
pub(crate) fn check_model(id: SectionId, case: &mut Case, cx: &mut Context<'_>) -> Findings {
    match id {
        SectionId::ThreadSafety => thread_safety::check(case, cx),
        SectionId::Efficiency => efficiency::check(case, cx),
        SectionId::Batching => batching::check(case, cx),
        SectionId::Correctness => correctness::check(case, cx),
        SectionId::Soak => soak::check(case, cx),
        SectionId::Stress => stress::check(case, cx),
        SectionId::Leak => leak::check(case, cx),
        SectionId::Churn => churn::check(case, cx),
        SectionId::RealModels => real_models::check(case, cx),
        SectionId::Faults => faults::check(case, cx),
        SectionId::Platform
        | SectionId::CompileStress
        | SectionId::CrashStatus
        | SectionId::SuccessMetrics
        | SectionId::Status => Findings::default(),
    }
}

/// Runs what a section does once, whatever the models.
pub(crate) fn check_device(id: SectionId, cases: &mut [Case], cx: &mut Context<'_>) -> Findings {
    match id {
        SectionId::Platform => platform::check(cx),
        SectionId::CompileStress => compile_stress::check(cx),
        // Models beside each other.
        SectionId::RealModels => real_models::check_together(cases, cx),
        _ => Findings::default(),
    }
}

/// Concludes from what the report has so far.
pub(crate) fn check_report(id: SectionId, report: &Report) -> Findings {
    match id {
        SectionId::CrashStatus => crash_status::check(report),
        SectionId::SuccessMetrics => success_metrics::check(report),
        SectionId::Status => status::check(report),
        _ => Findings::default(),
    }
}

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
        Running::of(Check::new(id, &case.name, what, unit), progress)
    }

    /// Starts a check of a section that is about no model.
    pub fn start_of_device(
        section: SectionId,
        id: &str,
        what: &str,
        unit: &str,
        progress: &'a mut dyn Progress,
    ) -> Running<'a> {
        let id = format!("{}/{id}", section.name());
        Running::of(Check::new(id, "", what, unit), progress)
    }

    fn of(check: Check, progress: &'a mut dyn Progress) -> Running<'a> {
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
        Effort::Standard | Effort::Full => 1_000_000_000,
    };
    case.flops_per_row > most
}

/// Did calls hang? Then threads of ours still sit in the subject, and what follows would measure them.
pub(crate) fn hung(tally: &Tally) -> bool {
    matches!(tally.abandoned, Some(Abandoned::Hung { .. }))
}
