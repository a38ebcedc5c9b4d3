#pragma once

// The codes of functions of two values; `src/kernels/elementwise.rs` has the same numbers.
enum UnisonoBinary {
    UNISONO_ADD = 0,
    UNISONO_SUB = 1,
    UNISONO_MUL = 2,
    UNISONO_DIV = 3,
    UNISONO_MAX = 4,
    UNISONO_MIN = 5,
    UNISONO_PRELU = 6,
    UNISONO_FMOD = 7,
    UNISONO_MOD = 8,
    UNISONO_POW = 9,
    UNISONO_AND = 10,
    UNISONO_OR = 11,
    UNISONO_XOR = 12,
};
