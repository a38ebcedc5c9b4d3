//! The kernels that ship as PTX, and for each a function that builds its launch.

pub mod conv;
pub mod elementwise;
pub mod functions;
pub mod gemm;
pub mod map;
pub mod movement;
pub mod pool;
pub mod rows;
pub mod tile;
