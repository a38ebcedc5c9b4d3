// Matrix products: activation(alpha * (A x B) + beta * bias) in the canonical arithmetic.
//
// Two families. `gemm_tile_*`: blocks of BM x BN outputs, for anything. `gemm_narrow_*`: a few rows against packed weights, which
// are streamed once with all of k side by side.
//
// Packed weights are panels of 8 columns, each [k][8], the last one filled up with zeros.
#include "tile.cuh"

// `kernels::gemm::Arguments`.
struct Gemm {
    int m, n, k;
    int a_row, a_col;
    // B's element (k, n) is at k * b_row + n / 8 * b_panel + n % 8 * b_col.
    int b_row, b_panel, b_col;
    int bias_row, bias_col;
    int tiles_m, tiles_n;
    // Whether A is to be read four at once along k, and C written four at once.
    int a_quads, c_quads;
    // Slices of k that a narrow product takes at once.
    int abreast;
    Finish finish;
};

constexpr int PANEL = 8;

// Where a member of the batch has its matrices, in elements.
struct Member {
    long long a, b, c, bias;
};

// Dense A and packed B.
template <class T>
struct Packed {
    DenseA<T> left;
    const float* b;
    int panels, k, t;

    __device__ __forceinline__ Packed(const Gemm& g, const float* a, const float* b_, int m0, int n0, int t_)
        : left(a, m0, g.m, g.a_row, g.k, t_), k(g.k), t(t_) {
        panels = (g.n - n0 + PANEL - 1) / PANEL;
        b = b_ + (long long)(n0 / PANEL) * g.b_panel;
    }

    __device__ __forceinline__ void load(int k0, float* to_a, float* to_b) const {
        left.load(k0, to_a, t);
        // A panel's part of a chunk is 32 quads in a row.
#pragma unroll
        for (int i = 0; i < CHUNK * T::BN / 4 / T::THREADS; i++) {
            const int panel = (t + i * T::THREADS) / 32, quad = t % 32;
            const bool there = panel < panels && k0 + quad / 2 < k;
            const float* from = there ? b + (long long)panel * k * PANEL + k0 * PANEL + quad * 4 : b;
            async_copy4(to_b + quad / 2 * T::B_PITCH + panel * PANEL + quad % 2 * 4, from, there ? 4 : 0);
        }
    }
};

// Both by strides, one value at a time; neighbouring threads go along whatever is dense.
template <class T>
struct Strided {
    const Gemm& g;
    const float *a, *b;
    int rows, cols, t;

    __device__ __forceinline__ Strided(const Gemm& g_, const float* a_, const float* b_, int m0, int n0, int t_)
        : g(g_), a(a_ + (long long)m0 * g_.a_row), b(b_ + (long long)(n0 / PANEL) * g_.b_panel), rows(g_.m - m0),
          cols(g_.n - n0), t(t_) {}

    __device__ __forceinline__ void load(int k0, float* to_a, float* to_b) const {
        const bool a_along_k = g.a_col == 1, b_along_n = g.b_col == 1;
#pragma unroll 4
        for (int i = t; i < T::BM * CHUNK; i += T::THREADS) {
            const int row = a_along_k ? i / CHUNK : i % T::BM, k = a_along_k ? i % CHUNK : i / T::BM;
            const bool there = row < rows && k0 + k < g.k;
            async_copy1(to_a + row * T::A_PITCH + k,
                        there ? a + (long long)row * g.a_row + (long long)(k0 + k) * g.a_col : a, there);
        }
#pragma unroll 4
        for (int i = t; i < T::BN * CHUNK; i += T::THREADS) {
            const int col = b_along_n ? i % T::BN : i / CHUNK, k = b_along_n ? i / T::BN : i % CHUNK;
            const bool there = col < cols && k0 + k < g.k;
            const long long at = (long long)(k0 + k) * g.b_row + (long long)(col / PANEL) * g.b_panel + col % PANEL * g.b_col;
            async_copy1(to_b + k * T::B_PITCH + col, there ? b + at : b, there);
        }
    }
};

// Finishes totals and writes them to C, whose rows are dense.
struct Rows {
    const Gemm& g;
    const float* bias;
    float* c;
    int m0, n0;

    __device__ __forceinline__ void put(int row, int col, float4 totals) const {
        row += m0, col += n0;
        if (row >= g.m || col >= g.n) return;
        const int count = min(4, g.n - col);
        float y[4] = {totals.x, totals.y, totals.z, totals.w}, add[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (bias) {
            const float* from = bias + (long long)row * g.bias_row + (long long)col * g.bias_col;
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (e < count) add[e] = from[(long long)e * g.bias_col];
        }
        finish_all(g.finish, bias != nullptr, add, y);
        float* const to = c + (long long)row * g.n + col;
        if (g.c_quads) {
            *reinterpret_cast<float4*>(to) = make_float4(y[0], y[1], y[2], y[3]);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (e < count) to[e] = y[e];
        }
    }
};

template <class T, template <class> class Source>
__device__ __forceinline__ void gemm_tile(const float* a, const float* b, const float* bias, float* c, const Member* members,
                                          const Gemm& g) {
    // Blocks that follow each other share columns of B.
    const int tile = blockIdx.x % (g.tiles_m * g.tiles_n);
    const int m0 = tile % g.tiles_m * T::BM, n0 = tile / g.tiles_m * T::BN;
    if (members) {
        const Member member = members[blockIdx.x / (g.tiles_m * g.tiles_n)];
        a += member.a, b += member.b, c += member.c;
        if (bias) bias += member.bias;
    }
    Source<T> source(g, a, b, m0, n0, threadIdx.x % T::THREADS);
    Rows sink{g, bias, c, m0, n0};
    tile_sums<T>(g.k, source, sink);
}

// THREADS is the most that a block has, all groups together; BLOCKS is how many of them a processor is to hold.
#define GEMM_TILE(SOURCE, NAME, BM, BN, TM, TN, STAGES, THREADS, BLOCKS)                                    \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) gemm_tile_##BM##x##BN##_##NAME(          \
        const float* a, const float* b, const float* bias, float* c, const Member* members, const Gemm g) { \
        gemm_tile<Tile<BM, BN, TM, TN, STAGES>, SOURCE>(a, b, bias, c, members, g);                         \
    }

// `kernels::tile::TILES` has the same numbers.
GEMM_TILE(Packed, packed, 128, 128, 8, 8, 2, 256, 2)
GEMM_TILE(Packed, packed, 128, 64, 8, 8, 2, 128, 3)
GEMM_TILE(Packed, packed, 64, 64, 8, 8, 3, 256, 1)
GEMM_TILE(Packed, packed, 32, 64, 4, 8, 4, 512, 1)
GEMM_TILE(Packed, packed, 32, 32, 4, 4, 4, 512, 1)
GEMM_TILE(Packed, packed, 16, 32, 2, 4, 4, 512, 1)
GEMM_TILE(Strided, strided, 128, 64, 8, 8, 2, 128, 3)
GEMM_TILE(Strided, strided, 64, 64, 8, 8, 3, 256, 1)
GEMM_TILE(Strided, strided, 32, 64, 4, 8, 4, 512, 1)
GEMM_TILE(Strided, strided, 32, 32, 4, 4, 4, 512, 1)
GEMM_TILE(Strided, strided, 16, 32, 2, 4, 4, 512, 1)

// Values of k of each slice that come into shared memory together, and how many such chunks there is room for.
constexpr int NARROW_CHUNK = 32, NARROW_STAGES = 4;

// A few rows against packed weights: a block has one panel of 8 columns. Eight threads are a unit, which sums R rows over one slice;
// `abreast` slices are summed side by side, and all sums of slices meet in shared memory.
template <int R>
__device__ __forceinline__ void gemm_narrow(const float* a, const float* b, const float* bias, float* c, const Gemm& g) {
    UNISONO_SHARED(memory);
    constexpr int W_PITCH = NARROW_CHUNK * PANEL + PANEL, A_PITCH = R * NARROW_CHUNK + 4;
    const int row_groups = (g.m + R - 1) / R, slices = g.k > SLICE ? (g.k + SLICE - 1) / SLICE : 1;
    const int units = g.abreast * row_groups, w_size = g.abreast * W_PITCH, stage = w_size + units * A_PITCH;
    float* const sums = memory + NARROW_STAGES * stage;
    const int threads = blockDim.x, t = threadIdx.x;
    const int rounds = (slices + g.abreast - 1) / g.abreast;
    const int chunks = (max(1, min(g.k, SLICE)) + NARROW_CHUNK - 1) / NARROW_CHUNK;
    b += (long long)blockIdx.x * g.b_panel;

    const auto fetch = [&](int number) {
        if (number < rounds * chunks) {
            float* const to = memory + number % NARROW_STAGES * stage;
            const int k0 = number / chunks * g.abreast * SLICE + number % chunks * NARROW_CHUNK;
            for (int i = t; i < g.abreast * (NARROW_CHUNK * PANEL / 4); i += threads) {
                const int slice = i / (NARROW_CHUNK * PANEL / 4), quad = i % (NARROW_CHUNK * PANEL / 4);
                const int k = k0 + slice * SLICE + quad / 2;
                const bool there = k < g.k;
                async_copy4(to + slice * W_PITCH + quad * 4, there ? b + k * PANEL + quad % 2 * 4 : b, there ? 4 : 0);
            }
            if (g.a_quads) {
                for (int i = t; i < g.m * g.abreast * (NARROW_CHUNK / 4); i += threads) {
                    const int kq = i % (NARROW_CHUNK / 4) * 4, line = i / (NARROW_CHUNK / 4);
                    const int slice = line % g.abreast, row = line / g.abreast;
                    const int k = k0 + slice * SLICE + kq;
                    const int count = max(0, min(4, g.k - k));
                    async_copy4(to + w_size + (slice * row_groups + row / R) * A_PITCH + row % R * NARROW_CHUNK + kq,
                                count > 0 ? a + (long long)row * g.a_row + k : a, count);
                }
            } else {
                for (int i = t; i < g.m * g.abreast * NARROW_CHUNK; i += threads) {
                    const int kk = i % NARROW_CHUNK, line = i / NARROW_CHUNK;
                    const int slice = line % g.abreast, row = line / g.abreast;
                    const int k = k0 + slice * SLICE + kk;
                    const bool there = k < g.k;
                    async_copy1(to + w_size + (slice * row_groups + row / R) * A_PITCH + row % R * NARROW_CHUNK + kk,
                                there ? a + (long long)row * g.a_row + (long long)k * g.a_col : a, there);
                }
            }
        }
        async_commit();
    };

    for (int i = 0; i < NARROW_STAGES - 1; i++) fetch(i);
    const int unit = t / PANEL, col = t % PANEL, slice = unit / row_groups;
    float acc[R];
#pragma unroll
    for (int r = 0; r < R; r++) acc[r] = 0.0f;
    for (int number = 0; number < rounds * chunks; number++) {
        async_wait<NARROW_STAGES - 2>();
        __syncthreads();
        fetch(number + NARROW_STAGES - 1);
        if (unit < units) {
            const float* const w = memory + number % NARROW_STAGES * stage + slice * W_PITCH + col;
            const float* const x = memory + number % NARROW_STAGES * stage + w_size + unit * A_PITCH;
#pragma unroll
            for (int k = 0; k < NARROW_CHUNK; k += 4) {
                float4 left[R];
#pragma unroll
                for (int r = 0; r < R; r++) left[r] = *reinterpret_cast<const float4*>(x + r * NARROW_CHUNK + k);
#pragma unroll
                for (int step = 0; step < 4; step++) {
                    const float right = w[(k + step) * PANEL];
#pragma unroll
                    for (int r = 0; r < R; r++) {
                        const float4 v = left[r];
                        const float value = step == 0 ? v.x : step == 1 ? v.y : step == 2 ? v.z : v.w;
                        acc[r] = __fmaf_rn(value, right, acc[r]);
                    }
                }
            }
            if ((number + 1) % chunks == 0) {
                const int whole = number / chunks * g.abreast + slice;
                if (whole < slices) {
#pragma unroll
                    for (int r = 0; r < R; r++)
                        sums[((whole * row_groups + unit % row_groups) * R + r) * PANEL + col] = acc[r];
                }
#pragma unroll
                for (int r = 0; r < R; r++) acc[r] = 0.0f;
            }
        }
    }
    __syncthreads();
    for (int i = t; i < g.m * PANEL; i += threads) {
        const int row = i / PANEL, n = blockIdx.x * PANEL + i % PANEL;
        if (n >= g.n) continue;
        float y = 0.0f;
        for (int s = 0; s < slices; s++) y = __fadd_rn(y, sums[(s * row_groups * R + row) * PANEL + i % PANEL]);
        float ends[4] = {y, 0.0f, 0.0f, 0.0f}, add[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (bias) add[0] = bias[(long long)row * g.bias_row + (long long)n * g.bias_col];
        finish_all(g.finish, bias != nullptr, add, ends);
        c[(long long)row * g.n + n] = ends[0];
    }
}

#define GEMM_NARROW(R)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(512) gemm_narrow_##R(const float* a, const float* b, const float* bias,    \
                                                                      float* c, const Gemm g) {                             \
        gemm_narrow<R>(a, b, bias, c, g);                                                                                   \
    }

GEMM_NARROW(1)
GEMM_NARROW(2)
GEMM_NARROW(4)
