//! Copying one run of bytes, many times over.
//!
//! The one idea: how long the runs are is asked once, before the loop. Short ones are moved with one or two loads and stores of a width that the
//! compiler knows, long ones by the library.

/// Copies a run of a length that it knows.
pub(crate) trait Copier: Copy {
    /// # Safety
    /// The run is readable at `from` and writable at `to`, and the two do not overlap.
    unsafe fn copy(self, from: *const u8, to: *mut u8);

    /// Writes the same run `count` times, one behind the other.
    ///
    /// # Safety
    /// The run is readable at `from`; `count` of them are writable at `to`, elsewhere.
    unsafe fn repeat(self, from: *const u8, to: *mut u8, count: usize);
}

/// N bytes.
#[derive(Clone, Copy)]
struct Fixed<const N: usize>;

/// From N to 2 N bytes: the first N, and the last N.
#[derive(Clone, Copy)]
struct Ends<const N: usize>(usize);

/// Any number of bytes.
#[derive(Clone, Copy)]
struct Long(usize);

impl<const N: usize> Copier for Fixed<N> {
    #[inline(always)]
    unsafe fn copy(self, from: *const u8, to: *mut u8) {
        // SAFETY: promised by the caller; arrays of bytes are never misaligned.
        unsafe { to.cast::<[u8; N]>().write(from.cast::<[u8; N]>().read()) }
    }

    #[inline(always)]
    unsafe fn repeat(self, from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: as in `copy`. What is written need not have been written before: it is bytes.
        unsafe {
            let run = from.cast::<[u8; N]>().read();
            for i in 0..count {
                to.cast::<[u8; N]>().add(i).write(run);
            }
        }
    }
}

impl<const N: usize> Copier for Ends<N> {
    #[inline(always)]
    unsafe fn copy(self, from: *const u8, to: *mut u8) {
        let last = self.0 - N;
        // SAFETY: promised by the caller; N bytes from `last` on are the run's end.
        unsafe {
            let head = from.cast::<[u8; N]>().read();
            let tail = from.add(last).cast::<[u8; N]>().read();
            to.cast::<[u8; N]>().write(head);
            to.add(last).cast::<[u8; N]>().write(tail);
        }
    }

    #[inline(always)]
    unsafe fn repeat(self, from: *const u8, to: *mut u8, count: usize) {
        for i in 0..count {
            // SAFETY: promised by the caller.
            unsafe { self.copy(from, to.add(i * self.0)) }
        }
    }
}

impl Copier for Long {
    #[inline(always)]
    unsafe fn copy(self, from: *const u8, to: *mut u8) {
        // SAFETY: promised by the caller.
        unsafe { std::ptr::copy_nonoverlapping(from, to, self.0) }
    }

    #[inline(always)]
    unsafe fn repeat(self, from: *const u8, to: *mut u8, count: usize) {
        for i in 0..count {
            // SAFETY: promised by the caller.
            unsafe { self.copy(from, to.add(i * self.0)) }
        }
    }
}

/// Work that moves runs of one length.
pub(crate) trait MoveRuns {
    fn run<C: Copier>(self, copier: C);
}

/// Does the work with the [`Copier`] for runs of `bytes` bytes.
pub(crate) fn with_copier(bytes: usize, work: impl MoveRuns) {
    match bytes {
        1 => work.run(Fixed::<1>),
        2 => work.run(Fixed::<2>),
        4 => work.run(Fixed::<4>),
        8 => work.run(Fixed::<8>),
        16 => work.run(Fixed::<16>),
        3 => work.run(Ends::<2>(bytes)),
        5..=7 => work.run(Ends::<4>(bytes)),
        9..=15 => work.run(Ends::<8>(bytes)),
        17..=31 => work.run(Ends::<16>(bytes)),
        32..=64 => work.run(Ends::<32>(bytes)),
        65..=128 => work.run(Ends::<64>(bytes)),
        _ => work.run(Long(bytes)),
    }
}
