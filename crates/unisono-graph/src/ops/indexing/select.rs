//! Picking and marking elements by their value.
//!
//! The one idea: how many elements are picked is not known before it runs, and those of one row stand behind those of
//! another, so what picks from rows cannot be coalesced.

use super::rows_axis;
use crate::ops::Definition;
use crate::ops::common::{check_shape, resolve_axis};
use crate::ops::rules::{self, ANY, BOOL, NUMBERS, NUMBERS_AND_BOOL, batch_of, of_shape};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(9, "OneHot", (3, 3), (1, 1), |spec| {
        let axis = spec.attributes.int_or("axis", -1)?;
        Ok(Arc::new(OneHot { axis }))
    }),
    Definition::since(9, "NonZero", (1, 1), (1, 1), |_| Ok(Arc::new(NonZero))),
    Definition::since(9, "Compress", (2, 2), (1, 1), |spec| {
        let axis = spec.attributes.int("axis")?;
        Ok(Arc::new(Compress { axis }))
    }),
    Definition::since(11, "Unique", (1, 1), (1, 4), |spec| {
        Ok(Arc::new(Unique {
            axis: spec.attributes.int("axis")?,
            sorted: spec.attributes.flag("sorted", true)?,
        }))
    }),
    Definition::since(10, "NonMaxSuppression", (2, 5), (1, 1), |spec| {
        let center_point_box = spec.attributes.flag("center_point_box", false)?;
        Ok(Arc::new(NonMaxSuppression { center_point_box }))
    }),
];

/// `values[1]` where a new axis' position equals the index, `values[0]` elsewhere. Inputs: `indices` (any numbers),
/// `depth` (a scalar or list of one, any number), `values` (off, on). Kind `OneHot`.
///
/// Indices in `-depth..0` count from the end; those outside of `-depth..depth` give no one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneHot {
    /// The position of the new axis in the output; negative ones count from the end.
    pub axis: i64,
}

impl Operator for OneHot {
    fn kind(&self) -> &'static str {
        "OneHot"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let indices = rules::typed(cx, 0, "indices", NUMBERS)?;
        let depth = rules::typed(cx, 1, "depth", NUMBERS)?;
        let values = rules::typed(cx, 2, "values", ANY)?;
        if let Some(shape) = &values.shape
            && !matches!(shape.as_slice(), [n] if n.equals(&Dim::constant(2)) != Some(false))
        {
            return Err(OpError::new(format!(
                "input 2 (values) has shape {shape:?}; needed are two elements, off and on"
            )));
        }
        let shape = match &indices.shape {
            None => None,
            Some(lengths) => {
                let axis = resolve_axis(self.axis, lengths.len() + 1)?;
                let mut shape = lengths.clone();
                shape.insert(axis, number(depth).unwrap_or_else(Dim::unknown));
                check_shape(&shape)?;
                Some(shape)
            }
        };
        cx.set(0, of_shape(values.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let at = rules::axis_of_data(cx, &["indices", "depth", "values"])?;
        let rank = rules::batch_shape(cx, 0)?.len();
        let axis = resolve_axis(self.axis, rank + 1).map_err(|e| Blocker::new(e.to_string()))?;
        let at = if at < axis { at } else { at + 1 };
        Ok(vec![rules::moved(batch_of(cx, 0), at)])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// The one number that a value holds, if it is known; floats are rounded towards zero.
fn number(fact: &Fact) -> Option<Dim> {
    match fact.integers.as_deref() {
        Some([n]) => return Some(n.clone()),
        Some(_) => return None,
        None => {}
    }
    match fact.constant.as_ref()?.to_f64s()?.as_slice() {
        // The cast saturates, and NaN becomes 0.
        [x] => Some(Dim::constant(*x as i64)),
        _ => None,
    }
}

/// The indices of elements that are not zero, as i64 `[rank, count]`, in row-major order. A NaN is not zero, -0 is.
/// Kind `NonZero`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonZero;

impl Operator for NonZero {
    fn kind(&self) -> &'static str {
        "NonZero"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", NUMBERS_AND_BOOL)?;
        let Some(rank) = data.rank() else {
            cx.set(
                0,
                Fact::new(DType::I64, vec![Dim::unknown(), Dim::unknown()]),
            );
            return Ok(());
        };
        let contents = data.constant.as_ref().and_then(|c| c.to_f64s());
        let count = match contents {
            Some(contents) => Dim::from(contents.iter().filter(|&&x| x != 0.0).count()),
            None => Dim::unknown(),
        };
        cx.set(0, Fact::new(DType::I64, vec![Dim::from(rank), count]));
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new(
            "lists the elements of all rows that are not zero, one row behind the other",
        ))
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// Slices along an axis where a list of booleans is true. Inputs: `data`, `condition` (booleans, not longer than the axis).
/// Kind `Compress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// The axis, negative ones counted from the end; `None` for the flattened data.
    pub axis: Option<i64>,
}

impl Operator for Compress {
    fn kind(&self) -> &'static str {
        "Compress"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let condition = rules::typed(cx, 1, "condition", BOOL)?;
        if let Some(rank) = condition.rank().filter(|&r| r != 1) {
            return Err(OpError::new(format!(
                "input 1 (condition) has {rank} axes; it should be a list"
            )));
        }
        let known = condition.known_ints();
        let count = match known {
            Some(flags) => Dim::from(flags.iter().filter(|&&f| f != 0).count()),
            None => Dim::unknown(),
        };
        let shape = match (self.axis, &data.shape) {
            (None, _) => Some(vec![count]),
            (Some(axis), Some(lengths)) => {
                let mut shape = lengths.clone();
                shape[resolve_axis(axis, lengths.len())?] = count;
                Some(shape)
            }
            (Some(_), None) => None,
        };
        cx.set(0, of_shape(data.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let data = batch_of(cx, 0);
        let rank = rules::batch_shape(cx, 0)?.len();
        let axis = self.axis.and_then(|a| resolve_axis(a, rank).ok());
        match (rows_axis(data), batch_of(cx, 1), axis) {
            // The same slices of every row.
            (Some(at), Batch::Shared, Some(axis)) if at != axis => Ok(vec![data.clone()]),
            _ => Err(Blocker::new(
                "picks elements of all rows, one row behind the other",
            )),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// The different elements, or slices along an axis. Outputs: those, and as i64 lists: where each occurs first, where each
/// of the input is found in the first output, how often each occurs. Kind `Unique`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The axis, negative ones counted from the end; `None` for the flattened data.
    pub axis: Option<i64>,
    /// In ascending order instead of in order of first occurrence.
    pub sorted: bool,
}

impl Operator for Unique {
    fn kind(&self) -> &'static str {
        "Unique"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let count = Dim::unknown();
        let (shape, all) = match (self.axis, &data.shape) {
            (None, Some(lengths)) => (Some(vec![count.clone()]), Dim::product(lengths)),
            (None, None) => (Some(vec![count.clone()]), Dim::unknown()),
            (Some(axis), Some(lengths)) => {
                let axis = resolve_axis(axis, lengths.len())?;
                let mut shape = lengths.clone();
                let all = std::mem::replace(&mut shape[axis], count.clone());
                (Some(shape), all)
            }
            (Some(_), None) => (None, Dim::unknown()),
        };
        cx.set(0, of_shape(data.dtype, shape));
        cx.set(1, Fact::new(DType::I64, vec![count.clone()]));
        cx.set(2, Fact::new(DType::I64, vec![all]));
        cx.set(3, Fact::new(DType::I64, vec![count]));
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new("compares the elements of all rows"))
    }
}

/// Picks boxes by falling score, leaving out those that overlap a picked one of the same class and image too much. Inputs:
/// `boxes` f32 `[images, n, 4]`, `scores` f32 `[images, classes, n]`, and optionally the scalars
/// `max_output_boxes_per_class` (i64, 0 without it), `iou_threshold` (f32, 0), `score_threshold` (f32, none).
/// Output: i64 `[count, 3]` of (image, class, box). Kind `NonMaxSuppression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonMaxSuppression {
    /// Boxes are (centre x, centre y, width, height) instead of (y1, x1, y2, x2).
    pub center_point_box: bool,
}

impl Operator for NonMaxSuppression {
    fn kind(&self) -> &'static str {
        "NonMaxSuppression"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        for (index, name) in [(0, "boxes"), (1, "scores")] {
            let fact = rules::typed(cx, index, name, &[DType::F32])?;
            if let Some(rank) = fact.rank().filter(|&r| r != 3) {
                return Err(OpError::new(format!(
                    "input {index} ({name}) has {rank} axes; it should have 3"
                )));
            }
        }
        rules::optional(cx, 2, "max_output_boxes_per_class", &[DType::I64])?;
        rules::optional(cx, 3, "iou_threshold", &[DType::F32])?;
        rules::optional(cx, 4, "score_threshold", &[DType::F32])?;
        cx.set(
            0,
            Fact::new(DType::I64, vec![Dim::unknown(), Dim::constant(3)]),
        );
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new(
            "lists the boxes of all rows, one row behind the other",
        ))
    }
}
