//! AVX2 with FMA: 8 lanes.

use core::arch::x86_64::*;

use super::{Kernel, Simd};

/// The token of AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// The token, for code that is compiled for these instructions already.
///
/// # Safety
///
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn token() -> Avx2 {
    Avx2(())
}

/// Runs a kernel compiled for AVX2 and FMA.
///
/// # Safety
///
/// The machine has both.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

// SAFETY: made by `enter` only; the loads and stores touch 8 values or `n` of them; `Wide` holds 4 x 8 values.
unsafe impl Simd for Avx2 {
    const LANES: usize = 8;
    type F = __m256;
    type I = __m256i;
    type M = __m256;
    type Wide = [__m256; 4];

    #[inline(always)]
    fn wide(self, v: __m256) -> [__m256; 4] {
        [v; 4]
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> __m256 {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: __m256, to: *mut f32) {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_part_raw(self, from: *const f32, n: usize) -> __m256 {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm256_maskload_ps(from, first_lanes(n)) }
    }
    #[inline(always)]
    unsafe fn store_part_raw(self, v: __m256, to: *mut f32, n: usize) {
        // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
        unsafe { _mm256_maskstore_ps(to, first_lanes(n), v) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_set1_epi32(x) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn nfma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // The instruction gives its second operand for two zeros and for NaN. Both orders agree on everything else; `and` makes +0 of
        // mixed zeros, and the comparison's ones make NaN.
        // SAFETY: the token says that the machine has the instructions.
        unsafe {
            let both = _mm256_and_ps(_mm256_max_ps(a, b), _mm256_max_ps(b, a));
            _mm256_or_ps(both, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, b))
        }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // As in `max`; `or` makes -0 of mixed zeros and keeps a NaN a NaN.
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_or_ps(_mm256_min_ps(a, b), _mm256_min_ps(b, a)) }
    }
    #[inline(always)]
    fn max_of_numbers(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn at_least(self, x: __m256, limit: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_max_ps(limit, x) }
    }
    #[inline(always)]
    fn at_most(self, x: __m256, limit: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_min_ps(limit, x) }
    }
    #[inline(always)]
    fn floor(self, a: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_floor_ps(a) }
    }
    #[inline(always)]
    fn ceil(self, a: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_ceil_ps(a) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn le(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_LE_OQ>(a, b) }
    }
    #[inline(always)]
    fn eq(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn is_nan(self, a: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_castsi256_ps(first_lanes(n)) }
    }
    #[inline(always)]
    fn select(self, m: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_blendv_ps(b, a, m) }
    }
    #[inline(always)]
    fn to_bits(self, a: __m256) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_castps_si256(a) }
    }
    #[inline(always)]
    fn with_bits(self, a: __m256i) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_castsi256_ps(a) }
    }
    #[inline(always)]
    fn to_float(self, a: __m256i) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn add_int(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn sub_int(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn and_int(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    fn or_int(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn xor_int(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_xor_si256(a, b) }
    }
    #[inline(always)]
    fn shl_23(self, a: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_slli_epi32::<23>(a) }
    }
    #[inline(always)]
    fn shr_23(self, a: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_srai_epi32::<23>(a) }
    }
    #[inline(always)]
    fn shr_1(self, a: __m256i) -> __m256i {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_srai_epi32::<1>(a) }
    }
    #[inline(always)]
    unsafe fn turn_square_raw(
        self,
        from: *const f32,
        from_step: usize,
        to: *mut f32,
        to_step: usize,
    ) {
        // Four columns at a time. Row 4j + i goes to half j of register i, which costs the load alone; then every half is a square of
        // 4 by itself, and after it is turned register c holds column c from row 0 to row 7.
        for column in (0..8).step_by(4) {
            // SAFETY: the token says that the machine has the instructions; the memory is promised by the caller.
            unsafe {
                let halves = |i: usize| {
                    let row = |j: usize| _mm_loadu_ps(from.add((4 * j + i) * from_step + column));
                    _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(row(0)), row(1))
                };
                let (a, b, c, d) = (halves(0), halves(1), halves(2), halves(3));
                let (low_ac, low_bd) = (_mm256_unpacklo_ps(a, c), _mm256_unpacklo_ps(b, d));
                let (high_ac, high_bd) = (_mm256_unpackhi_ps(a, c), _mm256_unpackhi_ps(b, d));
                let to = to.add(column * to_step);
                _mm256_storeu_ps(to, _mm256_unpacklo_ps(low_ac, low_bd));
                _mm256_storeu_ps(to.add(to_step), _mm256_unpackhi_ps(low_ac, low_bd));
                _mm256_storeu_ps(to.add(2 * to_step), _mm256_unpacklo_ps(high_ac, high_bd));
                _mm256_storeu_ps(to.add(3 * to_step), _mm256_unpackhi_ps(high_ac, high_bd));
            }
        }
    }
    #[inline(always)]
    fn upper_half(self, a: __m256, width: usize) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe {
            match width {
                8 => _mm256_permute2f128_ps::<0x11>(a, a),
                4 => _mm256_permute_ps::<0b_11_10_11_10>(a),
                _ => _mm256_permute_ps::<0b_01_01_01_01>(a),
            }
        }
    }
    #[inline(always)]
    fn first_lane(self, a: __m256) -> f32 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_cvtss_f32(a) }
    }
    #[inline(always)]
    fn relu(self, x: __m256) -> __m256 {
        // SAFETY: the token says that the machine has the instructions.
        unsafe { _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(x, _mm256_setzero_ps()), x) }
    }
}

/// All ones in the first `n` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first_lanes(n: usize) -> __m256i {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lane)
}
