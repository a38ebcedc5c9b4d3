//! Outputs that can be allocated before a run.
//!
//! The one idea: an output with rows has a shape that follows from the number of rows alone. So its memory can come from the thread that asked,
//! which also gives it back: then what callers allocate does not grow and shrink the leader's part of the heap with every batch.

use unisono_graph::{OutputRows, ValueId};
use unisono_tensor::{DType, Shape, Tensor, element_count};

use super::Known;
use super::staging::output_rows;
use crate::model::ModelGraph;

/// Bytes of an output beyond which it is left to the run, which knows first whether the request fits the device.
const MOST_BYTES: usize = 16 << 20;

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
                let bytes = element_count(&shape).and_then(|n| n.checked_mul(output.dtype.size()));
                if bytes.is_none_or(|bytes| bytes > MOST_BYTES) {
                    continue;
                }
                // Without memory, or of another shape after all: the run says so, or replaces it.
                *slot = Tensor::zeros(output.dtype, &shape).ok();
            }
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_not_too_large_is_allocated() {
        let output = |lengths: &[usize], rows_axis| {
            Some(Output {
                dtype: DType::F32,
                shape: Shape::from_slice(lengths),
                rows_axis,
            })
        };
        let known = RowOutputs(vec![
            output(&[2, 3], 0),
            None,
            output(&[4, 1], 1),
            output(&[1], 0),
        ]);
        let own = Tensor::zeros(DType::F32, &[7]).unwrap();
        let mut outputs = [None, None, None, Some(own)];
        known.allocate(5, &mut outputs);
        let shapes = |outputs: &[Option<Tensor>]| -> Vec<Option<Vec<usize>>> {
            let shape = |output: &Option<Tensor>| Some(output.as_ref()?.shape().to_vec());
            outputs.iter().map(shape).collect()
        };
        assert_eq!(
            shapes(&outputs),
            [Some(vec![10, 3]), None, Some(vec![4, 5]), Some(vec![7])]
        );
        for rows in [MOST_BYTES / 16 + 1, usize::MAX] {
            let mut outputs = [None, None, None, None];
            known.allocate(rows, &mut outputs);
            assert_eq!(shapes(&outputs[..3]), [None, None, None]);
        }
    }
}
