//! Launches of `kernels/recurrent.cu`: all steps of an LSTM layer in one.
//!
//! The one idea: what the inputs contribute to the gates is a product of its own, made before for all steps at once. How many rows a block
//! has, and how much of the state's weights stays within its processor, follows from the shape and the device; all choices give the same
//! bits.
//!
//! It must never launch what a kernel cannot count, or what its shared memory has no room for: such a layer has no launch.

use smallvec::smallvec;

use super::map::elements;
use crate::launch::{Arg, Buffer, Launch};

/// Gates of a cell, of which each has a column of the weights for every hidden unit.
const GATES: usize = 4;
/// Values of k that lie side by side in the weights.
const QUAD: usize = 4;

/// The most threads of a block.
const THREADS: usize = 512;

/// What a kernel is made for.
struct Variant {
    kernel: &'static str,
    /// Rows of a block.
    rows: usize,
    /// Fours of k that are in registers. Where there are some, a block has a thread for every column.
    held: usize,
}

/// One row, and no more columns than threads.
const NARROW: Variant = Variant {
    kernel: "unisono_lstm_narrow",
    rows: 1,
    held: 16,
};

/// One row of any width.
const ONE: Variant = Variant {
    kernel: "unisono_lstm_1",
    rows: 1,
    held: 0,
};

/// Rows that share what is read of the weights.
const FOUR: Variant = Variant {
    kernel: "unisono_lstm_4",
    rows: 4,
    held: 0,
};

/// The lengths of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lstm {
    /// Steps.
    pub time: usize,
    /// Rows, which never meet.
    pub batch: usize,
    /// Units of a state.
    pub hidden: usize,
    /// One or two, each with weights and states of its own.
    pub directions: usize,
    /// Does the first direction walk from the last step to the first? The second one always does.
    pub backwards: bool,
}

/// What a layer reads and writes; everything is dense.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// The products of the inputs with their weights: time x batch x directions x gates.
    pub xw: Buffer,
    /// The state's weights as [`pack`] makes them.
    pub r: Buffer,
    /// The sums of both biases, directions x gates.
    pub bias: Option<Buffer>,
    /// The first `h` and `c`, directions x batch x hidden; zeros where there are none.
    pub initial: [Option<Buffer>; 2],
    /// All `h`, time x directions x batch x hidden.
    pub y: Option<Buffer>,
    /// The last `h` and `c`.
    pub last: [Option<Buffer>; 2],
}

impl Lstm {
    /// Columns of the weights of one direction.
    pub fn columns(&self) -> usize {
        GATES * self.hidden
    }

    /// Fours of k in a column of the state's weights.
    fn quads(&self) -> usize {
        self.hidden.div_ceil(QUAD)
    }
}

/// Packs the state's weights, directions x gates x hidden: for each direction and each four values of k, those four of every column; the
/// last four filled up with zeros.
pub fn pack(lstm: &Lstm, r: &[f32]) -> Vec<u8> {
    let (columns, hidden) = (lstm.columns(), lstm.hidden);
    let length = lstm.directions * lstm.quads() * columns * QUAD;
    let mut bytes = Vec::with_capacity(length * size_of::<f32>());
    for direction in r.chunks_exact(columns * hidden) {
        for quad in (0..hidden).step_by(QUAD) {
            for column in direction.chunks_exact(hidden) {
                for k in quad..quad + QUAD {
                    let value = column.get(k).copied().unwrap_or(0.0);
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
    }
    bytes
}

/// The launch on a device with so many processors, whose blocks may have `limit` bytes of shared memory.
pub fn launch(lstm: &Lstm, processors: u32, limit: u32, buffers: Buffers) -> Option<Launch> {
    let Lstm {
        time,
        batch,
        hidden,
        directions,
        ..
    } = *lstm;
    let columns = GATES.checked_mul(hidden)?;
    let products = elements(&[time, batch, directions, columns])?;
    let weights = elements(&[directions, columns, lstm.quads(), QUAD])?;
    if products == 0 || weights == 0 || !(1..=2).contains(&directions) {
        return None;
    }
    // A block reads the weights once for all of its rows, and a step takes longer with every row. Where most of them stay within the
    // processor, rows share a block only if there are more of them than processors; where they come from the second-level cache at every
    // step, reading them is what takes time.
    let (alone, shares) = match columns <= THREADS {
        true => (
            &NARROW,
            batch.checked_mul(directions)? > processors as usize,
        ),
        false => (&ONE, batch > 1),
    };
    let together = shares.then_some(&FOUR);
    together
        .into_iter()
        .chain([alone])
        .find_map(|variant| with(lstm, variant, limit, buffers))
}

/// The launch of this kernel; `None` if a block's states find no room.
fn with(lstm: &Lstm, variant: &Variant, limit: u32, buffers: Buffers) -> Option<Launch> {
    let (columns, quads) = (lstm.columns(), lstm.quads());
    let pitch = QUAD * quads.max(variant.held);
    let own = variant.rows * (2 * pitch + columns) * size_of::<f32>();
    let room = (limit as usize).checked_sub(own)?;
    let quad = columns * QUAD * size_of::<f32>();
    // What is read once need not be copied first.
    let near = match lstm.time {
        1 => 0,
        _ => (room / quad).min(quads.saturating_sub(variant.held)),
    };
    let each = columns.div_ceil(THREADS);
    let threads = columns.div_ceil(each).next_multiple_of(32);
    let numbers = [
        lstm.time,
        lstm.batch,
        lstm.hidden,
        lstm.directions,
        lstm.backwards.into(),
        quads,
        near,
        pitch,
    ];
    let mut words = [0u32; 8];
    for (word, number) in words.iter_mut().zip(numbers) {
        *word = i32::try_from(number).ok()?.cast_unsigned();
    }
    let optional = |buffer: Option<Buffer>| buffer.map_or(Arg::Null, Arg::Buffer);
    let [initial_h, initial_c] = buffers.initial;
    let [last_h, last_c] = buffers.last;
    let blocks = lstm.batch.div_ceil(variant.rows);
    Some(Launch {
        kernel: variant.kernel,
        grid: [
            u32::try_from(blocks).ok()?,
            u32::try_from(lstm.directions).ok()?,
            1,
        ],
        block: [u32::try_from(threads).ok()?, 1, 1],
        shared: u32::try_from(own + near * quad).ok()?,
        args: smallvec![
            Arg::Buffer(buffers.xw),
            Arg::Buffer(buffers.r),
            optional(buffers.bias),
            optional(initial_h),
            optional(initial_c),
            optional(buffers.y),
            optional(last_h),
            optional(last_c),
            Arg::words(&words),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tile::LEAST_SHARED;
    use crate::launch::Place;

    const LIMIT: u32 = 227 * 1024;
    const VARIANTS: [Variant; 3] = [NARROW, ONE, FOUR];

    fn layer(time: usize, batch: usize, hidden: usize, directions: usize) -> Lstm {
        Lstm {
            time,
            batch,
            hidden,
            directions,
            backwards: false,
        }
    }

    fn buffers() -> Buffers {
        let at = |n| Buffer::at(Place::Arena(n));
        Buffers {
            xw: at(0),
            r: at(1),
            bias: None,
            initial: [None, Some(at(2))],
            y: None,
            last: [Some(at(3)), None],
        }
    }

    fn words(launch: &Launch) -> Vec<usize> {
        let Some(Arg::Bytes(bytes)) = launch.args.last() else {
            panic!("{launch:?}");
        };
        let (words, _) = bytes.as_chunks::<4>();
        words
            .iter()
            .map(|w| u32::from_le_bytes(*w) as usize)
            .collect()
    }

    #[test]
    fn blocks_cover_all_rows_and_columns_within_the_limits() {
        for limit in [LEAST_SHARED, LIMIT] {
            for hidden in [1, 5, 64, 127, 128, 129, 200, 256, 257, 1000] {
                for batch in [1, 2, 5, 132, 133, 5000] {
                    for (time, directions) in [(1, 1), (7, 2)] {
                        let lstm = layer(time, batch, hidden, directions);
                        let launch = launch(&lstm, 132, limit, buffers()).unwrap();
                        let variant = VARIANTS.iter().find(|v| v.kernel == launch.kernel);
                        let variant = variant.unwrap();
                        let threads = launch.block[0] as usize;
                        assert!(launch.grid[0] as usize * variant.rows >= batch);
                        assert!((launch.grid[0] as usize - 1) * variant.rows < batch);
                        assert_eq!(launch.grid[1..], [directions as u32, 1]);
                        assert!(threads <= THREADS && threads.is_multiple_of(32));
                        assert!(variant.held == 0 || threads >= 4 * hidden);
                        assert!(launch.shared <= limit);
                        let [.., quads, near, pitch] = words(&launch)[..] else {
                            panic!("{launch:?}");
                        };
                        assert!(quads * 4 >= hidden && pitch >= quads.max(variant.held) * 4);
                        assert!(variant.held == 0 || quads <= 64, "more than a slice");
                        assert!(near <= quads && (time > 1 || near == 0));
                        let floats = variant.rows * (2 * pitch + 4 * hidden) + near * 16 * hidden;
                        assert_eq!(launch.shared as usize, 4 * floats);
                    }
                }
            }
        }
    }

    #[test]
    fn rows_share_a_block_when_there_are_more_than_processors_or_the_weights_are_far() {
        let kernel = |batch, hidden, directions| {
            let lstm = layer(10, batch, hidden, directions);
            launch(&lstm, 132, LIMIT, buffers()).unwrap().kernel
        };
        assert_eq!(kernel(1, 128, 1), "unisono_lstm_narrow");
        assert_eq!(kernel(132, 128, 1), "unisono_lstm_narrow");
        assert_eq!(kernel(67, 128, 2), "unisono_lstm_4");
        assert_eq!(kernel(1, 129, 2), "unisono_lstm_1");
        assert_eq!(kernel(2, 129, 1), "unisono_lstm_4");
    }

    #[test]
    fn a_state_of_the_usual_size_has_all_its_weights_within_the_processor() {
        let lstm = layer(100, 1, 128, 1);
        let launch = launch(&lstm, 132, LIMIT, buffers()).unwrap();
        assert_eq!(words(&launch)[6], 32 - NARROW.held);
    }

    #[test]
    fn what_finds_no_room_or_cannot_be_counted_has_no_launch() {
        let of = |lstm, limit| launch(&lstm, 132, limit, buffers());
        // Two states and the gates of one row.
        let most = LEAST_SHARED as usize / (6 * size_of::<f32>());
        assert!(of(layer(1, 1, most, 1), LEAST_SHARED).is_some());
        assert!(of(layer(1, 1, most + 4, 1), LEAST_SHARED).is_none());
        // Where four rows have none, one may.
        let launch = of(layer(2, 9, most, 1), LEAST_SHARED).unwrap();
        assert_eq!((launch.kernel, launch.grid[0]), ("unisono_lstm_1", 9));
        assert!(of(layer(1 << 20, 1 << 10, 1, 1), LIMIT).is_none());
        assert!(of(layer(1, 1, usize::MAX / 2, 1), LIMIT).is_none());
        for empty in [layer(0, 1, 8, 1), layer(1, 0, 8, 1), layer(1, 1, 0, 1)] {
            assert!(of(empty, LIMIT).is_none());
        }
        assert!(of(layer(1, 1, 8, 3), LIMIT).is_none());
    }

    #[test]
    fn four_values_of_k_lie_side_by_side_for_every_column() {
        let lstm = layer(1, 1, 5, 2);
        // Direction, column and k as digits.
        let value = |i: usize| (i / 100 * 1000 + i / 5 % 20 * 10 + i % 5) as f32;
        let r: Vec<f32> = (0..200).map(value).collect();
        let bytes = pack(&lstm, &r);
        let (words, _) = bytes.as_chunks::<4>();
        let packed: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
        assert_eq!(packed.len(), 2 * 2 * 20 * 4);
        assert_eq!(packed[..8], [0., 1., 2., 3., 10., 11., 12., 13.]);
        assert_eq!(packed[80..88], [4., 0., 0., 0., 14., 0., 0., 0.]);
        assert_eq!(packed[160..164], [1000., 1001., 1002., 1003.]);
    }

    #[test]
    fn every_variant_stands_in_the_sources_and_the_ptx() {
        let ptx = include_str!("../../ptx/recurrent.ptx");
        let source = include_str!("../../kernels/recurrent.cu");
        assert!(source.contains(&format!("__launch_bounds__({THREADS}, 1)")));
        for v in VARIANTS {
            assert!(ptx.contains(&format!(".entry {}(", v.kernel)));
            let name = v.kernel.strip_prefix("unisono_lstm_").unwrap();
            let line = format!("LSTM({name}, {}, {})", v.rows, v.held);
            assert!(source.contains(&line), "{line}");
        }
    }
}
