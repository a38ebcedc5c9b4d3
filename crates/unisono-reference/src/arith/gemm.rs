//! Long sums and the matrix product made of them.
//!
//! The chain along K has a fixed order and fixed cuts; everything over M and N is free. That is all a device needs to know to give the
//! same bits at M = 1 and at M = 4096.

use super::{Real, Unary};

/// How many products of a long sum form one chain.
pub const SLICE: usize = 256;

/// The canonical long sum of `k` products, `term(i)` giving both factors of the i-th: slices of [`SLICE`] fused multiply-adds, each from
/// +0, added in order to a total from +0. It is never -0, and +0 for `k == 0`.
#[inline]
pub fn long_sum<R: Real>(k: usize, mut term: impl FnMut(usize) -> (R, R)) -> R {
    let mut total = R::ZERO;
    let mut start = 0;
    while start < k {
        let end = k.min(start + SLICE);
        let mut slice = R::ZERO;
        for i in start..end {
            let (a, b) = term(i);
            slice = a.fma(b, slice);
        }
        total = total + slice;
        start = end;
    }
    total
}

/// The long sum of the products of two equally long slices.
///
/// # Panics
///
/// If the lengths differ.
pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    assert_eq!(a.len(), b.len(), "a dot product needs equal lengths");
    long_sum(a.len(), |i| (a[i], b[i]))
}

/// A read-only matrix with strides: element (i, j) is `data[i * row_stride + j * col_stride]`. A stride of 0 broadcasts.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRef<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// The distance between rows, in elements.
    pub row_stride: usize,
    /// The distance between columns, in elements.
    pub col_stride: usize,
}

impl<'a, T: Copy> MatrixRef<'a, T> {
    /// A dense matrix, rows one after the other, each of `cols` elements.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        MatrixRef {
            data,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// A matrix whose every row is `row`: the usual bias of a Gemm.
    pub fn repeat_row(row: &'a [T]) -> Self {
        MatrixRef {
            data: row,
            row_stride: 0,
            col_stride: 1,
        }
    }

    /// A matrix whose every column is `col`: the bias of a convolution written as a product.
    pub fn repeat_col(col: &'a [T]) -> Self {
        MatrixRef {
            data: col,
            row_stride: 1,
            col_stride: 0,
        }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        MatrixRef {
            data: self.data,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Element (i, j).
    ///
    /// # Panics
    ///
    /// If it lies outside of the data.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> T {
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// What happens to a long sum after its last slice: `activation(alpha * total + beta * bias)`, in the canonical order.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, R> {
    /// Scales the total; 1 means that no multiplication takes place.
    pub alpha: f32,
    /// Scales the bias; 1 means a plain addition, anything else a fused multiply-add.
    pub beta: f32,
    /// The bias, broadcast through its strides.
    pub bias: Option<MatrixRef<'a, R>>,
    /// Applied last.
    pub activation: Option<Unary>,
}

impl<R> Default for Epilogue<'_, R> {
    /// Leaves a total as it is.
    fn default() -> Self {
        Epilogue {
            alpha: 1.0,
            beta: 1.0,
            bias: None,
            activation: None,
        }
    }
}

impl<R: Real> Epilogue<'_, R> {
    /// The finished value of the output at (i, j) whose long sum is `total`.
    #[inline]
    pub fn finish(&self, total: R, i: usize, j: usize) -> R {
        let mut y = total;
        if self.alpha != 1.0 {
            y = R::from_f32(self.alpha) * y;
        }
        if let Some(bias) = &self.bias {
            let c = bias.at(i, j);
            y = if self.beta == 1.0 {
                y + c
            } else {
                R::from_f32(self.beta).fma(c, y)
            };
        }
        match self.activation {
            Some(f) => f.eval(y),
            None => y,
        }
    }
}

/// `out = activation(alpha * (a x b) + beta * bias)`, with `a` of m x k, `b` of k x n and `out` dense, row-major, m x n.
///
/// # Panics
///
/// If a matrix does not cover its extent or `out` has not m x n elements.
pub fn gemm<R: Real>(
    [m, n, k]: [usize; 3],
    a: MatrixRef<'_, R>,
    b: MatrixRef<'_, R>,
    epilogue: &Epilogue<'_, R>,
    out: &mut [R],
) {
    assert_eq!(out.len(), m * n, "the output of a gemm holds m x n values");
    for i in 0..m {
        for j in 0..n {
            let total = long_sum(k, |p| (a.at(i, p), b.at(p, j)));
            out[i * n + j] = epilogue.finish(total, i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::same_bits;

    #[test]
    fn a_total_is_never_minus_zero() {
        // One product that underflows to -0 in its chain.
        let tiny = f32::MIN_POSITIVE;
        assert!(same_bits(dot(&[tiny], &[-tiny]), 0.0));
        assert!(same_bits(dot(&[-0.0], &[1.0]), 0.0));
        assert!(same_bits(dot::<f32>(&[], &[]), 0.0));
    }

    #[test]
    fn slices_are_cut_every_256_products_and_added_in_order() {
        let a: Vec<f32> = (0..600)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
            .collect();
        let b: Vec<f32> = (0..600)
            .map(|i| ((i * 53 % 97) as f32 - 48.0) / 3.0)
            .collect();
        let chain = |from: usize, to: usize| (from..to).fold(0.0f32, |s, i| a[i].mul_add(b[i], s));
        let expected = ((0.0 + chain(0, 256)) + chain(256, 512)) + chain(512, 600);
        assert!(same_bits(dot(&a, &b), expected));
        assert!(
            !same_bits(dot(&a, &b), chain(0, 600)),
            "the data must tell the orders apart"
        );
    }

    #[test]
    fn strides_transpose_and_broadcast() {
        // a = [[1, 2], [3, 4]], b = [[5, 6], [7, 8]]
        let (a, b) = ([1.0f32, 2.0, 3.0, 4.0], [5.0f32, 6.0, 7.0, 8.0]);
        let (a, b) = (MatrixRef::row_major(&a, 2), MatrixRef::row_major(&b, 2));
        let mut out = [0.0; 4];
        gemm([2, 2, 2], a, b, &Epilogue::default(), &mut out);
        assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
        gemm([2, 2, 2], a.transposed(), b, &Epilogue::default(), &mut out);
        assert_eq!(out, [26.0, 30.0, 38.0, 44.0]);
        let bias = [1.0, -100.0];
        let epilogue = Epilogue {
            alpha: 0.5,
            beta: 2.0,
            bias: Some(MatrixRef::repeat_row(&bias)),
            activation: Some(Unary::Relu),
        };
        gemm([2, 2, 2], a, b, &epilogue, &mut out);
        assert_eq!(out, [11.5, 0.0, 23.5, 0.0]);
        let epilogue = Epilogue {
            bias: Some(MatrixRef::repeat_col(&bias)),
            ..Epilogue::default()
        };
        gemm([2, 2, 2], a, b, &epilogue, &mut out);
        assert_eq!(out, [20.0, 23.0, -57.0, -50.0]);
    }
}
