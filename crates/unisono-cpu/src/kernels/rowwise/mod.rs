//! Kernels along rows: elementwise functions, reductions, softmax and normalisations, as pure functions on slices.
//!
//! The one idea: each has the canonical order of operations of `unisono_reference::arith` built in as virtual lanes, so that it equals the
//! reference bit for bit on every instruction set, and rows never see each other. They know nothing of graphs, threads or memory plans;
//! they allocate nothing.
//!
//! A kernel takes its data as [`InOut`]: two slices, or one slice that it works on in place.
//!
//! ```
//! use unisono_cpu::kernels::rowwise::{softmax_rows, unary};
//! use unisono_cpu::simd::Isa;
//! use unisono_reference::arith::Unary;
//!
//! let x = [0.0, 1.0, 2.0, 3.0];
//! let mut y = [0.0; 4];
//! unary(Isa::detect(), Unary::Exp, (&x[..], &mut y[..]));
//! assert_eq!(y[0], 1.0);
//! softmax_rows(Isa::detect(), 2, &mut y[..]);
//! assert!((y[2] + y[3] - 1.0).abs() < 1e-6);
//! ```

mod chain;
mod elementwise;
mod in_out;
mod normalize;
mod recurrent;
mod reduce;
mod softmax;
#[cfg(test)]
mod tests;

pub use elementwise::{Operand, binary, binary_in_place, unary};
pub use in_out::InOut;
pub use normalize::{group_norm, layer_norm_rows, rms_norm_rows, scale_shift_planes};
pub use recurrent::{Gates, gru_reset_state, gru_step_linear_before_reset, gru_update, lstm_step};
pub use reduce::{average_rows_in_slices, reduce_middle, reduce_rows};
pub use softmax::{log_softmax_rows, softmax_middle, softmax_rows};
