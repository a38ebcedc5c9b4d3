// Tiles of long sums: what matrix products and convolutions share.
//
// The one idea: a block computes BM x BN outputs. Its threads form groups; each group computes the whole tile for one slice of 256
// values of k at a time, from +0 in rising k, and what the groups have is added in the order of the slices. So the number of groups
// decides how much of the device is busy, and never a bit.
//
// What limits a large tile is what shared memory hands to threads, 128 bytes a cycle however often a value is the same, so its threads
// have many outputs. What limits a small one is waiting: its threads have few outputs, so that every scheduler of every processor has a
// warp, and its chunks are long, so that barriers are few and most of a slice is on its way from the start.
//
// A Source brings chunks of k into shared memory (A as [row][k], B as [k][column]) and puts +0 where k has ended; a Sink knows the
// biases of outputs and where they go.
#pragma once

#include "async.cuh"
#include "functions.cuh"

// `arith::SLICE`.
constexpr int SLICE = 256;

// BM x BN outputs, of which a thread has TM rows and TN columns in registers; CHUNK values of k come into shared memory together,
// STAGES - 1 chunks ahead. Factors of STEP values of k are read while as many others are multiplied; if it is 0, those of one, from each
// chunk to the next without a gap, and A is turned for that.
template <int BM_, int BN_, int TM_, int TN_, int CHUNK_, int STAGES_, int STEP_>
struct Tile {
    static constexpr int BM = BM_, BN = BN_, TM = TM_, TN = TN_, CHUNK = CHUNK_, STAGES = STAGES_, STEP = STEP_;
    static constexpr int ROWS = BM / TM, COLS = BN / TN;
    // Of one group.
    static constexpr int THREADS = ROWS * COLS;
    // Columns of a thread that lie side by side, and how often it has so many outputs.
    static constexpr int WIDTH = TN < 4 ? TN : 4, PARTS = TM * TN / WIDTH;
    // Whether A lies in shared memory as [k][row]; otherwise as [row][k].
    static constexpr bool TURNED = STEP == 0;
    // Rows of a thread that lie side by side.
    static constexpr int HEIGHT = !TURNED ? 1 : TM < 4 ? TM : 4;
    // Eight rows of A four floats apart lie in different banks, as do rows of B that are filled at once.
    static constexpr int A_PITCH = TURNED ? BM + 4 : CHUNK + 4, B_PITCH = BN == 8 ? BN : BN + 8;
    static constexpr int A_SIZE = TURNED ? CHUNK * A_PITCH : BM * A_PITCH, STAGE = A_SIZE + CHUNK * B_PITCH;
    // Threads of a warp along rows and columns.
    static constexpr int LANES_M = TURNED && TN > TM ? 8 : 4, LANES_N = 32 / LANES_M;
    // Values of k whose multiplications stand in the code one after the other.
    static constexpr int UNROLLED = TM * TN > 2 ? 16 : 32;
    static_assert(ROWS % LANES_M == 0 && COLS % LANES_N == 0 && TN % WIDTH == 0 && TM % HEIGHT == 0, "a tile is whole warps");
    static_assert(TURNED ? CHUNK % 2 == 0 : CHUNK % UNROLLED == 0 && UNROLLED % (2 * STEP + TURNED) == 0, "a chunk is whole steps");

    // A warp covers 4 x 8 threads: its loads of A are 4 addresses and those of B one line. Four addresses take half of the time that
    // more do, so that they are those of the longer side's factors.
    static __device__ __forceinline__ int row(int t) { return (t % 32 / LANES_N + t / 32 / (COLS / LANES_N) * LANES_M) * HEIGHT; }
    static __device__ __forceinline__ int col(int t) { return (t % LANES_N + t / 32 % (COLS / LANES_N) * LANES_N) * WIDTH; }
    // How far a part's outputs are from those of the first.
    static __device__ __forceinline__ int down(int part) {
        const int i = part / (TN / WIDTH);
        return i / HEIGHT * ROWS * HEIGHT + i % HEIGHT;
    }
    static __device__ __forceinline__ int across(int part) { return part % (TN / WIDTH) * COLS * WIDTH; }
    // Where an element of A lies in a chunk.
    static __device__ __forceinline__ int place(int row, int k) { return TURNED ? k * A_PITCH + row : row * A_PITCH + k; }
};

// N floats that lie side by side, N x 4 bytes aligned.
__device__ __forceinline__ void read_columns(const float* from, float (&to)[1]) { to[0] = *from; }

__device__ __forceinline__ void read_columns(const float* from, float (&to)[2]) {
    const float2 both = *reinterpret_cast<const float2*>(from);
    to[0] = both.x, to[1] = both.y;
}

__device__ __forceinline__ void read_columns(const float* from, float (&to)[4]) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}

__device__ __forceinline__ void write_columns(float* to, const float (&from)[1]) { *to = from[0]; }

__device__ __forceinline__ void write_columns(float* to, const float (&from)[2]) {
    float2 both;
    both.x = from[0], both.y = from[1];
    *reinterpret_cast<float2*>(to) = both;
}

__device__ __forceinline__ void write_columns(float* to, const float (&from)[4]) {
    *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}

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

// Applies the function to what is scaled: one value, or an even number of them.
template <int N>
__device__ __forceinline__ void activate(const Finish& finish, float (&y)[N]) {
    if (finish.code == UNISONO_IDENTITY) return;
    if constexpr (N <= 2) {
        unisono_activate_all<N>(finish.code, finish.first, finish.second, y);
    } else {
        // Two at a time: the functions are the greater part of a kernel, and the driver compiles every copy of them.
#pragma unroll 1
        for (int done = 0; done < N; done += 2) {
            float pair[2] = {y[0], y[1]};
            unisono_activate_all<2>(finish.code, finish.first, finish.second, pair);
#pragma unroll
            for (int e = 2; e < N; e++) y[e - 2] = y[e];
            y[N - 2] = pair[0], y[N - 1] = pair[1];
        }
    }
}

// What a thread multiplies for one value of k.
template <class T>
struct Factors {
    float left[T::TM / T::HEIGHT][T::HEIGHT], right[T::TN / T::WIDTH][T::WIDTH];

    __device__ __forceinline__ void read(const float* a, const float* b) {
#pragma unroll
        for (int i = 0; i < T::TM / T::HEIGHT; i++) read_columns(a + i * T::ROWS * T::HEIGHT, left[i]);
#pragma unroll
        for (int j = 0; j < T::TN / T::WIDTH; j++) read_columns(b + j * T::COLS * T::WIDTH, right[j]);
    }

    __device__ __forceinline__ void multiply(float (&acc)[T::TM][T::TN]) const {
#pragma unroll
        for (int i = 0; i < T::TM; i++)
#pragma unroll
            for (int j = 0; j < T::TN; j++)
                acc[i][j] = __fmaf_rn(left[i / T::HEIGHT][i % T::HEIGHT], right[j / T::WIDTH][j % T::WIDTH], acc[i][j]);
    }
};

// One output's sum over a chunk goes on, for every output of a thread. Where few warps share a scheduler they cannot hide what shared
// memory takes: what the next step reads comes into registers while one is multiplied.
template <class T>
__device__ __forceinline__ void multiply_in_steps(const float* a, const float* b, float (&acc)[T::TM][T::TN]) {
    constexpr int STEP = T::STEP, ALONG = STEP < 4 ? STEP : 4, PIECES = T::TN / T::WIDTH;
    struct Steps {
        float left[T::TM][STEP / ALONG][ALONG], right[STEP][PIECES][T::WIDTH];
    };
    const auto read = [&](int k, Steps& f) {
#pragma unroll
        for (int i = 0; i < T::TM; i++)
#pragma unroll
            for (int q = 0; q < STEP / ALONG; q++) read_columns(a + i * T::ROWS * T::A_PITCH + k + q * ALONG, f.left[i][q]);
#pragma unroll
        for (int e = 0; e < STEP; e++)
#pragma unroll
            for (int j = 0; j < PIECES; j++) read_columns(b + (k + e) * T::B_PITCH + j * T::WIDTH * T::COLS, f.right[e][j]);
    };
    const auto multiply = [&](const Steps& f) {
#pragma unroll
        for (int e = 0; e < STEP; e++)
#pragma unroll
            for (int i = 0; i < T::TM; i++)
#pragma unroll
                for (int j = 0; j < T::TN; j++)
                    acc[i][j] = __fmaf_rn(f.left[i][e / ALONG][e % ALONG], f.right[e][j / T::WIDTH][j % T::WIDTH], acc[i][j]);
    };
    Steps even, odd;
    read(0, even);
#pragma unroll 1
    for (int part = 0; part < T::CHUNK; part += T::UNROLLED) {
#pragma unroll
        for (int k = 0; k < T::UNROLLED; k += 2 * STEP) {
            read(k + STEP, odd);
            multiply(even);
            if (part + k + 2 * STEP < T::CHUNK) read(k + 2 * STEP, even);
            multiply(odd);
        }
        a += T::UNROLLED, b += T::UNROLLED * T::B_PITCH;
    }
}

// The long sums of this block's tile over `k` values.
//
// `source.load(k0, a, b)` starts the copies of the chunk at k0. `sink.biases(row, col, to)` reads biases, which are those of every row if
// `sink.rows_are_alike()`; `sink.put(row, col, values)` stores what is finished; rows and columns are those within the tile. Shared
// memory: `kernels::tile::shared` counts it.
template <class T, class Source, class Sink>
__device__ __forceinline__ void tile_sums(int k, Source& source, Sink& sink, const Finish& finish) {
    UNISONO_SHARED(memory);
    constexpr int WIDTH = T::WIDTH, PARTS = T::PARTS;
    const int group = threadIdx.x / T::THREADS, t = threadIdx.x % T::THREADS;
    const int groups = blockDim.x / T::THREADS;
    const bool alone = groups == 1;
    const int slices = k > SLICE ? (k + SLICE - 1) / SLICE : 1;
    const int rounds = alone ? slices : (slices + groups - 1) / groups;

    float* const stages = memory + group * (T::STAGES * T::STAGE);
    // Sums of slices take the place of the chunks. Totals need a place of their own only if they outlive a round; a group that is alone
    // has no other sums.
    const int chunks_end = groups * T::STAGES * T::STAGE, sums_end = alone ? 0 : groups * T::BM * T::BN;
    float* const sums = memory + t * WIDTH;
    float* const totals = rounds == 1 ? sums : sums + (chunks_end > sums_end ? chunks_end : sums_end);
    constexpr int PART = T::THREADS * WIDTH;

    const int row = T::row(t), col = T::col(t);
    // Biases that all rows share are read once by a group that is alone, and before the sums where a thread has registers for them.
    constexpr int ACROSS = T::TN / WIDTH;
    const bool alike = (ACROSS > 1 || alone) && sink.rows_are_alike();
    float shared[ACROSS][WIDTH] = {};
    const auto read_shared = [&]() {
#pragma unroll
        for (int j = 0; j < ACROSS; j++) sink.biases(row, col + T::across(j), shared[j]);
    };
    if (ACROSS == 1 && alike) read_shared();
    float acc[T::TM][T::TN];
    // Of a turned tile.
    Factors<T> ready[2];
    int put = 0, get = 0, next = 0;
    const auto fetch = [&](int until) {
        if (next < until) source.load(next, stages + put * T::STAGE, stages + put * T::STAGE + T::A_SIZE);
        async_commit();
        next += T::CHUNK;
        put = put + 1 == T::STAGES ? 0 : put + 1;
    };

    for (int round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < T::TM; i++)
#pragma unroll
            for (int j = 0; j < T::TN; j++) acc[i][j] = 0.0f;
        // A group that is alone goes through all of k in one stream; several begin anew in each round.
        const int slice = round * groups + group;
        const int until = alone ? k : min(k, (slice + 1) * SLICE);
        int here = slice * SLICE;
        if (!alone || round == 0) {
            next = here, put = 0, get = 0;
#pragma unroll 1
            for (int i = 0; i < T::STAGES - 1; i++) fetch(until);
        }
        if constexpr (T::TURNED) {
            // What the next value of k needs comes into registers while one is multiplied, also from one chunk to the next.
            const auto arrive = [&]() {
                async_wait<T::STAGES - 2>();
                group_sync<T::THREADS>(group);
            };
            if (!alone || round == 0) {
                arrive();
                ready[0].read(stages + row, stages + T::A_SIZE + col);
            }
            const int mine = (max(0, min(until - here, SLICE)) + T::CHUNK - 1) / T::CHUNK;
#pragma unroll 1
            for (int chunk = 0; chunk < mine; chunk++) {
                const float* const a = stages + get * T::STAGE;
                fetch(until);
                get = get + 1 == T::STAGES ? 0 : get + 1;
#pragma unroll
                for (int k = 0; k < T::CHUNK; k++) {
                    if (k + 1 < T::CHUNK) {
                        ready[(k + 1) % 2].read(a + row + (k + 1) * T::A_PITCH, a + T::A_SIZE + col + (k + 1) * T::B_PITCH);
                    } else {
                        // The next chunk is there for all threads of the group, and all have read the whole of this one, whose place the next
                        // fetch takes.
                        arrive();
                        const float* const onward = stages + get * T::STAGE;
                        ready[0].read(onward + row, onward + T::A_SIZE + col);
                    }
                    ready[k % 2].multiply(acc);
                }
            }
        } else {
            const int left = k - round * groups * SLICE;
            const int chunks = (max(1, min(left, SLICE)) + T::CHUNK - 1) / T::CHUNK;
#pragma unroll 1
            for (int chunk = 0; chunk < chunks; chunk++) {
                async_wait<T::STAGES - 2>();
                // The chunk is there for all threads of the group, and all have done with the one whose place the next fetch takes.
                group_sync<T::THREADS>(group);
                fetch(until);
                if (here < until) {
                    const float* a = stages + get * T::STAGE;
                    multiply_in_steps<T>(a + row * T::A_PITCH, a + T::A_SIZE + col, acc);
                }
                here += T::CHUNK;
                get = get + 1 == T::STAGES ? 0 : get + 1;
            }
        }
        const auto sum = [&](int part) -> float(&)[WIDTH] {
            return reinterpret_cast<float(&)[WIDTH]>(acc[part / (T::TN / WIDTH)][part % (T::TN / WIDTH) * WIDTH]);
        };
        const bool last = round == rounds - 1;
        if (alone && last && (finish.code == UNISONO_IDENTITY || finish.code == UNISONO_RELU)) {
            // Totals never leave registers. All biases are on their way before one is waited for.
            if (ACROSS > 1 && alike) read_shared();
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                float total[WIDTH] = {}, add[WIDTH] = {};
                if (alike) {
#pragma unroll
                    for (int e = 0; e < WIDTH; e++) add[e] = shared[part % ACROSS][e];
                } else {
                    sink.biases(row + T::down(part), col + T::across(part), add);
                }
                if (round > 0) read_columns(totals + part * PART, total);
#pragma unroll
                for (int e = 0; e < WIDTH; e++) {
                    float& y = sum(part)[e];
                    y = scale(finish, sink.bias != nullptr, add[e], __fadd_rn(total[e], y));
                    if (finish.code == UNISONO_RELU) y = unisono_max(y, 0.0f);
                }
            }
#pragma unroll
            for (int part = 0; part < PARTS; part++) sink.put(row + T::down(part), col + T::across(part), sum(part));
            return;
        }
        if (alone) {
            // Nobody else touches a thread's totals.
            if (rounds == 1) __syncthreads();
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                float total[WIDTH] = {};
                if (round > 0) read_columns(totals + part * PART, total);
#pragma unroll
                for (int e = 0; e < WIDTH; e++) total[e] = __fadd_rn(total[e], sum(part)[e]);
                write_columns(totals + part * PART, total);
            }
            if (!last) continue;
        } else {
            __syncthreads();
#pragma unroll
            for (int part = 0; part < PARTS; part++) write_columns(sums + (group * PARTS + part) * PART, sum(part));
            __syncthreads();
        }
        const int there = alone ? 0 : min(groups, slices - round * groups);
        // Rolled, so that the functions are there once.
#pragma unroll 1
        for (int part = group; part < PARTS; part += groups) {
            float total[WIDTH] = {}, add[WIDTH] = {};
            const int y_row = row + T::down(part), y_col = col + T::across(part);
            if (last) sink.biases(y_row, y_col, add);
            if (alone || round > 0) read_columns(totals + part * PART, total);
            for (int g = 0; g < there; g++) {
                float more[WIDTH];
                read_columns(sums + (g * PARTS + part) * PART, more);
#pragma unroll
                for (int e = 0; e < WIDTH; e++) total[e] = __fadd_rn(total[e], more[e]);
            }
            if (!last) {
                write_columns(totals + part * PART, total);
                continue;
            }
#pragma unroll
            for (int e = 0; e < WIDTH; e++) total[e] = scale(finish, sink.bias != nullptr, add[e], total[e]);
            activate(finish, total);
            sink.put(y_row, y_col, total);
        }
        __syncthreads();
    }
}

// Rows of A four along k at once: for A with dense rows on 16-byte addresses. Rows that are not there become +0 without a read: reading
// another one in their place, in all blocks at once, is what its part of the second-level cache cannot serve.
template <class T, bool TURNED = T::TURNED>
struct DenseA {
    static constexpr int QUADS = T::CHUNK / 4, COPIES = T::BM * QUADS / T::THREADS, STEP = T::THREADS / QUADS;
    static_assert(COPIES > 0 && T::THREADS % QUADS == 0, "all threads have as much to copy, from every so many rows");
    // Where this thread copies from in the first chunk.
    const float* from[COPIES];
    // Rows from its first one on.
    int rows;
    int k, kq;

    __device__ __forceinline__ DenseA(const float* a, int m0, int m, int stride, int k_, int t)
        : rows(m - m0 - t / QUADS), k(k_), kq(t % QUADS * 4) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) from[i] = a + (long long)min(m0 + t / QUADS + i * STEP, m - 1) * stride + kq;
    }

    __device__ __forceinline__ void load(int k0, float* to, int t) const {
        to += t / QUADS * T::A_PITCH + kq;
        const int count = max(0, min(4, k - k0 - kq));
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            async_copy4(to + i * STEP * T::A_PITCH, count > 0 ? from[i] + k0 : from[i] - kq, i * STEP < rows ? count : 0);
    }
};

// The same into [k][row], one value at a time: eight of k and four rows of a warp lie in different banks.
template <class T>
struct DenseA<T, true> {
    static constexpr int ALONG = 8, STEP = T::THREADS / ALONG, COPIES = T::BM / STEP;
    static_assert(T::CHUNK % ALONG == 0 && COPIES > 0 && COPIES * STEP == T::BM, "all threads have as much to copy");
    const float* from;
    // Rows from its first one on, at least one of which is read.
    int rows, stride;
    int k, along;

    __device__ __forceinline__ DenseA(const float* a, int m0, int m, int stride_, int k_, int t)
        : rows(m - m0 - t / ALONG), stride(stride_), k(k_), along(t % ALONG) {
        from = a + (long long)min(m0 + t / ALONG, m - 1) * stride + along;
    }

    __device__ __forceinline__ void load(int k0, float* to, int t) const {
        to += along * T::A_PITCH + t / ALONG;
#pragma unroll
        for (int part = 0; part < T::CHUNK; part += ALONG) {
            const bool inside = k0 + part + along < k;
            const float* const start = inside ? from + k0 + part : from - along;
#pragma unroll
            for (int i = 0; i < COPIES; i++) {
                const bool there = inside && i * STEP < rows;
                async_copy1(to + part * T::A_PITCH + i * STEP, there ? start + (long long)(i * STEP) * stride : start, there);
            }
        }
    }
};
