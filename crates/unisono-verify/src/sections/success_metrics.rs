//! Success metrics.

use super::{Description, Findings, Scope};
use crate::report::Report;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "success-metrics",
    title: "Success metrics",
    scope: Scope::Report,
    proves: "The targets of the original programme, with figures that were measured in this run.",
    claim: "the targets of the original programme are met",
    cannot: "Targets that the hardware cannot reach are called so, with the arithmetic.",
    checks: &[],
};

/// Concludes from what the report has so far.
pub fn check(_report: &Report) -> Findings {
    Findings::default()
}
