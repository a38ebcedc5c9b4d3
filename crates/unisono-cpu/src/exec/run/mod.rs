//! Running a program.
//!
//! The one idea: a run is a walk over the steps with three base pointers (inputs, outputs, arena). This module holds the
//! `unsafe` of the executor, and its invariant is: *within one step, the bytes of an output overlap those of no other
//! operand and of no scratch memory*. The arena's layout gives that for arena places (a step's outputs, inputs and
//! scratch are alive together, and what is alive together never overlaps; `unisono_runtime::program::arena` has the property test); inputs
//! and constants are never written; outputs are allocations that nobody else shares.

mod dynamic;
mod lockstep;

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_runtime::program::staging::Sink;
use unisono_runtime::team::Team;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, TensorMut, TensorRef, fault, mutant};

use crate::exec::kernel::{Context, failed};
use crate::exec::lane::{CpuLane, Dynamic, Memory};
use crate::exec::model::Engine;
use crate::exec::profile::Probe;
use crate::exec::program::{Action, Operand, Place, Program, Step};

pub(crate) use lockstep::{MOST_RUNS, Run, can_join, run_joined};

/// Operands of one step; more than this many cost an allocation.
const OPERANDS: usize = 24;

type Refs<'a> = SmallVec<[Option<TensorRef<'a>>; OPERANDS]>;
type Muts<'a> = SmallVec<[Option<TensorMut<'a>>; OPERANDS]>;

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
    /// Which pass over a stretch of steps is under way; see [`Stretch::passes`](crate::exec::program::Stretch::passes).
    pass: usize,
    /// Shapes of outputs that were found while running.
    output_shapes: SmallVec<[Option<Shape>; 4]>,
}

// SAFETY: a frame may be looked at by several threads. What its pointers point to is touched by its unsafe methods alone,
// whose callers see to it that one thread at a time runs a frame's steps, or that threads read only.
unsafe impl Sync for Frame<'_> {}

/// Runs `program` on tensors that fit it.
pub(crate) fn execute(
    program: &Program,
    engine: &Arc<Engine>,
    lane: &mut CpuLane,
    inputs: &[Tensor],
    sink: &mut dyn Sink,
    probe: Option<&mut Probe>,
) -> Result<(), Error> {
    let mut aligned: SmallVec<[Tensor; 4]> = SmallVec::new();
    for tensor in inputs {
        aligned.push(tensor.to_aligned()?);
    }
    let refs: SmallVec<[TensorRef<'_>; 4]> =
        aligned.iter().map(Tensor::view).collect::<Result<_, _>>()?;
    execute_views(program, engine, lane.run_memory(), &refs, sink, probe)
}

/// What a run takes of a lane.
pub(crate) struct RunMemory<'a> {
    pub(crate) arena: &'a mut Memory,
    pub(crate) scratch: &'a mut Memory,
    pub(crate) dynamic: &'a mut SmallVec<[Dynamic; 4]>,
}

/// The same on views, aligned for their types.
pub(crate) fn execute_views(
    program: &Program,
    engine: &Arc<Engine>,
    memory: RunMemory<'_>,
    inputs: &[TensorRef<'_>],
    sink: &mut dyn Sink,
    probe: Option<&mut Probe>,
) -> Result<(), Error> {
    let RunMemory {
        arena,
        scratch,
        dynamic,
    } = memory;
    while dynamic.len() < program.dynamic {
        dynamic.push(Dynamic {
            dtype: DType::U8,
            shape: Shape::new(),
            memory: Memory::default(),
        });
    }
    let arena = arena.at_least(program.arena, engine.arena_limit)?;
    // SAFETY: `at_least` gave `program.arena` bytes, borrowed for the call.
    unsafe {
        execute_in(
            program,
            engine,
            &engine.team,
            inputs,
            arena.as_mut_ptr(),
            dynamic,
            scratch,
            sink,
            probe,
        )
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
    mut probe: Option<&mut Probe>,
) -> Result<(), Error> {
    let mut frame = Frame {
        program,
        engine,
        team,
        inputs,
        arena,
        pass: 0,
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
    if let Some(probe) = probe.as_deref_mut() {
        probe.begin();
    }
    let passes = program.stretches.iter().flat_map(|stretch| {
        let steps = move |pass| stretch.steps.clone().map(move |step| (pass, step));
        (0..stretch.passes).flat_map(steps)
    });
    for (pass, index) in passes {
        let step = &program.steps[index];
        frame.pass = pass;
        let mut run = || match &step.action {
            // SAFETY: one step at a time; the caller gave the arena.
            Action::Kernel { .. } => unsafe { frame.kernel(step, team, dynamic) },
            Action::Copy => frame.copy(step, dynamic, sink),
            Action::Dynamic { op } => frame.dynamic(step, op, dynamic, scratch, sink),
        };
        let Some(probe) = probe.as_deref_mut() else {
            run()?;
            continue;
        };
        probe.time(index, run)?;
        let of_unknown_shape = |o: &&Operand| o.shape.is_none();
        for operand in step.outputs.iter().flatten().filter(of_unknown_shape) {
            // SAFETY: the step is over, and the view is gone before the next one.
            let value = unsafe { frame.view(operand, dynamic)? };
            probe.found(operand, value.dtype(), value.shape());
        }
    }
    Ok(())
}

impl Frame<'_> {
    /// Runs a step's kernel.
    ///
    /// # Safety
    /// The frame's arena is the program's, and nobody else uses it or the outputs during the call.
    unsafe fn kernel(&self, step: &Step, team: &Team, dynamic: &[Dynamic]) -> Result<(), Error> {
        let Action::Kernel {
            kernel,
            scratch,
            scratch_len,
        } = &step.action
        else {
            return Err(misplaced(step));
        };
        // SAFETY: the layout gave the step's scratch `scratch_len` f32s at a multiple of 64 bytes within the arena, apart
        // from every operand of the step.
        let scratch = unsafe {
            std::slice::from_raw_parts_mut(self.arena.add(*scratch).cast(), *scratch_len)
        };
        // SAFETY: see the module's invariant.
        let (inputs, mut outputs) = unsafe { (self.refs(step, dynamic)?, self.muts(step)?) };
        let cx = Context {
            team,
            isa: self.engine.isa,
        };
        let status = match fault!(node) {
            Some(why) => Err(failed(why)),
            None => kernel.run(&cx, &inputs, &mut outputs, scratch),
        };
        status.or_else(|e| match mutant!(StatusUnchecked) {
            true => Ok(()),
            false => Err(fail(&e, step, &inputs)),
        })
    }

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
                let bytes = match operand.stride {
                    0 => input.bytes(),
                    stride => input
                        .bytes()
                        .get(self.pass * stride..)
                        .and_then(|bytes| bytes.get(..operand.bytes))
                        .unwrap_or_default(),
                };
                TensorRef::new(operand.dtype, shape.unwrap_or(input.shape()), bytes)
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
                let raw = self.part(self.outputs[i], operand);
                // SAFETY: `provide` gave these bytes for the whole run; the caller keeps writers away.
                let bytes = unsafe { std::slice::from_raw_parts(raw.start, raw.bytes) };
                let found = self.output_shapes[i].as_deref().unwrap_or(&[]);
                TensorRef::new(operand.dtype, shape.unwrap_or(found), bytes)
            }
            Place::Arena(offset) => {
                let offset = offset + self.pass * operand.stride;
                // SAFETY: the layout keeps offset + bytes within the arena, for every pass; the caller keeps writers away.
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

    /// The first byte and the size of an operand of known shape that a step may write.
    fn place(&self, operand: &Operand) -> Option<(*mut u8, usize)> {
        match operand.place {
            Place::Output(i) => {
                let raw = self.part(self.outputs[i], operand);
                Some((raw.start, raw.bytes))
            }
            Place::Arena(offset) => {
                let offset = offset + self.pass * operand.stride;
                // SAFETY: the layout keeps the offset within the arena, for every pass.
                Some((unsafe { self.arena.add(offset) }, operand.bytes))
            }
            _ => None,
        }
    }

    /// What an operand has of an output in this pass.
    fn part(&self, output: RawOutput, operand: &Operand) -> RawOutput {
        let start = self.pass * operand.stride;
        if operand.stride == 0 || start + operand.bytes > output.bytes {
            return output;
        }
        RawOutput {
            // SAFETY: within the output.
            start: unsafe { output.start.add(start) },
            bytes: operand.bytes,
        }
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
            let (start, bytes) = self.place(operand).ok_or_else(|| misplaced(step))?;
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
        if let Place::Output(index) = to.place
            && self.program.outputs[index].shape.is_none()
        {
            // SAFETY: nothing is written while the view lives.
            let source = unsafe { self.view(from, dynamic)? };
            let shape = Shape::from_slice(source.shape());
            let memory = sink.provide(index, to.dtype, &shape)?;
            self.outputs[index] = RawOutput {
                start: memory.as_mut_ptr(),
                bytes: memory.len(),
            };
            self.output_shapes[index] = Some(shape);
        }
        // SAFETY: the run has one thread here.
        unsafe { self.copy_to_place(step, dynamic) }
    }

    /// Copies to an output that has its place.
    ///
    /// # Safety
    /// Nobody else uses the output during the call, or writes the source.
    unsafe fn copy_to_place(&self, step: &Step, dynamic: &[Dynamic]) -> Result<(), Error> {
        let (Some(Some(from)), Some(Some(to))) = (step.inputs.first(), step.outputs.first()) else {
            return Err(misplaced(step));
        };
        let Place::Output(index) = to.place else {
            return Err(misplaced(step));
        };
        let target = self.outputs[index];
        // SAFETY: the caller keeps writers away; the destination is another place, the output's own memory.
        let source = unsafe { self.view(from, dynamic)? };
        if source.bytes().len() != target.bytes {
            return Err(misplaced(step));
        }
        // SAFETY: both are `bytes` long, and an output's memory overlaps nothing else.
        unsafe {
            let source = source.bytes().as_ptr();
            std::ptr::copy_nonoverlapping(source, target.start, target.bytes);
        }
        Ok(())
    }
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
