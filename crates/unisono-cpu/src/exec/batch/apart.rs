//! Members of a batch, and rows of a request, that run beside each other, each on one thread.
//!
//! The one idea: where rows share next to nothing (few weights, much work for each row) a batch is best cut along its members. No thread waits
//! for another between two steps, a member's values stay in the caches of one core, and nothing is put together or cut apart. Where weights weigh
//! more than rows, the other way is better: then they are read once for all.
//!
//! In between are models of which some weights are worth reading once for several rows (those behind a global pooling) and most are not: there
//! each thread puts its share of the rows together and runs them as one.
//!
//! Which way a batch goes follows from counted work and the number of members and threads, never from a clock; bits are the same either way.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;
use unisono_graph::OutputRows;
use unisono_runtime::plan::{Group, Member};
use unisono_runtime::program::staging::{Sink, TensorSink, broken, output_rows};
use unisono_runtime::team::by_weight;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor, TensorRef};

use super::{Part, not_there, plan_of};
use crate::exec::cost::SHARE_ROWS;
use crate::exec::lane::{CpuLane, Memory};
use crate::exec::model::{CpuModel, Engine};
use crate::exec::plan::CpuPlan;
use crate::exec::program::{ALIGNMENT, Program};
use crate::exec::run::execute_in;
use crate::memory::SharedMut;

/// Members that run beside each other at a time.
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
    members: &mut [&mut Member],
) -> Result<bool, Error> {
    let engine = &model.engine;
    if !keeps_busy(engine.team.threads(), members.len()) {
        return Ok(false);
    }
    let mut largest = 0;
    for member in members.iter() {
        let plan = plan_of(member)?;
        if plan.work_apart(member.rows).is_none() {
            return Ok(false);
        }
        let program = plan.program(member.rows)?;
        if !is_known(&program) {
            return Ok(false);
        }
        largest = largest.max(program.arena);
    }
    let Some((arenas, of_a_seat)) = arenas(engine, lane, largest)? else {
        return Ok(false);
    };
    // So many at a time that the list of them needs no allocation.
    for members in members.chunks_mut(LISTED) {
        run_some(engine, members, arenas, of_a_seat)?;
    }
    Ok(true)
}

/// Members that one thread runs together.
struct Share {
    members: Range<usize>,
    part: Part,
    /// The memory where they are put together.
    staging: Range<usize>,
}

/// Shares of a batch, one for each thread; more cost an allocation.
const SHARES: usize = 16;

/// Members of a share, and their rows.
type Cut = SmallVec<[(Range<usize>, usize); SHARES]>;

/// Cuts `rows`, those of so many members, into a share for each thread; `None` if that would leave threads without work for too long.
fn cut_into_shares(threads: usize, rows: impl Iterator<Item = usize> + Clone) -> Option<Cut> {
    let total: usize = rows.clone().sum();
    let mut shares = Cut::new();
    let (mut members, mut own, mut before) = (0..0, 0, 0);
    for n in rows {
        members.end += 1;
        own += n;
        // Shares end where this many rows would, had rows no members.
        if (before + own) * threads >= total * (shares.len() + 1) {
            shares.push((members.clone(), own));
            members.start = members.end;
            before += own;
            own = 0;
        }
    }
    let largest = shares.iter().map(|(_, rows)| *rows).max()?;
    let fits = shares.len() == threads
        && members.is_empty()
        && 4 * total >= BUSY_QUARTERS * largest * threads;
    (threads > 1 && fits).then_some(shares)
}

/// Runs one group of members in a share for each thread; `false`, and nothing done, if that cannot be done or does not pay.
pub(super) fn run_in_shares(
    model: &CpuModel,
    lane: &mut CpuLane,
    members: &mut [&mut Member],
    groups: &[Group],
) -> Result<bool, Error> {
    let engine = &model.engine;
    let ([_], Some(first)) = (groups, members.first()) else {
        return Ok(false);
    };
    let plan = plan_of(first)?;
    let (true, Some(row_ns)) = (plan.runs_in_shares(), plan.work_apart(1)) else {
        return Ok(false);
    };
    // A share of one member is run where it lies, by the other way.
    if members.len() <= engine.team.threads() {
        return Ok(false);
    }
    let rows = members.iter().map(|member| member.rows);
    let Some(cut) = cut_into_shares(engine.team.threads(), rows.clone()) else {
        return Ok(false);
    };
    // Members with many rows of their own need nobody to share weights with.
    if cut.iter().any(|(_, rows)| *rows > 2 * SHARE_ROWS) {
        return Ok(false);
    }
    let mut shares: SmallVec<[Share; SHARES]> = SmallVec::new();
    let (mut largest, mut end) = (0, 0usize);
    for (range, rows) in cut {
        let program = match plan.program(rows) {
            Err(e) if e.kind() == ErrorKind::Limit => return Ok(false),
            program => program?,
        };
        let first = members.get(range.start).ok_or_else(not_there)?;
        if !is_known(&program) {
            return Ok(false);
        }
        largest = largest.max(program.arena);
        let Some(mut part) = Part::new(model, program, first, rows) else {
            return Ok(false);
        };
        let start = end;
        let bytes = part.place()?.checked_next_multiple_of(ALIGNMENT);
        let after = bytes.and_then(|bytes| end.checked_add(bytes));
        let Some(after) = after.filter(|&bytes| bytes <= engine.arena_limit) else {
            return Ok(false);
        };
        end = after;
        shares.push(Share {
            members: range,
            part,
            staging: start..end,
        });
    }
    let staging = SharedMut::new(lane.staging.at_least(end, engine.arena_limit)?).detached();
    let total = row_ns.saturating_mul(rows.sum::<usize>() as u64);
    let Some((arenas, of_a_seat)) = arenas(engine, lane, largest)? else {
        return Ok(false);
    };
    let members = SharedMut::new(members);
    let failed = OnceLock::new();
    engine.team.run(shares.len(), total, |tile, seat| {
        let share = &shares[tile];
        // SAFETY: shares are disjoint ranges of members and of staging memory, which nobody else uses meanwhile, and a tile is done once.
        let (members, staging) = unsafe {
            (
                std::slice::from_raw_parts_mut(
                    members.ptr().add(share.members.start),
                    share.members.len(),
                ),
                std::slice::from_raw_parts_mut(
                    staging.ptr().add(share.staging.start),
                    share.staging.len(),
                ),
            )
        };
        let done = share
            .part
            .run(model, members, staging, None, |inputs, sink| {
                // SAFETY: seats are no more than threads, and one has one holder at a time; each has room for the largest arena.
                unsafe {
                    let arena = arenas.ptr().add(seat * of_a_seat);
                    run_alone(&share.part.program, engine, inputs, arena, sink)
                }
            });
        if let Err(error) = done {
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(true), Err)
}

/// Runs at most [`LISTED`] members that have been looked at, in arenas that are large enough.
fn run_some(
    engine: &Arc<Engine>,
    members: &mut [&mut Member],
    arenas: SharedMut<'_, u8>,
    of_a_seat: usize,
) -> Result<(), Error> {
    let mut list: SmallVec<[Alone; LISTED]> = SmallVec::new();
    for (i, member) in members.iter().enumerate() {
        let plan = plan_of(member)?;
        list.push(Alone {
            member: i,
            program: plan.program(member.rows)?,
            work_ns: plan.work_apart(member.rows).unwrap_or(0),
        });
    }
    list.sort_unstable_by_key(|alone| std::cmp::Reverse(alone.work_ns));
    let total: u64 = list.iter().map(|alone| alone.work_ns).sum();
    let members = SharedMut::new(members);
    let failed = OnceLock::new();
    engine.team.run(list.len(), total, |tile, seat| {
        let alone = &list[by_weight(tile, list.len())];
        // SAFETY: the list names each member once, and a tile is done once.
        let member = unsafe { &mut **members.ptr().add(alone.member) };
        // SAFETY: seats are no more than threads, and one has one holder at a time; each has room for the largest arena.
        let done = unsafe {
            let arena = arenas.ptr().add(seat * of_a_seat);
            run_member(&alone.program, engine, member, arena)
        };
        if let Err(error) = done {
            // One error is enough.
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// Are so many tiles enough for so many threads?
fn keeps_busy(threads: usize, tiles: usize) -> bool {
    let turns = tiles.div_ceil(threads);
    threads > 1 && 4 * tiles >= BUSY_QUARTERS * turns * threads
}

/// Are all shapes known before it runs?
fn is_known(program: &Program) -> bool {
    program.dynamic_steps() == 0 && program.outputs.iter().all(|o| o.shape.is_some())
}

/// The distance between arenas of so many bytes, and the bytes of one for each thread; `None` if there may not be as much.
fn all_arenas(engine: &Engine, bytes: usize) -> Option<(usize, usize)> {
    let each = bytes.checked_next_multiple_of(ALIGNMENT)?;
    let all = each.checked_mul(engine.team.threads())?;
    (all <= engine.arena_limit).then_some((each, all))
}

/// An arena of so many bytes for each thread, and the distance between them; `None` if there may not be as much.
fn arenas<'a>(
    engine: &Engine,
    lane: &'a mut CpuLane,
    bytes: usize,
) -> Result<Option<(SharedMut<'a, u8>, usize)>, Error> {
    let Some((each, all)) = all_arenas(engine, bytes) else {
        return Ok(None);
    };
    let memory = lane.arena.at_least(all, engine.arena_limit)?;
    Ok(Some((SharedMut::new(memory), each)))
}

/// # Safety
/// `arena` points to `program.arena` bytes, aligned to a cache line, that nobody else uses during the call.
unsafe fn run_member(
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
    // SAFETY: the caller's promise.
    unsafe { run_alone(program, engine, &refs, arena, &mut sink) }
}

/// # Safety
/// As for [`run_member`].
unsafe fn run_alone(
    program: &Program,
    engine: &Arc<Engine>,
    inputs: &[TensorRef<'_>],
    arena: *mut u8,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    // Without dynamic steps there is nothing dynamic, and no use of scratch memory.
    let mut scratch = Memory::default();
    // SAFETY: the caller's promise.
    unsafe {
        execute_in(
            program,
            engine,
            &engine.solo,
            inputs,
            arena,
            &mut [],
            &mut scratch,
            sink,
            None,
        )
    }
}

/// One output of a request whose rows run beside each other.
struct Rows {
    start: SharedMut<'static, u8>,
    /// Bytes of the rows of one tile.
    bytes: usize,
}

/// The part of each output that belongs to one tile.
struct TileSink<'a> {
    outputs: &'a [Rows],
    tile: usize,
}

impl Sink for TileSink<'_> {
    fn provide(&mut self, index: usize, _: DType, _: &[usize]) -> Result<&mut [u8], Error> {
        let output = self.outputs.get(index);
        let output = output.ok_or_else(|| broken("an output is not there"))?;
        // SAFETY: the output has these bytes for every tile, and a tile is done once.
        Ok(unsafe {
            let start = output.start.ptr().add(self.tile * output.bytes);
            std::slice::from_raw_parts_mut(start, output.bytes)
        })
    }
}

/// The program for as many rows of a request as one thread takes at a time, one or a share, and how many times that is; `None` if threads would idle
/// or there is not as much memory.
fn program_of_a_tile(
    engine: &Engine,
    plan: &CpuPlan,
    rows: usize,
) -> Result<Option<(Arc<Program>, usize)>, Error> {
    let threads = engine.team.threads();
    let most = if plan.runs_in_shares() { SHARE_ROWS } else { 1 };
    for at_a_time in (1..=most).rev() {
        let tiles = rows / at_a_time;
        let is_even = at_a_time == 1 || tiles.is_multiple_of(threads);
        if !rows.is_multiple_of(at_a_time) || !is_even || !keeps_busy(threads, tiles) {
            continue;
        }
        let program = match plan.program(at_a_time) {
            Err(e) if e.kind() == ErrorKind::Limit => continue,
            program => program?,
        };
        if is_known(&program) && all_arenas(engine, program.arena).is_some() {
            return Ok(Some((program, tiles)));
        }
    }
    Ok(None)
}

/// Runs the rows of one request beside each other; `false`, and nothing done, if that cannot be done or does not pay. Only where rows are the
/// outermost axis everywhere, so that a row's values lie together.
pub(crate) fn run_rows_apart(
    model: &CpuModel,
    plan: &CpuPlan,
    lane: &mut CpuLane,
    rows: usize,
    inputs: &[Tensor],
    outputs: &mut [Option<Tensor>],
) -> Result<bool, Error> {
    let engine = &model.engine;
    let Some(work_ns) = plan.work_apart(1).filter(|_| rows > 1) else {
        return Ok(false);
    };
    let rules = output_rows(&model.model);
    let outermost = |rule: &OutputRows| matches!(rule, OutputRows::Rows { axis: 0, .. });
    let ports = model.model.inputs();
    let are_outermost = ports
        .iter()
        .all(|port| port.rows_axis.is_none_or(|axis| axis == 0))
        && !rules.is_empty()
        && rules.iter().all(outermost);
    // Strings have no bytes to cut.
    if !are_outermost || inputs.iter().any(|input| input.strings().is_some()) {
        return Ok(false);
    }
    let Some((program, tiles)) = program_of_a_tile(engine, plan, rows)? else {
        return Ok(false);
    };
    if program.outputs.len() != rules.len() {
        return Ok(false);
    }
    let mut aligned: SmallVec<[Tensor; 4]> = SmallVec::new();
    for tensor in inputs {
        aligned.push(tensor.to_aligned()?);
    }
    let mut sink = TensorSink { outputs };
    let mut places: SmallVec<[Rows; 4]> = SmallVec::new();
    for (i, port) in program.outputs.iter().enumerate() {
        let mut shape = port.shape.clone().unwrap_or_default();
        let first = shape
            .first_mut()
            .ok_or_else(|| broken("an output has no axis"))?;
        *first *= tiles;
        let memory = sink.provide(i, port.dtype, &shape)?;
        places.push(Rows {
            bytes: memory.len() / tiles,
            start: SharedMut::new(memory).detached(),
        });
    }
    let Some((arenas, of_a_seat)) = arenas(engine, lane, program.arena)? else {
        return Ok(false);
    };
    let failed = OnceLock::new();
    let total = work_ns.saturating_mul(rows as u64);
    engine.team.run(tiles, total, |tile, seat| {
        // SAFETY: as in `run_apart`; outputs live as long as the job, and nobody else looks at them meanwhile.
        let done = unsafe {
            let arena = arenas.ptr().add(seat * of_a_seat);
            run_tile(model, &program, (tile, tiles), &aligned, &places, arena)
        };
        if let Err(error) = done {
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(true), Err)
}

/// # Safety
/// As for [`run_member`], and `outputs` is writable at this tile by this caller alone.
unsafe fn run_tile(
    model: &CpuModel,
    program: &Program,
    (tile, tiles): (usize, usize),
    inputs: &[Tensor],
    outputs: &[Rows],
    arena: *mut u8,
) -> Result<(), Error> {
    let mut shapes: SmallVec<[Shape; 4]> = SmallVec::new();
    for (port, input) in model.model.inputs().iter().zip(inputs) {
        let mut shape = Shape::from_slice(input.shape());
        if let (Some(0), Some(first)) = (port.rows_axis, shape.first_mut()) {
            *first /= tiles;
        }
        shapes.push(shape);
    }
    let mut refs: SmallVec<[TensorRef<'_>; 4]> = SmallVec::new();
    for ((port, input), shape) in model.model.inputs().iter().zip(inputs).zip(&shapes) {
        let bytes = input.bytes();
        let own = match port.rows_axis {
            Some(_) => &bytes[bytes.len() / tiles * tile..][..bytes.len() / tiles],
            None => bytes,
        };
        refs.push(TensorRef::new(input.dtype(), shape, own)?);
    }
    let mut sink = TileSink { outputs, tile };
    // SAFETY: the caller's promise.
    unsafe { run_alone(program, &model.engine, &refs, arena, &mut sink) }
}
