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

/// Calls that begin in the first twentieth of each second are recorded, in soaks of up to a minute. Longer ones record a smaller share, so
/// that all of it is looked at in the same memory.
const RECORDED: Duration = Duration::from_millis(50);
const WITHIN: Duration = Duration::from_secs(60);

/// The most that a caller records.
const MOST_RECORDS: usize = 1 << 14;

/// What a caller keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub answers: u64,
    pub wrong: u64,
    pub cancelled: u64,
    pub differences: Vec<Difference>,
    pub latencies: Latencies,
    /// Stretches without a gap.
    pub records: Vec<Vec<Record>>,
}

impl Kept {
    pub fn add(&mut self, other: Kept) {
        self.answers += other.answers;
        self.wrong += other.wrong;
        self.cancelled += other.cancelled;
        self.differences.extend(other.differences);
        self.differences.truncate(KEPT_DIFFERENCES);
        self.latencies.merge(&other.latencies);
        self.records.extend(other.records);
    }
}

/// What callers and the thread that watches them share.
pub(super) struct Shared {
    pub pool: Arc<Pool>,
    pub subject: Arc<dyn Subject>,
    pub outputs: Arc<[OutputSpec]>,
    pub started: Instant,
    pub length: Duration,
    pub stop: AtomicBool,
    /// For each caller, calls that have ended.
    pub ended: Vec<AtomicU64>,
    /// For each caller, latencies since the watcher last looked.
    pub window: Vec<Mutex<Latencies>>,
}

impl Shared {
    pub fn window(&self, caller: usize) -> MutexGuard<'_, Latencies> {
        self.window[caller]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a call is made.
enum Manner {
    Plain,
    Deadline,
    Waited,
    Dropped,
}

/// Memory for all records, resident from the beginning: the soak watches the memory of this process.
fn records() -> Vec<Record> {
    let nothing = Record {
        caller: usize::MAX,
        call: 0,
        asked: 0,
        began: 0,
        ended: 0,
        deadline: None,
        end: End::Cancelled,
    };
    let mut records = vec![nothing; MOST_RECORDS];
    records.clear();
    records
}

/// Asks until it is told to stop.
pub(super) fn run(shared: &Shared, caller: usize) -> Kept {
    let mut kept = Kept::default();
    let (mut records, mut stretches) = (records(), Vec::with_capacity(1 << 10));
    let share = WITHIN.as_secs_f64() / shared.length.max(WITHIN).as_secs_f64();
    let recorded = RECORDED.mul_f64(share).as_nanos();
    let mut random = Random::new(0, &[0x50a4, caller as u64]);
    let mut call = 0;
    let mut recording = false;
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
        let record_this =
            began.as_nanos() % 1_000_000_000 < recorded && records.len() < MOST_RECORDS;
        let deadline = matches!(manner, Manner::Deadline).then(|| began + PATIENCE);
        let end = one(shared, caller, call, asked, &manner, deadline, &mut kept);
        let ended = shared.started.elapsed();
        if end != End::Cancelled {
            let nanoseconds = (ended - began).as_nanos() as u64;
            kept.latencies.add(nanoseconds);
            shared.window(caller).add(nanoseconds);
        }
        if record_this {
            if !recording {
                stretches.push(records.len());
            }
            records.push(Record {
                caller,
                call,
                asked,
                began: began.as_nanos() as u64,
                ended: ended.as_nanos() as u64,
                deadline: deadline.map(|d| d.as_nanos() as u64),
                end,
            });
        }
        recording = record_this;
        call += 1;
        shared.ended[caller].store(call, Ordering::Relaxed);
    }
    let ends = stretches.iter().skip(1).copied().chain([records.len()]);
    let stretch = |(&from, to): (&usize, usize)| records.get(from..to).map(<[Record]>::to_vec);
    kept.records = stretches.iter().zip(ends).filter_map(stretch).collect();
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
