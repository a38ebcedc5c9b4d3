//! What one row costs: arithmetic, and bytes that move.
//!
//! The one idea: shapes are inferred for one row, with every other open length set to a stated number, and each operator
//! says what it does for them. What cannot be known before data is there is counted apart, never guessed.

use serde::Serialize;
use unisono::graph::infer::infer;
use unisono::graph::{Dim, Fact, Graph};
use unisono::{DType, Model};

use crate::failure::Failure;
use crate::request::shapes::{GivenDim, GivenShapes, Lengths};

/// The cost of one row.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Lengths that were assumed, beside one row.
    pub assumed: std::collections::BTreeMap<String, usize>,
    /// Arithmetic operations; a multiplication with an addition counts as two. Of the rewritten graph.
    pub flops_per_row: u64,
    /// Bytes of the inputs, of the outputs, and of every value that a node makes (outputs included).
    pub bytes_per_row: Bytes,
    /// Bytes of weights, read once a request however many rows it has.
    pub weight_bytes: u64,
    /// Nodes of which the cost is not known: their shapes depend on data, or they have bodies.
    pub nodes_not_counted: usize,
}

/// Bytes of one row's values.
#[derive(Debug, Default, Serialize)]
pub struct Bytes {
    pub inputs: u64,
    pub outputs: u64,
    pub made: u64,
}

/// The cost of a model, or why it cannot be told.
///
/// # Errors
/// A `--dim` that the model does not have.
pub fn cost(model: &Model, dims: &[GivenDim]) -> Result<Result<Cost, String>, Failure> {
    let mut lengths = Lengths::fitting(model, dims, &GivenShapes::default())?;
    let mut inputs = Vec::new();
    for port in model.inputs() {
        match lengths.shape(port, 1) {
            Ok(shape) => {
                let shape = shape.into_iter().map(Dim::from).collect();
                inputs.push(Fact::new(port.dtype, shape));
            }
            Err(_) => {
                return Ok(Err(format!(
                    "the rank of input \"{}\" is not known",
                    port.name
                )));
            }
        }
    }
    let facts = match infer(model.graph(), &inputs) {
        Ok(facts) => facts,
        Err(error) => {
            let lengths = lengths.assumed();
            return Ok(Err(format!(
                "the shapes do not fit each other for {lengths:?}: {error}"
            )));
        }
    };
    let mut cost = Cost {
        assumed: lengths.assumed(),
        flops_per_row: 0,
        bytes_per_row: Bytes::default(),
        weight_bytes: model.summary().parameter_bytes,
        nodes_not_counted: 0,
    };
    add_up(model.graph(), &facts, &mut cost);
    Ok(Ok(cost))
}

fn add_up(graph: &Graph, facts: &[Option<Fact>], cost: &mut Cost) {
    let fact = |id: &unisono::graph::ValueId| facts.get(id.index()).cloned().flatten();
    let bytes_of =
        |ids: &[unisono::graph::ValueId]| ids.iter().filter_map(|id| bytes(&fact(id)?)).sum();
    cost.bytes_per_row.inputs = bytes_of(graph.inputs());
    cost.bytes_per_row.outputs = bytes_of(graph.outputs());
    for node in graph.nodes() {
        let known = |ids: &[Option<unisono::graph::ValueId>]| -> Vec<Option<Fact>> {
            ids.iter().map(|id| fact(id.as_ref()?)).collect()
        };
        let (inputs, outputs) = (known(&node.inputs), known(&node.outputs));
        let flops = match node.op.subgraphs().is_empty() {
            true => node.op.flops(&inputs, &outputs),
            false => None,
        };
        match flops {
            Some(flops) => cost.flops_per_row = cost.flops_per_row.saturating_add(flops),
            None => cost.nodes_not_counted += 1,
        }
        let made: u64 = outputs.iter().flatten().filter_map(bytes).sum();
        cost.bytes_per_row.made = cost.bytes_per_row.made.saturating_add(made);
    }
}

fn bytes(fact: &Fact) -> Option<u64> {
    if fact.dtype == DType::String {
        return None;
    }
    fact.element_count()?.checked_mul(fact.dtype.size() as u64)
}
