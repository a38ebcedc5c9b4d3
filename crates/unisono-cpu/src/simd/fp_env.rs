//! The floating-point control register: rounding mode and flush-to-zero, which a host program may have changed.

/// Sets the calling thread's floating-point environment to the default (round to nearest even, subnormals kept, no traps) and puts the
/// caller's back when dropped.
///
/// Every entry of a foreign thread into kernels holds one; our own worker threads keep one for life. A caller's flush-to-zero would change
/// the bits of its neighbours' answers.
#[derive(Debug)]
#[must_use = "the caller's environment comes back when this is dropped"]
pub struct FpEnv {
    caller: Control,
    /// The register belongs to a thread, so the guard must not leave it.
    _this_thread_only: std::marker::PhantomData<*const ()>,
}

impl FpEnv {
    /// Sets the default. Costs a read of the register, and a write only if it differs.
    #[inline]
    pub fn new() -> FpEnv {
        let caller = read();
        if caller & !STICKY != DEFAULT & !STICKY {
            write(DEFAULT);
        }
        FpEnv {
            caller,
            _this_thread_only: std::marker::PhantomData,
        }
    }
}

impl Default for FpEnv {
    fn default() -> FpEnv {
        FpEnv::new()
    }
}

impl Drop for FpEnv {
    #[inline]
    fn drop(&mut self) {
        if self.caller & !STICKY != DEFAULT & !STICKY {
            write(self.caller);
        }
    }
}

#[cfg(target_arch = "x86_64")]
use x86_64::{Control, DEFAULT, STICKY, read, write};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;

    pub(super) type Control = u32;
    /// All exceptions masked, nearest even, neither flush-to-zero nor denormals-are-zero.
    pub(super) const DEFAULT: Control = 0x1f80;
    /// The exception flags, which change no result.
    pub(super) const STICKY: Control = 0x3f;

    #[inline]
    pub(super) fn read() -> Control {
        let mut value = 0u32;
        // SAFETY: stores MXCSR to a local variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    #[inline]
    pub(super) fn write(value: Control) {
        // SAFETY: the value is the default or was read from the register, so no reserved bit is set. Not `nomem`: floating-point
        // operations after it must not move before it any more than loads and stores may.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags))
        };
    }
}

#[cfg(target_arch = "aarch64")]
use aarch64::{Control, DEFAULT, STICKY, read, write};

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use core::arch::asm;

    pub(super) type Control = u64;
    /// Nearest even, no flush-to-zero, no default-NaN, no traps.
    pub(super) const DEFAULT: Control = 0;
    /// FPCR holds no flags.
    pub(super) const STICKY: Control = 0;

    #[inline]
    pub(super) fn read() -> Control {
        let value: u64;
        // SAFETY: reads FPCR, which user code may.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nostack, preserves_flags)) };
        value
    }

    #[inline]
    pub(super) fn write(value: Control) {
        // SAFETY: the value is the default or was read from the register.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use other::{Control, DEFAULT, STICKY, read, write};

/// Targets without a floating-point control register that programs could change.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod other {
    pub(super) type Control = u32;
    pub(super) const DEFAULT: Control = 0;
    pub(super) const STICKY: Control = 0;

    pub(super) fn read() -> Control {
        DEFAULT
    }

    pub(super) fn write(_: Control) {}
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[cfg(target_arch = "x86_64")]
    const FLUSH_TO_ZERO: Control = DEFAULT | 0x8040;
    #[cfg(target_arch = "aarch64")]
    const FLUSH_TO_ZERO: Control = 1 << 24;

    fn half_of_the_least_normal() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    #[test]
    fn a_callers_flush_to_zero_does_not_reach_us_and_comes_back() {
        // On a thread of its own, so that nothing else sees the changed register.
        std::thread::spawn(|| {
            write(FLUSH_TO_ZERO);
            let flushed = half_of_the_least_normal();
            let guard = FpEnv::new();
            let kept = half_of_the_least_normal();
            drop(guard);
            let flushed_again = half_of_the_least_normal();
            let restored = read() & !STICKY;
            write(DEFAULT);
            assert_eq!(flushed, 0.0, "the test must be able to see the difference");
            assert_eq!(kept, f32::MIN_POSITIVE / 2.0);
            assert_eq!(flushed_again, 0.0);
            assert_eq!(restored, FLUSH_TO_ZERO & !STICKY);
        })
        .join()
        .unwrap();
    }
}
