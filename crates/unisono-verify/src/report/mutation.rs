//! The mutation score, as data.

use serde::{Deserialize, Serialize};

use crate::sections::SectionId;
use crate::verdict::Verdict;

/// What became of the parts that were broken on purpose, one at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MutationRecord {
    /// Mutants that a run of a section can show.
    pub total: usize,
    /// How many of them were killed.
    pub killed: usize,
    /// All mutants, those that no run can show included.
    pub mutants: Vec<MutantRecord>,
    /// The sections without a mutant: where one is not green, a kill by it means nothing.
    pub sections: Vec<UnbrokenRecord>,
    /// Checks that were run and killed no mutant.
    pub vacuous: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// One part that was broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MutantRecord {
    /// The mutant's name.
    pub name: String,
    /// What is broken.
    pub broken: String,
    /// What became of it.
    pub fate: Fate,
    /// The checks that killed it, by id, in the order in which they saw it.
    pub killed_by: Vec<String>,
    /// How it showed, or why not.
    pub how: String,
    /// The sections that were run with it.
    pub sections: Vec<SectionId>,
    /// How long it took.
    pub seconds: f64,
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// A check saw it.
    #[serde(rename = "KILLED")]
    Killed,
    /// The checks passed as if nothing were broken.
    #[serde(rename = "SURVIVED")]
    Survived,
    /// Its sections are not green without it either, or could not be run.
    #[serde(rename = "COULD-NOT-RUN")]
    CouldNotRun,
    /// No run on a machine like this one can show it; another tool kills it.
    #[serde(rename = "NOT-DISTINGUISHABLE")]
    NotDistinguishable,
}

impl Fate {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Fate::Killed => "KILLED",
            Fate::Survived => "SURVIVED",
            Fate::CouldNotRun => "COULD-NOT-RUN",
            Fate::NotDistinguishable => "NOT-DISTINGUISHABLE",
        }
    }
}

/// A section without a mutant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnbrokenRecord {
    /// Which.
    pub section: SectionId,
    /// How many checks it made.
    pub checks: usize,
    /// Why a kill by it would mean nothing; `None` if it is green.
    pub trouble: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl MutationRecord {
    /// Passed only if every mutant that can be shown was killed.
    pub fn verdict(&self) -> Verdict {
        let fates = || self.mutants.iter().map(|mutant| mutant.fate);
        if fates().any(|fate| fate == Fate::Survived) {
            Verdict::Fail
        } else if self.total == 0 || fates().any(|fate| fate == Fate::CouldNotRun) {
            Verdict::CouldNotRun
        } else {
            Verdict::Pass
        }
    }

    /// The score in words: `killed 22 of 22`.
    pub fn score(&self) -> String {
        format!("killed {} of {}", self.killed, self.total)
    }
}
