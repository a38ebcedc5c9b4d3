//! Statistics: what measured numbers say, and how sure they are.

pub mod order;
pub mod scalability;
