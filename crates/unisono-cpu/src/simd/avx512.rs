//! AVX-512: 16 lanes.

use core::arch::x86_64::*;

use super::{Kernel, Simd};

/// The token of AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// The token, for code that is compiled for these instructions already.
///
/// # Safety
///
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn token() -> Avx512 {
    Avx512(())
}

/// Runs a kernel compiled for AVX-512.
///
/// # Safety
///
/// The machine has AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

// SAFETY: made by `enter` only; the loads and stores touch 16 values or `n` of them; `Wide` holds 2 x 16 values.
unsafe impl Simd for Avx512 {
    const LANES: usize = 16;
    type F = __m512;
    type I = __m512i;
    type M = __mmask16;
    type Wide = [__m512; 2];

    #[inline(always)]
    fn wide(self, v: __m512) -> [__m512; 2] {
        [v; 2]
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> __m512 {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: __m512, to: *mut f32) {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_part_raw(self, from: *const f32, n: usize) -> __m512 {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm512_maskz_loadu_ps(first_lanes(n), from) }
    }
    #[inline(always)]
    unsafe fn store_part_raw(self, v: __m512, to: *mut f32, n: usize) {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm512_mask_storeu_ps(to, first_lanes(n), v) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn nfma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // The instruction gives its second operand for two zeros and for NaN. Both orders agree on everything else; `and` makes +0 of
        // mixed zeros. If both are NaN so is the sum, and if one is it is in one of the orders: the sum is taken where unordered.
        // SAFETY: the token says that the machine has the instructions.
        unsafe {
            let both = _mm512_and_ps(_mm512_max_ps(a, b), _mm512_max_ps(b, a));
            _mm512_mask_add_ps(both, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b), a, b)
        }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // As in `max`; `or` makes -0 of mixed zeros and keeps a NaN a NaN.
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_or_ps(_mm512_min_ps(a, b), _mm512_min_ps(b, a)) }
    }
    #[inline(always)]
    fn max_of_numbers(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn at_least(self, x: __m512, limit: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_max_ps(limit, x) }
    }
    #[inline(always)]
    fn at_most(self, x: __m512, limit: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_min_ps(limit, x) }
    }
    #[inline(always)]
    fn floor(self, a: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn ceil(self, a: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn le(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b) }
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn is_nan(self, a: __m512) -> __mmask16 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        first_lanes(n)
    }
    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }
    #[inline(always)]
    fn to_bits(self, a: __m512) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_castps_si512(a) }
    }
    #[inline(always)]
    fn with_bits(self, a: __m512i) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_castsi512_ps(a) }
    }
    #[inline(always)]
    fn to_float(self, a: __m512i) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn add_int(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn sub_int(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn and_int(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn or_int(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn xor_int(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn shl_23(self, a: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_slli_epi32::<23>(a) }
    }
    #[inline(always)]
    fn shr_23(self, a: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_srai_epi32::<23>(a) }
    }
    #[inline(always)]
    fn shr_1(self, a: __m512i) -> __m512i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_srai_epi32::<1>(a) }
    }
    #[inline(always)]
    unsafe fn turn_square_raw(
        self,
        from: *const f32,
        from_step: usize,
        to: *mut f32,
        to_step: usize,
    ) {
        // Four columns at a time. Row 4j + i goes to quarter j of register i, which costs the load alone; then every quarter is a
        // square of 4 by itself, and after it is turned register c holds column c from row 0 to row 15.
        for column in (0..16).step_by(4) {
            // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
            unsafe {
                let quarters = |i: usize| {
                    let row = |j: usize| _mm_loadu_ps(from.add((4 * j + i) * from_step + column));
                    let rows = _mm512_castps128_ps512(row(0));
                    let rows = _mm512_insertf32x4::<1>(rows, row(1));
                    let rows = _mm512_insertf32x4::<2>(rows, row(2));
                    _mm512_insertf32x4::<3>(rows, row(3))
                };
                let (a, b, c, d) = (quarters(0), quarters(1), quarters(2), quarters(3));
                let (low_ac, low_bd) = (_mm512_unpacklo_ps(a, c), _mm512_unpacklo_ps(b, d));
                let (high_ac, high_bd) = (_mm512_unpackhi_ps(a, c), _mm512_unpackhi_ps(b, d));
                let to = to.add(column * to_step);
                _mm512_storeu_ps(to, _mm512_unpacklo_ps(low_ac, low_bd));
                _mm512_storeu_ps(to.add(to_step), _mm512_unpackhi_ps(low_ac, low_bd));
                _mm512_storeu_ps(to.add(2 * to_step), _mm512_unpacklo_ps(high_ac, high_bd));
                _mm512_storeu_ps(to.add(3 * to_step), _mm512_unpackhi_ps(high_ac, high_bd));
            }
        }
    }
    #[inline(always)]
    fn upper_half(self, a: __m512, width: usize) -> __m512 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe {
            match width {
                16 => _mm512_shuffle_f32x4::<0b_11_10_11_10>(a, a),
                8 => _mm512_shuffle_f32x4::<0b_01_01_01_01>(a, a),
                4 => _mm512_permute_ps::<0b_11_10_11_10>(a),
                _ => _mm512_permute_ps::<0b_01_01_01_01>(a),
            }
        }
    }
    #[inline(always)]
    fn first_lane(self, a: __m512) -> f32 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm512_cvtss_f32(a) }
    }
}

/// Ones for the first `n` lanes.
#[inline(always)]
fn first_lanes(n: usize) -> __mmask16 {
    ((1u32 << n.min(16)) - 1) as __mmask16
}
