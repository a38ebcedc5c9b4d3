// Matrix products of operands with any strides, packed weights among them: for what the kernels of `gemm.cu` cannot read in quads.
#include "gemm.cuh"

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
        for (int i = t; i < T::BM * T::CHUNK; i += T::THREADS) {
            const int row = a_along_k ? i / T::CHUNK : i % T::BM, k = a_along_k ? i % T::CHUNK : i / T::BM;
            const bool there = row < rows && k0 + k < g.k;
            async_copy1(to_a + T::place(row, k),
                        there ? a + (long long)row * g.a_row + (long long)(k0 + k) * g.a_col : a, there);
        }
#pragma unroll 4
        for (int i = t; i < T::BN * T::CHUNK; i += T::THREADS) {
            const int col = b_along_n ? i % T::BN : i / T::CHUNK, k = b_along_n ? i / T::BN : i % T::CHUNK;
            const bool there = col < cols && k0 + k < g.k;
            const long long at = (long long)(k0 + k) * g.b_row + (long long)(col / PANEL) * g.b_panel + col % PANEL * g.b_col;
            async_copy1(to_b + k * T::B_PITCH + col, there ? b + at : b, there);
        }
    }
};

GEMM_TILE(Strided, strided, 64, 64, 8, 4, 16, 4, 2, 512, 1)
GEMM_TILE(Strided, strided, 32, 32, 8, 4, 16, 4, 2, 256, 1)
GEMM_TILE(Strided, strided, 16, 16, 2, 2, 64, 5, 8, 512, 1)
GEMM_TILE(Strided, strided, 8, 8, 2, 1, 64, 5, 16, 256, 1)
