//! The constants of the canonical elementary functions.
//!
//! They are part of the arithmetic: a device copies them bit for bit. Polynomials are minimax fits under the weights named beside them,
//! refitted after the rounding of each coefficient; lowest power first, evaluated by Horner's rule in fused multiply-adds.

use unisono_tensor::mutant;

/// log2(e).
pub const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b);
/// The upper part of ln 2: the nearest f32. `fma(n, -LN2_HIGH, x)` is exact where `exp` uses it.
pub const LN2_HIGH: f32 = f32::from_bits(0x3f31_7218);
/// ln 2 - [`LN2_HIGH`].
pub const LN2_LOW: f32 = f32::from_bits(0xb102_e308);
/// 1.5 * 2^23. Adding it rounds to an integer (ties to even) that then stands in the low bits.
pub const ROUND_MAGIC: f32 = 12_582_912.0;

/// `e^r = 1 + (r + r^2 P(r))` for |r| <= ln(2) / 2. Minimax in the relative error of `e^r - 1`: 2^-26.1.
pub const EXP: [f32; 5] = [
    f32::from_bits(0x3f00_0000),
    f32::from_bits(0x3e2a_aa58),
    f32::from_bits(0x3d2a_aa66),
    f32::from_bits(0x3c09_13f7),
    f32::from_bits(0x3ab6_b6d8),
];
/// [`EXP`], as the functions read it.
#[inline]
pub fn exp_polynomial() -> [f32; 5] {
    let mut polynomial = EXP;
    if mutant!(CoefficientOff) {
        polynomial[0] = 0.51;
    }
    polynomial
}
/// Below this `exp` is +0.
pub const EXP_LOWEST: f32 = -104.0;
/// Above this `exp` is infinite.
pub const EXP_HIGHEST: f32 = 89.0;
/// Below this `expm1` is -1.
pub const EXPM1_LOWEST: f32 = -18.0;
/// Above this `expm1` stays what it is here, short of the exponents that need two scalings.
pub const EXPM1_HIGHEST: f32 = 88.0;

/// The upper part of ln 2 for `log`: few enough bits that its product with an exponent is exact.
pub const LN2_SHORT: f32 = 0.693_359_4;
/// ln 2 - [`LN2_SHORT`].
pub const LN2_SHORT_REST: f32 = -2.121_944_4e-4;
/// sqrt(1/2), as bits: `log` splits its argument so that the mantissa lies in [sqrt(1/2), sqrt(2)).
pub const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
/// `log(1 + f) = f - f^2 / 2 + f^3 Q(f)` for 1 + f in [sqrt(1/2), sqrt(2)]. Minimax in the relative error: 2^-27.3.
pub const LOG: [f32; 8] = [
    f32::from_bits(0x3eaa_aaa5),
    f32::from_bits(0xbe80_0110),
    f32::from_bits(0x3e4c_d2d6),
    f32::from_bits(0xbe2a_3c3f),
    f32::from_bits(0x3e11_3652),
    f32::from_bits(0xbe06_6ffb),
    f32::from_bits(0x3e03_edca),
    f32::from_bits(0xbda1_0428),
];
/// sqrt(2) - 1: up to here `softplus` takes the logarithm without halving.
pub const SQRT_2_MINUS_1: f32 = 0.414_213_57;

/// `erf(x) = x + x R(x^2)` for |x| < [`ERF_SPLIT`]. Minimax in the relative error: 2^-25.9.
pub const ERF_SMALL: [f32; 6] = [
    f32::from_bits(0x3e03_75d3),
    f32::from_bits(0xbec0_9379),
    f32::from_bits(0x3de7_0eca),
    f32::from_bits(0xbcdb_62a3),
    f32::from_bits(0x3ba4_65e6),
    f32::from_bits(0xba20_aad9),
];
/// `erf(x) = 1 - exp(T(x))` for x in [[`ERF_SPLIT`], [`ERF_HIGHEST`]]. Minimax in the relative error of erf: 2^-29.
pub const ERF_LARGE: [f32; 7] = [
    f32::from_bits(0xb90c_0e05),
    f32::from_bits(0xbf90_6036),
    f32::from_bits(0xbf23_0137),
    f32::from_bits(0xbdd5_a99d),
    f32::from_bits(0x3cb7_aa7e),
    f32::from_bits(0xbb4a_a7cf),
    f32::from_bits(0x3952_c223),
];
/// Where `erf` changes from one polynomial to the other.
pub const ERF_SPLIT: f32 = 0.875;
/// From here on `erf` is 1 in f32.
pub const ERF_HIGHEST: f32 = 4.0;

/// sqrt(1/2), for `Gelu`.
pub const SQRT_HALF: f32 = f32::from_bits(0x3f35_04f3);
/// sqrt(2/pi), for the tanh form of `Gelu`.
pub const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// The cubic term in the tanh form of `Gelu`.
pub const GELU_CUBIC: f32 = 0.044_715;
/// From here on `Mish` is the identity in f32.
pub const MISH_HIGHEST: f32 = 20.0;
