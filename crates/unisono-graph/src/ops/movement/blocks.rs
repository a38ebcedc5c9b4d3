//! Rearrangements within images, sequences and matrices.

use super::super::common::resolve_axis;
use super::super::rules::{self, ANY, INDICES, batch_of, batch_shape, of_shape};
use super::super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(1, "DepthToSpace", (1, 1), (1, 1), |spec| {
        let (block, order) = (block(spec)?, BlockOrder::DepthLast);
        Ok(Arc::new(DepthToSpace { block, order }))
    })
    .until(10),
    Definition::since(11, "DepthToSpace", (1, 1), (1, 1), |spec| {
        let (block, order) = (block(spec)?, order(spec)?);
        Ok(Arc::new(DepthToSpace { block, order }))
    }),
    Definition::since(1, "SpaceToDepth", (1, 1), (1, 1), |spec| {
        let (block, order) = (block(spec)?, BlockOrder::DepthLast);
        Ok(Arc::new(SpaceToDepth { block, order }))
    })
    .until(27),
    Definition::since(28, "SpaceToDepth", (1, 1), (1, 1), |spec| {
        let (block, order) = (block(spec)?, order(spec)?);
        Ok(Arc::new(SpaceToDepth { block, order }))
    }),
    Definition::since(10, "ReverseSequence", (2, 2), (1, 1), |spec| {
        let mut axis = |name: &str, default| match spec.attributes.int_or(name, default)? {
            0 => Ok(0),
            1 => Ok(1),
            other => Err(OpError::attribute(
                name,
                format!("is {other}; allowed are 0 and 1"),
            )),
        };
        let (batch_axis, time_axis) = (axis("batch_axis", 1)?, axis("time_axis", 0)?);
        if batch_axis == time_axis {
            return Err(OpError::attribute("time_axis", "is the batch axis"));
        }
        Ok(Arc::new(ReverseSequence {
            batch_axis,
            time_axis,
        }))
    }),
    Definition::since(14, "Trilu", (1, 2), (1, 1), |spec| {
        let upper = spec.attributes.flag("upper", true)?;
        Ok(Arc::new(Trilu { upper }))
    }),
];

fn block(spec: &mut NodeSpec<'_>) -> Result<usize, OpError> {
    match spec.attributes.int("blocksize")? {
        // A larger edge squares to more channels than any axis has.
        Some(n) if (1..=1 << 24).contains(&n) => Ok(usize::try_from(n).unwrap_or(1)),
        Some(n) => Err(OpError::attribute(
            "blocksize",
            format!("should be positive but is {n}"),
        )),
        None => Err(OpError::attribute("blocksize", "is missing")),
    }
}

fn order(spec: &mut NodeSpec<'_>) -> Result<BlockOrder, OpError> {
    match spec.attributes.string("mode")?.as_deref() {
        None | Some("DCR") => Ok(BlockOrder::DepthLast),
        Some("CRD") => Ok(BlockOrder::DepthFirst),
        Some(other) => Err(OpError::attribute(
            "mode",
            format!("is \"{other}\"; supported are DCR and CRD"),
        )),
    }
}

/// In which order channels are read as blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockOrder {
    /// Channel `(by * block + bx) * depth + d` is element `(by, bx)` of the block at depth `d`.
    DepthLast,
    /// Channel `(d * block + by) * block + bx` is element `(by, bx)` of the block at depth `d`.
    DepthFirst,
}

/// `[N, C, H, W]` to `[N, C / block², H * block, W * block]`. Kind `DepthToSpace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// Edge of a block, at least 1.
    pub block: usize,
    /// How channels are read: `DCR` is depth last, `CRD` depth first.
    pub order: BlockOrder,
}

/// `[N, C, H, W]` to `[N, C * block², H / block, W / block]`, the reverse of [`DepthToSpace`]. Kind `SpaceToDepth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// Edge of a block, at least 1.
    pub block: usize,
    /// How channels are written: `DCR` (and all before opset 28) is depth last, `CRD` depth first.
    pub order: BlockOrder,
}

/// An image's four lengths.
fn image<'a>(cx: &InferContext<'a>) -> Result<(&'a Fact, Option<&'a [Dim]>), OpError> {
    let data = rules::typed(cx, 0, "data", ANY)?;
    match data.shape.as_deref() {
        Some(shape) if shape.len() != 4 => Err(OpError::new(format!(
            "the data has shape {shape:?}; needed are four axes (images, channels, height, width)"
        ))),
        shape => Ok((data, shape)),
    }
}

/// A length divided by a number that must divide it.
fn divided(length: &Dim, by: &Dim, what: &str) -> Result<Dim, OpError> {
    match (length.as_const(), by.as_const()) {
        (Some(n), Some(d)) if d == 0 || n % d != 0 => Err(OpError::new(format!(
            "{what} is {n}, which {d} does not divide"
        ))),
        _ => Ok(length.floor_div(by)),
    }
}

/// Only the images are independent of each other.
fn image_batch(cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
    match batch_of(cx, 0) {
        batch @ Batch::Rows { axis: 0, .. } => Ok(vec![batch.clone()]),
        Batch::Rows { axis, .. } => Err(Blocker::new(format!(
            "moves elements along axis {axis}, which is the batch"
        ))),
        other => Ok(vec![other.clone()]),
    }
}

impl Operator for DepthToSpace {
    fn kind(&self) -> &'static str {
        "DepthToSpace"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let (data, shape) = image(cx)?;
        let block = Dim::from(self.block);
        let shape = match shape {
            Some([n, c, h, w]) => vec![
                n.clone(),
                divided(c, &(&block * &block), "the number of channels")?,
                h * &block,
                w * &block,
            ],
            _ => vec![Dim::unknown(); 4],
        };
        cx.set(0, of_shape(data.dtype, Some(shape)));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        image_batch(cx)
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

impl Operator for SpaceToDepth {
    fn kind(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let (data, shape) = image(cx)?;
        let block = Dim::from(self.block);
        let shape = match shape {
            Some([n, c, h, w]) => vec![
                n.clone(),
                &(c * &block) * &block,
                divided(h, &block, "the height")?,
                divided(w, &block, "the width")?,
            ],
            _ => vec![Dim::unknown(); 4],
        };
        cx.set(0, of_shape(data.dtype, Some(shape)));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        image_batch(cx)
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// Reverses, for each entry along the batch axis, its first `lengths[entry]` elements along the time axis. Inputs: `data`
/// (rank at least 2), `lengths` (a list of i64). Kind `ReverseSequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReverseSequence {
    /// The axis along which `lengths` has its entries, 0 or 1.
    pub batch_axis: usize,
    /// The axis that is reversed, the other of 0 and 1.
    pub time_axis: usize,
}

impl Operator for ReverseSequence {
    fn kind(&self) -> &'static str {
        "ReverseSequence"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        if data.rank().is_some_and(|r| r < 2) {
            return Err(OpError::new("the data needs two axes or more"));
        }
        let entries = data.shape.as_ref().and_then(|s| s.get(self.batch_axis));
        let entries = entries.cloned().unwrap_or_else(Dim::unknown);
        rules::vector(cx, 1, "lengths", DType::I64, &entries)?;
        cx.set(0, rules::like(data));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (data, lengths) = (batch_of(cx, 0), batch_of(cx, 1));
        match (data, lengths) {
            (Batch::Rows { axis, .. }, _) if *axis == self.time_axis => Err(Blocker::new(format!(
                "reverses axis {axis}, which is the batch"
            ))),
            (Batch::Rows { axis, .. }, Batch::Shared) if *axis != self.batch_axis => {
                Ok(vec![data.clone()])
            }
            (Batch::Rows { axis, .. }, Batch::Rows { .. })
                if *axis == self.batch_axis && rules::moved(data, 0) == *lengths =>
            {
                Ok(vec![data.clone()])
            }
            _ => Err(Blocker::new(
                "reverses sequences by lengths that do not belong to the rows of its data",
            )),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// Keeps the upper or lower triangle of each matrix and sets the rest to 0. Inputs: `data` (rank at least 2), and
/// optionally the diagonal `k` as an i64 scalar (0 without it). Kind `Trilu`.
///
/// Element `(i, j)` stays if `j - i >= k` (upper) or `j - i <= k` (lower).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trilu {
    /// Keep the upper triangle instead of the lower.
    pub upper: bool,
}

impl Operator for Trilu {
    fn kind(&self) -> &'static str {
        "Trilu"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        rules::optional(cx, 1, "k", INDICES)?;
        if let Some(rank) = data.rank() {
            resolve_axis(-2, rank).map_err(|_| OpError::new("the data needs two axes or more"))?;
        }
        cx.set(0, rules::like(data));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let axis = rules::axis_of_data(cx, &["data", "k"])?;
        if axis + 2 >= batch_shape(cx, 0)?.len() {
            return Err(Blocker::new(format!(
                "treats axis {axis}, which is the batch, as part of a matrix"
            )));
        }
        Ok(vec![batch_of(cx, 0).clone()])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}
