//! What one row costs: arithmetic, and bytes that move.
//!
//! The one idea: shapes are inferred for one row, with every other open length set to a stated number, and each operator
//! says what it does for them. Of two branches the dearer one counts. What cannot be known before data is there is counted apart, never guessed.

use serde::Serialize;
use unisono::graph::attribute::Subgraph;
use unisono::graph::infer::{infer, infer_partial};
use unisono::graph::ops::control::If;
use unisono::graph::{Fact, Graph, ValueId};
use unisono::{DType, Model};

use crate::failure::Failure;
use crate::request::Assumptions;
use crate::request::shapes::GivenShapes;

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
    /// Nodes of which the cost is not known: loops, and what has a shape that depends on data.
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
/// Something is assumed of what the model does not have.
pub fn cost(model: &Model, assumptions: &Assumptions) -> Result<Result<Cost, String>, Failure> {
    let mut lengths = assumptions.lengths(model, &GivenShapes::default())?;
    let mut inputs = Vec::new();
    for port in model.inputs() {
        match lengths.shape(port, 1) {
            Ok(shape) => inputs.push(assumptions.fact(port, &shape)),
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
    let bytes_of = |ids: &[ValueId]| {
        let facts = ids.iter().filter_map(|id| facts.get(id.index())?.as_ref());
        facts.filter_map(bytes).sum()
    };
    let sum = add_up(model.graph(), &facts);
    Ok(Ok(Cost {
        assumed: lengths.assumed(),
        flops_per_row: sum.flops,
        bytes_per_row: Bytes {
            inputs: bytes_of(model.graph().inputs()),
            outputs: bytes_of(model.graph().outputs()),
            made: sum.made,
        },
        weight_bytes: model.summary().parameter_bytes,
        nodes_not_counted: sum.not_counted,
    }))
}

/// What the nodes of a graph add up to.
#[derive(Default)]
struct Sum {
    flops: u64,
    made: u64,
    not_counted: usize,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.flops = self.flops.saturating_add(other.flops);
        self.made = self.made.saturating_add(other.made);
        self.not_counted += other.not_counted;
    }
}

fn add_up(graph: &Graph, facts: &[Option<Fact>]) -> Sum {
    let known = |ids: &[Option<ValueId>]| -> Vec<Option<Fact>> {
        let fact = |id: &Option<ValueId>| facts.get((*id)?.index())?.clone();
        ids.iter().map(fact).collect()
    };
    let mut sum = Sum::default();
    for node in graph.nodes() {
        let (inputs, outputs) = (known(&node.inputs), known(&node.outputs));
        if let Some(branches) = node.op.downcast_ref::<If>() {
            sum.add(&branch(branches, &inputs));
            continue;
        }
        // How often a loop runs its body depends on data.
        let loops = !node.op.subgraphs().is_empty();
        match node.op.flops(&inputs, &outputs).filter(|_| !loops) {
            Some(flops) => sum.flops = sum.flops.saturating_add(flops),
            None => sum.not_counted += 1,
        }
        let made = outputs.iter().flatten().filter_map(bytes).sum();
        sum.made = sum.made.saturating_add(made);
    }
    sum
}

/// The branch that is taken, or the dearer one if that depends on data.
fn branch(node: &If, inputs: &[Option<Fact>]) -> Sum {
    let of = |body: &Subgraph| {
        let captured: Vec<Option<Fact>> = body
            .captures
            .iter()
            .map(|&i| inputs.get(i)?.clone())
            .collect();
        // A branch that cannot work on these shapes is not the one that is taken.
        infer_partial(&body.graph, &captured)
            .ok()
            .map(|facts| add_up(&body.graph, &facts))
    };
    let taken = match If::condition(inputs) {
        Some(true) => of(&node.then_branch),
        Some(false) => of(&node.else_branch),
        None => {
            let branches = [of(&node.then_branch), of(&node.else_branch)];
            branches.into_iter().flatten().max_by_key(|sum| sum.flops)
        }
    };
    taken.unwrap_or(Sum {
        not_counted: 1,
        ..Sum::default()
    })
}

fn bytes(fact: &Fact) -> Option<u64> {
    if fact.dtype == DType::String {
        return None;
    }
    fact.element_count()?.checked_mul(fact.dtype.size() as u64)
}
