//! Operators that read or change the shape and never touch an element: views, and the shapes themselves as data.
//!
//! The one idea: the elements of the output are those of the input in the same order (repeated, for [`Expand`]), so the
//! output's shape says everything. A kernel needs no attribute of these: it copies the data, or shares it.
//!
//! Exporters compute shapes in the graph (`Shape -> Gather -> Unsqueeze -> Concat -> Reshape`), so [`Shape`] and [`Size`]
//! start, and [`Reshape`] and [`Expand`] end, the chains of symbolic contents that [`Fact::integers`] carries.

use super::common::{MAX_CONTENTS, MAX_RANK, Parameter, check_shape};
use super::rows::regroup;
use super::rules::{self, ANY, INDICES, batch_of, batch_shape, of_shape, output_shape, typed};
use super::{Definition, NodeSpec, broadcast};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(1, "Shape", (1, 1), (1, 1), |_| {
        let whole = Shape {
            start: 0,
            end: None,
        };
        Ok(Arc::new(whole))
    })
    .until(14),
    Definition::since(15, "Shape", (1, 1), (1, 1), |spec| {
        Ok(Arc::new(Shape {
            start: spec.attributes.int_or("start", 0)?,
            end: spec.attributes.int("end")?,
        }))
    }),
    Definition::since(1, "Size", (1, 1), (1, 1), |_| Ok(Arc::new(Size))),
    Definition::since(5, "Reshape", (2, 2), (1, 1), |_| {
        Ok(Arc::new(Reshape { allow_zero: false }))
    })
    .until(13),
    Definition::since(14, "Reshape", (2, 2), (1, 1), |spec| {
        let allow_zero = spec.attributes.flag("allowzero", false)?;
        Ok(Arc::new(Reshape { allow_zero }))
    }),
    Definition::since(1, "Flatten", (1, 1), (1, 1), |spec| {
        let axis = spec.attributes.int_or("axis", 1)?;
        Ok(Arc::new(Flatten { axis }))
    }),
    Definition::since(1, "Squeeze", (1, 1), (1, 1), |spec| {
        let axes = spec.attributes.ints("axes")?;
        Ok(Arc::new(Squeeze { axes }))
    })
    .until(12),
    Definition::since(13, "Squeeze", (1, 2), (1, 1), |_| {
        Ok(Arc::new(Squeeze { axes: None }))
    }),
    Definition::since(1, "Unsqueeze", (1, 1), (1, 1), |spec| {
        let axes = spec.attributes.ints("axes")?;
        let axes = Some(axes.ok_or_else(|| OpError::attribute("axes", "is missing"))?);
        Ok(Arc::new(Unsqueeze { axes }))
    })
    .until(12),
    Definition::since(13, "Unsqueeze", (2, 2), (1, 1), |_: &mut NodeSpec<'_>| {
        Ok(Arc::new(Unsqueeze { axes: None }))
    }),
    Definition::since(8, "Expand", (2, 2), (1, 1), |_| Ok(Arc::new(Expand))),
];

/// The lengths of the input's axes from `start` up to `end`, as a list of i64. Kind `Shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The first axis; negative ones count from the end; clamped to the rank.
    pub start: i64,
    /// The axis behind the last, likewise; `None` for all.
    pub end: Option<i64>,
}

impl Operator for Shape {
    fn kind(&self) -> &'static str {
        "Shape"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        let Some(shape) = &data.shape else {
            cx.set(0, Fact::new(DType::I64, vec![Dim::unknown()]));
            return Ok(());
        };
        let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
        let clamp = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(at.clamp(0, rank)).unwrap_or(0)
        };
        let (start, end) = (clamp(self.start), clamp(self.end.unwrap_or(rank)));
        let lengths = shape.get(start..end).unwrap_or(&[]).to_vec();
        let mut fact = Fact::new(DType::I64, vec![Dim::from(lengths.len())]);
        fact.integers = Some(lengths);
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        // Lengths that are expressions never come here: the contract takes them from the facts.
        Err(Blocker::new(
            "reads the length of an axis that depends on the data of all rows",
        ))
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// The number of elements, as an i64 scalar. Kind `Size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size;

impl Operator for Size {
    fn kind(&self) -> &'static str {
        "Size"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        let mut fact = Fact::new(DType::I64, vec![]);
        fact.integers = data.shape.as_ref().map(|s| vec![Dim::product(s)]);
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new(
            "counts elements, of which there are as many as the data of all rows makes",
        ))
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// The same elements in the shape that input 1 (a list of i64) asks for. Inputs: `data`, `shape`. Kind `Reshape`.
///
/// In `shape`, -1 stands for what is left, and 0 for the input's length at the same position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// 0 stands for an empty axis instead.
    pub allow_zero: bool,
}

impl Reshape {
    /// The output's shape; an unknown length where it is not known, `None` if the rank is not.
    fn target(&self, data: &Fact, wanted: &Parameter) -> Result<Option<Vec<Dim>>, OpError> {
        let wanted = match wanted {
            Parameter::Known(wanted) => wanted,
            Parameter::Unknown(Some(rank)) if *rank <= MAX_RANK => {
                return Ok(Some(vec![Dim::unknown(); *rank].into_iter().collect()));
            }
            _ => return Ok(None),
        };
        if wanted.len() > MAX_RANK {
            return Err(OpError::new(format!(
                "the shape has {} entries; at most {MAX_RANK} are supported",
                wanted.len()
            )));
        }
        // The one entry that follows from the number of elements: -1, or one that is not known.
        let mut open: Option<usize> = None;
        let mut several = false;
        let mut shape = Vec::with_capacity(wanted.len());
        for (at, entry) in wanted.iter().enumerate() {
            let length = match entry.as_const() {
                Some(-1) if wanted[..at].iter().any(|e| e.as_const() == Some(-1)) => {
                    return Err(OpError::new(format!(
                        "the shape {wanted:?} has more than one -1"
                    )));
                }
                Some(-1) => None,
                Some(n) if n < 0 => {
                    return Err(OpError::new(format!(
                        "the shape {wanted:?} has the entry {n}; allowed are lengths, 0 and -1"
                    )));
                }
                Some(0) if !self.allow_zero => match &data.shape {
                    None => Some(Dim::unknown()),
                    Some(lengths) => Some(lengths.get(at).cloned().ok_or_else(|| {
                        OpError::new(format!(
                            "the shape {wanted:?} copies the length of axis {at}, but the data has {} axes",
                            lengths.len()
                        ))
                    })?),
                },
                // A length that depends on data may turn out to be 0 or -1.
                None if entry.has_unknown() => None,
                _ => Some(entry.clone()),
            };
            if length.is_none() {
                several |= open.is_some();
                open = Some(at);
            }
            shape.push(length.unwrap_or_else(Dim::unknown));
        }
        let Some(lengths) = &data.shape else {
            return Ok(Some(shape));
        };
        let total = Dim::product(lengths);
        match open {
            Some(at) if !several => {
                let others = Dim::product(
                    shape
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| *i != at)
                        .map(|(_, d)| d),
                );
                let exact = total.div_exact(&others);
                if exact.is_none()
                    && (others.as_const() == Some(0)
                        || (total.as_const().is_some() && others.as_const().is_some()))
                {
                    return Err(mismatch(lengths, wanted));
                }
                shape[at] = match exact {
                    Some(length) => length,
                    None => total.floor_div(&others),
                };
            }
            Some(_) => {}
            None if total.equals(&Dim::product(&shape)) == Some(false) => {
                return Err(mismatch(lengths, wanted));
            }
            None => {}
        }
        check_shape(&shape)?;
        Ok(Some(shape))
    }
}

fn mismatch(lengths: &[Dim], wanted: &[Dim]) -> OpError {
    OpError::new(format!(
        "data of shape {lengths:?} does not have as many elements as the shape {wanted:?}"
    ))
}

impl Operator for Reshape {
    fn kind(&self) -> &'static str {
        "Reshape"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        typed(cx, 1, "shape", INDICES)?;
        let wanted = Parameter::of_input(cx.inputs(), 1, "shape")?;
        let shape = self.target(data, &wanted)?;
        cx.set(0, view(data, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        regrouped(cx)
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// The same elements as a matrix: axes before `axis`, axes from `axis` on. Kind `Flatten`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// The first axis of the second group, `-rank..=rank`; negative ones count from the end.
    pub axis: i64,
}

impl Operator for Flatten {
    fn kind(&self) -> &'static str {
        "Flatten"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        let shape = match &data.shape {
            None => vec![Dim::unknown(), Dim::unknown()],
            Some(lengths) => {
                let rank = i64::try_from(lengths.len()).unwrap_or(i64::MAX);
                let at = if self.axis < 0 {
                    self.axis.saturating_add(rank)
                } else {
                    self.axis
                };
                let (front, back) = usize::try_from(at)
                    .ok()
                    .and_then(|at| lengths.split_at_checked(at))
                    .ok_or_else(|| {
                        OpError::attribute(
                            "axis",
                            format!("is {}, but the value has {rank} axes", self.axis),
                        )
                    })?;
                vec![Dim::product(front), Dim::product(back)]
            }
        };
        cx.set(0, view(data, Some(shape)));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        regrouped(cx)
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// Removes axes of length 1. Inputs: `data`, and optionally the axes as a list of i64. Kind `Squeeze`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squeeze {
    /// Axes fixed by the node; `None` if they are input 1, or, without that, all axes of length 1.
    pub axes: Option<Vec<i64>>,
}

impl Squeeze {
    /// The axes that go, sorted; `None` while that is not known.
    fn removed(&self, inputs: &[Option<Fact>]) -> Result<Option<Vec<usize>>, OpError> {
        let Some(shape) = inputs.first().and_then(|f| f.as_ref()?.shape.as_ref()) else {
            return Ok(None);
        };
        let axes = Parameter::fixed_or_input(self.axes.as_deref(), inputs, 1, "axes")?;
        if let Parameter::Absent = axes {
            let one = Dim::constant(1);
            // A length that may or may not be 1 leaves even the rank open.
            let ones: Option<Vec<bool>> = shape.iter().map(|d| d.equals(&one)).collect();
            return Ok(ones.map(|ones| (0..shape.len()).filter(|&i| ones[i]).collect()));
        }
        match axes.numbers() {
            Some(axes) => rules::sorted_axes(&axes, shape.len()).map(Some),
            None => Ok(None),
        }
    }
}

impl Operator for Squeeze {
    fn kind(&self) -> &'static str {
        "Squeeze"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        let removed = self.removed(cx.inputs())?;
        let shape = match (&data.shape, removed) {
            (Some(lengths), Some(removed)) => {
                if let Some(&axis) = removed
                    .iter()
                    .find(|&&a| lengths[a].equals(&Dim::constant(1)) == Some(false))
                {
                    return Err(OpError::attribute(
                        "axes",
                        format!(
                            "names axis {axis}, whose length is {}, not 1",
                            lengths[axis]
                        ),
                    ));
                }
                let kept = lengths.iter().enumerate();
                let kept = kept.filter(|(i, _)| !removed.contains(i));
                Some(kept.map(|(_, d)| d.clone()).collect())
            }
            _ => None,
        };
        cx.set(0, view(data, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let removed = self.removed(cx.input_facts).ok().flatten();
        let removed = removed.ok_or_else(|| {
            Blocker::new("removes axes of length 1, and whether an axis has it is not known")
        })?;
        let Batch::Rows { axis, .. } = batch_of(cx, 0) else {
            return Err(Blocker::new("depends on the rows by its list of axes"));
        };
        if removed.contains(axis) {
            return Err(Blocker::new(format!(
                "removes axis {axis}, which is the batch"
            )));
        }
        let before = removed.iter().filter(|a| *a < axis).count();
        Ok(vec![rules::moved(batch_of(cx, 0), axis - before)])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// Adds axes of length 1. Inputs: `data`, and, unless the node fixes them, the axes as a list of i64. Kind `Unsqueeze`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsqueeze {
    /// Axes of the *output* fixed by the node; `None` if they are input 1.
    pub axes: Option<Vec<i64>>,
}

impl Unsqueeze {
    /// The new axes, sorted; `None` while that is not known.
    fn added(&self, inputs: &[Option<Fact>]) -> Result<Option<Vec<usize>>, OpError> {
        let Some(rank) = inputs.first().and_then(|f| f.as_ref()?.rank()) else {
            return Ok(None);
        };
        let axes = Parameter::fixed_or_input(self.axes.as_deref(), inputs, 1, "axes")?;
        match axes.numbers() {
            Some(axes) if rank + axes.len() > MAX_RANK => Err(OpError::attribute(
                "axes",
                format!("would make more than {MAX_RANK} axes"),
            )),
            Some(axes) => rules::sorted_axes(&axes, rank + axes.len()).map(Some),
            None => Ok(None),
        }
    }
}

impl Operator for Unsqueeze {
    fn kind(&self) -> &'static str {
        "Unsqueeze"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        let added = self.added(cx.inputs())?;
        let shape = match (&data.shape, added) {
            (Some(lengths), Some(added)) => {
                let mut shape = lengths.clone();
                // In rising order, so that each position is final when it is used.
                for axis in added {
                    shape.insert(axis.min(shape.len()), Dim::constant(1));
                }
                Some(shape)
            }
            _ => None,
        };
        cx.set(0, view(data, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let added = self.added(cx.input_facts).ok().flatten();
        let added = added.ok_or_else(|| Blocker::new("adds axes at places that are not known"))?;
        let Batch::Rows { axis, .. } = batch_of(cx, 0) else {
            return Err(Blocker::new("depends on the rows by its list of axes"));
        };
        let mut at = *axis;
        for new in added {
            if new <= at {
                at += 1;
            }
        }
        Ok(vec![rules::moved(batch_of(cx, 0), at)])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// Repeats the input along axes of length 1, and along new axes in front, so that it has the shape that results from
/// broadcasting it with input 1 (a list of i64). Inputs: `data`, `shape`. Kind `Expand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand;

impl Operator for Expand {
    fn kind(&self) -> &'static str {
        "Expand"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = typed(cx, 0, "data", ANY)?;
        typed(cx, 1, "shape", INDICES)?;
        let wanted = Parameter::of_input(cx.inputs(), 1, "shape")?;
        let shape = match (&data.shape, wanted) {
            (Some(lengths), Parameter::Known(wanted)) => {
                check_shape(&wanted)?;
                Some(broadcast::shapes(lengths, &wanted)?)
            }
            (Some(lengths), Parameter::Unknown(Some(rank))) if rank <= MAX_RANK => Some(
                (0..lengths.len().max(rank))
                    .map(|_| Dim::unknown())
                    .collect(),
            ),
            _ => None,
        };
        let mut fact = of_shape(data.dtype, shape);
        fact.integers = match (&data.integers, fact.shape.as_deref()) {
            (Some(values), Some([])) => Some(values.clone()),
            (Some(values), Some([n])) => match (values.as_slice(), n.as_len()) {
                (_, Some(n)) if n == values.len() => Some(values.clone()),
                ([one], Some(n)) if n <= MAX_CONTENTS => Some(vec![one.clone(); n]),
                _ => None,
            },
            _ => None,
        };
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let data = batch_of(cx, 0);
        let (lengths, shape) = (batch_shape(cx, 0)?, output_shape(cx, 0)?);
        let front = shape
            .len()
            .checked_sub(lengths.len())
            .ok_or_else(|| Blocker::new("has fewer axes than its data"))?;
        if let Batch::Rows { axis, .. } = data {
            let at = axis + front;
            if lengths.get(*axis) != shape.get(at) {
                return Err(Blocker::new(format!(
                    "stretches axis {axis}, which is the batch"
                )));
            }
            return rows_elsewhere(cx, shape, at).map(|()| vec![rules::moved(data, at)]);
        }
        // The same for all, repeated for each row: every row owns a copy.
        super::rows::repeated(shape, cx.rows).map(|b| vec![b])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// Refuses a length that depends on the number of rows on any axis but this one.
fn rows_elsewhere(cx: &BatchContext<'_>, shape: &[Dim], but: usize) -> Result<(), Blocker> {
    match (0..shape.len()).find(|&i| i != but && shape[i].mentions(cx.rows)) {
        Some(i) => Err(Blocker::new(format!(
            "makes the length of axis {i} depend on the number of rows"
        ))),
        None => Ok(()),
    }
}

/// The batch of a node that puts the elements of its first input into another shape.
fn regrouped(cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
    regroup(
        batch_of(cx, 0),
        batch_shape(cx, 0)?,
        output_shape(cx, 0)?,
        cx.rows,
    )
    .map(|b| vec![b])
}

/// The same elements in this shape; contents stay known where they can be.
fn view(data: &Fact, shape: Option<Vec<Dim>>) -> Fact {
    let mut fact = of_shape(data.dtype, shape);
    if fact.rank().is_some_and(|r| r <= 1) {
        fact.integers = data.integers.clone();
    }
    fact
}
