//! The kernels without vector instructions: right on every machine, fast on none.

use unisono_reference::arith::fma_f32;
use unisono_tensor::mutant;

use super::microkernel::{Microkernels, Tile, TileFn};
use crate::simd::Scalar;

const COLS: usize = 8;

/// H rows by `V` columns or fewer.
unsafe fn tile<const H: usize, const V: usize>(tile: &Tile<'_>) {
    let mut b = tile.b;
    let mut sums = [[0.0_f32; V]; H];
    // SAFETY: the caller's promise: H rows of the pieces' terms of A, as many rows of V values of B, a tile of H rows by `cols` columns in C.
    unsafe {
        for piece in tile.pieces {
            let mut a = tile.a.add(piece.a);
            for _ in 0..piece.k {
                for (h, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        let x = *a.add(h * tile.a_row);
                        *sum = match mutant!(ScalarWithoutFma) {
                            true => x * *b.add(v) + *sum,
                            false => fma_f32(x, *b.add(v), *sum),
                        };
                    }
                }
                // The last step may lead beyond what is readable; it is not read there.
                a = a.wrapping_add(tile.a_col);
                b = b.wrapping_add(tile.b_step);
            }
        }
        for (h, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate().take(tile.cols) {
                let c = tile.c.add(h * tile.c_step + v);
                let total = match tile.first {
                    true => 0.0,
                    false => *tile.before.add(h * tile.before_step + v),
                };
                let mut total = total + sum;
                let ending = &tile.ending;
                if !ending.bias.is_null() {
                    total += *ending.bias.add(h * ending.bias_row + v * ending.bias_col);
                }
                *c = ending.activation.eval(Scalar, total);
            }
        }
    }
}

const FULL: &[TileFn] = &[
    tile::<1, COLS>,
    tile::<2, COLS>,
    tile::<3, COLS>,
    tile::<4, COLS>,
];
const NARROW: &[TileFn] = &[tile::<1, 1>, tile::<2, 1>, tile::<3, 1>, tile::<4, 1>];

pub(super) static KERNELS: Microkernels = Microkernels {
    cols: COLS,
    narrow_cols: 1,
    full: FULL,
    full_sum: None,
    full_part: FULL,
    narrow: NARROW,
    narrow_part: NARROW,
    wide: &[],
    half: None,
};
