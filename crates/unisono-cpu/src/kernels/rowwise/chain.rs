//! The chains that reductions are made of, and the two canonical orders of folding them.

use crate::simd::{Simd, exp};
use unisono_reference::arith::{BLOCK, LANES, SLICE};

/// How one element enters a chain and how chains join.
pub(super) trait Chain<S: Simd>: Copy {
    /// Starts every chain and every total.
    const NEUTRAL: f32;
    /// The chain with one more element in each lane.
    fn step(self, s: S, sum: S::F, x: S::F) -> S::F;
    /// Two chains in one.
    fn join(self, s: S, a: S::F, b: S::F) -> S::F;
}

macro_rules! chains {
    ($($(#[$doc:meta])* $name:ident, $neutral:expr, |$s:ident, $sum:ident, $x:ident| $step:expr, $join:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(super) struct $name;

            impl<S: Simd> Chain<S> for $name {
                const NEUTRAL: f32 = $neutral;
                #[inline(always)]
                fn step(self, $s: S, $sum: S::F, $x: S::F) -> S::F {
                    $step
                }
                #[inline(always)]
                fn join(self, s: S, a: S::F, b: S::F) -> S::F {
                    s.$join(a, b)
                }
            }
        )*
    };
}

chains! {
    /// The sum.
    Sum, 0.0, |s, sum, x| s.add(sum, x), add;
    /// The sum of squares.
    SumSquares, 0.0, |s, sum, x| s.fma(x, x, sum), add;
    /// The sum of magnitudes.
    SumAbs, 0.0, |s, sum, x| s.add(sum, s.abs(x)), add;
    /// The product.
    Product, 1.0, |s, sum, x| s.mul(sum, x), mul;
    /// The greatest.
    Maximum, f32::NEG_INFINITY, |s, sum, x| s.max(sum, x), max;
    /// The greatest of a row whose NaNs and whose sign of zero do not matter to the caller, because what it computes from the row is NaN
    /// if the row has one, and the same for both zeros.
    MaximumOfNumbers, f32::NEG_INFINITY, |s, sum, x| s.max_of_numbers(sum, x), max_of_numbers;
    /// The least.
    Minimum, f32::INFINITY, |s, sum, x| s.min(sum, x), min;
}

/// The sum of squared distances from a value.
#[derive(Clone, Copy)]
pub(super) struct SumSquaresFrom<F>(pub(super) F);

impl<S: Simd> Chain<S> for SumSquaresFrom<S::F> {
    const NEUTRAL: f32 = 0.0;
    #[inline(always)]
    fn step(self, s: S, sum: S::F, x: S::F) -> S::F {
        let d = s.sub(x, self.0);
        s.fma(d, d, sum)
    }
    #[inline(always)]
    fn join(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
}

/// The sum of `e^(x - m)`.
#[derive(Clone, Copy)]
pub(super) struct SumExpFrom<F>(pub(super) F);

impl<S: Simd> Chain<S> for SumExpFrom<S::F> {
    const NEUTRAL: f32 = 0.0;
    #[inline(always)]
    fn step(self, s: S, sum: S::F, x: S::F) -> S::F {
        s.add(sum, exp(s, s.sub(x, self.0)))
    }
    #[inline(always)]
    fn join(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
}

/// Where the elements of a fold in `Order::Lanes` come from. A trait and not a closure, so that it can be marked `#[inline(always)]`: code
/// that is not inlined into the entry of a kernel is compiled without its instructions.
pub(super) trait Row<S: Simd> {
    /// The elements from `at` on, as many as a vector has or as are left.
    fn load(&self, s: S, at: usize) -> S::F;
}

/// Where the elements of a fold in `Order::Slices` come from, one output per lane.
pub(super) trait Columns<S: Simd> {
    /// The i-th element of each output in the v-th vector of outputs. Called once for each, with i rising.
    fn load(&mut self, s: S, i: usize, v: usize) -> S::F;
}

/// Folds the `n` elements of a row in `Order::Lanes`.
#[inline(always)]
pub(super) fn fold_lanes<S: Simd, C: Chain<S>>(s: S, chain: C, n: usize, row: &impl Row<S>) -> f32 {
    let neutral = s.splat(C::NEUTRAL);
    let mut total = neutral;
    let mut start = 0;
    while start < n {
        let end = n.min(start + BLOCK);
        let mut lanes = s.wide(neutral);
        let mut at = start;
        while at + LANES <= end {
            for (i, sum) in lanes.as_mut().iter_mut().enumerate() {
                *sum = chain.step(s, *sum, row.load(s, at + i * S::LANES));
            }
            at += LANES;
        }
        for sum in lanes.as_mut() {
            if at >= end {
                break;
            }
            // Lanes without an element keep what they have.
            let stepped = chain.step(s, *sum, row.load(s, at));
            *sum = s.select(s.first((end - at).min(S::LANES)), stepped, *sum);
            at += S::LANES;
        }
        let met = s.splat(meet(s, chain, lanes));
        total = chain.join(s, total, met);
        start = end;
    }
    s.first_lane(total)
}

/// Lets the 32 virtual lanes meet in the canonical halving tree.
#[inline(always)]
fn meet<S: Simd, C: Chain<S>>(s: S, chain: C, mut lanes: S::Wide) -> f32 {
    let vectors = lanes.as_mut();
    let mut half = vectors.len() / 2;
    while half > 0 {
        for i in 0..half {
            vectors[i] = chain.join(s, vectors[i], vectors[i + half]);
        }
        half /= 2;
    }
    let mut v = vectors[0];
    let mut width = S::LANES;
    while width > 1 {
        v = chain.join(s, v, s.upper_half(v, width));
        width /= 2;
    }
    s.first_lane(v)
}

/// Folds `n` elements per output in `Order::Slices`, `V` vectors of outputs at a time.
#[inline(always)]
pub(super) fn fold_slices<S: Simd, C: Chain<S>, const V: usize>(
    s: S,
    chain: C,
    n: usize,
    columns: &mut impl Columns<S>,
) -> [S::F; V] {
    let neutral = s.splat(C::NEUTRAL);
    let mut totals = [neutral; V];
    let mut start = 0;
    while start < n {
        let end = n.min(start + SLICE);
        let mut sums = [neutral; V];
        for i in start..end {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = chain.step(s, *sum, columns.load(s, i, v));
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = chain.join(s, *total, sum);
        }
        start = end;
    }
    totals
}
