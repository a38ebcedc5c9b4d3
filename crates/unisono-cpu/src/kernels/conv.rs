//! Convolutions of `f32` with constant weights: `Conv` and `ConvTranspose` over one to three spatial axes.
//!
//! The weights are packed once per model and convolution; variable weights, other types and exotic geometries are left
//! to the reference.

use std::sync::Arc;

use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::window::WindowAxis;
use unisono_reference::arith::{ConvShape, Unary};
use unisono_reference::eval::canonical_activation;
use unisono_runtime::Error;
use unisono_tensor::{DType, Shape, Tensor, TensorMut, TensorRef};

use crate::conv::last::{LastConv, LastWeights};
use crate::conv::{ConvEpilogue, ConvKind, ConvWeights, conv, conv_scratch};
use crate::exec::kernel::{Access, Build, Context, Kernel, ending_in_words, failed};
use crate::gemm::Cores;
use crate::kernels::operands::{operand, result};

/// Positions within a channel are computed with 32 bits.
const LARGEST_PLANE: usize = 1 << 30;

/// Where [`LastKernel`] has what is added to its sums.
const RESIDUAL: usize = 3;

struct LastKernel {
    conv: Arc<LastConv>,
    activation: Option<Unary>,
    has_bias: bool,
    /// Whether input [`RESIDUAL`] is added to the sums.
    has_sum: bool,
    scratch: usize,
}

struct ConvKernel {
    shape: ConvShape,
    weights: Arc<ConvWeights>,
    activation: Option<Unary>,
    has_bias: bool,
    scratch: usize,
}

/// Builds a convolution.
pub fn build_conv(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Conv>() else {
        return Ok(None);
    };
    let (x, w) = (as_in_the_model(build, build.shape(0)), build.shape(1));
    let (Some(x), Some(w)) = (x.get(2..), w.get(2..)) else {
        return Ok(None);
    };
    let axes = op.window.place(x, w).map_err(|e| failed(e.to_string()))?;
    dense(
        build,
        false,
        op.groups,
        &axes,
        op.activation.map(canonical_activation),
    )
}

/// Builds a transposed convolution.
pub fn build_conv_transpose(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<ConvTranspose>() else {
        return Ok(None);
    };
    let (x, w) = (as_in_the_model(build, build.shape(0)), build.shape(1));
    let (Some(x), Some(w)) = (x.get(2..), w.get(2..)) else {
        return Ok(None);
    };
    // A padding that follows from a wanted output shape may be negative, which `place` refuses.
    let Ok(axes) = op.place(x, w) else {
        return Ok(None);
    };
    dense(
        build,
        true,
        op.groups,
        &axes,
        op.activation.map(canonical_activation),
    )
}

/// A shape as N x C x spatial, whatever form the value has.
fn as_in_the_model(build: &Build<'_>, shape: &[usize]) -> Shape {
    let mut shape = Shape::from_slice(shape);
    if build.channels_last && shape.len() > 1 {
        shape[1..].rotate_right(1);
    }
    shape
}

/// What both have in common. `activation` is `Some(None)` for one that has no canonical function.
fn dense(
    build: &Build<'_>,
    transposed: bool,
    groups: usize,
    axes: &[WindowAxis],
    activation: Option<Option<Unary>>,
) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(weights) = build.input(1) else {
        return Ok(None);
    };
    let Some(tensor) = &weights.constant else {
        return Ok(None);
    };
    let activation = match activation {
        Some(None) => return Ok(None),
        Some(Some(unary)) => Some(unary),
        None => None,
    };
    let x = as_in_the_model(build, build.shape(0));
    let y = as_in_the_model(build, build.output_shape(0));
    if !build.all_of(DType::F32) || axes.is_empty() || axes.len() > 3 || x.len() != axes.len() + 2 {
        return Ok(None);
    }
    let spatial = |pick: fn(&WindowAxis) -> usize, neutral: usize| {
        let values: Vec<usize> = axes.iter().map(pick).collect();
        ConvShape::from_spatial(&values, neutral)
    };
    let shape = ConvShape {
        batch: x[0],
        in_channels: x[1],
        out_channels: y.get(1).copied().unwrap_or(0),
        groups,
        input: spatial(|a| a.input, 1),
        output: spatial(|a| a.output, 1),
        kernel: spatial(|a| a.kernel, 1),
        strides: spatial(|a| a.stride, 1),
        dilations: spatial(|a| a.dilation, 1),
        pads: spatial(|a| a.pad_begin, 0),
    };
    let kind = ConvKind::of(&shape, transposed);
    if !fits(&shape, tensor.len()) {
        return Ok(None);
    }
    if build.channels_last {
        return last(build, &shape, kind, weights.value, tensor, activation);
    }
    let pack = || {
        let packed = tensor.read_once(|data| ConvWeights::pack(build.isa(), kind, data))??;
        let bytes = packed.bytes();
        Ok((packed, bytes))
    };
    let packed = build.store.packed(weights.value, tag(&kind), pack)?;
    if *packed.kind() != kind {
        // Two nodes share weights under different geometries whose tags collide; rare enough for the slow road.
        return Ok(None);
    }
    let scratch = build.scratch(|cores| conv_scratch(cores, &shape, &packed));
    Ok(Some(Box::new(ConvKernel {
        shape,
        weights: packed,
        activation,
        has_bias: build.input(2).is_some(),
        scratch,
    })))
}

/// The same for values that have their channels last.
fn last(
    build: &Build<'_>,
    shape: &ConvShape,
    kind: ConvKind,
    value: usize,
    tensor: &Tensor,
    activation: Option<Unary>,
) -> Result<Option<Box<dyn Kernel>>, Error> {
    let pack = || {
        // Whether there is a kernel depends on the weights; looking through them once is enough.
        let packed = tensor.read_once(|w| match LastWeights::serve(&kind, w) {
            true => LastWeights::pack(build.isa(), kind, w).map(|packed| Some(Arc::new(packed))),
            false => Ok(None),
        })??;
        let bytes = packed.as_ref().map_or(0, |packed| packed.bytes());
        Ok((packed, bytes))
    };
    let packed = build.store.packed(value, !tag(&kind), pack)?;
    let Some(packed) = packed.as_ref().as_ref().filter(|p| *p.kind() == kind) else {
        return Ok(None);
    };
    let conv = Arc::new(LastConv::new(packed, shape));
    Ok(Some(Box::new(LastKernel {
        scratch: build.scratch(|cores| conv.scratch_len(cores)),
        conv,
        activation,
        has_bias: build.input(2).is_some(),
        has_sum: false,
    })))
}

/// Whether the kernel's 32-bit arithmetic can hold the geometry; graphs may be hostile.
fn fits(shape: &ConvShape, weights: usize) -> bool {
    let small = |sizes: [usize; 3]| {
        let product = sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        product.is_some_and(|n| n < LARGEST_PLANE)
    };
    let reach = |a: usize, b: usize| a.checked_mul(b).is_some_and(|n| n < LARGEST_PLANE);
    let axes = 0..3;
    shape.groups > 0
        && shape.in_channels.is_multiple_of(shape.groups)
        && shape.out_channels.is_multiple_of(shape.groups)
        && small(shape.input)
        && small(shape.output)
        && axes.clone().all(|i| {
            shape.strides[i] > 0
                && shape.pads[i] < LARGEST_PLANE
                && reach(shape.kernel[i], shape.dilations[i])
                && reach(shape.output[i], shape.strides[i])
                && reach(shape.input[i], shape.strides[i])
        })
        && (shape.in_channels / shape.groups)
            .checked_mul(shape.out_channels)
            .and_then(|n| n.checked_mul(shape.kernel.iter().product()))
            == Some(weights)
}

/// Tells apart the packings of one weight: by strides and dilations too, which transposed convolutions pack for.
fn tag(kind: &ConvKind) -> u64 {
    let fields = [kind.groups, usize::from(kind.transposed)];
    let all = fields.iter().chain(&kind.strides).chain(&kind.dilations);
    // FNV-1a, on words: stable, and good enough where a collision only costs speed.
    all.fold(0xcbf2_9ce4_8422_2325, |hash, &n| {
        (hash ^ n as u64).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Kernel for ConvKernel {
    fn describe(&self, _cx: &Context<'_>) -> String {
        let ending = ending_in_words(self.has_bias, false, self.activation);
        self.weights.in_words() + &ending
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn access(&self, index: usize) -> Access {
        access(index)
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let epilogue = epilogue(self.has_bias, self.activation, inputs)?;
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let (x, y) = (operand(inputs, 0)?, result(outputs)?);
        conv(cores, &self.shape, x, &self.weights, y, &epilogue, scratch);
        Ok(())
    }
}

impl Kernel for LastKernel {
    fn describe(&self, _cx: &Context<'_>) -> String {
        let ending = ending_in_words(self.has_bias, self.has_sum, self.activation);
        self.conv.in_words() + &ending
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn with_sum(&self, activation: Option<Unary>) -> Option<Box<dyn Kernel>> {
        let can = self.activation.is_none() && !self.has_sum && self.conv.takes_residual();
        can.then(|| -> Box<dyn Kernel> {
            Box::new(LastKernel {
                conv: Arc::clone(&self.conv),
                activation,
                has_bias: self.has_bias,
                has_sum: true,
                scratch: self.scratch,
            })
        })
    }

    fn access(&self, index: usize) -> Access {
        access(index)
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let epilogue = epilogue(self.has_bias, self.activation, inputs)?;
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let residual = || operand::<f32>(inputs, RESIDUAL);
        let epilogue = ConvEpilogue {
            residual: self.has_sum.then(residual).transpose()?,
            ..epilogue
        };
        let (x, y) = (operand(inputs, 0)?, result(outputs)?);
        self.conv.run(cores, x, y, &epilogue, scratch);
        Ok(())
    }
}

/// Weights were taken when the kernel was built.
fn access(index: usize) -> Access {
    match index {
        1 => Access::Unused,
        _ => Access::Typed,
    }
}

/// The bias and the activation.
fn epilogue<'a>(
    has_bias: bool,
    activation: Option<Unary>,
    inputs: &[Option<TensorRef<'a>>],
) -> Result<ConvEpilogue<'a>, Error> {
    Ok(ConvEpilogue {
        bias: has_bias.then(|| operand::<f32>(inputs, 2)).transpose()?,
        residual: None,
        activation,
    })
}
