//! The ground on which a fault is let loose: a warm session, requests whose answers are known, a census that is known.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use unisono::{Error, ErrorKind};

use crate::callers::{Abandoned, Answer, Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::compare::{Difference, OutputSpec, answer_difference};
use crate::requests::RowId;
use crate::sections::hung;
use crate::subject::{Held, Opening, Rig, Setup, Subject};

/// Callers of a batch.
pub(super) const CALLERS: usize = 8;

/// How long a device may take to let go of what nobody waits for.
const LETTING_GO: Duration = Duration::from_secs(10);

/// What a call came to.
pub(in crate::sections) type Outcome = Result<Vec<unisono::Tensor>, Error>;

/// A device with a session on it.
pub(super) struct Ground {
    pub rig: Box<dyn Rig>,
    pub subject: Arc<dyn Subject>,
    /// What was held when nothing had gone wrong yet.
    before: Vec<Held>,
    pub patience: Duration,
    pub outputs: Arc<[OutputSpec]>,
    jobs: Vec<Arc<Job>>,
}

/// A request of one row for each caller, each its own, and the answers to them alone.
pub(super) fn jobs(case: &mut Case) -> Result<Vec<Arc<Job>>, Error> {
    let rows = (0..CALLERS as u32).map(RowId::ordinary);
    let job = |row| -> Result<Arc<Job>, Error> {
        let answer = case.alone_for_the_record(&[row])?;
        Ok(Arc::new(Job {
            request: case.maker.request(&[row])?,
            expected: Expected::Answer(answer),
        }))
    };
    rows.map(job).collect()
}

/// The same jobs, which may end with an error of these kinds as well.
pub(super) fn or_else(jobs: &[Arc<Job>], kinds: &'static [ErrorKind]) -> Vec<Arc<Job>> {
    let with = |job: &Arc<Job>| {
        let expected = match answer_of(job) {
            Some(answer) => Expected::AnswerOr(Arc::clone(answer), kinds),
            None => Expected::Late,
        };
        let request = job.request.clone();
        Arc::new(Job { request, expected })
    };
    jobs.iter().map(with).collect()
}

/// The right answer.
pub(super) fn answer_of(job: &Job) -> Option<&Answer> {
    match &job.expected {
        Expected::Answer(answer) | Expected::AnswerOr(answer, _) => Some(answer),
        _ => None,
    }
}

impl Ground {
    /// A new session on a new device, cold.
    pub fn cold(case: &Case, jobs: &[Arc<Job>]) -> Result<Ground, Error> {
        let rig = case.lab.rig(Setup::DEFAULT)?;
        let subject = rig.open_with(&Opening::default())?;
        Ok(Ground::on(case, rig, subject, jobs))
    }

    /// This session on this device.
    pub fn on(
        case: &Case,
        rig: Box<dyn Rig>,
        subject: Arc<dyn Subject>,
        jobs: &[Arc<Job>],
    ) -> Ground {
        Ground {
            before: rig.census(),
            rig,
            subject,
            patience: case.patience,
            outputs: Arc::clone(&case.outputs),
            jobs: jobs.to_vec(),
        }
    }

    /// The same, asked once for every number of rows that a batch may have, so that whatever is made once is made.
    pub fn warm(case: &Case, jobs: &[Arc<Job>], tally: &mut Tally) -> Result<Ground, Error> {
        let mut ground = Ground::cold(case, jobs)?;
        let mut script = jobs.to_vec();
        if case.maker.has_rows() {
            for count in 2..=CALLERS as u32 {
                let rows: Vec<RowId> = (0..count).map(RowId::ordinary).collect();
                let answers = jobs
                    .iter()
                    .take(rows.len())
                    .filter_map(|job| answer_of(job));
                script.push(Arc::new(Job {
                    request: case.maker.request(&rows)?,
                    expected: Expected::Rows(answers.cloned().collect()),
                }));
            }
        }
        ground.ask(vec![script], "before any fault", tally);
        // Callers beside each other, for what is made when they first meet.
        let all = ground.jobs.iter().map(|job| vec![Arc::clone(job); 2]);
        ground.ask(all.collect(), "before any fault", tally);
        ground.settle();
        ground.before = ground.rig.census();
        Ok(ground)
    }

    /// Lets one caller per script loose.
    pub fn ask(&self, scripts: Scripts, circumstances: &str, tally: &mut Tally) {
        self.ask_of(&self.subject, scripts, circumstances, tally);
    }

    /// The same on another subject for the same requests.
    pub fn ask_of(
        &self,
        subject: &Arc<dyn Subject>,
        scripts: Scripts,
        circumstances: &str,
        tally: &mut Tally,
    ) {
        if hung(tally) {
            return;
        }
        let round = Round {
            outputs: &self.outputs,
            circumstances,
            patience: self.patience,
            tick: &mut |_| {},
        };
        tally.add(drive(subject, &Arc::new(scripts), round));
    }

    /// Judges an answer that came in another way than through [`Ground::ask`].
    pub fn judge(
        &self,
        job: &Job,
        found: Outcome,
        kinds: &[ErrorKind],
        circumstances: &str,
        tally: &mut Tally,
    ) {
        judge(&self.outputs, job, found, kinds, circumstances, tally);
    }

    /// Waits until nothing is under way any more, as far as the census tells: what was dropped may still run.
    fn settle(&self) {
        let busy = || {
            let alive = |held: &Held| held.created != held.released;
            let running = |held: &&Held| matches!(held.what, "requests" | "batches");
            self.rig.census().iter().filter(running).any(alive)
        };
        let since = Instant::now();
        while busy() && since.elapsed() < self.patience.min(LETTING_GO) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Are the census and the next answers what they were before the fault?
    pub fn aftermath(&self, after: &str, tally: &mut Tally) {
        if hung(tally) {
            return;
        }
        self.settle();
        let circumstances = format!("after {after}");
        let now = self.rig.census();
        tally.answers += 1;
        for (now, before) in now.iter().zip(&self.before) {
            let state = |held: &Held| (held.created.wrapping_sub(held.released), held.bytes);
            if state(now) != state(before) {
                let words = |held: &Held| {
                    let (alive, bytes) = state(held);
                    format!("{alive} alive, {bytes} bytes")
                };
                let difference = Difference::of_kind(now.what, words(now), words(before));
                tally.wrong += 1;
                tally.differences.push(difference.during(&*circumstances));
            }
        }
        self.ask(vec![self.jobs.clone()], &circumstances, tally);
    }

    /// Drops the session, after which nothing may be left.
    pub fn end(self, tally: &mut Tally) {
        if super::over(tally) {
            return;
        }
        let Ground { rig, subject, .. } = self;
        drop(subject);
        nothing_left(&*rig, self.patience, tally);
    }
}

/// Has everything that was made on the device for sessions been unmade?
pub(super) fn nothing_left(rig: &dyn Rig, patience: Duration, tally: &mut Tally) {
    let left = || {
        let census = rig.census().into_iter();
        census.filter(|held| held.created != held.released || held.bytes != 0)
    };
    // A thread of the device may be about to let go.
    let since = Instant::now();
    while left().next().is_some() && since.elapsed() < patience.min(LETTING_GO) {
        std::thread::sleep(Duration::from_micros(200));
    }
    tally.answers += 1;
    for held in left() {
        let found = format!("{} released, {} bytes held", held.released, held.bytes);
        let expected = format!("{} released, 0 bytes held", held.created);
        tally.wrong += 1;
        tally.differences.push(
            Difference::of_kind(held.what, found, expected)
                .during("after the last session was dropped"),
        );
    }
}

/// Notes something wrong that is not about a value.
pub(super) fn wrong(
    tally: &mut Tally,
    found: impl Into<String>,
    expected: impl Into<String>,
    circumstances: &str,
) {
    tally.wrong += 1;
    let difference = Difference::of_kind("", found, expected);
    tally.differences.push(difference.during(circumstances));
}

/// One call on a thread of its own; `None` if it does not return.
pub(in crate::sections) fn patiently<T: Send + 'static>(
    patience: Duration,
    tally: &mut Tally,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if hung(tally) {
        return None;
    }
    let (send, receive) = mpsc::channel();
    let spawned = std::thread::Builder::new()
        .name("caller".to_owned())
        // Nobody listens any more after a call that took too long.
        .spawn(move || drop(send.send(call())));
    if let Err(error) = spawned {
        tally.abandoned = Some(Abandoned::NoThread(error.to_string()));
        return None;
    }
    match receive.recv_timeout(patience) {
        Ok(found) => Some(found),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            tally.abandoned = Some(Abandoned::Hung {
                waited: patience,
                outstanding: 1,
            });
            None
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            wrong(tally, "a panic", "an answer or an error", "a call");
            None
        }
    }
}

/// Judges one answer: it is right, or an error of one of these kinds.
pub(in crate::sections) fn judge(
    outputs: &[OutputSpec],
    job: &Job,
    found: Outcome,
    kinds: &[ErrorKind],
    circumstances: &str,
    tally: &mut Tally,
) {
    tally.answers += 1;
    match found {
        Ok(answer) => {
            tally.rows += job.request.rows.len() as u64;
            let right = answer_of(job);
            let difference = right.and_then(|right| answer_difference(outputs, &answer, right));
            if let Some(difference) = difference {
                tally.wrong += 1;
                tally.differences.push(difference.during(circumstances));
            }
        }
        Err(error) if kinds.contains(&error.kind()) => tally.refusals += 1,
        Err(error) => {
            let found = format!("an error: {error}");
            wrong(tally, found, "an answer", circumstances);
        }
    }
}
