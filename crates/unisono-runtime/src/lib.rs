//! See the module list.

pub mod sync;
pub mod team;
