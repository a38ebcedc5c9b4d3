//! Element types as arithmetic sees them, and the dispatch from a tensor's type to code for it.
//!
//! The one idea: an operator on floats is written once over [`Float`], which says what a stored value is computed in: `f32` and `f64` in
//! themselves, `f16` and `bf16` in `f32`, rounded once when the result is stored.

use crate::arith::{self, Real};
use unisono_tensor::{Element, bf16, f16};

/// A stored floating-point type.
pub(super) trait Float: Element {
    /// What it is computed in.
    type Real: Real;
    /// Exact.
    fn widen(self) -> Self::Real;
    /// Rounds once, ties to even.
    fn narrow(x: Self::Real) -> Self;
}

impl Float for f32 {
    type Real = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(x: f32) -> f32 {
        x
    }
}

impl Float for f64 {
    type Real = f64;
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(x: f64) -> f64 {
        x
    }
}

impl Float for f16 {
    type Real = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn narrow(x: f32) -> f16 {
        f16::from_f32(x)
    }
}

impl Float for bf16 {
    type Real = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn narrow(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
}

/// A stored number of any kind. `Wide` is what chains of operations on it run in, so that a value of the graph is rounded once.
pub(super) trait Number: Element + PartialOrd {
    type Wide: Wide;
    fn load(self) -> Self::Wide;
    fn store(x: Self::Wide) -> Self;
}

/// The arithmetic of numbers: IEEE for floats, wrapping for integers.
pub(super) trait Wide: Copy + PartialOrd {
    const ZERO: Self;
    const ONE: Self;
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    /// `None` for an integer division by zero. Integers truncate.
    fn div(self, o: Self) -> Option<Self>;
    fn max(self, o: Self) -> Self;
    fn min(self, o: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn counted(n: usize) -> Self;
    /// -1, 0 or 1; the value itself where it is neither above nor below zero (so NaN and -0 stay).
    fn sign(self) -> Self {
        if self > Self::ZERO {
            Self::ONE
        } else if self < Self::ZERO {
            Self::ONE.neg()
        } else {
            self
        }
    }
}

macro_rules! wide_float {
    ($($t:ty),*) => { $(impl Wide for $t {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        #[inline(always)]
        fn add(self, o: Self) -> Self { self + o }
        #[inline(always)]
        fn sub(self, o: Self) -> Self { self - o }
        #[inline(always)]
        fn mul(self, o: Self) -> Self { self * o }
        #[inline(always)]
        fn div(self, o: Self) -> Option<Self> { Some(self / o) }
        #[inline(always)]
        fn max(self, o: Self) -> Self { arith::max(self, o) }
        #[inline(always)]
        fn min(self, o: Self) -> Self { arith::min(self, o) }
        #[inline(always)]
        fn neg(self) -> Self { -self }
        #[inline(always)]
        fn abs(self) -> Self { Real::abs(self) }
        #[inline(always)]
        fn counted(n: usize) -> Self { n as Self }
    })* };
}
wide_float!(f32, f64);

macro_rules! wide_int {
    ($($t:ty),*) => { $(
    impl Wide for $t {
        const ZERO: Self = 0;
        const ONE: Self = 1;
        #[inline(always)]
        fn add(self, o: Self) -> Self { self.wrapping_add(o) }
        #[inline(always)]
        fn sub(self, o: Self) -> Self { self.wrapping_sub(o) }
        #[inline(always)]
        fn mul(self, o: Self) -> Self { self.wrapping_mul(o) }
        #[inline(always)]
        fn div(self, o: Self) -> Option<Self> { (o != 0).then(|| self.wrapping_div(o)) }
        #[inline(always)]
        fn max(self, o: Self) -> Self { Ord::max(self, o) }
        #[inline(always)]
        fn min(self, o: Self) -> Self { Ord::min(self, o) }
        #[inline(always)]
        fn neg(self) -> Self { self.wrapping_neg() }
        // Unsigned types have no magnitude to take, signed ones wrap at their minimum.
        #[inline(always)]
        #[allow(unused_comparisons)]
        fn abs(self) -> Self { if self < 0 { self.wrapping_neg() } else { self } }
        #[inline(always)]
        fn counted(n: usize) -> Self { n as Self }
    }
    impl Number for $t {
        type Wide = $t;
        #[inline(always)]
        fn load(self) -> $t { self }
        #[inline(always)]
        fn store(x: $t) -> $t { x }
    })* };
}
wide_int!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! number_float {
    ($($t:ty => $w:ty),*) => { $(impl Number for $t {
        type Wide = $w;
        #[inline(always)]
        fn load(self) -> $w { self.widen() }
        #[inline(always)]
        fn store(x: $w) -> $t { <$t>::narrow(x) }
    })* };
}
number_float!(f32 => f32, f64 => f64, f16 => f32, bf16 => f32);

/// Runs `$body` with `$T` bound to the stored floating-point type of `$dtype`.
macro_rules! with_float {
    ($dtype:expr, $what:expr, $T:ident => $body:expr) => {
        match $dtype {
            unisono_tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            unisono_tensor::DType::F64 => {
                type $T = f64;
                $body
            }
            unisono_tensor::DType::F16 => {
                type $T = unisono_tensor::f16;
                $body
            }
            unisono_tensor::DType::BF16 => {
                type $T = unisono_tensor::bf16;
                $body
            }
            found => Err($crate::eval::EvalError::Type { what: $what, found }),
        }
    };
}

/// The same for integers.
macro_rules! with_int {
    ($dtype:expr, $what:expr, $T:ident => $body:expr) => {
        match $dtype {
            unisono_tensor::DType::I8 => {
                type $T = i8;
                $body
            }
            unisono_tensor::DType::I16 => {
                type $T = i16;
                $body
            }
            unisono_tensor::DType::I32 => {
                type $T = i32;
                $body
            }
            unisono_tensor::DType::I64 => {
                type $T = i64;
                $body
            }
            unisono_tensor::DType::U8 => {
                type $T = u8;
                $body
            }
            unisono_tensor::DType::U16 => {
                type $T = u16;
                $body
            }
            unisono_tensor::DType::U32 => {
                type $T = u32;
                $body
            }
            unisono_tensor::DType::U64 => {
                type $T = u64;
                $body
            }
            found => Err($crate::eval::EvalError::Type { what: $what, found }),
        }
    };
}

/// The same for floats and integers.
macro_rules! with_number {
    ($dtype:expr, $what:expr, $T:ident => $body:expr) => {
        match $dtype {
            d if d.is_float() => $crate::eval::element::with_float!(d, $what, $T => $body),
            d => $crate::eval::element::with_int!(d, $what, $T => $body),
        }
    };
}

/// The same by the size of an element alone, for operators that move data and never look at it. `$N` is bound to the number of bytes.
macro_rules! with_size {
    ($dtype:expr, $what:expr, $N:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                const $N: usize = 1;
                $body
            }
            2 => {
                const $N: usize = 2;
                $body
            }
            4 => {
                const $N: usize = 4;
                $body
            }
            8 => {
                const $N: usize = 8;
                $body
            }
            _ => Err($crate::eval::EvalError::Type {
                what: $what,
                found: $dtype,
            }),
        }
    };
}

pub(super) use {with_float, with_int, with_number, with_size};
