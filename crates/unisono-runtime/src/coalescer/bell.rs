//! Where many threads sleep and are woken together.
//!
//! The one idea: the sleepers of a batch share one word, so that one system call makes all of them runnable at once. Woken
//! one by one, each would run and be gone before the next is woken, and the core would halt in between
//! (`cargo run --release -p unisono-runtime --example wake_up` measures both).
//!
//! It is an event count: a sleeper notes the word, looks whether what it waits for has happened, and sleeps only while the word is the
//! one it noted; who makes something happen changes the word and then wakes. A sleeper has a mask, so that one, or a few,
//! can be woken without the others. Waking up for no reason is allowed.

use std::time::Instant;

use unisono_tensor::mutant;

use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// Wakes everybody.
pub const ALL: u32 = u32::MAX;

/// See the [module](self).
#[repr(align(128))]
pub struct Bell {
    word: AtomicU32,
    sleepers: AtomicU32,
    #[cfg(not(all(target_os = "linux", not(any(loom, shuttle)))))]
    portable: (crate::sync::Mutex<()>, crate::sync::Condvar),
}

impl Bell {
    /// A bell that nobody hears.
    pub fn new() -> Bell {
        Bell {
            word: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            #[cfg(not(all(target_os = "linux", not(any(loom, shuttle)))))]
            portable: Default::default(),
        }
    }

    /// The word to note before looking.
    pub fn note(&self) -> u32 {
        // Acquire pairs with the Release in `ring`: who sees the new word sees what it was changed for.
        self.word.load(Ordering::Acquire)
    }

    /// Sleeps unless the word has changed since it was noted. `false` if the deadline has passed.
    pub fn sleep(&self, noted: u32, mask: u32, deadline: Option<Instant>) -> bool {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // The sleeper's side: it is counted, fence, and the word is read (by the kernel, or under the lock).
        fence(Ordering::SeqCst);
        let in_time = self.wait(noted, mask, deadline);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        in_time
    }

    /// Wakes those whose mask shares a bit with this one. To be called after what they wait for has happened.
    pub fn ring(&self, mask: u32) {
        self.word.fetch_add(1, Ordering::Release);
        // The ringer's side: the word is changed, fence, and the sleepers are read. One of the two sees the other.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            if mutant!(ForgottenWakeUp) {
                return;
            }
            self.wake(mask);
        }
    }
}

impl Default for Bell {
    fn default() -> Self {
        Bell::new()
    }
}

#[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
impl Bell {
    fn wait(&self, noted: u32, mask: u32, deadline: Option<Instant>) -> bool {
        let mut until = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = match deadline {
            None => std::ptr::null(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                // SAFETY: `until` is a timespec of ours.
                unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut until) };
                let nanoseconds = until.tv_nsec as u64 + u64::from(left.subsec_nanos());
                let seconds = left.as_secs().min(1 << 30) + nanoseconds / 1_000_000_000;
                until.tv_sec += seconds as libc::time_t;
                until.tv_nsec = (nanoseconds % 1_000_000_000) as libc::c_long;
                std::ptr::from_ref(&until)
            }
        };
        // SAFETY: the word lives as long as the call, and the timeout is null or a timespec that does. The kernel compares the
        // word and sleeps in one step; every way to return is allowed here (woken, changed, interrupted, timed out).
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                noted,
                timeout,
                std::ptr::null::<u32>(),
                mask,
            );
        }
        deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    fn wake(&self, mask: u32) {
        // SAFETY: the call reads nothing but the word's address.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG,
                i32::MAX,
                std::ptr::null::<libc::timespec>(),
                std::ptr::null::<u32>(),
                mask,
            );
        }
    }
}

#[cfg(not(all(target_os = "linux", not(any(loom, shuttle)))))]
impl Bell {
    fn wait(&self, noted: u32, _mask: u32, deadline: Option<Instant>) -> bool {
        let guard = crate::sync::lock(&self.portable.0);
        // Relaxed: who changed it takes the lock afterwards, or found us counted.
        if self.word.load(Ordering::Relaxed) != noted {
            return true;
        }
        crate::sync::wait_until(&self.portable.1, guard, deadline)
    }

    fn wake(&self, _mask: u32) {
        // Through the lock: a sleeper either sleeps by now, or has yet to look at the word.
        drop(crate::sync::lock(&self.portable.0));
        self.portable.1.notify_all();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;

    /// A lost wake-up is a deadlock, which loom reports. What happened is told by a relaxed store: the bell itself must order it.
    #[test]
    fn who_hears_a_bell_sees_what_it_was_rung_for_and_nobody_sleeps_through_it() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let shared = Arc::new((Bell::new(), AtomicU32::new(0)));
            let sleepers: Vec<_> = (0..2)
                .map(|i| {
                    let shared = Arc::clone(&shared);
                    loom::thread::spawn(move || {
                        let (bell, happened) = &*shared;
                        loop {
                            let noted = bell.note();
                            if happened.load(Ordering::Relaxed) == 1 {
                                break;
                            }
                            assert!(bell.sleep(noted, 1 << i, None), "there is no deadline");
                        }
                    })
                })
                .collect();
            let (bell, happened) = &*shared;
            happened.store(1, Ordering::Relaxed);
            bell.ring(ALL);
            sleepers.into_iter().for_each(|s| s.join().unwrap());
            assert_eq!(bell.sleepers.load(Ordering::Relaxed), 0);
        });
    }
}
