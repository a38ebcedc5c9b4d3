//! How a product is cut into blocks, from its shape alone.
//!
//! A block is a range of rows by a range of panels of one member of the batch. It packs its rows of A once (per group of slices, so that
//! they stay in the second-level cache), then goes through its panels: a panel's slice lies in the first-level cache while the strips
//! of A pass by.

use std::ops::Range;

use super::block::MOST_STRIPS;
use super::{Cores, SLICE, microkernel::Microkernels};
use crate::simd::Isa;

/// Elements of A that a tile keeps packed: half of a second-level cache of 1 MiB, the smallest in servers today.
const A_ELEMENTS: usize = 128 * 1024;

/// Slices that a tile packs at a time, at most.
const GROUP_SLICES: usize = 8;

/// Rows below which a tile is not cut in order to get more tiles, in strips: with fewer, fetching a panel is no longer free.
const LEAST_STRIPS: usize = 4;

/// Work of a tile below which cutting further costs more than an even load gains.
const LEAST_TILE_NS: u64 = 12_000;

/// Tiles per thread that even out what the threads finish with.
pub(super) const TILES_PER_THREAD: usize = 4;

/// The cutting of a batch of products of which no operand is packed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocking {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    row_tiles: usize,
    col_tiles: usize,
    /// Terms packed at a time, a multiple of the slice.
    pub k_group: usize,
    /// Elements of a seat's area that hold A.
    pub a_area: usize,
    /// Elements of a seat's area.
    pub area: usize,
    pub estimated_ns: u64,
    panel: usize,
}

/// The terms that a block packs at a time.
fn k_group(k: usize) -> usize {
    k.next_multiple_of(SLICE).clamp(SLICE, GROUP_SLICES * SLICE)
}

/// Into how many tiles work of so many nanoseconds should be cut.
fn wanted_tiles(threads: usize, estimated_ns: u64) -> usize {
    if threads == 1 {
        return 1;
    }
    let most = (threads * TILES_PER_THREAD) as u64;
    (estimated_ns / LEAST_TILE_NS).clamp(1, most) as usize
}

/// How many strips of `group` terms a block may have.
fn strips_that_fit(kernels: &Microkernels, group: usize) -> usize {
    (A_ELEMENTS / (group.max(1) * kernels.rows())).clamp(LEAST_STRIPS, MOST_STRIPS)
}

impl Blocking {
    pub(super) fn new(cores: Cores<'_>, batch: usize, m: usize, n: usize, k: usize) -> Self {
        let kernels = Microkernels::of(cores.isa);
        let panels = n.div_ceil(kernels.cols).max(1);
        let k_group = k_group(k);
        let group = k_group.min(k);
        let estimated_ns = estimated_ns(cores.isa, m, n, k).saturating_mul(batch as u64);
        let wanted = wanted_tiles(cores.team.threads(), estimated_ns).div_ceil(batch.max(1));
        // Panels are packed by every tile that needs them: cut columns first.
        let col_tiles = wanted.clamp(1, panels);
        let fewest = m
            .div_ceil(strips_that_fit(kernels, group) * kernels.rows())
            .max(1);
        let row_tiles = wanted.div_ceil(col_tiles).clamp(fewest, m.max(fewest));
        let a_area = (m.div_ceil(row_tiles) * group).next_multiple_of(crate::memory::LINE);
        Self {
            batch,
            m,
            n,
            k,
            row_tiles,
            col_tiles,
            k_group,
            a_area,
            area: a_area + group * kernels.cols,
            estimated_ns,
            panel: kernels.cols,
        }
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.batch * self.row_tiles * self.col_tiles
    }

    /// The member, rows and columns of a block. Blocks that follow each other share their panels of B.
    pub(super) fn block(&self, block: usize) -> (usize, Range<usize>, Range<usize>) {
        let (rest, row) = (block / self.row_tiles, block % self.row_tiles);
        let (member, col) = (rest / self.col_tiles, rest % self.col_tiles);
        let panels = self.n.div_ceil(self.panel);
        let cols = cut(col, panels, self.col_tiles);
        (
            member,
            cut(row, self.m, self.row_tiles),
            cols.start * self.panel..self.n.min(cols.end * self.panel),
        )
    }
}

/// The cutting of a product with a packed right-hand side, of one left-hand side or several.
#[derive(Clone, Copy, Debug)]
pub(super) struct JointBlocking {
    n: usize,
    strips: usize,
    row_tiles: usize,
    col_tiles: usize,
    /// Terms packed at a time, a multiple of the slice.
    pub k_group: usize,
    /// Elements of a seat's area.
    pub area: usize,
    pub estimated_ns: u64,
    panel: usize,
}

impl JointBlocking {
    /// For left-hand sides with so many rows.
    pub(super) fn new(
        cores: Cores<'_>,
        rows: impl Iterator<Item = usize>,
        n: usize,
        k: usize,
    ) -> Self {
        let kernels = Microkernels::of(cores.isa);
        let (mut m, mut strips) = (0, 0);
        for rows in rows {
            m += rows;
            strips += rows.div_ceil(kernels.rows());
        }
        let panels = n.div_ceil(kernels.cols).max(1);
        let k_group = k_group(k);
        let group = k_group.min(k);
        let estimated_ns = estimated_ns(cores.isa, m, n, k);
        let wanted = wanted_tiles(cores.team.threads(), estimated_ns);
        // Rows first: what tiles side by side would do again, packing the same rows, costs more than reading the same panels.
        let fewest = strips.div_ceil(strips_that_fit(kernels, group)).max(1);
        let row_tiles = wanted.min(strips.div_ceil(LEAST_STRIPS)).max(fewest);
        let col_tiles = wanted.div_ceil(row_tiles).clamp(1, panels);
        let most_rows = (strips.div_ceil(row_tiles) * kernels.rows()).min(m);
        Self {
            n,
            strips,
            row_tiles,
            col_tiles,
            k_group,
            area: most_rows * group,
            estimated_ns,
            panel: kernels.cols,
        }
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.row_tiles * self.col_tiles
    }

    /// The strips and columns of a block. Blocks that follow each other share their panels of B.
    pub(super) fn block(&self, block: usize) -> (Range<usize>, Range<usize>) {
        let (col, row) = (block / self.row_tiles, block % self.row_tiles);
        let panels = self.n.div_ceil(self.panel);
        let cols = cut(col, panels, self.col_tiles);
        (
            cut(row, self.strips, self.row_tiles),
            cols.start * self.panel..self.n.min(cols.end * self.panel),
        )
    }
}

/// Part `i` of `parts` nearly equal ones of `0..n`.
fn cut(i: usize, n: usize, parts: usize) -> Range<usize> {
    i * n / parts..(i + 1) * n / parts
}

/// The counted work of a product on one core, in nanoseconds: multiplications at the instruction set's usual rate, or the weights at
/// a memory's. Used to decide how to share, never what to compute.
pub(crate) fn estimated_ns(isa: Isa, m: usize, n: usize, k: usize) -> u64 {
    let [m, n, k] = [m, n, k].map(|x| x as u64);
    let products = m.saturating_mul(n).saturating_mul(k);
    (products / products_per_ns(isa)).max(n.saturating_mul(k) / 4)
}

/// Multiplications with an addition that one core does in a nanosecond.
pub(crate) fn products_per_ns(isa: Isa) -> u64 {
    match isa {
        Isa::Avx512 => 64,
        Isa::Avx2 => 32,
        Isa::Neon => 16,
        Isa::Scalar => 1,
    }
}
