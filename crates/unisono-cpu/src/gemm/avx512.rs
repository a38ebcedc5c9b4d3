//! The kernels on AVX-512: 12 rows by two registers of 16 lanes.

use std::arch::x86_64::{
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::microkernel::{Microkernels, WIDE_PANELS, vector_tile};

vector_tile!(
    #[target_feature(enable = "avx512f")]
    tile,
    16,
    std::arch::x86_64::__m512,
    _mm512_setzero_ps(),
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_max_ps,
    |x, y, z| _mm512_fmadd_ps(x, y, z)
);

pub(super) static KERNELS: Microkernels = Microkernels {
    cols: 32,
    narrow_cols: 16,
    full: &[
        tile::<1, 1, 2>,
        tile::<2, 1, 2>,
        tile::<3, 1, 2>,
        tile::<4, 1, 2>,
        tile::<5, 1, 2>,
        tile::<6, 1, 2>,
        tile::<7, 1, 2>,
        tile::<8, 1, 2>,
        tile::<9, 1, 2>,
        tile::<10, 1, 2>,
        tile::<11, 1, 2>,
        tile::<12, 1, 2>,
    ],
    narrow: &[
        tile::<1, 1, 1>,
        tile::<2, 1, 1>,
        tile::<3, 1, 1>,
        tile::<4, 1, 1>,
        tile::<5, 1, 1>,
        tile::<6, 1, 1>,
        tile::<7, 1, 1>,
        tile::<8, 1, 1>,
        tile::<9, 1, 1>,
        tile::<10, 1, 1>,
        tile::<11, 1, 1>,
        tile::<12, 1, 1>,
    ],
    wide: &[
        tile::<1, WIDE_PANELS, 2>,
        tile::<2, WIDE_PANELS, 2>,
        tile::<3, WIDE_PANELS, 2>,
    ],
};
