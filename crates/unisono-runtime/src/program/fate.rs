//! Which nodes of a graph must run.

use unisono_graph::ops::shape::{Flatten, Reshape, Squeeze, Unsqueeze};
use unisono_graph::ops::unary::{Dropout, Identity};
use unisono_graph::{Graph, Node, ValueId};

use super::facts::Known;

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody needs it, or what it makes is known already.
    Skip,
    /// Its output is its input's bytes under another shape.
    View,
    /// It runs, with shapes that are known.
    Static,
    /// It runs, and its shapes depend on data.
    Dynamic,
}

/// Is the node's first output the bytes of its first input under another shape?
pub fn is_view(node: &Node) -> bool {
    let op = &*node.op;
    let first_only = node.outputs.iter().skip(1).all(Option::is_none);
    first_only
        && (op.is::<Reshape>()
            || op.is::<Flatten>()
            || op.is::<Squeeze>()
            || op.is::<Unsqueeze>()
            || op.is::<Identity>()
            || op.is::<Dropout>())
}

/// Has value number `id` contents that need no node to run: a constant, or integers that follow from shapes? `known` tells of
/// the graph's values in their order; behind them may stand others.
pub fn is_literal(graph: &Graph, known: &[Option<Known>], id: usize) -> bool {
    let constant = graph.values().get(id).and_then(|v| v.constant.as_ref());
    let known = known.get(id).and_then(Option::as_ref);
    constant.is_some()
        || known.is_some_and(|k| {
            k.constant.is_some()
                || (k.integers.is_some() && k.shape.is_some() && !k.dtype.is_float())
        })
}

/// Walks back from the outputs: which nodes must run, and how.
pub fn fates(graph: &Graph, known: &[Option<Known>]) -> Vec<Fate> {
    let literal = |id: ValueId| is_literal(graph, known, id.index());
    let has_shape = |id: &ValueId| {
        let known = known.get(id.index()).and_then(Option::as_ref);
        known.is_some_and(|k| k.shape.is_some())
    };
    let mut needed = vec![false; graph.values().len()];
    for output in graph.outputs() {
        needed[output.index()] = true;
    }
    let mut fates = vec![Fate::Skip; graph.nodes().len()];
    for (fate, node) in fates.iter_mut().zip(graph.nodes()).rev() {
        let wanted = |id: &ValueId| needed[id.index()] && !literal(*id);
        if !node.outputs.iter().flatten().any(wanted) {
            continue;
        }
        let mut values = node.inputs.iter().chain(&node.outputs).flatten();
        *fate = if !values.all(has_shape) {
            Fate::Dynamic
        } else if is_view(node) {
            Fate::View
        } else {
            Fate::Static
        };
        for (i, input) in node.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            let only_shape = node.op.shape_inputs().contains(&i) && literal(*input);
            if *fate == Fate::Dynamic || !(only_shape || (*fate == Fate::View && i > 0)) {
                needed[input.index()] = true;
            }
        }
    }
    fates
}
