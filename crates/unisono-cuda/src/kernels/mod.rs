//! The kernels that ship as PTX, and for each a function that builds its launch.

pub mod conv;
pub mod functions;
pub mod gemm;
pub mod tile;
