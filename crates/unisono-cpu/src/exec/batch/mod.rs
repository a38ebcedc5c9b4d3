//! Several requests as one run of a program.
//!
//! The one idea: requests of one plan differ in nothing but their rows, so their inputs are put behind each other along
//! the rows' axis (*gathered* into [`staging`] memory), the program for that many rows runs once, and every request's
//! rows are cut out of the result (*scattered*). A row's bits are those that it gets alone, because no kernel's are a
//! matter of how many rows there are (contract C1).
//!
//! Groups with different plans run in lockstep, so that they share the model's weights ([`run_joined`]). Where rows share next to nothing,
//! members run beside each other instead ([`apart`]).
//!
//! What cannot be staged runs request by request: strings, which have no bytes, and outputs whose shapes depend on data.

mod apart;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use unisono_runtime::plan::{Group, Member};
use unisono_runtime::program::staging::{Asks, Inputs, Rows, Sink, Staged, Staging, broken};
use unisono_runtime::team::Team;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Tensor, TensorRef};

use crate::exec::lane::CpuLane;
use crate::exec::model::CpuModel;
use crate::exec::plan::CpuPlan;
use crate::exec::program::{ALIGNMENT, Program};
pub(crate) use apart::run_rows_apart;

use crate::exec::run::{MOST_RUNS, Run, RunMemory, can_join, execute_views, run_joined};

/// Runs a batch. See [`unisono_runtime::plan::Executable::run_batch`].
pub(crate) fn run_batch(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [&mut Member],
    groups: &[Group],
) -> Result<(), Error> {
    if apart::run_in_shares(model, lane, members, groups)?
        || apart::run_apart(model, lane, members)?
    {
        return Ok(());
    }
    for groups in groups.chunks(MOST_RUNS) {
        if groups.len() > 1 && run_together(model, lane, members, groups)? {
            continue;
        }
        for group in groups {
            let members = members.get_mut(group.members.clone());
            run_group(model, lane, members.ok_or_else(not_there)?, group.rows)?;
        }
    }
    Ok(())
}

/// Groups with different plans in lockstep; `false` if that cannot be done or gains nothing.
fn run_together(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [&mut Member],
    groups: &[Group],
) -> Result<bool, Error> {
    let mut parts: SmallVec<[(Part, Range<usize>); MOST_RUNS]> = SmallVec::new();
    for group in groups {
        let members = members.get(group.members.clone()).ok_or_else(not_there)?;
        let Some(first) = members.first() else {
            continue;
        };
        let program = plan_of(first)?.program_in_one(group.rows)?;
        let Some(part) = Part::new(model, program, first, group.rows) else {
            return Ok(false);
        };
        parts.push((part, group.members.clone()));
    }
    let limit = model.engine.arena_limit;
    let arena = parts
        .iter()
        .try_fold(0usize, |sum, (part, _)| sum.checked_add(part.program.arena));
    let Some(arena) = arena.filter(|&bytes| bytes <= limit) else {
        return Ok(false);
    };
    if !can_join(parts.iter().map(|(part, _)| &*part.program)) {
        return Ok(false);
    }
    // The dearest first: so `run_joined` wants them.
    parts.sort_unstable_by_key(|(part, _)| std::cmp::Reverse(part.program.arena));

    let mut cut = 0;
    for (part, _) in &mut parts {
        cut = part.staging.place_inputs(cut, ALIGNMENT)?;
    }
    let mut end = cut;
    for (part, _) in &mut parts {
        end = part.staging.place_outputs(end, ALIGNMENT)?;
    }
    let staging = lane.staging.at_least(end, limit)?;
    let (inputs, mut outputs) = staging.split_at_mut(cut);
    for (part, range) in &parts {
        let members = members.get(range.clone()).ok_or_else(not_there)?;
        part.staging
            .gather(inputs_of(members), inputs, Some(&model.engine.team))?;
    }
    let mut arena = lane.arena.at_least(arena, limit)?;
    let mut runs: SmallVec<[Run<'_>; MOST_RUNS]> = SmallVec::new();
    for (part, range) in &parts {
        let members = members.get(range.clone()).ok_or_else(not_there)?;
        let mut views = SmallVec::new();
        for i in 0..part.staging.input_count() {
            views.push(part.staging.input(members, i, inputs)?);
        }
        let mut places = SmallVec::new();
        for staged in part.staging.outputs() {
            places.push(staged.split_off(&mut outputs, ALIGNMENT));
        }
        let (own, rest) = std::mem::take(&mut arena).split_at_mut(part.program.arena);
        arena = rest;
        runs.push(Run {
            program: &part.program,
            inputs: views,
            outputs: places,
            arena: own,
        });
    }
    run_joined(&model.engine, &mut runs, &mut lane.scratch)?;
    drop(runs);
    let staging = lane.staging.bytes();
    for (part, range) in &parts {
        let members = members.get_mut(range.clone()).ok_or_else(not_there)?;
        let members = members.iter_mut().map(Asks::request);
        part.staging
            .scatter(&model.model, members, staging, Some(&model.engine.team))?;
    }
    Ok(true)
}

/// One group by itself.
fn run_group(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [&mut Member],
    rows: usize,
) -> Result<(), Error> {
    let part = match members {
        [] | [_] => None,
        [first, ..] => Part::new(model, plan_of(first)?.program(rows)?, first, rows),
    };
    let Some(mut part) = part else {
        // One request runs in place, without copies.
        return members.iter_mut().try_for_each(|member| {
            let Member {
                plan,
                rows,
                inputs,
                outputs,
            } = &mut **member;
            let Some(plan) = plan.downcast_ref::<CpuPlan>() else {
                return Err(foreign());
            };
            plan.run_in(lane, *rows, inputs, outputs)
        });
    };
    let engine = &model.engine;
    let bytes = part.place()?;
    let staging = lane.staging.at_least(bytes, engine.arena_limit)?;
    let memory = RunMemory {
        arena: &mut lane.arena,
        scratch: &mut lane.scratch,
        dynamic: &mut lane.dynamic,
    };
    part.run(
        model,
        members,
        staging,
        Some(&engine.team),
        |inputs, sink| execute_views(&part.program, engine, memory, inputs, sink, None),
    )
}

/// One group of a batch, or a part of it: its program, and where its inputs and outputs are.
pub(crate) struct Part {
    program: Arc<Program>,
    staging: Staging,
    /// Where outputs begin in memory of its own.
    cut: usize,
}

impl Part {
    /// Of a group whose first member is `first`; `None` if it cannot be staged.
    fn new(model: &CpuModel, program: Arc<Program>, first: &Member, rows: usize) -> Option<Part> {
        let outputs = program.outputs.iter().map(|o| (o.dtype, o.shape.as_ref()));
        let rows = Rows::exactly(rows);
        let staging = Staging::new(&model.model, &first.inputs, outputs, rows, Inputs::Borrowed)?;
        Some(Part {
            program,
            staging,
            cut: 0,
        })
    }

    /// Finds places for inputs and outputs in memory of its own, and says how many bytes that takes.
    fn place(&mut self) -> Result<usize, Error> {
        self.cut = self.staging.place_inputs(0, ALIGNMENT)?;
        self.staging.place_outputs(self.cut, ALIGNMENT)
    }

    /// Puts the members together in this memory, has them run by `execute`, and cuts the outputs apart. A team shares what there is to copy.
    fn run(
        &self,
        model: &CpuModel,
        members: &mut [&mut Member],
        staging: &mut [u8],
        team: Option<&Team>,
        execute: impl FnOnce(&[TensorRef<'_>], &mut dyn Sink) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (inputs, outputs) = staging.split_at_mut(self.cut);
        self.staging.gather(inputs_of(members), inputs, team)?;
        let mut refs: SmallVec<[TensorRef<'_>; 4]> = SmallVec::new();
        for i in 0..self.staging.input_count() {
            refs.push(self.staging.input(members, i, inputs)?);
        }
        let mut sink = StagedSink {
            memory: outputs,
            first: self.cut,
            places: self.staging.outputs(),
        };
        execute(&refs, &mut sink)?;
        drop(refs);
        let members = members.iter_mut().map(Asks::request);
        self.staging.scatter(&model.model, members, staging, team)
    }
}

/// The parts of staging memory that a program writes its outputs to.
struct StagedSink<'a> {
    /// Staging memory from offset `first` on.
    memory: &'a mut [u8],
    first: usize,
    places: &'a [Staged],
}

impl Sink for StagedSink<'_> {
    fn provide(&mut self, index: usize, dtype: DType, shape: &[usize]) -> Result<&mut [u8], Error> {
        let place = self.places.get(index).filter(|p| p.is(dtype, shape));
        let range = place.map(|p| p.range().start - self.first..p.range().end - self.first);
        range
            .and_then(|range| self.memory.get_mut(range))
            .ok_or_else(|| broken("an output does not have the shape that was planned"))
    }
}

/// The inputs of every member.
fn inputs_of<'a>(members: &'a [&mut Member]) -> impl Iterator<Item = &'a [Tensor]> + Clone {
    members.iter().map(|member| &member.inputs[..])
}

fn plan_of(member: &Member) -> Result<&CpuPlan, Error> {
    member.plan.downcast_ref::<CpuPlan>().ok_or_else(foreign)
}

fn foreign() -> Error {
    Error::new(ErrorKind::Device, "the plan belongs to another device")
}

fn not_there() -> Error {
    broken("a group has members that are not there")
}
