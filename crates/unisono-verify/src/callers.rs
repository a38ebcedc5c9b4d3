//! Many callers at once, and a judge on every answer.
//!
//! The one idea: callers are plain threads that share the subject by reference, without a lock of ours anywhere between
//! them. Each has a script of requests of its own, starts with the others at one signal, judges its own answers, and
//! reports at the end. The thread that waits for them notices when nothing happens any more: a call that does not return is
//! a result, not a reason to wait for ever.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use unisono::{ErrorKind, Tensor};

use crate::compare::{Difference, OutputSpec, answer_difference, row_difference};
use crate::requests::Request;
use crate::subject::Subject;

/// The outputs of one answer.
pub type Answer = Arc<Vec<Tensor>>;

/// One request and what its answer must be.
#[derive(Debug)]
pub struct Job {
    /// What is asked.
    pub request: Request,
    /// What must come back.
    pub expected: Expected,
}

/// What must come back.
#[derive(Debug)]
pub enum Expected {
    /// This answer, the one to the same request alone.
    Answer(Answer),
    /// For each row of the request, the row of the answer to that row alone.
    Rows(Vec<Answer>),
    /// An error: the request is wrong on purpose, in the way that is said here.
    Refusal(&'static str),
    /// An error, because the request is late.
    Late,
    /// This answer, or an error of one of these kinds.
    AnswerOr(Answer, &'static [ErrorKind]),
}

/// What each caller asks, in order.
pub type Scripts = Vec<Vec<Arc<Job>>>;

/// How many differences are kept; further ones are only counted.
pub const KEPT_DIFFERENCES: usize = 5;

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that returned.
    pub answers: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Requests that were refused, as they should be.
    pub refusals: u64,
    /// What was not as it should be: rows where rows are compared, else answers.
    pub wrong: u64,
    /// The first of each answer, by caller.
    pub differences: Vec<Difference>,
    /// Why not all calls were made or returned.
    pub abandoned: Option<Abandoned>,
}

/// Why a round ended before all calls had returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// Calls did not return.
    Hung {
        /// How long nothing had happened.
        waited: Duration,
        /// How many calls had not returned, those that were never made included.
        outstanding: u64,
    },
    /// A caller's thread could not be started.
    NoThread(String),
}

impl Tally {
    /// Adds another round.
    pub fn add(&mut self, other: Tally) {
        self.answers += other.answers;
        self.rows += other.rows;
        self.refusals += other.refusals;
        self.wrong += other.wrong;
        let room = KEPT_DIFFERENCES.saturating_sub(self.differences.len());
        self.differences
            .extend(other.differences.into_iter().take(room));
        if self.abandoned.is_none() {
            self.abandoned = other.abandoned;
        }
    }

    fn judge(&mut self, fault: Option<Fault>) {
        self.answers += 1;
        if let Some(Fault { wrong, first }) = fault {
            self.wrong += wrong;
            if self.differences.len() < KEPT_DIFFERENCES {
                self.differences.push(first);
            }
        }
    }
}

/// Holds callers back until all are there.
#[derive(Default)]
struct Gate {
    state: Mutex<Option<bool>>,
    changed: Condvar,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, Option<bool>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everybody go, or sends everybody home.
    fn open(&self, go: bool) {
        *self.state() = Some(go);
        self.changed.notify_all();
    }

    /// Waits; is it a go?
    fn pass(&self) -> bool {
        let mut state = self.state();
        loop {
            if let Some(go) = *state {
                return go;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a round needs besides subject and scripts.
pub struct Round<'a> {
    /// The model's outputs.
    pub outputs: &'a Arc<[OutputSpec]>,
    /// What distinguishes this round, for messages: "8 callers".
    pub circumstances: &'a str,
    /// After how long without any answer callers count as hung.
    pub patience: Duration,
    /// Called several times a second with the number of answers so far.
    pub tick: &'a mut dyn FnMut(u64),
}

/// Lets one caller per script loose on the subject, all at once, and gives their joint tally.
pub fn drive(subject: &Arc<dyn Subject>, scripts: &Arc<Scripts>, round: Round<'_>) -> Tally {
    let gate = Arc::new(Gate::default());
    let answered = Arc::new(AtomicU64::new(0));
    let (send, receive) = mpsc::channel();
    let mut tally = Tally::default();
    for number in 0..scripts.len() {
        let caller = Caller {
            number,
            subject: Arc::clone(subject),
            scripts: Arc::clone(scripts),
            outputs: Arc::clone(round.outputs),
            circumstances: round.circumstances.to_owned(),
            answered: Arc::clone(&answered),
        };
        let (signal, send) = (Arc::clone(&gate), send.clone());
        let thread = std::thread::Builder::new().name(format!("caller-{number}"));
        // Not scoped: a caller that hangs is left behind.
        let spawned = thread.spawn(move || {
            let tally = if signal.pass() {
                caller.run()
            } else {
                Tally::default()
            };
            // Before the report: who has heard of all callers may rely on their having let go of the subject.
            drop(caller);
            // Nobody listens any more if the round was abandoned.
            let _ = send.send((number, tally));
        });
        if let Err(error) = spawned {
            gate.open(false);
            tally.abandoned = Some(Abandoned::NoThread(error.to_string()));
            return tally;
        }
    }
    gate.open(true);

    let total: u64 = scripts.iter().map(|script| script.len() as u64).sum();
    let mut tallies: Vec<Option<Tally>> = scripts.iter().map(|_| None).collect();
    let mut missing = tallies.len();
    let (mut seen, mut since) = (0, Instant::now());
    while missing > 0 {
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok((number, own)) => {
                if let Some(slot) = tallies.get_mut(number) {
                    *slot = Some(own);
                }
                missing -= 1;
                since = Instant::now();
            }
            Err(_) => {
                // Relaxed: the number is only looked at; answers come through the channel.
                let now = answered.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                    (round.tick)(now);
                } else if since.elapsed() >= round.patience {
                    let outstanding = total - now;
                    let waited = since.elapsed();
                    tally.abandoned = Some(Abandoned::Hung {
                        waited,
                        outstanding,
                    });
                    break;
                }
            }
        }
    }
    (round.tick)(answered.load(Ordering::Relaxed));
    // In the order of callers, so that a report does not depend on who was first.
    tallies.into_iter().flatten().for_each(|own| tally.add(own));
    tally
}

/// What is wrong with one answer.
struct Fault {
    /// How many rows, or the answer as a whole.
    wrong: u64,
    first: Difference,
}

/// One thread that asks.
struct Caller {
    number: usize,
    subject: Arc<dyn Subject>,
    scripts: Arc<Scripts>,
    outputs: Arc<[OutputSpec]>,
    circumstances: String,
    answered: Arc<AtomicU64>,
}

impl Caller {
    fn run(&self) -> Tally {
        let mut tally = Tally::default();
        let script = self.scripts.get(self.number).map_or(&[][..], Vec::as_slice);
        for (i, job) in script.iter().enumerate() {
            let fault = self.ask(job, &mut tally);
            tally.judge(fault.map(|fault| Fault {
                first: fault.first.during(self.describe(i, &job.request)),
                ..fault
            }));
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        tally
    }

    fn ask(&self, job: &Job, tally: &mut Tally) -> Option<Fault> {
        let call = || match job.expected {
            Expected::Late => self.subject.run_late(&job.request.tensors),
            _ => self.subject.run(&job.request.tensors),
        };
        let answer = catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            format!("a panic: {}", text.as_deref().unwrap_or("no message"))
        });
        let rows = job.request.rows.len();
        // What all of an answer's rows or the answer itself count, if there is none.
        let whole = match job.expected {
            Expected::Rows(_) => rows as u64,
            _ => 1,
        };
        let instead = |found: String, expected: &str| {
            let first = Difference::of_kind("", found, expected);
            Some(Fault {
                wrong: whole,
                first,
            })
        };
        let an_answer = || "an answer".to_owned();
        if let Expected::Answer(_) | Expected::Rows(_) | Expected::AnswerOr(..) = job.expected {
            tally.rows += rows as u64;
        }
        match (&job.expected, answer) {
            (_, Err(panic)) => instead(panic, "an answer or an error"),
            (Expected::Refusal(_) | Expected::Late, Ok(Err(_))) => {
                tally.refusals += 1;
                None
            }
            (Expected::Refusal(why), Ok(Ok(_))) => {
                instead(an_answer(), &format!("an error: {why}"))
            }
            (Expected::Late, Ok(Ok(_))) => {
                instead(an_answer(), "an error: the deadline had passed")
            }
            (Expected::AnswerOr(_, kinds), Ok(Err(error))) if kinds.contains(&error.kind()) => {
                tally.refusals += 1;
                None
            }
            (_, Ok(Err(error))) => instead(format!("an error: {error}"), "an answer"),
            (Expected::Answer(alone) | Expected::AnswerOr(alone, _), Ok(Ok(answer))) => {
                let first = answer_difference(&self.outputs, &answer, alone)?;
                Some(Fault { wrong: 1, first })
            }
            (Expected::Rows(alone), Ok(Ok(answer))) => {
                let each = alone.iter().enumerate();
                let differences = each
                    .filter_map(|(i, own)| row_difference(&self.outputs, &answer, i, rows, own));
                let all: Vec<Difference> = differences.collect();
                let wrong = all.len() as u64;
                Some(Fault {
                    wrong,
                    first: all.into_iter().next()?,
                })
            }
        }
    }

    fn describe(&self, number: usize, request: &Request) -> String {
        let mut rows = String::new();
        for (i, row) in request.rows.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(rows, "{comma}{row}");
        }
        format!(
            "{}; caller {}, request {number} of rows [{rows}]",
            self.circumstances, self.number
        )
    }
}
