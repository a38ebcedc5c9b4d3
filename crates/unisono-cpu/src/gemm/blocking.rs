//! How a product is cut into blocks, from its shape alone.
//!
//! A block is a range of rows by a range of panels of one member of the batch. It packs its rows of A once (per group of slices, so that
//! they stay in the second-level cache), then goes through its panels: a panel's slice lies in the first-level cache while the strips
//! of A pass by.

use std::ops::Range;

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

/// The cutting of one product or a batch of them.
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

impl Blocking {
    /// `dense_b` says that B is not packed yet, so that every tile packs its own panels.
    pub(super) fn new(
        cores: Cores<'_>,
        batch: usize,
        m: usize,
        n: usize,
        k: usize,
        dense_b: bool,
    ) -> Self {
        let kernels = Microkernels::of(cores.isa);
        let threads = cores.team.threads();
        let panels = n.div_ceil(kernels.cols).max(1);
        let k_group = k.next_multiple_of(SLICE).clamp(SLICE, GROUP_SLICES * SLICE);
        let estimated_ns = estimated_ns(cores.isa, m, n, k).saturating_mul(batch as u64);

        let rows_that_fit = (A_ELEMENTS / k_group.min(k.max(1))).max(LEAST_STRIPS * kernels.rows());
        let fewest = m.div_ceil(rows_that_fit).max(1);
        let wanted = if threads == 1 {
            1
        } else {
            let most = (threads * TILES_PER_THREAD) as u64;
            (estimated_ns / LEAST_TILE_NS).clamp(1, most) as usize
        };
        let wanted = wanted.div_ceil(batch.max(1));
        let (row_tiles, col_tiles) = if dense_b {
            // Panels are packed by every tile that needs them: cut columns first.
            let cols = wanted.clamp(1, panels);
            (wanted.div_ceil(cols).clamp(fewest, m.max(fewest)), cols)
        } else {
            let low = LEAST_STRIPS * kernels.rows();
            let rows = wanted.min(m.div_ceil(low)).max(fewest);
            (rows, wanted.div_ceil(rows).clamp(1, panels))
        };
        let group = k_group.min(k);
        let a_area = (m.div_ceil(row_tiles) * group).next_multiple_of(crate::memory::LINE);
        let area = a_area + if dense_b { group * kernels.cols } else { 0 };
        Self {
            batch,
            m,
            n,
            k,
            row_tiles,
            col_tiles,
            k_group,
            a_area,
            area,
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
        let cut = |i: usize, n: usize, parts: usize| i * n / parts..(i + 1) * n / parts;
        let cols = cut(col, panels, self.col_tiles);
        (
            member,
            cut(row, self.m, self.row_tiles),
            cols.start * self.panel..self.n.min(cols.end * self.panel),
        )
    }
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
