//! Several models on one device at once.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unisono::{Error, Tensor};

use super::super::{Context, Running, SectionId, hung, is_heavy};
use super::{ROWS, census, requests, scripts};
use crate::callers::{Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::compare::Difference;
use crate::options::Effort;
use crate::report::Check;
use crate::subject::{Counters, Pending, Rig, Setup, Subject};

/// Callers of each model.
const CALLERS: usize = 4;

/// A model without an answer for so long, while others have theirs, is starved. Before that, it may be that they are quicker than its
/// first one is.
const STARVED: Duration = Duration::from_secs(3);

/// Holds all calls back until every model has one.
struct Start {
    open: AtomicBool,
    missing: Mutex<usize>,
    all: Condvar,
    patience: Duration,
}

impl Start {
    /// Waits until it is open. Is this the first call of its model?
    fn pass(&self, is_first: bool) {
        // Acquire is more than needed: who sees it late takes the lock.
        if self.open.load(Ordering::Acquire) {
            return;
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = missing.saturating_sub(usize::from(is_first));
        self.all.notify_all();
        let since = Instant::now();
        // A model whose callers could not be started must not keep the others for ever.
        while *missing > 0 && since.elapsed() < self.patience {
            let waited = self.all.wait_timeout(missing, Duration::from_millis(100));
            missing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.open.store(true, Ordering::Release);
    }
}

/// Passes requests on and counts the answers.
struct Watched {
    subject: Arc<dyn Subject>,
    started: AtomicBool,
    start: Arc<Start>,
    answers: Arc<AtomicU64>,
}

impl Subject for Watched {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        self.start.pass(!self.started.swap(true, Ordering::SeqCst));
        let answer = self.subject.run(inputs);
        self.answers.fetch_add(1, Ordering::SeqCst);
        answer
    }

    fn run_by(&self, inputs: &[Tensor], deadline: Instant) -> Result<Vec<Tensor>, Error> {
        self.subject.run_by(inputs, deadline)
    }

    fn start(&self, inputs: &[Tensor]) -> Result<Box<dyn Pending>, Error> {
        self.subject.start(inputs)
    }

    fn counters(&self) -> Counters {
        self.subject.counters()
    }

    fn close(&self) {
        self.subject.close();
    }
}

/// One model of those that run beside each other.
struct Model {
    name: String,
    rig: Box<dyn Rig>,
    subject: Arc<dyn Subject>,
    scripts: Arc<Scripts>,
    asked: u64,
}

/// All these models on one device. Also says whether all calls returned.
pub(super) fn check(
    id: &str,
    what: &str,
    cases: &mut [Case],
    notes: Vec<String>,
    warnings: Vec<String>,
    cx: &mut Context<'_>,
) -> (Vec<Check>, bool) {
    let section = SectionId::RealModels;
    let effort = cx.options.effort;
    let mut running = Running::start_of_device(section, id, what, "answers", cx.progress);
    running.check().notes.extend(notes);
    running.check().warnings.extend(warnings);
    let models = match models(cases, effort) {
        Ok(models) => models,
        Err(error) => return (vec![running.could_not_run(&error)], true),
    };
    let tally = race(&models, cases, &mut running);
    let healthy = !hung(&tally);
    let mut checks = vec![running.tallied(tally.answers, tally)];
    if !healthy {
        return (checks, false);
    }
    let rigs: Vec<Box<dyn Rig>> = models.into_iter().map(|model| model.rig).collect();
    // Real ones share the device, and so its census.
    let own = match rigs.first().and_then(|rig| rig.device()) {
        Some(_) => 1,
        None => rigs.len(),
    };
    for (i, rig) in rigs.iter().take(own).enumerate() {
        let id = match i {
            0 => format!("{id}-census"),
            i => format!("{id}-census-{i}"),
        };
        let what = "nothing left behind";
        let running = Running::start_of_device(section, &id, what, "objects", cx.progress);
        checks.push(census(running, &**rig));
    }
    (checks, true)
}

/// A session of each model on one device, and what is asked of it: as many operations for each.
fn models(cases: &mut [Case], effort: Effort) -> Result<Vec<Model>, Error> {
    let mut models: Vec<Model> = Vec::new();
    for case in cases {
        let rig = match models.first() {
            None => case.lab.rig(Setup::DEFAULT)?,
            Some(first) => case.lab.rig_beside(&*first.rig)?,
        };
        let rows = match is_heavy(case, effort) || !case.maker.has_rows() {
            true => 1,
            false => ROWS,
        };
        let each = requests(case, effort, rows).div_ceil(CALLERS).max(2);
        let scripts = scripts(case, CALLERS, each, rows)?;
        models.push(Model {
            name: case.name.clone(),
            subject: rig.open()?,
            rig,
            asked: scripts.iter().map(|script| script.len() as u64).sum(),
            scripts: Arc::new(scripts),
        });
    }
    Ok(models)
}

/// All callers of all models at once.
fn race(models: &[Model], cases: &[Case], running: &mut Running<'_>) -> Tally {
    let patience = cases.iter().map(|case| case.patience).max();
    let patience = patience.unwrap_or_default();
    let start = Arc::new(Start {
        open: AtomicBool::new(false),
        missing: Mutex::new(models.len()),
        all: Condvar::new(),
        patience,
    });
    let answers: Vec<Arc<AtomicU64>> = models.iter().map(|_| Arc::default()).collect();
    let total: u64 = models.iter().map(|model| model.asked).sum();
    let done = || {
        answers
            .iter()
            .map(|n| n.load(Ordering::SeqCst))
            .sum::<u64>()
    };
    let finished = AtomicUsize::new(0);
    // How many answers each model had when the first had all.
    let at_the_first = Mutex::new(None);
    let started = Instant::now();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((model, case), own) in models.iter().zip(cases).zip(&answers) {
            let watched: Arc<dyn Subject> = Arc::new(Watched {
                subject: Arc::clone(&model.subject),
                started: AtomicBool::new(false),
                start: Arc::clone(&start),
                answers: Arc::clone(own),
            });
            let (scripts, outputs) = (&model.scripts, &case.outputs);
            let circumstances = format!(
                "{}, beside other models ({} in all)",
                model.name,
                models.len()
            );
            let (answers, finished, at_the_first) = (&answers, &finished, &at_the_first);
            threads.push(scope.spawn(move || {
                let ask = || {
                    let round = Round {
                        outputs,
                        circumstances: &circumstances,
                        patience,
                        tick: &mut |_| {},
                    };
                    drive(&watched, scripts, round)
                };
                let mut tally = ask();
                // Goes on in the way of one that has no answer yet.
                let is_any_without = || answers.iter().any(|n| n.load(Ordering::SeqCst) == 0);
                while tally.abandoned.is_none() && is_any_without() && started.elapsed() < STARVED {
                    tally.add(ask());
                }
                let mut first = at_the_first.lock().unwrap_or_else(PoisonError::into_inner);
                if first.is_none() {
                    let now = answers.iter().map(|n| n.load(Ordering::SeqCst));
                    *first = Some(now.collect::<Vec<u64>>());
                }
                finished.fetch_add(1, Ordering::SeqCst);
                tally
            }));
        }
        while finished.load(Ordering::SeqCst) < models.len()
            && threads.iter().any(|thread| !thread.is_finished())
        {
            running.step(done().min(total), total);
            std::thread::sleep(Duration::from_millis(20));
        }
        let join =
            |thread: std::thread::ScopedJoinHandle<'_, Tally>| thread.join().unwrap_or_default();
        threads.into_iter().map(join).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let mut tally = Tally::default();
    tallies.into_iter().for_each(|own| tally.add(own));
    let check = running.check();
    check.figure("throughput of all", tally.answers as f64 / seconds, "ops/s");
    let first = at_the_first.into_inner();
    let first = first
        .unwrap_or_else(PoisonError::into_inner)
        .unwrap_or_default();
    for (model, answered) in models.iter().zip(first) {
        let share = 100.0 * answered as f64 / model.asked.max(1) as f64;
        let name = format!("{}: answered when the first model had all", model.name);
        check.figure(&name, share, "%");
        if answered == 0 && tally.abandoned.is_none() {
            tally.wrong += 1;
            let found = "no answer while another model had all of its own, and more";
            let difference = Difference::of_kind(&model.name, found, "some of its answers");
            tally
                .differences
                .push(difference.during("all models at once"));
        }
    }
    tally
}
