//! Staging memory: a batch's inputs put behind each other, and its outputs before they are cut apart.
//!
//! The one idea: seen from its rows axis a tensor is `outer` blocks, each of the members' chunks in order. Gathering
//! writes the chunks of all blocks, scattering reads them back. Where a batch's values are depends on sizes alone; the
//! memory is the lane's and is kept.
//!
//! A program may be for more rows than the members have. The rows behind theirs are copies of the first: whatever a kernel or
//! an operator asks of its data (an index within its table, a divisor that is not zero), they have it if the members' rows do, so
//! they never fail a batch that would not fail without them.

use std::ops::Range;

use smallvec::SmallVec;
use unisono_graph::OutputRows;
use unisono_graph::contract::{Lengths, Verdict};
use unisono_tensor::{DType, Shape, Tensor, TensorRef, element_count, mutant};

use crate::error::{Error, ErrorKind};
use crate::model::ModelGraph;
use crate::plan::Member;
use crate::program::copies::Copies;
use crate::team::Team;

/// Where outputs come from.
pub trait Sink {
    /// Memory for output `index`, aligned for its type, not shared with anybody, valid until the run ends. Called once per
    /// output: before the first step if its shape is known, else when it is.
    fn provide(&mut self, index: usize, dtype: DType, shape: &[usize]) -> Result<&mut [u8], Error>;
}

/// Outputs as tensors: those that fit are written in place, others replaced.
pub struct TensorSink<'a> {
    /// The caller's, in the model's order.
    pub outputs: &'a mut [Option<Tensor>],
}

impl Sink for TensorSink<'_> {
    fn provide(&mut self, index: usize, dtype: DType, shape: &[usize]) -> Result<&mut [u8], Error> {
        let slot = self.outputs.get_mut(index).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("there is no room for output {index}"),
            )
        })?;
        let fits = slot
            .as_mut()
            .is_some_and(|t| t.dtype() == dtype && t.shape() == shape && t.bytes_mut().is_some());
        if !fits {
            *slot = Some(Tensor::zeros(dtype, shape)?);
        }
        Ok(slot
            .as_mut()
            .and_then(Tensor::bytes_mut)
            .unwrap_or_default())
    }
}

/// Where an input of a batch is.
enum Source {
    /// In the first member's tensor: it has no rows, and all members' are equal.
    Member,
    /// In staging memory; the axis along which the members' tensors lie there behind each other. Without one, it is the first
    /// member's as it is.
    Staged(Staged, Option<usize>),
}

/// A tensor in staging memory.
pub struct Staged {
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
    pub fn split_off<'a>(&self, rest: &mut &'a mut [u8], alignment: usize) -> &'a mut [u8] {
        let room = self.bytes.next_multiple_of(alignment);
        let (own, behind) = std::mem::take(rest)
            .split_at_mut_checked(room)
            .unwrap_or_default();
        *rest = behind;
        own.get_mut(..self.bytes).unwrap_or_default()
    }

    /// Has it this type and shape?
    pub fn is(&self, dtype: DType, shape: &[usize]) -> bool {
        self.dtype == dtype && *self.shape == *shape
    }

    /// Which bytes of staging memory it has.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes
    }
}

/// How the inputs of a batch are found by its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Those that are equal for all members stay where they are, if they are aligned.
    Borrowed,
    /// All are in staging memory.
    Staged,
}

/// The rows of the members and those of the program that runs them, which may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Of the members together, at least one.
    pub used: usize,
    /// Of the program.
    pub program: usize,
}

impl Rows {
    /// A program for just the members' rows.
    pub fn exactly(rows: usize) -> Rows {
        Rows {
            used: rows,
            program: rows,
        }
    }
}

/// One request of a batch, as it is cut out of it.
pub struct Request<'a> {
    /// How many rows it has.
    pub rows: usize,
    /// Its inputs.
    pub inputs: &'a [Tensor],
    /// Its outputs; see [`crate::plan::Plan::run`].
    pub outputs: &'a mut [Option<Tensor>],
}

/// What has a request's rows, inputs and outputs: so that neither a single request nor a batch is copied into a list to be staged.
pub trait Asks {
    /// How many rows it has.
    fn rows(&self) -> usize;

    /// Its inputs.
    fn inputs(&self) -> &[Tensor];

    /// All of it.
    fn request(&mut self) -> Request<'_>;
}

impl Asks for Member {
    fn rows(&self) -> usize {
        self.rows
    }

    fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    fn request(&mut self) -> Request<'_> {
        Request {
            rows: self.rows,
            inputs: &self.inputs,
            outputs: &mut self.outputs,
        }
    }
}

impl<A: Asks> Asks for &mut A {
    fn rows(&self) -> usize {
        (**self).rows()
    }

    fn inputs(&self) -> &[Tensor] {
        (**self).inputs()
    }

    fn request(&mut self) -> Request<'_> {
        (**self).request()
    }
}

impl Asks for Request<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn inputs(&self) -> &[Tensor] {
        self.inputs
    }

    fn request(&mut self) -> Request<'_> {
        Request {
            rows: self.rows,
            inputs: self.inputs,
            outputs: self.outputs,
        }
    }
}

/// Where the inputs and outputs of a batch are.
pub struct Staging {
    rows: Rows,
    inputs: SmallVec<[Source; 4]>,
    outputs: SmallVec<[Staged; 4]>,
    /// A single request that gets its outputs as they are.
    whole: bool,
}

/// How the model's outputs are told apart; nothing if its requests must run alone.
pub fn output_rows(model: &ModelGraph) -> &[OutputRows] {
    match &model.contract().verdict {
        Verdict::Coalescible { outputs, .. } => outputs,
        Verdict::Alone(_) => &[],
    }
}

impl Staging {
    /// Of a batch whose first member has the inputs `first`, run by a program whose outputs have these types and shapes. `None`
    /// if it cannot be staged or cut.
    pub fn new<'a>(
        model: &ModelGraph,
        first: &[Tensor],
        outputs: impl ExactSizeIterator<Item = (DType, Option<&'a Shape>)>,
        rows: Rows,
        inputs: Inputs,
    ) -> Option<Staging> {
        let rules = output_rows(model);
        if rules.len() != outputs.len() {
            return None;
        }
        let source = |(port, tensor): (&crate::model::Port, &Tensor)| {
            let mut shape = Shape::from_slice(tensor.shape());
            match port.rows_axis {
                Some(axis) => {
                    *shape.get_mut(axis)? = rows.program;
                    Some(Source::Staged(Staged::new(port.dtype, shape)?, Some(axis)))
                }
                // Strings do not care where they lie. A program reads aligned bytes only.
                None if inputs == Inputs::Borrowed && tensor.is_aligned() => Some(Source::Member),
                None => Some(Source::Staged(Staged::new(port.dtype, shape)?, None)),
            }
        };
        let output = |(rule, (dtype, shape)): (&OutputRows, (DType, Option<&Shape>))| {
            let shape = shape?.clone();
            if let OutputRows::Rows { axis, .. } = rule {
                let n = rows.program;
                let whole = n > 0 && shape.get(*axis)?.is_multiple_of(n);
                whole.then_some(())?;
            }
            Staged::new(dtype, shape)
        };
        Some(Staging {
            rows,
            inputs: model
                .inputs()
                .iter()
                .zip(first)
                .map(source)
                .collect::<Option<_>>()?,
            outputs: rules
                .iter()
                .zip(outputs)
                .map(output)
                .collect::<Option<_>>()?,
            whole: false,
        })
    }

    /// Of one request, run by a program for just its shapes, which gets the outputs as they are: for models whose rows are not
    /// told apart. `None` if it cannot be staged.
    pub fn alone<'a>(
        inputs: &[Tensor],
        outputs: impl Iterator<Item = (DType, Option<&'a Shape>)>,
        rows: usize,
    ) -> Option<Staging> {
        let source = |tensor: &Tensor| {
            let shape = Shape::from_slice(tensor.shape());
            Some(Source::Staged(Staged::new(tensor.dtype(), shape)?, None))
        };
        Some(Staging {
            rows: Rows::exactly(rows),
            inputs: inputs.iter().map(source).collect::<Option<_>>()?,
            outputs: outputs
                .map(|(dtype, shape)| Staged::new(dtype, shape?.clone()))
                .collect::<Option<_>>()?,
            whole: true,
        })
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Staged] {
        &self.outputs
    }

    /// How many inputs there are.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// An input as its program sees it; `staging` begins where staging memory does.
    pub fn input<'a>(
        &'a self,
        members: &'a [&mut Member],
        index: usize,
        staging: &'a [u8],
    ) -> Result<TensorRef<'a>, Error> {
        match self.inputs.get(index) {
            Some(Source::Staged(staged, _)) => {
                let bytes = staging.get(staged.range()).unwrap_or(&[]);
                Ok(TensorRef::new(staged.dtype, &staged.shape, bytes)?)
            }
            _ => {
                let tensor = members.first().and_then(|m| m.inputs.get(index));
                Ok(tensor
                    .ok_or_else(|| broken("an input is missing"))?
                    .view()?)
            }
        }
    }

    /// Gives the inputs their places from `at` on; what follows them.
    pub fn place_inputs(&mut self, mut at: usize, alignment: usize) -> Result<usize, Error> {
        for source in &mut self.inputs {
            if let Source::Staged(staged, _) = source {
                let (range, next) = reserve(at, staged.bytes, alignment)?;
                (staged.at, at) = (range.start, next);
            }
        }
        Ok(at)
    }

    /// The same for the outputs.
    pub fn place_outputs(&mut self, mut at: usize, alignment: usize) -> Result<usize, Error> {
        for staged in &mut self.outputs {
            let (range, next) = reserve(at, staged.bytes, alignment)?;
            (staged.at, at) = (range.start, next);
        }
        Ok(at)
    }

    /// Puts the inputs of the members behind each other, and copies of the first row behind them if the program is for more rows. A
    /// team shares what is much.
    pub fn gather<'a>(
        &self,
        members: impl Iterator<Item = &'a [Tensor]> + Clone,
        staging: &mut [u8],
        team: Option<&Team>,
    ) -> Result<(), Error> {
        for (i, source) in self.inputs.iter().enumerate() {
            let Source::Staged(staged, axis) = source else {
                continue;
            };
            let to = staging.get_mut(staged.range()).unwrap_or_default();
            let mut copies = Copies::new(team);
            let mut froms = members
                .clone()
                .map(|inputs| inputs.get(i).map_or(&[][..], Tensor::bytes));
            let Some(axis) = *axis else {
                let from = froms.next().unwrap_or(&[]);
                if from.len() != to.len() {
                    return Err(broken("an input does not have the shape that was planned"));
                }
                // SAFETY: both outlive the run below, and nobody else has them.
                unsafe { copies.push(to, from) };
                copies.run();
                continue;
            };
            let outer: usize = staged.shape[..axis].iter().product();
            let mut at = 0;
            for from in froms {
                at = copy_in(to, outer, at, from, &mut copies)?;
            }
            copies.run();
            if to.is_empty() {
                continue;
            }
            let block = to.len() / outer;
            let row = block / self.rows.program;
            if row.checked_mul(self.rows.used) != Some(at) {
                return Err(broken("its members do not have as many rows as the group"));
            }
            if at < block {
                for block in to.chunks_exact_mut(block) {
                    repeat_first(block, row, at);
                }
            }
        }
        Ok(())
    }

    /// Allocates the outputs of members that have none of the right shape yet, as far as their rows say it: ahead of
    /// [`Staging::scatter`], while a device is at work.
    pub fn allocate<'a>(
        &self,
        model: &ModelGraph,
        members: impl Iterator<Item = Request<'a>>,
    ) -> Result<(), Error> {
        if self.whole {
            return Ok(());
        }
        for Request { rows, outputs, .. } in members {
            let mut sink = TensorSink { outputs };
            for (i, (staged, rule)) in self.outputs.iter().zip(output_rows(model)).enumerate() {
                if let OutputRows::Rows { axis, .. } = rule {
                    let shape = self.shape_of_member(staged, *axis, rows);
                    sink.provide(i, staged.dtype, &shape)?;
                }
            }
        }
        Ok(())
    }

    /// The shape that an output with rows has for a member with so many.
    fn shape_of_member(&self, staged: &Staged, axis: usize, rows: usize) -> Shape {
        let mut shape = staged.shape.clone();
        shape[axis] = shape[axis] / self.rows.program * rows;
        shape
    }

    /// Gives every member its own outputs. A team shares what is much.
    pub fn scatter<'a>(
        &self,
        model: &ModelGraph,
        members: impl Iterator<Item = Request<'a>>,
        staging: &[u8],
        team: Option<&Team>,
    ) -> Result<(), Error> {
        let rules = output_rows(model);
        let mut copies = Copies::new(team);
        let mut before = 0;
        for Request {
            rows,
            inputs,
            outputs,
        } in members
        {
            let mut sink = TensorSink { outputs };
            let mut lengths = None;
            for (i, staged) in self.outputs.iter().enumerate() {
                let from = staging.get(staged.range()).unwrap_or(&[]);
                let rule = match self.whole {
                    true => Some(&OutputRows::Shared),
                    false => rules.get(i),
                };
                match rule.ok_or_else(|| broken("an output has no rule"))? {
                    OutputRows::Shared => {
                        let to = sink.provide(i, staged.dtype, &staged.shape)?;
                        // SAFETY: the run below ends before either side goes, and an output is provided once.
                        unsafe { copies.push(to, from) };
                    }
                    OutputRows::Rows { axis, .. } => {
                        let all = self.rows.program;
                        let shape = self.shape_of_member(staged, *axis, rows);
                        let outer: usize = shape[..*axis].iter().product();
                        let to = sink.provide(i, staged.dtype, &shape)?;
                        copy_out(from, outer, before, rows, all, to, &mut copies)?;
                    }
                    OutputRows::Counted { shape, contents } => {
                        if lengths.is_none() {
                            let shapes = inputs.iter().map(Tensor::shape);
                            lengths = model.contract().lengths(shapes);
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
        copies.run();
        Ok(())
    }
}

/// An error about a batch that breaks the promises of `run_batch`'s caller.
pub fn broken(what: &str) -> Error {
    Error::new(
        ErrorKind::Panic,
        format!("the batch was not put together well: {what}; please report this"),
    )
}

/// `bytes` more from `at` on, and where the next thing may begin.
///
/// # Errors
/// The sizes overflow.
pub fn reserve(at: usize, bytes: usize, alignment: usize) -> Result<(Range<usize>, usize), Error> {
    let overflow = || {
        Error::new(
            ErrorKind::Limit,
            "the sizes of a batch's inputs and outputs overflow",
        )
    };
    let end = at.checked_add(bytes).ok_or_else(overflow)?;
    let next = end
        .checked_next_multiple_of(alignment)
        .ok_or_else(overflow)?;
    Ok((at..end, next))
}

/// Fills a block from offset `at` on with copies of its first `row` bytes.
fn repeat_first(block: &mut [u8], row: usize, at: usize) {
    let (first, rest) = block.split_at_mut(at);
    for to in rest.chunks_exact_mut(row.max(1)) {
        to.copy_from_slice(&first[..row]);
    }
}

/// Writes `from`, which is `outer` chunks, into `outer` blocks, each chunk `at` bytes behind the start of its block.
/// Gives the offset behind it.
/// The copies are done before either goes.
fn copy_in(
    to: &mut [u8],
    outer: usize,
    at: usize,
    from: &[u8],
    copies: &mut Copies<'_>,
) -> Result<usize, Error> {
    if outer == 0 || to.is_empty() {
        return Ok(at);
    }
    let (block, chunk) = (to.len() / outer, from.len() / outer);
    if at + chunk > block {
        return Err(broken("its members have more rows than the group"));
    }
    if chunk > 0 {
        for (block, chunk) in to.chunks_exact_mut(block).zip(from.chunks_exact(chunk)) {
            // SAFETY: the caller runs the copies before either side goes, and members' places are apart.
            unsafe { copies.push(&mut block[at..at + chunk.len()], chunk) };
        }
    }
    Ok(at + chunk)
}

/// Reads what the rows from `first` on own, out of `all` rows in each of `outer` blocks. The copies are done before either goes.
fn copy_out(
    from: &[u8],
    outer: usize,
    first: usize,
    rows: usize,
    all: usize,
    to: &mut [u8],
    copies: &mut Copies<'_>,
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
        let from = &block[first * row..][..chunk.len()];
        if mutant!(RowsSwappedOnScatter) {
            chunk.copy_from_slice(from);
            chunk.rotate_left(row);
            continue;
        }
        // SAFETY: the caller runs the copies before either side goes, and an output is provided once.
        unsafe { copies.push(chunk, from) };
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

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use unisono_graph::contract::contract;
    use unisono_graph::infer::{declared_inputs, infer_partial};
    use unisono_graph::ops::unary::Identity;
    use unisono_graph::{Dim, Graph, Symbol, TensorType};

    /// A model that gives its input back, f32 with rows on axis 1 of `[2, rows, 3]`.
    fn model() -> ModelGraph {
        let mut graph = Graph::new("test");
        let rows = Dim::symbol(&Symbol::new("rows"));
        let declared = TensorType {
            dtype: DType::F32,
            shape: Some(vec![Dim::constant(2), rows, Dim::constant(3)]),
        };
        let x = graph.add_input("x", declared);
        let y = graph.add_value("y", None);
        graph.add_node(
            "",
            std::sync::Arc::new(Identity),
            vec![Some(x)],
            vec![Some(y)],
        );
        graph.set_outputs(vec![y]);
        let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
        let outputs = [facts[y.index()].clone()];
        let contract = contract(&graph);
        assert!(contract.is_coalescible(), "{:?}", contract.verdict);
        ModelGraph::new(graph, contract, &outputs).unwrap()
    }

    fn tensor(rows: usize, first: f32) -> Tensor {
        let values: Vec<f32> = (0..6 * rows).map(|i| first + i as f32).collect();
        Tensor::from_slice(&[2, rows, 3], &values).unwrap()
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        let four = bytes.chunks_exact(4);
        four.map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn rows_behind_those_of_the_members_are_copies_of_the_first_in_every_block() {
        let model = model();
        let members = [vec![tensor(1, 0.0)], vec![tensor(2, 100.0)]];
        let shape = Shape::from_slice(&[2, 5, 3]);
        let rows = Rows {
            used: 3,
            program: 5,
        };
        let outputs = [(DType::F32, Some(&shape))].into_iter();
        let mut staging = Staging::new(&model, &members[0], outputs, rows, Inputs::Staged).unwrap();
        let end = staging.place_inputs(256, 256).unwrap();
        assert_eq!(end, 512);
        let mut memory = vec![0xff; end];
        let gather = |used: &[Vec<Tensor>], memory: &mut [u8]| {
            staging.gather(used.iter().map(|inputs| &inputs[..]), memory, None)
        };
        gather(&members, &mut memory).unwrap();
        let first = [0.0, 1.0, 2.0, 100.0, 101.0, 102.0, 103.0, 104.0, 105.0];
        let second = [3.0, 4.0, 5.0, 106.0, 107.0, 108.0, 109.0, 110.0, 111.0];
        let mut expected = Vec::new();
        for rows in [first, second] {
            expected.extend(rows);
            expected.extend([&rows[..3], &rows[..3]].concat());
        }
        assert_eq!(floats(&memory[256..256 + 120]), expected);
        assert!(memory[256 + 120..].iter().all(|&byte| byte == 0xff));
        // Who promised three rows brings three.
        assert!(gather(&members[..1], &mut memory).is_err());
    }

    #[test]
    fn members_get_their_rows_and_nothing_of_those_behind_them() {
        let model = model();
        let members = [vec![tensor(1, 0.0)], vec![tensor(2, 100.0)]];
        let shape = Shape::from_slice(&[2, 5, 3]);
        let rows = Rows {
            used: 3,
            program: 5,
        };
        let outputs = [(DType::F32, Some(&shape))].into_iter();
        let mut staging = Staging::new(&model, &members[0], outputs, rows, Inputs::Staged).unwrap();
        let inputs_end = staging.place_inputs(0, 256).unwrap();
        assert_eq!(staging.place_outputs(0, 256).unwrap(), inputs_end);
        let mut memory = vec![0; inputs_end];
        let inputs = members.iter().map(|inputs| &inputs[..]);
        staging.gather(inputs, &mut memory, None).unwrap();
        // The model gives its input back, in the same place.
        let mut outputs = [vec![None], vec![None]];
        let requests = members.iter().zip(&mut outputs).zip([1, 2]);
        let requests = requests.map(|((inputs, outputs), rows)| Request {
            rows,
            inputs,
            outputs,
        });
        staging.scatter(&model, requests, &memory, None).unwrap();
        for (inputs, outputs) in members.iter().zip(&outputs) {
            let output = outputs[0].as_ref().unwrap();
            assert_eq!(output.shape(), inputs[0].shape());
            assert_eq!(output.bytes(), inputs[0].bytes());
        }
    }

    #[test]
    fn what_was_allocated_ahead_is_what_the_answer_is_written_to() {
        let model = model();
        let inputs = [tensor(2, 7.0)];
        let shape = Shape::from_slice(&[2, 5, 3]);
        let outputs = [(DType::F32, Some(&shape))].into_iter();
        let rows = Rows {
            used: 2,
            program: 5,
        };
        let mut staging = Staging::new(&model, &inputs, outputs, rows, Inputs::Staged).unwrap();
        let end = staging.place_inputs(0, 64).unwrap();
        staging.place_outputs(0, 64).unwrap();
        let mut memory = vec![0; end];
        staging
            .gather(std::iter::once(&inputs[..]), &mut memory, None)
            .unwrap();
        let mut outputs = [None];
        fn request<'a>(inputs: &'a [Tensor], outputs: &'a mut [Option<Tensor>]) -> Request<'a> {
            Request {
                rows: 2,
                inputs,
                outputs,
            }
        }
        let ahead = std::iter::once(request(&inputs, &mut outputs));
        staging.allocate(&model, ahead).unwrap();
        let address = |outputs: &[Option<Tensor>]| outputs[0].as_ref().unwrap().bytes().as_ptr();
        let before = address(&outputs);
        let answered = std::iter::once(request(&inputs, &mut outputs));
        staging.scatter(&model, answered, &memory, None).unwrap();
        assert_eq!(address(&outputs), before);
        assert_eq!(outputs[0].as_ref().unwrap().bytes(), inputs[0].bytes());
    }

    #[test]
    fn a_request_alone_gets_its_outputs_as_they_are() {
        let model = model();
        let inputs = [tensor(2, 7.0)];
        let shape = Shape::from_slice(&[12]);
        let outputs = [(DType::F32, Some(&shape))].into_iter();
        let mut staging = Staging::alone(&inputs, outputs, 2).unwrap();
        let end = staging.place_inputs(0, 64).unwrap();
        staging.place_outputs(0, 64).unwrap();
        let mut memory = vec![0; end];
        let members = std::iter::once(&inputs[..]);
        staging.gather(members, &mut memory, None).unwrap();
        let mut outputs = [None];
        let request = Request {
            rows: 2,
            inputs: &inputs,
            outputs: &mut outputs,
        };
        staging
            .scatter(&model, std::iter::once(request), &memory, None)
            .unwrap();
        let output = outputs[0].as_ref().unwrap();
        assert_eq!(
            (output.shape(), output.bytes()),
            (&[12][..], inputs[0].bytes())
        );
    }
}
