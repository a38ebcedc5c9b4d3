//! Checks that can fail: every section is fed with subjects that are wrong on purpose, and must say so.
//!
//! The model is a small function of a row; the honest subject computes it and passes everything. Each fault below breaks
//! one promise of a session, and names the checks that must turn red. A check that stays green for a fault that it is
//! there to find would be decoration.
//!
//! Evidence: checks-can-fail

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
use unisono_verify::sections::{Context, Findings, correctness, thread_safety};
use unisono_verify::subject::{Counters, Held, Lab, Opening, Pending, Ready, Rig, Setup, Subject};
use unisono_verify::{Effort, Options, Verdict};

const WIDTH: usize = 6;

/// `y[i] = x[i] * 1.5 + x[0]`, and `z` the sum of the row.
fn model(row: &[f32]) -> ([f32; WIDTH], f32) {
    let mut y = [0.0; WIDTH];
    y.iter_mut()
        .zip(row)
        .for_each(|(y, x)| *y = x * 1.5 + row[0]);
    (y, row.iter().fold(0.0, |sum, x| sum + x))
}

/// What is wrong with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Honest,
    SwapsRows,
    ReturnsNeighboursRow,
    FlipsOneBitInAThousand,
    LosesNan,
    SpreadsNan,
    LosesTheSignOfZero,
    SplitsTheSumByRows,
    IsWrongAtTheLastPosition,
    DependsOnThreads,
    DependsOnInstructions,
    IsWrongWhenCold,
    SharesOneBuffer,
    AcceptsWrongRequests,
    IgnoresDeadlines,
    IsDirtyAfterAnError,
    FailsUnderLoad,
    Panics,
    Hangs,
    DropsAnOutput,
    GivesAnotherShape,
    LeaksPlans,
    HoldsBytes,
    IsInaccurate,
}

use Fault::*;

struct FaultyLab(Fault);

struct FaultyRig {
    fault: Fault,
    setup: Setup,
    made: Arc<Made>,
}

/// Counts of what was made and unmade.
#[derive(Default)]
struct Made {
    created: AtomicU64,
    released: AtomicU64,
}

struct Faulty {
    fault: Fault,
    setup: Setup,
    calls: AtomicU64,
    inside: AtomicUsize,
    dirty: AtomicUsize,
    buffer: Mutex<Vec<f32>>,
    made: Arc<Made>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if self.fault != LeaksPlans {
            self.made.released.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Lab for FaultyLab {
    fn rig(&self, setup: Setup) -> Result<Box<dyn Rig>, Error> {
        Ok(Box::new(FaultyRig {
            fault: self.0,
            setup,
            made: Arc::default(),
        }))
    }
}

impl Rig for FaultyRig {
    fn open_with(&self, _: &Opening) -> Result<Arc<dyn Subject>, Error> {
        self.made.created.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Faulty {
            fault: self.fault,
            setup: self.setup,
            calls: AtomicU64::new(0),
            inside: AtomicUsize::new(0),
            dirty: AtomicUsize::new(0),
            buffer: Mutex::new(Vec::new()),
            made: Arc::clone(&self.made),
        }))
    }

    fn census(&self) -> Vec<Held> {
        vec![Held {
            what: "plans",
            created: self.made.created.load(Ordering::SeqCst),
            released: self.made.released.load(Ordering::SeqCst),
            bytes: if self.fault == HoldsBytes { 64 } else { 0 },
        }]
    }
}

fn next(value: f32) -> f32 {
    f32::from_bits(value.to_bits() ^ 1)
}

impl Faulty {
    fn refuse(&self, why: &str) -> Result<Vec<Tensor>, Error> {
        self.dirty.store(1, Ordering::SeqCst);
        Err(Error::new(ErrorKind::InvalidInput, why))
    }

    /// Copies the input to where the computation reads it: for one fault, a place that all callers share.
    fn staged(&self, x: &[f32]) -> Vec<f32> {
        if self.fault != SharesOneBuffer {
            return x.to_vec();
        }
        let lock = || self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        *lock() = x.to_vec();
        std::thread::sleep(Duration::from_micros(50));
        let mut found = lock().clone();
        found.resize(x.len(), 0.0);
        found
    }

    fn answer(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let right = match inputs {
            [x] if x.dtype() == DType::F32 && x.rank() == 2 && x.shape()[1] == WIDTH => Some(x),
            _ => None,
        };
        let x = match (right, self.fault) {
            (Some(x), _) => x.as_slice::<f32>()?.to_vec(),
            (None, AcceptsWrongRequests) => vec![0.0; WIDTH],
            (None, _) => return self.refuse("not a float matrix"),
        };
        if matches!(self.fault, FailsUnderLoad | Panics | Hangs) {
            // Long enough for others to come in.
            std::thread::sleep(Duration::from_micros(50));
        }
        let crowd = self.inside.load(Ordering::SeqCst);
        match self.fault {
            FailsUnderLoad if crowd > 4 => return self.refuse("too many callers"),
            Panics if crowd > 4 && call.is_multiple_of(100) => panic!("a kernel's assertion"),
            Hangs if crowd > 4 && call.is_multiple_of(100) => loop {
                std::thread::park();
            },
            _ => {}
        }
        let x = self.staged(&x);
        let rows = x.len() / WIDTH;
        let (mut y, mut z) = (Vec::new(), Vec::new());
        for row in x.chunks_exact(WIDTH) {
            let (own, sum) = model(row);
            y.extend(own);
            z.push(sum);
        }
        self.spoil(call, rows, &mut y, &mut z);
        let mut outputs = vec![
            Tensor::from_slice(&[rows, WIDTH], &y)?,
            Tensor::from_slice(&[rows], &z)?,
        ];
        match self.fault {
            DropsAnOutput if rows == 3 => drop(outputs.pop()),
            GivesAnotherShape if rows == 3 => outputs[1] = outputs[1].reshaped(&[rows, 1])?,
            _ => {}
        }
        Ok(outputs)
    }

    /// Makes an answer wrong.
    fn spoil(&self, call: u64, rows: usize, y: &mut [f32], z: &mut [f32]) {
        match self.fault {
            SwapsRows if rows > 1 => z.swap(0, rows - 1),
            ReturnsNeighboursRow if rows > 2 => y.copy_within(0..WIDTH, WIDTH),
            FlipsOneBitInAThousand if call % 1_000 == 999 => y[0] = next(y[0]),
            LosesNan => y.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = 0.0),
            SpreadsNan if y.iter().any(|v| v.is_nan()) => y.fill(f32::NAN),
            LosesTheSignOfZero if rows > 1 => {
                y.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = -0.0)
            }
            SplitsTheSumByRows if rows > 4 => z.iter_mut().for_each(|v| *v = next(*v)),
            IsWrongAtTheLastPosition if rows == 16 => z[15] = next(z[15]),
            DependsOnThreads if self.setup.threads == Some(2) => z[0] = next(z[0]),
            DependsOnInstructions if self.setup.isa == Some(Isa::Scalar) => z[0] = next(z[0]),
            // The idle session's first answer is the truth that others are compared with. Every row is spoilt, because a
            // poisoned one may be NaN, and one NaN is as good as another.
            IsWrongWhenCold if call == 0 && self.setup != Setup::DEFAULT => {
                z.iter_mut().for_each(|v| *v = next(*v))
            }
            IsDirtyAfterAnError if self.dirty.swap(0, Ordering::SeqCst) == 1 => z[0] = next(z[0]),
            IsInaccurate => y.iter_mut().for_each(|v| *v *= 1.0001),
            _ => {}
        }
    }
}

impl Subject for Faulty {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer(inputs);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error> {
        if self.fault == IgnoresDeadlines || Instant::now() < deadline {
            self.run(inputs)
        } else {
            self.refuse("too late")
        }
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        Ok(Box::new(Ready(self.run(inputs))))
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn close(&self) {}
}

struct HonestOracle;

impl Oracle for HonestOracle {
    fn canonical(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let x = inputs[0].as_slice::<f32>().map_err(|e| e.to_string())?;
        let (y, z) = model(x);
        let tensors = (
            Tensor::from_slice(&[1, WIDTH], &y),
            Tensor::from_slice(&[1], &[z]),
        );
        Ok(vec![tensors.0.unwrap(), tensors.1.unwrap()])
    }

    fn float64(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let x = inputs[0].to_f64s().unwrap();
        let y: Vec<f64> = x.iter().map(|v| v * 1.5 + x[0]).collect();
        let z: f64 = x.iter().sum();
        Ok(vec![
            Tensor::from_slice(&[1, WIDTH], &y).unwrap(),
            Tensor::from_slice(&[1], &[z]).unwrap(),
        ])
    }

    fn scattered(&self, inputs: &[Tensor], seed: u64) -> Result<Vec<Tensor>, String> {
        // One unit in the last place, this way or that.
        let factor = 1.0 + if seed.is_multiple_of(2) { 6e-8 } else { -6e-8 };
        let moved = |tensor: Tensor| {
            let values: Vec<f64> = tensor
                .to_f64s()
                .unwrap()
                .iter()
                .map(|v| v * factor)
                .collect();
            Tensor::from_slice(tensor.shape(), &values).unwrap()
        };
        Ok(self.float64(inputs)?.into_iter().map(moved).collect())
    }
}

fn case(fault: Fault) -> Case {
    let output = |name: &str| OutputSpec {
        name: name.into(),
        rows: OutputRows::Along(0),
    };
    let x = InputPlan {
        name: "x".into(),
        dtype: DType::F32,
        shape: vec![1, WIDTH],
        role: Role::Rows(0),
        values: Values::Normal,
        picks_from: None,
    };
    let mut case = Case::new(Parts {
        maker: RequestMaker::new(1, vec![x]),
        outputs: vec![output("y"), output("z")],
        // As much as a small dense network's, so that as many requests are made.
        flops_per_row: 1_000_000,
        bound: Bound {
            relative: 1e-6,
            roundings: 4.0,
            jumps: Vec::new(),
        },
        lab: Box::new(FaultyLab(fault)),
        oracle: Box::new(HonestOracle),
        machine: Machine {
            threads: 2,
            isas: vec![Isa::Scalar, Isa::Avx2],
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

/// A quick run of one section.
fn quick(section: fn(&mut Case, &mut Context<'_>) -> Findings, case: &mut Case) -> Vec<Check> {
    let mut options = Options::default();
    options.effort = Effort::Quick;
    let machine = case.machine.clone();
    let mut cx = Context {
        options: &options,
        machine: &machine,
        progress: &mut Silent,
    };
    section(case, &mut cx).checks
}

fn verify(fault: Fault) -> Vec<Check> {
    let mut case = case(fault);
    let mut checks = quick(thread_safety::check, &mut case);
    checks.extend(quick(correctness::check, &mut case));
    checks
}

/// The checks of this fault that failed, by their ids without the prefix of section and model.
fn failed(checks: &[Check]) -> Vec<(String, &Check)> {
    let short = |check: &Check| check.id.replace("/double", "");
    let red = checks.iter().filter(|check| check.verdict == Verdict::Fail);
    red.map(|check| (short(check), check)).collect()
}

#[test]
fn the_honest_subject_passes_everything() {
    let checks = verify(Honest);
    for check in &checks {
        assert_eq!(
            check.verdict,
            Verdict::Pass,
            "{}: {:?} {:?}",
            check.id,
            check.notes,
            check.differences
        );
        assert!(check.trials > 0, "{}", check.id);
    }
    let ids: Vec<&str> = checks.iter().map(|check| &*check.id).collect();
    assert_eq!(
        ids,
        [
            "thread-safety/double/callers",
            "thread-safety/double/original",
            "thread-safety/double/refusals",
            "thread-safety/double/census",
            "correctness/double/bits/avx2/1",
            "correctness/double/bits/avx2/2",
            "correctness/double/bits/scalar/2",
            "correctness/double/canonical",
            "correctness/double/float64",
        ]
    );
}

/// Each fault, the checks of which at least these must fail, and a text that the first difference must show.
const CAUGHT: &[(Fault, &[&str], &str)] = &[
    (
        SwapsRows,
        &["correctness/bits/avx2/1", "correctness/bits/avx2/2"],
        "\"z\"",
    ),
    (ReturnsNeighboursRow, &["correctness/bits/avx2/1"], "\"y\""),
    (FlipsOneBitInAThousand, &["thread-safety/callers"], "\"y\""),
    (LosesNan, &["correctness/canonical"], "NaN"),
    (SpreadsNan, &["correctness/bits/avx2/1"], "NaN"),
    (
        LosesTheSignOfZero,
        &["correctness/bits/avx2/1"],
        "0x80000000",
    ),
    (SplitsTheSumByRows, &["correctness/bits/avx2/1"], "\"z\""),
    (
        IsWrongAtTheLastPosition,
        &["correctness/bits/avx2/1", "correctness/bits/avx2/2"],
        "row: Some(15)",
    ),
    (DependsOnThreads, &["correctness/bits/avx2/2"], "2 threads"),
    (
        DependsOnInstructions,
        &["correctness/bits/scalar/2"],
        "scalar",
    ),
    (
        IsWrongWhenCold,
        &["correctness/bits/avx2/1", "correctness/bits/avx2/2"],
        "cold",
    ),
    (SharesOneBuffer, &["thread-safety/callers"], "callers"),
    (
        AcceptsWrongRequests,
        &["thread-safety/refusals"],
        "a wrong type",
    ),
    (IgnoresDeadlines, &["thread-safety/refusals"], "deadline"),
    (IsDirtyAfterAnError, &["thread-safety/refusals"], "\"z\""),
    (
        FailsUnderLoad,
        &["thread-safety/callers"],
        "too many callers",
    ),
    (Panics, &["thread-safety/callers"], "a kernel's assertion"),
    (Hangs, &["thread-safety/callers"], "a call did not return"),
    (DropsAnOutput, &["correctness/bits/avx2/1"], "1 outputs"),
    (
        GivesAnotherShape,
        &["correctness/bits/avx2/1"],
        "shape [3, 1]",
    ),
    (LeaksPlans, &["thread-safety/census"], "plans"),
    (HoldsBytes, &["thread-safety/census"], "64 bytes"),
    (
        IsInaccurate,
        &["correctness/canonical", "correctness/float64"],
        "\"y\"",
    ),
];

#[test]
fn every_fault_is_caught_by_the_check_that_is_there_for_it() {
    let mut missed = Vec::new();
    for (fault, checks, text) in CAUGHT {
        let report = verify(*fault);
        let red = failed(&report);
        for wanted in *checks {
            let Some((_, check)) = red.iter().find(|(id, _)| id == wanted) else {
                let ids: Vec<&String> = red.iter().map(|(id, _)| id).collect();
                missed.push(format!("{fault:?}: {wanted} passed; red were {ids:?}"));
                continue;
            };
            let shown = format!("{:?} {:?}", check.differences, check.notes);
            if check.failures == 0 || !shown.contains(text) {
                missed.push(format!(
                    "{fault:?}: {wanted} does not show {text:?}: {shown}"
                ));
            }
            if check.rate_bound.is_some() {
                missed.push(format!(
                    "{fault:?}: {wanted} failed and still bounds a rate"
                ));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn no_check_is_decoration() {
    let all = verify(Honest);
    let caught: Vec<&str> = CAUGHT
        .iter()
        .flat_map(|(_, checks, _)| checks.iter().copied())
        .collect();
    for check in &all {
        let id = check.id.replace("/double", "");
        // The original's row is a piece of the same round of callers: whatever breaks that breaks this.
        if id == "thread-safety/original" {
            continue;
        }
        assert!(caught.contains(&&*id), "no fault makes {id} fail");
    }
}

#[test]
fn a_fault_that_depends_on_instructions_leaves_other_setups_green() {
    let checks = verify(DependsOnInstructions);
    let ids: Vec<String> = failed(&checks).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["correctness/bits/scalar/2"]);
}

#[test]
fn where_nothing_can_be_chosen_one_setup_is_swept_and_the_others_are_out_of_reach() {
    let on_a_device = |fault| {
        let mut case = case(fault);
        case.machine.isas.clear();
        quick(correctness::check, &mut case)
    };
    let checks = on_a_device(Honest);
    let told: Vec<(&str, Verdict)> = checks
        .iter()
        .map(|check| (&*check.id, check.verdict))
        .collect();
    assert_eq!(
        told,
        [
            ("correctness/double/bits", Verdict::Pass),
            ("correctness/double/bits/setups", Verdict::OutOfReach),
            ("correctness/double/canonical", Verdict::Pass),
            ("correctness/double/float64", Verdict::Pass),
        ]
    );
    assert!(checks[1].notes[0].contains("plain arithmetic"));
    let red: Vec<(String, Verdict)> = on_a_device(SwapsRows)
        .into_iter()
        .map(|check| (check.id, check.verdict))
        .collect();
    assert!(
        red.contains(&("correctness/double/bits".to_owned(), Verdict::Fail)),
        "{red:?}"
    );
}

#[test]
fn a_machine_that_lacks_what_is_asked_for_could_not_run_and_has_not_passed() {
    struct NoLab;
    impl Lab for NoLab {
        fn rig(&self, _: Setup) -> Result<Box<dyn Rig>, Error> {
            Err(Error::new(ErrorKind::Device, "there is no such device"))
        }
    }
    let mut case = case(Honest);
    case.lab = Box::new(NoLab);
    let mut checks = quick(thread_safety::check, &mut case);
    checks.extend(quick(correctness::check, &mut case));
    assert_eq!(checks.len(), 2);
    for check in checks {
        assert_eq!(check.verdict, Verdict::CouldNotRun);
        assert!(
            check.notes[0].contains("no such device"),
            "{:?}",
            check.notes
        );
        assert!(!check.verdict.is_acceptable());
    }
}

#[test]
fn equal_seeds_do_equal_work() {
    let digests = || {
        let mut case = case(Honest);
        let mut trials: Vec<u64> = Vec::new();
        for check in quick(thread_safety::check, &mut case) {
            trials.push(check.trials);
        }
        (
            trials,
            case.record.requests_digest,
            case.record.answers_digest,
        )
    };
    let first = digests();
    assert!(first.1.is_some());
    assert_eq!(first, digests());
}
