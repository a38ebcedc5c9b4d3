//! Tiles of long sums: which there are, what they need, and which one suits a shape.
//!
//! The one idea: the choice is made from counted work alone. It may differ between devices and shapes, because every tile and
//! every number of groups gives the same bits (`kernels/tile.cuh`).

use unisono_reference::arith::SLICE;

/// Values of k that come into shared memory together: `CHUNK` of `tile.cuh`.
const CHUNK: usize = 16;

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
    /// Chunks that shared memory holds per group.
    stages: usize,
    /// The most groups that a block has: `__launch_bounds__` says so too.
    pub most_groups: usize,
}

const fn tile(
    rows: usize,
    cols: usize,
    each: [usize; 2],
    stages: usize,
    most_groups: usize,
) -> Tile {
    Tile {
        rows,
        cols,
        each,
        stages,
        most_groups,
    }
}

/// From large to small, with the numbers of the kernels.
pub const TILES: [Tile; 7] = [
    tile(128, 128, [8, 16], 2, 1),
    tile(128, 64, [8, 8], 2, 1),
    tile(64, 64, [8, 8], 3, 4),
    tile(32, 64, [8, 8], 3, 8),
    tile(32, 32, [8, 4], 4, 8),
    tile(16, 32, [4, 4], 6, 8),
    tile(8, 32, [2, 4], 6, 8),
];

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

    /// Tiles along rows and along columns.
    pub fn count(&self, m: usize, n: usize) -> [usize; 2] {
        [m.div_ceil(self.rows), n.div_ceil(self.cols)]
    }

    /// Shared memory of a block in bytes: `tile_sums` divides it up in the same way.
    pub fn shared(&self, groups: usize, k: usize) -> usize {
        let rounds = slices(k).div_ceil(groups);
        let stage = self.rows * (CHUNK + 4) + CHUNK * (self.cols + 8);
        let (chunks, sums) = (groups * self.stages * stage, groups * self.rows * self.cols);
        let first = if groups == 1 && rounds > 1 {
            chunks
        } else {
            chunks.max(sums)
        };
        let totals = if rounds > 1 { self.rows * self.cols } else { 0 };
        (first + totals) * size_of::<f32>()
    }

    /// Roughly the processor cycles that a product takes with it.
    fn cycles(&self, groups: usize, extent: Extent, processors: u64) -> u64 {
        let Extent { m, n, k, batch } = extent;
        let [tiles_m, tiles_n] = self.count(m, n);
        let blocks = (tiles_m as u64)
            .saturating_mul(tiles_n as u64)
            .saturating_mul(batch as u64);
        let k = k.max(1).next_multiple_of(CHUNK) as u64;
        let rounds = slices(extent.k).div_ceil(groups) as u64;
        let ([down, across], warps) = (self.each, self.threads() / 32);
        // Per value of k of one group: a processor multiplies 128 pairs a cycle, and its shared memory gives a warp one value per
        // thread, or takes 32 that arrive. Both go on side by side, but not quite. In sixteenths of a cycle.
        let multiply = (self.rows * self.cols / 8) as u64;
        let shared = (16 * warps * (down + across) + (self.rows + self.cols) / 2) as u64;
        let work = multiply.max(shared) + multiply.min(shared) / 8;
        let busy = blocks.div_ceil(processors).saturating_mul(k * work / 16);
        // A block by itself: a scheduler serves every fourth warp, with waits that nobody fills, and a step has its latency.
        let issue = ((groups * warps).div_ceil(4) * down * across * 20) as u64;
        let step = issue.max(shared * groups as u64).max(24 * 16);
        let serial = rounds * k.min(SLICE as u64) * step / 16;
        busy.max(serial) + if groups > 1 { rounds * 200 } else { 0 }
    }
}

/// How many slices a sum over `k` values has; one even if it is empty.
pub fn slices(k: usize) -> usize {
    k.div_ceil(SLICE).max(1)
}

/// The tile that is expected to be fastest. `serves` says which ones there is a kernel for, `limit` how much shared memory a
/// block may have.
pub fn choose(
    extent: Extent,
    processors: u32,
    limit: u32,
    serves: impl Fn(usize) -> bool,
) -> Option<Choice> {
    let mut best: Option<(u64, Choice)> = None;
    for (number, tile) in TILES.iter().enumerate() {
        if !serves(number) {
            continue;
        }
        for groups in 1..=tile.most_groups.min(slices(extent.k)) {
            if tile.shared(groups, extent.k) > limit as usize {
                continue;
            }
            let cycles = tile.cycles(groups, extent, u64::from(processors.max(1)));
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
        let choice = choose(Extent { m, n, k, batch: 1 }, 132, H100, |_| true).unwrap();
        let tile = &TILES[choice.tile];
        (tile.rows, tile.cols, choice.groups)
    }

    #[test]
    fn large_products_take_large_tiles_and_small_ones_fill_the_device() {
        assert_eq!(chosen(4096, 1024, 1024), (128, 128, 1));
        for m in [32, 64, 128, 256] {
            let (rows, cols, groups) = chosen(m, 1024, 1024);
            assert!(
                m / rows * (1024 / cols) == 128 && groups == 4,
                "{rows} x {cols}, {groups} groups"
            );
        }
    }

    #[test]
    fn every_choice_fits_the_smallest_device_that_has_the_instructions() {
        for m in [1, 17, 64, 300, 4096] {
            for n in [1, 33, 512, 4096] {
                for k in [0, 1, 256, 257, 1024, 20_000] {
                    let extent = Extent { m, n, k, batch: 3 };
                    let choice = choose(extent, 16, LEAST_SHARED, |_| true).unwrap();
                    let tile = &TILES[choice.tile];
                    assert!(tile.shared(choice.groups, k) <= LEAST_SHARED as usize);
                    assert!(choice.groups <= slices(k) && choice.groups * tile.threads() <= 512);
                }
            }
        }
    }

    #[test]
    fn the_tiles_are_those_of_the_kernels() {
        let source = include_str!("../../kernels/gemm.cu");
        for tile in &TILES {
            let Tile {
                rows,
                cols,
                each: [down, across],
                stages,
                ..
            } = tile;
            let threads = tile.threads() * tile.most_groups;
            let line = format!(
                "GEMM_TILE(Packed, packed, {rows}, {cols}, {down}, {across}, {stages}, {threads}, "
            );
            assert!(source.contains(&line), "no `{line}`");
        }
        let header = include_str!("../../kernels/tile.cuh");
        assert!(header.contains(&format!("constexpr int CHUNK = {CHUNK};")));
        assert!(header.contains(&format!("constexpr int SLICE = {SLICE};")));
    }
}
