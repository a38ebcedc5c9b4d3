// The canonical reductions of `arith/reduce.rs`.
//
// Lanes: blocks of 1,024 elements over the 32 lanes of a warp, which meet in a halving tree; blocks are added in order. A row belongs to a
// group of one or more warps, which take blocks side by side. Slices: chains of 256 elements, added in order.
#pragma once

#include "functions.cuh"

constexpr unsigned UNISONO_BLOCK = 1024;
constexpr unsigned UNISONO_SLICE = 256;
constexpr unsigned UNISONO_WHOLE_WARP = 0xffffffffu;

// The warps that share a row: threads are (32 x warps) along x and rows along y. One warp per row needs no shared memory and no barrier;
// more take the whole block, one row each.
struct UnisonoGroup {
    unsigned lane, warp, warps;
    float* shared;  // 32 floats
};

__device__ __forceinline__ UnisonoGroup unisono_group(float* shared) {
    return {threadIdx.x % 32, threadIdx.x / 32, blockDim.x / 32, shared};
}

// The row of this thread.
__device__ __forceinline__ unsigned unisono_row() { return blockIdx.x * blockDim.y + threadIdx.y; }

// Folds n elements in the order of lanes; every thread of the group gets the total. `step(s, i)` takes element i into a chain.
template <typename Step, typename Join>
__device__ __forceinline__ float unisono_fold_lanes(const UnisonoGroup& group, unsigned n, float neutral, Step step, Join join) {
    unsigned blocks = (n + UNISONO_BLOCK - 1) / UNISONO_BLOCK;
    float total = neutral;
    for (unsigned first = 0; first < blocks; first += group.warps) {
        unsigned block = first + group.warp;
        float chain = neutral;
        if (block < blocks) {
            unsigned start = block * UNISONO_BLOCK;
            unsigned end = n - start < UNISONO_BLOCK ? n : start + UNISONO_BLOCK;
#pragma unroll 8
            for (unsigned i = start + group.lane; i < end; i += 32) chain = step(chain, i);
#pragma unroll
            for (unsigned width = 16; width > 0; width /= 2) chain = join(chain, __shfl_down_sync(UNISONO_WHOLE_WARP, chain, width));
        }
        if (group.warps == 1) {
            total = join(total, __shfl_sync(UNISONO_WHOLE_WARP, chain, 0));
            continue;
        }
        if (group.lane == 0) group.shared[group.warp] = chain;
        __syncthreads();
        unsigned parts = blocks - first < group.warps ? blocks - first : group.warps;
        for (unsigned part = 0; part < parts; part++) total = join(total, group.shared[part]);
        __syncthreads();
    }
    return total;
}

// The greatest or least of n values: no order matters. `better` is `unisono_max` or `unisono_min`.
template <typename Value, typename Better>
__device__ __forceinline__ float unisono_extreme(const UnisonoGroup& group, unsigned n, float neutral, Value value, Better better) {
    float m = neutral;
#pragma unroll 4
    for (unsigned i = threadIdx.x; i < n; i += 32 * group.warps) m = better(m, value(i));
#pragma unroll
    for (unsigned width = 16; width > 0; width /= 2) m = better(m, __shfl_xor_sync(UNISONO_WHOLE_WARP, m, width));
    if (group.warps == 1) return m;
    if (group.lane == 0) group.shared[group.warp] = m;
    __syncthreads();
    for (unsigned part = 0; part < group.warps; part++) m = better(m, group.shared[part]);
    __syncthreads();
    return m;
}

// Folds n elements in slices, by one thread.
template <typename Step, typename Join>
__device__ __forceinline__ float unisono_fold_slices(unsigned n, float neutral, Step step, Join join) {
    float total = neutral;
    for (unsigned start = 0; start < n; start += UNISONO_SLICE) {
        unsigned end = n - start < UNISONO_SLICE ? n : start + UNISONO_SLICE;
        float chain = neutral;
#pragma unroll 4
        for (unsigned i = start; i < end; i++) chain = step(chain, i);
        total = join(total, chain);
    }
    return total;
}

__device__ __forceinline__ float unisono_add(float a, float b) { return __fadd_rn(a, b); }

// What is reduced; `src/kernels/reduce.rs` has the same numbers.
enum UnisonoReduction {
    UNISONO_REDUCE_SUM = 0,
    UNISONO_REDUCE_MEAN = 1,
    UNISONO_REDUCE_SUM_SQUARE = 2,
    UNISONO_REDUCE_L1 = 3,
    UNISONO_REDUCE_L2 = 4,
    UNISONO_REDUCE_LOG_SUM = 5,
    UNISONO_REDUCE_LOG_SUM_EXP = 6,
    UNISONO_REDUCE_PROD = 7,
    UNISONO_REDUCE_MAX = 8,
    UNISONO_REDUCE_MIN = 9,
};

// A reduction over `value(0) .. value(n)` by way of `by.fold` and `by.extreme`.
template <typename By, typename Value>
__device__ __forceinline__ float unisono_reduce(int reduction, unsigned n, const By& by, Value value) {
    const float infinity = __uint_as_float(0x7f800000u);
    auto sum = [&](float s, unsigned i) { return __fadd_rn(s, value(i)); };
    auto squares = [&](float s, unsigned i) {
        float v = value(i);
        return __fmaf_rn(v, v, s);
    };
    switch (reduction) {
        case UNISONO_REDUCE_SUM: return by.fold(0.0f, sum, unisono_add);
        case UNISONO_REDUCE_MEAN: return __fdiv_rn(by.fold(0.0f, sum, unisono_add), (float)n);
        case UNISONO_REDUCE_SUM_SQUARE: return by.fold(0.0f, squares, unisono_add);
        case UNISONO_REDUCE_L1: return by.fold(0.0f, [&](float s, unsigned i) { return __fadd_rn(s, fabsf(value(i))); }, unisono_add);
        case UNISONO_REDUCE_L2: return __fsqrt_rn(by.fold(0.0f, squares, unisono_add));
        case UNISONO_REDUCE_LOG_SUM: return unisono_log(by.fold(0.0f, sum, unisono_add));
        case UNISONO_REDUCE_LOG_SUM_EXP: {
            float m = by.extreme(-infinity, value, unisono_max);
            m = fabsf(m) == infinity ? 0.0f : m;
            float s = by.fold(0.0f, [&](float s, unsigned i) { return __fadd_rn(s, unisono_exp(__fsub_rn(value(i), m))); }, unisono_add);
            return __fadd_rn(unisono_log(s), m);
        }
        case UNISONO_REDUCE_PROD:
            return by.fold(1.0f, [&](float s, unsigned i) { return __fmul_rn(s, value(i)); }, [](float a, float b) { return __fmul_rn(a, b); });
        case UNISONO_REDUCE_MAX: return by.extreme(-infinity, value, unisono_max);
        default: return by.extreme(infinity, value, unisono_min);
    }
}
