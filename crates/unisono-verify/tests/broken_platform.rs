//! The platform checks can fail: each row is given primitives and devices that are wrong on purpose, and must say so.
//!
//! The honest subject computes what the probes' models compute (the relay returns its input, the increment adds one); each
//! fault breaks one thing that a device promises, and names the row that must turn red.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unisono::{Error, ErrorKind, ForeignBytes, Outputs, Tensor};
use unisono_verify::progress::{Progress, Silent};
use unisono_verify::report::Check;
use unisono_verify::sections::platform::crew::{Broken, Pulse, Watch};
use unisono_verify::sections::platform::dekker::dekker;
use unisono_verify::sections::platform::handoff::{Monitor, hand_over};
use unisono_verify::sections::platform::litmus::{
    Memory, SequentiallyConsistent, message_passing, store_buffering,
};
use unisono_verify::sections::platform::ordering::{part, twin};
use unisono_verify::sections::platform::timeline::{Atomic, Timeline, signal_rounds};
use unisono_verify::sections::platform::{
    Bench, check_on, handoff, isolation, memory, ordering, probe, queue, scopes, timeline,
};
use unisono_verify::subject::{
    Counters, Held, Lab, ModelLab, Opening, Pending, Ready, Rig, Setup, Signal, Subject,
};
use unisono_verify::{Effort, Verdict};

/// What is wrong with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Honest,
    ForgetsASignal,
    SignalsTwice,
    FlipsOneBit,
    MixesUpQueues,
    MisreadsOddBytes,
    KeepsAnOldCopyOfTheInput,
    LosesTheLastWord,
    LeaksOnError,
    LeaksOnPanic,
    LeaksPending,
    HoldsBytes,
    CountsNothing,
    AcceptsRequestsWithoutInputs,
    OverwritesWhatWasGivenAway,
    Panics,
    Hangs,
    Refuses,
}

use Fault::*;

struct FaultyLab {
    fault: Fault,
    /// What is added to every word.
    adds: f32,
}

#[derive(Default)]
struct Made {
    created: AtomicU64,
    released: AtomicU64,
    bytes: AtomicU64,
}

struct FaultyRig {
    fault: Fault,
    adds: f32,
    made: Arc<Made>,
}

struct Faulty {
    fault: Fault,
    adds: f32,
    made: Arc<Made>,
    calls: Arc<AtomicU64>,
    last: Mutex<Vec<f32>>,
    refused: AtomicBool,
}

impl Lab for FaultyLab {
    fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
        Ok(Box::new(FaultyRig {
            fault: self.fault,
            adds: self.adds,
            made: Arc::default(),
        }))
    }
}

impl Rig for FaultyRig {
    fn open_with(&self, _: &Opening) -> Result<Arc<dyn Subject>, Error> {
        self.made.created.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Faulty {
            fault: self.fault,
            adds: self.adds,
            made: Arc::clone(&self.made),
            calls: Arc::default(),
            last: Mutex::default(),
            refused: AtomicBool::new(false),
        }))
    }

    fn census(&self) -> Vec<Held> {
        let counts = self.fault != CountsNothing;
        let read = |cell: &AtomicU64| cell.load(Ordering::SeqCst) * u64::from(counts);
        vec![Held {
            what: "things",
            created: read(&self.made.created),
            released: read(&self.made.released),
            bytes: read(&self.made.bytes),
        }]
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let leaks = match self.fault {
            LeaksOnError => self.refused.load(Ordering::SeqCst),
            LeaksOnPanic => std::thread::panicking(),
            _ => false,
        };
        if !leaks {
            self.made.released.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A request under way: counted until it goes.
struct Asked {
    answer: Ready,
    fault: Fault,
    count: Counted,
}

struct Counted(Option<Arc<Made>>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(made) = &self.0 {
            made.released.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Pending for Asked {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        drop(self.count);
        self.answer.0
    }

    fn wait_signalling(self: Box<Self>, signal: Signal) -> Result<Vec<Tensor>, Error> {
        let signals = match self.fault {
            ForgetsASignal => 0,
            SignalsTwice => 2,
            _ => 1,
        };
        (0..signals).for_each(|_| signal());
        self.wait()
    }
}

impl Faulty {
    fn answer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let x = match inputs {
            [x] => x,
            _ if self.fault == AcceptsRequestsWithoutInputs => return Ok(Vec::new()),
            _ => {
                self.refused.store(true, Ordering::SeqCst);
                return Err(Error::new(ErrorKind::InvalidInput, "one input"));
            }
        };
        let rarely = call % 20 == 19;
        match self.fault {
            Panics if rarely => std::panic::resume_unwind(Box::new("a kernel's assertion")),
            Hangs if rarely => loop {
                std::thread::park();
            },
            Refuses if rarely => return Err(Error::new(ErrorKind::Execution, "no")),
            _ => {}
        }
        let mut bytes = x.bytes().to_vec();
        if self.fault == MisreadsOddBytes && !x.is_aligned() {
            bytes.rotate_right(1);
        }
        let words = bytes.as_chunks().0.iter().map(|c| f32::from_le_bytes(*c));
        let mut y: Vec<f32> = words.map(|word| word + self.adds).collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.fault {
            FlipsOneBit if rarely => y[0] = f32::from_bits(y[0].to_bits() ^ 1),
            // The words of whoever came before.
            MixesUpQueues if rarely && last.len() == y.len() => y.clone_from(&last),
            LosesTheLastWord if y.len() % 1_024 == 1 => y[x.len() - 1] = 0.0,
            _ => {}
        }
        last.clone_from(&y);
        drop(last);
        if self.fault != OverwritesWhatWasGivenAway {
            return Ok(vec![Tensor::from_slice(x.shape(), &y)?]);
        }
        let answer = Overwritten {
            bytes: y.iter().flat_map(|word| word.to_le_bytes()).collect(),
            later: vec![0; bytes.len()],
            born: call,
            calls: Arc::clone(&self.calls),
        };
        let owner = Arc::new(answer);
        Ok(vec![Tensor::from_foreign(x.dtype(), x.shape(), owner, 0)?])
    }
}

/// An answer that is zeroed when the subject has been asked twenty more times.
struct Overwritten {
    bytes: Vec<u8>,
    later: Vec<u8>,
    born: u64,
    calls: Arc<AtomicU64>,
}

impl ForeignBytes for Overwritten {
    fn bytes(&self) -> &[u8] {
        match self.calls.load(Ordering::SeqCst) > self.born + 20 {
            true => &self.later,
            false => &self.bytes,
        }
    }
}

impl Subject for Faulty {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.made.created.fetch_add(1, Ordering::SeqCst);
        let _count = Counted(Some(Arc::clone(&self.made)));
        if self.fault == HoldsBytes {
            self.made.bytes.fetch_add(64, Ordering::SeqCst);
        }
        self.answer(inputs)
    }

    fn run_by(&self, inputs: &[Tensor], _: Instant) -> Result<Vec<Tensor>, Error> {
        self.run(inputs)
    }

    fn run_in_place(&self, inputs: &[Tensor], _: &mut Outputs) -> Result<Vec<Tensor>, Error> {
        let before = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let answer = self.run(inputs)?;
        match self.fault {
            KeepsAnOldCopyOfTheInput if before.len() == answer[0].len() => {
                Ok(vec![Tensor::from_slice(answer[0].shape(), &before)?])
            }
            _ => Ok(answer),
        }
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        self.made.created.fetch_add(1, Ordering::SeqCst);
        let counted = (self.fault != LeaksPending).then(|| Arc::clone(&self.made));
        Ok(Box::new(Asked {
            answer: Ready(self.answer(inputs)),
            fault: self.fault,
            count: Counted(counted),
        }))
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) {}
}

fn on_bench<R>(fault: Fault, patience: Duration, f: impl FnOnce(&Bench<'_>) -> R) -> R {
    let lab = |adds| FaultyLab { fault, adds };
    let (relay, increment) = (lab(0.0), lab(1.0));
    f(&Bench {
        relay: &relay,
        increment: &increment,
        effort: Effort::Quick,
        seed: 1,
        patience,
    })
}

/// Far longer than anything takes on the slowest machine.
const LONG: Duration = Duration::from_secs(60);
/// For what never comes.
const SHORT: Duration = Duration::from_millis(300);

fn show(check: &Check) -> String {
    format!(
        "{} {}: {:?} {:?}",
        check.id, check.verdict, check.notes, check.differences
    )
}

/// Nothing wrong, though a machine with one core cannot show the twins' faults.
fn assert_acceptable(checks: &[Check]) {
    let ids: Vec<&str> = checks.iter().map(|check| &*check.id).collect();
    let numbers = 1..=8;
    assert!(
        ids.iter()
            .copied()
            .eq(numbers.map(|n| format!("platform/a.{n:03}"))),
        "{ids:?}"
    );
    for check in checks {
        assert_eq!(check.failures, 0, "{}", show(check));
        assert!(check.verdict.is_acceptable(), "{}", show(check));
        assert!(check.trials > 0);
        assert!(check.figure_named("the original's time").is_some());
        assert!(check.figure_named("as much work here").is_some());
    }
    // These have twins that any machine shows, or none.
    for number in [1, 3, 4, 5] {
        assert_eq!(
            checks[number].verdict,
            Verdict::Pass,
            "{}",
            show(&checks[number])
        );
    }
}

/// Hears how far checks are, which is never beyond their end.
struct Steps(u64);

impl Progress for Steps {
    fn section(&mut self, _: &str) {}

    fn step(&mut self, _: &str, _: &str, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
        self.0 += 1;
    }

    fn finished(&mut self, _: &Check) {}
}

#[test]
fn an_honest_subject_passes_all_rows() {
    let mut steps = Steps(0);
    assert_acceptable(&on_bench(Honest, LONG, |bench| check_on(bench, &mut steps)));
    assert!(steps.0 >= 8);
}

#[test]
fn a_real_device_passes_all_rows() {
    let relay = ModelLab::new(probe::relay().unwrap(), Some(2));
    let increment = ModelLab::new(probe::increment().unwrap(), Some(2));
    let bench = Bench {
        relay: &relay,
        increment: &increment,
        effort: Effort::Quick,
        seed: 1,
        patience: LONG,
    };
    assert_acceptable(&check_on(&bench, &mut Silent));
}

#[test]
fn every_fault_of_a_device_turns_its_row_red() {
    type Row = fn(&Bench<'_>, &mut dyn Progress) -> Check;
    const TIMELINE: (&str, Row) = ("a.001", timeline::check);
    const QUEUE: (&str, Row) = ("a.002", queue::check);
    const MEMORY: (&str, Row) = ("a.004", memory::check);
    const SCOPES: (&str, Row) = ("a.005", scopes::check);
    const ISOLATION: (&str, Row) = ("a.006", isolation::check);
    const HANDOFF: (&str, Row) = ("a.007", handoff::check);
    const PASSING: (&str, Row) = ("a.008", ordering::check_passing);
    let cases: &[(Fault, Duration, (&str, Row))] = &[
        (ForgetsASignal, LONG, TIMELINE),
        (SignalsTwice, LONG, TIMELINE),
        (FlipsOneBit, LONG, TIMELINE),
        (ForgetsASignal, LONG, PASSING),
        (SignalsTwice, LONG, PASSING),
        (FlipsOneBit, LONG, QUEUE),
        (Panics, LONG, QUEUE),
        (Hangs, SHORT, QUEUE),
        (Refuses, LONG, QUEUE),
        (MisreadsOddBytes, LONG, MEMORY),
        (KeepsAnOldCopyOfTheInput, LONG, MEMORY),
        (LosesTheLastWord, LONG, MEMORY),
        (LeaksOnError, SHORT, SCOPES),
        (LeaksOnPanic, SHORT, SCOPES),
        (LeaksPending, SHORT, SCOPES),
        (HoldsBytes, SHORT, SCOPES),
        (CountsNothing, SHORT, SCOPES),
        (AcceptsRequestsWithoutInputs, SHORT, SCOPES),
        (MixesUpQueues, LONG, ISOLATION),
        (OverwritesWhatWasGivenAway, LONG, ISOLATION),
        (FlipsOneBit, LONG, HANDOFF),
        (Hangs, SHORT, HANDOFF),
        (MixesUpQueues, LONG, PASSING),
        (Hangs, SHORT, PASSING),
    ];
    let mut stayed = Vec::new();
    for (fault, patience, (id, row)) in cases {
        let check = on_bench(*fault, *patience, |bench| row(bench, &mut Silent));
        assert_eq!(check.id, format!("platform/{id}"));
        if check.verdict != Verdict::Fail {
            stayed.push(format!("{fault:?} {}", show(&check)));
        }
    }
    assert!(stayed.is_empty(), "{stayed:#?}");
}

#[test]
fn a_mixed_up_pattern_names_victim_and_culprit() {
    let check = on_bench(MixesUpQueues, LONG, |bench| {
        isolation::check(bench, &mut Silent)
    });
    let difference = &check.differences[0];
    assert!(
        difference.found.starts_with("a word of queue "),
        "{difference:?}"
    );
    assert!(
        difference.expected.starts_with("a word of queue "),
        "{difference:?}"
    );
    assert_ne!(difference.found, difference.expected);
}

fn watched<R>(patience: Duration, f: impl FnOnce(&mut Watch<'_>) -> R) -> R {
    f(&mut Watch {
        patience,
        tick: &mut |_| {},
    })
}

/// A timeline that is right but for what these say.
#[derive(Default)]
struct Odd<const LOSES: bool, const TWICE: bool, const BACK: bool>(Atomic, AtomicU64);

impl<const LOSES: bool, const TWICE: bool, const BACK: bool> Timeline for Odd<LOSES, TWICE, BACK> {
    fn signal(&self) -> u64 {
        let rarely = self.1.fetch_add(1, Ordering::SeqCst) % 1_000 == 999;
        match rarely {
            true if LOSES => self.0.value(),
            true if TWICE => self.0.signal().max(2) - 1,
            _ => self.0.signal(),
        }
    }

    fn value(&self) -> u64 {
        let back = u64::from(BACK && self.1.fetch_add(1, Ordering::SeqCst) % 1_000 == 999);
        self.0.value().saturating_sub(10_000 * back)
    }
}

fn timeline_failures<T: Timeline>() -> u64 {
    let lab = FaultyLab {
        fault: Honest,
        adds: 0.0,
    };
    let subject = lab.rig(Setup::DEFAULT).unwrap().open().unwrap();
    let rounds = watched(LONG, |watch| signal_rounds::<T>(&subject, 1, watch));
    assert_eq!(rounds.part.broken, None);
    rounds.part.failures
}

#[test]
fn timelines_that_lose_repeat_or_go_back_are_caught() {
    assert_eq!(timeline_failures::<Atomic>(), 0);
    assert!(timeline_failures::<Odd<true, false, false>>() > 0);
    assert!(timeline_failures::<Odd<false, true, false>>() > 0);
    assert!(timeline_failures::<Odd<false, false, true>>() > 0);
}

/// Writes never arrive.
struct Forgetful;

impl Memory for Forgetful {
    const NAME: &'static str = "forgetful";

    // Whoever is let in as well gets there.
    fn dwell() {
        std::thread::yield_now();
    }

    fn store(_: &AtomicU32, _: u32) {}

    fn load(cell: &AtomicU32) -> u32 {
        cell.load(Ordering::SeqCst)
    }
}

/// A flag that looks raised before it is; who raises it is slow.
struct RaisedEarly;

impl Memory for RaisedEarly {
    const NAME: &'static str = "raised early";

    fn store(cell: &AtomicU32, value: u32) {
        std::thread::sleep(Duration::from_micros(50));
        cell.store(value, Ordering::SeqCst);
    }

    fn load(cell: &AtomicU32) -> u32 {
        cell.load(Ordering::SeqCst).max(1)
    }
}

#[test]
fn memory_that_breaks_its_promise_is_caught() {
    type Strong = SequentiallyConsistent;
    let outcome = watched(LONG, |watch| store_buffering::<Strong>(3, 1, watch)).unwrap();
    assert_eq!((outcome.rounds, outcome.forbidden), (3_000, 0));
    let outcome = watched(LONG, |watch| store_buffering::<Forgetful>(3, 1, watch));
    assert_eq!(part::<Forgetful>("SB", outcome.clone()).failures, 3_000);
    assert_eq!(twin::<Forgetful>("SB", outcome).seen, 3_000);

    let outcome = watched(LONG, |watch| message_passing::<Strong>(3, 1, watch)).unwrap();
    assert_eq!((outcome.rounds, outcome.forbidden), (3_000, 0));
    let outcome = watched(LONG, |watch| message_passing::<RaisedEarly>(1, 1, watch));
    assert!(part::<RaisedEarly>("MP", outcome).failures > 0);
    // A flag that is never seen is a hang, not a pass.
    let outcome = watched(SHORT, |watch| message_passing::<Forgetful>(1, 1, watch));
    assert!(matches!(outcome, Err(Broken::Hung(_))), "{outcome:?}");
}

#[test]
fn exclusion_that_does_not_exclude_is_caught() {
    let outcome = watched(LONG, |watch| dekker::<SequentiallyConsistent>(5, 1, watch)).unwrap();
    assert_eq!((outcome.rounds, outcome.forbidden), (10_000, 0));
    let outcome = watched(LONG, |watch| dekker::<Forgetful>(20, 1, watch));
    assert!(part::<Forgetful>("Dekker", outcome).failures > 0);
}

/// Lets everybody in.
#[derive(Default)]
struct NoLock;

impl Monitor for NoLock {
    const NAME: &'static str = "no lock";

    // Whoever is let in as well gets there.
    fn dwell() {
        std::thread::yield_now();
    }

    fn attempt(&self, pulse: &Pulse, attempt: &mut dyn FnMut() -> bool) {
        pulse.spin_until(attempt);
    }
}

/// Who cannot go on sleeps for ever.
#[derive(Default)]
struct NeverWakes(Mutex<()>);

impl Monitor for NeverWakes {
    const NAME: &'static str = "never wakes";

    fn attempt(&self, _: &Pulse, attempt: &mut dyn FnMut() -> bool) {
        let inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !attempt() {
            drop(inside);
            loop {
                std::thread::park();
            }
        }
    }
}

#[test]
fn locks_that_do_not_lock_and_wake_ups_that_are_lost_are_caught() {
    let part = watched(LONG, hand_over_with::<handoff::StdCondvar>);
    assert_eq!((part.trials, part.failures), (5_000, 0));
    assert!(watched(LONG, hand_over_with::<NoLock>).failures > 0);
    let part = watched(SHORT, hand_over_with::<NeverWakes>);
    assert!(matches!(part.broken, Some(Broken::Hung(_))), "{part:?}");
}

fn hand_over_with<M: Monitor>(
    watch: &mut Watch<'_>,
) -> unisono_verify::sections::platform::row::Part {
    hand_over::<M>(5_000, watch)
}
