//! Launches of `kernels/pool.cu`: pooling in windows and over planes, and interpolation.

use unisono_graph::ops::window::WindowAxis;
use unisono_reference::arith::SLICE;

use super::map::{Args, Words, elements};
use crate::launch::{Arg, Buffer, Launch};

/// Chains of a block that adds up planes: four warps, each with `UNISONO_CHAINS`.
const CHAINS: usize = 16;

/// A number of a window's axis.
type Field = fn(&WindowAxis) -> usize;

/// How windows are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooled {
    /// The mean, over the padding as well if it counts.
    Average {
        /// Padding counts.
        counts_padding: bool,
    },
    /// The greatest, and its position where somebody wants it.
    Max {
        /// Where positions go.
        positions: Option<Buffer>,
        /// They count with the first spatial axis fastest.
        column_major: bool,
    },
}

/// Pooling of so many planes in windows over up to three spatial axes.
pub fn windows(
    planes: usize,
    axes: &[WindowAxis],
    pooled: Pooled,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    if axes.len() > 3 || axes.iter().any(|a| a.kernel == 0) {
        return None;
    }
    let lengths = |of: fn(&WindowAxis) -> usize| {
        let mut shape = vec![planes];
        shape.extend(axes.iter().map(of));
        elements(&shape)
    };
    let n = lengths(|a| a.output)?;
    lengths(|a| a.input)?;
    // Positions of taps fit as well.
    for a in axes {
        let taps = a.kernel.checked_mul(a.dilation)?;
        elements(&[a.output.checked_mul(a.stride)?.checked_add(taps)?])?;
    }
    let mut words = Words::default();
    let fields: [(Field, usize); 7] = [
        (|a| a.input, 1),
        (|a| a.output, 1),
        (|a| a.kernel, 1),
        (|a| a.stride, 1),
        (|a| a.dilation, 1),
        (|a| a.pad_begin, 0),
        (|a| a.pad_end, 0),
    ];
    for (field, missing) in fields {
        for axis in 0..3 {
            let value = axes.iter().rev().nth(axis).map_or(missing, field);
            words.size(i32::try_from(value).ok()? as usize)?;
        }
    }
    let (counts, major) = match pooled {
        Pooled::Average { counts_padding } => (counts_padding, false),
        Pooled::Max { column_major, .. } => (false, column_major),
    };
    words.push(u32::from(counts)).push(u32::from(major));
    let args = Args::buffers([x, y]);
    match pooled {
        Pooled::Average { .. } => {
            let args = args.size(n)?.arg(words.arg());
            args.flat("unisono_average_pool", n, 1)
        }
        Pooled::Max { positions, .. } => {
            let args = args.buffer(positions).size(n)?.arg(words.arg());
            args.flat("unisono_max_pool", n, 1)
        }
    }
}

/// How many chains a plane of `n` elements has.
pub fn slices(n: usize) -> usize {
    n.div_ceil(SLICE).max(1)
}

/// The averages of so many dense planes of `n` elements; `chains` has room for [`slices`] floats for each plane, where there is more than one.
pub fn plane_averages(
    planes: usize,
    n: usize,
    x: Buffer,
    chains: Option<Buffer>,
    y: Buffer,
) -> Option<Vec<Launch>> {
    elements(&[planes, n])?;
    let slices = slices(n);
    let count = elements(&[planes, slices])?;
    let divisor = n as f32;
    let chain = |to: Buffer| {
        let args = Args::buffers([x, to]).size(count)?.size(slices)?;
        let args = args.size(n)?.float(divisor);
        args.launch("unisono_plane_chains", count.div_ceil(CHAINS), [32, 4, 1])
    };
    if slices == 1 {
        return Some(vec![chain(y)?]);
    }
    let chains = chains?;
    let args = Args::buffers([chains, y]).size(planes)?.size(slices)?;
    let join = args.float(divisor).flat("unisono_join_chains", planes, 1)?;
    Some(vec![chain(chains)?, join])
}

/// The samples of one axis on the device.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    /// Positions, weights and counts.
    pub tables: [Buffer; 3],
    /// Input length.
    pub input: usize,
    /// Output length.
    pub output: usize,
    /// Entries from one tap to the next.
    pub pitch: usize,
}

impl Samples {
    /// `UnisonoSamples`.
    fn arg(&self) -> Option<Arg> {
        let mut words = Words::default();
        words
            .size(self.input)?
            .size(self.output)?
            .size(self.pitch)?;
        Some(words.arg())
    }
}

/// Interpolation along three axes between `outer` and `inner`.
pub fn resize(
    outer: usize,
    axes: &[Samples; 3],
    inner: usize,
    x: Buffer,
    y: Buffer,
) -> Option<Launch> {
    let [a, b, c] = axes;
    elements(&[outer, a.input, b.input, c.input, inner])?;
    let n = elements(&[outer, a.output, b.output, c.output, inner])?;
    let tables = axes.iter().flat_map(|axis| axis.tables);
    let mut args = Args::buffers([x, y].into_iter().chain(tables));
    args = args.size(n)?.size(inner)?;
    for axis in axes {
        args = args.arg(axis.arg()?);
    }
    args.flat("unisono_resize", n, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Place;

    const X: Buffer = Buffer::at(Place::Input(0));
    const Y: Buffer = Buffer::at(Place::Output(0));

    fn axis(input: usize, kernel: usize, output: usize) -> WindowAxis {
        WindowAxis {
            kernel,
            stride: 1,
            dilation: 1,
            pad_begin: 0,
            pad_end: 0,
            input,
            output,
        }
    }

    #[test]
    fn windows_cover_all_outputs_and_refuse_what_they_cannot_do() {
        let average = Pooled::Average {
            counts_padding: false,
        };
        let launch = windows(3, &[axis(20, 3, 18); 2], average, X, Y).unwrap();
        assert_eq!(launch.grid[0], (3 * 18 * 18usize).div_ceil(256) as u32);
        assert!(windows(3, &[axis(20, 3, 18); 4], average, X, Y).is_none());
        assert!(windows(3, &[axis(20, 0, 21)], average, X, Y).is_none());
        assert!(windows(1 << 20, &[axis(1 << 20, 1, 1 << 20)], average, X, Y).is_none());
    }

    #[test]
    fn a_block_has_the_chains_of_its_four_warps() {
        let source = include_str!("../../kernels/pool.cu");
        assert!(source.contains(&format!("UNISONO_CHAINS = {},", CHAINS / 4)));
    }

    #[test]
    fn planes_of_one_slice_need_one_launch_and_no_scratch() {
        let one = plane_averages(300, 256, X, None, Y).unwrap();
        assert_eq!(one.len(), 1);
        assert!(one[0].grid[0] as usize * CHAINS >= 300);
        assert!(plane_averages(300, 257, X, None, Y).is_none());
        let two = plane_averages(300, 257, X, Some(Y), Y).unwrap();
        assert_eq!(two.len(), 2);
        assert!(two[0].grid[0] as usize * CHAINS >= 600);
    }
}
