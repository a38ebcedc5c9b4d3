//! A session: a model bound to a device, run by any number of threads at once.
//!
//! The one idea: `run` takes `&self` and nothing else is needed. A request is checked before anything is shared, finds
//! its plan, and then leads a batch or joins one ([`crate::coalescer`]); every way out gives back what it took.

mod future;
mod lead;
mod options;
mod profile;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use unisono_tensor::{Tensor, mutant};

use crate::census::{Census, Resource, Token};
use crate::coalescer::{Coalescer, Meanwhile, Refusal, Room, Spin, Turn};
use crate::device::{Device, Prepared};
use crate::error::{Error, ErrorKind};
use crate::gate::Gate;
use crate::lane::LanePool;
use crate::model::ModelGraph;
use crate::plan::{CountedPlan, NodePlacement, Plan, PlanHandle, PlanInfo, PlanKey};
use crate::plan_cache::{CacheCounts, PlanCache};
use crate::request::{Inputs, Outputs, RunOptions};
use crate::stall::notes::{Note, Stage, Tag, Watching, Who};
use crate::stall::{StallReport, Watchdog, Watched};
use crate::stats::{SessionStats, Stats, tick};
use crate::stripes::{Padded, Striped};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};

pub use future::RunFuture;
pub(crate) use lead::Scratch;
use lead::{Request, panicked, together};
pub use options::{SessionOptions, Shutdown, WhenFull};

/// A model on a device. A cheap handle: clone it into every thread, or share one by reference.
#[derive(Clone)]
pub struct Session(Arc<Handle>);

/// What all clones of a session share. When the last of them goes, the session is shut down; futures that are still waiting keep
/// what they need.
struct Handle {
    inner: Arc<Inner>,
    /// What a future keeps of the session.
    kept: Striped<Arc<Kept>>,
}

/// Keeps the session. There is one for each stripe, so that futures which come and go in many threads do not all write to one count
/// of owners.
struct Kept(Arc<Inner>);

impl std::ops::Deref for Kept {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if mutant!(SessionKept) {
            std::mem::forget(Arc::clone(&self.inner));
        }
        // Nobody is inside but futures, and nothing is to be waited for.
        self.inner.close(self.inner.options.on_drop);
    }
}

struct Inner {
    /// First, so that its thread has ended before anything else goes.
    _watchdog: Option<Watchdog>,
    watched: Arc<Watched>,
    /// There once somebody watches.
    watching: Mutex<Option<Watching>>,
    model: Arc<ModelGraph>,
    device: Device,
    prepared: Arc<Prepared>,
    plans: PlanCache<PlanKey, PlanHandle, Error>,
    coalescer: Coalescer<Request>,
    /// Places for those who are in no queue and wait for a lane.
    line: LanePool<()>,
    gate: Arc<Gate>,
    /// One for each stripe, for the counts of their owners.
    doors: Striped<Arc<Door>>,
    /// Requests that have not begun are refused.
    refusing: AtomicBool,
    stats: Padded<Stats>,
    options: SessionOptions,
    /// Has the model inputs without rows, which must be equal for requests to stand behind each other?
    shares_inputs: bool,
    _token: Token,
}

/// Where requests are counted as they come and go. In one piece, so that a visit has one count of owners to write.
struct Door {
    gate: Arc<Gate>,
    census: Census,
}

impl Door {
    fn leave(&self, count: usize) {
        // Before the gate: who waited for the last one to leave finds it released in the census.
        self.census.released(Resource::Request, count as u64);
        self.gate.leave_together(count);
    }
}

/// One request inside. It leaves at the latest when this is dropped.
struct Visit {
    door: Arc<Door>,
    is_inside: bool,
}

impl Visit {
    /// `None` if nobody is let in any more.
    fn begin(door: &Arc<Door>) -> Option<Visit> {
        if !door.gate.enter() {
            return None;
        }
        door.census.created(Resource::Request);
        Some(Visit {
            door: Arc::clone(door),
            is_inside: true,
        })
    }

    /// All of these leave, which have come in by doors to the same gate.
    fn end_all<'v>(door: &Door, visits: impl Iterator<Item = &'v mut Visit>) {
        let mut count = 0;
        for visit in visits {
            // Its handle stays with it, for the thread of its stripe to give back.
            count += usize::from(std::mem::take(&mut visit.is_inside));
        }
        if count > 0 {
            door.leave(count);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.is_inside {
            self.door.leave(1);
        }
    }
}

/// A request that was found to fit the model.
struct Admitted {
    tensors: SmallVec<[Tensor; 4]>,
    key: PlanKey,
    rows: usize,
    /// May it share a batch?
    shares: bool,
}

impl Session {
    /// Binds a model to a device. A second session of the same model shares its packed weights.
    ///
    /// # Errors
    /// The device has no kernel for an operator, or not enough memory.
    pub fn new(
        model: Arc<ModelGraph>,
        device: &Device,
        options: &SessionOptions,
    ) -> Result<Session, Error> {
        device.check_process()?;
        let prepared = device.prepare(&model)?;
        let gate = Arc::new(Gate::new());
        let watched = Arc::new(Watched {
            device: device.clone(),
            model: Arc::clone(&model),
            gate: Arc::clone(&gate),
            session: device.notes().number(),
            capacity: options.queue_capacity.max(1),
        });
        let mut watching = None;
        let mut watchdog = None;
        if let Some(older_than) = options.stall_watchdog {
            watching = Some(device.notes().watch());
            let (watched, on_stall) = (Arc::clone(&watched), options.on_stall.clone());
            watchdog = Some(Watchdog::start(watched, older_than, on_stall)?);
        }
        let token = device.census().count(Resource::Session, 0);
        let doors = Striped::new(|| {
            Arc::new(Door {
                gate: Arc::clone(&gate),
                census: device.census().clone(),
            })
        });
        let inner = Arc::new_cyclic(|weak: &Weak<Inner>| {
            let weak = Weak::clone(weak);
            let background = move || {
                // Futures wait, and they keep the session.
                if let Some(session) = weak.upgrade() {
                    session.device.clone().leaders().post(session);
                }
            };
            Inner {
                _watchdog: watchdog,
                watched,
                watching: Mutex::new(watching),
                shares_inputs: model.inputs().iter().any(|p| p.rows_axis.is_none()),
                model,
                device: device.clone(),
                prepared,
                plans: PlanCache::new(options.plan_cache_bytes),
                coalescer: Coalescer::new(
                    match mutant!(QueueWithoutBound) {
                        true => options.queue_capacity.saturating_mul(64),
                        false => options.queue_capacity,
                    },
                    Box::new(background),
                ),
                line: LanePool::new(vec![(); options.queue_capacity.max(1)]),
                gate,
                doors,
                refusing: AtomicBool::new(false),
                stats: Padded(Stats::new()),
                options: options.clone(),
                _token: token,
            }
        });
        let kept = Striped::new(|| Arc::new(Kept(Arc::clone(&inner))));
        Ok(Session(Arc::new(Handle { inner, kept })))
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.inner
    }

    /// The model.
    pub fn model(&self) -> &Arc<ModelGraph> {
        &self.inner().model
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.inner().device
    }

    /// The settings.
    pub fn options(&self) -> &SessionOptions {
        &self.inner().options
    }

    /// What the plan cache did so far.
    pub fn plans(&self) -> CacheCounts {
        self.inner().plans.counts()
    }

    /// What the session did so far.
    pub fn stats(&self) -> SessionStats {
        let inner = self.inner();
        let waiting = inner.coalescer.queue().waiting() as u64;
        inner.stats.read(waiting, inner.plans.counts())
    }

    /// What can be known of a request with these inputs before it runs. Compiles its plan if there is none yet.
    ///
    /// # Errors
    /// Those of a request that ends before it runs.
    pub fn plan_for<'a>(&self, inputs: impl Into<Inputs<'a>>) -> Result<PlanInfo, Error> {
        let inner = self.inner();
        let admitted = inner.admit(inputs.into())?;
        let _visit = inner.visit()?;
        let plan = inner.plan(&admitted.key, None)?;
        let traits = inner.traits(&plan, &admitted, &RunOptions::default());
        Ok(PlanInfo {
            bytes: plan.bytes(),
            cost: plan.cost(),
            rows: admitted.rows,
            shares: admitted.shares,
            row_limit: traits.row_limit,
        })
    }

    /// Where each node of such a request runs; see [`Plan::placement`]. Compiles its plan if there is
    /// none yet.
    ///
    /// # Errors
    /// Those of a request that ends before it runs.
    pub fn placement_for<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
    ) -> Result<Vec<NodePlacement>, Error> {
        let inner = self.inner();
        let admitted = inner.admit(inputs.into())?;
        let _visit = inner.visit()?;
        let plan = inner.plan(&admitted.key, None)?;
        plan.placement(admitted.rows, &admitted.tensors)
    }

    /// What has made no progress for so long, and what it waits for. Any thread may ask at any time, and waits for nobody.
    ///
    /// Without a [watchdog](SessionOptions::stall_watchdog), notes are taken from the first call on, until the session goes: of
    /// requests that were inside by then it tells only how many there are. Ask once at the start to have them all.
    pub fn stalled(&self, older_than: Duration) -> StallReport {
        let inner = self.inner();
        lock(&inner.watching).get_or_insert_with(|| inner.device.notes().watch());
        inner.watched.report(older_than)
    }

    /// Runs one request and returns its outputs.
    pub fn run<'a>(&self, inputs: impl Into<Inputs<'a>>) -> Result<Outputs, Error> {
        self.run_with(inputs, &RunOptions::default())
    }

    /// The same with options.
    pub fn run_with<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        options: &RunOptions,
    ) -> Result<Outputs, Error> {
        let mut outputs = Outputs::new();
        self.run_into_with(inputs, &mut outputs, options)?;
        Ok(outputs)
    }

    /// Runs one request and writes into tensors that the caller owns.
    ///
    /// Each tensor of `outputs` that nobody else shares and that has the right type and shape is written in place, so
    /// that a loop over requests of one shape allocates nothing; others are replaced. After an error their contents are
    /// unspecified.
    pub fn run_into<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        outputs: &mut Outputs,
    ) -> Result<(), Error> {
        self.run_into_with(inputs, outputs, &RunOptions::default())
    }

    /// [`Session::run_into`] with options.
    pub fn run_into_with<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        outputs: &mut Outputs,
        options: &RunOptions,
    ) -> Result<(), Error> {
        let inner = &**self.inner();
        let admitted = inner.admit(inputs.into())?;
        let visit = inner.enter(admitted.rows)?;
        let note = inner.note(&admitted, Who::me);
        let result = inner
            .answer(admitted, outputs, options, note.as_deref())
            .and_then(|()| in_time(options.deadline));
        inner.count_failure(result.as_ref().err());
        match mutant!(RefusedKept) && result.is_err() {
            true => std::mem::forget(visit),
            false => drop(visit),
        }
        result
    }

    /// Starts one request and returns a future of its outputs, which needs no thread to wait on and no particular executor.
    ///
    /// The request is checked and queued at once, whether or not the future is polled; the first one of a shape compiles its
    /// plan on the calling thread. A future that is dropped takes its request back if it has not begun.
    pub fn run_async<'a>(&self, inputs: impl Into<Inputs<'a>>) -> RunFuture {
        self.run_async_with(inputs, &RunOptions::default())
    }

    /// [`Session::run_async`] with options. A deadline is looked at when the request would begin and when it is answered.
    pub fn run_async_with<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        options: &RunOptions,
    ) -> RunFuture {
        RunFuture::new(self.0.kept.own(), inputs.into(), options)
    }

    /// Closes the session for all its handles: calls that come from now on are refused with
    /// [`ErrorKind::ShutDown`]. With [`Shutdown::Drain`], waits for those under way.
    pub fn shutdown(&self, how: Shutdown) {
        let inner = self.inner();
        inner.close(how);
        if how == Shutdown::Drain {
            let (number, notes) = (inner.watched.session, inner.device.notes());
            let _note = notes.begin(number, Who::me, None, || Stage::Drain);
            inner.gate.wait_until_empty();
        }
    }
}

impl Inner {
    fn close(&self, how: Shutdown) {
        self.gate.close();
        if how == Shutdown::Refuse {
            // Relaxed: a request that does not see it yet is one that has just begun.
            self.refusing.store(true, Ordering::Relaxed);
            self.coalescer.refuse_all(|request| {
                request.result = Some(Err(shut_down()));
                request.answered();
            });
        }
    }

    fn admit(&self, inputs: Inputs<'_>) -> Result<Admitted, Error> {
        self.device.check_process()?;
        let tensors = inputs.arrange(&self.model)?;
        let (key, rows) = self.model.admit(&tensors)?;
        let shapes = || tensors.iter().map(Tensor::shape);
        let shares = self.options.coalesce && self.model.contract().lengths(shapes()).is_some();
        Ok(Admitted {
            tensors,
            key,
            rows,
            shares,
        })
    }

    fn enter(&self, rows: usize) -> Result<Visit, Error> {
        let visit = self.visit()?;
        self.stats.arrival(rows);
        Ok(visit)
    }

    fn visit(&self) -> Result<Visit, Error> {
        Visit::begin(self.doors.own()).ok_or_else(shut_down)
    }

    /// Notes a request, if anybody watches.
    fn note(&self, admitted: &Admitted, who: impl FnOnce() -> Who) -> Option<Note> {
        let stage = || Stage::Plan(admitted.key.clone());
        let (session, rows) = (self.watched.session, Some(admitted.rows));
        self.device.notes().begin(session, who, rows, stage)
    }

    fn count_failure(&self, error: Option<&Error>) {
        let Some(error) = error else { return };
        tick(&self.stats.failed);
        if error.kind() == ErrorKind::DeadlineExceeded {
            tick(&self.stats.late);
        }
    }

    /// Answers a request of the calling thread.
    fn answer(
        &self,
        admitted: Admitted,
        outputs: &mut Outputs,
        options: &RunOptions,
        tag: Option<&Tag>,
    ) -> Result<(), Error> {
        in_time(options.deadline)?;
        let plan = self.plan(&admitted.key, tag)?;
        outputs.prepare(&self.model);
        if !admitted.shares {
            return self.run_in_place(&plan, &admitted, &mut outputs.tensors, options, tag);
        }
        self.permit(&plan);
        let leadership = self.coalescer.try_lead();
        if let (Some(_), true) = (&leadership, self.coalescer.is_quiet()) {
            return self.run_in_place(&plan, &admitted, &mut outputs.tensors, options, tag);
        }
        let traits = self.traits(&plan, &admitted, options);
        plan.allocate(admitted.rows, &mut outputs.tensors);
        let tensors = std::mem::take(&mut outputs.tensors);
        let request = Request::new(plan, admitted, tensors, options.deadline, None, tag);
        // Before it can be claimed: from then on, whoever claims it knows better.
        note_stage(tag, Stage::Queue);
        let until = options.deadline.filter(|_| !mutant!(DeadlineIgnored));
        let turn = match leadership {
            Some(leadership) => Turn::Lead(leadership, request, self.coalescer.queue().ticket()),
            None => self.coalescer.turn(
                request,
                traits,
                until,
                self.room(),
                Waiter {
                    device: &self.device,
                    gate: &self.gate,
                    tag,
                },
            ),
        };
        let request = match turn {
            Turn::Answered(request) => request,
            Turn::Lead(leadership, request, ticket) => {
                self.lead(leadership, request, ticket, traits)
            }
            Turn::Refused(request, why) => {
                outputs.tensors = request.into_outputs();
                return Err(self.refusal(why));
            }
        };
        let (result, tensors) = request.into_answer();
        outputs.tensors = tensors;
        result
    }

    /// What happens to a request that finds the queue full.
    fn room(&self) -> Room {
        match self.options.when_full {
            WhenFull::Error => Room::Refuse,
            WhenFull::Wait => Room::Wait,
            WhenFull::WaitAtMost(time) => match Instant::now().checked_add(time) {
                Some(until) => Room::Until(until),
                None => Room::Wait,
            },
        }
    }

    fn refusal(&self, why: Refusal) -> Error {
        match why {
            Refusal::Late => late(),
            Refusal::Closed => shut_down(),
            Refusal::Full => Error::new(
                ErrorKind::Limit,
                format!(
                    "the queue is full with {} requests; this one was not run",
                    self.coalescer.queue().capacity()
                ),
            )
            .with_advice("send it again later, or raise SessionOptions::queue_capacity"),
        }
    }

    fn plan(&self, key: &PlanKey, tag: Option<&Tag>) -> Result<PlanHandle, Error> {
        let orphaned = || {
            Error::new(
                ErrorKind::Panic,
                "compiling the plan panicked on another thread; try again",
            )
        };
        let compile = || {
            if let Some(tag) = tag {
                tag.enter(Stage::Compile(key.clone()));
            }
            let compiled = catch_unwind(AssertUnwindSafe(|| self.prepared.executable.compile(key)));
            let plan =
                compiled.unwrap_or_else(|panic| Err(panicked("compiling a plan", &*panic)))?;
            self.prepared.recount();
            let token = self.device.census().count(Resource::Plan, plan.bytes());
            let plan = PlanHandle(Arc::new(CountedPlan::new(plan, token)));
            self.coalescer.set_asking(self.device.asking());
            Ok(plan)
        };
        self.plans.get_or_compile(key, compile, orphaned)
    }

    /// Says how many may lead now.
    fn permit(&self, plan: &CountedPlan) {
        // Where a batch is no better than its rows one by one, as many may run at once as there are lanes.
        self.coalescer.set_permits(match plan.worthwhile_rows {
            0 | 1 => self.device.lane_count(),
            _ => self.device.leader_count(self.gate.inside()),
        });
    }
}

/// A thread in the queue.
struct Waiter<'a> {
    device: &'a Device,
    gate: &'a Gate,
    tag: Option<&'a Tag>,
}

impl Meanwhile for Waiter<'_> {
    fn lend(&mut self) -> bool {
        self.device.lend_a_hand()
    }

    fn spin(&mut self) -> Spin {
        self.device.spin_of_a_follower(self.gate.inside())
    }

    fn waits_for_room(&mut self) {
        note_stage(self.tag, Stage::Room);
    }

    fn found_room(&mut self) {
        if let Some(tag) = self.tag {
            tag.found_room();
        }
    }
}

fn note_stage(tag: Option<&Tag>, stage: Stage) {
    if let Some(tag) = tag {
        tag.enter(stage);
    }
}

fn in_time(deadline: Option<Instant>) -> Result<(), Error> {
    match deadline {
        Some(_) => in_time_at(Instant::now(), deadline),
        None => Ok(()),
    }
}

fn in_time_at(now: Instant, deadline: Option<Instant>) -> Result<(), Error> {
    match deadline {
        Some(_) if mutant!(DeadlineIgnored) => Ok(()),
        Some(deadline) if now >= deadline => Err(late()),
        _ => Ok(()),
    }
}

fn late() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "the deadline passed before the request was answered",
    )
}

fn shut_down() -> Error {
    Error::new(
        ErrorKind::ShutDown,
        "the session was shut down; make a new one",
    )
}
