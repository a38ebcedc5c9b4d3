//! The one door through which threads, locks and atomics come.
//!
//! Everything in this crate that synchronises takes its types from here: the standard library's in a product build,
//! [loom](https://docs.rs/loom)'s twins under `--cfg loom`, [shuttle](https://docs.rs/shuttle)'s under `--cfg shuttle`.
//! So the code that they explore is the code that ships.
//!
//! It must never offer a type that exists on one side only, and no behaviour of its own beyond the small helpers
//! below: [`UnsafeCell`] with loom's closure interface; [`SpinWindow`], a bounded busy wait that a model sees as empty
//! (a model checker has no clock, and a spin that may go on for ever would never end there); and [`park_until`], whose
//! time is up in a model whenever that is possible.

#[cfg(not(any(loom, shuttle)))]
pub use std::{
    hint::spin_loop,
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};

#[cfg(shuttle)]
pub use shuttle::{
    hint::spin_loop,
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};

#[cfg(loom)]
pub use loom::{
    hint::spin_loop,
    sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};

#[cfg(loom)]
pub use loom::cell::UnsafeCell;

#[cfg(not(loom))]
pub use cell::UnsafeCell;

#[cfg(not(loom))]
mod cell {
    /// `std::cell::UnsafeCell` behind loom's interface: the pointer is lent to a closure, so that loom can see how long
    /// it is in use and report two uses that are not ordered.
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps a value.
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Lends a pointer for reading.
        #[inline]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Lends a pointer for writing.
        #[inline]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// Locks a mutex whose data stays valid whatever its last holder did, so a panic elsewhere must not spread from here.
#[inline]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Locks for reading, beside other readers; as [`lock`], it looks through poison.
#[inline]
pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Locks for writing; as [`lock`], it looks through poison.
#[inline]
pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits on a condition variable; as [`lock`], it looks through poison.
#[inline]
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar
        .wait(guard)
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sleeps until somebody unparks this thread, or for no reason, or until the deadline. `false` if the deadline has passed.
///
/// loom sees every deadline as passed; shuttle flips a coin.
pub fn park_until(deadline: Option<std::time::Instant>) -> bool {
    let Some(deadline) = deadline else {
        thread::park();
        return true;
    };
    #[cfg(loom)]
    {
        let _ = deadline;
        false
    }
    #[cfg(shuttle)]
    {
        use shuttle::rand::Rng;
        let _ = deadline;
        thread::yield_now();
        shuttle::rand::thread_rng().r#gen()
    }
    #[cfg(not(any(loom, shuttle)))]
    {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if !left.is_zero() {
            thread::park_timeout(left);
        }
        !left.is_zero()
    }
}

/// Waits on a condition variable, or for no reason, or until the deadline. `false` if the deadline has passed; in models as in
/// [`park_until`].
pub fn wait_until<T>(
    condvar: &Condvar,
    guard: MutexGuard<'_, T>,
    deadline: Option<std::time::Instant>,
) -> bool {
    let Some(deadline) = deadline else {
        drop(wait(condvar, guard));
        return true;
    };
    #[cfg(any(loom, shuttle))]
    {
        drop(guard);
        park_until(Some(deadline))
    }
    #[cfg(not(any(loom, shuttle)))]
    {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if !left.is_zero() {
            drop(condvar.wait_timeout(guard, left));
        }
        std::time::Instant::now() < deadline
    }
}

/// A busy wait with an end: call [`SpinWindow::pause`] while it answers `true`, then go to sleep.
///
/// The clock is read once in 16 pauses, and not at all for an empty window.
#[derive(Debug)]
pub struct SpinWindow {
    #[cfg(not(any(loom, shuttle)))]
    length: std::time::Duration,
    #[cfg(not(any(loom, shuttle)))]
    start: Option<std::time::Instant>,
    #[cfg(not(any(loom, shuttle)))]
    pauses: u32,
}

impl SpinWindow {
    /// A window of the given length that opens with the first pause.
    pub fn new(length: std::time::Duration) -> Self {
        #[cfg(any(loom, shuttle))]
        {
            let _ = length;
            Self {}
        }
        #[cfg(not(any(loom, shuttle)))]
        Self {
            length,
            start: None,
            pauses: 0,
        }
    }

    /// Pauses for a moment. `false` once the window has passed.
    #[inline]
    pub fn pause(&mut self) -> bool {
        #[cfg(any(loom, shuttle))]
        {
            false
        }
        #[cfg(not(any(loom, shuttle)))]
        {
            if self.length.is_zero() {
                return false;
            }
            if self.pauses.is_multiple_of(16) {
                let start = *self.start.get_or_insert_with(std::time::Instant::now);
                if start.elapsed() >= self.length {
                    return false;
                }
            }
            self.pauses = self.pauses.wrapping_add(1);
            spin_loop();
            true
        }
    }

    /// As [`SpinWindow::pause`], but lets somebody else have the core each time, if anybody can use it.
    #[inline]
    pub fn yield_core(&mut self) -> bool {
        let goes_on = self.pause();
        #[cfg(not(any(loom, shuttle)))]
        if goes_on {
            thread::yield_now();
        }
        goes_on
    }

    /// As [`SpinWindow::pause`], and every now and then lets somebody else have the core, if anybody can use it.
    #[inline]
    pub fn give_way(&mut self) -> bool {
        #[cfg(not(any(loom, shuttle)))]
        if self.pauses % 64 == 63 {
            thread::yield_now();
        }
        self.pause()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn an_empty_window_never_pauses() {
        assert!(!SpinWindow::new(Duration::ZERO).pause());
    }

    #[test]
    fn a_window_ends_after_its_length() {
        let start = Instant::now();
        let mut window = SpinWindow::new(Duration::from_micros(200));
        while window.pause() {}
        assert!(start.elapsed() >= Duration::from_micros(200));
    }
}
