//! Which branches a request takes, found out before its batch runs.
//!
//! The one idea: a condition that follows from a few numbers, equal for all members of a batch, costs less to compute on the
//! processor than to ask a device about. So it chooses among graphs without that `If` ([`super::variant`]), each of which runs as one
//! program. The kernels are the processor's, so what they decide is what a request is told on any device.
//!
//! It must never look at rows: members of a batch differ in them. And it must never do much: a node with more than [`MOST_WORK`] is none of
//! its, nor is a choice that takes more than [`MOST_STEPS`] of them.

use smallvec::SmallVec;
use unisono_cpu::exec::model::Store;
use unisono_cpu::host::{Host, HostNode, HostScratch};
use unisono_graph::ops::control::If;
use unisono_graph::{Dim, Fact, Graph, Node, NodeId, Symbol, ValueId};
use unisono_runtime::program::facts::integer_tensor;
use unisono_runtime::program::{Known, concretise, is_view};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, TensorMut, TensorRef};

/// Elements that a value may have.
const MOST_ELEMENTS: u64 = 64;

/// Operations that a node may take.
const MOST_WORK: u64 = 1 << 12;

/// Nodes that may run for all choices of a graph.
const MOST_STEPS: usize = 32;

/// Choices of a graph. Others stay what they are.
pub(crate) const MOST_CHOICES: usize = 32;

/// Alignment of values.
const ALIGNMENT: usize = 64;

/// Memory for finding out; kept from request to request.
#[derive(Default)]
pub(crate) struct ChoiceScratch {
    /// Bytes that are aligned for all types.
    values: Option<Tensor>,
    kernels: HostScratch,
}

impl ChoiceScratch {
    pub(crate) fn bytes(&self) -> u64 {
        let values = self.values.as_ref().map_or(0, |t| t.bytes().len());
        values as u64 + self.kernels.bytes()
    }
}

/// The choices of one graph that can be found out, and how.
pub(crate) struct Choice {
    /// Inputs that are read, with their places.
    inputs: Vec<(usize, Place)>,
    /// In the order in which they run.
    steps: Vec<Step>,
    /// Each is an `If`, with the place of its condition.
    conditions: Vec<(NodeId, Place)>,
    /// Bytes of all places.
    bytes: usize,
}

/// A value in the memory for values.
#[derive(Clone)]
struct Place {
    at: usize,
    dtype: DType,
    shape: Shape,
    bytes: usize,
}

/// Where a step finds what it reads.
#[derive(Clone)]
enum Source {
    Made(Place),
    Constant(Tensor),
}

struct Step {
    /// Its number in the graph.
    index: usize,
    node: HostNode,
    /// `None` for those left out, or not read. All lie in front of the outputs.
    inputs: Vec<Option<Source>>,
    /// In order; `None` for those left out.
    outputs: Vec<Option<Place>>,
}

/// What is to be done about the choices of a graph.
pub(crate) struct Found {
    /// Those that follow from shapes and constants, with their conditions.
    pub(crate) settled: Vec<(NodeId, bool)>,
    /// Those that each request finds out, if there are such.
    pub(crate) open: Option<Choice>,
}

/// Looks at the choices of a graph, of whose values `facts` tells; `has_rows` says by input whether it has rows.
///
/// # Errors
/// Those of building a processor's kernel.
pub(crate) fn find(
    graph: &Graph,
    facts: &[Option<Fact>],
    has_rows: &[bool],
    host: &Host,
) -> Result<Found, Error> {
    let mut found = Found {
        settled: Vec::new(),
        open: None,
    };
    let mut open = Vec::new();
    let is_choice = |(_, node): &(NodeId, &Node)| node.op.is::<If>();
    for (id, node) in graph.nodes_with_ids().filter(is_choice) {
        let inputs = [node
            .inputs
            .first()
            .and_then(|id| fact(facts, (*id)?))
            .cloned()];
        match (If::condition(&inputs), node.inputs.first()) {
            (Some(condition), _) => found.settled.push((id, condition)),
            (None, Some(Some(condition))) => open.push((id, *condition)),
            _ => {}
        }
    }
    // What is settled goes first: it may open others.
    if open.is_empty() || !found.settled.is_empty() {
        return Ok(found);
    }
    let steady = steady(graph, facts, has_rows);
    open.retain(|(_, condition)| steady[condition.index()]);
    open.truncate(MOST_CHOICES);
    let mut needed = vec![false; graph.values().len()];
    for (_, condition) in &open {
        needed[condition.index()] = true;
    }
    let mut nodes = Vec::new();
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        let makes = |id: &ValueId| needed[id.index()] && literal(graph, facts, *id).is_none();
        if node.outputs.iter().flatten().any(makes) {
            nodes.push(index);
            for input in node.inputs.iter().flatten() {
                needed[input.index()] = true;
            }
        }
    }
    nodes.reverse();
    if !open.is_empty() && nodes.len() <= MOST_STEPS {
        found.open = Builder::new(graph, facts, host).build(&open, &needed, &nodes)?;
    }
    Ok(found)
}

fn fact(facts: &[Option<Fact>], id: ValueId) -> Option<&Fact> {
    facts.get(id.index())?.as_ref()
}

/// The shape and the number of bytes of a value that is small whatever the number of rows.
fn small(fact: &Fact) -> Option<(Shape, usize)> {
    let shape: Shape = fact
        .shape
        .as_ref()?
        .iter()
        .map(Dim::as_len)
        .collect::<Option<_>>()?;
    let elements = fact.element_count().filter(|n| *n <= MOST_ELEMENTS)?;
    (fact.dtype != DType::String).then_some((shape, elements as usize * fact.dtype.size()))
}

/// The contents of a value that no node needs to make.
fn literal(graph: &Graph, facts: &[Option<Fact>], id: ValueId) -> Option<Tensor> {
    let fact = fact(facts, id);
    let constant = graph.constant(id).or_else(|| fact?.constant.as_ref());
    if let Some(constant) = constant {
        return (constant.dtype() != DType::String).then(|| constant.clone());
    }
    let (shape, _) = small(fact?)?;
    integer_tensor(fact?.dtype, &shape, &fact?.known_ints()?).ok()
}

/// By value: does it follow from inputs without rows, in little work?
fn steady(graph: &Graph, facts: &[Option<Fact>], has_rows: &[bool]) -> Vec<bool> {
    let mut steady = vec![false; graph.values().len()];
    for id in graph.value_ids() {
        steady[id.index()] = literal(graph, facts, id).is_some();
    }
    let is_small = |id: &ValueId| fact(facts, *id).and_then(small).is_some();
    for (id, has_rows) in graph.inputs().iter().zip(has_rows) {
        steady[id.index()] = !has_rows && is_small(id);
    }
    for node in graph.nodes() {
        let of = |ids: &[Option<ValueId>]| -> Vec<Option<Fact>> {
            ids.iter().map(|id| fact(facts, (*id)?).cloned()).collect()
        };
        let is_steady = node.op.is_pure()
            && node.op.subgraphs().is_empty()
            && node.inputs.iter().flatten().all(|id| steady[id.index()])
            && node.outputs.iter().flatten().all(is_small)
            && node
                .op
                .flops(&of(&node.inputs), &of(&node.outputs))
                .is_some_and(|work| work <= MOST_WORK);
        if is_steady {
            for id in node.outputs.iter().flatten() {
                steady[id.index()] = true;
            }
        }
    }
    steady
}

struct Builder<'a> {
    graph: &'a Graph,
    facts: &'a [Option<Fact>],
    known: Vec<Option<Known>>,
    host: &'a Host,
    /// By value.
    sources: Vec<Option<Source>>,
    bytes: usize,
}

impl<'a> Builder<'a> {
    fn new(graph: &'a Graph, facts: &'a [Option<Fact>], host: &'a Host) -> Builder<'a> {
        Builder {
            graph,
            facts,
            // No value that is looked at mentions rows.
            known: concretise(facts, &Symbol::new("\u{1}rows"), 1),
            host,
            sources: vec![None; graph.values().len()],
            bytes: 0,
        }
    }

    fn place(&mut self, id: ValueId) -> Option<Place> {
        let fact = fact(self.facts, id)?;
        let (shape, bytes) = small(fact)?;
        let place = Place {
            at: self.bytes,
            dtype: fact.dtype,
            shape,
            bytes,
        };
        self.bytes += bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        self.sources[id.index()] = Some(Source::Made(place.clone()));
        Some(place)
    }

    /// `None` if a condition turns out not to be one.
    fn build(
        mut self,
        open: &[(NodeId, ValueId)],
        needed: &[bool],
        nodes: &[usize],
    ) -> Result<Option<Choice>, Error> {
        let mut choice = Choice {
            inputs: Vec::new(),
            steps: Vec::new(),
            conditions: Vec::new(),
            bytes: 0,
        };
        for id in self.graph.value_ids().filter(|id| needed[id.index()]) {
            self.sources[id.index()] = literal(self.graph, self.facts, id).map(Source::Constant);
        }
        for (n, &id) in self.graph.inputs().iter().enumerate() {
            if needed[id.index()]
                && let Some(place) = self.place(id)
            {
                choice.inputs.push((n, place));
            }
        }
        for &index in nodes {
            let node = &self.graph.nodes()[index];
            if is_view(node) {
                self.view(node);
            } else {
                let step = self.step(node, index)?;
                choice.steps.push(step);
            }
        }
        for &(id, condition) in open {
            match &self.sources[condition.index()] {
                Some(Source::Made(place)) if place.dtype == DType::Bool && place.bytes == 1 => {
                    choice.conditions.push((id, place.clone()));
                }
                _ => return Ok(None),
            }
        }
        choice.bytes = self.bytes;
        Ok(Some(choice))
    }

    /// A value that has another's bytes.
    fn view(&mut self, node: &Node) {
        if let (Some(Some(from)), Some(Some(to))) = (node.inputs.first(), node.outputs.first()) {
            let shape = fact(self.facts, *to).and_then(small);
            let source = self.sources[from.index()].clone();
            self.sources[to.index()] = match (source, shape) {
                (Some(Source::Made(place)), Some((shape, _))) => {
                    Some(Source::Made(Place { shape, ..place }))
                }
                (Some(Source::Constant(tensor)), Some((shape, _))) => {
                    tensor.reshaped(&shape).ok().map(Source::Constant)
                }
                _ => None,
            };
        }
    }

    fn step(&mut self, node: &Node, index: usize) -> Result<Step, Error> {
        let outputs = node.outputs.iter().map(|id| self.place((*id)?)).collect();
        let known = |ids: &[Option<ValueId>]| -> Vec<Option<Known>> {
            let known = |id: ValueId| {
                let mut known = self.known.get(id.index())?.clone()?;
                if let Some(Source::Constant(tensor)) = &self.sources[id.index()] {
                    known.constant = Some(tensor.clone());
                }
                Some(known)
            };
            ids.iter().map(|id| known((*id)?)).collect()
        };
        let (reads, writes) = (known(&node.inputs), known(&node.outputs));
        // Nothing worth keeping is packed for so little.
        let kernel = self
            .host
            .node(node, index, &reads, &writes, &Store::default())?;
        let mut inputs = Vec::new();
        for (i, id) in node.inputs.iter().enumerate() {
            inputs.push(match id.and_then(|id| self.sources[id.index()].clone()) {
                Some(Source::Constant(tensor)) if kernel.reads(i) => {
                    Some(Source::Constant(tensor.to_aligned()?))
                }
                Some(Source::Made(place)) => Some(Source::Made(place)),
                _ => None,
            });
        }
        Ok(Step {
            index,
            node: kernel,
            inputs,
            outputs,
        })
    }
}

impl Choice {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.conditions.len()
    }

    /// The nodes that run to find out.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().map(|step| step.index)
    }

    /// Each choice with its condition, of which bit n of `conditions` is that of the n-th.
    pub(crate) fn settled(&self, conditions: u64) -> Vec<(NodeId, bool)> {
        let all = self.conditions.iter().enumerate();
        all.map(|(n, (id, _))| (*id, conditions >> n & 1 == 1))
            .collect()
    }

    /// The conditions of a request with these inputs: bit n is that of the n-th.
    ///
    /// # Errors
    /// Data that an operator refuses.
    pub(crate) fn conditions(
        &self,
        inputs: &[Tensor],
        scratch: &mut ChoiceScratch,
    ) -> Result<u64, Error> {
        let ChoiceScratch { values, kernels } = scratch;
        if values.as_ref().is_none_or(|t| t.bytes().len() < self.bytes) {
            *values = Some(Tensor::zeros(DType::I64, &[self.bytes.div_ceil(8)])?);
        }
        let values = values.as_mut().and_then(Tensor::bytes_mut);
        let values = values.ok_or_else(broken)?;
        for (n, place) in &self.inputs {
            let to = values.get_mut(place.at..place.at + place.bytes);
            match (to, inputs.get(*n).map(Tensor::bytes)) {
                (Some(to), Some(from)) if to.len() == from.len() => to.copy_from_slice(from),
                _ => return Err(broken()),
            }
        }
        for step in &self.steps {
            step.run(values, kernels)?;
        }
        let mut conditions = 0;
        for (n, (_, place)) in self.conditions.iter().enumerate() {
            let byte = values.get(place.at).ok_or_else(broken)?;
            conditions |= u64::from(*byte != 0) << n;
        }
        Ok(conditions)
    }
}

impl Step {
    fn run(&self, values: &mut [u8], scratch: &mut HostScratch) -> Result<(), Error> {
        let first = self.outputs.iter().flatten().map(|place| place.at).min();
        let cut = first.unwrap_or(values.len()).min(values.len());
        let (read, mut write) = values.split_at_mut(cut);
        let mut inputs: SmallVec<[Option<TensorRef<'_>>; 8]> = SmallVec::new();
        for source in &self.inputs {
            inputs.push(match source {
                None => None,
                Some(Source::Constant(tensor)) => Some(tensor.view()?),
                Some(Source::Made(place)) => {
                    let bytes = read.get(place.at..place.at + place.bytes);
                    let bytes = bytes.ok_or_else(broken)?;
                    Some(TensorRef::new(place.dtype, &place.shape, bytes)?)
                }
            });
        }
        let mut outputs: SmallVec<[Option<TensorMut<'_>>; 4]> = SmallVec::new();
        let mut begin = cut;
        for place in &self.outputs {
            let Some(place) = place else {
                outputs.push(None);
                continue;
            };
            let rest = std::mem::take(&mut write).get_mut(place.at - begin..);
            let rest = rest.and_then(|rest| rest.split_at_mut_checked(place.bytes));
            let (own, rest) = rest.ok_or_else(broken)?;
            (write, begin) = (rest, place.at + place.bytes);
            outputs.push(Some(TensorMut::new(place.dtype, &place.shape, own)?));
        }
        self.node.run_small(&inputs, &mut outputs, scratch)
    }
}

fn broken() -> Error {
    Error::new(
        ErrorKind::Panic,
        "a request does not fit the choice that was prepared for it; please report this",
    )
}
