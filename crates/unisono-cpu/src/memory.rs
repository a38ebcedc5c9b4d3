//! Memory as kernels want it: aligned to cache lines, and one scratch area per seat of a team.
//!
//! It must never allocate while a kernel runs; [`AlignedBuf`] is for weights, packed once.

use std::marker::PhantomData;

use unisono_tensor::{TensorError, fault};

#[cfg(target_os = "linux")]
mod pages;

/// Elements of a cache line.
pub const LINE: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Owned `f32`s whose first one starts a cache line.
#[derive(Debug)]
pub struct AlignedBuf {
    storage: Storage,
    len: usize,
}

#[derive(Debug)]
enum Storage {
    Heap(Vec<Line>),
    #[cfg(target_os = "linux")]
    Pages(pages::Part),
}

impl AlignedBuf {
    /// `len` zeros.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn zeroed(len: usize) -> Result<Self, TensorError> {
        let count = len.div_ceil(LINE);
        let bytes = count.saturating_mul(size_of::<Line>());
        let out_of_memory = TensorError::OutOfMemory { bytes };
        if fault!(allocation) {
            return Err(out_of_memory);
        }
        #[cfg(target_os = "linux")]
        if let Some(part) = pages::Part::new(bytes) {
            let storage = Storage::Pages(part);
            return Ok(Self { storage, len });
        }
        let mut lines = Vec::new();
        if lines.try_reserve_exact(count).is_err() {
            return Err(out_of_memory);
        }
        lines.resize(count, Line([0.0; LINE]));
        let storage = Storage::Heap(lines);
        Ok(Self { storage, len })
    }

    fn start(&self) -> *const f32 {
        match &self.storage {
            Storage::Heap(lines) => lines.as_ptr().cast(),
            #[cfg(target_os = "linux")]
            Storage::Pages(part) => part.ptr().cast_const().cast(),
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: lines are contiguous `f32`s without padding (64 bytes each, `repr(C)`), and so is a part of a mapping, which begins a
        // cache line and was zeros; both hold at least `len` of them for as long as this buffer is there.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        let start = match &mut self.storage {
            Storage::Heap(lines) => lines.as_mut_ptr().cast(),
            #[cfg(target_os = "linux")]
            Storage::Pages(part) => part.ptr().cast(),
        };
        // SAFETY: as in `as_slice`; the borrow of `self` is exclusive, and a part of a mapping is one buffer's alone.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

/// A pointer that may cross threads, for outputs whose parts are written by different tiles.
///
/// Whoever takes it out promises that tiles touch disjoint elements.
#[derive(Debug)]
pub(crate) struct SharedMut<'a, T>(*mut T, PhantomData<&'a mut [T]>);

impl<T> Clone for SharedMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SharedMut<'_, T> {}

// SAFETY: it stands for an exclusive borrow of a slice that is split between threads; using the pointer is unsafe anyway.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self(slice.as_mut_ptr(), PhantomData)
    }

    /// The same pointer without the borrow, for a list of several. Who keeps it promises that the slice outlives it and that nobody else
    /// uses the slice meanwhile.
    pub(crate) fn detached(self) -> SharedMut<'static, T>
    where
        T: 'static,
    {
        SharedMut(self.0, PhantomData)
    }

    /// The first element. A method, so that closures capture the whole and stay `Sync`.
    pub(crate) fn ptr(self) -> *mut T {
        self.0
    }
}

/// Scratch memory of a job, one aligned area for each seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats<'a> {
    areas: SharedMut<'a, f32>,
    per_seat: usize,
}

impl<'a> Seats<'a> {
    /// The scratch length that `seats` areas of `per_seat` elements need.
    pub(crate) fn scratch_len(seats: usize, per_seat: usize) -> usize {
        if per_seat == 0 {
            return 0;
        }
        seats * per_seat.next_multiple_of(LINE) + LINE - 1
    }

    /// Cuts `scratch` into areas.
    ///
    /// # Panics
    /// If it is shorter than [`Seats::scratch_len`].
    pub(crate) fn new(scratch: &'a mut [f32], seats: usize, per_seat: usize) -> Self {
        assert!(
            scratch.len() >= Self::scratch_len(seats, per_seat),
            "scratch of {} elements where {} are needed",
            scratch.len(),
            Self::scratch_len(seats, per_seat)
        );
        let skip = if per_seat == 0 {
            0
        } else {
            // A `f32` pointer is aligned to 4, so this is at most LINE - 1 elements.
            (scratch.as_ptr().addr().next_multiple_of(64) - scratch.as_ptr().addr()) / 4
        };
        Self {
            areas: SharedMut::new(&mut scratch[skip..]),
            per_seat: per_seat.next_multiple_of(LINE),
        }
    }

    /// The area of a seat, `per_seat` elements or a little more.
    ///
    /// # Safety
    /// `seat` is below the number of seats, and no other borrow of this seat's area is in use: a job's seat has one holder at a time.
    #[allow(
        clippy::mut_from_ref,
        reason = "seats split one exclusive borrow between threads"
    )]
    pub(crate) unsafe fn area(&self, seat: usize) -> &'a mut [f32] {
        // SAFETY: `new` checked that the areas of all seats lie within the scratch slice; this one is the caller's alone.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.areas.ptr().add(seat * self.per_seat),
                self.per_seat,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_and_areas_start_cache_lines() {
        let buf = AlignedBuf::zeroed(100).unwrap();
        assert_eq!(buf.as_slice().len(), 100);
        assert_eq!(buf.as_slice().as_ptr().addr() % 64, 0);
        let mut scratch = vec![0.0; Seats::scratch_len(3, 20) + 1];
        for offset in [0, 1] {
            let seats = Seats::new(&mut scratch[offset..], 3, 20);
            for seat in 0..3 {
                // SAFETY: one area at a time, by one thread.
                let area = unsafe { seats.area(seat) };
                assert_eq!(area.as_ptr().addr() % 64, 0);
                assert_eq!(area.len(), 32);
                area.fill(seat as f32);
            }
        }
    }
}
