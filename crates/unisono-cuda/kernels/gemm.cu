// Matrix products with packed weights: `gemm_tile_*_packed`, blocks of BM x BN outputs, and `gemm_narrow_*`, a few rows, for which the
// weights are streamed once with all of k side by side.
//
// Packed weights are panels of 8 columns, each [k][8], the last one filled up with zeros.
#include "gemm.cuh"

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

// `kernels::tile::TILES` has the same numbers.
GEMM_TILE(Packed, packed, 128, 128, 8, 8, 2, 256, 2)
GEMM_TILE(Packed, packed, 128, 64, 8, 8, 2, 128, 3)
GEMM_TILE(Packed, packed, 64, 64, 8, 8, 3, 256, 1)
GEMM_TILE(Packed, packed, 32, 64, 4, 8, 4, 512, 1)
GEMM_TILE(Packed, packed, 32, 32, 4, 4, 4, 512, 1)
GEMM_TILE(Packed, packed, 16, 32, 2, 4, 4, 512, 1)

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
        const float add = bias ? bias[(long long)row * g.bias_row + (long long)n * g.bias_col] : 0.0f;
        c[(long long)row * g.n + n] = finish_one(g.finish, bias != nullptr, add, y);
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
