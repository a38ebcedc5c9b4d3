// Functions of one, two and three values per element, comparisons, selection and conversions.
//
// The outputs of f32 functions are handled four to a thread; operands that follow the output are read 16 bytes at a time where they are
// aligned. An output may be one of the operands if that follows it element by element.

#include "binary.cuh"
#include "functions.cuh"
#include "map.cuh"

enum UnisonoComparison {
    UNISONO_EQUAL = 0,
    UNISONO_LESS = 1,
    UNISONO_LESS_OR_EQUAL = 2,
    UNISONO_GREATER = 3,
    UNISONO_GREATER_OR_EQUAL = 4,
};

__device__ __forceinline__ bool unisono_aligned(const void* p) { return ((unsigned long long)p & 15) == 0; }

__device__ __forceinline__ void unisono_load4(const float* x, unsigned i, unsigned count, float (&v)[4]) {
    if (count == 4 && unisono_aligned(x + i)) {
        float4 q = *(const float4*)(x + i);
        v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = (unsigned)k < count ? x[i + k] : 0.0f;
}

__device__ __forceinline__ void unisono_store4(float* y, unsigned i, unsigned count, const float (&v)[4]) {
    if (count == 4 && unisono_aligned(y + i)) {
        *(float4*)(y + i) = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        if ((unsigned)k < count) y[i + k] = v[k];
    }
}

// The values of an operand for outputs i .. i + count.
__device__ __forceinline__ void unisono_operand4(const float* x, const UnisonoMap& map, const UnisonoAxes& axes, unsigned i, unsigned count,
                                                 float (&v)[4]) {
    if (map.follows == UNISONO_SAME) return unisono_load4(x, i, count, v);
    if (map.follows == UNISONO_REPEAT) {
        unsigned row = i / map.div, within = i - row * map.div;
        unsigned at = row % map.mod;
        // One element for all four, four neighbours, or neither.
        if (map.mod == 1 || within + count <= map.div) {
            v[0] = v[1] = v[2] = v[3] = x[at];
            return;
        }
        if (map.div == 1 && at + count <= map.mod) return unisono_load4(x, at, count, v);
    }
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = (unsigned)k < count ? x[unisono_at(map, axes, i + k)] : 0.0f;
}

__device__ __forceinline__ unsigned unisono_count4(unsigned n, unsigned i) { return n - i < 4 ? n - i : 4; }

extern "C" __global__ void unisono_unary_f32(const float* x, float* y, unsigned n, int code, float a, float b) {
    unsigned i = 4 * unisono_thread();
    if (i >= n) return;
    float v[4];
    unsigned count = unisono_count4(n, i);
    unisono_load4(x, i, count, v);
    unisono_activate_all<4>(code, a, b, v);
    unisono_store4(y, i, count, v);
}

extern "C" __global__ void unisono_not(const unsigned char* x, unsigned char* y, unsigned n) {
    unsigned i = unisono_thread();
    if (i < n) y[i] = x[i] == 0;
}

extern "C" __global__ void unisono_binary_f32(const float* a, const float* b, float* y, unsigned n, int code, UnisonoMap ma, UnisonoMap mb,
                                              UnisonoAxes axes) {
    unsigned i = 4 * unisono_thread();
    if (i >= n) return;
    float p[4], q[4];
    unsigned count = unisono_count4(n, i);
    unisono_operand4(a, ma, axes, i, count, p);
    unisono_operand4(b, mb, axes, i, count, q);
#define UNISONO_CASE(CODE, Y) \
    case CODE:                \
        _Pragma("unroll") for (int k = 0; k < 4; k++) p[k] = (Y); \
        break;
    switch (code) {
        UNISONO_CASE(UNISONO_ADD, __fadd_rn(p[k], q[k]))
        UNISONO_CASE(UNISONO_SUB, __fsub_rn(p[k], q[k]))
        UNISONO_CASE(UNISONO_MUL, __fmul_rn(p[k], q[k]))
        UNISONO_CASE(UNISONO_DIV, __fdiv_rn(p[k], q[k]))
        UNISONO_CASE(UNISONO_MAX, unisono_max(p[k], q[k]))
        UNISONO_CASE(UNISONO_MIN, unisono_min(p[k], q[k]))
        UNISONO_CASE(UNISONO_PRELU, p[k] < 0.0f ? __fmul_rn(q[k], p[k]) : p[k])
        default: break;
    }
#undef UNISONO_CASE
    unisono_store4(y, i, count, p);
}

// `x * scale + shift`, fused, with a factor and a summand per channel.
extern "C" __global__ void unisono_scale_shift_f32(const float* x, const float* scale, const float* shift, float* y, unsigned n, UnisonoMap map,
                                                   UnisonoAxes axes) {
    unsigned i = 4 * unisono_thread();
    if (i >= n) return;
    float v[4], s[4], t[4];
    unsigned count = unisono_count4(n, i);
    unisono_load4(x, i, count, v);
    unisono_operand4(scale, map, axes, i, count, s);
    unisono_operand4(shift, map, axes, i, count, t);
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = __fmaf_rn(v[k], s[k], t[k]);
    unisono_store4(y, i, count, v);
}

// Integers wrap: they are computed in the unsigned type U. A division by zero gives 0 and notes it.
template <typename T, typename U>
__device__ __forceinline__ T unisono_integer(int code, T a, T b, unsigned* status) {
    switch (code) {
        case UNISONO_ADD: return (T)((U)a + (U)b);
        case UNISONO_SUB: return (T)((U)a - (U)b);
        case UNISONO_MUL: return (T)((U)a * (U)b);
        case UNISONO_MAX: return a > b ? a : b;
        case UNISONO_MIN: return a < b ? a : b;
        case UNISONO_AND: return a & b;
        case UNISONO_OR: return a | b;
        case UNISONO_XOR: return a ^ b;
        default: break;
    }
    if (b == 0) {
        atomicOr(status, (unsigned)UNISONO_DIVISION_BY_ZERO);
        return 0;
    }
    // The least value over -1 does not fit; it wraps.
    bool negates = (long long)(T)-1 < 0 && b == (T)-1;
    if (code == UNISONO_DIV) return negates ? (T)((U)0 - (U)a) : (T)(a / b);
    T r = negates ? (T)0 : (T)(a % b);
    return code == UNISONO_MOD && r != 0 && ((long long)r < 0) != ((long long)b < 0) ? (T)((U)r + (U)b) : r;
}

#define UNISONO_INTEGERS(NAME, T, U)                                                                                                   \
    extern "C" __global__ void unisono_binary_##NAME(const T* a, const T* b, T* y, unsigned* status, unsigned n, int code, UnisonoMap ma, \
                                                     UnisonoMap mb, UnisonoAxes axes) {                                                \
        unsigned i = unisono_thread();                                                                                                 \
        if (i < n) y[i] = unisono_integer<T, U>(code, a[unisono_at(ma, axes, i)], b[unisono_at(mb, axes, i)], status);                  \
    }
UNISONO_INTEGERS(i64, long long, unsigned long long)
UNISONO_INTEGERS(i32, int, unsigned)
UNISONO_INTEGERS(u8, unsigned char, unsigned)

template <typename T>
__device__ __forceinline__ bool unisono_ordered(int comparison, T a, T b) {
    switch (comparison) {
        case UNISONO_EQUAL: return a == b;
        case UNISONO_LESS: return a < b;
        case UNISONO_LESS_OR_EQUAL: return a <= b;
        case UNISONO_GREATER: return a > b;
        default: return a >= b;
    }
}

#define UNISONO_COMPARES(NAME, T)                                                                                                         \
    extern "C" __global__ void unisono_compare_##NAME(const T* a, const T* b, unsigned char* y, unsigned n, int comparison, UnisonoMap ma, \
                                                      UnisonoMap mb, UnisonoAxes axes) {                                                  \
        unsigned i = unisono_thread();                                                                                                    \
        if (i < n) y[i] = unisono_ordered<T>(comparison, a[unisono_at(ma, axes, i)], b[unisono_at(mb, axes, i)]);                         \
    }
UNISONO_COMPARES(f32, float)
UNISONO_COMPARES(i64, long long)
UNISONO_COMPARES(i32, int)
UNISONO_COMPARES(u8, unsigned char)

// Elements of one operand or the other, moved as they are.
#define UNISONO_WHERE(BYTES, T)                                                                                                         \
    extern "C" __global__ void unisono_where_##BYTES(const unsigned char* c, const T* a, const T* b, T* y, unsigned n, UnisonoMap mc,     \
                                                     UnisonoMap ma, UnisonoMap mb, UnisonoAxes axes) {                                  \
        unsigned i = unisono_thread();                                                                                                  \
        if (i < n) y[i] = c[unisono_at(mc, axes, i)] ? a[unisono_at(ma, axes, i)] : b[unisono_at(mb, axes, i)];                         \
    }
UNISONO_WHERE(1, unsigned char)
UNISONO_WHERE(2, unsigned short)
UNISONO_WHERE(4, unsigned)
UNISONO_WHERE(8, unsigned long long)

// Element types of conversions; `src/kernels/elementwise.rs` has the same numbers.
enum UnisonoType {
    UNISONO_F32 = 0,
    UNISONO_I64 = 1,
    UNISONO_I32 = 2,
    UNISONO_I16 = 3,
    UNISONO_I8 = 4,
    UNISONO_U32 = 5,
    UNISONO_U16 = 6,
    UNISONO_U8 = 7,
    UNISONO_BOOL = 8,
};

__device__ __forceinline__ long long unisono_clamp(long long x, long long low, long long high) { return x < low ? low : x > high ? high : x; }

// An integer as another type: it wraps.
__device__ __forceinline__ void unisono_put(void* y, unsigned i, int to, long long x) {
    switch (to) {
        case UNISONO_F32: ((float*)y)[i] = __ll2float_rn(x); break;
        case UNISONO_I64: ((long long*)y)[i] = x; break;
        case UNISONO_I32:
        case UNISONO_U32: ((unsigned*)y)[i] = (unsigned)x; break;
        case UNISONO_I16:
        case UNISONO_U16: ((unsigned short*)y)[i] = (unsigned short)x; break;
        case UNISONO_BOOL: ((unsigned char*)y)[i] = x != 0; break;
        default: ((unsigned char*)y)[i] = (unsigned char)x; break;
    }
}

// A float as another type: it truncates and saturates, NaN becomes 0.
__device__ __forceinline__ void unisono_put(void* y, unsigned i, int to, float v) {
    long long x = v != v ? 0 : __float2ll_rz(v);
    switch (to) {
        case UNISONO_F32: ((float*)y)[i] = v; return;
        case UNISONO_BOOL: ((unsigned char*)y)[i] = v != 0.0f; return;
        case UNISONO_I32: x = unisono_clamp(x, -2147483648ll, 2147483647ll); break;
        case UNISONO_U32: x = unisono_clamp(x, 0, 4294967295ll); break;
        case UNISONO_I16: x = unisono_clamp(x, -32768, 32767); break;
        case UNISONO_U16: x = unisono_clamp(x, 0, 65535); break;
        case UNISONO_I8: x = unisono_clamp(x, -128, 127); break;
        case UNISONO_U8: x = unisono_clamp(x, 0, 255); break;
        default: break;
    }
    unisono_put(y, i, to, x);
}

extern "C" __global__ void unisono_cast(const void* x, void* y, unsigned n, int from, int to) {
    unsigned i = unisono_thread();
    if (i >= n) return;
    switch (from) {
        case UNISONO_F32: unisono_put(y, i, to, ((const float*)x)[i]); break;
        case UNISONO_I64: unisono_put(y, i, to, ((const long long*)x)[i]); break;
        case UNISONO_I32: unisono_put(y, i, to, (long long)((const int*)x)[i]); break;
        case UNISONO_I16: unisono_put(y, i, to, (long long)((const short*)x)[i]); break;
        case UNISONO_I8: unisono_put(y, i, to, (long long)((const signed char*)x)[i]); break;
        case UNISONO_U32: unisono_put(y, i, to, (long long)((const unsigned*)x)[i]); break;
        case UNISONO_U16: unisono_put(y, i, to, (long long)((const unsigned short*)x)[i]); break;
        case UNISONO_U8: unisono_put(y, i, to, (long long)((const unsigned char*)x)[i]); break;
        default: unisono_put(y, i, to, (long long)(((const unsigned char*)x)[i] != 0)); break;
    }
}
