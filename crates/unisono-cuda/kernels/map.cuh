// Which element of an operand belongs to an element of the output, told by the host (`src/kernels/map.rs`).
//
// Positions are 32 bits: a launch is over fewer than 2^31 elements.
#pragma once

// How an operand follows the flat output.
enum UnisonoFollows {
    UNISONO_SAME = 0,    // element i
    UNISONO_REPEAT = 1,  // element (i / div) % mod
    UNISONO_NEST = 2,    // by steps along axes
};

struct UnisonoMap {
    unsigned follows;
    unsigned div;
    unsigned mod;
    int step[8];
};

// The output's axes, innermost first; only operands with UNISONO_NEST look at them.
struct UnisonoAxes {
    unsigned count;
    unsigned len[8];
};

__device__ __forceinline__ unsigned unisono_at(const UnisonoMap& map, const UnisonoAxes& axes, unsigned i) {
    if (map.follows == UNISONO_SAME) return i;
    if (map.follows == UNISONO_REPEAT) return i / map.div % map.mod;
    int at = 0;
    // Unrolled, so that parameters are read where they are instead of being copied to memory that can be indexed.
#pragma unroll
    for (unsigned a = 0; a < 8; a++) {
        if (a >= axes.count) break;
        unsigned rest = i / axes.len[a];
        at += (int)(i - rest * axes.len[a]) * map.step[a];
        i = rest;
    }
    return (unsigned)at;
}

// The number of this thread in a flat grid.
__device__ __forceinline__ unsigned unisono_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

// What kernels note in the batch's status word; the executor reads it behind the batch. Bits are only ever set.
enum UnisonoStatus {
    UNISONO_BAD_INDEX = 1,
    UNISONO_DIVISION_BY_ZERO = 2,
};
