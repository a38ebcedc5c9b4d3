//! Staging memory: a group's inputs put behind each other, and its outputs before they are cut apart.
//!
//! The one idea: seen from its rows axis a tensor is `outer` blocks, each of the members' chunks in order. Gathering
//! writes the chunks of all blocks, scattering reads them back. Where a group's place is depends on sizes alone; the
//! memory is the lane's and is kept.

use std::ops::Range;

use smallvec::SmallVec;
use unisono_graph::OutputRows;
use unisono_graph::contract::Lengths;
use unisono_runtime::model::Port;
use unisono_runtime::plan::Member;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, TensorRef, element_count, mutant};

use super::{Part, broken, output_rows, reserve};
use crate::exec::arena::ALIGNMENT;
use crate::exec::model::CpuModel;
use crate::exec::program::Program;
use crate::exec::run::{Sink, TensorSink};

/// Where a group's input is.
pub(super) enum Source {
    /// In the first member's tensor: it has no rows, and all members' are equal.
    Member,
    /// In staging memory; the axis along which the members' tensors lie there behind each other.
    Staged(Staged, usize),
}

/// A tensor in staging memory.
pub(super) struct Staged {
    dtype: DType,
    shape: Shape,
    bytes: usize,
    at: usize,
}

impl Staged {
    /// Not placed yet. `None` for what has no bytes, or too many.
    fn new(dtype: DType, shape: Shape) -> Option<Staged> {
        if dtype == DType::String {
            return None;
        }
        let bytes = element_count(&shape)?.checked_mul(dtype.size())?;
        Some(Staged {
            dtype,
            shape,
            bytes,
            at: 0,
        })
    }

    /// Takes its memory off the front of what is left; outputs come in the order in which they were placed.
    pub(super) fn split_off<'a>(&self, rest: &mut &'a mut [u8]) -> &'a mut [u8] {
        let room = self.bytes.next_multiple_of(ALIGNMENT);
        let (own, behind) = std::mem::take(rest)
            .split_at_mut_checked(room)
            .unwrap_or_default();
        *rest = behind;
        own.get_mut(..self.bytes).unwrap_or_default()
    }

    fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes
    }
}

impl Source {
    /// The input as its program sees it; `staging` begins where staging memory does.
    pub(super) fn view<'a>(
        &'a self,
        members: &'a [Member],
        index: usize,
        staging: &'a [u8],
    ) -> Result<TensorRef<'a>, Error> {
        match self {
            Source::Member => {
                let tensor = members.first().and_then(|m| m.inputs.get(index));
                Ok(tensor
                    .ok_or_else(|| broken("an input is missing"))?
                    .view()?)
            }
            Source::Staged(staged, _) => {
                let bytes = staging.get(staged.range()).unwrap_or(&[]);
                Ok(TensorRef::new(staged.dtype, &staged.shape, bytes)?)
            }
        }
    }
}

/// Where the inputs of a group of `rows` rows are; `None` if one cannot be staged.
pub(super) fn sources(
    ports: &[Port],
    first: &Member,
    rows: usize,
) -> Option<SmallVec<[Source; 4]>> {
    let source = |(port, tensor): (&Port, &Tensor)| {
        let mut shape = Shape::from_slice(tensor.shape());
        match port.rows_axis {
            Some(axis) => {
                *shape.get_mut(axis)? = rows;
                Some(Source::Staged(Staged::new(port.dtype, shape)?, axis))
            }
            // Strings do not care where they lie.
            None if tensor.is_aligned() => Some(Source::Member),
            // A program reads aligned bytes only.
            None => Some(Source::Staged(Staged::new(port.dtype, shape)?, 0)),
        }
    };
    ports.iter().zip(&first.inputs).map(source).collect()
}

/// The outputs of a program for `rows` rows; `None` if one cannot be staged or cut.
pub(super) fn outputs(
    rules: &[OutputRows],
    program: &Program,
    rows: usize,
) -> Option<SmallVec<[Staged; 4]>> {
    if rules.len() != program.outputs.len() {
        return None;
    }
    let output = |(rule, port): (&OutputRows, &crate::exec::program::OutputPort)| {
        let shape = port.shape.clone()?;
        if let OutputRows::Rows { axis, .. } = rule {
            let whole = rows > 0 && shape.get(*axis)?.is_multiple_of(rows);
            whole.then_some(())?;
        }
        Staged::new(port.dtype, shape)
    };
    rules.iter().zip(&program.outputs).map(output).collect()
}

/// The parts of staging memory that a program writes its outputs to.
pub(super) struct StagedSink<'a> {
    /// Staging memory from offset `first` on.
    pub(super) memory: &'a mut [u8],
    pub(super) first: usize,
    pub(super) places: &'a [Staged],
}

impl Sink for StagedSink<'_> {
    fn provide(&mut self, index: usize, dtype: DType, shape: &[usize]) -> Result<&mut [u8], Error> {
        let place = self
            .places
            .get(index)
            .filter(|p| p.dtype == dtype && *p.shape == *shape);
        let range = place.map(|p| p.at - self.first..p.at - self.first + p.bytes);
        range
            .and_then(|range| self.memory.get_mut(range))
            .ok_or_else(|| broken("an output does not have the shape that was planned"))
    }
}

impl Part {
    /// Gives the inputs their places from `at` on; what follows them.
    pub(super) fn place_inputs(&mut self, mut at: usize) -> Result<usize, Error> {
        for source in &mut self.inputs {
            if let Source::Staged(staged, _) = source {
                let (range, next) = reserve(at, staged.bytes)?;
                (staged.at, at) = (range.start, next);
            }
        }
        Ok(at)
    }

    /// The same for the outputs.
    pub(super) fn place_outputs(&mut self, mut at: usize) -> Result<usize, Error> {
        for staged in &mut self.outputs {
            let (range, next) = reserve(at, staged.bytes)?;
            (staged.at, at) = (range.start, next);
        }
        Ok(at)
    }

    /// Puts the members' inputs behind each other.
    pub(super) fn gather(
        &self,
        model: &CpuModel,
        members: &[Member],
        staging: &mut [u8],
    ) -> Result<(), Error> {
        for (i, (source, port)) in self.inputs.iter().zip(model.model.inputs()).enumerate() {
            let Source::Staged(staged, axis) = source else {
                continue;
            };
            let to = staging.get_mut(staged.range()).unwrap_or_default();
            let outer: usize = staged.shape[..*axis].iter().product();
            let members = if port.rows_axis.is_some() {
                members
            } else {
                &members[..members.len().min(1)]
            };
            let mut at = 0;
            for member in members {
                let from = member.inputs.get(i).map_or(&[][..], Tensor::bytes);
                at = copy_in(to, outer, at, from)?;
            }
            if at.checked_mul(outer) != Some(to.len()) && !to.is_empty() {
                return Err(broken("its members do not have as many rows as the group"));
            }
        }
        Ok(())
    }

    /// Gives every member its own outputs.
    pub(super) fn scatter(
        &self,
        model: &CpuModel,
        members: &mut [Member],
        staging: &[u8],
    ) -> Result<(), Error> {
        let rules = output_rows(model);
        let mut before = 0;
        for member in members {
            let (rows, inputs) = (member.rows, &member.inputs);
            let mut sink = TensorSink {
                outputs: &mut member.outputs,
            };
            let mut lengths = None;
            for (i, (staged, rule)) in self.outputs.iter().zip(rules).enumerate() {
                let from = staging.get(staged.range()).unwrap_or(&[]);
                match rule {
                    OutputRows::Shared => {
                        sink.provide(i, staged.dtype, &staged.shape)?
                            .copy_from_slice(from);
                    }
                    OutputRows::Rows { axis, .. } => {
                        let inner = staged.shape[*axis] / self.rows;
                        let mut shape = staged.shape.clone();
                        shape[*axis] = inner * rows;
                        let outer: usize = shape[..*axis].iter().product();
                        let to = sink.provide(i, staged.dtype, &shape)?;
                        copy_out(from, outer, before, rows, self.rows, to)?;
                    }
                    OutputRows::Counted { shape, contents } => {
                        if lengths.is_none() {
                            let shapes = inputs.iter().map(Tensor::shape);
                            lengths = model.model.contract().lengths(shapes);
                        }
                        let lengths = lengths
                            .as_ref()
                            .ok_or_else(|| broken("a member must run alone"))?;
                        counted(lengths, staged.dtype, shape, contents, i, &mut sink)?;
                    }
                }
            }
            before += rows;
        }
        Ok(())
    }
}

/// Writes `from`, which is `outer` chunks, into `outer` blocks, each chunk `at` bytes behind the start of its block.
/// Gives the offset behind it.
fn copy_in(to: &mut [u8], outer: usize, at: usize, from: &[u8]) -> Result<usize, Error> {
    if outer == 0 || to.is_empty() {
        return Ok(at);
    }
    let (block, chunk) = (to.len() / outer, from.len() / outer);
    if at + chunk > block {
        return Err(broken("its members have more rows than the group"));
    }
    if chunk > 0 {
        for (block, chunk) in to.chunks_exact_mut(block).zip(from.chunks_exact(chunk)) {
            block[at..at + chunk.len()].copy_from_slice(chunk);
        }
    }
    Ok(at + chunk)
}

/// Reads what the rows from `first` on own, out of `all` rows in each of `outer` blocks.
fn copy_out(
    from: &[u8],
    outer: usize,
    first: usize,
    rows: usize,
    all: usize,
    to: &mut [u8],
) -> Result<(), Error> {
    if to.is_empty() {
        return Ok(());
    }
    let (block, chunk) = (from.len() / outer, to.len() / outer);
    let row = block / all;
    if first + rows > all || row * rows != chunk {
        return Err(broken("its members have more rows than the group"));
    }
    let first = match mutant!(NeighboursRows) {
        true => (first + rows) % (all - rows + 1),
        false => first,
    };
    for (block, chunk) in from.chunks_exact(block).zip(to.chunks_exact_mut(chunk)) {
        chunk.copy_from_slice(&block[first * row..][..chunk.len()]);
        if mutant!(RowsSwappedOnScatter) {
            chunk.rotate_left(row);
        }
    }
    Ok(())
}

/// Writes the value that a request with these lengths gets alone.
fn counted(
    lengths: &Lengths<'_>,
    dtype: DType,
    shape: &[unisono_graph::Dim],
    contents: &[unisono_graph::Dim],
    index: usize,
    sink: &mut TensorSink<'_>,
) -> Result<(), Error> {
    let unknown = || {
        Error::new(
            ErrorKind::Execution,
            "an output of lengths cannot be evaluated for this request",
        )
    };
    let mut lens = Shape::new();
    for dim in shape {
        let n = lengths.value(dim).and_then(|n| usize::try_from(n).ok());
        lens.push(n.ok_or_else(unknown)?);
    }
    let to = sink.provide(index, dtype, &lens)?;
    let size = dtype.size();
    if to.len() != contents.len() * size {
        return Err(unknown());
    }
    for (to, dim) in to.chunks_exact_mut(size).zip(contents) {
        let n = lengths.value(dim).ok_or_else(unknown)?;
        // Inference derived the contents for values of this type, as for the literals of a program.
        to.copy_from_slice(&n.to_le_bytes()[..size]);
    }
    Ok(())
}
