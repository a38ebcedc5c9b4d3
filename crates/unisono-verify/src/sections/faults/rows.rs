//! A poisoned row: data that is wrong on purpose, beside data that is not.

use std::sync::Arc;

use unisono::Error;

use super::ground::{CALLERS, Ground, jobs};
use super::{Ended, end, rounds, start};
use crate::callers::{Expected, Job, Scripts, Tally};
use crate::case::Case;
use crate::options::Effort;
use crate::progress::Progress;
use crate::requests::{RowId, RowKind};
use crate::sections::Running;
use crate::verdict::Verdict;

/// Every second caller asks poisoned rows, alone and between ordinary ones in one request.
pub(super) fn poisoned(case: &mut Case, effort: Effort, progress: &mut dyn Progress) -> Ended {
    let mut running = start(case, "poisoned-row", "a poisoned row", progress);
    if !case.maker.can_make(RowKind::Poisoned) {
        let check = running.check();
        check.verdict = Verdict::NotDistinguishable;
        check
            .notes
            .push("no input of this model can hold NaN or infinity".to_owned());
        return Ended {
            check: running.finish(),
            hung: false,
        };
    }
    let mut poisoned = 0;
    let outcome = campaign(case, effort, &mut poisoned, &mut running);
    end(running, outcome, poisoned, "poisoned requests")
}

fn campaign(
    case: &mut Case,
    effort: Effort,
    poisoned: &mut u64,
    running: &mut Running<'_>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let jobs = jobs(case)?;
    let ground = Ground::warm(case, &jobs, &mut tally)?;
    let turns = rounds(case, effort, 2 * CALLERS, (20, 80, 800)) as usize;
    let mut scripts = Scripts::new();
    for (caller, job) in jobs.iter().enumerate() {
        let own = if caller % 2 == 1 {
            vec![Arc::clone(job)]
        } else {
            let poison = RowId {
                kind: RowKind::Poisoned,
                number: caller as u32,
            };
            let mut own = vec![request(case, &[poison])?];
            if case.maker.has_rows() {
                let [left, right] = [100, 101].map(|n| RowId::ordinary(n + 2 * caller as u32));
                own.push(request(case, &[left, poison, right])?);
            }
            *poisoned += turns as u64;
            own
        };
        scripts.push(own.iter().cycle().take(turns).cloned().collect());
    }
    let total = (CALLERS * turns) as u64;
    running.step(0, total);
    let before = ground.subject.counters();
    ground.ask(scripts, "every second caller with poison", &mut tally);
    let after = ground.subject.counters();
    running.step(total, total);
    let batches = after.batches.saturating_sub(before.batches);
    if batches > 0 {
        let rows = after.rows.saturating_sub(before.rows) as f64;
        running
            .check()
            .figure("rows per batch", rows / batches as f64, "");
    }
    ground.aftermath("poisoned rows", &mut tally);
    ground.end(&mut tally);
    Ok(tally)
}

/// A request of these rows: each must come back as it does alone, or be refused if the model refuses such a row.
fn request(case: &mut Case, rows: &[RowId]) -> Result<Arc<Job>, Error> {
    let request = case.maker.request(rows)?;
    let mut answers = Vec::new();
    for row in rows {
        answers.extend(case.alone_for_the_record(&[*row]).ok());
    }
    let expected = if answers.len() < rows.len() {
        Expected::Refusal("the model refuses such a row alone")
    } else if case.maker.has_rows() {
        Expected::Rows(answers)
    } else {
        answers.pop().map_or(Expected::Late, Expected::Answer)
    };
    Ok(Arc::new(Job { request, expected }))
}
