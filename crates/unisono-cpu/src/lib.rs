//! See the module list.
pub mod conv;
pub mod gemm;
pub mod memory;
pub mod simd;
