//! Graph compilation stress: many callers who all need plans that do not exist yet.
//!
//! The one idea: how often something was compiled is counted, not inferred from speed. On a session that has compiled nothing, the
//! number of compiles must equal the number of different shapes, however many callers asked for each at the same moment; and with
//! room for a few plans only, what is held must stay within the bound while every answer stays what it is.
//!
//! The model is a product of two square matrices of any size, so every size is a shape of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use unisono::Error;

use super::{Context, Description, Findings, Running, Scope, SectionId, hung};
use crate::callers::{Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::compare::{Difference, tensor_difference};
use crate::options::Effort;
use crate::progress::Progress;
use crate::report::Check;
use crate::requests::{InputPlan, RequestMaker, RowId};
use crate::seed::SeedModel;
use crate::subject::{Held, Opening, Rig, Setup, Subject};
use crate::verdict::Verdict;

/// What it says of itself.
/// Evidence: compile-once, plans-bounded, bounded-plans
pub const DESCRIPTION: Description = Description {
    name: "compile-stress",
    title: "Graph compilation stress",
    scope: Scope::Device,
    proves: "Each shape is compiled exactly once however many ask for it at the same moment, a bounded cache stays within its \
             bound, and what is compiled again gives the same bits.",
    claim: "each shape is compiled exactly once, however many ask for it at once",
    cannot: "Shapes that nobody asked for, and moments between two looks at what is held.",
    checks: &[
        (
            "16 callers x 30, unique shapes",
            "the original's row: caller t asks matrices of its own size, 64 + 7 t",
        ),
        (
            "16 callers x 50, one shape",
            "the original's row: all callers ask the same size, 128, which none has compiled",
        ),
        (
            "12 callers x 30, mixed shapes",
            "the original's row: every caller walks through all these sizes, from a place of its own",
        ),
        (
            "16 callers, 30 new shapes together",
            "all callers ask the same 30 sizes in the same order, so that most are asked for by many before they exist",
        ),
        (
            "a small cache",
            "room for 4 plans and 16 sizes: plans are evicted and compiled again, held bytes stay within the bound, and all \
             is released in the end",
        ),
        (
            "plain arithmetic",
            "the answers that the others are compared with, against simple scalar code: equal bits",
        ),
    ],
};

/// One of the rows: who asks for which sizes.
struct Row {
    id: &'static str,
    what: &'static str,
    callers: usize,
    each: usize,
    /// The size that a caller's request of this number asks for.
    size: fn(usize, usize) -> usize,
    /// Operations a second in the original report.
    original: Option<f64>,
}

/// The sizes of the original.
const fn own_size(t: usize) -> usize {
    64 + 7 * t
}

/// All sizes of the first two rows: 16, and one more.
const fn any_size(i: usize) -> usize {
    match i % 17 {
        16 => 128,
        t => own_size(t),
    }
}

const ROWS: [Row; 4] = [
    Row {
        id: "unique",
        what: "16 callers x 30, unique shapes",
        callers: 16,
        each: 30,
        size: |caller, _| own_size(caller),
        original: Some(4_457.0),
    },
    Row {
        id: "one",
        what: "16 callers x 50, one shape",
        callers: 16,
        each: 50,
        size: |_, _| 128,
        original: Some(4_900.0),
    },
    Row {
        id: "mixed",
        what: "12 callers x 30, mixed shapes",
        callers: 12,
        each: 30,
        // 5 and 17 have no common factor: 17 requests visit all sizes.
        size: |caller, i| any_size(caller + 5 * i),
        original: Some(4_681.0),
    },
    Row {
        id: "together",
        what: "16 callers, 30 new shapes together",
        callers: 16,
        each: 30,
        size: |_, i| own_size(i),
        original: None,
    },
];

/// Plans that a small cache has room for, and sizes that are asked of it.
const ROOM: u64 = 4;
const SIZES: usize = 16;

/// Checks the device.
pub fn check(cx: &mut Context<'_>) -> Findings {
    match Case::of_seed(SeedModel::MatmulAny, cx.options, cx.machine) {
        Ok(mut case) => check_with(&mut case, cx),
        Err(error) => {
            let running = start("load", "load the model and ask it once", cx.progress);
            vec![running.could_not_run(&error)].into()
        }
    }
}

/// The same with this model, whose inputs have any length along all axes but that of the rows.
pub fn check_with(case: &mut Case, cx: &mut Context<'_>) -> Findings {
    let (seed, effort) = (cx.options.seed, cx.options.effort);
    let mut checks = Vec::new();
    let jobs = match Jobs::new(case, seed) {
        Ok(jobs) => jobs,
        Err(error) => {
            let running = start(ROWS[0].id, ROWS[0].what, cx.progress);
            return vec![running.could_not_run(&error)].into();
        }
    };
    for row in &ROWS {
        let (check, healthy) = stress(case, &jobs, row, effort, cx.progress);
        checks.push(check);
        if !healthy {
            return checks.into();
        }
    }
    checks.push(small_cache(case, &jobs, effort, cx.progress));
    checks.push(plain(case, &jobs, effort, cx.progress));
    checks.into()
}

fn start<'a>(id: &str, what: &str, progress: &'a mut dyn Progress) -> Running<'a> {
    Running::start_of_device(SectionId::CompileStress, id, what, "answers", progress)
}

/// Two different requests for every size, and the answers to them on an idle session that has seen no other size.
struct Jobs(BTreeMap<usize, [Arc<Job>; 2]>);

impl Jobs {
    fn new(case: &Case, seed: u64) -> Result<Jobs, Error> {
        let rig = case.lab.rig(Setup::DEFAULT)?;
        let sizes = (0..30).map(own_size).chain([128]);
        let of_size = |size: usize| {
            // A session of its own: what compiles sizes into each other must not spoil the truth.
            let idle = rig.open()?;
            let maker = RequestMaker::new(seed, resized(case.maker.inputs(), size));
            let job = |number: u32| -> Result<Arc<Job>, Error> {
                let request = maker.request(&[RowId::ordinary(number)])?;
                let answer = Arc::new(idle.run(&request.tensors)?);
                let expected = Expected::Answer(answer);
                Ok(Arc::new(Job { request, expected }))
            };
            Ok((size, [job(0)?, job(1)?]))
        };
        sizes.map(of_size).collect::<Result<_, Error>>().map(Jobs)
    }

    /// A caller's request of this size. Neighbours ask for different matrices.
    fn of(&self, size: usize, caller: usize) -> Option<Arc<Job>> {
        self.0.get(&size)?.get(caller % 2).cloned()
    }

    /// Each caller's requests, whose sizes are given by caller and number.
    fn scripts(
        &self,
        callers: usize,
        each: usize,
        size: impl Fn(usize, usize) -> usize,
    ) -> Scripts {
        let script = |caller| {
            let own = (0..each).filter_map(|i| self.of(size(caller, i), caller));
            own.collect()
        };
        (0..callers).map(script).collect()
    }
}

/// The inputs with this length along all axes but that of the rows.
fn resized(inputs: &[InputPlan], size: usize) -> Vec<InputPlan> {
    let resize = |input: &InputPlan| {
        let mut input = input.clone();
        let rows = input.rows_axis();
        for (axis, length) in input.shape.iter_mut().enumerate() {
            if Some(axis) != rows {
                *length = size;
            }
        }
        input
    };
    inputs.iter().map(resize).collect()
}

/// A row on sessions that have compiled nothing. Also says whether all calls returned.
fn stress(
    case: &Case,
    jobs: &Jobs,
    row: &Row,
    effort: Effort,
    progress: &mut dyn Progress,
) -> (Check, bool) {
    let mut running = start(row.id, row.what, progress);
    let scripts = Arc::new(jobs.scripts(row.callers, row.each, row.size));
    let mut sizes: Vec<usize> = (0..row.callers)
        .flat_map(|caller| (0..row.each).map(move |i| (row.size)(caller, i)))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    let keys = sizes.len() as u64;
    let repeats = effort.choose(4u64, 8, 100);
    let (mut tally, mut compiles, mut seconds) = (Tally::default(), 0, 0.0);
    for repeat in 0..repeats {
        let opened = case.lab.rig(Setup::DEFAULT);
        let opened = opened.and_then(|rig| Ok((rig.open()?, rig)));
        let (subject, rig) = match opened {
            Ok(opened) => opened,
            Err(error) => return (running.could_not_run(&error), true),
        };
        let started = Instant::now();
        tally.add(ask(case, &subject, &scripts, row.what, &mut |_| {}));
        seconds += started.elapsed().as_secs_f64();
        if hung(&tally) || tally.wrong > 0 {
            break;
        }
        let counters = subject.counters();
        compiles += counters.compiles;
        if (counters.compiles, counters.evictions) != (keys, 0) {
            let found = format!(
                "{} compiles, {} evictions",
                counters.compiles, counters.evictions
            );
            let expected = format!("{keys} compiles, one for each shape, and no eviction");
            let off = counters.compiles.abs_diff(keys).max(1);
            note(&mut tally, off, "plans", found, expected, row.what);
        }
        drop(subject);
        nothing_left(&*rig, case, &mut tally);
        running.step(repeat + 1, repeats);
        if tally.wrong > 0 {
            // Another session would only show it again.
            break;
        }
    }
    let healthy = !hung(&tally);
    let check = running.check();
    check.figure("shapes", keys as f64, "");
    check.figure("sessions that began cold", repeats as f64, "");
    check.figure("plans compiled", compiles as f64, "");
    check.figure("throughput", tally.answers as f64 / seconds, "ops/s");
    if let Some(original) = row.original {
        check.figure("throughput of the original", original, "ops/s");
    }
    (running.tallied(tally.answers, tally), healthy)
}

fn ask(
    case: &Case,
    subject: &Arc<dyn Subject>,
    scripts: &Arc<Scripts>,
    circumstances: &str,
    tick: &mut dyn FnMut(u64),
) -> Tally {
    let round = Round {
        outputs: &case.outputs,
        circumstances,
        patience: case.patience,
        tick,
    };
    drive(subject, scripts, round)
}

fn note(
    tally: &mut Tally,
    wrong: u64,
    what: &str,
    found: String,
    expected: String,
    circumstances: &str,
) {
    tally.wrong += wrong;
    let difference = Difference::of_kind(what, found, expected);
    tally.differences.push(difference.during(circumstances));
}

/// Has everything that was made for the sessions been unmade?
fn nothing_left(rig: &dyn Rig, case: &Case, tally: &mut Tally) {
    let left = || {
        let census = rig.census().into_iter();
        census.filter(|held| held.created != held.released || held.bytes != 0)
    };
    // A thread of the device may be about to let go.
    let since = Instant::now();
    while left().next().is_some() && since.elapsed() < case.patience {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    for held in left() {
        let found = format!("{} released, {} bytes held", held.released, held.bytes);
        let expected = format!("{} released, 0 bytes held", held.created);
        let off = held.created.abs_diff(held.released).max(1);
        let when = "after the last session was dropped";
        note(tally, off, held.what, found, expected, when);
    }
}

/// The plans in the census: alive, and their bytes.
fn plans(rig: &dyn Rig) -> (u64, u64) {
    let census = rig.census().into_iter();
    let own = census.filter(|held| held.what == "plans");
    own.fold((0, 0), |(alive, bytes), held: Held| {
        let own = held.created.saturating_sub(held.released);
        (alive + own, bytes + held.bytes)
    })
}

/// A cache that has room for a quarter of the plans that are asked for.
fn small_cache(case: &Case, jobs: &Jobs, effort: Effort, progress: &mut dyn Progress) -> Check {
    let mut running = start("small-cache", "a small cache", progress);
    match cramped(case, jobs, effort, &mut running) {
        Ok((tally, evictions)) => {
            let mut check = running.tallied(tally.answers, tally);
            if evictions == 0 && check.verdict == Verdict::Pass {
                check.verdict = Verdict::CouldNotRun;
                check.rate_bound = None;
                check.notes.push("nothing was ever evicted".to_owned());
            }
            check
        }
        Err(error) => running.could_not_run(&error),
    }
}

fn cramped(
    case: &Case,
    jobs: &Jobs,
    effort: Effort,
    running: &mut Running<'_>,
) -> Result<(Tally, u64), Error> {
    const CALLERS: usize = 12;
    let mut tally = Tally::default();
    let rig = case.lab.rig(Setup::DEFAULT)?;
    // What one plan takes.
    let one = {
        let subject = rig.open()?;
        let largest = jobs.scripts(1, 1, |_, _| own_size(SIZES - 1));
        let circumstances = "one shape, alone";
        tally.add(ask(
            case,
            &subject,
            &Arc::new(largest),
            circumstances,
            &mut |_| {},
        ));
        plans(&*rig).1.max(1)
    };
    let bound = ROOM * one + one / 2;
    let subject = rig.open_with(&Opening {
        plan_cache_bytes: Some(bound),
        ..Opening::default()
    })?;
    let laps = effort.choose(20u64, 60, 600);
    let circumstances = format!("{CALLERS} callers, room for {ROOM} plans of {one} bytes");
    let (mut most, mut most_under_way, mut looks) = (0, 0, 0);
    for lap in 0..laps {
        // Each caller at a place of its own, and in every lap in another order.
        let step = 2 * (lap as usize % (SIZES / 2)) + 1;
        let size = |caller: usize, i: usize| own_size((caller + step * i) % SIZES);
        let scripts = Arc::new(jobs.scripts(CALLERS, SIZES, size));
        let mut look = |_| {
            // A plan that was evicted and is still in use is held by whoever uses it.
            let (_, bytes) = plans(&*rig);
            most_under_way = most_under_way.max(bytes);
            looks += 1;
        };
        tally.add(ask(case, &subject, &scripts, &circumstances, &mut look));
        if hung(&tally) || tally.wrong > 0 {
            break;
        }
        let (alive, bytes) = plans(&*rig);
        most = most.max(bytes);
        let counters = subject.counters();
        let kept = counters.compiles.saturating_sub(counters.evictions);
        if bytes > bound {
            let (found, expected) = (format!("{bytes} bytes"), format!("at most {bound} bytes"));
            note(&mut tally, 1, "plans", found, expected, &circumstances);
        }
        if alive != kept {
            let found = format!("{alive} plans alive");
            let expected = format!("{kept}: those compiled without those evicted");
            note(&mut tally, 1, "plans", found, expected, &circumstances);
        }
        running.step(lap + 1, laps);
    }
    // Each caller may hold one plan that the cache has evicted.
    let under_way = bound + CALLERS as u64 * one;
    if most_under_way > under_way {
        let found = format!("{most_under_way} bytes");
        let expected = format!("at most {under_way} bytes, those in use included");
        note(&mut tally, 1, "plans", found, expected, &circumstances);
    }
    let counters = subject.counters();
    let check = running.check();
    check.figure("bound", bound as f64, "bytes");
    check.figure("most bytes held between two laps", most as f64, "bytes");
    check.figure("most bytes held at a look", most_under_way as f64, "bytes");
    check.figure("looks", (looks + laps) as f64, "");
    check.figure("plans compiled", counters.compiles as f64, "");
    check.figure("plans evicted", counters.evictions as f64, "");
    drop(subject);
    if tally.wrong == 0 && !hung(&tally) {
        nothing_left(&*rig, case, &mut tally);
    }
    Ok((tally, counters.evictions))
}

/// The answers that all others were compared with, against plain arithmetic.
fn plain(case: &Case, jobs: &Jobs, effort: Effort, progress: &mut dyn Progress) -> Check {
    let mut running = start("plain", "plain arithmetic", progress);
    let sizes = effort.choose(2usize, 4, 16);
    let mut tally = Tally::default();
    for i in 0..sizes {
        // Of each, among them those that no kernel's tile divides.
        let size = own_size(i);
        let Some(job) = jobs.of(size, i) else {
            continue;
        };
        let Expected::Answer(answer) = &job.expected else {
            continue;
        };
        let circumstances = format!("matrices of size {size}");
        match case.oracle.canonical(&job.request.tensors) {
            Ok(right) => {
                tally.answers += 1;
                let pairs = answer.iter().zip(&right).zip(case.outputs.iter());
                let mut differences = pairs.filter_map(|((found, expected), output)| {
                    tensor_difference(&output.name, found, expected)
                });
                if let Some(first) = differences.next() {
                    tally.wrong += 1;
                    tally.differences.push(first.during(&*circumstances));
                }
            }
            Err(why) => running
                .check()
                .notes
                .push(format!("{circumstances}: {why}")),
        }
        running.step(i as u64 + 1, sizes as u64);
    }
    running.tallied(tally.answers, tally)
}
