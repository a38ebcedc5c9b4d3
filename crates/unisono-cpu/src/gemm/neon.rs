//! The kernels on NEON: 6 rows by four registers of 4 lanes fill 24 of 32 registers.

use super::microkernel::vector_kernels;
use crate::simd::neon_token;

vector_kernels!(
    #[target_feature(enable = "neon")]
    token: neon_token(),
    class: vreg,
    cols: 16,
    registers: [4, 2],
    rows: [1 2 3 4 5 6],
    wide: [1],
    half: None
);
