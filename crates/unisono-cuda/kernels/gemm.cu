// Matrix products with packed weights: `gemm_tile_*_packed`, blocks of BM x BN outputs, and `gemm_narrow_*`, a few rows, for which the
// weights are streamed once with all of k side by side.
//
// Packed weights are panels of 8 columns, each [k][8], the last one filled up with zeros.
#include "gemm.cuh"

// Dense A and packed B.
template <class T>
struct Packed {
    // A panel's part of a chunk is so many quads in a row. A thread copies from every so many panels, from each so many quads.
    static constexpr int QUADS = T::CHUNK * PANEL / 4, COPIES = T::CHUNK * T::BN / 4 / T::THREADS;
    static constexpr int EACH = QUADS > T::THREADS ? QUADS / T::THREADS : 1, PANELS = COPIES / EACH;
    static constexpr int STEP = QUADS > T::THREADS ? 1 : T::THREADS / QUADS;
    static_assert(COPIES > 0 && PANELS * STEP * PANEL == T::BN, "all threads have as much to copy");
    DenseA<T> left;
    const float* from[PANELS];
    int k, t;

    // Where B has no more panels, the last one is read again.
    __device__ __forceinline__ Packed(const Gemm& g, const float* a, const float* b, int m0, int n0, int t_)
        : left(a, m0, g.m, g.a_row, g.k, t_), k(g.k), t(t_) {
        const int last = (g.n - 1) / PANEL;
#pragma unroll
        for (int i = 0; i < PANELS; i++)
            from[i] = b + (long long)min(n0 / PANEL + t / QUADS + i * STEP, last) * g.b_panel + t % QUADS * 4;
    }

    __device__ __forceinline__ void load(int k0, float* to_a, float* to_b) const {
        left.load(k0, to_a, t);
        const int quad = t % QUADS;
        float* const to = to_b + quad / 2 * T::B_PITCH + t / QUADS * PANEL + quad % 2 * 4;
        const bool whole = k0 + T::CHUNK <= k;
#pragma unroll
        for (int i = 0; i < PANELS; i++) {
#pragma unroll
            for (int e = 0; e < EACH; e++) {
                float* const place = to + i * STEP * PANEL + e * (T::THREADS / 2) * T::B_PITCH;
                const float* const at = from[i] + k0 * PANEL + e * T::THREADS * 4;
                const bool there = whole || k0 + quad / 2 + e * (T::THREADS / 2) < k;
                async_copy4(place, there ? at : from[i] - quad * 4, there ? 4 : 0);
            }
        }
    }
};

// `kernels::tile::TILES` has the same numbers.
GEMM_TILE(Packed, packed, 128, 128, 8, 16, 8, 4, 0, 128, 2)
GEMM_TILE(Packed, packed, 64, 128, 8, 16, 8, 4, 0, 128, 2)
GEMM_TILE(Packed, packed, 64, 64, 8, 4, 16, 4, 2, 512, 1)
GEMM_TILE(Packed, packed, 32, 64, 4, 4, 16, 4, 0, 512, 1)
GEMM_TILE(Packed, packed, 32, 32, 8, 4, 16, 4, 2, 256, 1)
GEMM_TILE(Packed, packed, 16, 32, 4, 4, 16, 6, 4, 256, 1)
GEMM_TILE(Packed, packed, 16, 16, 2, 2, 64, 5, 8, 512, 1)
GEMM_TILE(Packed, packed, 8, 32, 2, 4, 16, 6, 4, 256, 1)
GEMM_TILE(Packed, packed, 8, 16, 2, 2, 64, 5, 8, 256, 1)
GEMM_TILE(Packed, packed, 8, 8, 2, 1, 64, 5, 16, 256, 1)

// Values of k of each slice that come into shared memory together: a quarter of a slice. All of a slice is on its way from the start;
// there is room for a chunk more where several rounds of slices follow each other.
constexpr int NARROW_CHUNK = 64, NARROW_AHEAD = SLICE / NARROW_CHUNK;

// R rows against packed weights: a block has one panel of 8 columns. A thread sums one column of all rows over one slice; `abreast`
// slices are summed side by side, and all sums of slices meet in shared memory.
//
// What a chunk costs must be hardly more than its chain of multiplications: nothing is divided at run time, and what the next steps
// read comes into registers while one is multiplied.
template <int R>
__device__ __forceinline__ void gemm_narrow(const float* a, const float* b, const float* bias, float* c, const Gemm& g) {
    UNISONO_SHARED(memory);
    constexpr int W_PITCH = NARROW_CHUNK * PANEL + PANEL, A_PITCH = R * NARROW_CHUNK + 4;
    constexpr int W_QUADS = NARROW_CHUNK * PANEL / 4, A_QUADS = NARROW_CHUNK / 4;
    static_assert(R == 1 || R == 2, "rows are a power of two");
    const int slices = g.k > SLICE ? (g.k + SLICE - 1) / SLICE : 1;
    const int lines = g.abreast * R;
    const int w_size = g.abreast * W_PITCH, stage = w_size + g.abreast * A_PITCH;
    const int stages = slices > g.abreast ? NARROW_AHEAD + 1 : NARROW_AHEAD;
    float* const sums = memory + stages * stage;
    const unsigned threads = blockDim.x, t = threadIdx.x;
    const int chunks = (max(1, min(g.k, SLICE)) + NARROW_CHUNK - 1) / NARROW_CHUNK;
    b += (long long)blockIdx.x * g.b_panel;

    // What this thread copies: of weights one quad of every so many slices, of A one quad of every so many lines. A block has a
    // multiple of W_QUADS threads.
    const int w_slice = t / W_QUADS, w_quad = t % W_QUADS, w_step = threads / W_QUADS;
    const int a_line = t / A_QUADS, a_k = t % A_QUADS * 4, a_step = threads / A_QUADS;
    const float* const w_from = b + w_slice * SLICE * PANEL + w_quad * 4;

    // The next chunk to fetch: the first slice of its round, where it begins in that, and its place.
    int next_first = 0, next = 0, next_chunk = 0;
    float* put = memory;
    const auto fetch = [&]() {
        if (next_first < slices) {
            const bool whole = next + (g.abreast - 1) * SLICE + NARROW_CHUNK <= g.k;
            if (whole) {
                const float* from = w_from + next * PANEL;
                float* to = put + w_slice * W_PITCH + w_quad * 4;
#pragma unroll 4
                for (int slice = w_slice; slice < g.abreast; slice += w_step) {
                    async_copy4(to, from, 4);
                    from += w_step * SLICE * PANEL, to += w_step * W_PITCH;
                }
            } else {
#pragma unroll 1
                for (int slice = w_slice; slice < g.abreast; slice += w_step) {
                    const int k = next + slice * SLICE + w_quad / 2;
                    const bool there = k < g.k;
                    async_copy4(put + slice * W_PITCH + w_quad * 4, there ? b + k * PANEL + w_quad % 2 * 4 : b, there ? 4 : 0);
                }
            }
            if (g.a_quads) {
#pragma unroll 1
                for (int line = a_line; line < lines; line += a_step) {
                    const int slice = line / R, row = line % R, k = next + slice * SLICE + a_k;
                    const float* const from = a + (long long)row * g.a_row;
                    float* const to = put + w_size + slice * A_PITCH + row * NARROW_CHUNK + a_k;
                    if (whole)
                        async_copy4(to, from + k, 4);
                    else
                        async_copy4(to, from + (k < g.k ? k : 0), max(0, min(4, g.k - k)));
                }
            } else {
#pragma unroll 1
                for (unsigned i = t; i < lines * NARROW_CHUNK; i += threads) {
                    const int kk = i % NARROW_CHUNK, line = i / NARROW_CHUNK;
                    const int slice = line / R, row = line % R;
                    const int k = next + slice * SLICE + kk;
                    const bool there = k < g.k;
                    async_copy1(put + w_size + slice * A_PITCH + row * NARROW_CHUNK + kk,
                                there ? a + (long long)row * g.a_row + (long long)k * g.a_col : a, there);
                }
            }
        }
        async_commit();
        next += NARROW_CHUNK;
        if (++next_chunk == chunks) next_chunk = 0, next_first += g.abreast, next = next_first * SLICE;
        put = put == memory + (stages - 1) * stage ? memory : put + stage;
    };

#pragma unroll 1
    for (int i = 0; i < NARROW_AHEAD; i++) fetch();
    // A thread finishes one output. Its bias is on its way meanwhile.
    const int out_row = t / PANEL, out_col = blockIdx.x * PANEL + t % PANEL;
    const bool has_output = out_row < R && out_col < g.n;
    const float add = has_output && bias ? bias[(long long)out_row * g.bias_row + (long long)out_col * g.bias_col] : 0.0f;

    constexpr int STEP = 16;
    const int slice = t / PANEL, col = t % PANEL;
    const bool works = slice < g.abreast;
    const float* w = memory + slice * W_PITCH + col;
    const float* x = memory + w_size + slice * A_PITCH;
    const float* const x_last = x + (stages - 1) * stage;
    for (int first = 0; first < slices; first += g.abreast) {
        float acc[R] = {};
        for (int chunk = 0; chunk < chunks; chunk++) {
            async_wait<NARROW_AHEAD - 1>();
            __syncthreads();
            if (stages > NARROW_AHEAD) fetch();
            else async_commit();
            if (works) {
                float4 left[2][R][STEP / 4];
                float right[2][STEP];
                const auto read = [&](int k, float4 (&rows)[R][STEP / 4], float (&column)[STEP]) {
#pragma unroll
                    for (int r = 0; r < R; r++)
#pragma unroll
                        for (int q = 0; q < STEP / 4; q++)
                            rows[r][q] = *reinterpret_cast<const float4*>(x + r * NARROW_CHUNK + k + q * 4);
#pragma unroll
                    for (int e = 0; e < STEP; e++) column[e] = w[(k + e) * PANEL];
                };
                read(0, left[0], right[0]);
#pragma unroll
                for (int k = 0; k < NARROW_CHUNK; k += STEP) {
                    const int now = k / STEP % 2;
                    if (k + STEP < NARROW_CHUNK) read(k + STEP, left[1 - now], right[1 - now]);
#pragma unroll
                    for (int e = 0; e < STEP; e++) {
#pragma unroll
                        for (int r = 0; r < R; r++) {
                            const float4 v = left[now][r][e / 4];
                            const float value = e % 4 == 0 ? v.x : e % 4 == 1 ? v.y : e % 4 == 2 ? v.z : v.w;
                            acc[r] = __fmaf_rn(value, right[now][e], acc[r]);
                        }
                    }
                }
            }
            const bool wraps = x == x_last;
            const int onward = wraps ? -(stages - 1) * stage : stage;
            x += onward, w += onward;
        }
        if (works && first + slice < slices) {
#pragma unroll
            for (int r = 0; r < R; r++) sums[((first + slice) * R + r) * PANEL + col] = acc[r];
        }
    }
    __syncthreads();
    if (!has_output) return;
    float y = 0.0f;
#pragma unroll 4
    for (int s = 0; s < slices; s++) y = __fadd_rn(y, sums[s * R * PANEL + t]);
    c[(long long)out_row * g.n + out_col] = finish_one(g.finish, bias != nullptr, add, y);
}

#define GEMM_NARROW(R)                                                                                \
    extern "C" __global__ void __launch_bounds__(512) gemm_narrow_##R(                         \
        const float* a, const float* b, const float* bias, float* c, const float* b1, const float* bias1, float* c1, \
        const float* b2, const float* bias2, float* c2, const Gemm g) {                              \
        Siblings{b1, bias1, c1, b2, bias2, c2}.choose(b, bias, c);                                   \
        gemm_narrow<R>(a, b, bias, c, g);                                                         \
    }

GEMM_NARROW(1)
GEMM_NARROW(2)
