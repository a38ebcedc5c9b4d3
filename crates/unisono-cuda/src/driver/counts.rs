//! How many of the driver's objects there are now.

use std::sync::atomic::{AtomicU64, Ordering};

/// Live objects of one context. Exact for who has synchronised with those that made and unmade them.
// All relaxed: the numbers order nothing, and a reader that needs exact ones has joined the threads that counted.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) streams: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) graphs: AtomicU64,
    pub(super) executables: AtomicU64,
    pub(super) modules: AtomicU64,
    pub(super) device_blocks: AtomicU64,
    pub(super) device_bytes: AtomicU64,
    pub(super) pinned_blocks: AtomicU64,
    pub(super) pinned_bytes: AtomicU64,
}

/// [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Streams.
    pub streams: u64,
    /// Events.
    pub events: u64,
    /// Captured graphs that were not made executable yet, or are kept beside.
    pub graphs: u64,
    /// Executable graphs.
    pub executables: u64,
    /// Modules of kernels.
    pub modules: u64,
    /// Blocks of device memory that the driver has given.
    pub device_blocks: u64,
    /// Their bytes, whether in use or kept for later.
    pub device_bytes: u64,
    /// Blocks of page-locked host memory.
    pub pinned_blocks: u64,
    /// Their bytes.
    pub pinned_bytes: u64,
}

impl Counts {
    /// All counts now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Snapshot {
            streams: get(&self.streams),
            events: get(&self.events),
            graphs: get(&self.graphs),
            executables: get(&self.executables),
            modules: get(&self.modules),
            device_blocks: get(&self.device_blocks),
            device_bytes: get(&self.device_bytes),
            pinned_blocks: get(&self.pinned_blocks),
            pinned_bytes: get(&self.pinned_bytes),
        }
    }
}

/// One more.
pub(super) fn up(count: &AtomicU64) {
    add(count, 1);
}

/// One fewer.
pub(super) fn down(count: &AtomicU64) {
    subtract(count, 1);
}

pub(super) fn add(count: &AtomicU64, amount: u64) {
    count.fetch_add(amount, Ordering::Relaxed);
}

pub(super) fn subtract(count: &AtomicU64, amount: u64) {
    count.fetch_sub(amount, Ordering::Relaxed);
}
