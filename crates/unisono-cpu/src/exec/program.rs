//! A program: a graph for concrete shapes, ready to run.
//!
//! The one idea: every value has a *place* before the run begins. Constants stay where they are; integers that follow
//! from shapes are written down once as literals; views (`Reshape` and its kin) are the place of what they view; an
//! output of the model is written where the caller will find it; all the rest share the arena. Only values whose
//! shape depends on data get their place while running.
//!
//! Where many rows are more than a cache holds, stretches of steps run in several passes over a few rows each.
//!
//! Building never trusts the graph: sizes are checked for overflow and against the limit.

mod attention;
mod forms;
mod passes;
mod sums;

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use unisono_graph::{Graph, Node, Operator, ValueId};
use unisono_runtime::program::arena::{Need, layout};
use unisono_runtime::program::facts::{integer_tensor, locate, title};
use unisono_runtime::program::{Fate, fates, is_literal};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, element_count};

use crate::exec::cost::MOVED_BYTES_PER_NS;
use crate::exec::kernel::{Access, Build, Kernel, Known};
use crate::exec::model::{Engine, Store};
use forms::Form;
pub(crate) use passes::{ByRows, Stretch};

/// Alignment of every place, in bytes: a cache line. What a [pass](Stretch::passes) has of a place is aligned for its type.
pub(crate) const ALIGNMENT: usize = 64;

/// Where a value's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Input number n of the program.
    Input(usize),
    /// Output number n of the program.
    Output(usize),
    /// Number n of [`Program::constants`]: a constant of the model or a literal.
    Constant(usize),
    /// This offset in the arena.
    Arena(usize),
    /// Number n of the lane's values of data-dependent shape.
    Dynamic(usize),
}

/// One input or output of a step.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) place: Place,
    pub(crate) dtype: DType,
    /// `None` if it depends on data.
    pub(crate) shape: Option<Shape>,
    /// Bytes, if the shape is known.
    pub(crate) bytes: usize,
    /// How far the bytes of a pass lie behind those of the pass before; 0 where all passes see the same.
    pub(crate) stride: usize,
    /// The value's number in the graph, for steps that build kernels as they run.
    pub(crate) value: usize,
}

/// Numbers of the nodes that a step does.
pub(crate) type Nodes = SmallVec<[usize; 3]>;

/// What a step does.
pub(crate) enum Action {
    /// Runs a kernel with scratch memory at this offset of the arena.
    Kernel {
        kernel: Box<dyn Kernel>,
        scratch: usize,
        scratch_len: usize,
    },
    /// Copies input 0 to output 0: an output that is also an input, a constant, or another output.
    Copy,
    /// Finds its outputs' shapes from its inputs' contents, then runs.
    Dynamic { op: Arc<dyn Operator> },
}

/// One node, several that one kernel does, or a copy.
pub(crate) struct Step {
    /// The node's path and operator, for errors.
    pub(crate) name: String,
    /// The nodes' numbers in their graph, the one that has the weights first; none for what the program itself adds.
    pub(crate) nodes: Nodes,
    pub(crate) action: Action,
    pub(crate) inputs: Vec<Option<Operand>>,
    pub(crate) outputs: Vec<Option<Operand>>,
    /// Counted work on one core, in nanoseconds.
    pub(crate) estimated_ns: u64,
}

/// The time to move a step's operands.
fn moving_ns(inputs: &[Option<Operand>], outputs: &[Option<Operand>]) -> u64 {
    let bytes = |o: &Operand| match o.place {
        // Constants are tables, of which a step reads a few entries, or small.
        Place::Constant(_) => 0,
        _ => o.bytes as u64,
    };
    let operands = inputs.iter().chain(outputs).flatten();
    operands.map(bytes).sum::<u64>() / MOVED_BYTES_PER_NS
}

/// An output of the program.
#[derive(Debug)]
pub(crate) struct OutputPort {
    pub(crate) dtype: DType,
    /// `None` if it depends on data; the step that makes it then asks for the memory.
    pub(crate) shape: Option<Shape>,
}

/// See the [module](self).
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    /// The steps, cut where the number of passes changes.
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) outputs: Vec<OutputPort>,
    /// Size of the arena in bytes.
    pub(crate) arena: usize,
    /// How many values get their place while running.
    pub(crate) dynamic: usize,
    pub(crate) store: Arc<Store>,
}

impl Program {
    /// A program for `graph`, of whose values `known` tells shapes and contents, in the order of the graph's values. Who can tell that of other
    /// numbers of rows too, `by_rows`, may get one that runs in passes.
    pub(crate) fn build(
        graph: &Graph,
        known: Vec<Option<Known>>,
        store: &Arc<Store>,
        engine: &Arc<Engine>,
        by_rows: Option<ByRows<'_>>,
    ) -> Result<Program, Error> {
        let mut builder = Builder::new(graph, known, store, engine);
        let mut steps = builder.all_steps()?;
        let stretches = builder.cut_into_passes(&mut steps, by_rows)?;
        builder.finish(steps, stretches)
    }

    /// Do some steps run more than once?
    pub(crate) fn has_passes(&self) -> bool {
        self.stretches.iter().any(|stretch| stretch.passes > 1)
    }

    /// How often step number `step` runs.
    pub(crate) fn passes(&self, step: usize) -> usize {
        let holds = |stretch: &&Stretch| stretch.steps.contains(&step);
        self.stretches.iter().find(holds).map_or(1, |s| s.passes)
    }

    /// How many steps find their shapes while running.
    pub(crate) fn dynamic_steps(&self) -> usize {
        self.steps
            .iter()
            .filter(|s| matches!(s.action, Action::Dynamic { .. }))
            .count()
    }

    /// Bytes that the program itself holds, roughly: steps and operands, not weights.
    pub(crate) fn bytes(&self) -> u64 {
        let operands: usize = self
            .steps
            .iter()
            .map(|s| s.inputs.len() + s.outputs.len())
            .sum();
        let literals: usize = self.constants.len() * size_of::<Tensor>();
        (self.steps.len() * size_of::<Step>() + operands * size_of::<Option<Operand>>() + literals)
            as u64
    }
}

/// What a step is to do.
enum Doing<'a> {
    Kernel(Box<dyn Kernel>),
    /// Shapes depend on data.
    Operator(&'a Arc<dyn Operator>),
}

struct Builder<'a> {
    graph: &'a Graph,
    known: Vec<Option<Known>>,
    store: &'a Arc<Store>,
    engine: &'a Arc<Engine>,
    /// By value: the value whose bytes it views, itself if none.
    root: Vec<usize>,
    place: Vec<Option<Place>>,
    constants: Vec<Tensor>,
    dynamic: usize,
    /// Arena needs, and the root value of each (`None`: scratch of the step).
    needs: Vec<Need>,
    need_of: Vec<Option<usize>>,
    /// Behind the graph's values stand those that have another form: by value, the number of the one with the channels last.
    last: Vec<Option<usize>>,
    /// By number: the graph's value whose contents it has.
    origin: Vec<usize>,
    /// By root: has a step written it?
    written: Vec<bool>,
}

impl<'a> Builder<'a> {
    fn new(
        graph: &'a Graph,
        known: Vec<Option<Known>>,
        store: &'a Arc<Store>,
        engine: &'a Arc<Engine>,
    ) -> Self {
        let n = graph.values().len();
        Builder {
            graph,
            known,
            store,
            engine,
            root: (0..n).collect(),
            place: vec![None; n],
            constants: Vec::new(),
            dynamic: 0,
            needs: Vec::new(),
            need_of: vec![None; n],
            last: vec![None; n],
            origin: (0..n).collect(),
            written: vec![false; n],
        }
    }

    fn known(&self, id: usize) -> Option<&Known> {
        self.known.get(id).and_then(Option::as_ref)
    }

    /// The constant of the model that a value is.
    fn constant(&self, id: usize) -> Option<&Tensor> {
        self.graph.values().get(id)?.constant.as_ref()
    }

    fn name(&self, id: usize) -> &str {
        let value = self
            .origin
            .get(id)
            .and_then(|&origin| self.graph.values().get(origin));
        value.map_or("", |value| &value.name)
    }

    fn shape(&self, id: usize) -> Option<&Shape> {
        self.known(id)?.shape.as_ref()
    }

    /// See [`is_literal`].
    fn is_literal(&self, id: usize) -> bool {
        is_literal(self.graph, &self.known, id)
    }

    /// The steps. The number of a need stands for its offset in the arena.
    fn all_steps(&mut self) -> Result<Vec<Step>, Error> {
        let fates = fates(self.graph, &self.known);
        for (node, fate) in self.graph.nodes().iter().zip(&fates) {
            if let (Fate::View, Some(Some(from)), Some(Some(to))) =
                (fate, node.inputs.first(), node.outputs.first())
            {
                self.root[to.index()] = self.root[from.index()];
            }
        }
        self.place_ends(&fates)?;
        let forms = self.choose_forms(&fates)?;
        let mut steps = self.steps(&fates, forms)?;
        self.copies(&mut steps)?;
        Ok(steps)
    }

    fn finish(self, mut steps: Vec<Step>, stretches: Vec<Stretch>) -> Result<Program, Error> {
        let arena = self.lay_out(&mut steps)?;
        let outputs = self
            .graph
            .outputs()
            .iter()
            .map(|&id| {
                let id = id.index();
                let known = self.known(id).ok_or_else(|| self.untyped(id))?;
                Ok(OutputPort {
                    dtype: known.dtype,
                    shape: known.shape.clone(),
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Program {
            steps,
            stretches,
            constants: self.constants,
            outputs,
            arena,
            dynamic: self.dynamic,
            store: Arc::clone(self.store),
        })
    }

    fn untyped(&self, id: usize) -> Error {
        let name = self.name(id);
        Error::new(
            ErrorKind::InvalidModel,
            format!("the type of value \"{name}\" cannot be inferred"),
        )
    }

    /// Gives places to inputs, and to what steps make and the caller gets.
    fn place_ends(&mut self, fates: &[Fate]) -> Result<(), Error> {
        for (i, input) in self.graph.inputs().iter().enumerate() {
            self.place[input.index()] = Some(Place::Input(i));
        }
        let mut made = vec![false; self.place.len()];
        for (node, fate) in self.graph.nodes().iter().zip(fates) {
            if matches!(fate, Fate::Static | Fate::Dynamic) {
                for output in node
                    .outputs
                    .iter()
                    .flatten()
                    .filter(|o| !self.is_literal(o.index()))
                {
                    made[output.index()] = true;
                }
            }
        }
        for (i, output) in self.graph.outputs().iter().enumerate() {
            let root = self.root[output.index()];
            if made[root] && self.place[root].is_none() {
                self.place[root] = Some(Place::Output(i));
            }
        }
        Ok(())
    }

    /// The place of a value that exists already.
    fn read(&mut self, id: usize, access: Access) -> Result<Option<Operand>, Error> {
        let Some(known) = self.known(id).cloned() else {
            return Err(self.untyped(id));
        };
        let root = self.root[id];
        let place = if let Some(place) = self.place[root] {
            place
        } else if access == Access::Unused {
            return Ok(None);
        } else {
            let Some(tensor) = self.literal(id, &known, access)? else {
                // Inference knew enough to skip the node that makes it, and yet its contents are wanted.
                return Err(Error::new(
                    ErrorKind::InvalidModel,
                    format!("value \"{}\" is read but never made", self.name(id)),
                ));
            };
            let place = Place::Constant(self.constants.len());
            self.constants.push(tensor);
            // Not remembered in `place` for constants read as bytes: another reader may need them aligned.
            if access == Access::Typed && root == id {
                self.place[root] = Some(place);
            }
            place
        };
        self.operand(id, place, &known).map(Some)
    }

    /// The contents of a value that needs no node.
    fn literal(&self, id: usize, known: &Known, access: Access) -> Result<Option<Tensor>, Error> {
        let constant = self.constant(id).or(known.constant.as_ref());
        if let Some(tensor) = constant {
            return match access {
                Access::Typed => self.store.aligned(self.origin[id], tensor).map(Some),
                Access::Bytes | Access::Unused => Ok(Some(tensor.clone())),
            };
        }
        // A view of a constant.
        let root = self.root[id];
        if let (Some(tensor), Some(shape)) = (self.constant(root), &known.shape) {
            let tensor = match access {
                Access::Typed => self.store.aligned(root, tensor)?,
                Access::Bytes | Access::Unused => tensor.clone(),
            };
            return Ok(Some(tensor.reshaped(shape)?));
        }
        match (&known.integers, &known.shape) {
            (Some(integers), Some(shape)) => {
                Ok(Some(integer_tensor(known.dtype, shape, integers)?))
            }
            _ => Ok(None),
        }
    }

    fn operand(&self, id: usize, place: Place, known: &Known) -> Result<Operand, Error> {
        let bytes = match &known.shape {
            None => 0,
            Some(shape) => element_count(shape)
                .and_then(|n| n.checked_mul(known.dtype.size()))
                .filter(|&n| n <= self.engine.arena_limit || !matches!(place, Place::Arena(_)))
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Limit,
                        format!(
                            "value \"{}\" of shape {:?} would need more than the limit of {} bytes; \
                             raise the device's arena limit or send fewer rows",
                            self.name(id),
                            shape.as_slice(),
                            self.engine.arena_limit
                        ),
                    )
                })?,
        };
        Ok(Operand {
            place,
            dtype: known.dtype,
            shape: known.shape.clone(),
            bytes,
            stride: 0,
            value: self.origin[id],
        })
    }

    /// A place for a value that step number `step` makes.
    fn write(&mut self, id: usize, step: usize) -> Result<Operand, Error> {
        let Some(known) = self.known(id).cloned() else {
            return Err(self.untyped(id));
        };
        let index = self.root[id];
        self.written[index] = true;
        if let Some(place @ Place::Output(_)) = self.place[index] {
            return self.operand(id, place, &known);
        }
        if known.shape.is_none() {
            let place = Place::Dynamic(self.dynamic);
            self.dynamic += 1;
            self.place[index] = Some(place);
            return self.operand(id, place, &known);
        }
        let need = self.needs.len();
        let mut operand = self.operand(id, Place::Arena(need), &known)?;
        self.needs.push(Need {
            bytes: operand.bytes,
            first: step,
            last: step,
        });
        self.need_of[index] = Some(need);
        // The number of the need stands for the offset until the layout is known.
        operand.place = Place::Arena(need);
        self.place[index] = Some(operand.place);
        Ok(operand)
    }

    fn steps(&mut self, fates: &[Fate], forms: Vec<Form>) -> Result<Vec<Step>, Error> {
        let mut steps: Vec<Step> = Vec::new();
        let graph = self.graph;
        let nodes = graph.nodes().iter().enumerate().zip(fates).zip(forms);
        for (((index, node), fate), form) in nodes {
            if matches!(fate, Fate::Skip | Fate::View) || matches!(form, Form::Nothing) {
                continue;
            }
            let at = |e: Error| locate(&e, node, &[]);
            let numbers = |ids: &[Option<ValueId>]| -> Vec<Option<usize>> {
                ids.iter().map(|id| id.map(ValueId::index)).collect()
            };
            let (nodes, doing, inputs, outputs) = match (form, fate) {
                (Form::Last(last), _) => {
                    let doing = Doing::Kernel(last.kernel);
                    (last.nodes, doing, last.inputs, last.outputs)
                }
                (_, fate) => {
                    let doing = match fate {
                        Fate::Static => Doing::Kernel(self.kernel(node, index)?),
                        _ => Doing::Operator(&node.op),
                    };
                    let (inputs, outputs) = (numbers(&node.inputs), numbers(&node.outputs));
                    (smallvec![index], doing, inputs, outputs)
                }
            };
            for &id in inputs.iter().flatten() {
                self.provide_form(id, &mut steps).map_err(at)?;
            }
            let done = nodes.iter().filter_map(|&index| graph.nodes().get(index));
            let titles: Vec<String> = done.map(title).collect();
            let name = titles.join(" + ");
            let step = self.step(name, nodes, doing, inputs, outputs, steps.len());
            steps.push(step.map_err(at)?);
        }
        Ok(steps)
    }

    /// Step number `step`.
    fn step(
        &mut self,
        name: String,
        nodes: Nodes,
        doing: Doing<'_>,
        inputs: Vec<Option<usize>>,
        outputs: Vec<Option<usize>>,
        step: usize,
    ) -> Result<Step, Error> {
        let kernel = match &doing {
            Doing::Kernel(kernel) => Some(&**kernel),
            Doing::Operator(_) => None,
        };
        let read = inputs
            .iter()
            .enumerate()
            .map(|(i, input)| match input {
                None => Ok(None),
                Some(id) => self.read(*id, self.access(*id, i, kernel)),
            })
            .collect::<Result<Vec<_>, Error>>()?;
        for id in inputs.into_iter().flatten() {
            self.keep_until(id, step);
        }
        let written = outputs
            .into_iter()
            .map(|output| output.map(|id| self.write(id, step)).transpose())
            .collect::<Result<Vec<_>, Error>>()?;
        let action = match doing {
            Doing::Operator(op) => Action::Dynamic { op: Arc::clone(op) },
            Doing::Kernel(kernel) => {
                let scratch_len = kernel.scratch_len();
                let scratch = self.needs.len();
                let bytes = scratch_len.checked_mul(4).ok_or_else(too_large)?;
                self.needs.push(Need {
                    bytes,
                    first: step,
                    last: step,
                });
                Action::Kernel {
                    kernel,
                    scratch,
                    scratch_len,
                }
            }
        };
        let kernel_ns = match &action {
            Action::Kernel { kernel, .. } => kernel.estimated_ns(),
            Action::Copy | Action::Dynamic { .. } => 0,
        };
        Ok(Step {
            name,
            nodes,
            estimated_ns: kernel_ns.max(moving_ns(&read, &written)),
            action,
            inputs: read,
            outputs: written,
        })
    }

    /// A step reads a value, whose bytes must last so long.
    fn keep_until(&mut self, id: usize, step: usize) {
        if let Some(need) = self.need_of[self.root[id]] {
            self.needs[need].last = step;
        }
    }

    /// How a step reads value `id`, its input `i`.
    fn access(&self, id: usize, i: usize, kernel: Option<&dyn Kernel>) -> Access {
        match kernel.map(|kernel| kernel.access(i)) {
            // What was taken at build time was a literal, or the kernel would be wrong.
            Some(Access::Unused) if !self.is_literal(id) => Access::Typed,
            Some(access) => access,
            None => Access::Typed,
        }
    }

    fn kernel(&self, node: &Node, index: usize) -> Result<Box<dyn Kernel>, Error> {
        let known = |ids: &[Option<ValueId>]| -> Vec<Option<Known>> {
            ids.iter()
                .map(|id| self.with_contents(id.map(ValueId::index)))
                .collect()
        };
        let (inputs, outputs) = (known(&node.inputs), known(&node.outputs));
        build_kernel(&node.op, &inputs, &outputs, index, self.store, self.engine)
            .map_err(|e| locate(&e, node, &inputs))
    }

    /// What is known of a value, with its contents if it is a constant of the model.
    fn with_contents(&self, id: Option<usize>) -> Option<Known> {
        let id = id?;
        let mut known = self.known(id)?.clone();
        if known.constant.is_none() {
            known.constant = self.constant(id).cloned();
        }
        Some(known)
    }

    /// Outputs that no step writes in their place are copied at the end.
    fn copies(&mut self, steps: &mut Vec<Step>) -> Result<(), Error> {
        for (i, &id) in self.graph.outputs().iter().enumerate() {
            let id = id.index();
            self.provide_form(id, steps)?;
            if self.place[self.root[id]] == Some(Place::Output(i)) {
                continue;
            }
            let step = steps.len();
            let Some(from) = self.read(id, Access::Bytes)? else {
                return Err(self.untyped(id));
            };
            self.keep_until(id, step);
            let to = Operand {
                place: Place::Output(i),
                ..from.clone()
            };
            let (inputs, outputs) = (vec![Some(from)], vec![Some(to)]);
            steps.push(Step {
                name: format!("output \"{}\"", self.name(id)),
                nodes: Nodes::new(),
                estimated_ns: moving_ns(&inputs, &outputs),
                action: Action::Copy,
                inputs,
                outputs,
            });
        }
        Ok(())
    }

    /// Lays out the arena and puts offsets where the numbers of needs stood.
    fn lay_out(&self, steps: &mut [Step]) -> Result<usize, Error> {
        let (offsets, size) = layout(&self.needs, ALIGNMENT).ok_or_else(too_large)?;
        if size > self.engine.arena_limit {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "one run needs {size} bytes for intermediate values, over the limit of {}; \
                     raise the device's arena limit or send fewer rows",
                    self.engine.arena_limit
                ),
            ));
        }
        for step in steps {
            for operand in step.inputs.iter_mut().chain(&mut step.outputs).flatten() {
                if let Place::Arena(need) = &mut operand.place {
                    *need = offsets[*need];
                }
            }
            if let Action::Kernel { scratch, .. } = &mut step.action {
                *scratch = offsets[*scratch];
            }
        }
        Ok(size)
    }
}

/// Builds the kernel of a node whose shapes are all known.
pub(crate) fn build_kernel(
    op: &Arc<dyn Operator>,
    inputs: &[Option<Known>],
    outputs: &[Option<Known>],
    node: usize,
    store: &Store,
    engine: &Arc<Engine>,
) -> Result<Box<dyn Kernel>, Error> {
    let (inputs, outputs) = (as_refs(inputs), as_refs(outputs));
    let build = Build {
        op,
        inputs: &inputs,
        outputs: &outputs,
        node,
        store,
        engine,
        channels_last: false,
    };
    crate::kernels::build(&build)
}

fn as_refs(known: &[Option<Known>]) -> SmallVec<[Option<&Known>; 8]> {
    known.iter().map(Option::as_ref).collect()
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::Limit,
        "the sizes of intermediate values overflow",
    )
}
