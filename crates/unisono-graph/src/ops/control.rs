//! Operators with bodies: a choice, and two loops.
//!
//! The one idea: a body is a graph of its own, closed over nothing (see [`Subgraph`]), so whatever can be said of a graph
//! can be said of a body, given what is known of its inputs.

use crate::attribute::Subgraph;

/// The outputs of one of two bodies. Inputs: `condition` (a boolean of one element), then the values that the bodies
/// capture. Kind `If`.
///
/// The bodies have no formal inputs: all their inputs are captured. Only the chosen one runs.
#[derive(Clone, Debug)]
pub struct If {
    /// Runs if the condition is true.
    pub then_branch: Subgraph,
    /// Runs if it is false.
    pub else_branch: Subgraph,
}

/// Runs a body again and again. Inputs: `trip_count` (i64 scalar, optional), `condition` (boolean scalar, optional), the
/// first values of what is carried, then the values that the body captures. Kind `Loop`.
///
/// The body's formal inputs are the iteration number (i64 scalar), the condition, and the carried values; its outputs the
/// next condition, the next carried values, and values to be collected. The node's outputs are the last carried values,
/// then one stacked value (a new axis in front) for each that is collected.
#[derive(Clone, Debug)]
pub struct Loop {
    /// What runs.
    pub body: Subgraph,
    /// How many values are carried.
    pub carried: usize,
}

/// One scanned input or output of a [`Scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanAxis {
    /// The axis along which it is cut or joined; negative ones count from the end.
    pub axis: i64,
    /// From the end to the beginning.
    pub reverse: bool,
}

/// Runs a body for each slice of some inputs. Inputs: the first values of what is carried, the values to be cut, then the
/// values that the body captures. Kind `Scan`.
///
/// The body's formal inputs are the carried values and one slice of each cut value (without its axis); its outputs the
/// next carried values and one slice of each scanned output.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What runs.
    pub body: Subgraph,
    /// How many values are carried.
    pub carried: usize,
    /// The inputs that are cut.
    pub inputs: Vec<ScanAxis>,
    /// The outputs that are joined.
    pub outputs: Vec<ScanAxis>,
}
