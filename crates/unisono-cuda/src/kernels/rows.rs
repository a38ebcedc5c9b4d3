//! Launches of `kernels/rows.cu`: softmax, normalisations, reductions, extremes, scans.

use unisono_reference::arith::{BLOCK, Reduction, SLICE};
use unisono_tensor::DType;

use super::map::{Args, Broadcast, Words, elements};
use crate::launch::{Buffer, Launch};

/// Lanes of a warp.
const WARP: usize = 32;
/// Warps of a block that has a row for each.
const ROWS: usize = 4;
/// Warps of a block that has one row.
const MOST_WARPS: usize = 32;
/// Warps that keep a multiprocessor busy: with so many rows none needs more than one.
const BUSY: usize = 16;

/// Rows of `n` elements each, for kernels that give a row one or more warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub rows: usize,
    /// Elements of each.
    pub n: usize,
}

impl Rows {
    /// How rows are dealt out: blocks, and the threads of one.
    fn grid(self, processors: u32) -> (usize, [u32; 3]) {
        let blocks = self.n.div_ceil(BLOCK);
        if blocks <= 1 || self.rows >= BUSY * processors as usize {
            return self.warps();
        }
        let warps = blocks.next_power_of_two().min(MOST_WARPS);
        (self.rows, [(WARP * warps) as u32, 1, 1])
    }

    /// The same with one warp for each row.
    fn warps(self) -> (usize, [u32; 3]) {
        (self.rows.div_ceil(ROWS), [WARP as u32, ROWS as u32, 1])
    }

    /// The lengths as arguments, if a launch can be over so many elements.
    fn sizes(self, args: Args) -> Option<Args> {
        elements(&[self.rows, self.n])?;
        args.size(self.rows)?.size(self.n)
    }
}

/// Softmax, or its logarithm, of rows.
pub fn softmax(
    rows: Rows,
    logarithm: bool,
    processors: u32,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    let (kernel, (blocks, block)) = match rows.n {
        ..=128 => ("unisono_softmax_128", rows.warps()),
        129..=512 => ("unisono_softmax_512", rows.warps()),
        _ => ("unisono_softmax", rows.grid(processors)),
    };
    let args = rows.sizes(Args::buffers([x, y]))?;
    args.int(logarithm.into()).launch(kernel, blocks, block)
}

/// Softmax, or its logarithm, along the middle one of three axes that is not the last one of the tensor.
pub fn softmax_across(
    [outer, n, inner]: [usize; 3],
    logarithm: bool,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    elements(&[outer, n, inner])?;
    let lines = outer * inner;
    let args = Args::buffers([x, y]).size(lines)?.size(n)?.size(inner)?;
    args.int(logarithm.into())
        .flat("unisono_softmax_across", lines, 1)
}

/// Which parameter an element of a normalised tensor takes: `i / div % modulus`, for its flat index i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Neighbours that share a parameter.
    pub div: usize,
    /// How many parameters there are.
    pub modulus: usize,
}

impl Parameters {
    fn follow(self, n: usize) -> bool {
        self.div == 1 && self.modulus == n
    }

    /// `UnisonoParameters`.
    fn arg(self, n: usize) -> Option<crate::launch::Arg> {
        let mut words = Words::default();
        words.size(self.div)?.size(self.modulus)?;
        words.push(u32::from(self.follow(n)));
        Some(words.arg())
    }
}

/// What a layer normalisation reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// The data.
    pub x: Buffer,
    /// The scale.
    pub scale: Buffer,
    /// The bias.
    pub bias: Option<Buffer>,
    /// The result.
    pub y: Buffer,
    /// The mean of each row, where somebody wants it.
    pub means: Option<Buffer>,
    /// `1 / sqrt(var + epsilon)` of each row, where somebody wants it.
    pub inverses: Option<Buffer>,
}

/// Layer, group or instance normalisation of rows.
pub fn layer_norm(
    rows: Rows,
    parameters: Parameters,
    epsilon: f32,
    processors: u32,
    buffers: LayerNorm,
) -> Option<Launch> {
    let args = Args::buffers([buffers.x, buffers.scale])
        .buffer(buffers.bias)
        .buffer(Some(buffers.y))
        .buffer(buffers.means)
        .buffer(buffers.inverses);
    let args = rows.sizes(args)?.float(epsilon);
    if rows.n <= 512 && parameters.follow(rows.n) {
        let (blocks, block) = rows.warps();
        return args.launch("unisono_layer_norm_512", blocks, block);
    }
    let (blocks, block) = rows.grid(processors);
    args.arg(parameters.arg(rows.n)?)
        .launch("unisono_layer_norm", blocks, block)
}

/// RMS normalisation of rows.
pub fn rms_norm(
    rows: Rows,
    parameters: Parameters,
    epsilon: f32,
    processors: u32,
    [x, scale]: [Buffer; 2],
    y: Buffer,
) -> Option<Launch> {
    let args = rows.sizes(Args::buffers([x, scale, y]))?.float(epsilon);
    let (blocks, block) = rows.grid(processors);
    args.arg(parameters.arg(rows.n)?)
        .launch("unisono_rms_norm", blocks, block)
}

/// What a normalisation of a sum reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct AddNorm {
    /// One summand, all rows of it.
    pub a: Buffer,
    /// The other one.
    pub b: Buffer,
    /// How many rows that has; they are taken in turn.
    pub b_rows: usize,
    /// The scale.
    pub scale: Buffer,
    /// The bias of a layer normalisation.
    pub bias: Option<Buffer>,
    /// The result.
    pub y: Buffer,
    /// The sum, where somebody wants it.
    pub sum: Option<Buffer>,
}

/// [`layer_norm`] of a sum.
pub fn add_layer_norm(
    rows: Rows,
    parameters: Parameters,
    epsilon: f32,
    processors: u32,
    buffers: AddNorm,
) -> Option<Launch> {
    let args = Args::buffers([buffers.a, buffers.b, buffers.scale])
        .buffer(buffers.bias)
        .buffer(Some(buffers.y))
        .buffer(buffers.sum);
    let args = rows.sizes(args)?.size(buffers.b_rows)?.float(epsilon);
    let (blocks, block) = rows.warps();
    match rows.n {
        ..=512 if parameters.follow(rows.n) => {
            args.launch("unisono_add_layer_norm_512", blocks, block)
        }
        513..=1024 if parameters.follow(rows.n) => {
            args.launch("unisono_add_layer_norm_1024", blocks, block)
        }
        _ => {
            let (blocks, block) = rows.grid(processors);
            args.arg(parameters.arg(rows.n)?)
                .launch("unisono_add_layer_norm", blocks, block)
        }
    }
}

/// [`rms_norm`] of a sum.
pub fn add_rms_norm(
    rows: Rows,
    parameters: Parameters,
    epsilon: f32,
    processors: u32,
    buffers: AddNorm,
) -> Option<Launch> {
    let args = Args::buffers([buffers.a, buffers.b, buffers.scale, buffers.y]);
    let args = rows.sizes(args.buffer(buffers.sum))?;
    let args = args.size(buffers.b_rows)?.float(epsilon);
    let (blocks, block) = rows.grid(processors);
    args.arg(parameters.arg(rows.n)?)
        .launch("unisono_add_rms_norm", blocks, block)
}

/// The number of a reduction in `kernels/fold.cuh`.
fn code(reduction: Reduction) -> i32 {
    match reduction {
        Reduction::Sum => 0,
        Reduction::Mean => 1,
        Reduction::SumSquare => 2,
        Reduction::L1 => 3,
        Reduction::L2 => 4,
        Reduction::LogSum => 5,
        Reduction::LogSumExp => 6,
        Reduction::Prod => 7,
        Reduction::Max => 8,
        Reduction::Min => 9,
    }
}

/// A reduction of rows of floats, in the order of lanes.
pub fn reduce_rows(
    rows: Rows,
    reduction: Reduction,
    processors: u32,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    let (blocks, block) = rows.grid(processors);
    let args = rows.sizes(Args::buffers([x, y]))?;
    args.int(code(reduction))
        .launch("unisono_reduce_rows", blocks, block)
}

/// A reduction in the order of slices: `kept` places the outputs, `folded` the elements behind them. Integers have the sum, the greatest
/// and the least alone.
pub fn reduce_across(
    reduction: Reduction,
    dtype: DType,
    kept: &Broadcast<1>,
    folded: &Broadcast<1>,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    let (outputs, n) = (kept.elements, folded.elements);
    let args = Args::buffers([x, y]).size(outputs)?.size(n)?;
    let args = args.int(code(reduction));
    let args = args.arg(kept.map(0)?).arg(kept.axes()?);
    let args = args.arg(folded.map(0)?).arg(folded.axes()?);
    let is_simple = matches!(reduction, Reduction::Sum | Reduction::Max | Reduction::Min)
        && (n > 0 || reduction == Reduction::Sum);
    match dtype {
        DType::F32 => {
            let slices = n.div_ceil(SLICE).clamp(1, 8);
            let block = [WARP as u32, slices as u32, 1];
            args.launch("unisono_reduce_across", outputs.div_ceil(WARP), block)
        }
        DType::I64 if is_simple => args.flat("unisono_reduce_i64", outputs, 1),
        DType::I32 if is_simple => args.flat("unisono_reduce_i32", outputs, 1),
        _ => None,
    }
}

/// The positions of extremes along the middle one of three axes.
pub fn arg_extreme(
    [outer, n, inner]: [usize; 3],
    largest: bool,
    last: bool,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    elements(&[outer, n, inner]).filter(|&n| n > 0)?;
    let lines = Rows {
        rows: outer * inner,
        n,
    };
    let args = lines.sizes(Args::buffers([x, y]))?.size(inner)?;
    let (blocks, block) = lines.warps();
    args.int(largest.into())
        .int(last.into())
        .launch("unisono_arg_extreme", blocks, block)
}

/// How a scan accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Products instead of sums.
    pub product: bool,
    /// Each element is left out of its own result.
    pub exclusive: bool,
    /// From the end to the beginning.
    pub reverse: bool,
}

/// Running sums or products along the middle one of three axes.
pub fn scan(scan: Scan, [outer, n, inner]: [usize; 3], x: Buffer, y: Buffer) -> Option<Launch> {
    elements(&[outer, n, inner])?;
    let lines = outer * inner;
    let args = Args::buffers([x, y]).size(lines)?.size(n)?.size(inner)?;
    args.int(scan.product.into())
        .int(scan.exclusive.into())
        .int(scan.reverse.into())
        .flat("unisono_scan", lines, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Place;

    const X: Buffer = Buffer::at(Place::Input(0));
    const Y: Buffer = Buffer::at(Place::Output(0));

    /// Rows that a launch has room for.
    fn covered(launch: &Launch) -> usize {
        (launch.grid[0] * launch.block[1]) as usize
    }

    #[test]
    fn every_row_has_a_warp_and_long_rows_that_are_few_have_more() {
        for n in [1, 31, 128, 129, 512, 513, 1024, 1025, 3000, 65_536] {
            for rows in [1, 3, 4, 5, 131, 2112] {
                let rows = Rows { rows, n };
                let launch = softmax(rows, false, 132, X, Y).unwrap();
                let spare = covered(&launch) - rows.rows;
                assert!(spare < launch.block[1] as usize, "{rows:?}: {launch:?}");
                let launch = reduce_rows(rows, Reduction::Sum, 132, X, Y).unwrap();
                assert!(covered(&launch) >= rows.rows, "{rows:?}: {launch:?}");
                // The shared memory of a group has room for the sums of 32 warps, one row at a time.
                let threads = launch.block[0] * launch.block[1];
                assert!(threads <= 1024 && (launch.block[0] == 32 || launch.block[1] == 1));
            }
        }
        let long = Rows { rows: 2, n: 65_536 };
        assert_eq!(long.grid(132), (2, [1024, 1, 1]));
        let many = Rows {
            rows: 10_000,
            n: 2_000,
        };
        assert_eq!(many.grid(132).1, [32, 4, 1]);
    }

    #[test]
    fn what_does_not_fit_has_no_launch() {
        let large = Rows {
            rows: 1 << 16,
            n: 1 << 16,
        };
        assert!(softmax(large, false, 132, X, Y).is_none());
        assert!(arg_extreme([2, 0, 3], true, false, X, Y).is_none());
        let (kept, folded) = (
            Broadcast::of_steps(&[2], [&[3]]).unwrap(),
            Broadcast::of_steps(&[3], [&[1]]).unwrap(),
        );
        let of = |reduction, dtype| reduce_across(reduction, dtype, &kept, &folded, X, Y);
        assert!(of(Reduction::Sum, DType::I64).is_some());
        assert!(of(Reduction::L2, DType::I64).is_none());
        assert!(of(Reduction::Sum, DType::F64).is_none());
    }
}
