//! Lanes: what one batch in flight needs, and the pool that hands them out.
//!
//! The one idea: a fixed number of lanes per device bounds both the memory of arenas and the number of threads that
//! compute at once. Who finds none free waits its turn: lanes go to waiters in the order in which they asked.

use std::any::Any;
use std::collections::VecDeque;
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, lock, wait_until};

/// The private part of a lane, which only its device understands: an arena, a stream.
pub trait Lane: Any + Send {
    /// Bytes that the lane holds now.
    fn bytes(&self) -> u64;
}

impl dyn Lane {
    /// The device's own type.
    pub fn downcast_mut<T: Lane>(&mut self) -> Option<&mut T> {
        (self as &mut dyn Any).downcast_mut()
    }
}

struct State<T> {
    free: Vec<T>,
    /// One entry per waiter, oldest first. A lane is put into the entry of the oldest, so that a newcomer cannot take
    /// it in between.
    waiters: VecDeque<Arc<Waiter<T>>>,
    /// Entries that nobody waits on, kept so that waiting allocates nothing once it has happened.
    spare: Vec<Arc<Waiter<T>>>,
}

struct Waiter<T> {
    lane: Mutex<Option<T>>,
    arrived: Condvar,
}

/// A fixed set of lanes.
pub struct LanePool<T> {
    state: Mutex<State<T>>,
}

impl<T> LanePool<T> {
    /// A pool of these lanes. With none, every [`LanePool::acquire`] would wait for ever, so there must be one.
    ///
    /// # Panics
    /// If `lanes` is empty.
    pub fn new(lanes: Vec<T>) -> LanePool<T> {
        assert!(!lanes.is_empty(), "a device needs at least one lane");
        LanePool {
            state: Mutex::new(State {
                free: lanes,
                waiters: VecDeque::new(),
                spare: Vec::new(),
            }),
        }
    }

    /// A lane, at once if one is free, else when this caller's turn comes.
    pub fn acquire(&self) -> LaneGuard<'_, T> {
        loop {
            // Without a deadline there is only one way to end.
            if let Some(lane) = self.acquire_until(None) {
                return lane;
            }
        }
    }

    /// A lane if one is free.
    pub fn try_acquire(&self) -> Option<LaneGuard<'_, T>> {
        // The last one released is the one whose arena is still in cache.
        let lane = lock(&self.state).free.pop()?;
        Some(self.guard(lane, None))
    }

    /// A lane, at once if one is free, else when this caller's turn comes; `None` if the deadline passes first.
    pub fn acquire_until(&self, deadline: Option<Instant>) -> Option<LaneGuard<'_, T>> {
        let mut state = lock(&self.state);
        if let Some(lane) = state.free.pop() {
            return Some(self.guard(lane, None));
        }
        let waiter = state.spare.pop().unwrap_or_else(|| {
            Arc::new(Waiter {
                lane: Mutex::new(None),
                arrived: Condvar::new(),
            })
        });
        state.waiters.push_back(Arc::clone(&waiter));
        drop(state);
        let mut deadline = deadline;
        loop {
            let mut slot = lock(&waiter.lane);
            if let Some(lane) = slot.take() {
                drop(slot);
                return Some(self.guard(lane, Some(waiter)));
            }
            if wait_until(&waiter.arrived, slot, deadline) {
                continue;
            }
            let mut state = lock(&self.state);
            if let Some(at) = state.waiters.iter().position(|w| Arc::ptr_eq(w, &waiter)) {
                state.waiters.remove(at);
                state.spare.push(waiter);
                return None;
            }
            // A releaser has taken us out of the queue and is about to leave a lane here, which must not be lost.
            deadline = None;
        }
    }

    /// How many wait for a lane.
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiters.len()
    }

    /// How many lanes nobody holds.
    pub fn free(&self) -> usize {
        lock(&self.state).free.len()
    }

    fn guard(&self, lane: T, waiter: Option<Arc<Waiter<T>>>) -> LaneGuard<'_, T> {
        LaneGuard {
            pool: self,
            lane: Some(lane),
            waiter,
        }
    }

    fn release(&self, lane: T, waiter: Option<Arc<Waiter<T>>>) {
        let mut state = lock(&self.state);
        // Out of the queue since it was given its lane, and its owner has taken that: nobody else refers to it by now but
        // perhaps the releaser that filled it, who only notifies.
        state.spare.extend(waiter);
        match state.waiters.pop_front() {
            None => state.free.push(lane),
            Some(waiter) => {
                drop(state);
                *lock(&waiter.lane) = Some(lane);
                waiter.arrived.notify_one();
            }
        }
    }

    /// Visits the lanes that are free now.
    pub fn for_each_free(&self, f: impl FnMut(&mut T)) {
        lock(&self.state).free.iter_mut().for_each(f);
    }
}

/// A lane in use; dropping it, also by a panic, gives it back.
pub struct LaneGuard<'a, T> {
    pool: &'a LanePool<T>,
    lane: Option<T>,
    /// On what this caller had to wait, to be given back with the lane.
    waiter: Option<Arc<Waiter<T>>>,
}

impl<T> std::ops::Deref for LaneGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &self.lane {
            Some(lane) => lane,
            // The lane leaves only in `drop`.
            None => unreachable!("a lane guard holds its lane until it is dropped"),
        }
    }
}

impl<T> std::ops::DerefMut for LaneGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.lane {
            Some(lane) => lane,
            None => unreachable!("a lane guard holds its lane until it is dropped"),
        }
    }
}

impl<T> Drop for LaneGuard<'_, T> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.pool.release(lane, self.waiter.take());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_a_lane_is_held_gives_it_back() {
        let pool = LanePool::new(vec![1u32]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _lane = pool.acquire();
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(panicked.is_err());
        assert_eq!(*pool.acquire(), 1);
    }

    /// Evidence: bounded-lanes
    #[test]
    fn more_callers_than_lanes_all_get_their_turn_alone() {
        let pool = LanePool::new(vec![0u64, 0]);
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| (0..1_000).for_each(|_| *pool.acquire() += 1));
            }
        });
        let mut sum = 0;
        pool.for_each_free(|n| sum += *n);
        assert_eq!(sum, 8_000);
    }

    #[test]
    fn who_waits_in_vain_leaves_and_does_not_keep_the_next_from_its_turn() {
        let pool = LanePool::new(vec![7u32]);
        let held = pool.acquire();
        assert!(pool.try_acquire().is_none());
        let soon = Instant::now() + std::time::Duration::from_millis(5);
        assert!(pool.acquire_until(Some(soon)).is_none());
        assert_eq!(pool.waiting(), 0);
        std::thread::scope(|s| {
            let next = s.spawn(|| *pool.acquire());
            while pool.waiting() == 0 {
                std::thread::yield_now();
            }
            drop(held);
            assert_eq!(next.join().unwrap(), 7);
        });
        assert!(pool.try_acquire().is_some());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Evidence: bounded-lanes
    #[test]
    fn no_waiter_is_forgotten_and_no_lane_is_held_twice() {
        loom::model(|| {
            let pool = Arc::new(LanePool::new(vec![0u32]));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let pool = Arc::clone(&pool);
                    loom::thread::spawn(move || *pool.acquire() += 1)
                })
                .collect();
            *pool.acquire() += 1;
            for t in threads {
                t.join().unwrap();
            }
            assert_eq!(*pool.acquire(), 3);
        });
    }
    #[test]
    fn a_lane_that_is_given_to_one_who_gives_up_is_not_lost() {
        loom::model(|| {
            let pool = Arc::new(LanePool::new(vec![0u32]));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let pool = Arc::clone(&pool);
                    // In a model every deadline may have passed.
                    loom::thread::spawn(move || drop(pool.acquire_until(Some(Instant::now()))))
                })
                .collect();
            *pool.acquire() += 1;
            for t in threads {
                t.join().unwrap();
            }
            assert_eq!(*pool.try_acquire().unwrap(), 1);
            assert_eq!(pool.waiting(), 0);
        });
    }
}
