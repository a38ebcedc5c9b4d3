//! Axes in another order, cut, repeated, grown.

use unisono_graph::ops::movement::{Pad, PadMode, Slice, Transpose};
use unisono_graph::ops::shape::Expand;
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::{Moves, Source, Steps, parameters, steps};
use crate::exec::kernel::{Build, Kernel};
use crate::movement::stretched;

type Built = Result<Option<Box<dyn Kernel>>, Error>;

/// Builds a permutation of axes.
pub fn build_transpose(build: &Build<'_>) -> Built {
    Ok(transpose(build))
}

/// Builds a cut whose bounds are known.
pub fn build_slice(build: &Build<'_>) -> Built {
    Ok(slice(build))
}

/// Builds a repetition along axes of length 1.
pub fn build_expand(build: &Build<'_>) -> Built {
    Ok(expand(build))
}

/// Builds padding with a constant, by amounts that are known.
pub fn build_pad(build: &Build<'_>) -> Built {
    Ok(pad(build))
}

fn transpose(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    let op = build.op::<Transpose>().filter(|_| !build.channels_last)?;
    let (x, y) = (build.shape(0), build.output_shape(0));
    let perm = op.permutation(x.len()).ok()?;
    let own = steps(x);
    let shape: Vec<usize> = perm
        .iter()
        .map(|&a| x.get(a).copied())
        .collect::<Option<_>>()?;
    let from: Steps = perm
        .iter()
        .map(|&a| own.get(a).copied())
        .collect::<Option<_>>()?;
    if shape != y {
        return None;
    }
    let mut moves = Moves::new(build)?;
    moves.push(y, (Source::Input(0), &from, 0), (0, &steps(y), 0))?;
    moves.kernel()
}

fn slice(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    let op = build.op::<Slice>().filter(|_| !build.channels_last)?;
    let (x, y) = (build.shape(0), build.output_shape(0));
    let ranges = op.ranges(x, &parameters(build, &[1, 2, 3, 4])?).ok()?;
    if !ranges
        .iter()
        .map(|range| range.length)
        .eq(y.iter().copied())
    {
        return None;
    }
    let mut from = steps(x);
    let mut first = 0isize;
    for (step, range) in from.iter_mut().zip(&ranges) {
        let start = isize::try_from(range.start).ok()?;
        first = first.wrapping_add(start.wrapping_mul(*step));
        // A step that reaches beyond the axis belongs to a range of one element and is never taken.
        *step = step.wrapping_mul(range.step as isize);
    }
    let mut moves = Moves::new(build)?;
    moves.push(y, (Source::Input(0), &from, first), (0, &steps(y), 0))?;
    moves.kernel()
}

fn expand(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    build.op::<Expand>().filter(|_| !build.channels_last)?;
    let (x, y) = (build.shape(0), build.output_shape(0));
    let from = stretched(x, y)?;
    let mut moves = Moves::new(build)?;
    moves.push(y, (Source::Input(0), &from, 0), (0, &steps(y), 0))?;
    moves.kernel()
}

/// The box of what comes from the input, and around it two boxes for every axis: before and behind. Those of an axis are as long as the output on the axes
/// after it, and as long as the input's box on those before it.
fn pad(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    let op = build.op::<Pad>().filter(|_| !build.channels_last)?;
    if op.mode != PadMode::Constant {
        return None;
    }
    let (x, y) = (build.shape(0), build.output_shape(0));
    let amounts = op.amounts(x.len(), &parameters(build, &[1, 3])?).ok()?;
    if amounts.len() != x.len() || y.len() != x.len() {
        return None;
    }
    let mut moves = Moves::new(build)?;
    let value = value(op, build, &mut moves)?;
    let (own, wide) = (steps(x), steps(y));
    let (mut lens, mut shape) = (Vec::with_capacity(x.len()), y.to_vec());
    let (mut from, mut to) = (0isize, 0isize);
    let still = Steps::from_elem(0, x.len());
    for (a, &(before, behind)) in amounts.iter().enumerate() {
        let (len, total) = (i64::try_from(x[a]).ok()?, i64::try_from(y[a]).ok()?);
        let sum = len.checked_add(before)?.checked_add(behind)?;
        if sum != total {
            return None;
        }
        // Negative amounts take away from the input.
        let cut = before.checked_neg()?.max(0);
        let start = before.max(0).min(total);
        let inner = (len - cut).min(total - before.max(0)).max(0);
        let end = start.checked_add(inner)?;
        for part in [0..start, end..total] {
            shape[a] = usize::try_from(part.end - part.start).ok()?;
            let first = to.wrapping_add(wide[a].wrapping_mul(part.start as isize));
            moves.push(&shape, (value, &still, 0), (0, &wide, first))?;
        }
        shape[a] = usize::try_from(inner).ok()?;
        lens.push(shape[a]);
        from = from.wrapping_add(own[a].wrapping_mul(cut as isize));
        to = to.wrapping_add(wide[a].wrapping_mul(start as isize));
    }
    moves.push(&lens, (Source::Input(0), &own, from), (0, &wide, to))?;
    moves.kernel()
}

/// Where the constant is that pads.
fn value(op: &Pad, build: &Build<'_>, moves: &mut Moves<'_>) -> Option<Source> {
    if op.pads.is_some() {
        let value = op.value.unwrap_or(0.0);
        // Rounding to other types is the reference's matter.
        if moves.dtype == DType::F32 {
            moves.value[..4].copy_from_slice(&value.to_ne_bytes());
        } else if value.to_bits() != 0 {
            return None;
        }
        return Some(Source::Value);
    }
    let Some(known) = build.input(2) else {
        return Some(Source::Value);
    };
    match known.shape.as_deref()?.iter().product::<usize>() {
        0 => Some(Source::Value),
        1 => Some(Source::Input(2)),
        _ => None,
    }
}
