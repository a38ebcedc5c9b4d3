//! Which values of a program have their channels last.
//!
//! The one idea: a value N x C x spatial of the model may lie in memory as N x spatial x C, as if it were another value of that shape.
//! Convolutions want it, what follows them takes it as it comes, and everybody else gets the model's form. So a node is asked in the
//! order of execution whether it has a kernel for that form; a value that is wanted in both forms is turned once, in front of its
//! first reader. A value with one channel or one position is the same bytes in both and is never turned.
//!
//! What is decided here follows from shapes and constants alone, and never changes a bit of what is computed: kernels for both forms give
//! the canonical sums.

use smallvec::smallvec;
use unisono_graph::Node;
use unisono_graph::ops::activation::Activate;
use unisono_graph::ops::binary::{Binary, Variadic};
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::movement::{Concat, Transpose};
use unisono_graph::ops::unary::Unary;
use unisono_runtime::Error;
use unisono_runtime::program::Fate;
use unisono_runtime::program::facts::locate;
use unisono_tensor::{DType, Shape, TensorMut, TensorRef, element_count};

use super::{Builder, Nodes, Step, as_refs};
use crate::exec::kernel::{Build, Context, Kernel, Known};
use crate::gemm::Cores;
use crate::kernels::operands::{operand, result};
use crate::movement::turn_planes;

/// What becomes of a node.
pub(super) enum Form {
    /// It runs in the model's form, if it runs.
    Model,
    /// It runs with channels last, or as one of several nodes that a kernel does.
    Last(Last),
    /// It is no step. What it makes is there already: a transpose that only says another form of the same bytes. Or it is never
    /// there, as a later node's kernel does its work and nobody else reads it: see [`sums`](super::sums) and [`fuse`](crate::fuse).
    Nothing,
}

/// A node that runs with channels last: its kernel, and the numbers of the values that it reads and writes.
pub(super) struct Last {
    /// The node, and those that its kernel does as well; see [`Step::nodes`].
    pub(super) nodes: Nodes,
    pub(super) kernel: Box<dyn Kernel>,
    pub(super) inputs: Vec<Option<usize>>,
    pub(super) outputs: Vec<Option<usize>>,
}

/// The shape of a value with the channels last.
fn channels_last(shape: &[usize]) -> Shape {
    let mut turned = Shape::from_slice(shape);
    turned[1..].rotate_left(1);
    turned
}

/// Channels and positions of a sample.
fn extents(shape: &[usize]) -> (usize, usize) {
    (shape[1], shape[2..].iter().product())
}

impl Builder<'_> {
    /// By node, in which form it runs.
    pub(super) fn choose_forms(&mut self, fates: &[Fate]) -> Result<Vec<Form>, Error> {
        let graph = self.graph;
        let attention = self.attention(fates);
        let mut is_last = vec![false; graph.values().len()];
        let mut chosen = Vec::new();
        for ((index, node), fate) in graph.nodes().iter().enumerate().zip(fates) {
            let is_conv = node.op.is::<Conv>() || node.op.is::<ConvTranspose>();
            let takes = node.inputs.iter().flatten().any(|id| is_last[id.index()]);
            let form = match fate {
                Fate::View if takes => {
                    self.view_last(node, &mut is_last);
                    Form::Model
                }
                Fate::Static if self.only_says_another_form(node, &mut is_last) => Form::Nothing,
                Fate::Static if is_conv || takes => match self.last(node, index)? {
                    Some(last) => {
                        for id in node.outputs.iter().flatten() {
                            is_last[id.index()] = true;
                        }
                        Form::Last(last)
                    }
                    None => Form::Model,
                },
                _ => Form::Model,
            };
            chosen.push(form);
        }
        self.join_sums(&mut chosen);
        self.join_attention(attention, &mut chosen);
        self.join_products(fates, &mut chosen)?;
        Ok(chosen)
    }

    /// A view that leaves samples and channels alone is one of the other form as well: positions stay in their order.
    fn view_last(&mut self, node: &Node, is_last: &mut [bool]) {
        let ends = (node.inputs.first(), node.outputs.first());
        let (Some(&Some(from)), Some(&Some(to))) = ends else {
            return;
        };
        let (from, to) = (from.index(), to.index());
        let shapes = (self.shape(from).cloned(), self.shape(to).cloned());
        let (Some(before), Some(after)) = shapes else {
            return;
        };
        if !is_last[from] || after.len() < 3 || before[..2] != after[..2] {
            return;
        }
        let numbers = (
            self.last_form(from, before.len()),
            self.last_form(to, after.len()),
        );
        if let (Some(from), Some(number)) = numbers {
            self.root[number] = self.root[from];
            is_last[to] = true;
        }
    }

    /// Is the node a transpose between the forms, whose result is therefore there, whether as the other form of what convolutions read,
    /// or as the model's form of what has its channels last? Exporters of models that have channels last put them around convolutions.
    fn only_says_another_form(&mut self, node: &Node, is_last: &mut [bool]) -> bool {
        let ends = (node.inputs.first(), node.outputs.first());
        let (Some(&Some(from)), Some(&Some(to))) = ends else {
            return false;
        };
        let Some(op) = node.op.downcast_ref::<Transpose>() else {
            return false;
        };
        let Some(rank) = self.shape(to.index()).map(|shape| shape.len()) else {
            return false;
        };
        if rank < 3 || self.is_literal(from.index()) {
            return false;
        }
        let perm: Vec<usize> = match &op.perm {
            Some(perm) => perm.clone(),
            None => (0..rank).rev().collect(),
        };
        let mut rotated: Vec<usize> = (0..rank).collect();
        rotated[1..].rotate_left(1);
        if perm == rotated && is_last[from.index()] {
            let Some(number) = self.last_form(from.index(), rank) else {
                return false;
            };
            let (old, new) = (to.index(), self.root[number]);
            self.root
                .iter_mut()
                .filter(|root| **root == old)
                .for_each(|root| *root = new);
            return true;
        }
        rotated[1..].rotate_right(2);
        let reads = |node: &&Node| node.inputs.contains(&Some(to));
        let mut readers = self.graph.nodes().iter().filter(reads).peekable();
        let for_convolutions = readers.peek().is_some()
            && readers.all(|node| node.op.is::<Conv>() || node.op.is::<ConvTranspose>());
        if perm != rotated || !for_convolutions {
            return false;
        }
        match self.last_form(to.index(), rank) {
            Some(number) => {
                self.root[number] = self.root[from.index()];
                is_last[to.index()] = true;
                true
            }
            None => false,
        }
    }

    /// The node with channels last, if there is a kernel for that.
    fn last(&mut self, node: &Node, index: usize) -> Result<Option<Last>, Error> {
        let op = &node.op;
        let is_elementwise =
            op.is::<Unary>() || op.is::<Activate>() || op.is::<Binary>() || op.is::<Variadic>();
        let all = is_elementwise || op.is::<Concat>();
        let Some(rank) = node.outputs.first().and_then(|id| {
            let shape = self.shape((*id)?.index())?;
            Some(shape.len())
        }) else {
            return Ok(None);
        };
        let mut inputs = Vec::new();
        for (i, id) in node.inputs.iter().enumerate() {
            let Some(id) = id.map(|id| id.index()) else {
                inputs.push(None);
                continue;
            };
            let id = match all || i == 0 {
                true => match self.operand_last(id, rank)? {
                    Some(id) => id,
                    None => return Ok(None),
                },
                false => id,
            };
            inputs.push(Some(id));
        }
        let mut outputs = Vec::new();
        for id in &node.outputs {
            let Some(id) = id else {
                outputs.push(None);
                continue;
            };
            match self.last_form(id.index(), rank) {
                Some(id) => outputs.push(Some(id)),
                None => return Ok(None),
            }
        }
        let known = |ids: &[Option<usize>]| -> Vec<Option<Known>> {
            ids.iter().map(|&id| self.with_contents(id)).collect()
        };
        let (known_inputs, known_outputs) = (known(&inputs), known(&outputs));
        let build = Build {
            op,
            inputs: &as_refs(&known_inputs),
            outputs: &as_refs(&known_outputs),
            node: index,
            store: self.store,
            engine: self.engine,
            channels_last: true,
        };
        let kernel =
            crate::kernels::build_last(&build).map_err(|e| locate(&e, node, &known_inputs))?;
        Ok(kernel.map(|kernel| Last {
            nodes: smallvec![index],
            kernel,
            inputs,
            outputs,
        }))
    }

    /// What stands for an operand beside values of so many axes that have their channels last.
    fn operand_last(&mut self, id: usize, rank: usize) -> Result<Option<usize>, Error> {
        if !self.is_literal(id) {
            return Ok(self.last_form(id, rank));
        }
        let Some(known) = self.with_contents(Some(id)) else {
            return Ok(None);
        };
        let (Some(shape), Some(tensor)) = (&known.shape, &known.constant) else {
            return Ok(None);
        };
        if element_count(shape) == Some(1) && shape.len() <= rank {
            return Ok(Some(id));
        }
        // One value per channel: the same bytes under another shape.
        let Some(missing) = rank.checked_sub(shape.len()).filter(|&n| n <= 1) else {
            return Ok(None);
        };
        let mut full = Shape::from_elem(1, missing);
        full.extend_from_slice(shape);
        if known.dtype != DType::F32 || rank < 3 || full[0] != 1 || extents(&full).1 != 1 {
            return Ok(None);
        }
        let turned = channels_last(&full);
        let tensor = tensor.reshaped(&turned)?;
        let number = self.add(Known {
            shape: Some(turned),
            constant: Some(tensor),
            ..known
        });
        self.origin[number] = id;
        Ok(Some(number))
    }

    /// The number of a value of so many axes in the form that has its channels last.
    fn last_form(&mut self, id: usize, rank: usize) -> Option<usize> {
        let known = self.known(id)?;
        let shape = known
            .shape
            .as_ref()
            .filter(|s| s.len() == rank && rank >= 3)?;
        if known.dtype != DType::F32 {
            return None;
        }
        if let Some(number) = self.last[id] {
            return Some(number);
        }
        let (channels, positions) = extents(shape);
        let last = Known {
            shape: Some(channels_last(shape)),
            integers: None,
            constant: None,
            ..known.clone()
        };
        let number = self.add(last);
        self.origin[number] = id;
        self.last[id] = Some(number);
        if channels == 1 || positions == 1 {
            self.root[number] = self.root[id];
        }
        Some(number)
    }

    /// Adds a value to those of the graph.
    fn add(&mut self, known: Known) -> usize {
        let number = self.known.len();
        self.known.push(Some(known));
        self.root.push(number);
        self.place.push(None);
        self.need_of.push(None);
        self.last.push(None);
        self.origin.push(number);
        self.written.push(false);
        number
    }

    /// Has a step written the value, or is it there without one?
    fn is_there(&self, id: usize) -> bool {
        use super::Place::{Constant, Input};
        let root = self.root[id];
        let given = matches!(self.place[root], Some(Input(_) | Constant(_)));
        self.written[root] || given || self.is_literal(id) || self.is_literal(root)
    }

    /// Turns a value that is there in its other form alone.
    pub(super) fn provide_form(&mut self, id: usize, steps: &mut Vec<Step>) -> Result<(), Error> {
        if self.is_there(id) {
            return Ok(());
        }
        let root = self.root[id];
        let is_last = root >= self.graph.values().len();
        // A view has its root's bytes; the root is what was written.
        let (from, to) = match is_last {
            true => (Some(self.origin[root]), root),
            false => (self.last[root], root),
        };
        if let Some(from) = from.filter(|&from| self.root[from] != from) {
            // A view of something that may be there in its other form alone.
            self.provide_form(from, steps)?;
        }
        let Some(from) = from.filter(|&from| self.is_there(from)) else {
            return Ok(());
        };
        let plain = if is_last { from } else { to };
        let Some(shape) = self.shape(plain).cloned() else {
            return Ok(());
        };
        let (channels, positions) = extents(&shape);
        let (rows, cols) = match is_last {
            true => (channels, positions),
            false => (positions, channels),
        };
        let kernel = TurnKernel {
            planes: shape[0],
            rows,
            cols,
        };
        let name = match is_last {
            true => format!("\"{}\", channels last", self.name(plain)),
            false => format!("\"{}\", channels first", self.name(plain)),
        };
        let action = super::Doing::Kernel(Box::new(kernel));
        let step = self.step(
            name,
            Nodes::new(),
            action,
            vec![Some(from)],
            vec![Some(to)],
            steps.len(),
        )?;
        steps.push(step);
        Ok(())
    }
}

/// A value in its other form.
struct TurnKernel {
    planes: usize,
    rows: usize,
    cols: usize,
}

impl Kernel for TurnKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!(
            "{} planes of {} x {} turned, {}",
            self.planes, self.rows, self.cols, cx.isa
        )
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let (x, y) = (operand(inputs, 0)?, result(outputs)?);
        turn_planes(cores, self.planes, self.rows, self.cols, x, y);
        Ok(())
    }
}
