//! Matrix products: `MatMul`, `Gemm`, their fused forms, and the integer product.
//!
//! The one idea: one operator, [`Linear`], says everything that a product may carry, so one kernel serves `MatMul`, `Gemm`
//! and what rewrites make of a product, its bias and its activation.

use super::activation::Activation;

/// `activation(alpha * (a' b') + beta * c)`. Inputs: `a`, `b`, optionally `c`. Kind `Linear`.
///
/// `a` is `[..., M, K]` (`[..., K, M]` if `transpose_a`), `b` is `[..., K, N]` (`[..., N, K]` if `transpose_b`); leading axes
/// broadcast; the output is `[..., M, N]`. Without transposes an operand of rank 1 is a row on the left and a column on
/// the right, and its axis is missing from the output (numpy's `matmul`). `c` stretches to the output's shape and never
/// the other way.
///
/// The order is that of the canonical arithmetic: the total, times alpha if it is not 1, plus `c` (or `fma(beta, c, total)` if beta is
/// not 1), the activation. Types: floats; without an activation also i32, i64, u32 and u64, which wrap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Read `a` with its last two axes swapped.
    pub transpose_a: bool,
    /// Read `b` with its last two axes swapped.
    pub transpose_b: bool,
    /// The factor of the product.
    pub alpha: f32,
    /// The factor of `c`.
    pub beta: f32,
    /// Applied last.
    pub activation: Option<Activation>,
    /// The model wrote `Gemm`: both operands have rank 2. Only [`name`](crate::Operator::name) and checks look at it.
    pub gemm: bool,
}

/// `(a - a_zero_point) (b - b_zero_point)` of 8-bit integers, summed exactly in i32. Inputs: `a`, `b` (shapes as for [`Linear`]
/// without transposes), optionally their zero points: scalars, or for `a` one per row (`[M]` or `[..., M, 1]`), for `b` one per column (`[N]`
/// or `[..., 1, N]`). Kind `MatMulInteger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulInteger;

impl Default for Linear {
    /// A plain matrix product.
    fn default() -> Linear {
        Linear {
            transpose_a: false,
            transpose_b: false,
            alpha: 1.0,
            beta: 1.0,
            activation: None,
            gemm: false,
        }
    }
}
