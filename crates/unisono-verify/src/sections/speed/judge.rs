//! The verdict on a cycle of callers: what it takes beyond an explicit batch, against what waking them costs.
//!
//! A cycle may exceed the explicit batch's time by what waking its callers costs on this machine, and a quarter more. It fails
//! only if the whole interval of the excess is beyond that. And it passes only if callers without batches would have been seen: if
//! the interval reaches what these take, the check says nothing, and says so.

use super::{Quantile, median};
use crate::report::Check;
use crate::verdict::Verdict;

/// What is allowed beyond the explicit batch, in times of waking the callers.
pub const ALLOWANCE: f64 = 1.25;

/// One round, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// In which each caller gets one answer.
    pub cycle: f64,
    /// The same rows as one request.
    pub explicit: f64,
    /// Waking as many callers, without work.
    pub wake: f64,
    /// The same callers without shared batches.
    pub twin: f64,
}

impl Turn {
    /// Beyond what is allowed, for this time in place of the cycle's.
    fn beyond(&self, time: f64) -> f64 {
        time - self.explicit - ALLOWANCE * self.wake
    }
}

/// Concludes a check from its rounds. `twin` says in words what the twin is.
pub fn judge(check: &mut Check, callers: usize, turns: &[Turn], twin: &str) {
    let of = |value: fn(&Turn) -> f64| median(&turns.iter().map(value).collect::<Vec<_>>());
    let beyond = of(|t| t.beyond(t.cycle));
    // With fewer no two of them enclose the median at 95 %.
    let enough = beyond.filter(|_| turns.len() >= 6);
    let Some((beyond, Some((low, high)))) = enough.map(|q| (q, q.interval)) else {
        check.verdict = Verdict::CouldNotRun;
        let what = format!("{} rounds are too few for an interval", turns.len());
        return check.notes.push(what);
    };
    let mut time = |name: &str, quantile: Option<Quantile>| {
        let Some(Quantile { value, interval }) = quantile else {
            return;
        };
        match interval {
            Some((low, high)) => {
                check.figure_within(name, value * 1e6, "µs", (low * 1e6, high * 1e6))
            }
            None => check.figure(name, value * 1e6, "µs"),
        }
    };
    time(&format!("explicit batch of {callers}"), of(|t| t.explicit));
    time(&format!("cycle of {callers} callers"), of(|t| t.cycle));
    time("longer by", of(|t| t.cycle - t.explicit));
    time(&format!("waking {callers} callers"), of(|t| t.wake));
    time("beyond what is allowed", Some(beyond));
    time(twin, of(|t| t.twin));
    let twin_beyond = of(|t| t.beyond(t.twin)).map_or(0.0, |q| q.value);
    check.trials = turns.len() as u64;
    let micros = |seconds: f64| format!("{:.1} µs", seconds * 1e6);
    check.notes.push(format!(
        "allowed beyond the explicit batch: {ALLOWANCE} x waking {callers} callers; this run would have called {} more than that a failure",
        micros((beyond.value - low).max(0.0))
    ));
    if low > 0.0 {
        check.verdict = Verdict::Fail;
        check.failures = turns.iter().filter(|t| t.beyond(t.cycle) > 0.0).count() as u64;
        let what = format!(
            "beyond what is allowed by {} ({} to {})",
            micros(beyond.value),
            micros(low),
            micros(high)
        );
        check.notes.push(what);
    } else if twin_beyond <= high {
        check.verdict = Verdict::NotDistinguishable;
        check.notes.push(format!(
            "{twin} would not have been told from it: it is {} beyond",
            micros(twin_beyond)
        ));
    } else {
        check.verdict = Verdict::Pass;
        if beyond.value > 0.0 {
            let what = format!(
                "beyond what is allowed by {}, but not beyond doubt ({} to {})",
                micros(beyond.value),
                micros(low),
                micros(high)
            );
            check.warnings.push(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(cycle: f64, twin: f64, noise: f64) -> Verdict {
        let turn = |i: usize| Turn {
            cycle: cycle + if i.is_multiple_of(2) { noise } else { -noise },
            explicit: 1.0,
            wake: 0.04,
            twin,
        };
        let turns: Vec<Turn> = (0..10).map(turn).collect();
        let mut check = Check::new("t", "m", "w", "rounds");
        judge(&mut check, 8, &turns, "a lock");
        check.verdict
    }

    #[test]
    fn the_whole_interval_must_be_beyond_to_fail_and_a_lock_must_be_visible_to_pass() {
        assert_eq!(verdict(1.04, 8.0, 0.001), Verdict::Pass);
        assert_eq!(verdict(1.06, 8.0, 0.001), Verdict::Fail);
        assert_eq!(verdict(1.06, 8.0, 0.05), Verdict::Pass);
        assert_eq!(verdict(1.06, 1.07, 0.05), Verdict::NotDistinguishable);
        assert_eq!(verdict(1.0, 1.0, 0.001), Verdict::NotDistinguishable);
        assert_eq!(verdict(8.0, 8.0, 0.001), Verdict::Fail);
    }

    #[test]
    fn too_few_rounds_are_no_verdict() {
        let mut check = Check::new("t", "m", "w", "rounds");
        judge(&mut check, 8, &[], "a lock");
        assert_eq!(check.verdict, Verdict::CouldNotRun);
    }
}
