//! Launches of `kernels/conv.cu`: convolutions and transposed convolutions over one or two spatial axes.
//!
//! The one idea: a convolution is a product of packed weights with what its taps see, so tiles are chosen as for products. Groups of
//! few channels, and weights that are no constants, go one output per thread.
//!
//! It must never launch what a kernel cannot count: all that leaves 31 bits has no launch.

use smallvec::smallvec;
use unisono_reference::arith::ConvShape;

use super::gemm::Finish;
use super::tile::{self, Choice, Copies, Extent, TILES};
use crate::launch::{Arg, Buffer, Launch};

/// Output channels of a group below which its outputs are computed one per thread: less would leave most of a tile empty.
const FEW: usize = 8;
/// Values of k that come from one tap if the channels of a group are a multiple of them: `Patches::PART`.
const PART: usize = 16;
/// Threads of a block of the kernel for those.
const DIRECT_THREADS: u32 = 256;

/// Where the weights are.
#[derive(Clone, Copy, Debug)]
pub enum Weights {
    /// What [`pack`] has made.
    Packed(Buffer),
    /// As the model has them.
    Plain(Buffer),
}

/// A convolution on the device.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Its geometry.
    pub shape: ConvShape,
    /// Is it a transposed one?
    pub transposed: bool,
    /// The input, N x C x spatial.
    pub x: Buffer,
    /// The weights.
    pub weights: Weights,
    /// One value per output channel.
    pub bias: Option<Buffer>,
    /// The output, N x M x spatial.
    pub y: Buffer,
    /// What happens to the totals.
    pub finish: Finish,
}

/// Does a convolution with constant weights want them packed? Otherwise it takes them as they are.
pub fn wants_packed(shape: &ConvShape) -> bool {
    shape.out_channels / shape.groups.max(1) >= FEW
}

/// Elements of a row of packed weights: whole quads.
fn pitch(shape: &ConvShape) -> usize {
    shape.terms().next_multiple_of(4)
}

/// Packs constant weights: for each output channel its terms in the order of k, filled up with zeros to whole quads. `weights`
/// are M x C/groups x kernel, of a transposed convolution C x M/groups x kernel.
pub fn pack(shape: &ConvShape, transposed: bool, weights: &[f32]) -> Vec<u8> {
    let taps: usize = shape.kernel.iter().product();
    let (ci, co) = (
        shape.in_channels / shape.groups,
        shape.out_channels / shape.groups,
    );
    let fill = pitch(shape) - shape.terms();
    let mut bytes = Vec::with_capacity(shape.out_channels * pitch(shape) * size_of::<f32>());
    for channel in 0..shape.out_channels {
        for tap in 0..taps {
            for input in 0..ci {
                let row = if transposed {
                    (channel / co * ci + input) * co + channel % co
                } else {
                    channel * ci + input
                };
                bytes.extend_from_slice(&weights[row * taps + tap].to_le_bytes());
            }
        }
        bytes.resize(bytes.len() + fill * size_of::<f32>(), 0);
    }
    bytes
}

/// Factor and shift by which the kernels divide numbers below 2^31 (`Divisor` in `conv.cu`).
fn divisor(by: usize) -> Option<[u32; 2]> {
    let by = u64::try_from(by)
        .ok()
        .filter(|by| (1..1 << 31).contains(by))?;
    let shift = by.next_power_of_two().trailing_zeros();
    let factor = (((1u64 << shift) - by) << 32) / by + 1;
    Some([u32::try_from(factor).ok()?, shift])
}

/// The launch of a convolution on a device with so many processors, whose blocks may have `limit` bytes of shared memory; `None` if
/// there is no kernel for it: three spatial axes, an empty output, or more than the kernels can count.
pub fn launch(conv: &Convolution, processors: u32, limit: u32) -> Option<Launch> {
    build(conv, |extent| {
        let whole = (conv.shape.in_channels / conv.shape.groups.max(1)).is_multiple_of(PART);
        tile::choose(Copies::Taps { whole }, extent, processors, limit, |_| true)
    })
}

/// The launch of a convolution of packed weights with this tile, for measurements; `None` as for [`launch`], or if the tile needs more
/// shared memory than `limit` bytes.
pub fn launch_tile(conv: &Convolution, choice: Choice, limit: u32) -> Option<Launch> {
    let tile = TILES.get(choice.tile)?;
    build(conv, |extent| {
        (tile.shared(choice.groups, extent.k) <= limit as usize).then_some(choice)
    })
}

/// The launch of a convolution with the tile that `choose` says.
fn build(conv: &Convolution, choose: impl Fn(Extent) -> Option<Choice>) -> Option<Launch> {
    let shape = &conv.shape;
    let flat = [shape.input[0], shape.output[0], shape.kernel[0]] == [1; 3] && shape.pads[0] == 0;
    let whole = shape.groups > 0
        && shape.in_channels.is_multiple_of(shape.groups)
        && shape.out_channels.is_multiple_of(shape.groups);
    if !flat || !whole {
        return None;
    }
    let (ci, m) = (
        shape.in_channels / shape.groups,
        shape.out_channels / shape.groups,
    );
    let product = |sizes: &[usize]| {
        sizes
            .iter()
            .try_fold(1usize, |n, &size| n.checked_mul(size))
    };
    let plane = product(&shape.output)?;
    let pixels = product(&[shape.batch, plane])?;
    let k = product(&[ci, shape.kernel[1], shape.kernel[2]])?;
    if product(&[m, pixels, k])? == 0 {
        return None;
    }
    // Positions within an image and within the weights of an output channel, and coordinates, are counted with 31 bits, and
    // so are outputs where each has a thread.
    let mut counted = vec![
        product(&[ci, shape.input[1], shape.input[2]])?,
        product(&[m, k])?,
    ];
    for axis in [1, 2] {
        let taps = product(&[shape.kernel[axis], shape.dilations[axis]])?;
        let steps = product(&[
            shape.output[axis].max(shape.input[axis]),
            shape.strides[axis],
        ])?;
        counted.push(taps.checked_add(steps)?.checked_add(shape.pads[axis])?);
    }
    if counted.iter().any(|&n| n >= 1 << 30) {
        return None;
    }
    let (weights, choice) = match conv.weights {
        Weights::Plain(buffer) => (buffer, None),
        Weights::Packed(buffer) => {
            let extent = Extent {
                m,
                n: pixels,
                k,
                batch: shape.groups,
            };
            (buffer, Some(choose(extent)?))
        }
    };
    let tiles = choice.map(|choice| TILES[choice.tile].count(m, pixels));
    let [tiles_m, tiles_n] = tiles.unwrap_or([1, 1]);
    let quads = plane.is_multiple_of(4) && conv.y.offset.is_multiple_of(16);
    let numbers = [
        m,
        k,
        pixels,
        ci,
        shape.in_channels,
        shape.out_channels,
        shape.input[1],
        shape.input[2],
        shape.output[1],
        shape.output[2],
        shape.kernel[2],
        shape.kernel[1] * shape.kernel[2],
        shape.strides[1],
        shape.strides[2],
        shape.dilations[1],
        shape.dilations[2],
        shape.pads[1],
        shape.pads[2],
        usize::from(conv.transposed),
        pitch(shape),
        usize::from(quads),
        tiles_m,
        tiles_n,
    ];
    let mut words = [0u32; 40];
    for (word, number) in words.iter_mut().zip(numbers) {
        *word = i32::try_from(number).ok()?.cast_unsigned();
    }
    let divisors = [
        ci,
        shape.kernel[2],
        shape.strides[1],
        shape.strides[2],
        plane,
        shape.output[2],
    ];
    for (pair, by) in words[23..35].chunks_exact_mut(2).zip(divisors) {
        pair.copy_from_slice(&divisor(by)?);
    }
    words[35..].copy_from_slice(&conv.finish.words());
    let (kernel, blocks, threads, shared) = match choice {
        None => {
            let outputs = product(&[pixels, shape.out_channels])?;
            (
                "conv_direct",
                outputs.div_ceil(DIRECT_THREADS as usize),
                DIRECT_THREADS,
                0,
            )
        }
        Some(choice) => {
            let tile = &TILES[choice.tile];
            let threads = u32::try_from(choice.groups * tile.threads()).ok()?;
            (
                tile.conv,
                product(&[tiles_m, tiles_n, shape.groups])?,
                threads,
                tile.shared(choice.groups, k),
            )
        }
    };
    Some(Launch {
        kernel,
        grid: [
            u32::try_from(blocks)
                .ok()
                .filter(|&n| n <= i32::MAX as u32)?,
            1,
            1,
        ],
        block: [threads, 1, 1],
        shared: u32::try_from(shared).ok()?,
        args: smallvec![
            Arg::Buffer(conv.x),
            Arg::Buffer(weights),
            conv.bias.map_or(Arg::Null, Arg::Buffer),
            Arg::Buffer(conv.y),
            Arg::words(&words),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::functions::Function;
    use crate::launch::Place;

    fn convolution(
        channels: [usize; 2],
        groups: usize,
        size: usize,
        kernel: usize,
        packed: bool,
    ) -> Convolution {
        let at = |n| Buffer::at(Place::Arena(n));
        Convolution {
            shape: ConvShape {
                batch: 2,
                in_channels: channels[0],
                out_channels: channels[1],
                groups,
                input: [1, size, size],
                output: [1, size, size],
                kernel: [1, kernel, kernel],
                strides: [1; 3],
                dilations: [1; 3],
                pads: [0, kernel / 2, kernel / 2],
            },
            transposed: false,
            x: at(0),
            weights: if packed {
                Weights::Packed(at(1))
            } else {
                Weights::Plain(at(1))
            },
            bias: None,
            y: at(2),
            finish: Finish {
                alpha: 1.0,
                beta: 1.0,
                function: Function::IDENTITY,
            },
        }
    }

    #[test]
    fn blocks_cover_all_outputs_within_the_limits() {
        for channels in [[3, 64], [64, 128], [512, 2048], [96, 8]] {
            for groups in [1, 2, 8].into_iter().filter(|g| channels[0] % g == 0) {
                for size in [1, 7, 56] {
                    for packed in [false, true] {
                        let conv = convolution(channels, groups, size, 3, packed);
                        let launch = launch(&conv, 132, 227 * 1024).unwrap();
                        let (m, pixels) = (channels[1] / groups, 2 * size * size);
                        if let Some(tile) = launch.kernel.strip_prefix("conv_tile_") {
                            let (rows, cols) = tile.split_once('x').unwrap();
                            let (rows, cols): (usize, usize) =
                                (rows.parse().unwrap(), cols.parse().unwrap());
                            assert_eq!(
                                launch.grid[0] as usize,
                                m.div_ceil(rows) * pixels.div_ceil(cols) * groups
                            );
                        } else {
                            assert!(!packed && launch.kernel == "conv_direct");
                            assert!(launch.grid[0] as usize * 256 >= channels[1] * pixels);
                        }
                        assert_eq!(launch.grid[1..], [1, 1]);
                        assert!(launch.block[0].is_multiple_of(32) && launch.block[0] <= 512);
                        assert!(launch.shared <= 227 * 1024);
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_kernels_cannot_count_has_no_launch() {
        let good = convolution([4, 8], 1, 8, 3, true);
        assert!(launch(&good, 132, 227 * 1024).is_some());
        let with = |change: fn(&mut ConvShape)| {
            let mut conv = good;
            change(&mut conv.shape);
            launch(&conv, 132, 227 * 1024)
        };
        assert!(with(|s| s.input[0] = 2).is_none(), "three axes");
        assert!(with(|s| s.batch = 0).is_none(), "nothing to compute");
        assert!(
            with(|s| s.groups = 3).is_none(),
            "groups that do not divide"
        );
        assert!(with(|s| s.batch = 1 << 30).is_none(), "too many pixels");
        assert!(
            with(|s| s.dilations[1] = usize::MAX / 2).is_none(),
            "a dilation beyond all"
        );
        assert!(with(|s| s.strides[2] = 0).is_none(), "a stride of zero");
        assert!(
            with(|s| s.input[1] = 1 << 29).is_none(),
            "an image beyond 31 bits"
        );
    }

    #[test]
    fn weights_are_packed_in_the_order_of_k() {
        let mut shape = convolution([4, 2], 2, 1, 1, true).shape;
        shape.kernel = [1, 1, 3];
        let weights: Vec<f32> = (0..12).map(|n| n as f32).collect();
        let packed = |transposed| -> Vec<f32> {
            let bytes = pack(&shape, transposed, &weights);
            bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        };
        let expected = [
            0., 3., 1., 4., 2., 5., 0., 0., 6., 9., 7., 10., 8., 11., 0., 0.,
        ];
        // One output channel per group: both layouts are the same.
        assert_eq!(packed(false), expected);
        assert_eq!(packed(true), expected);
        // Two outputs and one input per group: input by input, each with its outputs.
        shape.in_channels = 2;
        shape.out_channels = 4;
        let bytes = pack(&shape, true, &weights);
        assert_eq!(bytes[16..28], [3f32, 4., 5.].map(f32::to_le_bytes).concat());
    }

    #[test]
    fn the_parts_of_chunks_are_those_of_the_kernels() {
        let source = include_str!("../../kernels/conv.cu");
        assert!(source.contains(&format!("T::CHUNK : {PART};")));
    }

    #[test]
    fn multiplying_divides() {
        for by in (1..5000).chain([65_535, 65_536, 1 << 20, (1 << 30) + 7]) {
            let [factor, shift] = divisor(by).unwrap();
            for n in [
                0,
                1,
                by as u32 - 1,
                by as u32,
                by as u32 + 1,
                123_456_789,
                i32::MAX as u32,
            ] {
                let high = ((u64::from(n) * u64::from(factor)) >> 32) as u32;
                assert_eq!((high + n) >> shift, n / by as u32, "{n} / {by}");
            }
        }
        assert_eq!(divisor(0), None);
    }

    #[test]
    fn every_kernel_stands_in_the_ptx() {
        let ptx = include_str!("../../ptx/conv.ptx");
        for name in TILES.iter().map(|t| t.conv).chain(["conv_direct"]) {
            assert!(ptx.contains(&format!(".entry {name}(")), "{name}");
        }
    }
}
