//! Operators that put elements elsewhere, at places that follow from shapes and parameters alone.
//!
//! The one idea: no arithmetic and no choice by data, so the batch passes wherever its axis is neither cut nor joined.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this one | axes in another order, values joined and cut along an axis: [`Transpose`], [`Concat`], [`Split`], [`Tile`] |
//! | [`mod@slice`] | [`Slice`] |
//! | [`pad`] | [`Pad`] |
//! | [`blocks`] | [`DepthToSpace`], [`SpaceToDepth`], [`ReverseSequence`], [`Trilu`] |

pub mod blocks;
pub mod pad;
pub mod slice;

pub use blocks::{BlockOrder, DepthToSpace, ReverseSequence, SpaceToDepth, Trilu};
pub use pad::{Pad, PadMode};
pub use slice::{Slice, SliceBounds, SliceRange};

use super::common::{MAX_CONTENTS, MAX_RANK, Parameter, check_shape, resolve_axis};
use super::rules::{self, ANY, INDICES, batch_of, batch_shape, for_all, of_shape, output_shape};
use super::{Definition, rows};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

/// The registry's lines, for what stands in this file.
pub const OPERATORS: &[Definition] = &[
    Definition::since(1, "Transpose", (1, 1), (1, 1), |spec| {
        let perm = spec.attributes.ints("perm")?;
        Ok(Arc::new(Transpose::new(perm)?))
    }),
    Definition::since(4, "Concat", (1, usize::MAX), (1, 1), |spec| {
        let axis = spec.attributes.int("axis")?;
        let axis = axis.ok_or_else(|| OpError::attribute("axis", "is missing"))?;
        Ok(Arc::new(Concat { axis }))
    }),
    Definition::since(2, "Split", (1, 1), (1, usize::MAX), |spec| {
        let parts = match spec.attributes.ints("split")? {
            Some(lengths) => SplitParts::Lengths(lengths),
            None => SplitParts::Equal(spec.output_count),
        };
        let axis = spec.attributes.int_or("axis", 0)?;
        Split::checked(axis, parts, spec.output_count)
    })
    .until(12),
    Definition::since(13, "Split", (1, 2), (1, usize::MAX), |spec| {
        let parts = match spec.has_input(1) {
            true => SplitParts::Input,
            false => SplitParts::Equal(spec.output_count),
        };
        let axis = spec.attributes.int_or("axis", 0)?;
        Split::checked(axis, parts, spec.output_count)
    })
    .until(17),
    Definition::since(18, "Split", (1, 2), (1, usize::MAX), |spec| {
        let count = spec.attributes.int("num_outputs")?;
        let parts = match (spec.has_input(1), count) {
            (true, None) => SplitParts::Input,
            (true, Some(_)) => {
                return Err(OpError::attribute(
                    "num_outputs",
                    "is given beside the lengths of the parts; only one of them is allowed",
                ));
            }
            (false, None) => SplitParts::Equal(spec.output_count),
            (false, Some(n)) => match usize::try_from(n) {
                Ok(n) if n == spec.output_count => SplitParts::Equal(n),
                _ => {
                    let message = format!("is {n}, but the node has {}", spec.output_count);
                    return Err(OpError::attribute("num_outputs", message));
                }
            },
        };
        let axis = spec.attributes.int_or("axis", 0)?;
        Split::checked(axis, parts, spec.output_count)
    }),
    Definition::since(6, "Tile", (2, 2), (1, 1), |_| Ok(Arc::new(Tile))),
];

/// Permutes the axes. Kind `Transpose`. See [`Transpose::permutation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// For each axis of the output, the axis of the input; `None` reverses the axes.
    pub perm: Option<Vec<usize>>,
}

impl Transpose {
    /// From the attribute.
    ///
    /// # Errors
    /// It is not a permutation.
    pub fn new(perm: Option<Vec<i64>>) -> Result<Transpose, OpError> {
        let Some(perm) = perm else {
            return Ok(Transpose { perm: None });
        };
        let mut seen = vec![false; perm.len()];
        let mut checked = Vec::with_capacity(perm.len());
        for &axis in &perm {
            match usize::try_from(axis)
                .ok()
                .and_then(|a| Some((a, seen.get_mut(a)?)))
            {
                Some((a, taken)) if !*taken => {
                    *taken = true;
                    checked.push(a);
                }
                _ => {
                    return Err(OpError::attribute(
                        "perm",
                        format!("is {perm:?}, which is not a permutation"),
                    ));
                }
            }
        }
        Ok(Transpose {
            perm: Some(checked),
        })
    }

    /// For each axis of the output, the axis of the input.
    ///
    /// # Errors
    /// The attribute is about another number of axes.
    pub fn permutation(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        match &self.perm {
            None => Ok((0..rank).rev().collect()),
            Some(perm) if perm.len() == rank => Ok(perm.clone()),
            Some(perm) => Err(OpError::attribute(
                "perm",
                format!("is {perm:?}, but the value has {rank} axes"),
            )),
        }
    }
}

impl Operator for Transpose {
    fn kind(&self) -> &'static str {
        "Transpose"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let shape = match &data.shape {
            None => self
                .perm
                .as_ref()
                .map(|p| p.iter().map(|_| Dim::unknown()).collect()),
            Some(lengths) => {
                let perm = self.permutation(lengths.len())?;
                Some(perm.iter().map(|&a| lengths[a].clone()).collect())
            }
        };
        let mut fact = of_shape(data.dtype, shape);
        if fact.rank().is_some_and(|r| r <= 1) {
            fact.integers = data.integers.clone();
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let data = batch_of(cx, 0);
        let rank = batch_shape(cx, 0)?.len();
        let perm = self
            .permutation(rank)
            .map_err(|e| Blocker::new(e.message))?;
        let Batch::Rows { axis, .. } = data else {
            return Ok(vec![data.clone()]);
        };
        match perm.iter().position(|a| a == axis) {
            Some(at) => Ok(vec![rules::moved(data, at)]),
            None => Err(Blocker::new("has no batch axis to permute")),
        }
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

/// Puts values one behind the other along an axis. Inputs: one or more, of one type and rank. Kind `Concat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis; negative ones count from the end.
    pub axis: i64,
}

impl Operator for Concat {
    fn kind(&self) -> &'static str {
        "Concat"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let first = rules::typed(cx, 0, "first", ANY)?;
        let inputs: Vec<&Fact> = (0..cx.inputs().len())
            .map(|i| cx.input(i))
            .collect::<Result<_, _>>()?;
        for (i, fact) in inputs.iter().enumerate() {
            if fact.dtype != first.dtype {
                return Err(OpError::new(format!(
                    "input {i} is {}, but input 0 is {}",
                    fact.dtype, first.dtype
                )));
            }
        }
        let mut fact = of_shape(first.dtype, joined_shape(self.axis, &inputs)?);
        if matches!(fact.shape.as_deref(), Some([n]) if n.as_len().is_some_and(|n| n <= MAX_CONTENTS))
        {
            let known: Option<Vec<&[Dim]>> = inputs.iter().map(|f| f.integers.as_deref()).collect();
            fact.integers = known.map(|k| k.concat());
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let rank = batch_shape(cx, 0)?.len();
        let joined = resolve_axis(self.axis, rank).map_err(|e| Blocker::new(e.to_string()))?;
        let mut result: Option<Batch> = None;
        for i in 0..cx.inputs.len() {
            let batch = batch_of(cx, i);
            let Batch::Rows { axis, outer, inner } = batch else {
                return Err(Blocker::new(format!(
                    "joins rows with input {i}, which is the same for all"
                )));
            };
            match &mut result {
                None => result = Some(batch.clone()),
                Some(Batch::Rows {
                    axis: a,
                    outer: o,
                    inner: n,
                }) if a == axis && n == inner => {
                    // Along the batch axis itself, the blocks of one stand behind the blocks of the other.
                    if *axis == joined {
                        *o = &*o + outer;
                    } else if o != outer {
                        return Err(folded_differently(i));
                    }
                }
                Some(Batch::Rows { axis: a, .. }) if a != axis => {
                    return Err(Blocker::new(format!(
                        "joins rows along axis {a} of input 0 with rows along axis {axis} of input {i}"
                    )));
                }
                Some(_) => return Err(folded_differently(i)),
            }
        }
        Ok(vec![result.unwrap_or(Batch::Shared)])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}

fn folded_differently(input: usize) -> Blocker {
    Blocker::new(format!(
        "joins input 0 and input {input}, whose batch is folded with other axes in different ways"
    ))
}

fn joined_shape(axis: i64, inputs: &[&Fact]) -> Result<Option<Vec<Dim>>, OpError> {
    let Some(rank) = inputs.iter().find_map(|f| f.rank()) else {
        return Ok(None);
    };
    let at = resolve_axis(axis, rank)?;
    let mut result: Option<Vec<Dim>> = None;
    let mut length = Dim::constant(0);
    for (i, fact) in inputs.iter().enumerate() {
        let Some(shape) = &fact.shape else {
            length = Dim::unknown();
            continue;
        };
        if shape.len() != rank {
            return Err(OpError::new(format!(
                "input {i} has {} axes, but another input has {rank}",
                shape.len()
            )));
        }
        length = &length + &shape[at];
        let Some(common) = &mut result else {
            result = Some(shape.clone());
            continue;
        };
        for (axis, (ours, theirs)) in common.iter_mut().zip(shape).enumerate() {
            if axis == at {
                continue;
            }
            if ours.equals(theirs) == Some(false) {
                return Err(OpError::new(format!(
                    "input {i} has length {theirs} on axis {axis}, but the inputs before it {ours}"
                )));
            }
            // They are equal in every run that succeeds: keep the one that says more.
            if ours.as_const().is_none() && (theirs.as_const().is_some() || ours.has_unknown()) {
                *ours = theirs.clone();
            }
        }
    }
    if let Some(slot) = result.as_mut().and_then(|r| r.get_mut(at)) {
        *slot = length;
    }
    Ok(result)
}

/// How [`Split`] cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitParts {
    /// Lengths fixed by the node.
    Lengths(Vec<i64>),
    /// Lengths are input 1, a list of i64.
    Input,
    /// This many parts of `ceil(length / parts)`, the last one shorter if need be.
    Equal(usize),
}

/// Cuts a value along an axis. Inputs: `data`, and for [`SplitParts::Input`] the lengths. Kind `Split`.
///
/// The outputs' shapes say where it cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// Into which parts.
    pub parts: SplitParts,
}

impl Split {
    fn checked(axis: i64, parts: SplitParts, outputs: usize) -> Result<Arc<dyn Operator>, OpError> {
        match &parts {
            SplitParts::Lengths(lengths) if lengths.len() != outputs => Err(OpError::attribute(
                "split",
                format!(
                    "has {} lengths, but the node has {outputs} outputs",
                    lengths.len()
                ),
            )),
            _ => Ok(Arc::new(Split { axis, parts })),
        }
    }

    /// The lengths of the parts along the axis.
    fn lengths(
        &self,
        inputs: &[Option<Fact>],
        whole: &Dim,
        outputs: usize,
    ) -> Result<Vec<Dim>, OpError> {
        let fixed = match &self.parts {
            SplitParts::Lengths(lengths) => Some(lengths.as_slice()),
            SplitParts::Input => None,
            SplitParts::Equal(parts) => {
                let count = Dim::from(*parts);
                let part = whole.ceil_div(&count);
                let last = whole - &(&part * &Dim::from(parts.saturating_sub(1)));
                let mut lengths = vec![part; outputs.max(1)];
                if let Some(slot) = lengths.last_mut() {
                    *slot = last;
                }
                return Ok(lengths);
            }
        };
        let lengths = match Parameter::fixed_or_input(fixed, inputs, 1, "split")? {
            Parameter::Known(lengths) => lengths,
            _ => return Ok((0..outputs).map(|_| Dim::unknown()).collect()),
        };
        let sum = lengths.iter().fold(Dim::constant(0), |s, n| &s + n);
        if lengths.len() != outputs || sum.equals(whole) == Some(false) {
            return Err(OpError::new(format!(
                "cannot cut an axis of length {whole} into {outputs} parts of lengths {lengths:?}"
            )));
        }
        Ok(lengths)
    }
}

impl Operator for Split {
    fn kind(&self) -> &'static str {
        "Split"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        let outputs = cx.output_count();
        let Some(shape) = &data.shape else {
            for i in 0..outputs {
                cx.set(i, of_shape(data.dtype, None));
            }
            return Ok(());
        };
        let axis = resolve_axis(self.axis, shape.len())?;
        let lengths = self.lengths(cx.inputs(), &shape[axis], outputs)?;
        let mut at = Some(0usize);
        for (i, length) in lengths.into_iter().enumerate() {
            let mut part = shape.clone();
            part[axis] = length.clone();
            check_shape(&part)?;
            let mut fact = of_shape(data.dtype, Some(part));
            let end = at.and_then(|a| a.checked_add(length.as_len()?));
            if let (1, Some(values), Some(start), Some(end)) =
                (shape.len(), &data.integers, at, end)
            {
                fact.integers = values.get(start..end).map(<[Dim]>::to_vec);
            }
            at = end;
            cx.set(i, fact);
        }
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let data = batch_of(cx, 0);
        let Batch::Rows { axis, inner, .. } = data else {
            return Err(Blocker::new("cuts where the rows say"));
        };
        let rank = batch_shape(cx, 0)?.len();
        let cut = resolve_axis(self.axis, rank).map_err(|e| Blocker::new(e.to_string()))?;
        if *axis != cut {
            return Ok(for_all(cx, data));
        }
        // Parts that hold whole blocks of all rows stay what they are.
        let block = inner * &Dim::symbol(cx.rows);
        (0..cx.output_facts.len())
            .map(|i| {
                if cx.output_facts[i].is_none() {
                    return Ok(Batch::Shared);
                }
                let length = output_shape(cx, i)?.get(cut).cloned();
                match length.and_then(|l| l.div_exact(&block)) {
                    Some(outer) if !outer.mentions(cx.rows) => Ok(Batch::Rows {
                        axis: cut,
                        outer,
                        inner: inner.clone(),
                    }),
                    _ => Err(Blocker::new(format!(
                        "cuts axis {cut}, which is the batch, into parts"
                    ))),
                }
            })
            .collect()
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// Repeats the data along each axis as often as input 1 (a list of i64) says. Inputs: `data`, `repeats`. Kind `Tile`.
///
/// The outputs' shapes say how often: element `i` of an axis is element `i mod length` of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile;

impl Operator for Tile {
    fn kind(&self) -> &'static str {
        "Tile"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        rules::typed(cx, 1, "repeats", INDICES)?;
        let repeats = Parameter::of_input(cx.inputs(), 1, "repeats")?;
        let shape = match (&data.shape, &repeats) {
            (Some(lengths), Parameter::Known(repeats)) if repeats.len() == lengths.len() => {
                check_shape(repeats)?;
                Some(lengths.iter().zip(repeats).map(|(n, r)| n * r).collect())
            }
            (Some(lengths), Parameter::Known(repeats)) => {
                return Err(OpError::new(format!(
                    "{} repeats for a value with {} axes",
                    repeats.len(),
                    lengths.len()
                )));
            }
            (Some(lengths), _) => Some(lengths.iter().map(|_| Dim::unknown()).collect()),
            (None, Parameter::Known(repeats)) if repeats.len() <= MAX_RANK => {
                Some(repeats.iter().map(|_| Dim::unknown()).collect())
            }
            _ => None,
        };
        let mut fact = of_shape(data.dtype, shape);
        fact.integers = match (&data.integers, fact.shape.as_deref()) {
            (Some(values), Some([])) => Some(values.clone()),
            (Some(values), Some([n])) => n
                .as_len()
                .filter(|&n| n <= MAX_CONTENTS)
                .map(|n| values.iter().cycle().take(n).cloned().collect()),
            _ => None,
        };
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (lengths, shape) = (batch_shape(cx, 0)?, output_shape(cx, 0)?);
        let Batch::Rows { axis, outer, inner } = batch_of(cx, 0) else {
            return rows::repeated(shape, cx.rows).map(|b| vec![b]);
        };
        let repeats = match Parameter::of_input(cx.input_facts, 1, "repeats") {
            Ok(Parameter::Known(repeats)) if repeats.len() == lengths.len() => repeats,
            _ => return Err(Blocker::new("repeats rows an unknown number of times")),
        };
        if repeats.iter().any(|r| r.mentions(cx.rows)) {
            return Err(Blocker::new("repeats rows as often as there are rows"));
        }
        // Copies of all rows, one behind the other: more blocks in front.
        let outer = outer * &repeats[*axis];
        Ok(vec![Batch::Rows {
            axis: *axis,
            outer,
            inner: inner.clone(),
        }])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}
