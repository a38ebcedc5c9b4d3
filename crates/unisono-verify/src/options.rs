//! What a run of the verification is asked to do.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::requests::Values;

/// How much work a run does. More work is more power, never another kind of check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Under half a minute on two slow cores.
    Quick,
    /// Under two minutes on two slow cores.
    #[default]
    Standard,
}

/// A part of the verification that can be asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionId {
    /// Chapter 1 of the story.
    #[serde(rename = "thread-safety")]
    ThreadSafety,
    /// Chapter 4 of the story.
    #[serde(rename = "correctness")]
    Correctness,
}

impl SectionId {
    /// All of them, in the order of the report.
    pub const ALL: [SectionId; 2] = [SectionId::ThreadSafety, SectionId::Correctness];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            SectionId::ThreadSafety => "thread-safety",
            SectionId::Correctness => "correctness",
        }
    }

    /// The section of this name.
    pub fn from_name(name: &str) -> Option<SectionId> {
        SectionId::ALL
            .into_iter()
            .find(|section| section.name() == name)
    }

    /// The heading in the report.
    pub const fn title(self) -> &'static str {
        match self {
            SectionId::ThreadSafety => "Chapter 1: thread safety",
            SectionId::Correctness => "Chapter 4: correctness",
        }
    }

    /// What a pass of it shows.
    pub const fn proves(self) -> &'static str {
        match self {
            SectionId::ThreadSafety => {
                "Any number of threads may share one session without a lock, and each gets, bit for bit, the answer \
                 that it would have got alone."
            }
            SectionId::Correctness => {
                "A row's answer does not depend on what else is computed, by how many threads, or with which vector \
                 instructions, and it is the right answer to within a stated bound."
            }
        }
    }

    /// The same as part of a sentence, after "On this machine".
    pub const fn claim(self) -> &'static str {
        match self {
            SectionId::ThreadSafety => "any number of threads may share a session without a lock",
            SectionId::Correctness => {
                "a row's answer is the same to the last bit whatever else is computed with it, and it is the right one"
            }
        }
    }

    /// What its checks do, by the words with which they are listed.
    pub const fn checks(self) -> &'static [(&'static str, &'static str)] {
        match self {
            SectionId::ThreadSafety => &[
                (
                    "1 to 64 callers at once",
                    "that many threads call one session with requests of their own; each answer must be, bit for bit, \
                     the one that was computed beforehand, alone",
                ),
                (
                    "8 callers x 20 requests",
                    "the same with the numbers of the original report, whose callers took turns behind a lock",
                ),
                (
                    "beside refused requests",
                    "half of the callers send what must be refused (a wrong type, a late deadline); nobody's next answer \
                     may change",
                ),
                (
                    "nothing left behind",
                    "everything that was created for the sessions was released with them",
                ),
            ],
            SectionId::Correctness => &[
                (
                    "same bits",
                    "rows in requests of 1 to 16, at every position, beside random, zero and poisoned rows (NaN, \
                     infinity), from 1 to 16 callers at once, on a cold and a warm session: each must be, bit for bit, the \
                     row asked alone",
                ),
                (
                    "plain arithmetic",
                    "the same row by simple scalar code that shares nothing with the device: equal bits",
                ),
                (
                    "64-bit floats",
                    "the same row in higher precision: the largest error, as a share of the largest value, and the bound \
                     that follows from the lengths of the model's sums",
                ),
            ],
        }
    }

    /// What it does not show.
    pub const fn cannot(self) -> &'static str {
        match self {
            SectionId::ThreadSafety => {
                "That no interleaving at all goes wrong: a run sees those that this machine happened to produce, and \
                 the bound says how rare an unseen failure must be."
            }
            SectionId::Correctness => {
                "That the model itself is right: it compares with the model's own arithmetic in higher precision."
            }
        }
    }
}

/// What is said about the inputs that are made up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputOptions {
    /// Open lengths, by symbol.
    pub lengths: Vec<(String, usize)>,
    /// Values, by input.
    pub values: Vec<(String, Values)>,
}

impl InputOptions {
    /// The length given for a symbol.
    pub fn length_of(&self, symbol: &str) -> Option<usize> {
        self.lengths
            .iter()
            .find(|(name, _)| name == symbol)
            .map(|(_, length)| *length)
    }

    /// The values given for an input.
    pub fn values_of(&self, input: &str) -> Option<Values> {
        self.values
            .iter()
            .find(|(name, _)| name == input)
            .map(|(_, values)| *values)
    }
}

/// What to verify.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How much work to do.
    pub effort: Effort,
    /// Model files; none for the seed's models.
    pub models: Vec<PathBuf>,
    /// Sections to run; none for all.
    pub sections: Vec<SectionId>,
    /// The seed of all requests.
    pub seed: u64,
    /// Threads of the device; `None` for all cores.
    pub threads: Option<usize>,
    /// What is said about inputs.
    pub inputs: InputOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            effort: Effort::Standard,
            models: Vec::new(),
            sections: Vec::new(),
            seed: 1,
            threads: None,
            inputs: InputOptions::default(),
        }
    }
}

impl Options {
    /// The sections to run, in the order of the report.
    pub fn chosen_sections(&self) -> Vec<SectionId> {
        let all = SectionId::ALL.into_iter();
        all.filter(|s| self.sections.is_empty() || self.sections.contains(s))
            .collect()
    }
}

/// Something was asked for that makes no sense for the models at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    message: String,
    advice: Option<String>,
}

impl OptionError {
    /// An error without advice.
    pub fn new(message: impl Into<String>) -> OptionError {
        OptionError {
            message: message.into(),
            advice: None,
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn with_advice(self, advice: impl Into<String>) -> OptionError {
        OptionError {
            advice: Some(advice.into()),
            ..self
        }
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OptionError {}
