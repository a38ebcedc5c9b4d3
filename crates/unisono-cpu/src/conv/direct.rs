//! Convolutions with few outputs per group: depthwise ones, and those that end in one to three channels.
//!
//! A panel would be gathered for few uses, so the input is copied once, with its padding, and read in place. One idea: the copy is
//! sorted so that *any* geometry becomes a plain run. Rows and columns are dealt to as many *phases* as the stride is long, by their
//! position modulo the stride; then every tap reads its phase one element further for each output, and an output row follows the one
//! before after a constant distance. The whole block of output rows is one run of lanes; the few lanes between two rows compute
//! numbers that nobody reads.

use unisono_reference::arith::fma_f32;
use unisono_tensor::{TensorError, fault};

use super::{ConvEpilogue, ConvKind, ConvShape, part};
use crate::gemm::{Cores, SLICE, estimated_ns};
use crate::memory::{Seats, SharedMut};
use crate::simd::{Isa, Kernel, Simd, dispatch};

/// Elements of the copied input that a tile aims at: it stays in the first-level cache with the output.
const NEAR_INPUT: usize = 8 * 1024;
/// Rows of output that a tile has at least, so that rows of input which neighbours share are few.
const LEAST_ROWS: usize = 8;
/// Tiles that even out what the threads finish with.
const TILES_PER_THREAD: usize = 8;
/// Lanes that a kernel may read and write beyond the end of a run.
const SLACK: usize = 128;

/// Brings weights into the order of the sums: by output channel, (ky, kx, ci).
pub(super) fn order_weights(kind: &ConvKind, w: &[f32]) -> Result<Vec<f32>, TensorError> {
    let (ins, taps) = (kind.in_per_group(), kind.taps());
    let mut ordered = Vec::new();
    if fault!(allocation) || ordered.try_reserve_exact(w.len()).is_err() {
        let bytes = size_of_val(w);
        return Err(TensorError::OutOfMemory { bytes });
    }
    let places = (0..kind.out_channels)
        .flat_map(|co| (0..taps).flat_map(move |tap| (0..ins).map(move |ci| (co, tap, ci))));
    ordered.extend(places.map(|(co, tap, ci)| w[kind.weight_index(co, ci, tap)]));
    Ok(ordered)
}

/// How the work is cut and where things lie in a seat's area; follows from the shape alone.
pub(super) struct Cut {
    row_tiles: usize,
    /// Columns of a phase, also the distance between rows of the run.
    pitch: usize,
    /// Elements of a phase.
    phase: usize,
    /// Elements of the copy of one channel.
    channel: usize,
    /// Where the run begins.
    run: usize,
    /// Elements of a seat's area.
    pub area: usize,
    estimated_ns: u64,
}

impl Cut {
    pub fn new(cores: Cores<'_>, shape: &ConvShape) -> Self {
        let ins = shape.in_channels / shape.groups;
        let [_, out_rows, out_cols] = shape.output;
        let [_, sy, sx] = shape.strides;
        let further = |axis: usize| {
            (shape.kernel[axis].saturating_sub(1)) * shape.dilations[axis] / shape.strides[axis]
        };
        let pitch = out_cols + further(2);
        let least = (pitch * sy * sx * ins).max(1);
        let rows = (NEAR_INPUT / least).clamp(LEAST_ROWS, out_rows.max(LEAST_ROWS));
        let planes = shape.batch * shape.groups * shape.output[0];
        let row_tiles = out_rows.div_ceil(rows).max(1);
        let rows = out_rows.div_ceil(row_tiles);
        let phase = (rows + further(1)) * pitch;
        let channel = sy * sx * phase;
        let run = (ins * channel + SLACK).next_multiple_of(crate::memory::LINE);
        let outs = shape.out_channels / shape.groups;
        let products = estimated_ns(cores.isa, out_rows * out_cols, outs, shape.terms());
        Self {
            row_tiles,
            pitch,
            phase,
            channel,
            run,
            area: run + rows * pitch + SLACK,
            // About twice as slow as a product: a load for every multiplication, and the copy.
            estimated_ns: products.saturating_mul(2 * planes as u64),
        }
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
    let depth = shape.output[0];
    let blocks = shape.batch * shape.groups * depth * cut.row_tiles;
    // A block is soon done; many of them make a tile.
    let tiles = blocks.min(cores.team.threads() * TILES_PER_THREAD);
    cores.team.run(tiles, cut.estimated_ns, |tile, seat| {
        // SAFETY: a seat has one holder at a time.
        let area = unsafe { seats.area(seat) };
        for block in part(tile, blocks, tiles) {
            let (block, row_tile) = (block / cut.row_tiles, block % cut.row_tiles);
            let (block, z) = (block / depth, block % depth);
            let block = Block {
                isa: cores.isa,
                shape,
                cut,
                image: block / shape.groups,
                group: block % shape.groups,
                z,
                row_tile,
            };
            // SAFETY: blocks write disjoint rows of the output.
            unsafe { block.compute(weights, x, y.ptr(), epilogue, area) };
        }
    });
}

/// Some rows of all output channels of a group.
struct Block<'a> {
    isa: Isa,
    shape: &'a ConvShape,
    cut: &'a Cut,
    image: usize,
    group: usize,
    /// The output's depth; with a kernel of depth 1 it reads one depth of the input.
    z: usize,
    row_tile: usize,
}

impl Block<'_> {
    /// # Safety
    /// `y` is the whole output, and the block's rows in it are the caller's alone.
    unsafe fn compute(
        &self,
        weights: &[f32],
        x: &[f32],
        y: *mut f32,
        epilogue: &ConvEpilogue<'_>,
        area: &mut [f32],
    ) {
        let Self { shape, cut, .. } = self;
        let (ins, outs) = (
            shape.in_channels / shape.groups,
            shape.out_channels / shape.groups,
        );
        let [_, out_rows, out_cols] = shape.output;
        let rows = part(self.row_tile, out_rows, cut.row_tiles);
        let (input, run) = area.split_at_mut(cut.run);
        let in_plane: usize = shape.input.iter().product();
        let z = (self.z * shape.strides[0]).checked_sub(shape.pads[0]);
        for ci in 0..ins {
            let channel = self.image * shape.in_channels + self.group * ins + ci;
            let [depth, h, w] = shape.input;
            let plane = z
                .filter(|&z| z < depth)
                .map(|z| &x[channel * in_plane + z * h * w..][..h * w]);
            let out = &mut input[ci * cut.channel..][..cut.channel];
            out.fill(0.0);
            if let Some(plane) = plane {
                let deal = Deal {
                    shape,
                    cut,
                    plane,
                    first_row: rows.start,
                    out,
                };
                dispatch(self.isa, deal);
            }
        }
        let lanes = (rows.len() - 1) * cut.pitch + out_cols;
        let out_plane: usize = shape.output.iter().product();
        for co in self.group * outs..(self.group + 1) * outs {
            let terms = shape.terms();
            let taps = Taps { shape, cut, ins };
            // SAFETY: the run and every tap's place have room for the lanes and the slack beyond.
            unsafe {
                chains(
                    self.isa,
                    &taps,
                    &weights[co * terms..][..terms],
                    input.as_ptr(),
                    run.as_mut_ptr(),
                    lanes,
                );
            }
            let first =
                (self.image * shape.out_channels + co) * out_plane + self.z * out_rows * out_cols;
            // SAFETY: the rows lie in the output and are ours alone.
            let y = unsafe { y.add(first) };
            // SAFETY: as above.
            let out = unsafe {
                std::slice::from_raw_parts_mut(y.add(rows.start * out_cols), rows.len() * out_cols)
            };
            let cols = out_cols;
            dispatch(
                self.isa,
                Collect {
                    run,
                    pitch: cut.pitch,
                    cols,
                    out,
                },
            );
            let finish = epilogue.of_planes(co, first, out_plane);
            let cols = rows.start * out_cols..rows.end * out_cols;
            // SAFETY: the rows lie in the output and are ours alone; bias and residual cover them.
            unsafe { finish.apply(self.isa, y, out_plane, 0..1, cols) };
        }
    }
}

/// Copies what output rows from `first_row` on read of a plane, dealt to phases. `out` is zero before.
struct Deal<'a> {
    shape: &'a ConvShape,
    cut: &'a Cut,
    plane: &'a [f32],
    first_row: usize,
    out: &'a mut [f32],
}

impl Kernel for Deal<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            shape, cut, plane, ..
        } = self;
        let [_, h, w] = shape.input;
        let [_, sy, sx] = shape.strides;
        let [_, pad_y, pad_x] = shape.pads;
        for (phase, out) in self.out.chunks_exact_mut(cut.phase).enumerate() {
            let (py, px) = (phase / sx, phase % sx);
            // Columns of the phase whose input column `i * sx + px - pad_x` exists.
            let low = pad_x.saturating_sub(px).div_ceil(sx).min(cut.pitch);
            let high = (w + pad_x)
                .saturating_sub(px)
                .div_ceil(sx)
                .clamp(low, cut.pitch);
            if low == high {
                continue;
            }
            let first = low * sx + px - pad_x;
            for (i, row) in out.chunks_exact_mut(cut.pitch).enumerate() {
                let at = ((self.first_row + i) * sy + py).wrapping_sub(pad_y);
                if at >= h {
                    continue;
                }
                let (source, row) = (&plane[at * w + first..(at + 1) * w], &mut row[low..high]);
                match sx {
                    1 => copy(s, source, row),
                    2 => {
                        // The last pair may lack its second half.
                        let pairs = source.as_chunks::<2>().0;
                        let (most, last) = row.split_at_mut(pairs.len().min(row.len()));
                        for (to, pair) in most.iter_mut().zip(pairs) {
                            *to = pair[0];
                        }
                        if let (Some(to), Some(&from)) = (last.first_mut(), source.last()) {
                            *to = from;
                        }
                    }
                    _ => {
                        for (to, &from) in row.iter_mut().zip(source.iter().step_by(sx)) {
                            *to = from;
                        }
                    }
                }
            }
        }
    }
}

/// Takes the rows of the output out of the run.
struct Collect<'a> {
    run: &'a [f32],
    pitch: usize,
    cols: usize,
    out: &'a mut [f32],
}

impl Kernel for Collect<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.out.chunks_exact_mut(self.cols);
        for (row, from) in rows.zip(self.run.chunks(self.pitch)) {
            copy(s, from, row);
        }
    }
}

/// Copies the first elements of `from` to all of `to`. Rows are short; a call of the library's copy would cost more than the copy.
#[inline(always)]
fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    let from = &from[..to.len()];
    let mut at = 0;
    while at + S::LANES <= to.len() {
        s.store(s.load(&from[at..]), &mut to[at..]);
        at += S::LANES;
    }
    if at < to.len() {
        s.store_part(s.load_part(&from[at..]), &mut to[at..]);
    }
}

/// The taps' places in the dealt input.
struct Taps<'a> {
    shape: &'a ConvShape,
    cut: &'a Cut,
    ins: usize,
}

impl Taps<'_> {
    /// Where the lane 0 of the terms `first..` reads, in the order of the sum.
    fn fill(&self, first: usize, places: &mut [usize]) {
        let [_, _, kernel_cols] = self.shape.kernel;
        let [_, sy, sx] = self.shape.strides;
        let [_, dy, dx] = self.shape.dilations;
        // A division costs more than a tap does, and most strides are 1.
        let split = |x: usize, stride: usize| {
            if stride == 1 {
                (x, 0)
            } else {
                (x / stride, x % stride)
            }
        };
        let (tap, mut ci) = (first / self.ins, first % self.ins);
        let (mut ky, mut kx) = (tap / kernel_cols, tap % kernel_cols);
        let mut places = places.iter_mut();
        loop {
            let (row, py) = split(ky * dy, sy);
            let row = py * sx * self.cut.phase + row * self.cut.pitch;
            while kx < kernel_cols {
                let (col, px) = split(kx * dx, sx);
                let place = row + px * self.cut.phase + col;
                while ci < self.ins {
                    let Some(slot) = places.next() else { return };
                    *slot = place + ci * self.cut.channel;
                    ci += 1;
                }
                ci = 0;
                kx += 1;
            }
            kx = 0;
            ky += 1;
        }
    }
}

/// Computes `lanes` long sums side by side: lane i of `out` is the sum over the terms of `weight * input[place + i]`.
///
/// # Safety
/// `isa` is available; every place has `lanes` elements and [`SLACK`] more behind it, so has `out`.
unsafe fn chains(
    isa: Isa,
    taps: &Taps<'_>,
    weights: &[f32],
    input: *const f32,
    out: *mut f32,
    lanes: usize,
) {
    let mut places = [0_usize; SLICE];
    for (s, weights) in weights.chunks(SLICE).enumerate() {
        let places = &mut places[..weights.len()];
        taps.fill(s * SLICE, places);
        let slice = Slice {
            places,
            weights,
            input,
            out,
            lanes,
            first: s == 0,
        };
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => x86::avx512(&slice),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => x86::avx2(&slice),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => neon::neon(&slice),
                _ => scalar(&slice),
            }
        }
    }
    if weights.is_empty() {
        // SAFETY: the caller's promise.
        unsafe { out.write_bytes(0, lanes) };
    }
}

/// One slice of all lanes.
struct Slice<'a> {
    places: &'a [usize],
    weights: &'a [f32],
    input: *const f32,
    out: *mut f32,
    lanes: usize,
    first: bool,
}

/// # Safety
/// As for [`chains`].
unsafe fn scalar(slice: &Slice<'_>) {
    for lane in 0..slice.lanes {
        let mut sum = 0.0;
        for (&place, &weight) in slice.places.iter().zip(slice.weights) {
            // SAFETY: the caller's promise.
            sum = fma_f32(weight, unsafe { *slice.input.add(place + lane) }, sum);
        }
        // SAFETY: the caller's promise.
        unsafe {
            let out = slice.out.add(lane);
            let total = if slice.first { 0.0 } else { *out };
            *out = total + sum;
        }
    }
}

/// Writes the vector form: V registers of lanes at a time, as long as there are lanes; the last registers run into the slack.
macro_rules! vector_slice {
    ($(#[$attribute:meta])* $name:ident, $block:ident, $lanes:expr, $vector:ty, $zero:expr, $load:path, $store:path, $splat:path,
     $add:path, |$x:ident, $y:ident, $z:ident| $fma:expr) => {
        $(#[$attribute])*
        unsafe fn $block<const V: usize>(slice: &super::Slice<'_>, lane: usize) {
            let mut sums: [$vector; V] = [$zero; V];
            // SAFETY: the caller's promise.
            unsafe {
                for (&place, &weight) in slice.places.iter().zip(slice.weights) {
                    let $x = $splat(weight);
                    let from = slice.input.add(place + lane);
                    for v in 0..V {
                        let ($y, $z) = ($load(from.add(v * $lanes)), sums[v]);
                        sums[v] = $fma;
                    }
                }
                for v in 0..V {
                    let out = slice.out.add(lane + v * $lanes);
                    let total = if slice.first { $zero } else { $load(out) };
                    $store(out, $add(total, sums[v]));
                }
            }
        }

        /// # Safety
        /// As for `chains`, and the instruction set is available.
        $(#[$attribute])*
        pub(super) unsafe fn $name(slice: &super::Slice<'_>) {
            let mut lane = 0;
            // SAFETY: the caller's promise; a block reads and writes less than the slack beyond the last lane.
            unsafe {
                while lane + 7 * $lanes < slice.lanes {
                    $block::<8>(slice, lane);
                    lane += 8 * $lanes;
                }
                while lane + 3 * $lanes < slice.lanes {
                    $block::<4>(slice, lane);
                    lane += 4 * $lanes;
                }
                while lane < slice.lanes {
                    $block::<1>(slice, lane);
                    lane += $lanes;
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    vector_slice!(
        #[target_feature(enable = "avx512f")]
        avx512,
        avx512_block,
        16,
        __m512,
        _mm512_setzero_ps(),
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_add_ps,
        |x, y, z| _mm512_fmadd_ps(x, y, z)
    );

    vector_slice!(
        #[target_feature(enable = "avx2,fma")]
        avx2,
        avx2_block,
        8,
        __m256,
        _mm256_setzero_ps(),
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_add_ps,
        |x, y, z| _mm256_fmadd_ps(x, y, z)
    );
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{
        float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32,
    };

    vector_slice!(
        #[target_feature(enable = "neon")]
        neon,
        neon_block,
        4,
        float32x4_t,
        vdupq_n_f32(0.0),
        vld1q_f32,
        vst1q_f32,
        vdupq_n_f32,
        vaddq_f32,
        |x, y, z| vfmaq_f32(z, x, y)
    );
}
