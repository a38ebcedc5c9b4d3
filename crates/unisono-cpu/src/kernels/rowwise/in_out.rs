//! Where a kernel reads and where it writes, which may be the same place.

use std::marker::PhantomData;

use super::chain::Row;
use crate::simd::{Function, Simd};

/// The data of a kernel: `(&[f32], &mut [f32])` of equal length, or `&mut [f32]` to work in place.
///
/// Kernels read the element at a position before they write it, and never read one that they have written except as their own
/// intermediate result; that is what makes both forms one.
#[derive(Debug)]
pub struct InOut<'a> {
    from: *const f32,
    to: *mut f32,
    len: usize,
    _borrowed: PhantomData<&'a mut [f32]>,
}

impl<'a> From<(&'a [f32], &'a mut [f32])> for InOut<'a> {
    /// # Panics
    ///
    /// If the lengths differ.
    fn from((x, y): (&'a [f32], &'a mut [f32])) -> Self {
        assert_eq!(x.len(), y.len(), "input and output must be equally long");
        InOut {
            from: x.as_ptr(),
            to: y.as_mut_ptr(),
            len: x.len(),
            _borrowed: PhantomData,
        }
    }
}

impl<'a> From<&'a mut [f32]> for InOut<'a> {
    fn from(xy: &'a mut [f32]) -> Self {
        let to = xy.as_mut_ptr();
        InOut {
            from: to,
            to,
            len: xy.len(),
            _borrowed: PhantomData,
        }
    }
}

impl InOut<'_> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` values from `start` on.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    #[inline(always)]
    pub(super) fn part(&self, start: usize, len: usize) -> Part<'_> {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: within both allocations, as just checked.
        unsafe {
            Part {
                from: self.from.add(start),
                to: self.to.add(start),
                len,
                _borrowed: PhantomData,
            }
        }
    }
}

/// A stretch of an [`InOut`], accessed by vectors.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    from: *const f32,
    to: *mut f32,
    len: usize,
    _borrowed: PhantomData<&'a [f32]>,
}

impl Part<'_> {
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// The input at `at ..`: a whole vector, or what is left with +0 behind it.
    #[inline(always)]
    pub(super) fn load<S: Simd>(self, s: S, at: usize) -> S::F {
        Self::read(s, self.from, at, self.len)
    }

    /// What the kernel has stored at `at ..`.
    #[inline(always)]
    pub(super) fn load_stored<S: Simd>(self, s: S, at: usize) -> S::F {
        Self::read(s, self.to, at, self.len)
    }

    #[inline(always)]
    fn read<S: Simd>(s: S, from: *const f32, at: usize, len: usize) -> S::F {
        let left = len.saturating_sub(at);
        // SAFETY: `left` values lie at `at` within the stretch, and no more than those are read. With none left nothing is read, and
        // `wrapping_add` makes no claim about the pointer.
        unsafe {
            if left >= S::LANES {
                s.load_raw(from.add(at))
            } else {
                s.load_part_raw(from.wrapping_add(at), left)
            }
        }
    }

    /// Writes `f` of every input.
    #[inline(always)]
    pub(super) fn map<S: Simd>(self, s: S, f: impl Function) {
        let mut at = 0;
        while self.len - at >= S::LANES {
            // SAFETY: a whole vector lies at `at` in both.
            unsafe {
                let y = f.eval(s, s.load_raw(self.from.add(at)));
                s.store_raw(y, self.to.add(at));
            }
            at += S::LANES;
        }
        if at < self.len {
            self.store(s, f.eval(s, self.load(s, at)), at);
        }
    }

    /// Writes to the output at `at ..`: a whole vector or what is left.
    #[inline(always)]
    pub(super) fn store<S: Simd>(self, s: S, v: S::F, at: usize) {
        let left = self.len.saturating_sub(at);
        // SAFETY: as in `read`; the output is borrowed mutably for as long as `self` lives.
        unsafe {
            if left >= S::LANES {
                s.store_raw(v, self.to.add(at));
            } else {
                s.store_part_raw(v, self.to.wrapping_add(at), left);
            }
        }
    }
}

impl<S: Simd> Row<S> for Part<'_> {
    #[inline(always)]
    fn load(&self, s: S, at: usize) -> S::F {
        (*self).load(s, at)
    }
}
