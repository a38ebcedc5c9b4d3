//! Operators that read or write elements at places which other values name.
//!
//! The one idea: indices are data. Negative ones count from the end; one outside of the axis is an error of the request
//! that carries it, never a read outside of the data. For the batch it matters on whose axis the rows are: a row's indices
//! may pick from what all share, and shared indices may pick from each row, but an index along the batch axis would let
//! one row read another.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`gather`] | reading: [`Gather`], [`GatherElements`], [`GatherNd`] |
//! | [`scatter`] | writing: [`ScatterElements`], [`ScatterNd`] |
//! | [`select`] | picking and marking by value: [`OneHot`], [`NonZero`], [`Compress`], [`Unique`], [`NonMaxSuppression`] |

pub mod gather;
pub mod scatter;
pub mod select;

pub use gather::{Gather, GatherElements, GatherNd};
pub use scatter::{ScatterElements, ScatterNd, ScatterReduction};
pub use select::{Compress, NonMaxSuppression, NonZero, OneHot, Unique};

use crate::{Batch, Dim, OpError};

/// The axis of rows, if there is one.
fn rows_axis(batch: &Batch) -> Option<usize> {
    match batch {
        Batch::Rows { axis, .. } => Some(*axis),
        _ => None,
    }
}

/// Refuses shapes that are known to differ.
fn same_shape(a: &[Dim], b: &[Dim], what: &str) -> Result<(), OpError> {
    let equal = a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.equals(y) != Some(false));
    if equal {
        return Ok(());
    }
    Err(OpError::new(format!("{what}: {a:?} and {b:?}")))
}
