// Attention in one piece: softmax(alpha * (Q x K') + mask) x V for some rows of Q, in the canonical arithmetic.
//
// The one idea: a block has all scores of its rows in shared memory, so the row's maximum is known before the first exponential and
// nothing is rescaled: the bits are those of a product, a softmax and a product. K and then V come through shared memory in chunks of
// keys. Sums over the width and over keys go in slices of 256, those of softmax in lanes and a tree, as everywhere.
//
// Operands are read, and the result written, by strides, as projections lay them out: what is transposed elsewhere is not moved here.
#include "async.cuh"
#include "fold.cuh"

// `kernels::attention::launch` gives the same words. Blocks along x are members of the batch, along y heads, along z tiles of rows.
struct Attention {
    int rows, keys, width, value_width;
    // Rows of a block, a multiple of 4; keys of a chunk, a multiple of 32 that divides 256.
    int tile, chunk;
    // Whether all operands are to be read, and the result written, four at once.
    int quads;
    float alpha;
    // Along the batch, its heads, and rows or keys; neighbours along the width lie side by side.
    int q[3], k[3], v[3], y[3];
    // Along the batch, its heads, rows and keys.
    int mask[4];
    // What divides by the quads of a row of Q and K, and of a row of V: see `attention_row`.
    unsigned width_part, value_part;
};

constexpr int ATTENTION_THREADS = 256, ATTENTION_WARPS = ATTENTION_THREADS / 32;
// Chunks that shared memory holds.
constexpr int ATTENTION_STAGES = 3;
// Rows of Q that a thread multiplies with a key.
constexpr int ATTENTION_ROWS = 4;

// Number i of quads of which a row has `across`, as its row: i / across by way of `part`, 2^32 / across rounded up, or 0 for 1. Exact for
// numbers and divisors below 2^16. A division would cost more than the copy that it is for.
__device__ __forceinline__ int attention_row(int i, unsigned part) { return part == 0 ? i : (int)__umulhi((unsigned)i, part); }

// Starts the copies of `rows` rows, of which `there` exist; what does not is +0, as are columns behind `width` up to a multiple of 4.
__device__ __forceinline__ void attention_bring(float* to, int pitch, const float* from, int stride, int rows, int there, int width, unsigned part,
                                                bool quads) {
    const int across = (width + 3) / 4;
    if (quads) {
#pragma unroll 2
        for (int i = threadIdx.x; i < rows * across; i += ATTENTION_THREADS) {
            const int row = attention_row(i, part), at = (i - row * across) * 4;
            const bool exists = row < there;
            async_copy4(to + row * pitch + at, exists ? from + (long long)row * stride + at : from, exists ? 4 : 0);
        }
    } else {
#pragma unroll 1
        for (int i = threadIdx.x; i < rows * across; i += ATTENTION_THREADS) {
            const int row = attention_row(i, part), at = (i - row * across) * 4;
            const float* const source = from + (long long)row * stride + at;
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const bool exists = row < there && at + e < width;
                async_copy1(to + row * pitch + at + e, exists ? source + e : from, exists);
            }
        }
    }
}

__device__ __forceinline__ void attention_multiply(float x, float4 right, float (&acc)[4]) {
    acc[0] = __fmaf_rn(x, right.x, acc[0]), acc[1] = __fmaf_rn(x, right.y, acc[1]);
    acc[2] = __fmaf_rn(x, right.z, acc[2]), acc[3] = __fmaf_rn(x, right.w, acc[3]);
}

// ITEMS is how many rows of the result a thread has, four columns of each.
template <int ITEMS>
__device__ __forceinline__ void attention(const float* q, const float* k, const float* v, const float* mask, float* y, const Attention& g) {
    UNISONO_SHARED(memory);
    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    const int outer = blockIdx.x, head = blockIdx.y, row0 = blockIdx.z * g.tile;
    const int rows = min(g.tile, g.rows - row0);
    q += (long long)outer * g.q[0] + (long long)head * g.q[1] + (long long)row0 * g.q[2];
    k += (long long)outer * g.k[0] + (long long)head * g.k[1];
    v += (long long)outer * g.v[0] + (long long)head * g.v[1];
    y += (long long)outer * g.y[0] + (long long)head * g.y[1] + (long long)row0 * g.y[2];
    if (mask) mask += (long long)outer * g.mask[0] + (long long)head * g.mask[1] + (long long)row0 * g.mask[2];

    // `kernels::attention::shared` counts the same. Odd numbers of quads keep rows in different banks.
    const int width4 = (g.width + 3) / 4 * 4, keys4 = (g.keys + 3) / 4 * 4;
    const int pitch = max(width4, (g.value_width + 3) / 4 * 4) | 4, scores_pitch = keys4 | 4;
    float* const left = memory;
    float* const scores = left + g.tile * pitch;
    float* const stages = scores + g.tile * scores_pitch;
    const int stage = g.chunk * pitch;
    const int chunks = (g.keys + g.chunk - 1) / g.chunk;

    // All chunks of K, then all of V.
    int next = 0, put = 0, get = 0;
    const auto fetch = [&]() {
        if (next < 2 * chunks) {
            const bool is_k = next < chunks;
            const int first = (is_k ? next : next - chunks) * g.chunk, stride = is_k ? g.k[2] : g.v[2];
            attention_bring(stages + put * stage, pitch, (is_k ? k : v) + (long long)first * stride, stride, min(g.chunk, keys4 - first),
                            g.keys - first, is_k ? g.width : g.value_width, is_k ? g.width_part : g.value_part, g.quads);
        }
        async_commit();
        next++;
        put = put + 1 == ATTENTION_STAGES ? 0 : put + 1;
    };
    // The chunk that is to be read next is there for all threads, and all have done with the one whose place the next fetch takes.
    const auto step = [&]() {
        async_wait<ATTENTION_STAGES - 2>();
        __syncthreads();
        fetch();
        const float* const here = stages + get * stage;
        get = get + 1 == ATTENTION_STAGES ? 0 : get + 1;
        return here;
    };
    attention_bring(left, pitch, q, g.q[2], g.tile, rows, g.width, g.width_part, g.quads);
#pragma unroll 1
    for (int i = 0; i < ATTENTION_STAGES - 1; i++) fetch();

    // A warp multiplies 4 rows with 32 keys.
    const int parts = g.tile / ATTENTION_ROWS;
    for (int first = 0; first < g.keys; first += g.chunk) {
        const float* const here = step();
#pragma unroll 1
        for (int unit = warp; unit < parts * (g.chunk / 32); unit += ATTENTION_WARPS) {
            const int part = unit / parts, row = (unit - part * parts) * ATTENTION_ROWS;
            const int key = part * 32 + lane, at = first + key;
            if (row >= rows || first + part * 32 >= g.keys) continue;
            float add[ATTENTION_ROWS];
#pragma unroll
            for (int e = 0; e < ATTENTION_ROWS; e++)
                add[e] = mask && at < g.keys && row + e < rows ? mask[(long long)(row + e) * g.mask[2] + (long long)at * g.mask[3]] : 0.0f;
            const float *x = left + row * pitch, *w = here + key * pitch;
            float total[ATTENTION_ROWS];
#pragma unroll
            for (int e = 0; e < ATTENTION_ROWS; e++) total[e] = 0.0f;
            for (int from = 0; from < width4; from += UNISONO_SLICE) {
                const int until = min(width4, from + (int)UNISONO_SLICE);
                float acc[ATTENTION_ROWS];
#pragma unroll
                for (int e = 0; e < ATTENTION_ROWS; e++) acc[e] = 0.0f;
#pragma unroll 4
                for (int d = from; d < until; d += 4) {
                    const float4 right = *reinterpret_cast<const float4*>(w + d);
#pragma unroll
                    for (int e = 0; e < ATTENTION_ROWS; e++) {
                        const float4 four = *reinterpret_cast<const float4*>(x + e * pitch + d);
                        acc[e] = __fmaf_rn(four.x, right.x, acc[e]);
                        acc[e] = __fmaf_rn(four.y, right.y, acc[e]);
                        acc[e] = __fmaf_rn(four.z, right.z, acc[e]);
                        acc[e] = __fmaf_rn(four.w, right.w, acc[e]);
                    }
                }
#pragma unroll
                for (int e = 0; e < ATTENTION_ROWS; e++) total[e] = __fadd_rn(total[e], acc[e]);
            }
            if (at < g.keys) {
#pragma unroll
                for (int e = 0; e < ATTENTION_ROWS; e++) {
                    float score = g.alpha != 1.0f ? __fmul_rn(g.alpha, total[e]) : total[e];
                    if (mask) score = __fadd_rn(score, add[e]);
                    scores[(row + e) * scores_pitch + at] = score;
                }
            }
        }
    }
    __syncthreads();

    // Softmax, a warp to a row. Behind the last key stands +0 up to a multiple of 4.
    for (int row = warp; row < rows; row += ATTENTION_WARPS) {
        float* const s = scores + row * scores_pitch;
        float m = __uint_as_float(0xff800000u);
#pragma unroll 4
        for (int i = lane; i < g.keys; i += 32) m = unisono_max(m, s[i]);
#pragma unroll
        for (unsigned width = 16; width > 0; width /= 2) m = unisono_max(m, __shfl_xor_sync(UNISONO_WHOLE_WARP, m, width));
        const UnisonoGroup alone = {(unsigned)lane, 0, 1, nullptr};
        const auto exponential = [&](float sum, unsigned i) {
            const float e = unisono_exp(__fsub_rn(s[i], m));
            s[i] = e;
            return __fadd_rn(sum, e);
        };
        const float factor = __fdiv_rn(1.0f, unisono_fold_lanes(alone, g.keys, 0.0f, exponential, unisono_add));
#pragma unroll 4
        for (int i = lane; i < keys4; i += 32) s[i] = i < g.keys ? __fmul_rn(s[i], factor) : 0.0f;
    }

    // Threads side by side have quads of a row, and each of them rows `apart`.
    const int across = (g.value_width + 3) / 4, apart = ATTENTION_THREADS / across;
    const int mine = attention_row(t, g.value_part), col = (t - mine * across) * 4;
    const float* weights[ITEMS];
    float acc[ITEMS][4], total[ITEMS][4];
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        // One outside of the tile multiplies what is not written.
        weights[i] = scores + min(mine + i * apart, rows - 1) * scores_pitch;
#pragma unroll
        for (int e = 0; e < 4; e++) acc[i][e] = 0.0f, total[i][e] = 0.0f;
    }
    const auto end_slice = [&]() {
#pragma unroll
        for (int i = 0; i < ITEMS; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) total[i][e] = __fadd_rn(total[i][e], acc[i][e]), acc[i][e] = 0.0f;
    };
    for (int first = 0; first < g.keys; first += g.chunk) {
        const float* const here = step() + col;
        if (first > 0 && first % UNISONO_SLICE == 0) end_slice();
        const int count = min(g.chunk, keys4 - first);
#pragma unroll 2
        for (int key = 0; key < count; key += 4) {
            float4 right[4];
#pragma unroll
            for (int e = 0; e < 4; e++) right[e] = *reinterpret_cast<const float4*>(here + (key + e) * pitch);
#pragma unroll
            for (int i = 0; i < ITEMS; i++) {
                const float4 four = *reinterpret_cast<const float4*>(weights[i] + first + key);
                attention_multiply(four.x, right[0], acc[i]);
                attention_multiply(four.y, right[1], acc[i]);
                attention_multiply(four.z, right[2], acc[i]);
                attention_multiply(four.w, right[3], acc[i]);
            }
        }
    }
    end_slice();
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const int row = mine + i * apart;
        if (mine >= apart || row >= rows) continue;
        float* const to = y + (long long)row * g.y[2] + col;
        if (g.quads) {
            *reinterpret_cast<float4*>(to) = make_float4(total[i][0], total[i][1], total[i][2], total[i][3]);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (col + e < g.value_width) to[e] = total[i][e];
        }
    }
}

#define ATTENTION(ITEMS)                                                                                          \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS) unisono_attention_##ITEMS(                    \
        const float* q, const float* k, const float* v, const float* mask, float* y, const Attention g) {         \
        attention<ITEMS>(q, k, v, mask, y, g);                                                                    \
    }

ATTENTION(1)
ATTENTION(2)
ATTENTION(4)
