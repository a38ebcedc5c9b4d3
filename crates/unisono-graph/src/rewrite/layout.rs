//! Makes of several changes of layout at most one transpose, also across a product.
//!
//! | before | after |
//! | --- | --- |
//! | transposes and reshapes in a row, two or more of them transposes | a reshape, one transpose, a reshape; fewer where that does |
//! | a layout, a product with weights, a layout that splits what the product made | the product, then one transpose |
//! | a layout, a product with weights, a layout that leaves its columns alone | one transpose, then the product |
//! | a layout that puts the innermost elements of a product's second operand on its rows | one that leaves them innermost, and a product that reads it swapped |
//! | a layout of which all readers take one index of an axis each, then layouts | each takes the index before its own layout |
//!
//! Pays everywhere: a transpose is a pass over memory with bad locality, and exporters of attention write four of them around
//! every product. Values stay equal: elements only move, and a product's rows do not know of each other.
//!
//! The idea: an axis is a row of *atoms*, lengths that no step ever takes apart. A reshape regroups atoms (and takes one
//! apart where it must), a transpose reorders groups. What a chain does is then one permutation of atoms, and atoms that
//! stay together are one axis of a single transpose.

use super::edit::{self, Edit, Input};
use super::targets::reshape_target;
use super::view::{View, input, is_view};
use crate::ops::common::resolve_axis;
use crate::ops::indexing::Gather;
use crate::ops::linear::Linear;
use crate::ops::movement::Transpose;
use crate::ops::shape::Reshape;
use crate::{Dim, Graph, Node, NodeId, Operator, ValueId};
use std::collections::VecDeque;
use unisono_tensor::Tensor;

/// A chain of more steps is taken in pieces.
const LONGEST: usize = 12;

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    // Products first: an index that is taken early would stand between a product and the transposes around it.
    let chains = edit::until_settled(graph, |view, id, node| {
        if node.op.is::<Linear>() {
            return swapped_operand(view, node);
        }
        let chain = Chain::ending_in(view, id, node)?;
        across_product(view, &chain).or_else(|| merged(view, &chain))
    });
    let readers = graph.consumers();
    let indices = edit::for_each_node(graph, |view, id, node| {
        behind_index(view, &readers, id, node)
    });
    chains + indices
}

/// Steps that only move elements, in the order in which they run.
#[derive(Clone)]
struct Chain<'g> {
    source: ValueId,
    steps: Vec<(NodeId, &'g Node)>,
}

fn moves(op: &dyn Operator) -> bool {
    op.is::<Transpose>() || is_view(op)
}

impl<'g> Chain<'g> {
    /// The longest chain that ends in this node; what is between its steps is read by nobody else.
    fn ending_in(view: &View<'g>, id: NodeId, node: &Node) -> Option<Chain<'g>> {
        if !moves(&*node.op) {
            return None;
        }
        let mut chain = Chain::before(view, input(node, 0)?);
        chain.steps.push((id, view.graph().node(id)));
        Some(chain)
    }

    /// The longest chain that makes a private value; empty if none does.
    fn before(view: &View<'g>, value: ValueId) -> Chain<'g> {
        Chain::making(view, value, |value| view.is_private(value))
    }

    /// The longest chain that makes a value, whoever else reads it on the way.
    fn feeding(view: &View<'g>, value: ValueId) -> Chain<'g> {
        Chain::making(view, value, |_| true)
    }

    /// The longest chain of steps that make what may be taken over.
    fn making(view: &View<'g>, value: ValueId, may: impl Fn(ValueId) -> bool) -> Chain<'g> {
        let mut chain = Chain {
            source: value,
            steps: Vec::new(),
        };
        while chain.steps.len() < LONGEST
            && may(chain.source)
            && let Some((id, node)) = view.maker(chain.source)
            && moves(&*node.op)
            && let Some(source) = input(node, 0)
        {
            chain.steps.push((id, node));
            chain.source = source;
        }
        chain.steps.reverse();
        chain
    }

    fn transposes(&self) -> usize {
        let is_transpose = |step: &&(NodeId, &Node)| step.1.op.is::<Transpose>();
        self.steps.iter().filter(is_transpose).count()
    }

    fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.steps.iter().map(|(id, _)| *id)
    }

    /// The shape behind the last step.
    fn shape<'v>(&self, view: &'v View<'_>) -> Option<&'v [Dim]> {
        match self.steps.last() {
            None => view.shape(self.source),
            Some((_, node)) => view.shape((*node.outputs.first()?)?),
        }
    }

    /// What the chain does to the atoms.
    fn apply(&self, view: &View<'_>, atoms: &mut Atoms) -> Option<()> {
        for (_, node) in &self.steps {
            match node.op.downcast_ref::<Transpose>() {
                Some(op) => atoms.transpose(&op.permutation(atoms.now.len()).ok()?),
                None => atoms.reshape(view.shape((*node.outputs.first()?)?)?)?,
            }
        }
        Some(())
    }
}

/// Where each part of the source is.
struct Atoms {
    lengths: Vec<Dim>,
    /// The atoms of each axis of the source.
    source: Vec<Vec<usize>>,
    /// The atoms of each axis now.
    now: Vec<Vec<usize>>,
}

impl Atoms {
    fn new(shape: &[Dim]) -> Atoms {
        let mut atoms = Atoms {
            lengths: Vec::new(),
            source: Vec::new(),
            now: Vec::new(),
        };
        for length in shape {
            let axis = atoms.axis(length);
            atoms.source.push(axis);
        }
        atoms.now = atoms.source.clone();
        atoms
    }

    /// A new axis: one atom, or none for length 1.
    fn axis(&mut self, length: &Dim) -> Vec<usize> {
        if *length == Dim::constant(1) {
            return Vec::new();
        }
        self.lengths.push(length.clone());
        vec![self.lengths.len() - 1]
    }

    fn transpose(&mut self, perm: &[usize]) {
        self.now = perm.iter().map(|&axis| self.now[axis].clone()).collect();
    }

    fn reshape(&mut self, to: &[Dim]) -> Option<()> {
        let one = Dim::constant(1);
        let mut rest: VecDeque<usize> = self.now.concat().into();
        let mut axes = Vec::with_capacity(to.len());
        for length in to {
            let (mut needed, mut axis) = (length.clone(), Vec::new());
            while needed != one {
                let atom = rest.pop_front()?;
                let own = self.lengths[atom].clone();
                if let Some(left) = needed.div_exact(&own) {
                    needed = left;
                } else {
                    let inner = own.div_exact(&needed)?;
                    rest.push_front(self.split(atom, needed, inner));
                    needed = one.clone();
                }
                axis.push(atom);
            }
            axes.push(axis);
        }
        self.now = axes;
        rest.is_empty().then_some(())
    }

    /// Takes an atom apart; gives the inner part.
    fn split(&mut self, atom: usize, outer: Dim, inner: Dim) -> usize {
        let new = self.lengths.len();
        self.lengths[atom] = outer;
        self.lengths.push(inner);
        for axis in self.source.iter_mut().chain(&mut self.now) {
            if let Some(at) = axis.iter().position(|&a| a == atom) {
                axis.insert(at + 1, new);
            }
        }
        new
    }

    /// Does it take a transpose to get from the source to what is now?
    fn is_reordered(&self) -> bool {
        self.source.concat() != self.now.concat()
    }

    /// Appends the steps from `input`, of shape `from`, to shape `to`; gives the last one's output.
    fn emit(&self, edit: &mut Edit, input: Input, from: &[Dim], to: &[Dim]) -> Option<Input> {
        let reshape = |edit: &mut Edit, input: Input, from: &[Dim], to: &[Dim]| {
            if from == to {
                return Some(input);
            }
            let target = reshape_target(to, from, false)?;
            let target = Tensor::from_slice(&[target.len()], &target).ok()?;
            let op = Reshape { allow_zero: false };
            Some(edit.step(op, vec![input, target.into()]))
        };
        if !self.is_reordered() {
            return reshape(edit, input, from, to);
        }
        let order = self.source.concat();
        let place = |atom: usize| order.iter().position(|&a| a == atom);
        // Atoms that follow each other before and after are one axis: `(first place, length)`.
        let mut runs: Vec<(usize, Dim)> = Vec::new();
        let mut next = None;
        for atom in self.now.concat() {
            let at = place(atom)?;
            match runs.last_mut() {
                Some((_, length)) if next == Some(at) => *length = &*length * &self.lengths[atom],
                _ => runs.push((at, self.lengths[atom].clone())),
            }
            next = Some(at + 1);
        }
        let mut sorted: Vec<usize> = (0..runs.len()).collect();
        sorted.sort_by_key(|&i| runs[i].0);
        let before: Vec<Dim> = sorted.iter().map(|&i| runs[i].1.clone()).collect();
        let after: Vec<Dim> = runs.iter().map(|(_, length)| length.clone()).collect();
        let mut perm = vec![0; runs.len()];
        for (axis, &run) in sorted.iter().enumerate() {
            perm[run] = axis;
        }
        let input = reshape(edit, input, from, &before)?;
        let moved = edit.step(Transpose { perm: Some(perm) }, vec![input]);
        reshape(edit, moved, &after, to)
    }
}

/// An edit whose last step becomes the node itself.
fn closed(mut edit: Edit, last: Input) -> Option<Edit> {
    match last {
        Input::Before(i) if i + 1 == edit.before.len() => {
            let step = edit.before.pop()?;
            edit.op = step.op;
            edit.inputs = step.inputs.into_iter().map(Some).collect();
        }
        // Nothing moved: the node hands the value through.
        other => {
            edit.op = std::sync::Arc::new(crate::ops::unary::Identity);
            edit.inputs = vec![Some(other)];
        }
    }
    Some(edit)
}

fn open(absorbed: Vec<NodeId>) -> Edit {
    Edit::new(crate::ops::unary::Identity, Vec::new(), absorbed)
}

fn merged(view: &View<'_>, chain: &Chain<'_>) -> Option<Edit> {
    let shape = view.shape(chain.source)?;
    let mut atoms = Atoms::new(shape);
    let transposes = chain.transposes();
    if transposes == 0 {
        return None;
    }
    chain.apply(view, &mut atoms)?;
    if transposes <= usize::from(atoms.is_reordered()) {
        return None;
    }
    let mut edit = open(chain.ids().collect());
    let source = Input::Value(chain.source);
    let last = atoms.emit(&mut edit, source, shape, chain.shape(view)?)?;
    closed(edit, last)
}

/// A product with weights between two chains, of which together one transpose is left.
fn across_product(view: &View<'_>, behind: &Chain<'_>) -> Option<Edit> {
    let (id, node, op) = view.private::<Linear>(behind.source)?;
    let weights = input(node, 1)?;
    // What others read as well, as do products of one left-hand side, stays for them: no transpose is added, since there is one behind
    // the product already.
    let own = Chain::before(view, input(node, 0)?);
    let front = match own.transposes() {
        0 => Chain::feeding(view, input(node, 0)?),
        _ => own.clone(),
    };
    if front.transposes() == 0
        || behind.transposes() == 0
        || op.transpose_a
        || view.constant(weights)?.rank() != 2
    {
        return None;
    }
    let bias = match input(node, 2) {
        None => None,
        Some(c) => Some((c, row_rank(view.constant(c)?)?)),
    };
    let absorbed: Vec<NodeId> = own.ids().chain([id]).chain(behind.ids()).collect();
    let product = |rank: usize| {
        // The product's bias stays a row whatever the rank, as long as it has not more axes.
        let fits = bias.is_none_or(|(_, bias)| bias <= rank);
        let op = Linear {
            gemm: op.gemm && rank == 2,
            ..*op
        };
        fits.then_some(op)
    };
    let operands = |x: Input| {
        let mut inputs = vec![x, weights.into()];
        inputs.extend(bias.map(|(c, _)| Input::Value(c)));
        inputs
    };
    let from = view.shape(front.source)?;
    let columns = view.shape(behind.source)?.last()?.clone();
    let to = behind.shape(view)?;
    let mut atoms = Atoms::new(from);
    front.apply(view, &mut atoms)?;

    // First the product: its rows are those of the source.
    if !from.is_empty() && atoms.now.last() == atoms.source.last() {
        let mut atoms = Atoms {
            lengths: atoms.lengths.clone(),
            source: atoms.source.clone(),
            now: atoms.now.clone(),
        };
        let axis = atoms.axis(&columns);
        *atoms.source.last_mut()? = axis.clone();
        *atoms.now.last_mut()? = axis;
        if behind.apply(view, &mut atoms).is_some() {
            let mut edit = open(absorbed.clone());
            let source = Input::Value(front.source);
            let y = edit.step(product(from.len())?, operands(source));
            let mut made = from[..from.len() - 1].to_vec();
            made.push(columns.clone());
            if let Some(last) = atoms.emit(&mut edit, y, &made, to) {
                return closed(edit, last);
            }
        }
    }
    // Or the product last: its columns stay the last axis.
    let sum = std::mem::take(atoms.now.last_mut()?);
    let marker = atoms.axis(&columns);
    *atoms.now.last_mut()? = marker.clone();
    behind.apply(view, &mut atoms)?;
    let whole = marker.first().is_some_and(|&m| atoms.lengths[m] == columns);
    if !whole || *atoms.now.last()? != marker {
        return None;
    }
    let mut edit = open(absorbed);
    let mut read = to[..to.len() - 1].to_vec();
    read.push(Dim::product(sum.iter().map(|&a| &atoms.lengths[a])));
    *atoms.now.last_mut()? = sum;
    let source = Input::Value(front.source);
    let x = atoms.emit(&mut edit, source, from, &read)?;
    let y = edit.step(product(to.len())?, operands(x));
    closed(edit, y)
}

/// A product with a second operand whose layout scatters what lies side by side in memory: keys, which attention
/// multiplies by transposed. The product can swap the last two axes itself, and the layout then moves whole rows.
fn swapped_operand(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = *node.op.downcast_ref::<Linear>()?;
    let chain = Chain::before(view, input(node, 1)?);
    let to = chain.shape(view)?;
    let from = view.shape(chain.source)?;
    if chain.transposes() == 0 || to.len() < 2 || view.shape(input(node, 0)?)?.len() < 2 {
        return None;
    }
    let mut atoms = Atoms::new(from);
    chain.apply(view, &mut atoms)?;
    let (columns, rows) = (to.len() - 1, to.len() - 2);
    let innermost = *atoms.source.concat().last()?;
    if atoms.now[rows].last() != Some(&innermost) {
        return None;
    }
    atoms.now.swap(rows, columns);
    let mut swapped = to.to_vec();
    swapped.swap(rows, columns);
    let mut edit = open(chain.ids().collect());
    let operand = atoms.emit(&mut edit, Input::Value(chain.source), from, &swapped)?;
    edit.op = std::sync::Arc::new(Linear {
        transpose_b: !op.transpose_b,
        ..op
    });
    edit.inputs = node.inputs.iter().map(|i| i.map(Input::Value)).collect();
    edit.inputs[1] = Some(operand);
    Some(edit)
}

/// A chain of which each reader takes one index: attention cuts queries, keys and values out of one product this way. If each
/// of them is transposed again anyway, the indices are taken first, and the chain's transpose becomes part of the next.
fn behind_index(view: &View<'_>, readers: &[Vec<NodeId>], id: NodeId, node: &Node) -> Option<Edit> {
    let (data, axis) = taken(view, node)?;
    let all_alike = readers
        .get(data.index())?
        .iter()
        .all(|&reader| taken(view, view.graph().node(reader)) == Some((data, axis)));
    if !all_alike || view.uses(data) == usize::MAX || !transposed_behind(view, readers, node) {
        return None;
    }
    let (last, maker) = view.maker(data).filter(|(_, maker)| moves(&*maker.op))?;
    let mut chain = Chain::before(view, input(maker, 0)?);
    chain.steps.push((last, maker));
    // What stands in front of the first transpose only changes the shape, perhaps to make the axis: it stays.
    let is_transpose = |(_, node): &(NodeId, &Node)| node.op.is::<Transpose>();
    chain
        .steps
        .drain(..chain.steps.iter().position(is_transpose)?);
    chain.source = input(chain.steps.first()?.1, 0)?;
    let from = view.shape(chain.source)?;
    let mut atoms = Atoms::new(from);
    chain.apply(view, &mut atoms)?;
    let taken = atoms.now.get(axis).filter(|atoms| !atoms.is_empty())?;
    let at = atoms.source.iter().position(|own| own == taken)?;
    atoms.source.remove(at);
    atoms.now.remove(axis);

    // The chain has other readers, so this edit does not take it over: it dies with the last of them.
    let mut edit = open(vec![id]);
    let gather = Gather {
        axis: i64::try_from(at).ok()?,
    };
    let index = input(node, 1)?;
    let part = edit.step(gather, vec![chain.source.into(), index.into()]);
    let mut shape = from.to_vec();
    shape.remove(at);
    let to = view.shape((*node.outputs.first()?)?)?;
    let last = atoms.emit(&mut edit, part, &shape, to)?;
    closed(edit, last)
}

/// The data and the axis of which a node takes one index, if that is a constant and the axis is dropped.
fn taken(view: &View<'_>, node: &Node) -> Option<(ValueId, usize)> {
    let op = node.op.downcast_ref::<Gather>()?;
    let data = input(node, 0)?;
    if view.constant(input(node, 1)?)?.rank() != 0 {
        return None;
    }
    let axis = resolve_axis(op.axis, view.shape(data)?.len()).ok()?;
    Some((data, axis))
}

/// Is what the node makes moved, by itself, to a transpose?
fn transposed_behind(view: &View<'_>, readers: &[Vec<NodeId>], node: &Node) -> bool {
    let mut node = node;
    for _ in 0..LONGEST {
        let next = node.outputs.first().copied().flatten();
        let Some(value) = next.filter(|&value| view.is_private(value)) else {
            return false;
        };
        let Some(&reader) = readers.get(value.index()).and_then(|r| r.first()) else {
            return false;
        };
        node = view.graph().node(reader);
        if node.op.is::<Transpose>() {
            return true;
        }
        if !is_view(&*node.op) || input(node, 0) != Some(value) {
            return false;
        }
    }
    false
}

/// The rank of a bias that is the same for every row.
fn row_rank(bias: &Tensor) -> Option<usize> {
    let front = bias
        .shape()
        .split_last()
        .map_or(&[][..], |(_, front)| front);
    front.iter().all(|&n| n == 1).then_some(bias.rank())
}

#[cfg(test)]
mod tests;
