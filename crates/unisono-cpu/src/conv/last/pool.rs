//! Pooling of N x spatial x C, in the canonical order.
//!
//! One idea: channels lie in the lanes. A position of the output is folded tap by tap, in the window's row-major order, for a few
//! registers of channels at a time, so each output is one chain. The taps that lie in the input are an interval on every axis, so padding is never
//! asked for: it adds nothing, and nothing is what leaving it out adds, since a chain that starts at +0 is never -0. A whole plane is a
//! window like any other.
//!
//! It must never number taps by what is left of a window: those in the padding keep their place, so the cuts between slices do too.

#[cfg(test)]
mod tests;

use std::ops::Range;

use unisono_reference::arith::PoolShape;

use crate::conv::part;
use crate::gemm::{Cores, SLICE};
use crate::memory::{LINE, SharedMut};
use crate::simd::{Kernel, Simd, dispatch};

/// Channels that are not cut apart when positions are too few to go round.
const BLOCK: usize = 4 * LINE;

/// Max pooling: the greatest of each window, NaN if it holds one, +0 above -0; -infinity of an empty window. The shape's planes are
/// samples times `channels`.
///
/// # Panics
/// If a slice has not the length that the shape asks for, or a dilation is 0.
pub(crate) fn max_pool(
    cores: Cores<'_>,
    shape: &PoolShape,
    channels: usize,
    x: &[f32],
    y: &mut [f32],
) {
    fold(cores, Greatest, shape, channels, None, x, y);
}

/// Average pooling: the sum of each window divided by the count of its elements, with `count_padding` including those in the padding.
/// The shape's planes are samples times `channels`.
///
/// # Panics
/// If a slice has not the length that the shape asks for, or a dilation is 0.
pub(crate) fn average_pool(
    cores: Cores<'_>,
    shape: &PoolShape,
    channels: usize,
    count_padding: bool,
    x: &[f32],
    y: &mut [f32],
) {
    fold(cores, Total, shape, channels, Some(count_padding), x, y);
}

/// The greatest element of each plane, see [`max_pool`]; `y` is samples x `channels`.
///
/// # Panics
/// If `x` cannot be cut into as many planes as `y` has elements.
pub(crate) fn global_max_pool(cores: Cores<'_>, channels: usize, x: &[f32], y: &mut [f32]) {
    max_pool(cores, &whole_planes(x, y), channels, x, y);
}

/// The mean of each plane; `y` is samples x `channels`.
///
/// # Panics
/// If `x` cannot be cut into as many planes as `y` has elements.
pub(crate) fn global_average_pool(cores: Cores<'_>, channels: usize, x: &[f32], y: &mut [f32]) {
    average_pool(cores, &whole_planes(x, y), channels, false, x, y);
}

/// One window on each plane of `x`, of which there are as many as elements of `y`.
fn whole_planes(x: &[f32], y: &[f32]) -> PoolShape {
    let plane = [1, 1, x.len() / y.len().max(1)];
    PoolShape {
        planes: y.len(),
        input: plane,
        output: [1; 3],
        kernel: plane,
        strides: [1; 3],
        dilations: [1; 3],
        pads: [0; 3],
        pads_end: [0; 3],
    }
}

/// How elements enter a chain, and slices the total.
trait Fold: Copy + Sync {
    const START: f32;
    fn step<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F;
}

#[derive(Clone, Copy)]
struct Greatest;

impl Fold for Greatest {
    const START: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.max(a, b)
    }
}

#[derive(Clone, Copy)]
struct Total;

impl Fold for Total {
    const START: f32 = 0.0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
}

/// Folds all windows. `count_padding` is `None` if the result is not divided by the count of elements.
fn fold<F: Fold>(
    cores: Cores<'_>,
    fold: F,
    shape: &PoolShape,
    channels: usize,
    count_padding: Option<bool>,
    x: &[f32],
    y: &mut [f32],
) {
    cores.check();
    let [input, output, window] =
        [shape.input, shape.output, shape.kernel].map(|size| size.iter().product::<usize>());
    assert_eq!(x.len(), shape.planes * input, "input");
    assert_eq!(y.len(), shape.planes * output, "output");
    assert!(!shape.dilations.contains(&0), "dilations must not be 0");
    if y.is_empty() {
        return;
    }
    assert!(shape.planes.is_multiple_of(channels), "channels");
    let positions = y.len() / channels;
    // An eighth of a nanosecond for a tap of one channel.
    let estimated_ns = (y.len() as u64).saturating_mul(window as u64) / 8;
    let wanted = (estimated_ns / 8_000).clamp(1, 4 * cores.team.threads() as u64) as usize;
    let blocks = channels.div_ceil(BLOCK);
    let by_position = wanted.min(positions);
    let by_channel = (wanted / by_position).min(blocks);
    let y = SharedMut::new(y);
    cores
        .team
        .run(by_position * by_channel, estimated_ns, |tile, _| {
            let blocks = part(tile % by_channel, blocks, by_channel);
            let windows = Windows {
                fold,
                shape,
                channels,
                count_padding,
                x,
                y,
                positions: part(tile / by_channel, positions, by_position),
                here: blocks.start * BLOCK..channels.min(blocks.end * BLOCK),
            };
            dispatch(cores.isa, windows);
        });
}

/// The windows of some positions, for some of the channels. No other tile writes these channels of these positions.
struct Windows<'a, F> {
    fold: F,
    shape: &'a PoolShape,
    channels: usize,
    count_padding: Option<bool>,
    x: &'a [f32],
    y: SharedMut<'a, f32>,
    /// Positions of the output, of all samples.
    positions: Range<usize>,
    here: Range<usize>,
}

/// Where a window lies on the input of one sample.
struct Window {
    /// By axis the taps that lie in the input.
    taps: [Range<usize>; 3],
    /// By axis the index of the first of them.
    first: [usize; 3],
}

impl<F: Fold> Kernel for Windows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [depth, rows, cols] = self.shape.output;
        let sample = self.shape.input.iter().product::<usize>() * self.channels;
        let mut position = self.positions.start;
        while position < self.positions.end {
            let (line, start) = (position / cols, position % cols);
            let end = cols.min(start + self.positions.end - position);
            let (row, z) = (line % rows, line / rows % depth);
            let x = &self.x[line / (rows * depth) * sample..][..sample];
            let (taps_z, first_z) = self.axis(0, z);
            let (taps_y, first_y) = self.axis(1, row);
            let counted = self.counted(0, z) * self.counted(1, row);
            for col in start..end {
                let (taps_x, first_x) = self.axis(2, col);
                let window = Window {
                    taps: [taps_z.clone(), taps_y.clone(), taps_x],
                    first: [first_z, first_y, first_x],
                };
                let at = (position + col - start) * self.channels + self.here.start;
                // SAFETY: the output has `channels` elements for each position, and these are this tile's alone.
                let y = unsafe {
                    std::slice::from_raw_parts_mut(self.y.ptr().add(at), self.here.len())
                };
                let count = s.splat((counted * self.counted(2, col)) as f32);
                self.window(s, x, &window, count, y);
            }
            position += end - start;
        }
    }
}

impl<F: Fold> Windows<'_, F> {
    /// The taps of output index `o` that lie between two distances from the front of the padding.
    #[inline(always)]
    fn between(&self, axis: usize, o: usize, from: usize, to: usize) -> Range<usize> {
        let (kernel, dilation) = (self.shape.kernel[axis], self.shape.dilations[axis]);
        let first = o * self.shape.strides[axis];
        let taps = |distance: usize| match dilation {
            1 => distance,
            _ => distance.div_ceil(dilation),
        };
        let low = taps(from.saturating_sub(first)).min(kernel);
        low..taps(to.saturating_sub(first)).clamp(low, kernel)
    }

    /// The taps of output index `o` that lie in the input, and where the first of them does.
    #[inline(always)]
    fn axis(&self, axis: usize, o: usize) -> (Range<usize>, usize) {
        let shape = self.shape;
        let pad = shape.pads[axis];
        let taps = self.between(axis, o, pad, pad + shape.input[axis]);
        let first = o * shape.strides[axis] + taps.start * shape.dilations[axis];
        // Without a tap in the input it may lie in front of it; then nobody reads there.
        (taps, first.saturating_sub(pad))
    }

    /// Along one axis the elements by which the sum of output index `o` is divided.
    #[inline(always)]
    fn counted(&self, axis: usize, o: usize) -> usize {
        let (pad, input) = (self.shape.pads[axis], self.shape.input[axis]);
        match self.count_padding {
            None => 1,
            Some(false) => self.between(axis, o, pad, pad + input).len(),
            Some(true) => {
                let end = pad + input + self.shape.pads_end[axis];
                self.between(axis, o, 0, end).len()
            }
        }
    }

    /// All channels of one position.
    #[inline(always)]
    fn window<S: Simd>(&self, s: S, x: &[f32], window: &Window, count: S::F, y: &mut [f32]) {
        let mut done = 0;
        while done < y.len() {
            let rest = &mut y[done..];
            done += match rest.len().div_ceil(S::LANES) {
                1 => self.registers::<S, 1>(s, x, window, count, done, rest),
                2 => self.registers::<S, 2>(s, x, window, count, done, rest),
                3 => self.registers::<S, 3>(s, x, window, count, done, rest),
                // Four chains side by side hide the latency of an addition.
                _ => self.registers::<S, 4>(s, x, window, count, done, rest),
            };
        }
    }

    /// `V` registers of channels from the tile's channel `done` on, the last one perhaps in part. Returns how many channels that is.
    #[inline(always)]
    fn registers<S: Simd, const V: usize>(
        &self,
        s: S,
        x: &[f32],
        window: &Window,
        count: S::F,
        done: usize,
        y: &mut [f32],
    ) -> usize {
        let len = y.len().min(V * S::LANES);
        let last = (V - 1) * S::LANES;
        let fold = self.fold;
        let start = s.splat(F::START);
        let (mut totals, mut sums) = ([start; V], [start; V]);
        let [taps_z, taps_y, taps_x] = &window.taps;
        let [_, kernel_rows, kernel_cols] = self.shape.kernel;
        let [dz, dy, dx] = self.shape.dilations;
        let [_, h, w] = self.shape.input;
        // The number of the first tap behind the slice that is being summed.
        let mut cut = SLICE;
        for kz in taps_z.clone() {
            let z = window.first[0] + (kz - taps_z.start) * dz;
            for ky in taps_y.clone() {
                let row = window.first[1] + (ky - taps_y.start) * dy;
                let line = (z * h + row) * w + window.first[2];
                let mut at = line * self.channels + self.here.start + done;
                let number = (kz * kernel_rows + ky) * kernel_cols;
                let mut kx = taps_x.start;
                while kx < taps_x.end {
                    if number + kx >= cut {
                        for (total, sum) in totals.iter_mut().zip(&mut sums) {
                            *total = fold.step(s, *total, *sum);
                            *sum = start;
                        }
                        cut = (number + kx) / SLICE * SLICE + SLICE;
                    }
                    let end = taps_x.end.min(cut - number);
                    for _ in kx..end {
                        let values = &x[at..at + len];
                        for (v, sum) in sums.iter_mut().enumerate().take(V - 1) {
                            *sum = fold.step(s, *sum, s.load(&values[v * S::LANES..]));
                        }
                        let value = match len == V * S::LANES {
                            true => s.load(&values[last..]),
                            false => s.load_part(&values[last..]),
                        };
                        sums[V - 1] = fold.step(s, sums[V - 1], value);
                        at += dx * self.channels;
                    }
                    kx = end;
                }
            }
        }
        for (v, (total, sum)) in totals.into_iter().zip(sums).enumerate() {
            let mut total = fold.step(s, total, sum);
            if self.count_padding.is_some() {
                total = s.div(total, count);
            }
            s.store_part(total, &mut y[v * S::LANES..len]);
        }
        len
    }
}
