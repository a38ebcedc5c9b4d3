//! Where requests wait: a bounded table that nobody locks.
//!
//! The one idea: a request has a *slot*, and everything that can become of it is one compare-and-swap on the slot's word,
//! which holds the request's ticket (its place in the order of arrival) and its state. A ticket is never used twice, so a
//! swap that succeeds is about the request that was looked at, however often the slot has changed hands in between.
//!
//! ```text
//!         put              claim              finish            collect
//! empty -------> queued -----------> claimed ----------> done -----------> empty
//!                  |  \                 |                                    ^
//!         withdraw |   `--appoint--> appointed (the owner leads) --collect---+
//!                  v                    |
//!                empty               abandoned (the owner has left) --finish--> empty
//! ```
//!
//! Two bitmaps say which slots are in use and which are queued. The first is how slots are handed out; the second is
//! only an index for whoever looks for work: the word decides.
//!
//! Threads that wait take the lowest free slot: there are few of them, they are seen with few looks, and sleep at few places. Futures may
//! be in their thousands, put in by a few threads that do nothing else. Each of those begins at a *home* block of its own and goes
//! round from there, so that they meet in one word, and in slots that another has just used, only where the table is nearly full.
//!
//! Its invariant, on which its unsafe code rests: a slot's cells belong to the owner from the moment it takes the slot until it stores
//! `queued`; from then on to whoever takes the word away from `queued`; after `done` or `appointed` to the owner
//! again; in `abandoned` to the claimer.
//!
//! A claimed request stays where it is: a [`Claim`] lends it. Moved out and back it would pass through the caches of two cores twice,
//! all of it, where a leader looks at little of it.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::bell::{ALL, Bell};
use super::room::{Left, Notify, Room, RoomPlace};

use crate::stripes::{Padded, thread_number};
use crate::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
use crate::sync::{Mutex, UnsafeCell, lock, thread};

/// Slots in one block, and in one word of a bitmap.
const BLOCK: usize = if cfg!(loom) { 4 } else { 64 };

const EMPTY: u64 = 0;
const QUEUED: u64 = 1;
const CLAIMED: u64 = 2;
const APPOINTED: u64 = 3;
const DONE: u64 = 4;
const ABANDONED: u64 = 5;
const STATE: u64 = 0b111;
const TICKET_SHIFT: u32 = 3;

/// What is known of a waiting request without touching it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Requests with equal numbers may stand behind each other; 0 for one that must be alone.
    pub kind: usize,
    /// How many rows it has.
    pub rows: usize,
    /// It joins no batch of more rows than this, unless it is alone.
    pub row_limit: usize,
    /// May it share a batch with other kinds?
    pub mixes: bool,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A thread, asleep. It can be made the leader.
    Thread,
    /// A future, which has no thread to lead with.
    Future,
}

/// A request's place in the table. Whoever has it must end it: by [`Queue::collect`], [`Queue::withdraw`] or
/// [`Queue::abandon`].
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    slot: usize,
    ticket: u64,
}

/// A request that waits, as a leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    slot: usize,
    /// Its place in the order of arrival.
    pub ticket: u64,
    /// What it is like.
    pub traits: Traits,
    /// How many later requests have been taken before it.
    pub overtaken: u32,
}

/// Stands for the slot of a request that is in no queue.
const NOWHERE: usize = usize::MAX;

impl Waiting {
    /// A request that is in no queue: a leader's own.
    pub fn new(ticket: u64, traits: Traits) -> Waiting {
        Waiting {
            slot: NOWHERE,
            ticket,
            traits,
            overtaken: 0,
        }
    }

    /// Is it in no queue?
    pub fn is_own(&self) -> bool {
        self.slot == NOWHERE
    }
}

/// A request taken out of the queue: it is to be answered with [`Claim::finish`], whatever happens.
#[must_use = "a claimed request whose claim is lost is never answered"]
pub struct Claim<'q, R> {
    queue: &'q Queue<R>,
    slot: usize,
    ticket: u64,
    owner: Owner,
    bell: usize,
    /// It is to be sent and shared between threads as the request itself is.
    _lends: PhantomData<&'q mut R>,
}

impl<R: Send> Claim<'_, R> {
    /// Does a thread wait for it?
    pub fn is_by_thread(&self) -> bool {
        self.owner == Owner::Thread
    }

    /// The request.
    pub fn request(&self) -> &R {
        let slot = self.queue.slot(self.slot);
        // SAFETY: a claimed slot's cells are the claimer's, of whom there is one, until `finish`, which takes the claim; nobody
        // writes as long as it is borrowed for reading.
        let request = slot.request.with(|p| unsafe { (*p).as_ref() });
        request.unwrap_or_else(|| unreachable!("a claimed slot holds its request"))
    }

    /// The request, to be answered in its place.
    pub fn request_mut(&mut self) -> &mut R {
        let slot = self.queue.slot(self.slot);
        // SAFETY: as above, and the claim is borrowed exclusively.
        let request = slot.request.with_mut(|p| unsafe { (*p).as_mut() });
        request.unwrap_or_else(|| unreachable!("a claimed slot holds its request"))
    }

    /// Hands the answered request back to its owner. A future is woken at once, a thread when `bells` is rung. `false` if the
    /// owner has left.
    pub fn finish(self, bells: &mut Bells) -> bool {
        let slot = self.queue.slot(self.slot);
        let done = || slot.change(self.ticket, CLAIMED, DONE).is_ok();
        match self.owner {
            Owner::Thread => {
                if done() {
                    bells.0[self.bell] = true;
                    return true;
                }
            }
            Owner::Future => {
                // With the lock held, so that a future that polls meanwhile either has left its waker, or sees `done`.
                let mut left = lock(&slot.waker);
                if done() {
                    let waker = left.take();
                    drop(left);
                    if let Some(waker) = waker {
                        Notify::Waker(waker).now();
                    }
                    return true;
                }
            }
        }
        // Abandoned: the owner gave the cells up when it left.
        // SAFETY: so they are ours.
        drop(unsafe { slot.take() });
        *lock(&slot.waker) = None;
        self.queue.free(self.slot);
        false
    }
}

/// Who was made the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appointed {
    /// A thread that waited.
    Thread,
    /// Nobody: only futures wait.
    NoThreadWaits,
    /// Nobody: whoever waited has gone.
    NobodyWaits,
}

/// Whom to wake after answers were given.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "those who were answered sleep until they are woken"]
pub struct Bells([bool; BELLS]);

/// How many bells there are: those who come while batches run sleep at other ones than those in them. More than batches are in
/// flight as a rule, and are being woken.
const BELLS: usize = if cfg!(any(loom, shuttle)) { 4 } else { 16 };

/// What has become of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// It waits, or is being worked on.
    None,
    /// It is answered.
    Done,
    /// It is to be taken back, and its owner leads.
    Lead,
}

/// In this order, and in cache lines of its own: what a leader looks at before it claims lies together, and comes to it by one
/// transfer.
#[repr(C, align(128))]
struct Slot<R> {
    /// `ticket << 3 | state`.
    word: AtomicU64,
    // Traits, so that a leader can choose before it claims. Written by the owner before `queued`.
    kind: AtomicUsize,
    rows: AtomicUsize,
    row_limit: AtomicUsize,
    overtaken: AtomicU32,
    mixes: AtomicBool,
    by_thread: AtomicBool,
    /// At which bell the owner sleeps.
    bell: AtomicUsize,
    /// The future's waker. Locked, since a future may bring another one at any time.
    waker: Mutex<Option<Waker>>,
    request: UnsafeCell<Option<R>>,
}

/// How many are queued. Counted after the fact by whoever puts and soon after it by whoever claims, so they may be off by those
/// under way, and below zero for a moment.
#[derive(Default)]
struct Numbers {
    threads: AtomicIsize,
    futures: AtomicIsize,
}

impl Numbers {
    fn of(&self, owner: Owner) -> &AtomicIsize {
        match owner {
            Owner::Thread => &self.threads,
            Owner::Future => &self.futures,
        }
    }
}

/// So many slots as [`BLOCK`] says.
type Block<R> = Box<[Slot<R>]>;

/// See the [module](self).
///
/// What every caller writes has cache lines of its own, so that what is only read stays in everybody's cache.
pub struct Queue<R> {
    used: Box<[Padded<AtomicU64>]>,
    queued: Box<[Padded<AtomicU64>]>,
    /// Blocks of slots. All but the first are made when they are first needed.
    blocks: Box<[OnceLock<Block<R>>]>,
    capacity: usize,
    tickets: Padded<AtomicU64>,
    bells: [Bell; BELLS],
    /// Batches closed so far: tells those who come at which bell to sleep.
    closed: Padded<AtomicUsize>,
    waiting: Padded<Numbers>,
    /// Who waits for a free slot.
    room: Padded<Mutex<Room>>,
    /// How many wait there, for who looks without the lock.
    room_wanted: AtomicUsize,
}

// SAFETY: the cells are the only fields that are not `Sync`; the module's invariant gives each to one thread at a time,
// and they are moved between threads, which `R: Send` allows.
unsafe impl<R: Send> Sync for Slot<R> {}
// SAFETY: as above.
unsafe impl<R: Send> Send for Slot<R> {}

impl<R> Slot<R> {
    fn new() -> Slot<R> {
        Slot {
            word: AtomicU64::new(EMPTY),
            kind: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
            row_limit: AtomicUsize::new(0),
            overtaken: AtomicU32::new(0),
            mixes: AtomicBool::new(false),
            by_thread: AtomicBool::new(false),
            bell: AtomicUsize::new(0),
            waker: Mutex::new(None),
            request: UnsafeCell::new(None),
        }
    }

    /// # Safety
    /// The caller owns the cells; see the module's invariant.
    unsafe fn store(&self, request: R) {
        // SAFETY: the caller's promise.
        self.request.with_mut(|p| unsafe { *p = Some(request) });
    }

    /// # Safety
    /// The caller owns the cells; see the module's invariant.
    unsafe fn take(&self) -> Option<R> {
        // SAFETY: the caller's promise.
        self.request.with_mut(|p| unsafe { (*p).take() })
    }

    /// Who waits for the answer, where the word is known to be somebody's.
    fn owner(&self) -> Owner {
        // Relaxed: written before the word.
        match self.by_thread.load(Ordering::Relaxed) {
            true => Owner::Thread,
            false => Owner::Future,
        }
    }

    fn change(&self, ticket: u64, from: u64, to: u64) -> Result<(), u64> {
        let word = |state| ticket << TICKET_SHIFT | state;
        // Acquire: whoever wins the cells sees what was put into them. Release: what it did with them is seen by who wins
        // them next.
        self.word
            .compare_exchange(word(from), word(to), Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(|now| now & STATE)
    }
}

impl<R: Send> Queue<R> {
    /// An empty table of at least `capacity` places (and at least one), rounded up to whole blocks of 64.
    pub fn new(capacity: usize) -> Queue<R> {
        let blocks = capacity.max(1).div_ceil(BLOCK);
        let zeros = || (0..blocks).map(|_| Padded(AtomicU64::new(0))).collect();
        let queue = Queue {
            used: zeros(),
            queued: zeros(),
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
            capacity: capacity.max(1),
            tickets: Padded(AtomicU64::new(1)),
            bells: std::array::from_fn(|_| Bell::new()),
            closed: Padded(AtomicUsize::new(0)),
            waiting: Padded::default(),
            room: Padded(Mutex::new(Room::default())),
            room_wanted: AtomicUsize::new(0),
        };
        queue.block(0);
        queue
    }

    fn block(&self, index: usize) -> &[Slot<R>] {
        self.blocks[index].get_or_init(|| (0..BLOCK).map(|_| Slot::new()).collect())
    }

    fn slot(&self, index: usize) -> &Slot<R> {
        &self.block(index / BLOCK)[index % BLOCK]
    }

    /// How many may wait at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many wait, roughly: those that are being put or claimed at this moment count or not.
    pub fn waiting(&self) -> usize {
        // Acquire: who sees a request counted also finds its bit.
        let number = |owner| self.waiting.of(owner).load(Ordering::Acquire);
        (number(Owner::Thread) + number(Owner::Future)).max(0) as usize
    }

    /// The next place in the order of arrival.
    pub fn ticket(&self) -> u64 {
        // Relaxed: only uniqueness and rough order matter.
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts a request into the queue. Gives it back if there is no room, or others wait for it already.
    pub fn put(&self, request: R, traits: Traits, owner: Owner) -> Result<Place, R> {
        // Relaxed: who comes at the same moment may go first.
        if self.room_wanted.load(Ordering::Relaxed) > 0 {
            return Err(request);
        }
        let home = match owner {
            Owner::Thread => 0,
            Owner::Future => home(thread_number(), self.used.len()),
        };
        match self.reserve(home) {
            Some(slot) => Ok(self.put_into(slot, request, traits, owner)),
            None => Err(request),
        }
    }

    /// The slot is reserved for the caller.
    fn put_into(&self, slot_index: usize, request: R, traits: Traits, owner: Owner) -> Place {
        let slot = self.slot(slot_index);
        let ticket = self.ticket();
        slot.kind.store(traits.kind, Ordering::Relaxed);
        slot.rows.store(traits.rows, Ordering::Relaxed);
        slot.row_limit.store(traits.row_limit, Ordering::Relaxed);
        slot.mixes.store(traits.mixes, Ordering::Relaxed);
        slot.by_thread
            .store(owner == Owner::Thread, Ordering::Relaxed);
        slot.overtaken.store(0, Ordering::Relaxed);
        // SAFETY: the slot is reserved for us and not queued yet: its cells are ours.
        unsafe { slot.store(request) };
        if owner == Owner::Thread {
            // Relaxed throughout: a hint that spreads sleepers over bells.
            let bell = self.closed.load(Ordering::Relaxed) % BELLS;
            slot.bell.store(bell, Ordering::Relaxed);
        }
        // Release: whoever claims sees the cells and the traits.
        slot.word
            .store(ticket << TICKET_SHIFT | QUEUED, Ordering::Release);
        self.queued[slot_index / BLOCK].fetch_or(bit(slot_index), Ordering::Release);
        self.waiting.of(owner).fetch_add(1, Ordering::Release);
        Place {
            slot: slot_index,
            ticket,
        }
    }

    /// Takes the first free slot from this block on, round to the one before it: so none is free only if all are taken.
    fn reserve(&self, home: usize) -> Option<usize> {
        (home..self.used.len())
            .chain(0..home)
            .find_map(|block| self.reserve_in(block))
    }

    /// Takes the lowest free slot of a block.
    fn reserve_in(&self, block: usize) -> Option<usize> {
        let word = &self.used[block];
        let in_block = (self.capacity - block * BLOCK).min(BLOCK);
        let mut used = word.load(Ordering::Relaxed);
        loop {
            let free = (!used).trailing_zeros() as usize;
            if free >= in_block {
                return None;
            }
            // Acquire pairs with the Release in `free`: the last owner's use of the cells is over.
            match word.compare_exchange_weak(
                used,
                used | 1 << free,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(block * BLOCK + free),
                Err(now) => used = now,
            }
        }
    }

    /// Gives a slot back. Its cells are empty and belong to the caller.
    fn free(&self, index: usize) {
        self.slot(index).word.store(EMPTY, Ordering::Relaxed);
        self.used[index / BLOCK].fetch_and(!bit(index), Ordering::Release);
        // One who found no room counts itself, passes a fence, and looks for free slots before it sleeps; we free, pass a fence,
        // and look at the count. One of the two sees the other.
        fence(Ordering::SeqCst);
        if self.room_wanted.load(Ordering::Relaxed) > 0 {
            self.grant_slots();
        }
    }

    /// Out of the index, after the word was taken away from `queued` and before anybody else can have the slot: what is queued in it
    /// then is not to be lost.
    fn unlist(&self, index: usize) {
        let owner = self.slot(index).owner();
        self.waiting.of(owner).fetch_sub(1, Ordering::Relaxed);
        self.queued[index / BLOCK].fetch_and(!bit(index), Ordering::Relaxed);
    }

    /// The same for many, with one subtraction and one write to each word of the index.
    fn unlist_all(&self, claimed: &[Waiting]) {
        if claimed.is_empty() {
            return;
        }
        // So many words at a time, to need no memory that grows with the table.
        const WORDS: usize = 32;
        let by_thread = |one: &&Waiting| self.slot(one.slot).owner() == Owner::Thread;
        let threads = claimed.iter().filter(by_thread).count();
        let numbers = [
            (Owner::Thread, threads),
            (Owner::Future, claimed.len() - threads),
        ];
        for (owner, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
            let waiting = self.waiting.of(owner);
            waiting.fetch_sub(number as isize, Ordering::Relaxed);
        }
        for (i, words) in self.queued.chunks(WORDS).enumerate() {
            let mut gone = [0; WORDS];
            for one in claimed {
                let word = (one.slot / BLOCK).checked_sub(i * WORDS);
                if let Some(bits) = word.and_then(|word| gone.get_mut(word)) {
                    *bits |= bit(one.slot);
                }
            }
            for (word, bits) in words.iter().zip(gone).filter(|(_, bits)| *bits != 0) {
                word.fetch_and(!bits, Ordering::Relaxed);
            }
        }
    }

    /// What waits now, put behind what `list` holds; in no order.
    pub fn look(&self, list: &mut Vec<Waiting>) {
        self.each(|waiting, _| list.push(waiting));
    }

    fn each(&self, mut f: impl FnMut(Waiting, bool)) {
        self.find_any(|waiting, by_thread| {
            f(waiting, by_thread);
            false
        });
    }

    /// Is there one of which `f` says so? It is shown no more after that.
    fn find_any(&self, mut f: impl FnMut(Waiting, bool) -> bool) -> bool {
        for (w, word) in self.queued.iter().enumerate() {
            let mut bits = word.load(Ordering::Acquire);
            while bits != 0 {
                let slot_index = w * BLOCK + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let slot = self.slot(slot_index);
                // Acquire: the traits are at least as new as the word. If they are newer, the ticket is another one by
                // then, and claiming fails.
                let now = slot.word.load(Ordering::Acquire);
                if now & STATE != QUEUED {
                    continue;
                }
                let waiting = Waiting {
                    slot: slot_index,
                    ticket: now >> TICKET_SHIFT,
                    traits: Traits {
                        kind: slot.kind.load(Ordering::Relaxed),
                        rows: slot.rows.load(Ordering::Relaxed),
                        row_limit: slot.row_limit.load(Ordering::Relaxed),
                        mixes: slot.mixes.load(Ordering::Relaxed),
                    },
                    overtaken: slot.overtaken.load(Ordering::Relaxed),
                };
                if f(waiting, slot.by_thread.load(Ordering::Relaxed)) {
                    return true;
                }
            }
        }
        false
    }

    /// Notes that a later request was taken before this one.
    pub fn overtake(&self, waiting: &Waiting) {
        // Relaxed: a number for the next choice. If the request has gone, the slot's next owner starts at 0 or a bit above,
        // which only makes its turn come sooner.
        self.slot(waiting.slot)
            .overtaken
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a request out of the queue. `None` if it is not there any more.
    pub fn claim(&self, waiting: &Waiting) -> Option<Claim<'_, R>> {
        let slot = self.slot(waiting.slot);
        slot.change(waiting.ticket, QUEUED, CLAIMED).ok()?;
        self.unlist(waiting.slot);
        Some(self.claim_of(waiting))
    }

    /// Takes all of these that are still there out of the queue, in their order, and hands each to `take`. A leader's own is passed
    /// over.
    pub fn claim_all<'q>(&'q self, waiting: &mut [Waiting], take: impl FnMut(Claim<'q, R>)) {
        let mut claimed = 0;
        for i in 0..waiting.len() {
            let one = waiting[i];
            let is_ours = !one.is_own() && {
                let slot = self.slot(one.slot);
                slot.change(one.ticket, QUEUED, CLAIMED).is_ok()
            };
            if is_ours {
                waiting.swap(claimed, i);
                claimed += 1;
            }
        }
        let claimed = &waiting[..claimed];
        // Before there are claims, which can end.
        self.unlist_all(claimed);
        claimed.iter().map(|one| self.claim_of(one)).for_each(take);
    }

    /// The word is ours.
    fn claim_of(&self, claimed: &Waiting) -> Claim<'_, R> {
        let slot = self.slot(claimed.slot);
        Claim {
            queue: self,
            slot: claimed.slot,
            ticket: claimed.ticket,
            owner: slot.owner(),
            bell: slot.bell.load(Ordering::Relaxed),
            _lends: PhantomData,
        }
    }

    /// Does anybody wait? Exact, where [`Queue::waiting`] may be off by those that come and go at this moment.
    pub fn is_waited_in(&self) -> bool {
        self.find_any(|_, _| true)
    }

    /// Takes the oldest request that a thread waits for out of the queue and makes its owner the leader: it will find
    /// [`News::Lead`].
    pub fn appoint(&self) -> Appointed {
        // The oldest is found by a look at everybody, which a thousand futures make long. They can be told from the numbers. A thread
        // that is not counted yet is led for with them: what matters to it is that somebody leads.
        let number = |owner| self.waiting.of(owner).load(Ordering::Relaxed);
        if number(Owner::Thread) <= 0 && number(Owner::Future) > 0 && self.is_waited_in() {
            return Appointed::NoThreadWaits;
        }
        let mut futures = false;
        loop {
            let mut oldest: Option<Waiting> = None;
            self.each(|waiting, by_thread| {
                futures |= !by_thread;
                if by_thread && oldest.is_none_or(|o| waiting.ticket < o.ticket) {
                    oldest = Some(waiting);
                }
            });
            let Some(oldest) = oldest else {
                return match futures {
                    true => Appointed::NoThreadWaits,
                    false => Appointed::NobodyWaits,
                };
            };
            let slot = self.slot(oldest.slot);
            if slot.change(oldest.ticket, QUEUED, CLAIMED).is_err() {
                continue;
            }
            self.unlist(oldest.slot);
            let bell = slot.bell.load(Ordering::Relaxed);
            // Release: the owner gets its cells back.
            slot.word
                .store(oldest.ticket << TICKET_SHIFT | APPOINTED, Ordering::Release);
            self.bells[bell].ring(mask(oldest.slot));
            return Appointed::Thread;
        }
    }

    /// Wakes the threads that were answered.
    pub fn ring(&self, bells: Bells) {
        for (bell, _) in self.bells.iter().zip(bells.0).filter(|(_, rung)| *rung) {
            bell.ring(ALL);
        }
    }

    /// Notes that a batch was closed: who comes from now on is in a later one.
    pub fn note_close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Sleeps until there may be news of one's request, or until the deadline; `false` if that has passed.
    pub fn sleep(&self, place: &Place, deadline: Option<Instant>) -> bool {
        let bell = &self.bells[self.slot(place.slot).bell.load(Ordering::Relaxed)];
        let noted = bell.note();
        if self.news(place) != News::None {
            return true;
        }
        bell.sleep(noted, mask(place.slot), deadline)
    }

    /// What has become of one's own request.
    pub fn news(&self, place: &Place) -> News {
        // Acquire: the answer, or the request, is seen as it was left.
        match self.slot(place.slot).word.load(Ordering::Acquire) & STATE {
            DONE => News::Done,
            APPOINTED => News::Lead,
            _ => News::None,
        }
    }

    /// The same for a future, whose waker is kept until there is news.
    pub fn poll_news(&self, place: &Place, cx: &Context<'_>) -> Poll<()> {
        if self.news(place) != News::None {
            return Poll::Ready(());
        }
        let slot = self.slot(place.slot);
        let mut waker = lock(&slot.waker);
        // Once more: see `Claim::finish`.
        if self.news(place) != News::None {
            return Poll::Ready(());
        }
        match &mut *waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            slot => *slot = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes one's request back after [`News`] other than `None`, and its ticket. `None` only if there was no news.
    pub fn collect(&self, place: Place) -> Option<(R, u64)> {
        if self.news(&place) == News::None {
            return None;
        }
        let slot = self.slot(place.slot);
        // SAFETY: after `done` and `appointed` the cells are the owner's.
        let request = unsafe { slot.take() }?;
        // No waker is left behind: a thread has none, and who answers a future holds the lock from before `done` until it has taken
        // the waker. If it has not by now, the slot's next owner waits for the lock before it leaves its own.
        self.free(place.slot);
        Some((request, place.ticket))
    }

    /// Takes one's request back before anybody has claimed it. If it is too late for that, the place is given back.
    pub fn withdraw(&self, place: Place) -> Result<(R, u64), Place> {
        let slot = self.slot(place.slot);
        if slot.change(place.ticket, QUEUED, CLAIMED).is_err() {
            return Err(place);
        }
        self.unlist(place.slot);
        // SAFETY: we took the word away from `queued`, so the cells are ours.
        let request = unsafe { slot.take() };
        *lock(&slot.waker) = None;
        self.free(place.slot);
        // A queued slot holds a request.
        request.map(|r| (r, place.ticket)).ok_or(place)
    }

    /// Leaves a request to itself. Gives it back if nobody has claimed it, or, with `true`, if it is answered; what is
    /// claimed will be thrown away when it is answered.
    pub fn abandon(&self, place: Place) -> Option<(R, bool)> {
        let place = match self.withdraw(place) {
            Ok((request, _)) => return Some((request, false)),
            Err(place) => place,
        };
        match self
            .slot(place.slot)
            .change(place.ticket, CLAIMED, ABANDONED)
        {
            Ok(()) => None,
            Err(_) => self.collect(place).map(|(request, _)| (request, true)),
        }
    }

    /// Waits for a slot, behind all who wait already. A thread is woken when it is its turn; a future says by whom in
    /// [`Queue::poll_room`].
    pub fn enter_room(&self, owner: Owner) -> RoomPlace {
        let notify = match owner {
            Owner::Thread => Some(Notify::Thread(thread::current())),
            Owner::Future => None,
        };
        let place = {
            let mut room = lock(&self.room);
            self.room_wanted.fetch_add(1, Ordering::Relaxed);
            room.enter(notify)
        };
        // See `free`: what was freed before it could see us is granted here.
        fence(Ordering::SeqCst);
        self.grant_slots();
        place
    }

    /// Puts a request into the slot that was granted to somebody in the room; gives both back if it is not its turn yet.
    pub fn enter_from(
        &self,
        place: RoomPlace,
        request: R,
        traits: Traits,
        owner: Owner,
    ) -> Result<Place, (R, RoomPlace)> {
        match lock(&self.room).take(&place) {
            Some(slot) => Ok(self.put_into(slot, request, traits, owner)),
            None => Err((request, place)),
        }
    }

    /// Notes by whom a future in the room is to be woken. To be followed by another look: its turn may just have come.
    pub fn poll_room(&self, place: &RoomPlace, waker: &Waker) {
        lock(&self.room).wake_by(place, waker);
    }

    /// Leaves the room; a slot that was granted goes to the next.
    pub fn leave_room(&self, place: RoomPlace) {
        let left = {
            let mut room = lock(&self.room);
            let before = room.len();
            let left = room.leave(&place);
            self.room_wanted
                .fetch_sub(before - room.len(), Ordering::Relaxed);
            left
        };
        if let Left::Granted(slot) = left {
            self.free(slot);
        }
    }

    /// Wakes everybody in the room: something has happened that they must look at.
    pub fn wake_room(&self) {
        let all = lock(&self.room).notify_all();
        all.into_iter().for_each(Notify::now);
    }

    /// Grants free slots to those who have waited longest.
    fn grant_slots(&self) {
        loop {
            let notify = {
                let mut room = lock(&self.room);
                if room.is_empty() {
                    return;
                }
                let Some(slot) = self.reserve(0) else { return };
                self.room_wanted.fetch_sub(1, Ordering::Relaxed);
                room.grant(slot)
            };
            if let Some(notify) = notify {
                notify.now();
            }
        }
    }
}

/// The block at which the thread of this number begins to look for a slot for a future. Threads that put futures in have started one
/// after the other as a rule, and numbers that follow each other lie far apart here: it is van der Corput's sequence (1935), the
/// number's bits read backwards as a fraction.
fn home(number: usize, blocks: usize) -> usize {
    let fraction = u64::from((number as u32).reverse_bits());
    ((fraction * blocks as u64) >> 32) as usize
}

/// By which one owner can be woken, with few others.
fn mask(slot: usize) -> u32 {
    1 << (slot % 32)
}

fn bit(index: usize) -> u64 {
    1 << (index % BLOCK)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
