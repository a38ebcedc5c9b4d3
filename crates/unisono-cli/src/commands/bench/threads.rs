//! Threads that load a model, and the window that is laid over what they do.
//!
//! The one idea: they run freely from start to end, and a request counts if it is answered inside the window, so neither
//! starting nor stopping the threads is measured.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::window::{Seen, Watcher, Window};

const WARMING: u8 = 0;
const OPEN: u8 = 1;
const OVER: u8 = 2;

/// A thread's count of answers, on cache lines of its own so that counting disturbs nobody.
#[derive(Default)]
#[repr(align(128))]
struct Answered(AtomicU64);

/// Where the threads and the window stand.
pub struct Stage<E> {
    phase: AtomicU8,
    answered: Vec<Answered>,
    failed: Mutex<Option<E>>,
}

/// Why there is no measurement.
#[derive(Debug)]
pub enum LoopError<E> {
    /// A call failed.
    Call(E),
    /// A thread could not be started.
    Thread(std::io::Error),
}

// Relaxed throughout: the numbers order nothing, and joining the threads publishes the latencies.
impl<E> Stage<E> {
    /// Is it time to stop?
    pub fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }

    /// A request of a thread is answered; says whether that is inside the window.
    pub fn answered(&self, thread: usize) -> bool {
        self.answered[thread].0.fetch_add(1, Ordering::Relaxed);
        self.phase.load(Ordering::Relaxed) == OPEN
    }

    /// A request has failed, which ends it for all threads.
    pub fn failed(&self, error: E) {
        let mut first = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        self.phase.store(OVER, Ordering::Relaxed);
    }

    /// How many requests each thread has had answered.
    fn each(&self) -> impl Iterator<Item = u64> + '_ {
        self.answered.iter().map(|a| a.0.load(Ordering::Relaxed))
    }
}

/// Lets so many threads do `work` until it is over, which gives the latencies of what was answered inside the window. Each thread
/// keeps `kept(thread)` requests under way. The window opens when every thread has had at least as many answers, and stays
/// open until there are as many as all of them keep.
///
/// # Errors
/// The first error of any request. If a thread cannot be started, that.
pub fn under_a_window<E: Send>(
    threads: usize,
    window: Window,
    kept: impl Fn(usize) -> usize + Sync,
    work: impl Fn(usize, &Stage<E>) -> Vec<Duration> + Sync,
    watcher: &mut impl Watcher,
) -> Result<Seen, LoopError<E>> {
    let stage = Stage {
        phase: AtomicU8::new(WARMING),
        answered: (0..threads).map(|_| Answered::default()).collect(),
        failed: Mutex::new(None),
    };
    let (stage, work) = (&stage, &work);
    let all: u64 = (0..threads).map(|thread| kept(thread) as u64).sum();
    let total = || stage.each().sum::<u64>();
    let everybody = || {
        (0..)
            .zip(stage.each())
            .all(|(thread, n)| n >= kept(thread) as u64)
    };
    std::thread::scope(|scope| {
        let mut running = Vec::with_capacity(threads);
        for number in 0..threads {
            let spawned = std::thread::Builder::new()
                .name(format!("caller-{number}"))
                .spawn_scoped(scope, move || work(number, stage));
            match spawned {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    stage.phase.store(OVER, Ordering::Relaxed);
                    return Err(LoopError::Thread(error));
                }
            }
        }
        let started = Instant::now();
        while !stage.is_over() && (started.elapsed() < window.warm_up || !everybody()) {
            nap(window.warm_up.saturating_sub(started.elapsed()));
        }
        watcher.opened();
        let before = total();
        let opened = Instant::now();
        // An error may have ended it already.
        let _ = stage
            .phase
            .compare_exchange(WARMING, OPEN, Ordering::Relaxed, Ordering::Relaxed);
        while !stage.is_over() && (opened.elapsed() < window.measured || total() - before < all) {
            watcher.progress(total() - before, opened.elapsed());
            nap(window.measured.saturating_sub(opened.elapsed()));
        }
        stage.phase.store(OVER, Ordering::Relaxed);
        let elapsed = opened.elapsed();
        watcher.closed();
        let mut latencies = Vec::new();
        for thread in running {
            match thread.join() {
                Ok(own) => latencies.extend(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let mut failed = stage.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.take() {
            Some(error) => Err(LoopError::Call(error)),
            None => Ok(Seen::new(elapsed, latencies)),
        }
    })
}

fn nap(left: Duration) {
    std::thread::sleep(left.clamp(Duration::from_millis(1), Duration::from_millis(100)));
}
