//! The kernels on AVX-512: 12 rows by two registers of 16 lanes. Where 8 columns or fewer are left, registers of 8 lanes, of which
//! these processors multiply twice as many a cycle.

use super::microkernel::{Half, Tile, end_of_tile, hold, part_tile, slice_of_tile, vector_kernels};
use crate::simd::{avx2_token, avx512_token};

vector_kernels!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    token: avx512_token(),
    class: zmm_reg,
    cols: 32,
    registers: [2, 1],
    rows: [1 2 3 4 5 6 7 8 9 10 11 12],
    wide: [1 2 3],
    half: Some(&HALF)
);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn half<const H: usize>(tile: &Tile<'_>) {
    // SAFETY: the caller's promise; it includes that the machine has the instructions.
    unsafe {
        let mut sums = slice_of_tile::<_, H, 1, 1>(avx2_token(), tile);
        hold!(sums in ymm_reg);
        end_of_tile(avx2_token(), tile, None, sums);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn half_part<const H: usize>(tile: &Tile<'_>) {
    // SAFETY: as above.
    unsafe { part_tile::<_, H, 1>(avx2_token(), tile) }
}

macro_rules! rows {
    ($kernel:ident: $($h:literal)*) => { &[$($kernel::<$h>),*] };
}

static HALF: Half = Half {
    cols: 8,
    full: rows!(half: 1 2 3 4 5 6 7 8 9 10 11 12),
    part: rows!(half_part: 1 2 3 4 5 6 7 8 9 10 11 12),
};
