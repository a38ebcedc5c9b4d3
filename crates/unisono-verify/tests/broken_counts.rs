//! The sections soak, stress, leak and churn, fed with subjects that swap answers, lose counts, grow, starve callers or leave threads
//! behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unisono::{DType, Error, ErrorKind, Isa, Tensor};
use unisono_verify::accuracy::Bound;
use unisono_verify::case::{Case, Machine, Parts};
use unisono_verify::compare::{OutputRows, OutputSpec};
use unisono_verify::oracle::Oracle;
use unisono_verify::progress::Silent;
use unisono_verify::report::{Check, ModelRecord};
use unisono_verify::requests::{InputPlan, RequestMaker, Role, Values};
use unisono_verify::sections::{Context, Findings, churn, leak, soak, stress};
use unisono_verify::subject::{
    Counters, Held, Lab, Opening, Pending, Ready, Rig, Setup, Signal, Subject,
};
use unisono_verify::{Effort, Options, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Honest,
    SwapsUnderLoad,
    LosesOneInThousand,
    LeaksCancelled,
    LeaksRefused,
    KeepsBytes,
    KeepsPlans,
    AcceptsLate,
    #[cfg(target_os = "linux")]
    LeavesThreads,
    Hangs,
    Grows,
    StarvesOne,
    FailsSometimes,
    FailsRegularly,
    Overtakes,
    /// So many later ones are answered before a large one, with so many batches in flight.
    PassedBy(usize, usize),
    /// More memory of the device with each request; the others hold the same all the time.
    GrowsOnDevice,
    /// Once, after so many requests.
    GrowsOnce(u64),
    FlatOnDevice,
}
use Fault::*;

/// Doubles its input.
struct Doubler {
    fault: Fault,
    calls: AtomicU64,
    inside: AtomicU64,
    /// The last input, for the one that mixes callers up.
    last: Mutex<Vec<f32>>,
    counts: Arc<Counts>,
    passing: Arc<Mutex<Passing>>,
}

/// A large request that is not answered until enough small ones were.
#[derive(Default)]
struct Passing {
    held: Option<Signal>,
    passed: usize,
}

#[derive(Default)]
struct Counts {
    created: AtomicU64,
    released: AtomicU64,
    bytes: AtomicU64,
    plans: AtomicU64,
    plans_released: AtomicU64,
    on_device: AtomicU64,
}

impl Drop for Doubler {
    fn drop(&mut self) {
        if self.fault != KeepsPlans {
            self.counts.plans_released.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Doubler {
    fn count(&self, lost: bool) {
        self.counts.created.fetch_add(1, Ordering::SeqCst);
        if !lost {
            self.counts.released.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn refuse(&self) -> Error {
        self.count(self.fault == LeaksRefused);
        Error::new(ErrorKind::InvalidInput, "refused")
    }
}

/// Is this a call of a section's callers?
fn by_caller() -> bool {
    let name = std::thread::current().name().map(str::to_owned);
    name.is_some_and(|name| name.starts_with("caller-"))
}

impl Subject for Doubler {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let [x] = inputs else {
            return Err(self.refuse());
        };
        if x.dtype() != DType::F32 {
            return Err(self.refuse());
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let crowd = self.inside.fetch_add(1, Ordering::SeqCst);
        let mut values = x.as_slice::<f32>()?.to_vec();
        let last = std::mem::replace(
            &mut *self.last.lock().unwrap_or_else(PoisonError::into_inner),
            values.clone(),
        );
        // Long enough for others to come in.
        std::thread::sleep(Duration::from_micros(20));
        match self.fault {
            SwapsUnderLoad if crowd > 2 => values = last,
            #[cfg(target_os = "linux")]
            LeavesThreads if call.is_multiple_of(100) => {
                std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
            }
            Hangs if crowd > 2 => loop {
                std::thread::park();
            },
            Grows => std::mem::forget(vec![1u8; 8 << 10]),
            StarvesOne if std::thread::current().name() == Some("caller-3") => {
                std::thread::sleep(Duration::from_millis(20));
            }
            FailsSometimes if crowd > 2 && call % 100 == 99 => {
                self.inside.fetch_sub(1, Ordering::SeqCst);
                return Err(self.refuse());
            }
            // Not where the right answers come from.
            FailsRegularly if by_caller() && call % 10 == 9 => {
                self.inside.fetch_sub(1, Ordering::SeqCst);
                return Err(self.refuse());
            }
            GrowsOnDevice => {
                self.counts.on_device.fetch_add(512, Ordering::SeqCst);
            }
            GrowsOnce(after) if call == after => {
                self.counts.on_device.fetch_add(1 << 20, Ordering::SeqCst);
            }
            KeepsBytes if call > 500 => self.counts.bytes.store(64, Ordering::SeqCst),
            _ => {}
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.count(self.fault == LosesOneInThousand && call % 1_000 == 999);
        values.iter_mut().for_each(|v| *v *= 2.0);
        Ok(vec![Tensor::from_slice(x.shape(), &values)?])
    }

    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error> {
        if self.fault != AcceptsLate && Instant::now() >= deadline {
            return Err(self.refuse());
        }
        self.run(inputs)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        if self.fault == LeaksCancelled {
            self.count(true);
        }
        let large = inputs.iter().any(|x| x.shape()[0] > 1);
        let answer = Ready(self.run(inputs));
        match self.fault {
            PassedBy(enough, _) => Ok(Box::new(Passed {
                answer,
                // As many rows as fill a batch.
                large: inputs.iter().any(|x| x.shape()[0] == 8),
                enough,
                passing: Arc::clone(&self.passing),
            })),
            Overtakes if large => Ok(Box::new(Lingering(answer))),
            _ => Ok(Box::new(answer)),
        }
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) {}
}

/// Arrives when it is waited for.
struct Lingering(Ready);

impl Pending for Lingering {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        self.0.0
    }

    fn watched(self: Box<Self>, signal: Signal) -> Box<dyn Pending> {
        Box::new(Announced(self.0, signal))
    }
}

/// See [`Passing`].
struct Passed {
    answer: Ready,
    large: bool,
    enough: usize,
    passing: Arc<Mutex<Passing>>,
}

impl Pending for Passed {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        let mut passing = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = passing.held.take() {
            signal();
        }
        self.answer.0
    }

    fn watched(self: Box<Self>, signal: Signal) -> Box<dyn Pending> {
        let mut passing = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        let due = if self.large {
            passing.passed = 0;
            passing.held.replace(signal)
        } else {
            signal();
            passing.passed += 1;
            let is_enough = passing.passed >= self.enough;
            passing.held.take_if(|_| is_enough)
        };
        if let Some(due) = due {
            due();
        }
        drop(passing);
        self
    }
}

struct Announced(Ready, Signal);

impl Pending for Announced {
    fn wait(self: Box<Self>) -> Result<Vec<Tensor>, Error> {
        (self.1)();
        self.0.0
    }
}

struct DoublerLab(Fault);

struct DoublerRig(Fault, Arc<Counts>);

impl Lab for DoublerLab {
    fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
        Ok(Box::new(DoublerRig(self.0, Arc::default())))
    }
}

impl Rig for DoublerRig {
    fn open_with(&self, _: &Opening) -> Result<Arc<dyn Subject>, Error> {
        self.1.plans.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Doubler {
            fault: self.0,
            calls: AtomicU64::new(0),
            inside: AtomicU64::new(0),
            last: Mutex::default(),
            counts: Arc::clone(&self.1),
            passing: Arc::default(),
        }))
    }

    fn batches_in_flight(&self) -> usize {
        match self.0 {
            PassedBy(_, in_flight) => in_flight,
            _ => 1,
        }
    }

    fn device_bytes(&self) -> Option<u64> {
        let has_memory = matches!(self.0, GrowsOnDevice | GrowsOnce(_) | FlatOnDevice);
        has_memory.then(|| (1 << 30) + self.1.on_device.load(Ordering::SeqCst))
    }

    fn census(&self) -> Vec<Held> {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        vec![
            Held {
                what: "requests",
                created: read(&self.1.created),
                released: read(&self.1.released),
                bytes: read(&self.1.bytes),
            },
            Held {
                what: "plans",
                created: read(&self.1.plans),
                released: read(&self.1.plans_released),
                bytes: 0,
            },
        ]
    }
}

struct NoOracle;

impl Oracle for NoOracle {
    fn canonical(&self, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Err("not asked for".to_owned())
    }

    fn float64(&self, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Err("not asked for".to_owned())
    }

    fn scattered(&self, _: &[Tensor], _: u64) -> Result<Vec<Tensor>, String> {
        Err("not asked for".to_owned())
    }
}

fn case(fault: Fault) -> Case {
    let x = InputPlan {
        name: "x".into(),
        dtype: DType::F32,
        shape: vec![1, 6],
        role: Role::Rows(0),
        values: Values::Normal,
        picks_from: None,
    };
    let mut case = Case::new(Parts {
        maker: RequestMaker::new(1, vec![x]),
        outputs: vec![OutputSpec {
            name: "y".into(),
            rows: OutputRows::Along(0),
        }],
        flops_per_row: 1_000_000,
        bound: Bound {
            relative: 1e-6,
            roundings: 4.0,
            jumps: Vec::new(),
        },
        lab: Box::new(DoublerLab(fault)),
        oracle: Box::new(NoOracle),
        machine: Machine {
            threads: 2,
            isas: vec![Isa::Scalar],
        },
        record: ModelRecord {
            name: "double".into(),
            source: "a test".into(),
            parameters: 0,
            flops_per_row: 1_000_000,
            rows_are_independent: true,
            inputs: Vec::new(),
            default_lengths: Vec::new(),
            requests_digest: None,
            answers_digest: None,
        },
    });
    case.patience = Duration::from_millis(500);
    case
}

type SectionOf = fn(&mut Case, &mut Context<'_>) -> Findings;

fn checks(section: SectionOf, fault: Fault) -> Vec<Check> {
    let mut case = case(fault);
    let mut options = Options::default();
    options.effort = Effort::Quick;
    options.soak = Some(Duration::from_millis(1_500));
    let machine = case.machine.clone();
    let mut cx = Context {
        options: &options,
        machine: &machine,
        progress: &mut Silent,
    };
    section(&mut case, &mut cx).checks
}

/// Faults, and the check that each must turn red.
const CAUGHT: &[(SectionOf, Fault, &str)] = &[
    (soak::check, SwapsUnderLoad, "soak/double/answers"),
    (soak::check, SwapsUnderLoad, "soak/double/history"),
    (soak::check, FailsSometimes, "soak/double/answers"),
    (soak::check, FailsSometimes, "soak/double/history"),
    (soak::check, Hangs, "soak/double/callers"),
    (soak::check, StarvesOne, "soak/double/callers"),
    (soak::check, Overtakes, "soak/double/overtaking"),
    (soak::check, PassedBy(3, 1), "soak/double/overtaking"),
    (soak::check, PassedBy(11, 2), "soak/double/overtaking"),
    (soak::check, PassedBy(19, 3), "soak/double/overtaking"),
    (soak::check, GrowsOnDevice, "soak/double/device-memory"),
    (leak::check, GrowsOnDevice, "leak/double/device-memory"),
    (soak::check, Grows, "soak/double/memory"),
    (soak::check, LosesOneInThousand, "soak/double/census"),
    (soak::check, KeepsBytes, "soak/double/census"),
    (stress::check, SwapsUnderLoad, "stress/double/8x10"),
    (stress::check, SwapsUnderLoad, "stress/double/64x8"),
    (stress::check, SwapsUnderLoad, "stress/double/256x2"),
    (stress::check, Hangs, "stress/double/8x10"),
    (stress::check, FailsRegularly, "stress/double/16x5"),
    (leak::check, LosesOneInThousand, "leak/double/single"),
    (leak::check, LosesOneInThousand, "leak/double/census"),
    (leak::check, Grows, "leak/double/resident"),
    (leak::check, KeepsBytes, "leak/double/single"),
    (leak::check, SwapsUnderLoad, "leak/double/callers"),
    (leak::check, LeaksCancelled, "leak/double/bad"),
    (leak::check, LeaksRefused, "leak/double/bad"),
    (leak::check, AcceptsLate, "leak/double/bad"),
    (leak::check, KeepsPlans, "leak/double/census"),
    (churn::check, FailsRegularly, "churn/double/sequential"),
    (churn::check, SwapsUnderLoad, "churn/double/barrier"),
    (churn::check, SwapsUnderLoad, "churn/double/many"),
    (churn::check, KeepsPlans, "churn/double/census"),
];

#[test]
fn each_fault_turns_the_check_red_that_is_there_for_it() {
    let mut wrong = Vec::new();
    for &(section, fault, id) in CAUGHT {
        let checks = checks(section, fault);
        let verdict = checks.iter().find(|c| c.id == id).map(|c| c.verdict);
        if verdict != Some(Verdict::Fail) {
            wrong.push(format!("{fault:?}: {id} is {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_honest_subject_passes_everything() {
    for section in [
        soak::check as SectionOf,
        stress::check,
        leak::check,
        churn::check,
    ] {
        for check in checks(section, Honest) {
            // Other tests of this program may start threads and take memory meanwhile, and this subject makes its answers at once.
            let elsewhere = [
                "churn/double/threads",
                "soak/double/memory",
                "soak/double/overtaking",
                "leak/double/resident",
            ];
            if !elsewhere.contains(&&*check.id) {
                assert_eq!(
                    check.verdict,
                    Verdict::Pass,
                    "{}: {:?}",
                    check.id,
                    check.notes
                );
            }
        }
    }
}

fn verdict(section: SectionOf, fault: Fault, id: &str) -> (Option<Verdict>, Vec<String>) {
    let checks = checks(section, fault);
    let check = checks.into_iter().find(|c| c.id == id);
    check.map_or((None, Vec::new()), |check| {
        let said = check
            .figures
            .iter()
            .map(|f| format!("{} {}", f.name, f.value));
        (Some(check.verdict), said.chain(check.notes).collect())
    })
}

#[test]
fn as_many_as_the_other_batches_in_flight_hold_may_pass() {
    for (later, in_flight) in [(2, 1), (10, 2), (18, 3)] {
        let fault = PassedBy(later, in_flight);
        let (verdict, said) = verdict(soak::check, fault, "soak/double/overtaking");
        assert_eq!(verdict, Some(Verdict::Pass), "{fault:?}: {said:?}");
        for figure in [
            format!("allowed {later}"),
            format!("batches in flight {in_flight}"),
        ] {
            assert!(said.contains(&figure), "{said:?}");
        }
    }
}

#[test]
fn memory_of_the_device_that_stays_or_grows_once_is_no_leak() {
    for fault in [FlatOnDevice, GrowsOnce(5_000)] {
        for (section, id) in [
            (soak::check as SectionOf, "soak/double/device-memory"),
            (leak::check, "leak/double/device-memory"),
        ] {
            let (verdict, said) = verdict(section, fault, id);
            assert_eq!(verdict, Some(Verdict::Pass), "{fault:?}: {id}: {said:?}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn threads_that_stay_are_seen() {
    let checks = checks(churn::check, LeavesThreads);
    let threads = checks.iter().find(|c| c.id == "churn/double/threads");
    assert_eq!(threads.map(|c| c.verdict), Some(Verdict::Fail));
}

#[test]
fn no_check_is_decoration() {
    for section in [
        soak::check as SectionOf,
        stress::check,
        leak::check,
        churn::check,
    ] {
        for check in checks(section, FlatOnDevice) {
            // Has a test of its own, because other tests of this program start threads as well.
            let caught = check.id == "churn/double/threads"
                || CAUGHT.iter().any(|(_, _, id)| *id == check.id);
            assert!(caught, "no fault makes {} fail", check.id);
        }
    }
}
