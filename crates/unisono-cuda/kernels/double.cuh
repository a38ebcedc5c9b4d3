// Trigonometry, hyperbolic functions and powers through f64, with the bits of unisono-reference's `arith/double.rs`.
//
// Only + - * /, square roots and comparisons of f64: no fused operation (`--fmad=false` sees to it) and no library function.
#pragma once

#include "functions.cuh"

// The codes of `unisono_function` beyond those of `unisono_activate`; `src/kernels/functions.rs` has the same numbers.
enum UnisonoDouble {
    UNISONO_SIN = 64,
    UNISONO_COS = 65,
    UNISONO_TAN = 66,
    UNISONO_ASIN = 67,
    UNISONO_ACOS = 68,
    UNISONO_ATAN = 69,
    UNISONO_SINH = 70,
    UNISONO_COSH = 71,
    UNISONO_ASINH = 72,
    UNISONO_ACOSH = 73,
    UNISONO_ATANH = 74,
};

namespace unisono_double {

constexpr double LN_2 = 0x1.62e42fefa39efp-1;
constexpr double HALF_PI = 0x1.921fb54442d18p+0;
constexpr double LOG2_E = 0x1.71547652b82fep+0;
constexpr double TWO_BY_PI = 0x1.45f306dc9c883p-1;
// 1.5 * 2^52: adding and subtracting it rounds to an integer, ties to even.
constexpr double MAGIC = 6755399441055744.0;

__device__ __forceinline__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }
__device__ __forceinline__ double nan() { return __longlong_as_double(0x7ff8000000000000ll); }

__device__ __forceinline__ double horner(double, double lowest) { return lowest; }

// Horner's rule, lowest power first, with a product and a sum for each.
template <typename... Higher>
__device__ __forceinline__ double horner(double x, double lowest, Higher... higher) {
    return __dadd_rn(__dmul_rn(horner(x, higher...), x), lowest);
}

__device__ __forceinline__ double exp_series(double r) {
    return horner(r, 0x1.0000000000000p-1, 0x1.5555555555555p-3, 0x1.5555555555555p-5, 0x1.1111111111111p-7, 0x1.6c16c16c16c17p-10,
                  0x1.a01a01a01a01ap-13, 0x1.a01a01a01a01ap-16, 0x1.71de3a556c734p-19, 0x1.27e4fb7789f5cp-22, 0x1.ae64567f544e4p-26,
                  0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33);
}

__device__ __forceinline__ double artanh_series(double s) {
    return horner(s, 0x1.5555555555555p-2, 0x1.999999999999ap-3, 0x1.2492492492492p-3, 0x1.c71c71c71c71cp-4, 0x1.745d1745d1746p-4,
                  0x1.3b13b13b13b14p-4, 0x1.1111111111111p-4, 0x1.e1e1e1e1e1e1ep-5, 0x1.af286bca1af28p-5, 0x1.8618618618618p-5,
                  0x1.642c8590b2164p-5, 0x1.47ae147ae147bp-5);
}

__device__ __forceinline__ double arctan_series(double s) {
    return horner(s, -0x1.5555555555555p-2, 0x1.999999999999ap-3, -0x1.2492492492492p-3, 0x1.c71c71c71c71cp-4, -0x1.745d1745d1746p-4,
                  0x1.3b13b13b13b14p-4, -0x1.1111111111111p-4, 0x1.e1e1e1e1e1e1ep-5, -0x1.af286bca1af28p-5, 0x1.8618618618618p-5,
                  -0x1.642c8590b2164p-5, 0x1.47ae147ae147bp-5, -0x1.2f684bda12f68p-5, 0x1.1a7b9611a7b96p-5, -0x1.0842108421084p-5,
                  0x1.f07c1f07c1f08p-6, -0x1.d41d41d41d41dp-6, 0x1.bacf914c1bad0p-6, -0x1.a41a41a41a41ap-6, 0x1.8f9c18f9c18fap-6);
}

__device__ __forceinline__ double power_of_two(long long n) { return __longlong_as_double((n + 1023) << 52); }

// e^x for any f64; 0 below -200 and infinite above 200.
__device__ __forceinline__ double exp(double x) {
    if (x > 200.0) return infinity();
    if (x < -200.0) return 0.0;
    if (x != x) return x;
    double n = (x * LOG2_E + MAGIC) - MAGIC;
    double r = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    return (1.0 + (r + r * r * exp_series(r))) * power_of_two((long long)n);
}

__device__ __forceinline__ double expm1(double x) {
    if (fabs(x) < 0.35) return x + x * x * exp_series(x);
    return exp(x) - 1.0;
}

// log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)].
__device__ __forceinline__ double log1p_small(double f) {
    double s = __ddiv_rn(f, 2.0 + f);
    double square = s * s;
    return 2.0 * (s + s * square * artanh_series(square));
}

// The natural logarithm of any normal positive f64, 0 or infinity; NaN for negative ones.
__device__ __forceinline__ double log(double x) {
    if (x == 0.0) return -infinity();
    if (x < 0.0 || x != x) return nan();
    if (x == infinity()) return x;
    long long bits = __double_as_longlong(x);
    long long exponent = (bits - 0x3fe6a09e667f3bcdll) >> 52;
    double mantissa = __longlong_as_double(bits - (long long)((unsigned long long)exponent << 52));
    return log1p_small(mantissa - 1.0) + (double)exponent * LN_2;
}

__device__ __forceinline__ double log1p(double x) { return fabs(x) < 0.29 ? log1p_small(x) : log(1.0 + x); }

// Bits of 2/pi after the binary point, preceded by one word of zeros.
static __device__ const unsigned TWO_OVER_PI[9] = {0u,          0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u,
                                                   0xdb629599u, 0x3c439041u, 0xfe5163abu, 0xdebbc561u};

// The f64 nearest to a magnitude of up to 96 bits, ties to even.
__device__ __forceinline__ double from_96_bits(unsigned high, unsigned long long low) {
    if (high == 0) return __ull2double_rn(low);
    int shift = 32 - __clz((int)high);
    unsigned long long top = ((unsigned long long)high << (64 - shift)) | (low >> shift);
    // What is cut off only matters by being there: 11 bits of `top` are rounded away as well.
    top |= (low << (64 - shift)) != 0;
    return __ull2double_rn(top) * power_of_two(shift);
}

// Splits x into n pi/2 + r, |r| <= pi/4; gives n mod 4 and r.
__device__ __forceinline__ unsigned reduce(double x, double& r) {
    if (fabs(x) < 1048576.0) {
        double n = (x * TWO_BY_PI + MAGIC) - MAGIC;
        r = (x - n * 0x1.921fb54400000p+0) - n * 0x1.0b4611a626331p-34;
        return (unsigned)((long long)n & 3);
    }
    // Payne and Hanek: of the product of the significand with the bits of 2/pi only those between weight 2 and 2^-94 matter.
    unsigned bits = __float_as_uint((float)fabs(x));
    unsigned long long significand = (bits & 0x7fffffu) | 0x800000u;
    int start = (int)(bits >> 23) - 150 - 2 + 32;
    int word = start / 32, shift = start % 32;
    unsigned w0 = TWO_OVER_PI[word], w1 = TWO_OVER_PI[word + 1], w2 = TWO_OVER_PI[word + 2], w3 = TWO_OVER_PI[word + 3];
    w0 = __funnelshift_l(w1, w0, shift);
    w1 = __funnelshift_l(w2, w1, shift);
    w2 = __funnelshift_l(w3, w2, shift);
    // The lower 96 bits of the product: units of 2^-94 modulo 4.
    unsigned long long low = significand * w2;
    unsigned long long middle = significand * w1 + (low >> 32);
    unsigned high = (unsigned)(significand * w0 + (middle >> 32));
    low = (middle << 32) | (unsigned)low;
    unsigned quadrant = (high + 0x20000000u) >> 30;
    high -= quadrant << 30;
    bool negative = (high >> 31) != 0;
    if (negative) {
        low = 0ull - low;
        high = ~high + (low == 0);
    }
    double rest = from_96_bits(high, low) * 4294967296.0;
    r = (negative ? -rest : rest) * (HALF_PI * power_of_two(-126));
    if (x < 0.0) {
        r = -r;
        return (0u - quadrant) & 3u;
    }
    return quadrant;
}

// Sine and cosine of |r| <= pi/4.
__device__ __forceinline__ double sin_small(double r) {
    double square = r * r;
    return r + r * square * horner(square, -0x1.5555555555555p-3, 0x1.1111111111111p-7, -0x1.a01a01a01a01ap-13, 0x1.71de3a556c734p-19,
                                   -0x1.ae64567f544e4p-26, 0x1.6124613a86d0ap-33, -0x1.ae7f3e733b820p-41, 0x1.952c77030ad4bp-49);
}

__device__ __forceinline__ double cos_small(double r) {
    double square = r * r;
    return 1.0 + square * horner(square, -0x1.0000000000000p-1, 0x1.5555555555555p-5, -0x1.6c16c16c16c16p-10, 0x1.a01a01a01a019p-16,
                                 -0x1.27e4fb7789f5cp-22, 0x1.1eed8eff8d897p-29, -0x1.93974a8c07c9cp-37, 0x1.ae7f3e733b81ep-45);
}

// The sine of x plus `turns` right angles.
__device__ __forceinline__ double sin_turned(double x, unsigned turns) {
    double r;
    unsigned quadrant = (reduce(x, r) + turns) & 3u;
    double y = quadrant & 1u ? cos_small(r) : sin_small(r);
    return quadrant & 2u ? -y : y;
}

__device__ __forceinline__ double sin(double x) {
    if (!(fabs(x) < infinity())) return nan();
    return x == 0.0 ? x : sin_turned(x, 0);
}

__device__ __forceinline__ double cos(double x) { return fabs(x) < infinity() ? sin_turned(x, 1) : nan(); }

__device__ __forceinline__ double tan(double x) {
    if (!(fabs(x) < infinity())) return nan();
    if (x == 0.0) return x;
    double r;
    unsigned quadrant = reduce(x, r);
    double s = sin_small(r), c = cos_small(r);
    return quadrant & 1u ? __ddiv_rn(-c, s) : __ddiv_rn(s, c);
}

__device__ __forceinline__ double atan(double x) {
    if (x != x) return x;
    double a = fabs(x);
    bool inverted = a > 1.0;
    double t = inverted ? __ddiv_rn(1.0, a) : a;
    bool turned = t > 0x1.6a09e667f3bcdp+0 - 1.0;
    t = turned ? __ddiv_rn(t - 1.0, t + 1.0) : t;
    double square = t * t;
    double y = t + t * square * arctan_series(square);
    y = turned ? HALF_PI / 2.0 + y : y;
    y = inverted ? HALF_PI - y : y;
    return copysign(y, x);
}

__device__ __forceinline__ double asin(double x) { return atan(__ddiv_rn(x, __dsqrt_rn((1.0 - x) * (1.0 + x)))); }

__device__ __forceinline__ double acos(double x) { return 2.0 * atan(__dsqrt_rn(__ddiv_rn(1.0 - x, 1.0 + x))); }

__device__ __forceinline__ double sinh(double x) {
    double t = expm1(fabs(x));
    // For infinity t / (t + 1) is NaN.
    double y = t > 1e30 ? t : t + __ddiv_rn(t, t + 1.0);
    return copysign(0.5 * y, x);
}

__device__ __forceinline__ double cosh(double x) {
    double e = exp(fabs(x));
    return 0.5 * (e + __ddiv_rn(1.0, e));
}

__device__ __forceinline__ double asinh(double x) {
    double a = fabs(x);
    double y = a > 1e30 ? log(a) + LN_2 : log1p(a + __ddiv_rn(a * a, 1.0 + __dsqrt_rn(1.0 + a * a)));
    return copysign(y, x);
}

__device__ __forceinline__ double acosh(double x) {
    if (x < 1.0) return nan();
    if (x > 1e30) return log(x) + LN_2;
    double t = x - 1.0;
    return log1p(t + __dsqrt_rn(2.0 * t + t * t));
}

__device__ __forceinline__ double atanh(double x) {
    double a = fabs(x);
    if (a > 1.0) return nan();
    return copysign(0.5 * log1p(__ddiv_rn(2.0 * a, 1.0 - a)), x);
}

}  // namespace unisono_double

// `x` to the power `y`, with the special cases of IEEE 754-2019, 9.2.1; the exponents 2, 3, 1/2 and -1 are what they mean.
__device__ __forceinline__ float unisono_pow(float x, float y) {
    const float infinity = __uint_as_float(0x7f800000u);
    if (y == 2.0f) return __fmul_rn(x, x);
    if (y == 3.0f) return __fmul_rn(__fmul_rn(x, x), x);
    if (y == -1.0f) return __fdiv_rn(1.0f, x);
    // Unlike a square root, a power turns -infinity into +infinity and -0 into +0.
    if (y == 0.5f) return x == -infinity ? infinity : __fadd_rn(__fsqrt_rn(x), 0.0f);
    if (y == 0.0f || x == 1.0f || (x == -1.0f && fabsf(y) == infinity)) return 1.0f;
    if (y == 1.0f) return x;
    bool large = fabsf(y) >= 16777216.0f;
    int whole = fabsf(y) < 16777216.0f ? __float2int_rz(y) : 0;
    bool integer = large || (float)whole == y;
    bool odd = !large && integer && (whole & 1) != 0;
    if (x < 0.0f && x != -infinity && !integer) return __uint_as_float(0x7fc00000u);
    float magnitude = __double2float_rn(unisono_double::exp((double)y * unisono_double::log((double)fabsf(x))));
    return odd ? copysignf(magnitude, x) : magnitude;
}

// The function with this code at x, those through f64 alone.
__device__ __forceinline__ float unisono_function(int code, float x) {
    double y = (double)x;
    switch (code) {
        case UNISONO_SIN: y = unisono_double::sin(y); break;
        case UNISONO_COS: y = unisono_double::cos(y); break;
        case UNISONO_TAN: y = unisono_double::tan(y); break;
        case UNISONO_ASIN: y = unisono_double::asin(y); break;
        case UNISONO_ACOS: y = unisono_double::acos(y); break;
        case UNISONO_ATAN: y = unisono_double::atan(y); break;
        case UNISONO_SINH: y = unisono_double::sinh(y); break;
        case UNISONO_COSH: y = unisono_double::cosh(y); break;
        case UNISONO_ASINH: y = unisono_double::asinh(y); break;
        case UNISONO_ACOSH: y = unisono_double::acosh(y); break;
        case UNISONO_ATANH: y = unisono_double::atanh(y); break;
        default: break;
    }
    return __double2float_rn(y);
}
