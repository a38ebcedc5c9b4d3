//! Operators that fold or scan along axes: reductions, arg-min and -max, cumulative sums, the k largest.
//!
//! The one idea: which axes are folded follows from the node alone, so an axis that is kept keeps its rows apart, and
//! the batch passes; an axis that is folded mixes its rows, and the batch stops there.

use super::common::resolve_axis;
use super::rules::{self, INDICES, NUMBERS, NUMBERS_AND_BOOL};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// How a reduction folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceFunction {
    /// The sum; 0 for nothing.
    Sum,
    /// The sum divided by the count.
    Mean,
    /// The largest; NaN wins. Booleans too.
    Max,
    /// The smallest; NaN wins. Booleans too.
    Min,
    /// The product; 1 for nothing.
    Prod,
    /// The sum of squares.
    SumSquare,
    /// The sum of magnitudes.
    L1,
    /// The square root of the sum of squares.
    L2,
    /// The logarithm of the sum.
    LogSum,
    /// The logarithm of the sum of exponentials.
    LogSumExp,
}

/// A reduction. Inputs: `data`, and optionally the axes as a list of integers. Kind `Reduce`.
///
/// Axes come from `axes` if it is set, else from input 1 if it is there and not empty, else all axes are folded (or none,
/// if `noop_with_empty_axes`: the function is then applied to each element alone). See [`Reduce::resolve_axes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// How it folds.
    pub function: ReduceFunction,
    /// Axes fixed by the node, negative ones counted from the end; `None` if they are an input or all.
    pub axes: Option<Vec<i64>>,
    /// Folded axes stay with length 1.
    pub keepdims: bool,
    /// No axes means that nothing is folded instead of everything.
    pub noop_with_empty_axes: bool,
}

/// The position of the largest or smallest element along an axis, as i64. Input: `data`, numbers. Kind `ArgReduce`.
///
/// NaN counts as the largest for the largest and as the smallest for the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgReduce {
    /// Of the largest element instead of the smallest.
    pub largest: bool,
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// The axis stays with length 1.
    pub keepdims: bool,
    /// Among equal elements the last instead of the first.
    pub select_last_index: bool,
}

/// How a scan accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CumulativeFunction {
    /// `CumSum`.
    Sum,
    /// `CumProd`.
    Prod,
}

/// A running sum or product along an axis. Inputs: `x`, and the axis as an integer scalar. Kind `Cumulative`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cumulative {
    /// How it accumulates.
    pub function: CumulativeFunction,
    /// Each element is left out of its own result.
    pub exclusive: bool,
    /// From the end to the beginning.
    pub reverse: bool,
}

/// The k largest or smallest elements along an axis, and their positions (i64). Inputs: `x`, and `k` as an i64 list of one.
/// Kind `TopK`.
///
/// Among equal elements the one with the lower index comes first. The result is sorted even if the model does not ask
/// for it: ONNX then allows any order, and this one is the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The axis; negative ones count from the end.
    pub axis: i64,
    /// The largest instead of the smallest.
    pub largest: bool,
    /// `k`, where the node fixes it (before opset 10); else it is input 1.
    pub k: Option<i64>,
}

impl ReduceFunction {
    /// The ONNX name.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceFunction::Sum => "ReduceSum",
            ReduceFunction::Mean => "ReduceMean",
            ReduceFunction::Max => "ReduceMax",
            ReduceFunction::Min => "ReduceMin",
            ReduceFunction::Prod => "ReduceProd",
            ReduceFunction::SumSquare => "ReduceSumSquare",
            ReduceFunction::L1 => "ReduceL1",
            ReduceFunction::L2 => "ReduceL2",
            ReduceFunction::LogSum => "ReduceLogSum",
            ReduceFunction::LogSumExp => "ReduceLogSumExp",
        }
    }

    fn allowed(self) -> &'static [DType] {
        match self {
            ReduceFunction::Max | ReduceFunction::Min => NUMBERS_AND_BOOL,
            _ => NUMBERS,
        }
    }
}

impl Reduce {
    /// The folded axes in rising order, for an input of this rank. `input` is the contents of input 1, `None` if it is left out.
    ///
    /// # Errors
    /// An axis does not exist or is there twice.
    pub fn resolve_axes(&self, rank: usize, input: Option<&[i64]>) -> Result<Vec<usize>, OpError> {
        let listed = self.axes.as_deref().or(input).unwrap_or_default();
        if listed.is_empty() {
            return Ok(if self.noop_with_empty_axes {
                Vec::new()
            } else {
                (0..rank).collect()
            });
        }
        rules::sorted_axes(listed, rank)
    }

    /// The axes as far as facts tell them: `Ok(None)` if they are data that is not known, or the rank is not.
    fn axes_of(&self, x: &Fact, axes: Option<&Fact>) -> Result<Option<Vec<usize>>, OpError> {
        let known = axes.map(Fact::known_ints);
        match (x.rank(), known) {
            (None, _) | (_, Some(None)) => Ok(None),
            (Some(rank), known) => self
                .resolve_axes(rank, known.flatten().as_deref())
                .map(Some),
        }
    }
}

/// The shape after folding axes.
fn folded(shape: &[Dim], axes: &[usize], keepdims: bool) -> Vec<Dim> {
    let mut out = Vec::with_capacity(shape.len());
    for (i, n) in shape.iter().enumerate() {
        if !axes.contains(&i) {
            out.push(n.clone());
        } else if keepdims {
            out.push(Dim::constant(1));
        }
    }
    out
}

/// Where an axis that stays ends up.
fn kept(axis: usize, axes: &[usize], keepdims: bool) -> usize {
    if keepdims {
        axis
    } else {
        axis - axes.iter().filter(|&&a| a < axis).count()
    }
}

impl Operator for Reduce {
    fn kind(&self) -> &'static str {
        "Reduce"
    }

    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "data", self.function.allowed())?;
        let axes_input = rules::optional(cx, 1, "axes", INDICES)?;
        let axes = self.axes_of(x, axes_input)?;
        let shape = match (&x.shape, &axes) {
            (Some(shape), Some(axes)) => Some(folded(shape, axes, self.keepdims)),
            // Which axes are folded is not known, but each of them stays.
            (Some(shape), None) if self.keepdims => {
                Some(shape.iter().map(|_| Dim::unknown()).collect())
            }
            _ => None,
        };
        let mut y = rules::of_shape(x.dtype, shape);
        if let (Some(known), Some(axes), true) = (&x.integers, &axes, x.rank() == Some(1)) {
            y.integers = match (axes.is_empty(), self.function) {
                (true, ReduceFunction::Sum | ReduceFunction::Prod | ReduceFunction::Max) => {
                    Some(known.clone())
                }
                (true, _) => None,
                (false, f) => fold_integers(f, known).map(|n| vec![n]),
            };
        }
        cx.set(0, y);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let axis = rules::axis_of_data(cx, &["data", "axes"])?;
        let rank = rules::batch_shape(cx, 0)?.len();
        let x = cx.input_facts.first().and_then(Option::as_ref);
        let axes_input = cx.input_facts.get(1).and_then(Option::as_ref);
        let axes = x.map(|x| self.axes_of(x, axes_input));
        let Some(Ok(Some(axes))) = axes else {
            return Err(Blocker::new("folds axes that are only known when it runs"));
        };
        if axes.contains(&axis) {
            return Err(Blocker::new(format!(
                "folds the batch axis {axis} of its input, which has {rank} axes"
            )));
        }
        let at = kept(axis, &axes, self.keepdims);
        Ok(rules::for_all(
            cx,
            &rules::moved(rules::batch_of(cx, 0), at),
        ))
    }

    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        // One operation per element of the input; two where each is transformed first.
        let each = match self.function {
            ReduceFunction::SumSquare
            | ReduceFunction::L1
            | ReduceFunction::L2
            | ReduceFunction::LogSumExp => 2,
            _ => 1,
        };
        rules::count(&[inputs.first()?.as_ref()?.element_count()?, each])
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// A whole vector of known integers folded into one: exporters multiply lengths this way.
fn fold_integers(function: ReduceFunction, known: &[Dim]) -> Option<Dim> {
    let (first, rest) = known.split_first()?;
    Some(match function {
        ReduceFunction::Sum => rest.iter().fold(first.clone(), |s, d| &s + d),
        ReduceFunction::Prod => Dim::product(known),
        ReduceFunction::Max => rest.iter().fold(first.clone(), |m, d| m.larger(d)),
        ReduceFunction::Min => rest.iter().fold(first.clone(), |m, d| m.smaller(d)),
        _ => return None,
    })
}

impl Operator for ArgReduce {
    fn kind(&self) -> &'static str {
        "ArgReduce"
    }

    fn name(&self) -> &'static str {
        if self.largest { "ArgMax" } else { "ArgMin" }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "data", NUMBERS)?;
        let mut shape = None;
        if let Some(from) = &x.shape {
            let axis = resolve_axis(self.axis, from.len())?;
            if from[axis] == Dim::constant(0) {
                return Err(OpError::new(format!(
                    "input 0 (data) is empty along axis {axis}: there is no position to give"
                )));
            }
            shape = Some(folded(from, &[axis], self.keepdims));
        }
        cx.set(0, rules::of_shape(DType::I64, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let at = not_along(cx, self.axis, &["data"], "looks for the best")?;
        let rank = rules::batch_shape(cx, 0)?.len();
        let own = resolve_axis(self.axis, rank).map_err(|e| Blocker::new(e.to_string()))?;
        let at = kept(at, &[own], self.keepdims);
        Ok(rules::for_all(
            cx,
            &rules::moved(rules::batch_of(cx, 0), at),
        ))
    }

    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        inputs.first()?.as_ref()?.element_count()
    }
}

/// The batch axis, if the operator does not work along it.
fn not_along(
    cx: &BatchContext<'_>,
    axis: i64,
    names: &[&str],
    does: &str,
) -> Result<usize, Blocker> {
    let at = rules::axis_of_data(cx, names)?;
    let rank = rules::batch_shape(cx, 0)?.len();
    match resolve_axis(axis, rank) {
        Ok(own) if own == at => Err(Blocker::new(format!("{does} along the batch axis {at}"))),
        Ok(_) => Ok(at),
        Err(e) => Err(Blocker::new(e.to_string())),
    }
}

impl Operator for Cumulative {
    fn kind(&self) -> &'static str {
        "Cumulative"
    }

    fn name(&self) -> &'static str {
        match self.function {
            CumulativeFunction::Sum => "CumSum",
            CumulativeFunction::Prod => "CumProd",
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", NUMBERS)?;
        let axis = rules::typed(cx, 1, "axis", INDICES)?;
        if let (Some(rank), Some(known)) = (x.rank(), axis.known_ints()) {
            match known.as_slice() {
                [axis] => resolve_axis(*axis, rank)?,
                _ => return Err(OpError::new("input 1 (axis) should hold one number")),
            };
        }
        cx.set(0, rules::like(x));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let axis = cx.input_facts.get(1).and_then(Option::as_ref);
        let known = axis.and_then(Fact::known_ints);
        let Some(&[axis]) = known.as_deref() else {
            return Err(Blocker::new(
                "runs along an axis that is only known when it runs",
            ));
        };
        not_along(cx, axis, &["x", "axis"], "accumulates")?;
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

impl Operator for TopK {
    fn kind(&self) -> &'static str {
        "TopK"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", NUMBERS)?;
        let k = match self.k {
            Some(k) => Dim::constant(k),
            None => {
                let k = rules::typed(cx, 1, "k", &[DType::I64])?;
                match k.integers.as_deref() {
                    Some([k]) => k.clone(),
                    Some(_) => return Err(OpError::new("input 1 (k) should hold one number")),
                    None => Dim::unknown(),
                }
            }
        };
        let mut shape = x.shape.clone();
        if let Some(shape) = &mut shape {
            let axis = resolve_axis(self.axis, shape.len())?;
            if let (Some(k), Some(n)) = (k.as_const(), shape[axis].as_const())
                && !(0..=n).contains(&k)
            {
                return Err(OpError::new(format!(
                    "k is {k}, but axis {axis} has {n} elements"
                )));
            }
            shape[axis] = k;
        }
        cx.set(0, rules::of_shape(x.dtype, shape.clone()));
        cx.set(1, rules::of_shape(DType::I64, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        not_along(cx, self.axis, &["x", "k"], "sorts")?;
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        // At least one comparison per element; what sorting takes beyond that depends on the data.
        inputs.first()?.as_ref()?.element_count()
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// `axes_input_since`: the opset from which the axes are an input instead of an attribute.
fn reduce(
    spec: &mut NodeSpec<'_>,
    function: ReduceFunction,
    axes_input_since: i64,
) -> Result<Arc<dyn Operator>, OpError> {
    let as_input = spec.opset >= axes_input_since;
    if !as_input && spec.has_input(1) {
        return Err(OpError::new(format!(
            "takes its axes as an input only since opset {axes_input_since}; the model imports {}",
            spec.opset
        )));
    }
    Ok(Arc::new(Reduce {
        function,
        axes: if as_input {
            None
        } else {
            spec.attributes.ints("axes")?
        },
        keepdims: spec.attributes.flag("keepdims", true)?,
        noop_with_empty_axes: as_input && spec.attributes.flag("noop_with_empty_axes", false)?,
    }))
}

fn arg_reduce(spec: &mut NodeSpec<'_>, largest: bool) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(ArgReduce {
        largest,
        axis: spec.attributes.int_or("axis", 0)?,
        keepdims: spec.attributes.flag("keepdims", true)?,
        select_last_index: spec.opset >= 12 && spec.attributes.flag("select_last_index", false)?,
    }))
}

fn cumulative(
    spec: &mut NodeSpec<'_>,
    function: CumulativeFunction,
) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(Cumulative {
        function,
        exclusive: spec.attributes.flag("exclusive", false)?,
        reverse: spec.attributes.flag("reverse", false)?,
    }))
}

fn top_k(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let axis = spec.attributes.int_or("axis", -1)?;
    let mut op = TopK {
        axis,
        largest: true,
        k: None,
    };
    if spec.opset < 10 {
        let k = spec.attributes.int("k")?;
        op.k = Some(k.ok_or_else(|| OpError::attribute("k", "is missing"))?);
    }
    if spec.opset >= 11 {
        op.largest = spec.attributes.flag("largest", true)?;
        // An order that the model leaves open is the sorted one here.
        spec.attributes.flag("sorted", true)?;
    }
    Ok(Arc::new(op))
}

const fn line(
    name: &'static str,
    opsets: (i64, i64),
    build: fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>,
    inputs: (usize, usize),
    outputs: usize,
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets,
        build,
        inputs,
        outputs: (1, outputs),
    }
}

macro_rules! reduce {
    ($function:ident, $axes_input_since:literal) => {
        line(
            ReduceFunction::$function.name(),
            (7, i64::MAX),
            |s| reduce(s, ReduceFunction::$function, $axes_input_since),
            (1, 2),
            1,
        )
    };
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    reduce!(Sum, 13),
    reduce!(Mean, 18),
    reduce!(Max, 18),
    reduce!(Min, 18),
    reduce!(Prod, 18),
    reduce!(SumSquare, 18),
    reduce!(L1, 18),
    reduce!(L2, 18),
    reduce!(LogSum, 18),
    reduce!(LogSumExp, 18),
    line("ArgMax", (7, i64::MAX), |s| arg_reduce(s, true), (1, 1), 1),
    line("ArgMin", (7, i64::MAX), |s| arg_reduce(s, false), (1, 1), 1),
    line(
        "CumSum",
        (11, i64::MAX),
        |s| cumulative(s, CumulativeFunction::Sum),
        (2, 2),
        1,
    ),
    line(
        "CumProd",
        (26, i64::MAX),
        |s| cumulative(s, CumulativeFunction::Prod),
        (2, 2),
        1,
    ),
    line("TopK", (7, 9), top_k, (1, 1), 2),
    line("TopK", (10, i64::MAX), top_k, (2, 2), 2),
];
