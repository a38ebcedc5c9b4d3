// Copies between the device and page-locked memory of the host, which both can address. For a batch of some hundred kilobytes that is sooner
// done than by the copy engines, which take microseconds to begin and to end.

// Pieces of 16 bytes for each thread, all of them under way before the first arrives: a read over the bus takes more than a microsecond.
constexpr int EACH = 4;

extern "C" __global__ void __launch_bounds__(256) unisono_stage(const uint4* from, uint4* to, unsigned pieces) {
    const unsigned first = blockIdx.x * (256 * EACH) + threadIdx.x;
    uint4 held[EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (first + i * 256 < pieces) held[i] = __ldcs(from + first + i * 256);
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (first + i * 256 < pieces) to[first + i * 256] = held[i];
}

// Tells the host that everything before it in the graph has ended: `word` is looked at there.
extern "C" __global__ void unisono_ended(volatile unsigned* word) {
    __threadfence_system();
    *word = 1;
}
