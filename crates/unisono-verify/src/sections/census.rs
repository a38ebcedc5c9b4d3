//! Counts of what was made and unmade, turned into checks.

use super::Running;
use crate::callers::Tally;
use crate::compare::Difference;
use crate::report::Check;
use crate::subject::Held;
use crate::verdict::Verdict;

/// Ends a check: everything that was ever made has been unmade.
pub(super) fn nothing_is_left(running: Running<'_>, census: &[Held]) -> Check {
    let zero = |held: &Held| Held {
        created: 0,
        released: 0,
        bytes: 0,
        what: held.what,
    };
    let before: Vec<Held> = census.iter().map(zero).collect();
    as_many_as_before(running, &before, census)
}

/// Ends a check: as much is alive as was at an earlier moment, and as many bytes are held.
pub(super) fn as_many_as_before(
    mut running: Running<'_>,
    before: &[Held],
    after: &[Held],
) -> Check {
    let (mut created, mut wrong) = (0, Tally::default());
    for (before, after) in before.iter().zip(after) {
        let made = after.created.saturating_sub(before.created);
        let unmade = after.released.saturating_sub(before.released);
        let check = running.check();
        check.figure(&format!("{} created", after.what), made as f64, "");
        check.figure(&format!("{} released", after.what), unmade as f64, "");
        created += made;
        if made != unmade || before.bytes != after.bytes {
            wrong.wrong += made.abs_diff(unmade).max(1);
            let found = format!("{unmade} released, {} bytes held", after.bytes);
            let expected = format!("{made} released, {} bytes held", before.bytes);
            wrong
                .differences
                .push(Difference::of_kind(after.what, found, expected).during("when all was over"));
        }
    }
    let mut check = running.tallied(created, wrong);
    // It counts everything there is: there is no rate to bound.
    check.rate_bound = None;
    if check.verdict == Verdict::CouldNotRun {
        check.notes.push("the device counted nothing".to_owned());
    }
    check
}
