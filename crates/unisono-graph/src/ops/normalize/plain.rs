//! Norms without parameters.
//!
//! The one idea: nothing but the input decides, so the batch rule is about axes alone.

use super::{Built, line, outside_of, per_element};
use crate::ops::common::resolve_axis;
use crate::ops::rules::{self, FLOATS};
use crate::ops::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

/// Division by the L1 or L2 norm along an axis. A zero norm gives zeros. Input: `x`, floats. Kind `LpNormalization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LpNormalization {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// 1 or 2.
    pub p: u8,
}

/// `(x - mean) / (sqrt(mean(x^2) - mean^2) + 1e-9)` over the axes, with the variance computed in two passes. Input: `x`.
/// Kind `MeanVarianceNormalization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanVarianceNormalization {
    /// The axes; negative ones count from the end.
    pub axes: Vec<i64>,
}

/// Local response normalisation across channels (axis 1): `x / (bias + alpha / size * s)^beta`, where `s` sums the squares
/// of channels `c - floor((size - 1) / 2)` to `c + ceil((size - 1) / 2)` inclusive. Input: `x`. Kind `LocalResponseNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalResponseNormalization {
    /// The factor of the mean square.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// The summand.
    pub bias: f32,
    /// How many channels are summed.
    pub size: usize,
}

impl Operator for LpNormalization {
    fn kind(&self) -> &'static str {
        "LpNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "input", FLOATS)?;
        if let Some(rank) = x.rank() {
            resolve_axis(self.axis, rank)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let rank = rules::batch_shape(cx, 0)?.len();
        let axes = resolve_axis(self.axis, rank).map(|a| vec![a]);
        outside_of(cx, axes, "the norm runs")
    }

    /// Three per element: square or magnitude, sum, quotient.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 3)
    }
}

impl Operator for MeanVarianceNormalization {
    fn kind(&self) -> &'static str {
        "MeanVarianceNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        if let Some(rank) = x.rank() {
            rules::sorted_axes(&self.axes, rank)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let rank = rules::batch_shape(cx, 0)?.len();
        outside_of(
            cx,
            rules::sorted_axes(&self.axes, rank),
            "mean and variance run",
        )
    }

    /// Six per element: sum, difference, square and sum, scaling.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 6)
    }
}

impl Operator for LocalResponseNormalization {
    fn kind(&self) -> &'static str {
        "LocalResponseNormalization"
    }

    fn name(&self) -> &'static str {
        "LRN"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        if x.rank().is_some_and(|r| r < 2) {
            return Err(OpError::new("input 0 (x) needs samples and channels"));
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        outside_of(cx, Ok(vec![1]), "local response normalisation sums")
    }

    /// Two per summed square, and four for the factor, power and quotient.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        let each = u64::try_from(self.size).ok()?.checked_mul(2)?;
        per_element(inputs, each.checked_add(4)?)
    }
}

fn lp_norm(spec: &mut NodeSpec<'_>) -> Built {
    let axis = spec.attributes.int_or("axis", -1)?;
    match spec.attributes.int_or("p", 2)? {
        1 => Ok(Arc::new(LpNormalization { axis, p: 1 })),
        2 => Ok(Arc::new(LpNormalization { axis, p: 2 })),
        p => Err(OpError::attribute(
            "p",
            format!("should be 1 or 2 but is {p}"),
        )),
    }
}

fn mean_variance_norm(spec: &mut NodeSpec<'_>) -> Built {
    let axes = spec.attributes.ints("axes")?;
    Ok(Arc::new(MeanVarianceNormalization {
        axes: axes.unwrap_or_else(|| vec![0, 2, 3]),
    }))
}

fn local_response_norm(spec: &mut NodeSpec<'_>) -> Built {
    let size = spec.attributes.int("size")?;
    let size = size.ok_or_else(|| OpError::attribute("size", "is missing"))?;
    let positive = usize::try_from(size).ok().filter(|&n| n > 0);
    Ok(Arc::new(LocalResponseNormalization {
        alpha: spec.attributes.float_or("alpha", 1e-4)?,
        beta: spec.attributes.float_or("beta", 0.75)?,
        bias: spec.attributes.float_or("bias", 1.0)?,
        size: positive.ok_or_else(|| {
            OpError::attribute("size", format!("should be positive but is {size}"))
        })?,
    }))
}

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    line("LpNormalization", 7, lp_norm, (1, 1), 1),
    line(
        "MeanVarianceNormalization",
        9,
        mean_variance_norm,
        (1, 1),
        1,
    ),
    line("LRN", 7, local_response_norm, (1, 1), 1),
];
