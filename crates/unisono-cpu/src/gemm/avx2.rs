//! The kernels on AVX2 with FMA: 6 rows by two registers of 8 lanes fill 12 of 16 registers.

use std::arch::x86_64::{
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::microkernel::{Microkernels, WIDE_PANELS, vector_tile};

vector_tile!(
    #[target_feature(enable = "avx2,fma")]
    tile,
    8,
    std::arch::x86_64::__m256,
    _mm256_setzero_ps(),
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_max_ps,
    |x, y, z| _mm256_fmadd_ps(x, y, z)
);

pub(super) static KERNELS: Microkernels = Microkernels {
    cols: 16,
    narrow_cols: 8,
    full: &[
        tile::<1, 1, 2>,
        tile::<2, 1, 2>,
        tile::<3, 1, 2>,
        tile::<4, 1, 2>,
        tile::<5, 1, 2>,
        tile::<6, 1, 2>,
    ],
    narrow: &[
        tile::<1, 1, 1>,
        tile::<2, 1, 1>,
        tile::<3, 1, 1>,
        tile::<4, 1, 1>,
        tile::<5, 1, 1>,
        tile::<6, 1, 1>,
    ],
    wide: &[tile::<1, WIDE_PANELS, 2>],
};
