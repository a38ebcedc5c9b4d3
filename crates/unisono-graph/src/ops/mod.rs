//! The operators, one file per family, and the registry by which a model file's names are found.
//!
//! An operator is registered by one line in its family's `OPERATORS` table. The registry answers three questions:
//! is there such an operator, is there one for this opset, and what would be supported instead.

use crate::{Attributes, OpError, Operator};
use std::sync::Arc;

/// What an operator's constructor is given.
pub struct NodeSpec<'a> {
    /// Attributes; those not taken by the constructor are an error.
    pub attributes: &'a mut Attributes,
    /// The version of the operator's domain that the model imports.
    pub opset: i64,
    /// Which inputs are there.
    pub inputs: &'a [bool],
    /// How many outputs the node names (including ones left empty at the front).
    pub output_count: usize,
}

/// One line of the registry.
pub struct Definition {
    /// `""` for the standard's default domain.
    pub domain: &'static str,
    /// The name in model files.
    pub name: &'static str,
    /// The first and last opset (inclusive) whose meaning the constructor knows; `i64::MAX` for no known end.
    pub opsets: (i64, i64),
    /// Makes the operator.
    pub build: fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>,
    /// Smallest and largest number of inputs.
    pub inputs: (usize, usize),
    /// Smallest and largest number of outputs.
    pub outputs: (usize, usize),
}
