//! Convolutions: the canonical sums over (kz, ky, kx, ci), for every stored float type and any number of spatial axes.
//!
//! The sums are those of [`crate::arith::conv`] and [`crate::arith::conv_transpose`], which hold the definition; the tests here compare.

use super::activation::epilogue;
use super::element::{Float, with_float};
use super::io::{Io, concrete, count, ensure};
use super::window::{Placed, place};
use super::{Dims, EvalError};
use crate::arith::{Epilogue, MatrixRef, Real, Unary, long_sum};
use unisono_graph::Operator;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::window::Padding;
use unisono_tensor::TensorRef;

/// What a tap reads.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    /// Output `o` and tap `t` read input `o * stride + t * dilation - pad`.
    Forward,
    /// Input `i` and tap `t` reach output `i * stride + t * dilation - pad`.
    Transposed,
}

struct Geometry {
    direction: Direction,
    batch: usize,
    groups: usize,
    in_per_group: usize,
    out_per_group: usize,
    axes: Placed,
}

impl Geometry {
    fn new(
        direction: Direction,
        groups: usize,
        x: TensorRef<'_>,
        w: TensorRef<'_>,
        out: &[usize],
        axes: Placed,
    ) -> Result<Geometry, EvalError> {
        let rule =
            "input, weights and output of a convolution should fit each other and the groups";
        ensure(
            x.rank() >= 2 && w.rank() == x.rank() && out.len() == x.rank() && groups > 0,
            rule,
        )?;
        let (channels, out_channels) = (x.shape()[1], out[1]);
        ensure(
            channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups),
            rule,
        )?;
        let (in_per_group, out_per_group) = (channels / groups, out_channels / groups);
        let weights = match direction {
            Direction::Forward => [out_channels, in_per_group],
            Direction::Transposed => [channels, out_per_group],
        };
        ensure(w.shape()[..2] == weights && out[0] == x.shape()[0], rule)?;
        Ok(Geometry {
            direction,
            batch: x.shape()[0],
            groups,
            in_per_group,
            out_per_group,
            axes,
        })
    }

    /// The position in a channel plane that tap `tap` reads for output `at`; `None` if it is in the padding, or between inputs.
    fn source(&self, at: &[usize], tap: &[usize]) -> Option<usize> {
        let mut offset = 0;
        for ((axis, &o), &t) in self.axes.iter().zip(at).zip(tap) {
            // Wrapping: whatever the attributes are, a position outside of the input is padding.
            let (o, reach) = (o as i64, (t as i64).wrapping_mul(axis.dilation as i64));
            let i = match self.direction {
                Direction::Forward => o
                    .wrapping_mul(axis.stride as i64)
                    .wrapping_add(reach)
                    .wrapping_sub(axis.pad_begin),
                Direction::Transposed => {
                    let distance = o.wrapping_add(axis.pad_begin).wrapping_sub(reach);
                    if distance % axis.stride as i64 != 0 {
                        return None;
                    }
                    distance / axis.stride as i64
                }
            };
            let i = usize::try_from(i).ok().filter(|&i| i < axis.input)?;
            offset = offset * axis.input + i;
        }
        Some(offset)
    }

    fn run<T: Float>(
        &self,
        x: &[T],
        w: &[T],
        bias: Option<&[T]>,
        activation: Option<Unary>,
        out: &mut [T],
    ) -> Result<(), EvalError> {
        let lens = |f: fn(&super::window::Axis) -> usize| self.axes.iter().map(f).collect::<Dims>();
        let (input, output, kernel) = (lens(|a| a.input), lens(|a| a.output), lens(|a| a.kernel));
        let (in_plane, out_plane, taps) = (count(&input), count(&output), count(&kernel));
        let out_channels = self.groups * self.out_per_group;
        let in_channels = self.groups * self.in_per_group;
        ensure(
            x.len() == self.batch * in_channels * in_plane
                && w.len() == in_channels * self.out_per_group * taps
                && out.len() == self.batch * out_channels * out_plane
                && bias.is_none_or(|b| b.len() == out_channels),
            "input, weights, bias and output of a convolution should fit each other",
        )?;
        if out.is_empty() {
            return Ok(());
        }
        let terms = self.in_per_group * taps;
        let mut at = Dims::from_elem(0, output.len());
        let mut tap = Dims::from_elem(0, kernel.len());
        for (plane, values) in out.chunks_exact_mut(out_plane).enumerate() {
            let (sample, co) = (plane / out_channels, plane % out_channels);
            let (group, within) = (co / self.out_per_group, co % self.out_per_group);
            let x_base = (sample * in_channels + group * self.in_per_group) * in_plane;
            // Where the weights that join this output with the group's first input channel begin, and the next channel's.
            let (w_base, w_step) = match self.direction {
                Direction::Forward => (co * self.in_per_group * taps, taps),
                Direction::Transposed => (
                    (group * self.in_per_group * self.out_per_group + within) * taps,
                    self.out_per_group * taps,
                ),
            };
            let summand = bias.map(|b| [b[co].widen()]);
            let epilogue = Epilogue {
                bias: summand.as_ref().map(|b| MatrixRef::repeat_row(b)),
                activation,
                ..Epilogue::default()
            };
            at.fill(0);
            for slot in values {
                // k rises, so tap and channel are counters: the tap turns when all channels have had their term.
                tap.fill(0);
                let (mut ci, mut t) = (0, 0);
                let mut from = self.source(&at, &tap);
                let total = long_sum(terms, |_| {
                    let value = match from {
                        Some(from) => x[x_base + ci * in_plane + from].widen(),
                        None => T::Real::ZERO,
                    };
                    let weight = w[w_base + ci * w_step + t].widen();
                    ci += 1;
                    if ci == self.in_per_group {
                        (ci, t) = (0, t + 1);
                        turn(&mut tap, &kernel);
                        from = self.source(&at, &tap);
                    }
                    (value, weight)
                });
                *slot = T::narrow(epilogue.finish(total, 0, 0));
                turn(&mut at, &output);
            }
        }
        Ok(())
    }
}

/// The next position in row-major order; the last one turns to the first.
pub(super) fn turn(at: &mut [usize], lens: &[usize]) {
    for (i, &len) in at.iter_mut().zip(lens).rev() {
        *i += 1;
        if *i < len {
            return;
        }
        *i = 0;
    }
}

pub(super) fn conv(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Conv>(op)?;
    let (x, w, bias) = (io.input(0)?, io.input(1)?, io.optional(2));
    let mut out = io.output(0)?;
    let spatial = |s: &[usize]| s.get(2..).map(Dims::from_slice);
    let (Some(input), Some(kernel), Some(output)) =
        (spatial(x.shape()), spatial(w.shape()), spatial(out.shape()))
    else {
        return Err(EvalError::Shape {
            what: "a convolution's tensors should have samples and channels",
        });
    };
    let axes = place(&op.window, &input, &kernel, &output)?;
    let geometry = Geometry::new(Direction::Forward, op.groups, x, w, out.shape(), axes)?;
    let activation = epilogue(op.activation)?;
    with_float!(x.dtype(), "a convolution's input", T => {
        let bias = bias.map(|b| b.as_slice::<T>()).transpose()?;
        geometry.run(x.as_slice::<T>()?, w.as_slice::<T>()?, bias, activation, out.as_slice_mut::<T>()?)
    })
}

pub(super) fn conv_transpose(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<ConvTranspose>(op)?;
    let (x, w, bias) = (io.input(0)?, io.input(1)?, io.optional(2));
    let mut out = io.output(0)?;
    let rule = "a transposed convolution's tensors should have the same spatial axes";
    let rank = x.rank();
    ensure(
        rank >= 2 && w.rank() == rank && out.shape().len() == rank,
        rule,
    )?;
    let mut axes = Placed::new();
    for i in 0..rank - 2 {
        let or = |list: &[usize], default| list.get(i).copied().unwrap_or(default);
        let (input, kernel, output) = (x.shape()[2 + i], w.shape()[2 + i], out.shape()[2 + i]);
        let (stride, dilation) = (or(&op.strides, 1), or(&op.dilations, 1));
        ensure(stride > 0, "a stride should be positive")?;
        // Saturating: attributes may be absurd where an axis is empty.
        let full = (stride as i64)
            .saturating_mul(input as i64 - 1)
            .saturating_add(or(&op.output_padding, 0) as i64)
            .saturating_add((dilation as i64).saturating_mul(kernel as i64 - 1))
            .saturating_add(1);
        // An output that is asked to be longer than the full one ends with positions that no tap reaches.
        let cut = full.saturating_sub(output as i64).max(0);
        let pad_begin = match &op.padding {
            Padding::Explicit(pads) if op.output_shape.is_empty() => or(pads, 0) as i64,
            Padding::SameUpper => cut / 2,
            Padding::Explicit(_) | Padding::SameLower => cut - cut / 2,
        };
        axes.push(super::window::Axis {
            kernel,
            stride,
            dilation,
            pad_begin,
            pad_end: cut - pad_begin,
            input,
            output,
        });
    }
    let geometry = Geometry::new(Direction::Transposed, op.groups, x, w, out.shape(), axes)?;
    let activation = epilogue(op.activation)?;
    with_float!(x.dtype(), "a convolution's input", T => {
        let bias = bias.map(|b| b.as_slice::<T>()).transpose()?;
        geometry.run(x.as_slice::<T>()?, w.as_slice::<T>()?, bias, activation, out.as_slice_mut::<T>()?)
    })
}
