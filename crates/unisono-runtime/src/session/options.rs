//! Settings of a session.

use std::time::Duration;

use crate::stall::{OnStall, StallReport};

/// Settings of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Bytes of plans that a session keeps; least recently used ones beyond that are forgotten. Default: 256 MiB.
    pub plan_cache_bytes: u64,
    /// Do requests that come together share batches, where the batch contract allows it? No bit of an answer depends on
    /// it. Default: yes.
    pub coalesce: bool,
    /// How many requests may be in the queue: those that wait, and those in the running batch but for its leader's own. As many
    /// threads whose requests cannot be batched may wait for a lane. Default: 1,024.
    pub queue_capacity: usize,
    /// What happens to a request when it is full. Default: it waits for room.
    pub when_full: WhenFull,
    /// Rows of a batch of several requests. A request that has more rows by itself runs alone. Default: 1,024.
    pub max_batch_rows: usize,
    /// How many later requests may overtake one. Requests are served in the order of arrival, but those that
    /// fit into the batch of an older one go with it. Default: 256.
    pub max_overtaken: u32,
    /// What becomes of futures that wait when the last handle of the session is dropped. Default: they are answered.
    pub on_drop: Shutdown,
    /// Has a thread look for requests that have made no progress for so long, and tell `on_stall` of them. Default: none.
    pub stall_watchdog: Option<Duration>,
    /// Whom the watchdog tells. Default: it prints on standard error.
    pub on_stall: OnStall,
}

/// What happens to a request when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It fails at once with [`ErrorKind::Limit`](crate::ErrorKind::Limit).
    Error,
    /// It waits for room, or for its deadline.
    Wait,
    /// It waits for room so long, then fails with [`ErrorKind::Limit`](crate::ErrorKind::Limit). A future looks at the time when it is
    /// polled.
    WaitAtMost(Duration),
}

/// What [`Session::shutdown`](crate::Session::shutdown) does with requests that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They are answered.
    Drain,
    /// Those that run are answered, those that still wait are refused with [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown).
    Refuse,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            plan_cache_bytes: 256 << 20,
            coalesce: true,
            queue_capacity: 1024,
            when_full: WhenFull::Wait,
            max_batch_rows: 1024,
            max_overtaken: 256,
            on_drop: Shutdown::Drain,
            stall_watchdog: None,
            on_stall: OnStall::default(),
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

    /// Sets whether requests share batches.
    #[must_use]
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }

    /// Sets how many requests may be in the queue; at least one.
    #[must_use]
    pub fn queue_capacity(mut self, requests: usize) -> Self {
        self.queue_capacity = requests;
        self
    }

    /// Sets what happens to a request when the queue is full.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets how many rows a batch may have.
    #[must_use]
    pub fn max_batch_rows(mut self, rows: usize) -> Self {
        self.max_batch_rows = rows;
        self
    }

    /// Sets how many later requests may overtake one.
    #[must_use]
    pub fn max_overtaken(mut self, requests: u32) -> Self {
        self.max_overtaken = requests;
        self
    }

    /// Sets what becomes of waiting futures when the last handle is dropped.
    #[must_use]
    pub fn on_drop(mut self, how: Shutdown) -> Self {
        self.on_drop = how;
        self
    }
    /// Has a thread look for requests that have made no progress for so long. It reports what it finds, and again when something
    /// else stands still, at most once in that time. It ends with the session, or with its last future.
    ///
    /// While it watches, requests of all sessions on the device note where they are, which takes a few locks a request.
    #[must_use]
    pub fn stall_watchdog(mut self, older_than: Duration) -> Self {
        self.stall_watchdog = Some(older_than);
        self
    }

    /// Sets whom the watchdog tells. It is called on the watchdog's thread, and must not wait for a thread that drops the session.
    #[must_use]
    pub fn on_stall(mut self, tell: impl Fn(&StallReport) + Send + Sync + 'static) -> Self {
        self.on_stall = OnStall::new(tell);
        self
    }
}
