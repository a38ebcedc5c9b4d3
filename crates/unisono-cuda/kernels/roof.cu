// What a device can do at best: multiply-adds in registers, and reads. Measured beside models (`Device::ceilings`), never part of one.

// Multiply-adds of a thread in flight at once: a scheduler needs four of a warp to be busy, and has eight warps.
constexpr int CHAINS = 16;

// `rounds` times CHAINS multiply-adds per thread, whose results go nowhere unless `out` is there.
extern "C" __global__ void __launch_bounds__(1024) unisono_roof_multiply_adds(float* out, const int rounds, const float factor) {
    float chain[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; i++) chain[i] = threadIdx.x + i;
#pragma unroll 1
    for (int round = 0; round < rounds; round += 8)
#pragma unroll
        for (int again = 0; again < 8; again++)
#pragma unroll
            for (int i = 0; i < CHAINS; i++) chain[i] = __fmaf_rn(chain[i], factor, 1.0f);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sum = __fadd_rn(sum, chain[i]);
    // No sum of these is negative, which the compiler does not know.
    if (sum < 0.0f) out[0] = sum;
}

// Reads `quads` times 16 bytes `passes` times. In each pass a block reads another part, so that a processor's own cache is of no use.
extern "C" __global__ void __launch_bounds__(512) unisono_roof_read(const float4* data, float* out, const int quads, const int passes) {
    const int part = (quads + gridDim.x - 1) / gridDim.x;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int pass = 0; pass < passes; pass++) {
        const int first = (blockIdx.x + pass) % gridDim.x * part, end = min(quads, first + part);
#pragma unroll 4
        for (int i = first + threadIdx.x; i < end; i += blockDim.x) {
            const float4 value = __ldcg(data + i);
            sum.x = __fadd_rn(sum.x, value.x), sum.y = __fadd_rn(sum.y, value.y);
            sum.z = __fadd_rn(sum.z, value.z), sum.w = __fadd_rn(sum.w, value.w);
        }
    }
    // What is read is zeros.
    if (sum.x + sum.y + sum.z + sum.w != 0.0f) out[0] = sum.x;
}
