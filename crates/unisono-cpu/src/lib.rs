//! See the module list.
pub mod gemm;
pub mod memory;
pub mod simd;
