//! Convolution and its transpose, as long sums.
//!
//! One idea: a convolution is a long sum per output whose k runs over the taps (kz, ky, kx, ci), ci fastest. Every output of a layer has
//! the same number of terms; taps that fall outside of the input, or between the inputs of a transposed convolution, are products
//! with +0. So the cuts between slices never depend on the position.

use super::{Epilogue, MatrixRef, Real, Unary, long_sum};

/// The geometry of a convolution over up to three spatial axes. One- and two-dimensional ones set the leading axes to size 1, kernel 1,
/// stride 1, dilation 1, pad 0; [`ConvShape::from_spatial`] does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Samples.
    pub batch: usize,
    /// Channels of the input, all groups together.
    pub in_channels: usize,
    /// Channels of the output, all groups together.
    pub out_channels: usize,
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
    /// The input's spatial size.
    pub input: [usize; 3],
    /// The output's spatial size.
    pub output: [usize; 3],
    /// The kernel's spatial size.
    pub kernel: [usize; 3],
    /// Strides.
    pub strides: [usize; 3],
    /// Dilations.
    pub dilations: [usize; 3],
    /// Padding before the first element. What is after the last follows from the output's size.
    pub pads: [usize; 3],
}

impl ConvShape {
    /// Puts one to three spatial axes into three, the missing leading ones neutral: `from_spatial(&[h, w], 1)` is `[1, h, w]`.
    ///
    /// # Panics
    ///
    /// If there are more than three.
    pub fn from_spatial(axes: &[usize], neutral: usize) -> [usize; 3] {
        assert!(
            axes.len() <= 3,
            "a convolution has at most three spatial axes"
        );
        let mut out = [neutral; 3];
        out[3 - axes.len()..].copy_from_slice(axes);
        out
    }

    /// Values in the input, N x C x spatial.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * volume(self.input)
    }

    /// Values in the output, N x C x spatial.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * volume(self.output)
    }

    /// Values in the weights.
    pub fn weight_len(&self) -> usize {
        self.in_channels * self.out_channels / self.groups * volume(self.kernel)
    }

    /// The terms of each output's long sum.
    pub fn terms(&self) -> usize {
        self.in_channels / self.groups * volume(self.kernel)
    }

    fn check<R>(&self, x: &[R], w: &[R], bias: Option<&[R]>, out: &[R]) {
        assert!(
            self.groups > 0
                && self.in_channels.is_multiple_of(self.groups)
                && self.out_channels.is_multiple_of(self.groups),
            "channels must be multiples of the groups"
        );
        assert_eq!(x.len(), self.input_len(), "input");
        assert_eq!(w.len(), self.weight_len(), "weights");
        assert_eq!(out.len(), self.output_len(), "output");
        assert!(bias.is_none_or(|b| b.len() == self.out_channels), "bias");
    }
}

fn volume(size: [usize; 3]) -> usize {
    size.iter().product()
}

/// The position in a row-major box of `size` that has linear index `i`.
fn unravel(i: usize, size: [usize; 3]) -> [usize; 3] {
    [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]]
}

fn ravel(at: [usize; 3], size: [usize; 3]) -> usize {
    (at[0] * size[1] + at[1]) * size[2] + at[2]
}

/// Convolution (cross-correlation, as ONNX `Conv`): `x` is N x C x spatial, `w` is M x C/groups x kernel, `out` is N x M x spatial, all dense
/// and row-major.
///
/// # Panics
///
/// If a slice has not the length that the shape asks for.
pub fn conv<R: Real>(
    shape: &ConvShape,
    x: &[R],
    w: &[R],
    bias: Option<&[R]>,
    activation: Option<Unary>,
    out: &mut [R],
) {
    shape.check(x, w, bias, out);
    let per_group = shape.in_channels / shape.groups;
    let source = |o: [usize; 3], tap: [usize; 3]| {
        let mut at = [0; 3];
        for axis in 0..3 {
            let padded = o[axis] * shape.strides[axis] + tap[axis] * shape.dilations[axis];
            at[axis] = padded.checked_sub(shape.pads[axis])?;
            if at[axis] >= shape.input[axis] {
                return None;
            }
        }
        Some(ravel(at, shape.input))
    };
    let weight = |co: usize, _group: usize, ci: usize| co * per_group + ci;
    sum_taps(shape, x, w, bias, activation, out, source, weight);
}

/// Transposed convolution (ONNX `ConvTranspose`): `x` is N x C x spatial, `w` is C x M/groups x kernel, `out` is N x M x spatial. `pads` are what is
/// cut off the beginning of the full output.
///
/// # Panics
///
/// If a slice has not the length that the shape asks for.
pub fn conv_transpose<R: Real>(
    shape: &ConvShape,
    x: &[R],
    w: &[R],
    bias: Option<&[R]>,
    activation: Option<Unary>,
    out: &mut [R],
) {
    shape.check(x, w, bias, out);
    let ci_per_group = shape.in_channels / shape.groups;
    let co_per_group = shape.out_channels / shape.groups;
    // The input that tap `tap` carries to output `o`, if there is one.
    let source = |o: [usize; 3], tap: [usize; 3]| {
        let mut at = [0; 3];
        for axis in 0..3 {
            let full = o[axis] + shape.pads[axis];
            let distance = full.checked_sub(tap[axis] * shape.dilations[axis])?;
            if distance % shape.strides[axis] != 0 {
                return None;
            }
            at[axis] = distance / shape.strides[axis];
            if at[axis] >= shape.input[axis] {
                return None;
            }
        }
        Some(ravel(at, shape.input))
    };
    let weight = |co: usize, group: usize, ci: usize| {
        (group * ci_per_group + ci) * co_per_group + co % co_per_group
    };
    sum_taps(shape, x, w, bias, activation, out, source, weight);
}

/// The long sum of every output. `source` gives the position within a channel plane that a tap reads; `weight` the index of the kernel
/// that joins an output channel with the ci-th input channel of its group.
#[expect(
    clippy::too_many_arguments,
    reason = "the two closures are the whole difference between the callers"
)]
fn sum_taps<R: Real>(
    shape: &ConvShape,
    x: &[R],
    w: &[R],
    bias: Option<&[R]>,
    activation: Option<Unary>,
    out: &mut [R],
    source: impl Fn([usize; 3], [usize; 3]) -> Option<usize>,
    weight: impl Fn(usize, usize, usize) -> usize,
) {
    let (in_plane, out_plane) = (volume(shape.input), volume(shape.output));
    let taps = volume(shape.kernel);
    let ci_per_group = shape.in_channels / shape.groups;
    let co_per_group = shape.out_channels / shape.groups;
    let epilogue = Epilogue {
        bias: bias.map(MatrixRef::repeat_col),
        activation,
        ..Epilogue::default()
    };
    for sample in 0..shape.batch {
        for co in 0..shape.out_channels {
            let group = co / co_per_group;
            for o in 0..out_plane {
                let position = unravel(o, shape.output);
                let total = long_sum(shape.terms(), |k| {
                    let (tap, ci) = (k / ci_per_group, k % ci_per_group);
                    let channel = sample * shape.in_channels + group * ci_per_group + ci;
                    let value = match source(position, unravel(tap, shape.kernel)) {
                        Some(at) => x[channel * in_plane + at],
                        None => R::ZERO,
                    };
                    (value, w[weight(co, group, ci) * taps + tap])
                });
                out[(sample * shape.out_channels + co) * out_plane + o] =
                    epilogue.finish(total, co, o);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::{dot, same_bits};

    fn line(length: usize, kernel: usize, pad: usize, channels: usize) -> ConvShape {
        ConvShape {
            batch: 1,
            in_channels: channels,
            out_channels: 1,
            groups: 1,
            input: [1, 1, length],
            output: [1, 1, length + 2 * pad + 1 - kernel],
            kernel: [1, 1, kernel],
            strides: [1; 3],
            dilations: [1; 3],
            pads: [0, 0, pad],
        }
    }

    #[test]
    fn taps_run_with_channels_fastest_and_padding_counts_for_slices() {
        let (channels, kernel) = (150, 3);
        let shape = line(2, kernel, 1, channels);
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 7.0;
        let x: Vec<f32> = (0..channels * 2).map(value).collect();
        let w: Vec<f32> = (0..channels * kernel).map(|i| value(i * 3 + 1)).collect();
        let mut out = [0.0; 2];
        conv(&shape, &x, &w, None, None, &mut out);
        for (o, &found) in out.iter().enumerate() {
            let mut patch = Vec::new();
            let mut weights = Vec::new();
            for tap in 0..kernel {
                for ci in 0..channels {
                    let at = (o + tap).wrapping_sub(1);
                    patch.push(if at < 2 { x[ci * 2 + at] } else { 0.0 });
                    weights.push(w[ci * kernel + tap]);
                }
            }
            assert!(same_bits(found, dot(&patch, &weights)));
        }
    }

    #[test]
    fn padding_times_an_infinite_weight_is_nan() {
        let mut out = [0.0f32; 2];
        let w = [f32::INFINITY, 1.0, 1.0];
        conv(&line(2, 3, 1, 1), &[1.0, 2.0], &w, None, None, &mut out);
        assert!(out[0].is_nan());
        assert_eq!(out[1], f32::INFINITY);
    }

    #[test]
    fn the_transpose_is_the_adjoint_of_the_convolution() {
        // <conv(x), y> = <x, conv_transpose(y)> in exact arithmetic; small integers are exact.
        let forward = ConvShape {
            batch: 2,
            in_channels: 4,
            out_channels: 6,
            groups: 2,
            input: [1, 7, 6],
            output: [1, 3, 5],
            kernel: [1, 3, 2],
            strides: [1, 2, 1],
            dilations: [1, 1, 2],
            pads: [0, 0, 1],
        };
        // 7 rows: (7 - 3) / 2 + 1 = 3; 6 columns: 6 + 1 - 3 + 1 = 5.
        let backward = ConvShape {
            in_channels: forward.out_channels,
            out_channels: forward.in_channels,
            input: forward.output,
            output: forward.input,
            ..forward
        };
        let value = |i: usize| ((i * 37 % 11) as f64) - 5.0;
        let x: Vec<f64> = (0..forward.input_len()).map(value).collect();
        let y: Vec<f64> = (0..forward.output_len()).map(|i| value(i + 3)).collect();
        let w: Vec<f64> = (0..forward.weight_len()).map(|i| value(i * 5)).collect();
        let mut cx = vec![0.0; forward.output_len()];
        conv(&forward, &x, &w, None, None, &mut cx);
        let mut ty = vec![0.0; forward.input_len()];
        conv_transpose(&backward, &y, &w, None, None, &mut ty);
        assert_eq!(dot(&cx, &y), dot(&x, &ty));
        assert!(dot(&cx, &y) != 0.0);
    }
}
