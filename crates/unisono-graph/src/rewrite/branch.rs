//! Puts the branch that an `If` takes in its place.
//!
//! Before: an `If` whose condition somebody knows. After: the nodes of the branch, between those in front of the `If` and those
//! behind it; what only the condition needed is gone. For devices that run graphs without bodies, and know the condition of the requests at
//! hand. Values stay equal.
//!
//! The one idea: nothing else changes. Bodies have been rewritten by the rules of all graphs when the model was loaded, so the branch has
//! its fused steps already; other rewrites across its border could round differently than a device that runs the branch as a
//! body, and must not be applied to what comes out of here.
//!
//! Constants keep their identity: [`Taken::number`] tells it, so that a weight which several outcomes read is known to be one.

use super::dead;
use crate::attribute::Subgraph;
use crate::ops::control::If;
use crate::ops::unary::Identity;
use crate::{Graph, Node, NodeId, ValueId};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use unisono_tensor::{DType, Tensor};

/// A graph in which branches were taken.
#[derive(Clone, Debug)]
pub struct Taken {
    graph: Graph,
    /// By value: its number in the model.
    numbers: Vec<usize>,
    /// By node: the number of the first value of its first body. Those of the bodies within follow the body's own.
    bodies: Vec<usize>,
    /// By the number of a constant that is another's tensor: the other's number.
    same: Arc<HashMap<usize, usize>>,
}

impl Taken {
    /// A model's graph as it is. It must have passed [`Graph::check`].
    pub fn nothing(graph: &Graph) -> Taken {
        Taken {
            numbers: (0..graph.values().len()).collect(),
            bodies: first_numbers(graph, 0),
            same: Arc::new(same_tensors(graph)),
            graph: graph.clone(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The number of the value at this position of [`Graph::values`] among the values of the model and of all bodies in it, by which it is known whatever was
    /// taken. A value of the model's own graph has its own; constants that share one tensor, as copies in bodies do, have one number.
    ///
    /// A constant has the same contents under it in all graphs that were made of the model; other values need not.
    pub fn number(&self, value: usize) -> usize {
        let number = *self.numbers.get(value).unwrap_or(&value);
        *self.same.get(&number).unwrap_or(&number)
    }

    /// The graph in which each of these nodes, which are `If`s, is the branch that runs if its condition is `true` or `false`, without
    /// what no output needs.
    /// `None` if one of them is something else, or if its branch reads what it is not given.
    pub fn take(&self, choices: &[(NodeId, bool)]) -> Option<Taken> {
        let mut graph = self.graph.clone();
        let old = graph.take_nodes();
        let names = graph.values().iter().map(|v| v.name.clone()).collect();
        let mut new = Inlined {
            outputs: graph.outputs().iter().copied().collect(),
            numbers: self.numbers.clone(),
            graph,
            nodes: Vec::with_capacity(old.len()),
            bodies: Vec::with_capacity(old.len()),
            instead: BTreeMap::new(),
            names,
        };
        for ((index, mut node), &numbers) in old.into_iter().enumerate().zip(&self.bodies) {
            for input in node.inputs.iter_mut().flatten() {
                *input = *new.instead.get(input).unwrap_or(input);
            }
            match choices.iter().find(|(id, _)| id.index() == index) {
                None => new.push(node, numbers),
                Some((_, condition)) => new.branch(&node, *condition, numbers)?,
            }
        }
        if choices
            .iter()
            .any(|(id, _)| id.index() >= self.bodies.len())
        {
            return None;
        }
        new.graph.set_nodes(new.nodes);
        let kept = dead::kept(&mut new.graph);
        let mut kept = kept.iter();
        new.bodies.retain(|_| kept.next() == Some(&true));
        Some(Taken {
            graph: new.graph,
            numbers: new.numbers,
            bodies: new.bodies,
            same: Arc::clone(&self.same),
        })
    }
}

/// How many values a graph and the bodies in it have.
fn count(graph: &Graph) -> usize {
    let bodies = graph.nodes().iter().flat_map(|node| node.op.subgraphs());
    graph.values().len() + bodies.map(|body| count(&body.graph)).sum::<usize>()
}

/// By node: the first number of its bodies' values, if those of the graph begin with `first`.
fn first_numbers(graph: &Graph, first: usize) -> Vec<usize> {
    let mut next = first + graph.values().len();
    let nodes = graph.nodes().iter().map(|node| {
        let own = next;
        let bodies = node.op.subgraphs();
        next += bodies.iter().map(|body| count(&body.graph)).sum::<usize>();
        own
    });
    nodes.collect()
}

/// By number, the constants of a model that are the tensor of one with a lower number, and that number.
fn same_tensors(graph: &Graph) -> HashMap<usize, usize> {
    let mut first = HashMap::new();
    let mut same = HashMap::new();
    for_each_constant(graph, 0, &mut |number, tensor| {
        // The address tells one only while it has bytes; the model keeps them where they are.
        if tensor.dtype() == DType::String || tensor.bytes().is_empty() {
            return;
        }
        let identity = (tensor.bytes().as_ptr(), tensor.dtype(), tensor.shape());
        match first.entry(identity) {
            Entry::Vacant(entry) => {
                entry.insert(number);
            }
            Entry::Occupied(entry) => {
                same.insert(number, *entry.get());
            }
        }
    });
    same
}

/// Constants of a graph whose numbers begin with `first`, and of the bodies in it, by rising number.
fn for_each_constant<'g>(graph: &'g Graph, first: usize, tell: &mut impl FnMut(usize, &'g Tensor)) {
    for (index, value) in graph.values().iter().enumerate() {
        if let Some(tensor) = &value.constant {
            tell(first + index, tensor);
        }
    }
    for (node, mut first) in graph.nodes().iter().zip(first_numbers(graph, first)) {
        for body in node.op.subgraphs() {
            for_each_constant(&body.graph, first, tell);
            first += count(&body.graph);
        }
    }
}

/// A graph that is put together anew.
struct Inlined {
    graph: Graph,
    numbers: Vec<usize>,
    nodes: Vec<Node>,
    bodies: Vec<usize>,
    /// What is read instead of an output of an `If` that is gone.
    instead: BTreeMap<ValueId, ValueId>,
    outputs: HashSet<ValueId>,
    names: HashSet<String>,
}

impl Inlined {
    fn push(&mut self, node: Node, bodies: usize) {
        self.nodes.push(node);
        self.bodies.push(bodies);
    }

    /// Puts a branch of `node` here. `first` is the number of the first value of its first body.
    fn branch(&mut self, node: &Node, condition: bool, first: usize) -> Option<()> {
        let op = node.op.downcast_ref::<If>()?;
        let (body, first) = match condition {
            true => (&op.then_branch, first),
            false => (&op.else_branch, first + count(&op.then_branch.graph)),
        };
        let values = self.values(node, body, first)?;
        let mapped = |id: &Option<ValueId>| id.map(|id| values[id.index()]);
        let bodies = first_numbers(&body.graph, first);
        for (inner, bodies) in body.graph.nodes().iter().zip(bodies) {
            let inner = Node {
                name: inner.name.clone(),
                op: Arc::clone(&inner.op),
                inputs: inner.inputs.iter().map(mapped).collect(),
                outputs: inner.outputs.iter().map(mapped).collect(),
            };
            self.push(inner, bodies);
        }
        for (outer, inner) in node.outputs.iter().zip(body.graph.outputs()) {
            let (Some(outer), inner) = (*outer, values[inner.index()]) else {
                continue;
            };
            if outer == inner {
                continue;
            }
            self.instead.insert(outer, inner);
            if self.outputs.contains(&outer) {
                // The model's output keeps its name, and its neighbour's value or a constant stays what it is.
                let identity = Node {
                    name: node.name.clone(),
                    op: Arc::new(Identity),
                    inputs: vec![Some(inner)],
                    outputs: vec![Some(outer)],
                };
                self.push(identity, 0);
            }
        }
        Some(())
    }

    /// By value of the body: what it is here.
    fn values(&mut self, node: &Node, body: &Subgraph, first: usize) -> Option<Vec<ValueId>> {
        let inner = &body.graph;
        inner.check().ok()?;
        let mut values: Vec<Option<ValueId>> = vec![None; inner.values().len()];
        let formal = inner.inputs().len().checked_sub(body.captures.len())?;
        if formal > 0 {
            return None;
        }
        for (input, &capture) in inner.inputs().iter().zip(&body.captures) {
            values[input.index()] = Some((*node.inputs.get(capture)?)?);
        }
        // What a node makes for the outside is made under the name that it has there.
        let made = inner.nodes().iter().flat_map(|node| &node.outputs);
        let made: HashSet<ValueId> = made.flatten().copied().collect();
        for (outer, output) in node.outputs.iter().zip(inner.outputs()) {
            let value = &mut values[output.index()];
            if made.contains(output) && value.is_none() {
                *value = *outer;
            }
        }
        let mut found = Vec::with_capacity(values.len());
        for ((index, value), own) in values.into_iter().enumerate().zip(inner.values()) {
            found.push(value.unwrap_or_else(|| {
                let name = self.unique(&own.name, &node.name);
                let id = self.graph.add_value(name, own.declared.clone());
                self.graph.value_mut(id).constant.clone_from(&own.constant);
                self.numbers.push(first + index);
                id
            }));
        }
        Some(found)
    }

    /// The name of a branch's value: its own, or with the node's path in front where another value has that.
    fn unique(&mut self, name: &str, node: &str) -> String {
        if name.is_empty() || self.names.insert(name.to_owned()) {
            return name.to_owned();
        }
        let mut wanted = format!("{node}/{name}");
        let mut again = 1;
        while !self.names.insert(wanted.clone()) {
            again += 1;
            wanted = format!("{node}/{name}_{again}");
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// The node that is an `If`, the first of them.
    fn choice(graph: &Graph) -> NodeId {
        let mut nodes = graph.nodes_with_ids();
        nodes.find(|(_, node)| node.op.is::<If>()).unwrap().0
    }

    fn take(taken: &Taken, condition: bool) -> Taken {
        let taken = taken.take(&[(choice(taken.graph()), condition)]).unwrap();
        taken.graph().check().unwrap();
        taken
    }

    /// Both ways to take the first choice of a graph.
    fn both(graph: &Graph) -> [Taken; 2] {
        let all = Taken::nothing(graph);
        [true, false].map(|condition| take(&all, condition))
    }

    fn value(graph: &Graph, name: &str) -> ValueId {
        let mut ids = graph.value_ids();
        ids.find(|&id| graph.value(id).name == name).unwrap()
    }

    /// `x + w` or `relu(x)`, of which `x` is input 1 of the node, and both call what they make `y`.
    fn branches(weight: f32) -> If {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "2"]);
        let w = b.floats(&[2], &[weight; 2]);
        let y = b.add(x, w);
        let then_branch = Subgraph {
            graph: b.finish(&[y]),
            captures: vec![1],
        };
        let mut b = Builder::new();
        let x = b.input("x", &["n", "2"]);
        let y = b.relu(x);
        let else_branch = Subgraph {
            graph: b.finish(&[y]),
            captures: vec![1],
        };
        If {
            then_branch,
            else_branch,
        }
    }

    /// `relu(choice(relu(x)))`, in which the condition is another input plus itself.
    fn between() -> Graph {
        let mut b = Builder::new();
        let flag = b.typed_input("flag", DType::I64, &[]);
        let x = b.input("x", &["n", "2"]);
        let before = b.relu(x);
        let sum = b.add(flag, flag);
        let to = DType::Bool;
        let condition = b.op(crate::ops::cast::Cast { to }, &[sum]);
        let chosen = b.op(branches(1.0), &[condition, before]);
        let after = b.relu(chosen);
        b.finish(&[after])
    }

    #[test]
    fn a_branch_stands_where_the_choice_stood_and_what_only_chose_is_gone() {
        let graph = between();
        assert_eq!(kinds(&graph), ["Relu", "Add", "Cast", "If", "Relu"]);
        let [then, otherwise] = both(&graph);
        assert_eq!(kinds(then.graph()), ["Relu", "Add", "Relu"]);
        assert_eq!(kinds(otherwise.graph()), ["Relu", "Relu", "Relu"]);
        for taken in [then, otherwise] {
            let graph = taken.graph();
            assert_eq!(graph.inputs().len(), 2, "inputs stay, needed or not");
            assert_eq!(output_names(graph), ["out_0"]);
            for pair in graph.nodes().windows(2) {
                assert_eq!(pair[0].outputs[0], pair[1].inputs[0]);
            }
        }
    }

    #[test]
    fn the_models_output_keeps_its_name_when_a_branch_makes_it() {
        let mut b = Builder::new();
        let condition = b.typed_input("condition", DType::Bool, &[]);
        let x = b.input("x", &["n", "2"]);
        let y = b.op(branches(1.0), &[condition, x]);
        let graph = b.finish(&[y]);
        for (taken, kind) in both(&graph).iter().zip(["Add", "Relu"]) {
            assert_eq!(kinds(taken.graph()), [kind]);
            assert_eq!(taken.graph().outputs(), [y]);
        }
    }

    #[test]
    fn what_a_branch_only_hands_through_is_read_as_it_is_and_a_neighbour_of_it_as_an_output() {
        // Outputs: a captured value, a constant, and one value twice.
        let body = |constant: f32| {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "2"]);
            let c = b.floats(&[2], &[constant; 2]);
            let y = b.relu(x);
            Subgraph {
                graph: b.finish(&[x, c, y, y]),
                captures: vec![1],
            }
        };
        let mut b = Builder::new();
        let condition = b.typed_input("condition", DType::Bool, &[]);
        let x = b.input("x", &["n", "2"]);
        let op = If {
            then_branch: body(1.0),
            else_branch: body(2.0),
        };
        let made = b.ops(op, &[condition, x], 4);
        let sum = b.add(made[0], made[1]);
        let graph = b.finish(&[made[0], sum, made[2], made[3]]);
        let names = output_names(&graph);
        for (taken, constant) in both(&graph).iter().zip([1.0, 2.0]) {
            let graph = taken.graph();
            assert_eq!(kinds(graph), ["Relu", "Identity", "Identity", "Add"]);
            assert_eq!(output_names(graph), names);
            let [a, c] = [0, 1].map(|i| graph.nodes()[3].inputs[i].unwrap());
            assert_eq!(a, x);
            let contents = graph.constant(c).unwrap().as_slice::<f32>().unwrap();
            assert_eq!(contents, [constant; 2]);
        }
    }

    #[test]
    fn outputs_that_nobody_wants_are_not_made() {
        let body = || {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "2"]);
            let (y, z) = (b.relu(x), b.add(x, x));
            Subgraph {
                graph: b.finish(&[y, z]),
                captures: vec![1],
            }
        };
        let mut b = Builder::new();
        let condition = b.typed_input("condition", DType::Bool, &[]);
        let x = b.input("x", &["n", "2"]);
        let op = If {
            then_branch: body(),
            else_branch: body(),
        };
        let made = b.ops(op, &[condition, x], 2);
        let mut graph = b.finish(&[made[1]]);
        let mut nodes = graph.take_nodes();
        nodes[0].outputs[0] = None;
        graph.set_nodes(nodes);
        for taken in both(&graph) {
            assert_eq!(kinds(taken.graph()), ["Add"]);
        }
    }

    #[test]
    fn names_stay_unique_and_tell_where_they_come_from() {
        let mut b = Builder::new();
        let condition = b.typed_input("condition", DType::Bool, &[]);
        let mut y = b.input("x", &["n", "2"]);
        // In all of them a value is called `inner`.
        for _ in 0..3 {
            let mut op = branches(1.0);
            let graph = &mut op.else_branch.graph;
            let made = graph.outputs()[0];
            graph.value_mut(made).name = "inner".to_owned();
            let outer = graph.append("last", Arc::new(Identity), &[made], 1);
            graph.set_outputs(outer);
            y = b.op(op, &[condition, y]);
        }
        let graph = b.finish(&[y]);
        let all = Taken::nothing(&graph);
        let choices: Vec<(NodeId, bool)> =
            graph.nodes_with_ids().map(|(id, _)| (id, false)).collect();
        let taken = all.take(&choices).unwrap();
        taken.graph().check().unwrap();
        let values = taken.graph().values().iter().map(|v| v.name.as_str());
        let named: Vec<&str> = values.filter(|name| name.contains("inner")).collect();
        assert_eq!(named, ["inner", "node_1/inner", "node_2/inner"]);
    }

    /// A choice whose branches choose again, by a condition of their own.
    fn nested() -> Graph {
        let body = |weight: f32| {
            let mut b = Builder::new();
            let inner = b.typed_input("inner", DType::Bool, &[]);
            let x = b.input("x", &["n", "2"]);
            let w = b.floats(&[2], &[weight; 2]);
            let y = b.add(x, w);
            let y = b.op(branches(weight + 1.0), &[inner, y]);
            Subgraph {
                graph: b.finish(&[y]),
                captures: vec![1, 2],
            }
        };
        let mut b = Builder::new();
        let outer = b.typed_input("outer", DType::Bool, &[]);
        let inner = b.typed_input("inner", DType::Bool, &[]);
        let x = b.input("x", &["n", "2"]);
        let first = b.floats(&[2], &[5.0; 2]);
        let x = b.add(x, first);
        let op = If {
            then_branch: body(10.0),
            else_branch: body(20.0),
        };
        let y = b.op(op, &[outer, inner, x]);
        let y = b.op(branches(30.0), &[inner, y]);
        b.finish(&[y])
    }

    /// The numbers of the constants that are needed, with what is in them.
    fn constants(taken: &Taken) -> Vec<(usize, f32)> {
        let graph = taken.graph();
        let ids = graph.value_ids();
        let contents = |id| graph.constant(id)?.as_slice::<f32>().ok()?.first().copied();
        ids.filter_map(|id| Some((taken.number(id.index()), contents(id)?)))
            .collect()
    }

    #[test]
    fn a_choice_within_a_branch_is_taken_next() {
        let all = Taken::nothing(&nested());
        assert_eq!(kinds(all.graph()), ["Add", "If", "If"]);
        let first = take(&all, true);
        assert_eq!(kinds(first.graph()), ["Add", "Add", "If", "If"]);
        assert_eq!(value(first.graph(), "inner").index(), 1);
        let second = take(&first, false);
        assert_eq!(kinds(second.graph()), ["Add", "Add", "Relu", "If"]);
        let third = take(&second, true);
        assert_eq!(kinds(third.graph()), ["Add", "Add", "Relu", "Add"]);
    }

    #[test]
    fn a_constant_has_one_number_in_whatever_order_choices_are_taken_and_no_other_has_it() {
        let all = Taken::nothing(&nested());
        let mut found: BTreeMap<usize, f32> = BTreeMap::new();
        let mut outcomes = 0;
        for conditions in 0..8u32 {
            let condition = |n: u32| conditions >> n & 1 == 1;
            // From the front, and the last one first.
            let mut one = all.clone();
            for n in 0..3 {
                one = take(&one, condition(n));
            }
            let last = all.graph().nodes_with_ids().last().unwrap().0;
            let mut other = all.take(&[(last, condition(2))]).unwrap();
            for n in 0..2 {
                other = take(&other, condition(n));
            }
            let (one, mut other) = (constants(&one), constants(&other));
            other.sort_by_key(|(number, _)| *number);
            let mut sorted = one.clone();
            sorted.sort_by_key(|(number, _)| *number);
            assert_eq!(sorted, other);
            for (number, contents) in one {
                assert_eq!(*found.entry(number).or_insert(contents), contents);
            }
            outcomes += 1;
        }
        // 5, 10 and 20, 11 and 21, 30.
        assert_eq!((outcomes, found.len()), (8, 6), "{found:?}");
    }

    #[test]
    fn a_tensor_that_bodies_have_copies_of_is_one_constant_and_another_shape_of_it_is_not() {
        let shared = Tensor::from_slice(&[2], &[1f32, 2.0]).unwrap();
        let body = |weight: Tensor| {
            let mut b = Builder::new();
            let x = b.input("x", &["n", "2"]);
            let w = b.constant(weight);
            let y = b.add(x, w);
            Subgraph {
                graph: b.finish(&[y]),
                captures: vec![1],
            }
        };
        let mut b = Builder::new();
        let condition = b.typed_input("condition", DType::Bool, &[]);
        let x = b.input("x", &["n", "2"]);
        let w = b.constant(shared.clone());
        let x = b.add(x, w);
        let op = If {
            then_branch: body(shared.clone()),
            else_branch: body(shared.reshaped(&[1, 2]).unwrap()),
        };
        let y = b.op(op, &[condition, x]);
        let graph = b.finish(&[y]);
        let [then, otherwise] = both(&graph).map(|taken| {
            let constants = constants(&taken).into_iter();
            constants.map(|(number, _)| number).collect::<Vec<_>>()
        });
        assert_eq!(then, [w.index(); 2]);
        assert_eq!(otherwise[0], w.index());
        assert_ne!(otherwise[1], w.index());
    }

    #[test]
    fn what_is_no_choice_or_reads_what_is_not_there_is_not_taken() {
        let graph = between();
        let all = Taken::nothing(&graph);
        let other = graph.nodes_with_ids().next().unwrap().0;
        assert!(all.take(&[(other, true)]).is_none());
        let mut nodes = all.graph().nodes().to_vec();
        let at = choice(all.graph());
        nodes[at.index()].inputs.truncate(1);
        let mut graph = all.graph().clone();
        graph.set_nodes(nodes);
        assert!(Taken::nothing(&graph).take(&[(at, true)]).is_none());
    }
}
