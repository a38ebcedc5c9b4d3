//! Softmax, log-softmax and hardmax.
//!
//! The one idea: they share everything but the last step, and the statistics run over one axis, or, before opset 13, over
//! several taken as one.

use super::{Built, line, outside_of, per_element};
use crate::ops::common::resolve_axis;
use crate::ops::rules::{self, FLOATS};
use crate::ops::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

/// Which member of the softmax family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SoftmaxFunction {
    /// `exp(x - max) / sum(exp(x - max))`.
    Softmax,
    /// `x - max - log(sum(exp(x - max)))`.
    LogSoftmax,
    /// 1 at the first largest element, 0 elsewhere.
    Hardmax,
}

/// Softmax, log-softmax or hardmax. Input: `x`, floats. Kind `Softmax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// Which one.
    pub function: SoftmaxFunction,
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// The statistics run over `axis` and all axes behind it taken as one (before opset 13) instead of over `axis` alone.
    pub flatten: bool,
}

impl Softmax {
    /// The axes over which the statistics run, in rising order.
    ///
    /// # Errors
    /// The axis does not exist.
    pub fn resolve_axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        if !self.flatten {
            return Ok(vec![resolve_axis(self.axis, rank)?]);
        }
        // Flattening to two dimensions may also leave everything on the left: then each element is alone.
        if usize::try_from(self.axis) == Ok(rank) {
            return Ok(Vec::new());
        }
        Ok((resolve_axis(self.axis, rank)?..rank).collect())
    }
}

impl Operator for Softmax {
    fn kind(&self) -> &'static str {
        "Softmax"
    }

    fn name(&self) -> &'static str {
        match self.function {
            SoftmaxFunction::Softmax => "Softmax",
            SoftmaxFunction::LogSoftmax => "LogSoftmax",
            SoftmaxFunction::Hardmax => "Hardmax",
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "input", FLOATS)?;
        if let Some(rank) = x.rank() {
            self.resolve_axes(rank)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let rank = rules::batch_shape(cx, 0)?.len();
        let does = match self.function {
            SoftmaxFunction::Softmax => "softmax runs",
            SoftmaxFunction::LogSoftmax => "log-softmax runs",
            SoftmaxFunction::Hardmax => "hardmax runs",
        };
        outside_of(cx, self.resolve_axes(rank), does)
    }

    /// Five per element: maximum, difference, exponential, sum, quotient (or logarithm's difference).
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 5)
    }
}

fn softmax(spec: &mut NodeSpec<'_>, function: SoftmaxFunction) -> Built {
    let flatten = spec.opset < 13;
    let axis = spec
        .attributes
        .int_or("axis", if flatten { 1 } else { -1 })?;
    Ok(Arc::new(Softmax {
        function,
        axis,
        flatten,
    }))
}

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    line(
        "Softmax",
        7,
        |s| softmax(s, SoftmaxFunction::Softmax),
        (1, 1),
        1,
    ),
    line(
        "LogSoftmax",
        7,
        |s| softmax(s, SoftmaxFunction::LogSoftmax),
        (1, 1),
        1,
    ),
    line(
        "Hardmax",
        7,
        |s| softmax(s, SoftmaxFunction::Hardmax),
        (1, 1),
        1,
    ),
];
