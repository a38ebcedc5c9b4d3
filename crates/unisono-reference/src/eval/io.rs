//! The inputs and outputs of one evaluation, with the checks that every operator needs.

use super::EvalError;
use smallvec::SmallVec;
use unisono_graph::Operator;
use unisono_tensor::{DType, TensorMut, TensorRef};

/// What an operator reads and writes.
pub(super) struct Io<'a, 'm> {
    pub inputs: &'a [Option<TensorRef<'a>>],
    pub outputs: &'a mut [Option<TensorMut<'m>>],
}

impl<'a, 'm> Io<'a, 'm> {
    /// A required input.
    pub fn input(&self, index: usize) -> Result<TensorRef<'a>, EvalError> {
        self.optional(index).ok_or(EvalError::Missing {
            what: "input",
            index,
        })
    }

    /// An input that may be left out.
    pub fn optional(&self, index: usize) -> Option<TensorRef<'a>> {
        self.inputs.get(index).copied().flatten()
    }

    /// A required output.
    pub fn output(&mut self, index: usize) -> Result<TensorMut<'_>, EvalError> {
        self.wanted(index).ok_or(EvalError::Missing {
            what: "output",
            index,
        })
    }

    /// An output, if somebody wants it.
    pub fn wanted(&mut self, index: usize) -> Option<TensorMut<'_>> {
        self.outputs
            .get_mut(index)?
            .as_mut()
            .map(TensorMut::reborrow)
    }

    /// The first output and the others, to be written side by side.
    pub fn split_first(
        &mut self,
    ) -> Result<(TensorMut<'_>, &mut [Option<TensorMut<'m>>]), EvalError> {
        match self.outputs.split_first_mut() {
            Some((Some(first), rest)) => Ok((first.reborrow(), rest)),
            _ => Err(EvalError::Missing {
                what: "output",
                index: 0,
            }),
        }
    }
}

/// The concrete operator behind `op`.
pub(super) fn concrete<T: Operator>(op: &dyn Operator) -> Result<&T, EvalError> {
    op.downcast_ref()
        .ok_or(EvalError::Unsupported { kind: op.kind() })
}

/// A list of integers short enough to be a shape.
pub(super) type Ints = SmallVec<[i64; 8]>;

/// The contents of an integer input that holds parameters (a shape, axes, pads). It allocates beyond eight of them.
pub(super) fn ints(t: TensorRef<'_>) -> Result<Ints, EvalError> {
    let indices = Indices::of(t)?;
    Ok((0..t.len()).map(|i| indices.get(i)).collect())
}

/// A single integer, whatever the rank of the tensor that holds it.
pub(super) fn int(t: TensorRef<'_>) -> Result<i64, EvalError> {
    if t.len() != 1 {
        return Err(EvalError::Shape {
            what: "a parameter should have one element",
        });
    }
    Ok(Indices::of(t)?.get(0))
}

/// Integers of any width, read one at a time.
#[derive(Clone, Copy)]
pub(super) enum Indices<'a> {
    I64(&'a [i64]),
    I32(&'a [i32]),
    I16(&'a [i16]),
    I8(&'a [i8]),
    U64(&'a [u64]),
    U32(&'a [u32]),
    U16(&'a [u16]),
    U8(&'a [u8]),
}

impl<'a> Indices<'a> {
    pub fn of(t: TensorRef<'a>) -> Result<Self, EvalError> {
        Ok(match t.dtype() {
            DType::I64 => Indices::I64(t.as_slice()?),
            DType::I32 => Indices::I32(t.as_slice()?),
            DType::I16 => Indices::I16(t.as_slice()?),
            DType::I8 => Indices::I8(t.as_slice()?),
            DType::U64 => Indices::U64(t.as_slice()?),
            DType::U32 => Indices::U32(t.as_slice()?),
            DType::U16 => Indices::U16(t.as_slice()?),
            DType::U8 | DType::Bool => Indices::U8(t.as_slice()?),
            found => {
                return Err(EvalError::Type {
                    what: "an integer input",
                    found,
                });
            }
        })
    }

    /// Element `i`. Values of 2^63 and above become `i64::MAX`, which no axis reaches.
    #[inline]
    pub fn get(&self, i: usize) -> i64 {
        match self {
            Indices::I64(s) => s[i],
            Indices::I32(s) => s[i].into(),
            Indices::I16(s) => s[i].into(),
            Indices::I8(s) => s[i].into(),
            Indices::U64(s) => i64::try_from(s[i]).unwrap_or(i64::MAX),
            Indices::U32(s) => s[i].into(),
            Indices::U16(s) => s[i].into(),
            Indices::U8(s) => s[i].into(),
        }
    }
}

/// `index` as a position in an axis of length `limit`, counting from the end if it is negative.
pub(super) fn position(what: &'static str, index: i64, limit: usize) -> Result<usize, EvalError> {
    // Lengths never exceed isize::MAX, so neither the cast nor the sum can overflow.
    let from_front = if index < 0 {
        index + limit as i64
    } else {
        index
    };
    usize::try_from(from_front)
        .ok()
        .filter(|&i| i < limit)
        .ok_or(EvalError::Index { what, index, limit })
}

/// The axis that `axis` means in a tensor of this rank.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, EvalError> {
    position("axis", axis, rank)
}

/// The number of elements before `axis`, along it and behind it: every tensor seen as outer x length x inner.
pub(super) fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    let at = axis.min(shape.len());
    [
        count(&shape[..at]),
        shape.get(at).copied().unwrap_or(1),
        count(shape.get(at + 1..).unwrap_or(&[])),
    ]
}

/// The product of some lengths of one tensor. Only beside an axis of length zero can it be too large for a number; it is not used then.
pub(super) fn count(lens: &[usize]) -> usize {
    lens.iter().fold(1, |n: usize, &len| n.wrapping_mul(len))
}

/// An error unless the rule holds.
pub(super) fn ensure(rule: bool, what: &'static str) -> Result<(), EvalError> {
    if rule {
        Ok(())
    } else {
        Err(EvalError::Shape { what })
    }
}
