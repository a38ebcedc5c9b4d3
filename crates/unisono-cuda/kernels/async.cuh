// Copies from global to shared memory that run beside arithmetic (`cp.async`, compute capability 8.0), and dynamic shared memory.
//
// Everything that plain C++ cannot say about products stands here, so that the kernels can be compiled and checked as host code.
#ifndef UNISONO_ASYNC_CUH
#define UNISONO_ASYNC_CUH

// The block's dynamic shared memory, aligned for 16-byte accesses.
#define UNISONO_SHARED(name) extern __shared__ __align__(16) float name[]

// Copies 4 floats, of which `count` are there; the others become +0. Both addresses are aligned to 16 bytes, and `from` is an
// address within its buffer even if nothing is there.
__device__ __forceinline__ void async_copy4(float* to, const float* from, int count) {
    const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(count * 4) : "memory");
}

// Copies one float, or puts +0 if it is not there.
__device__ __forceinline__ void async_copy1(float* to, const float* from, bool there) {
    const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(from), "r"(there ? 4 : 0) : "memory");
}

// Closes a group of this thread's copies.
__device__ __forceinline__ void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the newest N groups of this thread have arrived.
template <int N>
__device__ __forceinline__ void async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// A barrier of a group of THREADS threads, whole warps that follow each other. No more than 15 groups.
template <int THREADS>
__device__ __forceinline__ void group_sync(int group) {
    if (THREADS == 32)
        __syncwarp();
    else
        asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(THREADS) : "memory");
}

#endif
