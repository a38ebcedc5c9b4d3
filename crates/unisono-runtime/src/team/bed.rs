//! Sleep without lost wake-ups.

use super::Apart;
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Mutex, lock, wait};

/// Where idle workers sleep.
///
/// The idea is an event count. A worker notes the epoch, looks for work, and sleeps only if the epoch is still the one
/// it noted; a publisher puts work on the table, advances the epoch, and looks for sleepers. A lost wake-up would need
/// the worker to miss the new epoch *and* the publisher to miss the sleeper. Each writes its own side, passes a
/// sequentially consistent fence, and reads the other's side, so at least one of them sees the other.
pub(super) struct Bed {
    epoch: Apart<AtomicUsize>,
    /// Sleepers for whom no wake-up is on its way; a mirror of the locked counts, for the publisher's cheap look.
    sleepers: Apart<AtomicUsize>,
    counts: Mutex<Sleep>,
    bell: Condvar,
}

#[derive(Default)]
struct Sleep {
    asleep: usize,
    /// Wake-ups given and not yet used, at most `asleep`. Counting them keeps a publisher from ringing twice for a
    /// sleeper that has not had the time to rise.
    wake_ups: usize,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self {
            epoch: Apart(AtomicUsize::new(0)),
            sleepers: Apart(AtomicUsize::new(0)),
            counts: Mutex::new(Sleep::default()),
            bell: Condvar::new(),
        }
    }

    /// The epoch to note before looking for work.
    pub(super) fn now(&self) -> usize {
        // Acquire: who sees an epoch also sees the work that was published before it.
        self.epoch.load(Ordering::Acquire)
    }

    /// Says that there is something new on the table. Spinning workers see it; sleepers need [`Bed::wake`] as well.
    pub(super) fn announce(&self) {
        // Release: see `now`.
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn sleepers(&self) -> usize {
        self.sleepers.load(Ordering::Relaxed)
    }

    /// Wakes up to `n` sleepers. To be called after [`Bed::announce`].
    pub(super) fn wake(&self, n: usize) {
        // The publisher's side of the bed's argument: the epoch is written, fence, now the sleepers are read.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut counts = lock(&self.counts);
        let n = n.min(counts.asleep - counts.wake_ups);
        counts.wake_ups += n;
        self.mirror(&counts);
        drop(counts);
        for _ in 0..n {
            self.bell.notify_one();
        }
    }

    /// Sleeps unless the epoch has moved on from `seen`. `true` if somebody woke us.
    pub(super) fn sleep(&self, seen: usize) -> bool {
        let mut counts = lock(&self.counts);
        counts.asleep += 1;
        self.mirror(&counts);
        // The worker's side: the sleepers are written, fence, now the epoch is read.
        fence(Ordering::SeqCst);
        let stays = self.epoch.load(Ordering::Relaxed) == seen;
        if stays {
            while counts.wake_ups == 0 {
                counts = wait(&self.bell, counts);
            }
        }
        // Leave. A wake-up that is on its way may have been meant for another sleeper; whoever uses it looks at the
        // table afterwards, which is all that its giver wanted. One who goes without needing it must still not leave
        // more wake-ups than sleepers behind.
        counts.asleep -= 1;
        let woken = counts.wake_ups > 0 && (stays || counts.wake_ups > counts.asleep);
        if woken {
            counts.wake_ups -= 1;
        }
        self.mirror(&counts);
        woken
    }

    fn mirror(&self, counts: &Sleep) {
        // Relaxed: the fences of `wake` and `sleep` order it; all writers hold the lock.
        self.sleepers
            .store(counts.asleep - counts.wake_ups, Ordering::Relaxed);
    }
}
