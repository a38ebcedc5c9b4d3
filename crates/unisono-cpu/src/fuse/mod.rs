//! Groups of nodes that one kernel serves, for any device.
//!
//! The one idea: a group is a node again, of an operator that no model has, so it is built and placed like any other. What is inside of a
//! group has no place in memory.
//!
//! It must never hide a value that others read, nor run before what it reads is there or after somebody wanted what it makes.
//! [`Groups::admit`] looks at that for all kinds of groups; which nodes suit each other is for those who ask it. And it must never
//! change a bit: a group's kernel computes what its nodes do, in the same order.

pub mod attention;

use std::sync::Arc;

use unisono_graph::{Graph, Node, Operator, ValueId};
use unisono_runtime::program::{Fate, Known, is_literal};
use unisono_tensor::{DType, Shape};

/// Nodes that run together.
#[derive(Debug)]
pub struct Group {
    /// Their numbers, rising.
    pub nodes: Vec<usize>,
    /// The number of the node at whose turn they run.
    pub turn: usize,
    /// All of them as one.
    pub node: Node,
}

/// A group that somebody asks for.
#[derive(Debug)]
pub struct Wanted {
    /// The numbers of its nodes, rising.
    pub nodes: Vec<usize>,
    /// One of them: when they run.
    pub turn: usize,
    /// What they are together.
    pub op: Arc<dyn Operator>,
    /// What the group reads.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes.
    pub outputs: Vec<Option<ValueId>>,
}

/// The groups of a graph, and what is asked to find them.
#[derive(Debug)]
pub struct Groups<'a> {
    graph: &'a Graph,
    known: &'a [Option<Known>],
    /// By value: the value whose bytes it views.
    root: &'a [usize],
    /// By value: the node that makes it, if that runs.
    maker: Vec<Option<usize>>,
    /// By root: the nodes that read it or a view of it.
    readers: Vec<Vec<usize>>,
    /// By root: does the caller get it or a view of it?
    is_end: Vec<bool>,
    /// By node: does it run?
    runs: Vec<bool>,
    /// By node: the group it belongs to.
    group_of: Vec<Option<usize>>,
    groups: Vec<Group>,
}

impl<'a> Groups<'a> {
    /// None yet. `root` says by value whose bytes it has.
    pub fn new(
        graph: &'a Graph,
        known: &'a [Option<Known>],
        fates: &[Fate],
        root: &'a [usize],
    ) -> Groups<'a> {
        let values = graph.values().len();
        let runs = fates.iter().map(|fate| *fate == Fate::Static);
        let mut groups = Groups {
            graph,
            known,
            root,
            maker: vec![None; values],
            readers: vec![Vec::new(); values],
            is_end: vec![false; values],
            runs: runs.collect(),
            group_of: vec![None; graph.nodes().len()],
            groups: Vec::new(),
        };
        for (index, node) in graph.nodes().iter().enumerate() {
            if !groups.runs[index] {
                continue;
            }
            for input in node.inputs.iter().flatten() {
                let readers = &mut groups.readers[root[input.index()]];
                if readers.last() != Some(&index) {
                    readers.push(index);
                }
            }
            for output in node.outputs.iter().flatten() {
                groups.maker[output.index()] = Some(index);
            }
        }
        for output in graph.outputs() {
            groups.is_end[root[output.index()]] = true;
        }
        groups
    }

    /// The group whose turn it is with this node, and whether the node belongs to any.
    pub fn at(&self, node: usize) -> (Option<&Group>, bool) {
        let group = self.group_of.get(node).copied().flatten();
        let group = group.and_then(|group| self.groups.get(group));
        (group.filter(|group| group.turn == node), group.is_some())
    }

    /// When a node runs.
    fn turn(&self, node: usize) -> usize {
        let group = self.group_of[node].and_then(|group| self.groups.get(group));
        group.map_or(node, |group| group.turn)
    }

    /// All groups.
    pub fn into_all(self) -> Vec<Group> {
        self.groups
    }

    /// The graph.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// Makes a group of what is wanted if nobody outside can tell.
    pub fn admit(&mut self, wanted: Option<Wanted>) -> bool {
        let Some(wanted) = wanted.filter(|wanted| self.is_sound(wanted)) else {
            return false;
        };
        let number = self.groups.len();
        for &node in &wanted.nodes {
            self.group_of[node] = Some(number);
        }
        let names = wanted.nodes.iter().map(|&n| &*self.graph.nodes()[n].name);
        let node = Node {
            name: names.collect::<Vec<_>>().join(" + "),
            op: wanted.op,
            inputs: wanted.inputs,
            outputs: wanted.outputs,
        };
        self.groups.push(Group {
            nodes: wanted.nodes,
            turn: wanted.turn,
            node,
        });
        true
    }

    fn is_sound(&self, wanted: &Wanted) -> bool {
        let is_inside = |node: &usize| wanted.nodes.contains(node);
        let is_free = |node: &usize| self.runs[*node] && self.group_of[*node].is_none();
        if wanted.nodes.len() < 2 || !wanted.nodes.iter().all(is_free) {
            return false;
        }
        let is_there = |input: &ValueId| match self.maker[self.root[input.index()]] {
            Some(maker) => !is_inside(&maker) && self.turn(maker) < wanted.turn,
            None => true,
        };
        let keeps = |output: &ValueId| {
            let root = self.root[output.index()];
            let mut others = self.readers[root].iter().filter(|node| !is_inside(node));
            let is_known = is_literal(self.graph, self.known, output.index());
            !is_known
                && match wanted.outputs.contains(&Some(*output)) {
                    true => others.all(|&node| self.turn(node) > wanted.turn),
                    false => others.next().is_none() && !self.is_end[root],
                }
        };
        let nodes = wanted.nodes.iter().map(|&node| &self.graph.nodes()[node]);
        wanted.inputs.iter().flatten().all(is_there)
            && nodes
                .flat_map(|node| node.outputs.iter().flatten())
                .all(keeps)
    }

    /// The operator of a node that runs and is in no group yet.
    pub fn op<T: Operator>(&self, node: usize) -> Option<&'a T> {
        let is_free = self.runs.get(node) == Some(&true) && self.group_of[node].is_none();
        self.graph
            .nodes()
            .get(node)
            .filter(|_| is_free)?
            .op
            .downcast_ref()
    }

    /// The node that makes a value, and its operator.
    pub fn made_by<T: Operator>(&self, value: ValueId) -> Option<(usize, &'a T)> {
        let node = self.maker[value.index()]?;
        Some((node, self.op(node)?))
    }

    /// A node's input.
    pub fn input(&self, node: usize, index: usize) -> Option<ValueId> {
        *self.graph.nodes().get(node)?.inputs.get(index)?
    }

    /// The one output that a node has.
    pub fn output(&self, node: usize) -> Option<ValueId> {
        let (first, rest) = self.graph.nodes().get(node)?.outputs.split_first()?;
        first.filter(|_| rest.iter().all(Option::is_none))
    }

    /// Do others than this node read the value, or does the caller get it?
    pub fn has_other_readers(&self, value: ValueId, node: usize) -> bool {
        let root = self.root[value.index()];
        self.is_end[root] || self.readers[root].iter().any(|&reader| reader != node)
    }

    /// The nodes that read the value or a view of it, rising.
    pub fn readers_of(&self, value: ValueId) -> &[usize] {
        &self.readers[self.root[value.index()]]
    }

    /// Are all who read the value among these nodes?
    pub fn is_read_by_these(&self, value: ValueId, nodes: &[usize]) -> bool {
        let root = self.root[value.index()];
        !self.is_end[root] && self.readers[root].iter().all(|node| nodes.contains(node))
    }

    /// The one node that reads the value, as its input with this number.
    pub fn only_reader(&self, value: ValueId, index: usize) -> Option<usize> {
        match self.readers[self.root[value.index()]][..] {
            [node] if !self.is_end[self.root[value.index()]] => {
                (self.input(node, index) == Some(value)).then_some(node)
            }
            _ => None,
        }
    }

    /// The shape of a value of `f32`.
    pub fn floats(&self, value: ValueId) -> Option<&'a Shape> {
        let known = self.known.get(value.index())?.as_ref()?;
        known.shape.as_ref().filter(|_| known.dtype == DType::F32)
    }
}
