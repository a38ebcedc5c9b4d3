//! Normalisations.
//!
//! The one idea: each of them says over which axes its statistics run. Along the others rows stay apart.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this one | norms with parameters: batch, layer, RMS, instance, group |
//! | [`softmax`] | [`Softmax`] and its relatives |
//! | [`plain`] | norms without parameters: [`LpNormalization`], [`MeanVarianceNormalization`], [`LocalResponseNormalization`] |

pub mod plain;
pub mod softmax;

pub use plain::{LocalResponseNormalization, LpNormalization, MeanVarianceNormalization};
pub use softmax::{Softmax, SoftmaxFunction};

use super::broadcast;
use super::common::resolve_axis;
use super::rules::{self, FLOATS};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// Batch normalisation at inference: `(x - mean) / sqrt(var + epsilon) * scale + bias`, per channel (axis 1). Inputs: `x`,
/// `scale`, `bias`, `mean`, `var`. Kind `BatchNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Layer normalisation over `axis` and all axes behind it: `(x - mean) / sqrt(var + epsilon) * scale + bias`. Inputs: `x`, `scale`,
/// optionally `bias`, both stretched to `x`. Outputs: the result, and optionally the mean and `1 / sqrt(var + epsilon)`, whose
/// normalised axes have length 1. Kind `LayerNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormalization {
    /// The first normalised axis; negative ones count from the end.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// The type of the optional outputs: f32, f64 or bf16. (Statistics are computed in f32, in f64 for f64 inputs.)
    pub stash: DType,
}

/// RMS normalisation over `axis` and all axes behind it: `x / sqrt(mean(x^2) + epsilon) * scale`. Inputs: `x`, `scale`
/// (stretched to `x`, whose type the output has). Kind `RmsNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormalization {
    /// The first normalised axis; negative ones count from the end.
    pub axis: i64,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Normalisation of every channel of every sample over its spatial axes. Inputs: `x` (N x C x spatial), `scale`, `bias` of
/// length C. Kind `InstanceNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

/// Normalisation of groups of channels of every sample. Inputs: `x` (N x C x spatial), `scale`, `bias`. Kind `GroupNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormalization {
    /// Into how many groups the channels are divided.
    pub groups: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// `scale` and `bias` have one value per channel (opset 21) instead of one per group (opset 18).
    pub per_channel: bool,
}

/// Blocks if statistics run over the batch axis; else the batch stays where it is.
fn outside_of(
    cx: &BatchContext<'_>,
    axes: Result<Vec<usize>, OpError>,
    does: &str,
) -> Result<Vec<Batch>, Blocker> {
    let axes = axes.map_err(|e| Blocker::new(e.to_string()))?;
    match rules::batch_of(cx, 0) {
        Batch::Rows { axis, .. } if axes.contains(axis) => {
            Err(Blocker::new(format!("{does} over the batch axis {axis}")))
        }
        batch => Ok(rules::for_all(cx, batch)),
    }
}

/// A number of operations for each element of the first input.
fn per_element(inputs: &[Option<Fact>], each: u64) -> Option<u64> {
    rules::count(&[inputs.first()?.as_ref()?.element_count()?, each])
}

/// The length of axis 1, which a batch or instance norm needs.
fn channels(x: &Fact) -> Result<Dim, OpError> {
    match x.shape.as_deref() {
        None => Ok(Dim::unknown()),
        Some([_, channels, ..]) => Ok(channels.clone()),
        // A batch norm of one axis has a single channel.
        Some([_]) => Ok(Dim::constant(1)),
        Some(shape) => Err(OpError::new(format!(
            "input 0 (x) has shape {shape:?}; needed: samples, channels and perhaps spatial axes"
        ))),
    }
}

impl Operator for BatchNormalization {
    fn kind(&self) -> &'static str {
        "BatchNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        let channels = channels(x)?;
        for (i, name) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "var")] {
            let parameter = rules::typed(cx, i, name, FLOATS)?;
            rules::vector(cx, i, name, parameter.dtype, &channels)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let axis = rules::axis_of_data(cx, &["x", "scale", "bias", "mean", "var"])?;
        if axis == 1 {
            return Err(Blocker::new(
                "has one scale and bias per index of axis 1, which is the batch",
            ));
        }
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    /// Two per element: what is left once scale and bias have absorbed the statistics.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 2)
    }
}

/// The axes from `axis` to the last, as layer norms have them.
fn from_axis(axis: i64, rank: usize) -> Result<Vec<usize>, OpError> {
    Ok((resolve_axis(axis, rank)?..rank).collect())
}

/// Checks that an affine parameter stretches to the input.
fn affine(cx: &InferContext<'_>, index: usize, name: &str, x: &Fact) -> Result<(), OpError> {
    let parameter = rules::optional(cx, index, name, FLOATS)?;
    match (parameter.and_then(|p| p.shape.as_deref()), &x.shape) {
        (Some(from), Some(to)) => {
            broadcast::stretches_to(from, to, &format!("input {index} ({name})"))
        }
        _ => Ok(()),
    }
}

/// The batch rule of layer norms: parameters align with the input, statistics stay clear of the batch.
fn layer_batch(
    cx: &BatchContext<'_>,
    axis: i64,
    names: &[&str],
    does: &str,
) -> Result<Vec<Batch>, Blocker> {
    let rank = rules::batch_shape(cx, 0)?.len();
    rules::axis_of_data(cx, names)?;
    broadcast::batch(cx)?;
    outside_of(cx, from_axis(axis, rank), does)
}

impl LayerNormalization {
    /// The first normalised axis of an input of this rank.
    ///
    /// # Errors
    /// The axis does not exist.
    pub fn resolve_axis(&self, rank: usize) -> Result<usize, OpError> {
        resolve_axis(self.axis, rank)
    }
}

impl Operator for LayerNormalization {
    fn kind(&self) -> &'static str {
        "LayerNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        rules::typed(cx, 1, "scale", &[x.dtype])?;
        rules::optional(cx, 2, "bias", &[x.dtype])?;
        affine(cx, 1, "scale", x)?;
        affine(cx, 2, "bias", x)?;
        let mut statistics = x.shape.clone();
        if let Some(shape) = &mut statistics {
            for axis in from_axis(self.axis, shape.len())? {
                shape[axis] = Dim::constant(1);
            }
        }
        cx.set(0, rules::like(x));
        cx.set(1, rules::of_shape(self.stash, statistics.clone()));
        cx.set(2, rules::of_shape(self.stash, statistics));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        layer_batch(cx, self.axis, &["x", "scale", "bias"], "layer norm runs")
    }

    /// Eight per element: sum, difference, square and sum, scaling, and the affine part, with the square root's share.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 8)
    }
}

impl RmsNormalization {
    /// The first normalised axis of an input of this rank.
    ///
    /// # Errors
    /// The axis does not exist.
    pub fn resolve_axis(&self, rank: usize) -> Result<usize, OpError> {
        resolve_axis(self.axis, rank)
    }
}

impl Operator for RmsNormalization {
    fn kind(&self) -> &'static str {
        "RmsNormalization"
    }

    fn name(&self) -> &'static str {
        "RMSNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        rules::typed(cx, 1, "scale", &[x.dtype])?;
        affine(cx, 1, "scale", x)?;
        if let Some(rank) = x.rank() {
            from_axis(self.axis, rank)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        layer_batch(cx, self.axis, &["x", "scale"], "RMS norm runs")
    }

    /// Four per element: square and sum, scaling, the factor.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 4)
    }
}

impl Operator for InstanceNormalization {
    fn kind(&self) -> &'static str {
        "InstanceNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        if x.rank().is_some_and(|r| r < 3) {
            return Err(OpError::new(
                "input 0 (x) needs samples, channels and at least one spatial axis",
            ));
        }
        let channels = channels(x)?;
        for (i, name) in [(1, "scale"), (2, "bias")] {
            rules::typed(cx, i, name, &[x.dtype])?;
            rules::vector(cx, i, name, x.dtype, &channels)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        sample_axis(cx, "instance norm")
    }

    /// Eight per element, as a layer norm.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 8)
    }
}

/// The batch rule of operators that keep only samples (axis 0) apart.
fn sample_axis(cx: &BatchContext<'_>, what: &str) -> Result<Vec<Batch>, Blocker> {
    match rules::axis_of_data(cx, &["x", "scale", "bias"])? {
        0 => Ok(rules::for_all(cx, rules::batch_of(cx, 0))),
        axis => Err(Blocker::new(format!(
            "{what} keeps axis 0 apart, but the batch is axis {axis}"
        ))),
    }
}

impl Operator for GroupNormalization {
    fn kind(&self) -> &'static str {
        "GroupNormalization"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        let channels = channels(x)?;
        if let Some(c) = channels.as_const()
            && (c % self.groups != 0)
        {
            return Err(OpError::attribute(
                "num_groups",
                format!("is {}, which does not divide {c} channels", self.groups),
            ));
        }
        let length = if self.per_channel {
            channels
        } else {
            Dim::constant(self.groups)
        };
        for (i, name) in [(1, "scale"), (2, "bias")] {
            rules::typed(cx, i, name, &[x.dtype])?;
            rules::vector(cx, i, name, x.dtype, &length)?;
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        sample_axis(cx, "group norm")
    }

    /// Eight per element, as a layer norm.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        per_element(inputs, 8)
    }
}

type Built = Result<Arc<dyn Operator>, OpError>;

fn epsilon(spec: &mut NodeSpec<'_>) -> Result<f32, OpError> {
    spec.attributes.float_or("epsilon", 1e-5)
}

fn batch_norm(spec: &mut NodeSpec<'_>) -> Built {
    let epsilon = epsilon(spec)?;
    // How fast running statistics follow matters in training only.
    spec.attributes.float("momentum")?;
    if spec.opset < 9 && !spec.attributes.flag("spatial", true)? {
        return Err(OpError::attribute(
            "spatial",
            "is 0: one statistic per element instead of per channel is not supported",
        ));
    }
    if spec.opset >= 14 && spec.attributes.flag("training_mode", false)? {
        return Err(OpError::attribute(
            "training_mode",
            "is 1; only inference is supported: export the model in evaluation mode",
        ));
    }
    if spec.output_count > 1 {
        return Err(OpError::new(
            "has outputs for statistics, which only training makes: export the model in evaluation mode",
        ));
    }
    Ok(Arc::new(BatchNormalization { epsilon }))
}

/// The type that `stash_type` names. Statistics are never computed in less than f32.
fn stash(spec: &mut NodeSpec<'_>) -> Result<DType, OpError> {
    match spec.attributes.int_or("stash_type", 1)? {
        1 => Ok(DType::F32),
        11 => Ok(DType::F64),
        16 => Ok(DType::BF16),
        other => Err(OpError::attribute(
            "stash_type",
            format!("should be 1 (f32), 11 (f64) or 16 (bf16) but is {other}"),
        )),
    }
}

fn layer_norm(spec: &mut NodeSpec<'_>) -> Built {
    Ok(Arc::new(LayerNormalization {
        axis: spec.attributes.int_or("axis", -1)?,
        epsilon: epsilon(spec)?,
        stash: stash(spec)?,
    }))
}

fn rms_norm(spec: &mut NodeSpec<'_>) -> Built {
    stash(spec)?;
    Ok(Arc::new(RmsNormalization {
        axis: spec.attributes.int_or("axis", -1)?,
        epsilon: epsilon(spec)?,
    }))
}

fn group_norm(spec: &mut NodeSpec<'_>) -> Built {
    let per_channel = spec.opset >= 21;
    if per_channel {
        stash(spec)?;
    }
    let groups = spec.attributes.int("num_groups")?;
    match groups {
        Some(groups) if groups > 0 => Ok(Arc::new(GroupNormalization {
            groups,
            epsilon: epsilon(spec)?,
            per_channel,
        })),
        Some(n) => Err(OpError::attribute(
            "num_groups",
            format!("should be positive but is {n}"),
        )),
        None => Err(OpError::attribute("num_groups", "is missing")),
    }
}

const fn line(
    name: &'static str,
    since: i64,
    build: fn(&mut NodeSpec<'_>) -> Built,
    inputs: (usize, usize),
    outputs: usize,
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets: (since, i64::MAX),
        build,
        inputs,
        outputs: (1, outputs),
    }
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    line("BatchNormalization", 7, batch_norm, (5, 5), 5),
    line("LayerNormalization", 17, layer_norm, (2, 3), 3),
    line("RMSNormalization", 23, rms_norm, (2, 2), 1),
    line(
        "InstanceNormalization",
        7,
        |s| {
            let epsilon = epsilon(s)?;
            Ok(Arc::new(InstanceNormalization { epsilon }))
        },
        (3, 3),
        1,
    ),
    line("GroupNormalization", 18, group_norm, (3, 3), 1),
];
