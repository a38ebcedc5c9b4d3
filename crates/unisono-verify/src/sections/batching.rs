//! Chapter 3: batching advantage.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
/// Evidence: no-timer
pub const DESCRIPTION: Description = Description {
    name: "batching",
    title: "Chapter 3: batching advantage",
    scope: Scope::Models(&[SeedModel::Transformer, SeedModel::Mlp]),
    proves: "Callers that know nothing of each other share batches, and it costs them no more than waking up.",
    claim: "callers share batches at no more than the cost of waking them",
    cannot: "What batches are worth to a model whose rows must be run one by one.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
