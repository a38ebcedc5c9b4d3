//! Softmax, layer, RMS and batch normalisation of `f32`.

use unisono_graph::ops::normalize::{
    BatchNormalization, LayerNormalization, RmsNormalization, Softmax, SoftmaxFunction,
};
use unisono_reference::arith;
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::exec::kernel::{Build, Context, Kernel, failed};
use crate::kernels::operands::{operand, result};
use crate::kernels::rowwise;
use crate::kernels::split;

/// Nanoseconds for 16 elements, roughly.
const SOFTMAX_COST: usize = 20;
const NORM_COST: usize = 12;

/// The trailing axes from `axis` on as rows; `None` if there is no such axis or a row would be empty.
fn row_length(shape: &[usize], axis: i64) -> Option<usize> {
    let axis = if axis < 0 {
        axis + shape.len() as i64
    } else {
        axis
    };
    let axis = usize::try_from(axis).ok().filter(|&a| a < shape.len())?;
    Some(shape[axis..].iter().product()).filter(|&n| n > 0)
}

enum SoftmaxKernel {
    Rows(usize, SoftmaxFunction),
    Middle([usize; 3]),
}

/// Builds a softmax or its logarithm; over other axes than the last only the softmax.
pub fn build_softmax(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Softmax>() else {
        return Ok(None);
    };
    let shape = build.shape(0);
    if !build.all_of(DType::F32) || shape.contains(&0) || op.function == SoftmaxFunction::Hardmax {
        return Ok(None);
    }
    let Ok(axes) = op.resolve_axes(shape.len()) else {
        return Ok(None);
    };
    let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else {
        return Ok(None);
    };
    let n = shape[first..=last].iter().product();
    let kernel = if last + 1 == shape.len() {
        SoftmaxKernel::Rows(n, op.function)
    } else if op.function == SoftmaxFunction::Softmax {
        let (outer, inner) = (
            shape[..first].iter().product(),
            shape[last + 1..].iter().product(),
        );
        SoftmaxKernel::Middle([outer, n, inner])
    } else {
        return Ok(None);
    };
    Ok(Some(Box::new(kernel)))
}

impl Kernel for SoftmaxKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        match self {
            SoftmaxKernel::Rows(..) => format!("row by row, {}", cx.isa),
            SoftmaxKernel::Middle(_) => format!("across rows, {}", cx.isa),
        }
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let x: &[f32] = operand(inputs, 0)?;
        let y = result(outputs)?;
        match *self {
            SoftmaxKernel::Rows(n, function) => {
                split::rows(cx.team, y, n, n, SOFTMAX_COST, |first, y: &mut [f32]| {
                    let x = &x[first * n..][..y.len()];
                    match function {
                        SoftmaxFunction::LogSoftmax => rowwise::log_softmax_rows(cx.isa, n, (x, y)),
                        // `build_softmax` left hardmax out.
                        _ => rowwise::softmax_rows(cx.isa, n, (x, y)),
                    }
                });
            }
            SoftmaxKernel::Middle([_, n, inner]) => {
                let block = n * inner;
                split::rows(
                    cx.team,
                    y,
                    block,
                    block,
                    SOFTMAX_COST,
                    |first, y: &mut [f32]| {
                        let x = &x[first * block..][..y.len()];
                        rowwise::softmax_middle(cx.isa, [y.len() / block, n, inner], (x, y));
                    },
                );
            }
        }
        Ok(())
    }
}

struct LayerNormKernel {
    n: usize,
    epsilon: f32,
    has_bias: bool,
}

/// Builds a layer normalisation whose scale and bias cover exactly the normalised axes and whose statistics nobody wants.
pub fn build_layer_norm(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<LayerNormalization>() else {
        return Ok(None);
    };
    let Some(n) = row_length(build.shape(0), op.axis) else {
        return Ok(None);
    };
    let covers = |index: usize| build.shape(index).iter().product::<usize>() == n;
    let has_bias = build.input(2).is_some();
    let statistics = build.output(1).is_some() || build.output(2).is_some();
    if !build.all_of(DType::F32) || !covers(1) || (has_bias && !covers(2)) || statistics {
        return Ok(None);
    }
    Ok(Some(Box::new(LayerNormKernel {
        n,
        epsilon: op.epsilon,
        has_bias,
    })))
}

impl Kernel for LayerNormKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("row by row, {}", cx.isa)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let (x, scale): (&[f32], &[f32]) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let bias = if self.has_bias {
            Some(operand(inputs, 2)?)
        } else {
            None
        };
        let n = self.n;
        split::rows(
            cx.team,
            result(outputs)?,
            n,
            n,
            NORM_COST,
            |first, y: &mut [f32]| {
                let x = &x[first * n..][..y.len()];
                rowwise::layer_norm_rows(cx.isa, scale, bias, self.epsilon, (x, y), None);
            },
        );
        Ok(())
    }
}

struct RmsNormKernel {
    n: usize,
    epsilon: f32,
}

/// Builds an RMS normalisation whose scale covers exactly the normalised axes.
pub fn build_rms_norm(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<RmsNormalization>() else {
        return Ok(None);
    };
    let Some(n) = row_length(build.shape(0), op.axis) else {
        return Ok(None);
    };
    if !build.all_of(DType::F32) || build.shape(1).iter().product::<usize>() != n {
        return Ok(None);
    }
    Ok(Some(Box::new(RmsNormKernel {
        n,
        epsilon: op.epsilon,
    })))
}

impl Kernel for RmsNormKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("row by row, {}", cx.isa)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let (x, scale): (&[f32], &[f32]) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let n = self.n;
        split::rows(
            cx.team,
            result(outputs)?,
            n,
            n,
            NORM_COST,
            |first, y: &mut [f32]| {
                let x = &x[first * n..][..y.len()];
                rowwise::rms_norm_rows(cx.isa, scale, self.epsilon, (x, y));
            },
        );
        Ok(())
    }
}

/// Factor and summand of every channel, computed when the kernel is built.
struct BatchNormKernel {
    plane: usize,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

/// Builds a batch normalisation with constant parameters.
pub fn build_batch_norm(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<BatchNormalization>() else {
        return Ok(None);
    };
    let x = build.shape(0);
    if !build.all_of(DType::F32) || x.len() < 2 || x.contains(&0) {
        return Ok(None);
    }
    let mut parameters = Vec::new();
    for index in 1..5 {
        let Some(constant) = build.input(index).and_then(|k| k.constant.as_ref()) else {
            return Ok(None);
        };
        parameters.push(constant.to_aligned()?.as_slice::<f32>()?.to_vec());
    }
    let [scale, bias, mean, var] = parameters.as_slice() else {
        return Ok(None);
    };
    if parameters.iter().any(|p| p.len() != x[1]) {
        return Err(failed(
            "batch normalisation needs one parameter per channel",
        ));
    }
    let channels = scale.iter().zip(bias).zip(mean).zip(var);
    let (scale, bias) = channels
        .map(|(((&s, &b), &m), &v)| arith::batch_norm_factors(s, b, m, v, op.epsilon))
        .unzip();
    Ok(Some(Box::new(BatchNormKernel {
        plane: x[2..].iter().product(),
        scale,
        bias,
    })))
}

impl Kernel for BatchNormKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("factor and summand by plane, {}", cx.isa)
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let x: &[f32] = operand(inputs, 0)?;
        let sample = self.plane * self.scale.len();
        split::rows(
            cx.team,
            result(outputs)?,
            sample,
            sample,
            NORM_COST,
            |first, y: &mut [f32]| {
                let x = &x[first * sample..][..y.len()];
                rowwise::scale_shift_planes(cx.isa, self.plane, &self.scale, &self.bias, (x, y));
            },
        );
        Ok(())
    }
}
