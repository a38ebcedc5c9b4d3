//! The mutation score: every check can fail (contract C8).
//!
//! The one idea: a mutant is a build in which one part can be broken on purpose. For each, the sections that guard that part
//! run in a process in which it is broken, and must turn red, hang or crash. The same section is run once with nothing broken: if
//! it is not green then, what it says of a mutant means nothing.
//!
//! Only a build with the Cargo feature `mutants` has mutants. The scoring itself is here in every build, over any [`Runner`], so that
//! its tests can put a runner in place that lies.
//!
//! It must never count a check that passed, or one that could not run, as a kill.

mod isolated;
mod runner;
mod score;
#[cfg(feature = "mutants")]
mod table;

pub use runner::{End, Job, Run, Runner};
pub use score::{Target, Trial, score};

#[cfg(feature = "mutants")]
pub use table::targets;

#[cfg(feature = "mutants")]
mod entry {
    use std::time::{Duration, Instant};

    use super::{Runner, score, targets};
    use crate::options::{Effort, Options};
    use crate::progress::Progress;
    use crate::report::Report;
    use crate::run::{VerifyError, empty_report};

    /// How long a soak lasts, unless it is said: enough for what a mutant does to it.
    const SOAK: Duration = Duration::from_secs(3);

    /// Breaks one part after the other and reports which checks saw it. The report has no sections of its own.
    ///
    /// # Errors
    /// The device cannot be set up.
    pub fn run_mutants(
        options: &Options,
        runner: &mut dyn Runner,
        progress: &mut dyn Progress,
    ) -> Result<Report, VerifyError> {
        let started = Instant::now();
        // The least work that turns them red.
        let mut options = options.clone();
        options.effort = Effort::Quick;
        options.soak.get_or_insert(SOAK);
        options.models.clear();
        options.sections.clear();
        let mut report = empty_report(&options, &[])?;
        let mutation = score(&targets(), &options, runner, progress);
        report.verdict = mutation.verdict();
        report.mutation = Some(mutation);
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }
}

#[cfg(feature = "mutants")]
pub use entry::run_mutants;
