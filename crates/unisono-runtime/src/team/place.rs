//! Keeps workers off the core of the leader that they are to help.
//!
//! The idea: the scheduler puts a thread that is woken on the core where it ran last if that core is idle, then looks at the core
//! of the waker, and on a busy machine with few cores looks no further (Linux stops searching where it takes the cores for
//! overloaded: `SIS_UTIL` in `select_idle_cpu`). So a worker that last ran where the leader runs now is put there again, and the
//! two take turns on one core while the other core is idle; measured on two cores, batches were half as fast for whole
//! seconds. A leader therefore takes its own core out of the workers' affinity, which also moves those who wait in its
//! core's queue. That costs a system call per worker, and only when the leader is on another core than the last one was.
//!
//! It must never widen what the system or the user allows: the workers' own affinity, as it was when they started, is the frame, and if
//! somebody sets another one meanwhile, that becomes the frame.

#[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
pub(super) use linux::Place;

#[cfg(not(all(target_os = "linux", not(any(loom, shuttle)))))]
pub(super) use elsewhere::Place;

/// Elsewhere the scheduler does as it likes.
#[cfg(not(all(target_os = "linux", not(any(loom, shuttle)))))]
mod elsewhere {
    pub(crate) struct Place;

    impl Place {
        pub(crate) fn new(_: usize) -> Place {
            Place
        }

        pub(crate) fn enter(&self, _: usize) {}

        pub(crate) fn clear(&self) {}
    }
}

#[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
mod linux {
    use std::mem::{size_of, zeroed};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::sync::lock;

    /// Larger teams are left alone: there the scheduler finds idle cores, and a system call per worker would cost too much.
    const MOST_WORKERS: usize = 3;

    /// No core is kept clear.
    const NONE: usize = usize::MAX;

    pub(crate) struct Place {
        /// The core that the workers are kept off.
        clear: AtomicUsize,
        workers: Mutex<Vec<Worker>>,
        few: bool,
    }

    /// A worker's thread and where it may run.
    struct Worker {
        thread: libc::pid_t,
        frame: libc::cpu_set_t,
        /// What was set last.
        set: libc::cpu_set_t,
    }

    impl Place {
        pub(crate) fn new(workers: usize) -> Place {
            Place {
                clear: AtomicUsize::new(NONE),
                workers: Mutex::new(Vec::with_capacity(workers)),
                few: (1..=MOST_WORKERS).contains(&workers),
            }
        }

        /// The calling thread is a worker from now on, until the team ends.
        pub(crate) fn enter(&self, _index: usize) {
            if !self.few {
                return;
            }
            // SAFETY: it has no arguments and cannot fail.
            let thread = unsafe { libc::gettid() };
            if let Some(frame) = affinity(thread) {
                let mut workers = lock(&self.workers);
                workers.push(Worker {
                    thread,
                    frame,
                    set: frame,
                });
                // Relaxed: the next leader may be the first to see it.
                self.clear.store(NONE, Ordering::Relaxed);
            }
        }

        /// Keeps the workers off the calling thread's core.
        #[inline]
        pub(crate) fn clear(&self) {
            if !self.few {
                return;
            }
            // SAFETY: it has no arguments; a negative answer is an error.
            let core = unsafe { libc::sched_getcpu() };
            let Ok(core) = usize::try_from(core) else {
                return;
            };
            // Relaxed: a hint about where to run.
            if self.clear.load(Ordering::Relaxed) != core {
                self.move_off(core);
            }
        }

        #[cold]
        fn move_off(&self, core: usize) {
            // Nobody waits for this: whoever holds the lock does the same.
            let Ok(mut workers) = self.workers.try_lock() else {
                return;
            };
            self.clear.store(core, Ordering::Relaxed);
            for worker in &mut *workers {
                worker.keep_off(core);
            }
        }
    }

    impl Worker {
        fn keep_off(&mut self, core: usize) {
            let Some(now) = affinity(self.thread) else {
                return;
            };
            if !equal(&now, &self.set) {
                self.frame = now;
            }
            let mut wanted = self.frame;
            if core < size_of::<libc::cpu_set_t>() * 8 {
                // SAFETY: the number is below the size of the set.
                unsafe { libc::CPU_CLR(core, &mut wanted) };
            }
            // SAFETY: the set is a valid one.
            if unsafe { libc::CPU_COUNT(&wanted) } == 0 || equal(&wanted, &now) {
                self.set = now;
                return;
            }
            // SAFETY: the set is valid and of the size that is given. A thread that has ended makes it fail, which changes
            // nothing.
            let failed =
                unsafe { libc::sched_setaffinity(self.thread, size_of_val(&wanted), &wanted) };
            self.set = if failed == 0 { wanted } else { now };
        }
    }

    fn affinity(thread: libc::pid_t) -> Option<libc::cpu_set_t> {
        // SAFETY: a set of bits; all zeros is the empty one.
        let mut set: libc::cpu_set_t = unsafe { zeroed() };
        // SAFETY: it writes at most the size that is given into the set.
        let failed = unsafe { libc::sched_getaffinity(thread, size_of_val(&set), &mut set) };
        (failed == 0).then_some(set)
    }

    fn equal(a: &libc::cpu_set_t, b: &libc::cpu_set_t) -> bool {
        // SAFETY: both sets are valid.
        unsafe { libc::CPU_EQUAL(a, b) }
    }
}
