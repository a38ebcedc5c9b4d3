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

/// Two threads of which each has at least so many rows cut the rows in halves rather than the columns. Tiles are taken from both ends
/// ([`Team::run`](unisono_runtime::team::Team::run)), so each reads in the next product what it wrote in this one. Where they share no cache, columns
/// cost dearly: what both have read, the next one who writes must first take away from the other. Measured on two such cores, a product of 32 rows
/// takes 107 us in columns and 76 in halves; on two that share one, 79 and 76. With 4 rows a thread, reading all weights on each costs as much.
const LEAST_OF_HALF: usize = 8;

/// What a tile's time is made of, in proportion: for each strip and panel the products, for each strip packing or fetching its rows of A, for
/// each panel fetching it. A product with one panel runs at nine tenths of its rate with twelve, one with two strips at nine tenths of its
/// rate with eleven.
const PAIR: u64 = 16;
const STRIP: u64 = 2;
const PANEL: u64 = 4;

/// Numbers of row tiles that are compared: it is done for every product.
const MOST_CUTS: usize = 16;

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
    /// Elements of a seat's area that hold totals, in front.
    pub totals_area: usize,
    /// Elements of it that hold A, behind them.
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

/// Elements that the totals of so many rows take while more slices follow.
fn totals(kernels: &Microkernels, rows: usize, k: usize) -> usize {
    match k > SLICE {
        true => rows * kernels.cols,
        false => 0,
    }
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
        Self::on(cores.isa, cores.team.threads(), [batch, m, n, k])
    }

    /// For so many threads.
    pub(super) fn on(isa: Isa, threads: usize, [batch, m, n, k]: [usize; 4]) -> Self {
        let kernels = Microkernels::of(isa);
        let panels = n.div_ceil(kernels.cols).max(1);
        let k_group = k_group(k);
        let group = k_group.min(k);
        let estimated_ns = estimated_ns(isa, m, n, k).saturating_mul(batch as u64);
        let wanted = wanted_tiles(threads, estimated_ns).div_ceil(batch.max(1));
        // Panels are packed by every tile that needs them: cut columns first.
        let col_tiles = wanted.clamp(1, panels);
        let fewest = m
            .div_ceil(strips_that_fit(kernels, group) * kernels.rows())
            .max(1);
        let row_tiles = wanted.div_ceil(col_tiles).clamp(fewest, m.max(fewest));
        let most_rows = m.div_ceil(row_tiles);
        let totals_area = totals(kernels, most_rows, k);
        let a_area = (most_rows * group).next_multiple_of(crate::memory::LINE);
        Self {
            batch,
            m,
            n,
            k,
            row_tiles,
            col_tiles,
            k_group,
            totals_area,
            a_area,
            area: totals_area + a_area + group * kernels.cols,
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
    /// Whether each of two threads has a half of the rows.
    in_halves: bool,
    strip_rows: usize,
    row_tiles: usize,
    col_tiles: usize,
    /// Terms packed at a time, a multiple of the slice.
    pub k_group: usize,
    /// Elements of a seat's area that hold totals, in front of A.
    pub totals_area: usize,
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
        Self::on(cores.isa, cores.team.threads(), rows, n, k)
    }

    /// For so many threads.
    fn on(isa: Isa, threads: usize, rows: impl Iterator<Item = usize>, n: usize, k: usize) -> Self {
        let kernels = Microkernels::of(isa);
        let (mut m, mut strips, mut segments) = (0, 0, 0);
        for rows in rows {
            m += rows;
            strips += rows.div_ceil(kernels.rows());
            segments += 1;
        }
        let panels = n.div_ceil(kernels.cols).max(1);
        let k_group = k_group(k);
        let group = k_group.min(k);
        let estimated_ns = estimated_ns(isa, m, n, k);
        // One row is over so soon that taking tiles in turn costs more than it evens out: measured 5 % of a perceptron's time.
        let most = if m == 1 { threads } else { usize::MAX };
        let wanted = wanted_tiles(threads, estimated_ns).min(most);
        let in_halves = threads == 2 && segments == 1 && m >= 2 * LEAST_OF_HALF && wanted > 1;
        if in_halves {
            strips = strips.next_multiple_of(2);
        }
        let fewest = strips.div_ceil(strips_that_fit(kernels, group)).max(1);
        let grid = Grid {
            threads,
            strips,
            panels,
        };
        let [row_tiles, col_tiles] = match in_halves {
            true => {
                let rows = fewest.next_multiple_of(2);
                [rows, wanted.div_ceil(2 * rows).min(panels)]
            }
            false => grid.cut(fewest, wanted),
        };
        let most_rows = (strips.div_ceil(row_tiles) * kernels.rows()).min(m);
        let totals_area = totals(kernels, most_rows, k);
        Self {
            n,
            strips,
            in_halves,
            strip_rows: kernels.rows(),
            row_tiles,
            col_tiles,
            k_group,
            totals_area,
            area: totals_area + most_rows * group,
            estimated_ns,
            panel: kernels.cols,
        }
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.row_tiles * self.col_tiles
    }

    /// Into how many strips so many rows of a left-hand side are cut.
    pub(super) fn strip_count(&self, m: usize) -> usize {
        let count = m.div_ceil(self.strip_rows);
        match self.in_halves {
            true => count.next_multiple_of(2),
            false => count,
        }
    }

    /// The rows of a strip of a left-hand side of so many rows. Heights differ by one at most, so that no strip is too low to keep the
    /// multipliers busy.
    pub(super) fn strip(&self, strip: usize, m: usize) -> Range<usize> {
        cut(strip, m, self.strip_count(m))
    }

    /// The strips and columns of a block. Blocks that follow each other share their panels of B, or their rows where threads have halves of
    /// them.
    pub(super) fn block(&self, block: usize) -> (Range<usize>, Range<usize>) {
        let (col, row) = match self.in_halves {
            true => (block % self.col_tiles, block / self.col_tiles),
            false => (block / self.row_tiles, block % self.row_tiles),
        };
        let panels = self.n.div_ceil(self.panel);
        let cols = cut(col, panels, self.col_tiles);
        (
            cut(row, self.strips, self.row_tiles),
            cols.start * self.panel..self.n.min(cols.end * self.panel),
        )
    }
}

/// The strips by panels of a product that several threads are to share.
struct Grid {
    threads: usize,
    strips: usize,
    panels: usize,
}

impl Grid {
    /// Into how many tiles rows and columns are cut: about `wanted` in all and rows into `fewest` at least, so that the threads finish
    /// together and little is done twice. Nine tiles would keep one of two threads busy for five tiles' time.
    fn cut(&self, fewest: usize, wanted: usize) -> [usize; 2] {
        if self.threads == 1 || wanted == 1 {
            return [fewest, 1];
        }
        let most = wanted
            .min(self.strips.div_ceil(LEAST_STRIPS))
            .max(fewest + self.threads - 1)
            .min(self.strips.max(fewest));
        let mut best = (u64::MAX, [fewest, 1]);
        let step = ((most - fewest) / MOST_CUTS).max(1);
        for rows in (fewest..=most).step_by(step) {
            // Columns that make the tiles a multiple of the threads.
            let even = self.threads / gcd(rows, self.threads);
            let least = wanted.div_ceil(rows);
            for cols in [least, least.next_multiple_of(even)] {
                let cols = cols.clamp(1, self.panels.max(1));
                let time = self.time(rows, cols);
                if time < best.0 {
                    best = (time, [rows, cols]);
                }
            }
        }
        best.1
    }

    /// How long the threads need for so many tiles, in a unit of its own.
    fn time(&self, row_tiles: usize, col_tiles: usize) -> u64 {
        let [rows, cols] = [row_tiles as u64, col_tiles as u64];
        let [strips, panels] = [self.strips as u64, self.panels as u64];
        let tiles = rows * cols;
        let all = PAIR * strips * panels + STRIP * strips * cols + PANEL * panels * rows;
        let largest = {
            let (strips, panels) = (strips.div_ceil(rows), panels.div_ceil(cols));
            PAIR * strips * panels + STRIP * strips + PANEL * panels
        };
        // Tiles in turn, of which some are larger than others.
        let turns = tiles.div_ceil(self.threads as u64);
        let usual = all / tiles;
        turns * usual + (largest - usual.min(largest))
    }
}

/// The greatest common divisor of two numbers above 0.
fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(threads: usize, strips: usize, panels: usize) -> Grid {
        Grid {
            threads,
            strips,
            panels,
        }
    }

    #[test]
    fn threads_finish_together_wherever_there_is_enough_to_cut() {
        for threads in [2, 3, 4] {
            for (strips, panels) in [
                (86, 32),
                (11, 24),
                (16, 32),
                (43, 48),
                (22, 24),
                (64, 8),
                (1, 96),
            ] {
                for wanted in [threads * TILES_PER_THREAD, threads * TILES_PER_THREAD - 1] {
                    let [rows, cols] = grid(threads, strips, panels).cut(1, wanted);
                    let tiles = rows * cols;
                    assert!(
                        tiles.is_multiple_of(threads) || tiles > 8 * threads,
                        "{strips} x {panels} into {rows} x {cols} for {threads}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_cut_keeps_to_what_there_is_and_to_blocks_that_fit() {
        for threads in [1, 2, 7, 64] {
            for strips in [0, 1, 2, 5, 86, 10_000] {
                for panels in [0, 1, 3, 32, 4_000] {
                    for fewest in [1, 2, strips.max(1)] {
                        for wanted in [1, 2, 9, threads * TILES_PER_THREAD] {
                            let [rows, cols] = grid(threads, strips, panels).cut(fewest, wanted);
                            assert!((fewest..=strips.max(fewest)).contains(&rows));
                            assert!((1..=panels.max(1)).contains(&cols));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn one_thread_does_nothing_twice() {
        assert_eq!(grid(1, 86, 32).cut(3, 1), [3, 1]);
    }

    #[test]
    fn each_of_two_threads_has_a_half_of_the_rows() {
        for isa in Isa::available() {
            for (m, n, k) in [
                (16, 1024, 1024),
                (32, 256, 256),
                (53, 512, 300),
                (1024, 64, 700),
            ] {
                let joint = JointBlocking::on(isa, 2, [m].into_iter(), n, k);
                let rows = |block: usize| {
                    let (strips, _) = joint.block(block);
                    joint.strip(strips.start, m).start..joint.strip(strips.end - 1, m).end
                };
                let blocks = joint.blocks();
                let half = m / 2;
                assert!(blocks.is_multiple_of(2), "{m} x {n} x {k}: {blocks}");
                for block in 0..blocks {
                    let rows = rows(block);
                    assert!(
                        match block < blocks / 2 {
                            true => rows.end <= half,
                            false => rows.start >= half,
                        },
                        "{m} x {n} x {k}, {isa:?}: block {block} of {blocks} has {rows:?}"
                    );
                }
                let cells: usize = (0..blocks)
                    .map(|block| rows(block).len() * joint.block(block).1.len())
                    .sum();
                assert_eq!(cells, m * n);
            }
            // Too few rows for two, another number of threads, or more than one left-hand side.
            let are_cut = |threads, rows: &[usize]| {
                JointBlocking::on(isa, threads, rows.iter().copied(), 1024, 1024).in_halves
            };
            assert!(!are_cut(2, &[15]) && !are_cut(3, &[32]) && !are_cut(2, &[32, 32]));
        }
    }
}
