//! Operators that read or write elements at places which other values name.
//!
//! The one idea: indices are data. Negative ones count from the end; one outside of the axis is an error of the request
//! that carries it, never a read outside of the data.

/// Slices of the data along an axis, picked by indices of any rank. Inputs: `data`, `indices` (i32 or i64). Kind `Gather`.
///
/// The axis is replaced by the axes of `indices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The axis; negative ones count from the end.
    pub axis: i64,
}

/// `out[.., i, ..] = data[.., indices[.., i, ..], ..]` along an axis. Inputs: `data`, `indices` (i32 or i64, the same rank,
/// no longer than the data along other axes). Kind `GatherElements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherElements {
    /// The axis; negative ones count from the end.
    pub axis: i64,
}

/// Slices of the data picked by tuples of indices. Inputs: `data`, `indices` (i64). Kind `GatherNd`.
///
/// The last axis of `indices` holds tuples that index the data's axes behind the first `batch_dims`, which both share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherNd {
    /// Leading axes that data and indices have in common.
    pub batch_dims: usize,
}

/// What happens when a place is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScatterReduction {
    /// The update replaces what was there; of several updates to one place the last in row-major order stays.
    Replace,
    /// Updates are added in row-major order of the updates.
    Add,
    /// Updates are multiplied in row-major order of the updates.
    Mul,
    /// The smallest stays.
    Min,
    /// The largest stays.
    Max,
}

/// A copy of the data in which `data[.., indices[.., i, ..], ..]` is written with `updates[.., i, ..]`. Inputs: `data`,
/// `indices` (i32 or i64), `updates` (the shape of `indices`). Kind `ScatterElements`; the old `Scatter` is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterElements {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// How places are written.
    pub reduction: ScatterReduction,
}

/// A copy of the data in which slices named by tuples of indices are written. Inputs: `data`, `indices` (i64; the last axis
/// holds tuples), `updates` (`indices.shape[..-1] ++ data.shape[tuple length..]`). Kind `ScatterNd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterNd {
    /// How places are written.
    pub reduction: ScatterReduction,
}

/// `values[1]` where a new axis' position equals the index, `values[0]` elsewhere. Inputs: `indices` (any numbers),
/// `depth` (a scalar or list of one, any number), `values` (off, on). Kind `OneHot`.
///
/// Indices in `-depth..0` count from the end; those outside of `-depth..depth` give no one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneHot {
    /// The position of the new axis in the output; negative ones count from the end.
    pub axis: i64,
}

/// The indices of elements that are not zero, as i64 `[rank, count]`, in row-major order. A NaN is not zero, -0 is.
/// Kind `NonZero`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonZero;

/// Slices along an axis where a list of booleans is true. Inputs: `data`, `condition` (booleans, not longer than the axis).
/// Kind `Compress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// The axis, negative ones counted from the end; `None` for the flattened data.
    pub axis: Option<i64>,
}

/// The different elements, or slices along an axis. Outputs: those, and as i64 lists: where each occurs first, where each
/// of the input is found in the first output, how often each occurs. Kind `Unique`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The axis, negative ones counted from the end; `None` for the flattened data.
    pub axis: Option<i64>,
    /// In ascending order instead of in order of first occurrence.
    pub sorted: bool,
}

/// Picks boxes by falling score, leaving out those that overlap a picked one of the same class and image too much. Inputs:
/// `boxes` f32 `[images, n, 4]`, `scores` f32 `[images, classes, n]`, and optionally the scalars
/// `max_output_boxes_per_class` (i64, 0 without it), `iou_threshold` (f32, 0), `score_threshold` (f32, none).
/// Output: i64 `[count, 3]` of (image, class, box). Kind `NonMaxSuppression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonMaxSuppression {
    /// Boxes are (centre x, centre y, width, height) instead of (y1, x1, y2, x2).
    pub center_point_box: bool,
}
