//! Conversions between floats and 8- or 16-bit integers by scale and zero point.
//!
//! The one idea: scale and zero point are one for all, one per index of an axis, or one per block along an axis. Which
//! of the three follows from the scale's shape and `block_size`.

use super::cast::dtype_attribute;
use super::common::resolve_axis;
use super::rules;
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// `saturate(round_ties_even(x / scale) + zero_point)`. Inputs: `x` (float or i32), `scale`, optionally the zero point, of the scale's shape,
/// whose type the output has. Kind `QuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// The axis of the scale, if it is not a scalar; negative ones count from the end.
    pub axis: i64,
    /// Elements along the axis that share a scale, for block quantisation; 0 for none.
    pub block_size: usize,
    /// The type of the output where there is no zero point to say it.
    pub output: DType,
}

/// `(x - zero_point) * scale`. Inputs: `x` (8- or 16-bit integers, or i32), `scale`, optionally the zero point, of `x`'s type and the scale's shape.
/// Kind `DequantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// The axis of the scale, if it is not a scalar; negative ones count from the end.
    pub axis: i64,
    /// Elements along the axis that share a scale, for block quantisation; 0 for none.
    pub block_size: usize,
    /// The type of the output; `None` for the scale's.
    pub output: Option<DType>,
}

/// Quantisation to u8 by the smallest and largest element. Input: `x`, f32. Outputs: u8 like `x`, the scale
/// `(max(x, 0) - min(x, 0)) / 255`, the zero point `saturate(round_ties_even(-min(x, 0) / scale))`. Kind `DynamicQuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicQuantizeLinear;

const QUANTIZED: &[DType] = &[DType::U8, DType::I8, DType::U16, DType::I16];
const DEQUANTIZED: &[DType] = &[DType::U8, DType::I8, DType::U16, DType::I16, DType::I32];
const REAL: &[DType] = &[DType::F32, DType::F16, DType::BF16, DType::I32];
const SCALES: &[DType] = &[DType::F32, DType::F16, DType::BF16];

/// How a scale applies to elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// One for all.
    Tensor,
    /// One per index of this axis.
    Axis(usize),
    /// One per so many consecutive indices of this axis, and per index of all others.
    Blocks {
        /// The axis.
        axis: usize,
        /// Elements that share a scale.
        size: usize,
    },
}

/// Which of the three a scale is.
///
/// # Errors
/// The axis does not exist, or the scale's rank fits none of them.
pub fn granularity(
    scale_rank: usize,
    scale_length: Option<usize>,
    rank: usize,
    axis: i64,
    block_size: usize,
) -> Result<Granularity, OpError> {
    if block_size > 0 {
        if scale_rank != rank {
            return Err(OpError::new(format!(
                "input 1 (scale) has {scale_rank} axes; block quantisation needs {rank}, as the data"
            )));
        }
        return Ok(Granularity::Blocks {
            axis: resolve_axis(axis, rank)?,
            size: block_size,
        });
    }
    match (scale_rank, scale_length) {
        (0, _) => Ok(Granularity::Tensor),
        // A list of one means the same as a scalar.
        (1, Some(1)) => Ok(Granularity::Tensor),
        (1, _) => Ok(Granularity::Axis(resolve_axis(axis, rank)?)),
        _ => Err(OpError::new(format!(
            "input 1 (scale) has {scale_rank} axes; needed: a scalar, or one axis"
        ))),
    }
}

/// Reads the granularity off facts and checks lengths; `None` where ranks are not known.
fn check(
    x: &Fact,
    scale: &Fact,
    zero_point: Option<&Fact>,
    axis: i64,
    block_size: usize,
) -> Result<Option<Granularity>, OpError> {
    let (Some(shape), Some(scales)) = (&x.shape, &scale.shape) else {
        return Ok(None);
    };
    let length = scales.first().and_then(Dim::as_len);
    let found = granularity(scales.len(), length, shape.len(), axis, block_size)?;
    let bad = |needed: &Dim, axis: usize| {
        OpError::new(format!(
            "input 1 (scale) has shape {scales:?}; needed: {needed} along axis {axis} of {shape:?}"
        ))
    };
    match found {
        Granularity::Tensor => {}
        Granularity::Axis(axis) if scales[0].equals(&shape[axis]) == Some(false) => {
            return Err(bad(&shape[axis], axis));
        }
        Granularity::Axis(_) => {}
        Granularity::Blocks { axis, size } => {
            for (i, (scale, length)) in scales.iter().zip(shape).enumerate() {
                let needed = if i == axis {
                    length.ceil_div(&Dim::from(size))
                } else {
                    length.clone()
                };
                if scale.equals(&needed) == Some(false) {
                    return Err(bad(&needed, i));
                }
            }
        }
    }
    if let Some(zero) = zero_point.and_then(|z| z.shape.as_ref()) {
        let alike = zero.len() == scales.len()
            && zero
                .iter()
                .zip(scales)
                .all(|(a, b)| a.equals(b) != Some(false));
        // A scalar beside a list of one, either way round, is common.
        let single = |s: &[Dim]| s.iter().all(|n| *n == Dim::constant(1));
        if !(alike || single(zero) && single(scales)) {
            return Err(OpError::new(format!(
                "input 2 (zero_point) has shape {zero:?}; needed: {scales:?}, as the scale"
            )));
        }
    }
    Ok(Some(found))
}

fn batch(cx: &BatchContext<'_>, axis: i64, block_size: usize) -> Result<Vec<Batch>, Blocker> {
    let at = rules::axis_of_data(cx, &["x", "scale", "zero_point"])?;
    let (Some(Some(x)), Some(Some(scale))) = (cx.input_facts.first(), cx.input_facts.get(1)) else {
        return Err(Blocker::new("has a scale of unknown shape"));
    };
    match check(x, scale, None, axis, block_size) {
        Ok(Some(Granularity::Tensor)) => {}
        Ok(Some(Granularity::Axis(own))) if own != at => {}
        Ok(Some(Granularity::Axis(_))) => {
            return Err(Blocker::new(format!(
                "has one scale per index of axis {at}, which is the batch"
            )));
        }
        // Every index of every axis has scales of its own, the batch's among them.
        Ok(Some(Granularity::Blocks { .. })) => {
            return Err(Blocker::new("has scales for each row of the batch"));
        }
        Ok(None) => return Err(Blocker::new("has a scale of unknown shape")),
        Err(e) => return Err(Blocker::new(e.to_string())),
    }
    Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
}

impl Operator for QuantizeLinear {
    fn kind(&self) -> &'static str {
        "QuantizeLinear"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", REAL)?;
        let scale = rules::typed(cx, 1, "scale", REAL)?;
        let zero_point = rules::optional(cx, 2, "zero_point", QUANTIZED)?;
        check(x, scale, zero_point, self.axis, self.block_size)?;
        let dtype = zero_point.map_or(self.output, |z| z.dtype);
        cx.set(0, rules::of_shape(dtype, x.shape.clone()));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        batch(cx, self.axis, self.block_size)
    }

    /// Two per element.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        rules::count(&[inputs.first()?.as_ref()?.element_count()?, 2])
    }
}

impl Operator for DequantizeLinear {
    fn kind(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", DEQUANTIZED)?;
        let scale = rules::typed(cx, 1, "scale", SCALES)?;
        let zero_point = rules::optional(cx, 2, "zero_point", &[x.dtype])?;
        check(x, scale, zero_point, self.axis, self.block_size)?;
        let dtype = self.output.unwrap_or(scale.dtype);
        cx.set(0, rules::of_shape(dtype, x.shape.clone()));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        batch(cx, self.axis, self.block_size)
    }

    /// Two per element.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        rules::count(&[inputs.first()?.as_ref()?.element_count()?, 2])
    }
}

impl Operator for DynamicQuantizeLinear {
    fn kind(&self) -> &'static str {
        "DynamicQuantizeLinear"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", &[DType::F32])?;
        cx.set(0, rules::of_shape(DType::U8, x.shape.clone()));
        cx.set(1, Fact::new(DType::F32, Vec::new()));
        cx.set(2, Fact::new(DType::U8, Vec::new()));
        Ok(())
    }

    fn batch(&self, _cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new(
            "takes the smallest and largest value over the whole batch",
        ))
    }

    /// Four per element: two comparisons, quotient, sum.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        rules::count(&[inputs.first()?.as_ref()?.element_count()?, 4])
    }
}

type Built = Result<Arc<dyn Operator>, OpError>;

fn axis(spec: &mut NodeSpec<'_>) -> Result<i64, OpError> {
    if spec.opset < 13 {
        return Ok(1);
    }
    spec.attributes.int_or("axis", 1)
}

fn block_size(spec: &mut NodeSpec<'_>) -> Result<usize, OpError> {
    if spec.opset < 21 {
        return Ok(0);
    }
    let size = spec.attributes.int_or("block_size", 0)?;
    usize::try_from(size).map_err(|_| {
        OpError::attribute(
            "block_size",
            format!("should not be negative but is {size}"),
        )
    })
}

/// `output_dtype`, where 0 means that it is not given.
fn output(
    spec: &mut NodeSpec<'_>,
    since: i64,
    allowed: &[DType],
) -> Result<Option<DType>, OpError> {
    if spec.opset < since {
        return Ok(None);
    }
    let code = spec.attributes.int_or("output_dtype", 0)?;
    if code == 0 {
        return Ok(None);
    }
    let dtype = dtype_attribute("output_dtype", code)?;
    if allowed.contains(&dtype) {
        return Ok(Some(dtype));
    }
    Err(OpError::attribute(
        "output_dtype",
        format!("is {dtype}, which is not supported here"),
    ))
}

fn quantize(spec: &mut NodeSpec<'_>) -> Built {
    let (axis, block_size) = (axis(spec)?, block_size(spec)?);
    if spec.opset >= 19 {
        // About 8-bit floats only, which are refused where they appear.
        spec.attributes.int("saturate")?;
    }
    if spec.opset >= 23 {
        // In which precision x / scale is divided; 0 (as the scale) and f32 are the same here.
        match spec.attributes.int_or("precision", 0)? {
            0 | 1 => {}
            other => {
                return Err(OpError::attribute(
                    "precision",
                    format!("should be 0 or 1 (f32) but is {other}"),
                ));
            }
        }
    }
    let output = output(spec, 21, QUANTIZED)?.unwrap_or(DType::U8);
    Ok(Arc::new(QuantizeLinear {
        axis,
        block_size,
        output,
    }))
}

fn dequantize(spec: &mut NodeSpec<'_>) -> Built {
    Ok(Arc::new(DequantizeLinear {
        axis: axis(spec)?,
        block_size: block_size(spec)?,
        output: output(spec, 23, SCALES)?,
    }))
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
    line("QuantizeLinear", 10, quantize, (2, 3), 1),
    line("DequantizeLinear", 10, dequantize, (2, 3), 1),
    line(
        "DynamicQuantizeLinear",
        11,
        |_| Ok(Arc::new(DynamicQuantizeLinear)),
        (1, 1),
        3,
    ),
];
