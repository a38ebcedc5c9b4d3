//! What a check may come to.
//!
//! The one idea: a verdict is a claim, and each claim has its own word. What was skipped is never called passed, and a pass
//! says how much it could have seen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The outcome of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Looked, and found nothing wrong.
    #[serde(rename = "PASS")]
    Pass,
    /// Found something wrong.
    #[serde(rename = "FAIL")]
    Fail,
    /// Was asked for and could not look.
    #[serde(rename = "COULD-NOT-RUN")]
    CouldNotRun,
    /// Looked, but would not have seen it: a deliberately weakened twin of the check was never caught here either.
    #[serde(rename = "NOT-DISTINGUISHABLE")]
    NotDistinguishable,
    /// Asks for more than this device can physically do.
    #[serde(rename = "OUT-OF-REACH")]
    OutOfReach,
}

impl Verdict {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::CouldNotRun => "COULD-NOT-RUN",
            Verdict::NotDistinguishable => "NOT-DISTINGUISHABLE",
            Verdict::OutOfReach => "OUT-OF-REACH",
        }
    }

    /// Does a run with this verdict in it end with exit code 0?
    pub const fn is_acceptable(self) -> bool {
        !matches!(self, Verdict::Fail | Verdict::CouldNotRun)
    }

    /// The verdict on a whole of which these are the parts. A whole without parts could not run.
    pub fn of_all(parts: impl IntoIterator<Item = Verdict>) -> Verdict {
        /// From harmless to grave.
        const ORDER: [Verdict; 5] = [
            Verdict::Pass,
            Verdict::OutOfReach,
            Verdict::NotDistinguishable,
            Verdict::CouldNotRun,
            Verdict::Fail,
        ];
        let rank = |v: &Verdict| ORDER.iter().position(|o| o == v);
        parts
            .into_iter()
            .max_by_key(|v| rank(v))
            .unwrap_or(Verdict::CouldNotRun)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What "none of `trials` went wrong" means: the largest rate of failures that would still hide so, one time in twenty.
///
/// The rule of three: `(1 - p)^n = 0.05` has the solution `p` of about `3 / n`. `None` without trials.
pub fn rate_bound(trials: u64) -> Option<f64> {
    (trials > 0).then(|| (3.0 / trials as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_part_decides_and_nothing_is_not_a_pass() {
        use Verdict::*;
        assert_eq!(Verdict::of_all([Pass, Fail, CouldNotRun]), Fail);
        assert_eq!(
            Verdict::of_all([Pass, CouldNotRun, NotDistinguishable]),
            CouldNotRun
        );
        assert_eq!(Verdict::of_all([Pass, Pass]), Pass);
        assert_eq!(Verdict::of_all([]), CouldNotRun);
        assert!(Verdict::of_all([Pass, OutOfReach, NotDistinguishable]).is_acceptable());
        assert!(!Verdict::of_all([Pass, CouldNotRun]).is_acceptable());
    }

    #[test]
    fn the_rule_of_three_bounds_the_rate() {
        assert_eq!(rate_bound(0), None);
        assert_eq!(rate_bound(1), Some(1.0));
        let p = rate_bound(1_000).unwrap();
        assert!(((1.0 - p).powi(1_000) - 0.05).abs() < 1e-3);
    }
}
