//! Weights in large pages.
//!
//! The one idea: a product goes through its weights once, and through a page of 4 KiB in a fraction of a microsecond. Whenever there are more
//! pages than the processor remembers (a model of 12 MiB is enough), each begins with a walk through the system's tables, in a virtual machine
//! through the host's as well, and what is asked for ahead waits for it too. With 2 MiB a page the walks are gone: products whose
//! weights are read one after the other gain 1 to 4 %, more where the host is busy.
//!
//! Buffers of all models stand side by side in mappings of which only the part that is used takes memory. A mapping goes with the last of
//! its buffers; what a single one held is given back to the system when the buffer goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{Advice, MmapMut, MmapRaw, UncheckedAdvice};

/// Size and alignment of a large page on the processors that are supported.
const LARGE_PAGE: usize = 2 << 20;

/// A page of the system, or more.
const PAGE: usize = 64 << 10;

/// Addresses of a mapping. Only what is used takes memory.
const MAPPING: usize = 64 << 20;

/// Smaller buffers are a matter for the heap.
const LEAST: usize = 16 << 10;

/// So many bytes of a process are left to the heap: processors of today remember some 2,000 pages and more, so that a model of this size walks no
/// tables, and would pay with the rest of its last large page for nothing.
const FIRST: usize = 8 << 20;

/// A mapping that several buffers share.
#[derive(Debug)]
struct Mapping {
    /// Raw: there is never a reference to all of it, of which others write parts.
    map: MmapRaw,
    /// The first byte that begins a large page.
    skip: usize,
}

impl Mapping {
    /// At least so many bytes.
    fn new(bytes: usize) -> Option<Self> {
        let len = bytes.checked_next_multiple_of(LARGE_PAGE)?.max(MAPPING);
        let map = MmapRaw::from(MmapMut::map_anon(len.checked_add(LARGE_PAGE)?).ok()?);
        let skip = map.as_ptr().align_offset(LARGE_PAGE);
        // A system without large pages says so, and works as well.
        let _ = map.advise_range(Advice::HugePage, skip, len);
        Some(Self { map, skip })
    }

    fn room(&self) -> usize {
        self.map.len() - LARGE_PAGE
    }
}

/// A buffer in a mapping, zeros at first.
#[derive(Debug)]
pub(super) struct Part {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

/// Where the next buffer goes.
struct Next {
    mapping: Weak<Mapping>,
    used: usize,
}

static NEXT: Mutex<Next> = Mutex::new(Next {
    mapping: Weak::new(),
    used: 0,
});

/// Bytes that were asked for in this process, up to [`FIRST`].
static ASKED: AtomicUsize = AtomicUsize::new(0);

impl Part {
    /// A buffer of `len` bytes that begins a cache line, unless it is one for the heap or there is no room.
    pub(super) fn new(len: usize) -> Option<Self> {
        if len < LEAST {
            return None;
        }
        if ASKED.load(Ordering::Relaxed) < FIRST {
            ASKED.fetch_add(len, Ordering::Relaxed);
            return None;
        }
        Self::in_pages(len)
    }

    fn in_pages(len: usize) -> Option<Self> {
        let size = len.checked_next_multiple_of(64)?;
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        let mapping = match next.mapping.upgrade() {
            Some(mapping) if size <= mapping.room() - next.used => mapping,
            _ => {
                let mapping = Arc::new(Mapping::new(size)?);
                next.mapping = Arc::downgrade(&mapping);
                next.used = 0;
                mapping
            }
        };
        let start = mapping.skip + next.used;
        next.used += size;
        Some(Self {
            mapping,
            start,
            len,
        })
    }

    /// The first byte.
    pub(super) fn ptr(&self) -> *mut u8 {
        self.mapping.map.as_mut_ptr().wrapping_add(self.start)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Neighbours have the pages at both ends too.
        let start = self.start.next_multiple_of(PAGE);
        let end = (self.start + self.len) / PAGE * PAGE;
        if start < end {
            // SAFETY: the pages lie within this buffer, which nobody reads any more; anonymous memory is zeros from then on.
            let _ = unsafe {
                self.mapping.map.unchecked_advise_range(
                    UncheckedAdvice::DontNeed,
                    start,
                    end - start,
                )
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(part: &Part, value: u8) {
        // SAFETY: the buffer is `part`'s alone, and nothing else refers to it.
        unsafe { part.ptr().write_bytes(value, part.len) };
    }

    fn read(part: &Part) -> &[u8] {
        // SAFETY: as above; it is not written meanwhile.
        unsafe { std::slice::from_raw_parts(part.ptr(), part.len) }
    }

    #[test]
    fn buffers_are_zeros_of_their_own_that_begin_cache_lines() {
        let sizes = [LEAST, 100_001, 3 << 20, MAPPING + 5, LEAST + 1];
        let parts: Vec<Part> = sizes
            .iter()
            .map(|&len| Part::in_pages(len).unwrap())
            .collect();
        for part in &parts {
            assert!(part.ptr().addr().is_multiple_of(64));
            assert!(read(part).iter().all(|&b| b == 0));
        }
        for (i, part) in parts.iter().enumerate() {
            write(part, i as u8 + 1);
        }
        for (i, part) in parts.iter().enumerate() {
            assert!(read(part).iter().all(|&b| b == i as u8 + 1));
        }
    }

    #[test]
    fn a_buffer_that_goes_leaves_its_neighbours_alone() {
        let sizes = [LEAST, 5 << 20, LEAST + 64, 300_000];
        let mut parts: Vec<Part> = sizes
            .iter()
            .map(|&len| Part::in_pages(len).unwrap())
            .collect();
        parts.iter().for_each(|part| write(part, 7));
        while !parts.is_empty() {
            parts.remove(parts.len() / 2);
            for part in &parts {
                assert!(read(part).iter().all(|&b| b == 7));
            }
        }
    }

    #[test]
    fn small_buffers_and_the_first_of_a_process_are_left_to_the_heap() {
        assert!(Part::new(LEAST - 1).is_none());
        let until = (0..=FIRST / LEAST).find(|_| Part::new(LEAST).is_some());
        assert!(until.is_some(), "no buffer had a large page");
    }
}
