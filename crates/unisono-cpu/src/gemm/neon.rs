//! The kernels on NEON: 6 rows by four registers of 4 lanes fill 24 of 32 registers.

use std::arch::aarch64::{vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vst1q_f32};

use super::microkernel::{Microkernels, WIDE_PANELS, vector_tile};

vector_tile!(
    #[target_feature(enable = "neon")]
    tile,
    4,
    std::arch::aarch64::float32x4_t,
    vdupq_n_f32(0.0),
    vld1q_f32,
    vst1q_f32,
    vdupq_n_f32,
    vaddq_f32,
    vmaxq_f32,
    |x, y, z| vfmaq_f32(z, x, y)
);

pub(super) static KERNELS: Microkernels = Microkernels {
    cols: 16,
    narrow_cols: 8,
    full: &[
        tile::<1, 1, 4>,
        tile::<2, 1, 4>,
        tile::<3, 1, 4>,
        tile::<4, 1, 4>,
        tile::<5, 1, 4>,
        tile::<6, 1, 4>,
    ],
    narrow: &[
        tile::<1, 1, 2>,
        tile::<2, 1, 2>,
        tile::<3, 1, 2>,
        tile::<4, 1, 2>,
        tile::<5, 1, 2>,
        tile::<6, 1, 2>,
    ],
    wide: &[tile::<1, WIDE_PANELS, 4>],
};
