//! The operations that kernels are written in.

/// The vectors of one instruction set.
///
/// All arithmetic is IEEE 754 binary32 in the default environment, lane by lane; equal inputs give equal bits in every implementation,
/// except that NaNs may differ in sign and payload.
///
/// # Safety
///
/// Implementors promise that
/// * a value of the type exists only where the machine has the instructions,
/// * [`load_raw`](Simd::load_raw) and [`store_raw`](Simd::store_raw) touch exactly `LANES` values, their `_part` forms exactly the first `n`,
/// * `Wide` holds 32 / `LANES` vectors.
pub unsafe trait Simd: Copy {
    /// f32 values in a vector: 1, 4, 8 or 16.
    const LANES: usize;
    /// A vector of `LANES` f32.
    type F: Copy;
    /// A vector of `LANES` i32.
    type I: Copy;
    /// A vector of `LANES` truth values.
    type M: Copy;
    /// The 32 virtual lanes of a canonical reduction, as 32 / `LANES` vectors.
    type Wide: Copy + AsRef<[Self::F]> + AsMut<[Self::F]>;

    /// All lanes of all vectors the same.
    fn wide(self, v: Self::F) -> Self::Wide;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// All lanes `x`.
    fn splat_int(self, x: i32) -> Self::I;

    /// Reads a vector.
    ///
    /// # Safety
    ///
    /// `LANES` values are readable at `from`.
    unsafe fn load_raw(self, from: *const f32) -> Self::F;
    /// Writes a vector.
    ///
    /// # Safety
    ///
    /// `LANES` values are writable at `to`.
    unsafe fn store_raw(self, v: Self::F, to: *mut f32);
    /// Reads the first `n` lanes; the others are +0.
    ///
    /// # Safety
    ///
    /// `n` values are readable at `from`, and `n <= LANES`.
    unsafe fn load_part_raw(self, from: *const f32, n: usize) -> Self::F;
    /// Writes the first `n` lanes.
    ///
    /// # Safety
    ///
    /// `n` values are writable at `to`, and `n <= LANES`.
    unsafe fn store_part_raw(self, v: Self::F, to: *mut f32, n: usize);

    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    fn nfma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// The greater: NaN if either is, +0 above -0.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The lesser: NaN if either is, -0 below +0.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The greater of two numbers that are not zeros of different signs; of other pairs, one of the two or NaN.
    fn max_of_numbers(self, a: Self::F, b: Self::F) -> Self::F;
    /// `x < limit ? limit : x` for a limit that is neither NaN nor zero, or +0 if x is not -0. NaN passes.
    fn at_least(self, x: Self::F, limit: Self::F) -> Self::F;
    /// `x > limit ? limit : x` for a limit that is neither NaN nor zero. NaN passes.
    fn at_most(self, x: Self::F, limit: Self::F) -> Self::F;
    /// Towards negative infinity.
    fn floor(self, a: Self::F) -> Self::F;
    /// Towards positive infinity.
    fn ceil(self, a: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;

    /// `a < b`; false for NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a <= b`; false for NaN.
    fn le(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`; false for NaN.
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// Whether a lane is NaN.
    fn is_nan(self, a: Self::F) -> Self::M;
    /// The first `n` lanes.
    fn first(self, n: usize) -> Self::M;
    /// `m ? a : b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// The same bits as integers.
    fn to_bits(self, a: Self::F) -> Self::I;
    /// The same bits as floats.
    fn with_bits(self, a: Self::I) -> Self::F;
    /// To the nearest float.
    fn to_float(self, a: Self::I) -> Self::F;
    /// `a + b`, wrapping.
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`, wrapping.
    fn sub_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn and_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn or_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise exclusive or.
    fn xor_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a << 23`.
    fn shl_23(self, a: Self::I) -> Self::I;
    /// `a >> 23`, keeping the sign.
    fn shr_23(self, a: Self::I) -> Self::I;
    /// `a >> 1`, keeping the sign.
    fn shr_1(self, a: Self::I) -> Self::I;

    /// Turns a square of `LANES` rows of `LANES` values, which start `from_step` values apart: its columns are written as rows that start
    /// `to_step` values apart. Bits are moved, not computed with.
    ///
    /// # Safety
    ///
    /// `LANES` values are readable at every row's start and writable at every column's, and the two squares do not overlap.
    #[inline(always)]
    unsafe fn turn_square_raw(
        self,
        from: *const f32,
        from_step: usize,
        to: *mut f32,
        to_step: usize,
    ) {
        for c in 0..Self::LANES {
            for r in 0..Self::LANES {
                // SAFETY: the caller promises both squares. Integers, so that no unit may touch a NaN.
                unsafe {
                    let bits = from.add(r * from_step + c).cast::<u32>().read();
                    to.add(c * to_step + r).cast::<u32>().write(bits);
                }
            }
        }
    }

    /// Of the lanes 0 .. `width`, the upper half moved to the front; what stands behind it is not defined. `width` is a power of two from 2
    /// to `LANES`.
    fn upper_half(self, a: Self::F, width: usize) -> Self::F;
    /// Lane 0.
    fn first_lane(self, a: Self::F) -> f32;

    /// All lanes +0.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// Reads the first `LANES` values.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        assert!(from.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.load_raw(from.as_ptr()) }
    }

    /// Writes to the first `LANES` values.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline(always)]
    fn store(self, v: Self::F, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: the slice is long enough.
        unsafe { self.store_raw(v, to.as_mut_ptr()) }
    }

    /// Reads at most `LANES` values; what is missing is +0.
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::F {
        // SAFETY: no more than the slice holds.
        unsafe { self.load_part_raw(from.as_ptr(), from.len().min(Self::LANES)) }
    }

    /// Writes to at most `LANES` values.
    #[inline(always)]
    fn store_part(self, v: Self::F, to: &mut [f32]) {
        // SAFETY: no more than the slice holds.
        unsafe { self.store_part_raw(v, to.as_mut_ptr(), to.len().min(Self::LANES)) }
    }

    /// The magnitude.
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        self.with_bits(self.and_int(self.to_bits(a), self.splat_int(i32::MAX)))
    }

    /// The sign bit turned.
    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        self.with_bits(self.xor_int(self.to_bits(a), self.splat_int(i32::MIN)))
    }

    /// The non-negative `magnitude` with the sign of `sign`.
    #[inline(always)]
    fn copysign(self, magnitude: Self::F, sign: Self::F) -> Self::F {
        let sign = self.and_int(self.to_bits(sign), self.splat_int(i32::MIN));
        self.with_bits(self.or_int(self.to_bits(magnitude), sign))
    }

    /// `max(x, +0)`.
    #[inline(always)]
    fn relu(self, x: Self::F) -> Self::F {
        // NaN is not <= 0 and passes; -0 is and becomes +0.
        self.select(self.le(x, self.zero()), self.zero(), x)
    }

    /// 2^n for n in -126 ..= 127.
    #[inline(always)]
    fn power_of_two(self, n: Self::I) -> Self::F {
        self.with_bits(self.shl_23(self.add_int(n, self.splat_int(127))))
    }
}
