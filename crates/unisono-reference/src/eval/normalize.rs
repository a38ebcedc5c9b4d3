//! Softmax and the normalisations. The formulas are those of [`crate::arith`]'s rows, over every stored float type.

use super::EvalError;
use super::element::{Float, with_float};
use super::io::{Io, around, axis, concrete, count, ensure};
use super::reduce::Groups;
use super::walk::broadcast_strides;
use crate::arith::{self, Order, Real, Reduction};
use smallvec::SmallVec;
use unisono_graph::Operator;
use unisono_graph::ops::normalize::{
    BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization,
    LocalResponseNormalization, LpNormalization, MeanVarianceNormalization, RmsNormalization,
    Softmax, SoftmaxFunction,
};
use unisono_tensor::{TensorMut, TensorRef};

pub(super) fn softmax(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<Softmax>(op)?;
    let x = io.input(0)?;
    let mut out = io.output(0)?;
    ensure(x.len() == out.len(), "softmax keeps the shape")?;
    // A scalar is its own only axis; flattening may begin behind the last one.
    let rank = x.rank() as i64;
    let at = if op.flatten && op.axis == rank {
        x.rank()
    } else {
        axis(op.axis, x.rank().max(1))?
    };
    let [outer, mut n, mut inner] = around(x.shape(), at);
    if op.flatten {
        (n, inner) = (n.wrapping_mul(inner), 1);
    }
    if x.is_empty() {
        return Ok(());
    }
    // The axes of the sum are exactly the last ones, or not; an axis of length 1 is an axis.
    let order = if op.flatten || at + 1 >= x.rank() {
        Order::Lanes
    } else {
        Order::Slices
    };
    with_float!(x.dtype(), "softmax's input", T => {
        let (x, y) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        for line in 0..outer * inner {
            let base = line / inner * n * inner + line % inner;
            softmax_line(op.function, order, n, |i| base + i * inner, x, y);
        }
        Ok(())
    })
}

fn softmax_line<T: Float>(
    function: SoftmaxFunction,
    order: Order,
    n: usize,
    at: impl Fn(usize) -> usize,
    x: &[T],
    y: &mut [T],
) {
    let value = |i: usize| x[at(i)].widen();
    let m = arith::maximum(n, value);
    match function {
        SoftmaxFunction::Softmax => {
            // Exponentials are computed twice rather than kept: the output may be too narrow to hold them.
            let scale = T::Real::ONE / arith::sum(order, n, |i| (value(i) - m).exp());
            for i in 0..n {
                y[at(i)] = T::narrow((value(i) - m).exp() * scale);
            }
        }
        SoftmaxFunction::LogSoftmax => {
            let log_sum = arith::sum(order, n, |i| (value(i) - m).exp()).log();
            for i in 0..n {
                y[at(i)] = T::narrow((value(i) - m) - log_sum);
            }
        }
        SoftmaxFunction::Hardmax => {
            let first = (0..n).find(|&i| value(i) == m || (m.is_nan() && value(i).is_nan()));
            for i in 0..n {
                let one = Some(i) == first;
                y[at(i)] = T::narrow(if one { T::Real::ONE } else { T::Real::ZERO });
            }
        }
    }
}

/// A parameter per channel. Its type may differ from the data's (f32 parameters of f16 data).
fn parameter<R: Real>(t: TensorRef<'_>, len: usize) -> Result<impl Fn(usize) -> R, EvalError> {
    ensure(
        t.len() == len,
        "a parameter should have one element per channel",
    )?;
    let read: fn(&[u8], usize) -> f64 = match t.dtype() {
        unisono_tensor::DType::F32 => |b, i| read::<f32, 4>(b, i).into(),
        unisono_tensor::DType::F64 => |b, i| read::<f64, 8>(b, i),
        unisono_tensor::DType::F16 => |b, i| read::<unisono_tensor::f16, 2>(b, i).into(),
        unisono_tensor::DType::BF16 => |b, i| read::<unisono_tensor::bf16, 2>(b, i).into(),
        found => {
            return Err(EvalError::Type {
                what: "a parameter of a normalisation",
                found,
            });
        }
    };
    let bytes = t.bytes();
    // f32 and narrower are exact in f64 and come back exactly.
    Ok(move |i| R::from_f64(read(bytes, i)))
}

fn read<T: bytemuck::Pod + Default, const N: usize>(bytes: &[u8], i: usize) -> T {
    bytes
        .as_chunks::<N>()
        .0
        .get(i)
        .map_or_else(T::default, |c| bytemuck::pod_read_unaligned(c))
}

pub(super) fn batch(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<BatchNormalization>(op)?;
    let x = io.input(0)?;
    let (scale, bias, mean, var) = (io.input(1)?, io.input(2)?, io.input(3)?, io.input(4)?);
    let mut out = io.output(0)?;
    let channels = if x.rank() > 1 { x.shape()[1] } else { 1 };
    let inner = count(x.shape().get(2..).unwrap_or(&[]));
    with_float!(x.dtype(), "a normalised tensor", T => {
        let (x, y) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        ensure(x.len() == y.len(), "normalisation keeps the shape")?;
        if x.is_empty() {
            return Ok(());
        }
        type R = <T as Float>::Real;
        let (scale, bias) = (parameter::<R>(scale, channels)?, parameter::<R>(bias, channels)?);
        let (mean, var) = (parameter::<R>(mean, channels)?, parameter::<R>(var, channels)?);
        for (plane, (x, y)) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)).enumerate() {
            let c = plane % channels;
            let (s, b) = arith::batch_norm_factors(scale(c), bias(c), mean(c), var(c), op.epsilon);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = T::narrow(x.widen().fma(s, b));
            }
        }
        Ok(())
    })
}

/// Mean and `1 / sqrt(variance + epsilon)` of a dense row, as [`arith::moments`] has them.
fn moments<T: Float>(x: &[T], epsilon: f32) -> (T::Real, T::Real) {
    let n = T::Real::from_count(x.len());
    let mean = arith::sum(Order::Lanes, x.len(), |i| x[i].widen()) / n;
    let squares = arith::sum_squares(Order::Lanes, x.len(), |i| x[i].widen() - mean);
    let r = T::Real::ONE / (squares / n + T::Real::from_f32(epsilon)).sqrt();
    (mean, r)
}

/// How a parameter that stretches to `x` is read: its element for every element of `x`.
fn stretched(x: &[usize], parameter: TensorRef<'_>) -> Result<impl Fn(usize) -> usize, EvalError> {
    let steps = broadcast_strides(parameter.shape(), x)?;
    let shape: super::Dims = x.into();
    // The parameter covers exactly the last axes: the usual case.
    let dense = x.ends_with(parameter.shape());
    let len = parameter.len();
    Ok(move |mut i: usize| {
        if dense {
            return i % len;
        }
        let mut at = 0;
        for (&len, &step) in shape.iter().zip(&steps).rev() {
            at += i % len * step as usize;
            i /= len;
        }
        at
    })
}

pub(super) fn layer(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<LayerNormalization>(op)?;
    let (x, scale, bias) = (io.input(0)?, io.input(1)?, io.optional(2));
    let at = axis(op.axis, x.rank())?;
    let n = count(&x.shape()[at..]);
    let (mut out, rest) = io.split_first()?;
    ensure(x.len() == out.len(), "normalisation keeps the shape")?;
    if x.is_empty() {
        return Ok(());
    }
    let scale_at = stretched(x.shape(), scale)?;
    let bias_at = bias.map(|b| stretched(x.shape(), b)).transpose()?;
    let (mean_out, rest) = match rest {
        [mean, rest @ ..] => (mean.as_mut(), rest),
        [] => (None, rest),
    };
    let mut statistics = [mean_out, rest.first_mut().and_then(Option::as_mut)];
    with_float!(x.dtype(), "a normalised tensor", T => {
        let (x, scale) = (x.as_slice::<T>()?, scale.as_slice::<T>()?);
        let bias = bias.map(|b| b.as_slice::<T>()).transpose()?;
        let rows = x.chunks_exact(n).zip(out.as_slice_mut::<T>()?.chunks_exact_mut(n));
        for (row, (x, y)) in rows.enumerate() {
            let (mean, r) = moments(x, op.epsilon);
            for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                let normal = (x.widen() - mean) * r;
                let s = scale[scale_at(row * n + i)].widen();
                *y = T::narrow(match (bias, &bias_at) {
                    (Some(bias), Some(at)) => normal.fma(s, bias[at(row * n + i)].widen()),
                    _ => normal * s,
                });
            }
            for (slot, value) in statistics.iter_mut().zip([mean, r]) {
                if let Some(out) = slot {
                    store(out, row, value)?;
                }
            }
        }
        Ok(())
    })
}

/// Writes one element of an output whose float type may differ from that of the computation.
fn store<R: Real>(out: &mut TensorMut<'_>, i: usize, value: R) -> Result<(), EvalError> {
    with_float!(out.dtype(), "a statistic of a normalisation", T => {
        let slot = out.as_slice_mut::<T>()?.get_mut(i);
        let slot = slot.ok_or(EvalError::Shape { what: "there should be one statistic per row" })?;
        *slot = T::narrow(Real::from_f64(value.to_f64()));
        Ok(())
    })
}

pub(super) fn rms(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<RmsNormalization>(op)?;
    let (x, scale) = (io.input(0)?, io.input(1)?);
    let at = axis(op.axis, x.rank())?;
    let n = count(&x.shape()[at..]);
    let mut out = io.output(0)?;
    ensure(x.len() == out.len(), "normalisation keeps the shape")?;
    if x.is_empty() {
        return Ok(());
    }
    let scale_at = stretched(x.shape(), scale)?;
    with_float!(x.dtype(), "a normalised tensor", T => {
        type R = <T as Float>::Real;
        let x = x.as_slice::<T>()?;
        let scale = parameter::<R>(scale, scale.len())?;
        let rows = x.chunks_exact(n).zip(out.as_slice_mut::<T>()?.chunks_exact_mut(n));
        for (row, (x, y)) in rows.enumerate() {
            let squares = arith::sum_squares(Order::Lanes, n, |i| x[i].widen()) / R::from_count(n);
            let r = R::ONE / (squares + R::from_f32(op.epsilon)).sqrt();
            for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                *y = T::narrow((x.widen() * r) * scale(scale_at(row * n + i)));
            }
        }
        Ok(())
    })
}

pub(super) fn instance(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<InstanceNormalization>(op)?;
    let (x, scale, bias) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let channels = x.shape().get(1).copied().unwrap_or(0);
    groups(
        x,
        io.output(0)?,
        scale,
        bias,
        op.epsilon,
        channels,
        channels,
    )
}

pub(super) fn group(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<GroupNormalization>(op)?;
    let (x, scale, bias) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let channels = x.shape().get(1).copied().unwrap_or(0);
    let number = usize::try_from(op.groups).unwrap_or(0);
    ensure(
        number > 0 && channels.is_multiple_of(number),
        "the channels should be a multiple of the groups",
    )?;
    let parameters = if op.per_channel { channels } else { number };
    groups(
        x,
        io.output(0)?,
        scale,
        bias,
        op.epsilon,
        number,
        parameters,
    )
}

/// Channels are divided into `number` groups with common statistics, and into `parameters` parts with a scale and bias each.
fn groups(
    x: TensorRef<'_>,
    mut out: TensorMut<'_>,
    scale: TensorRef<'_>,
    bias: TensorRef<'_>,
    epsilon: f32,
    number: usize,
    parameters: usize,
) -> Result<(), EvalError> {
    ensure(
        x.rank() >= 2 && x.len() == out.len(),
        "normalisation keeps the shape, which has samples and channels",
    )?;
    if x.is_empty() {
        return Ok(());
    }
    let channels = x.shape()[1];
    let n = x.len() / x.shape()[0] / number;
    let plane = x.len() / x.shape()[0] / channels;
    with_float!(x.dtype(), "a normalised tensor", T => {
        type R = <T as Float>::Real;
        let x = x.as_slice::<T>()?;
        let (scale, bias) = (parameter::<R>(scale, parameters)?, parameter::<R>(bias, parameters)?);
        let rows = x.chunks_exact(n).zip(out.as_slice_mut::<T>()?.chunks_exact_mut(n));
        for (row, (x, y)) in rows.enumerate() {
            let (mean, r) = moments(x, epsilon);
            let first_channel = row % number * (channels / number);
            for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                let part = (first_channel + i / plane) * parameters / channels;
                *y = T::narrow(((x.widen() - mean) * r).fma(scale(part), bias(part)));
            }
        }
        Ok(())
    })
}

/// `x / norm` along an axis, 0 where the norm is 0.
pub(super) fn lp(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<LpNormalization>(op)?;
    let x = io.input(0)?;
    let at = axis(op.axis, x.rank())?;
    let mut out = io.output(0)?;
    ensure(x.len() == out.len(), "normalisation keeps the shape")?;
    let groups = Groups::new(x.shape(), |a| a == at);
    let reduction = if op.p == 1 {
        Reduction::L1
    } else {
        Reduction::L2
    };
    if x.is_empty() {
        return Ok(());
    }
    with_float!(x.dtype(), "a normalised tensor", T => {
        let (x, y) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        for o in 0..x.len() / groups.n {
            let base = groups.base(o);
            let place = |i| base + groups.offset(i);
            let norm = arith::reduce(reduction, groups.order, groups.n, |i| x[place(i)].widen());
            for i in 0..groups.n {
                let zero = <T as Float>::Real::ZERO;
                y[place(i)] = T::narrow(if norm == zero { zero } else { x[place(i)].widen() / norm });
            }
        }
        Ok(())
    })
}

/// `d / (sqrt(variance) + 1e-9)` with `d = x - mean`, both over the operator's axes in their order.
pub(super) fn mean_variance(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<MeanVarianceNormalization>(op)?;
    let x = io.input(0)?;
    let mut folds: SmallVec<[bool; 8]> = SmallVec::from_elem(false, x.rank());
    for &a in &op.axes {
        folds[axis(a, x.rank())?] = true;
    }
    let groups = Groups::new(x.shape(), |a| folds[a]);
    let mut out = io.output(0)?;
    ensure(x.len() == out.len(), "normalisation keeps the shape")?;
    if x.is_empty() {
        return Ok(());
    }
    with_float!(x.dtype(), "a normalised tensor", T => {
        type R = <T as Float>::Real;
        let (x, y) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        let n = R::from_count(groups.n);
        for o in 0..x.len() / groups.n {
            let base = groups.base(o);
            let place = |i| base + groups.offset(i);
            let value = |i| x[place(i)].widen();
            let mean = arith::sum(groups.order, groups.n, value) / n;
            let squares = arith::sum_squares(groups.order, groups.n, |i| value(i) - mean);
            let deviation = (squares / n).sqrt() + R::from_f64(1e-9);
            for i in 0..groups.n {
                y[place(i)] = T::narrow((value(i) - mean) / deviation);
            }
        }
        Ok(())
    })
}

/// `x / (bias + (alpha / size) * s)^beta`, the product and sum fused; `s` sums the squares of neighbouring channels in one chain.
pub(super) fn local_response(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<LocalResponseNormalization>(op)?;
    let x = io.input(0)?;
    let mut out = io.output(0)?;
    ensure(
        x.rank() >= 2 && x.len() == out.len() && op.size > 0,
        "normalisation keeps the shape, which has samples and channels",
    )?;
    if x.is_empty() {
        return Ok(());
    }
    let [_, channels, plane] = around(x.shape(), 1);
    let (below, above) = ((op.size - 1) / 2, op.size / 2);
    with_float!(x.dtype(), "a normalised tensor", T => {
        type R = <T as Float>::Real;
        let (x, y) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
        let factor = R::from_f32(op.alpha) / R::from_count(op.size);
        for (i, slot) in y.iter_mut().enumerate() {
            let c = i / plane % channels;
            let first = c - c.min(below);
            let last = c.saturating_add(above).min(channels - 1);
            let start = i - (c - first) * plane;
            let squares = arith::sum_squares(Order::Slices, last - first + 1, |k| x[start + k * plane].widen());
            let base = factor.fma(squares, R::from_f32(op.bias));
            *slot = T::narrow(x[i].widen() / base.pow(R::from_f32(op.beta)));
        }
        Ok(())
    })
}
