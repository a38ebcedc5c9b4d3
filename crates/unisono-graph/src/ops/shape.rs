//! Operators that read or change the shape and never touch an element: views, and the shapes themselves as data.
//!
//! The one idea: the elements of the output are those of the input in the same order (repeated, for [`Expand`]), so the
//! output's shape says everything. A kernel needs no attribute of these: it copies the data, or shares it.

/// The lengths of the input's axes from `start` up to `end`, as a list of i64. Kind `Shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The first axis; negative ones count from the end; clamped to the rank.
    pub start: i64,
    /// The axis behind the last, likewise; `None` for all.
    pub end: Option<i64>,
}

/// The number of elements, as an i64 scalar. Kind `Size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size;

/// The same elements in the shape that input 1 (a list of i64) asks for. Inputs: `data`, `shape`. Kind `Reshape`.
///
/// In `shape`, -1 stands for what is left, and 0 for the input's length at the same position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// 0 stands for an empty axis instead.
    pub allow_zero: bool,
}

/// The same elements as a matrix: axes before `axis`, axes from `axis` on. Kind `Flatten`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// The first axis of the second group, `-rank..=rank`; negative ones count from the end.
    pub axis: i64,
}

/// Removes axes of length 1. Inputs: `data`, and optionally the axes as a list of i64. Kind `Squeeze`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squeeze {
    /// Axes fixed by the node; `None` if they are input 1, or, without that, all axes of length 1.
    pub axes: Option<Vec<i64>>,
}

/// Adds axes of length 1. Inputs: `data`, and, unless the node fixes them, the axes as a list of i64. Kind `Unsqueeze`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsqueeze {
    /// Axes of the *output* fixed by the node; `None` if they are input 1.
    pub axes: Option<Vec<i64>>,
}

/// Repeats the input along axes of length 1, and along new axes in front, so that it has the shape that results from
/// broadcasting it with input 1 (a list of i64). Inputs: `data`, `shape`. Kind `Expand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand;
