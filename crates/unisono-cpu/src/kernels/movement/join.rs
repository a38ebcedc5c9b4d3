//! Values joined and cut along an axis.

use unisono_graph::ops::common::resolve_axis;
use unisono_graph::ops::movement::{Concat, Split, SplitParts};
use unisono_runtime::Error;

use super::{Moves, Source, steps};
use crate::exec::kernel::{Build, Kernel};

/// Builds a joining of values.
pub fn build_concat(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    Ok(concat(build))
}

/// Builds a cut into parts whose lengths are known.
pub fn build_split(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    Ok(split(build))
}

/// Where an axis of the model is in the form of the values: channels are the last axis, and what was behind them moves to the front.
fn physical(build: &Build<'_>, axis: i64, rank: usize) -> Option<usize> {
    let axis = resolve_axis(axis, rank).ok()?;
    Some(match axis {
        1 if build.channels_last => rank - 1,
        2.. if build.channels_last => axis - 1,
        axis => axis,
    })
}

/// Are two shapes the same but for one axis?
fn same_but(a: &[usize], b: &[usize], axis: usize) -> bool {
    let others = |shape: &[usize]| {
        shape
            .iter()
            .enumerate()
            .all(|(i, n)| i == axis || b[i] == *n)
    };
    a.len() == b.len() && others(a)
}

fn concat(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    let op = build.op::<Concat>()?;
    let y = build.output_shape(0);
    let axis = physical(build, op.axis, y.len())?;
    let to = steps(y);
    let mut moves = Moves::new(build)?;
    moves.keeps_rows = axis > 0;
    let mut start = 0usize;
    for index in 0..build.inputs.len() {
        build.input(index)?;
        let x = build.shape(index);
        if !same_but(x, y, axis) {
            return None;
        }
        let first = to[axis].wrapping_mul(isize::try_from(start).ok()?);
        moves.push(x, (Source::Input(index), &steps(x), 0), (0, &to, first))?;
        start = start.checked_add(x[axis])?;
    }
    (start == y[axis]).then(|| moves.kernel())?
}

fn split(build: &Build<'_>) -> Option<Box<dyn Kernel>> {
    let op = build.op::<Split>()?;
    let x = build.shape(0);
    let axis = physical(build, op.axis, x.len())?;
    let from = steps(x);
    let lengths = lengths(op, build, x[axis])?;
    let mut moves = Moves::new(build)?;
    let mut start = 0usize;
    for (index, &length) in lengths.iter().enumerate() {
        let end = start.checked_add(length).filter(|&end| end <= x[axis])?;
        if build.output(index).is_some() {
            let y = build.output_shape(index);
            if !same_but(y, x, axis) || y[axis] != length {
                return None;
            }
            let first = from[axis].wrapping_mul(isize::try_from(start).ok()?);
            moves.push(y, (Source::Input(0), &from, first), (index, &steps(y), 0))?;
        }
        start = end;
    }
    // Every output has been written to.
    (build.outputs.len() <= lengths.len()).then(|| moves.kernel())?
}

/// The lengths of all parts, wanted or not.
fn lengths(op: &Split, build: &Build<'_>, whole: usize) -> Option<Vec<usize>> {
    let given = |lengths: &[i64]| lengths.iter().map(|&n| usize::try_from(n).ok()).collect();
    match &op.parts {
        SplitParts::Lengths(lengths) => given(lengths),
        SplitParts::Input => given(&build.integers(1)?),
        SplitParts::Equal(parts) => {
            let each = whole.div_ceil((*parts).max(1));
            let length = |i: usize| whole.saturating_sub(i.saturating_mul(each)).min(each);
            Some((0..*parts).map(length).collect())
        }
    }
}
