//! Reductions over the last axes, over axes in the middle, and global pooling.

use unisono_reference::arith::{Reduction, Unary};

use super::chain::{
    Columns, Maximum, Minimum, Product, Row, Sum, SumAbs, SumExpFrom, SumSquares, fold_lanes,
    fold_slices,
};
use super::unary;
use crate::simd::{Isa, Kernel, Simd, dispatch, log};

/// Reduces each row of `n` values to one output, in `Order::Lanes`: for reductions over exactly the last axes.
///
/// # Panics
///
/// If `x` has not `n` values per output.
pub fn reduce_rows(isa: Isa, reduction: Reduction, n: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(
        x.len(),
        n * out.len(),
        "values of {} rows of {n}",
        out.len()
    );
    match reduction {
        Reduction::Sum | Reduction::Mean | Reduction::LogSum => rows(isa, Sum, n, x, out),
        Reduction::SumSquare | Reduction::L2 => rows(isa, SumSquares, n, x, out),
        Reduction::L1 => rows(isa, SumAbs, n, x, out),
        Reduction::Prod => rows(isa, Product, n, x, out),
        Reduction::Max => rows(isa, Maximum, n, x, out),
        Reduction::Min => rows(isa, Minimum, n, x, out),
        Reduction::LogSumExp => dispatch(isa, LogSumExpRows { n, x, out }),
    }
    finish(isa, reduction, n, out);
}

/// Reduces the middle axis of `x`, of shape outer x n x inner, to `out` of outer x inner, in `Order::Slices`: for reductions over
/// neighbouring axes that are not the last. Any other set of axes becomes this one by moving the reduced axes, in their order, in front
/// of the others, with `outer` = 1.
///
/// # Panics
///
/// If `x` or `out` has not the size that the shape asks for.
pub fn reduce_middle(
    isa: Isa,
    reduction: Reduction,
    shape: [usize; 3],
    x: &[f32],
    out: &mut [f32],
) {
    let [outer, n, inner] = shape;
    assert_eq!(
        x.len(),
        outer * n * inner,
        "values of {outer} x {n} x {inner}"
    );
    assert_eq!(out.len(), outer * inner, "outputs of {outer} x {inner}");
    match reduction {
        Reduction::Sum | Reduction::Mean | Reduction::LogSum => middle(isa, Sum, shape, x, out),
        Reduction::SumSquare | Reduction::L2 => middle(isa, SumSquares, shape, x, out),
        Reduction::L1 => middle(isa, SumAbs, shape, x, out),
        Reduction::Prod => middle(isa, Product, shape, x, out),
        Reduction::Max => middle(isa, Maximum, shape, x, out),
        Reduction::Min => middle(isa, Minimum, shape, x, out),
        Reduction::LogSumExp => dispatch(isa, LogSumExpMiddle { shape, x, out }),
    }
    finish(isa, reduction, n, out);
}

/// The mean of each row of `n` values, in `Order::Slices`: global average pooling.
///
/// # Panics
///
/// If `x` has not `n` values per output.
pub fn average_rows_in_slices(isa: Isa, n: usize, x: &[f32], out: &mut [f32]) {
    assert_eq!(
        x.len(),
        n * out.len(),
        "values of {} rows of {n}",
        out.len()
    );
    dispatch(isa, SumRowsInSlices { n, x, out });
    finish(isa, Reduction::Mean, n, out);
}

/// What follows the fold, output by output.
fn finish(isa: Isa, reduction: Reduction, n: usize, out: &mut [f32]) {
    match reduction {
        Reduction::Mean => out.iter_mut().for_each(|y| *y /= n as f32),
        Reduction::L2 => unary(isa, Unary::Sqrt, out),
        Reduction::LogSum => unary(isa, Unary::Log, out),
        _ => {}
    }
}

/// A chain that exists for every instruction set.
trait AnyChain: Copy {
    fn fold_row<S: Simd>(self, s: S, x: &[f32]) -> f32;
    fn fold_columns<S: Simd, const V: usize>(self, s: S, matrix: Matrix<'_>) -> [S::F; V];
}

macro_rules! any_chain {
    ($($name:ident),*) => {
        $(impl AnyChain for $name {
            #[inline(always)]
            fn fold_row<S: Simd>(self, s: S, x: &[f32]) -> f32 {
                fold_lanes(s, self, x.len(), &Dense(x))
            }
            #[inline(always)]
            fn fold_columns<S: Simd, const V: usize>(self, s: S, mut matrix: Matrix<'_>) -> [S::F; V] {
                fold_slices(s, self, matrix.n, &mut matrix)
            }
        })*
    };
}

any_chain!(Sum, SumSquares, SumAbs, Product, Maximum, Minimum);

/// A row in memory.
#[derive(Clone, Copy)]
struct Dense<'a>(&'a [f32]);

impl<S: Simd> Row<S> for Dense<'_> {
    #[inline(always)]
    fn load(&self, s: S, at: usize) -> S::F {
        let rest = &self.0[at..];
        if rest.len() >= S::LANES {
            s.load(rest)
        } else {
            s.load_part(rest)
        }
    }
}

/// The columns of an `n` x `inner` matrix from some column on, with which `x` starts.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    x: &'a [f32],
    n: usize,
    inner: usize,
    /// Columns from the first one on.
    left: usize,
}

impl<S: Simd> Columns<S> for Matrix<'_> {
    #[inline(always)]
    fn load(&mut self, s: S, i: usize, v: usize) -> S::F {
        let at = i * self.inner + v * S::LANES;
        let left = self.left - v * S::LANES;
        if left >= S::LANES {
            s.load(&self.x[at..])
        } else {
            s.load_part(&self.x[at..at + left])
        }
    }
}

struct Rows<'a, C> {
    chain: C,
    n: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

fn rows<C: AnyChain>(isa: Isa, chain: C, n: usize, x: &[f32], out: &mut [f32]) {
    dispatch(isa, Rows { chain, n, x, out });
}

impl<C: AnyChain> Kernel for Rows<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, y) in self.out.iter_mut().enumerate() {
            *y = self
                .chain
                .fold_row(s, &self.x[row * self.n..(row + 1) * self.n]);
        }
    }
}

struct Middle<'a, C> {
    chain: C,
    shape: [usize; 3],
    x: &'a [f32],
    out: &'a mut [f32],
}

fn middle<C: AnyChain>(isa: Isa, chain: C, shape: [usize; 3], x: &[f32], out: &mut [f32]) {
    dispatch(
        isa,
        Middle {
            chain,
            shape,
            x,
            out,
        },
    );
}

impl<C: AnyChain> Kernel for Middle<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (chain, [outer, n, inner]) = (self.chain, self.shape);
        for o in 0..outer {
            let mut column = 0;
            while column < inner {
                let matrix = matrix(self.x, self.shape, o, column);
                let out = &mut self.out[o * inner + column..(o + 1) * inner];
                // Four vectors at once hide the latency of the chains.
                if matrix.left >= 4 * S::LANES && n > 0 {
                    let totals = chain.fold_columns::<S, 4>(s, matrix);
                    for (v, total) in totals.into_iter().enumerate() {
                        s.store(total, &mut out[v * S::LANES..]);
                    }
                    column += 4 * S::LANES;
                } else {
                    let [total] = chain.fold_columns::<S, 1>(s, matrix);
                    s.store_part(total, out);
                    column += S::LANES;
                }
            }
        }
    }
}

/// The columns from `column` on of the o-th matrix of an outer x n x inner tensor.
#[inline(always)]
fn matrix(x: &[f32], [_, n, inner]: [usize; 3], o: usize, column: usize) -> Matrix<'_> {
    Matrix {
        // A reduction of nothing has no values to point at.
        x: x.get(o * n * inner + column..).unwrap_or_default(),
        n,
        inner,
        left: inner - column,
    }
}

/// The maximum as `LogSumExp` takes it off: 0 if it is infinite.
#[inline(always)]
fn finite_or_zero<S: Simd>(s: S, m: S::F) -> S::F {
    s.select(s.eq(s.abs(m), s.splat(f32::INFINITY)), s.zero(), m)
}

struct LogSumExpRows<'a> {
    n: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for LogSumExpRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, y) in self.out.iter_mut().enumerate() {
            let x = &self.x[row * self.n..(row + 1) * self.n];
            let m = finite_or_zero(s, s.splat(Maximum.fold_row(s, x)));
            let sum = fold_lanes(s, SumExpFrom(m), x.len(), &Dense(x));
            *y = s.first_lane(s.add(log(s, s.splat(sum)), m));
        }
    }
}

struct LogSumExpMiddle<'a> {
    shape: [usize; 3],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for LogSumExpMiddle<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [outer, n, inner] = self.shape;
        for o in 0..outer {
            for column in (0..inner).step_by(S::LANES) {
                let mut matrix = matrix(self.x, self.shape, o, column);
                let [m] = Maximum.fold_columns::<S, 1>(s, matrix);
                let m = finite_or_zero(s, m);
                let [sum] = fold_slices(s, SumExpFrom(m), n, &mut matrix);
                let y = s.add(log(s, sum), m);
                s.store_part(y, &mut self.out[o * inner + column..(o + 1) * inner]);
            }
        }
    }
}

struct SumRowsInSlices<'a> {
    n: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

/// Columns that are turned at a time.
const TURN: usize = 32;

/// Neighbouring rows, one per lane. They are turned into columns some at a time, since one chain per row has no use for neighbours in
/// memory.
struct Turned<'a> {
    x: &'a [f32],
    n: usize,
    rows: usize,
    columns: [f32; TURN * 16],
}

impl<S: Simd> Columns<S> for Turned<'_> {
    #[inline(always)]
    fn load(&mut self, s: S, i: usize, _: usize) -> S::F {
        if i.is_multiple_of(TURN) {
            for lane in 0..self.rows {
                let row = &self.x[lane * self.n + i..][..TURN.min(self.n - i)];
                for (column, &x) in row.iter().enumerate() {
                    self.columns[column * S::LANES + lane] = x;
                }
            }
        }
        s.load(&self.columns[i % TURN * S::LANES..])
    }
}

impl Kernel for SumRowsInSlices<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (group, out) in self.out.chunks_mut(S::LANES).enumerate() {
            let mut turned = Turned {
                x: &self.x[group * S::LANES * self.n..],
                n: self.n,
                rows: out.len(),
                columns: [0.0; TURN * 16],
            };
            let [total] = fold_slices(s, Sum, self.n, &mut turned);
            s.store_part(total, out);
        }
    }
}
