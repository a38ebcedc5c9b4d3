//! The worker team of a CPU device: threads that lend a hand, and that nobody waits for.
//!
//! A *leader* (any thread, usually a caller inside `run`) has work in n tiles. It publishes the work in a small table
//! and starts on the tiles itself; workers that happen to be free take tiles from the same counter. The one idea:
//! **taking part and taking a tile are one atomic step**. A worker that is asleep, preempted, or busy elsewhere has
//! therefore promised nothing, and the leader waits only for those who hold a tile when the tiles have run out.
//! Several leaders may publish at once; if the table is full, or the work too small to share, the leader simply does
//! all tiles alone. Any other thread may lend a hand too, through [`Team::help`].
//!
//! Who computes a tile must never be visible in its bits: a tile gets its index and a seat (a number for scratch
//! memory), nothing else. How many tiles there are is the leader's decision, from counted work, before anyone joins.
//!
//! # Protocol
//!
//! One table entry (`slot::Slot`) is an atomic word and a pointer to the job on its leader's stack:
//!
//! ```text
//! free --claim--> owned --publish--> owned, tiles left --take ...--> owned, none left --all have left--> free
//! ```
//!
//! The word holds the number of tiles not yet taken, of seats not yet taken, and of helpers that have not left.
//! *Join* takes a tile and a seat and counts the helper, in one compare-and-swap; it succeeds only while tiles are left.
//! *Take* takes a further tile. *Leave* uncounts the helper. The leader frees the slot when no tile is left and no
//! helper is counted; from then on nobody can reach the job, which may go out of scope.
//!
//! # Sleep
//!
//! Workers that find nothing spin for a while ([`TeamOptions::spin`]), then sleep. A publisher pays for a wake-up only
//! if workers sleep, none of the awake ones suffices, and the work is worth it. No wake-up is lost: see `bed::Bed`.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, SpinWindow, lock, thread};

mod bed;
mod place;
mod slot;

use bed::Bed;
use place::Place;
use slot::{End, Job, MOST_TILES, SeatsLeft, Slot};

/// How many leaders can have work on the table at once. More than that work alone until an entry is free.
const SLOTS: usize = if cfg!(loom) { 2 } else { 8 };

thread_local! {
    /// The most helpers of a job that this thread led, see [`Team::took_part`].
    static HELPERS_MET: Cell<usize> = const { Cell::new(0) };
}

/// Work below this (in estimated nanoseconds on one core) is done by the leader alone: handing a cache line to another
/// core and back costs about as much as a helper would save.
const WORTH_SHARING_NS: u64 = 3_000;

/// See [`TeamOptions::worth_waking`]. A wake-up was measured at 27 µs until the sleeper runs, of which the leader pays the
/// system call.
const WORTH_WAKING: Duration = Duration::from_micros(60);

/// See [`TeamOptions::spin`]. Eight callers need 60 to 100 µs from one shared batch to the next. Beside a worker that is awake they wake up twice as
/// fast as beside a core that has halted, and the next batch finds it at work.
const SPIN: Duration = Duration::from_micros(200);

/// How many sleepers one thread wakes; each of them wakes as many again while tiles are left, so that a large team is
/// up after a logarithmic number of wake-up times.
const WAKE_FANOUT: usize = 2;

/// Most threads of a team: the word of a slot has 12 bits for seats.
pub const MAX_THREADS: usize = 2048;

type ThreadStart = std::sync::Arc<dyn Fn() + Send + Sync>;

/// How a team is made.
#[derive(Clone)]
#[non_exhaustive]
pub struct TeamOptions {
    /// Threads that work at the same time on one job, the leader among them; `threads - 1` workers are started.
    /// Default: the number of cores that this process may use.
    pub threads: usize,
    /// How long an idle worker spins before it sleeps. Zero is allowed. Default: 200 µs.
    pub spin: Duration,
    /// Work of less time on one core never wakes a sleeping worker. Less than the default pays where jobs follow each other so soon that
    /// those woken for one are awake for the next. Default: 60 µs.
    pub worth_waking: Duration,
    /// Called once on every worker thread before its first tile, for state that belongs to a thread (the
    /// floating-point control register).
    pub on_thread_start: Option<ThreadStart>,
}

impl Default for TeamOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            spin: SPIN,
            worth_waking: WORTH_WAKING,
            on_thread_start: None,
        }
    }
}

impl TeamOptions {
    /// Options with the given number of threads; values outside 1 to [`MAX_THREADS`] are clamped.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the time that an idle worker spins.
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Sets from how much work on sleeping workers are woken.
    #[must_use]
    pub fn worth_waking(mut self, work: Duration) -> Self {
        self.worth_waking = work;
        self
    }

    /// Sets what each worker thread does first.
    #[must_use]
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_thread_start = Some(std::sync::Arc::new(f));
        self
    }
}

impl fmt::Debug for TeamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeamOptions")
            .field("threads", &self.threads)
            .field("spin", &self.spin)
            .field("worth_waking", &self.worth_waking)
            .field("on_thread_start", &self.on_thread_start.is_some())
            .finish()
    }
}

/// A team of worker threads. See the [module](self).
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use unisono_runtime::team::{Team, TeamOptions};
///
/// let team = Team::new(TeamOptions::default().threads(2))?;
/// let sum = AtomicUsize::new(0);
/// team.run(100, 1_000_000, |tile, _seat| {
///     sum.fetch_add(tile, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 4950);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<()>>,
    /// The process it was made in; see [`crate::fork`].
    generation: u64,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads())
            .field("spin", &self.shared.spin)
            .finish_non_exhaustive()
    }
}

impl Team {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the operating system refuses a thread; those already started are joined first.
    pub fn new(options: TeamOptions) -> io::Result<Self> {
        let threads = options.threads.clamp(1, MAX_THREADS);
        let mut team = Self {
            shared: Arc::new(Shared::new(threads, options.spin, options.worth_waking)),
            workers: Vec::with_capacity(threads - 1),
            generation: crate::fork::generation(),
        };
        for index in 1..threads {
            let shared = Arc::clone(&team.shared);
            let start = options.on_thread_start.clone();
            let worker = thread::Builder::new()
                .name(format!("unisono-{index}"))
                .spawn(move || {
                    if let Some(start) = start {
                        start();
                    }
                    shared.serve(index);
                })?;
            team.workers.push(worker);
        }
        Ok(team)
    }

    /// A team without workers: every job is done by its leader.
    pub fn solo() -> Self {
        Self {
            shared: Arc::new(Shared::new(1, Duration::ZERO, WORTH_WAKING)),
            workers: Vec::new(),
            generation: crate::fork::generation(),
        }
    }

    /// Threads that work on one job at most, the leader among them. Seats of a job are below this number.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Does `work(tile, seat)` once for every tile in `0..tiles` and returns when all are done.
    ///
    /// The calling thread leads and has seat 0; each helper has another seat below [`Team::threads`], alone, until the
    /// job is done, so a seat can index scratch memory. The leader takes tiles from the first on, helpers from the last
    /// on; nothing else is promised about who computes which tile and when. So cut neighbouring data into neighbouring tiles, and
    /// put what is dearest at both ends ([`by_weight`]). `estimated_ns` is the whole job's time on one core, from counted work: it only
    /// decides whether sharing pays, never what is computed.
    ///
    /// Nothing is allocated. A tile may itself call `run`.
    ///
    /// # Panics
    /// If a tile panics, tiles not yet started are skipped, and the panic goes on in the leader once all helpers have
    /// left. Workers survive it.
    pub fn run<F>(&self, tiles: usize, estimated_ns: u64, work: F)
    where
        F: Fn(usize, usize) + Sync,
    {
        let shared = &*self.shared;
        let helpers = shared.worth_helpers(tiles, estimated_ns);
        if helpers == 0 {
            (0..tiles).for_each(|tile| work(tile, 0));
            return;
        }
        let Some(slot) = shared.claim() else {
            (0..tiles).for_each(|tile| work(tile, 0));
            return;
        };
        shared.lead(slot, tiles, helpers, estimated_ns, &work);
    }

    /// How many threads worked at most on one of the jobs that the calling thread led since it asked last: 1 if it was
    /// always alone. For those who look, never for a decision.
    pub fn took_part() -> usize {
        HELPERS_MET.take() + 1
    }

    /// Takes part in one published job until it has no tile left. `false` if there was none to take.
    ///
    /// For threads that would otherwise sleep.
    pub fn help(&self) -> bool {
        self.shared.help(0, false)
    }

    /// Does a worker sleep? Only then does another thread's [`Team::help`] add to the cores at work.
    pub fn needs_stand_in(&self) -> bool {
        self.shared.bed.sleepers() > 0
    }

    /// Announces that the calling thread is going to lead jobs until the guard is dropped.
    ///
    /// The team asks no more helpers for a job than leave the number of running threads at [`Team::threads`]: with as
    /// many leaders as cores everybody works alone. A leader that never announced itself counts as one.
    pub fn attend(&self) -> Attendance<'_> {
        // Relaxed: a hint about load; nothing is published through it.
        if self.shared.present.fetch_add(1, Ordering::Relaxed) == 0 {
            self.shared.place.clear();
        }
        Attendance { team: self }
    }

    /// Wakes sleeping workers ahead of jobs that are each too small to wake them for, but together worth it.
    ///
    /// Costs nothing if nobody sleeps. The woken spin for [`TeamOptions::spin`] and sleep again if no job comes.
    pub fn rouse(&self, estimated_ns: u64) {
        let wanted = self.shared.free_hands();
        if estimated_ns >= self.shared.worth_waking_ns && wanted > 0 {
            self.shared.bed.wake(wanted.min(WAKE_FANOUT));
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if crate::fork::current() != self.generation {
            // In a forked child the workers do not exist, and a lock may be held by one of them.
            std::mem::forget(std::mem::take(&mut self.workers));
            return;
        }
        self.shared.shut_down();
        // No worker can be the one that drops: while it holds a tile, that tile's leader borrows the team.
        for worker in self.workers.drain(..) {
            // An error here is a panic of `on_thread_start`, which has been printed; there is nothing left to save.
            let _ = worker.join();
        }
    }
}

/// Which piece tile number `tile` of `tiles` should be, if pieces are numbered by falling weight: the heaviest start first, whichever
/// end they are taken from, and what is left for the end is small.
pub fn by_weight(tile: usize, tiles: usize) -> usize {
    if 2 * tile < tiles {
        2 * tile
    } else {
        2 * (tiles - 1 - tile) + 1
    }
}

/// Counts a leader as present, see [`Team::attend`].
#[derive(Debug)]
pub struct Attendance<'a> {
    team: &'a Team,
}

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        self.team.shared.present.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps what one core writes often away from what another reads (two lines, because x86 fetches lines in pairs).
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    slots: [Apart<Slot>; SLOTS],
    bed: Bed,
    /// Leaders that announced themselves.
    present: Apart<AtomicUsize>,
    stop: AtomicBool,
    place: Place,
    threads: usize,
    spin: Duration,
    worth_waking_ns: u64,
}

impl std::ops::Deref for Apart<AtomicUsize> {
    type Target = AtomicUsize;
    fn deref(&self) -> &AtomicUsize {
        &self.0
    }
}

impl Shared {
    fn new(threads: usize, spin: Duration, worth_waking: Duration) -> Self {
        Self {
            slots: std::array::from_fn(|_| Apart(Slot::new())),
            bed: Bed::new(),
            present: Apart(AtomicUsize::new(0)),
            stop: AtomicBool::new(false),
            place: Place::new(threads - 1),
            threads,
            spin,
            worth_waking_ns: u64::try_from(worth_waking.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// How many more threads may run without outnumbering the cores.
    fn free_hands(&self) -> usize {
        let leaders = self.present.load(Ordering::Relaxed).max(1);
        self.threads.saturating_sub(leaders)
    }

    /// How many helpers a job should ask for.
    fn worth_helpers(&self, tiles: usize, estimated_ns: u64) -> usize {
        if estimated_ns < WORTH_SHARING_NS || self.threads == 1 {
            return 0;
        }
        let helpers = self.free_hands().min(tiles.saturating_sub(1));
        let all_asleep = || self.bed.sleepers() + 1 >= self.threads;
        if helpers > 0 && estimated_ns < self.worth_waking_ns && all_asleep() {
            return 0;
        }
        helpers
    }

    fn claim(&self) -> Option<&Slot> {
        self.slots.iter().map(|s| &s.0).find(|s| s.claim())
    }

    fn lead(
        &self,
        slot: &Slot,
        tiles: usize,
        helpers: usize,
        estimated_ns: u64,
        work: &(dyn Fn(usize, usize) + Sync),
    ) {
        // A word counts 2^20 - 1 tiles; what is beyond (never seen in practice) the leader does alone, first.
        let shared_tiles = tiles.min(MOST_TILES);
        (shared_tiles..tiles).for_each(|tile| work(tile, 0));

        let job = Job {
            work,
            seats: helpers as u64,
            panic: Mutex::new(None),
        };
        // From here to `close` nothing may unwind: the job must outlive its helpers. Tiles run under `catch_unwind`.
        slot.publish(&job, shared_tiles as u64);
        self.bed.announce();
        if estimated_ns >= self.worth_waking_ns {
            self.bed.wake(helpers.min(WAKE_FANOUT));
        }
        let SeatsLeft(seats_left) = loop {
            match slot.take(End::Front) {
                Ok(tile) => job.tile(slot, tile, 0),
                Err(left) => break left,
            }
        };
        let met = helpers.saturating_sub(seats_left as usize);
        HELPERS_MET.set(HELPERS_MET.get().max(met));
        slot.close(self.spin);
        let panic = lock(&job.panic).take();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Joins the first job that has tiles left, beginning with slot `first`, and stays until it has none.
    fn help(&self, first: usize, woken: bool) -> bool {
        for i in 0..SLOTS {
            let slot = &self.slots[(first + i) % SLOTS].0;
            let Some(ticket) = slot.join() else { continue };
            // The wake-up was for this job and there is more to do: pass it on.
            if woken && ticket.tiles_left > 0 && ticket.seats_left > 0 {
                self.bed.wake(WAKE_FANOUT.min(ticket.seats_left as usize));
            }
            slot.serve(ticket);
            return true;
        }
        false
    }

    /// The life of a worker.
    fn serve(&self, index: usize) {
        self.place.enter(index);
        let mut woken = false;
        'rounds: loop {
            let seen = self.bed.now();
            // Acquire pairs with the store in `shut_down`; the bed's epoch has changed by then, so it is seen in time.
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if self.help(index, std::mem::take(&mut woken)) {
                continue;
            }
            let mut window = SpinWindow::new(self.spin);
            // Gives way: after a batch its callers wake up, and want the core more than a worker without work.
            while window.give_way() {
                if self.bed.now() != seen {
                    continue 'rounds;
                }
            }
            woken = self.bed.sleep(seen);
        }
    }

    fn shut_down(&self) {
        // Release: what was done before the drop is visible to a worker that sees the flag.
        self.stop.store(true, Ordering::Release);
        self.bed.announce();
        self.bed.wake(usize::MAX);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
