//! Who waits for a free slot, and whose turn it is.
//!
//! The one idea: a freed slot is *granted* to the one who has waited longest, whether or not it is looking at that moment. Nobody who comes
//! later can take it, so everybody's turn comes, however busy the queue is. A grant that is not wanted any more is given back, and goes
//! on to the next.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::sync::thread;

/// Somebody to be woken.
pub(super) enum Notify {
    Thread(thread::Thread),
    Waker(Waker),
}

impl Notify {
    pub(super) fn now(self) {
        match self {
            Notify::Thread(thread) => thread.unpark(),
            // A waker is the executor's code. A panic in it must not keep a leader from waking the others.
            Notify::Waker(waker) => drop(catch_unwind(AssertUnwindSafe(|| waker.wake()))),
        }
    }
}

/// A place in the waiting room. Whoever has it must end it: by a slot ([`super::queue::Queue::enter_from`]) or by leaving
/// ([`super::queue::Queue::leave_room`]).
#[derive(Debug, PartialEq, Eq)]
pub struct RoomPlace(u64);

/// What has become of somebody in the room who leaves.
pub(super) enum Left {
    Waiting,
    /// It had been granted this slot.
    Granted(usize),
}

#[derive(Default)]
pub(super) struct Room {
    next: u64,
    /// In the order of arrival, and so of their numbers.
    waiting: VecDeque<(u64, Option<Notify>)>,
    granted: Vec<(u64, usize)>,
}

impl Room {
    pub(super) fn enter(&mut self, notify: Option<Notify>) -> RoomPlace {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back((number, notify));
        RoomPlace(number)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Does nobody wait?
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Grants a slot to the one who has waited longest, who is to be woken.
    pub(super) fn grant(&mut self, slot: usize) -> Option<Notify> {
        let (number, notify) = self.waiting.pop_front()?;
        self.granted.push((number, slot));
        notify
    }

    /// The slot that was granted, if one was.
    pub(super) fn take(&mut self, place: &RoomPlace) -> Option<usize> {
        let at = self.granted.iter().position(|(n, _)| *n == place.0)?;
        Some(self.granted.swap_remove(at).1)
    }

    /// Brings another waker, if it is one.
    pub(super) fn wake_by(&mut self, place: &RoomPlace, waker: &Waker) {
        let Ok(at) = self.waiting.binary_search_by_key(&place.0, |w| w.0) else {
            return;
        };
        match &mut self.waiting[at].1 {
            Some(Notify::Waker(known)) if known.will_wake(waker) => {}
            notify => *notify = Some(Notify::Waker(waker.clone())),
        }
    }

    pub(super) fn leave(&mut self, place: &RoomPlace) -> Left {
        match self.waiting.binary_search_by_key(&place.0, |w| w.0) {
            Ok(at) => {
                self.waiting.remove(at);
                Left::Waiting
            }
            Err(_) => self.take(place).map_or(Left::Waiting, Left::Granted),
        }
    }

    /// Everybody's notification, for once. They stay, and look why they were woken.
    pub(super) fn notify_all(&mut self) -> Vec<Notify> {
        let again = |notify: &mut Option<Notify>| match notify {
            Some(Notify::Thread(thread)) => Some(Notify::Thread(thread.clone())),
            other => other.take(),
        };
        self.waiting
            .iter_mut()
            .filter_map(|w| again(&mut w.1))
            .collect()
    }
}
