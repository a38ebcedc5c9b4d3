//! Watches a soak: starts the callers, looks at memory, latency and progress as time goes by, and ends it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::super::load::Pool;
use super::CALLERS;
use super::caller::{self, Kept, Shared};
use super::memory::resident;
use crate::case::Case;
use crate::stats::quantile::Latencies;
use crate::subject::Subject;

/// What was seen.
pub(super) struct Watched {
    pub kept: Kept,
    /// Calls of each caller.
    pub each: Vec<u64>,
    /// Callers that never came back, and why that is known.
    pub stuck: Vec<String>,
    /// Seconds since the beginning, and resident bytes.
    pub memory: Vec<(f64, f64)>,
    /// The end of each stretch of time in seconds, and p50 and p99 of the latencies in it, in nanoseconds.
    pub windows: Vec<(f64, f64, f64)>,
    pub seconds: f64,
}

/// How many stretches of time latencies are told for.
const WINDOWS: u32 = 60;

/// How many samples of memory are taken, at most one in a tenth of a second.
const SAMPLES: u32 = 600;

/// Lets the callers loose for so long. `tick` hears how far it is.
pub(super) fn soak(
    case: &Case,
    pool: &Arc<Pool>,
    subject: &Arc<dyn Subject>,
    length: Duration,
    tick: &mut dyn FnMut(Duration, u64),
) -> Watched {
    let shared = Arc::new(Shared {
        pool: Arc::clone(pool),
        subject: Arc::clone(subject),
        outputs: Arc::clone(&case.outputs),
        started: Instant::now(),
        length,
        stop: AtomicBool::new(false),
        ended: (0..CALLERS).map(|_| AtomicU64::new(0)).collect(),
        window: (0..CALLERS).map(|_| Mutex::new(Latencies::new())).collect(),
    });
    let (send, receive) = mpsc::channel();
    let mut stuck = Vec::new();
    for number in 0..CALLERS {
        let (shared, send) = (Arc::clone(&shared), send.clone());
        let thread = std::thread::Builder::new().name(format!("caller-{number}"));
        let spawned = thread.spawn(move || {
            let kept = caller::run(&shared, number);
            // Who hears of the end may rely on the caller's having let go of the subject.
            drop(shared);
            let _ = send.send(kept);
        });
        if let Err(error) = spawned {
            stuck.push(format!("caller {number} could not be started: {error}"));
        }
    }
    let mut watched = Watched {
        kept: Kept::default(),
        each: Vec::new(),
        stuck: Vec::new(),
        memory: Vec::with_capacity(2 * SAMPLES as usize),
        windows: Vec::with_capacity(2 * WINDOWS as usize),
        seconds: 0.0,
    };
    stuck.extend(look(&shared, case.patience, length, &mut watched, tick));
    watched.seconds = shared.started.elapsed().as_secs_f64();
    shared.stop.store(true, Ordering::Relaxed);
    for _ in 0..CALLERS - stuck.len().min(CALLERS) {
        match receive.recv_timeout(case.patience) {
            Ok(kept) => watched.kept.add(kept),
            Err(_) => {
                let patience = case.patience.as_secs();
                stuck.push(format!(
                    "a caller had not ended {patience} s after the soak"
                ));
                break;
            }
        }
    }
    watched.each = shared
        .ended
        .iter()
        .map(|n| n.load(Ordering::Relaxed))
        .collect();
    watched.stuck = stuck;
    watched
}

/// Looks until the time is over, or nobody gets on. Returns who does not.
fn look(
    shared: &Shared,
    patience: Duration,
    length: Duration,
    watched: &mut Watched,
    tick: &mut dyn FnMut(Duration, u64),
) -> Vec<String> {
    let every = (length / SAMPLES).max(Duration::from_millis(100));
    let window = (length / WINDOWS).max(Duration::from_millis(250));
    let mut window_ends = window;
    let mut seen: Vec<(u64, Instant)> = vec![(0, shared.started); CALLERS];
    loop {
        let left = length.saturating_sub(shared.started.elapsed());
        std::thread::sleep(every.min(left));
        let now = shared.started.elapsed();
        if let Some(bytes) = resident() {
            watched.memory.push((now.as_secs_f64(), bytes as f64));
        }
        if now >= window_ends {
            let mut all = Latencies::new();
            for number in 0..CALLERS {
                all.merge(&std::mem::take(&mut *shared.window(number)));
            }
            if let (Some(p50), Some(p99)) = (all.quantile(0.5), all.quantile(0.99)) {
                watched.windows.push((now.as_secs_f64(), p50, p99));
            }
            window_ends = now + window;
        }
        let mut stuck = Vec::new();
        for (number, (calls, since)) in seen.iter_mut().enumerate() {
            let ended = shared.ended[number].load(Ordering::Relaxed);
            if ended != *calls {
                (*calls, *since) = (ended, Instant::now());
            } else if since.elapsed() >= patience {
                let seconds = since.elapsed().as_secs();
                stuck.push(format!(
                    "caller {number} has waited {seconds} s for the answer to its call {calls}"
                ));
            }
        }
        if !stuck.is_empty() || now >= length {
            return stuck;
        }
        tick(now, seen.iter().map(|(calls, _)| calls).sum());
    }
}
