//! [`Loop`] and [`Scan`].

use super::{body, body_inputs, body_outputs, formal_inputs, inside};
use crate::attribute::Subgraph;
use crate::infer::Nesting;
use crate::ops::NodeSpec;
use crate::ops::common::resolve_axis;
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use unisono_tensor::DType;

/// Runs a body again and again. Inputs: `trip_count` (i64 scalar, optional), `condition` (boolean scalar, optional), the
/// first values of what is carried, then the values that the body captures. Kind `Loop`.
///
/// The body's formal inputs are the iteration number (i64 scalar), the condition, and the carried values; its outputs the
/// next condition, the next carried values, and values to be collected. The node's outputs are the last carried values,
/// then one stacked value (a new axis in front) for each that is collected.
#[derive(Clone, Debug)]
pub struct Loop {
    /// What runs.
    pub body: Subgraph,
    /// How many values are carried.
    pub carried: usize,
}

impl Loop {
    pub(super) fn new(spec: &mut NodeSpec<'_>) -> Result<Loop, OpError> {
        let body = body(spec, "body")?;
        let formal = formal_inputs(&body).unwrap_or(0);
        let outputs = body.graph.outputs().len();
        let Some(carried) = formal.checked_sub(2) else {
            return Err(OpError::attribute(
                "body",
                format!("has {formal} inputs; it needs the iteration number and the condition"),
            ));
        };
        check_counts(
            carried + 1,
            outputs,
            spec.output_count.saturating_add(1),
            spec.inputs.len(),
            formal,
        )?;
        Ok(Loop { body, carried })
    }

    /// What is known of the body's inputs in every round.
    pub(crate) fn enter(&self, inputs: &[Option<Fact>]) -> Result<Vec<Option<Fact>>, OpError> {
        let scalar = |dtype| Some(Fact::new(dtype, vec![]));
        let carried = (2..2 + self.carried).map(|i| inputs.get(i).cloned().flatten());
        let first = [scalar(DType::I64), scalar(DType::Bool)]
            .into_iter()
            .chain(carried.map(any_contents));
        let mut entered = body_inputs(&self.body, first, inputs);
        steady(&self.body, &mut entered, 2, 1, self.carried)?;
        Ok(entered)
    }
}

/// Checks the counts of a body's outputs and a node's inputs.
fn check_counts(
    needed_outputs: usize,
    outputs: usize,
    node_outputs: usize,
    node_inputs: usize,
    formal: usize,
) -> Result<(), OpError> {
    if outputs < needed_outputs || outputs < node_outputs {
        return Err(OpError::attribute(
            "body",
            format!(
                "has {outputs} outputs; the node needs {}",
                needed_outputs.max(node_outputs)
            ),
        ));
    }
    if node_inputs < formal {
        return Err(OpError::attribute(
            "body",
            format!("has {formal} inputs, but the node gives {node_inputs}"),
        ));
    }
    Ok(())
}

/// A value whose contents change from round to round.
fn any_contents(fact: Option<Fact>) -> Option<Fact> {
    fact.map(|f| Fact {
        integers: None,
        constant: None,
        ..f
    })
}

/// Widens carried values (inputs from `first_in` on, outputs from `first_out` on) until a round keeps them.
fn steady(
    body: &Subgraph,
    inputs: &mut [Option<Fact>],
    first_in: usize,
    first_out: usize,
    carried: usize,
) -> Result<(), OpError> {
    // A length that changes is widened at once, so more rounds are needed only where one change follows another.
    let rounds = if Nesting::is_shallow() { 3 } else { 0 };
    for _ in 0..rounds {
        let outputs = body_outputs(body, inputs).map_err(|e| inside("body", &e))?;
        let carried = inputs.iter_mut().skip(first_in).take(carried);
        let mut changed = false;
        for (input, output) in carried.zip(outputs.iter().skip(first_out)) {
            let Some(before) = input else { continue };
            let after = output.as_ref();
            if let Some(after) = after.filter(|a| a.dtype != before.dtype) {
                return Err(OpError::new(format!(
                    "carries a value that is {} before a round and {} after it",
                    before.dtype, after.dtype
                )));
            }
            changed |= widen(&mut before.shape, after.and_then(|a| a.shape.as_deref()));
        }
        if !changed {
            return Ok(());
        }
    }
    for fact in inputs.iter_mut().skip(first_in).take(carried).flatten() {
        fact.shape = None;
    }
    Ok(())
}

/// Makes unknown what a round changes. Did it change anything that was not unknown already?
fn widen(before: &mut Option<Vec<Dim>>, after: Option<&[Dim]>) -> bool {
    let Some(lengths) = before else {
        return false;
    };
    let Some(after) = after.filter(|a| a.len() == lengths.len()) else {
        *before = None;
        return true;
    };
    let mut changed = false;
    for (length, after) in lengths.iter_mut().zip(after) {
        if length != after && !length.is_unknown() {
            *length = Dim::unknown();
            changed = true;
        }
    }
    changed
}

/// What is known of a carried value after all rounds: lengths that the first value and every round agree about.
fn settled(before: Option<&Fact>, after: Option<&Fact>) -> Option<Fact> {
    any_contents(super::join(before?, after?))
}

impl Operator for Loop {
    fn kind(&self) -> &'static str {
        "Loop"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let entered = self.enter(cx.inputs())?;
        let outputs = body_outputs(&self.body, &entered).map_err(|e| inside("body", &e))?;
        let fact = |i: usize| outputs.get(i).and_then(Option::as_ref);
        for i in 0..self.carried {
            if let Some(fact) = settled(entered.get(2 + i).and_then(Option::as_ref), fact(1 + i)) {
                cx.set(i, fact);
            }
        }
        // The number of rounds is known if nothing but the trip count ends the loop.
        let goes_on = cx
            .optional(1)
            .is_none_or(|c| c.known_ints() == Some(vec![1]))
            && fact(0).is_some_and(|c| c.known_ints() == Some(vec![1]));
        let rounds = match cx.optional(0).and_then(|m| m.integers.as_deref()) {
            Some([n]) if goes_on && n.lower_bound() >= Some(0) => n.clone(),
            _ => Dim::unknown(),
        };
        for i in self.carried..outputs.len().saturating_sub(1) {
            if let Some(mut slice) = any_contents(fact(1 + i).cloned()) {
                if let Some(shape) = &mut slice.shape {
                    shape.insert(0, rounds.clone());
                }
                cx.set(i, slice);
            }
        }
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        super::batch(self, cx)
    }

    /// Not known: it depends on the number of rounds.
    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        None
    }

    fn subgraphs(&self) -> Vec<&Subgraph> {
        vec![&self.body]
    }
}

/// One scanned input or output of a [`Scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanAxis {
    /// The axis along which it is cut or joined; negative ones count from the end.
    pub axis: i64,
    /// From the end to the beginning.
    pub reverse: bool,
}

/// Runs a body for each slice of some inputs. Inputs: the first values of what is carried, the values to be cut, then the
/// values that the body captures. Kind `Scan`.
///
/// The body's formal inputs are the carried values and one slice of each cut value (without its axis); its outputs the
/// next carried values and one slice of each scanned output.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What runs.
    pub body: Subgraph,
    /// How many values are carried.
    pub carried: usize,
    /// The inputs that are cut.
    pub inputs: Vec<ScanAxis>,
    /// The outputs that are joined.
    pub outputs: Vec<ScanAxis>,
}

impl Scan {
    pub(super) fn new(spec: &mut NodeSpec<'_>) -> Result<Scan, OpError> {
        let body = body(spec, "body")?;
        let formal = formal_inputs(&body).unwrap_or(0);
        let count = spec.attributes.int("num_scan_inputs")?;
        let count = count.ok_or_else(|| OpError::attribute("num_scan_inputs", "is missing"))?;
        let cut = usize::try_from(count)
            .ok()
            .filter(|&n| n >= 1 && n <= formal);
        let cut = cut.ok_or_else(|| {
            OpError::attribute(
                "num_scan_inputs",
                format!("is {count}, but the body has {formal} inputs"),
            )
        })?;
        let carried = formal - cut;
        let outputs = body.graph.outputs().len();
        check_counts(
            carried,
            outputs,
            spec.output_count,
            spec.inputs.len(),
            formal,
        )?;
        let mut axes = |prefix: &str, n: usize| -> Result<Vec<ScanAxis>, OpError> {
            let mut list = |name: String| -> Result<Vec<i64>, OpError> {
                match spec.attributes.ints(&name)? {
                    None => Ok(vec![0; n]),
                    Some(list) if list.len() == n => Ok(list),
                    Some(list) => Err(OpError::attribute(
                        &name,
                        format!("has {} entries; needed are {n}", list.len()),
                    )),
                }
            };
            let axes = list(format!("{prefix}_axes"))?;
            let directions = list(format!("{prefix}_directions"))?;
            Ok(axes
                .into_iter()
                .zip(directions)
                .map(|(axis, d)| ScanAxis {
                    axis,
                    reverse: d != 0,
                })
                .collect())
        };
        Ok(Scan {
            inputs: axes("scan_input", cut)?,
            outputs: axes("scan_output", outputs - carried)?,
            body,
            carried,
        })
    }

    /// What is known of the body's inputs in every round.
    pub(crate) fn enter(&self, inputs: &[Option<Fact>]) -> Result<Vec<Option<Fact>>, OpError> {
        let mut formal: Vec<Option<Fact>> = (0..self.carried)
            .map(|i| any_contents(inputs.get(i).cloned().flatten()))
            .collect();
        for (i, scan) in self.inputs.iter().enumerate() {
            let mut slice = any_contents(inputs.get(self.carried + i).cloned().flatten());
            if let Some(shape) = slice.as_mut().and_then(|s| s.shape.as_mut()) {
                shape.remove(resolve_axis(scan.axis, shape.len())?);
            }
            formal.push(slice);
        }
        let mut entered = body_inputs(&self.body, formal, inputs);
        steady(&self.body, &mut entered, 0, 0, self.carried)?;
        Ok(entered)
    }

    /// The number of rounds.
    fn rounds(&self, inputs: &[Option<Fact>]) -> Result<Dim, OpError> {
        let mut rounds: Option<Dim> = None;
        for (i, scan) in self.inputs.iter().enumerate() {
            let fact = inputs.get(self.carried + i).and_then(Option::as_ref);
            let Some(shape) = fact.and_then(|f| f.shape.as_ref()) else {
                continue;
            };
            let length = &shape[resolve_axis(scan.axis, shape.len())?];
            match &rounds {
                Some(others) if others.equals(length) == Some(false) => {
                    return Err(OpError::new(format!(
                        "cuts inputs of different lengths, {others} and {length}"
                    )));
                }
                Some(others) if others.as_const().is_some() => {}
                _ => rounds = Some(length.clone()),
            }
        }
        Ok(rounds.unwrap_or_else(Dim::unknown))
    }
}

impl Operator for Scan {
    fn kind(&self) -> &'static str {
        "Scan"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let entered = self.enter(cx.inputs())?;
        let outputs = body_outputs(&self.body, &entered).map_err(|e| inside("body", &e))?;
        let rounds = self.rounds(cx.inputs())?;
        let fact = |i: usize| outputs.get(i).and_then(Option::as_ref);
        for i in 0..self.carried {
            if let Some(fact) = settled(entered.get(i).and_then(Option::as_ref), fact(i)) {
                cx.set(i, fact);
            }
        }
        for (i, scan) in self.outputs.iter().enumerate() {
            let i = self.carried + i;
            if let Some(mut slice) = any_contents(fact(i).cloned()) {
                if let Some(shape) = &mut slice.shape {
                    shape.insert(resolve_axis(scan.axis, shape.len() + 1)?, rounds.clone());
                }
                cx.set(i, slice);
            }
        }
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        super::batch(self, cx)
    }

    /// The body's, times the number of rounds.
    fn flops(&self, inputs: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        let entered = self.enter(inputs).ok()?;
        let facts = crate::infer::infer_partial(&self.body.graph, &entered).ok()?;
        let rounds = u64::try_from(self.rounds(inputs).ok()?.as_const()?).ok()?;
        crate::infer::flops(&self.body.graph, &facts)?.checked_mul(rounds)
    }

    fn subgraphs(&self) -> Vec<&Subgraph> {
        vec![&self.body]
    }
}
