//! Functions of two and more values with broadcasting, comparisons, `Where`.

use super::element::{Float, Number, Wide, with_float, with_int, with_number, with_size};
use super::io::{Indices, Io, concrete};
use super::walk::{self, Nest, broadcast_strides, map2, strides};
use super::{Dims, EvalError};
use crate::arith::{self, Real};
use unisono_graph::Operator;
use unisono_graph::ops::binary::{
    Binary, BinaryFunction, Compare, Comparison, Variadic, VariadicFunction,
};
use unisono_tensor::{DType, TensorMut, TensorRef};

/// The canonical function of floats behind an operator; `None` where floats have none, and for [`BinaryFunction::Mod`], which is
/// [`floor_mod`].
pub fn canonical_binary(function: BinaryFunction) -> Option<arith::Binary> {
    Some(match function {
        BinaryFunction::Add => arith::Binary::Add,
        BinaryFunction::Sub => arith::Binary::Sub,
        BinaryFunction::Mul => arith::Binary::Mul,
        BinaryFunction::Div => arith::Binary::Div,
        BinaryFunction::Pow => arith::Binary::Pow,
        BinaryFunction::Fmod => arith::Binary::Fmod,
        BinaryFunction::PRelu => arith::Binary::PRelu,
        _ => return None,
    })
}

/// The remainder with the divisor's sign: `Fmod`'s, plus `b` where the signs differ and it is not zero.
pub fn floor_mod<R: Real>(a: R, b: R) -> R {
    let r = arith::Binary::Fmod.eval(a, b);
    if r != R::ZERO && r.is_sign_negative() != b.is_sign_negative() {
        r + b
    } else {
        r
    }
}

pub(super) fn binary(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let function = concrete::<Binary>(op)?.function;
    let (a, b) = (io.input(0)?, io.input(1)?);
    let mut out = io.output(0)?;
    let dtype = a.dtype();
    let shape = out.shape();
    match function {
        BinaryFunction::And | BinaryFunction::Or | BinaryFunction::Xor => {
            let (p, q) = (a.as_slice::<u8>()?, b.as_slice::<u8>()?);
            let out = out.as_slice_mut::<u8>()?;
            map2(shape, out, (p, a.shape()), (q, b.shape()), |p, q| {
                let (p, q) = (p != 0, q != 0);
                u8::from(match function {
                    BinaryFunction::And => p && q,
                    BinaryFunction::Or => p || q,
                    _ => p != q,
                })
            })
        }
        BinaryFunction::Pow if b.dtype() != dtype => mixed_power(a, b, &mut out),
        _ if dtype.is_float() => with_float!(dtype, "the first operand", T => {
            let (p, q) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
            let out = out.as_slice_mut::<T>()?;
            let (p, q) = ((p, a.shape()), (q, b.shape()));
            match (canonical_binary(function), function) {
                (Some(f), _) => map2(shape, out, p, q, |p, q| T::narrow(f.eval(p.widen(), q.widen()))),
                (None, BinaryFunction::Mod) => {
                    map2(shape, out, p, q, |p, q| T::narrow(floor_mod(p.widen(), q.widen())))
                }
                _ => Err(EvalError::Type { what: "the first operand", found: dtype }),
            }
        }),
        _ => with_int!(dtype, "the first operand", T => {
            let (p, q) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
            let out = out.as_slice_mut::<T>()?;
            let mut by_zero = false;
            map2(shape, out, (p, a.shape()), (q, b.shape()), |p, q| {
                integer(function, p, q).unwrap_or_else(|| {
                    by_zero = true;
                    0
                })
            })?;
            if by_zero { Err(EvalError::DivisionByZero) } else { Ok(()) }
        }),
    }
}

/// What the integer operators need beyond [`Wide`].
trait Bits: Wide {
    const WIDTH: u32;
    const SIGNED: bool;
    fn rem(self, o: Self) -> Option<Self>;
    fn and(self, o: Self) -> Self;
    fn or(self, o: Self) -> Self;
    fn xor(self, o: Self) -> Self;
    fn shl(self, by: u32) -> Self;
    fn shr(self, by: u32) -> Self;
    fn as_i128(self) -> i128;
    fn wrap(x: i128) -> Self;
    fn power(self, by: u64) -> Self;
}

macro_rules! bits {
    ($($t:ty),*) => { $(impl Bits for $t {
        const WIDTH: u32 = <$t>::BITS;
        #[allow(unused_comparisons)]
        const SIGNED: bool = <$t>::MIN < 0;
        fn rem(self, o: Self) -> Option<Self> { (o != 0).then(|| self.wrapping_rem(o)) }
        fn and(self, o: Self) -> Self { self & o }
        fn or(self, o: Self) -> Self { self | o }
        fn xor(self, o: Self) -> Self { self ^ o }
        fn shl(self, by: u32) -> Self { self.wrapping_shl(by) }
        fn shr(self, by: u32) -> Self { self.wrapping_shr(by) }
        fn as_i128(self) -> i128 { self as i128 }
        fn wrap(x: i128) -> Self { x as Self }
        fn power(self, mut by: u64) -> Self {
            let (mut base, mut result) = (self, 1 as Self);
            while by > 0 {
                if by & 1 == 1 { result = result.wrapping_mul(base); }
                base = base.wrapping_mul(base);
                by >>= 1;
            }
            result
        }
    })* };
}
bits!(i8, i16, i32, i64, u8, u16, u32, u64);

/// An integer function; `None` for a division by zero.
fn integer<T: Bits>(function: BinaryFunction, a: T, b: T) -> Option<T> {
    Some(match function {
        BinaryFunction::Add => a.add(b),
        BinaryFunction::Sub => a.sub(b),
        BinaryFunction::Mul => a.mul(b),
        BinaryFunction::Div => a.div(b)?,
        BinaryFunction::Fmod => a.rem(b)?,
        BinaryFunction::Mod => {
            let r = a.rem(b)?;
            if r != T::ZERO && (r < T::ZERO) != (b < T::ZERO) {
                r.add(b)
            } else {
                r
            }
        }
        BinaryFunction::Pow => integer_power(a, b.as_i128()),
        BinaryFunction::ShiftLeft => match shift(b) {
            Some(by) => a.shl(by),
            None => T::ZERO,
        },
        BinaryFunction::ShiftRight => match shift(b) {
            Some(by) => a.shr(by),
            None if a < T::ZERO => T::ZERO.sub(T::ONE),
            None => T::ZERO,
        },
        BinaryFunction::BitwiseAnd => a.and(b),
        BinaryFunction::BitwiseOr => a.or(b),
        BinaryFunction::BitwiseXor => a.xor(b),
        BinaryFunction::PRelu if a < T::ZERO => a.mul(b),
        BinaryFunction::PRelu => a,
        // Booleans only; shape inference refuses integers.
        BinaryFunction::And | BinaryFunction::Or | BinaryFunction::Xor => T::ZERO,
    })
}

/// A shift below the width, if it is one.
fn shift<T: Bits>(by: T) -> Option<u32> {
    u32::try_from(by.as_i128()).ok().filter(|&by| by < T::WIDTH)
}

/// Wraps like a product; a negative exponent truncates `1 / a^|b|`, and saturates for `a = 0`.
fn integer_power<T: Bits>(a: T, b: i128) -> T {
    if let Ok(b) = u64::try_from(b) {
        return a.power(b);
    }
    let one = T::ONE;
    if a == one || (T::SIGNED && a == one.neg() && b % 2 == 0) {
        one
    } else if T::SIGNED && a == one.neg() {
        a
    } else if a == T::ZERO {
        // All ones, without the sign bit if there is one.
        T::wrap((1i128 << (T::WIDTH - u32::from(T::SIGNED))) - 1)
    } else {
        T::ZERO
    }
}

/// An exponent of another type than the base's.
enum Exponents<'a> {
    Int(Indices<'a>),
    F32(&'a [f32]),
    F64(&'a [f64]),
    F16(&'a [unisono_tensor::f16]),
    BF16(&'a [unisono_tensor::bf16]),
}

impl Exponents<'_> {
    fn float(&self, i: usize) -> f64 {
        match self {
            Exponents::Int(x) => x.get(i) as f64,
            Exponents::F32(x) => x[i].into(),
            Exponents::F64(x) => x[i],
            Exponents::F16(x) => x[i].into(),
            Exponents::BF16(x) => x[i].into(),
        }
    }
}

fn mixed_power(
    a: TensorRef<'_>,
    b: TensorRef<'_>,
    out: &mut TensorMut<'_>,
) -> Result<(), EvalError> {
    let exponents = match b.dtype() {
        DType::F32 => Exponents::F32(b.as_slice()?),
        DType::F64 => Exponents::F64(b.as_slice()?),
        DType::F16 => Exponents::F16(b.as_slice()?),
        DType::BF16 => Exponents::BF16(b.as_slice()?),
        _ => Exponents::Int(Indices::of(b)?),
    };
    let shape = out.shape();
    let nest = Nest::new(
        shape,
        [
            &strides(shape),
            &broadcast_strides(a.shape(), shape)?,
            &broadcast_strides(b.shape(), shape)?,
        ],
        [0; 3],
    );
    nest.check([out.len(), a.len(), b.len()])?;
    if a.dtype().is_float() {
        return with_float!(a.dtype(), "the base of a power", T => {
            let (base, out) = (a.as_slice::<T>()?, out.as_slice_mut::<T>()?);
            each(&nest, |o, p, q| {
                let exponent = <T as Float>::Real::from_f64(exponents.float(q));
                out[o] = T::narrow(arith::Binary::Pow.eval(base[p].widen(), exponent));
            })
        });
    }
    with_int!(a.dtype(), "the base of a power", T => {
        let (base, out) = (a.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        each(&nest, |o, p, q| {
            out[o] = match &exponents {
                Exponents::Int(x) => integer_power(base[p], x.get(q).into()),
                // Through f64, truncated and saturated as every float that becomes an integer.
                floats => arith::Binary::Pow.eval(base[p] as f64, floats.float(q)) as T,
            };
        })
    })
}

fn each(nest: &Nest<3>, mut f: impl FnMut(usize, usize, usize)) -> Result<(), EvalError> {
    nest.runs(|[o, p, q], len, [so, sp, sq]| {
        for i in 0..len {
            f(walk::at(o, i, so), walk::at(p, i, sp), walk::at(q, i, sq));
        }
        Ok(())
    })
}

pub(super) fn compare(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let comparison = concrete::<Compare>(op)?.comparison;
    let (a, b) = (io.input(0)?, io.input(1)?);
    let mut out = io.output(0)?;
    let shape = out.shape();
    let out = out.as_slice_mut::<u8>()?;
    if a.dtype() == DType::Bool {
        let (p, q) = (a.as_slice::<u8>()?, b.as_slice::<u8>()?);
        return map2(shape, out, (p, a.shape()), (q, b.shape()), |p, q| {
            ordered(comparison, p != 0, q != 0)
        });
    }
    with_number!(a.dtype(), "a compared tensor", T => {
        let (p, q) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        map2(shape, out, (p, a.shape()), (q, b.shape()), |p, q| ordered(comparison, p, q))
    })
}

#[inline(always)]
fn ordered<T: PartialOrd>(comparison: Comparison, a: T, b: T) -> u8 {
    u8::from(match comparison {
        Comparison::Equal => a == b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    })
}

pub(super) fn variadic(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let function = concrete::<Variadic>(op)?.function;
    let inputs = io.inputs;
    let first = io.input(0)?;
    let mut out = io.output(0)?;
    with_number!(first.dtype(), "an operand", T => {
        fold::<T>(function, inputs, &mut out)
    })
}

/// How many values are folded side by side: enough to amortise the loop over the inputs, few enough for the stack.
const BLOCK: usize = 64;

fn fold<T: Number>(
    function: VariadicFunction,
    inputs: &[Option<TensorRef<'_>>],
    out: &mut TensorMut<'_>,
) -> Result<(), EvalError> {
    let shape = out.shape();
    for x in inputs.iter().flatten() {
        // Checks the shape; the offsets below cannot leave the operand then.
        broadcast_strides(x.shape(), shape)?;
        x.as_slice::<T>()?;
    }
    let out = out.as_slice_mut::<T>()?;
    let count = inputs.iter().flatten().count();
    let divisor = T::Wide::counted(count);
    let mut sums = [T::Wide::ZERO; BLOCK];
    for (b, block) in out.chunks_mut(BLOCK).enumerate() {
        for (n, x) in inputs.iter().flatten().enumerate() {
            let values = x.as_slice::<T>()?;
            for (i, sum) in sums[..block.len()].iter_mut().enumerate() {
                let value = values[source(b * BLOCK + i, x, shape)].load();
                *sum = match function {
                    _ if n == 0 => value,
                    VariadicFunction::Min => sum.min(value),
                    VariadicFunction::Max => sum.max(value),
                    VariadicFunction::Sum | VariadicFunction::Mean => sum.add(value),
                };
            }
        }
        for (slot, &sum) in block.iter_mut().zip(&sums) {
            *slot = T::store(match function {
                VariadicFunction::Mean => sum.div(divisor).unwrap_or(sum),
                _ => sum,
            });
        }
    }
    Ok(())
}

/// The element of `x` that belongs to element `i` of a broadcast `shape`.
fn source(mut i: usize, x: &TensorRef<'_>, shape: &[usize]) -> usize {
    if x.shape() == shape {
        return i;
    }
    let (mut at, mut step) = (0, 1);
    for (&len, &full) in x.shape().iter().rev().zip(shape.iter().rev()) {
        if len != 1 {
            at += i % full * step;
            step *= len;
        }
        i /= full;
    }
    at
}

pub(super) fn select(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let (condition, x, y) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let mut out = io.output(0)?;
    super::movement::same_type(x, &out)?;
    super::movement::same_type(y, &out)?;
    let shape: Dims = out.shape().into();
    let nest = Nest::new(
        &shape,
        [
            &strides(&shape),
            &broadcast_strides(condition.shape(), &shape)?,
            &broadcast_strides(x.shape(), &shape)?,
            &broadcast_strides(y.shape(), &shape)?,
        ],
        [0; 4],
    );
    let condition = condition.as_slice::<u8>()?;
    let dtype = x.dtype();
    with_size!(dtype, "a selected tensor", N => {
        let (p, q) = (x.bytes().as_chunks::<N>().0, y.bytes().as_chunks::<N>().0);
        let out = out.bytes_mut().as_chunks_mut::<N>().0;
        nest.check([out.len(), condition.len(), p.len(), q.len()])?;
        nest.runs(|[o, c, a, b], len, [_, sc, sa, sb]| {
            for (i, slot) in out[o..o + len].iter_mut().enumerate() {
                *slot = if condition[walk::at(c, i, sc)] != 0 {
                    p[walk::at(a, i, sa)]
                } else {
                    q[walk::at(b, i, sb)]
                };
            }
            Ok(())
        })
    })
}
