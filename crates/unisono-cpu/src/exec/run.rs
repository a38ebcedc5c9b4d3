//! Running a program.
//!
//! The one idea: a run is a walk over the steps with three base pointers (inputs, outputs, arena). This module holds the
//! `unsafe` of the executor, and its invariant is: *within one step, the bytes of an output overlap those of no other
//! operand and of no scratch memory*. The arena's layout gives that for arena places (a step's outputs, inputs and
//! scratch are alive together, and what is alive together never overlaps; `exec::arena` has the property test); inputs
//! and constants are never written; outputs are allocations that nobody else shares.

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_reference::eval;
use unisono_runtime::team::Team;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, TensorMut, TensorRef};

use crate::exec::kernel::{Context, Kernel, Known, failed};
use crate::exec::lane::{CpuLane, Dynamic, Memory};
use crate::exec::model::Engine;
use crate::exec::program::{Action, Operand, Place, Program, Step, build_kernel};
use crate::kernels::reference::interpret;

/// Operands of one step; more than this many cost an allocation.
const OPERANDS: usize = 24;

type Refs<'a> = SmallVec<[Option<TensorRef<'a>>; OPERANDS]>;
type Muts<'a> = SmallVec<[Option<TensorMut<'a>>; OPERANDS]>;

/// Where outputs come from.
pub(crate) trait Sink {
    /// Memory for output `index`, aligned to a cache line, not shared with anybody, valid until the run ends. Called once per
    /// output: before the first step if its shape is known, else when it is.
    fn provide(&mut self, index: usize, dtype: DType, shape: &[usize]) -> Result<&mut [u8], Error>;
}

/// Outputs as tensors: those that fit are written in place, others replaced.
pub(crate) struct TensorSink<'a> {
    pub(crate) outputs: &'a mut [Option<Tensor>],
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

/// One output of the run as the steps see it.
#[derive(Clone, Copy)]
struct RawOutput {
    start: *mut u8,
    bytes: usize,
}

const NOTHING: RawOutput = RawOutput {
    start: std::ptr::null_mut(),
    bytes: 0,
};

/// What the steps of one run share.
struct Frame<'a> {
    program: &'a Program,
    engine: &'a Arc<Engine>,
    team: &'a Team,
    inputs: &'a [TensorRef<'a>],
    arena: *mut u8,
    outputs: SmallVec<[RawOutput; 4]>,
    /// Shapes of outputs that were found while running.
    output_shapes: SmallVec<[Option<Shape>; 4]>,
}

/// Runs `program` on tensors that fit it.
pub(crate) fn execute(
    program: &Program,
    engine: &Arc<Engine>,
    lane: &mut CpuLane,
    inputs: &[Tensor],
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut aligned: SmallVec<[Tensor; 4]> = SmallVec::new();
    for tensor in inputs {
        aligned.push(tensor.to_aligned()?);
    }
    let refs: SmallVec<[TensorRef<'_>; 4]> =
        aligned.iter().map(Tensor::view).collect::<Result<_, _>>()?;
    let arena = lane
        .arena
        .at_least(program.arena, engine.arena_limit)?
        .as_mut_ptr();
    prepare_dynamic(program, &mut lane.dynamic);
    // SAFETY: `at_least` gave `program.arena` bytes, which stay where they are until the lane's arena grows again; that
    // needs `lane.arena`, which nothing below touches.
    unsafe {
        execute_in(
            program,
            engine,
            &engine.team,
            &refs,
            arena,
            &mut lane.dynamic,
            &mut lane.scratch,
            sink,
        )
    }
}

/// Makes room for the values of data-dependent shape.
pub(crate) fn prepare_dynamic(program: &Program, dynamic: &mut SmallVec<[Dynamic; 4]>) {
    while dynamic.len() < program.dynamic {
        dynamic.push(Dynamic {
            dtype: DType::U8,
            shape: Shape::new(),
            memory: Memory::default(),
        });
    }
}

/// The same in memory of the caller's, on a team of at most as many threads as the engine's, for which the program was
/// built.
///
/// # Safety
/// `arena` points to `program.arena` bytes, aligned to a cache line, that nobody else uses during the call.
#[expect(
    clippy::too_many_arguments,
    reason = "a run needs that many kinds of memory"
)]
pub(crate) unsafe fn execute_in(
    program: &Program,
    engine: &Arc<Engine>,
    team: &Team,
    inputs: &[TensorRef<'_>],
    arena: *mut u8,
    dynamic: &mut [Dynamic],
    scratch: &mut Memory,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut frame = Frame {
        program,
        engine,
        team,
        inputs,
        arena,
        outputs: SmallVec::from_elem(NOTHING, program.outputs.len()),
        output_shapes: SmallVec::from_elem(None, program.outputs.len()),
    };
    for (i, port) in program.outputs.iter().enumerate() {
        if let Some(shape) = &port.shape {
            let memory = sink.provide(i, port.dtype, shape)?;
            frame.outputs[i] = RawOutput {
                start: memory.as_mut_ptr(),
                bytes: memory.len(),
            };
        }
    }
    for step in &program.steps {
        match &step.action {
            Action::Kernel {
                kernel,
                scratch: offset,
                scratch_len,
            } => {
                // SAFETY: the layout gave the step's scratch `scratch_len` f32s at a multiple of 64 bytes within the arena,
                // apart from every operand of the step.
                let scratch = unsafe {
                    std::slice::from_raw_parts_mut(frame.arena.add(*offset).cast(), *scratch_len)
                };
                // SAFETY: one step at a time; see the module's invariant.
                let (inputs, mut outputs) =
                    unsafe { (frame.refs(step, dynamic)?, frame.muts(step)?) };
                let cx = Context {
                    team,
                    isa: engine.isa,
                };
                kernel
                    .run(&cx, &inputs, &mut outputs, scratch)
                    .map_err(|e| fail(&e, step, &inputs))?;
            }
            Action::Copy => frame.copy(step, dynamic, sink)?,
            Action::Dynamic { op } => frame.dynamic(step, op, dynamic, scratch, sink)?,
        }
    }
    Ok(())
}

impl Frame<'_> {
    /// The bytes and shape of an operand that exists.
    ///
    /// # Safety
    /// Nothing writes the operand's bytes while the view lives.
    unsafe fn view<'v>(
        &'v self,
        operand: &'v Operand,
        dynamic: &'v [Dynamic],
    ) -> Result<TensorRef<'v>, Error> {
        let shape = operand.shape.as_deref();
        let view = match operand.place {
            Place::Input(i) => {
                let input = self.inputs[i];
                TensorRef::new(operand.dtype, shape.unwrap_or(input.shape()), input.bytes())
            }
            Place::Constant(i) => {
                let tensor = &self.program.constants[i];
                TensorRef::new(
                    operand.dtype,
                    shape.unwrap_or(tensor.shape()),
                    tensor.bytes(),
                )
            }
            Place::Output(i) => {
                let raw = self.outputs[i];
                // SAFETY: `provide` gave these bytes for the whole run; the caller keeps writers away.
                let bytes = unsafe { std::slice::from_raw_parts(raw.start, raw.bytes) };
                let found = self.output_shapes[i].as_deref().unwrap_or(&[]);
                TensorRef::new(operand.dtype, shape.unwrap_or(found), bytes)
            }
            Place::Arena(offset) => {
                // SAFETY: the layout keeps offset + bytes within the arena; the caller keeps writers away.
                let bytes =
                    unsafe { std::slice::from_raw_parts(self.arena.add(offset), operand.bytes) };
                TensorRef::new(operand.dtype, shape.unwrap_or(&[]), bytes)
            }
            Place::Dynamic(i) => {
                let value = &dynamic[i];
                TensorRef::new(value.dtype, &value.shape, value.bytes())
            }
        };
        Ok(view?)
    }

    /// Views of a step's inputs.
    ///
    /// # Safety
    /// Nothing writes them while the views live.
    unsafe fn refs<'v>(
        &'v self,
        step: &'v Step,
        dynamic: &'v [Dynamic],
    ) -> Result<Refs<'v>, Error> {
        let mut refs = Refs::new();
        for operand in &step.inputs {
            refs.push(match operand {
                None => None,
                // SAFETY: the caller's promise.
                Some(operand) => Some(unsafe { self.view(operand, dynamic)? }),
            });
        }
        Ok(refs)
    }

    /// Views of a step's outputs, all of known shape.
    ///
    /// # Safety
    /// Nothing else reads or writes them while the views live.
    unsafe fn muts<'v>(&self, step: &'v Step) -> Result<Muts<'v>, Error> {
        let mut muts = Muts::new();
        for operand in &step.outputs {
            let Some(operand) = operand else {
                muts.push(None);
                continue;
            };
            let (start, bytes) = match operand.place {
                Place::Output(i) => (self.outputs[i].start, self.outputs[i].bytes),
                // SAFETY: the layout keeps the offset within the arena.
                Place::Arena(offset) => (unsafe { self.arena.add(offset) }, operand.bytes),
                _ => return Err(misplaced(step)),
            };
            // SAFETY: as in `view`, and the caller keeps everybody else away.
            let bytes = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
            let shape = operand.shape.as_deref().unwrap_or(&[]);
            muts.push(Some(TensorMut::new(operand.dtype, shape, bytes)?));
        }
        Ok(muts)
    }

    fn copy(&mut self, step: &Step, dynamic: &[Dynamic], sink: &mut dyn Sink) -> Result<(), Error> {
        let (Some(Some(from)), Some(Some(to))) = (step.inputs.first(), step.outputs.first()) else {
            return Err(misplaced(step));
        };
        let Place::Output(index) = to.place else {
            return Err(misplaced(step));
        };
        // SAFETY: the destination is another place, the output's own memory.
        let source = unsafe { self.view(from, dynamic)? };
        let shape = Shape::from_slice(source.shape());
        let source = (source.bytes().as_ptr(), source.bytes().len());
        if self.program.outputs[index].shape.is_none() {
            let memory = sink.provide(index, to.dtype, &shape)?;
            self.outputs[index] = RawOutput {
                start: memory.as_mut_ptr(),
                bytes: memory.len(),
            };
            self.output_shapes[index] = Some(shape);
        }
        let target = self.outputs[index];
        if source.1 != target.bytes {
            return Err(misplaced(step));
        }
        // SAFETY: both are `bytes` long, and an output's memory overlaps nothing else.
        unsafe { std::ptr::copy_nonoverlapping(source.0, target.start, target.bytes) };
        Ok(())
    }

    /// A step whose shapes depend on data: shapes first, then memory, then a kernel built for them.
    fn dynamic(
        &mut self,
        step: &Step,
        op: &Arc<dyn unisono_graph::Operator>,
        dynamic: &mut [Dynamic],
        scratch: &mut Memory,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let engine = self.engine;
        // SAFETY: nothing is written until the views are gone.
        let inputs = unsafe { self.refs(step, dynamic)? };
        let count = step.outputs.len();
        // A node with bodies tells its shapes by running.
        let results = match op.subgraphs().is_empty() {
            true => None,
            false => Some(interpret(&**op, &inputs, count).map_err(|e| fail(&e, step, &inputs))?),
        };
        let shapes = match &results {
            Some(results) => results
                .iter()
                .map(|t| {
                    t.as_ref()
                        .map_or_else(Shape::new, |t| Shape::from_slice(t.shape()))
                })
                .collect(),
            None => eval::output_shapes(&**op, &inputs, count)
                .map_err(|e| fail(&failed(e.to_string()), step, &inputs))?,
        };
        drop(inputs);
        // Places for the outputs. New memory for a dynamic output never moves the step's inputs: a value has its own.
        let mut places: SmallVec<[Option<RawOutput>; 4]> = SmallVec::new();
        for (operand, shape) in step.outputs.iter().zip(&shapes) {
            let Some(operand) = operand else {
                places.push(None);
                continue;
            };
            if operand.shape.as_ref().is_some_and(|s| s != shape) {
                return Err(Error::at_node(
                    ErrorKind::Execution,
                    format!(
                        "its output has shape {:?}, but {:?} was inferred",
                        shape.as_slice(),
                        operand.shape.as_deref().unwrap_or(&[])
                    ),
                    step.name.clone(),
                    Vec::new(),
                ));
            }
            places.push(Some(match operand.place {
                Place::Arena(offset) => RawOutput {
                    // SAFETY: the layout keeps the offset within the arena.
                    start: unsafe { self.arena.add(offset) },
                    bytes: operand.bytes,
                },
                Place::Output(i) => {
                    if operand.shape.is_none() {
                        let memory = sink.provide(i, operand.dtype, shape)?;
                        self.outputs[i] = RawOutput {
                            start: memory.as_mut_ptr(),
                            bytes: memory.len(),
                        };
                        self.output_shapes[i] = Some(shape.clone());
                    }
                    self.outputs[i]
                }
                Place::Dynamic(i) => {
                    let value = &mut dynamic[i];
                    value.set(operand.dtype, shape, engine.arena_limit)?;
                    let bytes = value.bytes().len();
                    RawOutput {
                        start: value.start(),
                        bytes,
                    }
                }
                _ => return Err(misplaced(step)),
            }));
        }
        // SAFETY: the outputs made above are other values' memory than the inputs'.
        let inputs = unsafe { self.refs(step, dynamic)? };
        let mut outputs = Muts::new();
        for ((operand, shape), place) in step.outputs.iter().zip(&shapes).zip(&places) {
            outputs.push(match (operand, place) {
                (Some(operand), Some(raw)) => {
                    // SAFETY: memory made or found above for this output alone.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(raw.start, raw.bytes) };
                    Some(TensorMut::new(operand.dtype, shape, bytes)?)
                }
                _ => None,
            });
        }
        if let Some(results) = &results {
            for (result, output) in results.iter().zip(&mut outputs) {
                if let (Some(result), Some(output)) = (result, output) {
                    if result.dtype() != output.dtype() {
                        return Err(misplaced(step));
                    }
                    output.bytes_mut().copy_from_slice(result.bytes());
                }
            }
            return Ok(());
        }
        run_unplanned(
            self.program,
            engine,
            self.team,
            step,
            op,
            &inputs,
            &mut outputs,
            scratch,
        )
        .map_err(|e| fail(&e, step, &inputs))
    }
}

/// Builds a kernel for what is there now, and runs it.
#[expect(
    clippy::too_many_arguments,
    reason = "a run needs that many kinds of memory"
)]
fn run_unplanned(
    program: &Program,
    engine: &Arc<Engine>,
    team: &Team,
    step: &Step,
    op: &Arc<dyn unisono_graph::Operator>,
    inputs: &[Option<TensorRef<'_>>],
    outputs: &mut [Option<TensorMut<'_>>],
    scratch: &mut Memory,
) -> Result<(), Error> {
    let known_inputs: SmallVec<[Option<Known>; 8]> = step
        .inputs
        .iter()
        .zip(inputs)
        .enumerate()
        .map(|(i, (operand, view))| {
            let (operand, view) = (operand.as_ref()?, view.as_ref()?);
            let constant = match operand.place {
                Place::Constant(c) => Some(program.constants[c].clone()),
                _ => None,
            };
            // Contents that the kernel may take as parameters are fixed for this run only.
            let integers = (op.shape_inputs().contains(&i) && constant.is_none())
                .then(|| {
                    Tensor::from_bytes(view.dtype(), view.shape(), view.bytes())
                        .ok()?
                        .to_i64s()
                })
                .flatten();
            Some(Known {
                dtype: view.dtype(),
                shape: Some(Shape::from_slice(view.shape())),
                integers,
                constant,
                value: operand.value,
            })
        })
        .collect();
    let known_outputs: SmallVec<[Option<Known>; 8]> = step
        .outputs
        .iter()
        .zip(&*outputs)
        .map(|(operand, view)| {
            let (operand, view) = (operand.as_ref()?, view.as_ref()?);
            Some(Known {
                dtype: view.dtype(),
                shape: Some(Shape::from_slice(view.shape())),
                integers: None,
                constant: None,
                value: operand.value,
            })
        })
        .collect();
    let kernel: Box<dyn Kernel> = build_kernel(
        op,
        &known_inputs,
        &known_outputs,
        step.node,
        &program.store,
        engine,
    )?;
    let len = kernel.scratch_len();
    let bytes = len
        .checked_mul(4)
        .ok_or_else(|| Error::new(ErrorKind::Limit, "scratch overflows"))?;
    let memory = scratch.at_least(bytes, engine.arena_limit)?;
    // SAFETY: cache-line aligned bytes, at least 4 * len of them; any bits are f32s.
    let scratch = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), len) };
    let cx = Context {
        team,
        isa: engine.isa,
    };
    kernel.run(&cx, inputs, outputs, scratch)
}

fn misplaced(step: &Step) -> Error {
    Error::at_node(
        ErrorKind::Panic,
        "the program gave it a place that it cannot use; please report this",
        step.name.clone(),
        Vec::new(),
    )
}

/// The same error, said at a step with its inputs' shapes.
fn fail(e: &Error, step: &Step, inputs: &[Option<TensorRef<'_>>]) -> Error {
    if e.node().is_some() {
        return e.clone();
    }
    let shapes = inputs
        .iter()
        .flatten()
        .map(|t| format!("{}{:?}", t.dtype(), t.shape()));
    Error::at_node(e.kind(), e.message(), step.name.clone(), shapes.collect())
}
