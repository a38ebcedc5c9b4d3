// Pooling in windows and over whole planes, and interpolation. Planes are dense, samples and channels in front.

#include "async.cuh"
#include "fold.cuh"
#include "map.cuh"

// Three spatial axes, the last one first.
struct UnisonoWindow {
    unsigned input[3];
    unsigned output[3];
    unsigned kernel[3];
    unsigned stride[3];
    unsigned dilation[3];
    unsigned begin[3];
    unsigned end[3];
    // The average counts padding.
    int counts_padding;
    // Positions count with the first spatial axis fastest.
    int column_major;
};

struct UnisonoPlace {
    unsigned plane;
    unsigned at[3];
};

__device__ __forceinline__ UnisonoPlace unisono_place(const UnisonoWindow& w, unsigned o) {
    UnisonoPlace place;
#pragma unroll
    for (int a = 0; a < 3; a++) {
        unsigned rest = o / w.output[a];
        place.at[a] = (o - rest * w.output[a]) * w.stride[a];
        o = rest;
    }
    place.plane = o;
    return place;
}

// Calls `tap(t, counted, inside, index)` for every element of the window of an output, in row-major order.
template <typename Tap>
__device__ __forceinline__ void unisono_taps(const UnisonoWindow& w, const UnisonoPlace& place, Tap tap) {
    unsigned t = 0;
    for (unsigned kz = 0; kz < w.kernel[2]; kz++) {
        unsigned z = place.at[2] + kz * w.dilation[2];
        for (unsigned ky = 0; ky < w.kernel[1]; ky++) {
            unsigned y = place.at[1] + ky * w.dilation[1];
            for (unsigned kx = 0; kx < w.kernel[0]; kx++, t++) {
                unsigned x = place.at[0] + kx * w.dilation[0];
                bool counted = z < w.begin[2] + w.input[2] + w.end[2] && y < w.begin[1] + w.input[1] + w.end[1] &&
                               x < w.begin[0] + w.input[0] + w.end[0];
                // What lies in front of the data wraps to more than any length.
                unsigned iz = z - w.begin[2], iy = y - w.begin[1], ix = x - w.begin[0];
                bool inside = iz < w.input[2] && iy < w.input[1] && ix < w.input[0];
                tap(t, counted, inside, (iz * w.input[1] + iy) * w.input[0] + ix);
            }
        }
    }
}

__device__ __forceinline__ unsigned unisono_plane_size(const UnisonoWindow& w) { return w.input[0] * w.input[1] * w.input[2]; }

extern "C" __global__ void unisono_average_pool(const float* x, float* y, unsigned n, UnisonoWindow w) {
    unsigned o = unisono_thread();
    if (o >= n) return;
    UnisonoPlace place = unisono_place(w, o);
    x += (unsigned long long)place.plane * unisono_plane_size(w);
    float total = 0.0f, chain = 0.0f;
    unsigned count = 0;
    unisono_taps(w, place, [&](unsigned t, bool counted, bool inside, unsigned index) {
        // An element in the padding adds nothing but keeps its place.
        if (t != 0 && t % UNISONO_SLICE == 0) {
            total = __fadd_rn(total, chain);
            chain = 0.0f;
        }
        if (inside) chain = __fadd_rn(chain, x[index]);
        count += w.counts_padding ? counted : inside;
    });
    y[o] = __fdiv_rn(__fadd_rn(total, chain), (float)count);
}

// `positions` may be null: those of the first greatest element (of the first NaN if there is one) in the whole input.
extern "C" __global__ void unisono_max_pool(const float* x, float* y, long long* positions, unsigned n, UnisonoWindow w) {
    unsigned o = unisono_thread();
    if (o >= n) return;
    UnisonoPlace place = unisono_place(w, o);
    unsigned long long base = (unsigned long long)place.plane * unisono_plane_size(w);
    x += base;
    float m = __uint_as_float(0xff800000u);
    unsigned found = 0;
    bool none = true;
    unisono_taps(w, place, [&](unsigned, bool, bool inside, unsigned index) {
        if (!inside) return;
        float v = x[index];
        if (none || v > m || (v != v && m == m)) found = index;
        none = false;
        m = unisono_max(m, v);
    });
    y[o] = m;
    if (positions == nullptr) return;
    if (w.column_major) {
        unsigned ix = found % w.input[0], iy = found / w.input[0] % w.input[1], iz = found / w.input[0] / w.input[1];
        found = (ix * w.input[1] + iy) * w.input[2] + iz;
    }
    positions[o] = (long long)(base + found);
}

// Chains that a warp adds up, and the room of one: four floats more, so that those of different lanes lie in different banks.
constexpr unsigned UNISONO_CHAINS = 4, UNISONO_CHAIN_PITCH = UNISONO_SLICE + 4;

// Chains over slices of dense planes, for averages of whole planes: chain c is slice c % slices of plane c / slices. All elements of a warp's
// chains are on their way to shared memory before one is waited for; then a lane adds up each of them.
extern "C" __global__ void __launch_bounds__(128) unisono_plane_chains(const float* x, float* y, unsigned chains, unsigned slices, unsigned n,
                                                                       float divisor) {
    __shared__ __align__(16) float all[4][UNISONO_CHAINS][UNISONO_CHAIN_PITCH];
    float(&elements)[UNISONO_CHAINS][UNISONO_CHAIN_PITCH] = all[threadIdx.y];
    unsigned lane = threadIdx.x, first = (blockIdx.x * 4 + threadIdx.y) * UNISONO_CHAINS, mine = first + lane;
    if (first >= chains) return;
    unsigned longest = n < UNISONO_SLICE ? n : UNISONO_SLICE;
    // What is not there becomes +0, which changes no chain that began at +0.
    unsigned room = (longest + 31) / 32 * 32;
    bool quads = n % 4 == 0 && (unsigned long long)x % 16 == 0;
#pragma unroll
    for (unsigned c = 0; c < UNISONO_CHAINS; c++) {
        unsigned number = first + c < chains ? first + c : chains - 1;
        unsigned plane = number / slices, start = (number - plane * slices) * UNISONO_SLICE;
        unsigned length = n - start < UNISONO_SLICE ? n - start : UNISONO_SLICE;
        const float* from = x + (unsigned long long)plane * n + start;
        if (quads) {
            for (unsigned i = lane * 4; i < room; i += 128)
                async_copy4(&elements[c][i], i < length ? from + i : x, i < length ? 4 : 0);
        } else {
            for (unsigned i = lane; i < room; i += 32) async_copy1(&elements[c][i], i < length ? from + i : x, i < length);
        }
    }
    async_commit();
    async_wait<0>();
    __syncwarp();
    if (lane >= UNISONO_CHAINS || mine >= chains) return;
    float chain = 0.0f;
#pragma unroll 1
    for (unsigned k = 0; k < room; k += 32) {
        float4 part[8];
#pragma unroll
        for (unsigned q = 0; q < 8; q++) part[q] = *reinterpret_cast<const float4*>(&elements[lane][k + q * 4]);
#pragma unroll
        for (unsigned q = 0; q < 8; q++) {
            chain = __fadd_rn(chain, part[q].x);
            chain = __fadd_rn(chain, part[q].y);
            chain = __fadd_rn(chain, part[q].z);
            chain = __fadd_rn(chain, part[q].w);
        }
    }
    // A single slice is the total; others are added up by `unisono_join_chains`.
    y[mine] = slices == 1 ? __fdiv_rn(__fadd_rn(0.0f, chain), divisor) : chain;
}

// The chains of a plane, added in order and divided.
extern "C" __global__ void unisono_join_chains(const float* chains, float* y, unsigned planes, unsigned slices, float divisor) {
    unsigned plane = unisono_thread();
    if (plane >= planes) return;
    float total = 0.0f;
    for (unsigned s = 0; s < slices; s++) total = __fadd_rn(total, chains[plane * slices + s]);
    y[plane] = __fdiv_rn(total, divisor);
}

// Samples along one axis, tap by tap and within a tap by output index; `counts` is 0 where the only sample is passed on as it is.
struct UnisonoSamples {
    unsigned input;
    unsigned output;
    unsigned pitch;
};

// Interpolation along three axes, outermost first, of `inner` neighbours: nested chains over the samples of the first axis, of the second, of the
// third. The tables of an axis lie behind each other: positions, weights, counts.
extern "C" __global__ void unisono_resize(const float* x, float* y, const unsigned* positions0, const float* weights0, const float* counts0,
                                          const unsigned* positions1, const float* weights1, const float* counts1, const unsigned* positions2,
                                          const float* weights2, const float* counts2, unsigned n, unsigned inner, UnisonoSamples axis0,
                                          UnisonoSamples axis1, UnisonoSamples axis2) {
    unsigned o = unisono_thread();
    if (o >= n) return;
    unsigned i = o, neighbour = i % inner;
    i /= inner;
    unsigned c = i % axis2.output;
    i /= axis2.output;
    unsigned b = i % axis1.output;
    i /= axis1.output;
    unsigned a = i % axis0.output, outer = i / axis0.output;
    unsigned count0 = (unsigned)counts0[a], count1 = (unsigned)counts1[b], count2 = (unsigned)counts2[c];
    unsigned taps0 = count0 > 0 ? count0 : 1, taps1 = count1 > 0 ? count1 : 1, taps2 = count2 > 0 ? count2 : 1;
    float sum0 = 0.0f;
    for (unsigned p = 0; p < taps0; p++) {
        unsigned plane = outer * axis0.input + positions0[p * axis0.pitch + a];
        float sum1 = 0.0f;
        for (unsigned q = 0; q < taps1; q++) {
            unsigned line = plane * axis1.input + positions1[q * axis1.pitch + b];
            float sum2 = 0.0f;
            for (unsigned r = 0; r < taps2; r++) {
                float v = x[(line * axis2.input + positions2[r * axis2.pitch + c]) * inner + neighbour];
                sum2 = count2 == 0 ? v : __fmaf_rn(weights2[r * axis2.pitch + c], v, sum2);
            }
            sum1 = count1 == 0 ? sum2 : __fmaf_rn(weights1[q * axis1.pitch + b], sum2, sum1);
        }
        sum0 = count0 == 0 ? sum1 : __fmaf_rn(weights0[p * axis0.pitch + a], sum1, sum0);
    }
    y[o] = sum0;
}
