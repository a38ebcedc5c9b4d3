//! What a run of the verification is asked to do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::requests::Values;
use crate::sections::{Scope, SectionId};

/// How much work a run does. More work is more power, never another kind of check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// About a minute on two slow cores.
    Quick,
    /// About five minutes on two slow cores.
    #[default]
    Standard,
    /// As long as it takes to see rare faults: half an hour and more.
    Full,
}

impl Effort {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Effort::Quick => "quick",
            Effort::Standard => "standard",
            Effort::Full => "full",
        }
    }

    /// One of three amounts of work.
    pub const fn choose<T: Copy>(self, quick: T, standard: T, full: T) -> T {
        match self {
            Effort::Quick => quick,
            Effort::Standard => standard,
            Effort::Full => full,
        }
    }
}

/// What is said about the inputs that are made up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// The device, by its name: `cpu`, `cuda:0`.
    pub device: String,
    /// Threads of the CPU; `None` for all cores. Other devices have none to set.
    pub threads: Option<usize>,
    /// What is said about inputs.
    pub inputs: InputOptions,
    /// How long the soak lasts; `None` for what the effort says.
    pub soak: Option<Duration>,
    /// After how long without any sign of life a section's process counts as hung.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            effort: Effort::Standard,
            models: Vec::new(),
            sections: Vec::new(),
            seed: 1,
            device: "cpu".to_owned(),
            threads: None,
            inputs: InputOptions::default(),
            soak: None,
            patience: Duration::from_secs(300),
        }
    }
}

impl Options {
    /// The sections to run, in the order of the report. For a user's models these are the ones that look at models, unless
    /// others are asked for by name.
    pub fn chosen_sections(&self) -> Vec<SectionId> {
        let concerns = |s: &SectionId| {
            self.models.is_empty() || !matches!(s.description().scope, Scope::Device)
        };
        let all = SectionId::ALL.into_iter();
        all.filter(|s| match &self.sections[..] {
            [] => concerns(s),
            asked => asked.contains(s),
        })
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
