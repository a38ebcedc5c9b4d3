//! One published job and those who take part in it: the protocol of the [team](super), step by step.
//!
//! It keeps one invariant, on which its only unsafe code rests: whoever has joined and not left may use the job, because its leader does
//! not pass [`Slot::close`] before; nobody else touches the pointer except the slot's owner between claim and publish.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use unisono_tensor::{fault, mutant};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, SpinWindow, UnsafeCell, lock, wait};

/// A job on its leader's stack.
pub(super) struct Job<'a> {
    pub(super) work: &'a (dyn Fn(usize, usize) + Sync),
    pub(super) seats: u64,
    pub(super) panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Computes one tile; if it panics, drops the tiles that are left and keeps the first payload.
    pub(super) fn tile(&self, slot: &Slot, tile: u64, seat: usize) {
        // Unwind safety: the panic goes on in the leader, which sees its data as after any panic of its own.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            fault!(tile);
            (self.work)(tile as usize, seat);
        })) {
            slot.drop_tiles();
            let mut first = lock(&self.panic);
            if first.is_none() {
                *first = Some(payload);
            } else {
                drop(first);
                // A payload's destructor may panic as well; such a one is leaked rather than let loose here.
                std::mem::forget(payload);
            }
        }
    }
}

/// What a helper holds after joining: a tile, a seat, and what was left behind it.
pub(super) struct Ticket {
    tile: u64,
    pub(super) tiles_left: u64,
    pub(super) seats_left: u64,
}

/// Seats of a job without tiles that nobody took.
pub(super) struct SeatsLeft(pub(super) u64);

/// An entry of the table. See the module's protocol.
pub(super) struct Slot {
    /// `OWNED | WAITING | helpers (11 bits) | seats left (11) | tiles taken from the front (20) | tiles left (20)`
    word: AtomicU64,
    /// Valid while the word shows tiles left or helpers. Written by the owner between claim and publish only.
    job: UnsafeCell<*const Job<'static>>,
    /// Where the owner waits for the last helper.
    door: Mutex<()>,
    all_left: Condvar,
}

const TILE: u64 = 1;
const TILES: u64 = 0xf_ffff;
const FRONT_SHIFT: u32 = 20;
const FRONT: u64 = 1 << FRONT_SHIFT;
const SEAT_SHIFT: u32 = 40;
const SEAT: u64 = 1 << SEAT_SHIFT;
const SEATS: u64 = 0x7ff << SEAT_SHIFT;
const HELPER: u64 = 1 << 51;
const HELPERS: u64 = 0x7ff << 51;
/// The owner waits at the door; the last helper to leave rings.
const WAITING: u64 = 1 << 62;
const OWNED: u64 = 1 << 63;

/// Most tiles of one job.
pub(super) const MOST_TILES: usize = TILES as usize;

/// From which end of what is left a tile is taken. Two threads that take from either end each get one part of the work, and the
/// same part of every job that is cut alike: what a core has written is what it reads next. Measured on two cores that
/// share no cache, a small convolutional network is 1.4 times as fast as with tiles in turn.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// The leader's.
    Front,
    /// The helpers'.
    Back,
}

impl End {
    /// The word without one tile, and the tile; `word` shows some left.
    fn cut(self, word: u64) -> (u64, u64) {
        let front = word >> FRONT_SHIFT & TILES;
        let left = (word & TILES) - 1;
        match self {
            End::Front => (word - TILE + FRONT, front),
            End::Back => (word - TILE, front + left),
        }
    }
}

// SAFETY: the pointer in `job` is the only field that is not `Send` and `Sync` by itself. It points to a `Job` whose
// contents may be shared (`work` is `Sync`, the rest is atomic or locked), it is written by the slot's owner only, and
// it is dereferenced by helpers only between `join` and `leave`, during which the leader keeps the job alive.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            job: UnsafeCell::new(std::ptr::null()),
            door: Mutex::new(()),
            all_left: Condvar::new(),
        }
    }

    /// Makes a free slot the caller's own.
    pub(super) fn claim(&self) -> bool {
        // Relaxed look first, so that a full table is passed without writing to its lines. Acquire pairs with the
        // store in `close`: the previous owner's use of `job` is over before ours begins.
        self.word.load(Ordering::Relaxed) == 0
            && self
                .word
                .compare_exchange(0, OWNED, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Opens the job, of at most [`MOST_TILES`] tiles, to helpers. The caller owns the slot and calls [`Slot::close`] before `job` goes out of scope.
    pub(super) fn publish(&self, job: &Job<'_>, tiles: u64) {
        let erased = std::ptr::from_ref(job).cast::<Job<'static>>();
        // SAFETY: an owned slot without tiles and helpers is touched by its owner alone: `join` reads the pointer only
        // after it took a tile, and there is none before the store below.
        self.job.with_mut(|p| unsafe { *p = erased });
        let word = OWNED | job.seats << SEAT_SHIFT | tiles;
        // Release: a helper that joins sees the pointer and the job behind it. Every later change of the word is a
        // read-modify-write and so continues this release sequence, however many tiles were taken in between.
        let ordering = match mutant!(RelaxedSignal) {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        self.word.store(word, ordering);
    }

    /// The index of a further tile for somebody who already takes part. If there is none, the seats
    /// that nobody took: they stay free, since a seat is taken with a tile.
    pub(super) fn take(&self, end: End) -> Result<u64, SeatsLeft> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & TILES != 0 {
            let (rest, tile) = end.cut(word);
            // Relaxed: whoever takes part has seen the job already; a tile's result is published by `leave`.
            match self
                .word
                .compare_exchange_weak(word, rest, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(tile),
                Err(now) => word = now,
            }
        }
        Err(SeatsLeft((word & SEATS) >> SEAT_SHIFT))
    }

    /// Takes part: a tile, a seat, and a place in the count of helpers, or nothing.
    pub(super) fn join(&self) -> Option<Ticket> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & TILES != 0 && word & SEATS != 0 {
            let (rest, tile) = End::Back.cut(word);
            let joined = rest - SEAT + HELPER;
            // Acquire pairs with the release in `publish`. The word may have been freed and published again by another
            // leader between the look and the swap; then we join that job, whose pointer this Acquire makes visible.
            match self.word.compare_exchange_weak(
                word,
                joined,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Some(Ticket {
                        tile,
                        tiles_left: joined & TILES,
                        seats_left: (joined & SEATS) >> SEAT_SHIFT,
                    });
                }
                Err(now) => word = now,
            }
        }
        None
    }

    /// A helper's part: the tile of the ticket, then what is left.
    pub(super) fn serve(&self, ticket: Ticket) {
        // SAFETY: between `join` (which counted us) and `leave` the owner does not pass `close`, so the pointer is not
        // rewritten and the job behind it is alive.
        let job = unsafe { &*self.job.with(|p| *p) };
        // Seats are handed out from the top; the leader's is 0.
        let seat = ticket.seats_left as usize + 1;
        let mut tile = Some(ticket.tile);
        while let Some(index) = tile {
            job.tile(self, index, seat);
            tile = self.take(End::Back).ok();
        }
        self.leave();
    }

    /// Ends a helper's part. The job must not be touched afterwards.
    fn leave(&self) {
        // Release: our tiles' results are visible to the leader that sees the count at zero.
        let before = self.word.fetch_sub(HELPER, Ordering::Release);
        if before & WAITING != 0 && before & HELPERS == HELPER {
            // The owner set WAITING with the door locked. Passing through the lock means that it either sleeps by now
            // (and hears the bell) or has not yet looked at the word (and will see zero). The slot outlives the job,
            // so ringing is allowed even if the owner has gone; the next owner looks at its own word and ignores it.
            drop(lock(&self.door));
            self.all_left.notify_all();
        }
    }

    /// No further tile is given out.
    fn drop_tiles(&self) {
        // Relaxed: as in `take`.
        self.word.fetch_and(!TILES, Ordering::Relaxed);
    }

    /// Waits until every helper has left, then frees the slot. The caller owns it and has taken the last tile.
    pub(super) fn close(&self, spin: Duration) {
        // Acquire pairs with the Release of every `leave`: all are read-modify-writes of one word, so the last one's
        // release sequence includes the earlier ones'.
        let helpers_gone = || self.word.load(Ordering::Acquire) & HELPERS == 0;
        let mut window = SpinWindow::new(spin);
        while !helpers_gone() {
            if !window.pause() {
                let mut door = lock(&self.door);
                self.word.fetch_or(WAITING, Ordering::Relaxed);
                while !helpers_gone() {
                    door = wait(&self.all_left, door);
                }
                break;
            }
        }
        // Release pairs with the Acquire of the next `claim`.
        self.word.store(0, Ordering::Release);
    }
}
