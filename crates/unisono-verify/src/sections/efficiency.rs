//! Chapter 2: efficiency ceiling.

use super::{Context, Description, Findings, Scope};
use crate::case::Case;
use crate::seed::SeedModel;

/// What it says of itself.
pub const DESCRIPTION: Description = Description {
    name: "efficiency",
    title: "Chapter 2: efficiency ceiling",
    scope: Scope::Models(&[SeedModel::Transformer, SeedModel::Mlp]),
    proves: "Many callers of one row each get out of the device what it gives to explicit batches.",
    claim: "many callers get what the device gives to explicit batches",
    cannot: "What another machine reaches; nor that the device itself could not be faster.",
    checks: &[],
};

/// Checks one model.
pub fn check(_case: &mut Case, _cx: &mut Context<'_>) -> Findings {
    Findings::default()
}
