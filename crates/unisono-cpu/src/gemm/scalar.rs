//! The kernels without vector instructions: right on every machine, fast on none.

use unisono_reference::arith::fma_f32;
use unisono_tensor::mutant;

use super::microkernel::{Microkernels, Tile};

const COLS: usize = 8;

/// H rows by `V` columns.
unsafe fn tile<const H: usize, const V: usize>(tile: &Tile) {
    let (mut a, mut b) = (tile.a, tile.b);
    let mut sums = [[0.0_f32; V]; H];
    // SAFETY: the caller's promise: H rows of `k` values of A, `k` rows of V values of B, a tile of H rows by V columns in C.
    unsafe {
        for _ in 0..tile.k {
            for (h, row) in sums.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    let x = *a.add(h * tile.a_row);
                    *sum = match mutant!(ScalarWithoutFma) {
                        true => x * *b.add(v) + *sum,
                        false => fma_f32(x, *b.add(v), *sum),
                    };
                }
            }
            a = a.add(tile.a_col);
            b = b.add(tile.b_step);
        }
        for (h, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                let c = tile.c.add(h * tile.c_step + v);
                let total = if tile.first { 0.0 } else { *c };
                let mut total = total + sum;
                let ending = &tile.ending;
                if !ending.bias.is_null() {
                    total += *ending.bias.add(h * ending.bias_row + v * ending.bias_col);
                }
                if ending.relu && total <= 0.0 {
                    total = 0.0;
                }
                *c = total;
            }
        }
    }
}

pub(super) static KERNELS: Microkernels = Microkernels {
    cols: COLS,
    narrow_cols: 1,
    full: &[
        tile::<1, COLS>,
        tile::<2, COLS>,
        tile::<3, COLS>,
        tile::<4, COLS>,
    ],
    narrow: &[tile::<1, 1>, tile::<2, 1>, tile::<3, 1>, tile::<4, 1>],
    wide: &[],
};
