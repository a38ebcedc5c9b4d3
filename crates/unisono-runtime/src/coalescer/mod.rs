//! The coalescer: callers become batches, with no timer and no tax (contracts C2, C3, C6).
//!
//! The one idea: there is no batching thread and no delay. Whoever comes when nobody leads is the *leader* and runs at once;
//! whoever comes meanwhile waits in a [`queue`], and what waits when a leader's lane is ready *is* the next batch. A
//! lone caller is a leader whose queue is empty: it runs in place and never touches the queue.
//!
//! # Protocol
//!
//! *Leadership* is a permit, of which there is one, or as many as lanes where batching does not pay. A caller that gets none puts
//! its request into the queue and then asks for a permit once more; a leader that gives its permit back then looks at
//! the queue once more. Between writing one side and reading the other both pass a sequentially consistent fence, so one of the two sees the
//! other and no request is left behind. Who gives a permit back and finds requests waiting *hands on*: it takes
//! the permit again and appoints the owner of the oldest request that a thread waits for. While threads that have just been answered
//! are waking up, that is left to the last of them: usually one of them has come back and leads by then. If only futures wait, a
//! background thread of the device leads for them.
//!
//! # Closed loops
//!
//! Callers that ask again as soon as they are answered would settle in batches of 1 and C - 1: the leader returns
//! first, comes back first, finds nobody waiting, and leads alone, while the others are still waking up. So answers that
//! have been given and not yet picked up are counted ([`Coalescer::returning`]). While some are outstanding, their owners are about to
//! run, and a leader lets them ([`Leadership::recall`]): it yields the core as long as that brings somebody
//! back, and pauses for a moment for the last of them to ask again, and for those who have picked their answers up already. It does not wait for
//! anybody who does not come, and where nobody is on the way back, as for a lone caller, it never yields. Where several may lead and many
//! are on the way, it goes on with its share of them: the rest are the next leader's.
//!
//! What it must never do: look at a request's contents, or choose arithmetic.

pub mod bell;
pub mod choice;
pub mod queue;
pub mod room;

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::stripes::Padded;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{SpinWindow, park_until, spin_loop, thread};
use choice::{Rules, choose};
use queue::{Appointed, Bells, Claim, News, Owner, Place, Queue, Traits, Waiting};
use room::RoomPlace;

/// How often in a row a leader yields without anybody coming back before it goes on without them. A yield is a system call of
/// a fraction of a microsecond if nobody else can run on the core.
const PATIENCE: usize = if cfg!(any(loom, shuttle)) { 1 } else { 256 };

/// How many times a leader pauses for those who have just come back to ask again, if they are going to: a microsecond or two.
const ASKING_PAUSES: usize = if cfg!(any(loom, shuttle)) { 0 } else { 100 };

/// After so many pauses for them the leader yields the core.
const ASKING_YIELDS: usize = 20;

/// Where several may lead, and more than so many are near, a leader goes on with its share of them.
const FEW: usize = if cfg!(any(loom, shuttle)) { 1 } else { 12 };

/// After so many looks those who did not ask in time are looked for again.
const LOOKS: usize = 16;

/// Called with a permit when requests wait that no thread waits for: somebody has to lead ([`Coalescer::lead_on`]).
pub type Background = Box<dyn Fn() + Send + Sync>;

/// See the [module](self).
///
/// What every caller writes has cache lines of its own, so that what is only read stays in everybody's cache.
pub struct Coalescer<R> {
    queue: Queue<R>,
    leaders: Padded<AtomicUsize>,
    permits: AtomicUsize,
    /// Answers given and not yet picked up, and leaders who have appointed another and are not yet gone.
    returning: Padded<AtomicUsize>,
    /// Those of them that a thread is being woken for: it will run, and see to those who wait.
    waking: Padded<AtomicUsize>,
    near: Padded<Near>,
    /// See [`Coalescer::set_asking`].
    asking_ns: AtomicU64,
    closed: AtomicBool,
    background: Background,
}

/// What leaders tell each other of those who may come.
#[derive(Default)]
struct Near {
    /// So many of those who return did not come when they were waited for; they are not waited for again.
    given_up: AtomicUsize,
    /// Who may be about to ask: those of the last batch and those who waited then. 0 once a leader has looked for them.
    callers: AtomicUsize,
    /// So many of them did not ask in time when they were looked for.
    absent: AtomicUsize,
    /// Times that a leader has looked.
    looks: AtomicUsize,
}

/// Why a request came back without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its deadline passed while it waited.
    Late,
    /// The queue was full.
    Full,
    /// [`Coalescer::refuse_all`].
    Closed,
}

/// How a wait ended.
pub enum Turn<'a, R: Send> {
    /// Another leader has answered.
    Answered(R),
    /// The caller leads, with its own request, which has this place in the order of arrival.
    Lead(Leadership<'a, R>, R, u64),
    /// It was not run.
    Refused(R, Refusal),
}

/// What happens to a request when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It is refused at once.
    Refuse,
    /// It waits for room until then.
    Until(Instant),
    /// It waits for room.
    Wait,
}

impl Room {
    /// Until when a request with this deadline waits for room, and what it is told then; `None` if it does not wait.
    pub fn patience(self, deadline: Option<Instant>) -> Option<(Option<Instant>, Refusal)> {
        match self {
            Room::Refuse => None,
            Room::Until(until) if deadline.is_none_or(|d| until < d) => {
                Some((Some(until), Refusal::Full))
            }
            Room::Wait | Room::Until(_) => Some((deadline, Refusal::Late)),
        }
    }
}

/// The permit to lead. Dropping it hands leadership on.
pub struct Leadership<'a, R: Send> {
    coalescer: &'a Coalescer<R>,
}

/// How a thread looks for its answer before it sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spin {
    /// For how long.
    pub time: Duration,
    /// Between two looks it lets others have the core: for when there are more such threads than cores.
    pub gives_way: bool,
}

/// What a thread does while it waits, and is told of its wait.
pub trait Meanwhile {
    /// It may work for others, and says whether it did. Called before it sleeps.
    fn lend(&mut self) -> bool;
    /// How it looks for its answer before it sleeps.
    fn spin(&mut self) -> Spin {
        Spin::default()
    }
    /// The queue is full: it waits for room.
    fn waits_for_room(&mut self) {}
    /// It has found room.
    fn found_room(&mut self) {}
}

impl<F: FnMut() -> bool> Meanwhile for F {
    fn lend(&mut self) -> bool {
        self()
    }
}

impl<R: Send> Coalescer<R> {
    /// A coalescer in which so many requests may wait.
    pub fn new(capacity: usize, background: Background) -> Coalescer<R> {
        Coalescer {
            queue: Queue::new(capacity),
            leaders: Padded::default(),
            permits: AtomicUsize::new(1),
            returning: Padded::default(),
            waking: Padded::default(),
            near: Padded::default(),
            asking_ns: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            background,
        }
    }

    /// Sets how many may lead at the same time, at least one.
    pub fn set_permits(&self, permits: usize) {
        // Relaxed: a later leader may be the first to see it. Everybody reads it, so it is written only if it changes.
        let permits = permits.max(1);
        if self.permits.load(Ordering::Relaxed) != permits {
            self.permits.store(permits, Ordering::Relaxed);
        }
    }

    /// Sets how long a leader waits, beyond a moment, for those of the last batch who are about to ask again. Worth it where starting a
    /// batch costs much more; who does not come is not waited for again soon.
    pub fn set_asking(&self, time: Duration) {
        // Relaxed: as above.
        self.asking_ns
            .store(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Nobody to be woken yet.
    pub fn wake_ups(&self) -> WakeUps<'_, R> {
        WakeUps {
            queue: &self.queue,
            bells: Bells::default(),
        }
    }

    /// The queue.
    pub fn queue(&self) -> &Queue<R> {
        &self.queue
    }

    /// Answers given and not yet picked up by their owners.
    pub fn returning(&self) -> usize {
        self.returning.load(Ordering::Relaxed)
    }

    /// Does nobody wait, is nobody on the way back, and nobody expected to ask again? Then a leader may run in place.
    pub fn is_quiet(&self) -> bool {
        self.queue.waiting() == 0
            && self.returning() <= self.near.given_up.load(Ordering::Relaxed)
            // Nobody has looked yet for those of the last batch.
            && self.near.callers.load(Ordering::Relaxed) == 0
    }

    /// The permit to lead, if there is one.
    pub fn try_lead(&self) -> Option<Leadership<'_, R>> {
        let permits = self.permits.load(Ordering::Relaxed);
        let mut leaders = self.leaders.load(Ordering::Relaxed);
        while leaders < permits {
            // Acquire pairs with the Release in `hand_on`: leaders follow each other.
            match self.leaders.compare_exchange_weak(
                leaders,
                leaders + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(Leadership { coalescer: self }),
                Err(now) => leaders = now,
            }
        }
        None
    }

    /// Takes up the permit that [`Background`] was called with.
    pub fn lead_on(&self) -> Leadership<'_, R> {
        Leadership { coalescer: self }
    }

    /// Lets a thread's request wait for its turn or its answer.
    pub fn turn(
        &self,
        request: R,
        traits: Traits,
        deadline: Option<Instant>,
        room: Room,
        mut meanwhile: impl Meanwhile,
    ) -> Turn<'_, R> {
        let mut place = match self.queue.put(request, traits, Owner::Thread) {
            Ok(place) => place,
            Err(request) => {
                match self.wait_for_room(request, traits, deadline, room, &mut meanwhile) {
                    Ok(place) => place,
                    Err((request, why)) => return Turn::Refused(request, why),
                }
            }
        };
        // Our request is counted in the queue; the leader gives its permit back, then looks at the count. See the protocol.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            match self.queue.withdraw(place) {
                Ok((request, _)) => return Turn::Refused(request, Refusal::Closed),
                Err(back) => place = back,
            }
        } else if let Some(leadership) = self.try_lead() {
            match self.queue.withdraw(place) {
                Ok((request, ticket)) => return Turn::Lead(leadership, request, ticket),
                // Another leader has it already, or we are appointed; this permit goes on to somebody else.
                Err(back) => place = back,
            }
        }
        let mut in_time = true;
        let spin = meanwhile.spin();
        let mut window = SpinWindow::new(spin.time);
        loop {
            match self.queue.news(&place) {
                News::None => {}
                news => {
                    let Some((request, ticket)) = self.queue.collect(place) else {
                        unreachable!("news stays news until its owner collects it");
                    };
                    return match news {
                        News::Lead => Turn::Lead(self.lead_on(), request, ticket),
                        _ => {
                            self.woken();
                            Turn::Answered(request)
                        }
                    };
                }
            }
            let mut looks_again = || match spin.gives_way {
                true => window.yield_core(),
                false => window.pause(),
            };
            if meanwhile.lend() || looks_again() {
                continue;
            }
            if in_time {
                in_time = self.queue.sleep(&place, deadline);
            } else {
                match self.queue.withdraw(place) {
                    Ok((request, _)) => return Turn::Refused(request, Refusal::Late),
                    Err(back) => place = back,
                }
                // Claimed: its leader reads its inputs, so it stays until that is over.
                self.queue.sleep(&place, None);
            }
        }
    }

    fn wait_for_room(
        &self,
        mut request: R,
        traits: Traits,
        deadline: Option<Instant>,
        room: Room,
        meanwhile: &mut impl Meanwhile,
    ) -> Result<Place, (R, Refusal)> {
        let Some((until, why)) = room.patience(deadline) else {
            return Err((request, Refusal::Full));
        };
        meanwhile.waits_for_room();
        let mut place = self.queue.enter_room(Owner::Thread);
        let mut in_time = true;
        loop {
            match self.queue.enter_from(place, request, traits, Owner::Thread) {
                Ok(place) => {
                    meanwhile.found_room();
                    return Ok(place);
                }
                Err(back) => (request, place) = back,
            }
            let closed = self.closed.load(Ordering::Relaxed);
            if closed || !in_time {
                self.queue.leave_room(place);
                return Err((request, if closed { Refusal::Closed } else { why }));
            }
            in_time = park_until(until);
        }
    }

    /// Puts a future's request into the queue and sees to it that somebody leads.
    ///
    /// # Errors
    /// The request, if there is no room or no more are taken.
    pub fn submit(&self, request: R, traits: Traits) -> Result<Place, (R, Refusal)> {
        match self.queue.put(request, traits, Owner::Future) {
            Ok(place) => self.submitted(place),
            Err(request) => Err((request, Refusal::Full)),
        }
    }

    /// The same for one that waits for room. If its turn has not come, it gets both back and will be woken.
    ///
    /// # Errors
    /// The request, if no more are taken.
    pub fn submit_from(
        &self,
        room: RoomPlace,
        request: R,
        traits: Traits,
        cx: &Context<'_>,
    ) -> Result<Result<Place, (R, RoomPlace)>, R> {
        let enter = |room, request| self.queue.enter_from(room, request, traits, Owner::Future);
        let entered = enter(room, request).or_else(|(request, room)| {
            self.queue.poll_room(&room, cx.waker());
            enter(room, request)
        });
        match entered {
            Ok(place) => match self.submitted(place) {
                Ok(place) => Ok(Ok(place)),
                Err((request, _)) => Err(request),
            },
            Err(outside) => Ok(Err(outside)),
        }
    }

    fn submitted(&self, mut place: Place) -> Result<Place, (R, Refusal)> {
        // See the protocol.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            match self.queue.withdraw(place) {
                Ok((request, _)) => return Err((request, Refusal::Closed)),
                Err(back) => place = back,
            }
        }
        // Dropped at once: that hands on to whoever waits, or to the background.
        drop(self.try_lead());
        Ok(place)
    }

    /// Is a future's request answered? Its waker is kept until it is.
    pub fn poll(&self, place: &Place, cx: &Context<'_>) -> Poll<()> {
        self.queue.poll_news(place, cx)
    }

    /// Takes a future's answered request back.
    pub fn collect(&self, place: Place) -> Option<R> {
        let (request, _) = self.queue.collect(place)?;
        self.picked_up();
        Some(request)
    }

    /// Leaves a future's request to itself: it is not run if nobody has begun. Gives it back unless somebody has.
    pub fn abandon(&self, place: Place) -> Option<R> {
        let (request, answered) = self.queue.abandon(place)?;
        if answered {
            self.picked_up();
        }
        Some(request)
    }

    /// A thread has picked its answer up. The last one of a batch sees to those who wait meanwhile.
    fn woken(&self) {
        self.picked_up();
        // Release and the fence: as a leader that gives its permit back. See the protocol.
        if self.waking.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::SeqCst);
            if self.queue.is_waited_in() {
                drop(self.try_lead());
            }
        }
    }

    fn picked_up(&self) {
        self.returning.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes no more requests and gives those that wait to `refuse`, which makes their answers.
    pub fn refuse_all(&self, mut refuse: impl FnMut(&mut R)) {
        self.closed.store(true, Ordering::Relaxed);
        // Who puts a request after this sweep passes a fence between the queue and the flag, so it sees the flag.
        fence(Ordering::SeqCst);
        let mut list = Vec::new();
        self.queue.look(&mut list);
        let mut bells = Bells::default();
        self.queue.claim_all(&mut list, |mut claim| {
            refuse(claim.request_mut());
            self.returning.fetch_add(1, Ordering::Relaxed);
            self.finish(claim, &mut bells);
        });
        self.queue.ring(bells);
        self.queue.wake_room();
    }

    /// It is counted as returning already: before its owner can pick it up.
    fn finish(&self, claim: Claim<'_, R>, bells: &mut Bells) {
        let by_thread = claim.is_by_thread();
        if by_thread {
            self.waking.fetch_add(1, Ordering::Relaxed);
        }
        if !claim.finish(bells) {
            self.picked_up();
        }
    }

    /// Gives a permit back, or on to somebody who waits.
    fn hand_on(&self) {
        loop {
            // Release pairs with the Acquire in `try_lead`.
            self.leaders.fetch_sub(1, Ordering::Release);
            // See the protocol.
            fence(Ordering::SeqCst);
            // Threads that have been answered are being woken. Whoever of them comes back leads for those who wait, at no cost; the
            // last of them appoints somebody if none does.
            if !self.queue.is_waited_in() || self.waking.load(Ordering::Relaxed) > 0 {
                return;
            }
            let Some(leadership) = self.try_lead() else {
                // Whoever has it looks at the queue after us.
                return;
            };
            std::mem::forget(leadership);
            // The appointed one is woken and may at once get the core of this thread, which has just used it for a whole batch and
            // will not get it back for several more: the scheduler is fair. It counts as somebody on the way back, so the new
            // leader yields to it.
            self.returning.fetch_add(1, Ordering::Relaxed);
            let appointed = self.queue.appoint();
            self.picked_up();
            match appointed {
                Appointed::Thread => return,
                Appointed::NoThreadWaits => return (self.background)(),
                // One may have come meanwhile, seen that somebody leads, and gone to sleep: once more.
                Appointed::NobodyWaits => {}
            }
        }
    }
}

impl<'c, R: Send> Leadership<'c, R> {
    /// Hands leadership on and wakes those who were answered. Where several may lead, they do so while this thread is busy with waking.
    /// Where it is the only one, the next leader would wait for those who wake up in any case, and leave this thread behind.
    pub fn end(self, wake_ups: WakeUps<'_, R>) {
        match self.coalescer.permits.load(Ordering::Relaxed) {
            1 => {
                drop(wake_ups);
                drop(self);
            }
            _ => {
                drop(self);
                drop(wake_ups);
            }
        }
    }

    /// Lets those who have been answered come back, as long as they do. See [closed loops](self#closed-loops).
    pub fn recall(&self) {
        let c = self.coalescer;
        let mut outstanding = c.returning();
        let mut given_up = c.near.given_up.load(Ordering::Relaxed);
        if outstanding < given_up {
            given_up = outstanding;
            c.near.given_up.store(given_up, Ordering::Relaxed);
        }
        // Those of the last batch who have picked their answers up already are about to ask, too.
        let others = c.near.callers.swap(0, Ordering::Relaxed).saturating_sub(1);
        let absent = match c.near.looks.fetch_add(1, Ordering::Relaxed) % LOOKS {
            0 => 0,
            _ => c.near.absent.load(Ordering::Relaxed),
        };
        let expected = c.queue.waiting() + outstanding.saturating_sub(given_up);
        let expected = expected.max(others.saturating_sub(absent));
        let others_may_lead = c.permits.load(Ordering::Relaxed).saturating_sub(1);
        let many = c.queue.waiting() + outstanding > FEW;
        let mut in_vain = 0;
        while outstanding > given_up {
            // The rest are the next leader's, who may close a batch while this one's is under way. All of them take longer to wake than
            // a batch takes.
            if many && c.queue.waiting() * others_may_lead >= outstanding {
                return;
            }
            if in_vain == PATIENCE {
                c.near.given_up.store(outstanding, Ordering::Relaxed);
                return;
            }
            thread::yield_now();
            let now = c.returning();
            in_vain = if now < outstanding { 0 } else { in_vain + 1 };
            outstanding = now;
        }
        // They run on other cores at this moment, between their answer and their next request, if there is one.
        let mut pauses = ASKING_PAUSES;
        let mut window = SpinWindow::new(Duration::from_nanos(c.asking_ns.load(Ordering::Relaxed)));
        while c.queue.waiting() < expected && (pauses > 0 || window.pause()) {
            pauses = pauses.saturating_sub(1);
            // One of them may wait for this very core.
            if pauses % ASKING_YIELDS == 1 {
                thread::yield_now();
            }
            spin_loop();
        }
        if others > 0 {
            let missing = others.saturating_sub(c.queue.waiting());
            c.near.absent.store(missing, Ordering::Relaxed);
        }
    }

    /// Closes the batch: claims those that share it and hands each to `take`. `own` is the leader's own request, which is in no
    /// queue; whether it is in the batch is what is returned. `list` is scratch memory.
    pub fn close(
        &self,
        own: Option<(u64, Traits)>,
        rules: &Rules,
        list: &mut Vec<Waiting>,
        take: impl FnMut(Claim<'c, R>),
    ) -> bool {
        let queue = &self.coalescer.queue;
        list.clear();
        queue.look(list);
        list.extend(own.map(|(ticket, traits)| Waiting::new(ticket, traits)));
        let chosen = choose(list, rules, |w| {
            if !w.is_own() {
                queue.overtake(w);
            }
        });
        let batch = &mut list[..chosen];
        let own_is_in = batch.iter().any(Waiting::is_own);
        queue.note_close();
        queue.claim_all(batch, take);
        own_is_in
    }

    /// Hands answered requests back to their owners. Threads among them that sleep are woken by `wake_ups`.
    pub fn finish<'q>(
        &self,
        answered: impl Iterator<Item = Claim<'q, R>>,
        wake_ups: &mut WakeUps<'_, R>,
    ) where
        R: 'q,
    {
        let returning = &self.coalescer.returning;
        let (least, most) = answered.size_hint();
        // All at once, as many as they may be: everybody writes to this.
        let mut counted = most.unwrap_or(least);
        returning.fetch_add(counted, Ordering::Relaxed);
        let (mut callers, mut finished) = (1, 0);
        for claim in answered {
            finished += 1;
            if finished > counted {
                counted = finished;
                returning.fetch_add(1, Ordering::Relaxed);
            }
            callers += usize::from(claim.is_by_thread());
            self.coalescer.finish(claim, &mut wake_ups.bells);
        }
        if finished < counted {
            returning.fetch_sub(counted - finished, Ordering::Relaxed);
        }
        // Relaxed: hints about who is near.
        callers += self.coalescer.queue.waiting();
        if callers > 1 {
            self.coalescer
                .near
                .callers
                .store(callers, Ordering::Relaxed);
        }
    }
}

/// Threads that were answered and may sleep. Dropping it wakes them, which takes the waker microseconds for each: to be dropped when
/// the lane and the permit are free for the next batch.
#[must_use = "dropping it wakes those who were answered"]
pub struct WakeUps<'a, R: Send> {
    queue: &'a Queue<R>,
    bells: Bells,
}

impl<R: Send> Drop for WakeUps<'_, R> {
    fn drop(&mut self) {
        self.queue.ring(self.bells);
    }
}

impl<R: Send> Drop for Leadership<'_, R> {
    fn drop(&mut self) {
        self.coalescer.hand_on();
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
