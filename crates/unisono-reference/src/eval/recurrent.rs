//! Recurrent layers, row by row: rows never meet, so each is walked through time alone.
//!
//! Clipping bounds what enters the activations of gates. The cell state of an LSTM enters its activation as it is, as in onnxruntime; ONNX's
//! text ("the input of activations") can be read both ways.

use super::EvalError;
use super::activation::activate;
use super::element::{Float, with_float};
use super::io::{Indices, Io, concrete, ensure};
use crate::arith::{
    Real, clip, gate_input, gru_candidate_after_product, gru_state, long_sum, lstm_output,
    lstm_state, peephole,
};
use unisono_graph::Operator;
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_tensor::TensorRef;

/// The lengths of a layer.
#[derive(Clone, Copy)]
struct Lengths {
    time: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    gates: usize,
    batch_first: bool,
}

impl Lengths {
    fn x(&self, t: usize, b: usize) -> usize {
        let row = if self.batch_first {
            b * self.time + t
        } else {
            t * self.batch + b
        };
        row * self.input
    }

    fn y(&self, t: usize, d: usize, b: usize) -> usize {
        let row = if self.batch_first {
            (b * self.time + t) * self.directions + d
        } else {
            (t * self.directions + d) * self.batch + b
        };
        row * self.hidden
    }

    fn state(&self, d: usize, b: usize) -> usize {
        let row = if self.batch_first {
            b * self.directions + d
        } else {
            d * self.batch + b
        };
        row * self.hidden
    }
}

/// The parameters of one direction.
struct Weights<'a, T: Float> {
    lengths: Lengths,
    /// GH x I and GH x H.
    w: &'a [T],
    r: &'a [T],
    /// The biases of `w` and `r`, GH each.
    biases: Option<(&'a [T], &'a [T])>,
    peepholes: Option<&'a [T]>,
    activations: &'a [Activation],
    clip: Option<f32>,
}

impl<T: Float> Weights<'_, T> {
    fn activation(&self, which: usize, x: T::Real) -> T::Real {
        // The number of activations is checked before.
        self.activations.get(which).map_or(x, |&f| activate(f, x))
    }

    /// The activation of a gate, whose input is clipped.
    fn gate_activation(&self, which: usize, x: T::Real) -> T::Real {
        self.activation(
            which,
            match self.clip {
                Some(bound) => clip(x, T::Real::from_f32(-bound), T::Real::from_f32(bound)),
                None => x,
            },
        )
    }

    fn xw(&self, row: usize, x: &[T]) -> T::Real {
        let w = &self.w[row * self.lengths.input..][..x.len()];
        long_sum(x.len(), |k| (x[k].widen(), w[k].widen()))
    }

    fn hr(&self, row: usize, h: &[T::Real]) -> T::Real {
        let r = &self.r[row * h.len()..][..h.len()];
        long_sum(h.len(), |k| (h[k], r[k].widen()))
    }

    fn bias(&self, row: usize) -> Option<T::Real> {
        self.biases.map(|(w, r)| w[row].widen() + r[row].widen())
    }

    /// What enters gate `gate` of hidden unit `j`.
    fn gate(&self, gate: usize, j: usize, x: &[T], h: &[T::Real]) -> T::Real {
        let row = gate * self.lengths.hidden + j;
        gate_input(self.xw(row, x), self.hr(row, h), self.bias(row))
    }

    fn peephole(&self, which: usize, j: usize, gate: T::Real, c: T::Real) -> T::Real {
        match self.peepholes {
            Some(p) => peephole(gate, p[which * self.lengths.hidden + j].widen(), c),
            None => gate,
        }
    }

    /// One step: `h` and `c` become the next state. `next` is scratch of length 2H.
    fn step(
        &self,
        cell: Cell,
        x: &[T],
        h: &mut [T::Real],
        c: &mut [T::Real],
        next: &mut [T::Real],
    ) {
        let hidden = self.lengths.hidden;
        let (first, second) = next.split_at_mut(hidden);
        match cell {
            Cell::Lstm { input_forget } => {
                for j in 0..hidden {
                    let i = self.peephole(0, j, self.gate(0, j, x, h), c[j]);
                    let i = self.gate_activation(0, i);
                    let f = if input_forget {
                        T::Real::ONE - i
                    } else {
                        let f = self.peephole(2, j, self.gate(2, j, x, h), c[j]);
                        self.gate_activation(0, f)
                    };
                    let candidate = self.gate_activation(1, self.gate(3, j, x, h));
                    second[j] = lstm_state(i, f, candidate, c[j]);
                    let o = self.peephole(1, j, self.gate(1, j, x, h), second[j]);
                    let o = self.gate_activation(0, o);
                    first[j] = lstm_output(o, self.activation(2, second[j]));
                }
                c.copy_from_slice(second);
                h.copy_from_slice(first);
            }
            Cell::Gru {
                linear_before_reset,
            } => {
                // The reset gates, or the reset state, before any candidate needs all of them.
                for j in 0..hidden {
                    let r = self.gate_activation(0, self.gate(1, j, x, h));
                    second[j] = if linear_before_reset { r } else { r * h[j] };
                }
                for j in 0..hidden {
                    let z = self.gate_activation(0, self.gate(0, j, x, h));
                    let row = 2 * hidden + j;
                    let candidate = if linear_before_reset {
                        let bias = |b: Option<&[T]>| b.map_or(T::Real::ZERO, |b| b[row].widen());
                        gru_candidate_after_product(
                            self.xw(row, x),
                            bias(self.biases.map(|b| b.0)),
                            self.hr(row, h),
                            bias(self.biases.map(|b| b.1)),
                            second[j],
                        )
                    } else {
                        gate_input(self.xw(row, x), self.hr(row, second), self.bias(row))
                    };
                    first[j] = gru_state(z, self.gate_activation(1, candidate), h[j]);
                }
                h.copy_from_slice(first);
            }
            Cell::Rnn => {
                for (j, slot) in first.iter_mut().enumerate() {
                    *slot = self.gate_activation(0, self.gate(0, j, x, h));
                }
                h.copy_from_slice(first);
            }
        }
    }
}

pub(super) fn recurrent(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Recurrent>(op)?;
    let (x, w, r) = (io.input(0)?, io.input(1)?, io.input(2)?);
    let rule = "the weights of a recurrent layer should fit each other, its input and its state";
    let (&[a, b, input], &[directions, _, hidden]) = (x.shape(), r.shape()) else {
        return Err(EvalError::Shape { what: rule });
    };
    let (time, batch) = if op.batch_first { (b, a) } else { (a, b) };
    let lengths = Lengths {
        time,
        batch,
        input,
        hidden,
        directions,
        gates: op.cell.gates(),
        batch_first: op.batch_first,
    };
    let rows = directions * lengths.gates * hidden;
    let states = directions * batch * hidden;
    let fits = |t: Option<TensorRef<'_>>, len: usize| t.is_none_or(|t| t.len() == len);
    ensure(
        directions == op.direction.count()
            && op.activations.len() >= directions * op.cell.activations()
            && w.len() == rows * input
            && r.len() == rows * hidden
            && fits(io.optional(3), 2 * rows)
            && fits(io.optional(4), batch)
            && fits(io.optional(5), states)
            && fits(io.optional(6), states)
            && fits(io.optional(7), 3 * directions * hidden),
        rule,
    )?;
    for (i, len) in [(0, time * states), (1, states), (2, states)] {
        ensure(io.wanted(i).is_none_or(|out| out.len() == len), rule)?;
    }
    with_float!(x.dtype(), "a recurrent layer's input", T => run::<T>(op, lengths, &mut io))
}

fn run<T: Float>(op: &Recurrent, lengths: Lengths, io: &mut Io<'_, '_>) -> Result<(), EvalError> {
    let Lengths {
        time,
        batch,
        input,
        hidden,
        gates,
        ..
    } = lengths;
    let (x, w, r) = (
        io.input(0)?.as_slice::<T>()?,
        io.input(1)?.as_slice::<T>()?,
        io.input(2)?.as_slice::<T>()?,
    );
    let slice = |i: usize| io.optional(i).map(|t| t.as_slice::<T>()).transpose();
    let (b, initial_h, initial_c, p) = (slice(3)?, slice(5)?, slice(6)?, slice(7)?);
    let sequence_lens = io.optional(4).map(Indices::of).transpose()?;
    let zero = T::Real::ZERO;
    let mut memory = vec![zero; 4 * hidden];
    let (state, next) = memory.split_at_mut(2 * hidden);
    let (h, c) = state.split_at_mut(hidden);
    for d in 0..lengths.directions {
        let per_direction = op.cell.activations();
        let rows = gates * hidden;
        let weights = Weights {
            lengths,
            w: &w[d * rows * input..][..rows * input],
            r: &r[d * rows * hidden..][..rows * hidden],
            biases: b.map(|b| b[2 * d * rows..][..2 * rows].split_at(rows)),
            peepholes: p.map(|p| &p[3 * d * hidden..][..3 * hidden]),
            activations: &op.activations[d * per_direction..][..per_direction],
            clip: op.clip,
        };
        let backwards = op.direction == Direction::Reverse || d == 1;
        for row in 0..batch {
            let steps = match sequence_lens {
                None => time,
                Some(lens) => {
                    let found = lens.get(row);
                    let what =
                        "a sequence's length should be between 0 and the length of the time axis";
                    let steps = usize::try_from(found).ok().filter(|&s| s <= time);
                    steps.ok_or(EvalError::Value { what, found })?
                }
            };
            let at = lengths.state(d, row);
            for (state, initial) in [(&mut *h, initial_h), (&mut *c, initial_c)] {
                for (j, s) in state.iter_mut().enumerate() {
                    *s = initial.map_or(zero, |i| i[at + j].widen());
                }
            }
            for step in 0..time {
                let t = if backwards && step < steps {
                    steps - 1 - step
                } else {
                    step
                };
                let live = step < steps;
                if live {
                    weights.step(op.cell, &x[lengths.x(t, row)..][..input], h, c, next);
                }
                if let Some(mut y) = io.wanted(0) {
                    let y = &mut y.as_slice_mut::<T>()?[lengths.y(t, d, row)..][..hidden];
                    for (y, &h) in y.iter_mut().zip(&*h) {
                        *y = T::narrow(if live { h } else { zero });
                    }
                }
            }
            for (i, state) in [(1, &*h), (2, &*c)] {
                if let Some(mut out) = io.wanted(i) {
                    let out = &mut out.as_slice_mut::<T>()?[at..at + hidden];
                    for (o, &s) in out.iter_mut().zip(state) {
                        *o = T::narrow(s);
                    }
                }
            }
        }
    }
    Ok(())
}
