//! Operators that only move data: one copy along a nest for each part of their outputs, padding, picking slices.

use smallvec::SmallVec;
use unisono_cpu::movement::{Side, Steps, steps, stretched};
use unisono_graph::ops::common::resolve_axis;
use unisono_graph::ops::indexing::{Gather, GatherElements};
use unisono_graph::ops::movement::{BlockOrder, DepthToSpace, SpaceToDepth};
use unisono_graph::ops::movement::{Concat, Pad, PadMode, Slice, Split, SplitParts, Transpose};
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::operands::Dense;
use super::{Lower, Lowering};
use crate::kernels::map::{Broadcast, elements};
use crate::kernels::movement::{self as kernels, Padding, Picks};
use crate::launch::{Buffer, Launch, Place};

/// What this module lowers. Those at the end keep every element in its place: a program usually gives their output the place of their input.
pub(super) const LOWERINGS: &[(&str, Lower)] = &[
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Expand", expand),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("Pad", pad),
    ("Slice", slice),
    ("SpaceToDepth", space_to_depth),
    ("Split", split),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Dropout", view),
    ("Flatten", view),
    ("Identity", view),
    ("Reshape", view),
    ("Squeeze", view),
    ("Unsqueeze", view),
];

/// A copy from an input to an output, with places to be filled in.
struct Move {
    input: usize,
    output: usize,
    launch: Box<dyn Fn(Buffer, Buffer) -> Option<Option<Launch>>>,
}

/// Copies that together make all outputs.
#[derive(Default)]
struct Moves(Vec<Move>);

impl Moves {
    /// A copy along the axes of `shape`; `from` and `to` are input and output with their steps and first elements. `None` if it has no launch.
    fn push(
        &mut self,
        cx: &Lowering<'_>,
        shape: &[usize],
        (input, from, from_first): (usize, &[isize], isize),
        (output, to, to_first): (usize, &[isize], isize),
    ) -> Option<()> {
        let (x, y) = (cx.input(input)?, cx.output(output)?);
        if x.dtype != y.dtype || x.dtype.size() == 0 {
            return None;
        }
        let (shape, size): (SmallVec<[usize; 8]>, usize) = (shape.into(), x.dtype.size());
        let (from, to): (Steps, Steps) = (from.into(), to.into());
        let (from_len, to_len) = (Dense::new(&x.shape)?, Dense::new(&y.shape)?);
        let launch = move |x: Buffer, y: Buffer| {
            let from: Side<'_> = from_len.at(&from, from_first);
            kernels::copy(size, &shape, (x, from), (y, to_len.at(&to, to_first)))
        };
        // Which units are moved may depend on places, whether there is a launch does not.
        let nowhere = Buffer::at(Place::Status);
        launch(nowhere, nowhere)?;
        self.0.push(Move {
            input,
            output,
            launch: Box::new(launch),
        });
        Some(())
    }

    /// Emits them.
    fn emit(self, cx: &mut Lowering<'_>) -> Result<bool, Error> {
        for m in self.0 {
            let (x, y) = (cx.read(m.input)?, cx.write(m.output)?);
            cx.emit((m.launch)(x, y).flatten());
        }
        Ok(true)
    }
}

/// Lowers by a list of copies; `None` refuses.
fn moves(
    cx: &mut Lowering<'_>,
    plan: impl FnOnce(&Lowering<'_>, &mut Moves) -> Option<()>,
) -> Result<bool, Error> {
    let mut moves = Moves::default();
    match plan(cx, &mut moves) {
        Some(()) => moves.emit(cx),
        None => Ok(false),
    }
}

/// The same elements in the same order, perhaps under another shape.
pub(super) fn view(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let len = elements(&cx.shape(0)?)?;
        let alone = cx.outputs.iter().skip(1).all(Option::is_none);
        let same = elements(&cx.output_shape(0)?)? == len && alone;
        same.then(|| moves.push(cx, &[len], (0, &[1], 0), (0, &[1], 0)))?
    })
}

fn transpose(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let (x, y) = (cx.shape(0)?, cx.output_shape(0)?);
        let perm = cx.op::<Transpose>()?.permutation(x.len()).ok()?;
        let own = steps(&x);
        let of = |&a: &usize| Some((x.get(a).copied()?, own.get(a).copied()?));
        let (shape, from): (SmallVec<[usize; 8]>, Steps) = perm
            .iter()
            .map(of)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .unzip();
        let fits = shape.as_slice() == y.as_slice();
        fits.then(|| moves.push(cx, &y, (0, &from, 0), (0, &steps(&y), 0)))?
    })
}

fn expand(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let y = cx.output_shape(0)?;
        let from = stretched(&cx.shape(0)?, &y)?;
        moves.push(cx, &y, (0, &from, 0), (0, &steps(&y), 0))
    })
}

fn slice(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let (x, y) = (cx.shape(0)?, cx.output_shape(0)?);
        let op = cx.op::<Slice>()?;
        let ranges = op.ranges(&x, &cx.parameters(&[1, 2, 3, 4])?).ok()?;
        if !ranges.iter().map(|r| r.length).eq(y.iter().copied()) {
            return None;
        }
        let (mut from, mut first) = (steps(&x), 0isize);
        for (step, range) in from.iter_mut().zip(&ranges) {
            first = first.checked_add(isize::try_from(range.start).ok()?.checked_mul(*step)?)?;
            // A step that reaches beyond the axis belongs to a range of one element and is never taken.
            *step = step.wrapping_mul(range.step as isize);
        }
        moves.push(cx, &y, (0, &from, first), (0, &steps(&y), 0))
    })
}

/// Do two shapes differ in one axis at most?
fn same_but(a: &[usize], b: &[usize], axis: usize) -> bool {
    let mut others = a.iter().zip(b).enumerate().filter(|(i, _)| *i != axis);
    a.len() == b.len() && others.all(|(_, (a, b))| a == b)
}

fn concat(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let y = cx.output_shape(0)?;
        let axis = resolve_axis(cx.op::<Concat>()?.axis, y.len()).ok()?;
        let (to, mut start) = (steps(&y), 0usize);
        for index in 0..cx.inputs.len() {
            let x = cx.shape(index).filter(|x| same_but(x, &y, axis))?;
            let first = to[axis].checked_mul(isize::try_from(start).ok()?)?;
            moves.push(cx, &x, (index, &steps(&x), 0), (0, &to, first))?;
            start = start.checked_add(x[axis])?;
        }
        (start == y[axis]).then_some(())
    })
}

fn split(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let (op, x) = (cx.op::<Split>()?, cx.shape(0)?);
        let axis = resolve_axis(op.axis, x.len()).ok()?;
        let own = steps(&x);
        // Every output's own shape says how long its part is; those that nobody wants are known from the node.
        let given = |lengths: &[i64]| lengths.iter().map(|&n| usize::try_from(n).ok()).collect();
        let lengths: Vec<usize> = match &op.parts {
            SplitParts::Lengths(lengths) => given(lengths),
            SplitParts::Input => given(&cx.integers(1)?),
            SplitParts::Equal(parts) => {
                let each = x[axis].div_ceil((*parts).max(1));
                let length = |i: usize| x[axis].saturating_sub(i.saturating_mul(each)).min(each);
                Some((0..*parts).map(length).collect())
            }
        }?;
        let mut start = 0usize;
        for (index, &length) in lengths.iter().enumerate() {
            let end = start.checked_add(length).filter(|&end| end <= x[axis])?;
            if let Some(y) = cx.output_shape(index) {
                if !same_but(&y, &x, axis) || y[axis] != length {
                    return None;
                }
                let first = own[axis].checked_mul(isize::try_from(start).ok()?)?;
                moves.push(cx, &y, (0, &own, first), (index, &steps(&y), 0))?;
            }
            start = end;
        }
        (cx.outputs.len() <= lengths.len()).then_some(())
    })
}

fn tile(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let (x, y) = (cx.shape(0)?, cx.output_shape(0)?);
        // Every axis becomes two: repetitions, along which the input does not advance, and its own length.
        let (own, wide) = (steps(&x), steps(&y));
        let mut shape: SmallVec<[usize; 8]> = SmallVec::new();
        let (mut from, mut to) = (Steps::new(), Steps::new());
        if x.len() != y.len() {
            return None;
        }
        for a in 0..x.len() {
            let times = y[a]
                .checked_div(x[a])
                .filter(|times| times * x[a] == y[a])?;
            shape.extend([times, x[a]]);
            from.extend([0, own[a]]);
            to.extend([wide[a].checked_mul(isize::try_from(x[a]).ok()?)?, wide[a]]);
        }
        moves.push(cx, &shape, (0, &from, 0), (0, &to, 0))
    })
}

/// Steps between blocks of channels and blocks of space: along block rows, block columns and channels, in planes of `plane` elements.
fn blocks(order: BlockOrder, block: usize, channels: usize, plane: usize) -> [usize; 3] {
    match order {
        BlockOrder::DepthLast => [block * channels * plane, channels * plane, plane],
        BlockOrder::DepthFirst => [block * plane, plane, block * block * plane],
    }
}

fn depth_to_space(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let (op, x, y) = (cx.op::<DepthToSpace>()?, cx.shape(0)?, cx.output_shape(0)?);
        let (&[n, c, h, w], &[_, channels, _, _]) = (x.as_slice(), y.as_slice()) else {
            return None;
        };
        let b = op.block;
        (elements(&x)? == elements(&y)? && c == channels * b * b).then_some(())?;
        let [by, bx, channel] = blocks(op.order, b, channels, h * w);
        // The output's order: samples, channels, rows, block rows, columns, block columns.
        let shape = [n, channels, h, b, w, b];
        let from = [c * h * w, channel, w, by, 1, bx].map(|step| step as isize);
        moves.push(cx, &shape, (0, &from, 0), (0, &steps(&shape), 0))
    })
}

fn space_to_depth(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    moves(cx, |cx, moves| {
        let (op, x, y) = (cx.op::<SpaceToDepth>()?, cx.shape(0)?, cx.output_shape(0)?);
        let (&[n, c, h, w], &[_, all, oh, ow]) = (x.as_slice(), y.as_slice()) else {
            return None;
        };
        let b = op.block;
        (elements(&x)? == elements(&y)? && h == oh * b && w == ow * b).then_some(())?;
        let [by, bx, channel] = blocks(op.order, b, c, oh * ow);
        // The input's order: samples, channels, rows, block rows, columns, block columns.
        let shape = [n, c, oh, b, ow, b];
        let to = [all * oh * ow, channel, ow, by, 1, bx].map(|step| step as isize);
        moves.push(cx, &shape, (0, &steps(&shape), 0), (0, &to, 0))
    })
}

fn pad(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(x), Some(y)) = (cx.op::<Pad>(), cx.input(0), cx.output(0)) else {
        return Ok(false);
    };
    let (from, to, dtype) = (x.shape.clone(), y.shape.clone(), x.dtype);
    let mode = match op.mode {
        PadMode::Constant => Padding::Constant,
        PadMode::Reflect => Padding::Reflect,
        PadMode::Edge => Padding::Edge,
        PadMode::Wrap => Padding::Wrap,
    };
    let amounts = cx
        .parameters(&[1, 3])
        .and_then(|inputs| op.amounts(from.len(), &inputs).ok());
    let Some(amounts) = amounts.filter(|_| y.dtype == dtype) else {
        return Ok(false);
    };
    // What negative amounts take away goes first, and the other modes then speak of what is left.
    let takes = amounts
        .iter()
        .any(|&(before, behind)| before < 0 || behind < 0);
    if takes && mode != Padding::Constant {
        return Ok(false);
    }
    let value = match (op.pads.is_some(), op.value, cx.input(2)) {
        (true, None, _) | (false, _, None) => None,
        // Rounding to other types is not done here.
        (true, Some(value), _) if value.to_bits() == 0 => None,
        (true, Some(value), _) if dtype == DType::F32 => Some(Some(value)),
        (true, ..) => return Ok(false),
        (false, _, Some(value)) => match elements(&value.shape) {
            Some(0) => None,
            Some(1) if value.dtype == dtype => Some(None),
            _ => return Ok(false),
        },
    };
    let before: SmallVec<[i64; 8]> = amounts.iter().map(|a| a.0).collect();
    let make = |x, y, value| {
        let size = dtype.size();
        kernels::pad(size, mode, (x, &from), (y, &to), &before, value)
    };
    let nowhere = Buffer::at(Place::Status);
    if make(nowhere, nowhere, None).is_none() {
        return Ok(false);
    }
    if to.contains(&0) {
        return Ok(true);
    }
    let value = match value {
        None => None,
        Some(Some(value)) => Some(cx.site.table(value.to_le_bytes().to_vec())?),
        Some(None) => Some(cx.read(2)?),
    };
    let launch = make(cx.read(0)?, cx.write(0)?, value);
    Ok(cx.emit(launch))
}

fn gather(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(x), Some(indices), Some(y)) =
        (cx.op::<Gather>(), cx.input(0), cx.input(1), cx.output(0))
    else {
        return Ok(false);
    };
    let picks = || -> Option<Picks> {
        let axis = resolve_axis(op.axis, x.shape.len()).ok()?;
        elements(&x.shape).filter(|_| x.dtype == y.dtype)?;
        let picks = Picks {
            outer: x.shape.get(..axis)?.iter().product(),
            len: x.shape[axis],
            slice: x.shape.get(axis + 1..)?.iter().product::<usize>() * x.dtype.size(),
            picks: elements(&indices.shape)?,
        };
        let bytes = elements(&[picks.outer, picks.picks, picks.slice])?;
        (elements(&y.shape)? * y.dtype.size() == bytes).then_some(picks)
    };
    let (Some(picks), dtype) = (picks(), indices.dtype) else {
        return Ok(false);
    };
    let make = |x, indices, y| kernels::gather(picks, x, (indices, dtype), y);
    let nowhere = Buffer::at(Place::Status);
    // An index may be bad even where nothing is picked by it; that is left to who says so.
    if cx.is_empty() || make(nowhere, nowhere, nowhere).is_none() {
        return Ok(false);
    }
    let launch = make(cx.read(0)?, cx.read(1)?, cx.write(0)?);
    Ok(cx.emit(launch))
}

fn gather_elements(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(x), Some(indices), Some(y)) = (
        cx.op::<GatherElements>(),
        cx.input(0),
        cx.input(1),
        cx.output(0),
    ) else {
        return Ok(false);
    };
    let plan = || -> Option<([usize; 2], Broadcast<1>)> {
        let axis = resolve_axis(op.axis, x.shape.len()).ok()?;
        elements(&x.shape).filter(|_| x.dtype == y.dtype && y.shape == indices.shape)?;
        let mut own = steps(&x.shape);
        let others = (0..x.shape.len()).filter(|&a| a != axis);
        let inside = y.shape.len() == x.shape.len() && others.clone().count() + 1 == y.shape.len();
        if !inside || others.clone().any(|a| y.shape[a] > x.shape[a]) {
            return None;
        }
        let step = usize::try_from(std::mem::take(own.get_mut(axis)?)).ok()?;
        Some((
            [x.shape[axis], step],
            Broadcast::of_steps(&y.shape, [&own])?,
        ))
    };
    let (Some((along, places)), size, dtype) = (plan(), x.dtype.size(), indices.dtype) else {
        return Ok(false);
    };
    let make =
        |x, indices, y| kernels::gather_elements(size, x, (indices, dtype), y, along, &places);
    let nowhere = Buffer::at(Place::Status);
    if cx.is_empty() || make(nowhere, nowhere, nowhere).is_none() {
        return Ok(false);
    }
    let launch = make(cx.read(0)?, cx.read(1)?, cx.write(0)?);
    Ok(cx.emit(launch))
}
