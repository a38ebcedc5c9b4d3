//! Reading at places that indices name.

use super::rows_axis;
use crate::ops::Definition;
use crate::ops::common::{MAX_CONTENTS, check_shape, resolve_axis};
use crate::ops::rules::{self, ANY, INDICES, batch_of, batch_shape, of_shape};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(1, "Gather", (2, 2), (1, 1), |spec| {
        let axis = spec.attributes.int_or("axis", 0)?;
        Ok(Arc::new(Gather { axis }))
    }),
    Definition::since(11, "GatherElements", (2, 2), (1, 1), |spec| {
        let axis = spec.attributes.int_or("axis", 0)?;
        Ok(Arc::new(GatherElements { axis }))
    }),
    Definition::since(11, "GatherND", (2, 2), (1, 1), |_| {
        Ok(Arc::new(GatherNd { batch_dims: 0 }))
    })
    .until(11),
    Definition::since(12, "GatherND", (2, 2), (1, 1), |spec| {
        let batch_dims = spec.attributes.int_or("batch_dims", 0)?;
        match usize::try_from(batch_dims) {
            Ok(batch_dims) => Ok(Arc::new(GatherNd { batch_dims })),
            Err(_) => Err(OpError::attribute(
                "batch_dims",
                format!("is {batch_dims}, but should not be negative"),
            )),
        }
    }),
];

/// Slices of the data along an axis, picked by indices of any rank. Inputs: `data`, `indices` (i32 or i64). Kind `Gather`.
///
/// The axis is replaced by the axes of `indices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The axis; negative ones count from the end.
    pub axis: i64,
}

impl Operator for Gather {
    fn kind(&self) -> &'static str {
        "Gather"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let indices = rules::typed(cx, 1, "indices", INDICES)?;
        let Some(lengths) = &data.shape else {
            cx.set(0, of_shape(data.dtype, None));
            return Ok(());
        };
        let axis = resolve_axis(self.axis, lengths.len())?;
        let Some(picks) = &indices.shape else {
            cx.set(0, of_shape(data.dtype, None));
            return Ok(());
        };
        let mut shape = lengths.clone();
        shape.splice(axis..=axis, picks.iter().cloned());
        check_shape(&shape)?;
        let mut fact = of_shape(data.dtype, Some(shape));
        if let Some(length) = lengths[axis].as_len()
            && let Some(picks) = &indices.integers
        {
            // Indices that are known are checked even where the contents are not.
            let at = picks
                .iter()
                .map(|i| position(i.as_const(), length, axis))
                .collect::<Result<Vec<_>, _>>()?;
            if let (Some(values), 1, true) =
                (&data.integers, lengths.len(), at.len() <= MAX_CONTENTS)
            {
                fact.integers = at
                    .into_iter()
                    .map(|i| values.get(i?).cloned())
                    .collect::<Option<_>>();
            }
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (data, indices) = (batch_of(cx, 0), batch_of(cx, 1));
        let (lengths, picks) = (batch_shape(cx, 0)?, batch_shape(cx, 1)?);
        let axis =
            resolve_axis(self.axis, lengths.len()).map_err(|e| Blocker::new(e.to_string()))?;
        match (rows_axis(data), rows_axis(indices)) {
            (Some(_), Some(_)) => Err(Blocker::new(
                "picks from rows by indices that differ from row to row",
            )),
            (Some(at), None) if at == axis => Err(Blocker::new(format!(
                "picks along axis {axis}, which is the batch"
            ))),
            (Some(at), None) if at < axis => Ok(vec![data.clone()]),
            (Some(at), None) => Ok(vec![rules::moved(data, at - 1 + picks.len())]),
            (None, Some(at)) => Ok(vec![rules::moved(indices, axis + at)]),
            (None, None) => Ok(vec![Batch::Shared]),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// The position that an index means; `None` if it is not known.
fn position(index: Option<i64>, length: usize, axis: usize) -> Result<Option<usize>, OpError> {
    let Some(index) = index else {
        return Ok(None);
    };
    let n = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if index < 0 {
        index.saturating_add(n)
    } else {
        index
    };
    match usize::try_from(at) {
        Ok(at) if at < length => Ok(Some(at)),
        _ => Err(OpError::new(format!(
            "index {index} is outside of axis {axis}, which has length {length}"
        ))),
    }
}

/// `out[.., i, ..] = data[.., indices[.., i, ..], ..]` along an axis. Inputs: `data`, `indices` (i32 or i64, the same rank,
/// no longer than the data along other axes). Kind `GatherElements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherElements {
    /// The axis; negative ones count from the end.
    pub axis: i64,
}

impl Operator for GatherElements {
    fn kind(&self) -> &'static str {
        "GatherElements"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let indices = rules::typed(cx, 1, "indices", INDICES)?;
        check_elements(self.axis, data, indices)?;
        cx.set(0, of_shape(data.dtype, indices.shape.clone()));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (data, indices) = (batch_of(cx, 0), batch_of(cx, 1));
        let rank = batch_shape(cx, 0)?.len();
        let axis = resolve_axis(self.axis, rank).map_err(|e| Blocker::new(e.to_string()))?;
        match (rows_axis(data), rows_axis(indices)) {
            (Some(at), _) if at == axis => Err(Blocker::new(format!(
                "picks along axis {axis}, which is the batch"
            ))),
            (Some(_), Some(_)) if data == indices => Ok(vec![indices.clone()]),
            (None, Some(at)) if at == axis => Ok(vec![indices.clone()]),
            (None, None) => Ok(vec![Batch::Shared]),
            _ => Err(Blocker::new(
                "picks by indices whose rows do not belong to the rows of its data",
            )),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// The rules that reading and writing single elements share: equal ranks, indices no longer than the data.
pub(super) fn check_elements(axis: i64, data: &Fact, indices: &Fact) -> Result<(), OpError> {
    let (Some(lengths), Some(picks)) = (&data.shape, &indices.shape) else {
        return Ok(());
    };
    let axis = resolve_axis(axis, lengths.len())?;
    if lengths.len() != picks.len() {
        return Err(OpError::new(format!(
            "the data has {} axes, but the indices have {}",
            lengths.len(),
            picks.len()
        )));
    }
    for (at, (length, pick)) in lengths.iter().zip(picks).enumerate() {
        if at != axis && (pick - length).lower_bound() >= Some(1) {
            return Err(OpError::new(format!(
                "the indices have length {pick} on axis {at}, but the data only {length}"
            )));
        }
    }
    Ok(())
}

/// Slices of the data picked by tuples of indices. Inputs: `data`, `indices` (i64). Kind `GatherNd`.
///
/// The last axis of `indices` holds tuples that index the data's axes behind the first `batch_dims`, which both share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherNd {
    /// Leading axes that data and indices have in common.
    pub batch_dims: usize,
}

/// The length of the tuples in the last axis of indices, checked against the axes that they index.
pub(super) fn tuple_length(
    data: &[Dim],
    indices: &[Dim],
    batch_dims: usize,
) -> Result<Option<usize>, OpError> {
    let Some(last) = indices.last() else {
        return Err(OpError::new(
            "the indices are a scalar; they need one axis or more",
        ));
    };
    if batch_dims >= indices.len() || batch_dims > data.len() {
        return Err(OpError::attribute(
            "batch_dims",
            format!(
                "is {batch_dims}, but the data has {} axes and the indices have {}",
                data.len(),
                indices.len()
            ),
        ));
    }
    match last.as_const() {
        None => Ok(None),
        Some(n) => match usize::try_from(n) {
            Ok(n) if n >= 1 && n <= data.len() - batch_dims => Ok(Some(n)),
            _ => Err(OpError::new(format!(
                "the indices are tuples of {n}, but {} axes can be indexed",
                data.len() - batch_dims
            ))),
        },
    }
}

impl Operator for GatherNd {
    fn kind(&self) -> &'static str {
        "GatherNd"
    }

    fn name(&self) -> &'static str {
        "GatherND"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let indices = rules::typed(cx, 1, "indices", &[DType::I64])?;
        let shape = match (&data.shape, &indices.shape) {
            (Some(lengths), Some(picks)) => {
                let tuple = tuple_length(lengths, picks, self.batch_dims)?;
                let both = self.batch_dims;
                super::same_shape(
                    &lengths[..both],
                    &picks[..both],
                    "data and indices differ in their common axes",
                )?;
                tuple.map(|n| {
                    let mut shape = picks[..picks.len() - 1].to_vec();
                    shape.extend_from_slice(&lengths[both + n..]);
                    shape
                })
            }
            _ => None,
        };
        check_shape(shape.as_deref().unwrap_or(&[]))?;
        cx.set(0, of_shape(data.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (data, indices) = (batch_of(cx, 0), batch_of(cx, 1));
        let (lengths, picks) = (batch_shape(cx, 0)?, batch_shape(cx, 1)?);
        let tuple = tuple_length(lengths, picks, self.batch_dims)
            .ok()
            .flatten()
            .ok_or_else(|| Blocker::new("picks by tuples of unknown length"))?;
        let behind = self.batch_dims + tuple;
        match (rows_axis(data), rows_axis(indices)) {
            (Some(at), Some(_)) if at < self.batch_dims && data == indices => {
                Ok(vec![data.clone()])
            }
            (Some(at), None) if at >= behind => {
                Ok(vec![rules::moved(data, picks.len() - 1 + at - behind)])
            }
            (None, Some(at)) if at >= self.batch_dims && at + 1 < picks.len() => {
                Ok(vec![indices.clone()])
            }
            (None, None) => Ok(vec![Batch::Shared]),
            _ => Err(Blocker::new(
                "picks by indices that reach along the batch axis",
            )),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}
