//! Reading and writing at places that other values name.
//!
//! Every index is checked against its axis before it is used; one outside is an error that names it.

use super::conv::turn;
use super::element::{Number, Wide, with_number, with_size};
use super::io::{Indices, Io, around, axis, concrete, count, ensure, position};
use super::movement::{same_bytes, same_type};
use super::walk::strides;
use super::{Dims, EvalError};
use unisono_graph::Operator;
use unisono_graph::ops::indexing::{
    Compress, Gather, GatherElements, GatherNd, OneHot, ScatterElements, ScatterNd,
    ScatterReduction,
};
use unisono_tensor::{DType, TensorMut, TensorRef};

const INDICES: &str = "indices";

pub(super) fn gather(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<Gather>(op)?;
    let (x, indices) = (io.input(0)?, io.input(1)?);
    let at = axis(op.axis, x.rank())?;
    let [outer, len, inner] = around(x.shape(), at);
    let picked = Indices::of(indices)?;
    let mut out = io.output(0)?;
    same_type(x, &out)?;
    let row = inner * x.dtype().size();
    let n = indices.len();
    for i in 0..n {
        position(INDICES, picked.get(i), len)?;
    }
    ensure(
        out.is_empty() || (out.len() == outer.wrapping_mul(n).wrapping_mul(inner) && row > 0),
        "a gathered tensor's shape should follow from data and indices",
    )?;
    if out.is_empty() {
        return Ok(());
    }
    for (k, to) in out.bytes_mut().chunks_exact_mut(row).enumerate() {
        let from = (k / n * len + position(INDICES, picked.get(k % n), len)?) * row;
        to.copy_from_slice(&x.bytes()[from..from + row]);
    }
    Ok(())
}

/// Calls `f(i, place)` for every element `i` of `indices`, in row-major order, with the place in `data` that it names: its own coordinates,
/// with the index along `axis`.
fn element_places(
    data: &[usize],
    indices: TensorRef<'_>,
    axis: usize,
    mut f: impl FnMut(usize, usize) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let shape = indices.shape();
    ensure(
        shape.len() == data.len()
            && (0..data.len()).all(|a| a == axis || shape[a] <= data[a] || indices.is_empty()),
        "indices should not be longer than the data along other axes",
    )?;
    let own = strides(data);
    let picked = Indices::of(indices)?;
    let mut at = Dims::from_elem(0, shape.len());
    for i in 0..indices.len() {
        let along = position(INDICES, picked.get(i), data[axis])?;
        let mut place = 0;
        for (a, &step) in own.iter().enumerate() {
            place += step as usize * if a == axis { along } else { at[a] };
        }
        f(i, place)?;
        turn(&mut at, shape);
    }
    Ok(())
}

pub(super) fn gather_elements(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<GatherElements>(op)?;
    let (x, indices) = (io.input(0)?, io.input(1)?);
    let at = axis(op.axis, x.rank())?;
    let mut out = io.output(0)?;
    same_type(x, &out)?;
    ensure(
        out.len() == indices.len(),
        "there should be one result per index",
    )?;
    let dtype = x.dtype();
    with_size!(dtype, "gathered data", N => {
        let (src, dst) = (x.bytes().as_chunks::<N>().0, out.bytes_mut().as_chunks_mut::<N>().0);
        element_places(x.shape(), indices, at, |i, place| {
            dst[i] = src[place];
            Ok(())
        })
    })
}

/// Tuples of indices into the axes of the data from `skip` on.
struct Tuples<'a> {
    indices: Indices<'a>,
    width: usize,
    /// Lengths of the indexed axes.
    lens: Dims,
    /// Elements that a tuple names.
    inner: usize,
    /// How many tuples there are.
    pub n: usize,
}

impl<'a> Tuples<'a> {
    fn new(data: &[usize], indices: TensorRef<'a>, skip: usize) -> Result<Tuples<'a>, EvalError> {
        let width = indices.shape().last().copied().unwrap_or(0);
        let rule = "tuples of indices should not be longer than the data has axes";
        let lens = data.get(skip..skip.saturating_add(width));
        let lens = Dims::from_slice(lens.ok_or(EvalError::Shape { what: rule })?);
        ensure(!indices.shape().is_empty(), rule)?;
        Ok(Tuples {
            indices: Indices::of(indices)?,
            width,
            lens,
            inner: count(&data[skip + width..]),
            n: count(&indices.shape()[..indices.rank() - 1]),
        })
    }

    /// The first element that tuple `i` names, within what is behind the skipped axes.
    fn place(&self, i: usize) -> Result<usize, EvalError> {
        let mut at = 0;
        for (k, &len) in self.lens.iter().enumerate() {
            at = at * len + position(INDICES, self.indices.get(i * self.width + k), len)?;
        }
        Ok(at * self.inner)
    }
}

pub(super) fn gather_nd(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<GatherNd>(op)?;
    let (x, indices) = (io.input(0)?, io.input(1)?);
    let shared = op.batch_dims;
    ensure(
        shared < indices.rank().max(1) && x.shape().get(..shared) == indices.shape().get(..shared),
        "data and indices should share their first axes",
    )?;
    let tuples = Tuples::new(x.shape(), indices, shared)?;
    let batches = count(&x.shape()[..shared]);
    let mut out = io.output(0)?;
    same_type(x, &out)?;
    let row = tuples.inner.wrapping_mul(x.dtype().size());
    ensure(
        out.is_empty() || out.len() == tuples.n.wrapping_mul(tuples.inner),
        "a gathered tensor's shape should follow from data and indices",
    )?;
    if out.is_empty() {
        return Ok(());
    }
    ensure(
        row > 0,
        "gathered data should have elements of a fixed size",
    )?;
    let (per_batch, batch_len) = (tuples.n / batches, x.len() / batches);
    for (i, to) in out.bytes_mut().chunks_exact_mut(row).enumerate() {
        let place = i / per_batch * batch_len + tuples.place(i)?;
        let from = place * x.dtype().size();
        to.copy_from_slice(&x.bytes()[from..from + row]);
    }
    Ok(())
}

/// Takes an update into what is there.
fn combine<T: Number>(reduction: ScatterReduction, old: T, new: T) -> T {
    let (a, b) = (old.load(), new.load());
    T::store(match reduction {
        ScatterReduction::Replace => return new,
        ScatterReduction::Add => a.add(b),
        ScatterReduction::Mul => a.mul(b),
        ScatterReduction::Min => a.min(b),
        ScatterReduction::Max => a.max(b),
    })
}

/// Writes `updates[i]` at the places that `places` gives, in its order.
fn scatter(
    reduction: ScatterReduction,
    updates: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    places: impl FnOnce(&mut dyn FnMut(usize, usize) -> Result<(), EvalError>) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    same_type(updates, out)?;
    let dtype = updates.dtype();
    if reduction == ScatterReduction::Replace || dtype == DType::Bool {
        // Of booleans only "and", "or" and replacing make sense: the smallest, the largest, the last.
        return with_size!(dtype, "scattered data", N => {
            let (src, dst) = (updates.bytes().as_chunks::<N>().0, out.bytes_mut().as_chunks_mut::<N>().0);
            places(&mut |i, place| {
                let (new, slot) = (src[i], &mut dst[place]);
                *slot = match reduction {
                    ScatterReduction::Replace => new,
                    ScatterReduction::Min | ScatterReduction::Mul => new.min(*slot),
                    ScatterReduction::Max | ScatterReduction::Add => new.max(*slot),
                };
                Ok(())
            })
        });
    }
    with_number!(dtype, "scattered data", T => {
        let (src, dst) = (updates.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        places(&mut |i, place| {
            dst[place] = combine(reduction, dst[place], src[i]);
            Ok(())
        })
    })
}

pub(super) fn scatter_elements(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<ScatterElements>(op)?;
    let (x, indices, updates) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let at = axis(op.axis, x.rank())?;
    ensure(
        updates.len() == indices.len(),
        "there should be one update per index",
    )?;
    let mut out = io.output(0)?;
    same_bytes(x, &mut out)?;
    scatter(op.reduction, updates, &mut out, |f| {
        element_places(x.shape(), indices, at, f)
    })
}

pub(super) fn scatter_nd(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<ScatterNd>(op)?;
    let (x, indices, updates) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let tuples = Tuples::new(x.shape(), indices, 0)?;
    let inner = tuples.inner;
    ensure(
        updates.is_empty() || updates.len() == tuples.n.wrapping_mul(inner),
        "the updates' shape should follow from data and indices",
    )?;
    let mut out = io.output(0)?;
    same_bytes(x, &mut out)?;
    if updates.is_empty() {
        return Ok(());
    }
    scatter(op.reduction, updates, &mut out, |f| {
        for i in 0..tuples.n {
            let place = tuples.place(i)?;
            for k in 0..inner {
                f(i * inner + k, place + k)?;
            }
        }
        Ok(())
    })
}

pub(super) fn one_hot(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<OneHot>(op)?;
    let (indices, values) = (io.input(0)?, io.input(2)?);
    let mut out = io.output(0)?;
    same_type(values, &out)?;
    let at = axis(op.axis, out.shape().len())?;
    let [outer, depth, inner] = around(out.shape(), at);
    let size = values.dtype().size();
    ensure(
        values.len() == 2
            && size > 0
            && (out.is_empty() || indices.len() == outer.wrapping_mul(inner)),
        "a one-hot tensor's shape should follow from its indices and depth",
    )?;
    let (off, on) = values.bytes().split_at(size);
    super::movement::fill(&mut out, off)?;
    if out.is_empty() {
        return Ok(());
    }
    let bytes = out.bytes_mut();
    let mut mark = |i: usize, index: i64| {
        // Outside of the depth there is no one.
        if let Ok(k) = position(INDICES, index, depth) {
            let at = ((i / inner * depth + k) * inner + i % inner) * size;
            bytes[at..at + size].copy_from_slice(on);
        }
    };
    if indices.dtype().is_float() {
        return super::element::with_float!(indices.dtype(), INDICES, T => {
            use super::element::Float;
            use crate::arith::Real;
            for (i, &index) in indices.as_slice::<T>()?.iter().enumerate() {
                // A fraction is dropped, as in every cast to an integer.
                mark(i, index.widen().to_f64() as i64);
            }
            Ok(())
        });
    }
    let picked = Indices::of(indices)?;
    (0..indices.len()).for_each(|i| mark(i, picked.get(i)));
    Ok(())
}

/// Is element `i` other than zero? A NaN is, -0 is not.
pub(super) fn is_set(x: TensorRef<'_>, mut f: impl FnMut(usize)) -> Result<(), EvalError> {
    if x.dtype() == DType::Bool {
        for (i, &v) in x.as_slice::<u8>()?.iter().enumerate() {
            if v != 0 {
                f(i);
            }
        }
        return Ok(());
    }
    with_number!(x.dtype(), "a searched tensor", T => {
        for (i, v) in x.as_slice::<T>()?.iter().enumerate() {
            if v.load() != <T as Number>::Wide::ZERO {
                f(i);
            }
        }
        Ok(())
    })
}

pub(super) fn non_zero(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    let mut out = io.output(0)?;
    let rule = "there should be a column for every element that is not zero";
    // A scalar has no axes, so no coordinates to write: whether it is zero shows in the length alone.
    let &[rank, columns] = out.shape() else {
        return Err(EvalError::Shape { what: rule });
    };
    ensure(rank == x.rank(), rule)?;
    let coordinates = out.as_slice_mut::<i64>()?;
    let mut found = 0;
    is_set(x, |mut i| {
        if found < columns {
            for (a, &len) in x.shape().iter().enumerate().rev() {
                coordinates[a * columns + found] = (i % len) as i64;
                i /= len;
            }
        }
        found += 1;
    })?;
    ensure(found == columns, rule)
}

pub(super) fn compress(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<Compress>(op)?;
    let (x, condition) = (io.input(0)?, io.input(1)?);
    let [outer, len, inner] = match op.axis {
        Some(a) => around(x.shape(), axis(a, x.rank())?),
        None => [1, x.len(), 1],
    };
    let mut out = io.output(0)?;
    same_type(x, &out)?;
    let condition = condition.as_slice::<u8>()?;
    let rule = "the condition should not be longer than the axis";
    ensure(condition.len() <= len, rule)?;
    let picked = condition.iter().filter(|&&c| c != 0).count();
    let row = inner * x.dtype().size();
    ensure(
        out.is_empty() || (row > 0 && out.len() == outer * picked * inner),
        "a compressed tensor's shape should follow from its condition",
    )?;
    if out.is_empty() {
        return Ok(());
    }
    let mut rows = out.bytes_mut().chunks_exact_mut(row);
    for o in 0..outer {
        for (i, _) in condition.iter().enumerate().filter(|&(_, &c)| c != 0) {
            let from = (o * len + i) * row;
            if let Some(to) = rows.next() {
                to.copy_from_slice(&x.bytes()[from..from + row]);
            }
        }
    }
    Ok(())
}
