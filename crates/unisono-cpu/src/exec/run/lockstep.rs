//! Several programs of one graph, walked together.
//!
//! The one idea: programs for different shapes differ in what their steps work on, not in the steps. A product with
//! constant weights is one [joint product](crate::gemm::gemm_joint) of all programs, so that the weights are read once
//! and all threads share one large job. The steps between two such products touch one program's values each: they run
//! program by program, side by side, each on one thread without asking for others.
//!
//! The invariant of [`super`] holds for each program; that they do not disturb each other follows from the types: a
//! [`Run`] borrows its arena and its outputs exclusively.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use unisono_runtime::team::{Team, by_weight};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, TensorRef, fault};

use super::{Frame, NOTHING, RawOutput, fail, misplaced};
use crate::exec::cost::STEP_NS;
use crate::exec::kernel::failed;
use crate::exec::lane::Memory;
use crate::exec::model::Engine;
use crate::exec::program::{Action, Operand, Program, Step};
use crate::gemm::{Cores, SEGMENTS, Segments, gemm_joint, gemm_joint_scratch};
use crate::kernels::linear::PackedLinear;

/// How many programs are walked together at most: as many as a joint product takes without an allocation.
pub(crate) const MOST_RUNS: usize = SEGMENTS;

/// One of the programs, with all that it reads and writes.
pub(crate) struct Run<'a> {
    pub(crate) program: &'a Program,
    /// Aligned for their types.
    pub(crate) inputs: SmallVec<[TensorRef<'a>; 4]>,
    /// Memory of the outputs, aligned to cache lines.
    pub(crate) outputs: SmallVec<[&'a mut [u8]; 4]>,
    /// As long as the program's arena, aligned to a cache line.
    pub(crate) arena: &'a mut [u8],
}

/// Can these programs be walked together, and is there anything to gain?
pub(crate) fn can_join<'p>(mut programs: impl Iterator<Item = &'p Program> + Clone) -> bool {
    let Some(first) = programs.next() else {
        return false;
    };
    let is_known = |p: &Program| {
        !p.has_passes() && p.dynamic_steps() == 0 && p.outputs.iter().all(|o| o.shape.is_some())
    };
    let alike = |a: &Step, b: &Step| {
        let same_weights = match (packed_linear(a), packed_linear(b)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a.weights(), b.weights()),
            (None, None) => true,
            _ => false,
        };
        let copies = |s: &Step| matches!(s.action, Action::Copy);
        same_weights && a.nodes == b.nodes && copies(a) == copies(b)
    };
    let steps_alike = |p: &Program| {
        p.steps.len() == first.steps.len()
            && p.steps.iter().zip(&first.steps).all(|(a, b)| alike(a, b))
    };
    is_known(first)
        && first.steps.iter().any(|s| packed_linear(s).is_some())
        && programs.all(|p| is_known(p) && steps_alike(p))
}

fn packed_linear(step: &Step) -> Option<&PackedLinear> {
    match &step.action {
        Action::Kernel { kernel, .. } => kernel.as_packed_linear(),
        Action::Copy | Action::Dynamic { .. } => None,
    }
}

/// Runs programs that [can be joined](can_join), the dearest first. `scratch` is for the joint products.
pub(crate) fn run_joined(
    engine: &Arc<Engine>,
    runs: &mut [Run<'_>],
    scratch: &mut Memory,
) -> Result<(), Error> {
    let mut frames: SmallVec<[Frame<'_>; MOST_RUNS]> = SmallVec::new();
    for run in runs {
        let program = run.program;
        let count = program.outputs.len();
        if run.arena.len() < program.arena || run.outputs.len() != count {
            return Err(Error::new(
                ErrorKind::Panic,
                "a program of a batch lacks memory; please report this",
            ));
        }
        let mut outputs = SmallVec::from_elem(NOTHING, count);
        for (raw, output) in outputs.iter_mut().zip(&mut run.outputs) {
            *raw = RawOutput {
                start: output.as_mut_ptr(),
                bytes: output.len(),
            };
        }
        frames.push(Frame {
            program,
            engine,
            team: &engine.team,
            inputs: &run.inputs,
            arena: run.arena.as_mut_ptr(),
            pass: 0,
            outputs,
            output_shapes: SmallVec::from_elem(None, count),
        });
    }
    let Some(first) = frames.first() else {
        return Ok(());
    };
    let steps = &first.program.steps;
    let mut at = 0;
    while at < steps.len() {
        let between = steps[at..]
            .iter()
            .take_while(|s| packed_linear(s).is_none())
            .count();
        // SAFETY: every frame has the memory of a run of its own, borrowed exclusively for this call, and one step or stretch
        // of steps is under way at a time.
        unsafe {
            if between > 0 {
                side_by_side(engine, &frames, at..at + between)?;
                at += between;
            } else {
                join(engine, &frames, at, scratch)?;
                at += 1;
            }
        }
    }
    Ok(())
}

/// Steps of which each touches one program's values.
///
/// # Safety
/// As for [`Frame::step`], for all frames.
unsafe fn side_by_side(
    engine: &Engine,
    frames: &[Frame<'_>],
    steps: Range<usize>,
) -> Result<(), Error> {
    let work = |frame: &Frame<'_>| -> u64 {
        let steps = frame.program.steps.get(steps.clone()).unwrap_or(&[]);
        steps.iter().map(|s| s.estimated_ns).sum()
    };
    let (most, total) = frames
        .iter()
        .map(work)
        .fold((0, 0), |(most, total), ns| (ns.max(most), total + ns));
    let run = |frame: &Frame<'_>, team: &Team| -> Result<(), Error> {
        for step in frame.program.steps.get(steps.clone()).unwrap_or(&[]) {
            // SAFETY: the caller's promise; a frame is one tile's, or all frames are this thread's.
            unsafe { frame.step(step, team)? };
        }
        Ok(())
    };
    let share = total / engine.team.threads() as u64;
    let starts = (frames.len() * steps.len()) as u64 * STEP_NS;
    if most > share + starts {
        // One program would keep one thread busy for longer than all threads need for all of them.
        return frames.iter().try_for_each(|frame| run(frame, &engine.team));
    }
    let failed = OnceLock::new();
    engine.team.run(frames.len(), total, |tile, _| {
        if let Err(e) = run(&frames[by_weight(tile, frames.len())], &engine.solo) {
            // One error is enough.
            let _ = failed.set(e);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// A product with constant weights for all programs.
///
/// # Safety
/// As for [`Frame::step`], for all frames.
unsafe fn join(
    engine: &Engine,
    frames: &[Frame<'_>],
    at: usize,
    scratch: &mut Memory,
) -> Result<(), Error> {
    let mut segments = Segments::new();
    let mut weights = None;
    for frame in frames {
        let step = &frame.program.steps[at];
        if let Some(why) = fault!(node) {
            return Err(fail(&failed(why), step, &[]));
        }
        let linear = packed_linear(step).ok_or_else(|| misplaced(step))?;
        weights = Some(linear.weights());
        let input = |index: usize| -> Result<&[f32], Error> {
            let operand = step.inputs.get(index).and_then(Option::as_ref);
            // SAFETY: the caller's promise; the output below is another value's memory.
            let view = unsafe { frame.view(operand.ok_or_else(|| misplaced(step))?, &[])? };
            Ok(view.as_slice()?)
        };
        let output = step.outputs.first().and_then(Option::as_ref);
        let output = output
            .filter(|o: &&Operand| o.dtype == DType::F32)
            .ok_or_else(|| misplaced(step))?;
        let (start, bytes) = frame.place(output).ok_or_else(|| misplaced(step))?;
        // SAFETY: the caller's promise; arenas and outputs are aligned to cache lines, there are no passes, and any bits are f32s.
        let c = unsafe { std::slice::from_raw_parts_mut(start.cast::<f32>(), bytes / 4) };
        segments.push(linear.segment(input, c)?);
    }
    let Some(weights) = weights else {
        return Ok(());
    };
    let cores = Cores {
        isa: engine.isa,
        team: &engine.team,
    };
    let rows = segments.iter().map(|s| s.m);
    let len = gemm_joint_scratch(cores, rows, weights.n(), weights.k());
    let overflow = || Error::new(ErrorKind::Limit, "scratch overflows");
    let bytes = len.checked_mul(4).ok_or_else(overflow)?;
    let memory = scratch.at_least(bytes, engine.arena_limit)?;
    // SAFETY: cache-line aligned bytes, at least 4 * len of them; any bits are f32s.
    let scratch = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), len) };
    gemm_joint(cores, weights, segments, scratch);
    Ok(())
}

impl Frame<'_> {
    /// Runs a step whose shapes are all known.
    ///
    /// # Safety
    /// The arena is the program's, and nobody else uses it or the outputs during the call.
    unsafe fn step(&self, step: &Step, team: &Team) -> Result<(), Error> {
        match &step.action {
            // SAFETY: the caller's promise.
            Action::Kernel { .. } => unsafe { self.kernel(step, team, &[]) },
            // SAFETY: the caller's promise.
            Action::Copy => unsafe { self.copy_to_place(step, &[]) },
            Action::Dynamic { .. } => Err(misplaced(step)),
        }
    }
}
