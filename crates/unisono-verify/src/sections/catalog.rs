//! Which sections there are, in the order of the report, and what each says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::seed::SeedModel;

use super::*;

/// A part of the verification that can be asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionId {
    /// The machine's promises to a concurrent program, A.001 to A.008.
    Platform,
    /// Chapter 1 of the story.
    ThreadSafety,
    /// Chapter 2 of the story.
    Efficiency,
    /// Chapter 3 of the story.
    Batching,
    /// Chapter 4 of the story.
    Correctness,
    /// A long load.
    Soak,
    /// Short heavy loads.
    Stress,
    /// What is made is unmade.
    Leak,
    /// Threads that come and go.
    Churn,
    /// Several models at once.
    RealModels,
    /// Many plans at once.
    CompileStress,
    /// Faults on purpose.
    Faults,
    /// Processes that ended badly.
    CrashStatus,
    /// The figures against their targets.
    SuccessMetrics,
    /// The claims and their evidence.
    Status,
}

/// What a section works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The user's models, or these without any.
    Models(&'static [SeedModel]),
    /// The machine and the device, with models of its own.
    Device,
    /// What the other sections have found; it needs no process of its own.
    Report,
}

/// What a section says of itself.
#[derive(Debug)]
pub struct Description {
    /// The name on the command line.
    pub name: &'static str,
    /// The heading in the report.
    pub title: &'static str,
    /// What it works on.
    pub scope: Scope,
    /// What a pass of it shows.
    pub proves: &'static str,
    /// The same as part of a sentence, after "On this machine".
    pub claim: &'static str,
    /// What it does not show.
    pub cannot: &'static str,
    /// What its checks do, by the words with which their names begin.
    pub checks: &'static [(&'static str, &'static str)],
}

impl SectionId {
    /// All of them, in the order of the report.
    pub const ALL: [SectionId; 15] = [
        SectionId::Platform,
        SectionId::ThreadSafety,
        SectionId::Efficiency,
        SectionId::Batching,
        SectionId::Correctness,
        SectionId::Soak,
        SectionId::Stress,
        SectionId::Leak,
        SectionId::Churn,
        SectionId::RealModels,
        SectionId::CompileStress,
        SectionId::Faults,
        SectionId::CrashStatus,
        SectionId::SuccessMetrics,
        SectionId::Status,
    ];

    /// What it says of itself.
    pub const fn description(self) -> &'static Description {
        match self {
            SectionId::Platform => &platform::DESCRIPTION,
            SectionId::ThreadSafety => &thread_safety::DESCRIPTION,
            SectionId::Efficiency => &efficiency::DESCRIPTION,
            SectionId::Batching => &batching::DESCRIPTION,
            SectionId::Correctness => &correctness::DESCRIPTION,
            SectionId::Soak => &soak::DESCRIPTION,
            SectionId::Stress => &stress::DESCRIPTION,
            SectionId::Leak => &leak::DESCRIPTION,
            SectionId::Churn => &churn::DESCRIPTION,
            SectionId::RealModels => &real_models::DESCRIPTION,
            SectionId::CompileStress => &compile_stress::DESCRIPTION,
            SectionId::Faults => &faults::DESCRIPTION,
            SectionId::CrashStatus => &crash_status::DESCRIPTION,
            SectionId::SuccessMetrics => &success_metrics::DESCRIPTION,
            SectionId::Status => &status::DESCRIPTION,
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        self.description().name
    }

    /// The heading in the report.
    pub const fn title(self) -> &'static str {
        self.description().title
    }

    /// The section of this name.
    pub fn from_name(name: &str) -> Option<SectionId> {
        SectionId::ALL
            .into_iter()
            .find(|section| section.name() == name)
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_report_and_lead_back() {
        for id in SectionId::ALL {
            assert_eq!(SectionId::from_name(id.name()), Some(id));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, format!("\"{}\"", id.name()));
        }
    }
}
