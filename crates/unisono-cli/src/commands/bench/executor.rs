//! An executor for one thread and many futures.
//!
//! The one idea: every future has a slot, and waking it puts the slot's number on a list that the thread takes whole. A turn
//! costs what was woken, not what is in flight, and the thread sleeps when the list is empty.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// Futures in flight, each with a tag that comes back with its answer. Belongs to the thread that made it.
pub struct Flock<F, T> {
    slots: Vec<Slot<F, T>>,
    free: Vec<usize>,
    list: Arc<List>,
    /// Slots to poll in this turn; memory that is used again.
    turn: Vec<usize>,
}

struct Slot<F, T> {
    entry: Option<(F, T)>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Slots that were woken, and the thread that polls them.
struct List {
    owner: Thread,
    woken: Mutex<Vec<usize>>,
}

impl List {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one slot.
struct Bell {
    slot: usize,
    /// Is the slot on the list?
    rung: AtomicBool,
    list: Arc<List>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: what the future is woken for is published even if the slot is on the list already, because the owner's
        // swap then reads this one. A plain store there would read nothing, and the poll after it might miss the news.
        if self.rung.swap(true, Ordering::Release) {
            return;
        }
        let mut woken = self.list.lock();
        woken.push(self.slot);
        // Whoever made it longer than empty has woken the owner, which has not looked since.
        if woken.len() == 1 {
            drop(woken);
            self.list.owner.unpark();
        }
    }
}

impl<F: Future + Unpin, T> Flock<F, T> {
    /// Nothing in flight yet.
    pub fn new() -> Flock<F, T> {
        Flock {
            slots: Vec::new(),
            free: Vec::new(),
            list: Arc::new(List {
                owner: thread::current(),
                woken: Mutex::default(),
            }),
            turn: Vec::new(),
        }
    }

    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a future in; it is polled in the next turn.
    pub fn start(&mut self, future: F, tag: T) {
        let number = self.free.pop().unwrap_or_else(|| {
            let bell = Arc::new(Bell {
                slot: self.slots.len(),
                rung: AtomicBool::new(false),
                list: Arc::clone(&self.list),
            });
            let waker = Waker::from(Arc::clone(&bell));
            self.slots.push(Slot {
                entry: None,
                bell,
                waker,
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[number];
        slot.entry = Some((future, tag));
        slot.waker.wake_by_ref();
    }

    /// Polls what was woken since the last turn. `answered` may give a future that takes the place of one that is done.
    pub fn turn(&mut self, mut answered: impl FnMut(T, F::Output) -> Option<(F, T)>) {
        std::mem::swap(&mut self.turn, &mut *self.list.lock());
        for number in self.turn.drain(..) {
            let slot = &mut self.slots[number];
            // Before the poll, so that a wake during it counts; Acquire is explained where the bell is rung.
            slot.bell.rung.swap(false, Ordering::Acquire);
            // None if it was woken after its answer.
            let Some((future, _)) = &mut slot.entry else {
                continue;
            };
            let mut context = Context::from_waker(&slot.waker);
            let Poll::Ready(output) = Pin::new(future).poll(&mut context) else {
                continue;
            };
            if let Some((_, tag)) = slot.entry.take() {
                slot.entry = answered(tag, output);
            }
            match slot.entry {
                Some(_) => slot.waker.wake_by_ref(),
                None => self.free.push(number),
            }
        }
    }

    /// Sleeps until some future is woken, or until then.
    pub fn sleep(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() && self.list.lock().is_empty() {
            thread::park_timeout(left);
        }
    }

    /// The tags of those that are still in flight, which are dropped.
    pub fn abandon(self) -> impl Iterator<Item = T> {
        let entries = self.slots.into_iter().filter_map(|slot| slot.entry);
        entries.map(|(_, tag)| tag)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = u32> + Send>>;

    /// Pending until another thread has slept.
    fn later(value: u32, pause: Duration) -> Boxed {
        let done = Arc::new(AtomicBool::new(false));
        let mut asked = false;
        Box::pin(std::future::poll_fn(move |cx| {
            if done.load(Ordering::Acquire) {
                return Poll::Ready(value);
            }
            if !std::mem::replace(&mut asked, true) {
                let (done, waker) = (Arc::clone(&done), cx.waker().clone());
                thread::spawn(move || {
                    thread::sleep(pause);
                    done.store(true, Ordering::Release);
                    waker.wake_by_ref();
                    waker.wake();
                });
            }
            Poll::Pending
        }))
    }

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn answers_come_with_their_tags_and_slots_are_used_again() {
        let mut flock = Flock::new();
        for n in 0..8 {
            flock.start(later(n, Duration::from_millis(n.into())), n * 10);
        }
        let mut answers = Vec::new();
        let mut again = true;
        while flock.len() > 0 {
            flock.turn(|tag, value| {
                answers.push((tag, value));
                std::mem::take(&mut again).then(|| (later(8, Duration::ZERO), 80))
            });
            if flock.len() > 0 {
                flock.sleep(in_a_minute());
            }
        }
        answers.sort_unstable();
        assert_eq!(answers, (0..9).map(|n| (n * 10, n)).collect::<Vec<_>>());
        assert_eq!(flock.slots.len(), 8);
        flock.start(Box::pin(std::future::ready(9)), 90);
        assert_eq!(flock.slots.len(), 8);
    }

    #[test]
    fn only_what_was_woken_is_polled() {
        let polls = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&polls);
        let never: Boxed = Box::pin(std::future::poll_fn(move |_| {
            assert!(!seen.swap(true, Ordering::Relaxed), "polled twice");
            Poll::Pending
        }));
        let mut flock = Flock::new();
        flock.start(never, "never");
        for _ in 0..3 {
            flock.turn(|_, _| None);
        }
        assert!(polls.load(Ordering::Relaxed));
        assert_eq!(flock.abandon().collect::<Vec<_>>(), ["never"]);
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again_in_the_next_turn() {
        let mut left = 3;
        let mut flock = Flock::new();
        let stubborn: Boxed = Box::pin(std::future::poll_fn(move |cx| {
            if left == 0 {
                return Poll::Ready(7);
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        flock.start(stubborn, ());
        let mut turns = 0;
        while flock.len() > 0 {
            flock.turn(|(), _| None);
            turns += 1;
            flock.sleep(Instant::now());
        }
        assert_eq!(turns, 4);
    }
}
