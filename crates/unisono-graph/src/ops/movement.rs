//! Operators that put elements elsewhere, at places that follow from shapes and parameters alone.
//!
//! The one idea: no arithmetic and no choice by data, so the batch passes wherever its axis is neither cut nor joined.

/// Permutes the axes. Kind `Transpose`. See [`Transpose::permutation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// For each axis of the output, the axis of the input; `None` reverses the axes.
    pub perm: Option<Vec<usize>>,
}

/// Puts values one behind the other along an axis. Inputs: one or more, of one type and rank. Kind `Concat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis; negative ones count from the end.
    pub axis: i64,
}

/// How [`Split`] cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitParts {
    /// Lengths fixed by the node.
    Lengths(Vec<i64>),
    /// Lengths are input 1, a list of i64.
    Input,
    /// This many parts of `ceil(length / parts)`, the last one shorter if need be.
    Equal(usize),
}

/// Cuts a value along an axis. Inputs: `data`, and for [`SplitParts::Input`] the lengths. Kind `Split`.
///
/// The outputs' shapes say where it cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// Into which parts.
    pub parts: SplitParts,
}

/// Parameters of a [`Slice`] that the node fixes (before opset 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceBounds {
    /// Where to begin, per entry of `axes`.
    pub starts: Vec<i64>,
    /// Where to end, exclusive, per entry of `axes`.
    pub ends: Vec<i64>,
    /// The axes; the first ones if `None`.
    pub axes: Option<Vec<i64>>,
}

/// Every `step`-th element from `start` to `end` along some axes. Inputs: `data`, and unless the node fixes them, `starts`,
/// `ends`, optionally `axes` and `steps`, lists of i32 or i64. Kind `Slice`. See [`Slice::ranges`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Parameters fixed by the node; `None` if they are inputs.
    pub bounds: Option<SliceBounds>,
}

/// What stands in the places that [`Pad`] adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// A constant.
    Constant,
    /// The data mirrored at its edge, the edge itself not repeated.
    Reflect,
    /// The data's edge.
    Edge,
    /// The data from its other end.
    Wrap,
}

/// Adds elements before and after the data along axes; negative amounts take away. Inputs: `data`, and unless the node
/// fixes them, `pads` (a list of i64: all beginnings, then all ends), optionally `value` (a scalar; 0 without it), and
/// optionally the axes that `pads` is about (all without them). Kind `Pad`. See [`Pad::amounts`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// What stands in the new places.
    pub mode: PadMode,
    /// All beginnings, then all ends, fixed by the node; `None` if they are input 1.
    pub pads: Option<Vec<i64>>,
    /// The constant, where the node fixes it (before opset 11); else it is input 2.
    pub value: Option<f32>,
}

/// Repeats the data along each axis as often as input 1 (a list of i64) says. Inputs: `data`, `repeats`. Kind `Tile`.
///
/// The outputs' shapes say how often: element `i` of an axis is element `i mod length` of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile;

/// In which order channels are read as blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockOrder {
    /// Channel `(by * block + bx) * depth + d` is element `(by, bx)` of the block at depth `d`.
    DepthLast,
    /// Channel `(d * block + by) * block + bx` is element `(by, bx)` of the block at depth `d`.
    DepthFirst,
}

/// `[N, C, H, W]` to `[N, C / block², H * block, W * block]`. Kind `DepthToSpace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// Edge of a block, at least 1.
    pub block: usize,
    /// How channels are read: `DCR` is depth last, `CRD` depth first.
    pub order: BlockOrder,
}

/// `[N, C, H, W]` to `[N, C * block², H / block, W / block]`, the reverse of [`DepthToSpace`]. Kind `SpaceToDepth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// Edge of a block, at least 1.
    pub block: usize,
    /// How channels are written: `DCR` (and all before opset 28) is depth last, `CRD` depth first.
    pub order: BlockOrder,
}

/// Reverses, for each entry along the batch axis, its first `lengths[entry]` elements along the time axis. Inputs: `data`
/// (rank at least 2), `lengths` (a list of i64). Kind `ReverseSequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReverseSequence {
    /// The axis along which `lengths` has its entries, 0 or 1.
    pub batch_axis: usize,
    /// The axis that is reversed, the other of 0 and 1.
    pub time_axis: usize,
}

/// Keeps the upper or lower triangle of each matrix and sets the rest to 0. Inputs: `data` (rank at least 2), and
/// optionally the diagonal `k` as an i64 scalar (0 without it). Kind `Trilu`.
///
/// Element `(i, j)` stays if `j - i >= k` (upper) or `j - i <= k` (lower).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trilu {
    /// Keep the upper triangle instead of the lower.
    pub upper: bool,
}
