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

/// Folds `n` elements in `Order::Lanes`. `load(at)` gives the elements from `at` on, as many as a vector has or as are left.
#[inline(always)]
pub(super) fn fold_lanes<S: Simd, C: Chain<S>>(
    s: S,
    chain: C,
    n: usize,
    mut load: impl FnMut(usize) -> S::F,
) -> f32 {
    let neutral = s.splat(C::NEUTRAL);
    let mut total = neutral;
    let mut start = 0;
    while start < n {
        let end = n.min(start + BLOCK);
        let mut lanes = s.wide(neutral);
        let mut at = start;
        while at + LANES <= end {
            for (i, sum) in lanes.as_mut().iter_mut().enumerate() {
                *sum = chain.step(s, *sum, load(at + i * S::LANES));
            }
            at += LANES;
        }
        for sum in lanes.as_mut() {
            if at >= end {
                break;
            }
            // Lanes without an element keep what they have.
            let stepped = chain.step(s, *sum, load(at));
            *sum = s.select(s.first((end - at).min(S::LANES)), stepped, *sum);
            at += S::LANES;
        }
        let met = s.meet(lanes, |a, b| chain.join(s, a, b));
        total = chain.join(s, total, s.splat(met));
        start = end;
    }
    s.first_lane(total)
}

/// Folds `n` elements in `Order::Slices`, one output per lane, `V` vectors at a time: `load(i, v)` gives the i-th element of each output
/// in vector v.
#[inline(always)]
pub(super) fn fold_slices<S: Simd, C: Chain<S>, const V: usize>(
    s: S,
    chains: [C; V],
    n: usize,
    mut load: impl FnMut(usize, usize) -> S::F,
) -> [S::F; V] {
    let neutral = s.splat(C::NEUTRAL);
    let mut totals = [neutral; V];
    let mut start = 0;
    while start < n {
        let end = n.min(start + SLICE);
        let mut sums = [neutral; V];
        for i in start..end {
            for v in 0..V {
                sums[v] = chains[v].step(s, sums[v], load(i, v));
            }
        }
        for v in 0..V {
            totals[v] = chains[v].join(s, totals[v], sums[v]);
        }
        start = end;
    }
    totals
}
