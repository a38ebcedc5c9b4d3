//! Tiles of long sums: which there are, what they need, and which one suits a shape.
//!
//! The one idea: the choice is made from counted work alone. It may differ between devices and shapes, because every tile and
//! every number of groups gives the same bits (`kernels/tile.cuh`).

use unisono_reference::arith::SLICE;

/// What every device of compute capability 8.0 or later lets a block have, in bytes.
pub const LEAST_SHARED: u32 = 99 * 1024;

/// Outputs of a block, and how its threads share them.
#[derive(Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of a block.
    pub rows: usize,
    /// Columns of a block.
    pub cols: usize,
    /// Rows and columns of a thread.
    each: [usize; 2],
    /// Values of k that come into shared memory together.
    chunk: usize,
    /// Chunks that shared memory holds per group.
    stages: usize,
    /// Values of k whose factors are read while as many others are multiplied; 0 is one, from chunk to chunk without a gap.
    step: usize,
    /// The most groups that a block has: `__launch_bounds__` says so too.
    pub most_groups: usize,
    /// Its kernel for products of dense rows with packed weights.
    pub packed: &'static str,
    /// Its kernel for products of anything else, if there is one.
    pub strided: Option<&'static str>,
    /// Its kernel for convolutions.
    pub conv: &'static str,
}

/// The kernel of a tile for products of anything.
macro_rules! strided {
    (packed, $rows:literal, $cols:literal) => {
        None
    };
    (strided, $rows:literal, $cols:literal) => {
        Some(concat!("gemm_tile_", $rows, "x", $cols, "_strided"))
    };
}

macro_rules! tiles {
    ($(($rows:literal, $cols:literal, $each:expr, $chunk:literal, $stages:literal, $step:literal, $groups:literal, $kind:ident),)*) => {
        /// From large to small, with the numbers of the kernels.
        pub const TILES: &[Tile] = &[$(Tile {
            rows: $rows,
            cols: $cols,
            each: $each,
            chunk: $chunk,
            stages: $stages,
            step: $step,
            most_groups: $groups,
            packed: concat!("gemm_tile_", $rows, "x", $cols, "_packed"),
            strided: strided!($kind, $rows, $cols),
            conv: concat!("conv_tile_", $rows, "x", $cols),
        },)*];
    };
}

tiles! {
    (128, 128, [8, 16], 8, 4, 0, 1, packed),
    (64, 128, [8, 16], 8, 4, 0, 2, packed),
    (64, 64, [8, 4], 16, 4, 2, 4, strided),
    (32, 64, [4, 4], 16, 4, 0, 4, packed),
    (32, 32, [8, 4], 16, 4, 2, 8, strided),
    (16, 32, [4, 4], 16, 6, 4, 8, packed),
    (16, 16, [2, 2], 64, 5, 8, 8, strided),
    (8, 32, [2, 4], 16, 6, 4, 8, packed),
    (8, 16, [2, 2], 64, 5, 8, 8, packed),
    (8, 8, [2, 1], 64, 5, 16, 8, strided),
}

/// How much is to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Rows.
    pub m: usize,
    /// Columns.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Matrices.
    pub batch: usize,
}

/// How the operands come into shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Both four values at once.
    Quads,
    /// Both one value at a time, by strides.
    Values,
    /// The left one four at once, the right one from what taps see: whole parts of a chunk from one tap, or each value from its own.
    Taps {
        /// Whole parts.
        whole: bool,
    },
}

impl Copies {
    /// Roughly the instructions of a thread for each value of k.
    fn instructions(self, tile: &Tile) -> f64 {
        let [left, right] = match self {
            Copies::Quads => [2, 2],
            Copies::Values => [32, 32],
            Copies::Taps { whole: true } => [2, 4],
            Copies::Taps { whole: false } => [2, 64],
        };
        (left * tile.rows + right * tile.cols) as f64 / tile.threads() as f64
    }
}

// What cycles are counted with. Fitted with `cargo run --release -p unisono-cuda --example cuda_peak -- tiles` on processors of compute
// capability 9.0: those of tiles that are not turned to an NVIDIA H100 (132 processors; 78 layers of transformers, perceptrons and
// convolutions), the others to an NVIDIA H200 (as many).

/// What a busy processor takes of the cycles that its multiplications and reads would take one after the other.
const BUSY: f64 = 0.75;
/// A value of shared memory takes so much of a cycle of its own.
const READ: f64 = 0.7;
/// How much longer a block is busy for each group that the first one waits for.
const WAITING: f64 = 0.02;
/// Cycles of a scheduler for an instruction of a warp, with waits.
const ISSUE: f64 = 1.2;
/// Cycles until a multiplication can be added to.
const LATENCY: f64 = 4.0;
/// Cycles of a chunk's barrier, and until its first factors are there.
const BARRIER: f64 = 320.0;
/// Cycles in which groups add up what they have.
const JOIN: f64 = 950.0;
/// Of a turned tile: cycles of a scheduler for an instruction of a warp, and at least so many if it has a single warp.
const TURNED_ISSUE: f64 = 1.08;
const TURNED_ALONE: f64 = 1.3;
/// Of a turned tile: instructions for each row and column of a thread.
const TURNED_READS: f64 = 1.0;
/// Of a turned tile: cycles for each value that a warp reads from shared memory; those of the longer side take half of it, because a
/// warp reads no more than four addresses of them.
const TURNED_READ: f64 = 1.05;
/// Of a turned tile: cycles of a chunk's barrier, and of a block until its first factors are there and its outputs are gone.
const TURNED_BARRIER: f64 = 75.0;
const TURNED_START: f64 = 2250.0;
/// Threads that a processor holds, with the registers that they have.
const THREADS: usize = 1024;
/// Bytes of shared memory that a block takes beside its own.
const BLOCK_SHARED: usize = 1024;

/// A tile, and how many slices a block sums side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its number in [`TILES`].
    pub tile: usize,
    /// Groups of a block.
    pub groups: usize,
}

impl Tile {
    /// Threads of one group.
    pub fn threads(&self) -> usize {
        self.rows * self.cols / (self.each[0] * self.each[1])
    }

    /// Whether its kernels keep the left operand as k x rows in shared memory, and never wait for what they read there.
    fn is_turned(&self) -> bool {
        self.step == 0
    }

    /// Tiles along rows and along columns.
    pub fn count(&self, m: usize, n: usize) -> [usize; 2] {
        [m.div_ceil(self.rows), n.div_ceil(self.cols)]
    }

    /// Shared memory of a block in bytes: `tile_sums` divides it up in the same way.
    pub fn shared(&self, groups: usize, k: usize) -> usize {
        let rounds = slices(k).div_ceil(groups);
        let pitch = self.cols + if self.cols == 8 { 0 } else { 8 };
        let left = if self.is_turned() {
            self.chunk * (self.rows + 4)
        } else {
            self.rows * (self.chunk + 4)
        };
        let chunks = groups * self.stages * (left + self.chunk * pitch);
        let outputs = self.rows * self.cols;
        let floats = match (groups, rounds) {
            (1, 2..) => chunks + outputs,
            (_, 2..) => chunks.max(groups * outputs) + outputs,
            _ => chunks.max(groups * outputs),
        };
        floats * size_of::<f32>()
    }

    /// Roughly the cycles that a product takes with it on a device with so many processors, each with `memory` bytes of shared memory.
    ///
    /// A processor is busy with what its blocks multiply, copy and read, and a block takes as long as its steps one after the other, with
    /// waits that other blocks may fill. The longer one of both counts, and a little of the other.
    fn cycles(
        &self,
        groups: usize,
        copies: Copies,
        extent: Extent,
        processors: u32,
        memory: u32,
    ) -> f64 {
        let Extent { m, n, k, batch } = extent;
        let number = |count: usize| count as f64;
        let [tiles_m, tiles_n] = self.count(m, n).map(number);
        let blocks = (tiles_m * tiles_n * number(batch) / f64::from(processors)).ceil();
        let places = (memory as usize / (self.shared(groups, k) + BLOCK_SHARED))
            .min(THREADS / (groups * self.threads()))
            .max(1);
        let resident = blocks.min(number(places));
        // Blocks that are there together, time and again, and those that are left in the end.
        let rest = blocks % resident;
        let waves = |cycles: &dyn Fn(f64) -> f64| {
            let last = if rest > 0.0 { cycles(rest) } else { 0.0 };
            (blocks / resident).floor() * cycles(resident) + last
        };
        let chunk = number(self.chunk);
        let chunks = (number(k.min(SLICE)) / chunk).ceil();
        let join = if groups > 1 { JOIN } else { 0.0 };
        let rounds = number(slices(k).div_ceil(groups));
        // A scheduler has a share of all warps that are there.
        let warps = number(self.threads()) / 32.0;
        let share = |blocks: f64| (blocks * number(groups) * warps / 4.0).ceil();
        let [down, across] = self.each.map(number);

        if self.is_turned() {
            let instructions =
                down * across + copies.instructions(self) + TURNED_READS * (down + across);
            let read = TURNED_READ * (down.max(across) / 2.0 + down.min(across));
            return waves(&|blocks| {
                let issue = (TURNED_ISSUE * share(blocks)).max(TURNED_ALONE) * instructions;
                let step = issue.max(blocks * number(groups) * warps * read);
                rounds * (chunks * (chunk * step + TURNED_BARRIER) + join) + TURNED_START
            });
        }

        // For each value of k: instructions of a warp, and what its group takes of shared memory, which hands a warp one value per thread
        // in a cycle, or takes 32 that arrive.
        let instructions = down * across + copies.instructions(self);
        let read = READ * (warps * (down + across) + number(self.rows + self.cols) / 64.0);

        let multiply = warps * instructions / 4.0;
        let length = number(k.max(1).next_multiple_of(self.chunk));
        let waiting = 1.0 + WAITING * number(groups - 1);
        let work = multiply.max(read) + multiply.min(read) / 2.0;
        let busy = BUSY * waiting * blocks * length * work;

        // A scheduler waits for what its warps read.
        let reads = down / 4.0 + across / across.min(4.0);
        let serial = waves(&|blocks| {
            let issue = ISSUE * share(blocks) * (instructions + 2.0 * reads);
            let step = issue.max(blocks * number(groups) * read).max(LATENCY);
            rounds * (chunks * (chunk * step + BARRIER) + join)
        });
        busy.max(serial) + busy.min(serial) / 20.0
    }
}

/// How many slices a sum over `k` values has; one even if it is empty.
pub fn slices(k: usize) -> usize {
    k.div_ceil(SLICE).max(1)
}

/// The tile that is expected to be fastest. `serves` says which ones there is a kernel for, `limit` how much shared memory a
/// block may have.
pub fn choose(
    copies: Copies,
    extent: Extent,
    processors: u32,
    limit: u32,
    serves: impl Fn(usize) -> bool,
) -> Option<Choice> {
    let mut best: Option<(f64, Choice)> = None;
    for (number, tile) in TILES.iter().enumerate() {
        // The few warps of a turned tile cannot hide what scattered values wait for.
        let hides = !tile.is_turned() || copies != Copies::Taps { whole: false };
        if !serves(number) || !hides {
            continue;
        }
        for groups in 1..=tile.most_groups.min(slices(extent.k)) {
            if tile.shared(groups, extent.k) > limit as usize {
                continue;
            }
            let cycles = tile.cycles(groups, copies, extent, processors.max(1), limit);
            if best.is_none_or(|(least, _)| cycles < least) {
                best = Some((
                    cycles,
                    Choice {
                        tile: number,
                        groups,
                    },
                ));
            }
        }
    }
    best.map(|(_, choice)| choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H100: u32 = 227 * 1024;

    fn chosen(m: usize, n: usize, k: usize) -> (usize, usize, usize) {
        let choice = choose(
            Copies::Quads,
            Extent { m, n, k, batch: 1 },
            132,
            H100,
            |_| true,
        )
        .unwrap();
        let tile = &TILES[choice.tile];
        (tile.rows, tile.cols, choice.groups)
    }

    #[test]
    fn large_products_take_large_tiles_and_small_ones_fill_the_device() {
        let (rows, cols, groups) = chosen(4096, 1024, 1024);
        assert!(
            rows * cols >= 4096 && groups == 1,
            "{rows} x {cols}, {groups} groups"
        );
        for m in [32, 64, 128, 256] {
            let (rows, cols, groups) = chosen(m, 1024, 1024);
            assert!(
                m / rows * (1024 / cols) == 128 && groups == 4,
                "{rows} x {cols}, {groups} groups"
            );
        }
    }

    #[test]
    fn a_single_slice_of_a_few_rows_has_a_block_for_every_processor() {
        for n in [256, 768, 1024] {
            let (rows, cols, groups) = chosen(32, n, 256);
            assert!(
                32 / rows * (n / cols) >= 128 && groups == 1,
                "{rows} x {cols}"
            );
        }
    }

    #[test]
    fn what_is_gathered_value_by_value_takes_tiles_of_many_threads() {
        for (m, n, k) in [(64, 112 * 112, 147), (128, 4096, 1024), (512, 65_536, 4608)] {
            let extent = Extent { m, n, k, batch: 1 };
            let scattered = Copies::Taps { whole: false };
            let choice = choose(scattered, extent, 132, H100, |_| true).unwrap();
            let tile = &TILES[choice.tile];
            assert!(!tile.is_turned() && 32 * tile.threads() >= tile.rows * tile.cols);
        }
    }

    #[test]
    fn every_choice_fits_the_smallest_device_that_has_the_instructions() {
        for m in [1, 17, 64, 300, 4096] {
            for n in [1, 33, 512, 4096] {
                for k in [0, 1, 256, 257, 1024, 20_000] {
                    let extent = Extent { m, n, k, batch: 3 };
                    let choice = choose(Copies::Quads, extent, 16, LEAST_SHARED, |_| true).unwrap();
                    let tile = &TILES[choice.tile];
                    assert!(tile.shared(choice.groups, k) <= LEAST_SHARED as usize);
                    assert!(choice.groups <= slices(k) && choice.groups * tile.threads() <= 512);
                }
            }
        }
    }

    #[test]
    fn the_tiles_are_those_of_the_kernels() {
        let [packed, strided, conv] = [
            include_str!("../../kernels/gemm.cu"),
            include_str!("../../kernels/gemm_strided.cu"),
            include_str!("../../kernels/conv.cu"),
        ];
        for tile in TILES {
            let Tile {
                rows,
                cols,
                each: [down, across],
                chunk,
                stages,
                step,
                most_groups,
                ..
            } = tile;
            let threads = tile.threads() * most_groups;
            let numbers =
                format!("{rows}, {cols}, {down}, {across}, {chunk}, {stages}, {step}, {threads}, ");
            assert!(
                packed.contains(&format!("GEMM_TILE(Packed, packed, {numbers}")),
                "{numbers}"
            );
            assert!(conv.contains(&format!("CONV_TILE({numbers}")), "{numbers}");
            let there = strided.contains(&format!("GEMM_TILE(Strided, strided, {numbers}"));
            assert_eq!(there, tile.strided.is_some(), "{numbers}");
        }
        let header = include_str!("../../kernels/tile.cuh");
        assert!(header.contains(&format!("constexpr int SLICE = {SLICE};")));
    }
}
