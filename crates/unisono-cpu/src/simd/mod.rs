//! Vectors: one kernel source, equal bits on every instruction set.
//!
//! The one idea: a kernel is a function generic over [`Simd`], written once in terms of operations that every instruction set rounds
//! alike; [`dispatch`] compiles it for each of them and enters the one that the caller names. Since no operation here leaves room (`fma` is
//! fused everywhere, `max` has one answer for NaN and for zeros of either sign), neither does the result.
//!
//! A value of a type that implements [`Simd`] is a token: it exists only where the machine has the instructions, so its methods are
//! safe to call. It must never be made outside of [`dispatch`], but for
//! the microkernels of the matrix product, which are chosen once for many calls.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod fp_env;
mod functions;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod vector;
mod visit;

pub use fp_env::FpEnv;
pub use functions::{erf, exp, log, mish, sigmoid, softplus, tanh};
pub use isa::{Isa, UnknownIsa};
pub use scalar::Scalar;
pub use vector::Simd;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::token as avx2_token;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::token as avx512_token;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::token as neon_token;

pub(crate) use visit::HardSwish;
pub use visit::{BinaryFunction, BinaryVisitor, Function, UnaryVisitor, visit_binary, visit_unary};

/// Work that can be done with any instruction set.
pub trait Kernel {
    /// What it returns.
    type Output;

    /// Does the work. Mark implementations, and what they call for each vector, `#[inline(always)]`: only what is inlined into
    /// [`dispatch`]'s entry is compiled with the instructions.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs a kernel with the given instructions. If the machine lacks them the kernel runs scalar: slower, with the same bits.
pub fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => {
            // SAFETY: the machine has the instructions.
            unsafe { avx512::enter(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => {
            // SAFETY: the machine has the instructions.
            unsafe { avx2::enter(kernel) }
        }
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::enter(kernel),
        _ => kernel.run(Scalar),
    }
}
