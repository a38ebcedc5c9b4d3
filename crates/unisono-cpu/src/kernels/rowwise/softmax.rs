//! Softmax and its logarithm.
//!
//! The maximum is taken without regard to NaN and to the sign of zero: a row with NaN has a NaN sum, which makes every result NaN, and
//! `x - m` has the same exponential for both zeros.

use super::InOut;
use super::chain::{Columns, MaximumOfNumbers, Row, Sum, SumExpFrom, fold_lanes, fold_slices};
use super::in_out::Part;
use crate::simd::{Isa, Kernel, Simd, dispatch, exp, log};

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

/// The elements' exponentials, stored as they are computed.
struct Exponentials<'a, F> {
    row: Part<'a>,
    m: F,
}

impl<S: Simd> Row<S> for Exponentials<'_, S::F> {
    #[inline(always)]
    fn load(&self, s: S, at: usize) -> S::F {
        let e = exp(s, s.sub(self.row.load(s, at), self.m));
        self.row.store(s, e, at);
        e
    }
}

impl Kernel for SoftmaxRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.n;
        for start in (0..self.data.len()).step_by(n.max(1)) {
            let row = self.data.part(start, n);
            let m = s.splat(fold_lanes(s, MaximumOfNumbers, n, &row));
            let sum = fold_lanes(s, Sum, n, &Exponentials { row, m });
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
            let m = s.splat(fold_lanes(s, MaximumOfNumbers, n, &row));
            let sum = fold_lanes(s, SumExpFrom(m), n, &row);
            let log_sum = log(s, s.splat(sum));
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

/// As many neighbouring columns as a vector has, or as are left, over the middle axis.
struct Inputs<'a> {
    data: &'a InOut<'a>,
    first: usize,
    inner: usize,
    width: usize,
}

impl Inputs<'_> {
    #[inline(always)]
    fn at(&self, i: usize) -> Part<'_> {
        self.data.part(self.first + i * self.inner, self.width)
    }
}

impl<S: Simd> Columns<S> for Inputs<'_> {
    #[inline(always)]
    fn load(&mut self, s: S, i: usize, _: usize) -> S::F {
        self.at(i).load(s, 0)
    }
}

/// Their exponentials, stored as they are computed.
struct ColumnExponentials<'a, F> {
    inputs: &'a Inputs<'a>,
    m: F,
}

impl<S: Simd> Columns<S> for ColumnExponentials<'_, S::F> {
    #[inline(always)]
    fn load(&mut self, s: S, i: usize, _: usize) -> S::F {
        let place = self.inputs.at(i);
        let e = exp(s, s.sub(place.load(s, 0), self.m));
        place.store(s, e, 0);
        e
    }
}

impl Kernel for SoftmaxMiddle<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [outer, n, inner] = self.shape;
        for o in 0..outer {
            for column in (0..inner).step_by(S::LANES) {
                let mut inputs = Inputs {
                    data: &self.data,
                    first: o * n * inner + column,
                    inner,
                    width: (inner - column).min(S::LANES),
                };
                let [m] = fold_slices(s, MaximumOfNumbers, n, &mut inputs);
                let inputs = &inputs;
                let [sum] = fold_slices(s, Sum, n, &mut ColumnExponentials { inputs, m });
                let scale = s.div(s.splat(1.0), sum);
                for i in 0..n {
                    let place = inputs.at(i);
                    place.store(s, s.mul(place.load_stored(s, 0), scale), 0);
                }
            }
        }
    }
}
