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
mod staging;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use unisono_graph::OutputRows;
use unisono_graph::contract::Verdict;
use unisono_runtime::plan::{Group, Member};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::TensorRef;

use crate::exec::lane::CpuLane;
use crate::exec::model::CpuModel;
use crate::exec::plan::CpuPlan;
use crate::exec::program::Program;
pub(crate) use apart::run_rows_apart;

use crate::exec::run::{MOST_RUNS, Run, RunMemory, can_join, execute_views, run_joined};
use staging::{Source, Staged, StagedSink};

/// Runs a batch. See [`unisono_runtime::plan::Executable::run_batch`].
pub(crate) fn run_batch(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [Member],
    groups: &[Group],
) -> Result<(), Error> {
    if apart::run_apart(model, lane, members)? {
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
    members: &mut [Member],
    groups: &[Group],
) -> Result<bool, Error> {
    let mut parts: SmallVec<[(Part, Range<usize>); MOST_RUNS]> = SmallVec::new();
    for group in groups {
        let members = members.get(group.members.clone()).ok_or_else(not_there)?;
        let Some(first) = members.first() else {
            continue;
        };
        let program = plan_of(first)?.program(group.rows)?;
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
        cut = part.place_inputs(cut)?;
    }
    let mut end = cut;
    for (part, _) in &mut parts {
        end = part.place_outputs(end)?;
    }
    let staging = lane.staging.at_least(end, limit)?;
    let (inputs, mut outputs) = staging.split_at_mut(cut);
    for (part, range) in &parts {
        part.gather(
            model,
            members.get(range.clone()).ok_or_else(not_there)?,
            inputs,
        )?;
    }
    let mut arena = lane.arena.at_least(arena, limit)?;
    let mut runs: SmallVec<[Run<'_>; MOST_RUNS]> = SmallVec::new();
    for (part, range) in &parts {
        let members = members.get(range.clone()).ok_or_else(not_there)?;
        let mut views = SmallVec::new();
        for (i, source) in part.inputs.iter().enumerate() {
            views.push(source.view(members, i, inputs)?);
        }
        let mut places = SmallVec::new();
        for staged in &part.outputs {
            places.push(staged.split_off(&mut outputs));
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
        part.scatter(model, members, staging)?;
    }
    Ok(true)
}

/// One group by itself.
fn run_group(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [Member],
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
            } = member;
            let Some(plan) = plan.downcast_ref::<CpuPlan>() else {
                return Err(foreign());
            };
            plan.run_in(lane, *rows, inputs, outputs)
        });
    };
    let engine = &*model.engine;
    let cut = part.place_inputs(0)?;
    let end = part.place_outputs(cut)?;
    let staging = lane.staging.at_least(end, engine.arena_limit)?;
    let (inputs, outputs) = staging.split_at_mut(cut);
    part.gather(model, members, inputs)?;
    let program = &*part.program;
    let mut refs: SmallVec<[TensorRef<'_>; 4]> = SmallVec::new();
    for (i, source) in part.inputs.iter().enumerate() {
        refs.push(source.view(members, i, inputs)?);
    }
    let mut sink = StagedSink {
        memory: outputs,
        first: cut,
        places: &part.outputs,
    };
    let memory = RunMemory {
        arena: &mut lane.arena,
        scratch: &mut lane.scratch,
        dynamic: &mut lane.dynamic,
    };
    execute_views(program, &model.engine, memory, &refs, &mut sink, None)?;
    drop(refs);
    part.scatter(model, members, staging)
}

/// One group of a batch: its program, and where its inputs and outputs are.
pub(crate) struct Part {
    program: Arc<Program>,
    rows: usize,
    inputs: SmallVec<[Source; 4]>,
    outputs: SmallVec<[Staged; 4]>,
}

impl Part {
    /// Of a group whose first member is `first`; `None` if it cannot be staged.
    fn new(model: &CpuModel, program: Arc<Program>, first: &Member, rows: usize) -> Option<Part> {
        let inputs = staging::sources(model.model.inputs(), first, rows)?;
        let outputs = staging::outputs(output_rows(model), &program, rows)?;
        Some(Part {
            program,
            rows,
            inputs,
            outputs,
        })
    }
}

/// How the model's outputs are told apart; nothing if its requests must run alone.
fn output_rows(model: &CpuModel) -> &[OutputRows] {
    match &model.model.contract().verdict {
        Verdict::Coalescible { outputs, .. } => outputs,
        Verdict::Alone(_) => &[],
    }
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

/// An error about a batch that breaks the promises of `run_batch`'s caller.
fn broken(what: &str) -> Error {
    Error::new(
        ErrorKind::Panic,
        format!("the batch was not put together well: {what}; please report this"),
    )
}

/// `bytes` more from `at` on, and where the next thing may begin.
fn reserve(at: usize, bytes: usize) -> Result<(Range<usize>, usize), Error> {
    let overflow = || {
        Error::new(
            ErrorKind::Limit,
            "the sizes of a batch's inputs and outputs overflow",
        )
    };
    let end = at.checked_add(bytes).ok_or_else(overflow)?;
    let next = end
        .checked_next_multiple_of(crate::exec::arena::ALIGNMENT)
        .ok_or_else(overflow)?;
    Ok((at..end, next))
}
