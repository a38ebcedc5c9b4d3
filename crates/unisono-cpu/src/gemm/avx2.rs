//! The kernels on AVX2 with FMA: 6 rows by two registers of 8 lanes fill 12 of 16 registers.

use super::microkernel::vector_kernels;
use crate::simd::avx2_token;

vector_kernels!(
    #[target_feature(enable = "avx2,fma")]
    token: avx2_token(),
    class: ymm_reg,
    cols: 16,
    registers: [2, 1],
    rows: [1 2 3 4 5 6],
    wide: [1],
    half: None
);
