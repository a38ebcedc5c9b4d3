//! Running programs on a device.
//!
//! The one idea: a batch is put together in page-locked memory, runs as one captured graph, and is cut apart again. A program for
//! so many rows serves every batch of at most as many ([`bucket`]); a lane captures it once and launches it from then on. What
//! cannot run on the device runs on the processor, with the same bits: single nodes between two graphs ([`run`]), and whole plans
//! ([`plan`]). Which branches requests take is found out before ([`choice`]), so that programs have none ([`variant`]).
//!
//! All `unsafe` of this crate outside of the driver is in [`run`], and in [`ceilings`], which only measures.

pub(crate) mod bucket;
pub(crate) mod ceilings;
pub(crate) mod choice;
#[cfg(test)]
mod choice_tests;
pub(crate) mod cost;
pub(crate) mod engine;
#[cfg(test)]
mod fault_tests;
pub(crate) mod lane;
pub(crate) mod model;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod run;
#[cfg(test)]
mod tests;
pub(crate) mod variant;
