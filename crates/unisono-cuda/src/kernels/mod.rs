//! The kernels that ship as PTX, and for each a function that builds its launch.

pub mod elementwise;
pub mod functions;
pub mod map;
pub mod movement;
pub mod pool;
pub mod rows;
