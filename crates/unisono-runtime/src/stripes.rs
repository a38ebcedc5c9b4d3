//! Memory that many threads write at every request, cut so that they do not write to the same place.
//!
//! The one idea: a value that is only summed up, or of which any copy will do, is there several times, each in cache lines of its
//! own, and a thread keeps to one of them. A line that one core writes stays in that core's cache; one that all cores write
//! moves between them, which takes longer than all else that a request does to it.
//!
//! A stripe is *not* a thread's own: more threads than stripes share them, and who gives something back may be another one than who
//! took it. So what lies in a stripe must be as safe to share as without stripes.

use std::ops::Deref;

/// How many copies there are. Threads beyond that share them.
pub(crate) const STRIPES: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };

/// A value in cache lines of its own: two of them, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// One value for each stripe. See the [module](self).
pub(crate) struct Striped<T>(Box<[Padded<T>]>);

impl<T> Striped<T> {
    /// Each made by `make`.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Striped<T> {
        Striped((0..STRIPES).map(|_| Padded(make())).collect())
    }

    /// The calling thread's.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        &self.0[thread_number() % STRIPES]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Striped<T> {
        Striped::new(T::default)
    }
}

/// The calling thread's number. Threads are numbered from 0 in the order in which they first ask.
#[cfg(not(any(loom, shuttle)))]
#[inline]
pub(crate) fn thread_number() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);

    #[cold]
    fn first() -> usize {
        // Relaxed: a number that nothing depends on but speed.
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| match number.get() {
        Some(known) => known,
        None => {
            let new = first();
            number.set(Some(new));
            new
        }
    })
}

/// The same in a model, where a number must follow from the schedule alone. Only the text of a thread's identity does: what is behind
/// it differs from one run of the model to the next.
#[cfg(any(loom, shuttle))]
pub(crate) fn thread_number() -> usize {
    let text = format!("{:?}", crate::sync::thread::current().id());
    let digits = text.bytes().filter(u8::is_ascii_digit);
    digits.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_stripe_and_the_next_one_has_another() {
        let striped: Striped<u8> = Striped::default();
        let address = || std::ptr::from_ref(striped.own()).addr();
        let mine = address();
        assert_eq!(address(), mine);
        let (theirs, number) =
            std::thread::scope(|s| s.spawn(|| (address(), thread_number())).join().unwrap());
        assert_eq!(
            theirs == mine,
            number % STRIPES == thread_number() % STRIPES
        );
        assert_eq!(striped.iter().count(), STRIPES);
    }

    #[test]
    fn stripes_share_no_cache_line() {
        let striped: Striped<u8> = Striped::default();
        let addresses: Vec<usize> = striped
            .iter()
            .map(|stripe| std::ptr::from_ref(stripe).addr())
            .collect();
        assert!(addresses.is_sorted_by(|a, b| a + 128 <= *b));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::atomic::{AtomicU64, Ordering};

    /// And threads of one stripe lose nothing.
    #[test]
    fn what_threads_have_added_is_all_in_the_sum() {
        loom::model(|| {
            let striped: Arc<Striped<AtomicU64>> = Arc::default();
            let threads: Vec<_> = (1..3)
                .map(|n| {
                    let striped = Arc::clone(&striped);
                    loom::thread::spawn(move || {
                        striped.own().fetch_add(n, Ordering::Relaxed);
                    })
                })
                .collect();
            striped.own().fetch_add(4, Ordering::Relaxed);
            let sum = || -> u64 { striped.iter().map(|n| n.load(Ordering::Relaxed)).sum() };
            assert!((4..=7).contains(&sum()));
            threads.into_iter().for_each(|t| t.join().unwrap());
            assert_eq!(sum(), 7);
        });
    }

    /// Or the models of what is striped show nothing.
    #[test]
    fn a_model_has_threads_of_different_stripes() {
        loom::model(|| {
            let mine = thread_number() % STRIPES;
            let others = [(); 3].map(|()| {
                let number = || thread_number() % STRIPES;
                loom::thread::spawn(number).join().unwrap()
            });
            assert!(
                others.iter().any(|other| *other != mine),
                "{mine} {others:?}"
            );
        });
    }
}
