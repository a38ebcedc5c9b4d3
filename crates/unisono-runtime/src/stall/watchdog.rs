//! The thread that looks whether a session stands still.
//!
//! The one idea: it knows what a report is made of, not the session, so it never keeps one alive: the session ends it, and waits for
//! that, as the first thing when it goes.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{OnStall, StallReport};
use crate::census::Resource;
use crate::device::Device;
use crate::error::{Error, ErrorKind};
use crate::gate::Gate;
use crate::model::ModelGraph;
use crate::sync::{Arc as SyncArc, Condvar, Mutex, lock, thread, wait_until};

/// It looks so often in the time that makes a stall.
const LOOKS: u32 = 4;

/// What a report on a session is made of, beside the notes.
pub(crate) struct Watched {
    pub(crate) device: Device,
    pub(crate) model: Arc<ModelGraph>,
    pub(crate) gate: Arc<Gate>,
    /// Its number in the notes.
    pub(crate) session: u64,
    /// Of its queue.
    pub(crate) capacity: usize,
}

impl Watched {
    pub(crate) fn report(&self, older_than: Duration) -> StallReport {
        self.device.notes().report(self, older_than)
    }
}

#[derive(Default)]
struct Leash {
    stopped: Mutex<bool>,
    bell: Condvar,
}

/// See the [module](self). Dropping it ends the thread.
pub(crate) struct Watchdog {
    leash: SyncArc<Leash>,
    /// There until the drop.
    thread: Option<thread::JoinHandle<()>>,
    device: Device,
}

impl Watchdog {
    /// Reports what stands still for longer than `older_than`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        watched: Arc<Watched>,
        older_than: Duration,
        on_stall: OnStall,
    ) -> Result<Watchdog, Error> {
        let leash = SyncArc::new(Leash::default());
        let device = watched.device.clone();
        let token = device.census().count(Resource::Watchdog, 0);
        let shared = SyncArc::clone(&leash);
        let serve = move || {
            shared.watch(&watched, older_than, &on_stall);
            // Its device first: who finds the thread released has the last handle.
            drop(watched);
            drop(token);
        };
        let builder = thread::Builder::new().name("unisono-watchdog".to_owned());
        let thread = builder.spawn(serve).map_err(|error| {
            let what = format!("the watchdog's thread cannot be started: {error}");
            Error::new(ErrorKind::Device, what)
        })?;
        Ok(Watchdog {
            leash,
            thread: Some(thread),
            device,
        })
    }
}

impl Leash {
    fn watch(&self, watched: &Watched, older_than: Duration, on_stall: &OnStall) {
        let pause = (older_than / LOOKS).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let mut told = HashSet::new();
        let mut quiet_until = Instant::now();
        while self.pause(pause) {
            let report = watched.report(older_than);
            let known = |key: &(u64, u64)| told.contains(key);
            if report.keys.iter().all(known) {
                told.retain(|key| report.keys.contains(key));
                continue;
            }
            // Callers that keep coming while nothing moves are told of together.
            let now = Instant::now();
            if now < quiet_until {
                continue;
            }
            quiet_until = now.checked_add(older_than).unwrap_or(now);
            told = report.keys.iter().copied().collect();
            // The user's code. A panic in it has been printed, and must not end the watch.
            drop(catch_unwind(AssertUnwindSafe(|| on_stall.tell(&report))));
        }
    }

    /// `false` when it is over.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now().checked_add(pause);
        loop {
            let stopped = lock(&self.stopped);
            if *stopped {
                return false;
            }
            if !wait_until(&self.bell, stopped, until) {
                return !*lock(&self.stopped);
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.device.check_process().is_err() {
            // A forked child: neither the thread nor whoever held its lock exists.
            return std::mem::forget(thread);
        }
        *lock(&self.leash.stopped) = true;
        self.leash.bell.notify_all();
        // What it calls may drop the last handle of the session; it cannot wait for itself, and ends when it has returned from here.
        if thread.thread().id() != thread::current().id() {
            // An error would be a panic, which has been printed; there is nothing left to save.
            let _ = thread.join();
        }
    }
}
