//! The kernels on AVX-512: 12 rows by two registers of 16 lanes.

use super::microkernel::vector_kernels;
use crate::simd::avx512_token;

vector_kernels!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    token: avx512_token(),
    cols: 32,
    registers: [2, 1],
    rows: [1 2 3 4 5 6 7 8 9 10 11 12],
    wide: [1 2 3]
);
