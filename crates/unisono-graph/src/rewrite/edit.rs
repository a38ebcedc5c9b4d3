//! How a pattern changes a graph.
//!
//! The one idea: the last node of a pattern gets another operator and other inputs and keeps its outputs, so names and
//! order stay. New steps may stand right in front of it. The steps that it absorbed are then read by nobody and die. Nothing
//! else is ever moved.

use super::dead;
use super::view::View;
use crate::{Graph, Node, NodeId, Operator, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use unisono_tensor::Tensor;

/// An input of an edited node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A value that stands in front of the node.
    Value(ValueId),
    /// A new constant.
    New(Tensor),
    /// The output of a new step in front of the node: its position in [`Edit::before`].
    Before(usize),
}

impl From<ValueId> for Input {
    fn from(id: ValueId) -> Input {
        Input::Value(id)
    }
}

impl From<Tensor> for Input {
    fn from(tensor: Tensor) -> Input {
        Input::New(tensor)
    }
}

/// A new step in front of an edited node, with one output.
pub struct Step {
    /// What it does.
    pub op: Arc<dyn Operator>,
    /// What it reads.
    pub inputs: Vec<Input>,
}

/// What a node becomes.
pub struct Edit {
    /// New steps right in front of it, in this order.
    pub before: Vec<Step>,
    /// Its new operator.
    pub op: Arc<dyn Operator>,
    /// Its new inputs.
    pub inputs: Vec<Option<Input>>,
    /// The nodes whose work it takes over: no other edit of the same pass may touch them.
    pub absorbed: Vec<NodeId>,
}

impl Edit {
    /// An edit with an operator and inputs.
    pub fn new(op: impl Operator, inputs: Vec<Option<Input>>, absorbed: Vec<NodeId>) -> Edit {
        Edit {
            before: Vec::new(),
            op: Arc::new(op),
            inputs,
            absorbed,
        }
    }

    /// Adds a step in front; gives the input that reads it.
    pub fn step(&mut self, op: impl Operator, inputs: Vec<Input>) -> Input {
        self.before.push(Step {
            op: Arc::new(op),
            inputs,
        });
        Input::Before(self.before.len() - 1)
    }
}

/// The longest row of steps that one product absorbs before others look at it.
const LONGEST: usize = 6;

/// [`for_each_node`] again and again until nothing changes: for patterns that grow by one step at a time.
pub fn until_settled(
    graph: &mut Graph,
    matcher: impl Fn(&View<'_>, NodeId, &Node) -> Option<Edit>,
) -> usize {
    let mut total = 0;
    for _ in 0..LONGEST {
        let applied = for_each_node(graph, &matcher);
        if applied == 0 {
            break;
        }
        // An absorbed step must not count as a reader of what the pattern reads next.
        dead::apply(graph);
        total += applied;
    }
    total
}

/// Offers every node to a matcher and makes the edits that do not overlap; gives their number. The matcher sees the graph
/// as it was before any of them.
pub fn for_each_node(
    graph: &mut Graph,
    matcher: impl Fn(&View<'_>, NodeId, &Node) -> Option<Edit>,
) -> usize {
    let edits = {
        let view = View::new(graph);
        let mut touched = vec![false; graph.nodes().len()];
        let mut edits: Vec<(NodeId, Edit)> = Vec::new();
        for (id, node) in graph.nodes_with_ids() {
            if touched[id.index()] {
                continue;
            }
            let Some(edit) = matcher(&view, id, node) else {
                continue;
            };
            if edit.absorbed.iter().any(|n| touched[n.index()]) {
                continue;
            }
            touched[id.index()] = true;
            for n in &edit.absorbed {
                touched[n.index()] = true;
            }
            edits.push((id, edit));
        }
        edits
    };
    let count = edits.len();
    if count == 0 {
        return 0;
    }
    let old = graph.take_nodes();
    let mut nodes = Vec::with_capacity(old.len() + count);
    let mut edits = edits.into_iter().peekable();
    for (i, mut node) in old.into_iter().enumerate() {
        if let Some((_, edit)) = edits.next_if(|(id, _)| id.index() == i) {
            apply_edit(graph, edit, &mut node, &mut nodes);
        }
        nodes.push(node);
    }
    graph.set_nodes(nodes);
    count
}

fn apply_edit(graph: &mut Graph, edit: Edit, node: &mut Node, nodes: &mut Vec<Node>) {
    let mut made: Vec<ValueId> = Vec::with_capacity(edit.before.len());
    let resolve = |input: Input, graph: &mut Graph, made: &[ValueId]| match input {
        Input::Value(id) => Some(id),
        Input::New(tensor) => Some(graph.add_constant("", tensor)),
        Input::Before(i) => made.get(i).copied(),
    };
    for step in edit.before {
        let inputs = step.inputs.into_iter();
        let inputs = inputs.map(|i| resolve(i, graph, &made)).collect();
        let output = graph.add_value("", None);
        nodes.push(Node {
            name: format!("{}/{}", node.name, step.op.name()),
            op: step.op,
            inputs,
            outputs: vec![Some(output)],
        });
        made.push(output);
    }
    let inputs = edit.inputs.into_iter();
    node.inputs = inputs
        .map(|i| i.and_then(|i| resolve(i, graph, &made)))
        .collect();
    node.op = edit.op;
}

/// Replaces values by others that hold the same; gives the number of those that could be. Each new value must be ready
/// where the old one is made.
///
/// A value that is an output of the model keeps its name: the step that makes the other value then makes this one, or, if
/// the other is an input, a constant or an output itself, nothing changes.
pub fn substitute(graph: &mut Graph, pairs: Vec<(ValueId, ValueId)>) -> usize {
    if pairs.is_empty() {
        return 0;
    }
    let outputs: BTreeSet<ValueId> = graph.outputs().iter().copied().collect();
    let mut replace: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let resolve = |replace: &BTreeMap<ValueId, ValueId>, mut id: ValueId| {
        while let Some(&next) = replace.get(&id) {
            id = next;
        }
        id
    };
    let mut nodes = graph.take_nodes();
    // Which node makes a value, kept up to date below.
    let mut made_at: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().flatten() {
            made_at.insert(*output, i);
        }
    }
    let mut count = 0;
    for (old, new) in pairs {
        let (old, new) = (resolve(&replace, old), resolve(&replace, new));
        if old == new {
            continue;
        }
        let Some(&maker) = made_at.get(&old) else {
            continue;
        };
        if !outputs.contains(&old) {
            replace.insert(old, new);
            clear_output(&mut nodes[maker], old);
            made_at.remove(&old);
            count += 1;
            continue;
        }
        let Some(&other) = made_at.get(&new) else {
            continue;
        };
        if outputs.contains(&new) {
            continue;
        }
        // The output's own maker makes nothing any more, and the other value's maker makes the output.
        clear_output(&mut nodes[maker], old);
        for slot in nodes[other].outputs.iter_mut() {
            if *slot == Some(new) {
                *slot = Some(old);
            }
        }
        made_at.remove(&new);
        made_at.insert(old, other);
        replace.insert(new, old);
        count += 1;
    }
    for node in &mut nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = resolve(&replace, *input);
        }
    }
    nodes.retain(|node| node.outputs.iter().any(Option::is_some));
    graph.set_nodes(nodes);
    count
}

fn clear_output(node: &mut Node, id: ValueId) {
    for slot in &mut node.outputs {
        if *slot == Some(id) {
            *slot = None;
        }
    }
}

/// Turns values that nodes make into constants; gives the number of those that were. An output of the model may become one.
pub fn make_constant(graph: &mut Graph, values: Vec<(ValueId, Tensor)>) -> usize {
    let count = values.len();
    if count == 0 {
        return 0;
    }
    let mut contents: BTreeMap<ValueId, Tensor> = values.into_iter().collect();
    let mut nodes = graph.take_nodes();
    for node in &mut nodes {
        for slot in &mut node.outputs {
            if let Some(id) = *slot
                && let Some(tensor) = contents.remove(&id)
            {
                graph.value_mut(id).constant = Some(tensor);
                *slot = None;
            }
        }
    }
    nodes.retain(|node| node.outputs.iter().any(Option::is_some));
    graph.set_nodes(nodes);
    count - contents.len()
}
