//! How a graph becomes a program for these shapes, and how that runs.
//!
//! The one idea: everything that can be known before a run is done before it. A `plan::CpuPlan` holds what inference
//! says with the number of rows left open; for each number of rows seen it makes a `program::Program`, in which
//! every value has its shape and its place, every node its kernel, and the arena its layout. Running one is a walk
//! over a list; several requests are one walk (`batch`), and programs for different shapes are walked in lockstep, so that
//! they share weights (`run::lockstep`). Nodes whose shapes depend on data stand in the same list and find their places as they run.

pub(crate) mod batch;
pub(crate) mod cost;
pub mod kernel;
pub mod lane;
pub mod model;
pub mod plan;
mod profile;
pub mod program;
pub(crate) mod run;
