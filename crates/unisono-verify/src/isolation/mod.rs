//! Each section in a process of its own: a crash, a hang and exhausted memory are results, not the end of the run.
//!
//! The one idea: the program starts itself again for every section. The parent writes a [`Task`] to the child's standard input and
//! reads `Event`s, one JSON object a line, from its standard output, until the last one brings the section. Whatever happens
//! instead (a signal, an exit without a report, silence, no memory) is told in the section's
//! [`ProcessRecord`](crate::report::ProcessRecord), beside the checks that had come to a verdict before.
//!
//! It must never wait for ever, and never take an end that it does not understand for a good one.

mod child;
mod end;
mod injury;
mod parent;

use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

pub use child::serve;
pub use injury::Injury;

use crate::ledger::{Crash, Ledger};
use crate::options::Options;
use crate::progress::Progress;
use crate::report::{Check, ProcessEnd, Report};
use crate::run::{Ran, VerifyError, run_with};
use crate::sections::SectionId;

/// What a child is to do. The first and only line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The section to run.
    pub section: SectionId,
    /// What was asked for.
    pub options: Options,
    /// The part that is broken on purpose; only a build with the feature `mutants` can do that.
    pub mutant: Option<String>,
    /// How the process is to come to harm, to see that this is told.
    pub injury: Option<Injury>,
}

/// What a child says, one a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    /// A check goes on.
    Step {
        model: String,
        what: String,
        done: u64,
        total: u64,
    },
    /// A check has come to its verdict.
    Finished(Box<Check>),
    /// The section is complete.
    Done(Box<Ran>),
    /// There is no device, or the task makes no sense.
    Failed(String),
}

/// How children are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; it must then call [`serve`].
    pub arguments: Vec<String>,
}

impl Launcher {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// A run in which each section has a process of its own.
#[derive(Clone, Debug)]
pub struct Isolated {
    /// How children are started.
    pub launcher: Launcher,
    /// The section that is to come to harm, and how.
    pub injury: Option<(SectionId, Injury)>,
    /// Where crashes are remembered; `None` for nowhere.
    pub ledger: Option<Ledger>,
}

impl Isolated {
    /// Children of this program, started by these arguments; crashes are remembered in the user's state folder.
    pub fn new(launcher: Launcher) -> Isolated {
        Isolated {
            launcher,
            injury: None,
            ledger: Ledger::of_user(),
        }
    }

    /// Runs the verification and reports. What goes wrong with a section or a model is in the report, not an error.
    ///
    /// # Errors
    /// The options name something that no model has, or the device cannot be set up.
    pub fn run(
        &self,
        options: &Options,
        progress: &mut dyn Progress,
    ) -> Result<Report, VerifyError> {
        let mut book = self.ledger.as_ref().map(|ledger| ledger.open());
        let section = |id: SectionId, progress: &mut dyn Progress| {
            let injury = self.injury.filter(|(section, _)| *section == id);
            let task = Task {
                section: id,
                options: options.clone(),
                mutant: None,
                injury: injury.map(|(_, injury)| injury),
            };
            self.section(&task, progress)
        };
        run_with(options, progress, section, |report| {
            let crashes = report.sections.iter().filter_map(|section| {
                let process = section.process.as_ref()?;
                (process.end != ProcessEnd::Good).then(|| Crash {
                    section: section.id.name().to_owned(),
                    what: process.what.clone(),
                })
            });
            let crashes: Vec<Crash> = crashes.collect();
            report.crashes = book.take().map(|book| book.close(&report.header, &crashes));
        })
    }

    /// Runs one section in a process of its own.
    ///
    /// # Errors
    /// The child says that there is no device.
    pub fn section(&self, task: &Task, progress: &mut dyn Progress) -> Result<Ran, VerifyError> {
        parent::run(&self.launcher, task, progress)
    }
}
