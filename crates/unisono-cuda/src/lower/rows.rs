//! Softmax, normalisations, reductions, positions of extremes, scans.

use smallvec::SmallVec;
use unisono_cpu::movement::steps;
use unisono_graph::ops::common::resolve_axis;
use unisono_graph::ops::normalize::{
    GroupNormalization, InstanceNormalization, LayerNormalization, RmsNormalization, Softmax,
    SoftmaxFunction,
};
use unisono_graph::ops::reduce::{ArgReduce, Cumulative, CumulativeFunction, Reduce};
use unisono_reference::eval::canonical_reduction;
use unisono_runtime::Error;
use unisono_tensor::{DType, Shape};

use super::{Lower, Lowering};
use crate::kernels::map::{Broadcast, elements};
use crate::kernels::rows::{self as kernels, LayerNorm, Parameters, Rows, Scan};
use crate::launch::Buffer;

/// What this module lowers.
pub(super) const LOWERINGS: &[(&str, Lower)] = &[
    ("ArgReduce", arg_reduce),
    ("Cumulative", cumulative),
    ("GroupNormalization", group_norm),
    ("InstanceNormalization", instance_norm),
    ("LayerNormalization", layer_norm),
    ("Reduce", reduce),
    ("RmsNormalization", rms_norm),
    ("Softmax", softmax),
];

/// What lies before an axis, its length, and what lies behind it.
fn around(shape: &[usize], first: usize, last: usize) -> Option<[usize; 3]> {
    elements(shape)?;
    let product = |part: Option<&[usize]>| Some(part?.iter().product());
    Some([
        product(shape.get(..first))?,
        product(shape.get(first..=last))?,
        product(shape.get(last + 1..))?,
    ])
}

fn softmax(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(&op), Some(shape)) = (cx.op::<Softmax>(), cx.shape(0)) else {
        return Ok(false);
    };
    let logarithm = op.function == SoftmaxFunction::LogSoftmax;
    let axes = op.resolve_axes(shape.len()).unwrap_or_default();
    let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else {
        return Ok(false);
    };
    let lengths = around(&shape, first, last);
    let Some(lengths) = lengths.filter(|_| cx.all_of(DType::F32)) else {
        return Ok(false);
    };
    if op.function == SoftmaxFunction::Hardmax {
        return Ok(false);
    }
    if cx.is_empty() {
        return Ok(true);
    }
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    let [outer, n, _] = lengths;
    // The axes decide about the order: the last ones have lanes, whatever their lengths.
    let launch = if last + 1 == shape.len() {
        let rows = Rows { rows: outer, n };
        kernels::softmax(rows, logarithm, cx.processors, x, y)
    } else {
        kernels::softmax_across(lengths, logarithm, x, y)
    };
    Ok(cx.emit(launch))
}

/// Rows of the trailing axes from `axis` on.
pub(super) fn trailing(shape: &[usize], axis: i64) -> Option<Rows> {
    let axis = resolve_axis(axis, shape.len()).ok()?;
    let [rows, n, _] = around(shape, axis, shape.len().checked_sub(1)?)?;
    Some(Rows { rows, n })
}

/// Which element a parameter gives, if it covers exactly the last axes; it may have leading axes of length 1.
pub(super) fn dense_parameter(shape: &[usize], parameter: Option<Shape>) -> Option<Parameters> {
    let parameter = parameter?;
    let leading = parameter.iter().take_while(|&&n| n == 1).count();
    if parameter.len() > shape.len() || !shape.ends_with(&parameter[leading..]) {
        return None;
    }
    let modulus = elements(&parameter).filter(|&n| n > 0)?;
    Some(Parameters { div: 1, modulus })
}

fn layer_norm(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(&op), Some(shape)) = (cx.op::<LayerNormalization>(), cx.shape(0)) else {
        return Ok(false);
    };
    if cx.is_empty() && cx.all_of(DType::F32) {
        return Ok(true);
    }
    let Some(rows) = trailing(&shape, op.axis) else {
        return Ok(false);
    };
    let scale = dense_parameter(&shape, cx.shape(1));
    let has_bias = cx.input(2).is_some();
    let agrees = !has_bias || dense_parameter(&shape, cx.shape(2)) == scale;
    let Some(parameters) = scale.filter(|_| agrees && cx.all_of(DType::F32)) else {
        return Ok(false);
    };
    let optional = |cx: &Lowering<'_>, index| cx.output(index).and_then(|y| y.buffer);
    let buffers = LayerNorm {
        x: cx.read(0)?,
        scale: cx.read(1)?,
        bias: if has_bias { Some(cx.read(2)?) } else { None },
        y: cx.write(0)?,
        means: optional(cx, 1),
        inverses: optional(cx, 2),
    };
    let launch = kernels::layer_norm(rows, parameters, op.epsilon, cx.processors, buffers);
    Ok(cx.emit(launch))
}

fn rms_norm(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(&op), Some(shape)) = (cx.op::<RmsNormalization>(), cx.shape(0)) else {
        return Ok(false);
    };
    if cx.is_empty() && cx.all_of(DType::F32) {
        return Ok(true);
    }
    let rows = trailing(&shape, op.axis);
    let parameters = dense_parameter(&shape, cx.shape(1)).filter(|_| cx.all_of(DType::F32));
    let (Some(rows), Some(parameters)) = (rows, parameters) else {
        return Ok(false);
    };
    let (x, scale, y) = (cx.read(0)?, cx.read(1)?, cx.write(0)?);
    let launch = kernels::rms_norm(rows, parameters, op.epsilon, cx.processors, [x, scale], y);
    Ok(cx.emit(launch))
}

fn instance_norm(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(epsilon) = cx.op::<InstanceNormalization>().map(|op| op.epsilon) else {
        return Ok(false);
    };
    let channels = cx.shape(0).and_then(|shape| shape.get(1).copied());
    grouped(cx, epsilon, channels.unwrap_or(0), channels.unwrap_or(0))
}

fn group_norm(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(&op) = cx.op::<GroupNormalization>() else {
        return Ok(false);
    };
    let number = usize::try_from(op.groups).unwrap_or(0);
    let channels = cx.shape(0).and_then(|shape| shape.get(1).copied());
    let parameters = if op.per_channel {
        channels.unwrap_or(0)
    } else {
        number
    };
    grouped(cx, op.epsilon, number, parameters)
}

/// Channels divided into `number` groups with common statistics, and into `parameters` parts with a scale and a bias each.
fn grouped(
    cx: &mut Lowering<'_>,
    epsilon: f32,
    number: usize,
    parameters: usize,
) -> Result<bool, Error> {
    let Some(shape) = cx.shape(0).filter(|shape| shape.len() >= 2) else {
        return Ok(false);
    };
    let Some([samples, channels, plane]) = around(&shape, 1, 1) else {
        return Ok(false);
    };
    let divides = |parts: usize| parts > 0 && channels.is_multiple_of(parts);
    let count = |index: usize| cx.shape(index).and_then(|shape| elements(&shape));
    let fits = divides(number)
        && divides(parameters)
        && count(1) == Some(parameters)
        && count(2) == Some(parameters);
    if !fits || !cx.all_of(DType::F32) {
        return Ok(false);
    }
    if cx.is_empty() {
        return Ok(true);
    }
    let rows = Rows {
        rows: samples * number,
        n: channels / number * plane,
    };
    let places = Parameters {
        div: channels / parameters * plane,
        modulus: parameters,
    };
    let buffers = LayerNorm {
        x: cx.read(0)?,
        scale: cx.read(1)?,
        bias: Some(cx.read(2)?),
        y: cx.write(0)?,
        means: None,
        inverses: None,
    };
    let launch = kernels::layer_norm(rows, places, epsilon, cx.processors, buffers);
    Ok(cx.emit(launch))
}

fn reduce(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(x)) = (cx.op::<Reduce>(), cx.input(0)) else {
        return Ok(false);
    };
    let (shape, dtype) = (x.shape.clone(), x.dtype);
    let reduction = canonical_reduction(op.function);
    let listed = match (&op.axes, cx.input(1)) {
        (None, Some(_)) => match cx.integers(1) {
            Some(axes) => Some(axes),
            None => return Ok(false),
        },
        _ => None,
    };
    let Ok(axes) = op.resolve_axes(shape.len(), listed.as_deref()) else {
        return Ok(false);
    };
    if !cx.maps(dtype) || elements(&shape).is_none() {
        return Ok(false);
    }
    let own = steps(&shape);
    // Lengths and steps of the axes that are folded, or kept.
    let part = |folds: bool| {
        let axes = (0..shape.len()).filter(|a| axes.contains(a) == folds);
        let axes: SmallVec<[usize; 8]> = axes.collect();
        let lens: SmallVec<[usize; 8]> = axes.iter().map(|&a| shape[a]).collect();
        let steps: SmallVec<[isize; 8]> = axes.iter().map(|&a| own[a]).collect();
        Broadcast::of_steps(&lens, [&steps])
    };
    let (Some(kept), Some(folded)) = (part(false), part(true)) else {
        return Ok(false);
    };
    // Exactly the last axes: lanes. An axis of length 1 is an axis.
    let is_suffix = axes
        .iter()
        .rev()
        .zip((0..shape.len()).rev())
        .all(|(&a, b)| a == b);
    let rows = Rows {
        rows: kept.elements,
        n: folded.elements,
    };
    let make = |x: Buffer, y: Buffer, processors: u32| {
        if is_suffix && dtype == DType::F32 {
            return kernels::reduce_rows(rows, reduction, processors, x, y);
        }
        kernels::reduce_across(reduction, dtype, &kept, &folded, x, y)
    };
    let nowhere = Buffer::at(crate::launch::Place::Status);
    if make(nowhere, nowhere, cx.processors).is_none() {
        return Ok(false);
    }
    if cx.is_empty() {
        return Ok(true);
    }
    let (x, y, processors) = (cx.read(0)?, cx.write(0)?, cx.processors);
    Ok(cx.emit(make(x, y, processors)))
}

fn arg_reduce(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(&op), Some(shape)) = (cx.op::<ArgReduce>(), cx.shape(0)) else {
        return Ok(false);
    };
    let is_f32 = cx.input(0).is_some_and(|x| x.dtype == DType::F32);
    let Some(axis) = resolve_axis(op.axis, shape.len()).ok().filter(|_| is_f32) else {
        return Ok(false);
    };
    let Some(lengths) = around(&shape, axis, axis).filter(|lengths| !lengths.contains(&0)) else {
        return Ok(false);
    };
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    let launch = kernels::arg_extreme(lengths, op.largest, op.select_last_index, x, y);
    Ok(cx.emit(launch))
}

fn cumulative(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(&op), Some(shape)) = (cx.op::<Cumulative>(), cx.shape(0)) else {
        return Ok(false);
    };
    let axis = match cx.integers(1).as_deref() {
        Some(&[axis]) => resolve_axis(axis, shape.len()).ok(),
        _ => None,
    };
    let lengths = axis.and_then(|axis| around(&shape, axis, axis));
    let Some(lengths) = lengths.filter(|_| cx.maps(DType::F32)) else {
        return Ok(false);
    };
    if cx.is_empty() {
        return Ok(true);
    }
    let scan = Scan {
        product: op.function == CumulativeFunction::Prod,
        exclusive: op.exclusive,
        reverse: op.reverse,
    };
    let launch = kernels::scan(scan, lengths, cx.read(0)?, cx.write(0)?);
    Ok(cx.emit(launch))
}
