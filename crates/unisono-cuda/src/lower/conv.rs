//! `Conv` and `ConvTranspose` over one or two spatial axes, as launches.

use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::window::WindowAxis;
use unisono_reference::arith::ConvShape;
use unisono_reference::eval::canonical_activation;
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::Lowering;
use crate::kernels::conv::{self, Convolution, Weights};
use crate::kernels::functions::{self, Function};
use crate::kernels::gemm::Finish;

/// Lowers a convolution of `f32`.
pub fn conv(lowering: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some((op, [x, w])) = lowering.op::<Conv>().cloned().zip(spatial(lowering)) else {
        return Ok(false);
    };
    let Ok(axes) = op.window.place(&x, &w) else {
        return Ok(false);
    };
    lower(lowering, false, op.groups, &axes, op.activation)
}

/// Lowers a transposed convolution of `f32`.
pub fn conv_transpose(lowering: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some((op, [x, w])) = lowering
        .op::<ConvTranspose>()
        .cloned()
        .zip(spatial(lowering))
    else {
        return Ok(false);
    };
    // A padding that follows from a wanted output shape may be negative, which `place` refuses.
    let Ok(axes) = op.place(&x, &w) else {
        return Ok(false);
    };
    lower(lowering, true, op.groups, &axes, op.activation)
}

/// The spatial lengths of the input and of the kernel.
fn spatial(lowering: &Lowering<'_>) -> Option<[Vec<usize>; 2]> {
    let lengths = |index: usize| Some(lowering.input(index)?.shape.get(2..)?.to_vec());
    Some([lengths(0)?, lengths(1)?])
}

/// What both have in common.
fn lower(
    lowering: &mut Lowering<'_>,
    transposed: bool,
    groups: usize,
    axes: &[WindowAxis],
    activation: Option<Activation>,
) -> Result<bool, Error> {
    let (Some(x), Some(w), Some(y)) = (lowering.input(0), lowering.input(1), lowering.output(0))
    else {
        return Ok(false);
    };
    let function = match activation.map(canonical_activation) {
        None => Some(Function::IDENTITY),
        Some(activation) => activation.and_then(functions::activation),
    };
    let operands = [Some(x), Some(w), Some(y), lowering.input(2)];
    let all_f32 = operands
        .into_iter()
        .flatten()
        .all(|o| o.dtype == DType::F32);
    let (Some(function), Some(to), true, 1..=2) = (function, y.buffer, all_f32, axes.len()) else {
        return Ok(false);
    };
    let (&[batch, in_channels, ..], &[_, out_channels, ..]) = (&x.shape[..], &y.shape[..]) else {
        return Ok(false);
    };
    if y.shape.contains(&0) {
        return Ok(true);
    }
    let lengths = |pick: fn(&WindowAxis) -> usize, neutral: usize| {
        let values: Vec<usize> = axes.iter().map(pick).collect();
        ConvShape::from_spatial(&values, neutral)
    };
    let shape = ConvShape {
        batch,
        in_channels,
        out_channels,
        groups,
        input: lengths(|a| a.input, 1),
        output: lengths(|a| a.output, 1),
        kernel: lengths(|a| a.kernel, 1),
        strides: lengths(|a| a.stride, 1),
        dilations: lengths(|a| a.dilation, 1),
        pads: lengths(|a| a.pad_begin, 0),
    };
    let (weights, value) = (w.constant.clone(), w.value);
    let expected = [batch, out_channels]
        .into_iter()
        .chain(axes.iter().map(|a| a.output));
    let per_group = in_channels.checked_div(groups).unwrap_or(0);
    let kernel: usize = shape.kernel.iter().product();
    let terms = w.shape.iter().product::<usize>();
    if !y.shape.iter().copied().eq(expected) || terms != per_group * out_channels * kernel {
        return Ok(false);
    }
    let has_bias = lowering.input(2).is_some();
    // How a transposed convolution's weights are packed depends on the groups, and a constant has one form per key.
    let one_form = !transposed || groups == 1;
    let packed = weights.filter(|_| one_form && conv::wants_packed(&shape));
    let Some(from) = lowering.buffer(0)? else {
        return Ok(false);
    };
    let bias = if has_bias { lowering.buffer(2)? } else { None };
    if has_bias != bias.is_some() {
        return Ok(false);
    }
    let mut launch = Convolution {
        shape,
        transposed,
        x: from,
        // Stands in until the launch is known to be possible.
        weights: if packed.is_some() {
            Weights::Packed(from)
        } else {
            Weights::Plain(from)
        },
        bias,
        y: to,
        finish: Finish {
            alpha: 1.0,
            beta: 1.0,
            function,
        },
    };
    let (processors, limit) = (lowering.processors, lowering.site.shared_limit());
    if conv::launch(&launch, processors, limit).is_none() {
        return Ok(false);
    }
    launch.weights = match packed {
        Some(tensor) => {
            let make =
                &mut || Ok(tensor.read_once(|data: &[f32]| conv::pack(&shape, transposed, data))?);
            let key = if transposed {
                "rows of a transposed convolution"
            } else {
                "rows of a convolution"
            };
            Weights::Packed(lowering.site.constant(value, key, make)?)
        }
        None => match lowering.buffer(1)? {
            Some(buffer) => Weights::Plain(buffer),
            None => return Ok(false),
        },
    };
    match conv::launch(&launch, processors, limit) {
        Some(launch) => {
            lowering.launches.push(launch);
            Ok(true)
        }
        None => Ok(false),
    }
}
