//! Writing at places that indices name.

use super::gather::{check_elements, tuple_length};
use super::{rows_axis, same_shape};
use crate::ops::common::resolve_axis;
use crate::ops::rules::{self, ANY, INDICES, batch_of, batch_shape};
use crate::ops::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    // The old name, with the meaning that its successor kept.
    Definition::since(9, "Scatter", (3, 3), (1, 1), elements_replacing).until(10),
    Definition::since(11, "ScatterElements", (3, 3), (1, 1), elements_replacing).until(15),
    Definition::since(16, "ScatterElements", (3, 3), (1, 1), |spec| {
        Ok(Arc::new(ScatterElements {
            axis: spec.attributes.int_or("axis", 0)?,
            reduction: reduction(spec)?,
        }))
    }),
    Definition::since(11, "ScatterND", (3, 3), (1, 1), |_| {
        let reduction = ScatterReduction::Replace;
        Ok(Arc::new(ScatterNd { reduction }))
    })
    .until(15),
    Definition::since(16, "ScatterND", (3, 3), (1, 1), |spec| {
        let reduction = reduction(spec)?;
        Ok(Arc::new(ScatterNd { reduction }))
    }),
];

fn elements_replacing(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(ScatterElements {
        axis: spec.attributes.int_or("axis", 0)?,
        reduction: ScatterReduction::Replace,
    }))
}

fn reduction(spec: &mut NodeSpec<'_>) -> Result<ScatterReduction, OpError> {
    match spec.attributes.string("reduction")?.as_deref() {
        None | Some("none") => Ok(ScatterReduction::Replace),
        Some("add") => Ok(ScatterReduction::Add),
        Some("mul") => Ok(ScatterReduction::Mul),
        // Opset 16 does not have these two; what else could a model that names them mean?
        Some("min") => Ok(ScatterReduction::Min),
        Some("max") => Ok(ScatterReduction::Max),
        Some(other) => Err(OpError::attribute(
            "reduction",
            format!("is \"{other}\"; supported are none, add, mul, min, max"),
        )),
    }
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

/// Refuses reductions of what has no arithmetic.
fn check_reduction(reduction: ScatterReduction, dtype: DType) -> Result<(), OpError> {
    match (reduction, dtype) {
        (ScatterReduction::Replace, _) => Ok(()),
        (_, DType::String) => Err(OpError::attribute(
            "reduction",
            "is not possible for strings",
        )),
        (ScatterReduction::Add | ScatterReduction::Mul, DType::Bool) => Err(OpError::attribute(
            "reduction",
            "is not possible for booleans",
        )),
        _ => Ok(()),
    }
}

/// The updates, of the data's type.
fn updates<'a>(cx: &InferContext<'a>, data: &Fact) -> Result<&'a Fact, OpError> {
    let updates = rules::typed(cx, 2, "updates", ANY)?;
    if updates.dtype == data.dtype {
        return Ok(updates);
    }
    Err(OpError::new(format!(
        "input 2 (updates) is {}, but the data is {}",
        updates.dtype, data.dtype
    )))
}

impl Operator for ScatterElements {
    fn kind(&self) -> &'static str {
        "ScatterElements"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let indices = rules::typed(cx, 1, "indices", INDICES)?;
        let updates = updates(cx, data)?;
        check_reduction(self.reduction, data.dtype)?;
        check_elements(self.axis, data, indices)?;
        if let (Some(i), Some(u)) = (&indices.shape, &updates.shape) {
            same_shape(i, u, "indices and updates differ in shape")?;
        }
        cx.set(0, rules::like(data));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (data, indices, updates) = (batch_of(cx, 0), batch_of(cx, 1), batch_of(cx, 2));
        let rank = batch_shape(cx, 0)?.len();
        let axis = resolve_axis(self.axis, rank).map_err(|e| Blocker::new(e.to_string()))?;
        match rows_axis(data) {
            Some(at) if at != axis && data == indices && data == updates => Ok(vec![data.clone()]),
            Some(at) if at == axis => Err(Blocker::new(format!(
                "writes along axis {axis}, which is the batch"
            ))),
            _ => Err(Blocker::new(
                "writes at places whose rows do not belong to the rows of its data",
            )),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// A copy of the data in which slices named by tuples of indices are written. Inputs: `data`, `indices` (i64; the last axis
/// holds tuples), `updates` (`indices.shape[..-1] ++ data.shape[tuple length..]`). Kind `ScatterNd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterNd {
    /// How places are written.
    pub reduction: ScatterReduction,
}

impl Operator for ScatterNd {
    fn kind(&self) -> &'static str {
        "ScatterNd"
    }

    fn name(&self) -> &'static str {
        "ScatterND"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let indices = rules::typed(cx, 1, "indices", &[DType::I64])?;
        let updates = updates(cx, data)?;
        check_reduction(self.reduction, data.dtype)?;
        if let (Some(lengths), Some(picks)) = (&data.shape, &indices.shape)
            && let Some(n) = tuple_length(lengths, picks, 0)?
            && let Some(given) = &updates.shape
        {
            let mut needed = picks[..picks.len() - 1].to_vec();
            needed.extend_from_slice(&lengths[n..]);
            same_shape(
                &needed,
                given,
                "the updates' shape and the one that the indices need differ",
            )?;
        }
        cx.set(0, rules::like(data));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (data, indices, updates) = (batch_of(cx, 0), batch_of(cx, 1), batch_of(cx, 2));
        let (lengths, picks) = (batch_shape(cx, 0)?, batch_shape(cx, 1)?);
        let tuple = tuple_length(lengths, picks, 0)
            .ok()
            .flatten()
            .ok_or_else(|| Blocker::new("writes at tuples of unknown length"))?;
        match rows_axis(data) {
            // The same slices of every row.
            Some(at)
                if at >= tuple
                    && *indices == Batch::Shared
                    && *updates == rules::moved(data, picks.len() - 1 + at - tuple) =>
            {
                Ok(vec![data.clone()])
            }
            Some(at) if at < tuple => Err(Blocker::new(format!(
                "writes along axis {at}, which is the batch"
            ))),
            _ => Err(Blocker::new(
                "writes at places whose rows do not belong to the rows of its data",
            )),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}
