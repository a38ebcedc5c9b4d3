//! Launches of `kernels/attention.cu`: attention in one piece.
//!
//! The one idea: how many rows a block has follows from the shape and the device; all choices give the same bits.
//!
//! It must never launch what a kernel cannot count, or what its shared memory has no room for: such attention has no launch, and its
//! nodes have launches of their own.

use smallvec::smallvec;
pub use unisono_cpu::fuse::attention::{Attention, Extent, Steps};

use super::map::elements;
use crate::launch::{Arg, Buffer, Launch};

/// Rows that a block may have.
const TILES: [usize; 3] = [32, 16, 8];

/// `ATTENTION_THREADS`, `ATTENTION_STAGES` and `ATTENTION_ROWS` of the kernel.
const THREADS: usize = 256;
const STAGES: usize = 3;
const ROWS: usize = 4;
/// Keys that a warp takes at once.
const WARP: usize = 32;
/// The kernels' numbers of rows of the result that a thread has.
const ITEMS: [(usize, &str); 3] = [
    (1, "unisono_attention_1"),
    (2, "unisono_attention_2"),
    (4, "unisono_attention_4"),
];

/// What attention reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Q.
    pub q: Buffer,
    /// K.
    pub k: Buffer,
    /// V.
    pub v: Buffer,
    /// The mask, if there is one.
    pub mask: Option<Buffer>,
    /// The result.
    pub y: Buffer,
}

/// How a block divides its work.
struct Division {
    chunk: usize,
    kernel: &'static str,
    shared: usize,
}

impl Division {
    /// For blocks of `tile` rows; `None` if a thread would have too much of the result, or `limit` bytes of shared memory are too few.
    fn new(extent: &Extent, tile: usize, limit: u32) -> Option<Division> {
        let apart = THREADS / extent.value_width.div_ceil(4);
        let items = tile.div_ceil(Some(apart).filter(|&n| n > 0)?);
        let (_, kernel) = *ITEMS.iter().find(|(most, _)| items <= *most)?;
        let pitch = extent.width.max(extent.value_width).next_multiple_of(4) | 4;
        let scores = extent.keys.next_multiple_of(4) | 4;
        let shared = |chunk: usize| {
            (tile * (pitch + scores) + STAGES * chunk * pitch).checked_mul(size_of::<f32>())
        };
        // As many keys as keep all warps busy, and no more than there are.
        let most = THREADS / WARP * ROWS * WARP / tile;
        let most = most.min(extent.keys.next_power_of_two().max(WARP));
        let chunks = [128, 64, WARP].into_iter().filter(|&chunk| chunk <= most);
        let fits = |chunk: &usize| shared(*chunk).is_some_and(|n| n <= limit as usize);
        let chunk = { chunks }.find(fits)?;
        Some(Division {
            chunk,
            kernel,
            shared: shared(chunk)?,
        })
    }
}

/// What multiplies a number below 2^16 to divide it by the quads of a row, in the upper half of the product: 2^32 by them, rounded up; 0
/// if there is one.
fn part(width: usize) -> Option<u32> {
    let across = u16::try_from(width.div_ceil(4)).ok()?;
    match across {
        0 => None,
        1 => Some(0),
        _ => u32::try_from((1u64 << 32).div_ceil(across.into())).ok(),
    }
}

/// The launch on a device with so many processors, whose blocks may have `limit` bytes of shared memory.
pub fn launch(
    attention: &Attention,
    processors: u32,
    limit: u32,
    buffers: Buffers,
) -> Option<Launch> {
    let Extent {
        batch,
        heads,
        rows,
        keys,
        width,
        value_width,
    } = attention.extent;
    let of_q = elements(&[batch, heads, rows, width.max(value_width)])?;
    let of_k = elements(&[batch, heads, keys, width.max(value_width)])?;
    let lengths = [of_q, of_k, width, value_width];
    if lengths.contains(&0) {
        return None;
    }
    // The largest tile that leaves two thirds of the processors a block, and room for another.
    let suits = |tile: &&usize| {
        let blocks = rows.div_ceil(**tile) * batch * heads;
        3 * blocks >= 2 * processors as usize
            && Division::new(&attention.extent, **tile, limit / 2).is_some()
    };
    let tile = TILES.iter().find(suits);
    let smallest = || TILES.last().copied();
    tiled(attention, tile.copied().or_else(smallest)?, limit, buffers)
}

/// The launch with blocks of so many rows.
fn tiled(attention: &Attention, tile: usize, limit: u32, buffers: Buffers) -> Option<Launch> {
    let Attention {
        extent, q, k, v, y, ..
    } = *attention;
    let Extent {
        batch,
        heads,
        rows,
        keys,
        width,
        value_width,
    } = extent;
    let division = Division::new(&extent, tile, limit)?;
    let tiles = rows.div_ceil(tile);
    let blocks = |n: usize, most: u32| u32::try_from(n).ok().filter(|&n| n <= most);
    let batch = blocks(batch, i32::MAX as u32)?;
    let heads = blocks(heads, u16::MAX.into())?;
    let tiles = blocks(tiles, u16::MAX.into())?;
    let is_even = |(steps, buffer): (Steps, Buffer)| {
        steps.iter().all(|step| step.is_multiple_of(4)) && buffer.offset.is_multiple_of(16)
    };
    let quads = width.is_multiple_of(4)
        && value_width.is_multiple_of(4)
        && [
            (q, buffers.q),
            (k, buffers.k),
            (v, buffers.v),
            (y, buffers.y),
        ]
        .into_iter()
        .all(is_even);
    let lengths = [rows, keys, width, value_width];
    let division_of = [tile, division.chunk, quads.into()];
    let steps = [q, k, v, y].concat();
    let mask = attention.mask.unwrap_or_default();
    let word = |number: &usize| Some(i32::try_from(*number).ok()?.cast_unsigned());
    let words = |numbers: &[usize]| numbers.iter().map(word).collect::<Option<Vec<u32>>>();
    let words = [
        words(&lengths)?,
        words(&division_of)?,
        vec![attention.alpha.to_bits()],
        words(&steps)?,
        words(&mask)?,
        vec![part(width)?, part(value_width)?],
    ]
    .concat();
    Some(Launch {
        kernel: division.kernel,
        grid: [batch, heads, tiles],
        block: [THREADS as u32, 1, 1],
        shared: u32::try_from(division.shared).ok()?,
        args: smallvec![
            Arg::Buffer(buffers.q),
            Arg::Buffer(buffers.k),
            Arg::Buffer(buffers.v),
            buffers.mask.map_or(Arg::Null, Arg::Buffer),
            Arg::Buffer(buffers.y),
            Arg::words(&words),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Place;

    fn attention(batch: usize, heads: usize, rows: usize, keys: usize, width: usize) -> Attention {
        let steps = |rows: usize| [rows * heads * width, width, heads * width];
        Attention {
            extent: Extent {
                batch,
                heads,
                rows,
                keys,
                width,
                value_width: width,
            },
            alpha: 0.5,
            q: steps(rows),
            k: steps(keys),
            v: steps(keys),
            y: steps(rows),
            mask: None,
        }
    }

    const BUFFERS: Buffers = Buffers {
        q: Buffer::at(Place::Arena(0)),
        k: Buffer::at(Place::Arena(1)),
        v: Buffer::at(Place::Arena(2)),
        mask: None,
        y: Buffer::at(Place::Arena(3)),
    };

    /// A number that a launch gives its kernel.
    fn number(launch: &Launch, index: usize) -> usize {
        match &launch.args[5] {
            Arg::Bytes(bytes) => {
                let (words, _) = bytes.as_chunks::<4>();
                u32::from_le_bytes(words[index]) as usize
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn blocks_cover_all_rows_and_chunks_divide_slices() {
        for (batch, heads) in [(1, 1), (1, 4), (64, 12)] {
            for rows in [1, 8, 32, 33, 512] {
                for keys in [1, 31, 32, 33, 300, 1024] {
                    for width in [1, 8, 64, 100, 128, 256] {
                        let of = attention(batch, heads, rows, keys, width);
                        let launch = launch(&of, 132, 227 << 10, BUFFERS).unwrap();
                        let (tile, chunk) = (number(&launch, 4), number(&launch, 5));
                        let [of_batch, of_heads, tiles] = launch.grid.map(|n| n as usize);
                        assert!(tile * tiles >= rows && TILES.contains(&tile));
                        assert_eq!((of_batch, of_heads), (batch, heads));
                        assert!(chunk % WARP == 0 && 256 % chunk == 0);
                        assert!(launch.shared <= 227 << 10);
                        let most = launch.kernel.rsplit_once('_').unwrap().1;
                        let most: usize = most.parse().unwrap();
                        assert!(most * (THREADS / width.div_ceil(4)) >= tile, "{launch:?}");
                        assert_eq!(number(&launch, 7), 0.5f32.to_bits() as usize);
                    }
                }
            }
        }
    }

    #[test]
    fn few_rows_are_dealt_out_in_small_tiles_and_many_in_large_ones() {
        let tile = |of: Attention| number(&launch(&of, 132, 227 << 10, BUFFERS).unwrap(), 4);
        assert_eq!(tile(attention(1, 4, 32, 32, 64)), 8);
        assert_eq!(tile(attention(128, 12, 128, 128, 32)), 32);
    }

    #[test]
    fn what_does_not_fit_has_no_launch() {
        let launch = |of| launch(&of, 132, 99 << 10, BUFFERS);
        assert!(launch(attention(1, 1, 1, 1, 2000)).is_none());
        assert!(launch(attention(1, 1, 1, 4000, 64)).is_none());
        assert!(launch(attention(1, 1, 0, 4, 64)).is_none());
        assert!(launch(attention(1, 1, 4, 0, 64)).is_none());
        assert!(launch(attention(1, 1, 4, 4, 0)).is_none());
        assert!(launch(attention(0, 1, 4, 4, 8)).is_none());
        let mut empty = attention(1, 1, 4, 4, 8);
        empty.extent.value_width = 0;
        assert!(launch(empty).is_none());
        let mut large = attention(1, 1, 4, 4, 8);
        (large.extent.rows, large.extent.keys) = (usize::MAX, usize::MAX);
        assert!(launch(large).is_none());
        assert!(launch(attention(1 << 12, 1 << 12, 64, 64, 64)).is_none());
        assert!(launch(attention(1, 1, 1, 1000, 64)).is_some());
    }

    #[test]
    fn quads_are_divided_into_rows_without_a_remainder() {
        for width in (1..600usize).chain([4 * 255, 4 * 4099]) {
            let (across, part) = (width.div_ceil(4) as u64, u64::from(part(width).unwrap()));
            for n in (0..130 * across)
                .chain([65_534, 65_535])
                .filter(|n| *n < 1 << 16)
            {
                let row = if part == 0 { n } else { (n * part) >> 32 };
                assert_eq!(row, n / across, "{n} of {width}");
            }
        }
    }

    #[test]
    fn every_kernel_stands_in_the_ptx() {
        let ptx = include_str!("../../ptx/attention.ptx");
        for (_, name) in ITEMS {
            assert!(ptx.contains(&format!(".entry {name}(")), "{name}");
        }
    }
}
