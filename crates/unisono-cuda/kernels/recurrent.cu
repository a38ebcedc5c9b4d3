// LSTM layers: one kernel walks through all steps of time.
//
// The one idea: rows never meet, so a block has some rows of one direction and keeps their states in shared memory from the first step to
// the last. What the inputs contribute to the gates is there before, as one product of all steps; what is left of a step is the small
// product of the states with R, whose order is that of `tile.cuh`, and functions of single values. So a step costs two barriers and no
// launch, and how many rows a block has never decides a bit.
//
// R lies as [direction][k / 4][column][4 of k], the last four filled up with zeros: a thread has a column, and neighbours read neighbours.
// What there is room for stays in registers and in shared memory for all steps; the rest comes from the second-level cache every time.
#include "tile.cuh"

// `kernels::recurrent` fills it.
struct Lstm {
    int time, batch, hidden, directions;
    // Whether the first direction walks from the last step to the first. The second one always does.
    int backwards;
    // Of a column of R: fours of k, and how many of them shared memory holds, behind those in registers.
    int quads, near;
    // Floats from one row of a state to the next: whole fours, those behind the hidden units hold zeros.
    int pitch;
};

constexpr int SLICE_QUADS = SLICE / 4;

// ROWS rows of a block. HELD fours of k are in registers; then a block has a thread for every column, and all of k lies in one slice.
template <int ROWS, int HELD>
__device__ __forceinline__ void lstm(const float* xw, const float* r, const float* bias, const float* initial_h, const float* initial_c,
                                     float* y, float* y_h, float* y_c, const Lstm& g) {
    UNISONO_SHARED(memory);
    // Fours of k whose factors are read together, as many as registers take.
    constexpr int UNROLLED = HELD > 0 || ROWS > 1 ? 4 : 8;
    const int t = threadIdx.x, threads = blockDim.x, columns = 4 * g.hidden;
    const int first = blockIdx.x * ROWS, rows = min(ROWS, g.batch - first), direction = blockIdx.y;
    const bool backwards = g.backwards || direction == 1;
    float* const h = memory;
    float* const c = h + ROWS * g.pitch;
    float* const gates = c + ROWS * g.pitch;
    float4* const near = reinterpret_cast<float4*>(gates + ROWS * columns);
    const float4* const far = reinterpret_cast<const float4*>(r) + (long long)direction * g.quads * columns;
    if (bias) bias += direction * columns;
    // Where a state of this block's first row begins.
    const long long state = ((long long)direction * g.batch + first) * g.hidden;

    for (int i = t; i < g.near * columns; i += threads)
        async_copy4(reinterpret_cast<float*>(near + i), reinterpret_cast<const float*>(far + HELD * columns + i), 4);
    async_commit();
    float4 held[HELD > 0 ? HELD : 1];
#pragma unroll
    for (int q = 0; q < HELD; q++) held[q] = q < g.quads && t < columns ? far[q * columns + t] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int i = t; i < ROWS * g.pitch; i += threads) {
        const int row = i / g.pitch, unit = i - row * g.pitch;
        const bool there = row < rows && unit < g.hidden;
        h[i] = there && initial_h ? initial_h[state + row * g.hidden + unit] : 0.0f;
        c[i] = there && initial_c ? initial_c[state + row * g.hidden + unit] : 0.0f;
    }

    const auto place = [&](int step) { return backwards ? g.time - 1 - step : step; };
    const auto inputs = [&](int step, int col, float (&to)[ROWS]) {
        const float* const from = xw + (((long long)place(step) * g.batch + first) * g.directions + direction) * columns + col;
#pragma unroll
        for (int row = 0; row < ROWS; row++) to[row] = row < rows ? from[(long long)row * g.directions * columns] : 0.0f;
    };
    // A thread with one column reads what the next step needs while it works on one.
    float ahead[ROWS] = {};
    if (HELD > 0 && t < columns) inputs(0, t, ahead);
    async_wait<0>();
    __syncthreads();

    for (int step = 0; step < g.time; step++) {
        for (int col = t; col < columns; col += threads) {
            float x[ROWS], total[ROWS] = {};
            if (HELD > 0) {
#pragma unroll
                for (int row = 0; row < ROWS; row++) x[row] = ahead[row];
                if (step + 1 < g.time) inputs(step + 1, col, ahead);
            } else {
                inputs(step, col, x);
            }
            const float add = bias ? bias[col] : 0.0f;
#pragma unroll 1
            for (int q = 0; q < g.quads;) {
                float sum[ROWS] = {};
                const auto multiply = [&](int at, const float4& w) {
#pragma unroll
                    for (int row = 0; row < ROWS; row++) {
                        const float4 s = *reinterpret_cast<const float4*>(h + row * g.pitch + at * 4);
                        sum[row] = __fmaf_rn(s.x, w.x, sum[row]);
                        sum[row] = __fmaf_rn(s.y, w.y, sum[row]);
                        sum[row] = __fmaf_rn(s.z, w.z, sum[row]);
                        sum[row] = __fmaf_rn(s.w, w.w, sum[row]);
                    }
                };
                const int until = min(g.quads, q + SLICE_QUADS), until_near = min(until, HELD + g.near);
                if (HELD > 0) {
#pragma unroll
                    for (int at = 0; at < HELD; at++) multiply(at, held[at]);
                    q = HELD;
                }
#pragma unroll UNROLLED
                for (; q < until_near; q++) multiply(q, near[(q - HELD) * columns + col]);
#pragma unroll UNROLLED
                for (; q < until; q++) multiply(q, far[q * columns + col]);
#pragma unroll
                for (int row = 0; row < ROWS; row++) total[row] = __fadd_rn(total[row], sum[row]);
            }
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                const float sum = __fadd_rn(x[row], total[row]);
                gates[row * columns + col] = bias ? __fadd_rn(sum, add) : sum;
            }
            // Nobody else touches them until the barrier. The candidates are the last quarter of the columns.
            const bool is_candidate = col >= 3 * g.hidden;
#pragma unroll 1
            for (int row = 0; row < ROWS; row++) {
                float* const gate = gates + row * columns + col;
                *gate = is_candidate ? unisono_tanh(*gate) : unisono_sigmoid(*gate);
            }
        }
        __syncthreads();
        for (int i = t; i < rows * g.hidden; i += threads) {
            const int row = ROWS == 1 ? 0 : i / g.hidden, unit = i - row * g.hidden;
            const float* const gate = gates + row * columns + unit;
            const float in = gate[0], out = gate[g.hidden], forget = gate[2 * g.hidden], candidate = gate[3 * g.hidden];
            const float cell = __fmaf_rn(forget, c[row * g.pitch + unit], __fmul_rn(in, candidate));
            const float output = __fmul_rn(out, unisono_tanh(cell));
            c[row * g.pitch + unit] = cell;
            h[row * g.pitch + unit] = output;
            if (y) y[(((long long)place(step) * g.directions + direction) * g.batch + first + row) * g.hidden + unit] = output;
        }
        __syncthreads();
    }
    for (int i = t; i < rows * g.hidden; i += threads) {
        const int row = i / g.hidden, unit = i - row * g.hidden;
        if (y_h) y_h[state + i] = h[row * g.pitch + unit];
        if (y_c) y_c[state + i] = c[row * g.pitch + unit];
    }
}

#define LSTM(NAME, ROWS, HELD)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(512, 1) unisono_lstm_##NAME(                                                   \
        const float* xw, const float* r, const float* bias, const float* initial_h, const float* initial_c, float* y,            \
        float* y_h, float* y_c, const Lstm g) {                                                                                 \
        lstm<ROWS, HELD>(xw, r, bias, initial_h, initial_c, y, y_h, y_c, g);                                                    \
    }

// `kernels::recurrent` has the same numbers.
LSTM(narrow, 1, 16)
LSTM(1, 1, 0)
LSTM(4, 4, 0)
