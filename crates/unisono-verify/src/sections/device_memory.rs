//! Memory of the device's own over time, turned into a check. A device without any has no such check.
//!
//! The one idea: the bytes are counted, not sampled, so any growth that goes on is a leak, however small. A single step is none: a
//! lane that meets a larger batch for the first time keeps what it took.

use super::Running;
use crate::report::Check;
use crate::stats::slope::theil_sen;
use crate::verdict::Verdict;

/// What the check is called.
pub(super) const WHAT: &str = "device memory";
/// The end of its id.
pub(super) const ID: &str = "device-memory";
/// The least by which it can move, in bytes: the smallest block of a device's pool.
const BLOCK: f64 = 512.0;

/// Ends a check of bytes in use, each beside a number that rises: seconds, or requests. `per` is the unit of that number.
pub(super) fn is_flat(mut running: Running<'_>, points: &[(f64, f64)], per: &str) -> Check {
    let check = running.check();
    let (Some(slope), Some(first), Some(last)) =
        (theil_sen(points, BLOCK), points.first(), points.last())
    else {
        check.verdict = Verdict::NotDistinguishable;
        check
            .notes
            .push(format!("{} samples are too few", points.len()));
        return running.finish();
    };
    let (low, high) = slope.interval;
    let rise = last.1 - first.1;
    let grows = low > 0.0 && rise > 0.0;
    check.conclude(points.len() as u64, u64::from(grows));
    check.rate_bound = None;
    check.figure_within("growth", slope.slope, &format!("bytes {per}"), (low, high));
    check.figure(
        "smallest detectable growth",
        slope.detectable,
        &format!("bytes {per}"),
    );
    check.figure("in use at the end", last.1, "bytes");
    check.figure("risen by", rise, "bytes");
    if grows {
        check
            .notes
            .push(format!("{rise:.0} bytes more, {low:.0} to {high:.0} {per}"));
    }
    running.finish()
}
