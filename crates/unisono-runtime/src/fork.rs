//! Has this process been forked since?
//!
//! The one idea: a child of `fork` has a copy of everything but the threads, and locks that were held by a thread that does
//! not exist any more are held for ever. So every child counts a generation on, and a device remembers the one it was made in. A
//! relaxed load tells the two apart before any lock is taken.

use std::sync::atomic::{AtomicU64, Ordering};

// Not from `sync`: a handler that the system calls in a child is no thread of a model.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The number of this process in its line of forks, as far as they are known since the first call.
#[cfg(unix)]
pub fn generation() -> u64 {
    use std::sync::Once;
    static HANDLER: Once = Once::new();
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    HANDLER.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed in a child of a process with threads. A handler that
        // cannot be registered (no memory) leaves forks undetected, and nothing else.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::Relaxed)
}

/// Always the same where there is no fork.
#[cfg(not(unix))]
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// As [`generation`], without registering anything: for the hot path.
#[inline]
pub fn current() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}
