//! Depthwise convolutions: a channel is a lane.
//!
//! Positions whose taps all lie within the row are computed some at a time, those at its ends with some registers of channels at a
//! time, so that enough chains are in flight either way. For the usual kernels a value that several neighbours read is loaded once: a
//! processor loads no more registers a cycle than it multiplies, and twice as slowly where they cross lines of its cache.
//! Taps in the padding are left out: with finite weights they add +0.

use unisono_tensor::TensorError;

use super::super::{ConvEpilogue, ConvKind, ConvShape, part};
use crate::gemm::microkernel::Simple;
use crate::gemm::{Cores, Epilogue, MatrixRef, SLICE, estimated_ns};
use crate::memory::{AlignedBuf, SharedMut};
use crate::simd::{Kernel, Simd, dispatch};

/// Channels that lie together in the weights: a multiple of every instruction set's lanes.
const BLOCK: usize = 16;
/// Positions that are computed side by side.
const TOGETHER: usize = 8;
/// Registers of channels that are computed side by side at the ends of a row.
const BESIDE: usize = 4;
/// Columns of the input that the usual kernels read for `TOGETHER` positions, at most: with 5 columns and a stride of 2.
const MOST_READ: usize = (TOGETHER - 1) * 2 + 5;
const TILES_PER_THREAD: usize = 8;

/// Can the kind be computed here? One input and one output to a group, and a sum of one slice.
pub(super) fn serves(kind: &ConvKind) -> bool {
    !kind.transposed
        && kind.in_per_group() == 1
        && kind.out_per_group() == 1
        && kind.kernel[0] == 1
        && kind.strides[0] == 1
        && (1..=SLICE).contains(&kind.taps())
        && kind.groups >= BLOCK / 2
}

/// By 16 channels, by tap, by channel.
#[derive(Debug)]
pub(super) struct Weights(AlignedBuf);

impl Weights {
    pub fn pack(kind: &ConvKind, w: &[f32]) -> Result<Self, TensorError> {
        let taps = kind.taps();
        let mut packed = AlignedBuf::zeroed(kind.groups.next_multiple_of(BLOCK) * taps)?;
        let out = packed.as_mut_slice();
        for (channel, of_channel) in w.chunks_exact(taps).enumerate() {
            for (tap, &value) in of_channel.iter().enumerate() {
                out[(channel / BLOCK * taps + tap) * BLOCK + channel % BLOCK] = value;
            }
        }
        Ok(Self(packed))
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// Lengths have been checked; the depth of kernel and padding is neutral.
    pub fn run(
        &self,
        cores: Cores<'_>,
        shape: &ConvShape,
        x: &[f32],
        y: &mut [f32],
        epilogue: &ConvEpilogue<'_>,
    ) {
        let channels = shape.in_channels;
        let [depth, out_rows, out_cols] = shape.output;
        let rows = shape.batch * depth * out_rows;
        let products = estimated_ns(cores.isa, rows * out_cols, channels, shape.terms());
        let tiles = rows.min(cores.team.threads() * TILES_PER_THREAD);
        let y = SharedMut::new(y);
        let simple = Simple::of(epilogue.activation);
        let row_len = out_cols * channels;
        // A load for every multiplication.
        cores
            .team
            .run(tiles, products.saturating_mul(2), |tile, _| {
                for row in part(tile, rows, tiles) {
                    let (plane, row_in_plane) = (row / out_rows, row % out_rows);
                    let (image, z) = (plane / depth, plane % depth);
                    let at = Row {
                        shape,
                        weights: self.0.as_slice(),
                        plane: z
                            .checked_sub(shape.pads[0])
                            .filter(|&z| z < shape.input[0])
                            .map(|z| {
                                let [_, h, w] = shape.input;
                                let len = h * w * channels;
                                &x[(image * shape.input[0] + z) * len..][..len]
                            }),
                        row: row_in_plane,
                        bias: epilogue.bias.filter(|_| simple.is_some()),
                        activation: simple.unwrap_or(Simple::None),
                        // SAFETY: rows lie in the output and are written once.
                        out: unsafe {
                            std::slice::from_raw_parts_mut(y.ptr().add(row * row_len), row_len)
                        },
                    };
                    dispatch(cores.isa, at);
                    if simple.is_none() {
                        let finish = Epilogue {
                            bias: epilogue.bias.map(MatrixRef::repeat_row),
                            activation: epilogue.activation,
                            ..Epilogue::default()
                        };
                        // SAFETY: the row is ours alone.
                        unsafe {
                            let c = y.ptr().add(row * row_len);
                            finish.apply(cores.isa, c, channels, 0..out_cols, 0..channels);
                        }
                    }
                }
            });
    }
}

/// A row of the output.
struct Row<'a> {
    shape: &'a ConvShape,
    weights: &'a [f32],
    /// The depth of the input that is read; none if it is padding.
    plane: Option<&'a [f32]>,
    row: usize,
    bias: Option<&'a [f32]>,
    activation: Simple,
    out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.shape.in_channels;
        let Some(reach) = self.reach() else {
            let zero = s.zero();
            for col in 0..self.shape.output[2] {
                for channel in (0..channels).step_by(S::LANES) {
                    self.write(s, zero, col, channel);
                }
            }
            return;
        };
        let cols = self.shape.output[2];
        let [_, _, kernel_cols] = self.shape.kernel;
        let (stride, pad) = (self.shape.strides[2], self.shape.pads[2]);
        if self.shape.dilations[2] == 1 {
            match (kernel_cols, stride) {
                (3, 1) => return self.usual::<S, 3, 1>(s, &reach),
                (3, 2) => return self.usual::<S, 3, 2>(s, &reach),
                (5, 1) => return self.usual::<S, 5, 1>(s, &reach),
                (5, 2) => return self.usual::<S, 5, 2>(s, &reach),
                (7, 1) => return self.usual::<S, 7, 1>(s, &reach),
                _ => {}
            }
        }
        // Positions whose taps are all inside.
        let far = (kernel_cols - 1) * self.shape.dilations[2];
        let low = pad.div_ceil(stride).min(cols);
        let high = match (self.shape.input[2] + pad).checked_sub(far + 1) {
            Some(last) => (last / stride + 1).clamp(low, cols),
            None => low,
        };
        for channel in (0..channels).step_by(S::LANES) {
            let mut col = low;
            while col + TOGETHER <= high {
                self.within::<S, TOGETHER>(s, &reach, col, channel);
                col += TOGETHER;
            }
            while col + TOGETHER / 2 <= high {
                self.within::<S, { TOGETHER / 2 }>(s, &reach, col, channel);
                col += TOGETHER / 2;
            }
            while col < high {
                self.within::<S, 1>(s, &reach, col, channel);
                col += 1;
            }
        }
        for col in (0..low).chain(high..cols) {
            let mut channel = 0;
            while channel + BESIDE * S::LANES <= channels {
                self.at_the_end::<S, BESIDE>(s, &reach, col, channel);
                channel += BESIDE * S::LANES;
            }
            while channel < channels {
                self.at_the_end::<S, 1>(s, &reach, col, channel);
                channel += S::LANES;
            }
        }
    }
}

/// The rows of the kernel that read rows of the input, and the first of these.
struct Reach {
    kernel_rows: std::ops::Range<usize>,
    first: usize,
}

impl Row<'_> {
    /// None if all taps are in the padding.
    #[inline(always)]
    fn reach(&self) -> Option<Reach> {
        self.plane?;
        let shape = self.shape;
        let (start, dilation) = (self.row * shape.strides[1], shape.dilations[1]);
        let (pad, height) = (shape.pads[1], shape.input[1]);
        let low = pad.saturating_sub(start).div_ceil(dilation);
        let high = (height + pad).saturating_sub(start).div_ceil(dilation);
        let kernel_rows = low..high.min(shape.kernel[1]);
        (!kernel_rows.is_empty()).then(|| Reach {
            first: start + low * dilation - pad,
            kernel_rows,
        })
    }

    /// Reads a register of channels of which the last may be missing.
    #[inline(always)]
    fn read<S: Simd>(&self, s: S, at: usize, channel: usize) -> S::F {
        let plane = self.plane.unwrap_or_default();
        let missing = self.shape.in_channels - channel;
        match missing >= S::LANES {
            true => s.load(&plane[at..]),
            false => s.load_part(&plane[at..at + missing]),
        }
    }

    #[inline(always)]
    fn weight<S: Simd>(&self, s: S, tap: usize, channel: usize) -> S::F {
        let taps = self.shape.kernel[1] * self.shape.kernel[2];
        let at = (channel / BLOCK * taps + tap) * BLOCK + channel % BLOCK;
        s.load(&self.weights[at..])
    }

    /// All positions, for a kernel of `K` columns side by side and a stride of `D`.
    #[inline(always)]
    fn usual<S: Simd, const K: usize, const D: usize>(&mut self, s: S, reach: &Reach) {
        let cols = self.shape.output[2];
        match S::LANES {
            // What is loaded once has a register each. One position less where that makes no more blocks: fewer are for nothing.
            16 if cols.div_ceil(TOGETHER - 1) == cols.div_ceil(TOGETHER) => {
                self.blocks::<S, K, D, { TOGETHER - 1 }>(s, reach);
            }
            16 => self.blocks::<S, K, D, TOGETHER>(s, reach),
            _ => self.blocks::<S, K, D, { TOGETHER / 2 }>(s, reach),
        }
    }

    #[inline(always)]
    fn blocks<S: Simd, const K: usize, const D: usize, const P: usize>(
        &mut self,
        s: S,
        reach: &Reach,
    ) {
        let [channels, cols] = [self.shape.in_channels, self.shape.output[2]];
        let (pad, width) = (self.shape.pads[2], self.shape.input[2]);
        for channel in (0..channels).step_by(S::LANES) {
            for col in (0..cols).step_by(P) {
                let inside = col * D >= pad && col * D - pad + (P - 1) * D + K <= width;
                match (inside, channel + S::LANES <= channels) {
                    (true, true) => self.block::<S, K, D, P, true, true>(s, reach, col, channel),
                    (true, false) => self.block::<S, K, D, P, true, false>(s, reach, col, channel),
                    (false, true) => self.block::<S, K, D, P, false, true>(s, reach, col, channel),
                    (false, false) => {
                        self.block::<S, K, D, P, false, false>(s, reach, col, channel);
                    }
                }
            }
        }
    }

    /// P neighbours, of which those beyond the row are not written. `INSIDE` if all their taps lie in the row, `WHOLE` if no channel
    /// of the register is missing.
    #[inline(always)]
    fn block<
        S: Simd,
        const K: usize,
        const D: usize,
        const P: usize,
        const INSIDE: bool,
        const WHOLE: bool,
    >(
        &mut self,
        s: S,
        reach: &Reach,
        col: usize,
        channel: usize,
    ) {
        let shape = self.shape;
        let (channels, width) = (shape.in_channels, shape.input[2]);
        let plane = self.plane.unwrap_or_default();
        let lanes = if WHOLE { S::LANES } else { channels - channel };
        let mut sums = [s.zero(); P];
        for (i, ky) in reach.kernel_rows.clone().enumerate() {
            let row = &plane[(reach.first + i * shape.dilations[1]) * width * channels..]
                [..width * channels];
            // What the taps read, from left to right; the padding is +0.
            let mut x = [s.zero(); MOST_READ];
            for (j, x) in x.iter_mut().enumerate().take((P - 1) * D + K) {
                let at = (col * D + j).wrapping_sub(shape.pads[2]);
                if INSIDE || at < width {
                    debug_assert!(at < width && at * channels + channel + lanes <= row.len());
                    // SAFETY: the column lies in the row, and so do its channels from this one on, of which there are `lanes`.
                    *x = unsafe {
                        let from = row.as_ptr().add(at * channels + channel);
                        match WHOLE {
                            true => s.load_raw(from),
                            false => s.load_part_raw(from, lanes),
                        }
                    };
                }
            }
            for kx in 0..K {
                let weight = self.weight(s, ky * K + kx, channel);
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(weight, x[p * D + kx], *sum);
                }
            }
        }
        let cols = shape.output[2];
        for (p, sum) in sums.into_iter().enumerate() {
            if INSIDE || col + p < cols {
                self.write(s, sum, col + p, channel);
            }
        }
    }

    /// P neighbours of a row whose taps all lie in it, for any kernel.
    #[inline(always)]
    fn within<S: Simd, const P: usize>(&mut self, s: S, reach: &Reach, col: usize, channel: usize) {
        let shape = self.shape;
        let (channels, width) = (shape.in_channels, shape.input[2]);
        let [_, _, kernel_cols] = shape.kernel;
        let [_, dy, dx] = shape.dilations;
        let step = shape.strides[2] * channels;
        let first =
            (reach.first * width + col * shape.strides[2] - shape.pads[2]) * channels + channel;
        let is_whole = channel + S::LANES <= channels;
        let plane = self.plane.unwrap_or_default();
        let rows = reach.kernel_rows.len();
        let end = first
            + ((rows - 1) * dy * width + (kernel_cols - 1) * dx) * channels
            + (P - 1) * step
            + if is_whole {
                S::LANES
            } else {
                channels - channel
            };
        assert!(end <= plane.len());
        let mut sums = [s.zero(); P];
        for (i, ky) in reach.kernel_rows.clone().enumerate() {
            for kx in 0..kernel_cols {
                let weight = self.weight(s, ky * kernel_cols + kx, channel);
                let at = first + (i * dy * width + kx * dx) * channels;
                for (p, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the last tap of the last position ends within the plane, as was checked above.
                    let x = unsafe {
                        let from = plane.as_ptr().add(at + p * step);
                        match is_whole {
                            true => s.load_raw(from),
                            false => s.load_part_raw(from, channels - channel),
                        }
                    };
                    *sum = s.fma(weight, x, *sum);
                }
            }
        }
        for (p, sum) in sums.into_iter().enumerate() {
            self.write(s, sum, col + p, channel);
        }
    }

    /// V registers of channels of a position of whose taps some are in the padding.
    #[inline(always)]
    fn at_the_end<S: Simd, const V: usize>(
        &mut self,
        s: S,
        reach: &Reach,
        col: usize,
        channel: usize,
    ) {
        let shape = self.shape;
        let (channels, width) = (shape.in_channels, shape.input[2]);
        let [_, _, kernel_cols] = shape.kernel;
        let [_, dy, dx] = shape.dilations;
        let mut sums = [s.zero(); V];
        for (i, ky) in reach.kernel_rows.clone().enumerate() {
            for kx in 0..kernel_cols {
                let at = (col * shape.strides[2] + kx * dx).checked_sub(shape.pads[2]);
                let Some(at) = at.filter(|&at| at < width) else {
                    continue;
                };
                let at = ((reach.first + i * dy) * width + at) * channels;
                for (v, sum) in sums.iter_mut().enumerate() {
                    let channel = channel + v * S::LANES;
                    let weight = self.weight(s, ky * kernel_cols + kx, channel);
                    *sum = s.fma(weight, self.read(s, at + channel, channel), *sum);
                }
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            self.write(s, sum, col, channel + v * S::LANES);
        }
    }

    /// Finishes and writes a register of channels of which the last may be missing.
    #[inline(always)]
    fn write<S: Simd>(&mut self, s: S, sum: S::F, col: usize, channel: usize) {
        let channels = self.shape.in_channels;
        let n = S::LANES.min(channels - channel);
        // A total begins with +0, so it is never -0.
        let mut total = s.add(s.zero(), sum);
        if let Some(bias) = self.bias {
            total = s.add(
                total,
                match n == S::LANES {
                    true => s.load(&bias[channel..]),
                    false => s.load_part(&bias[channel..]),
                },
            );
        }
        let total = self.activation.eval(s, total);
        let out = &mut self.out[col * channels + channel..][..n];
        match n == S::LANES {
            true => s.store(total, out),
            false => s.store_part(total, out),
        }
    }
}
