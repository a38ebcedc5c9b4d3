//! Operators with bodies: a choice, and two loops.
//!
//! The one idea: a body is a graph of its own, closed over nothing (see [`Subgraph`]), so whatever can be said of a graph
//! can be said of a body, given what is known of its inputs. A loop's body is looked at again and again: lengths that a
//! round changes are unknown in every round.
//!
//! How the batch passes through bodies stands in [`mod@crate::contract`], which walks them like any graph.

mod branch;
mod repeat;

pub use branch::If;
pub use repeat::{Loop, Scan, ScanAxis};

use super::{Definition, NodeSpec};
use crate::attribute::Subgraph;
use crate::infer::{InferError, infer_partial};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, OpError, Operator};
use std::sync::Arc;

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(1, "If", (1, usize::MAX), (1, usize::MAX), |spec| {
        let then_branch = body(spec, "then_branch")?;
        let else_branch = body(spec, "else_branch")?;
        for (name, branch) in [("then_branch", &then_branch), ("else_branch", &else_branch)] {
            if formal_inputs(branch) != Some(0) {
                return Err(OpError::attribute(name, "has inputs of its own"));
            }
            let outputs = branch.graph.outputs().len();
            if outputs != spec.output_count {
                return Err(OpError::attribute(
                    name,
                    format!(
                        "has {outputs} outputs, but the node has {}",
                        spec.output_count
                    ),
                ));
            }
        }
        Ok(Arc::new(If {
            then_branch,
            else_branch,
        }))
    }),
    Definition::since(1, "Loop", (2, usize::MAX), (1, usize::MAX), |spec| {
        Ok(Arc::new(Loop::new(spec)?))
    }),
    Definition::since(9, "Scan", (1, usize::MAX), (1, usize::MAX), |spec| {
        Ok(Arc::new(Scan::new(spec)?))
    }),
];

/// A body whose captured inputs exist.
fn body(spec: &mut NodeSpec<'_>, name: &str) -> Result<Subgraph, OpError> {
    let body = spec.attributes.graph(name)?;
    if formal_inputs(&body).is_none() || body.captures.iter().any(|&c| c >= spec.inputs.len()) {
        return Err(OpError::attribute(
            name,
            "captures values that are not inputs of the node",
        ));
    }
    Ok(body)
}

/// Inputs of the body that are not captured.
fn formal_inputs(body: &Subgraph) -> Option<usize> {
    body.graph.inputs().len().checked_sub(body.captures.len())
}

/// Inputs of the body: formal ones, then captured ones.
pub(crate) fn body_inputs<T: Clone>(
    body: &Subgraph,
    formal: impl IntoIterator<Item = Option<T>>,
    inputs: &[Option<T>],
) -> Vec<Option<T>> {
    let captured = body.captures.iter().map(|&c| inputs.get(c)?.clone());
    formal.into_iter().chain(captured).collect()
}

/// What is known of the body's outputs.
fn body_outputs(body: &Subgraph, inputs: &[Option<Fact>]) -> Result<Vec<Option<Fact>>, InferError> {
    let facts = infer_partial(&body.graph, inputs)?;
    let outputs = body.graph.outputs().iter();
    Ok(outputs
        .map(|o| facts.get(o.index()).cloned().flatten())
        .collect())
}

/// An error inside of a body, as an error of the node that has it.
fn inside(what: &str, error: &InferError) -> OpError {
    OpError::new(format!("in its {what}: {error}"))
}

/// A length that is one or the other.
fn either(a: &Dim, b: &Dim) -> Dim {
    if a == b { a.clone() } else { Dim::unknown() }
}

/// What is known of a value that is one or the other; `None` if their types differ.
fn join(a: &Fact, b: &Fact) -> Option<Fact> {
    if a.dtype != b.dtype {
        return None;
    }
    let zip = |a: &[Dim], b: &[Dim]| -> Option<Vec<Dim>> {
        (a.len() == b.len()).then(|| a.iter().zip(b).map(|(x, y)| either(x, y)).collect())
    };
    let both = |a: &Option<Vec<Dim>>, b: &Option<Vec<Dim>>| zip(a.as_deref()?, b.as_deref()?);
    Some(Fact {
        dtype: a.dtype,
        shape: both(&a.shape, &b.shape),
        integers: both(&a.integers, &b.integers),
        constant: None,
    })
}

/// The batch of an operator with bodies, from the contract's walk.
fn batch(op: &dyn Operator, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
    crate::contract::batch_of_control(op, cx)
}
