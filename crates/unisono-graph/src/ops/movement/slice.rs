//! [`Slice`]: every `step`-th element from a start to an end.
//!
//! The one idea: with a rising step, a slice has `max(0, ceil((min(end, length) - max(start, 0)) / step))` elements once
//! negative bounds are counted from the end; with a falling one the same, mirrored. The formula is evaluated over
//! [`Dim`], so it serves numbers and expressions alike.

use super::super::Definition;
use super::super::common::{MAX_CONTENTS, Parameter, resolve_axes};
use super::super::rules::{self, ANY, batch_of, batch_shape, of_shape};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(1, "Slice", (1, 1), (1, 1), |spec| {
        let missing = |name| OpError::attribute(name, "is missing");
        let starts = spec.attributes.ints("starts")?;
        let ends = spec.attributes.ints("ends")?;
        Ok(Arc::new(Slice {
            bounds: Some(SliceBounds {
                starts: starts.ok_or_else(|| missing("starts"))?,
                ends: ends.ok_or_else(|| missing("ends"))?,
                axes: spec.attributes.ints("axes")?,
            }),
        }))
    })
    .until(9),
    Definition::since(10, "Slice", (3, 5), (1, 1), |_| {
        Ok(Arc::new(Slice { bounds: None }))
    }),
];

/// Parameters of a [`Slice`] that the node fixes (before opset 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceBounds {
    /// Where to begin, per entry of `axes`.
    pub starts: Vec<i64>,
    /// Where to end, exclusive, per entry of `axes`.
    pub ends: Vec<i64>,
    /// The axes; the first ones if `None`.
    pub axes: Option<Vec<i64>>,
}

/// Every `step`-th element from `start` to `end` along some axes. Inputs: `data`, and unless the node fixes them, `starts`,
/// `ends`, optionally `axes` and `steps`, lists of i32 or i64. Kind `Slice`. See [`Slice::ranges`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Parameters fixed by the node; `None` if they are inputs.
    pub bounds: Option<SliceBounds>,
}

/// What a [`Slice`] takes of one axis: `start`, `start + step`, ..., `length` elements in all, each inside of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceRange {
    /// The first element; 0 if `length` is.
    pub start: usize,
    /// From one element to the next; not 0.
    pub step: i64,
    /// How many elements.
    pub length: usize,
}

/// The same as expressions. `None` for what is not known.
struct SymbolicRange {
    start: Option<Dim>,
    step: Option<i64>,
    length: Dim,
}

impl SymbolicRange {
    /// All of an axis.
    fn whole(length: &Dim) -> SymbolicRange {
        SymbolicRange {
            start: Some(Dim::constant(0)),
            step: Some(1),
            length: length.clone(),
        }
    }

    fn is_whole(&self, axis: &Dim) -> bool {
        self.step == Some(1)
            && self.length == *axis
            && self.start.as_ref().and_then(Dim::as_const) == Some(0)
    }
}

impl Slice {
    /// What is taken of each axis of the data, for numbers: `inputs` are the node's, contents known.
    ///
    /// # Errors
    /// Parameters that contradict each other, or that are not known.
    pub fn ranges(
        &self,
        shape: &[usize],
        inputs: &[Option<Fact>],
    ) -> Result<Vec<SliceRange>, OpError> {
        let lengths: Vec<Dim> = shape.iter().map(|&n| Dim::from(n)).collect();
        let ranges = self.symbolic_ranges(&lengths, inputs)?;
        let unknown = || OpError::new("bounds are not known");
        ranges
            .iter()
            .map(|range| {
                let length = range.length.as_len().ok_or_else(unknown)?;
                let start = range.start.as_ref().and_then(Dim::as_len);
                Ok(SliceRange {
                    start: if length == 0 {
                        0
                    } else {
                        start.ok_or_else(unknown)?
                    },
                    step: range.step.ok_or_else(unknown)?,
                    length,
                })
            })
            .collect()
    }

    fn symbolic_ranges(
        &self,
        shape: &[Dim],
        inputs: &[Option<Fact>],
    ) -> Result<Vec<SymbolicRange>, OpError> {
        let bounds = self.bounds.as_ref();
        let list =
            |fixed: Option<&[i64]>, at, name| Parameter::fixed_or_input(fixed, inputs, at, name);
        let starts = list(bounds.map(|b| b.starts.as_slice()), 1, "starts")?;
        let ends = list(bounds.map(|b| b.ends.as_slice()), 2, "ends")?;
        let axes = match bounds {
            // Fixed bounds have no inputs for axes and steps.
            Some(b) => match &b.axes {
                Some(axes) => list(Some(axes), 3, "axes")?,
                None => Parameter::Absent,
            },
            None => list(None, 3, "axes")?,
        };
        let steps = match bounds {
            Some(_) => Parameter::Absent,
            None => list(None, 4, "steps")?,
        };
        let count = |p: &Parameter| match p {
            Parameter::Known(list) => Some(list.len()),
            Parameter::Unknown(n) => *n,
            Parameter::Absent => None,
        };
        let counts = [&starts, &ends, &axes, &steps].map(count);
        let n = counts.iter().flatten().next().copied();
        if counts.iter().flatten().any(|c| Some(*c) != n) {
            return Err(OpError::new(format!(
                "starts, ends, axes and steps have {counts:?} entries; all should have as many"
            )));
        }
        let axes = match axes {
            Parameter::Absent => n.map(|n| (0..n).map(|i| i as i64).collect()),
            known => known.numbers(),
        };
        let (Some(n), Some(axes)) = (n, axes) else {
            // Any axis may be cut.
            return Ok(shape
                .iter()
                .map(|_| SymbolicRange {
                    start: None,
                    step: None,
                    length: Dim::unknown(),
                })
                .collect());
        };
        if n > shape.len() {
            return Err(OpError::new(format!(
                "cuts {n} axes of a value that has {}",
                shape.len()
            )));
        }
        let axes = resolve_axes(&axes, shape.len())?;
        let mut ranges: Vec<SymbolicRange> = shape.iter().map(SymbolicRange::whole).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let entry = |p: &Parameter| match p {
                Parameter::Known(list) => list.get(i).cloned(),
                _ => None,
            };
            let step = match &steps {
                Parameter::Absent => Some(1),
                steps => entry(steps).and_then(|s| s.as_const()),
            };
            if step == Some(0) {
                return Err(OpError::new(format!("the step along axis {axis} is 0")));
            }
            ranges[axis] = range(&shape[axis], entry(&starts), entry(&ends), step);
        }
        Ok(ranges)
    }
}

/// Counts a bound from the front; `None` if it is not known whether it counts from the end.
fn from_front(bound: &Dim, length: &Dim) -> Option<Dim> {
    if bound.lower_bound() >= Some(0) {
        return Some(bound.clone());
    }
    let negative = (&Dim::constant(0) - bound).lower_bound() >= Some(1);
    negative.then(|| length + bound)
}

/// Bounds this large mean "to the end" in every exporter; see [`crate::dim`] for what lengths may be.
const FAR: i64 = 1_000_000_000;

fn range(length: &Dim, start: Option<Dim>, end: Option<Dim>, step: Option<i64>) -> SymbolicRange {
    let unknown = || SymbolicRange {
        start: None,
        step,
        length: Dim::unknown(),
    };
    let (Some(start), Some(end), Some(step)) = (start, end, step) else {
        return unknown();
    };
    let zero = Dim::constant(0);
    let symbolic = length.as_const().is_none();
    let far = |bound: &Dim| match bound.as_const() {
        // Against a number the bound is compared, against an expression it is taken for infinite.
        Some(n) if symbolic && n >= FAR => Some(true),
        Some(n) if symbolic && n <= -FAR => Some(false),
        Some(i64::MIN) => Some(false),
        _ => None,
    };
    let place = |bound: &Dim| from_front(bound, length);
    let (start, elements) = if step > 0 {
        let start = match far(&start) {
            Some(true) => length.clone(),
            Some(false) => zero.clone(),
            None => match place(&start) {
                Some(s) => s.larger(&zero),
                None => return unknown(),
            },
        };
        let end = match far(&end) {
            Some(true) => length.clone(),
            Some(false) => zero.clone(),
            None => match place(&end) {
                Some(e) => e.smaller(length),
                None => return unknown(),
            },
        };
        let elements = &end - &start;
        (start, elements)
    } else {
        let last = length - &Dim::constant(1);
        let before = Dim::constant(-1);
        let start = match far(&start) {
            Some(true) => last.clone(),
            Some(false) => before.clone(),
            None => match place(&start) {
                Some(s) => s.smaller(&last),
                None => return unknown(),
            },
        };
        let end = match far(&end) {
            Some(true) => last,
            Some(false) => before,
            None => match place(&end) {
                Some(e) => e.larger(&before),
                None => return unknown(),
            },
        };
        let elements = &start - &end;
        (start, elements)
    };
    let stride = step.checked_abs().unwrap_or(i64::MAX);
    // Rounding up first: adding `step - 1` to a number near the end of i64 would overflow.
    let elements = match (elements.as_const(), stride) {
        (Some(n), _) => Dim::constant(if n <= 0 { 0 } else { (n - 1) / stride + 1 }),
        (None, 1) => elements.larger(&zero),
        (None, _) => elements.ceil_div(&Dim::constant(stride)).larger(&zero),
    };
    SymbolicRange {
        start: Some(start),
        step: Some(step),
        length: elements,
    }
}

impl Operator for Slice {
    fn kind(&self) -> &'static str {
        "Slice"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let Some(lengths) = &data.shape else {
            cx.set(0, of_shape(data.dtype, None));
            return Ok(());
        };
        let ranges = self.symbolic_ranges(lengths, cx.inputs())?;
        let shape: Vec<Dim> = ranges.iter().map(|r| r.length.clone()).collect();
        let mut fact = of_shape(data.dtype, Some(shape));
        if let (Some(values), [range]) = (&data.integers, ranges.as_slice()) {
            fact.integers = picked(values, range);
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let data = batch_of(cx, 0);
        let Batch::Rows { axis, .. } = data else {
            return Err(Blocker::new("cuts where the rows say"));
        };
        if cx
            .inputs
            .iter()
            .skip(1)
            .any(|b| !matches!(b, None | Some(Batch::Shared)))
        {
            return Err(Blocker::new("cuts where the rows say"));
        }
        let lengths = batch_shape(cx, 0)?;
        let ranges = self
            .symbolic_ranges(lengths, cx.input_facts)
            .map_err(|e| Blocker::new(e.to_string()))?;
        for (at, range) in ranges.iter().enumerate() {
            if at == *axis && !range.is_whole(&lengths[at]) {
                return Err(Blocker::new(format!("cuts axis {at}, which is the batch")));
            }
            let depends = range.start.as_ref().is_some_and(|s| s.mentions(cx.rows));
            if at != *axis && (depends || range.length.mentions(cx.rows)) {
                return Err(Blocker::new(format!(
                    "cuts axis {at} at a place that depends on the number of rows"
                )));
            }
        }
        Ok(vec![data.clone()])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2, 3, 4]
    }
}

/// The contents that a range takes, if it is made of numbers.
fn picked(values: &[Dim], range: &SymbolicRange) -> Option<Vec<Dim>> {
    let length = range.length.as_len().filter(|&n| n <= MAX_CONTENTS)?;
    if length == 0 {
        return Some(Vec::new());
    }
    let (mut at, step) = (range.start.as_ref()?.as_const()?, range.step?);
    let mut picked = Vec::with_capacity(length);
    for i in 0..length {
        if i > 0 {
            at = at.checked_add(step)?;
        }
        picked.push(values.get(usize::try_from(at).ok()?)?.clone());
    }
    Some(picked)
}
