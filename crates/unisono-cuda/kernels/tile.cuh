// Tiles of long sums: what matrix products and convolutions share.
//
// The one idea: a block computes BM x BN outputs. Its threads form groups; each group computes the whole tile for one slice of 256
// values of k at a time, from +0 in rising k, and what the groups have is added in the order of the slices. So the number of groups
// decides how much of the device is busy, and never a bit.
//
// A Source brings the chunks of 16 values of k into shared memory (A as [row][k], B as [k][column]) and puts +0 where k has ended; a
// Sink takes finished totals, four columns at once.
#pragma once

#include "async.cuh"
#include "functions.cuh"

// `arith::SLICE`.
constexpr int SLICE = 256;
// Values of k that come into shared memory together.
constexpr int CHUNK = 16;

// BM x BN outputs, of which a thread has TM rows and TN columns in registers; chunks come STAGES - 1 ahead.
template <int BM_, int BN_, int TM_, int TN_, int STAGES_>
struct Tile {
    static constexpr int BM = BM_, BN = BN_, TM = TM_, TN = TN_, STAGES = STAGES_;
    static constexpr int ROWS = BM / TM, COLS = BN / TN;
    // Of one group.
    static constexpr int THREADS = ROWS * COLS;
    // Eight rows of A four floats apart lie in different banks, as do eight rows of B that are filled at once.
    static constexpr int A_PITCH = CHUNK + 4, B_PITCH = BN + 8;
    static constexpr int A_SIZE = BM * A_PITCH, STAGE = A_SIZE + CHUNK * B_PITCH;
    static constexpr int QUADS = TM * TN / 4;
    // Values of k whose multiplications stand in the code one after the other.
    static constexpr int UNROLLED = TM * TN < 64 ? CHUNK : CHUNK / 2;
    static_assert(ROWS % 4 == 0 && COLS % 8 == 0 && TN % 4 == 0, "a warp is 4 x 8 threads");

    // A warp covers 4 x 8 threads: its loads of A are 4 addresses and those of B one line.
    static __device__ __forceinline__ int row(int t) { return t % 32 / 8 + t / 32 / (COLS / 8) * 4; }
    static __device__ __forceinline__ int col(int t) { return (t % 8 + t / 32 % (COLS / 8) * 8) * 4; }
};

// What happens to a total (`arith::Epilogue`).
struct Finish {
    float alpha, beta;
    int code;
    float first, second;
};

// Scales a total and adds its bias.
__device__ __forceinline__ float scale(const Finish& finish, bool has_bias, float bias, float y) {
    if (finish.alpha != 1.0f) y = __fmul_rn(finish.alpha, y);
    if (has_bias) y = finish.beta == 1.0f ? __fadd_rn(y, bias) : __fmaf_rn(finish.beta, bias, y);
    return y;
}

// Finishes one total.
__device__ __forceinline__ float finish_one(const Finish& finish, bool has_bias, float bias, float y) {
    y = scale(finish, has_bias, bias, y);
    return unisono_activate(finish.code, finish.first, finish.second, y);
}

// Finishes four totals.
__device__ __forceinline__ void finish_four(const Finish& finish, bool has_bias, const float (&bias)[4], float (&y)[4]) {
#pragma unroll
    for (int e = 0; e < 4; e++) y[e] = scale(finish, has_bias, bias[e], y[e]);
    if (finish.code == UNISONO_IDENTITY) return;
    // Two at a time: the functions are the greater part of a kernel, and the driver compiles every copy of them.
#pragma unroll 1
    for (int half = 0; half < 2; half++) {
        float pair[2] = {y[0], y[1]};
        unisono_activate_all<2>(finish.code, finish.first, finish.second, pair);
        y[0] = y[2], y[1] = y[3], y[2] = pair[0], y[3] = pair[1];
    }
}

template <class T>
__device__ __forceinline__ void multiply_chunk(const float* a, const float* b, float (&acc)[T::TM][T::TN]) {
    // What is unrolled is to stay in the caches of instructions.
#pragma unroll 1
    for (int part = 0; part < CHUNK; part += T::UNROLLED) {
#pragma unroll
        for (int k = 0; k < T::UNROLLED; k += 4) {
            float4 left[T::TM];
#pragma unroll
            for (int i = 0; i < T::TM; i++) left[i] = *reinterpret_cast<const float4*>(a + i * T::ROWS * T::A_PITCH + k);
#pragma unroll
            for (int step = 0; step < 4; step++) {
                float right[T::TN];
#pragma unroll
                for (int j = 0; j < T::TN; j += 4) {
                    const float4 four = *reinterpret_cast<const float4*>(b + (k + step) * T::B_PITCH + j * T::COLS);
                    right[j] = four.x, right[j + 1] = four.y, right[j + 2] = four.z, right[j + 3] = four.w;
                }
#pragma unroll
                for (int i = 0; i < T::TM; i++) {
                    const float x = step == 0 ? left[i].x : step == 1 ? left[i].y : step == 2 ? left[i].z : left[i].w;
#pragma unroll
                    for (int j = 0; j < T::TN; j++) acc[i][j] = __fmaf_rn(x, right[j], acc[i][j]);
                }
            }
        }
        a += T::UNROLLED, b += T::UNROLLED * T::B_PITCH;
    }
}

__device__ __forceinline__ float4 add4(float4 x, float4 y) {
    return make_float4(__fadd_rn(x.x, y.x), __fadd_rn(x.y, y.y), __fadd_rn(x.z, y.z), __fadd_rn(x.w, y.w));
}

// The long sums of this block's tile over `k` values.
//
// `source.load(k0, a, b)` starts the copies of the chunk at k0; `sink.put(row, col, totals)` has rows and columns within the tile.
// Shared memory: `kernels::tile::shared` counts it.
template <class T, class Source, class Sink>
__device__ __forceinline__ void tile_sums(int k, Source& source, Sink& sink) {
    UNISONO_SHARED(memory);
    const int group = threadIdx.x / T::THREADS, t = threadIdx.x % T::THREADS;
    const int groups = blockDim.x / T::THREADS;
    const bool alone = groups == 1;
    const int slices = k > SLICE ? (k + SLICE - 1) / SLICE : 1;
    const int rounds = (slices + groups - 1) / groups;

    float* const stages = memory + group * (T::STAGES * T::STAGE);
    // Sums of slices take the place of the chunks. Totals need a place of their own only if they outlive a round.
    float4* const sums = reinterpret_cast<float4*>(memory);
    const int chunks_end = groups * T::STAGES * T::STAGE, sums_end = groups * T::BM * T::BN;
    float4* const totals = rounds == 1 ? sums : sums + (alone || chunks_end > sums_end ? chunks_end : sums_end) / 4;

    const int row = T::row(t), col = T::col(t);
    float acc[T::TM][T::TN];
    int put = 0, get = 0, next = 0;

    for (int round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < T::TM; i++)
#pragma unroll
            for (int j = 0; j < T::TN; j++) acc[i][j] = 0.0f;
        // A group that is alone goes through all of k in one stream; several begin anew in each round.
        const int slice = round * groups + group;
        const int until = alone ? k : min(k, (slice + 1) * SLICE);
        const int left = k - round * groups * SLICE;
        const int chunks = (max(1, min(left, SLICE)) + CHUNK - 1) / CHUNK;
        int here = slice * SLICE;
        const auto fetch = [&]() {
            if (next < until) source.load(next, stages + put * T::STAGE, stages + put * T::STAGE + T::A_SIZE);
            async_commit();
            next += CHUNK;
            put = put + 1 == T::STAGES ? 0 : put + 1;
        };
        if (!alone || round == 0) {
            next = here, put = 0, get = 0;
#pragma unroll 1
            for (int i = 0; i < T::STAGES - 1; i++) fetch();
        }
        for (int chunk = 0; chunk < chunks; chunk++) {
            async_wait<T::STAGES - 2>();
            // The chunk is there for all threads of the group, and all have done with the one whose place the next fetch takes.
            group_sync<T::THREADS>(group);
            fetch();
            if (here < until) {
                const float* a = stages + get * T::STAGE;
                multiply_chunk<T>(a + row * T::A_PITCH, a + T::A_SIZE + col, acc);
            }
            here += CHUNK;
            get = get + 1 == T::STAGES ? 0 : get + 1;
        }
        const auto slice_sum = [&](int quad) {
            const int i = quad / (T::TN / 4), j = quad % (T::TN / 4) * 4;
            return make_float4(acc[i][j], acc[i][j + 1], acc[i][j + 2], acc[i][j + 3]);
        };
        const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (alone) {
            if (rounds == 1) __syncthreads();
#pragma unroll
            for (int quad = 0; quad < T::QUADS; quad++) {
                float4* const total = totals + quad * T::THREADS + t;
                *total = add4(round == 0 ? zero : *total, slice_sum(quad));
            }
        } else {
            __syncthreads();
#pragma unroll
            for (int quad = 0; quad < T::QUADS; quad++) sums[(group * T::QUADS + quad) * T::THREADS + t] = slice_sum(quad);
            __syncthreads();
            const int there = min(groups, slices - round * groups);
            for (int quad = group; quad < T::QUADS; quad += groups) {
                float4 total = round == 0 ? zero : totals[quad * T::THREADS + t];
                for (int g = 0; g < there; g++) total = add4(total, sums[(g * T::QUADS + quad) * T::THREADS + t]);
                totals[quad * T::THREADS + t] = total;
            }
            __syncthreads();
        }
    }
    // Rolled, so that the functions are there once.
#pragma unroll 1
    for (int quad = group; quad < T::QUADS; quad += groups) {
        const int i = quad / (T::TN / 4), j = quad % (T::TN / 4);
        sink.put(row + i * T::ROWS, col + j * T::COLS * 4, totals[quad * T::THREADS + t]);
    }
}

// Rows of A four along k at once: for A with dense rows on 16-byte addresses. Where A has no more rows, the last one is read again.
template <class T>
struct DenseA {
    const float* a;
    int row, rows, stride, k, kq;

    __device__ __forceinline__ DenseA(const float* base, int m0, int m, int stride_, int k_, int t)
        : row(m0 + t / 4), rows(m), stride(stride_), k(k_), kq(t % 4 * 4) {
        a = base + kq;
    }

    __device__ __forceinline__ void load(int k0, float* to, int t) const {
        static_assert(T::BM * CHUNK / 4 % T::THREADS == 0, "all threads have as much to copy");
        constexpr int COPIES = T::BM * CHUNK / 4 / T::THREADS, STEP = T::THREADS / 4;
        to += t / 4 * T::A_PITCH + kq;
        if (k0 + CHUNK <= k) {
#pragma unroll
            for (int i = 0; i < COPIES; i++)
                async_copy4(to + i * STEP * T::A_PITCH, a + k0 + (long long)min(row + i * STEP, rows - 1) * stride, 4);
        } else {
            const int count = max(0, min(4, k - k0 - kq));
#pragma unroll 1
            for (int i = 0; i < COPIES; i++) {
                const float* from = a + (long long)min(row + i * STEP, rows - 1) * stride;
                async_copy4(to + i * STEP * T::A_PITCH, count > 0 ? from + k0 : from - kq, count);
            }
        }
    }
};
