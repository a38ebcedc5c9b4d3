//! One lane, no assumption about the machine. Its fused multiply-add may be software: right, not fast.

use unisono_reference::arith::{fma_f32, max, min};

use super::Simd;

/// Vectors of one lane.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

// SAFETY: needs no instructions; one value is read and written, or `n <= 1` of them; `Wide` holds 32.
unsafe impl Simd for Scalar {
    const LANES: usize = 1;
    type F = f32;
    type I = i32;
    type M = bool;
    type Wide = [f32; 32];

    #[inline(always)]
    fn wide(self, v: f32) -> [f32; 32] {
        [v; 32]
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> i32 {
        x
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> f32 {
        // SAFETY: promised by the caller.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: f32, to: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { *to = v }
    }
    #[inline(always)]
    unsafe fn load_part_raw(self, from: *const f32, n: usize) -> f32 {
        // SAFETY: promised by the caller.
        if n > 0 { unsafe { *from } } else { 0.0 }
    }
    #[inline(always)]
    unsafe fn store_part_raw(self, v: f32, to: *mut f32, n: usize) {
        if n > 0 {
            // SAFETY: promised by the caller.
            unsafe { *to = v }
        }
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        fma_f32(a, b, c)
    }
    #[inline(always)]
    fn nfma(self, a: f32, b: f32, c: f32) -> f32 {
        fma_f32(-a, b, c)
    }
    #[inline(always)]
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        max(a, b)
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        min(a, b)
    }
    #[inline(always)]
    fn max_of_numbers(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn at_least(self, x: f32, limit: f32) -> f32 {
        if x < limit { limit } else { x }
    }
    #[inline(always)]
    fn at_most(self, x: f32, limit: f32) -> f32 {
        if x > limit { limit } else { x }
    }
    #[inline(always)]
    fn floor(self, a: f32) -> f32 {
        a.floor()
    }
    #[inline(always)]
    fn ceil(self, a: f32) -> f32 {
        a.ceil()
    }
    #[inline(always)]
    fn round(self, a: f32) -> f32 {
        a.round_ties_even()
    }
    #[inline(always)]
    fn lt(self, a: f32, b: f32) -> bool {
        a < b
    }
    #[inline(always)]
    fn le(self, a: f32, b: f32) -> bool {
        a <= b
    }
    #[inline(always)]
    fn eq(self, a: f32, b: f32) -> bool {
        a == b
    }
    #[inline(always)]
    fn is_nan(self, a: f32) -> bool {
        a.is_nan()
    }
    #[inline(always)]
    fn first(self, n: usize) -> bool {
        n > 0
    }
    #[inline(always)]
    fn select(self, m: bool, a: f32, b: f32) -> f32 {
        if m { a } else { b }
    }
    #[inline(always)]
    fn to_bits(self, a: f32) -> i32 {
        a.to_bits() as i32
    }
    #[inline(always)]
    fn with_bits(self, a: i32) -> f32 {
        f32::from_bits(a as u32)
    }
    #[inline(always)]
    fn to_float(self, a: i32) -> f32 {
        a as f32
    }
    #[inline(always)]
    fn add_int(self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn sub_int(self, a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    fn and_int(self, a: i32, b: i32) -> i32 {
        a & b
    }
    #[inline(always)]
    fn or_int(self, a: i32, b: i32) -> i32 {
        a | b
    }
    #[inline(always)]
    fn xor_int(self, a: i32, b: i32) -> i32 {
        a ^ b
    }
    #[inline(always)]
    fn shl_23(self, a: i32) -> i32 {
        a << 23
    }
    #[inline(always)]
    fn shr_23(self, a: i32) -> i32 {
        a >> 23
    }
    #[inline(always)]
    fn shr_1(self, a: i32) -> i32 {
        a >> 1
    }
    #[inline(always)]
    fn upper_half(self, a: f32, _width: usize) -> f32 {
        a
    }
    #[inline(always)]
    fn first_lane(self, a: f32) -> f32 {
        a
    }
}
