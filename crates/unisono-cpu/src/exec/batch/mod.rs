//! Several requests as one run of a program.
//!
//! The one idea: requests of one plan differ in nothing but their rows, so their inputs are put behind each other along
//! the rows' axis (*gathered* into [`staging`] memory), the program for that many rows runs once, and every request's
//! rows are cut out of the result (*scattered*). A row's bits are those that it gets alone, because no kernel's are a
//! matter of how many rows there are (contract C1).
//!
//! What cannot be staged runs request by request: strings, which have no bytes, and outputs whose shapes depend on data.

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
use crate::exec::run::{execute_in, prepare_dynamic};
use staging::{Source, Staged, StagedSink};

/// Runs a batch. See [`unisono_runtime::plan::Executable::run_batch`].
pub(crate) fn run_batch(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [Member],
    groups: &[Group],
) -> Result<(), Error> {
    for group in groups {
        let members = members
            .get_mut(group.members.clone())
            .ok_or_else(|| broken("a group has members that are not there"))?;
        run_group(model, lane, members, group.rows)?;
    }
    Ok(())
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
    prepare_dynamic(program, &mut lane.dynamic);
    let arena = lane
        .arena
        .at_least(program.arena, engine.arena_limit)?
        .as_mut_ptr();
    // SAFETY: `at_least` gave `program.arena` bytes, which stay where they are until the lane's arena grows again; that
    // needs `lane.arena`, which nothing below touches.
    unsafe {
        execute_in(
            program,
            &model.engine,
            &engine.team,
            &refs,
            arena,
            &mut lane.dynamic,
            &mut lane.scratch,
            &mut sink,
        )?;
    }
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
