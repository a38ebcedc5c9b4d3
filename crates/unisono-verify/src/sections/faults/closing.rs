//! A session that is closed, or dropped, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use unisono::fault::{Fault, inject};
use unisono::{Error, ErrorKind, Tensor};

use super::ground::{CALLERS, Ground, jobs, judge, nothing_left, or_else, patiently, wrong};
use super::{Ended, end, over, rounds, start};
use crate::callers::{Job, Tally};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::sections::Running;
use crate::subject::{Counters, Pending, Subject};

const KINDS: &[ErrorKind] = &[ErrorKind::ShutDown];
/// Requests of each caller.
const EACH: usize = 6;

/// Closed by one of its callers, and dropped with futures in flight.
pub(super) fn check(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "closed", "a session closed under load", progress);
    let mut closed = 0;
    let outcome = campaign(case, effort, &mut closed, &mut running);
    end(running, outcome, closed, "sessions closed")
}

/// Passes requests on, and closes the subject with one of them.
struct ClosedAt {
    subject: Arc<dyn Subject>,
    call: u64,
    calls: AtomicU64,
}

impl Subject for ClosedAt {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        // Relaxed: one caller gets the number, whichever.
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.call {
            self.subject.close();
        }
        self.subject.run(inputs)
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

fn campaign(
    case: &mut Case,
    effort: Effort,
    closed: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let lenient = or_else(&jobs, KINDS);
    let total = rounds(case, effort, EACH * CALLERS, (10, 30, 300));
    for round in 0..total {
        let ground = Ground::cold(case, &jobs)?;
        // Some rounds find callers in the middle of a long batch.
        let slow = inject(Fault::Slow(Duration::from_millis(2)), 0..round % 3);
        if round % 2 == 0 {
            by_a_caller(&ground, &jobs, &lenient, round, total, &mut tally);
            ground.end(&mut tally);
        } else {
            in_flight(ground, &jobs, round % 4 == 1, &mut tally);
        }
        drop(slow);
        *closed += 1;
        running.step(round + 1, total);
        if over(&tally) {
            break;
        }
    }
    Ok(tally)
}

/// One of the callers closes the session; all end, and afterwards nobody gets in.
fn by_a_caller(
    ground: &Ground,
    jobs: &[Arc<Job>],
    lenient: &[Arc<Job>],
    round: u64,
    rounds: u64,
    tally: &mut Tally,
) {
    // From the first call to one near the end.
    let calls = (CALLERS * EACH) as u64;
    let call = round * (calls - CALLERS as u64) / rounds.max(1);
    let circumstances = format!(
        "{CALLERS} callers, the session closed with call {}",
        call + 1
    );
    let closing: Arc<dyn Subject> = Arc::new(ClosedAt {
        subject: Arc::clone(&ground.subject),
        call,
        calls: AtomicU64::new(0),
    });
    let script = |job: &Arc<Job>| vec![Arc::clone(job); EACH];
    ground.ask_of(
        &closing,
        lenient.iter().map(script).collect(),
        &circumstances,
        tally,
    );
    let Some(job) = jobs.first() else { return };
    let (subject, own) = (Arc::clone(&ground.subject), Arc::clone(job));
    let call = move || subject.run(&own.request.tensors);
    let Some(found) = patiently(ground.patience, tally, call) else {
        return;
    };
    let after = "a call after the session was closed";
    if found.is_ok() {
        wrong(tally, "an answer", "an error: shut down", after);
    }
    ground.judge(job, found, KINDS, after, tally);
}

/// Futures in flight when the session is closed, or only its last handle dropped.
fn in_flight(ground: Ground, jobs: &[Arc<Job>], close: bool, tally: &mut Tally) {
    let circumstances = match close {
        true => "futures in flight when the session is closed",
        false => "futures in flight when the last handle is dropped",
    };
    let Ground {
        rig,
        subject,
        patience,
        outputs,
        ..
    } = ground;
    let own = jobs.to_vec();
    let found = patiently(patience, tally, move || {
        let start = |job: &Arc<Job>| subject.start(&job.request.tensors);
        let pending: Vec<_> = own.iter().map(start).collect();
        if close {
            subject.close();
        }
        drop(subject);
        let wait = |pending: Result<Box<dyn Pending>, Error>| pending.and_then(|p| p.wait());
        pending.into_iter().map(wait).collect::<Vec<_>>()
    });
    for (job, found) in jobs.iter().zip(found.into_iter().flatten()) {
        judge(&outputs, job, found, KINDS, circumstances, tally);
    }
    if !over(tally) {
        nothing_left(&*rig, patience, tally);
    }
}
