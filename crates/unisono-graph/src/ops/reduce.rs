//! Operators that fold or scan along axes: reductions, arg-min and -max, cumulative sums, the k largest.
//!
//! The one idea: which axes are folded follows from the node alone, so an axis that is kept keeps its rows apart, and
//! the batch passes; an axis that is folded mixes its rows, and the batch stops there.

/// How a reduction folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceFunction {
    /// The sum; 0 for nothing.
    Sum,
    /// The sum divided by the count.
    Mean,
    /// The largest; NaN wins. Booleans too.
    Max,
    /// The smallest; NaN wins. Booleans too.
    Min,
    /// The product; 1 for nothing.
    Prod,
    /// The sum of squares.
    SumSquare,
    /// The sum of magnitudes.
    L1,
    /// The square root of the sum of squares.
    L2,
    /// The logarithm of the sum.
    LogSum,
    /// The logarithm of the sum of exponentials.
    LogSumExp,
}

/// A reduction. Inputs: `data`, and optionally the axes as a list of integers. Kind `Reduce`.
///
/// Axes come from `axes` if it is set, else from input 1 if it is there and not empty, else all axes are folded (or none,
/// if `noop_with_empty_axes`: the function is then applied to each element alone). See [`Reduce::resolve_axes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// How it folds.
    pub function: ReduceFunction,
    /// Axes fixed by the node, negative ones counted from the end; `None` if they are an input or all.
    pub axes: Option<Vec<i64>>,
    /// Folded axes stay with length 1.
    pub keepdims: bool,
    /// No axes means that nothing is folded instead of everything.
    pub noop_with_empty_axes: bool,
}

/// The position of the largest or smallest element along an axis, as i64. Input: `data`, numbers. Kind `ArgReduce`.
///
/// NaN counts as the largest for the largest and as the smallest for the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgReduce {
    /// Of the largest element instead of the smallest.
    pub largest: bool,
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// The axis stays with length 1.
    pub keepdims: bool,
    /// Among equal elements the last instead of the first.
    pub select_last_index: bool,
}

/// How a scan accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CumulativeFunction {
    /// `CumSum`.
    Sum,
    /// `CumProd`.
    Prod,
}

/// A running sum or product along an axis. Inputs: `x`, and the axis as an integer scalar. Kind `Cumulative`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cumulative {
    /// How it accumulates.
    pub function: CumulativeFunction,
    /// Each element is left out of its own result.
    pub exclusive: bool,
    /// From the end to the beginning.
    pub reverse: bool,
}

/// The k largest or smallest elements along an axis, and their positions (i64). Inputs: `x`, and `k` as an i64 list of one.
/// Kind `TopK`.
///
/// Among equal elements the one with the lower index comes first. The result is sorted even if the model does not ask
/// for it: ONNX then allows any order, and this one is the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// The largest instead of the smallest.
    pub largest: bool,
    /// `k`, where the node fixes it (before opset 10); else it is input 1.
    pub k: Option<i64>,
}
