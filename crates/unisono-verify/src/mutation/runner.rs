//! How a section is run with a part broken, seen from the score.

use std::time::Duration;

use crate::options::Options;
use crate::report::Check;
use crate::sections::SectionId;

/// A section to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// Which.
    pub section: SectionId,
    /// How.
    pub options: &'a Options,
    /// The mutant's name; `None` for nothing broken.
    pub mutant: Option<&'a str>,
    /// After how long without any sign of life it counts as hung.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// The longest time without a sign of life.
    pub longest_silence: Duration,
    /// The model and name of the check that was going on when it ended.
    pub last_step: Option<(String, String)>,
}

/// How a run of a section ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, after its last check.
    Done,
    /// By us, because enough was seen.
    Stopped,
    /// By us, because it gave no sign of life for so long.
    Hung(Duration),
    /// Otherwise, in words: a signal, an exit code.
    Crashed(String),
    /// It never began.
    NotStarted(String),
}

/// Runs sections, with a part broken or not, where a crash does no harm.
pub trait Runner {
    /// Runs one. `heard` is told each check when it is over, and says whether to go on.
    fn run(&mut self, job: &Job<'_>, heard: &mut dyn FnMut(&Check) -> bool) -> Run;
}
