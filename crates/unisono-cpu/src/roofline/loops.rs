//! The two loops: one that only multiplies and adds, one that only reads.
//!
//! It must never be clever: a loop that the compiler sees through measures nothing.

use std::hint::black_box;

use crate::simd::{Kernel, Simd};

/// Multiply-adds in `SUMS` registers that do not wait for each other.
pub(super) struct MultiplyAdds<const SUMS: usize> {
    pub reps: usize,
}

impl<const SUMS: usize> Kernel for MultiplyAdds<SUMS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Neither the factor nor the end of the sums is known to the compiler. They tend to 999, never to a subnormal number.
        let x = simd.splat(black_box(0.999));
        let mut sums = [x; SUMS];
        for _ in 0..self.reps {
            for sum in &mut sums {
                *sum = simd.fma(*sum, x, x);
            }
        }
        black_box(sums);
    }
}

/// Adds up a stream, for so many passes.
pub(super) struct ReadStream<'a> {
    pub data: &'a [f32],
    pub passes: usize,
}

/// Vectors that are read side by side.
const SIDE_BY_SIDE: usize = 8;

impl Kernel for ReadStream<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for _ in 0..self.passes {
            // Not known to be the same as in the pass before.
            let data = black_box(self.data);
            let mut sums = [simd.zero(); SIDE_BY_SIDE];
            let blocks = data.chunks_exact(SIDE_BY_SIDE * S::LANES);
            let rest = blocks.remainder();
            for block in blocks {
                for (sum, values) in sums.iter_mut().zip(block.chunks_exact(S::LANES)) {
                    *sum = simd.add(*sum, simd.load(values));
                }
            }
            for values in rest.chunks(S::LANES) {
                sums[0] = simd.add(sums[0], simd.load_part(values));
            }
            black_box(sums);
        }
    }
}
