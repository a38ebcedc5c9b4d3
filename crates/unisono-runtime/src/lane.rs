//! Lanes: what one batch in flight needs, and the pool that hands them out.
//!
//! The one idea: a fixed number of lanes per device bounds both the memory of arenas and the number of threads that
//! compute at once. Who finds none free waits its turn: lanes go to waiters in the order in which they asked.

use std::any::Any;
use std::collections::VecDeque;

use crate::sync::{Arc, Condvar, Mutex, lock, wait};

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
        let mut state = lock(&self.state);
        // The last one released is the one whose arena is still in cache.
        if let Some(lane) = state.free.pop() {
            return LaneGuard {
                pool: self,
                lane: Some(lane),
                waiter: None,
            };
        }
        let waiter = state.spare.pop().unwrap_or_else(|| {
            Arc::new(Waiter {
                lane: Mutex::new(None),
                arrived: Condvar::new(),
            })
        });
        state.waiters.push_back(Arc::clone(&waiter));
        drop(state);
        let mut slot = lock(&waiter.lane);
        let lane = loop {
            match slot.take() {
                Some(lane) => break lane,
                None => slot = wait(&waiter.arrived, slot),
            }
        };
        drop(slot);
        LaneGuard {
            pool: self,
            lane: Some(lane),
            waiter: Some(waiter),
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
}
