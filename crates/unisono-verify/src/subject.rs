//! What is verified, seen from outside.
//!
//! The one idea: the sections know nothing of sessions. They talk to a [`Subject`] that answers requests, and the real
//! session is one of several: our own tests put subjects in its place that are wrong on purpose, and assert that the
//! sections say so. A check that accepts a wrong subject is not a check.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Once};
use std::task;
use std::thread::{self, Thread};
use std::time::Instant;

use unisono::{
    Device, Error, ErrorKind, Isa, Model, Outputs, Resource, RunFuture, RunOptions, Session,
    SessionOptions, Shutdown, Tensor, WhenFull,
};

use crate::options::Options;

/// How a device is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Threads that compute at once; `None` for all cores.
    pub threads: Option<usize>,
    /// Vector instructions; `None` for the widest.
    pub isa: Option<Isa>,
}

impl Setup {
    /// What a user gets who sets nothing.
    pub const DEFAULT: Setup = Setup {
        threads: None,
        isa: None,
    };
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.isa {
            Some(isa) => write!(f, "{isa}")?,
            None => f.write_str("the widest instructions")?,
        }
        match self.threads {
            Some(1) => f.write_str(", 1 thread"),
            Some(n) => write!(f, ", {n} threads"),
            None => f.write_str(", all threads"),
        }
    }
}

/// Answers requests, from any number of threads.
pub trait Subject: Send + Sync {
    /// Answers one request: outputs in the model's order.
    ///
    /// # Errors
    /// As a session's `run`.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error>;

    /// Answers a request whose deadline has passed: it should be refused.
    ///
    /// # Errors
    /// Always, if all is well.
    fn run_late(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.run_by(inputs, Instant::now())
    }

    /// Answers a request that is worth nothing after this moment.
    ///
    /// # Errors
    /// As [`Subject::run`], and when the moment has passed.
    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error>;

    /// Starts a request that the thread does not wait for yet.
    ///
    /// # Errors
    /// As [`Subject::run`], as far as they are known at once.
    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error>;

    /// Answers a request into tensors that the caller keeps, which are written in place if nobody else holds them, and gives
    /// these tensors. A subject without such a thing answers as ever.
    ///
    /// # Errors
    /// As [`Subject::run`].
    fn run_in_place(&self, inputs: &[Tensor], kept: &mut Outputs) -> Result<Vec<Tensor>, Error> {
        let _ = kept;
        self.run(inputs)
    }

    /// What it did so far.
    fn counters(&self) -> Counters;

    /// Takes no more requests, and refuses those that have not begun. Those that have are answered.
    fn close(&self);
}

/// A request under way. Its drop takes it back if it has not begun.
pub trait Pending: Send {
    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Subject::run`].
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error>;

    /// The same, and gives a signal when the answer arrives: once, before this returns, on the thread that brings the answer if
    /// the subject can do that, else on this one.
    ///
    /// # Errors
    /// As [`Subject::run`].
    fn wait_signalling(self: Box<Self>, signal: Signal) -> Result<Vec<Tensor>, Error> {
        self.watched(signal).wait()
    }

    /// The same request, which from now on gives a signal when the answer arrives: once, on the thread that brings the answer if the
    /// subject can do that and it is not there yet, else on this one, which may then have waited for it.
    fn watched(self: Box<Self>, signal: Signal) -> Box<dyn Pending> {
        let answer = self.wait();
        signal();
        Box::new(Ready(answer))
    }
}

/// What is to be done when something arrives, on whatever thread.
pub type Signal = Arc<dyn Fn() + Send + Sync>;

/// The answer of a subject that makes it at once.
pub struct Ready(pub Result<Vec<Tensor>, Error>);

impl Pending for Ready {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        self.0
    }
}

/// What a subject did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that ran, in batches or alone.
    pub requests: u64,
    /// Their rows.
    pub rows: u64,
    /// Batches, of one request or more.
    pub batches: u64,
    /// Batches by their number of rows: the lower bound of a bucket, and how many fell into it.
    pub batch_rows: Vec<(u64, u64)>,
    /// Plans compiled.
    pub compiles: u64,
    /// Plans evicted.
    pub evictions: u64,
}

/// How a subject is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// May requests share batches?
    pub coalesce: bool,
    /// The most bytes that plans may take; `None` for the default.
    pub plan_cache_bytes: Option<u64>,
    /// How many later requests may be answered before one.
    pub max_overtaken: Option<u32>,
    /// The most rows of a batch of several requests.
    pub max_batch_rows: Option<usize>,
    /// How many requests may wait, so that further ones are refused; `None` for the default, where they wait for room.
    pub queue_capacity: Option<usize>,
}

impl Default for Opening {
    fn default() -> Self {
        Opening {
            coalesce: true,
            plan_cache_bytes: None,
            max_overtaken: None,
            max_batch_rows: None,
            queue_capacity: None,
        }
    }
}

/// How many of one thing were made and unmade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is counted.
    pub what: &'static str,
    /// Ever made.
    pub created: u64,
    /// Ever unmade.
    pub released: u64,
    /// Bytes held now.
    pub bytes: u64,
}

/// A device set up in one way, ready for one model.
pub trait Rig {
    /// Binds the model to the device: plans are cold.
    ///
    /// # Errors
    /// As `Model::session`.
    fn open(&self) -> Result<Arc<dyn Subject>, Error> {
        self.open_with(&Opening::default())
    }

    /// The same with settings.
    ///
    /// # Errors
    /// As `Model::session`.
    fn open_with(&self, opening: &Opening) -> Result<Arc<dyn Subject>, Error>;

    /// What was made and unmade for subjects so far. What the device itself keeps for later is not in it.
    fn census(&self) -> Vec<Held>;

    /// How many batches of one subject may be in flight at once.
    fn batches_in_flight(&self) -> usize {
        1
    }

    /// Bytes of the device's own memory that are in use; `None` if it has none of its own, or does not tell.
    fn device_bytes(&self) -> Option<u64> {
        self.device()?.memory().map(|memory| memory.in_use_bytes)
    }

    /// The device, if it is a real one.
    fn device(&self) -> Option<&Device> {
        None
    }
}

/// Sets devices up.
pub trait Lab {
    /// A device of its own.
    ///
    /// # Errors
    /// The machine lacks what the setup asks for.
    fn rig(&self, setup: Setup) -> Result<Box<dyn Rig>, Error>;

    /// The device of another model's rig, for this model. A lab without real devices has one of its own for each.
    ///
    /// # Errors
    /// As [`Lab::rig`].
    fn rig_beside(&self, neighbour: &dyn Rig) -> Result<Box<dyn Rig>, Error> {
        let _ = neighbour;
        self.rig(Setup::DEFAULT)
    }
}

/// A model on devices of this machine.
pub struct ModelLab {
    model: Model,
    /// The device's name.
    device: String,
    /// The number of threads that "all" means; `None` for all cores.
    threads: Option<usize>,
}

impl ModelLab {
    /// A lab for the model on the CPU, in which "all threads" means this many.
    pub fn new(model: Model, threads: Option<usize>) -> ModelLab {
        ModelLab {
            model,
            device: CPU.to_owned(),
            threads,
        }
    }

    /// A lab for the model on the device that the options name.
    pub fn of(model: Model, options: &Options) -> ModelLab {
        ModelLab {
            device: options.device.clone(),
            ..ModelLab::new(model, options.threads)
        }
    }
}

/// The name of the device that threads and instruction sets can be chosen for.
pub const CPU: &str = "cpu";

/// A device by its name, set up.
///
/// # Errors
/// As [`Lab::rig`]; a device other than the CPU has neither threads nor instruction sets to choose.
pub fn device(name: &str, setup: Setup) -> Result<Device, Error> {
    if name != CPU {
        if setup != Setup::DEFAULT {
            return Err(Error::new(
                ErrorKind::Device,
                format!("{name} has neither threads nor vector instructions to choose"),
            ));
        }
        return name.parse();
    }
    let mut builder = Device::builder();
    if let Some(threads) = setup.threads {
        builder = builder.threads(threads);
    }
    if let Some(isa) = setup.isa {
        builder = builder.isa(isa);
    }
    builder.build()
}

impl Lab for ModelLab {
    fn rig(&self, setup: Setup) -> Result<Box<dyn Rig>, Error> {
        let threads = setup.threads.or(self.threads);
        Ok(Box::new(ModelRig {
            device: device(&self.device, Setup { threads, ..setup })?,
            model: self.model.clone(),
        }))
    }

    fn rig_beside(&self, neighbour: &dyn Rig) -> Result<Box<dyn Rig>, Error> {
        let Some(device) = neighbour.device() else {
            return self.rig(Setup::DEFAULT);
        };
        Ok(Box::new(ModelRig {
            device: device.clone(),
            model: self.model.clone(),
        }))
    }
}

struct ModelRig {
    device: Device,
    model: Model,
}

impl Rig for ModelRig {
    fn open_with(&self, opening: &Opening) -> Result<Arc<dyn Subject>, Error> {
        let mut options = SessionOptions::default()
            .coalesce(opening.coalesce)
            .on_drop(Shutdown::Drain);
        if let Some(bytes) = opening.plan_cache_bytes {
            options = options.plan_cache_bytes(bytes);
        }
        if let Some(requests) = opening.max_overtaken {
            options = options.max_overtaken(requests);
        }
        if let Some(rows) = opening.max_batch_rows {
            options = options.max_batch_rows(rows);
        }
        if let Some(requests) = opening.queue_capacity {
            options = options.queue_capacity(requests).when_full(WhenFull::Error);
        }
        Ok(Arc::new(self.model.session_with(&self.device, &options)?))
    }

    fn census(&self) -> Vec<Held> {
        let classes = Resource::ALL
            .into_iter()
            .filter(|class| !class.is_kept_by_device());
        let held = |class: Resource| {
            let count = self.device.census().get(class);
            Held {
                what: class.name(),
                created: count.created,
                released: count.released,
                bytes: count.bytes,
            }
        };
        classes.map(held).collect()
    }

    fn batches_in_flight(&self) -> usize {
        self.device.batches_in_flight()
    }

    fn device(&self) -> Option<&Device> {
        Some(&self.device)
    }
}

/// The tensors of an answer, in the model's order.
fn tensors(outputs: Outputs) -> Vec<Tensor> {
    outputs.iter().map(|(_, tensor)| tensor.clone()).collect()
}

impl Subject for Session {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        Session::run(self, inputs).map(tensors)
    }

    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error> {
        self.run_with(inputs, &RunOptions::new().deadline(deadline))
            .map(tensors)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        Ok(Box::new(self.run_async(inputs)))
    }

    fn run_in_place(&self, inputs: &[Tensor], kept: &mut Outputs) -> Result<Vec<Tensor>, Error> {
        self.run_into(inputs, kept)?;
        Ok(kept.iter().map(|(_, tensor)| tensor.clone()).collect())
    }

    fn counters(&self) -> Counters {
        let stats = self.stats();
        let rows = stats.batch_rows.buckets();
        Counters {
            requests: stats.batch_requests.sum(),
            rows: stats.batch_rows.sum(),
            batches: stats.batches,
            batch_rows: rows.map(|(lowest, _, count)| (lowest, count)).collect(),
            compiles: stats.plans.compiles,
            evictions: stats.plans.evictions,
        }
    }

    fn close(&self) {
        self.shutdown(Shutdown::Refuse);
    }
}

impl Pending for RunFuture {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        wait_on(*self, None).map(tensors)
    }

    fn watched(self: Box<Self>, signal: Signal) -> Box<dyn Pending> {
        let mut watched = Watched {
            future: *self,
            announced: Arc::new(Announced {
                signal,
                once: Once::new(),
            }),
            answer: None,
        };
        let waker = task::Waker::from(Arc::clone(&watched.announced));
        let polled = pin!(&mut watched.future).poll(&mut task::Context::from_waker(&waker));
        if let task::Poll::Ready(answer) = polled {
            watched.announced.announce();
            watched.answer = Some(answer.map(tensors));
        }
        Box::new(watched)
    }
}

/// A request whose answer is announced.
struct Watched {
    future: RunFuture,
    announced: Arc<Announced>,
    /// If it was there at once.
    answer: Option<Result<Vec<Tensor>, Error>>,
}

impl Pending for Watched {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        match self.answer {
            Some(answer) => answer,
            None => wait_on(self.future, Some(self.announced)).map(tensors),
        }
    }
}

/// A signal that is given once.
struct Announced {
    signal: Signal,
    once: Once,
}

impl Announced {
    /// When this returns, the signal has been given, whichever thread gave it.
    fn announce(&self) {
        self.once.call_once(|| (self.signal)());
    }
}

impl task::Wake for Announced {
    fn wake(self: Arc<Self>) {
        self.announce();
    }
}

/// Wakes the thread that waits, after the signal.
struct Unpark {
    thread: Thread,
    announced: Option<Arc<Announced>>,
}

impl Unpark {
    fn announce(&self) {
        if let Some(announced) = &self.announced {
            announced.announce();
        }
    }
}

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.announce();
        self.thread.unpark();
    }
}

/// Lets the calling thread wait for a future.
fn wait_on<F: Future>(future: F, announced: Option<Arc<Announced>>) -> F::Output {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        announced,
    });
    let waker = task::Waker::from(Arc::clone(&unpark));
    let mut cx = task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            task::Poll::Ready(output) => {
                // It may have been there before anybody could be woken.
                unpark.announce();
                return output;
            }
            task::Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cpu_has_threads_and_instructions_to_choose() {
        let setup = Setup {
            threads: Some(1),
            isa: Some(Isa::Scalar),
        };
        assert_eq!(device(CPU, setup).unwrap().info().isa, "scalar");
        for setup in [
            Setup { isa: None, ..setup },
            Setup {
                threads: None,
                ..setup
            },
        ] {
            let error = device("cuda:0", setup).unwrap_err();
            assert!(error.message().contains("to choose"), "{error}");
        }
    }
}
