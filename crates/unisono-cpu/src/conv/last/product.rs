//! The convolution as a product of positions with weights.
//!
//! Output positions that follow each other in a row read inputs that lie a fixed distance apart, for every term of their sums: they
//! are the rows of a tile, whose left-hand side is the input itself. Terms that follow each other in memory (all channels of a tap; the
//! taps of a row of the kernel too) are one [`Piece`]. Only padding needs a copy, with zeros around it: of what the tiles at the [`Edges`]
//! read, or of the whole input where that is less to copy.
//!
//! A job's tiles, 64 at a time, go through a panel of the weights while it is in the cache. Jobs are cut by positions as long as every
//! core's cache holds all weights: then a core reads the positions that it wrote in the layer before. Beyond that by positions or by
//! output channels, whichever leaves less to be read again.

use std::ops::Range;

use smallvec::SmallVec;

use super::super::passes::{Lattice, Pass};
use super::super::{ConvEpilogue, ConvKind, ConvShape, part};
use crate::gemm::microkernel::{Ahead, Ending, Microkernels, Piece, Residual, Tile};
use crate::gemm::{Cores, Epilogue, MatrixRef, PackedB, estimated_ns};
use crate::memory::{LINE, Seats, SharedMut};

/// Elements of input that a job's tiles read: they stay in the second-level cache while all panels of weights pass.
const NEAR_INPUT: usize = 64 * 1024;
/// Elements of weights that stay in every core's second-level cache beside that.
const NEAR_WEIGHTS: usize = 128 * 1024;
/// Work of a tile below which cutting further does not pay.
const LEAST_TILE_NS: u64 = 5_000;
const TILES_PER_THREAD: usize = 8;
/// Tiles at the edges are copied if that is so many times less than copying everything.
const LESS: usize = 2;
/// Elements that are copied in a nanosecond.
const COPIED_PER_NS: usize = 4;

/// The input as the taps see it, with padding where they reach beyond it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Positions in front of the input's first, along each axis.
    before: [usize; 3],
    /// Positions along each axis.
    size: [usize; 3],
    /// Elements, if it is a copy.
    copied: usize,
}

impl Frame {
    /// The input itself.
    pub fn of(shape: &ConvShape) -> Self {
        Self {
            before: [0; 3],
            size: shape.input,
            copied: 0,
        }
    }

    pub fn is_padded(&self) -> bool {
        self.copied > 0
    }

    pub fn scratch_len(&self) -> usize {
        match self.copied {
            0 => 0,
            n => n + LINE,
        }
    }

    /// Where the taps read: in `x`, or in a copy of it in `scratch`.
    pub fn fill<'a>(
        &self,
        cores: Cores<'_>,
        shape: &ConvShape,
        x: &'a [f32],
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        if !self.is_padded() {
            return x;
        }
        let channels = shape.in_channels;
        let copy = &mut scratch[..self.copied];
        let [_, height, width] = self.size;
        let [depth_in, height_in, width_in] = shape.input;
        // The columns of the input that are copied, and where to.
        let (left, row) = (self.before[2] * channels, width * channels);
        let inside = (width_in * channels).min(row - left);
        let rows = shape.batch * self.size[0] * height;
        let tiles = rows.min(cores.team.threads() * TILES_PER_THREAD);
        let estimated_ns = (self.copied / COPIED_PER_NS) as u64;
        let to = SharedMut::new(copy);
        cores.team.run(tiles, estimated_ns, |tile, _| {
            for r in part(tile, rows, tiles) {
                let (image, z, y) = (
                    r / (self.size[0] * height),
                    r / height % self.size[0],
                    r % height,
                );
                // SAFETY: the row lies in the copy, and rows are written once.
                let to = unsafe { std::slice::from_raw_parts_mut(to.ptr().add(r * row), row) };
                let z = z.checked_sub(self.before[0]).filter(|&z| z < depth_in);
                let y = y.checked_sub(self.before[1]).filter(|&y| y < height_in);
                let (Some(z), Some(y)) = (z, y) else {
                    to.fill(0.0);
                    continue;
                };
                let from = ((image * depth_in + z) * height_in + y) * width_in * channels;
                to[..left].fill(0.0);
                to[left..left + inside].copy_from_slice(&x[from..from + inside]);
                to[left + inside..].fill(0.0);
            }
        });
        &scratch[..self.copied]
    }
}

/// How the positions of a pass are walked.
#[derive(Debug)]
pub(super) struct Walk {
    /// Pieces of all slices, one slice after the other.
    pieces: Vec<Piece>,
    /// By slice: its pieces, and the place of its first term among all.
    slices: Vec<(Range<usize>, usize)>,
    /// Length of the sums.
    terms: usize,
    /// Rows of positions: images, and along the first two axes.
    rows: [usize; 3],
    /// Positions in a row.
    length: usize,
    /// Elements of the frame between neighbours along each of `rows`, and where the first begins.
    a_rows: [usize; 3],
    a_first: usize,
    /// Elements of the frame between positions of a row.
    a_step: usize,
    /// The same for the output.
    c_rows: [usize; 3],
    c_first: usize,
    c_step: usize,
    /// Elements of the frame, roughly, that all positions read.
    input: usize,
    /// If the frame is the input although taps reach beyond it.
    edges: Option<Edges>,
}

/// Tiles whose taps reach beyond the input read a copy of what they see of it, a patch, in which everything lies as far apart as in the input.
///
/// The rows of positions are those of the lattice then, none of them joined with another.
#[derive(Debug)]
struct Edges {
    /// Where the first tap of the first position is along each axis: perhaps in front of the input.
    first: [i64; 3],
    /// From a position to its neighbour.
    step: [usize; 3],
    /// Positions from the first tap to the last along each axis.
    span: [usize; 3],
    input: [usize; 3],
    channels: usize,
    /// Elements of a patch.
    patch: usize,
}

impl Edges {
    fn new(shape: &ConvShape, pass: &Pass<PackedB>, lattice: &Lattice, rows: usize) -> Self {
        let along = |axis: usize| {
            let taps = pass.taps.iter().flatten().map(move |tap| tap[axis]);
            let (least, most) = (taps.clone().min(), taps.max());
            (least.unwrap_or(0), most.unwrap_or(0))
        };
        let step = lattice.in_step.map(|step| step as usize);
        let span = std::array::from_fn(|axis| (along(axis).1 - along(axis).0) as usize + 1);
        let [_, height, width] = shape.input;
        let [deep, high, wide] = span;
        let wide = wide + (rows - 1) * step[2];
        Self {
            first: std::array::from_fn(|axis| i64::from(lattice.in_start[axis] + along(axis).0)),
            step,
            span,
            input: shape.input,
            channels: shape.in_channels,
            patch: (((deep - 1) * height + high - 1) * width + wide) * shape.in_channels,
        }
    }

    /// Where the first tap of a position is.
    fn corner(&self, [_, depth, height]: [usize; 3], position: usize) -> [i64; 3] {
        let at = [depth, height, position];
        std::array::from_fn(|axis| self.first[axis] + (at[axis] * self.step[axis]) as i64)
    }

    /// Positions from the first tap of the first to the last tap of the last of so many that follow each other.
    fn extent(&self, positions: usize) -> [usize; 3] {
        let [deep, high, wide] = self.span;
        [deep, high, wide + (positions - 1) * self.step[2]]
    }

    /// Do the rows of a patch of so many positions lie apart? They begin where those of the input would.
    fn rows_lie_apart(&self, positions: usize) -> bool {
        let [deep, high, wide] = self.extent(positions);
        let [_, height, width] = self.input;
        (wide <= width || deep * high == 1) && (high <= height || deep == 1)
    }

    /// Do all taps of so many positions lie in the input?
    fn hold(&self, corner: [i64; 3], positions: usize) -> bool {
        let extent = self.extent(positions);
        (0..3).all(|axis| {
            corner[axis] >= 0 && corner[axis] + extent[axis] as i64 <= self.input[axis] as i64
        })
    }

    /// Copies what so many positions see of an image.
    fn copy(&self, image: &[f32], corner: [i64; 3], positions: usize, to: &mut [f32]) {
        let [depth_in, height_in, width_in] = self.input;
        let [deep, high, wide] = self.extent(positions);
        let channels = self.channels;
        // What lies in the input, as positions of the patch's rows.
        let begin = (-corner[2]).clamp(0, wide as i64) as usize;
        let end = (width_in as i64 - corner[2]).clamp(begin as i64, wide as i64) as usize;
        let inside = |at: i64, size: usize| usize::try_from(at).ok().filter(|&at| at < size);
        for (z, y) in (0..deep).flat_map(|z| (0..high).map(move |y| (z, y))) {
            let row = &mut to[(z * height_in + y) * width_in * channels..][..wide * channels];
            let source = inside(corner[0] + z as i64, depth_in)
                .zip(inside(corner[1] + y as i64, height_in))
                .filter(|_| begin < end);
            let Some((z, y)) = source else {
                row.fill(0.0);
                continue;
            };
            let x = (corner[2] + begin as i64) as usize;
            let from = ((z * height_in + y) * width_in + x) * channels;
            let (begin, end) = (begin * channels, end * channels);
            row[..begin].fill(0.0);
            row[begin..end].copy_from_slice(&image[from..from + end - begin]);
            row[end..].fill(0.0);
        }
    }

    /// Elements that are copied if every tile at an edge has a patch, for rows that are cut into so many tiles.
    fn copied(&self, rows: [usize; 3], length: usize, chunks: usize) -> usize {
        let inner = |chunk: usize| {
            let positions = part(chunk, length, chunks);
            let corner = self.corner([0; 3], positions.start);
            let extent = self.extent(positions.len());
            corner[2] >= 0 && corner[2] + extent[2] as i64 <= self.input[2] as i64
        };
        let inner_chunks = (0..chunks).filter(|&chunk| inner(chunk)).count();
        let inner_rows = |axis: usize| {
            let holds = |q: usize| {
                let at = self.first[axis] + (q * self.step[axis]) as i64;
                at >= 0 && at + self.span[axis] as i64 <= self.input[axis] as i64
            };
            (0..rows[axis + 1]).filter(|&q| holds(q)).count()
        };
        let held = rows[0] * inner_rows(0) * inner_rows(1) * inner_chunks;
        let tiles = rows.iter().product::<usize>() * chunks - held;
        let [deep, high, wide] = self.extent(length.div_ceil(chunks));
        tiles * deep * high * wide * self.channels
    }
}

/// The frame that all passes read, and how each is walked.
pub(super) fn prepare(
    shape: &ConvShape,
    kind: &ConvKind,
    passes: &[Pass<PackedB>],
) -> (Frame, Vec<Walk>) {
    let lattices: Vec<Lattice> = passes
        .iter()
        .map(|pass| Lattice::new(shape, pass, kind.transposed))
        .collect();
    let mut frame = Frame::of(shape);
    let mut is_padded = false;
    for axis in 0..3 {
        let (mut low, mut high) = (0_i64, shape.input[axis] as i64);
        for (pass, lattice) in passes.iter().zip(&lattices) {
            let taps = || pass.taps.iter().flatten().map(|tap| i64::from(tap[axis]));
            let first = i64::from(lattice.in_start[axis]);
            let last =
                first + (lattice.count[axis].max(1) as i64 - 1) * i64::from(lattice.in_step[axis]);
            low = low.min(first + taps().min().unwrap_or(0));
            high = high.max(last + taps().max().unwrap_or(0) + 1);
        }
        is_padded |= low < 0 || high > shape.input[axis] as i64;
        frame.before[axis] = low.unsigned_abs() as usize;
        frame.size[axis] = (high - low) as usize;
    }
    if is_padded {
        frame.copied = shape.batch * frame.size.iter().product::<usize>() * shape.in_channels;
        if let ([pass], [lattice]) = (passes, &*lattices)
            && let Some(walk) = Walk::with_edges(shape, pass, lattice, frame.copied)
        {
            return (Frame::of(shape), vec![walk]);
        }
    }
    let walks = passes
        .iter()
        .zip(&lattices)
        .map(|(pass, lattice)| {
            let mut walk = Walk::new(shape, &frame, pass, lattice);
            walk.join_rows();
            walk
        })
        .collect();
    (frame, walks)
}

impl Walk {
    fn new(shape: &ConvShape, frame: &Frame, pass: &Pass<PackedB>, lattice: &Lattice) -> Self {
        let (ins, outs) = (shape.in_channels, shape.out_channels);
        let [depth, height, width] = frame.size;
        let steps = [height * width * ins, width * ins, ins];
        let [_, out_height, out_width] = shape.output;
        let out_steps = [out_height * out_width * outs, out_width * outs, outs];
        let taps: Vec<[i32; 3]> = pass.taps.iter().copied().flatten().collect();
        // The least tap along each axis: pieces are told from there.
        let least: [i32; 3] =
            std::array::from_fn(|axis| taps.iter().map(|tap| tap[axis]).min().unwrap_or(0));
        let place =
            |at: [i32; 3]| -> usize { (0..3).map(|axis| at[axis] as usize * steps[axis]).sum() };
        let (mut pieces, mut slices) = (Vec::<Piece>::new(), Vec::new());
        for slice in &pass.slices {
            let first = pieces.len();
            let mut term = slice.start;
            while term < slice.end {
                let (tap, channel) = (term / ins, term % ins);
                let k = (ins - channel).min(slice.end - term);
                let at: [i32; 3] = std::array::from_fn(|axis| taps[tap][axis] - least[axis]);
                let a = place(at) + channel;
                match pieces[first..].last_mut() {
                    Some(last) if last.a + last.k == a => last.k += k,
                    _ => pieces.push(Piece { a, k }),
                }
                term += k;
            }
            slices.push((first..pieces.len(), slice.start));
        }
        let start: [i32; 3] = std::array::from_fn(|axis| {
            lattice.in_start[axis] + least[axis] + frame.before[axis] as i32
        });
        let in_step = lattice.in_step.map(|step| step as usize);
        let positions = lattice.positions();
        Self {
            pieces,
            slices,
            terms: pass.terms(),
            rows: [shape.batch, lattice.count[0], lattice.count[1]],
            length: lattice.count[2],
            a_rows: [
                depth * steps[0],
                steps[0] * in_step[0],
                steps[1] * in_step[1],
            ],
            // Of no use with edges, where it may lie in front of the input.
            a_first: match start.iter().all(|&at| at >= 0) {
                true => place(start),
                false => 0,
            },
            a_step: steps[2] * in_step[2],
            c_rows: [
                shape.output[0] * out_steps[0],
                out_steps[0] * lattice.out_step[0],
                out_steps[1] * lattice.out_step[1],
            ],
            c_first: (0..3)
                .map(|axis| lattice.out_start[axis] * out_steps[axis])
                .sum(),
            c_step: out_steps[2] * lattice.out_step[2],
            input: shape.batch * positions * in_step.iter().product::<usize>() * ins,
            edges: None,
        }
    }

    /// One that reads the input itself but for its edges, if that is much less to copy than `copied` elements. Tiles at the edges go through
    /// all weights each, so a core's cache must hold them.
    fn with_edges(
        shape: &ConvShape,
        pass: &Pass<PackedB>,
        lattice: &Lattice,
        copied: usize,
    ) -> Option<Self> {
        let weights = &pass.weights[0];
        let walk = Self::new(shape, &Frame::of(shape), pass, lattice);
        let rows = Microkernels::of(weights.isa()).rows();
        if walk.length == 0 || weights.n() * walk.terms > NEAR_WEIGHTS {
            return None;
        }
        let edges = Edges::new(shape, pass, lattice, rows);
        if !edges.rows_lie_apart(rows) {
            return None;
        }
        let patches = edges.copied(walk.rows, walk.length, walk.length.div_ceil(rows));
        (patches * LESS <= copied).then_some(Self {
            edges: Some(edges),
            ..walk
        })
    }

    /// Are there tiles that read patches?
    pub fn has_edges(&self) -> bool {
        self.edges.is_some()
    }

    /// Elements of scratch memory for a [`Walk::run`].
    pub fn scratch_len(&self, cores: Cores<'_>) -> usize {
        Seats::scratch_len(cores.team.threads(), self.patch())
    }

    fn patch(&self) -> usize {
        self.edges.as_ref().map_or(0, |edges| edges.patch)
    }

    /// Where the first tap of a position is in the frame, which has it.
    fn first_tap(&self, at: [usize; 3], position: usize) -> usize {
        match &self.edges {
            None => {
                let rows = (0..3).map(|i| at[i] * self.a_rows[i]).sum::<usize>();
                self.a_first + rows + position * self.a_step
            }
            Some(edges) => {
                let [depth, height, width] = edges.input;
                let [z, y, x] = edges.corner(at, position).map(|at| at as usize);
                (((at[0] * depth + z) * height + y) * width + x) * edges.channels
            }
        }
    }

    /// Makes one row of rows that follow each other in the frame and in the output.
    fn join_rows(&mut self) {
        for axis in (0..3).rev() {
            let follow = self.a_rows[axis] == self.length * self.a_step
                && self.c_rows[axis] == self.length * self.c_step;
            if !follow && self.rows[axis] != 1 {
                return;
            }
            self.length *= self.rows[axis];
            self.rows[axis] = 1;
        }
    }

    /// Computes all positions.
    pub fn run(
        &self,
        cores: Cores<'_>,
        weights: &PackedB,
        x: &[f32],
        y: &mut [f32],
        epilogue: &ConvEpilogue<'_>,
        scratch: &mut [f32],
    ) {
        let finish = Epilogue {
            bias: epilogue.bias.map(MatrixRef::repeat_row),
            activation: epilogue.activation,
            ..Epilogue::default()
        };
        let residual = epilogue.residual;
        let kernels = Microkernels::of(cores.isa);
        let rows: usize = self.rows.iter().product();
        let chunks = self.length.div_ceil(kernels.rows());
        let (tiles, panels) = (rows * chunks, weights.n().div_ceil(kernels.cols));
        if tiles == 0 {
            return;
        }
        let estimated_ns = estimated_ns(cores.isa, rows * self.length, weights.n(), self.terms);
        let cut = self.cut(cores, tiles, panels, weights, estimated_ns);
        let y = SharedMut::new(y);
        let seats = Seats::new(scratch, cores.team.threads(), self.patch());
        cores
            .team
            .run(cut.positions * cut.panels, estimated_ns, |job, seat| {
                let (position_part, panel_part) = cut.parts(job);
                let job = Job {
                    walk: self,
                    cores,
                    kernels,
                    weights,
                    x,
                    y: y.ptr(),
                    finish,
                    residual,
                    chunks,
                };
                // SAFETY: jobs are disjoint parts of the output's positions and channels, and a seat has one holder at a time.
                unsafe {
                    job.run(
                        part(position_part, tiles, cut.positions),
                        part(panel_part, panels, cut.panels),
                        seats.area(seat),
                    );
                }
            });
    }

    fn cut(
        &self,
        cores: Cores<'_>,
        tiles: usize,
        panels: usize,
        weights: &PackedB,
        estimated_ns: u64,
    ) -> Cut {
        let threads = cores.team.threads();
        let wanted = match threads {
            1 => 1,
            _ => (estimated_ns / LEAST_TILE_NS).clamp(1, (threads * TILES_PER_THREAD) as u64)
                as usize,
        };
        // With one panel nothing is read twice.
        let near = match panels {
            1 => 1,
            _ => self.input.div_ceil(NEAR_INPUT).clamp(1, tiles),
        };
        let weights = weights.n() * self.terms;
        let by_panels_first = weights > NEAR_WEIGHTS.max(self.input);
        let (positions, panels) = if by_panels_first {
            let panel_parts = wanted.min(panels);
            let positions = wanted.div_ceil(panel_parts).max(near).min(tiles);
            (positions, panel_parts)
        } else {
            let positions = wanted.max(near).min(tiles);
            (positions, wanted.div_ceil(positions).min(panels))
        };
        Cut {
            positions,
            panels,
            along: match weights <= NEAR_WEIGHTS {
                true => Along::Positions,
                false => Along::Panels,
            },
        }
    }
}

/// Into how many parts positions and panels are cut.
struct Cut {
    positions: usize,
    panels: usize,
    /// What the jobs' order goes along.
    along: Along,
}

/// What the order of jobs, which a team's threads take from both ends, goes along.
#[derive(Clone, Copy)]
enum Along {
    /// A thread has its part of the positions, and all panels of them.
    Positions,
    /// A thread has its part of the panels, and all positions.
    Panels,
}

impl Cut {
    /// The parts of the positions and of the panels that a job has.
    fn parts(&self, job: usize) -> (usize, usize) {
        match self.along {
            Along::Positions => (job / self.panels, job % self.panels),
            Along::Panels => (job % self.positions, job / self.positions),
        }
    }
}

/// Tiles whose places are found before they are computed, for all panels and slices: finding one takes divisions.
const GROUP: usize = 64;

/// Where a tile is: what it reads and writes first, and how many positions it has.
#[derive(Clone, Copy)]
struct Spot {
    a: usize,
    c: usize,
    rows: usize,
}

struct Job<'a> {
    walk: &'a Walk,
    cores: Cores<'a>,
    kernels: &'static Microkernels,
    weights: &'a PackedB,
    x: &'a [f32],
    y: *mut f32,
    /// What follows the sums, without the residual.
    finish: Epilogue<'a>,
    /// As long as the output.
    residual: Option<&'a [f32]>,
    /// Tiles in a row of positions.
    chunks: usize,
}

impl Job<'_> {
    /// What follows the sums of a tile whose first row begins at element `c` of the output: its residual begins there too.
    fn finish_at(&self, c: usize) -> Epilogue<'_> {
        let residual = self.residual.map(|residual| MatrixRef {
            data: &residual[c..],
            row_stride: self.walk.c_step,
            col_stride: 1,
        });
        Epilogue {
            residual,
            ..self.finish
        }
    }

    /// The row of positions of a tile, and its positions in that.
    fn tile(&self, tile: usize) -> ([usize; 3], Range<usize>) {
        let [_, inner, innermost] = self.walk.rows;
        let (row, chunk) = (tile / self.chunks, tile % self.chunks);
        let at = [
            row / (inner * innermost),
            row / innermost % inner,
            row % innermost,
        ];
        (at, part(chunk, self.walk.length, self.chunks))
    }

    /// Computes tiles: those at an edge one by one, of patches in `area`, and the others between them together.
    ///
    /// # Safety
    /// `y` is the whole output, and the caller alone touches these tiles and panels of it.
    unsafe fn run(&self, tiles: Range<usize>, panels: Range<usize>, area: &mut [f32]) {
        let Some(edges) = &self.walk.edges else {
            // SAFETY: the caller's promise.
            return unsafe { self.compute(tiles, panels, None) };
        };
        // Where the first tap of a tile at an edge is; none if it is at no edge.
        let edge = |tile: usize| {
            let (at, positions) = self.tile(tile);
            let corner = edges.corner(at, positions.start);
            (!edges.hold(corner, positions.len())).then_some((at[0], corner, positions.len()))
        };
        let image = edges.input.iter().product::<usize>() * edges.channels;
        let mut tile = tiles.start;
        while tile < tiles.end {
            let mut end = tile + 1;
            let patch = edge(tile).map(|(number, corner, positions)| {
                let patch = &mut area[..edges.patch];
                edges.copy(&self.x[number * image..][..image], corner, positions, patch);
                &*patch
            });
            if patch.is_none() {
                while end < tiles.end && edge(end).is_none() {
                    end += 1;
                }
            }
            // SAFETY: the caller's promise.
            unsafe { self.compute(tile..end, panels.clone(), patch) };
            tile = end;
        }
    }

    /// Computes tiles that read the frame, or one that reads a patch.
    ///
    /// # Safety
    /// `y` is the whole output, and the caller alone touches these tiles and panels of it.
    unsafe fn compute(&self, tiles: Range<usize>, panels: Range<usize>, patch: Option<&[f32]>) {
        for first in tiles.clone().step_by(GROUP) {
            let group = first..tiles.end.min(first + GROUP);
            let spots: SmallVec<[Spot; GROUP]> =
                group.map(|tile| self.spot(tile, patch.is_some())).collect();
            // SAFETY: the caller's promise; the frame was made so that the pieces of all positions lie in it, and a patch so that its tile's do.
            unsafe { self.group(&spots, panels.clone(), patch.unwrap_or(self.x)) };
        }
    }

    fn spot(&self, tile: usize, is_patch: bool) -> Spot {
        let walk = self.walk;
        let (at, positions) = self.tile(tile);
        let rows_before = (0..3).map(|i| at[i] * walk.c_rows[i]).sum::<usize>();
        Spot {
            a: match is_patch {
                true => 0,
                false => walk.first_tap(at, positions.start),
            },
            c: walk.c_first + rows_before + positions.start * walk.c_step,
            rows: positions.len(),
        }
    }

    /// Computes tiles that read `x`.
    ///
    /// # Safety
    /// As for [`Job::compute`]; the pieces of all spots lie in `x`.
    unsafe fn group(&self, spots: &[Spot], panels: Range<usize>, x: &[f32]) {
        let Self { walk, kernels, .. } = self;
        let width = kernels.cols;
        let adds = self.residual.is_none() || kernels.full_sum.is_some();
        let is_ending = self.finish.is_ending() && adds;
        for panel in panels.clone() {
            let cols = panel * width..self.weights.n().min((panel + 1) * width);
            for (s, (pieces, term)) in walk.slices.iter().enumerate() {
                let last = s + 1 == walk.slices.len();
                let residual = self.residual.zip(kernels.full_sum);
                let residual = residual.filter(|_| last && is_ending);
                let b = self.weights.panel(panel, *term);
                let pieces = &walk.pieces[pieces.clone()];
                // The tiles ask for what is read next: another slice of the panel, or the next panel, of about as many terms. They may lie in
                // memory that is far away.
                let (next_panel, next_slice) = match last {
                    true => (panel + 1, 0),
                    false => (panel, s + 1),
                };
                let next = panels.contains(&next_panel).then(|| {
                    let (_, term) = walk.slices[next_slice];
                    self.weights.panel(next_panel, term).as_ptr()
                });
                let terms: usize = pieces.iter().map(|piece| piece.k).sum();
                let mut asked_for = 0;
                // From tile to tile only what differs is written: what a processor has still to write is what its next tile waits for.
                let mut tile = Tile {
                    pieces,
                    a: x.as_ptr(),
                    a_row: walk.a_step,
                    a_col: 1,
                    b: b.as_ptr(),
                    b_step: width,
                    b_panel: 0,
                    ahead: Ahead::nothing(b.as_ptr()),
                    c: self.y,
                    c_step: walk.c_step,
                    before: self.y,
                    before_step: walk.c_step,
                    cols: cols.len(),
                    first: s == 0,
                    ending: match last && is_ending {
                        true => self.finish.ending(0, cols.start),
                        false => Ending::NONE,
                    },
                };
                for spot in spots {
                    tile.ahead = match next {
                        Some(next) if asked_for < terms * width => Ahead {
                            line: next.wrapping_add(asked_for),
                            step: Ahead::LINE,
                        },
                        _ => Ahead::nothing(b.as_ptr()),
                    };
                    asked_for += terms * Ahead::LINE;
                    tile.a = x[spot.a..].as_ptr();
                    // SAFETY: the position lies in the output.
                    tile.c = unsafe { self.y.add(spot.c + cols.start) };
                    tile.before = tile.c;
                    // SAFETY: what is read lies in `x`, as the caller promises; the panel holds the slice's terms, the tile is the caller's, the
                    // residual is as long as the output, panels are whole if there is one, and the instruction set is available, as
                    // `LastConv::run` checked.
                    unsafe {
                        match residual {
                            None => self.kernels.run(&tile, spot.rows),
                            Some((residual, sums)) => {
                                let residual = Residual {
                                    first: residual[spot.c + cols.start..].as_ptr(),
                                    step: walk.c_step,
                                };
                                sums[spot.rows - 1](&tile, residual);
                            }
                        }
                        if last && !is_ending {
                            let finish = self.finish_at(spot.c);
                            let c = self.y.add(spot.c);
                            finish.apply(
                                self.cores.isa,
                                c,
                                walk.c_step,
                                0..spot.rows,
                                cols.clone(),
                            );
                        }
                    }
                }
            }
        }
    }
}
