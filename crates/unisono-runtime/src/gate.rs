//! Who is inside a session, and whether anybody may still enter.
//!
//! The one idea: one counter whose top bit says that the gate is closed. Entering and leaving are one addition each;
//! only who waits for the last one to leave takes a lock.

use crate::stripes::Padded;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, lock, wait};

const CLOSED: usize = 1 << (usize::BITS - 1);

/// See the [module](self).
pub struct Gate {
    /// Everybody writes it, and nothing else lies beside it.
    inside: Padded<AtomicUsize>,
    door: Mutex<()>,
    empty: Condvar,
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl Gate {
    /// Open, with nobody inside.
    pub fn new() -> Gate {
        Gate {
            inside: Padded::default(),
            door: Mutex::new(()),
            empty: Condvar::new(),
        }
    }

    /// Enters; [`Gate::leave`] must follow. `false` if the gate is closed.
    pub fn enter(&self) -> bool {
        // Acquire pairs with `close`: who is refused sees what was done before.
        if self.inside.fetch_add(1, Ordering::Acquire) & CLOSED == 0 {
            return true;
        }
        self.leave();
        false
    }

    /// Leaves.
    pub fn leave(&self) {
        self.leave_together(1);
    }

    /// So many leave, each of whom has entered.
    pub fn leave_together(&self, count: usize) {
        // Release: what was done inside is seen by who waits in `wait_until_empty`.
        if self.inside.fetch_sub(count, Ordering::Release) == CLOSED | count {
            // Through the lock: who waits either sleeps by now, or has yet to look at the counter.
            drop(lock(&self.door));
            self.empty.notify_all();
        }
    }

    /// How many are inside.
    pub fn inside(&self) -> usize {
        // Relaxed: a number to show.
        self.inside.load(Ordering::Relaxed) & !CLOSED
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.inside.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Waits until nobody is inside. The gate must be closed.
    pub fn wait_until_empty(&self) {
        let mut door = lock(&self.door);
        while self.inside.load(Ordering::Acquire) != CLOSED {
            door = wait(&self.empty, door);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;

    #[test]
    fn who_waits_is_woken_when_the_last_ones_leave_together() {
        loom::model(|| {
            let gate = Arc::new(Gate::new());
            assert!(gate.enter() && gate.enter());
            let other = Arc::clone(&gate);
            let leaves = loom::thread::spawn(move || other.leave_together(2));
            gate.close();
            gate.wait_until_empty();
            leaves.join().unwrap();
            assert_eq!(gate.inside(), 0);
        });
    }

    #[test]
    fn who_waits_for_the_last_one_is_woken_and_nobody_enters_afterwards() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let gate = Arc::new(Gate::new());
            let visitors: Vec<_> = (0..2)
                .map(|_| {
                    let gate = Arc::clone(&gate);
                    loom::thread::spawn(move || {
                        if gate.enter() {
                            gate.leave();
                        }
                    })
                })
                .collect();
            gate.close();
            gate.wait_until_empty();
            assert!(!gate.enter());
            visitors.into_iter().for_each(|v| v.join().unwrap());
        });
    }
}
