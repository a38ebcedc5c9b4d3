//! Who waits for what: what is told of requests that make no progress.
//!
//! The one idea: a watched session takes `notes` of the stage that every request is in, and a [`StallReport`] is what they say at one
//! moment, as values and as text. A [watchdog](crate::session::SessionOptions::stall_watchdog) does nothing but ask for one every so often, as any
//! thread can with [`Session::stalled`].
//!
//! It must never change what happens: whether anybody looks, who leads and what is answered are the same.
//!
//! [`SessionOptions::stall_watchdog`]: crate::session::SessionOptions::stall_watchdog
//! [`Session::stalled`]: crate::Session::stalled

pub(crate) mod notes;
mod text;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use watchdog::{Watchdog, Watched};

/// What has not moved for a while in a session, and what it waits for. Made by [`Session::stalled`](crate::Session::stalled); its
/// `Display` is for people, several lines long, and begins with the model's name.
///
/// Nothing is locked meanwhile, so it may show somebody who has just gone on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StallReport {
    /// The name of the model's graph.
    pub model: String,
    /// What has moved within so long is left out.
    pub older_than: Duration,
    /// The batches of this session that have been running for longer.
    pub batches: Vec<RunningBatch>,
    /// Everybody else who has waited for longer for one thing, those who have waited longest first.
    pub waits: Vec<Wait>,
    /// All batches that hold a lane of the device now, however young, also those of other sessions.
    pub lane_holders: Vec<RunningBatch>,
    /// Lanes of the device.
    pub lanes: usize,
    /// Those of them that nobody holds.
    pub free_lanes: usize,
    /// Requests inside of the session: begun, and not answered.
    pub inside: usize,
    /// Those of them that nothing is known of: they came before anybody watched.
    pub unknown: usize,
    /// What is in it, so that the same is not told twice: numbers of requests and of their changes.
    keys: Vec<(u64, u64)>,
}

/// A batch that holds a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningBatch {
    /// Who runs it.
    pub leader: Caller,
    /// How many requests it has.
    pub requests: usize,
    /// Rows of all of them.
    pub rows: usize,
    /// How long it has been running.
    pub age: Duration,
    /// Is it one of the session that was asked?
    pub own: bool,
}

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// Who waits.
    pub caller: Caller,
    /// Rows of its request; 0 of one who has none.
    pub rows: usize,
    /// How long ago its request came.
    pub age: Duration,
    /// How long it has waited for this.
    pub waited: Duration,
    /// For what.
    pub waits_for: WaitsFor,
}

/// A thread, by name and number, or a future.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// A thread.
    Thread {
        /// Its name, if it has one.
        name: Option<String>,
        /// Its number, as `std::thread::ThreadId` prints it.
        id: String,
    },
    /// A future, which no thread waits for.
    Future,
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Another thread that compiles its plan.
    Plan {
        /// The shapes that the plan is for.
        shapes: String,
        /// Who compiles it, since when; `None` if that is not known.
        compiler: Option<(Caller, Duration)>,
    },
    /// The compile of its plan, on its own thread.
    OwnCompile {
        /// The shapes that the plan is for.
        shapes: String,
    },
    /// A place in the queue, or among those who wait for a lane.
    Room {
        /// How many have one.
        capacity: usize,
    },
    /// Its batch, in the queue.
    Batch {
        /// Who leads now, or is about to. If nobody does for long, a wake-up was lost.
        leaders: Vec<Caller>,
    },
    /// A lane: see [`StallReport::lane_holders`].
    Lane,
    /// The end of the batch that it is in.
    End {
        /// The batch; `None` if it has just ended.
        batch: Option<RunningBatch>,
    },
    /// To be looked at: the answer is ready. Of a future, a poll.
    Pickup,
    /// The last request to leave: it shuts the session down.
    Drain {
        /// Requests that are inside.
        inside: usize,
    },
}

impl StallReport {
    /// Does nothing stand still?
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.waits.is_empty()
    }
}

/// Whom a watchdog tells.
#[derive(Clone)]
pub struct OnStall(Arc<dyn Fn(&StallReport) + Send + Sync>);

impl OnStall {
    /// Calls this function, on the watchdog's thread.
    pub fn new(tell: impl Fn(&StallReport) + Send + Sync + 'static) -> OnStall {
        OnStall(Arc::new(tell))
    }

    fn tell(&self, report: &StallReport) {
        (self.0)(report);
    }
}

impl Default for OnStall {
    /// Prints the report on standard error.
    fn default() -> OnStall {
        OnStall::new(|report| eprintln!("{report}"))
    }
}

impl std::fmt::Debug for OnStall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnStall")
    }
}
