//! The bridge from a function's name to its vector code.
//!
//! [`visit_unary`] hands a [`Function`] of its own type to a visitor for each [`Unary`], so that a loop around it is compiled with the
//! function inlined; likewise [`visit_binary`]. It is the only place that knows all functions.

use unisono_reference::arith::coefficients::{GELU_CUBIC, SQRT_2_OVER_PI, SQRT_HALF};
use unisono_reference::arith::{Binary, Unary};

use super::{Simd, functions};

/// A function of one value, lane by lane.
pub trait Function: Copy {
    /// Its values.
    fn eval<S: Simd>(self, s: S, x: S::F) -> S::F;
}

/// A function of two values, lane by lane.
pub trait BinaryFunction: Copy {
    /// Its values.
    fn eval<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F;
}

/// Something to do with a [`Function`].
pub trait UnaryVisitor {
    /// What it returns.
    type Output;
    /// Does it.
    fn visit<F: Function>(self, f: F) -> Self::Output;
}

/// Something to do with a [`BinaryFunction`].
pub trait BinaryVisitor {
    /// What it returns.
    type Output;
    /// Does it.
    fn visit<F: BinaryFunction>(self, f: F) -> Self::Output;
}

/// More than the lanes of any instruction set.
const MAX_LANES: usize = 16;

/// A function that is evaluated one lane at a time by the reference: those that go through f64.
#[derive(Clone, Copy)]
struct EachLane(Unary);

impl Function for EachLane {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: S::F) -> S::F {
        let mut lanes = [0.0; MAX_LANES];
        s.store(x, &mut lanes);
        each_lane(self.0, &mut lanes[..S::LANES]);
        s.load(&lanes)
    }
}

/// Not inlined: it is the same code for every instruction set.
#[inline(never)]
fn each_lane(f: Unary, lanes: &mut [f32]) {
    for x in lanes {
        *x = f.eval(*x);
    }
}

#[derive(Clone, Copy)]
struct EachLane2(Binary);

impl BinaryFunction for EachLane2 {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        let (mut left, mut right) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        s.store(a, &mut left);
        s.store(b, &mut right);
        each_lane2(self.0, &mut left[..S::LANES], &right[..S::LANES]);
        s.load(&left)
    }
}

#[inline(never)]
fn each_lane2(f: Binary, a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = f.eval(*a, b);
    }
}

/// Declares the vector code of each function of one value, and the match that finds it.
macro_rules! unary_functions {
    ($($name:ident $({ $($field:ident),* })? => |$s:ident, $x:ident| $body:expr;)*) => {
        mod unary {
            use super::*;
            $(
                #[derive(Clone, Copy)]
                pub(crate) struct $name { $($(pub(crate) $field: f32),*)? }

                impl Function for $name {
                    #[inline(always)]
                    fn eval<S: Simd>(self, $s: S, $x: S::F) -> S::F {
                        $($(let $field = $s.splat(self.$field);)*)?
                        $body
                    }
                }
            )*
        }

        pub(crate) use unary::HardSwish;

        /// Hands the vector code of `f` to the visitor.
        pub fn visit_unary<V: UnaryVisitor>(f: Unary, visitor: V) -> V::Output {
            match f {
                $(Unary::$name $({ $($field),* })? => visitor.visit(unary::$name { $($($field),*)? }),)*
                Unary::Sin
                | Unary::Cos
                | Unary::Tan
                | Unary::Asin
                | Unary::Acos
                | Unary::Atan
                | Unary::Sinh
                | Unary::Cosh
                | Unary::Asinh
                | Unary::Acosh
                | Unary::Atanh => visitor.visit(EachLane(f)),
            }
        }
    };
}

unary_functions! {
    Abs => |s, x| s.abs(x);
    Neg => |s, x| s.neg(x);
    Reciprocal => |s, x| s.div(s.splat(1.0), x);
    Square => |s, x| s.mul(x, x);
    Sqrt => |s, x| s.sqrt(x);
    Rsqrt => |s, x| s.div(s.splat(1.0), s.sqrt(x));
    Sign => |s, x| {
        // NaN passes as itself: it is neither below, nor above, nor equal to zero.
        let y = s.select(s.lt(x, s.zero()), s.splat(-1.0), x);
        let y = s.select(s.lt(s.zero(), x), s.splat(1.0), y);
        s.select(s.eq(x, s.zero()), s.zero(), y)
    };
    Floor => |s, x| s.floor(x);
    Ceil => |s, x| s.ceil(x);
    Round => |s, x| s.round(x);
    Exp => |s, x| functions::exp(s, x);
    Log => |s, x| functions::log(s, x);
    Tanh => |s, x| functions::tanh(s, x);
    Erf => |s, x| functions::erf(s, x);
    Sigmoid => |s, x| functions::sigmoid(s, x);
    Relu => |s, x| s.relu(x);
    LeakyRelu { alpha } => |s, x| s.select(s.lt(x, s.zero()), s.mul(alpha, x), x);
    ThresholdedRelu { alpha } => |s, x| s.select(s.le(x, alpha), s.zero(), x);
    Elu { alpha } => |s, x| {
        let negative = s.mul(alpha, functions::expm1(s, x));
        s.select(s.lt(x, s.zero()), negative, x)
    };
    Selu { alpha, gamma } => |s, x| {
        let negative = s.mul(alpha, functions::expm1(s, x));
        s.mul(gamma, s.select(s.lt(x, s.zero()), negative, x))
    };
    Celu { alpha } => |s, x| {
        // Dividing by an alpha of 1 is exact, so the reference's shortcut needs no twin here.
        let negative = s.mul(alpha, functions::expm1(s, s.div(x, alpha)));
        s.select(s.lt(x, s.zero()), negative, x)
    };
    Clip { low, high } => |s, x| s.min(s.max(x, low), high);
    HardSigmoid { alpha, beta } => |s, x| {
        let line = s.fma(alpha, x, beta);
        s.relu(s.at_most(line, s.splat(1.0)))
    };
    HardSwish => |s, x| {
        let line = s.fma(x, s.splat(1.0 / 6.0), s.splat(0.5));
        s.mul(x, s.relu(s.at_most(line, s.splat(1.0))))
    };
    Shrink { lambda, bias } => |s, x| {
        let y = s.select(s.is_nan(x), x, s.zero());
        let y = s.select(s.lt(lambda, x), s.sub(x, bias), y);
        s.select(s.lt(x, s.neg(lambda)), s.add(x, bias), y)
    };
    Softplus => |s, x| functions::softplus(s, x);
    Softsign => |s, x| s.div(x, s.add(s.splat(1.0), s.abs(x)));
    Swish { alpha } => |s, x| {
        // A product with 1 is exact, so the reference's shortcut needs no twin here.
        s.mul(x, functions::sigmoid(s, s.mul(alpha, x)))
    };
    Mish => |s, x| functions::mish(s, x);
    Gelu => |s, x| {
        let erf = functions::erf(s, s.mul(x, s.splat(SQRT_HALF)));
        s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), erf))
    };
    GeluTanh => |s, x| {
        let inner = s.fma(s.mul(s.splat(GELU_CUBIC), s.mul(x, x)), x, x);
        let tanh = functions::tanh(s, s.mul(s.splat(SQRT_2_OVER_PI), inner));
        s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), tanh))
    };
}

/// Declares the vector code of each function of two values.
macro_rules! binary_functions {
    ($($name:ident => |$s:ident, $a:ident, $b:ident| $body:expr;)*) => {
        mod binary {
            use super::*;
            $(
                #[derive(Clone, Copy)]
                pub(super) struct $name;

                impl BinaryFunction for $name {
                    #[inline(always)]
                    fn eval<S: Simd>(self, $s: S, $a: S::F, $b: S::F) -> S::F {
                        $body
                    }
                }
            )*
        }

        /// Hands the vector code of `f` to the visitor.
        pub fn visit_binary<V: BinaryVisitor>(f: Binary, visitor: V) -> V::Output {
            match f {
                $(Binary::$name => visitor.visit(binary::$name),)*
                Binary::Pow | Binary::Fmod => visitor.visit(EachLane2(f)),
            }
        }
    };
}

binary_functions! {
    Add => |s, a, b| s.add(a, b);
    Sub => |s, a, b| s.sub(a, b);
    Mul => |s, a, b| s.mul(a, b);
    Div => |s, a, b| s.div(a, b);
    Max => |s, a, b| s.max(a, b);
    Min => |s, a, b| s.min(a, b);
    PRelu => |s, a, b| s.select(s.lt(a, s.zero()), s.mul(b, a), a);
}
