// Functions of one value in f32, with the bits of unisono-reference's `arith::Unary`.
//
// The lines are those of `arith/elementary.rs`, the constants those of `arith/coefficients.rs`, by their bits. Functions that go
// through f64 (trigonometry, powers) are in `double.cuh`, so that the epilogues of products need not carry them.
#pragma once

// The codes of `unisono_activate`; `src/kernels/functions.rs` has the same numbers. What a and b are stands behind each.
enum UnisonoFunction {
    UNISONO_IDENTITY = 0,
    UNISONO_ABS = 1,
    UNISONO_NEG = 2,
    UNISONO_RECIPROCAL = 3,
    UNISONO_SQUARE = 4,
    UNISONO_SQRT = 5,
    UNISONO_RSQRT = 6,
    UNISONO_SIGN = 7,
    UNISONO_FLOOR = 8,
    UNISONO_CEIL = 9,
    UNISONO_ROUND = 10,
    UNISONO_EXP = 11,
    UNISONO_LOG = 12,
    UNISONO_TANH = 13,
    UNISONO_ERF = 14,
    UNISONO_SIGMOID = 15,
    UNISONO_RELU = 16,
    UNISONO_LEAKY_RELU = 17,        // slope
    UNISONO_THRESHOLDED_RELU = 18,  // threshold
    UNISONO_ELU = 19,               // alpha
    UNISONO_SELU = 20,              // alpha, gamma
    UNISONO_CELU = 21,              // alpha
    UNISONO_CLIP = 22,              // low, high
    UNISONO_HARD_SIGMOID = 23,      // alpha, beta
    UNISONO_HARD_SWISH = 24,
    UNISONO_SHRINK = 25,  // lambda, bias
    UNISONO_SOFTPLUS = 26,
    UNISONO_SOFTSIGN = 27,
    UNISONO_SWISH = 28,  // alpha; 1 leaves the product out
    UNISONO_MISH = 29,
    UNISONO_GELU = 30,
    UNISONO_GELU_TANH = 31,
};

// The greater and the lesser: NaN if either is, +0 above -0.
__device__ __forceinline__ float unisono_max(float a, float b) {
#ifdef __CUDA_ARCH__
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
#else
    if (a != a || b != b) return a + b;
    return a > b || (a == b && __float_as_int(b) < 0) ? a : b;
#endif
}

__device__ __forceinline__ float unisono_min(float a, float b) {
#ifdef __CUDA_ARCH__
    float y;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
#else
    if (a != a || b != b) return a + b;
    return a < b || (a == b && __float_as_int(a) < 0) ? a : b;
#endif
}

__device__ __forceinline__ float unisono_horner(float, unsigned lowest) { return __uint_as_float(lowest); }

// Horner's rule in fused multiply-adds; coefficients by their bits, lowest power first.
template <typename... Higher>
__device__ __forceinline__ float unisono_horner(float x, unsigned lowest, Higher... higher) {
    return __fmaf_rn(unisono_horner(x, higher...), x, __uint_as_float(lowest));
}

// 2^n for n in -126 ..= 127.
__device__ __forceinline__ float unisono_power_of_two(int n) { return __int_as_float((n + 127) << 23); }

// Splits x into n ln 2 + r; gives n and e^r - 1.
__device__ __forceinline__ float unisono_exp_parts(float x, int& n) {
    const float magic = 12582912.0f;
    float shifted = __fmaf_rn(x, __uint_as_float(0x3fb8aa3bu), magic);
    float whole = __fsub_rn(shifted, magic);
    float r = __fmaf_rn(whole, -__uint_as_float(0x3f317218u), x);
    r = __fmaf_rn(whole, -__uint_as_float(0xb102e308u), r);
    n = (int)(__float_as_uint(shifted) - __float_as_uint(magic));
    float p = unisono_horner(r, 0x3f000000u, 0x3e2aaa58u, 0x3d2aaa66u, 0x3c0913f7u, 0x3ab6b6d8u);
    return __fmaf_rn(__fmul_rn(r, r), p, r);
}

// e^x.
__device__ __forceinline__ float unisono_exp(float x) {
    // Written so that NaN passes.
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    int n;
    float q = unisono_exp_parts(x, n);
    // Two steps, since n runs from -150 to 128: the first is exact, the second rounds subnormal results and overflows to infinity.
    int half = n >> 1;
    float y = __fmul_rn(__fmul_rn(__fadd_rn(1.0f, q), unisono_power_of_two(half)), unisono_power_of_two(n - half));
    return x != x ? x : y;
}

// e^x - 1, accurate near 0; constant above 88.
__device__ __forceinline__ float unisono_expm1(float x) {
    x = x < -18.0f ? -18.0f : x;
    x = x > 88.0f ? 88.0f : x;
    int n;
    float q = unisono_exp_parts(x, n);
    float scale = unisono_power_of_two(n);
    float y = __fmaf_rn(scale, q, __fsub_rn(scale, 1.0f));
    return x != x ? x : y;
}

// log(1 + f) + k ln 2 for 1 + f in [sqrt(1/2), sqrt(2)].
__device__ __forceinline__ float unisono_log_parts(float f, float k) {
    float square = __fmul_rn(f, f);
    float q = unisono_horner(f, 0x3eaaaaa5u, 0xbe800110u, 0x3e4cd2d6u, 0xbe2a3c3fu, 0x3e113652u, 0xbe066ffbu, 0x3e03edcau, 0xbda10428u);
    float y = __fmul_rn(__fmul_rn(f, square), q);
    y = __fmaf_rn(k, -2.1219444e-4f, y);
    y = __fmaf_rn(-0.5f, square, y);
    return __fmaf_rn(k, 0.6933594f, __fadd_rn(f, y));
}

// The natural logarithm: NaN below zero, -infinity for both zeros.
__device__ __forceinline__ float unisono_log(float x) {
    bool subnormal = x < 1.17549435e-38f;
    float scaled = subnormal ? __fmul_rn(x, 8388608.0f) : x;
    float bias = subnormal ? -23.0f : 0.0f;
    unsigned bits = __float_as_uint(scaled);
    int exponent = (int)(bits - 0x3f3504f3u) >> 23;
    float mantissa = __uint_as_float(bits - ((unsigned)exponent << 23));
    float y = unisono_log_parts(__fsub_rn(mantissa, 1.0f), __fadd_rn((float)exponent, bias));
    if (x < 0.0f || x != x) return __uint_as_float(0x7fc00000u);
    if (x == 0.0f) return __uint_as_float(0xff800000u);
    return x == __uint_as_float(0x7f800000u) ? x : y;
}

__device__ __forceinline__ float unisono_tanh(float x) {
    float t = unisono_expm1(__fmul_rn(2.0f, fabsf(x)));
    float y = __fdiv_rn(t, __fadd_rn(t, 2.0f));
    float h = __fmul_rn(0.5f, t);
    return copysignf(t < 1.0f ? __fmaf_rn(-h, y, h) : y, x);
}

__device__ __forceinline__ float unisono_erf(float x) {
    float a = fabsf(x);
    float y;
    if (a < 0.875f) {
        float p = unisono_horner(__fmul_rn(a, a), 0x3e0375d3u, 0xbec09379u, 0x3de70ecau, 0xbcdb62a3u, 0x3ba465e6u, 0xba20aad9u);
        y = __fmaf_rn(a, p, a);
    } else {
        float c = a > 4.0f ? 4.0f : a;
        float t = unisono_horner(c, 0xb90c0e05u, 0xbf906036u, 0xbf230137u, 0xbdd5a99du, 0x3cb7aa7eu, 0xbb4aa7cfu, 0x3952c223u);
        y = __fsub_rn(1.0f, unisono_exp(t));
    }
    return copysignf(y, x);
}

__device__ __forceinline__ float unisono_sigmoid(float x) {
    float e = unisono_exp(-fabsf(x));
    float y = __fdiv_rn(e, __fadd_rn(1.0f, e));
    float s = x < 0.0f ? e : 1.0f;
    return __fmaf_rn(-y, s, s);
}

__device__ __forceinline__ float unisono_softplus(float x) {
    float u = unisono_exp(-fabsf(x));
    bool halved = u > 0.41421357f;
    float rest = unisono_log_parts(halved ? __fmul_rn(__fsub_rn(u, 1.0f), 0.5f) : u, halved ? 1.0f : 0.0f);
    return __fadd_rn(unisono_max(x, 0.0f), rest);
}

__device__ __forceinline__ float unisono_mish(float x) {
    float e = unisono_exp(x > 20.0f ? 20.0f : x);
    float n = __fmul_rn(e, __fadd_rn(e, 2.0f));
    return __fmul_rn(x, __fdiv_rn(n, __fadd_rn(n, 2.0f)));
}

__device__ __forceinline__ float unisono_sign(float x) {
    if (x > 0.0f) return 1.0f;
    if (x < 0.0f) return -1.0f;
    return x != x ? x : 0.0f;
}

__device__ __forceinline__ float unisono_shrink(float x, float lambda, float bias) {
    if (x < -lambda) return __fadd_rn(x, bias);
    if (x > lambda) return __fsub_rn(x, bias);
    return x != x ? x : 0.0f;
}

// A line cut off at 0 and 1.
__device__ __forceinline__ float unisono_ramp(float x, float slope, float at_zero) {
    return unisono_max(unisono_min(__fmaf_rn(slope, x, at_zero), 1.0f), 0.0f);
}

__device__ __forceinline__ float unisono_gelu(float x) {
    float e = unisono_erf(__fmul_rn(x, __uint_as_float(0x3f3504f3u)));
    return __fmul_rn(__fmul_rn(0.5f, x), __fadd_rn(1.0f, e));
}

__device__ __forceinline__ float unisono_gelu_tanh(float x) {
    float inner = __fmaf_rn(__fmul_rn(0.044715f, __fmul_rn(x, x)), x, x);
    float t = unisono_tanh(__fmul_rn(0.7978846f, inner));
    return __fmul_rn(__fmul_rn(0.5f, x), __fadd_rn(1.0f, t));
}

// `x[i] = f(x[i])` for N values in registers. The choice stands outside of the loop, so that the chains of the N run side by side.
template <int N>
__device__ __forceinline__ void unisono_activate_all(int code, float a, float b, float (&x)[N]) {
#define UNISONO_CASE(CODE, Y)          \
    case CODE:                         \
        _Pragma("unroll")              \
        for (int i = 0; i < N; i++) {  \
            float v = x[i];            \
            x[i] = (Y);                \
        }                              \
        break;
    switch (code) {
        UNISONO_CASE(UNISONO_ABS, fabsf(v))
        UNISONO_CASE(UNISONO_NEG, -v)
        UNISONO_CASE(UNISONO_RECIPROCAL, __fdiv_rn(1.0f, v))
        UNISONO_CASE(UNISONO_SQUARE, __fmul_rn(v, v))
        UNISONO_CASE(UNISONO_SQRT, __fsqrt_rn(v))
        UNISONO_CASE(UNISONO_RSQRT, __fdiv_rn(1.0f, __fsqrt_rn(v)))
        UNISONO_CASE(UNISONO_SIGN, unisono_sign(v))
        UNISONO_CASE(UNISONO_FLOOR, floorf(v))
        UNISONO_CASE(UNISONO_CEIL, ceilf(v))
        UNISONO_CASE(UNISONO_ROUND, rintf(v))
        UNISONO_CASE(UNISONO_EXP, unisono_exp(v))
        UNISONO_CASE(UNISONO_LOG, unisono_log(v))
        UNISONO_CASE(UNISONO_TANH, unisono_tanh(v))
        UNISONO_CASE(UNISONO_ERF, unisono_erf(v))
        UNISONO_CASE(UNISONO_SIGMOID, unisono_sigmoid(v))
        UNISONO_CASE(UNISONO_RELU, unisono_max(v, 0.0f))
        UNISONO_CASE(UNISONO_LEAKY_RELU, v < 0.0f ? __fmul_rn(a, v) : v)
        UNISONO_CASE(UNISONO_THRESHOLDED_RELU, v <= a ? 0.0f : v)
        UNISONO_CASE(UNISONO_ELU, v < 0.0f ? __fmul_rn(a, unisono_expm1(v)) : v)
        UNISONO_CASE(UNISONO_SELU, __fmul_rn(b, v < 0.0f ? __fmul_rn(a, unisono_expm1(v)) : v))
        UNISONO_CASE(UNISONO_CELU, v < 0.0f ? __fmul_rn(a, unisono_expm1(__fdiv_rn(v, a))) : v)
        UNISONO_CASE(UNISONO_CLIP, unisono_min(unisono_max(v, a), b))
        UNISONO_CASE(UNISONO_HARD_SIGMOID, unisono_ramp(v, a, b))
        UNISONO_CASE(UNISONO_HARD_SWISH, __fmul_rn(v, unisono_ramp(v, __uint_as_float(0x3e2aaaabu), 0.5f)))
        UNISONO_CASE(UNISONO_SHRINK, unisono_shrink(v, a, b))
        UNISONO_CASE(UNISONO_SOFTPLUS, unisono_softplus(v))
        UNISONO_CASE(UNISONO_SOFTSIGN, __fdiv_rn(v, __fadd_rn(1.0f, fabsf(v))))
        // A product with 1 is exact.
        UNISONO_CASE(UNISONO_SWISH, __fmul_rn(v, unisono_sigmoid(__fmul_rn(a, v))))
        UNISONO_CASE(UNISONO_MISH, unisono_mish(v))
        UNISONO_CASE(UNISONO_GELU, unisono_gelu(v))
        UNISONO_CASE(UNISONO_GELU_TANH, unisono_gelu_tanh(v))
        default:
            break;
    }
#undef UNISONO_CASE
}

// The function with this code at x: what the epilogues of products and convolutions apply last.
__device__ __forceinline__ float unisono_activate(int code, float a, float b, float x) {
    float y[1] = {x};
    unisono_activate_all<1>(code, a, b, y);
    return y[0];
}
