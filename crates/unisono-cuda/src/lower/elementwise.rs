//! Functions of one and more values per element, comparisons, selection, conversions, batch normalisation.

use unisono_graph::ops::activation::Activate;
use unisono_graph::ops::binary::{
    Binary, BinaryFunction, Compare, Comparison, Variadic, VariadicFunction,
};
use unisono_graph::ops::normalize::BatchNormalization;
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_reference::arith;
use unisono_reference::eval::{canonical_activation, canonical_unary};
use unisono_runtime::Error;
use unisono_tensor::{DType, Tensor};

use super::{Lower, Lowering};
use crate::kernels::elementwise::{self as kernels, Binary as Code};
use crate::kernels::functions;
use crate::kernels::map::{Broadcast, elements};
use crate::launch::Buffer;

/// What this module lowers.
pub(super) const LOWERINGS: &[(&str, Lower)] = &[
    ("Activation", unary),
    ("BatchNormalization", batch_norm),
    ("Binary", binary),
    ("Cast", cast),
    ("CastLike", cast),
    ("Clip", clip),
    ("Compare", compare),
    ("Unary", unary),
    ("Variadic", variadic),
    ("Where", select),
];

fn unary(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let negates = |op: &Unary| op.function == UnaryFunction::Not;
    let is_not = cx.op::<Unary>().is_some_and(negates);
    let function = match (cx.op::<Unary>(), cx.op::<Activate>()) {
        (Some(op), _) => canonical_unary(op.function),
        (_, Some(op)) => canonical_activation(op.function),
        _ => None,
    };
    let function = function.filter(|_| cx.maps(DType::F32));
    let Some(n) = cx.output_shape(0).and_then(|shape| elements(&shape)) else {
        return Ok(false);
    };
    if !is_not && function.is_none() {
        return Ok(false);
    }
    if n == 0 {
        return Ok(true);
    }
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    let launch = match function {
        Some(function) => kernels::unary(functions::of(function), x, y, n),
        None => kernels::not(x, y, n),
    };
    Ok(cx.emit(launch))
}

/// The function behind an operator; `None` for those that have no kernel.
fn code(function: BinaryFunction) -> Option<Code> {
    Some(match function {
        BinaryFunction::Add => Code::Add,
        BinaryFunction::Sub => Code::Sub,
        BinaryFunction::Mul => Code::Mul,
        BinaryFunction::Div => Code::Div,
        BinaryFunction::Pow => Code::Pow,
        BinaryFunction::Mod => Code::Mod,
        BinaryFunction::Fmod => Code::Fmod,
        BinaryFunction::PRelu => Code::PRelu,
        BinaryFunction::And | BinaryFunction::BitwiseAnd => Code::And,
        BinaryFunction::Or | BinaryFunction::BitwiseOr => Code::Or,
        BinaryFunction::Xor | BinaryFunction::BitwiseXor => Code::Xor,
        BinaryFunction::ShiftLeft | BinaryFunction::ShiftRight => return None,
    })
}

/// How the first inputs are stretched to the first output.
fn broadcast<const N: usize>(cx: &Lowering<'_>) -> Option<Broadcast<N>> {
    let shapes: Option<Vec<_>> = (0..N).map(|index| cx.shape(index)).collect();
    let shapes = shapes?;
    Broadcast::new(
        &cx.output_shape(0)?,
        std::array::from_fn(|k| shapes[k].as_slice()),
    )
}

fn binary(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(code) = cx.op::<Binary>().and_then(|op| code(op.function)) else {
        return Ok(false);
    };
    let (Some(a), Some(b), Some(broadcast)) = (cx.input(0), cx.input(1), broadcast::<2>(cx)) else {
        return Ok(false);
    };
    let dtype = a.dtype;
    let exponent = match (b.dtype == dtype, code, dtype) {
        (true, ..) => None,
        // An exponent of another type is converted here, if it is a constant.
        (false, Code::Pow, DType::F32) => match b.constant.as_ref().and_then(as_f32) {
            Some(values) => Some((b.value, values)),
            None => return Ok(false),
        },
        _ => return Ok(false),
    };
    if cx.output(0).is_none_or(|y| y.dtype != dtype) || !serves(code, dtype, &broadcast) {
        return Ok(false);
    }
    if broadcast.elements == 0 {
        return Ok(true);
    }
    let b = match exponent {
        None => cx.read(1)?,
        Some((value, values)) => {
            let make = &mut || Ok(bytemuck::cast_slice(&values).to_vec());
            cx.site.constant(value, "as f32", make)?
        }
    };
    let (a, y) = (cx.read(0)?, cx.write(0)?);
    let launch = kernels::binary(code, dtype, [a, b], y, &broadcast);
    Ok(cx.emit(launch))
}

/// Has the function a kernel for the type? Places do not matter for that.
fn serves(code: Code, dtype: DType, broadcast: &Broadcast<2>) -> bool {
    let nowhere = Buffer::at(crate::launch::Place::Status);
    kernels::binary(code, dtype, [nowhere; 2], nowhere, broadcast).is_some()
}

/// Numbers rounded to f32 once; `None` for what f64 does not hold either.
fn as_f32(tensor: &Tensor) -> Option<Vec<f32>> {
    let values = match tensor.to_f64s() {
        Some(values) => values,
        None => tensor.to_i64s()?.iter().map(|&n| n as f64).collect(),
    };
    Some(values.iter().map(|&x| x as f32).collect())
}

fn variadic(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(function) = cx.op::<Variadic>().map(|op| op.function) else {
        return Ok(false);
    };
    let code = match function {
        VariadicFunction::Min => Code::Min,
        VariadicFunction::Max => Code::Max,
        VariadicFunction::Sum | VariadicFunction::Mean => Code::Add,
    };
    let (Some(out), Some(dtype)) = (cx.output_shape(0), cx.input(0).map(|a| a.dtype)) else {
        return Ok(false);
    };
    let count = cx.inputs.iter().flatten().count();
    let is_mean = function == VariadicFunction::Mean;
    // A mean of integers divides as integers do; none is known to need it.
    if count != cx.inputs.len() || !cx.all_of(dtype) || (is_mean && dtype != DType::F32) {
        return Ok(false);
    }
    // The first two meet, then the result and each of the others: the order of the definition.
    let mut steps = Vec::new();
    for index in 1..count.max(2) {
        let first = if index == 1 {
            cx.shape(0)
        } else {
            Some(out.clone())
        };
        let second = if count == 1 {
            Some(out.clone())
        } else {
            cx.shape(index)
        };
        let (Some(a), Some(b)) = (first, second) else {
            return Ok(false);
        };
        match Broadcast::new(&out, [&a, &b]).filter(|b| serves(code, dtype, b)) {
            Some(broadcast) => steps.push(broadcast),
            None => return Ok(false),
        }
    }
    let Some(divide) = Broadcast::new(&out, [&out, &[]]) else {
        return Ok(false);
    };
    if divide.elements == 0 {
        return Ok(true);
    }
    let y = cx.write(0)?;
    if count == 1 {
        // The value itself, for a mean divided by one.
        let x = cx.read(0)?;
        let shape = [divide.elements];
        let dense = super::operands::Dense::new(&shape);
        let launch = dense.and_then(|dense| {
            let size = dtype.size();
            crate::kernels::movement::copy(size, &shape, (x, dense.side()), (y, dense.side()))
        });
        return Ok(cx.emit(launch.flatten()));
    }
    for (index, broadcast) in steps.iter().enumerate() {
        let a = if index == 0 { cx.read(0)? } else { y };
        let b = cx.read(index + 1)?;
        let launch = kernels::binary(code, dtype, [a, b], y, broadcast);
        cx.emit(launch);
    }
    if is_mean {
        let divisor = cx.site.table((count as f32).to_le_bytes().to_vec())?;
        let launch = kernels::binary(Code::Div, dtype, [y, divisor], y, &divide);
        cx.emit(launch);
    }
    Ok(true)
}

fn clip(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(out), Some(dtype)) = (cx.output_shape(0), cx.input(0).map(|x| x.dtype)) else {
        return Ok(false);
    };
    // A bound that is there but empty is none.
    let bound = |index: usize| cx.input(index).filter(|b| !b.shape.contains(&0));
    let single = |index: usize| bound(index).is_none_or(|b| b.shape.iter().all(|&n| n == 1));
    let bounds = [bound(1).is_some(), bound(2).is_some()];
    let Some(broadcast) = Broadcast::new(&out, [&out, &[]]) else {
        return Ok(false);
    };
    let served = serves(Code::Max, dtype, &broadcast) && bounds.contains(&true);
    if !served || !cx.all_of(dtype) || !single(1) || !single(2) {
        return Ok(false);
    }
    if broadcast.elements == 0 {
        return Ok(true);
    }
    let y = cx.write(0)?;
    let mut x = cx.read(0)?;
    for (index, code) in [(1, Code::Max), (2, Code::Min)] {
        if bounds[index - 1] {
            let bound = cx.read(index)?;
            let launch = kernels::binary(code, dtype, [x, bound], y, &broadcast);
            cx.emit(launch);
            x = y;
        }
    }
    Ok(true)
}

fn compare(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(comparison) = cx.op::<Compare>().map(|op| match op.comparison {
        Comparison::Equal => kernels::Comparison::Equal,
        Comparison::Less => kernels::Comparison::Less,
        Comparison::LessOrEqual => kernels::Comparison::LessOrEqual,
        Comparison::Greater => kernels::Comparison::Greater,
        Comparison::GreaterOrEqual => kernels::Comparison::GreaterOrEqual,
    }) else {
        return Ok(false);
    };
    let (Some(a), Some(b), Some(broadcast)) = (cx.input(0), cx.input(1), broadcast::<2>(cx)) else {
        return Ok(false);
    };
    let dtype = a.dtype;
    let types = [DType::F32, DType::I64, DType::I32, DType::U8, DType::Bool];
    if b.dtype != dtype || !types.contains(&dtype) {
        return Ok(false);
    }
    if broadcast.elements == 0 {
        return Ok(true);
    }
    let (a, b, y) = (cx.read(0)?, cx.read(1)?, cx.write(0)?);
    let launch = kernels::compare(comparison, dtype, [a, b], y, &broadcast);
    Ok(cx.emit(launch))
}

fn select(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(broadcast), Some(dtype)) = (broadcast::<3>(cx), cx.output(0).map(|y| y.dtype)) else {
        return Ok(false);
    };
    let same = |index| cx.input(index).is_some_and(|x| x.dtype == dtype);
    let is_condition = cx.input(0).is_some_and(|c| c.dtype == DType::Bool);
    if !is_condition || !same(1) || !same(2) || !matches!(dtype.size(), 1 | 2 | 4 | 8) {
        return Ok(false);
    }
    if broadcast.elements == 0 {
        return Ok(true);
    }
    let operands = [cx.read(0)?, cx.read(1)?, cx.read(2)?];
    let launch = kernels::select(dtype.size(), operands, cx.write(0)?, &broadcast);
    Ok(cx.emit(launch))
}

fn cast(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(x), Some(y)) = (cx.input(0), cx.output(0)) else {
        return Ok(false);
    };
    let (from, to) = (x.dtype, y.dtype);
    if from == to {
        return super::movement::view(cx);
    }
    let nowhere = Buffer::at(crate::launch::Place::Status);
    let served = |&n: &usize| kernels::cast(from, to, nowhere, nowhere, n).is_some();
    let Some(n) = elements(&y.shape).filter(served) else {
        return Ok(false);
    };
    if n == 0 {
        return Ok(true);
    }
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    let launch = kernels::cast(from, to, x, y, n);
    Ok(cx.emit(launch))
}

fn batch_norm(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(x)) = (cx.op::<BatchNormalization>(), cx.input(0)) else {
        return Ok(false);
    };
    let (epsilon, shape) = (op.epsilon, x.shape.clone());
    if !cx.all_of(DType::F32) || shape.len() < 2 {
        return Ok(false);
    }
    let channels = shape[1];
    let parameter = |index: usize| -> Option<Vec<f32>> {
        let constant = cx.input(index)?.constant.as_ref()?.to_aligned().ok()?;
        let values = constant.as_slice::<f32>().ok()?.to_vec();
        (values.len() == channels).then_some(values)
    };
    let parameters = [1, 2, 3, 4].map(parameter);
    let [Some(scale), Some(bias), Some(mean), Some(var)] = &parameters else {
        return Ok(false);
    };
    let mut by_channel = vec![1; shape.len() - 1];
    by_channel[0] = channels;
    let Some(broadcast) = Broadcast::new(&shape, [&by_channel]) else {
        return Ok(false);
    };
    if broadcast.elements == 0 {
        return Ok(true);
    }
    let factors = (0..channels)
        .map(|c| arith::batch_norm_factors(scale[c], bias[c], mean[c], var[c], epsilon));
    let (factors, summands): (Vec<f32>, Vec<f32>) = factors.unzip();
    // Two nodes may share some of their parameters and not others, so these belong to the program and have no key.
    let factors = cx.site.table(bytemuck::cast_slice(&factors).to_vec())?;
    let summands = cx.site.table(bytemuck::cast_slice(&summands).to_vec())?;
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    let launch = kernels::scale_shift(x, [factors, summands], y, &broadcast);
    Ok(cx.emit(launch))
}
