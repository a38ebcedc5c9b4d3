// Matrix products in tiles: activation(alpha * (A x B) + beta * bias) in the canonical arithmetic.
#pragma once

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

// Products of one A with other weights, by the place of a block along y: their B, bias and C take the place of the first one's.
struct Siblings {
    const float *b1, *bias1;
    float* c1;
    const float *b2, *bias2;
    float* c2;

    __device__ __forceinline__ void choose(const float*& b, const float*& bias, float*& c) const {
        if (blockIdx.y == 1) b = b1, bias = bias1, c = c1;
        if (blockIdx.y == 2) b = b2, bias = bias2, c = c2;
    }
};

// C, whose rows are dense, and the bias.
struct Rows {
    const Gemm& g;
    const float* bias;
    float* c;
    int m0, n0;

    __device__ __forceinline__ bool rows_are_alike() const { return g.bias_row == 0; }

    template <int N>
    __device__ __forceinline__ void biases(int row, int col, float (&to)[N]) const {
        row += m0, col += n0;
        if (!bias || row >= g.m) return;
        const float* from = bias + (long long)row * g.bias_row + (long long)col * g.bias_col;
#pragma unroll
        for (int e = 0; e < N; e++)
            if (col + e < g.n) to[e] = from[(long long)e * g.bias_col];
    }

    template <int N>
    __device__ __forceinline__ void put(int row, int col, const float (&y)[N]) const {
        row += m0, col += n0;
        if (row >= g.m || col >= g.n) return;
        float* const to = c + (long long)row * g.n + col;
        if (g.c_quads) {
            write_columns(to, y);
        } else {
#pragma unroll
            for (int e = 0; e < N; e++)
                if (col + e < g.n) to[e] = y[e];
        }
    }
};

template <class T, template <class> class Source>
__device__ __forceinline__ void gemm_tile(const float* a, const float* b, const float* bias, float* c, const Member* members,
                                          const Gemm& g) {
    // Blocks that follow each other share columns of B.
    int tile = blockIdx.x;
    if (members) {
        const int tiles = g.tiles_m * g.tiles_n, number = tile / tiles;
        tile -= number * tiles;
        const Member member = members[number];
        a += member.a, b += member.b, c += member.c;
        if (bias) bias += member.bias;
    }
    const int tile_n = tile / g.tiles_m, tile_m = tile - tile_n * g.tiles_m;
    const int m0 = tile_m * T::BM, n0 = tile_n * T::BN;
    Source<T> source(g, a, b, m0, n0, threadIdx.x % T::THREADS);
    Rows sink{g, bias, c, m0, n0};
    tile_sums<T>(g.k, source, sink, g.finish);
}

// THREADS is the most that a block has, all groups together; BLOCKS is how many of them a processor is to hold.
#define GEMM_TILE(SOURCE, NAME, BM, BN, TM, TN, CHUNK, STAGES, STEP, THREADS, BLOCKS)                                        \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) gemm_tile_##BM##x##BN##_##NAME(                           \
        const float* a, const float* b, const float* bias, float* c, const Member* members, const float* b1,                 \
        const float* bias1, float* c1, const float* b2, const float* bias2, float* c2, const Gemm g) {                       \
        Siblings{b1, bias1, c1, b2, bias2, c2}.choose(b, bias, c);                                                           \
        gemm_tile<Tile<BM, BN, TM, TN, CHUNK, STAGES, STEP>, SOURCE>(a, b, bias, c, members, g);                             \
    }
