//! Pooling: one reduction per window or plane. The definition is in [`crate::arith`]; see its `pool` functions.

use super::conv::turn;
use super::element::{Float, Number, Wide, with_float, with_int};
use super::io::{Io, concrete, count, ensure};
use super::window::{Axis, Placed, place};
use super::{Dims, EvalError};
use crate::arith::{self, Order, Real, Reduction};
use unisono_graph::Operator;
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_tensor::{TensorMut, TensorRef};

/// Where a tap of a window lies.
#[derive(Clone, Copy)]
struct Tap {
    /// In the input, at this index of the plane.
    index: Option<usize>,
    /// In the input or its padding.
    counted: bool,
}

fn taps(axes: &[Axis], kernel: &[usize], at: &[usize], mut tap: usize) -> Tap {
    let (mut index, mut step, mut counted) = (Some(0), 1, true);
    for ((axis, &k), &o) in axes.iter().zip(kernel).zip(at).rev() {
        let t = tap % k;
        tap /= k;
        let i = (o as i64)
            .wrapping_mul(axis.stride as i64)
            .wrapping_add((t as i64).wrapping_mul(axis.dilation as i64))
            .wrapping_sub(axis.pad_begin);
        counted &= i < (axis.input as i64).saturating_add(axis.pad_end);
        index = match (index, usize::try_from(i)) {
            (Some(at), Ok(i)) if i < axis.input => Some(at + i * step),
            _ => None,
        };
        step *= axis.input;
    }
    Tap { index, counted }
}

/// The order in which positions count: strides of the spatial axes.
fn position(index: usize, axes: &[Axis], column_major: bool) -> usize {
    if !column_major {
        return index;
    }
    let (mut rest, mut at, plane) = (index, 0, axes.iter().map(|a| a.input).product::<usize>());
    let mut step = plane;
    for axis in axes.iter().rev() {
        step /= axis.input.max(1);
        at += rest % axis.input * step;
        rest /= axis.input;
    }
    at
}

pub(super) fn pool(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Pool>(op)?;
    let x = io.input(0)?;
    let (out, rest) = io.split_first()?;
    let rule = "a pooled tensor should have samples, channels and the window's axes";
    ensure(x.rank() >= 2 && out.shape().len() == x.rank(), rule)?;
    let (input, output) = (&x.shape()[2..], &out.shape()[2..]);
    let axes = place(&op.window, input, &op.window.kernel, output)?;
    let planes = count(&x.shape()[..2]);
    ensure(out.len() == planes.wrapping_mul(count(output)), rule)?;
    if out.is_empty() {
        return Ok(());
    }
    ensure(count(&op.window.kernel) > 0, "a window should not be empty")?;
    match op.function {
        PoolFunction::Max {
            column_major_indices,
        } => {
            let indices = rest.first_mut().and_then(Option::as_mut);
            if x.dtype().is_float() {
                with_float!(x.dtype(), "a pooled tensor", T => {
                    let lowest = T::narrow(-<T as Float>::Real::INFINITY);
                    maximum::<T>(x, out, indices, &axes, &op.window.kernel, column_major_indices, lowest)
                })
            } else {
                with_int!(x.dtype(), "a pooled tensor", T => {
                    maximum::<T>(x, out, indices, &axes, &op.window.kernel, column_major_indices, T::MIN)
                })
            }
        }
        function => with_float!(x.dtype(), "a pooled tensor", T => {
            folded::<T>(x, out, &axes, &op.window.kernel, function)
        }),
    }
}

fn maximum<T: Number>(
    x: TensorRef<'_>,
    mut out: TensorMut<'_>,
    indices: Option<&mut TensorMut<'_>>,
    axes: &Placed,
    kernel: &[usize],
    column_major: bool,
    lowest: T,
) -> Result<(), EvalError> {
    let output: Dims = axes.iter().map(|a| a.output).collect();
    let plane: usize = axes.iter().map(|a| a.input).product();
    let x = x.as_slice::<T>()?;
    let out = out.as_slice_mut::<T>()?;
    let mut indices = indices.map(TensorMut::as_slice_mut::<i64>).transpose()?;
    ensure(
        indices.as_ref().is_none_or(|i| i.len() == out.len()),
        "positions should be as many as results",
    )?;
    let mut at = Dims::from_elem(0, output.len());
    let per_plane = count(&output);
    for (o, slot) in out.iter_mut().enumerate() {
        let base = o / per_plane * plane;
        let mut best: Option<(T::Wide, usize)> = None;
        for i in (0..count(kernel)).filter_map(|t| taps(axes, kernel, &at, t).index) {
            let v = x[base + i].load();
            best = Some(match best {
                None => (v, i),
                Some((m, found)) => {
                    // The first of the greatest; the first NaN if there is one. Only NaN is unequal to itself.
                    let nan = |v: T::Wide| v.partial_cmp(&v).is_none();
                    let wins = v > m || (nan(v) && !nan(m));
                    (m.max(v), if wins { i } else { found })
                }
            });
        }
        *slot = best.map_or(lowest, |(m, _)| T::store(m));
        if let Some(indices) = indices.as_deref_mut() {
            let found = best.map_or(0, |(_, i)| position(i, axes, column_major));
            indices[o] = (base + found) as i64;
        }
        turn(&mut at, &output);
    }
    Ok(())
}

fn folded<T: Float>(
    x: TensorRef<'_>,
    mut out: TensorMut<'_>,
    axes: &Placed,
    kernel: &[usize],
    function: PoolFunction,
) -> Result<(), EvalError> {
    let output: Dims = axes.iter().map(|a| a.output).collect();
    let plane: usize = axes.iter().map(|a| a.input).product();
    let (x, out) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
    let mut at = Dims::from_elem(0, output.len());
    let (per_plane, n) = (count(&output), count(kernel));
    for (o, slot) in out.iter_mut().enumerate() {
        let base = o / per_plane * plane;
        let tap = |t| taps(axes, kernel, &at, t);
        // An element in the padding adds nothing but keeps its place.
        let value = |t| tap(t).index.map_or(T::Real::ZERO, |i| x[base + i].widen());
        *slot = T::narrow(match function {
            PoolFunction::Average { count_include_pad } => {
                let counted = |&t: &usize| match tap(t) {
                    tap if count_include_pad => tap.counted,
                    tap => tap.index.is_some(),
                };
                let counted = (0..n).filter(counted).count();
                arith::sum(Order::Slices, n, value) / T::Real::from_count(counted)
            }
            PoolFunction::Lp { p } => norm(p, Order::Slices, n, value),
            // Handled by `maximum`.
            PoolFunction::Max { .. } => arith::maximum(n, value),
        });
        turn(&mut at, &output);
    }
    Ok(())
}

/// The `p`-norm: `p` of 1 and 2 as the reductions of that name, others as `(sum |x|^p)^(1/p)`.
fn norm<R: Real>(p: u32, order: Order, n: usize, value: impl Fn(usize) -> R) -> R {
    match p {
        1 => arith::reduce(Reduction::L1, order, n, value),
        2 => arith::reduce(Reduction::L2, order, n, value),
        p => {
            let exponent = R::from_f64(f64::from(p));
            let total = arith::sum(order, n, |i| value(i).abs().pow(exponent));
            total.pow(R::ONE / exponent)
        }
    }
}

/// One window that is the whole plane, in the order of every pooling.
pub(super) fn global_pool(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<GlobalPool>(op)?;
    let x = io.input(0)?;
    let mut out = io.output(0)?;
    ensure(
        x.rank() >= 2 && out.len() == count(&x.shape()[..2]),
        "a pooled tensor should have samples and channels",
    )?;
    let n = count(&x.shape()[2..]);
    with_float!(x.dtype(), "a pooled tensor", T => {
        let x = x.as_slice::<T>()?;
        for (o, slot) in out.as_slice_mut::<T>()?.iter_mut().enumerate() {
            let value = |i: usize| x[o * n + i].widen();
            *slot = T::narrow(match op.function {
                PoolFunction::Max { .. } => arith::reduce(Reduction::Max, Order::Slices, n, value),
                PoolFunction::Average { .. } => arith::reduce(Reduction::Mean, Order::Slices, n, value),
                PoolFunction::Lp { p } => norm(p, Order::Slices, n, value),
            });
        }
        Ok(())
    })
}
