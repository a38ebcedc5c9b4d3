//! An order of nodes in which each comes after those that it reads.
//!
//! ONNX asks exporters for such an order; some files lack it. The file's order is kept wherever it is possible. A body of
//! control flow reads what its free names stand for, so those count as inputs of its node.

use crate::error::{OnnxError, OnnxErrorKind, quoted};
use crate::proto::{AttributeValue, Graph, Node, node_label};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Indices of `nodes` in an order of execution. `defined` are the names that exist before any node has run.
///
/// # Errors
/// Two nodes make the same value, a node makes a value that exists already, or nodes wait for each other in a circle.
pub(super) fn execution_order<'p>(
    nodes: &'p [Node<'p>],
    defined: &HashSet<&'p str>,
) -> Result<Vec<usize>, OnnxError> {
    let producers = producers(nodes, defined)?;
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waits_for = vec![0usize; nodes.len()];
    let mut is_ordered = true;
    for (index, node) in nodes.iter().enumerate() {
        let mut sources = reads(node, &producers);
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            is_ordered &= source < index;
            if let (Some(list), Some(count)) = (readers.get_mut(source), waits_for.get_mut(index)) {
                list.push(index);
                *count += 1;
            }
        }
    }
    if is_ordered {
        return Ok((0..nodes.len()).collect());
    }
    // Kahn's algorithm; the heap prefers the file's order.
    let mut order = Vec::with_capacity(nodes.len());
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len())
        .filter(|index| waits_for.get(*index) == Some(&0))
        .map(Reverse)
        .collect();
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in readers.get(index).map(Vec::as_slice).unwrap_or_default() {
            if let Some(count) = waits_for.get_mut(reader) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    if order.len() < nodes.len() {
        return Err(cycle(nodes, &producers, &waits_for));
    }
    Ok(order)
}

fn producers<'p>(
    nodes: &'p [Node<'p>],
    defined: &HashSet<&'p str>,
) -> Result<HashMap<&'p str, usize>, OnnxError> {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            let other = if defined.contains(name) {
                Some("an input or initializer".to_owned())
            } else {
                producers.insert(name, index).map(|first| {
                    nodes.get(first).map_or_else(String::new, |other| {
                        node_label(first, other.name, other.op_type, None)
                    })
                })
            };
            if let Some(other) = other {
                return Err(OnnxError::new(
                    OnnxErrorKind::DuplicateName,
                    format!("the value {} is made here and by {other}", quoted(name)),
                )
                .help("names of a graph's values must be unique; export the model again with a current exporter")
                .within(node_label(index, node.name, node.op_type, None)));
            }
        }
    }
    Ok(producers)
}

/// The nodes whose outputs a node reads, itself or through its bodies.
fn reads<'p>(node: &'p Node<'p>, producers: &HashMap<&'p str, usize>) -> Vec<usize> {
    let mut sources: Vec<usize> = node
        .inputs
        .iter()
        .filter_map(|name| producers.get(name).copied())
        .collect();
    let mut free = Vec::new();
    for attribute in &node.attributes {
        if let AttributeValue::Graph(body) = &attribute.value {
            free_names(body, &mut free);
        }
    }
    sources.extend(
        free.into_iter()
            .filter_map(|name| producers.get(name).copied()),
    );
    sources
}

/// Names that a body reads and does not define. The depth of bodies was bounded when the file was read.
fn free_names<'p>(graph: &'p Graph<'p>, free: &mut Vec<&'p str>) {
    let mut read: Vec<&str> = graph.outputs.iter().map(|output| output.name).collect();
    let mut defined: HashSet<&str> = graph.inputs.iter().map(|input| input.name).collect();
    defined.extend(graph.initializers.iter().map(|tensor| tensor.name));
    for node in &graph.nodes {
        defined.extend(&node.outputs);
        read.extend(&node.inputs);
        for attribute in &node.attributes {
            if let AttributeValue::Graph(body) = &attribute.value {
                free_names(body, &mut read);
            }
        }
    }
    read.sort_unstable();
    read.dedup();
    free.extend(read.into_iter().filter(|name| !defined.contains(name)));
}

/// The error for nodes of which none can run first: follows one wait after another until a node comes up again.
fn cycle(nodes: &[Node<'_>], producers: &HashMap<&str, usize>, waits_for: &[usize]) -> OnnxError {
    const SHOWN: usize = 8;
    let is_stuck = |index: &usize| waits_for.get(*index).is_some_and(|count| *count > 0);
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut path = Vec::new();
    let mut at = (0..nodes.len()).find(is_stuck);
    while let Some(index) = at {
        if let Some(&start) = seen.get(&index) {
            path.drain(..start);
            break;
        }
        seen.insert(index, path.len());
        path.push(index);
        at = nodes
            .get(index)
            .and_then(|node| reads(node, producers).into_iter().find(is_stuck));
    }
    let label = |index: &usize| {
        nodes.get(*index).map_or_else(String::new, |node| {
            node_label(*index, node.name, node.op_type, None)
        })
    };
    // Reported in the direction in which data would flow.
    path.reverse();
    let mut names: Vec<String> = path.iter().take(SHOWN).map(label).collect();
    if path.len() > SHOWN {
        names.push(format!("… ({} nodes)", path.len()));
    }
    names.extend(path.first().map(label));
    OnnxError::new(
        OnnxErrorKind::Cycle,
        format!(
            "nodes wait for each other in a circle: {}",
            names.join(" -> ")
        ),
    )
    .help("a graph must have no cycles; loops are written with the Loop or Scan operator")
}
