//! Interpolations that weigh samples: linear and cubic ones, with and without a filter.
//!
//! One idea: the chains over the last axis depend on the others' position in the input only, so they are computed once for a line of the
//! input and serve every line of the output that needs them. A tile keeps the lines that its current row spans in a ring; what follows is
//! chains over whole lines. With channels last, or another run of neighbours, lanes lie across it everywhere; with single samples those
//! of a line are gathered first.

use std::ops::Range;

use unisono_runtime::Error;
use unisono_tensor::{TensorMut, TensorRef};

use super::Layout;
use super::table::{SLACK, Table};
use crate::conv::part;
use crate::exec::kernel::{Build, Context, Kernel};
use crate::kernels::operands::{operand, result};
use crate::memory::{LINE, Seats, SharedMut};
use crate::simd::{self, Simd, dispatch};

/// Elements that the lines of a tile aim at: they stay in the first-level cache.
const NEAR: usize = 4 * 1024;
/// Elements that lines of a tile have at least, where they have as many.
const LEAST: usize = 256;
/// Elements of output that a tile aims at.
const TILE: usize = 16 * 1024;
/// Rows of a tile in relation to those that its first row spans: what neighbours compute twice is a small part.
const ROWS_PER_SPAN: usize = 8;
/// Tiles that even out what the threads finish with.
const TILES_PER_THREAD: usize = 8;
/// More scratch memory than this for a thread is left to the reference: no filter of an image needs it.
const LARGEST_AREA: usize = 1 << 22;

pub(super) struct Weigh {
    layout: Layout,
    /// The lines of the input that a row of the output needs in the ring.
    windows: Vec<Range<usize>>,
    /// How many lines the ring keeps for each tap of the first axis.
    span: usize,
    col_tiles: usize,
    row_tiles: usize,
    /// Elements from one line of the ring to the next.
    pitch: usize,
    /// Elements of a thread's ring.
    area: usize,
    scratch: usize,
    estimated_ns: u64,
}

impl Weigh {
    /// `None` if it should be left to the reference.
    pub fn new(build: &Build<'_>, layout: Layout) -> Option<Weigh> {
        let [depth, rows, cols] = &layout.axes;
        let windows = rows.windows();
        let span = windows.iter().map(|window| window.len()).max()?;
        let lines = span.checked_mul(depth.taps)?;
        let inner = layout.inner;
        let width = (NEAR / lines).max(LEAST) / inner;
        let col_tiles = cols.output.div_ceil(width.clamp(1, cols.output));
        let width = cols.output.div_ceil(col_tiles).checked_mul(inner)?;
        let height = (TILE / width).max(ROWS_PER_SPAN * span);
        let row_tiles = rows.output.div_ceil(height);
        // Room for vectors that end behind the line; and neighbours should not lie a multiple of a page apart, where loads wait for
        // stores that have nothing to do with them.
        let pitch = width.checked_next_multiple_of(SLACK)?.checked_add(LINE)?;
        let area = pitch.checked_mul(lines).filter(|&n| n <= LARGEST_AREA)?;
        let outputs = (layout.outer * depth.output * rows.output * cols.output * inner) as u64;
        // Sixteenths of a nanosecond for an output: a step of a chain is one or two, a gathered sample ten.
        let (a_step, a_sample) = (2, if inner == 1 { 12 } else { 2 });
        let made = (depth.taps * cols.taps * a_sample * rows.input.min(rows.output)) as u64;
        let an_output = made / rows.output as u64 + (depth.taps * rows.taps * a_step) as u64;
        Some(Weigh {
            windows,
            span,
            col_tiles,
            row_tiles,
            pitch,
            area,
            scratch: build.scratch(|cores| Seats::scratch_len(cores.team.threads(), area)),
            estimated_ns: outputs.saturating_mul(an_output) / 16,
            layout,
        })
    }
}

impl Kernel for Weigh {
    fn scratch_len(&self) -> usize {
        self.scratch
    }

    fn estimated_ns(&self) -> u64 {
        self.estimated_ns
    }

    fn describe(&self, cx: &Context<'_>) -> String {
        let [depth, rows, cols] = self.layout.axes.each_ref().map(|table| table.taps);
        format!("{depth}x{rows}x{cols} samples weighed, {}", cx.isa)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let x: &[f32] = operand(inputs, 0)?;
        let y = SharedMut::new(result::<f32>(outputs)?);
        let [depth, rows, cols] = &self.layout.axes;
        let seats = Seats::new(scratch, cx.team.threads(), self.area);
        let blocks = self.layout.outer * depth.output * self.row_tiles * self.col_tiles;
        let tiles = blocks.min(cx.team.threads() * TILES_PER_THREAD);
        cx.team.run(tiles, self.estimated_ns, |tile, seat| {
            // SAFETY: a seat has one holder at a time.
            let ring = unsafe { seats.area(seat) };
            for block in part(tile, blocks, tiles) {
                let (block, col_tile) = (block / self.col_tiles, block % self.col_tiles);
                let (block, row_tile) = (block / self.row_tiles, block % self.row_tiles);
                let (outer, z) = (block / depth.output, block % depth.output);
                let plane = depth.input * rows.input * cols.input * self.layout.inner;
                let block = Block {
                    weigh: self,
                    x: &x[outer * plane..][..plane],
                    y,
                    first_line: (outer * depth.output + z) * rows.output,
                    z,
                    rows: part(row_tile, rows.output, self.row_tiles),
                    cols: part(col_tile, cols.output, self.col_tiles),
                    ring: &mut *ring,
                };
                dispatch(cx.isa, block);
            }
        });
        Ok(())
    }
}

/// Some columns of some rows of the output, at one index of the first axis.
struct Block<'a> {
    weigh: &'a Weigh,
    /// The input at the block's outer index.
    x: &'a [f32],
    /// The whole output. The block's columns of its rows are its alone.
    y: SharedMut<'a, f32>,
    /// The number of the output's line that is row 0.
    first_line: usize,
    z: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    ring: &'a mut [f32],
}

impl simd::Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Layout { axes, inner, .. } = &self.weigh.layout;
        let [depth, _, cols] = axes;
        let width = self.cols.len() * inner;
        // Lines of the input in front of this one are in the ring, as far as a row still needs them.
        let mut made = 0;
        for row in self.rows.clone() {
            let window = self.weigh.windows[row].clone();
            for line in window.start.max(made)..window.end {
                for tap in 0..depth.count(self.z) {
                    self.line(s, tap, line);
                }
            }
            made = window.end;
            let at = ((self.first_line + row) * cols.output + self.cols.start) * inner;
            // SAFETY: the block's columns of this row lie in the output and are ours alone.
            let to = unsafe { std::slice::from_raw_parts_mut(self.y.ptr().add(at), width) };
            self.row(s, row, to);
        }
    }
}

impl Block<'_> {
    /// Makes a line of the ring: the chains over the last axis.
    #[inline(always)]
    fn line<S: Simd>(&mut self, s: S, tap: usize, line: usize) {
        let Layout { axes, inner, .. } = &self.weigh.layout;
        let [depth, rows, cols] = axes;
        let len = cols.input * inner;
        let from = (depth.position(self.z, tap) * rows.input + line) * len;
        let from = &self.x[from..][..len];
        let place = tap * self.weigh.span + line % self.weigh.span;
        let to = &mut self.ring[place * self.weigh.pitch..][..self.weigh.pitch];
        if *inner == 1 {
            gather(s, cols, self.cols.clone(), from, to);
            return;
        }
        for (to, x) in to.chunks_exact_mut(*inner).zip(self.cols.clone()) {
            if cols.count(x) == 2 {
                let [a, b] = [0, 1].map(|tap| &from[cols.position(x, tap) * inner..][..*inner]);
                pair(s, [0, 1].map(|tap| cols.weight(x, tap)), a, b, to);
                continue;
            }
            let mut done = 0;
            while done < to.len() {
                let (from, rest) = (&from[done..], &mut to[done..]);
                done += match rest.len() / S::LANES {
                    0 | 1 => chains::<S, 1>(s, cols, x, from, *inner, rest),
                    2 | 3 => chains::<S, 2>(s, cols, x, from, *inner, rest),
                    _ => chains::<S, 4>(s, cols, x, from, *inner, rest),
                };
            }
        }
    }

    /// Makes a row of the output: the chains over the first axis, of chains over the second one, of lines.
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: usize, to: &mut [f32]) {
        let Weigh { span, pitch, .. } = *self.weigh;
        let [depth, rows, _] = &self.weigh.layout.axes;
        if depth.passes(self.z) && rows.count(row) == 2 {
            let line = |tap| &self.ring[rows.position(row, tap) % span * pitch..][..to.len()];
            let (weights, a, b) = ([0, 1].map(|tap| rows.weight(row, tap)), line(0), line(1));
            pair(s, weights, a, b, to);
            return;
        }
        let mut done = 0;
        while done < to.len() {
            let rest = &mut to[done..];
            done += match rest.len() / S::LANES {
                0..4 => self.registers::<S, 1>(s, row, done, rest),
                _ => self.registers::<S, 4>(s, row, done, rest),
            };
        }
    }

    /// `V` registers of a row from element `at` on, the last one perhaps in part. Returns how many elements that is.
    #[inline(always)]
    fn registers<S: Simd, const V: usize>(
        &self,
        s: S,
        row: usize,
        at: usize,
        to: &mut [f32],
    ) -> usize {
        let Weigh { span, pitch, .. } = *self.weigh;
        let [depth, rows, _] = &self.weigh.layout.axes;
        let first = self.weigh.windows[row].start;
        let turn = first % span;
        let mut totals = [s.zero(); V];
        for outer in 0..depth.count(self.z) {
            let mut sums = [s.zero(); V];
            for tap in 0..rows.count(row) {
                // The ring starts again after `span` lines.
                let ahead = turn + rows.position(row, tap) - first;
                let place = if ahead < span { ahead } else { ahead - span };
                let start = (outer * span + place) * pitch + at;
                // Lines have room for whole vectors.
                let line = &self.ring[start..start + V * S::LANES];
                let weight = s.splat(rows.weight(row, tap));
                for (v, sum) in sums.iter_mut().enumerate() {
                    let value = s.load(&line[v * S::LANES..]);
                    *sum = match rows.passes(row) {
                        true => value,
                        false => s.fma(weight, value, *sum),
                    };
                }
            }
            let weight = s.splat(depth.weight(self.z, outer));
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = match depth.passes(self.z) {
                    true => sum,
                    false => s.fma(weight, sum, *total),
                };
            }
        }
        store(s, totals, to)
    }
}

/// Writes registers, as far as there is room for them. Returns how many elements that is.
#[inline(always)]
fn store<S: Simd, const V: usize>(s: S, registers: [S::F; V], to: &mut [f32]) -> usize {
    let len = to.len().min(V * S::LANES);
    for (register, to) in registers.into_iter().zip(to[..len].chunks_mut(S::LANES)) {
        match to.len() == S::LANES {
            true => s.store(register, to),
            false => s.store_part(register, to),
        }
    }
    len
}

/// Chains of two samples: what a linear interpolation is made of, nearly everywhere.
#[inline(always)]
fn pair<S: Simd>(s: S, weights: [f32; 2], a: &[f32], b: &[f32], to: &mut [f32]) {
    let weights = weights.map(|weight| s.splat(weight));
    let chain = |a: S::F, b: S::F| s.fma(weights[1], b, s.fma(weights[0], a, s.zero()));
    let whole = to.len() - to.len() % S::LANES;
    let (to, to_rest) = to.split_at_mut(whole);
    let ((a, a_rest), (b, b_rest)) = (a.split_at(whole), b.split_at(whole));
    let samples = a.chunks_exact(S::LANES).zip(b.chunks_exact(S::LANES));
    for (to, (a, b)) in to.chunks_exact_mut(S::LANES).zip(samples) {
        s.store(chain(s.load(a), s.load(b)), to);
    }
    if !to_rest.is_empty() {
        let sum = chain(s.load_part(a_rest), s.load_part(b_rest));
        s.store_part(sum, to_rest);
    }
}

/// The chains at output index `x` for `V` registers of neighbours, the last one perhaps in part; samples are `step` apart. Returns for how
/// many neighbours.
#[inline(always)]
fn chains<S: Simd, const V: usize>(
    s: S,
    table: &Table,
    x: usize,
    from: &[f32],
    step: usize,
    to: &mut [f32],
) -> usize {
    let len = to.len().min(V * S::LANES);
    let mut sums = [s.zero(); V];
    for tap in 0..table.count(x) {
        let samples = &from[table.position(x, tap) * step..][..len];
        let weight = s.splat(table.weight(x, tap));
        for (sum, samples) in sums.iter_mut().zip(samples.chunks(S::LANES)) {
            let value = match samples.len() == S::LANES {
                true => s.load(samples),
                false => s.load_part(samples),
            };
            *sum = match table.passes(x) {
                true => value,
                false => s.fma(weight, value, *sum),
            };
        }
    }
    store(s, sums, to)
}

/// The chains at some output indices for single samples. `to` has room for whole vectors behind them.
#[inline(always)]
fn gather<S: Simd>(s: S, table: &Table, indices: Range<usize>, from: &[f32], to: &mut [f32]) {
    let mut samples = [0.0; SLACK];
    for (x, to) in indices
        .clone()
        .step_by(SLACK)
        .zip(to.chunks_exact_mut(SLACK))
    {
        let here = SLACK.min(indices.end - x);
        for tap in 0..table.taps {
            let (positions, weights, counts) = table.from(x, tap);
            for (sample, &position) in samples.iter_mut().zip(&positions[..here]) {
                *sample = from[position as usize];
            }
            let number = s.splat(tap as f32);
            for at in (0..here).step_by(S::LANES) {
                let value = s.load(&samples[at..]);
                let count = s.load(&counts[at..]);
                let before = match tap {
                    0 => s.select(s.eq(count, s.zero()), value, s.zero()),
                    _ => s.load(&to[at..]),
                };
                // An index with fewer taps keeps what it has: a weight of 0 would not do, since 0 * inf is NaN.
                let sum = s.fma(s.load(&weights[at..]), value, before);
                s.store(s.select(s.lt(number, count), sum, before), &mut to[at..]);
            }
        }
    }
}
