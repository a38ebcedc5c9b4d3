//! Verification status.

use super::{Description, Findings, Scope};
use crate::report::Report;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "status",
    title: "Verification status",
    scope: Scope::Report,
    proves: "Which claims of the documentation have which evidence.",
    claim: "the documented claims have evidence",
    cannot: "What is listed as not covered.",
    checks: &[],
};

/// Concludes from what the report has so far.
pub fn check(_report: &Report) -> Findings {
    Findings::default()
}
