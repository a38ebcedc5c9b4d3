//! Launches of `kernels/gemm.cu` and `kernels/gemm_strided.cu`: matrix products.
//!
//! The one idea: a product is described once, and which kernel computes it follows from its shape and the device. All of them give
//! the same bits. Constant right-hand sides are packed for all of them in one form.
//!
//! It must never launch what a kernel cannot count: all that leaves 31 bits has no launch.

use smallvec::smallvec;

use super::functions::Function;
use super::tile::{self, Choice, Copies, Extent, TILES, slices};
use crate::launch::{Arg, Buffer, Launch};

/// Columns of a panel of packed weights.
pub const PANEL: usize = 8;

/// The most rows that are multiplied with weights by streaming them once.
const NARROW: usize = 2;
/// Slices up to which the smallest tile is as fast with them, if it can read the rows in quads.
const FEW_SLICES: usize = 4;
/// `NARROW_CHUNK` and `NARROW_AHEAD` of the kernels.
const NARROW_CHUNK: usize = 64;
const NARROW_AHEAD: usize = 4;
/// The most slices that a block sums side by side: its threads are 512.
const NARROW_ABREAST: usize = 64;
/// The threads of its blocks are a multiple of this: one for each output, and one for each quad of a chunk's weights. Those that do
/// not add help to copy.
const NARROW_THREADS: usize = NARROW_CHUNK * PANEL / 4;
/// What a narrow product may take of shared memory, so that two blocks share a processor: bytes.
const NARROW_SHARED: usize = 112 * 1024;

/// A matrix on the device: its start, and its strides along rows and columns, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Element (0, 0).
    pub buffer: Buffer,
    /// How far rows and columns are apart.
    pub strides: [usize; 2],
}

/// The right-hand side.
#[derive(Clone, Copy, Debug)]
pub enum Right {
    /// Weights that [`pack`] has made.
    Packed(Buffer),
    /// Anything else.
    Strided(Matrix),
}

/// A product, or a batch of them.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// How much there is to compute.
    pub extent: Extent,
    /// The left-hand side, M x K.
    pub a: Matrix,
    /// The right-hand side, K x N.
    pub b: Right,
    /// Added to the product, with strides of 0 where it repeats.
    pub bias: Option<Matrix>,
    /// The dense result.
    pub c: Buffer,
    /// A table with four offsets for each member of the batch, as [`members`] makes it; not needed for a single one.
    pub members: Option<Buffer>,
    /// Do all offsets of A and of C lie on multiples of four elements?
    pub even: bool,
    /// What happens to the totals.
    pub finish: Finish,
    /// Further products of the same A, in the same launch.
    pub siblings: [Option<Sibling>; SIBLINGS],
}

/// Products that a launch may have beside its first one.
pub const SIBLINGS: usize = 2;

/// A product that is like another one in all but these.
#[derive(Clone, Copy, Debug)]
pub struct Sibling {
    /// The right-hand side, packed.
    pub b: Buffer,
    /// Its bias, if the other has one.
    pub bias: Option<Buffer>,
    /// Its result.
    pub c: Buffer,
}

/// `function(alpha * total + beta * bias)`, as `arith::Epilogue`.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Scales the total.
    pub alpha: f32,
    /// Scales the bias.
    pub beta: f32,
    /// Applied last.
    pub function: Function,
}

impl Finish {
    /// As the kernels take it.
    pub(super) fn words(&self) -> [u32; 5] {
        [
            self.alpha.to_bits(),
            self.beta.to_bits(),
            self.function.code.cast_unsigned(),
            self.function.a.to_bits(),
            self.function.b.to_bits(),
        ]
    }
}

/// The table of a batch: where each member's A, B, C and bias begin, in elements.
pub fn members(offsets: &[[usize; 4]]) -> Vec<u8> {
    let words = offsets.iter().flatten();
    words.flat_map(|&n| (n as u64).to_le_bytes()).collect()
}

/// Packs a constant right-hand side: panels of [`PANEL`] columns, each K x [`PANEL`], the last one filled up with zeros.
/// `at(k, n)` gives the elements.
pub fn pack(k: usize, n: usize, at: impl Fn(usize, usize) -> f32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n.next_multiple_of(PANEL) * k * size_of::<f32>());
    for panel in (0..n).step_by(PANEL) {
        for row in 0..k {
            for col in panel..panel + PANEL {
                let value = if col < n { at(row, col) } else { 0.0 };
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    bytes
}

/// The launch of a product on a device with so many processors, whose blocks may have `limit` bytes of shared memory; `None` if it is
/// too large for the kernels. Nothing is launched for an empty output: the product must have one.
pub fn launch(product: &Product, processors: u32, limit: u32) -> Option<Launch> {
    build(product, processors, limit, None)
}

/// The launch of a product with this tile, for measurements; `None` as for [`launch`], or if the tile has no kernel for it or needs more
/// shared memory than `limit` bytes.
pub fn launch_tile(product: &Product, choice: Choice, limit: u32) -> Option<Launch> {
    build(product, 1, limit, Some(choice))
}

/// The launch of a product, with this tile if there is one.
fn build(product: &Product, processors: u32, limit: u32, wanted: Option<Choice>) -> Option<Launch> {
    let Extent { m, n, k, batch } = product.extent;
    if m == 0 || n == 0 || batch == 0 || (batch > 1 && product.members.is_none()) {
        return None;
    }
    let [a_row, a_col] = product.a.strides;
    let (b, [b_row, b_panel, b_col]) = match product.b {
        Right::Packed(b) => (b, [PANEL, k.checked_mul(PANEL)?, 1]),
        Right::Strided(b) => (
            b.buffer,
            [b.strides[0], PANEL.checked_mul(b.strides[1])?, b.strides[1]],
        ),
    };
    let bias = product.bias.map_or([0, 0], |bias| bias.strides);
    let siblings = || product.siblings.iter().flatten();
    let products = 1 + siblings().count();
    let is_packed = matches!(product.b, Right::Packed(_));
    if products > 1
        && (!is_packed || siblings().any(|s| s.bias.is_some() != product.bias.is_some()))
    {
        return None;
    }
    let even = |buffer: Buffer| buffer.offset.is_multiple_of(16) && product.even;
    let a_quads = a_col == 1 && (m == 1 || a_row.is_multiple_of(4)) && even(product.a.buffer);
    let c_quads = n.is_multiple_of(4) && even(product.c) && siblings().all(|s| even(s.c));
    let packed = is_packed
        && b.offset.is_multiple_of(16)
        && siblings().all(|s| s.b.offset.is_multiple_of(16));

    let is_narrow = packed && batch == 1 && m <= NARROW && (!a_quads || slices(k) > FEW_SLICES);
    let narrow = if wanted.is_none() && is_narrow {
        Narrow::new(m, k, limit)
    } else {
        None
    };
    let choice = match (&narrow, wanted) {
        (Some(_), _) => None,
        (None, Some(choice)) => {
            let shared = TILES.get(choice.tile)?.shared(choice.groups, k);
            (shared <= limit as usize).then_some(choice)
        }
        (None, None) => {
            let copies = if packed && a_quads {
                Copies::Quads
            } else {
                Copies::Values
            };
            let all = Extent {
                batch: batch.checked_mul(products)?,
                ..product.extent
            };
            Some(tile::choose(copies, all, processors, limit, |tile| {
                kernel(tile, packed && a_quads).is_some()
            })?)
        }
    };
    let [tiles_m, tiles_n] = choice.map_or([1, 1], |choice| TILES[choice.tile].count(m, n));
    let abreast = narrow.as_ref().map_or(0, |narrow| narrow.abreast);
    let numbers = [
        m,
        n,
        k,
        a_row,
        a_col,
        b_row,
        b_panel,
        b_col,
        bias[0],
        bias[1],
        tiles_m,
        tiles_n,
        usize::from(a_quads),
        usize::from(c_quads),
        abreast,
    ];
    let mut words = [0u32; 20];
    for (word, number) in words.iter_mut().zip(numbers) {
        *word = i32::try_from(number).ok()?.cast_unsigned();
    }
    words[15..].copy_from_slice(&product.finish.words());
    let optional = |buffer: Option<Buffer>| buffer.map_or(Arg::Null, Arg::Buffer);
    let mut args = smallvec![
        Arg::Buffer(product.a.buffer),
        Arg::Buffer(b),
        optional(product.bias.map(|bias| bias.buffer)),
        Arg::Buffer(product.c),
    ];
    let (kernel, blocks, threads, shared) = match (narrow, choice) {
        (Some(narrow), _) => (
            narrow.kernel,
            n.div_ceil(PANEL),
            narrow.threads,
            narrow.shared,
        ),
        (None, choice) => {
            let choice = choice?;
            let tile = &TILES[choice.tile];
            args.push(optional(product.members.filter(|_| batch > 1)));
            let blocks = tiles_m.checked_mul(tiles_n)?.checked_mul(batch)?;
            let threads = choice.groups * tile.threads();
            (
                kernel(choice.tile, packed && a_quads)?,
                blocks,
                threads,
                tile.shared(choice.groups, k),
            )
        }
    };
    // Those that are there come first: blocks are told apart by their place.
    let mut siblings = siblings();
    for _ in 0..SIBLINGS {
        let sibling = siblings.next();
        args.push(optional(sibling.map(|s| s.b)));
        args.push(optional(sibling.and_then(|s| s.bias)));
        args.push(optional(sibling.map(|s| s.c)));
    }
    args.push(Arg::words(&words));
    Some(Launch {
        kernel,
        grid: [
            u32::try_from(blocks)
                .ok()
                .filter(|&n| n <= i32::MAX as u32)?,
            u32::try_from(products).ok()?,
            1,
        ],
        block: [u32::try_from(threads).ok()?, 1, 1],
        shared: u32::try_from(shared).ok()?,
        args,
    })
}

/// The kernel of a tile.
fn kernel(tile: usize, packed: bool) -> Option<&'static str> {
    let tile = TILES.get(tile)?;
    if packed {
        Some(tile.packed)
    } else {
        tile.strided
    }
}

/// How a product of a few rows is divided.
struct Narrow {
    kernel: &'static str,
    abreast: usize,
    threads: usize,
    shared: usize,
}

impl Narrow {
    /// As many slices side by side as shared memory (`limit` bytes) and a block hold; `None` if not even the sums of all slices fit.
    fn new(m: usize, k: usize, limit: u32) -> Option<Narrow> {
        let (rows, kernel) = match m {
            1 => (1, "gemm_narrow_1"),
            NARROW => (NARROW, "gemm_narrow_2"),
            _ => return None,
        };
        let slices = slices(k);
        let shared = |abreast: usize| {
            let stage = abreast * (NARROW_CHUNK * PANEL + PANEL + rows * NARROW_CHUNK + 4);
            let stages = NARROW_AHEAD + usize::from(slices > abreast);
            (stages * stage + slices * rows * PANEL) * size_of::<f32>()
        };
        let most = (1..=slices.min(NARROW_ABREAST))
            .rev()
            .find(|&abreast| shared(abreast) <= NARROW_SHARED.min(limit as usize))?;
        // No more than it takes for so many rounds.
        let abreast = slices.div_ceil(slices.div_ceil(most));
        Some(Narrow {
            kernel,
            abreast,
            threads: (abreast * PANEL).next_multiple_of(NARROW_THREADS),
            shared: shared(abreast),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Place;

    fn product(m: usize, n: usize, k: usize, batch: usize, packed: bool) -> Product {
        let at = |n| Buffer::at(Place::Arena(n));
        Product {
            extent: Extent { m, n, k, batch },
            a: Matrix {
                buffer: at(0),
                strides: [k, 1],
            },
            b: if packed {
                Right::Packed(at(1))
            } else {
                Right::Strided(Matrix {
                    buffer: at(1),
                    strides: [n, 1],
                })
            },
            bias: None,
            c: at(2),
            members: (batch > 1).then(|| at(3)),
            even: true,
            finish: Finish {
                alpha: 1.0,
                beta: 1.0,
                function: Function::IDENTITY,
            },
            siblings: [None; SIBLINGS],
        }
    }

    #[test]
    fn products_of_one_left_hand_side_share_a_launch() {
        let at = |n| Buffer::at(Place::Arena(n));
        for m in [1, 16, 17, 2048] {
            let alone = product(m, 256, 256, 1, true);
            let mut three = alone;
            for (n, sibling) in three.siblings.iter_mut().enumerate() {
                *sibling = Some(Sibling {
                    b: at(10 + n),
                    bias: None,
                    c: at(20 + n),
                });
            }
            let launch = |product| launch(&product, 132, 227 * 1024).unwrap();
            let (one, all) = (launch(alone), launch(three));
            assert_eq!((one.grid[1], all.grid[1]), (1, 3));
            assert_eq!(one.args.len(), all.args.len());
            let from = all.args.len() - 7;
            let expected = [10, 20, 11, 21].map(|n| Arg::Buffer(at(n)));
            let [b1, c1, b2, c2] = expected;
            assert_eq!(
                all.args[from..from + 6],
                [b1, Arg::Null, c1, b2, Arg::Null, c2]
            );
            assert!(one.args[from..from + 6].iter().all(|arg| *arg == Arg::Null));
        }
        // Another would read a bias that is not there.
        let mut odd = product(1, 8, 8, 1, true);
        odd.siblings[0] = Some(Sibling {
            b: at(10),
            bias: Some(at(11)),
            c: at(12),
        });
        assert!(launch(&odd, 132, 227 * 1024).is_none());
        let mut strided = product(1, 8, 8, 1, false);
        strided.siblings[0] = Some(Sibling {
            b: at(10),
            bias: None,
            c: at(12),
        });
        assert!(launch(&strided, 132, 227 * 1024).is_none());
    }

    #[test]
    fn blocks_cover_all_outputs_within_the_limits() {
        for m in [1, 2, 3, 8, 16, 17, 64, 129, 4096] {
            for n in [1, 8, 31, 1000, 4096] {
                for k in [0, 3, 256, 300, 1024, 9000] {
                    for (batch, packed) in [(1, true), (1, false), (70_000, false)] {
                        let launch =
                            launch(&product(m, n, k, batch, packed), 132, 227 * 1024).unwrap();
                        let outputs: usize =
                            if let Some(rows) = launch.kernel.strip_prefix("gemm_narrow_") {
                                assert!(packed && rows.parse::<usize>().unwrap() == m);
                                launch.grid[0] as usize * PANEL * m
                            } else {
                                let size = launch.kernel.split('_').nth(2).unwrap();
                                let (rows, cols) = size.split_once('x').unwrap();
                                let (rows, cols): (usize, usize) =
                                    (rows.parse().unwrap(), cols.parse().unwrap());
                                assert!(
                                    launch.grid[0] as usize
                                        == m.div_ceil(rows) * n.div_ceil(cols) * batch
                                );
                                launch.grid[0] as usize * rows * cols
                            };
                        assert!(outputs >= m * n * batch);
                        assert_eq!(launch.grid[1..], [1, 1]);
                        assert!(launch.block[0].is_multiple_of(32) && launch.block[0] <= 512);
                        assert!(launch.shared <= 227 * 1024);
                    }
                }
            }
        }
    }

    #[test]
    fn one_row_streams_weights_of_many_slices_alone() {
        let kernel = |m, k| {
            launch(&product(m, 1024, k, 1, true), 132, 227 * 1024)
                .unwrap()
                .kernel
        };
        assert_eq!(kernel(1, 1024), "gemm_tile_8x8_packed");
        assert_eq!(kernel(1, 4096), "gemm_narrow_1");
        assert_eq!(kernel(2, 4096), "gemm_narrow_2");
        assert!(kernel(3, 4096).ends_with("_packed"));
        // Rows that cannot be read in quads.
        assert_eq!(kernel(1, 63), "gemm_tile_8x8_packed");
        assert_eq!(kernel(2, 63), "gemm_narrow_2");
    }

    #[test]
    fn rows_that_are_not_aligned_take_kernels_that_read_one_value_at_a_time() {
        let mut odd = product(40, 64, 63, 1, true);
        assert!(
            launch(&odd, 132, 227 * 1024)
                .unwrap()
                .kernel
                .ends_with("strided")
        );
        odd = product(40, 64, 64, 1, true);
        assert!(
            launch(&odd, 132, 227 * 1024)
                .unwrap()
                .kernel
                .ends_with("packed")
        );
        odd.a.buffer.offset = 4;
        assert!(
            launch(&odd, 132, 227 * 1024)
                .unwrap()
                .kernel
                .ends_with("strided")
        );
    }

    #[test]
    fn what_the_kernels_cannot_count_has_no_launch() {
        assert!(launch(&product(0, 4, 4, 1, true), 132, 227 * 1024).is_none());
        assert!(launch(&product(1 << 31, 4, 4, 1, true), 132, 227 * 1024).is_none());
        assert!(launch(&product(4, 4, 1 << 29, 1, true), 132, 227 * 1024).is_none());
        assert!(
            launch(
                &product(1 << 20, 1 << 20, 4, 1 << 20, false),
                132,
                227 * 1024
            )
            .is_none()
        );
        let mut lost = product(4, 4, 4, 2, false);
        lost.members = None;
        assert!(launch(&lost, 132, 227 * 1024).is_none());
    }

    #[test]
    fn weights_are_packed_into_panels_filled_up_with_zeros() {
        let bytes = pack(2, 9, |k, n| (10 * k + n) as f32);
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_eq!(
            values[..16],
            [
                0., 1., 2., 3., 4., 5., 6., 7., 10., 11., 12., 13., 14., 15., 16., 17.
            ]
        );
        assert_eq!(
            values[16..],
            [
                8., 0., 0., 0., 0., 0., 0., 0., 18., 0., 0., 0., 0., 0., 0., 0.
            ]
        );
    }

    #[test]
    fn every_kernel_stands_in_the_ptx() {
        let ptx = [
            include_str!("../../ptx/gemm.ptx"),
            include_str!("../../ptx/gemm_strided.ptx"),
        ]
        .concat();
        let tiles = (0..TILES.len()).flat_map(|tile| [kernel(tile, true), kernel(tile, false)]);
        let narrow = [1, 2].map(|m| Narrow::new(m, 100, tile::LEAST_SHARED).map(|n| n.kernel));
        for name in tiles.chain(narrow).flatten() {
            assert!(ptx.contains(&format!(".entry {name}(")), "{name}");
        }
    }
}
