//! Contract C8: every check can fail. Each test takes a check that passes, breaks the part that it guards, and demands that it is
//! caught, in the way that such a fault shows.
//!
//! A check runs in a process of its own (this test program again), once with nothing broken and once with its mutant: what is broken is
//! a matter of the whole process, and a broken one may hang or crash.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use common::{Sample, input, load, mlp, numbers, row, samples};
use unisono::mutant::{self, Mutant};
use unisono::onnx::write::{Dim, Graph, Node, Tensor as Weights, ValueInfo};
use unisono::reference::interpret::{Interpreter, Precision};
use unisono::{
    Device, Error, ErrorKind, Isa, Model, Resource, RunOptions, Session, SessionOptions, Tensor,
    WhenFull,
};
use unisono_runtime::lane::Lane;
use unisono_runtime::plan::{Backend, DeviceInfo, Executable, Group, Member, Plan, PlanKey};

/// How a mutant shows.
enum Sign {
    /// The check fails and says this.
    Says(&'static str),
    /// Somebody waits for ever.
    Hangs,
}
use Sign::{Hangs, Says};

/// A mutant, the check that kills it, and how.
type Row = (Mutant, fn(), Sign);

/// Those that are killed here.
const ROWS: &[Row] = &[
    (
        Mutant::ForgottenWakeUp,
        everybody_gets_their_own_rows,
        Hangs,
    ),
    (
        Mutant::RowsSwappedOnScatter,
        everybody_gets_their_own_rows,
        Says("wrong bits"),
    ),
    (
        Mutant::NeighboursRows,
        everybody_gets_their_own_rows,
        Says("wrong bits"),
    ),
    (
        Mutant::ArenaReusedEarly,
        answers_are_those_of_plain_arithmetic,
        Says("wrong bits"),
    ),
    (
        Mutant::SumSplitByRows,
        a_row_alone_has_the_bits_that_it_has_among_others,
        Says("wrong bits"),
    ),
    (
        Mutant::ScalarWithoutFma,
        answers_are_those_of_plain_arithmetic,
        Says("wrong bits"),
    ),
    (
        Mutant::PlanCompiledTwice,
        one_new_shape_is_compiled_once,
        Says("compiled more than once"),
    ),
    (
        Mutant::KeyIgnoresDimension,
        every_shape_is_answered_with_its_own,
        Says("wrong shape or refused"),
    ),
    (
        Mutant::EvictionDropsPlanInUse,
        the_census_counts_every_plan_once,
        Says("wrong count of plans"),
    ),
    (
        Mutant::OutputLeaked,
        memory_does_not_grow,
        Says("bytes more than before"),
    ),
    (
        Mutant::LaneKeptOnError,
        errors_leave_the_device_usable,
        Hangs,
    ),
    (
        Mutant::DeadlineIgnored,
        what_comes_too_late_is_no_answer,
        Says("answered after the deadline"),
    ),
    (
        Mutant::FollowersLeftAsleep,
        a_leader_that_panics_leaves_nobody_waiting,
        Hangs,
    ),
    (
        Mutant::PaddingReadsInput,
        padding_is_zero,
        Says("wrong sum"),
    ),
    (
        Mutant::StatusUnchecked,
        an_index_outside_of_its_table_is_an_error,
        Says("no error"),
    ),
    (
        Mutant::OvertakenWithoutBound,
        nobody_is_overtaken_more_often_than_allowed,
        Says("overtaken too often"),
    ),
    (Mutant::CancelledKept, what_is_taken_back_is_gone, Hangs),
    (
        Mutant::RefusedKept,
        what_is_refused_is_gone,
        Says("refused requests are still there"),
    ),
    (
        Mutant::CoefficientOff,
        answers_are_near_those_of_64_bit_floats,
        Says("far from 64-bit floats"),
    ),
    (
        Mutant::CacheWithoutBound,
        plans_stay_within_their_bound,
        Says("more bytes than allowed"),
    ),
    (
        Mutant::ModelsMixedUp,
        two_models_on_one_device_keep_their_weights,
        Says("another model's answer"),
    ),
    (
        Mutant::NeverCoalesced,
        everybody_gets_their_own_rows,
        Says("nobody met anybody"),
    ),
    (
        Mutant::PanicNotCaught,
        a_panic_in_a_kernel_is_an_error,
        Says("a panic left the session"),
    ),
    (
        Mutant::FailureRemembered,
        a_failed_compile_is_tried_again,
        Says("the failure is remembered"),
    ),
    (
        Mutant::SessionKept,
        a_dropped_session_is_gone,
        Says("sessions are still there"),
    ),
    (
        Mutant::QueueWithoutBound,
        a_full_queue_refuses,
        Says("more waited than allowed"),
    ),
];

/// Those that no run on this machine can show; killed by the runtime's loom models (`tests/loom_mutants.rs` there).
const BY_MODEL: &[Mutant] = &[Mutant::RelaxedSignal];

const CHECK: &str = "UNISONO_TEST_CHECK";
const BROKEN: &str = "UNISONO_TEST_BROKEN";

/// A check that passes takes less; one that hangs is given up after this or a multiple of the time in which it passes.
const PATIENCE: Duration = Duration::from_secs(120);
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

enum End {
    Passed,
    Failed(String),
    Hung,
}

/// Runs a mutant's check in a process of its own.
fn run_check(check: Mutant, broken: Option<Mutant>, patience: Duration) -> End {
    let mut child = Command::new(std::env::current_exe().expect("we run"))
        .args(["--exact", "a_check_by_itself", "--ignored", "--nocapture"])
        .env(CHECK, check.name())
        .env(BROKEN, broken.map_or("", Mutant::name))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut stderr = child.stderr.take().expect("piped");
    let said = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was said until it ended is all there is.
        let _ = stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break Some(status);
        }
        if started.elapsed() > patience {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = said.join().expect("reading does not panic");
    match status {
        None => End::Hung,
        Some(status) if status.success() => End::Passed,
        Some(status) => End::Failed(format!("{said}\n{status}")),
    }
}

/// The check passes, and fails in the mutant's way once it is broken.
fn kill(mutant: Mutant) {
    // One after the other: whether somebody hangs is a matter of time.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let (_, _, sign) = ROWS
        .iter()
        .find(|row| row.0 == mutant)
        .expect("it is in the table");
    let started = Instant::now();
    match run_check(mutant, None, PATIENCE) {
        End::Passed => {}
        End::Failed(said) => panic!("the check fails with nothing broken: {said}"),
        End::Hung => panic!("the check hangs with nothing broken"),
    }
    let patience = LEAST_PATIENCE.max(started.elapsed() * 10);
    match (run_check(mutant, Some(mutant), patience), sign) {
        (End::Failed(said), Says(text)) if said.contains(text) => {}
        (End::Hung, Hangs) => {}
        (End::Passed, _) => panic!("{} survives: {}", mutant.name(), mutant.describe()),
        (End::Failed(said), _) => panic!("{} is caught otherwise: {said}", mutant.name()),
        (End::Hung, _) => panic!("{} hangs", mutant.name()),
    }
}

/// What [`run_check`] runs.
#[test]
#[ignore = "the other tests run it, each in a process of its own"]
fn a_check_by_itself() {
    let name = |variable| std::env::var(variable).unwrap_or_default();
    let Some(check) = Mutant::named(&name(CHECK)) else {
        return;
    };
    mutant::activate(Mutant::named(&name(BROKEN)));
    let (_, check, _) = ROWS
        .iter()
        .find(|row| row.0 == check)
        .expect("it is in the table");
    check();
}

macro_rules! killed {
    ($($test:ident: $mutant:ident;)*) => {
        $(#[test]
        fn $test() {
            kill(Mutant::$mutant);
        })*

        /// Those that a test of this file kills.
        const TESTED: &[Mutant] = &[$(Mutant::$mutant,)*];
    };
}

killed! {
    a_forgotten_wake_up_is_caught: ForgottenWakeUp;
    rows_swapped_on_scatter_are_caught: RowsSwappedOnScatter;
    a_neighbours_rows_are_caught: NeighboursRows;
    an_arena_reused_early_is_caught: ArenaReusedEarly;
    a_sum_split_by_rows_is_caught: SumSplitByRows;
    a_scalar_kernel_without_fma_is_caught: ScalarWithoutFma;
    a_plan_compiled_twice_is_caught: PlanCompiledTwice;
    a_key_that_ignores_a_dimension_is_caught: KeyIgnoresDimension;
    an_eviction_that_drops_a_plan_in_use_is_caught: EvictionDropsPlanInUse;
    a_leaked_output_is_caught: OutputLeaked;
    a_lane_kept_on_error_is_caught: LaneKeptOnError;
    an_ignored_deadline_is_caught: DeadlineIgnored;
    followers_left_asleep_are_caught: FollowersLeftAsleep;
    padding_that_reads_the_input_is_caught: PaddingReadsInput;
    an_unchecked_status_is_caught: StatusUnchecked;
    overtaking_without_bound_is_caught: OvertakenWithoutBound;
    a_cancelled_request_that_is_kept_is_caught: CancelledKept;
    a_refused_request_that_is_kept_is_caught: RefusedKept;
    a_coefficient_that_is_off_is_caught: CoefficientOff;
    a_cache_without_bound_is_caught: CacheWithoutBound;
    models_that_are_mixed_up_are_caught: ModelsMixedUp;
    requests_that_never_share_a_batch_are_caught: NeverCoalesced;
    a_panic_that_is_not_caught_is_caught: PanicNotCaught;
    a_failure_that_is_remembered_is_caught: FailureRemembered;
    a_session_that_is_kept_is_caught: SessionKept;
    a_queue_without_bound_is_caught: QueueWithoutBound;
}

/// Evidence: checks-can-fail
#[test]
fn every_mutant_has_a_test_that_kills_it() {
    for &mutant in Mutant::ALL {
        let tests = [TESTED, BY_MODEL]
            .iter()
            .flat_map(|list| list.iter())
            .filter(|m| **m == mutant)
            .count();
        assert_eq!(tests, 1, "{}", mutant.name());
    }
}

// The checks.

/// Callers that meet in batches, each with rows of its own.
fn everybody_gets_their_own_rows() {
    const CALLERS: usize = 8;
    const ROWS: usize = 2;
    let sample = wide_mlp();
    let device = Device::builder().threads(1).build().unwrap();
    let session = sample.model.session(&device).unwrap();
    let requests: Vec<Tensor> = (0..CALLERS)
        .map(|caller| sample.request(ROWS, caller as u32))
        .collect();
    let answers: Vec<Vec<u8>> = requests.iter().map(|x| bytes(&session, x)).collect();
    std::thread::scope(|scope| {
        for (request, answer) in requests.iter().zip(&answers) {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..100 {
                    assert!(&bytes(session, request) == answer, "wrong bits");
                }
            });
        }
    });
    let batches = session.stats().batch_requests;
    assert!(batches.sum() > batches.count(), "nobody met anybody");
}

/// Every instruction set against the reference implementation.
fn answers_are_those_of_plain_arithmetic() {
    for sample in samples() {
        let x = sample.request(5, 3);
        let plain = Interpreter::new(Precision::Canonical)
            .run(sample.model.graph(), std::slice::from_ref(&x))
            .unwrap();
        for isa in Isa::available() {
            let device = Device::builder().isa(isa).build().unwrap();
            let session = sample.model.session(&device).unwrap();
            let name = sample.name;
            assert!(
                bytes(&session, &x) == plain[0].bytes(),
                "wrong bits: {name}, {}",
                isa.name()
            );
        }
    }
}

fn a_row_alone_has_the_bits_that_it_has_among_others() {
    let sample = wide_mlp();
    let session = sample.model.session(&Device::cpu().unwrap()).unwrap();
    let all = sample.request(6, 1);
    let together = session.run(&all).unwrap();
    for i in 0..6 {
        let alone = session.run(&sample.part(&all, i, 1)).unwrap();
        assert!(row(&alone, 0) == row(&together, i), "wrong bits: row {i}");
    }
}

fn one_new_shape_is_compiled_once() {
    const CALLERS: usize = 4;
    let device = Device::cpu().unwrap();
    let model = mlp(16, 8, 4);
    for _ in 0..300 {
        let session = model.session(&device).unwrap();
        let barrier = Barrier::new(CALLERS);
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    let x = input(1, 16, 1);
                    barrier.wait();
                    session.run(&x).unwrap();
                });
            }
        });
        assert_eq!(session.plans().compiles, 1, "compiled more than once");
    }
}

fn every_shape_is_answered_with_its_own() {
    let session = any_width().session(&Device::cpu().unwrap()).unwrap();
    for width in [5, 7, 5] {
        let shape = session
            .run(&input(2, width, 1))
            .map(|y| y["y"].shape().to_vec());
        assert!(
            shape.as_ref().is_ok_and(|s| *s == [2, width]),
            "wrong shape or refused: {shape:?}"
        );
    }
}

fn the_census_counts_every_plan_once() {
    let device = Device::cpu().unwrap();
    let model = any_width();
    let session = model.session(&device).unwrap();
    session.run(&input(2, 3, 1)).unwrap();
    let one = session.plans().bytes;
    drop(session);
    let options = SessionOptions::default().plan_cache_bytes(one);
    let session = model.session_with(&device, &options).unwrap();
    for _ in 0..10 {
        // A future that is not polled keeps its plan, and there is room for one.
        let held = session.run_async(&input(2, 3, 1));
        session.run(&input(2, 4, 1)).unwrap();
        drop(held);
    }
    assert!(session.plans().evictions > 0, "nothing was evicted");
    drop(session);
    let plans = device.census().get(Resource::Plan);
    assert!(
        plans.created == plans.released && plans.bytes == 0,
        "wrong count of plans: {plans:?}"
    );
}

fn memory_does_not_grow() {
    const RUNS: i64 = 50_000;
    const OUTPUT: i64 = 160;
    let device = Device::builder().threads(1).build().unwrap();
    let session = common::halving().session(&device).unwrap();
    let x = input(1, 40, 1);
    let run = |times| (0..times).for_each(|_| drop(session.run(&x).unwrap()));
    run(100);
    let before = HELD.load(Ordering::SeqCst);
    run(RUNS);
    let grown = HELD.load(Ordering::SeqCst) - before;
    // The test harness's own thread may still take or give back a little.
    assert!(
        grown < RUNS / 1_000 * OUTPUT / 2,
        "{grown} bytes more than before"
    );
}

fn errors_leave_the_device_usable() {
    let device = Device::cpu().unwrap();
    let session = table().session(&device).unwrap();
    for _ in 0..2 * device.info().threads + 2 {
        assert!(session.run(&ids(&[1, 99])).is_err());
    }
    assert!(session.run(&ids(&[1, 2])).is_ok());
}

fn what_comes_too_late_is_no_answer() {
    const TIME: Duration = Duration::from_millis(5);
    let session = wide_mlp().session();
    let x = input(2_000, 512, 1);
    session.run(&x).unwrap();
    let mut long = 0;
    for _ in 0..20 {
        let asked = Instant::now();
        let options = RunOptions::new().deadline(asked + TIME);
        let answered = session.run_with(&x, &options).is_ok();
        let is_long = asked.elapsed() > 2 * TIME;
        long += usize::from(is_long);
        assert!(!(answered && is_long), "answered after the deadline");
    }
    assert!(long > 0, "the machine is too fast for this check");
}

/// The runtime panics outside of the model, in the middle of a batch.
fn a_leader_that_panics_leaves_nobody_waiting() {
    let (sample, armed) = (wide_mlp(), Arc::new(AtomicBool::new(false)));
    let session = fragile(&sample, Crack::BehindTheModel, &armed);
    session.run(&sample.request(1, 0)).unwrap();
    let (fell, started) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (sample, session, fell) = (&sample, &session, &fell);
            scope.spawn(move || {
                let x = sample.request(2, caller);
                // Less than what is taken for a hang.
                while !fell.load(Ordering::SeqCst) && started.elapsed() < LEAST_PATIENCE / 2 {
                    let run = catch_unwind(AssertUnwindSafe(|| session.run(&x)));
                    if run.is_err() {
                        fell.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
        armed.store(true, Ordering::SeqCst);
    });
    assert!(fell.into_inner(), "no leader fell");
    assert!(session.run(&sample.request(1, 0)).is_ok());
}

fn padding_is_zero() {
    for isa in Isa::available() {
        let device = Device::builder().isa(isa).build().unwrap();
        let session = convolution().session(&device).unwrap();
        let x = Tensor::from_slice(&[1, 2, 4], &[1f32; 8]).unwrap();
        let outputs = session.run(&x).unwrap();
        let y = outputs["y"].as_slice::<f32>().unwrap();
        for sums in y.chunks(4) {
            assert_eq!(sums, [4.0, 6.0, 6.0, 4.0], "wrong sum, {}", isa.name());
        }
    }
}

fn an_index_outside_of_its_table_is_an_error() {
    let session = table().session(&Device::cpu().unwrap()).unwrap();
    assert!(session.run(&ids(&[1, 2])).is_ok());
    assert!(session.run(&ids(&[1, 99])).is_err(), "no error");
}

/// While a large request has the only lane, others queue behind it: one row, more rows than fit with it, and many rows that
/// would.
fn nobody_is_overtaken_more_often_than_allowed() {
    const BOUND: u32 = 2;
    let busy = Busy::new();
    let options = SessionOptions::default()
        .max_batch_rows(16)
        .max_overtaken(BOUND);
    let session = mlp(16, 8, 4).session_with(&busy.device, &options).unwrap();
    let rows = [1, 16, 1, 1, 1, 1, 1, 1, 1, 1];
    let mut rounds = 0;
    while rounds < 5 {
        let before = session.stats().batches;
        let waiting: Vec<_> = rows
            .iter()
            .map(|&rows| Box::pin(session.run_async(&input(rows, 16, 1))))
            .collect();
        let stats = session.stats();
        let all_wait = stats.waiting == rows.len() as u64 && stats.batches == before;
        waiting.into_iter().for_each(|f| drop(wait(f).unwrap()));
        if !all_wait {
            continue;
        }
        rounds += 1;
        // One row and two more; the large one; the rest. Were all small ones in the first, there would be two.
        let batches = session.stats().batches - before;
        assert!(batches == 3, "overtaken too often: {batches} batches");
    }
}

fn what_is_taken_back_is_gone() {
    let busy = Busy::new();
    let session = mlp(16, 8, 4).session(&busy.device).unwrap();
    for _ in 0..5 {
        let futures: Vec<_> = (0..100)
            .map(|_| session.run_async(&input(1, 16, 1)))
            .collect();
        drop(futures);
    }
    let device = busy.device.clone();
    drop(busy);
    // One that was claimed is thrown away by its leader, which may still be at it.
    while device.census().get(Resource::Request).alive() > 0 {
        std::thread::yield_now();
    }
}

fn what_is_refused_is_gone() {
    let session = mlp(16, 8, 4).session(&Device::cpu().unwrap()).unwrap();
    let late = RunOptions::new().deadline(Instant::now());
    for _ in 0..10 {
        assert!(session.run_with(&input(1, 16, 1), &late).is_err());
    }
    let alive = session.device().census().get(Resource::Request).alive();
    assert_eq!(alive, 0, "refused requests are still there");
}

fn answers_are_near_those_of_64_bit_floats() {
    for sample in samples() {
        let x = sample.request(3, 9);
        let double = Interpreter::new(Precision::Float64)
            .run(sample.model.graph(), std::slice::from_ref(&x))
            .unwrap();
        let answer = sample.session().run(&x).unwrap();
        let (y, y64) = (answer["y"].to_f64s().unwrap(), double[0].to_f64s().unwrap());
        let size = y64.iter().fold(0f64, |m, v| m.max(v.abs()));
        let off = y.iter().zip(&y64).map(|(a, b)| (a - b).abs());
        let off = off.fold(0f64, f64::max) / size;
        assert!(
            off < 2e-6,
            "far from 64-bit floats: {off:e}, {}",
            sample.name
        );
    }
}

fn plans_stay_within_their_bound() {
    const BOUND: u64 = 4 << 10;
    let options = SessionOptions::default().plan_cache_bytes(BOUND);
    let session = any_width()
        .session_with(&Device::cpu().unwrap(), &options)
        .unwrap();
    for width in 1..50 {
        session.run(&input(2, width, 1)).unwrap();
        let held = session.plans().bytes;
        assert!(held <= BOUND, "more bytes than allowed: {held}");
    }
    assert!(session.plans().evictions > 0, "the bound was not reached");
}

fn two_models_on_one_device_keep_their_weights() {
    let (first, second) = (scaled(2.0), scaled(3.0));
    let device = Device::cpu().unwrap();
    let sessions = [first, second].map(|model| model.session(&device).unwrap());
    for (session, factor) in sessions.iter().zip([2.0, 3.0]) {
        let y = session
            .run(&Tensor::from_slice(&[1, 2], &[1f32, 5.0]).unwrap())
            .unwrap();
        assert!(
            y["y"].as_slice::<f32>() == Ok(&[factor, 5.0 * factor][..]),
            "another model's answer"
        );
    }
}

fn a_panic_in_a_kernel_is_an_error() {
    let (sample, armed) = (wide_mlp(), Arc::new(AtomicBool::new(false)));
    let session = fragile(&sample, Crack::InTheModel, &armed);
    session.run(&sample.request(1, 0)).unwrap();
    let (fell, started) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        armed.store(true, Ordering::SeqCst);
        for caller in 0..8 {
            let (sample, session, fell, armed) = (&sample, &session, &fell, &armed);
            scope.spawn(move || {
                let x = sample.request(2, caller);
                while armed.load(Ordering::SeqCst) && started.elapsed() < PATIENCE / 2 {
                    let run = catch_unwind(AssertUnwindSafe(|| session.run(&x)));
                    fell.fetch_or(run.is_err(), Ordering::SeqCst);
                }
            });
        }
    });
    assert!(!fell.into_inner(), "a panic left the session");
    assert!(!armed.load(Ordering::SeqCst), "no kernel panicked");
}

fn a_failed_compile_is_tried_again() {
    let (sample, armed) = (wide_mlp(), Arc::new(AtomicBool::new(true)));
    let session = fragile(&sample, Crack::InCompiling, &armed);
    let x = sample.request(1, 0);
    assert!(session.run(&x).is_err());
    assert!(session.run(&x).is_ok(), "the failure is remembered");
}

fn a_dropped_session_is_gone() {
    let device = Device::cpu().unwrap();
    let session = mlp(16, 8, 4).session(&device).unwrap();
    session.run(&input(1, 16, 1)).unwrap();
    drop(session);
    let alive = device.census().get(Resource::Session).alive();
    assert_eq!(alive, 0, "sessions are still there");
}

fn a_full_queue_refuses() {
    const CAPACITY: usize = 4;
    let busy = Busy::new();
    let options = SessionOptions::default()
        .queue_capacity(CAPACITY)
        .when_full(WhenFull::Error);
    let session = mlp(16, 8, 4).session_with(&busy.device, &options).unwrap();
    for _ in 0..20 {
        let mut waiting: Vec<_> = (0..3 * CAPACITY)
            .map(|_| Box::pin(session.run_async(&input(1, 16, 1))))
            .collect();
        let most = session.stats().waiting;
        assert!(most <= CAPACITY as u64, "more waited than allowed: {most}");
        waiting.drain(..).for_each(|f| drop(wait(f)));
    }
}

// What they work with.

/// A device whose only lane has much to do, so that requests to other sessions queue.
struct Busy {
    device: Device,
    over: Arc<AtomicBool>,
    worker: Option<std::thread::JoinHandle<()>>,
}

impl Busy {
    fn new() -> Busy {
        let device = Device::builder().threads(1).build().unwrap();
        let session = wide_mlp().model.session(&device).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (stop, x) = (Arc::clone(&over), input(500, 512, 1));
        let worker = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                drop(session.run(&x));
            }
        });
        Busy {
            device,
            over,
            worker: Some(worker),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(worker) = self.worker.take() {
            drop(worker.join());
        }
    }
}

type Asked = Result<unisono::Outputs, Error>;

fn poll_once<F: Future<Output = Asked>>(future: Pin<&mut F>) -> Option<Asked> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

fn wait<F: Future<Output = Asked>>(mut future: Pin<Box<F>>) -> Asked {
    loop {
        if let Some(answer) = poll_once(future.as_mut()) {
            return answer;
        }
        std::thread::yield_now();
    }
}

/// `y = factor x`.
fn scaled(factor: f32) -> Model {
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(2)]);
    load(
        Graph::new("scaled")
            .input(info("x"))
            .initializer(Weights::of("w", &[2], &[factor; 2]))
            .node(Node::new("Mul").inputs(["x", "w"]).outputs(["y"]))
            .output(info("y")),
    )
}

impl Sample {
    fn session(&self) -> Session {
        self.model.session(&Device::cpu().unwrap()).unwrap()
    }
}

/// Sums of more than one slice; long enough that callers meet.
fn wide_mlp() -> Sample {
    Sample {
        name: "wide mlp",
        model: mlp(512, 300, 40),
        row: vec![512],
    }
}

fn bytes(session: &Session, x: &Tensor) -> Vec<u8> {
    session.run(x).unwrap()["y"].bytes().to_vec()
}

fn any_width() -> Model {
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::symbol("width")]);
    load(
        Graph::new("any width")
            .input(info("x"))
            .node(Node::new("Relu").inputs(["x"]).outputs(["y"]))
            .output(info("y")),
    )
}

/// `y = table[x]` with ten entries.
fn table() -> Model {
    load(
        Graph::new("table")
            .input(ValueInfo::tensor::<i64>(
                "x",
                [Dim::symbol("batch"), Dim::symbol("length")],
            ))
            .initializer(Weights::of("table", &[10, 4], &numbers(40, 1)))
            .node(Node::new("Gather").inputs(["table", "x"]).outputs(["y"]))
            .output(ValueInfo::tensor::<f32>(
                "y",
                [Dim::symbol("batch"), Dim::symbol("length"), Dim::fixed(4)],
            )),
    )
}

fn ids(ids: &[i64]) -> Tensor {
    Tensor::from_slice(&[1, ids.len()], ids).unwrap()
}

/// Two channels to eight, a kernel of three ones, padded by one.
fn convolution() -> Model {
    let info = |name, channels| {
        let dims = [Dim::symbol("batch"), Dim::fixed(channels), Dim::fixed(4)];
        ValueInfo::tensor::<f32>(name, dims)
    };
    load(
        Graph::new("convolution")
            .input(info("x", 2))
            .initializer(Weights::of("w", &[8, 2, 3], &[1f32; 48]))
            .node(
                Node::new("Conv")
                    .inputs(["x", "w"])
                    .outputs(["y"])
                    .attribute("pads", &[1i64; 2][..]),
            )
            .output(info("y", 8)),
    )
}

/// Where a fragile device panics, once armed.
#[derive(Clone, Copy, PartialEq)]
enum Crack {
    /// It does not, but its first compile fails.
    InCompiling,
    /// In the first batch of several requests.
    InTheModel,
    /// At the first look at its memory after such a batch.
    BehindTheModel,
}

/// A session of the sample on a device that panics there.
fn fragile(sample: &Sample, crack: Crack, armed: &Arc<AtomicBool>) -> unisono_runtime::Session {
    let cpu = unisono_cpu::backend(&unisono_cpu::CpuOptions::default()).unwrap();
    let fragile = Fragile(cpu, crack, Arc::clone(armed));
    let device = unisono_runtime::Device::new(Box::new(fragile)).unwrap();
    let model = unisono_runtime::model::ModelGraph::new(
        sample.model.graph().clone(),
        sample.model.contract().clone(),
        &[Some(unisono::graph::Fact::new(
            unisono::DType::F32,
            sample.model.outputs()[0].shape.clone().unwrap(),
        ))],
    )
    .unwrap();
    let options = SessionOptions::default();
    unisono_runtime::Session::new(Arc::new(model), &device, &options).unwrap()
}

/// The CPU, but it panics once armed.
struct Fragile(Box<dyn Backend>, Crack, Arc<AtomicBool>);

impl Backend for Fragile {
    fn info(&self) -> DeviceInfo {
        self.0.info()
    }
    fn lane_count(&self) -> usize {
        self.0.lane_count()
    }
    fn new_lane(&self) -> Result<Box<dyn Lane>, Error> {
        self.0.new_lane()
    }
    fn prepare(
        &self,
        model: Arc<unisono_runtime::model::ModelGraph>,
    ) -> Result<Arc<dyn Executable>, Error> {
        Ok(Arc::new(FragileModel {
            cpu: self.0.prepare(model)?,
            crack: self.1,
            armed: Arc::clone(&self.2),
            cracked: AtomicBool::new(false),
        }))
    }
}

struct FragileModel {
    cpu: Arc<dyn Executable>,
    crack: Crack,
    armed: Arc<AtomicBool>,
    cracked: AtomicBool,
}

impl Executable for FragileModel {
    fn compile(&self, key: &PlanKey) -> Result<Arc<dyn Plan>, Error> {
        if self.crack == Crack::InCompiling && self.armed.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::OutOfMemory, "on purpose"));
        }
        self.cpu.compile(key)
    }
    fn bytes(&self) -> u64 {
        if self.cracked.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        self.cpu.bytes()
    }
    fn run_batch(
        &self,
        lane: &mut dyn Lane,
        members: &mut [&mut Member],
        groups: &[Group],
    ) -> Result<(), Error> {
        if self.armed.swap(false, Ordering::SeqCst) {
            match self.crack {
                Crack::InTheModel => std::panic::resume_unwind(Box::new("on purpose")),
                Crack::InCompiling => {}
                Crack::BehindTheModel => self.cracked.store(true, Ordering::SeqCst),
            }
        }
        self.cpu.run_batch(lane, members, groups)
    }
}

/// Counts the bytes that are held.
struct Counting;

static HELD: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is passed on unchanged to the system's allocator, which keeps the trait's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
