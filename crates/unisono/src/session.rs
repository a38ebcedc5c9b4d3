//! Running a model.

use std::fmt;
use std::time::Duration;

use unisono_runtime::plan::{NodePlacement, PlanInfo};
use unisono_runtime::plan_cache::CacheCounts;
use unisono_runtime::profile::Profile;
use unisono_runtime::request::{Inputs, Outputs, RunOptions};
use unisono_runtime::session::{RunFuture, SessionOptions, Shutdown};
use unisono_runtime::stall::StallReport;
use unisono_runtime::stats::SessionStats;
use unisono_runtime::{Error, session};

use crate::{Device, Model};

/// A model on a device, run by any number of threads at once; made by [`Model::session`].
///
/// A cheap handle: clone it into every thread or share it by reference, as you like. A row of an answer depends on that
/// row of the request and on the model, and on nothing else: not on what other threads ask meanwhile.
#[derive(Clone)]
pub struct Session {
    inner: session::Session,
    model: Model,
    device: Device,
}

impl Session {
    pub(crate) fn new(
        model: &Model,
        device: &Device,
        options: &SessionOptions,
    ) -> Result<Session, Error> {
        Ok(Session {
            inner: session::Session::new(model.shared_graph(), &device.0, options)?,
            model: model.clone(),
            device: device.clone(),
        })
    }

    /// Runs one request and returns its outputs, which are the caller's own.
    ///
    /// Inputs are a tensor (for a model with one input), a slice or array of tensors in the model's order, or an array
    /// of `(name, tensor)` pairs.
    ///
    /// # Errors
    /// Inputs that do not fit the model, data that an operator refuses, exhausted memory, a session that was shut down.
    /// [`Error::kind`] tells them apart; the session stays usable after every one of them.
    pub fn run<'a>(&self, inputs: impl Into<Inputs<'a>>) -> Result<Outputs, Error> {
        self.inner.run(inputs)
    }

    /// [`Session::run`] with a deadline or other options of one request.
    ///
    /// # Errors
    /// As [`Session::run`], and [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded).
    pub fn run_with<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        options: &RunOptions,
    ) -> Result<Outputs, Error> {
        self.inner.run_with(inputs, options)
    }

    /// Runs one request and writes into tensors that the caller owns: a loop over requests of one shape allocates
    /// nothing.
    ///
    /// A tensor of `outputs` that nobody else shares and that has the right type and shape is written in place; any
    /// other is replaced. After an error their contents are unspecified.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_into<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        outputs: &mut Outputs,
    ) -> Result<(), Error> {
        self.inner.run_into(inputs, outputs)
    }

    /// [`Session::run_into`] with options of one request.
    ///
    /// # Errors
    /// As [`Session::run_with`].
    pub fn run_into_with<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        outputs: &mut Outputs,
        options: &RunOptions,
    ) -> Result<(), Error> {
        self.inner.run_into_with(inputs, outputs, options)
    }

    /// Starts one request and returns a future of its outputs, for any executor: thousands can be in flight from one thread.
    ///
    /// The request is checked and queued at once, whether or not the future is polled; the first one of a shape compiles
    /// its plan on the calling thread. Requests that wait together run together, with those of threads in
    /// [`Session::run`] too. Dropping the future takes its request back if it has not begun.
    ///
    /// ```
    /// # use unisono::{Device, Model, Tensor};
    /// # use std::{pin::pin, task::{Context, Poll, Waker}};
    /// # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = pin!(future);
    /// #     loop {
    /// #         match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
    /// #             Poll::Ready(output) => return output,
    /// #             Poll::Pending => std::thread::yield_now(),
    /// #         }
    /// #     }
    /// # }
    /// let x = Tensor::from_slice(&[1, 4], &[1f32, 2.0, 3.0, 4.0])?;
    /// let futures: Vec<_> = (0..100).map(|_| session.run_async(&x)).collect();
    /// for future in futures {
    ///     assert_eq!(block_on(future)?["scores"].shape(), [1, 3]);
    /// }
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// # Errors
    /// The future ends with those of [`Session::run`].
    pub fn run_async<'a>(&self, inputs: impl Into<Inputs<'a>>) -> RunFuture {
        self.inner.run_async(inputs)
    }

    /// [`Session::run_async`] with options of one request. A deadline is looked at when the request would begin and when it
    /// is answered.
    ///
    /// # Errors
    /// The future ends with those of [`Session::run_with`].
    pub fn run_async_with<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        options: &RunOptions,
    ) -> RunFuture {
        self.inner.run_async_with(inputs, options)
    }

    /// Closes the session for all its handles: later calls are refused with
    /// [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown). [`Shutdown::Drain`] waits until those under way are answered.
    pub fn shutdown(&self, how: Shutdown) {
        self.inner.shutdown(how);
    }

    /// The model that it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it did since it was made: requests, batches and their sizes, times, plans.
    pub fn stats(&self) -> SessionStats {
        self.inner.stats()
    }

    /// What can be known of a request with these inputs before it runs: the estimated cost of its plan, and up to how many rows
    /// it pays to share batches. Compiles the plan if there is none yet.
    ///
    /// ```
    /// # use unisono::{Device, Model, Tensor};
    /// # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
    /// let plan = session.plan_for(&Tensor::from_slice(&[1, 4], &[0f32; 4])?)?;
    /// assert!(plan.shares && plan.row_limit > 1);
    /// assert_eq!(session.plans().compiles, 1);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of a request that ends before it runs: inputs that do not fit, a plan that cannot be compiled, a session that was
    /// shut down.
    pub fn plan_for<'a>(&self, inputs: impl Into<Inputs<'a>>) -> Result<PlanInfo, Error> {
        self.inner.plan_for(inputs)
    }

    /// Where each node of a request with these inputs runs, and why if that is not the session's device: a node without a kernel there
    /// runs on the CPU, with the same bits. Empty if all run on the device. Compiles the plan if there is none yet.
    ///
    /// ```
    /// # use unisono::{Device, Model, Tensor};
    /// # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
    /// let placement = session.placement_for(&Tensor::from_slice(&[1, 4], &[0f32; 4])?)?;
    /// assert!(placement.is_empty()); // all on the CPU, as asked for
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::plan_for`].
    pub fn placement_for<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
    ) -> Result<Vec<NodePlacement>, Error> {
        self.inner.placement_for(inputs)
    }

    /// What a request's time goes into: runs it once, then `runs` times with a clock around every step of its plan, on one
    /// lane and in no batch. See [`Profile`].
    ///
    /// ```
    /// # use unisono::{Device, Model, Tensor};
    /// # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
    /// let profile = session.profile(&Tensor::from_slice(&[1, 4], &[0f32; 4])?, 10)?;
    /// let slowest = profile.steps.iter().max_by_key(|step| step.times.median_ns).unwrap();
    /// println!("{} takes {} ns: {}", slowest.name, slowest.times.median_ns, slowest.kernel);
    /// assert!(profile.within_steps.median_ns <= profile.whole.median_ns);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::run`], and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from a device that cannot look
    /// into its runs.
    pub fn profile<'a>(
        &self,
        inputs: impl Into<Inputs<'a>>,
        runs: usize,
    ) -> Result<Profile, Error> {
        self.inner.profile(inputs, runs)
    }

    /// What has made no progress for so long, and what it waits for: see [`StallReport`]. Any thread may ask at any time, and
    /// waits for nobody.
    ///
    /// Without a [watchdog](SessionOptions::stall_watchdog), notes are taken from the first call on, until the session goes: of
    /// requests that were inside by then it tells only how many there are. Ask once at the start to have them all.
    ///
    /// ```
    /// # use unisono::{Device, Model, Tensor};
    /// # use std::time::Duration;
    /// # let session = Model::load("examples/classifier.onnx")?.session(&Device::cpu()?)?;
    /// session.stalled(Duration::ZERO);
    /// let future = session.run_async(&Tensor::from_slice(&[1, 4], &[0f32; 4])?);
    /// let report = session.stalled(Duration::ZERO);
    /// // Nobody has polled it: it waits for its batch, is in it, or has an answer to be looked at.
    /// println!("{report}");
    /// assert!(!report.is_empty());
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn stalled(&self, older_than: Duration) -> StallReport {
        self.inner.stalled(older_than)
    }

    /// How often a plan was found, compiled and forgotten. A plan is made for the shapes of a request's inputs without
    /// their number of rows, once, however many threads ask for it at the same moment.
    pub fn plans(&self) -> CacheCounts {
        self.inner.plans()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}
