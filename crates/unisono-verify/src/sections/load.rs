//! Loads that several sections put on a subject: a pool of requests whose answers are known, dealt out to callers.

use std::sync::Arc;
use std::time::Instant;

use unisono::Error;

use super::Running;
use crate::callers::{Expected, Job, Round, Scripts, Tally, drive};
use crate::case::Case;
use crate::requests::RowId;
use crate::subject::Subject;

/// Requests of one row each, with the answers to them alone.
pub(super) struct Pool(Vec<Arc<Job>>);

impl Pool {
    /// So many different requests, from this row on.
    pub fn new(case: &mut Case, first: u32, count: usize) -> Result<Pool, Error> {
        let job = |number: u32| {
            let rows = [RowId::ordinary(number)];
            let answer = case.alone_for_the_record(&rows)?;
            Ok(Arc::new(Job {
                request: case.maker.request(&rows)?,
                expected: Expected::Answer(answer),
            }))
        };
        let numbers = (first..).take(count.max(1));
        Ok(Pool(numbers.map(job).collect::<Result<_, Error>>()?))
    }

    /// One of the requests.
    pub fn job(&self, number: usize) -> &Arc<Job> {
        &self.0[number % self.0.len()]
    }

    /// Scripts of so many callers with so many requests each. Callers begin at different places, so that neighbours ask
    /// different things at the same time.
    pub fn scripts(&self, callers: usize, each: usize) -> Scripts {
        let script = |caller: usize| {
            (0..each)
                .map(|turn| Arc::clone(self.job(caller + 7 * turn)))
                .collect()
        };
        (0..callers).map(script).collect()
    }
}

/// What a load showed.
pub(super) struct Loaded {
    pub tally: Tally,
    /// From the first request to the last answer, with the comparisons.
    pub seconds: f64,
}

/// Puts a load on a subject and shows how far it is. `before` of `total` steps were done by earlier loads.
pub(super) fn load(
    case: &Case,
    subject: &Arc<dyn Subject>,
    scripts: Scripts,
    circumstances: &str,
    running: &mut Running<'_>,
    (before, total): (u64, u64),
) -> Loaded {
    let started = Instant::now();
    let tally = drive(
        subject,
        &Arc::new(scripts),
        Round {
            outputs: &case.outputs,
            circumstances,
            patience: case.patience,
            tick: &mut |n| running.step(before + n, total),
        },
    );
    Loaded {
        tally,
        seconds: started.elapsed().as_secs_f64(),
    }
}
