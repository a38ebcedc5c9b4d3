//! The canonical arithmetic, version 1: what every device computes in `f32`.
//!
//! The one idea: floating-point addition is not associative, so a result has well-defined bits only if the *order* of its operations is
//! part of its definition. Each order below is a compromise that every device can follow at full speed: long enough chains for the
//! registers of a CPU, short enough ones for the warps of a GPU. Nothing in it depends on batch size, position, thread count,
//! instruction set, addresses or time.
//!
//! Changing any bit of it is a new [`ARITHMETIC_VERSION`], because it changes users' answers.
//!
//! # Values
//!
//! * Every operation is IEEE 754 binary32, round to nearest, ties to even, subnormals kept, never contracted or reassociated beyond what
//!   is written here. `fma(a, b, c)` is `a * b + c` rounded once.
//! * All NaNs count as one: which NaN comes out is not defined, that one comes out is. [`same_bits`] compares in that sense.
//! * `max`, `min`, `Relu`, `Clip` and `MaxPool` propagate NaN, and +0 is above -0 ([`max`], [`min`]).
//! * Float to integer truncates, saturates, and turns NaN into 0. Integers wrap. Dividing an integer by zero is an error of the
//!   operator, never a value.
//!
//! # Long sums: MatMul, Gemm, Conv, ConvTranspose, recurrent cells, attention's products
//!
//! K is cut into [`SLICE`] = 256 products. A slice is one chain `s = fma(a_k, b_k, s)` in rising k, from +0. The total starts at +0 and the
//! slices are added to it in order, so that even a single slice is added to +0 and a total is never -0. Then, in this order and only
//! where present: `alpha * total` if alpha is not 1; the bias, `+ c`, or `fma(beta, c, total)` if beta is not 1; the activation. See
//! [`long_sum`] and [`Epilogue`].
//!
//! * Convolution: k runs over (kz, ky, kx, ci) with ci fastest, within the group, whatever the layout of the data. A tap in the padding is
//!   a product with +0 in its place: it counts for the slices, and `0 * inf` is NaN there as elsewhere. A kernel may leave such taps
//!   out only if the weights are finite; since a total is never -0, the bits then agree. See [`conv`].
//! * Transposed convolution: every output is a long sum over all (kz, ky, kx, ci); a tap that does not reach the output is a product with +0
//!   in its place, so slices do not depend on position. See [`conv_transpose`].
//!
//! # Reductions, softmax, normalisations, pooling
//!
//! * Over axes that are exactly the last ones of the tensor: [`Order::Lanes`], blocks of 1024 elements over 32 virtual lanes.
//! * Over any other set of axes, and in every pooling: [`Order::Slices`], chains of 256. The ONNX axes decide, never the layout, and an axis of
//!   length 1 is an axis.
//! * A mean is the sum divided by the count. A variance takes two passes. [`softmax`], [`layer_norm_row`] and their kin have one formula each.
//! * `CumSum` is one chain in the direction of the sum, from +0, without slices.
//!
//! # Functions
//!
//! [`Unary`] and [`Binary`] give the formula of each. `exp`, `expm1`, `log`, `tanh`, `erf` and `sigmoid` are f32 polynomials with the constants of
//! [`coefficients`]; trigonometry, hyperbolic functions other than `tanh`, and powers are evaluated in f64 with `+ - * /` and square root only
//! (no fused operation) and rounded once to f32.
//!
//! # Recurrent cells
//!
//! `(xW) + (hR) + b`, from the left, with `b = Wb + Rb` rounded first; then [`lstm_state`], [`gru_state`] and their kin.
//!
//! # Other types
//!
//! f16 and bf16 values are widened exactly, computed in f32, and rounded once (ties to even) per value of the graph. int8 products are
//! summed exactly in i32, which wraps. f64 tensors are computed by the same structures in f64, with the standard library's functions: the
//! promise of equal bits is made for f32.

mod accurate;
mod binary;
mod bits;
pub mod coefficients;
mod conv;
mod double;
mod elementary;
#[cfg(test)]
mod fingerprints;
mod fma;
mod gemm;
mod narrow;
mod pool;
mod real;
mod recurrent;
mod reduce;
mod rows;
mod unary;

pub use binary::Binary;
pub use bits::{Difference, first_difference, same_bits};
pub use conv::{ConvShape, conv, conv_transpose};
pub use fma::fma_f32;
pub use gemm::{Epilogue, MatrixRef, SLICE, dot, gemm, long_sum};
pub use narrow::{
    dequantize, f32_to_bf16, f32_to_f16, f64_to_bf16, f64_to_f16, integer_sum, quantize,
};
pub use pool::{PoolShape, average_pool, max_pool};
pub use real::{Real, clip, max, min};
pub use recurrent::{
    gate_input, gru_candidate_after_product, gru_state, lstm_output, lstm_state, peephole,
};
pub use reduce::{
    BLOCK, LANES, Order, Reduction, fold, maximum, reduce, reduce_last, reduce_strided, sum,
    sum_squares,
};
pub use rows::{
    batch_norm_factors, instance_norm_row, layer_norm_row, log_softmax, log_softmax_row, moments,
    rms_norm_row, softmax, softmax_row,
};
pub use unary::Unary;

/// The version of the canonical arithmetic that this crate defines. Reports print it; a change of any bit raises it.
pub const ARITHMETIC_VERSION: u32 = 1;
