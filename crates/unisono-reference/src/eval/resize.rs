//! Interpolation along axes.
//!
//! The definition, the same for every device: the coordinate of an output index, and from it the weights of its samples along one axis, are
//! computed in f64 from scales that are exact there; each weight is rounded once to the type of the computation. A value is a chain of fused
//! multiply-adds from +0 over the samples of the first axis in rising position, of values that are such chains over the next axis, and so on.
//! An axis with a single sample of weight 1 passes its value on as it is.

use super::conv::turn;
use super::element::{Float, with_float, with_size};
use super::io::{Indices, Io, axis, concrete, ensure};
use super::movement::same_type;
use super::{Dims, EvalError};
use crate::arith::Real;
use smallvec::SmallVec;
use unisono_graph::Operator;
use unisono_graph::ops::resize::{AspectRatio, Coordinates, Interpolation, NearestMode, Resize};
use unisono_tensor::TensorRef;

/// How one axis is resampled.
#[derive(Clone, Copy, Debug)]
pub struct ResizeAxis {
    input: usize,
    output: usize,
    scale: f64,
    /// The region of interest, as fractions of the axis.
    region: (f64, f64),
    /// Output indices are input indices.
    is_copy: bool,
}

/// Samples along one axis: position and weight, in rising position. A single sample of weight 1 is passed on as it is.
pub type ResizeTaps = SmallVec<[(usize, f64); 4]>;

/// The inputs that say how an interpolation scales its axes, where they are there and not empty.
#[derive(Clone, Copy, Default)]
pub struct ResizeParameters<'a> {
    /// The region of interest: starts, then ends.
    pub region: Option<TensorRef<'a>>,
    /// Output over input lengths.
    pub scales: Option<TensorRef<'a>>,
    /// Output lengths. Where neither these nor scales are given, the shapes say the same, unless the aspect ratio is kept.
    pub sizes: Option<TensorRef<'a>>,
}

/// How many output indices of the last axis are prepared at a time, on the stack.
const BLOCK: usize = 32;

impl ResizeAxis {
    /// Where output index `x` lies in the input; `None` outside of the input, where that has a value of its own.
    fn coordinate(&self, x: usize, coordinates: Coordinates) -> Option<f64> {
        let (x, input, output) = (x as f64, self.input as f64, self.output as f64);
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        Some(match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                input / 2.0 * (1.0 - output / (self.scale * input)) + half_pixel
            }
            Coordinates::PytorchHalfPixel if self.output == 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if self.output == 1 => 0.0,
            Coordinates::AlignCorners => x * (input - 1.0) / (output - 1.0),
            Coordinates::Asymmetric => x / self.scale,
            Coordinates::TfHalfPixelForNearest => (x + 0.5) / self.scale,
            Coordinates::TfCropAndResize => {
                let (start, end) = self.region;
                let at = if self.output == 1 {
                    0.5 * (start + end) * (input - 1.0)
                } else {
                    start * (input - 1.0) + x * (end - start) * (input - 1.0) / (output - 1.0)
                };
                if !(0.0..=input - 1.0).contains(&at) {
                    return None;
                }
                at
            }
        })
    }

    fn inside(&self, position: f64) -> usize {
        // Saturates; NaN becomes 0.
        (position.max(0.0) as usize).min(self.input - 1)
    }

    fn nearest(&self, at: f64, mode: NearestMode) -> usize {
        self.inside(match mode {
            NearestMode::RoundPreferFloor => (at - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (at + 0.5).floor(),
            NearestMode::Floor => at.floor(),
            NearestMode::Ceil => at.ceil(),
        })
    }

    /// The samples of output index `x`; `None` outside of the input, where that has a value of its own.
    ///
    /// # Panics
    /// If the input has no samples along this axis.
    pub fn taps(&self, op: &Resize, x: usize) -> Option<ResizeTaps> {
        let mut taps = ResizeTaps::new();
        if self.is_copy {
            taps.push((x.min(self.input - 1), 1.0));
            return Some(taps);
        }
        let at = self.coordinate(x, op.coordinates)?;
        // How far the filter reaches, and its value at a distance.
        let reach = match op.interpolation {
            Interpolation::Nearest(mode) => {
                taps.push((self.nearest(at, mode), 1.0));
                return Some(taps);
            }
            Interpolation::Linear => 1.0,
            Interpolation::Cubic { .. } => 2.0,
        };
        let shrink = if op.antialias {
            self.scale.min(1.0)
        } else {
            1.0
        };
        let last = (self.input - 1) as f64;
        let is_linear = reach == 1.0;
        let radius = reach / shrink;
        // A plain linear filter holds the edge; others weigh repeated edge samples, and beyond their reach all are the edge.
        let margin = if is_linear && shrink == 1.0 && !op.exclude_outside {
            0.0
        } else {
            radius + 1.0
        };
        let at = at.max(-margin).min(last + margin);
        let weight = |p: f64| {
            let d = ((p - at) * shrink).abs();
            match op.interpolation {
                Interpolation::Cubic { a } => keys(d, f64::from(a)),
                _ => (1.0 - d).clamp(0.0, 1.0),
            }
        };
        let (mut p, end) = ((at - radius).ceil(), (at + radius).floor());
        let mut total = 0.0;
        while p <= end {
            let w = weight(p);
            let is_outside = !(0.0..=last).contains(&p);
            if w != 0.0 && !(op.exclude_outside && is_outside) {
                total += w;
                let position = self.inside(p);
                // Repetitions of an edge are one sample.
                match taps.last_mut() {
                    Some(tap) if tap.0 == position => tap.1 += w,
                    _ => taps.push((position, w)),
                }
            }
            p += 1.0;
        }
        if taps.is_empty() {
            taps.push((self.inside(at), 1.0));
        } else if op.exclude_outside || op.antialias {
            taps.iter_mut().for_each(|tap| tap.1 /= total);
        }
        Some(taps)
    }
}

/// Cubic convolution (Keys, IEEE Transactions on Acoustics, Speech, and Signal Processing 29(6), 1981) at distance `d >= 0`.
fn keys(d: f64, a: f64) -> f64 {
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

/// Floats of any width, read one at a time.
fn float(t: TensorRef<'_>, i: usize) -> Result<f64, EvalError> {
    with_float!(t.dtype(), "a parameter of an interpolation", T => {
        let value = t.as_slice::<T>()?.get(i).copied();
        let value = value.ok_or(EvalError::Shape { what: "there should be a parameter per axis" })?;
        Ok(value.widen().to_f64())
    })
}

/// How each axis is resampled between two shapes: the definition of an interpolation, which every device takes from here.
///
/// # Errors
/// The shapes or the parameters do not fit the operator, or a scale is absurdly small.
pub fn resize_axes(
    op: &Resize,
    from: &[usize],
    to: &[usize],
    parameters: ResizeParameters<'_>,
) -> Result<SmallVec<[ResizeAxis; 4]>, EvalError> {
    ensure(from.len() == to.len(), "interpolation keeps the rank")?;
    let ResizeParameters { sizes, scales, .. } = parameters;
    let region = parameters
        .region
        .filter(|_| op.coordinates == Coordinates::TfCropAndResize);
    let mut axes: SmallVec<[ResizeAxis; 4]> = from
        .iter()
        .zip(to)
        .map(|(&input, &output)| ResizeAxis {
            input,
            output,
            scale: 1.0,
            region: (0.0, 1.0),
            is_copy: input == output && region.is_none(),
        })
        .collect();
    let named: SmallVec<[usize; 8]> = match &op.axes {
        Some(list) => list
            .iter()
            .map(|&a| axis(a, from.len()))
            .collect::<Result<_, _>>()?,
        None => (0..from.len()).collect(),
    };
    // One scale for all axes, as shape inference computes it, in f32.
    let mut common: Option<f32> = None;
    if let (Some(sizes), false) = (sizes, op.aspect_ratio == AspectRatio::Stretch) {
        let sizes = Indices::of(sizes)?;
        for (i, &a) in named.iter().enumerate() {
            let scale = sizes.get(i) as f32 / axes[a].input as f32;
            common = Some(match (common, op.aspect_ratio) {
                (None, _) => scale,
                (Some(c), AspectRatio::NotSmaller) => c.max(scale),
                (Some(c), _) => c.min(scale),
            });
        }
    }
    for (i, &a) in named.iter().enumerate() {
        let axis = &mut axes[a];
        axis.scale = match (&op.scales, sizes, scales, common) {
            (Some(scales), ..) => scales.get(i).copied().unwrap_or(1.0).into(),
            (None, Some(_), _, Some(common)) => common.into(),
            (None, Some(_), _, None) => axis.output as f64 / axis.input as f64,
            (None, None, Some(t), _) => float(t, i)?,
            (None, None, None, _) => axis.output as f64 / axis.input as f64,
        };
        // A scale near 1 may keep the length and still move the samples.
        // A filter wider than this would see nothing but edges; no size that a model asks for makes one.
        let least = 0.25 / (axis.input as f64 + 1.0);
        ensure(
            axis.scale >= least || axis.output == 0,
            "a scale should be positive and not absurdly small",
        )?;
        axis.is_copy &= axis.scale == 1.0 || op.coordinates == Coordinates::AlignCorners;
        if let Some(region) = region {
            axis.region = (float(region, i)?, float(region, named.len() + i)?);
        }
    }
    Ok(axes)
}

pub(super) fn resize(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Resize>(op)?;
    let x = io.input(0)?;
    let shape: Dims = io.output(0)?.shape().into();
    let given = |i: Option<usize>| i.and_then(|i| io.optional(i)).filter(|t| !t.is_empty());
    let parameters = ResizeParameters {
        region: given(op.roi_input),
        scales: given(op.scales_input),
        sizes: given(op.sizes_input),
    };
    let axes = resize_axes(op, x.shape(), &shape, parameters)?;
    let mut out = io.output(0)?;
    same_type(x, &out)?;
    if out.is_empty() {
        return Ok(());
    }
    ensure(
        !x.is_empty(),
        "nothing can be interpolated between no samples",
    )?;
    let crops = op.coordinates == Coordinates::TfCropAndResize;
    match (op.interpolation, x.dtype()) {
        (Interpolation::Nearest(_), dtype) if !crops => {
            with_size!(dtype, "a resized tensor", N => {
                let (src, dst) = (x.bytes().as_chunks::<N>().0, out.bytes_mut().as_chunks_mut::<N>().0);
                nearest(op, &axes, src, dst, &shape)
            })
        }
        (_, dtype) if dtype.is_float() => with_float!(dtype, "a resized tensor", T => {
            let read = |x: T| x.widen();
            resample(op, &axes, x.as_slice::<T>()?, out.as_slice_mut::<T>()?, &shape, read, T::narrow)
        }),
        (_, dtype) => super::element::with_int!(dtype, "a resized tensor", T => {
            // In f64, which holds every integer that is interpolated; truncated and saturated like every cast.
            let (src, dst) = (x.as_slice::<T>()?, out.as_slice_mut::<T>()?);
            resample(op, &axes, src, dst, &shape, |x| x as f64, |y: f64| y as T)
        }),
    }
}

fn nearest<T: Copy>(
    op: &Resize,
    axes: &[ResizeAxis],
    src: &[T],
    dst: &mut [T],
    shape: &[usize],
) -> Result<(), EvalError> {
    let (Some((last, outer)), Some((&width, outer_shape))) =
        (axes.split_last(), shape.split_last())
    else {
        dst.copy_from_slice(src);
        return Ok(());
    };
    let source = |axis: &ResizeAxis, x: usize| {
        axis.taps(op, x)
            .and_then(|t| t.first().map(|t| t.0))
            .unwrap_or(0)
    };
    let mut at = Dims::from_elem(0, outer.len());
    let mut picked = [0usize; BLOCK];
    for start in (0..width).step_by(BLOCK) {
        let picked = &mut picked[..BLOCK.min(width - start)];
        for (i, p) in picked.iter_mut().enumerate() {
            *p = source(last, start + i);
        }
        at.fill(0);
        for row in dst.chunks_exact_mut(width) {
            let from = outer
                .iter()
                .zip(&at)
                .fold(0, |from, (a, &x)| from * a.input + source(a, x));
            let samples = &src[from * last.input..][..last.input];
            for (slot, &p) in row[start..].iter_mut().zip(&*picked) {
                *slot = samples[p];
            }
            turn(&mut at, outer_shape);
        }
    }
    Ok(())
}

fn resample<T: Copy, R: Real>(
    op: &Resize,
    axes: &[ResizeAxis],
    src: &[T],
    dst: &mut [T],
    shape: &[usize],
    read: impl Fn(T) -> R + Copy,
    write: impl Fn(R) -> T,
) -> Result<(), EvalError> {
    let (Some((last, outer)), Some((&width, outer_shape))) =
        (axes.split_last(), shape.split_last())
    else {
        dst.copy_from_slice(src);
        return Ok(());
    };
    let outside = R::from_f32(op.extrapolation_value);
    let mut at = Dims::from_elem(0, outer.len());
    let mut block: [Option<ResizeTaps>; BLOCK] = std::array::from_fn(|_| None);
    let mut taps: SmallVec<[ResizeTaps; 4]> = SmallVec::new();
    for start in (0..width).step_by(BLOCK) {
        let block = &mut block[..BLOCK.min(width - start)];
        for (i, slot) in block.iter_mut().enumerate() {
            *slot = last.taps(op, start + i);
        }
        at.fill(0);
        for row in dst.chunks_exact_mut(width) {
            taps.clear();
            taps.extend(outer.iter().zip(&at).map_while(|(a, &x)| a.taps(op, x)));
            let is_inside = taps.len() == outer.len();
            for (slot, last_taps) in row[start..].iter_mut().zip(&*block) {
                *slot = write(match last_taps {
                    Some(last_taps) if is_inside => total(&taps, outer, 0, &|from| {
                        let samples = &src[from * last.input..][..last.input];
                        chain(last_taps, |p| read(samples[p]))
                    }),
                    _ => outside,
                });
            }
            turn(&mut at, outer_shape);
        }
    }
    Ok(())
}

/// The chain over the samples of one axis.
fn chain<R: Real>(taps: &ResizeTaps, mut value: impl FnMut(usize) -> R) -> R {
    match taps.as_slice() {
        [(p, 1.0)] => value(*p),
        taps => taps
            .iter()
            .fold(R::ZERO, |s, &(p, w)| R::from_f64(w).fma(value(p), s)),
    }
}

/// The nested chains over the axes in front of the last one; `line(from)` gives the value of line number `from`.
fn total<R: Real>(
    taps: &[ResizeTaps],
    axes: &[ResizeAxis],
    from: usize,
    line: &dyn Fn(usize) -> R,
) -> R {
    match (taps.split_first(), axes.split_first()) {
        (Some((first, taps)), Some((axis, axes))) => {
            chain(first, |p| total(taps, axes, from * axis.input + p, line))
        }
        _ => line(from),
    }
}
