//! Depthwise convolutions with channels in the lanes.
//!
//! One idea: 16 channels are turned so that a position's values lie side by side, their weights likewise. Every tap is then one aligned
//! load and one multiply-add for 16 outputs, whatever stride, dilation and width of the map: on the small maps of a network's later layers, lanes
//! that run along a row would mostly be empty. The turned input has its padding around it, so that a tap never asks where it is.
//!
//! A register may be narrower than 16 lanes; a position then takes several.

use unisono_tensor::{TensorError, fault};

use super::{ConvEpilogue, ConvKind, ConvShape, part};
use crate::gemm::pack::transpose;
use crate::gemm::{Cores, SLICE};
use crate::memory::{Seats, SharedMut};
use crate::simd::{Isa, Kernel, Simd, dispatch};

/// Channels that are computed together.
const LANES: usize = 16;
/// Elements of turned input and output that a tile aims at: they stay in the first-level cache with the weights.
const NEAR: usize = 10 * 1024;
/// Rows of output that a tile has at least, so that rows of input which neighbours share are few.
const LEAST_ROWS: usize = 4;
/// Tiles that even out what the threads finish with.
const TILES_PER_THREAD: usize = 8;
/// Positions that are computed side by side: enough chains in flight to hide the latency of a multiply-add.
const TOGETHER: usize = 8;

/// Can the kind be computed here? One input and one output to a group, and a sum of one slice.
pub(super) fn serves(kind: &ConvKind) -> bool {
    !kind.transposed
        && kind.in_per_group() == 1
        && kind.out_per_group() == 1
        && kind.kernel[0] == 1
        && (1..=SLICE).contains(&kind.taps())
        && kind.groups >= LANES / 2
}

/// Columns of output from which on lanes that run along rows are faster: nothing has to be turned. Measured on two cores with AVX-512:
/// 7 columns gain a factor of 2 to 2.5, 14 columns 1.2 to 1.5, 28 columns nothing (`--example conv_peak avx512 depthwise`).
const WIDE: usize = 24;

/// Is the output narrow enough?
pub(super) fn suits(shape: &ConvShape) -> bool {
    shape.output[2] < WIDE
}

/// Brings weights into the order in which they are read: by 16 channels, by tap, by channel.
pub(super) fn turn_weights(kind: &ConvKind, w: &[f32]) -> Result<Vec<f32>, TensorError> {
    let taps = kind.taps();
    let len = kind.groups.next_multiple_of(LANES) * taps;
    let mut turned = Vec::new();
    if fault!(allocation) || turned.try_reserve_exact(len).is_err() {
        let bytes = len * size_of::<f32>();
        return Err(TensorError::OutOfMemory { bytes });
    }
    turned.resize(len, 0.0);
    for (co, of_channel) in w.chunks_exact(taps).enumerate() {
        for (tap, &value) in of_channel.iter().enumerate() {
            turned[(co / LANES * taps + tap) * LANES + co % LANES] = value;
        }
    }
    Ok(turned)
}

/// How the work is cut; follows from the shape alone.
pub(super) struct Cut {
    row_tiles: usize,
    /// Columns of the turned input, with padding.
    pitch: usize,
    /// Elements of the turned input.
    input: usize,
    /// Elements of a seat's area.
    pub area: usize,
    estimated_ns: u64,
}

impl Cut {
    pub fn new(cores: Cores<'_>, shape: &ConvShape) -> Self {
        let [_, out_rows, out_cols] = shape.output;
        let reach = |axis: usize| (shape.kernel[axis] - 1) * shape.dilations[axis] + 1;
        let pitch = out_cols.saturating_sub(1) * shape.strides[2] + reach(2);
        let in_rows = |rows: usize| rows.saturating_sub(1) * shape.strides[1] + reach(1);
        let a_row = LANES * (shape.strides[1] * pitch + out_cols);
        let rows = (NEAR / a_row.max(1)).clamp(LEAST_ROWS, out_rows.max(LEAST_ROWS));
        let row_tiles = out_rows.div_ceil(rows).max(1);
        let rows = out_rows.div_ceil(row_tiles);
        let input = in_rows(rows) * pitch * LANES;
        let output = rows * out_cols * LANES;
        // Turning a position in and out is counted as 16 taps of one register.
        let a_position = (shape.kernel.iter().product::<usize>() + 16) as u64;
        let registers = registers(cores.isa);
        let positions = (shape.batch * shape.groups.div_ceil(LANES) * out_rows * out_cols) as u64;
        Self {
            row_tiles,
            pitch,
            input,
            area: (input + output).next_multiple_of(crate::memory::LINE),
            // Half a nanosecond for a load and a multiply-add: maps of 14 columns took 1.5 to 1.8 times this on a slow core.
            estimated_ns: positions.saturating_mul(a_position * registers) / 2,
        }
    }
}

/// How many registers 16 lanes take.
fn registers(isa: Isa) -> u64 {
    match isa {
        Isa::Avx512 => 1,
        Isa::Avx2 => 2,
        Isa::Neon => 4,
        Isa::Scalar => 16,
    }
}

/// Runs all tiles. Lengths have been checked; the depth of kernel and output is 1 or neutral.
#[expect(clippy::too_many_arguments, reason = "called from one place")]
pub(super) fn run(
    cores: Cores<'_>,
    shape: &ConvShape,
    weights: &[f32],
    cut: &Cut,
    x: &[f32],
    y: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
    scratch: &mut [f32],
) {
    let seats = Seats::new(scratch, cores.team.threads(), cut.area);
    let y = SharedMut::new(y);
    let (depth, sixteens) = (shape.output[0], shape.groups.div_ceil(LANES));
    let blocks = shape.batch * sixteens * depth * cut.row_tiles;
    let tiles = blocks.min(cores.team.threads() * TILES_PER_THREAD);
    cores.team.run(tiles, cut.estimated_ns, |tile, seat| {
        // SAFETY: a seat has one holder at a time.
        let area = unsafe { seats.area(seat) };
        for block in part(tile, blocks, tiles) {
            let (block, row_tile) = (block / cut.row_tiles, block % cut.row_tiles);
            let (block, z) = (block / depth, block % depth);
            let (image, sixteen) = (block / sixteens, block % sixteens);
            let channels = sixteen * LANES..shape.groups.min((sixteen + 1) * LANES);
            let rows = part(row_tile, shape.output[1], cut.row_tiles);
            let [_, out_rows, out_cols] = shape.output;
            let out_plane = depth * out_rows * out_cols;
            let first = (image * shape.out_channels + channels.start) * out_plane;
            // SAFETY: the output has a plane for every channel.
            let c = unsafe { y.ptr().add(first) };
            let start = z * out_rows * out_cols;
            let cols = start + rows.start * out_cols..start + rows.end * out_cols;
            let taps = shape.terms();
            let (input, output) = area.split_at_mut(cut.input);
            let in_plane: usize = shape.input.iter().product();
            let block = Block {
                shape,
                pitch: cut.pitch,
                first_row: rows.start,
                rows: rows.len(),
                depth: (z * shape.strides[0]).checked_sub(shape.pads[0]),
                planes: &x[(image * shape.in_channels + channels.start) * in_plane..]
                    [..channels.len() * in_plane],
                weights: &weights[sixteen * taps * LANES..][..taps * LANES],
                input,
                output: &mut output[..rows.len() * out_cols * LANES],
                // SAFETY: within the plane.
                c: unsafe { c.add(cols.start) },
                c_step: out_plane,
                channels: channels.len(),
            };
            dispatch(cores.isa, block);
            let finish = epilogue.of_planes(channels.start, first, out_plane);
            // SAFETY: blocks write disjoint rows of the output; bias and residual cover them.
            unsafe { finish.apply(cores.isa, c, out_plane, 0..channels.len(), cols) };
        }
    });
}

/// Some rows of the output of up to 16 channels.
struct Block<'a> {
    shape: &'a ConvShape,
    pitch: usize,
    first_row: usize,
    rows: usize,
    /// The depth of the input that is read; none if it is padding.
    depth: Option<usize>,
    planes: &'a [f32],
    weights: &'a [f32],
    input: &'a mut [f32],
    output: &'a mut [f32],
    /// The first row of the first channel; the block's rows of `channels` planes are writable, `c_step` apart.
    c: *mut f32,
    c_step: usize,
    channels: usize,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        self.turn_in();
        self.compute(s);
        self.turn_out();
    }
}

impl Block<'_> {
    /// Turns the rows that are read: 16 channels of a position side by side, zeros where there is no input.
    #[inline(always)]
    fn turn_in(&mut self) {
        let [depth, h, w] = self.shape.input;
        let in_plane = depth * h * w;
        let (pitch, pad) = (self.pitch, self.shape.pads[2]);
        let plane = self.depth.filter(|&z| z < depth).map(|z| z * h * w);
        // Columns of the turned row whose input exists.
        let (low, high) = (pad.min(pitch), (w + pad).min(pitch));
        let first = (self.first_row * self.shape.strides[1]).wrapping_sub(self.shape.pads[1]);
        for (i, row) in self.input.chunks_exact_mut(pitch * LANES).enumerate() {
            let at = first.wrapping_add(i);
            let Some(start) = plane.filter(|_| at < h && low < high) else {
                row.fill(0.0);
                continue;
            };
            row[..low * LANES].fill(0.0);
            row[high * LANES..].fill(0.0);
            let row = row[low * LANES..high * LANES].as_chunks_mut::<LANES>().0;
            let (planes, from, len) = (self.planes, start + at * w, row.len());
            let channel = |c: usize| &planes[c * in_plane + from..][..len];
            for quad in (0..LANES).step_by(4) {
                if quad + 4 > self.channels {
                    let left = self.channels.saturating_sub(quad);
                    for c in 0..4 {
                        match c < left {
                            true => {
                                for (to, &value) in row.iter_mut().zip(channel(quad + c)) {
                                    to[quad + c] = value;
                                }
                            }
                            false => row.iter_mut().for_each(|to| to[quad + c] = 0.0),
                        }
                    }
                    continue;
                }
                let four: [&[f32]; 4] = std::array::from_fn(|c| channel(quad + c));
                let quads = four.map(|values| values.as_chunks::<4>().0);
                let (wide, rest) = row.as_chunks_mut::<4>();
                for (i, to) in wide.iter_mut().enumerate() {
                    let block = quads.map(|quads| quads[i]);
                    for (to, values) in to.iter_mut().zip(transpose(block)) {
                        to[quad..quad + 4].copy_from_slice(&values);
                    }
                }
                let done = wide.len() * 4;
                for (i, to) in rest.iter_mut().enumerate() {
                    for c in 0..4 {
                        to[quad + c] = four[c][done + i];
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn compute<S: Simd>(&mut self, s: S) {
        let out_cols = self.shape.output[2];
        for lane in (0..LANES).step_by(S::LANES) {
            for row in 0..self.rows {
                let mut col = 0;
                while col + TOGETHER <= out_cols {
                    self.positions::<S, TOGETHER>(s, row, col, lane);
                    col += TOGETHER;
                }
                while col + 4 <= out_cols {
                    self.positions::<S, 4>(s, row, col, lane);
                    col += 4;
                }
                while col < out_cols {
                    self.positions::<S, 1>(s, row, col, lane);
                    col += 1;
                }
            }
        }
    }

    /// P neighbours of a row, one register of channels from `lane` on.
    #[inline(always)]
    fn positions<S: Simd, const P: usize>(&mut self, s: S, row: usize, col: usize, lane: usize) {
        let [_, kernel_rows, kernel_cols] = self.shape.kernel;
        let [_, sy, sx] = self.shape.strides;
        let [_, dy, dx] = self.shape.dilations;
        let first = (row * sy * self.pitch + col * sx) * LANES + lane;
        let end = first
            + ((kernel_rows - 1) * dy * self.pitch + (kernel_cols - 1) * dx + (P - 1) * sx) * LANES
            + S::LANES;
        assert!(end <= self.input.len());
        let step = sx * LANES;
        let mut sums = [s.zero(); P];
        let mut weights = self.weights.as_chunks::<LANES>().0.iter();
        for ky in 0..kernel_rows {
            for kx in 0..kernel_cols {
                let Some(weight) = weights.next() else { return };
                let weight = s.load(&weight[lane..]);
                let at = first + (ky * dy * self.pitch + kx * dx) * LANES;
                for (p, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the last tap's last register ends within the input, as was checked above.
                    let x = unsafe { s.load_raw(self.input.as_ptr().add(at + p * step)) };
                    *sum = s.fma(weight, x, *sum);
                }
            }
        }
        let at = (row * self.shape.output[2] + col) * LANES + lane;
        for (p, sum) in sums.into_iter().enumerate() {
            // A total begins with +0, so it is never -0.
            s.store(s.add(s.zero(), sum), &mut self.output[at + p * LANES..]);
        }
    }

    /// Turns the sums back and writes them where they belong.
    #[inline(always)]
    fn turn_out(&mut self) {
        let positions = self.output.as_chunks::<LANES>().0;
        let (wide, rest) = positions.as_chunks::<4>();
        for quad in (0..self.channels).step_by(4) {
            let count = (self.channels - quad).min(4);
            let mut to: [&mut [f32]; 4] = std::array::from_fn(|c| {
                if c >= count {
                    return &mut [][..];
                }
                let start = self.c.wrapping_add((quad + c) * self.c_step);
                // SAFETY: the block's rows of each channel's plane are ours alone, and as long as the sums.
                unsafe { std::slice::from_raw_parts_mut(start, positions.len()) }
            });
            for (i, block) in wide.iter().enumerate() {
                let rows = std::array::from_fn(|p| {
                    let values = &block[p][quad..quad + 4];
                    [values[0], values[1], values[2], values[3]]
                });
                for (to, values) in to.iter_mut().zip(transpose(rows)).take(count) {
                    to[i * 4..i * 4 + 4].copy_from_slice(&values);
                }
            }
            let done = wide.len() * 4;
            for (i, position) in rest.iter().enumerate() {
                for (c, to) in to.iter_mut().enumerate().take(count) {
                    to[done + i] = position[quad + c];
                }
            }
        }
    }
}
