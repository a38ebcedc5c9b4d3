// Convolutions and transposed convolutions of N x C x H x W tensors in the canonical arithmetic, k = (ky, kx, ci) with ci fastest.
//
// `conv_tile_*`: a product of weights and of what the taps see, which is gathered chunk by chunk: rows are output channels of a
// group, columns are pixels of all images. `conv_direct`: one output per thread, for groups of few channels.
//
// Taps in the padding, and those between the inputs of a transposed convolution, are products with +0.
#include "tile.cuh"

// n / divisor for 0 <= n < 2^31: Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (1994).
struct Divisor {
    unsigned factor, shift;

    __device__ __forceinline__ int divide(int n) const { return (int)((__umulhi((unsigned)n, factor) + (unsigned)n) >> shift); }
};

// `kernels::conv::Arguments`.
struct Conv {
    // Output channels of a group; length of the sums; pixels of all images.
    int m, k, pixels;
    // Input channels of a group and of all; output channels of all.
    int ci, channels, out_channels;
    int in_h, in_w, out_h, out_w;
    int kernel_w, taps;
    int stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
    int transposed;
    // A row of packed weights, in elements.
    int pitch;
    // Whether four pixels can be written at once.
    int quads;
    int tiles_m, tiles_n;
    Divisor by_ci, by_kernel_w, by_stride_y, by_stride_x, by_plane, by_out_w;
    Finish finish;
};

// Where on one axis a tap reads, given where its output stands; outside of the input there is nothing.
__device__ __forceinline__ int source(bool transposed, int at, int tap, int dilation, int stride, const Divisor& by_stride,
                                      int length) {
    if (!transposed) {
        const int i = at + tap * dilation;
        return i >= 0 && i < length ? i : -1;
    }
    const int distance = at - tap * dilation;
    if (distance < 0) return -1;
    const int i = by_stride.divide(distance);
    return i * stride == distance && i < length ? i : -1;
}

// Where an output stands in the input's coordinates.
struct Position {
    int y, x;

    __device__ __forceinline__ Position(const Conv& c, int o) {
        const int oy = c.by_out_w.divide(o), ox = o - oy * c.out_w;
        y = c.transposed ? oy + c.pad_y : oy * c.stride_y - c.pad_y;
        x = c.transposed ? ox + c.pad_x : ox * c.stride_x - c.pad_x;
    }

    // The element within a channel that a tap reads, or -1.
    __device__ __forceinline__ int tap(const Conv& c, int tap) const {
        const int ky = c.by_kernel_w.divide(tap), kx = tap - ky * c.kernel_w;
        const int iy = source(c.transposed, y, ky, c.dilation_y, c.stride_y, c.by_stride_y, c.in_h);
        const int ix = source(c.transposed, x, kx, c.dilation_x, c.stride_x, c.by_stride_x, c.in_w);
        return iy < 0 || ix < 0 ? -1 : iy * c.in_w + ix;
    }
};

// Packed weights, and what the taps see.
template <class T>
struct Patches {
    // Pixels of a thread, and values of k of a pixel that are fetched side by side.
    static constexpr int PIXELS = T::BN > T::THREADS ? T::BN / T::THREADS : 1, ABREAST = T::THREADS > T::BN ? T::THREADS / T::BN : 1;
    // Values of k that lie within one tap if the channels of a group are a multiple of them.
    static constexpr int PART = T::CHUNK < 16 ? T::CHUNK : 16;
    static_assert(T::THREADS * PIXELS == T::BN * ABREAST && PART % ABREAST == 0 && T::CHUNK % PART == 0,
                  "threads and pixels divide each other");

    // A pixel's image, and where it stands in it.
    struct Pixel {
        const float* x;
        Position at;
        bool there;

        __device__ __forceinline__ Pixel(const Conv& c, const float* x_, int group, int number)
            : Pixel(c, x_, group, number, c.by_plane.divide(number)) {}

        __device__ __forceinline__ Pixel(const Conv& c, const float* x_, int group, int number, int image)
            : at(c, number - image * (c.out_h * c.out_w)), there(number < c.pixels) {
            x = x_ + ((long long)(there ? image : 0) * c.channels + group * c.ci) * (c.in_h * c.in_w);
        }
    };

    const Conv& c;
    DenseA<T> left;
    Pixel first, second;
    int t;

    __device__ __forceinline__ Patches(const Conv& c_, const float* x, const float* w, int group, int m0, int n0, int t_)
        : c(c_), left(w + (long long)group * c_.m * c_.pitch, m0, c_.m, c_.pitch, c_.k, t_),
          first(c_, x, group, n0 + t_ % T::BN), second(c_, x, group, n0 + t_ % T::BN + T::THREADS), t(t_) {
        static_assert(PIXELS <= 2, "a thread has one or two pixels");
    }

    __device__ __forceinline__ void load(int k0, float* to_a, float* to_b) const {
        left.load(k0, to_a, t);
        load_pixel(first, k0, to_b + t % T::BN);
        if (PIXELS == 2) load_pixel(second, k0, to_b + t % T::BN + T::THREADS);
    }

    __device__ __forceinline__ void load_pixel(const Pixel& pixel, int k0, float* to) const {
        const int plane = c.in_h * c.in_w;
        const int begin = t / T::BN % ABREAST;
        if (c.ci % PART == 0) {
            // A part of a chunk lies within one tap.
#pragma unroll
            for (int part = 0; part < T::CHUNK; part += PART) {
                const int tap = c.by_ci.divide(k0 + part), channel = k0 + part - tap * c.ci;
                const int from = pixel.at.tap(c, tap);
                const bool inside = pixel.there && from >= 0 && k0 + part < c.k;
                const float* const start = inside ? pixel.x + (channel + begin) * plane + from : pixel.x;
                const int next = inside ? plane : 0;
#pragma unroll
                for (int k = 0; k < PART; k += ABREAST)
                    async_copy1(to + (part + begin + k) * T::B_PITCH, start + k * next, inside);
            }
        } else {
#pragma unroll 4
            for (int k = 0; k < T::CHUNK; k += ABREAST) {
                const int kk = k0 + begin + k;
                const int tap = c.by_ci.divide(kk), channel = kk - tap * c.ci;
                const int from = pixel.there && kk < c.k ? pixel.at.tap(c, tap) : -1;
                async_copy1(to + (begin + k) * T::B_PITCH, from >= 0 ? pixel.x + channel * plane + from : pixel.x, from >= 0);
            }
        }
    }
};

// Outputs as N x C x H x W, and the bias.
struct Planes {
    const Conv& c;
    const float* bias;
    float* y;
    int group, m0, n0;

    __device__ __forceinline__ bool rows_are_alike() const { return false; }

    template <int N>
    __device__ __forceinline__ void biases(int row, int, float (&to)[N]) const {
        if (!bias || m0 + row >= c.m) return;
        const float add = bias[group * c.m + m0 + row];
#pragma unroll
        for (int e = 0; e < N; e++) to[e] = add;
    }

    template <int N>
    __device__ __forceinline__ void put(int row, int col, const float (&v)[N]) const {
        row += m0, col += n0;
        if (row >= c.m || col >= c.pixels) return;
        const int channel = group * c.m + row, plane = c.out_h * c.out_w;
        const int image = c.by_plane.divide(col);
        int o = col - image * plane;
        float* to = y + ((long long)image * c.out_channels + channel) * plane;
        if (c.quads) {
            write_columns(to + o, v);
            return;
        }
#pragma unroll
        for (int e = 0; e < N; e++) {
            if (col + e >= c.pixels) break;
            to[o] = v[e];
            if (++o == plane) o = 0, to += (long long)c.out_channels * plane;
        }
    }
};

template <class T>
__device__ __forceinline__ void conv_tile(const float* x, const float* w, const float* bias, float* y, const Conv& c) {
    const int tile = blockIdx.x % (c.tiles_m * c.tiles_n), group = blockIdx.x / (c.tiles_m * c.tiles_n);
    const int m0 = tile % c.tiles_m * T::BM, n0 = tile / c.tiles_m * T::BN;
    Patches<T> source(c, x, w, group, m0, n0, threadIdx.x % T::THREADS);
    Planes sink{c, bias, y, group, m0, n0};
    tile_sums<T>(c.k, source, sink, c.finish);
}

#define CONV_TILE(BM, BN, TM, TN, CHUNK, STAGES, STEP, THREADS, BLOCKS)                                    \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_tile_##BM##x##BN( \
        const float* x, const float* w, const float* bias, float* y, const Conv c) {                       \
        conv_tile<Tile<BM, BN, TM, TN, CHUNK, STAGES, STEP>>(x, w, bias, y, c);                            \
    }

// The tiles of `gemm.cu`.
CONV_TILE(128, 128, 8, 16, 8, 4, 0, 128, 2)
CONV_TILE(64, 128, 8, 16, 8, 4, 0, 128, 2)
CONV_TILE(64, 64, 8, 4, 16, 4, 2, 512, 1)
CONV_TILE(32, 64, 4, 4, 16, 4, 0, 512, 1)
CONV_TILE(32, 32, 8, 4, 16, 4, 2, 256, 1)
CONV_TILE(16, 32, 4, 4, 16, 6, 4, 256, 1)
CONV_TILE(16, 16, 2, 2, 64, 5, 8, 512, 1)
CONV_TILE(8, 32, 2, 4, 16, 6, 4, 256, 1)
CONV_TILE(8, 16, 2, 2, 64, 5, 8, 256, 1)
CONV_TILE(8, 8, 2, 1, 64, 5, 16, 256, 1)

// One output per thread, weights as the model has them.
extern "C" __global__ void __launch_bounds__(256) conv_direct(const float* x, const float* w, const float* bias, float* y,
                                                               const Conv c) {
    const int plane = c.out_h * c.out_w, in_plane = c.in_h * c.in_w;
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (long long)c.pixels * c.out_channels) return;
    const int o = (int)(i % plane), line = (int)(i / plane);
    const int channel = line % c.out_channels, image = line / c.out_channels;
    const int group = channel / c.m;
    const Position at(c, o);
    x += ((long long)image * c.channels + group * c.ci) * in_plane;
    // Where the weights of this output channel begin, and how far its input channels are apart.
    const int next = c.transposed ? c.m * c.taps : c.taps;
    w += c.transposed ? ((long long)group * c.ci * c.m + channel % c.m) * c.taps : (long long)channel * c.ci * c.taps;
    float total = 0.0f, sum = 0.0f;
    int left = SLICE;
    for (int tap = 0; tap < c.taps; tap++) {
        const int from = at.tap(c, tap);
        for (int ci = 0; ci < c.ci; ci++) {
            const float value = from >= 0 ? x[ci * in_plane + from] : 0.0f;
            sum = __fmaf_rn(value, w[ci * next + tap], sum);
            if (--left == 0) total = __fadd_rn(total, sum), sum = 0.0f, left = SLICE;
        }
    }
    // A chain without an element is +0 and adds nothing.
    total = __fadd_rn(total, sum);
    const float add = bias ? bias[channel] : 0.0f;
    y[i] = finish_one(c.finish, bias != nullptr, add, total);
}
