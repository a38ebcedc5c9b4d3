//! The operators that move elements or only rename their shape, in terms of [`super::movement`].

use super::element::Float;
use super::io::{Io, axis, concrete, ensure, int, ints};
use super::movement::{self, Outside};
use super::{Dims, EvalError, Strides};
use smallvec::SmallVec;
use unisono_graph::Operator;
use unisono_graph::ops::movement::{
    BlockOrder, Concat, DepthToSpace, Pad, PadMode, ReverseSequence, Slice, SpaceToDepth, Split,
    Transpose, Trilu,
};
use unisono_graph::ops::shape;
use unisono_tensor::DType;

/// `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`: the output's shape says everything.
pub(super) fn view(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    movement::same_bytes(x, &mut io.output(0)?)
}

pub(super) fn expand(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    movement::expand(x, &mut io.output(0)?)
}

pub(super) fn tile(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    movement::tile(x, &mut io.output(0)?)
}

pub(super) fn shape_of(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<shape::Shape>(op)?;
    let x = io.input(0)?;
    let rank = x.rank() as i64;
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank);
    let (start, end) = (clamp(op.start), clamp(op.end.unwrap_or(rank)));
    let lens = x.shape().get(start as usize..end as usize).unwrap_or(&[]);
    let mut out = io.output(0)?;
    super::walk::map1(lens, out.as_slice_mut::<i64>()?, |n| n as i64)
}

pub(super) fn size_of(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let len = io.input(0)?.len();
    let mut out = io.output(0)?;
    super::walk::map1(&[len], out.as_slice_mut::<i64>()?, |n| n as i64)
}

pub(super) fn transpose(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Transpose>(op)?;
    let x = io.input(0)?;
    let last = x.rank().wrapping_sub(1);
    let mut out = io.output(0)?;
    match &op.perm {
        // An axis that is not named is outside of the shape and refused there.
        Some(perm) => {
            let mut seen: SmallVec<[bool; 8]> = SmallVec::from_elem(false, x.rank());
            for &p in perm {
                ensure(
                    seen.get(p) == Some(&false),
                    "the permutation should name every axis once",
                )?;
                seen[p] = true;
            }
            movement::transpose(x, &mut out, |i| perm.get(i).copied().unwrap_or(usize::MAX))
        }
        None => movement::transpose(x, &mut out, |i| last.wrapping_sub(i)),
    }
}

pub(super) fn concat(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Concat>(op)?;
    let at = axis(op.axis, io.output(0)?.shape().len())?;
    movement::concat(&mut io, at)
}

pub(super) fn split(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Split>(op)?;
    let x = io.input(0)?;
    let at = axis(op.axis, x.rank())?;
    let lens = split_lengths(op, &io, x.shape()[at])?;
    movement::split(&mut io, at, &lens)
}

fn split_lengths(op: &Split, io: &Io<'_, '_>, len: usize) -> Result<Dims, EvalError> {
    use unisono_graph::ops::movement::SplitParts;
    let length = |&found: &i64| {
        usize::try_from(found).map_err(|_| EvalError::Value {
            what: "the length of a part should not be negative",
            found,
        })
    };
    Ok(match &op.parts {
        SplitParts::Lengths(lens) => lens.iter().map(length).collect::<Result<_, _>>()?,
        SplitParts::Input => ints(io.input(1)?)?
            .iter()
            .map(length)
            .collect::<Result<_, _>>()?,
        SplitParts::Equal(parts) => {
            let each = len.div_ceil((*parts).max(1));
            (0..*parts)
                .map(|i| len.saturating_sub(i.saturating_mul(each)).min(each))
                .collect()
        }
    })
}

pub(super) fn slice(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Slice>(op)?;
    let x = io.input(0)?;
    let (rank, shape) = (x.rank(), x.shape());
    let list = |i: usize| io.optional(i).map(ints).transpose();
    let (starts, axes, steps) = match &op.bounds {
        Some(bounds) => (
            bounds.starts.as_slice().into(),
            bounds.axes.as_deref().map(super::io::Ints::from_slice),
            None,
        ),
        None => (ints(io.input(1)?)?, list(3)?, list(4)?),
    };
    let (mut from, mut by) = (Strides::from_elem(0, rank), Strides::from_elem(1, rank));
    for (i, &start) in starts.iter().enumerate() {
        let named = axes
            .as_ref()
            .map_or(i as i64, |a| a.get(i).copied().unwrap_or(i64::MAX));
        let at = axis(named, rank)?;
        let step = steps.as_ref().map_or(1, |s| s.get(i).copied().unwrap_or(1));
        if step == 0 {
            return Err(EvalError::Value {
                what: "a slice's step should not be 0",
                found: 0,
            });
        }
        let len = shape[at] as i64;
        let start = if start < 0 {
            start.saturating_add(len)
        } else {
            start
        };
        let last = if step > 0 { len } else { len - 1 };
        from[at] = start.clamp(0, last.max(0)) as isize;
        by[at] = step as isize;
    }
    movement::slice(x, &mut io.output(0)?, &from, &by)
}

pub(super) fn pad(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Pad>(op)?;
    let x = io.input(0)?;
    let rank = x.rank();
    let pads = match &op.pads {
        Some(pads) => pads.as_slice().into(),
        None => ints(io.input(1)?)?,
    };
    let axes = match op.pads {
        Some(_) => None,
        None => io.optional(3).map(ints).transpose()?,
    };
    let named = pads.len() / 2;
    let mut before: SmallVec<[i64; 8]> = SmallVec::from_elem(0, rank);
    for (i, &amount) in pads[..named].iter().enumerate() {
        let at = axes
            .as_ref()
            .map_or(i as i64, |a| a.get(i).copied().unwrap_or(i64::MAX));
        before[axis(at, rank)?] = amount;
    }
    let value = match (op.pads.is_some(), op.value, io.optional(2)) {
        (true, Some(value), _) => element_of_f32(value, x.dtype())?,
        (false, _, Some(t)) if t.len() == 1 && t.dtype() == x.dtype() => t.bytes().into(),
        (false, _, Some(t)) if !t.is_empty() => {
            return Err(EvalError::Type {
                what: "the value that pads another type, or more than one,",
                found: t.dtype(),
            });
        }
        _ => SmallVec::from_elem(0, x.dtype().size()),
    };
    let outside = match op.mode {
        PadMode::Constant => Outside::Constant(&value),
        PadMode::Reflect => Outside::Reflect,
        PadMode::Edge => Outside::Edge,
        PadMode::Wrap => Outside::Wrap,
    };
    movement::pad(x, &mut io.output(0)?, &before, outside)
}

/// The bytes of one element of type `dtype` with this value.
fn element_of_f32(value: f32, dtype: DType) -> Result<SmallVec<[u8; 8]>, EvalError> {
    let mut out: SmallVec<[u8; 8]> = SmallVec::from_elem(0, dtype.size());
    match dtype {
        DType::F64 => out.copy_from_slice(&f64::from(value).to_ne_bytes()),
        DType::F32 => out.copy_from_slice(&value.to_ne_bytes()),
        DType::F16 => out.copy_from_slice(bytemuck::bytes_of(&unisono_tensor::f16::narrow(value))),
        DType::BF16 => {
            out.copy_from_slice(bytemuck::bytes_of(&unisono_tensor::bf16::narrow(value)))
        }
        DType::Bool => out[0] = u8::from(value != 0.0),
        _ => {
            return super::element::with_int!(dtype, "a padded tensor", T => {
                out.copy_from_slice(bytemuck::bytes_of(&(value as T)));
                Ok(out)
            });
        }
    }
    Ok(out)
}

pub(super) fn depth_to_space(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<DepthToSpace>(op)?;
    let x = io.input(0)?;
    let depth_last = op.order == BlockOrder::DepthLast;
    movement::depth_to_space(x, &mut io.output(0)?, op.block, depth_last)
}

pub(super) fn space_to_depth(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<SpaceToDepth>(op)?;
    let x = io.input(0)?;
    let depth_last = op.order == BlockOrder::DepthLast;
    movement::space_to_depth(x, &mut io.output(0)?, op.block, depth_last)
}

pub(super) fn reverse_sequence(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<ReverseSequence>(op)?;
    let (x, lens) = (io.input(0)?, io.input(1)?);
    ensure(
        x.shape().get(op.batch_axis) == Some(&lens.len()),
        "there should be one length per entry of the batch axis",
    )?;
    let lens = super::io::Indices::of(lens)?;
    let axes = [op.time_axis, op.batch_axis];
    movement::reverse_sequence(x, &mut io.output(0)?, axes, |b| lens.get(b))
}

pub(super) fn trilu(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Trilu>(op)?;
    let x = io.input(0)?;
    let k = io.optional(1).map(int).transpose()?.unwrap_or(0);
    movement::triangle(x, &mut io.output(0)?, op.upper, k)
}
