//! LSTM layers of `f32` with constant weights, without peepholes, clipping or sequence lengths, and with the usual activations: those that
//! the processor has a kernel for. All others run there.
//!
//! The one idea: two launches, however long the sequence is. The inputs of all steps meet the weights of all directions in one product; then
//! one kernel walks through time.

use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::{Lower, Lowering};
use crate::kernels::functions::Function;
use crate::kernels::gemm::{self, Finish, Matrix, Right, SIBLINGS};
use crate::kernels::map::elements;
use crate::kernels::recurrent::{self as kernels, Buffers, Lstm};
use crate::kernels::tile::Extent;
use crate::launch::{Buffer, Place};

/// What this module lowers.
pub(super) const LOWERINGS: &[(&str, Lower)] = &[("Recurrent", recurrent)];

/// A layer that has a kernel.
struct Layer {
    lstm: Lstm,
    /// Elements of a step's input.
    input: usize,
}

impl Layer {
    /// `None` where types, shapes or attributes are others than the kernel's.
    fn of(cx: &Lowering<'_>) -> Option<Layer> {
        let op = cx.op::<Recurrent>()?;
        let usual = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
        let cell = Cell::Lstm {
            input_forget: false,
        };
        let (x, r) = (cx.shape(0)?, cx.shape(2)?);
        let (&[time, batch, input], &[directions, columns, hidden]) = (&x[..], &r[..]) else {
            return None;
        };
        let shape = |index: usize, shape: &[usize]| cx.shape(index).is_none_or(|s| s[..] == *shape);
        let output =
            |index: usize, shape: &[usize]| cx.output_shape(index).is_none_or(|s| s[..] == *shape);
        let state = [directions, batch, hidden];
        let is_plain = op.cell == cell
            && op.clip.is_none()
            && !op.batch_first
            && op.activations.len() == usual.len() * directions
            && op.activations.chunks(usual.len()).all(|a| a == usual)
            && cx.input(4).is_none()
            && cx.input(7).is_none()
            && cx.all_of(DType::F32);
        let fits = directions == op.direction.count()
            && hidden.checked_mul(4) == Some(columns)
            && shape(1, &[directions, columns, input])
            && shape(3, &[directions, 2 * columns])
            && shape(5, &state)
            && shape(6, &state)
            && output(0, &[time, directions, batch, hidden])
            && output(1, &state)
            && output(2, &state);
        let is_constant = |index: usize| cx.input(index).is_some_and(|o| o.constant.is_some());
        let has_constants =
            is_constant(1) && is_constant(2) && (cx.input(3).is_none() || is_constant(3));
        let lstm = Lstm {
            time,
            batch,
            hidden,
            directions,
            backwards: op.direction == Direction::Reverse,
        };
        let sizes = [&[time, batch, input][..], &[directions, columns, input]];
        let counts = sizes.iter().all(|s| elements(s).is_some_and(|n| n > 0));
        (is_plain && fits && has_constants && counts).then_some(Layer { lstm, input })
    }

    /// The product of all inputs with the weights of all directions.
    fn product(&self, x: Buffer, w: Buffer, xw: Buffer) -> gemm::Product {
        let Lstm {
            time,
            batch,
            directions,
            ..
        } = self.lstm;
        gemm::Product {
            extent: Extent {
                m: time * batch,
                n: directions * self.lstm.columns(),
                k: self.input,
                batch: 1,
            },
            a: Matrix {
                buffer: x,
                strides: [self.input, 1],
            },
            b: Right::Packed(w),
            bias: None,
            c: xw,
            members: None,
            even: true,
            finish: Finish {
                alpha: 1.0,
                beta: 1.0,
                function: Function::IDENTITY,
            },
            siblings: [None; SIBLINGS],
        }
    }
}

fn recurrent(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(layer) = Layer::of(cx) else {
        return Ok(false);
    };
    let lstm = layer.lstm;
    let (processors, limit) = (cx.processors, cx.site.shared_limit());
    let nowhere = Buffer::at(Place::Status);
    let mut buffers = Buffers {
        xw: nowhere,
        r: nowhere,
        bias: None,
        initial: [None; 2],
        y: None,
        last: [None; 2],
    };
    let product = layer.product(nowhere, nowhere, nowhere);
    if gemm::launch(&product, processors, limit).is_none()
        || kernels::launch(&lstm, processors, limit, buffers).is_none()
    {
        return Ok(false);
    }
    let w = of_constant(cx, 1, "the inputs' weights of an LSTM", |w| {
        let input = layer.input;
        let columns = lstm.directions * lstm.columns();
        gemm::pack(input, columns, |k, n| w[n * input + k])
    })?;
    buffers.r = of_constant(cx, 2, "the state's weights of an LSTM", |r| {
        kernels::pack(&lstm, r)
    })?;
    if cx.input(3).is_some() {
        let sums = |b: &[f32]| summed_biases(b, lstm.columns());
        buffers.bias = Some(of_constant(cx, 3, "the summed biases of an LSTM", sums)?);
    }
    let steps = lstm.time * lstm.batch * lstm.directions;
    buffers.xw = cx.site.scratch(steps * lstm.columns() * size_of::<f32>())?;
    buffers.initial = [cx.buffer(5)?, cx.buffer(6)?];
    let output = |index| cx.output(index).and_then(|operand| operand.buffer);
    (buffers.y, buffers.last) = (output(0), [output(1), output(2)]);
    let product = layer.product(cx.read(0)?, w, buffers.xw);
    let launches = gemm::launch(&product, processors, limit)
        .zip(kernels::launch(&lstm, processors, limit, buffers));
    Ok(cx.emit(launches.into_iter().flat_map(|(a, b)| [a, b])))
}

/// What `make` makes of a constant, once for all programs of a model.
fn of_constant(
    cx: &mut Lowering<'_>,
    index: usize,
    key: &'static str,
    make: impl Fn(&[f32]) -> Vec<u8>,
) -> Result<Buffer, Error> {
    let operand = cx.input(index);
    let constant = operand.and_then(|o| Some((o.value, o.constant.clone()?)));
    match constant {
        Some((value, tensor)) => {
            let make = &mut || Ok(tensor.read_once(&make)?);
            cx.site.constant(value, key, make)
        }
        None => cx.read(index),
    }
}

/// The biases of `w` and of `r`, which follow each other for every direction, added up.
fn summed_biases(b: &[f32], columns: usize) -> Vec<u8> {
    let directions = b.chunks_exact(2 * columns);
    let sums = directions.flat_map(|b| {
        let (w, r) = b.split_at(columns);
        w.iter().zip(r).map(|(w, r)| w + r)
    });
    sums.flat_map(f32::to_le_bytes).collect()
}
