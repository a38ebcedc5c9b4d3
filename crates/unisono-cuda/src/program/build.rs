//! How a graph becomes a program.

use std::collections::HashMap;
use std::sync::Arc;

use unisono_cpu::exec::model::Store;
use unisono_cpu::host::Host;
use unisono_graph::ops::control::If;
use unisono_graph::rewrite::branch::Taken;
use unisono_graph::{Graph, Node, ValueId};
use unisono_runtime::program::arena::{Need, layout};
use unisono_runtime::program::facts::{integer_tensor, locate, title};
use unisono_runtime::program::staging::reserve;
use unisono_runtime::program::{Fate, Known, fates, is_literal};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, element_count};

use super::fuse::{self, Group, Groups};
use super::straight::{is_straight, may_refuse};
use super::weights::{Resident, Weights};
use super::{
    ALIGNMENT, HostInput, HostOutput, HostStep, NO_VALUE, Placed, Port, Program, STATUS_BYTES,
    Step, Work,
};
use crate::launch::{Arg, Buffer, Launch, Place};
use crate::lower::{Lowering, Operand, Site};

/// What a program is built for.
pub struct Target<'a> {
    /// Lowers a node; see [`crate::lower::lower`].
    pub lower: &'a dyn Fn(&mut Lowering<'_>) -> Result<bool, Error>,
    /// Multiprocessors.
    pub processors: u32,
    /// Shared memory of a block, in bytes.
    pub shared_limit: u32,
    /// Bytes that an arena may have.
    pub arena_limit: usize,
    /// The model's constants on the device.
    pub weights: &'a Weights,
    /// Who runs nodes that have no kernel on the device.
    pub host: &'a Host,
    /// What the processor's kernels pack.
    pub store: &'a Store,
    /// For a graph that was made of the model's by taking branches; constants are kept under the numbers that it gives them.
    pub taken: Option<&'a Taken>,
}

impl Target<'_> {
    /// The number under which a constant of the graph is kept.
    fn number(&self, value: usize) -> usize {
        self.taken.map_or(value, |taken| taken.number(value))
    }
}

/// Why a whole plan runs on the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The node's number in the graph, if it is one node's fault.
    pub node: Option<usize>,
    /// In words.
    pub why: &'static str,
}

/// What became of a graph.
pub enum Built {
    /// A program.
    Program(Box<Program>),
    /// It must run on the processor as a whole.
    Elsewhere(Reason),
}

/// Builds the program of `graph`, of whose values `known` tells shapes and contents, in the order of the graph's values.
///
/// # Errors
/// Attributes, types or shapes that an operator does not have; sizes over the limit; no memory for constants on the device.
pub fn build(graph: &Graph, known: &[Option<Known>], target: &Target<'_>) -> Result<Built, Error> {
    let fates = fates(graph, known);
    if let Some(reason) = elsewhere(graph, known, &fates) {
        return Ok(Built::Elsewhere(reason));
    }
    let program = Builder::new(graph, known, target)?.build(&fates)?;
    if !program
        .steps
        .iter()
        .any(|step| matches!(step.work, Work::Launches(_)))
    {
        return Ok(Built::Elsewhere(Reason {
            node: None,
            why: "no node of the model has a kernel on the device",
        }));
    }
    Ok(Built::Program(Box::new(program)))
}

/// Why the graph cannot be a program at all.
fn elsewhere(graph: &Graph, known: &[Option<Known>], fates: &[Fate]) -> Option<Reason> {
    let reason = |node, why| Some(Reason { node, why });
    for (index, (node, fate)) in graph.nodes().iter().zip(fates).enumerate() {
        // What could be known before the batch runs is no choice any more.
        if *fate != Fate::Skip && node.op.is::<If>() {
            return reason(
                Some(index),
                "which branch it takes follows from rows, or from more than a few numbers",
            );
        }
        if *fate != Fate::Skip && !node.op.subgraphs().is_empty() {
            return reason(Some(index), "it has graphs of its own");
        }
        if *fate == Fate::Dynamic {
            return reason(Some(index), "shapes of its values depend on data");
        }
        let values = node.inputs.iter().chain(&node.outputs).flatten();
        let is_text = |id: &ValueId| {
            let known = known.get(id.index()).and_then(Option::as_ref);
            known.is_some_and(|k| k.dtype == DType::String)
        };
        if *fate != Fate::Skip && values.into_iter().any(is_text) {
            return reason(Some(index), "its values are strings");
        }
    }
    let ends = graph.inputs().iter().chain(graph.outputs());
    for id in ends {
        match known.get(id.index()).and_then(Option::as_ref) {
            Some(known) if known.dtype == DType::String => {
                return reason(None, "strings go in or come out");
            }
            Some(known) if known.shape.is_none() => {
                return reason(None, "the shape of an output depends on data");
            }
            _ => {}
        }
    }
    None
}

struct Builder<'a> {
    graph: &'a Graph,
    known: &'a [Option<Known>],
    target: &'a Target<'a>,
    /// By value: the value whose bytes it views, itself if none.
    root: Vec<usize>,
    /// By value. [`Place::Arena`] holds the number of a need until the layout is known.
    place: Vec<Option<Place>>,
    needs: Vec<Need>,
    need_of: Vec<Option<usize>>,
    constants: Constants<'a>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    input_bytes: usize,
    output_bytes: usize,
    exchange: usize,
}

/// The program's constants.
struct Constants<'a> {
    graph: &'a Graph,
    target: &'a Target<'a>,
    /// The program's own.
    tables: Vec<u8>,
    /// Shared ones; number n is [`Place::Constant`] n + 1.
    shared: Vec<Arc<dyn Resident>>,
    by_name: HashMap<(usize, &'static str), Buffer>,
}

impl Constants<'_> {
    fn table(&mut self, bytes: &[u8]) -> Result<Buffer, Error> {
        let (range, _) = reserve(
            self.tables.len().next_multiple_of(ALIGNMENT),
            bytes.len(),
            ALIGNMENT,
        )?;
        self.tables.resize(range.start, 0);
        self.tables.extend_from_slice(bytes);
        Ok(Buffer::at(Place::Constant(0)).plus(range.start))
    }

    fn constant(
        &mut self,
        value: usize,
        key: &'static str,
        make: &mut dyn FnMut() -> Result<Vec<u8>, Error>,
    ) -> Result<Buffer, Error> {
        if let Some(buffer) = self.by_name.get(&(value, key)) {
            return Ok(*buffer);
        }
        let is_the_models = self
            .graph
            .values()
            .get(value)
            .is_some_and(|v| v.constant.is_some());
        let buffer = match is_the_models {
            true => {
                let number = self.target.number(value);
                self.shared
                    .push(self.target.weights.get(number, key, make)?);
                Buffer::at(Place::Constant(self.shared.len()))
            }
            // What follows from shapes is another for other shapes.
            false => self.table(&make()?)?,
        };
        self.by_name.insert((value, key), buffer);
        Ok(buffer)
    }
}

/// The memory of the node that is being lowered.
struct NodeSite<'a, 'b> {
    constants: &'b mut Constants<'a>,
    needs: &'b mut Vec<Need>,
    step: usize,
    shared_limit: u32,
}

impl Site for NodeSite<'_, '_> {
    fn scratch(&mut self, bytes: usize) -> Result<Buffer, Error> {
        self.needs.push(Need {
            bytes,
            first: self.step,
            last: self.step,
        });
        Ok(Buffer::at(Place::Arena(self.needs.len() - 1)))
    }

    fn constant(
        &mut self,
        value: usize,
        key: &'static str,
        make: &mut dyn FnMut() -> Result<Vec<u8>, Error>,
    ) -> Result<Buffer, Error> {
        self.constants.constant(value, key, make)
    }

    fn shared_limit(&self) -> u32 {
        self.shared_limit
    }

    fn table(&mut self, bytes: Vec<u8>) -> Result<Buffer, Error> {
        self.constants.table(&bytes)
    }
}

/// An operand with what is known of it.
struct Found {
    /// The number of the value whose bytes it has.
    root: usize,
    known: Known,
    shape: Shape,
    bytes: usize,
    /// `None` for one that is there without any step: then `known` has its contents.
    buffer: Option<Buffer>,
}

/// What a node reads and writes.
#[derive(Default)]
struct Operands {
    inputs: Vec<Option<Found>>,
    outputs: Vec<Option<Found>>,
    /// The number of its first need of scratch memory.
    scratch_from: usize,
}

impl<'a> Builder<'a> {
    fn new(
        graph: &'a Graph,
        known: &'a [Option<Known>],
        target: &'a Target<'a>,
    ) -> Result<Self, Error> {
        let n = graph.values().len();
        let mut builder = Builder {
            graph,
            known,
            target,
            root: (0..n).collect(),
            place: vec![None; n],
            needs: Vec::new(),
            need_of: vec![None; n],
            constants: Constants {
                graph,
                target,
                tables: Vec::new(),
                shared: Vec::new(),
                by_name: HashMap::new(),
            },
            inputs: Vec::new(),
            outputs: Vec::new(),
            input_bytes: 0,
            output_bytes: STATUS_BYTES,
            exchange: 0,
        };
        let ports = |ids: &[ValueId], end: &mut usize| {
            let port = |id: &ValueId| {
                let (known, shape, bytes) = builder.size(id.index())?;
                let (range, next) = reserve(*end, bytes, ALIGNMENT)?;
                *end = next;
                Ok(Port {
                    dtype: known.dtype,
                    shape,
                    offset: range.start,
                    bytes,
                })
            };
            ids.iter().map(port).collect::<Result<Vec<_>, Error>>()
        };
        let (mut input_bytes, mut output_bytes) = (0, STATUS_BYTES);
        let inputs = ports(graph.inputs(), &mut input_bytes)?;
        let outputs = ports(graph.outputs(), &mut output_bytes)?;
        (builder.inputs, builder.outputs) = (inputs, outputs);
        (builder.input_bytes, builder.output_bytes) = (input_bytes, output_bytes);
        Ok(builder)
    }

    fn build(mut self, fates: &[Fate]) -> Result<Program, Error> {
        for (node, fate) in self.graph.nodes().iter().zip(fates) {
            if let (Fate::View, Some(Some(from)), Some(Some(to))) =
                (fate, node.inputs.first(), node.outputs.first())
            {
                self.root[to.index()] = self.root[from.index()];
            }
        }
        self.place_ends(fates);
        let (graph, root) = (self.graph, self.root.clone());
        let mut groups = Groups::new(graph, self.known, fates, &root);
        fuse::find(&mut groups);
        let mut steps = Vec::new();
        for ((index, node), fate) in graph.nodes().iter().enumerate().zip(fates) {
            if *fate != Fate::Static {
                continue;
            }
            let located = |e: Error| locate(&e, node, &[]);
            match groups.at(index) {
                (Some(group), _) => self.group(group, &mut steps).map_err(located)?,
                (None, true) => {}
                (None, false) => {
                    let step = self.node(node, index, steps.len());
                    steps.push(step.map_err(located)?);
                }
            }
        }
        self.copies(&mut steps)?;
        let arena = self.lay_out(&mut steps)?;
        let mut constants = vec![self.target.weights.own(&self.constants.tables)?];
        constants.append(&mut self.constants.shared);
        Ok(Program {
            writes_to_host: is_straight(&steps, self.output_bytes),
            may_refuse: may_refuse(&steps),
            steps,
            constants,
            inputs: self.inputs,
            outputs: self.outputs,
            input_bytes: self.input_bytes,
            output_bytes: self.output_bytes,
            arena,
            exchange: self.exchange,
        })
    }

    /// What is known of a value, its shape and its size.
    fn size(&self, id: usize) -> Result<(&'a Known, Shape, usize), Error> {
        let name = || {
            let value = self.graph.values().get(id);
            value.map_or("", |value| &value.name).to_owned()
        };
        let known = self.known.get(id).and_then(Option::as_ref);
        let shape = known.and_then(|k| k.shape.clone());
        let (Some(known), Some(shape)) = (known, shape) else {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!(
                    "the type and shape of value \"{}\" cannot be inferred",
                    name()
                ),
            ));
        };
        let bytes = element_count(&shape).and_then(|n| n.checked_mul(known.dtype.size()));
        let bytes = bytes.ok_or_else(|| {
            Error::new(
                ErrorKind::Limit,
                format!("the size of value \"{}\" overflows", name()),
            )
        })?;
        Ok((known, shape, bytes))
    }

    fn is_literal(&self, id: usize) -> bool {
        is_literal(self.graph, self.known, id)
    }

    /// Gives places to inputs, and to what steps make and the caller gets.
    fn place_ends(&mut self, fates: &[Fate]) {
        for (i, input) in self.graph.inputs().iter().enumerate() {
            self.place[input.index()] = Some(Place::Input(i));
        }
        let mut made = vec![false; self.place.len()];
        for (node, fate) in self.graph.nodes().iter().zip(fates) {
            if *fate == Fate::Static {
                for output in node.outputs.iter().flatten() {
                    made[output.index()] = !self.is_literal(output.index());
                }
            }
        }
        for (i, output) in self.graph.outputs().iter().enumerate() {
            let root = self.root[output.index()];
            if made[root] && self.place[root].is_none() {
                self.place[root] = Some(Place::Output(i));
            }
        }
    }

    /// An operand that exists already, read by step number `step`.
    fn read(&mut self, id: usize, step: usize) -> Result<Found, Error> {
        let (known, shape, bytes) = self.size(id)?;
        let mut known = known.clone();
        let root = self.root[id];
        if let Some(need) = self.need_of[root] {
            self.needs[need].last = step;
        }
        if let Some(place) = self.place[root] {
            return Ok(Found {
                root,
                known,
                shape,
                bytes,
                buffer: Some(Buffer::at(place)),
            });
        }
        let constant = |id: usize| self.graph.values().get(id)?.constant.clone();
        let contents = match (
            constant(id).or_else(|| known.constant.take()),
            constant(root),
        ) {
            (Some(tensor), _) => Some(tensor),
            // Under its own number: what is made of it for this shape is not what is made of the constant for its own.
            (None, Some(tensor)) => Some(tensor.reshaped(&shape)?),
            (None, None) => match &known.integers {
                Some(integers) => Some(integer_tensor(known.dtype, &shape, integers)?),
                None => None,
            },
        };
        if contents.is_none() {
            // Inference knew enough to skip the node that makes it, and yet its contents are wanted.
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("value number {id} is read but never made"),
            ));
        }
        known.constant = contents;
        Ok(Found {
            root,
            known,
            shape,
            bytes,
            buffer: None,
        })
    }

    /// A place for a value that step number `step` makes.
    fn write(&mut self, id: usize, step: usize) -> Result<Found, Error> {
        let (known, shape, bytes) = self.size(id)?;
        let root = self.root[id];
        let place = match self.place[root] {
            Some(place @ Place::Output(_)) => place,
            _ => {
                let need = self.needs.len();
                self.needs.push(Need {
                    bytes,
                    first: step,
                    last: step,
                });
                self.need_of[root] = Some(need);
                // The number of the need stands for the offset until the layout is known.
                Place::Arena(need)
            }
        };
        self.place[root] = Some(place);
        Ok(Found {
            root,
            known: known.clone(),
            shape,
            bytes,
            buffer: Some(Buffer::at(place)),
        })
    }

    /// A group as one step, or as the steps of its nodes if its lowering refuses.
    fn group(&mut self, group: &Group, steps: &mut Vec<Step>) -> Result<(), Error> {
        let step = steps.len();
        let needs = self.needs.len();
        let operands = self.operands(&group.node, step)?;
        if let Some(launches) = self.lower(&group.node, step, &operands)? {
            let nodes = group
                .nodes
                .iter()
                .filter_map(|&n| self.graph.nodes().get(n));
            let name = nodes.map(title).collect::<Vec<_>>().join(" + ");
            let nodes = group.nodes.clone();
            steps.push(self.step(name, nodes, Work::Launches(launches), &operands));
            return Ok(());
        }
        // As if nothing had been made: the nodes find other places for it.
        self.needs.truncate(needs);
        for &index in &group.nodes {
            let node = self.graph.nodes().get(index);
            let node = node.ok_or_else(|| Error::new(ErrorKind::Panic, "a group lost a node"))?;
            steps.push(self.node(node, index, steps.len())?);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, index: usize, step: usize) -> Result<Step, Error> {
        let operands = self.operands(node, step)?;
        let work = match self.lower(node, step, &operands)? {
            Some(launches) => Work::Launches(launches),
            None => Work::Host(self.host(node, index, &operands)?),
        };
        Ok(self.step(title(node), vec![index], work, &operands))
    }

    /// What a node reads and writes.
    fn operands(&mut self, node: &Node, step: usize) -> Result<Operands, Error> {
        let mut operands = Operands::default();
        for id in &node.inputs {
            operands.inputs.push(match id {
                Some(id) => Some(self.read(id.index(), step)?),
                None => None,
            });
        }
        for id in &node.outputs {
            operands.outputs.push(match id {
                Some(id) => Some(self.write(id.index(), step)?),
                None => None,
            });
        }
        operands.scratch_from = self.needs.len();
        Ok(operands)
    }

    fn step(&self, name: String, nodes: Vec<usize>, work: Work, operands: &Operands) -> Step {
        let placed = |all: &[Option<Found>]| -> Vec<Placed> {
            let placed = all.iter().flatten().filter_map(|found| {
                Some(Placed {
                    value: found.root,
                    buffer: found.buffer?,
                    bytes: found.bytes,
                })
            });
            placed.collect()
        };
        let scratch = (operands.scratch_from..self.needs.len()).map(|need| Placed {
            value: NO_VALUE,
            buffer: Buffer::at(Place::Arena(need)),
            bytes: self.needs[need].bytes,
        });
        Step {
            name,
            nodes,
            work,
            inputs: placed(&operands.inputs),
            outputs: placed(&operands.outputs),
            scratch: scratch.collect(),
        }
    }

    fn lower(
        &mut self,
        node: &Node,
        step: usize,
        Operands {
            inputs, outputs, ..
        }: &Operands,
    ) -> Result<Option<Vec<Launch>>, Error> {
        let operand = |found: &Found| Operand {
            dtype: found.known.dtype,
            shape: found.shape.clone(),
            buffer: found.buffer,
            constant: found.known.constant.clone(),
            integers: found.known.integers.clone(),
            value: found.known.value,
        };
        let needs = self.needs.len();
        let mut site = NodeSite {
            constants: &mut self.constants,
            needs: &mut self.needs,
            step,
            shared_limit: self.target.shared_limit,
        };
        let operands = |all: &[Option<Found>]| -> Vec<Option<Operand>> {
            all.iter()
                .map(|found| found.as_ref().map(operand))
                .collect()
        };
        let mut cx = Lowering {
            op: &node.op,
            inputs: operands(inputs).into(),
            outputs: operands(outputs).into(),
            processors: self.target.processors,
            site: &mut site,
            launches: Vec::new(),
        };
        let done = (self.target.lower)(&mut cx)?;
        let launches = cx.launches;
        if done {
            return Ok(Some(launches));
        }
        self.needs.truncate(needs);
        Ok(None)
    }

    /// The node as a step on the processor.
    fn host(
        &mut self,
        node: &Node,
        index: usize,
        Operands {
            inputs, outputs, ..
        }: &Operands,
    ) -> Result<HostStep, Error> {
        let known = |all: &[Option<Found>]| -> Vec<Option<Known>> {
            let known = |found: &Option<Found>| {
                let mut known = found.as_ref()?.known.clone();
                known.value = self.number(known.value);
                Some(known)
            };
            all.iter().map(known).collect()
        };
        // What another program knows of a value that is no constant of the model may be something else. Integers are never packed.
        let is_kept = |found: &Found| {
            let Known {
                dtype,
                constant,
                value,
                ..
            } = &found.known;
            constant.is_none() || !dtype.is_float() || self.of_the_model(*value).is_some()
        };
        let own = Store::default();
        let store = match inputs.iter().flatten().all(is_kept) {
            true => self.target.store,
            false => &own,
        };
        let (reads, writes) = (known(inputs), known(outputs));
        let kernel = self.target.host.node(node, index, &reads, &writes, store)?;
        let mut end = 0;
        let mut exchange = |bytes| {
            let (range, next) = reserve(end, bytes, ALIGNMENT)?;
            end = next;
            Ok::<usize, Error>(range.start)
        };
        let mut sources = Vec::new();
        for (i, found) in inputs.iter().enumerate() {
            let Some(found) = found else {
                sources.push(None);
                continue;
            };
            let (dtype, shape) = (found.known.dtype, found.shape.clone());
            sources.push(match (found.buffer, &found.known.constant) {
                (Some(buffer), _) => Some(match buffer.place {
                    Place::Input(n) => HostInput::Input(n, dtype, shape),
                    _ => HostInput::Device {
                        from: Placed {
                            value: found.root,
                            buffer,
                            bytes: found.bytes,
                        },
                        at: exchange(found.bytes)?,
                        dtype,
                        shape,
                    },
                }),
                (None, Some(tensor)) if kernel.reads(i) => {
                    let aligned = self.aligned(found.known.value, tensor)?;
                    Some(HostInput::Constant(aligned))
                }
                (None, _) => None,
            });
        }
        let mut targets = Vec::new();
        for found in outputs {
            targets.push(match found {
                Some(found) => Some(HostOutput {
                    to: Placed {
                        value: found.root,
                        buffer: found.buffer.unwrap_or(Buffer::at(Place::Status)),
                        bytes: found.bytes,
                    },
                    at: exchange(found.bytes)?,
                    dtype: found.known.dtype,
                    shape: found.shape.clone(),
                }),
                None => None,
            });
        }
        self.exchange = self.exchange.max(end);
        Ok(HostStep {
            node: kernel,
            inputs: sources,
            outputs: targets,
        })
    }

    /// A constant for the processor: one of the model's is copied once at most.
    fn aligned(&self, value: usize, tensor: &Tensor) -> Result<Tensor, Error> {
        match self.of_the_model(value) {
            Some(constant) if constant.shape() == tensor.shape() => {
                self.target.store.aligned(self.number(value), constant)
            }
            _ => Ok(tensor.to_aligned()?),
        }
    }

    /// The contents of a constant of the model.
    fn of_the_model(&self, value: usize) -> Option<&'a Tensor> {
        self.graph.values().get(value)?.constant.as_ref()
    }

    fn number(&self, value: usize) -> usize {
        self.target.number(value)
    }

    /// Outputs that no step writes in their place are copied at the end.
    fn copies(&mut self, steps: &mut Vec<Step>) -> Result<(), Error> {
        for (i, &id) in self.graph.outputs().iter().enumerate() {
            let id = id.index();
            if self.place[self.root[id]] == Some(Place::Output(i)) {
                continue;
            }
            let found = self.read(id, steps.len())?;
            let from = match (found.buffer, &found.known.constant) {
                (Some(buffer), _) => buffer,
                (None, Some(tensor)) => {
                    let make = &mut || Ok(tensor.bytes().to_vec());
                    self.constants
                        .constant(found.known.value, "as it is", make)?
                }
                (None, None) => continue,
            };
            let to = Buffer::at(Place::Output(i));
            let bytes = found.bytes;
            let value = found.root;
            let placed = |buffer| {
                vec![Placed {
                    value,
                    buffer,
                    bytes,
                }]
            };
            steps.push(Step {
                name: format!("output \"{}\"", self.graph.values()[id].name),
                nodes: Vec::new(),
                work: Work::Copy { from, to, bytes },
                inputs: placed(from),
                outputs: placed(to),
                scratch: Vec::new(),
            });
        }
        Ok(())
    }

    /// Lays out the arena and puts offsets where the numbers of needs stood.
    fn lay_out(&self, steps: &mut [Step]) -> Result<usize, Error> {
        let overflow = || {
            Error::new(
                ErrorKind::Limit,
                "the sizes of intermediate values overflow",
            )
        };
        let (offsets, size) = layout(&self.needs, ALIGNMENT).ok_or_else(overflow)?;
        if size > self.target.arena_limit {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "one run needs {size} bytes for intermediate values, over the limit of {}; \
                     raise the device's arena limit or send fewer rows",
                    self.target.arena_limit
                ),
            ));
        }
        let settle = |buffer: &mut Buffer| {
            if let Place::Arena(need) = &mut buffer.place {
                *need = offsets.get(*need).copied().unwrap_or_default();
            }
        };
        for step in steps {
            let placed = step.inputs.iter_mut().chain(&mut step.outputs);
            for placed in placed.chain(&mut step.scratch) {
                settle(&mut placed.buffer);
            }
            match &mut step.work {
                Work::Launches(launches) => {
                    let args = launches.iter_mut().flat_map(|launch| &mut launch.args);
                    for arg in args {
                        if let Arg::Buffer(buffer) = arg {
                            settle(buffer);
                        }
                    }
                }
                Work::Copy { from, to, .. } => {
                    settle(from);
                    settle(to);
                }
                Work::Host(host) => {
                    for input in host.inputs.iter_mut().flatten() {
                        if let HostInput::Device { from, .. } = input {
                            settle(&mut from.buffer);
                        }
                    }
                    for output in host.outputs.iter_mut().flatten() {
                        settle(&mut output.to.buffer);
                    }
                }
            }
        }
        Ok(size)
    }
}
