//! The fault campaign against sessions that do not stand a fault, each in its own way.
//!
//! The sessions come to the same places as a real one, so the same injected faults strike them. What is injected is the whole
//! process's, so one test does all.

mod small_case;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unisono::fault::{MESSAGE, at_node, at_tile};
use unisono::{Error, ErrorKind, Tensor};
use unisono_verify::Verdict;
use unisono_verify::report::Check;
use unisono_verify::sections::faults;
use unisono_verify::subject::{Counters, Held, Lab, Opening, Pending, Ready, Rig, Setup, Subject};

use small_case::{Caught, case, every_fault_is_caught, quick};

const WIDTH: usize = 6;
const NODES: usize = 3;

/// `y[i] = x[i] * 1.5 + x[0]`, row by row.
fn rows(x: &[f32]) -> Vec<f32> {
    let row = |row: &[f32]| row.iter().map(|v| v * 1.5 + row[0]).collect::<Vec<f32>>();
    x.chunks_exact(WIDTH).flat_map(row).collect()
}

fn model(inputs: &[Tensor]) -> Vec<Tensor> {
    let y = rows(inputs[0].as_slice().unwrap());
    vec![Tensor::from_slice(inputs[0].shape(), &y).unwrap()]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Honest,
    CarriesPoisonOn,
    SpreadsPoisonToNeighbours,
    LetsPanicsThrough,
    IsDirtyAfterAPanic,
    LeaksARequestAtAPanic,
    GrowsAtAPanic,
    HangsAfterAPanic,
    FailsNeighboursWithAPanic,
    LosesAPanicInside,
    LooksAtNoStatus,
    CallsAnErrorAPanic,
    AnswersWithoutMemory,
    PanicsWithoutMemory,
    LeaksWithoutMemory,
    IsWrongAfterAFailedStart,
    MakesOthersWait,
    AnswersTooLate,
    TakesLateRequests,
    IsDirtyAfterACancel,
    LeaksACancelledRequest,
    HangsWhenClosed,
    AnswersWhenClosed,
    IsWrongWhileItCloses,
    GivesAnotherErrorWhenClosed,
    LeaksAClosedSession,
    ComesToNoPlace,
    HasRoomForAll,
}

use Wrong::*;

#[derive(Default)]
struct Made {
    sessions: [AtomicU64; 2],
    requests: [AtomicU64; 2],
    bytes: AtomicU64,
}

struct FakeLab(Wrong);

struct FakeRig {
    wrong: Wrong,
    made: Arc<Made>,
}

struct Fake {
    wrong: Wrong,
    made: Arc<Made>,
    closed: AtomicBool,
    dirty: AtomicBool,
    contagion: AtomicU64,
    delayed: AtomicBool,
    inside: AtomicU64,
    runs: AtomicU64,
    lane: Mutex<()>,
    /// Places in the queue, and how many are taken.
    places: Option<usize>,
    taken: Arc<AtomicUsize>,
}

impl Lab for FakeLab {
    fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
        Ok(Box::new(FakeRig {
            wrong: self.0,
            made: Arc::default(),
        }))
    }
}

impl Rig for FakeRig {
    fn open_with(&self, opening: &Opening) -> Result<Arc<dyn Subject>, Error> {
        let packed = Tensor::zeros(unisono::DType::F32, &[16]);
        let broken = packed.is_err() && self.wrong == IsWrongAfterAFailedStart;
        if !broken {
            packed?;
        }
        self.made.sessions[0].fetch_add(1, SeqCst);
        Ok(Arc::new(Fake {
            wrong: self.wrong,
            made: Arc::clone(&self.made),
            closed: AtomicBool::new(false),
            dirty: AtomicBool::new(broken),
            contagion: AtomicU64::new(0),
            delayed: AtomicBool::new(false),
            inside: AtomicU64::new(0),
            places: opening.queue_capacity,
            taken: Arc::default(),
            runs: AtomicU64::new(0),
            lane: Mutex::new(()),
        }))
    }

    fn census(&self) -> Vec<Held> {
        let held = |what, counts: &[AtomicU64; 2]| Held {
            what,
            released: counts[1].load(SeqCst),
            created: counts[0].load(SeqCst),
            bytes: self.made.bytes.load(SeqCst),
        };
        vec![
            held("sessions", &self.made.sessions),
            held("requests", &self.made.requests),
        ]
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if !(self.wrong == LeaksAClosedSession && self.closed.load(SeqCst)) {
            self.made.sessions[1].fetch_add(1, SeqCst);
        }
    }
}

/// Counts a request until it is dropped.
struct Visit<'a>(&'a Made);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.requests[1].fetch_add(1, SeqCst);
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, MESSAGE)
}

impl Fake {
    fn kernels(&self) -> Result<(), Error> {
        if self.wrong == ComesToNoPlace {
            return Ok(());
        }
        for _ in 0..NODES {
            match at_node() {
                Some(_) if self.wrong == LooksAtNoStatus => {}
                Some(_) if self.wrong == CallsAnErrorAPanic => return Err(error(ErrorKind::Panic)),
                Some(_) => return Err(error(ErrorKind::Execution)),
                None => {}
            }
        }
        match catch_unwind(at_tile) {
            Err(_) if self.wrong == LosesAPanicInside => Ok(()),
            Err(panic) => resume_unwind(panic),
            Ok(()) => Ok(()),
        }
    }

    fn compute(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let mut output = match Tensor::zeros(unisono::DType::F32, inputs[0].shape()) {
            Ok(output) => output,
            Err(_) if self.wrong == AnswersWithoutMemory => {
                // Whatever there was.
                return Ok(inputs.to_vec());
            }
            Err(_) if self.wrong == PanicsWithoutMemory => resume_unwind(Box::new(MESSAGE)),
            Err(_) if self.wrong == LeaksWithoutMemory => {
                self.made.requests[0].fetch_add(1, SeqCst);
                return Err(error(ErrorKind::OutOfMemory));
            }
            Err(why) => return Err(why.into()),
        };
        let mut y = rows(inputs[0].as_slice()?);
        let poison = y.iter().any(|v| v.is_nan());
        match self.wrong {
            CarriesPoisonOn if !poison && self.dirty.swap(false, SeqCst) => y.fill(f32::NAN),
            CarriesPoisonOn if poison => self.dirty.store(true, SeqCst),
            SpreadsPoisonToNeighbours if poison && y.len() > WIDTH => y.fill(f32::NAN),
            CarriesPoisonOn | SpreadsPoisonToNeighbours => {}
            IsWrongWhileItCloses if self.closed.load(SeqCst) => y[0] += 1.0,
            _ if self.dirty.load(SeqCst) => y[0] += 1.0,
            _ => {}
        }
        output.as_slice_mut().unwrap().copy_from_slice(&y);
        Ok(vec![output])
    }

    fn after_a_panic(&self, visit: Visit<'_>) -> Result<Vec<Tensor>, Error> {
        match self.wrong {
            LetsPanicsThrough => resume_unwind(Box::new(MESSAGE)),
            IsDirtyAfterAPanic => self.dirty.store(true, SeqCst),
            LeaksARequestAtAPanic => std::mem::forget(visit),
            GrowsAtAPanic => {
                self.made.bytes.fetch_add(64, SeqCst);
            }
            HangsAfterAPanic => std::mem::forget(self.lane.lock()),
            FailsNeighboursWithAPanic => self.contagion.store(2, SeqCst),
            _ => {}
        }
        Err(error(ErrorKind::Panic))
    }

    fn answer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        if self.closed.load(SeqCst) {
            match self.wrong {
                HangsWhenClosed => loop {
                    std::thread::park();
                },
                AnswersWhenClosed | IsWrongWhileItCloses => {}
                GivesAnotherErrorWhenClosed => return Err(error(ErrorKind::Execution)),
                _ => return Err(error(ErrorKind::ShutDown)),
            }
        }
        self.made.requests[0].fetch_add(1, SeqCst);
        let visit = Visit(&self.made);
        self.runs.fetch_add(1, SeqCst);
        if self.wrong == HangsAfterAPanic {
            drop(self.lane.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let started = Instant::now();
        let result = match catch_unwind(AssertUnwindSafe(|| self.kernels())) {
            Ok(status) => status.and_then(|()| self.compute(inputs)),
            Err(_) => return self.after_a_panic(visit),
        };
        let crowd = self.inside.load(SeqCst) > 1;
        match self.wrong {
            FailsNeighboursWithAPanic if crowd => {
                std::thread::sleep(Duration::from_millis(4));
                let infected = self
                    .contagion
                    .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
                if infected.is_ok() {
                    return Err(error(ErrorKind::Panic));
                }
            }
            FailsNeighboursWithAPanic => self.contagion.store(0, SeqCst),
            MakesOthersWait
                if started.elapsed() >= Duration::from_millis(40)
                    && !self.delayed.swap(true, SeqCst) =>
            {
                std::thread::sleep(Duration::from_millis(1_500));
            }
            _ => {}
        }
        result
    }
}

impl Subject for Fake {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.inside.fetch_add(1, SeqCst);
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(inputs)));
        self.inside.fetch_sub(1, SeqCst);
        answer.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error> {
        let late = || Instant::now() >= deadline;
        if late() && self.wrong != TakesLateRequests {
            return Err(error(ErrorKind::DeadlineExceeded));
        }
        let answer = self.run(inputs)?;
        if late() && !matches!(self.wrong, AnswersTooLate | TakesLateRequests) {
            return Err(error(ErrorKind::DeadlineExceeded));
        }
        Ok(answer)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        let taken = self.taken.fetch_add(1, SeqCst);
        let full = self.places.is_some_and(|places| taken > places);
        if full && self.wrong != HasRoomForAll {
            self.taken.fetch_sub(1, SeqCst);
            return Err(error(ErrorKind::Limit));
        }
        // With a queue, only the first of those that wait runs.
        let answer = match self.places {
            Some(_) if taken > 0 => Ok(model(inputs)),
            _ => self.run(inputs),
        };
        Ok(Box::new(Started {
            answer: Some(Ready(answer)),
            taken: Arc::clone(&self.taken),
            made: Arc::clone(&self.made),
            leaks: self.wrong == LeaksACancelledRequest,
            dirties: self.wrong == IsDirtyAfterACancel,
        }))
    }

    fn counters(&self) -> Counters {
        Counters {
            requests: self.runs.load(SeqCst),
            ..Counters::default()
        }
    }

    fn close(&self) {
        self.closed.store(true, SeqCst);
    }
}

struct Started {
    answer: Option<Ready>,
    taken: Arc<AtomicUsize>,
    made: Arc<Made>,
    leaks: bool,
    dirties: bool,
}

impl Pending for Started {
    fn wait(mut self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        self.answer.take().unwrap().0
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, SeqCst);
        if self.answer.is_some() && self.leaks {
            self.made.requests[0].fetch_add(1, SeqCst);
        }
        if self.answer.is_some() && self.dirties {
            self.made.bytes.fetch_add(1, SeqCst);
        }
    }
}

fn verify(wrong: Wrong) -> Vec<Check> {
    let mut case = case("fake", &["x"], &[1, WIDTH], model, Box::new(FakeLab(wrong)));
    if wrong == MakesOthersWait {
        // It does answer, only not in time.
        case.patience = Duration::from_secs(20);
    }
    quick(|cx| faults::check(&mut case, cx).checks)
}

const CAUGHT: &[Caught<Wrong>] = &[
    (HasRoomForAll, "faults/fake/crowd", "nobody was refused"),
    (CarriesPoisonOn, "faults/fake/poisoned-row", "NaN"),
    (SpreadsPoisonToNeighbours, "faults/fake/poisoned-row", "NaN"),
    (
        LetsPanicsThrough,
        "faults/fake/panic",
        "a panic: a fault on purpose",
    ),
    (
        IsDirtyAfterAPanic,
        "faults/fake/panic",
        "after a panic at kernel 1 of 3",
    ),
    (LeaksARequestAtAPanic, "faults/fake/panic", "1 alive"),
    (GrowsAtAPanic, "faults/fake/panic", "64 bytes"),
    (
        HangsAfterAPanic,
        "faults/fake/panic",
        "a call did not return",
    ),
    (
        FailsNeighboursWithAPanic,
        "faults/fake/panic",
        "the number of kernels that failed",
    ),
    (LosesAPanicInside, "faults/fake/panic-inside", "an answer"),
    (LooksAtNoStatus, "faults/fake/error", "an answer"),
    (
        CallsAnErrorAPanic,
        "faults/fake/error",
        "an error: a kernel panicked",
    ),
    (
        AnswersWithoutMemory,
        "faults/fake/allocation",
        "a cold session, allocation 2 of 3 fails",
    ),
    (PanicsWithoutMemory, "faults/fake/allocation", "a panic"),
    (LeaksWithoutMemory, "faults/fake/allocation", "requests"),
    (
        IsWrongAfterAFailedStart,
        "faults/fake/allocation",
        "allocation 1 of 3 fails",
    ),
    (MakesOthersWait, "faults/fake/slow", "the last answer after"),
    (AnswersTooLate, "faults/fake/slow", "too late"),
    (
        TakesLateRequests,
        "faults/fake/late",
        "the deadline had passed",
    ),
    (IsDirtyAfterACancel, "faults/fake/cancelled", "bytes"),
    (LeaksACancelledRequest, "faults/fake/cancelled", "alive"),
    (
        HangsWhenClosed,
        "faults/fake/closed",
        "a call did not return",
    ),
    (
        AnswersWhenClosed,
        "faults/fake/closed",
        "an error: shut down",
    ),
    (
        IsWrongWhileItCloses,
        "faults/fake/closed",
        "the session closed with call",
    ),
    (
        GivesAnotherErrorWhenClosed,
        "faults/fake/closed",
        "execution failed",
    ),
    (LeaksAClosedSession, "faults/fake/closed", "sessions"),
];

#[test]
fn every_fault_that_is_not_stood_turns_a_check_red() {
    every_fault_is_caught(Honest, CAUGHT, verify);

    // Where no fault strikes nothing was seen, and nothing may be called passed.
    let checks = verify(ComesToNoPlace);
    for id in ["panic", "error", "slow"] {
        let id = format!("faults/fake/{id}");
        let check = checks.iter().find(|check| check.id == id).unwrap();
        assert_eq!(check.verdict, Verdict::CouldNotRun, "{id}");
        assert_eq!(check.rate_bound, None);
    }
}
