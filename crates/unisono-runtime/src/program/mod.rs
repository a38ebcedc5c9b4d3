//! What every device does on the way from a graph to a program, whatever its kernels are.
//!
//! The one idea: shapes, lifetimes and the rules by which rows are put together and cut apart follow from the graph alone, so
//! devices decide them in one way. [`facts`] puts the number of rows into what inference said, [`fate`] says which nodes must
//! run, [`arena`] which bytes each value has, [`work`] counts what a graph costs, [`outputs`] has memory for answers before the
//! run, and [`staging`] makes one block of the members of a batch.
//!
//! It must never know a kernel, and no device's memory.

pub mod arena;
mod copies;
pub mod facts;
pub mod fate;
pub mod outputs;
pub mod staging;
pub mod work;

pub use facts::{Known, concretise};
pub use fate::{Fate, fates, is_literal, is_view};
