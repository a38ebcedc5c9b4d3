//! NEON: 4 lanes. Every 64-bit Arm has it, with a fused multiply-add and with `max` and `min` that order zeros and propagate NaN.

use core::arch::aarch64::*;

use super::{Kernel, Simd};

/// The token of NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

/// The token, for code that is compiled for these instructions already.
#[inline(always)]
pub(crate) fn token() -> Neon {
    Neon(())
}

/// Runs a kernel compiled for NEON.
pub(super) fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

// SAFETY: made by `enter` only; the loads and stores touch 4 values or `n` of them; `Wide` holds 8 x 4 values.
unsafe impl Simd for Neon {
    const LANES: usize = 4;
    type F = float32x4_t;
    type I = int32x4_t;
    type M = uint32x4_t;
    type Wide = [float32x4_t; 8];

    #[inline(always)]
    fn wide(self, v: float32x4_t) -> [float32x4_t; 8] {
        [v; 8]
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: float32x4_t, to: *mut f32) {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn load_part_raw(self, from: *const f32, n: usize) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe {
            let mut lanes = [0.0; 4];
            core::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            vld1q_f32(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_part_raw(self, v: float32x4_t, to: *mut f32, n: usize) {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe {
            let mut lanes = [0.0; 4];
            vst1q_f32(lanes.as_mut_ptr(), v);
            core::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n);
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vdupq_n_s32(x) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn nfma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vfmsq_f32(c, a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    fn max_of_numbers(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    fn at_least(self, x: float32x4_t, limit: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vmaxq_f32(limit, x) }
    }
    #[inline(always)]
    fn at_most(self, x: float32x4_t, limit: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vminq_f32(limit, x) }
    }
    #[inline(always)]
    fn floor(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vrndmq_f32(a) }
    }
    #[inline(always)]
    fn ceil(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vrndpq_f32(a) }
    }
    #[inline(always)]
    fn round(self, a: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn lt(self, a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vcltq_f32(a, b) }
    }
    #[inline(always)]
    fn le(self, a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vcleq_f32(a, b) }
    }
    #[inline(always)]
    fn eq(self, a: float32x4_t, b: float32x4_t) -> uint32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vceqq_f32(a, b) }
    }
    #[inline(always)]
    fn is_nan(self, a: float32x4_t) -> uint32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vmvnq_u32(vceqq_f32(a, a)) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> uint32x4_t {
        const LANE: [u32; 4] = [0, 1, 2, 3];
        // SAFETY: the token says that the machine has the instructions; the array holds four values.
        unsafe { vcltq_u32(vld1q_u32(LANE.as_ptr()), vdupq_n_u32(n.min(4) as u32)) }
    }
    #[inline(always)]
    fn select(self, m: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vbslq_f32(m, a, b) }
    }
    #[inline(always)]
    fn to_bits(self, a: float32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vreinterpretq_s32_f32(a) }
    }
    #[inline(always)]
    fn with_bits(self, a: int32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vreinterpretq_f32_s32(a) }
    }
    #[inline(always)]
    fn to_float(self, a: int32x4_t) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vcvtq_f32_s32(a) }
    }
    #[inline(always)]
    fn add_int(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vaddq_s32(a, b) }
    }
    #[inline(always)]
    fn sub_int(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vsubq_s32(a, b) }
    }
    #[inline(always)]
    fn and_int(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vandq_s32(a, b) }
    }
    #[inline(always)]
    fn or_int(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vorrq_s32(a, b) }
    }
    #[inline(always)]
    fn xor_int(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { veorq_s32(a, b) }
    }
    #[inline(always)]
    fn shl_23(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vshlq_n_s32::<23>(a) }
    }
    #[inline(always)]
    fn shr_23(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vshrq_n_s32::<23>(a) }
    }
    #[inline(always)]
    fn shr_1(self, a: int32x4_t) -> int32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vshrq_n_s32::<1>(a) }
    }
    #[inline(always)]
    fn upper_half(self, a: float32x4_t, width: usize) -> float32x4_t {
        // SAFETY: the token says that the machine has the instructions.
        unsafe {
            match width {
                4 => vextq_f32::<2>(a, a),
                _ => vextq_f32::<1>(a, a),
            }
        }
    }
    #[inline(always)]
    fn first_lane(self, a: float32x4_t) -> f32 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { vgetq_lane_f32::<0>(a) }
    }
}
