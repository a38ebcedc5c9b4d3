//! [`Pad`]: elements before and after the data.

use super::super::common::{MAX_CONTENTS, Parameter, check_shape, resolve_axes};
use super::super::rules::{self, ANY, INDICES, batch_of, batch_shape, of_shape};
use super::super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(2, "Pad", (1, 1), (1, 1), |spec| {
        let pads = spec.attributes.ints("pads")?;
        Ok(Arc::new(Pad {
            mode: mode(spec, false)?,
            pads: Some(pads.ok_or_else(|| OpError::attribute("pads", "is missing"))?),
            value: Some(spec.attributes.float_or("value", 0.0)?),
        }))
    })
    .until(10),
    Definition::since(11, "Pad", (2, 4), (1, 1), |spec| {
        Ok(Arc::new(Pad {
            mode: mode(spec, false)?,
            pads: None,
            value: None,
        }))
    })
    .until(18),
    Definition::since(19, "Pad", (2, 4), (1, 1), |spec| {
        Ok(Arc::new(Pad {
            mode: mode(spec, true)?,
            pads: None,
            value: None,
        }))
    }),
];

fn mode(spec: &mut NodeSpec<'_>, wrap: bool) -> Result<PadMode, OpError> {
    match spec.attributes.string("mode")?.as_deref() {
        None | Some("constant") => Ok(PadMode::Constant),
        Some("reflect") => Ok(PadMode::Reflect),
        Some("edge") => Ok(PadMode::Edge),
        Some("wrap") if wrap => Ok(PadMode::Wrap),
        Some(other) => Err(OpError::attribute(
            "mode",
            format!(
                "is \"{other}\"; supported are constant, reflect, edge{}",
                if wrap { ", wrap" } else { "" }
            ),
        )),
    }
}

/// What stands in the places that [`Pad`] adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// A constant.
    Constant,
    /// The data mirrored at its edge, the edge itself not repeated. Inference refuses more places than the axis has
    /// elements beside the edge.
    Reflect,
    /// The data's edge.
    Edge,
    /// The data from its other end.
    Wrap,
}

/// Adds elements before and after the data along axes; negative amounts take away. Inputs: `data`, and unless the node
/// fixes them, `pads` (a list of i64: all beginnings, then all ends), optionally `value` (a scalar; 0 without it), and
/// optionally the axes that `pads` is about (all without them). Kind `Pad`. See [`Pad::amounts`].
///
/// What negative amounts take away goes first: the other modes mirror, repeat and wrap what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// What stands in the new places.
    pub mode: PadMode,
    /// All beginnings, then all ends, fixed by the node; `None` if they are input 1.
    pub pads: Option<Vec<i64>>,
    /// The constant, where the node fixes it (before opset 11); else it is input 2.
    pub value: Option<f32>,
}

impl Pad {
    /// For each axis of the data, how much is added before and behind it; `inputs` are the node's, contents known.
    ///
    /// # Errors
    /// Amounts that do not fit the axes, or that are not known.
    pub fn amounts(
        &self,
        rank: usize,
        inputs: &[Option<Fact>],
    ) -> Result<Vec<(i64, i64)>, OpError> {
        let unknown = || OpError::new("pads are not known");
        let amounts = self.symbolic_amounts(rank, inputs)?.ok_or_else(unknown)?;
        amounts
            .iter()
            .map(|(b, e)| Some((b.as_const()?, e.as_const()?)))
            .collect::<Option<_>>()
            .ok_or_else(unknown)
    }

    fn symbolic_amounts(
        &self,
        rank: usize,
        inputs: &[Option<Fact>],
    ) -> Result<Option<Vec<(Dim, Dim)>>, OpError> {
        let axes = match self.pads {
            Some(_) => Parameter::Absent,
            None => Parameter::of_input(inputs, 3, "axes")?,
        };
        let axes = match axes {
            Parameter::Absent => (0..rank).collect(),
            known => match known.numbers() {
                Some(axes) => resolve_axes(&axes, rank)?,
                None => return Ok(None),
            },
        };
        let pads = match Parameter::fixed_or_input(self.pads.as_deref(), inputs, 1, "pads")? {
            Parameter::Known(pads) => pads,
            Parameter::Unknown(Some(n)) if n != 2 * axes.len() => return Err(count(n, axes.len())),
            _ => return Ok(None),
        };
        if pads.len() != 2 * axes.len() {
            return Err(count(pads.len(), axes.len()));
        }
        let (before, behind) = pads.split_at(axes.len());
        let zero = Dim::constant(0);
        let mut amounts = vec![(zero.clone(), zero); rank];
        for (axis, (b, e)) in axes.into_iter().zip(before.iter().zip(behind)) {
            amounts[axis] = (b.clone(), e.clone());
        }
        Ok(Some(amounts))
    }

    /// Refuses amounts that the mode has no elements for.
    fn check(&self, axis: usize, length: i64, before: i64, behind: i64) -> Result<(), OpError> {
        let left = length
            .saturating_add(before.min(0))
            .saturating_add(behind.min(0));
        let most = before.max(behind);
        let enough = match self.mode {
            PadMode::Constant => true,
            PadMode::Reflect => most <= 0 || most < left,
            PadMode::Edge | PadMode::Wrap => most <= 0 || left > 0,
        };
        if enough {
            return Ok(());
        }
        Err(OpError::new(format!(
            "cannot add {most} elements to axis {axis} of length {length} in mode {:?}",
            self.mode
        )))
    }
}

fn count(pads: usize, axes: usize) -> OpError {
    OpError::new(format!(
        "pads has {pads} entries; needed are two for each of {axes} axes"
    ))
}

impl Operator for Pad {
    fn kind(&self) -> &'static str {
        "Pad"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        if self.pads.is_none() {
            rules::typed(cx, 1, "pads", INDICES)?;
        }
        if let Some(value) = rules::optional(cx, 2, "value", ANY)?
            && value.dtype != data.dtype
        {
            return Err(OpError::new(format!(
                "input 2 (value) is {}, but the data is {}",
                value.dtype, data.dtype
            )));
        }
        let Some(lengths) = &data.shape else {
            cx.set(0, of_shape(data.dtype, None));
            return Ok(());
        };
        let amounts = self.symbolic_amounts(lengths.len(), cx.inputs())?;
        let shape: Vec<Dim> = match &amounts {
            None => lengths.iter().map(|_| Dim::unknown()).collect(),
            Some(amounts) => {
                let mut shape = Vec::with_capacity(lengths.len());
                for (axis, (length, (before, behind))) in lengths.iter().zip(amounts).enumerate() {
                    if let (Some(n), Some(b), Some(e)) =
                        (length.as_const(), before.as_const(), behind.as_const())
                    {
                        self.check(axis, n, b, e)?;
                    }
                    shape.push(&(length + before) + behind);
                }
                shape
            }
        };
        check_shape(&shape)?;
        let mut fact = of_shape(data.dtype, Some(shape));
        if let (Some(values), Some([n]), Some([(before, behind)]), PadMode::Constant, None) = (
            &data.integers,
            fact.shape.as_deref(),
            amounts.as_deref(),
            self.mode,
            cx.optional(2),
        ) && let (Some(b), Some(e)) = (before.as_len(), behind.as_len())
            && n.as_len().is_some_and(|n| n <= MAX_CONTENTS)
        {
            let zeros = |n| std::iter::repeat_n(Dim::constant(0), n);
            let padded = zeros(b).chain(values.iter().cloned()).chain(zeros(e));
            fact.integers = Some(padded.collect());
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let axis = rules::axis_of_data(cx, &["data", "pads", "value", "axes"])?;
        let rank = batch_shape(cx, 0)?.len();
        let amounts = self
            .symbolic_amounts(rank, cx.input_facts)
            .map_err(|e| Blocker::new(e.to_string()))?
            .ok_or_else(|| Blocker::new("pads by amounts that are not known before it runs"))?;
        for (at, (before, behind)) in amounts.iter().enumerate() {
            let none = before.as_const() == Some(0) && behind.as_const() == Some(0);
            if at == axis && !none {
                return Err(Blocker::new(format!("pads axis {at}, which is the batch")));
            }
            if before.mentions(cx.rows) || behind.mentions(cx.rows) {
                return Err(Blocker::new(format!(
                    "pads axis {at} by an amount that depends on the number of rows"
                )));
            }
        }
        Ok(vec![batch_of(cx, 0).clone()])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 3]
    }
}
