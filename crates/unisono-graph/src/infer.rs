//! Types, shapes and shape-valued contents of every value of a graph, from what is known of its inputs.
//!
//! The one idea: one walk in the order of execution, in which every operator states what it knows
//! ([`Operator::infer`](crate::Operator::infer)). The same walk serves symbols (when a model is loaded), numbers (when a
//! plan is made) and mixtures of both. It runs no kernel and folds no floats.
//!
//! What an operator cannot state stays unknown, and so does what follows from it. An error means that no run with such
//! inputs can succeed.

use crate::graph::Node;
use crate::{Dim, Fact, Graph, OpError, Symbol, ValueId};
use std::cell::Cell;
use std::fmt;

/// The largest number of elements in all whose contents are followed. Lists of lengths are short; a hostile file could copy
/// a long one from node to node until memory is full. Beyond this number only short ones are followed.
const MAX_FOLLOWED: usize = 1 << 21;

/// What is known of every value of the graph, by [`ValueId::index`]; `None` where nothing is.
///
/// `inputs` are in the order of [`Graph::inputs`].
///
/// # Errors
/// The number of inputs is wrong, or a node does not allow what it is given.
pub fn infer(graph: &Graph, inputs: &[Fact]) -> Result<Vec<Option<Fact>>, InferError> {
    let inputs: Vec<Option<Fact>> = inputs.iter().cloned().map(Some).collect();
    infer_partial(graph, &inputs)
}

/// The same where nothing may be known of some inputs.
pub fn infer_partial(
    graph: &Graph,
    inputs: &[Option<Fact>],
) -> Result<Vec<Option<Fact>>, InferError> {
    if inputs.len() != graph.inputs().len() {
        return Err(InferError {
            node: None,
            operator: None,
            inputs: Vec::new(),
            error: OpError::new(format!(
                "the graph has {} inputs, but {} were described",
                graph.inputs().len(),
                inputs.len()
            )),
        });
    }
    let _nested = Nesting::enter();
    let mut facts: Vec<Option<Fact>> = graph
        .values()
        .iter()
        .map(|v| v.constant.as_ref().map(Fact::constant))
        .collect();
    for (&id, fact) in graph.inputs().iter().zip(inputs) {
        if let Some(slot) = facts.get_mut(id.index()) {
            slot.clone_from(fact);
        }
    }
    let mut given = Vec::new();
    let mut followed = 0usize;
    for node in graph.nodes() {
        given.clear();
        given.extend(node.inputs.iter().map(|i| fact_of(&facts, *i)));
        let outputs = infer_node(node, &given)?;
        for (id, mut fact) in node.outputs.iter().zip(outputs) {
            if let Some(contents) = fact.as_mut().map(|f| &mut f.integers) {
                let count = contents.as_ref().map_or(0, Vec::len);
                followed = followed.saturating_add(count);
                if followed > MAX_FOLLOWED && count > 64 {
                    *contents = None;
                }
            }
            if let Some(slot) = id.and_then(|id| facts.get_mut(id.index())) {
                *slot = fact;
            }
        }
    }
    Ok(facts)
}

fn fact_of(facts: &[Option<Fact>], id: Option<ValueId>) -> Option<Fact> {
    facts.get(id?.index())?.clone()
}

/// What is known of the outputs of one node, from what is known of its inputs.
///
/// # Errors
/// The operator does not allow such inputs.
pub fn infer_node(node: &Node, inputs: &[Option<Fact>]) -> Result<Vec<Option<Fact>>, InferError> {
    let blind = node
        .inputs
        .iter()
        .zip(inputs)
        .any(|(id, fact)| id.is_some() && fact.is_none());
    if blind {
        return Ok(vec![None; node.outputs.len()]);
    }
    let mut cx = crate::InferContext::new(inputs, node.outputs.len());
    let stated = node.op.infer(&mut cx).and_then(|()| {
        let outputs = cx.into_outputs();
        for shape in outputs.iter().flatten().filter_map(|f| f.shape.as_ref()) {
            crate::ops::common::check_shape(shape)?;
        }
        Ok(outputs)
    });
    stated.map_err(|error| InferError {
        node: Some(node.name.clone()),
        operator: Some(node.op.name()),
        inputs: inputs.iter().map(describe).collect(),
        error,
    })
}

/// Facts of the graph's inputs as the model declares them.
///
/// A length that the model leaves open without a name becomes a symbol named after the input and its axis, `mask[0]`, so
/// that it can be told apart from every other.
pub fn declared_inputs(graph: &Graph) -> Vec<Option<Fact>> {
    graph
        .inputs()
        .iter()
        .map(|&id| {
            let value = graph.values().get(id.index())?;
            let mut fact = Fact::declared(value.declared.as_ref()?);
            for (axis, length) in fact.shape.iter_mut().flatten().enumerate() {
                // Exporters write "?" for a length that they do not know, also twice in one shape.
                let nameless = length
                    .as_symbol()
                    .is_some_and(|s| matches!(s.name(), "" | "?" | "-1"));
                if nameless || length.has_unknown() || length.as_const().is_some_and(|n| n < 0) {
                    *length = Dim::symbol(&Symbol::new(&anonymous_name(&value.name, axis)));
                }
            }
            Some(fact)
        })
        .collect()
}

/// The symbol's name for a length of an input that the model leaves open without a name.
pub fn anonymous_name(input: &str, axis: usize) -> String {
    format!("{input}[{axis}]")
}

/// Arithmetic of all nodes; see [`Operator::flops`](crate::Operator::flops). `facts` are those of [`infer`], concrete.
/// `None` if a shape is not known or the sum overflows.
pub fn flops(graph: &Graph, facts: &[Option<Fact>]) -> Option<u64> {
    graph.nodes().iter().try_fold(0u64, |sum, node| {
        let gather = |ids: &[Option<ValueId>]| -> Vec<Option<Fact>> {
            ids.iter().map(|&id| fact_of(facts, id)).collect()
        };
        let flops = node
            .op
            .flops(&gather(&node.inputs), &gather(&node.outputs))?;
        sum.checked_add(flops)
    })
}

/// How deep the current thread is in bodies within bodies. Loops infer their bodies several times, which a hostile
/// file could nest until the work multiplies without end.
pub(crate) struct Nesting;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

impl Nesting {
    fn enter() -> Nesting {
        DEPTH.set(DEPTH.get() + 1);
        Nesting
    }

    /// May a loop at this depth afford a second look at its body?
    pub(crate) fn is_shallow() -> bool {
        DEPTH.get() <= 3
    }
}

impl Drop for Nesting {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// A type and shape for messages: `f32[batch, 3]`.
fn describe(fact: &Option<Fact>) -> String {
    match fact {
        None => "none".to_owned(),
        Some(fact) => match &fact.shape {
            Some(shape) => format!("{}{shape:?}", fact.dtype),
            None => format!("{} of unknown rank", fact.dtype),
        },
    }
}

/// A node that does not allow what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferError {
    /// The node's name, with the path of what encloses it; `None` if it is about the graph's inputs.
    pub node: Option<String>,
    /// The operator's name.
    pub operator: Option<&'static str>,
    /// Types and shapes of the node's inputs, `f32[batch, 3]`.
    pub inputs: Vec<String>,
    /// What is wrong.
    pub error: OpError,
}

impl fmt::Display for InferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "node \"{node}\"")?;
            if let Some(operator) = self.operator {
                write!(f, " ({operator})")?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}", self.error)?;
        if !self.inputs.is_empty() {
            write!(f, "; inputs: {}", self.inputs.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for InferError {}
