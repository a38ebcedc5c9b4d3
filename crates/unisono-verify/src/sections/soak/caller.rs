//! One caller of the soak: asks, judges, keeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use unisono::Tensor;

use super::super::load::Pool;
use super::REQUESTS;
use super::history::{End, Record};
use crate::callers::{Answer, Expected, KEPT_DIFFERENCES};
use crate::compare::{Difference, OutputSpec, answer_difference};
use crate::random::Random;
use crate::stats::quantile::Latencies;
use crate::subject::Subject;

/// How long a call with a deadline is given: so long that only a stall is late.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a window of records is.
pub(super) const RECORDED: Duration = Duration::from_millis(50);
/// A slow caller records at least so many calls of a window, a fast one at most so many.
const STRETCH: std::ops::RangeInclusive<usize> = 4..=1_024;

/// What a caller keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub answers: u64,
    pub wrong: u64,
    pub cancelled: u64,
    pub differences: Vec<Difference>,
    pub latencies: Latencies,
}

impl Kept {
    pub fn add(&mut self, other: Kept) {
        self.answers += other.answers;
        self.wrong += other.wrong;
        self.cancelled += other.cancelled;
        self.differences.extend(other.differences);
        self.differences.truncate(KEPT_DIFFERENCES);
        self.latencies.merge(&other.latencies);
    }
}

/// When a window began, and what a caller recorded in it.
pub(super) type Handed = Option<(u64, Vec<Record>)>;

/// What callers and the thread that watches them share.
pub(super) struct Shared {
    pub pool: Arc<Pool>,
    pub subject: Arc<dyn Subject>,
    pub outputs: Arc<[OutputSpec]>,
    pub started: Instant,
    pub stop: AtomicBool,
    /// For each caller, calls that have ended.
    pub ended: Vec<AtomicU64>,
    /// For each caller, latencies since the watcher last looked.
    pub window: Vec<Mutex<Latencies>>,
    /// When the next window of records begins, in nanoseconds since the beginning.
    pub record_from: AtomicU64,
    /// For each caller, what it recorded in the window that began at that time, once it is done with it. The memory goes to and fro between callers
    /// and watcher and is taken before the soak, so that what watches memory does not grow itself.
    pub recorded: Vec<Mutex<Handed>>,
}

impl Shared {
    pub fn recorded(&self, caller: usize) -> MutexGuard<'_, Handed> {
        self.recorded[caller]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn window(&self, caller: usize) -> MutexGuard<'_, Latencies> {
        self.window[caller]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one caller's records of a window, with its pages there.
pub(super) fn room() -> Vec<Record> {
    let blank = Record {
        caller: 0,
        call: 0,
        asked: 0,
        began: 0,
        ended: 0,
        deadline: None,
        end: End::Cancelled,
    };
    let mut room = vec![blank; *STRETCH.end()];
    room.clear();
    room
}

/// The records of one caller.
struct Recorder {
    caller: usize,
    /// The window that was handed over last.
    done: Option<u64>,
    records: Vec<Record>,
}

impl Recorder {
    /// Keeps a call if it belongs to the window, and hands the window over when it is complete.
    fn add(&mut self, shared: &Shared, record: Record) {
        // Acquire: with the watcher's release, so that whoever hears of a window finds room at its place.
        let from = shared.record_from.load(Ordering::Acquire);
        if self.done == Some(from) || record.began < from {
            return;
        }
        let until = from.saturating_add(RECORDED.as_nanos() as u64);
        let enough = self.records.len() >= *STRETCH.start() && record.began >= until;
        if !enough {
            self.records.push(record);
        }
        if enough || self.records.len() >= *STRETCH.end() {
            self.hand_over(shared, from);
        }
    }

    fn hand_over(&mut self, shared: &Shared, window: u64) {
        self.done = Some(window);
        let mut place = shared.recorded(self.caller);
        // The watcher leaves room there before it opens a window.
        let room = place.take().map(|(_, room)| room).unwrap_or_default();
        *place = Some((window, std::mem::replace(&mut self.records, room)));
        drop(place);
        self.records.clear();
    }
}

/// How a call is made.
enum Manner {
    Plain,
    Deadline,
    Waited,
    Dropped,
}

/// Asks until it is told to stop.
pub(super) fn run(shared: &Shared, caller: usize) -> Kept {
    let mut kept = Kept::default();
    let mut random = Random::new(0, &[0x50a4, caller as u64]);
    let mut recorder = Recorder {
        caller,
        done: None,
        records: room(),
    };
    let mut call = 0;
    // Relaxed: the flag and the counters order nothing; what is kept comes with the thread's end.
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = random.below(REQUESTS);
        let manner = match random.below(32) {
            0 => Manner::Dropped,
            1 => Manner::Waited,
            2 | 3 => Manner::Deadline,
            _ => Manner::Plain,
        };
        let began = shared.started.elapsed();
        let deadline = matches!(manner, Manner::Deadline).then(|| began + PATIENCE);
        let end = one(shared, caller, call, asked, &manner, deadline, &mut kept);
        let ended = shared.started.elapsed();
        if end != End::Cancelled {
            let nanoseconds = (ended - began).as_nanos() as u64;
            kept.latencies.add(nanoseconds);
            shared.window(caller).add(nanoseconds);
        }
        let record = Record {
            caller,
            call,
            asked,
            began: began.as_nanos() as u64,
            ended: ended.as_nanos() as u64,
            deadline: deadline.map(|d| d.as_nanos() as u64),
            end,
        };
        recorder.add(shared, record);
        call += 1;
        shared.ended[caller].store(call, Ordering::Relaxed);
    }
    if !recorder.records.is_empty() {
        let window = shared.record_from.load(Ordering::Relaxed);
        recorder.hand_over(shared, window);
    }
    kept
}

/// One call and the judgement on it.
fn one(
    shared: &Shared,
    caller: usize,
    call: u64,
    asked: usize,
    manner: &Manner,
    deadline: Option<Duration>,
    kept: &mut Kept,
) -> End {
    let job = shared.pool.job(asked);
    let tensors = &job.request.tensors;
    let ask = || match manner {
        Manner::Plain => shared.subject.run(tensors).map(Some),
        Manner::Deadline => {
            let by = shared.started + deadline.unwrap_or(PATIENCE);
            shared.subject.run_by(tensors, by).map(Some)
        }
        Manner::Waited => shared.subject.start(tensors)?.wait().map(Some),
        Manner::Dropped => shared.subject.start(tensors).map(|pending| {
            drop(pending);
            None
        }),
    };
    let result = catch_unwind(AssertUnwindSafe(ask));
    let mut wrong = |difference: Difference| {
        kept.wrong += 1;
        if kept.differences.len() < KEPT_DIFFERENCES {
            let during = format!("caller {caller}, call {call} of request {asked}");
            kept.differences.push(difference.during(during));
        }
    };
    kept.answers += 1;
    match result {
        Ok(Ok(Some(answer))) => {
            let Expected::Answer(alone) = &job.expected else {
                return End::Answer(None);
            };
            match answer_difference(&shared.outputs, &answer, alone) {
                None => End::Answer(Some(asked)),
                Some(difference) => {
                    wrong(difference);
                    End::Answer(whose(shared, &answer))
                }
            }
        }
        Ok(Ok(None)) => {
            kept.answers -= 1;
            kept.cancelled += 1;
            End::Cancelled
        }
        Ok(Err(error)) => {
            wrong(Difference::of_kind(
                "",
                format!("an error: {error}"),
                "an answer",
            ));
            End::Error
        }
        Err(_) => {
            wrong(Difference::of_kind("", "a panic", "an answer"));
            End::Error
        }
    }
}

/// The request that this is the answer to.
fn whose(shared: &Shared, answer: &[Tensor]) -> Option<usize> {
    let is_answer = |alone: &Answer| answer_difference(&shared.outputs, answer, alone).is_none();
    (0..REQUESTS).find(|&number| match &shared.pool.job(number).expected {
        Expected::Answer(alone) => is_answer(alone),
        _ => false,
    })
}
