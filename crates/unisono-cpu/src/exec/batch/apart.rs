//! A batch whose members run beside each other, each on one thread.
//!
//! The one idea: where rows share next to nothing (few weights, much work for each row) a batch is best cut along its members. No thread waits
//! for another between two steps, a member's values stay in the caches of one core, and nothing is put together or cut apart. Where weights weigh
//! more than rows, the other way is better: then they are read once for all.
//!
//! Which way a batch goes follows from counted work and the number of members and threads, never from a clock; bits are the same either way.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use unisono_runtime::Error;
use unisono_runtime::plan::Member;
use unisono_tensor::{Tensor, TensorRef};

use super::plan_of;
use crate::exec::arena::ALIGNMENT;
use crate::exec::lane::{CpuLane, Memory};
use crate::exec::model::{CpuModel, Engine};
use crate::exec::program::Program;
use crate::exec::run::{TensorSink, execute_in};
use crate::memory::SharedMut;

/// Members of a batch that are listed without an allocation.
const LISTED: usize = 64;

/// Threads must have work for at least this share of the time, in quarters: with three members on two threads one idles for a quarter of it.
const BUSY_QUARTERS: usize = 3;

/// What one member needs.
struct Alone {
    member: usize,
    program: Arc<Program>,
    work_ns: u64,
}

/// Runs the members beside each other; `false`, and nothing done, if that cannot be done or does not pay.
pub(super) fn run_apart(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [Member],
) -> Result<bool, Error> {
    let engine = &model.engine;
    let (threads, count) = (engine.team.threads(), members.len());
    let turns = count.div_ceil(threads);
    if threads < 2 || 4 * count < BUSY_QUARTERS * turns * threads {
        return Ok(false);
    }
    let mut list: SmallVec<[Alone; LISTED]> = SmallVec::new();
    for (i, member) in members.iter().enumerate() {
        let plan = plan_of(member)?;
        let Some(work_ns) = plan.work_apart(member.rows) else {
            return Ok(false);
        };
        let program = plan.program(member.rows)?;
        if program.dynamic_steps() > 0 || program.outputs.iter().any(|o| o.shape.is_none()) {
            return Ok(false);
        }
        list.push(Alone {
            member: i,
            program,
            work_ns,
        });
    }
    // The dearest first, so that what is left for the end is small.
    list.sort_unstable_by_key(|alone| std::cmp::Reverse(alone.work_ns));
    let total: u64 = list.iter().map(|alone| alone.work_ns).sum();

    let largest = list.iter().map(|alone| alone.program.arena).max();
    let of_a_seat = largest.unwrap_or(0).checked_next_multiple_of(ALIGNMENT);
    let bytes = of_a_seat.and_then(|bytes| bytes.checked_mul(threads));
    let (Some(of_a_seat), Some(bytes)) = (of_a_seat, bytes.filter(|&b| b <= engine.arena_limit))
    else {
        return Ok(false);
    };
    let arenas = SharedMut::new(lane.arena.at_least(bytes, engine.arena_limit)?);
    let members = SharedMut::new(members);
    let failed = OnceLock::new();
    engine.team.run(list.len(), total, |tile, seat| {
        let alone = &list[tile];
        // SAFETY: the list names each member once, and a tile is done once.
        let member = unsafe { &mut *members.ptr().add(alone.member) };
        // SAFETY: seats are fewer than threads, and one has one holder at a time; each has room for the largest arena.
        let done = unsafe {
            let arena = arenas.ptr().add(seat * of_a_seat);
            run_one(&alone.program, engine, member, arena)
        };
        if let Err(error) = done {
            // One error is enough.
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(true), Err)
}

/// # Safety
/// `arena` points to `program.arena` bytes, aligned to a cache line, that nobody else uses during the call.
unsafe fn run_one(
    program: &Program,
    engine: &Arc<Engine>,
    member: &mut Member,
    arena: *mut u8,
) -> Result<(), Error> {
    let mut aligned: SmallVec<[Tensor; 4]> = SmallVec::new();
    for tensor in &member.inputs {
        aligned.push(tensor.to_aligned()?);
    }
    let refs: SmallVec<[TensorRef<'_>; 4]> =
        aligned.iter().map(Tensor::view).collect::<Result<_, _>>()?;
    let mut sink = TensorSink {
        outputs: &mut member.outputs,
    };
    // SAFETY: the caller's promise. Without dynamic steps there is nothing dynamic, and no use of scratch memory.
    unsafe {
        execute_in(
            program,
            engine,
            &engine.solo,
            &refs,
            arena,
            &mut [],
            &mut Memory::default(),
            &mut sink,
            None,
        )
    }
}
