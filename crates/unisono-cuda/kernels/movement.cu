// Moving elements without looking at them, by their size alone: strided copies, planes turned, padding, picking slices.

#include "map.cuh"

// A copy along a nest of axes, innermost first; steps in units of the kernel's size.
struct UnisonoMove {
    unsigned count;
    unsigned len[8];
    int from[8];
    int to[8];
};

template <typename T>
__device__ __forceinline__ void unisono_move(const T* x, T* y, unsigned n, const UnisonoMove& nest) {
    unsigned i = unisono_thread();
    if (i >= n) return;
    int from = 0, to = 0;
#pragma unroll
    for (unsigned a = 0; a < 8; a++) {
        if (a >= nest.count) break;
        unsigned rest = i / nest.len[a];
        int at = (int)(i - rest * nest.len[a]);
        from += at * nest.from[a];
        to += at * nest.to[a];
        i = rest;
    }
    y[to] = x[from];
}

// A plane of `rows` x `cols` in each of `planes`, turned: elements of a row lie side by side in x, those of a column side by side in y. The
// nest's first two axes are the plane's columns and rows, what follows says where planes begin.
template <typename T>
__device__ __forceinline__ void unisono_turn(const T* x, T* y, unsigned planes, const UnisonoMove& nest) {
    __shared__ T tile[32][33];
    unsigned cols = nest.len[0], rows = nest.len[1];
    unsigned tiles = (rows + 31) / 32;
    // Along x tiles of columns, along y tiles of rows and planes.
    for (unsigned block = blockIdx.y; block < planes * tiles; block += gridDim.y) {
        unsigned plane = block / tiles, i = plane;
        unsigned row = block % tiles * 32, col = blockIdx.x * 32;
        int from = 0, to = 0;
#pragma unroll
        for (unsigned a = 2; a < 8; a++) {
            if (a >= nest.count) break;
            unsigned rest = i / nest.len[a];
            int at = (int)(i - rest * nest.len[a]);
            from += at * nest.from[a];
            to += at * nest.to[a];
            i = rest;
        }
        __syncthreads();
        for (unsigned r = threadIdx.y; r < 32; r += blockDim.y) {
            if (row + r < rows && col + threadIdx.x < cols) {
                tile[r][threadIdx.x] = x[from + (int)(row + r) * nest.from[1] + (int)(col + threadIdx.x) * nest.from[0]];
            }
        }
        __syncthreads();
        for (unsigned c = threadIdx.y; c < 32; c += blockDim.y) {
            if (row + threadIdx.x < rows && col + c < cols) {
                y[to + (int)(row + threadIdx.x) * nest.to[1] + (int)(col + c) * nest.to[0]] = tile[threadIdx.x][c];
            }
        }
    }
}

// Where elements outside of the data come from.
enum UnisonoPadding {
    UNISONO_CONSTANT = 0,
    UNISONO_REFLECT = 1,
    UNISONO_EDGE = 2,
    UNISONO_WRAP = 3,
};

// Axes innermost first: lengths of data and output, and how much stands before the data.
struct UnisonoPad {
    unsigned count;
    int mode;
    unsigned from[8];
    unsigned to[8];
    int before[8];
};

template <typename T>
__device__ __forceinline__ void unisono_pad(const T* x, T* y, const T* value, unsigned n, const UnisonoPad& pad) {
    unsigned i = unisono_thread();
    if (i >= n) return;
    unsigned out = i, from = 0, step = 1;
    bool inside = true;
#pragma unroll
    for (unsigned a = 0; a < 8; a++) {
        if (a >= pad.count) break;
        unsigned rest = i / pad.to[a];
        int at = (int)(i - rest * pad.to[a]) - pad.before[a];
        int len = (int)pad.from[a];
        i = rest;
        if (at < 0 || at >= len) {
            inside = inside && pad.mode != UNISONO_CONSTANT;
            if (pad.mode == UNISONO_REFLECT && len > 1) {
                int period = 2 * (len - 1);
                at = at % period;
                at = at < 0 ? at + period : at;
                at = at < period - at ? at : period - at;
            } else if (pad.mode == UNISONO_WRAP) {
                at = at % len;
                at = at < 0 ? at + len : at;
            } else {
                at = at < 0 || pad.mode == UNISONO_REFLECT ? 0 : len - 1;
            }
        }
        from += (unsigned)at * step;
        step *= pad.from[a];
    }
    y[out] = inside ? x[from] : value != nullptr ? *value : (T)0;
}

template <typename I>
__device__ __forceinline__ unsigned unisono_position(I index, unsigned len, unsigned* status) {
    long long at = index < 0 ? (long long)index + (long long)len : (long long)index;
    if (at >= 0 && at < (long long)len) return (unsigned)at;
    atomicOr(status, (unsigned)UNISONO_BAD_INDEX);
    return 0;
}

// Slices of `slice` units: output slice (o, k) is slice `indices[k]` of data part o, whose axis has `len` of them. An index outside is noted,
// and nothing is read for it. `picks` counts the indices.
template <typename T, typename I>
__device__ __forceinline__ void unisono_gather(const T* x, const I* indices, T* y, unsigned* status, unsigned n, unsigned picks, unsigned len,
                                               unsigned slice) {
    unsigned i = unisono_thread();
    if (i >= n) return;
    unsigned row = i / slice, within = i - row * slice;
    unsigned outer = row / picks, pick = row - outer * picks;
    I index = indices[pick];
    unsigned at = unisono_position(index, len, status);
    if (len > 0) y[i] = x[(outer * len + at) * slice + within];
}

// Elements: along one axis the index says where, along the others an element keeps its place. The nest is the output's, with steps of the data; the
// step along the axis is 0 there and `step` here.
template <typename T, typename I>
__device__ __forceinline__ void unisono_gather_elements(const T* x, const I* indices, T* y, unsigned* status, unsigned n, unsigned len, unsigned step,
                                                        const UnisonoMap& map, const UnisonoAxes& axes) {
    unsigned i = unisono_thread();
    if (i >= n) return;
    unsigned at = unisono_position(indices[i], len, status);
    if (len > 0) y[i] = x[unisono_at(map, axes, i) + at * step];
}

struct alignas(16) UnisonoUnit16 {
    unsigned long long low, high;
};

#define UNISONO_MOVES(BYTES, T)                                                                                             \
    extern "C" __global__ void unisono_move_##BYTES(const T* x, T* y, unsigned n, UnisonoMove nest) { unisono_move(x, y, n, nest); } \
    extern "C" __global__ void unisono_gather_i64_##BYTES(const T* x, const long long* indices, T* y, unsigned* status, unsigned n, unsigned picks, \
                                                          unsigned len, unsigned slice) {                                   \
        unisono_gather(x, indices, y, status, n, picks, len, slice);                                                        \
    }                                                                                                                       \
    extern "C" __global__ void unisono_gather_i32_##BYTES(const T* x, const int* indices, T* y, unsigned* status, unsigned n, unsigned picks, \
                                                          unsigned len, unsigned slice) {                                   \
        unisono_gather(x, indices, y, status, n, picks, len, slice);                                                        \
    }
#define UNISONO_ELEMENTS(BYTES, T)                                                                                          \
    UNISONO_MOVES(BYTES, T)                                                                                                 \
    extern "C" __global__ void unisono_turn_##BYTES(const T* x, T* y, unsigned planes, UnisonoMove nest) { unisono_turn(x, y, planes, nest); } \
    extern "C" __global__ void unisono_pad_##BYTES(const T* x, T* y, const T* value, unsigned n, UnisonoPad pad) {           \
        unisono_pad(x, y, value, n, pad);                                                                                   \
    }                                                                                                                       \
    extern "C" __global__ void unisono_gather_elements_i64_##BYTES(const T* x, const long long* indices, T* y, unsigned* status, unsigned n, \
                                                                   unsigned len, unsigned step, UnisonoMap map, UnisonoAxes axes) { \
        unisono_gather_elements(x, indices, y, status, n, len, step, map, axes);                                            \
    }                                                                                                                       \
    extern "C" __global__ void unisono_gather_elements_i32_##BYTES(const T* x, const int* indices, T* y, unsigned* status, unsigned n, \
                                                                   unsigned len, unsigned step, UnisonoMap map, UnisonoAxes axes) { \
        unisono_gather_elements(x, indices, y, status, n, len, step, map, axes);                                            \
    }
UNISONO_ELEMENTS(1, unsigned char)
UNISONO_ELEMENTS(2, unsigned short)
UNISONO_ELEMENTS(4, unsigned)
UNISONO_ELEMENTS(8, unsigned long long)
UNISONO_MOVES(16, UnisonoUnit16)
