// What is computed along rows: softmax, normalisations, reductions, positions of extremes, scans.
//
// Rows lie side by side, `n` elements each, unless a kernel says otherwise.

#include "fold.cuh"
#include "map.cuh"

// Softmax, or its logarithm, of rows; one or more warps to a row.
extern "C" __global__ void unisono_softmax(const float* x, float* y, unsigned rows, unsigned n, int logarithm) {
    __shared__ float shared[32];
    UnisonoGroup group = unisono_group(shared);
    unsigned row = unisono_row(), threads = blockDim.x;
    if (row >= rows) return;
    x += (unsigned long long)row * n, y += (unsigned long long)row * n;
    float m = unisono_extreme(group, n, __uint_as_float(0xff800000u), [&](unsigned i) { return x[i]; }, unisono_max);
    float total = unisono_fold_lanes(group, n, 0.0f, [&](float s, unsigned i) { return __fadd_rn(s, unisono_exp(__fsub_rn(x[i], m))); }, unisono_add);
    if (logarithm) {
        float log_sum = unisono_log(total);
        for (unsigned i = threadIdx.x; i < n; i += threads) y[i] = __fsub_rn(__fsub_rn(x[i], m), log_sum);
        return;
    }
    float scale = __fdiv_rn(1.0f, total);
#pragma unroll 4
    for (unsigned i = threadIdx.x; i < n; i += threads) y[i] = __fmul_rn(unisono_exp(__fsub_rn(x[i], m)), scale);
}

// The same for rows of up to 32 * ITEMS elements, which stay in the registers of a warp.
template <int ITEMS>
__device__ __forceinline__ void unisono_softmax_held(const float* x, float* y, unsigned rows, unsigned n, int logarithm) {
    unsigned row = unisono_row(), lane = threadIdx.x;
    if (row >= rows) return;
    x += (unsigned long long)row * n, y += (unsigned long long)row * n;
    float v[ITEMS];
    float m = __uint_as_float(0xff800000u);
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        unsigned i = lane + 32 * k;
        v[k] = i < n ? x[i] : __uint_as_float(0xff800000u);
        m = unisono_max(m, v[k]);
    }
#pragma unroll
    for (unsigned width = 16; width > 0; width /= 2) m = unisono_max(m, __shfl_xor_sync(UNISONO_WHOLE_WARP, m, width));
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        float d = __fsub_rn(v[k], m);
        float e = unisono_exp(d);
        total = lane + 32 * k < n ? __fadd_rn(total, e) : total;
        v[k] = logarithm ? d : e;
    }
#pragma unroll
    for (unsigned width = 16; width > 0; width /= 2) total = __fadd_rn(total, __shfl_down_sync(UNISONO_WHOLE_WARP, total, width));
    total = __fadd_rn(0.0f, __shfl_sync(UNISONO_WHOLE_WARP, total, 0));
    float last = logarithm ? unisono_log(total) : __fdiv_rn(1.0f, total);
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        unsigned i = lane + 32 * k;
        if (i < n) y[i] = logarithm ? __fsub_rn(v[k], last) : __fmul_rn(v[k], last);
    }
}

extern "C" __global__ void unisono_softmax_128(const float* x, float* y, unsigned rows, unsigned n, int logarithm) {
    unisono_softmax_held<4>(x, y, rows, n, logarithm);
}

extern "C" __global__ void unisono_softmax_512(const float* x, float* y, unsigned rows, unsigned n, int logarithm) {
    unisono_softmax_held<16>(x, y, rows, n, logarithm);
}

// Softmax, or its logarithm, along an axis in the middle: a line has n elements `inner` apart, in the order of slices. A thread to a line.
extern "C" __global__ void unisono_softmax_across(const float* x, float* y, unsigned lines, unsigned n, unsigned inner, int logarithm) {
    unsigned line = unisono_thread();
    if (line >= lines) return;
    unsigned base = line / inner * n * inner + line % inner;
    x += base, y += base;
    float m = __uint_as_float(0xff800000u);
    for (unsigned i = 0; i < n; i++) m = unisono_max(m, x[i * inner]);
    float total =
        unisono_fold_slices(n, 0.0f, [&](float s, unsigned i) { return __fadd_rn(s, unisono_exp(__fsub_rn(x[i * inner], m))); }, unisono_add);
    float last = logarithm ? unisono_log(total) : __fdiv_rn(1.0f, total);
    for (unsigned i = 0; i < n; i++) {
        float d = __fsub_rn(x[i * inner], m);
        y[i * inner] = logarithm ? __fsub_rn(d, last) : __fmul_rn(unisono_exp(d), last);
    }
}

// How a normalised row is scaled: its element i takes parameter `(row * n + i) / div % mod`; `same` if that is i.
struct UnisonoParameters {
    unsigned div;
    unsigned mod;
    unsigned same;
};

__device__ __forceinline__ unsigned unisono_parameter(const UnisonoParameters& p, unsigned row, unsigned n, unsigned i) {
    return p.same ? i : (row * n + i) / p.div % p.mod;
}

// The rows that are normalised: those of `a`, or what they give with rows of `b` added, of which there may be fewer, taken in turn. A sum
// that others read as well is written on the way.
template <bool ADDS>
struct UnisonoSummed {
    const float *a, *b;
    float* sum;

    __device__ __forceinline__ UnisonoSummed(const float* a_, const float* b_, float* sum_, unsigned b_rows, unsigned row, unsigned n)
        : a(a_ + (unsigned long long)row * n), b(ADDS ? b_ + (unsigned long long)(row % b_rows) * n : nullptr),
          sum(ADDS && sum_ != nullptr ? sum_ + (unsigned long long)row * n : nullptr) {}

    __device__ __forceinline__ float operator[](unsigned i) const { return ADDS ? __fadd_rn(a[i], b[i]) : a[i]; }

    __device__ __forceinline__ void put(unsigned i, float v) const {
        if (ADDS && sum != nullptr) sum[i] = v;
    }
};

// Layer, group and instance normalisation. `bias`, `means` and `inverses` may be null.
template <bool ADDS>
__device__ __forceinline__ void unisono_layer_norm_long(const UnisonoSummed<ADDS>& x, const float* scale, const float* bias, float* y, float* means,
                                                        float* inverses, unsigned row, unsigned n, float epsilon,
                                                        const UnisonoParameters& parameters, float* shared) {
    UnisonoGroup group = unisono_group(shared);
    unsigned threads = blockDim.x;
    y += (unsigned long long)row * n;
    float count = (float)n;
    float mean = __fdiv_rn(unisono_fold_lanes(group, n, 0.0f, [&](float s, unsigned i) { return __fadd_rn(s, x[i]); }, unisono_add), count);
    auto square = [&](float s, unsigned i) {
        float d = __fsub_rn(x[i], mean);
        return __fmaf_rn(d, d, s);
    };
    float variance = __fdiv_rn(unisono_fold_lanes(group, n, 0.0f, square, unisono_add), count);
    float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(variance, epsilon)));
#pragma unroll 4
    for (unsigned i = threadIdx.x; i < n; i += threads) {
        float v = x[i];
        x.put(i, v);
        float normal = __fmul_rn(__fsub_rn(v, mean), r);
        unsigned p = unisono_parameter(parameters, row, n, i);
        y[i] = bias != nullptr ? __fmaf_rn(normal, scale[p], bias[p]) : __fmul_rn(normal, scale[p]);
    }
    if (threadIdx.x == 0) {
        if (means != nullptr) means[row] = mean;
        if (inverses != nullptr) inverses[row] = r;
    }
}

extern "C" __global__ void unisono_layer_norm(const float* x, const float* scale, const float* bias, float* y, float* means, float* inverses,
                                              unsigned rows, unsigned n, float epsilon, UnisonoParameters parameters) {
    __shared__ float shared[32];
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<false> of(x, nullptr, nullptr, 1, row, n);
    unisono_layer_norm_long(of, scale, bias, y, means, inverses, row, n, epsilon, parameters, shared);
}

extern "C" __global__ void unisono_add_layer_norm(const float* a, const float* b, const float* scale, const float* bias, float* y, float* sum,
                                                  unsigned rows, unsigned n, unsigned b_rows, float epsilon, UnisonoParameters parameters) {
    __shared__ float shared[32];
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<true> of(a, b, sum, b_rows, row, n);
    unisono_layer_norm_long(of, scale, bias, y, nullptr, nullptr, row, n, epsilon, parameters, shared);
}

// Layer normalisation of rows of up to 32 * ITEMS elements, no more than 1,024, which stay in the registers of a warp; parameters follow the
// row and are on their way while it is summed.
template <int ITEMS, bool ADDS>
__device__ __forceinline__ void unisono_layer_norm_held(const UnisonoSummed<ADDS>& x, const float* scale, const float* bias, float* y,
                                                        float* means, float* inverses, unsigned row, unsigned n, float epsilon) {
    unsigned lane = threadIdx.x;
    y += (unsigned long long)row * n;
    float v[ITEMS], factor[ITEMS], shift[ITEMS];
    float count = (float)n, mean = 0.0f, variance = 0.0f;
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        unsigned i = lane + 32 * k;
        v[k] = i < n ? x[i] : 0.0f;
        factor[k] = i < n ? scale[i] : 0.0f;
        shift[k] = i < n && bias != nullptr ? bias[i] : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        unsigned i = lane + 32 * k;
        if (i < n) x.put(i, v[k]);
        mean = i < n ? __fadd_rn(mean, v[k]) : mean;
    }
#pragma unroll
    for (unsigned width = 16; width > 0; width /= 2) mean = __fadd_rn(mean, __shfl_down_sync(UNISONO_WHOLE_WARP, mean, width));
    mean = __fdiv_rn(__fadd_rn(0.0f, __shfl_sync(UNISONO_WHOLE_WARP, mean, 0)), count);
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        float d = __fsub_rn(v[k], mean);
        variance = lane + 32 * k < n ? __fmaf_rn(d, d, variance) : variance;
        v[k] = d;
    }
#pragma unroll
    for (unsigned width = 16; width > 0; width /= 2) variance = __fadd_rn(variance, __shfl_down_sync(UNISONO_WHOLE_WARP, variance, width));
    variance = __fdiv_rn(__fadd_rn(0.0f, __shfl_sync(UNISONO_WHOLE_WARP, variance, 0)), count);
    float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(variance, epsilon)));
#pragma unroll
    for (int k = 0; k < ITEMS; k++) {
        unsigned i = lane + 32 * k;
        if (i < n) {
            float normal = __fmul_rn(v[k], r);
            y[i] = bias != nullptr ? __fmaf_rn(normal, factor[k], shift[k]) : __fmul_rn(normal, factor[k]);
        }
    }
    if (lane == 0) {
        if (means != nullptr) means[row] = mean;
        if (inverses != nullptr) inverses[row] = r;
    }
}

extern "C" __global__ void unisono_layer_norm_512(const float* x, const float* scale, const float* bias, float* y, float* means, float* inverses,
                                                  unsigned rows, unsigned n, float epsilon) {
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<false> of(x, nullptr, nullptr, 1, row, n);
    unisono_layer_norm_held<16>(of, scale, bias, y, means, inverses, row, n, epsilon);
}

extern "C" __global__ void unisono_add_layer_norm_512(const float* a, const float* b, const float* scale, const float* bias, float* y, float* sum,
                                                      unsigned rows, unsigned n, unsigned b_rows, float epsilon) {
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<true> of(a, b, sum, b_rows, row, n);
    unisono_layer_norm_held<16>(of, scale, bias, y, nullptr, nullptr, row, n, epsilon);
}

extern "C" __global__ void unisono_add_layer_norm_1024(const float* a, const float* b, const float* scale, const float* bias, float* y, float* sum,
                                                       unsigned rows, unsigned n, unsigned b_rows, float epsilon) {
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<true> of(a, b, sum, b_rows, row, n);
    unisono_layer_norm_held<32>(of, scale, bias, y, nullptr, nullptr, row, n, epsilon);
}

template <bool ADDS>
__device__ __forceinline__ void unisono_rms_norm_long(const UnisonoSummed<ADDS>& x, const float* scale, float* y, unsigned row, unsigned n,
                                                      float epsilon, const UnisonoParameters& parameters, float* shared) {
    UnisonoGroup group = unisono_group(shared);
    unsigned threads = blockDim.x;
    y += (unsigned long long)row * n;
    auto square = [&](float s, unsigned i) {
        float v = x[i];
        return __fmaf_rn(v, v, s);
    };
    float mean = __fdiv_rn(unisono_fold_lanes(group, n, 0.0f, square, unisono_add), (float)n);
    float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, epsilon)));
    for (unsigned i = threadIdx.x; i < n; i += threads) {
        float v = x[i];
        x.put(i, v);
        y[i] = __fmul_rn(__fmul_rn(v, r), scale[unisono_parameter(parameters, row, n, i)]);
    }
}

extern "C" __global__ void unisono_rms_norm(const float* x, const float* scale, float* y, unsigned rows, unsigned n, float epsilon,
                                            UnisonoParameters parameters) {
    __shared__ float shared[32];
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<false> of(x, nullptr, nullptr, 1, row, n);
    unisono_rms_norm_long(of, scale, y, row, n, epsilon, parameters, shared);
}

extern "C" __global__ void unisono_add_rms_norm(const float* a, const float* b, const float* scale, float* y, float* sum, unsigned rows, unsigned n,
                                                unsigned b_rows, float epsilon, UnisonoParameters parameters) {
    __shared__ float shared[32];
    unsigned row = unisono_row();
    if (row >= rows) return;
    UnisonoSummed<true> of(a, b, sum, b_rows, row, n);
    unisono_rms_norm_long(of, scale, y, row, n, epsilon, parameters, shared);
}

// The folds of a row by a group of warps, for `unisono_reduce`.
struct UnisonoByGroup {
    UnisonoGroup group;
    unsigned n;

    template <typename Step, typename Join>
    __device__ __forceinline__ float fold(float neutral, Step step, Join join) const {
        return unisono_fold_lanes(group, n, neutral, step, join);
    }

    template <typename Value, typename Better>
    __device__ __forceinline__ float extreme(float neutral, Value value, Better better) const {
        return unisono_extreme(group, n, neutral, value, better);
    }
};

// A reduction over the last axes.
extern "C" __global__ void unisono_reduce_rows(const float* x, float* y, unsigned rows, unsigned n, int reduction) {
    __shared__ float shared[32];
    UnisonoByGroup by = {unisono_group(shared), n};
    unsigned row = unisono_row();
    if (row >= rows) return;
    x += (unsigned long long)row * n;
    float total = unisono_reduce(reduction, n, by, [&](unsigned i) { return x[i]; });
    if (threadIdx.x == 0) y[row] = total;
}

// The folds of 32 outputs side by side, by threads that take slices along y. All threads pass every barrier; one outside of the outputs folds nothing.
// UNROLLED elements are on their way at once.
template <int UNROLLED>
struct UnisonoBySlices {
    unsigned n;
    bool inside;
    float (*shared)[33];

    template <typename Step, typename Join>
    __device__ __forceinline__ float fold(float neutral, Step step, Join join) const {
        float total = neutral;
        for (unsigned first = 0; first < n; first += UNISONO_SLICE * blockDim.y) {
            unsigned start = first + UNISONO_SLICE * threadIdx.y;
            float chain = neutral;
            if (inside && start < n) {
                unsigned end = n - start < UNISONO_SLICE ? n : start + UNISONO_SLICE;
#pragma unroll UNROLLED
                for (unsigned i = start; i < end; i++) chain = step(chain, i);
            }
            if (blockDim.y == 1) {
                total = join(total, chain);
                continue;
            }
            shared[threadIdx.y][threadIdx.x] = chain;
            __syncthreads();
            for (unsigned part = 0; part < blockDim.y && first + UNISONO_SLICE * part < n; part++) total = join(total, shared[part][threadIdx.x]);
            __syncthreads();
        }
        return total;
    }

    template <typename Value, typename Better>
    __device__ __forceinline__ float extreme(float neutral, Value value, Better better) const {
        float m = neutral;
        for (unsigned i = threadIdx.y; inside && i < n; i += blockDim.y) m = better(m, value(i));
        if (blockDim.y == 1) return m;
        shared[threadIdx.y][threadIdx.x] = m;
        __syncthreads();
        for (unsigned part = 0; part < blockDim.y; part++) m = better(m, shared[part][threadIdx.x]);
        __syncthreads();
        return m;
    }
};

// A reduction over other axes: output o begins at `kept`'s place, element i lies at `folded`'s place behind it. 32 threads along x take outputs,
// up to 8 along y slices.
extern "C" __global__ void unisono_reduce_across(const float* x, float* y, unsigned outputs, unsigned n, int reduction, UnisonoMap kept,
                                                 UnisonoAxes kept_axes, UnisonoMap folded, UnisonoAxes folded_axes) {
    __shared__ float shared[8][33];
    unsigned o = blockIdx.x * 32 + threadIdx.x;
    bool inside = o < outputs;
    x += inside ? unisono_at(kept, kept_axes, o) : 0;
    float total;
    if (folded_axes.count <= 1) {
        // One axis, the usual case: what costs is to wait for each element, so many are asked for at once.
        unsigned apart = folded.step[0];
        UnisonoBySlices<16> by = {n, inside, shared};
        total = unisono_reduce(reduction, n, by, [&](unsigned i) { return x[i * apart]; });
    } else {
        UnisonoBySlices<2> by = {n, inside, shared};
        total = unisono_reduce(reduction, n, by, [&](unsigned i) { return x[unisono_at(folded, folded_axes, i)]; });
    }
    if (inside && threadIdx.y == 0) y[o] = total;
}

// Sums of integers, which wrap: `unisono_reduce_across` for i64 and i32, one thread to an output. 0 is the sum, 8 and 9 greatest and least.
template <typename T, typename U>
__device__ __forceinline__ void unisono_reduce_integers(const T* x, T* y, unsigned outputs, unsigned n, int reduction, const UnisonoMap& kept,
                                                        const UnisonoAxes& kept_axes, const UnisonoMap& folded, const UnisonoAxes& folded_axes) {
    unsigned o = unisono_thread();
    if (o >= outputs) return;
    x += unisono_at(kept, kept_axes, o);
    T total = n > 0 && reduction != UNISONO_REDUCE_SUM ? x[0] : 0;
    for (unsigned i = 0; i < n; i++) {
        T v = x[unisono_at(folded, folded_axes, i)];
        switch (reduction) {
            case UNISONO_REDUCE_MAX: total = v > total ? v : total; break;
            case UNISONO_REDUCE_MIN: total = v < total ? v : total; break;
            default: total = (T)((U)total + (U)v); break;
        }
    }
    y[o] = total;
}

extern "C" __global__ void unisono_reduce_i64(const long long* x, long long* y, unsigned outputs, unsigned n, int reduction, UnisonoMap kept,
                                              UnisonoAxes kept_axes, UnisonoMap folded, UnisonoAxes folded_axes) {
    unisono_reduce_integers<long long, unsigned long long>(x, y, outputs, n, reduction, kept, kept_axes, folded, folded_axes);
}

extern "C" __global__ void unisono_reduce_i32(const int* x, int* y, unsigned outputs, unsigned n, int reduction, UnisonoMap kept,
                                              UnisonoAxes kept_axes, UnisonoMap folded, UnisonoAxes folded_axes) {
    unisono_reduce_integers<int, unsigned>(x, y, outputs, n, reduction, kept, kept_axes, folded, folded_axes);
}

// Does `a` come before `b`, from the largest (or smallest) on? NaN comes before everything. 1 before, 0 equal, -1 behind.
__device__ __forceinline__ int unisono_rank(float a, float b, bool largest) {
    bool nan_a = a != a, nan_b = b != b;
    if (nan_a || nan_b) return (int)nan_a - (int)nan_b;
    return largest ? (a > b) - (a < b) : (a < b) - (a > b);
}

// The position of the largest or smallest of n elements `inner` apart, the first or the last of equal ones. A warp to a line.
extern "C" __global__ void unisono_arg_extreme(const float* x, long long* y, unsigned lines, unsigned n, unsigned inner, int largest, int last) {
    unsigned line = unisono_row(), lane = threadIdx.x;
    if (line >= lines) return;
    x += (unsigned long long)(line / inner) * n * inner + line % inner;
    unsigned best = lane < n ? lane : 0;
    float value = x[(unsigned long long)best * inner];
    for (unsigned i = lane + 32; i < n; i += 32) {
        float v = x[(unsigned long long)i * inner];
        int rank = unisono_rank(v, value, largest);
        if (rank > 0 || (rank == 0 && last)) value = v, best = i;
    }
#pragma unroll
    for (unsigned width = 16; width > 0; width /= 2) {
        float v = __shfl_xor_sync(UNISONO_WHOLE_WARP, value, width);
        unsigned i = __shfl_xor_sync(UNISONO_WHOLE_WARP, best, width);
        int rank = unisono_rank(v, value, largest);
        if (rank > 0 || (rank == 0 && (last ? i > best : i < best))) value = v, best = i;
    }
    if (lane == 0) y[line] = best;
}

// Running sums or products along lines of n elements `inner` apart: one chain to a thread.
extern "C" __global__ void unisono_scan(const float* x, float* y, unsigned lines, unsigned n, unsigned inner, int product, int exclusive, int reverse) {
    unsigned line = unisono_thread();
    if (line >= lines) return;
    unsigned base = line / inner * n * inner + line % inner;
    float chain = product ? 1.0f : 0.0f;
    for (unsigned k = 0; k < n; k++) {
        unsigned i = base + (reverse ? n - 1 - k : k) * inner;
        float before = chain, v = x[i];
        chain = product ? __fmul_rn(chain, v) : __fadd_rn(chain, v);
        y[i] = exclusive ? before : chain;
    }
}
