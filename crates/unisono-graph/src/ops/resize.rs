//! Interpolation: `Resize` of all opsets, and `Upsample`, which is an old name for it.
//!
//! The one idea: the versions differ in where scales come from and in which coordinates they mean; both are fields here,
//! so a device knows one operator.

use super::rules::{self, FLOATS, NUMBERS_AND_BOOL};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// Which neighbour is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NearestMode {
    /// Halves go down.
    RoundPreferFloor,
    /// Halves go up.
    RoundPreferCeil,
    /// Always down.
    Floor,
    /// Always up.
    Ceil,
}

/// How values between samples are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// The nearest sample.
    Nearest(NearestMode),
    /// Linear along every axis (bilinear, trilinear).
    Linear,
    /// Cubic convolution along every axis.
    Cubic {
        /// Keys' parameter `a`, often -0.75 or -0.5.
        a: f32,
    },
}

/// Where an output index lies in the input. `scale` is output / input, `x` the output's index, `in_len` and `out_len` the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As half-pixel, but centred where `scale * in_len` is not whole:
    /// `in_len / 2 * (1 - out_len / (scale * in_len)) + (x + 0.5) / scale - 0.5`.
    HalfPixelSymmetric,
    /// As half-pixel, but 0 for an output of length 1.
    PytorchHalfPixel,
    /// `x * (in_len - 1) / (out_len - 1)`, 0 for an output of length 1.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// `(x + 0.5) / scale`: TensorFlow's nearest neighbour with half-pixel centres (opset 11 and 12).
    TfHalfPixelForNearest,
    /// Into the region of interest, an input of the node:
    /// `start * (in_len - 1) + x * (end - start) * (in_len - 1) / (out_len - 1)`.
    TfCropAndResize,
}

/// What `sizes` mean where they disagree about the aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AspectRatio {
    /// They are taken as they are.
    Stretch,
    /// One scale for all axes, so that no axis is larger than asked for.
    NotLarger,
    /// One scale for all axes, so that no axis is smaller than asked for.
    NotSmaller,
}

/// Interpolation along some or all axes. Inputs: `x`, and at the positions named by the fields the region of interest (floats, starts then
/// ends), scales (f32) or sizes (i64) per axis. An empty input counts as left out. Kind `Resize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How values between samples are made.
    pub interpolation: Interpolation,
    /// Where an output index lies in the input.
    pub coordinates: Coordinates,
    /// Samples outside of the input weigh nothing, and the others' weights are scaled to sum to 1 (cubic only), instead
    /// of the edge being repeated.
    pub exclude_outside: bool,
    /// What is outside of the input for [`Coordinates::TfCropAndResize`].
    pub extrapolation_value: f32,
    /// When shrinking, the filter is stretched by the scale (linear and cubic).
    pub antialias: bool,
    /// Which axes the region, scales and sizes speak of; `None` for all.
    pub axes: Option<Vec<i64>>,
    /// What sizes mean where they disagree about the aspect ratio.
    pub aspect_ratio: AspectRatio,
    /// Scales fixed by the node (`Upsample` before opset 9).
    pub scales: Option<Vec<f32>>,
    /// Which input holds the region of interest.
    pub roi_input: Option<usize>,
    /// Which input holds the scales.
    pub scales_input: Option<usize>,
    /// Which input holds the sizes.
    pub sizes_input: Option<usize>,
}

impl Default for Resize {
    /// The defaults of `Resize` since opset 13: the nearest sample, half-pixel centres; region, scales and sizes are inputs 1 to 3.
    fn default() -> Resize {
        Resize {
            interpolation: Interpolation::Nearest(NearestMode::RoundPreferFloor),
            coordinates: Coordinates::HalfPixel,
            exclude_outside: false,
            extrapolation_value: 0.0,
            antialias: false,
            axes: None,
            aspect_ratio: AspectRatio::Stretch,
            scales: None,
            roi_input: Some(1),
            scales_input: Some(2),
            sizes_input: Some(3),
        }
    }
}

impl Resize {
    /// The axes of which region, scales and sizes speak, in the order of their entries.
    ///
    /// # Errors
    /// An axis does not exist or is there twice.
    pub fn resolve_axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        match &self.axes {
            None => Ok((0..rank).collect()),
            Some(axes) => super::common::resolve_axes(axes, rank),
        }
    }

    /// A parameter's fact: `None` if it is left out, or empty, which counts as left out.
    fn parameter(facts: &[Option<Fact>], index: Option<usize>) -> Option<&Fact> {
        let fact = facts.get(index?)?.as_ref()?;
        let is_empty = matches!(fact.shape.as_deref(), Some([n]) if *n == Dim::constant(0));
        (!is_empty).then_some(fact)
    }

    /// What is known of how each axis is scaled.
    fn scaling(&self, facts: &[Option<Fact>]) -> Scaling {
        if let Some(scales) = &self.scales {
            return Scaling::Scales(scales.clone());
        }
        if let Some(sizes) = Resize::parameter(facts, self.sizes_input) {
            return match &sizes.integers {
                Some(sizes) => Scaling::Sizes(sizes.clone()),
                None => Scaling::Unknown,
            };
        }
        match Resize::parameter(facts, self.scales_input) {
            None => Scaling::Missing,
            Some(scales) => match scales.constant.as_ref().and_then(|t| t.to_f64s()) {
                Some(values) => Scaling::Scales(values.iter().map(|&v| v as f32).collect()),
                None => Scaling::Unknown,
            },
        }
    }

    fn output(&self, facts: &[Option<Fact>], from: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let axes = self.resolve_axes(from.len())?;
        let scaling = self.scaling(facts);
        let given = match &scaling {
            Scaling::Scales(s) => Some(s.len()),
            Scaling::Sizes(s) => Some(s.len()),
            Scaling::Unknown => None,
            Scaling::Missing => return Err(OpError::new("has neither scales nor sizes")),
        };
        if given.is_some_and(|n| n != axes.len()) {
            return Err(OpError::new(format!(
                "has {} scales or sizes for {} axes",
                given.unwrap_or(0),
                axes.len()
            )));
        }
        let mut to = from.to_vec();
        match scaling {
            Scaling::Sizes(sizes) if self.aspect_ratio == AspectRatio::Stretch => {
                for (&axis, size) in axes.iter().zip(sizes) {
                    if size.as_const().is_some_and(|n| n < 0) {
                        return Err(OpError::new(format!(
                            "size {size} of axis {axis} is negative"
                        )));
                    }
                    to[axis] = size;
                }
            }
            Scaling::Sizes(sizes) => {
                let common = common_scale(self.aspect_ratio, from, &axes, &sizes);
                for &axis in &axes {
                    to[axis] = match (common, from[axis].as_const()) {
                        // Halves go up.
                        (Some(scale), Some(n)) => {
                            Dim::constant((scale * n as f32 + 0.5).floor() as i64)
                        }
                        _ => Dim::unknown(),
                    };
                }
            }
            Scaling::Scales(scales) => {
                let region = self.region(facts, axes.len());
                for (i, (&axis, scale)) in axes.iter().zip(scales).enumerate() {
                    if !(scale > 0.0 && scale.is_finite()) {
                        return Err(OpError::new(format!(
                            "scale {scale} of axis {axis} is not a positive number"
                        )));
                    }
                    to[axis] = match region {
                        Region::Whole => scaled(&from[axis], scale),
                        Region::Known(ref bounds) => {
                            scaled(&from[axis], scale * (bounds[axes.len() + i] - bounds[i]))
                        }
                        Region::Unknown => Dim::unknown(),
                    };
                }
            }
            Scaling::Unknown | Scaling::Missing => {
                for &axis in &axes {
                    to[axis] = Dim::unknown();
                }
            }
        }
        Ok(to)
    }

    fn region(&self, facts: &[Option<Fact>], axes: usize) -> Region {
        if self.coordinates != Coordinates::TfCropAndResize {
            return Region::Whole;
        }
        let known = Resize::parameter(facts, self.roi_input)
            .and_then(|fact| fact.constant.as_ref()?.to_f64s())
            .map(|v| v.iter().map(|&x| x as f32).collect::<Vec<_>>());
        match known {
            Some(bounds) if bounds.len() == 2 * axes => Region::Known(bounds),
            _ => Region::Unknown,
        }
    }
}

enum Scaling {
    Scales(Vec<f32>),
    Sizes(Vec<Dim>),
    Unknown,
    Missing,
}

enum Region {
    Whole,
    Known(Vec<f32>),
    Unknown,
}

/// `floor(length * scale)`, in f32 as onnxruntime computes it: 3 times the f32 nearest to 5/3 is 5, not 4.
fn scaled(length: &Dim, scale: f32) -> Dim {
    if let Some(n) = length.as_const() {
        return Dim::constant((n as f32 * scale).floor() as i64);
    }
    if scale == 1.0 {
        length.clone()
    } else if scale >= 1.0 && scale.fract() == 0.0 && scale < 1e6 {
        length * &Dim::constant(scale as i64)
    } else if (1.0 / scale).fract() == 0.0 && scale.log2().fract() == 0.0 && scale > 1e-6 {
        // A power of two divides without rounding.
        length.floor_div(&Dim::constant((1.0 / scale) as i64))
    } else {
        Dim::unknown()
    }
}

/// The one scale that keeps the aspect ratio.
fn common_scale(policy: AspectRatio, from: &[Dim], axes: &[usize], sizes: &[Dim]) -> Option<f32> {
    let mut scales = Vec::new();
    for (&axis, size) in axes.iter().zip(sizes) {
        scales.push(size.as_const()? as f32 / from[axis].as_const().filter(|&n| n > 0)? as f32);
    }
    let pick = match policy {
        AspectRatio::NotSmaller => f32::max,
        AspectRatio::NotLarger | AspectRatio::Stretch => f32::min,
    };
    scales.into_iter().reduce(pick)
}

impl Operator for Resize {
    fn kind(&self) -> &'static str {
        "Resize"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let allowed = match self.interpolation {
            Interpolation::Nearest(_) => NUMBERS_AND_BOOL,
            _ => RESAMPLED,
        };
        let x = rules::typed(cx, 0, "x", allowed)?;
        for (index, name, types) in [
            (self.roi_input, "roi", FLOATS),
            (self.scales_input, "scales", &[DType::F32]),
            (self.sizes_input, "sizes", &[DType::I64]),
        ] {
            if let Some(index) = index {
                rules::optional(cx, index, name, types)?;
            }
        }
        let shape = match &x.shape {
            Some(from) => Some(self.output(cx.inputs(), from)?),
            None => None,
        };
        cx.set(0, rules::of_shape(x.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let Batch::Rows { axis, .. } = rules::batch_of(cx, 0) else {
            return Err(Blocker::new("has sizes or scales that depend on the batch"));
        };
        let from = rules::batch_shape(cx, 0)?;
        let axes = self
            .resolve_axes(from.len())
            .map_err(|e| Blocker::new(e.to_string()))?;
        let untouched = match axes.iter().position(|a| a == axis) {
            None => true,
            // A region of interest moves the coordinates even where the length stays.
            Some(_) if self.coordinates == Coordinates::TfCropAndResize => false,
            Some(i) => match self.scaling(cx.input_facts) {
                Scaling::Scales(scales) => scales.get(i) == Some(&1.0),
                Scaling::Sizes(sizes) => {
                    self.aspect_ratio == AspectRatio::Stretch
                        && sizes.get(i).is_some_and(|n| *n == from[*axis])
                }
                Scaling::Unknown | Scaling::Missing => false,
            },
        };
        if !untouched {
            return Err(Blocker::new(format!(
                "interpolates along the batch axis {axis}"
            )));
        }
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    /// Per element nothing for the nearest sample, two per sample and axis otherwise (2 or 4 samples, on every axis that changes).
    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let samples: u64 = match self.interpolation {
            Interpolation::Nearest(_) => return Some(0),
            Interpolation::Linear => 2,
            Interpolation::Cubic { .. } => 4,
        };
        let from = inputs.first()?.as_ref()?.concrete_shape()?;
        let to = outputs.first()?.as_ref()?.concrete_shape()?;
        let changed = from.iter().zip(&to).filter(|(a, b)| a != b).count();
        let taps = samples.checked_pow(u32::try_from(changed).ok()?)?;
        let elements = outputs.first()?.as_ref()?.element_count()?;
        rules::count(&[elements, taps, 2])
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }
}

/// Types that can be interpolated.
const RESAMPLED: &[DType] = &[
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::U8,
    DType::I8,
    DType::I32,
];

type Built = Result<Arc<dyn Operator>, OpError>;

fn wrong(attribute: &str, allowed: &str, found: &str) -> OpError {
    OpError::attribute(
        attribute,
        format!("should be one of {allowed} but is \"{found}\""),
    )
}

/// `Upsample`, and `Resize` of opset 10, which is the same with another name: corner-aligned grids without an offset.
fn old(spec: &mut NodeSpec<'_>) -> Built {
    let interpolation = match spec.attributes.string("mode")?.as_deref() {
        None | Some("nearest") => Interpolation::Nearest(NearestMode::Floor),
        Some("linear" | "bilinear") => Interpolation::Linear,
        Some(other) => return Err(wrong("mode", "nearest, linear", other)),
    };
    let by_attribute = spec.opset < 9;
    let scales = spec.attributes.floats("scales")?;
    if by_attribute == scales.is_none() {
        let what = if by_attribute {
            "is missing"
        } else {
            "is an input since opset 9"
        };
        return Err(OpError::attribute("scales", what));
    }
    Ok(Arc::new(Resize {
        interpolation,
        coordinates: Coordinates::Asymmetric,
        scales,
        roi_input: None,
        scales_input: (!by_attribute).then_some(1),
        sizes_input: None,
        ..Resize::default()
    }))
}

fn resize(spec: &mut NodeSpec<'_>) -> Built {
    let attributes = &mut *spec.attributes;
    let nearest = match attributes.string("nearest_mode")?.as_deref() {
        None | Some("round_prefer_floor" | "") => NearestMode::RoundPreferFloor,
        Some("round_prefer_ceil") => NearestMode::RoundPreferCeil,
        Some("floor") => NearestMode::Floor,
        Some("ceil") => NearestMode::Ceil,
        Some(other) => {
            return Err(wrong(
                "nearest_mode",
                "round_prefer_floor, round_prefer_ceil, floor, ceil",
                other,
            ));
        }
    };
    let a = attributes.float_or("cubic_coeff_a", -0.75)?;
    let interpolation = match attributes.string("mode")?.as_deref() {
        None | Some("nearest") => Interpolation::Nearest(nearest),
        Some("linear") => Interpolation::Linear,
        Some("cubic") => Interpolation::Cubic { a },
        Some(other) => return Err(wrong("mode", "nearest, linear, cubic", other)),
    };
    let mode = attributes.string("coordinate_transformation_mode")?;
    let coordinates = match mode.as_deref() {
        None | Some("half_pixel") => Coordinates::HalfPixel,
        Some("half_pixel_symmetric") => Coordinates::HalfPixelSymmetric,
        Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
        Some("align_corners") => Coordinates::AlignCorners,
        Some("asymmetric") => Coordinates::Asymmetric,
        Some("tf_half_pixel_for_nn") => Coordinates::TfHalfPixelForNearest,
        Some("tf_crop_and_resize") => Coordinates::TfCropAndResize,
        Some(other) => {
            return Err(wrong(
                "coordinate_transformation_mode",
                "half_pixel, half_pixel_symmetric, pytorch_half_pixel, align_corners, asymmetric, tf_half_pixel_for_nn, tf_crop_and_resize",
                other,
            ));
        }
    };
    let mut op = Resize {
        interpolation,
        coordinates,
        exclude_outside: attributes.flag("exclude_outside", false)?,
        extrapolation_value: attributes.float_or("extrapolation_value", 0.0)?,
        ..Resize::default()
    };
    if spec.opset >= 18 {
        op.antialias = attributes.flag("antialias", false)?;
        op.axes = attributes.ints("axes")?;
        op.aspect_ratio = match attributes.string("keep_aspect_ratio_policy")?.as_deref() {
            None | Some("stretch") => AspectRatio::Stretch,
            Some("not_larger") => AspectRatio::NotLarger,
            Some("not_smaller") => AspectRatio::NotSmaller,
            Some(other) => {
                return Err(wrong(
                    "keep_aspect_ratio_policy",
                    "stretch, not_larger, not_smaller",
                    other,
                ));
            }
        };
    }
    Ok(Arc::new(op))
}

const fn line(
    name: &'static str,
    opsets: (i64, i64),
    build: fn(&mut NodeSpec<'_>) -> Built,
    inputs: (usize, usize),
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets,
        build,
        inputs,
        outputs: (1, 1),
    }
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    line("Upsample", (7, 8), old, (1, 1)),
    // Deprecated from opset 10 on, yet written by exporters and understood by everybody.
    line("Upsample", (9, i64::MAX), old, (2, 2)),
    line("Resize", (10, 10), old, (2, 2)),
    line("Resize", (11, i64::MAX), resize, (1, 4)),
];
