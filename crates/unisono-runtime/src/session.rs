//! A session: a model bound to a device, run by any number of threads at once.
//!
//! The one idea: `run` takes `&self` and nothing else is needed. A request is checked before anything is shared, finds
//! its plan, takes a lane, and leaves; every way out gives back what it took.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::census::{Resource, Token};
use crate::device::{Device, Prepared};
use crate::error::{Error, ErrorKind};
use crate::model::ModelGraph;
use crate::plan::{CountedPlan, PlanKey};
use crate::plan_cache::{CacheCounts, PlanCache};
use crate::request::{Inputs, Outputs, RunOptions};
use crate::sync::{Condvar, Mutex, lock, wait};

/// Settings of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Bytes of plans that a session keeps; least recently used ones beyond that are forgotten. Default: 256 MiB.
    pub plan_cache_bytes: u64,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            plan_cache_bytes: 256 << 20,
        }
    }
}

impl SessionOptions {
    /// Sets how many bytes of plans are kept.
    #[must_use]
    pub fn plan_cache_bytes(mut self, bytes: u64) -> Self {
        self.plan_cache_bytes = bytes;
        self
    }
}

/// What [`Session::shutdown`] does with requests that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Return when they are answered.
    Drain,
    /// Return at once: those that run are answered, those that still wait for a lane are refused.
    Refuse,
}

/// A model on a device. A cheap handle: clone it into every thread, or share one by reference.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    model: Arc<ModelGraph>,
    device: Device,
    prepared: Arc<Prepared>,
    plans: PlanCache<PlanKey, CountedPlan, Error>,
    gate: Mutex<Gate>,
    idle: Condvar,
    _token: Token,
}

/// Who is inside, and whether anybody may still enter.
struct Gate {
    inside: usize,
    closed: Option<Shutdown>,
}

/// One caller inside; leaving is its drop.
struct Visit<'a> {
    session: &'a Inner,
    /// There until the drop.
    token: Option<Token>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // Before the gate: who waited for the last one to leave finds it released in the census.
        drop(self.token.take());
        let mut gate = lock(&self.session.gate);
        gate.inside -= 1;
        if gate.inside == 0 && gate.closed.is_some() {
            self.session.idle.notify_all();
        }
    }
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
        let prepared = device.prepare(&model)?;
        let token = device.census().count(Resource::Session, 0);
        Ok(Session(Arc::new(Inner {
            model,
            device: device.clone(),
            prepared,
            plans: PlanCache::new(options.plan_cache_bytes),
            gate: Mutex::new(Gate {
                inside: 0,
                closed: None,
            }),
            idle: Condvar::new(),
            _token: token,
        })))
    }

    /// The model.
    pub fn model(&self) -> &Arc<ModelGraph> {
        &self.0.model
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// What the plan cache did so far.
    pub fn plans(&self) -> CacheCounts {
        self.0.plans.counts()
    }

    /// Runs one request to its end on the calling thread.
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
        let inner = &*self.0;
        let tensors = inputs.into().arrange(&inner.model)?;
        let (key, rows) = inner.model.admit(&tensors)?;
        let _visit = inner.enter()?;
        in_time(options.deadline)?;
        let plan = inner.plan(&key)?;

        let mut lane = inner.device.lane();
        // The wait for a lane may have been long.
        in_time(options.deadline)?;
        if lock(&inner.gate).closed == Some(Shutdown::Refuse) {
            return Err(shut_down());
        }
        if !Arc::ptr_eq(&outputs.names, inner.model.output_names()) {
            outputs.names = Arc::clone(inner.model.output_names());
        }
        outputs
            .tensors
            .resize_with(inner.model.outputs().len(), || None);
        let result = catch_unwind(AssertUnwindSafe(|| {
            plan.plan
                .run(&mut *lane.lane, rows, &tensors, &mut outputs.tensors)
        }));
        lane.recount();
        inner.prepared.recount();
        match result {
            Ok(result) => result,
            Err(panic) => Err(panicked("running the model", &*panic)),
        }
    }

    /// Closes the session for all its handles: calls that come from now on are refused with
    /// [`ErrorKind::ShutDown`]. With [`Shutdown::Drain`], waits for those under way.
    pub fn shutdown(&self, how: Shutdown) {
        let mut gate = lock(&self.0.gate);
        gate.closed = Some(how);
        if how == Shutdown::Drain {
            while gate.inside > 0 {
                gate = wait(&self.0.idle, gate);
            }
        }
    }
}

impl Inner {
    fn enter(&self) -> Result<Visit<'_>, Error> {
        let mut gate = lock(&self.gate);
        if gate.closed.is_some() {
            return Err(shut_down());
        }
        gate.inside += 1;
        drop(gate);
        Ok(Visit {
            session: self,
            token: Some(self.device.census().count(Resource::Request, 0)),
        })
    }

    fn plan(&self, key: &PlanKey) -> Result<CountedPlan, Error> {
        let orphaned = || {
            Error::new(
                ErrorKind::Panic,
                "compiling the plan panicked on another thread; try again",
            )
        };
        let compile = || {
            let compiled = catch_unwind(AssertUnwindSafe(|| self.prepared.executable.compile(key)));
            let plan =
                compiled.unwrap_or_else(|panic| Err(panicked("compiling a plan", &*panic)))?;
            self.prepared.recount();
            let token = self.device.census().count(Resource::Plan, plan.bytes());
            Ok(CountedPlan::new(plan, token))
        };
        self.plans.get_or_compile(key, compile, orphaned)
    }
}

fn in_time(deadline: Option<Instant>) -> Result<(), Error> {
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "the deadline passed before the request could start; it was not run",
        )),
        _ => Ok(()),
    }
}

fn shut_down() -> Error {
    Error::new(
        ErrorKind::ShutDown,
        "the session was shut down; make a new one",
    )
}

fn panicked(doing: &str, panic: &(dyn std::any::Any + Send)) -> Error {
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
