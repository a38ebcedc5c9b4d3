//! Reductions: sums, means, norms, extremes and products over axes.
//!
//! One idea: which order applies follows from the ONNX axes alone. If they are exactly the last axes of the tensor, neighbours in memory
//! are reduced, and 32 virtual lanes let one warp or two vector registers do it ([`Order::Lanes`]). Otherwise, and for pooling, many
//! outputs are neighbours, each is one chain, and vectors run across outputs ([`Order::Slices`]).

use super::{Real, SLICE, max, min};

/// Elements of a block of [`Order::Lanes`].
pub const BLOCK: usize = 1024;
/// Virtual lanes of a block.
pub const LANES: usize = 32;

/// The order in which the elements of a reduction meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// For an exact suffix of the axes, flattened: blocks of [`BLOCK`] elements. Within a block element i goes to lane i mod [`LANES`], each
    /// lane a chain in rising i from the neutral element; lanes meet in a halving tree (lane j takes lane j + 16, then j + 8, 4, 2, 1);
    /// blocks join a total from the neutral element in order.
    Lanes,
    /// For every other set of axes and for pooling: slices of [`SLICE`] elements in row-major order of the reduced axes, each a chain from
    /// the neutral element, joining a total from the neutral element in order.
    Slices,
}

/// What is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The sum divided by the count.
    Mean,
    /// The sum of squares, in fused multiply-adds.
    SumSquare,
    /// The sum of magnitudes.
    L1,
    /// The square root of the sum of squares.
    L2,
    /// The logarithm of the sum.
    LogSum,
    /// `log(sum(e^(x - m))) + m` with m the maximum, or 0 if that is infinite.
    LogSumExp,
    /// The product.
    Prod,
    /// The greatest, by [`max`]; -infinity of nothing.
    Max,
    /// The least, by [`min`]; +infinity of nothing.
    Min,
}

impl Reduction {
    /// All of them, for tests and tables.
    pub const ALL: [Reduction; 10] = [
        Reduction::Sum,
        Reduction::Mean,
        Reduction::SumSquare,
        Reduction::L1,
        Reduction::L2,
        Reduction::LogSum,
        Reduction::LogSumExp,
        Reduction::Prod,
        Reduction::Max,
        Reduction::Min,
    ];
}

/// Folds elements 0 .. n in the given order. `step(s, i)` takes element i into the chain s; `join` joins chains; `neutral` starts both.
pub fn fold<R: Real>(
    order: Order,
    n: usize,
    neutral: R,
    mut step: impl FnMut(R, usize) -> R,
    join: impl Fn(R, R) -> R,
) -> R {
    let mut total = neutral;
    let mut start = 0;
    while start < n {
        let part = match order {
            Order::Slices => {
                let end = n.min(start + SLICE);
                let chain = (start..end).fold(neutral, &mut step);
                start = end;
                chain
            }
            Order::Lanes => {
                let end = n.min(start + BLOCK);
                let mut lanes = [neutral; LANES];
                for i in start..end {
                    let lane = (i - start) % LANES;
                    lanes[lane] = step(lanes[lane], i);
                }
                start = end;
                let mut width = LANES / 2;
                while width > 0 {
                    for lane in 0..width {
                        lanes[lane] = join(lanes[lane], lanes[lane + width]);
                    }
                    width /= 2;
                }
                lanes[0]
            }
        };
        total = join(total, part);
    }
    total
}

/// The canonical sum of `n` values. Never -0; +0 of nothing.
pub fn sum<R: Real>(order: Order, n: usize, value: impl Fn(usize) -> R) -> R {
    fold(order, n, R::ZERO, |s, i| s + value(i), |a, b| a + b)
}

/// The canonical sum of the squares of `n` values, `s = fma(v, v, s)`.
pub fn sum_squares<R: Real>(order: Order, n: usize, value: impl Fn(usize) -> R) -> R {
    let step = |s, i| {
        let v = value(i);
        v.fma(v, s)
    };
    fold(order, n, R::ZERO, step, |a, b| a + b)
}

/// The greatest of `n` values in the sense of [`max`], -infinity of nothing. Its result does not depend on the order.
pub fn maximum<R: Real>(n: usize, value: impl Fn(usize) -> R) -> R {
    (0..n).fold(-R::INFINITY, |m, i| max(m, value(i)))
}

/// One output of a reduction over `n` values, in row-major order of the reduced axes.
pub fn reduce<R: Real>(
    reduction: Reduction,
    order: Order,
    n: usize,
    value: impl Fn(usize) -> R,
) -> R {
    match reduction {
        Reduction::Sum => sum(order, n, value),
        Reduction::Mean => sum(order, n, value) / R::from_count(n),
        Reduction::SumSquare => sum_squares(order, n, value),
        Reduction::L1 => sum(order, n, |i| value(i).abs()),
        Reduction::L2 => sum_squares(order, n, value).sqrt(),
        Reduction::LogSum => sum(order, n, value).log(),
        Reduction::LogSumExp => {
            let m = maximum(n, &value);
            let m = if m.is_infinite() { R::ZERO } else { m };
            sum(order, n, |i| (value(i) - m).exp()).log() + m
        }
        Reduction::Prod => fold(order, n, R::ONE, |s, i| s * value(i), |a, b| a * b),
        Reduction::Max => maximum(n, value),
        Reduction::Min => (0..n).fold(R::INFINITY, |m, i| min(m, value(i))),
    }
}

/// [`reduce`] over a dense row: the case of the last axes.
pub fn reduce_last<R: Real>(reduction: Reduction, x: &[R]) -> R {
    reduce(reduction, Order::Lanes, x.len(), |i| x[i])
}

/// [`reduce`] over `n` elements of `x` that lie `stride` apart, from `first` on: the case of one axis that is not the last.
///
/// # Panics
///
/// If an element lies outside of `x`.
pub fn reduce_strided<R: Real>(
    reduction: Reduction,
    x: &[R],
    first: usize,
    stride: usize,
    n: usize,
) -> R {
    reduce(reduction, Order::Slices, n, |i| x[first + i * stride])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::same_bits;

    fn values(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 77.0)
            .collect()
    }

    #[test]
    fn lanes_meet_in_a_halving_tree_and_blocks_in_order() {
        let x = values(1024 + 40);
        let block = |from: usize, to: usize| {
            let mut lanes = [0.0f32; 32];
            for i in from..to {
                lanes[(i - from) % 32] += x[i];
            }
            let a: Vec<f32> = (0..16).map(|j| lanes[j] + lanes[j + 16]).collect();
            let b: Vec<f32> = (0..8).map(|j| a[j] + a[j + 8]).collect();
            let c: Vec<f32> = (0..4).map(|j| b[j] + b[j + 4]).collect();
            (c[0] + c[2]) + (c[1] + c[3])
        };
        let expected = (0.0 + block(0, 1024)) + block(1024, 1064);
        let found = reduce_last(Reduction::Sum, &x);
        assert!(same_bits(found, expected), "{found:e} {expected:e}");
        let naive: f32 = x.iter().sum();
        assert!(
            !same_bits(found, naive),
            "the data must tell the orders apart"
        );
    }

    #[test]
    fn other_axes_are_chains_in_slices() {
        let x = values(3 * 600);
        let chain = |from: usize, to: usize| (from..to).fold(0.0f32, |s, i| s + x[1 + 3 * i]);
        let expected = ((0.0 + chain(0, 256)) + chain(256, 512)) + chain(512, 600);
        assert!(same_bits(
            reduce_strided(Reduction::Sum, &x, 1, 3, 600),
            expected
        ));
    }

    #[test]
    fn reductions_of_nothing_and_of_special_values_are_defined() {
        let inf = f32::INFINITY;
        let empty: [(Reduction, f32); 10] = [
            (Reduction::Sum, 0.0),
            (Reduction::Mean, f32::NAN),
            (Reduction::SumSquare, 0.0),
            (Reduction::L1, 0.0),
            (Reduction::L2, 0.0),
            (Reduction::LogSum, -inf),
            (Reduction::LogSumExp, -inf),
            (Reduction::Prod, 1.0),
            (Reduction::Max, -inf),
            (Reduction::Min, inf),
        ];
        for (reduction, expected) in empty {
            assert!(
                same_bits(reduce_last(reduction, &[]), expected),
                "{reduction:?}"
            );
        }
        assert!(same_bits(reduce_last(Reduction::Sum, &[-0.0, -0.0]), 0.0));
        assert!(reduce_last(Reduction::Max, &[1.0, f32::NAN, 2.0]).is_nan());
        assert!(same_bits(
            reduce_last(Reduction::LogSumExp, &[-inf, -inf]),
            -inf
        ));
        assert!(same_bits(
            reduce_last(Reduction::LogSumExp, &[1.0, inf]),
            inf
        ));
        assert!(
            (reduce_last(Reduction::LogSumExp, &[1000.0f32, 1000.0]) - 1_000.693_1).abs() < 1e-3
        );
    }
}
