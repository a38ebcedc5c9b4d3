//! Watches a soak: starts the callers, looks at memory, latency and progress as time goes by, and ends it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::super::load::Pool;
use super::super::resident::resident;
use super::CALLERS;
use super::caller::{self, Kept, Shared, room};
use super::history::{Judge, Judged, Record, Rules};
use crate::case::Case;
use crate::stats::quantile::{Latencies, needed};
use crate::subject::{Rig, Subject};

/// What was seen.
pub(super) struct Watched {
    pub kept: Kept,
    /// Calls of each caller.
    pub each: Vec<u64>,
    /// Callers that never came back, and why that is known.
    pub stuck: Vec<String>,
    /// Seconds since the beginning, and resident bytes.
    pub memory: Vec<(f64, f64)>,
    /// The same for bytes of the device's own memory in use; none if it has none.
    pub on_device: Vec<(f64, f64)>,
    /// What is to be said of the recorded history.
    pub history: Judged,
    pub windows: Vec<Window>,
    pub seconds: f64,
}

/// Latencies in a stretch of time.
pub(super) struct Window {
    /// Its end, in seconds since the beginning.
    pub at: f64,
    /// The quantiles of [`SHARES`], in nanoseconds; `None` with too few latencies.
    pub quantiles: [Option<f64>; SHARES.len()],
}

/// The quantiles that are told over time.
pub(super) const SHARES: [f64; 3] = [0.5, 0.99, 0.999];

/// How many stretches of time latencies are told for, each at least a second.
const WINDOWS: u32 = 60;

/// How many samples of memory are taken, at most one in a tenth of a second.
const SAMPLES: u32 = 600;

/// How often callers are looked after, at least.
const LOOK: Duration = Duration::from_millis(500);

/// From one window of records to the next.
const WINDOW_EVERY: Duration = Duration::from_secs(1);

/// Lets the callers loose for so long. `tick` hears how far it is.
pub(super) fn soak(
    case: &Case,
    pool: &Arc<Pool>,
    (rig, subject): (&dyn Rig, &Arc<dyn Subject>),
    (length, rules): (Duration, Rules),
    tick: &mut dyn FnMut(Duration),
) -> Watched {
    let shared = Arc::new(Shared {
        pool: Arc::clone(pool),
        subject: Arc::clone(subject),
        outputs: Arc::clone(&case.outputs),
        started: Instant::now(),
        stop: AtomicBool::new(false),
        ended: (0..CALLERS).map(|_| AtomicU64::new(0)).collect(),
        window: (0..CALLERS).map(|_| Mutex::new(Latencies::new())).collect(),
        // The first one begins with the soak.
        record_from: AtomicU64::new(0),
        recorded: (0..CALLERS).map(|_| Mutex::default()).collect(),
    });
    let mut records = Records {
        judge: Judge::new(rules),
        window: (0..CALLERS).map(|_| room()).collect(),
    };
    records.open(&shared, Duration::ZERO);
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
        memory: Vec::with_capacity(SAMPLES as usize + 1),
        on_device: Vec::with_capacity(SAMPLES as usize + 1),
        history: Judged::default(),
        windows: Vec::with_capacity(WINDOWS as usize + 1),
        seconds: 0.0,
    };
    let timing = (case.patience, length);
    stuck.extend(look(&shared, rig, timing, &mut records, &mut watched, tick));
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
    watched.history = records.finish(&shared);
    watched
}

/// Takes what callers record, window by window, and has it judged.
struct Records {
    judge: Judge,
    /// One caller's records each; between windows, room for them.
    window: Vec<Vec<Record>>,
}

impl Records {
    /// Leaves room at each caller's place and lets the next window begin.
    fn open(&mut self, shared: &Shared, from: Duration) {
        for (number, room) in self.window.iter_mut().enumerate() {
            room.clear();
            // A window of no time: this is room and no records.
            *shared.recorded(number) = Some((u64::MAX, std::mem::take(room)));
        }
        // Release: after the room.
        shared
            .record_from
            .store(from.as_nanos() as u64, Ordering::Release);
    }

    /// Judges a window that all callers are done with, and opens the next one.
    fn look(&mut self, shared: &Shared) {
        let window = shared.record_from.load(Ordering::Relaxed);
        let done = |number| matches!(&*shared.recorded(number), Some((of, _)) if *of == window);
        if !(0..shared.recorded.len()).all(done) {
            return;
        }
        self.take(shared, window);
        self.judge.add(&self.window);
        let next = shared.started.elapsed() + Duration::from_millis(10);
        self.open(
            shared,
            next.max(Duration::from_nanos(window) + WINDOW_EVERY),
        );
    }

    fn take(&mut self, shared: &Shared, window: u64) {
        for (number, records) in self.window.iter_mut().enumerate() {
            records.clear();
            if let Some((of, taken)) = shared.recorded(number).take() {
                *records = taken;
                if of != window {
                    records.clear();
                }
            }
        }
    }

    /// Judges the last window as far as it came.
    fn finish(mut self, shared: &Shared) -> Judged {
        let window = shared.record_from.load(Ordering::Relaxed);
        self.take(shared, window);
        self.judge.add(&self.window);
        self.judge.finish()
    }
}

/// Looks until the time is over, or nobody gets on. Returns who does not.
fn look(
    shared: &Shared,
    rig: &dyn Rig,
    (patience, length): (Duration, Duration),
    records: &mut Records,
    watched: &mut Watched,
    tick: &mut dyn FnMut(Duration),
) -> Vec<String> {
    let every = (length / SAMPLES).max(Duration::from_millis(100));
    let window = (length / WINDOWS).max(Duration::from_secs(1));
    let (mut window_ends, mut sample_at) = (window, every);
    let mut all = Latencies::new();
    let mut seen: Vec<(u64, Instant)> = vec![(0, shared.started); CALLERS];
    loop {
        let left = length.saturating_sub(shared.started.elapsed());
        std::thread::sleep(every.min(LOOK).min(left));
        let now = shared.started.elapsed();
        if now >= sample_at {
            if let Some(bytes) = resident() {
                watched.memory.push((now.as_secs_f64(), bytes as f64));
            }
            if let Some(bytes) = rig.device_bytes() {
                watched.on_device.push((now.as_secs_f64(), bytes as f64));
            }
            sample_at = now + every;
        }
        if now >= window_ends {
            all.clear();
            for number in 0..CALLERS {
                let mut own = shared.window(number);
                all.merge(&own);
                own.clear();
            }
            let known = |share| all.count() >= needed(share);
            let quantile = |share: f64| known(share).then(|| all.quantile(share)).flatten();
            watched.windows.push(Window {
                at: now.as_secs_f64(),
                quantiles: SHARES.map(quantile),
            });
            window_ends = now + window;
        }
        records.look(shared);
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
        tick(now);
    }
}
