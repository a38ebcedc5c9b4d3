//! What happens to a finished sum before it leaves the cache: scale, bias, residual, activation.
//!
//! The order is the canonical one, and every step is an elementwise operation of its own with its own rounding, so it does not matter
//! into which pieces C is cut, nor whether a step is done here or by an operator of its own.

use std::ops::Range;

use unisono_reference::arith::{MatrixRef, Unary, fma_f32};

use super::pack::assert_covers;
use crate::simd::Isa;

/// `activation(alpha * total + beta * bias + residual)`, each step only where present.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Scales the total; 1 means that no multiplication takes place.
    pub alpha: f32,
    /// Scales the bias; 1 means a plain addition, anything else one fused multiply-add.
    pub beta: f32,
    /// Added next. Strides of 0 broadcast it: [`MatrixRef::repeat_row`], [`MatrixRef::repeat_col`].
    pub bias: Option<MatrixRef<'a, f32>>,
    /// Added after the bias: the other branch of a residual block. Row strides of its own.
    pub residual: Option<MatrixRef<'a, f32>>,
    /// Applied last.
    pub activation: Option<Unary>,
}

impl Default for Epilogue<'_> {
    /// Leaves a total as it is.
    fn default() -> Self {
        Self {
            alpha: 1.0,
            beta: 1.0,
            bias: None,
            residual: None,
            activation: None,
        }
    }
}

impl Epilogue<'_> {
    /// Panics unless bias and residual cover m x n.
    pub(crate) fn check(&self, m: usize, n: usize) {
        if let Some(bias) = &self.bias {
            assert_covers(bias, m, n, "the bias");
        }
        if let Some(residual) = &self.residual {
            assert_covers(residual, m, n, "the residual");
        }
    }

    fn is_identity(&self) -> bool {
        self.alpha == 1.0
            && self.bias.is_none()
            && self.residual.is_none()
            && self.activation.is_none()
    }

    /// Finishes `rows` x `cols` of C, of which `c` is the element (0, 0).
    ///
    /// # Safety
    /// `isa` is available, the range of C (rows `c_step` apart) is writable by this caller alone, and [`Epilogue::check`] passed for a C
    /// that contains the range.
    pub(crate) unsafe fn apply(
        &self,
        isa: Isa,
        c: *mut f32,
        c_step: usize,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        if self.is_identity() {
            return;
        }
        for i in rows {
            // SAFETY: the row's part of C is the caller's alone.
            let row = unsafe {
                std::slice::from_raw_parts_mut(c.add(i * c_step + cols.start), cols.len())
            };
            // SAFETY: `isa` is available.
            unsafe { self.finish_row_on(isa, i, cols.start, row) };
        }
    }

    /// # Safety
    /// `isa` is available.
    unsafe fn finish_row_on(&self, isa: Isa, i: usize, j: usize, row: &mut [f32]) {
        match isa {
            // SAFETY: the caller says that the instruction set is available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { self.finish_row_avx512(i, j, row) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { self.finish_row_avx2(i, j, row) },
            _ => self.finish_row(i, j, row, fma_f32),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    fn finish_row_avx512(&self, i: usize, j: usize, row: &mut [f32]) {
        self.finish_row(i, j, row, f32::mul_add);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn finish_row_avx2(&self, i: usize, j: usize, row: &mut [f32]) {
        self.finish_row(i, j, row, f32::mul_add);
    }

    /// Finishes the row's elements (i, j..). Written so that a compiler can put the lanes of a vector across `row`.
    #[inline(always)]
    fn finish_row(&self, i: usize, j: usize, row: &mut [f32], fma: impl Fn(f32, f32, f32) -> f32) {
        if self.alpha != 1.0 {
            row.iter_mut().for_each(|y| *y *= self.alpha);
        }
        if let Some(bias) = &self.bias {
            if self.beta == 1.0 {
                add_row(bias, i, j, row, |y, c| y + c);
            } else {
                add_row(bias, i, j, row, |y, c| fma(self.beta, c, y));
            }
        }
        if let Some(residual) = &self.residual {
            add_row(residual, i, j, row, |y, c| y + c);
        }
        match self.activation {
            None => {}
            // A NaN is unordered, so it takes the `else`; -0 is not above +0 and takes the first branch.
            Some(Unary::Relu) => row
                .iter_mut()
                .for_each(|y| *y = if *y <= 0.0 { 0.0 } else { *y }),
            Some(Unary::LeakyRelu { alpha }) => row
                .iter_mut()
                .for_each(|y| *y = if *y < 0.0 { alpha * *y } else { *y }),
            Some(activation) => row.iter_mut().for_each(|y| *y = activation.eval(*y)),
        }
    }
}

/// Combines the elements (i, j..) of `matrix` with `row`.
#[inline(always)]
fn add_row(
    matrix: &MatrixRef<'_, f32>,
    i: usize,
    j: usize,
    row: &mut [f32],
    combine: impl Fn(f32, f32) -> f32,
) {
    let from = i * matrix.row_stride + j * matrix.col_stride;
    match matrix.col_stride {
        0 => {
            let c = matrix.data[from];
            row.iter_mut().for_each(|y| *y = combine(*y, c));
        }
        1 => {
            let values = &matrix.data[from..from + row.len()];
            row.iter_mut()
                .zip(values)
                .for_each(|(y, &c)| *y = combine(*y, c));
        }
        stride => row
            .iter_mut()
            .enumerate()
            .for_each(|(at, y)| *y = combine(*y, matrix.data[from + at * stride])),
    }
}
