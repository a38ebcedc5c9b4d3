//! What a leader does with its lane: closes the batch, runs it, hands out the answers.
//!
//! The one idea: whatever happens in between, everybody who was claimed is answered. A batch that fails is run again request by
//! request, so that only the guilty one gets the error; a panic on the way answers those who have no answer yet.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use unisono_tensor::{Tensor, mutant};

use super::{Admitted, Inner, Visit, in_time, in_time_at, late, note_stage, shut_down};
use crate::background::Post;
use crate::census::Resource;
use crate::coalescer::choice::Rules;
use crate::coalescer::queue::{Claim, Traits, Waiting};
use crate::coalescer::{Leadership, Refusal, WakeUps};
use crate::device::CountedLane;
use crate::error::{Error, ErrorKind};
use crate::lane::{Lane, LaneGuard};
use crate::plan::{CountedPlan, Group, Member, Plan, PlanHandle};
use crate::request::RunOptions;
use crate::stall::notes::{BatchNote, Stage, Tag, Who};
use crate::stats::tick;
use crate::sync::atomic::Ordering;

/// How many different plans may share a batch.
const MAX_KINDS: usize = 64;

/// Inputs without rows are compared byte by byte up to this size; beyond it they must be the same storage.
const COMPARED_BYTES: usize = 4 << 10;

/// A request on its way through the queue, and back with its answer.
pub(crate) struct Request {
    member: Member,
    deadline: Option<Instant>,
    asked: Instant,
    /// A future's place in the session, given up with the answer: it may be looked at much later. A thread's is on its stack.
    pub(super) visit: Option<Visit>,
    /// Where its stage is noted, if anybody watches.
    tag: Option<Tag>,
    /// None yet, or the answer's. Not an error in advance: that is memory which one thread takes and another gives back.
    pub(super) result: Option<Result<(), Error>>,
}

impl Request {
    pub(super) fn new(
        plan: PlanHandle,
        admitted: Admitted,
        outputs: Vec<Option<Tensor>>,
        deadline: Option<Instant>,
        visit: Option<Visit>,
        tag: Option<&Tag>,
    ) -> Request {
        Request {
            member: Member {
                plan: plan.0,
                rows: admitted.rows,
                inputs: admitted.tensors,
                outputs,
            },
            deadline,
            asked: Instant::now(),
            visit,
            tag: tag.cloned(),
            result: None,
        }
    }

    /// May it run, as far as is known?
    fn is_well(&self) -> bool {
        matches!(self.result, Some(Ok(())))
    }

    /// Gives up its place in the session.
    pub(super) fn leave(&mut self) {
        self.visit = None;
    }

    /// It is answered, and out of the session.
    pub(super) fn answered(&mut self) {
        note_stage(self.tag.as_ref(), Stage::Answered);
        self.leave();
    }

    pub(super) fn into_outputs(self) -> Vec<Option<Tensor>> {
        self.member.outputs
    }

    /// The answer. One that comes too late is none.
    pub(super) fn into_answer(self) -> (Result<(), Error>, Vec<Option<Tensor>>) {
        let result = match self.result {
            Some(Ok(())) => in_time(self.deadline),
            Some(Err(error)) => Err(error),
            None => Err(unanswered()),
        };
        (result, self.member.outputs)
    }
}

/// A request in a batch, where it lies.
enum Held<'a> {
    /// In the queue.
    Claimed(Claim<'a, Request>),
    /// The leader's own.
    Own(&'a mut Request),
}

impl Held<'_> {
    fn is_own(&self) -> bool {
        matches!(self, Held::Own(_))
    }
}

impl Deref for Held<'_> {
    type Target = Request;

    fn deref(&self) -> &Request {
        match self {
            Held::Claimed(claim) => claim.request(),
            Held::Own(request) => request,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Request {
        match self {
            Held::Claimed(claim) => claim.request_mut(),
            Held::Own(request) => request,
        }
    }
}

/// One place in a batch.
struct Seat<'a> {
    request: Held<'a>,
    group: usize,
}

/// A leader's own request, which is in no queue.
struct Own<'a> {
    request: &'a mut Request,
    ticket: u64,
    traits: Traits,
}

/// Memory that a leader works with, kept in its lane so that the steady state allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    waiting: Vec<Waiting>,
    /// Empty between batches, as are the members: nobody is borrowed from.
    seats: Vec<Seat<'static>>,
    members: Vec<&'static mut Member>,
    groups: Vec<Group>,
}

impl Scratch {
    /// Memory for seats, until [`Scratch::give_back`].
    fn take_seats<'a>(&mut self) -> Vec<Seat<'a>> {
        std::mem::take(&mut self.seats)
    }

    #[expect(
        clippy::unnecessary_filter_map,
        reason = "no filter changes a lifetime"
    )]
    fn give_back(&mut self, mut seats: Vec<Seat<'_>>) {
        seats.clear();
        // Collecting in place keeps the memory.
        self.seats = seats.into_iter().filter_map(|_| None).collect();
    }
}

/// The memory of a list of members, empty, for a list of others. Collecting in place keeps it.
#[expect(
    clippy::unnecessary_filter_map,
    reason = "no filter changes a lifetime"
)]
fn emptied<'b>(mut members: Vec<&mut Member>) -> Vec<&'b mut Member> {
    members.clear();
    members.into_iter().filter_map(|_| None).collect()
}

/// A closed batch. However it goes out of scope, those in it are answered.
struct Flight<'a, 'l> {
    session: &'a Inner,
    leadership: &'a Leadership<'l, Request>,
    wake_ups: &'a mut WakeUps<'l, Request>,
    scratch: &'a mut Scratch,
    seats: Vec<Seat<'a>>,
}

impl Drop for Flight<'_, '_> {
    fn drop(&mut self) {
        if mutant!(FollowersLeftAsleep) && std::thread::panicking() {
            return self.seats.clear();
        }
        let visits = self.seats.iter_mut().filter_map(|seat| {
            let request = &mut *seat.request;
            note_stage(request.tag.as_ref(), Stage::Answered);
            request.visit.as_mut()
        });
        Visit::end_all(self.session.doors.own(), visits);
        let answered = self.seats.drain(..).filter_map(|seat| match seat.request {
            Held::Claimed(claim) => Some(claim),
            Held::Own(_) => None,
        });
        self.leadership.finish(answered, self.wake_ups);
        self.scratch.give_back(std::mem::take(&mut self.seats));
    }
}

impl Inner {
    /// What a request is like to those who choose a batch.
    pub(super) fn traits(
        &self,
        plan: &CountedPlan,
        admitted: &Admitted,
        options: &RunOptions,
    ) -> Traits {
        let own_limit = options.max_batch_rows.unwrap_or(usize::MAX);
        Traits {
            kind: match admitted.shares && !mutant!(NeverCoalesced) {
                true => (plan as &dyn Plan).identity(),
                false => 0,
            },
            rows: admitted.rows,
            row_limit: self
                .options
                .max_batch_rows
                .min(own_limit)
                .min(plan.worthwhile_rows),
            mixes: plan.mixes,
        }
    }

    /// Runs one request that is in no queue, where it stands.
    pub(super) fn run_in_place(
        &self,
        plan: &CountedPlan,
        admitted: &Admitted,
        outputs: &mut [Option<Tensor>],
        options: &RunOptions,
        tag: Option<&Tag>,
    ) -> Result<(), Error> {
        let asked = Instant::now();
        let mut lane = self.lane_for_one(options.deadline, tag)?;
        // The wait for a lane may have been long.
        let began = Instant::now();
        in_time_at(began, options.deadline)?;
        if self.refusing.load(Ordering::Relaxed) {
            return Err(shut_down());
        }
        let _batch = self.device.census().count(Resource::Batch, 0);
        let (rows, tensors) = (admitted.rows, &admitted.tensors);
        let _note = tag.map(|tag| tag.begin_alone(rows));
        let result = run_one(plan, &mut *lane.lane, rows, tensors, outputs);
        self.recount(&mut lane);
        if mutant!(LaneKeptOnError) && result.is_err() {
            std::mem::forget(lane);
            return result;
        }
        drop(lane);
        self.stats.batch_requests.count(1);
        self.stats.batch_rows.count(rows as u64);
        self.stats.queue_ns.count(nanoseconds(asked, began));
        self.stats.run_ns.count(nanoseconds(began, Instant::now()));
        result
    }

    /// A lane for a request that is in no queue. At most so many threads as the queue has places wait for one; what becomes of
    /// others is the policy of a full queue.
    pub(super) fn lane_for_one(
        &self,
        deadline: Option<Instant>,
        tag: Option<&Tag>,
    ) -> Result<LaneGuard<'_, CountedLane>, Error> {
        let lanes = self.device.lanes();
        if let Some(lane) = lanes.try_acquire() {
            return Ok(lane);
        }
        let _place = match self.line.try_acquire() {
            Some(place) => place,
            None => {
                let patience = self.room().patience(deadline);
                let (until, why) = patience.ok_or_else(|| self.refusal(Refusal::Full))?;
                note_stage(tag, Stage::Room);
                let place = self.line.acquire_until(until);
                place.ok_or_else(|| self.refusal(why))?
            }
        };
        note_stage(tag, Stage::Lane);
        lanes.acquire_until(deadline).ok_or_else(late)
    }

    pub(super) fn recount(&self, lane: &mut CountedLane) {
        lane.recount();
        self.prepared.recount();
    }

    /// Leads until the leader's own request is answered: in the first batch, unless older ones that do not fit with it wait.
    pub(super) fn lead(
        &self,
        leadership: Leadership<'_, Request>,
        mut request: Request,
        ticket: u64,
        traits: Traits,
    ) -> Request {
        loop {
            let mut wake_ups = self.coalescer.wake_ups();
            let own = Own {
                request: &mut request,
                ticket,
                traits,
            };
            if self.lead_one(&leadership, Some(own), &mut wake_ups) {
                leadership.end(wake_ups);
                return request;
            }
        }
    }

    /// One batch. Whether `own` is answered.
    fn lead_one<'l>(
        &self,
        leadership: &Leadership<'l, Request>,
        own: Option<Own<'_>>,
        wake_ups: &mut WakeUps<'l, Request>,
    ) -> bool {
        leadership.recall();
        let deadline = own.as_ref().and_then(|own| own.request.deadline);
        let tag = own.as_ref().and_then(|own| own.request.tag.as_ref());
        note_stage(tag, Stage::Lane);
        // One who leads for others, which cannot be seen from any request of its own.
        let leader = match own {
            Some(_) => None,
            None => {
                let notes = self.device.notes();
                notes.begin(self.watched.session, Who::me, None, || Stage::Lane)
            }
        };
        let Some(mut lane) = self.device.lanes().acquire_until(deadline) else {
            // Those who wait go on with the next leader.
            return own.is_some_and(|own| {
                own.request.result = Some(Err(late()));
                true
            });
        };
        let rules = Rules {
            max_overtaken: self.options.max_overtaken,
            max_kinds: MAX_KINDS,
        };
        let lane = &mut *lane;
        let mut seats = lane.scratch.take_seats();
        let waiting = &mut lane.scratch.waiting;
        let own_place = own.as_ref().map(|own| (own.ticket, own.traits));
        let own_is_in = leadership.close(own_place, &rules, waiting, |claim| {
            seats.push(Seat {
                request: Held::Claimed(claim),
                group: 0,
            });
        });
        // Declared before the flight: it ends after all in it are answered.
        let _note;
        let mut flight = Flight {
            session: self,
            leadership,
            wake_ups,
            scratch: &mut lane.scratch,
            seats,
        };
        drop(leader);
        match own {
            Some(own) if own_is_in => flight.seats.push(Seat {
                request: Held::Own(own.request),
                group: 0,
            }),
            // Older ones go first.
            Some(own) => note_stage(own.request.tag.as_ref(), Stage::Queue),
            None => {}
        }
        if flight.seats.is_empty() {
            return false;
        }
        _note = self.note_batch(&flight.seats);
        self.run_batch(&mut *lane.lane, &mut flight.seats, flight.scratch);
        // It is not handed back through the queue.
        let own_seat = flight.seats.iter().position(|seat| seat.request.is_own());
        let answered = own_seat.map(|seat| flight.seats.swap_remove(seat));
        lane.token.set_bytes(lane.lane.bytes());
        self.prepared.recount();
        answered.is_some()
    }

    fn note_batch(&self, seats: &[Seat<'_>]) -> Option<BatchNote> {
        let tags = || seats.iter().filter_map(|seat| seat.request.tag.as_ref());
        let first = tags().next()?;
        let rows = seats.iter().map(|seat| seat.request.member.rows).sum();
        Some(first.begin_batch(seats.len(), rows, tags()))
    }

    fn run_batch(&self, lane: &mut dyn Lane, seats: &mut Vec<Seat<'_>>, scratch: &mut Scratch) {
        let began = Instant::now();
        let _batch = self.device.census().count(Resource::Batch, 0);
        let refusing = self.refusing.load(Ordering::Relaxed);
        for seat in &mut *seats {
            let request = &mut *seat.request;
            request.result = Some(match refusing {
                true => Err(shut_down()),
                false => in_time_at(began, request.deadline),
            });
        }
        let waits = seats.iter();
        let waits = waits.map(|seat| nanoseconds(seat.request.asked, began));
        self.stats.queue_ns.count_all(waits);
        let groups = &mut scratch.groups;
        self.group(seats, groups);
        let mut members = emptied(std::mem::take(&mut scratch.members));
        let running = seats.iter_mut().map(|seat| &mut *seat.request);
        let running = running.filter(|request| request.is_well());
        members.extend(running.map(|request| &mut request.member));
        let rows: usize = members.iter().map(|m| m.rows).sum();
        let whole = match &mut members[..] {
            [] => Ok(()),
            [member] => run_member(lane, member),
            members => together(|| self.prepared.executable.run_batch(lane, members, groups)),
        };
        let count = members.len();
        scratch.members = emptied(members);
        let singly = whole.is_err() && count > 1;
        if singly {
            tick(&self.stats.rerun_batches);
        }
        if mutant!(FollowersLeftAsleep) && singly && is_panic(&whole) {
            // Their claims are lost, and with them whoever could answer.
            seats.retain(|seat| seat.request.is_own());
            return seats
                .iter_mut()
                .for_each(|seat| seat.request.result = Some(whole.clone()));
        }
        let requests = seats.iter_mut().map(|seat| &mut *seat.request);
        for request in requests.filter(|request| request.is_well()) {
            request.result = Some(match singly {
                true => {
                    in_time(request.deadline).and_then(|()| run_member(lane, &mut request.member))
                }
                false => whole.clone(),
            });
        }
        if count > 0 {
            self.stats.batch_requests.count(count as u64);
            self.stats.batch_rows.count(rows as u64);
            self.stats.run_ns.count(nanoseconds(began, Instant::now()));
        }
    }

    /// Sorts the seats by group, and says where the groups are among those that run.
    fn group(&self, seats: &mut [Seat<'_>], groups: &mut Vec<Group>) {
        groups.clear();
        let mut count = 0;
        for i in 0..seats.len() {
            let (before, rest) = seats.split_at_mut(i);
            let Some((seat, _)) = rest.split_first_mut() else {
                continue;
            };
            let akin = before
                .iter()
                .rev()
                .find(|other| self.stand_together(&other.request, &seat.request));
            seat.group = match akin {
                Some(other) => other.group,
                None => {
                    count += 1;
                    count - 1
                }
            };
        }
        if count > 1 {
            seats.sort_unstable_by_key(|seat| seat.group);
        }
        let mut previous = None;
        let mut members = 0;
        for seat in seats.iter().filter(|s| s.request.is_well()) {
            let rows = seat.request.member.rows;
            if previous != Some(seat.group) {
                previous = Some(seat.group);
                groups.push(Group {
                    members: members..members,
                    rows: 0,
                });
            }
            members += 1;
            if let Some(group) = groups.last_mut() {
                group.members.end = members;
                group.rows += rows;
            }
        }
    }

    /// May the rows of two requests stand behind each other? One plan, and what has no rows is equal.
    fn stand_together(&self, a: &Request, b: &Request) -> bool {
        let (a, b) = (&a.member, &b.member);
        let one_plan = a.plan.identity() == b.plan.identity();
        let equal = |(port, (a, b)): (&crate::model::Port, (&Tensor, &Tensor))| {
            port.rows_axis.is_some()
                || (a.bytes().as_ptr() == b.bytes().as_ptr() && a.strings().is_none())
                || (a.bytes().len() <= COMPARED_BYTES
                    && a.bytes() == b.bytes()
                    && a.strings() == b.strings())
        };
        let pairs = || a.inputs.iter().zip(&b.inputs);
        one_plan && (!self.shares_inputs || self.model.inputs().iter().zip(pairs()).all(equal))
    }
}

impl Post for Inner {
    fn lead(self: std::sync::Arc<Self>) {
        let leadership = self.coalescer.lead_on();
        let mut wake_ups = self.coalescer.wake_ups();
        self.lead_one(&leadership, None, &mut wake_ups);
        drop(wake_ups);
        // A thread that would only sleep now can as well see who comes back.
        leadership.recall();
    }
}

fn run_member(lane: &mut dyn Lane, member: &mut Member) -> Result<(), Error> {
    let Member {
        plan,
        rows,
        inputs,
        outputs,
    } = member;
    together(|| plan.run(lane, *rows, inputs, outputs))
}

fn run_one(
    plan: &CountedPlan,
    lane: &mut dyn Lane,
    rows: usize,
    inputs: &[Tensor],
    outputs: &mut [Option<Tensor>],
) -> Result<(), Error> {
    together(|| plan.run(lane, rows, inputs, outputs))
}

/// Did it end by a panic?
fn is_panic(result: &Result<(), Error>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::Panic)
}

/// Runs a model; a panic becomes an error.
pub(super) fn together<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    if mutant!(PanicNotCaught) {
        return run();
    }
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(panicked("running the model", &*panic)))
}

pub(super) fn panicked(doing: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(
        ErrorKind::Panic,
        format!("{doing} panicked: {what}. Please report it; the session stays usable"),
    )
}

/// The result of a request that nobody has answered yet, and never will if its leader goes down.
fn unanswered() -> Error {
    Error::new(
        ErrorKind::Panic,
        "the thread that ran the batch panicked outside of the model; please report it and try again",
    )
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}
