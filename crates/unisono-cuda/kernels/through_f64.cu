// The elementwise functions that go through f64, and remainders: in a file of their own, so that models without them need not compile them. One element
// to a thread.

#include "binary.cuh"
#include "double.cuh"
#include "map.cuh"

extern "C" __global__ void unisono_unary_through_f64(const float* x, float* y, unsigned n, int code) {
    unsigned i = unisono_thread();
    if (i < n) y[i] = unisono_function(code, x[i]);
}

// Remainders and powers.
extern "C" __global__ void unisono_binary_rare_f32(const float* a, const float* b, float* y, unsigned n, int code, UnisonoMap ma, UnisonoMap mb,
                                                   UnisonoAxes axes) {
    unsigned i = unisono_thread();
    if (i >= n) return;
    float p = a[unisono_at(ma, axes, i)], q = b[unisono_at(mb, axes, i)];
    if (code == UNISONO_POW) {
        y[i] = unisono_pow(p, q);
        return;
    }
    float r = fmodf(p, q);
    bool other_sign = (__float_as_int(r) < 0) != (__float_as_int(q) < 0);
    y[i] = code == UNISONO_MOD && r != 0.0f && other_sign ? __fadd_rn(r, q) : r;
}
