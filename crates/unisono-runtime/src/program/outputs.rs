//! Outputs that can be allocated before a run.
//!
//! The one idea: an output with rows has a shape that follows from the number of rows alone. So its memory can come from the thread that asked,
//! which also gives it back: then what callers allocate does not grow and shrink the leader's part of the heap with every batch.

use unisono_graph::{OutputRows, ValueId};
use unisono_tensor::{DType, Shape, Tensor};

use super::Known;
use super::staging::output_rows;
use crate::model::ModelGraph;

/// See the [module](self).
pub struct RowOutputs(Vec<Option<Output>>);

/// An output with rows.
struct Output {
    dtype: DType,
    /// For one row.
    shape: Shape,
    rows_axis: usize,
}

impl RowOutputs {
    /// Of `outputs`, the values that a model's plan gives out, of which `known` tells what they are for one row.
    pub fn new(model: &ModelGraph, outputs: &[ValueId], known: &[Option<Known>]) -> RowOutputs {
        let output = |(value, rule): (&ValueId, &OutputRows)| {
            let OutputRows::Rows { axis, .. } = rule else {
                return None;
            };
            let known = known.get(value.index())?.as_ref()?;
            Some(Output {
                dtype: known.dtype,
                shape: known.shape.clone().filter(|shape| *axis < shape.len())?,
                rows_axis: *axis,
            })
        };
        let rules = output_rows(model);
        RowOutputs(outputs.iter().zip(rules).map(output).collect())
    }

    /// [`crate::plan::Plan::allocate`] for the outputs with rows.
    pub fn allocate(&self, rows: usize, outputs: &mut [Option<Tensor>]) {
        for (slot, output) in outputs.iter_mut().zip(&self.0) {
            if let (None, Some(output)) = (&slot, output) {
                let mut shape = output.shape.clone();
                shape[output.rows_axis] = shape[output.rows_axis].saturating_mul(rows);
                // Without memory, or of another shape after all: the run says so, or replaces it.
                *slot = Tensor::zeros(output.dtype, &shape).ok();
            }
        }
    }
}
