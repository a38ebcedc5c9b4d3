//! Softmax and its logarithm.

use unisono_reference::arith::Unary;

use super::InOut;
use super::chain::{Maximum, Sum, SumExpFrom, fold_lanes, fold_slices};
use crate::simd::{Isa, Kernel, Simd, dispatch, exp};

/// Softmax of each row of `n` values, in `Order::Lanes`: `e = exp(x - max)`, `y = e * (1 / sum(e))`.
///
/// # Panics
///
/// If the data is not a whole number of rows.
pub fn softmax_rows<'a>(isa: Isa, n: usize, data: impl Into<InOut<'a>>) {
    let data = data.into();
    assert!(
        data.is_empty() || data.len().is_multiple_of(n),
        "not whole rows of {n}"
    );
    dispatch(isa, SoftmaxRows { n, data });
}

/// The logarithm of softmax of each row of `n` values, in `Order::Lanes`: `(x - max) - log(sum(exp(x - max)))`.
///
/// # Panics
///
/// If the data is not a whole number of rows.
pub fn log_softmax_rows<'a>(isa: Isa, n: usize, data: impl Into<InOut<'a>>) {
    let data = data.into();
    assert!(
        data.is_empty() || data.len().is_multiple_of(n),
        "not whole rows of {n}"
    );
    dispatch(isa, LogSoftmaxRows { n, data });
}

/// Softmax over the middle axis of outer x n x inner values, in `Order::Slices`.
///
/// # Panics
///
/// If the data has not the size that the shape asks for.
pub fn softmax_middle<'a>(isa: Isa, shape: [usize; 3], data: impl Into<InOut<'a>>) {
    let data = data.into();
    let [outer, n, inner] = shape;
    assert_eq!(
        data.len(),
        outer * n * inner,
        "values of {outer} x {n} x {inner}"
    );
    dispatch(isa, SoftmaxMiddle { shape, data });
}

struct SoftmaxRows<'a> {
    n: usize,
    data: InOut<'a>,
}

impl Kernel for SoftmaxRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.n;
        for start in (0..self.data.len()).step_by(n.max(1)) {
            let row = self.data.part(start, n);
            let m = s.splat(fold_lanes(s, Maximum, n, |at| row.load(s, at)));
            let sum = fold_lanes(s, Sum, n, |at| {
                let e = exp(s, s.sub(row.load(s, at), m));
                row.store(s, e, at);
                e
            });
            let scale = s.splat(1.0 / sum);
            let mut at = 0;
            while at < n {
                row.store(s, s.mul(row.load_stored(s, at), scale), at);
                at += S::LANES;
            }
        }
    }
}

struct LogSoftmaxRows<'a> {
    n: usize,
    data: InOut<'a>,
}

impl Kernel for LogSoftmaxRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.n;
        for start in (0..self.data.len()).step_by(n.max(1)) {
            let row = self.data.part(start, n);
            let m = s.splat(fold_lanes(s, Maximum, n, |at| row.load(s, at)));
            let sum = fold_lanes(s, SumExpFrom(m), n, |at| row.load(s, at));
            let log_sum = s.splat(Unary::Log.eval(sum));
            let mut at = 0;
            while at < n {
                let y = s.sub(s.sub(row.load(s, at), m), log_sum);
                row.store(s, y, at);
                at += S::LANES;
            }
        }
    }
}

struct SoftmaxMiddle<'a> {
    shape: [usize; 3],
    data: InOut<'a>,
}

impl Kernel for SoftmaxMiddle<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [outer, n, inner] = self.shape;
        for o in 0..outer {
            for column in (0..inner).step_by(S::LANES) {
                let width = (inner - column).min(S::LANES);
                let place = |i| self.data.part((o * n + i) * inner + column, width);
                let [m] = fold_slices(s, [Maximum], n, |i, _| place(i).load(s, 0));
                let [sum] = fold_slices(s, [Sum], n, |i, _| {
                    let e = exp(s, s.sub(place(i).load(s, 0), m));
                    place(i).store(s, e, 0);
                    e
                });
                let scale = s.div(s.splat(1.0), sum);
                for i in 0..n {
                    let y = s.mul(place(i).load_stored(s, 0), scale);
                    place(i).store(s, y, 0);
                }
            }
        }
    }
}
