//! LSTM layers of `f32` with constant weights, without peepholes, clipping or sequence lengths, and with the usual
//! activations; all others are left to the reference.
//!
//! The inputs of all time steps meet the weights in one product; each step then adds its own small product of the state.
//! The gates' order of additions is the canonical one, `(xW + hR) + b`.

use std::sync::Arc;

use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_reference::arith::MatrixRef;
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::exec::kernel::{Access, Build, Context, Kernel, failed};
use crate::gemm::microkernel::Microkernels;
use crate::gemm::{Cores, Epilogue, PackedB, gemm, gemm_scratch};
use crate::kernels::operands::operand;
use crate::kernels::rowwise::{Gates, lstm_step};

/// One direction's weights, transposed to K x 4H and packed.
struct LayerWeights {
    w: PackedB,
    r: PackedB,
}

struct LstmKernel {
    time: usize,
    batch: usize,
    hidden: usize,
    directions: Vec<Arc<LayerWeights>>,
    /// By direction: the sum of both biases.
    biases: Option<Vec<Vec<f32>>>,
    first_backwards: bool,
    initial: [bool; 2],
    scratch: usize,
}

/// The constant behind input `index` as numbers.
fn constant(build: &Build<'_>, index: usize) -> Result<Option<Vec<f32>>, Error> {
    let Some(tensor) = build.input(index).and_then(|k| k.constant.as_ref()) else {
        return Ok(None);
    };
    Ok(Some(tensor.to_aligned()?.as_slice::<f32>()?.to_vec()))
}

/// Builds an LSTM layer.
pub fn build_lstm(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Recurrent>() else {
        return Ok(None);
    };
    let usual = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
    let plain = op.cell
        == Cell::Lstm {
            input_forget: false,
        }
        && op.clip.is_none()
        && !op.batch_first
        && op.activations.chunks(3).all(|a| a == usual)
        && build.input(4).is_none()
        && build.input(7).is_none()
        && build.all_of(DType::F32);
    let (&[time, batch, input], &[directions, rows, hidden]) = (build.shape(0), build.shape(2))
    else {
        return Ok(None);
    };
    let empty = [time, batch, input, hidden].contains(&0);
    let fits = directions == op.direction.count()
        && op.activations.len() == 3 * directions
        && hidden.checked_mul(4) == Some(rows)
        && build.shape(1) == [directions, rows, input];
    if !plain || !fits || empty {
        return Ok(None);
    }
    let weights = |index: usize| {
        let known = build.input(index)?;
        Some((known.value, known.constant.as_ref()?))
    };
    let (Some((value, w)), Some((other, r))) = (weights(1), weights(2)) else {
        return Ok(None);
    };
    let biases = match build.input(3) {
        None => None,
        Some(_) => match constant(build, 3)? {
            Some(b) if b.len() == 2 * directions * rows => {
                let sums = b.chunks_exact(2 * rows).map(|b| {
                    let (w, r) = b.split_at(rows);
                    w.iter().zip(r).map(|(w, r)| w + r).collect()
                });
                Some(sums.collect())
            }
            _ => return Ok(None),
        },
    };
    let isa = build.isa();
    let layers = (0..directions)
        .map(|d| {
            build
                .store
                .packed(value, ((other as u64) << 1) | d as u64, || {
                    let part = |all: &[f32], k: usize| {
                        let own = &all[d * rows * k..][..rows * k];
                        // Stored 4H x K, read as K x 4H.
                        PackedB::pack(
                            isa,
                            k,
                            rows,
                            MatrixRef {
                                data: own,
                                row_stride: 1,
                                col_stride: k,
                            },
                        )
                    };
                    let layer = LayerWeights {
                        w: w.read_once(|all| part(all, input))??,
                        r: r.read_once(|all| part(all, hidden))??,
                    };
                    let bytes = layer.w.bytes() + layer.r.bytes();
                    Ok((layer, bytes))
                })
        })
        .collect::<Result<_, Error>>()?;
    let products = build.scratch(|cores| {
        gemm_scratch(cores, time * batch, rows, input).max(gemm_scratch(cores, batch, rows, hidden))
    });
    // The input's part of all gates, the state's part of one step, and both states.
    let own = time * batch * rows + batch * rows + 2 * batch * hidden;
    Ok(Some(Box::new(LstmKernel {
        time,
        batch,
        hidden,
        directions: layers,
        biases,
        first_backwards: op.direction == Direction::Reverse,
        initial: [build.input(5).is_some(), build.input(6).is_some()],
        scratch: own + products,
    })))
}

impl Kernel for LstmKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        let tile = Microkernels::of(cx.isa).in_words(cx.isa);
        format!("LSTM, one product a time step, {tile}, weights packed once")
    }

    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn access(&self, index: usize) -> Access {
        if (1..4).contains(&index) {
            Access::Unused
        } else {
            Access::Typed
        }
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let &LstmKernel {
            time,
            batch,
            hidden,
            ..
        } = self;
        let rows = 4 * hidden;
        let x: &[f32] = operand(inputs, 0)?;
        let initial = [5, 6].map(|i| {
            if self.initial[i - 5] {
                operand::<f32>(inputs, i).map(Some)
            } else {
                Ok(None)
            }
        });
        let [initial_h, initial_c] = initial;
        let (initial_h, initial_c) = (initial_h?, initial_c?);
        let (xw, rest) = scratch.split_at_mut(time * batch * rows);
        let (hr, rest) = rest.split_at_mut(batch * rows);
        let (h, rest) = rest.split_at_mut(batch * hidden);
        let (c, products) = rest.split_at_mut(batch * hidden);
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let plain = Epilogue::default();
        let count = self.directions.len();
        let mut outputs = outputs.iter_mut();
        let mut next = || -> Result<Option<&mut [f32]>, Error> {
            match outputs.next() {
                Some(Some(view)) => Ok(Some(view.as_slice_mut()?)),
                _ => Ok(None),
            }
        };
        let (mut y, mut y_h, mut y_c) = (next()?, next()?, next()?);
        for (d, layer) in self.directions.iter().enumerate() {
            let input = layer.w.k();
            gemm(
                cores,
                time * batch,
                MatrixRef::row_major(x, input),
                &layer.w,
                xw,
                rows,
                &plain,
                products,
            );
            let state = d * batch * hidden..(d + 1) * batch * hidden;
            for (state_now, given) in [(&mut *h, initial_h), (&mut *c, initial_c)] {
                match given {
                    Some(given) => state_now.copy_from_slice(&given[state.clone()]),
                    None => state_now.fill(0.0),
                }
            }
            let backwards = self.first_backwards || d == 1;
            let bias = self.biases.as_ref().map(|b| b[d].as_slice());
            for step in 0..time {
                let t = if backwards { time - 1 - step } else { step };
                gemm(
                    cores,
                    batch,
                    MatrixRef::row_major(h, hidden),
                    &layer.r,
                    hr,
                    rows,
                    &plain,
                    products,
                );
                for row in 0..batch {
                    let gates = Gates {
                        xw: &xw[(t * batch + row) * rows..][..rows],
                        hr: &hr[row * rows..][..rows],
                        bias,
                    };
                    let unit = row * hidden..(row + 1) * hidden;
                    lstm_step(cx.isa, gates, &mut c[unit.clone()], &mut h[unit]);
                }
                if let Some(y) = &mut y {
                    y[(t * count + d) * batch * hidden..][..batch * hidden].copy_from_slice(h);
                }
            }
            for (out, last) in [(&mut y_h, &*h), (&mut y_c, &*c)] {
                if let Some(out) = out {
                    let part = out
                        .get_mut(state.clone())
                        .ok_or_else(|| failed("a state's output is too small"))?;
                    part.copy_from_slice(last);
                }
            }
        }
        Ok(())
    }
}
