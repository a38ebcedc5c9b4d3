//! The CPU device: kernels in the canonical arithmetic, and the executor that runs a graph with them.
//!
//! The one idea: every kernel computes the same long sums, trees and polynomials in the same order, whatever the
//! instruction set, the number of threads and the tile (see `unisono_reference::arith`). What is left free, and used
//! for speed, is which outputs are computed side by side.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`device()`] | the device and its options |
//! | [`exec`] | plans, programs, the arena, running |
//! | [`kernels`] | operators' kernels by family |
//! | [`gemm`], [`conv`] | the matrix product, convolution and pooling on slices |
//! | [`movement`] | moving elements: planes turned, runs copied |
//! | [`host`] | nodes and plans on behalf of another device |
//! | [`simd`] | vectors with equal bits on every instruction set |
//! | [`memory`] | aligned buffers, scratch memory per thread |
//! | [`roofline`] | what the machine can do at best, to compare with |
//!
//! It never locks, spawns or waits itself: threads and lanes are `unisono-runtime`'s.

pub mod conv;
mod device;
pub mod exec;
pub mod fuse;
pub mod gemm;
pub mod host;
pub mod kernels;
pub mod memory;
pub mod movement;
pub mod roofline;
pub mod simd;

pub use device::{CpuOptions, backend, device};
pub use simd::Isa;
