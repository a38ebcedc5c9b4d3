//! Quantiles with intervals that assume nothing of how values are spread.
//!
//! The one idea: how many of n values lie below the true quantile follows a binomial distribution, whatever the values are. So two of
//! the sorted values enclose it at 95 %, provided that there are enough (Conover, "Practical nonparametric statistics", 1999, section 3.2).
//!
//! It must never give an end that the values do not have: then the interval is open, and there is none.

/// A quantile with the interval in which the true one lies at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The quantile of the values at hand.
    pub value: f64,
    /// Its interval; `None` with too few values: 6 for a median, 368 for the 99th percentile.
    pub interval: Option<(f64, f64)>,
}

/// The median. `None` without values.
pub fn median(values: &[f64]) -> Option<Quantile> {
    quantile(values, 0.5)
}

/// The value that the share `p` of the values does not exceed. `None` without values, or if `p` is not between 0 and 1.
pub fn quantile(values: &[f64], p: f64) -> Option<Quantile> {
    if values.is_empty() || !(p > 0.0 && p < 1.0) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let middle = n / 2;
    let value = if p == 0.5 && n.is_multiple_of(2) {
        (sorted.get(middle - 1)? + sorted.get(middle)?) / 2.0
    } else {
        let rank = (p * n as f64).ceil() as usize;
        *sorted.get(rank.clamp(1, n) - 1)?
    };
    let interval =
        enclosing(n, p).and_then(|(low, high)| Some((*sorted.get(low)?, *sorted.get(high)?)));
    Some(Quantile { value, interval })
}

/// The indices of the innermost values that enclose the quantile with 2.5 % beyond either end.
fn enclosing(n: usize, p: f64) -> Option<(usize, usize)> {
    const BEYOND: f64 = 0.025;
    let (ln_p, ln_q) = (p.ln(), (-p).ln_1p());
    // ln of the probability that exactly k of n lie below, from one k to the next, since the first may be too small for a number.
    let mut ln_mass = n as f64 * ln_q;
    let (mut below, mut low) = (0.0, None);
    for k in 0..n {
        below += ln_mass.exp();
        // At most k values lie below the quantile with probability `below`.
        if below <= BEYOND {
            low = Some(k);
        }
        if below >= 1.0 - BEYOND {
            return low.map(|low| (low, k));
        }
        ln_mass += ((n - k) as f64 / (k + 1) as f64).ln() + ln_p - ln_q;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn medians_of_few_values_have_the_intervals_of_the_tables() {
        // Conover's table of the sign test: with 6 and 8 values the ends, with 10 the second, with 20 the sixth from either end.
        for (n, from_end) in [(6, 0), (8, 0), (10, 1), (20, 5)] {
            assert_eq!(enclosing(n, 0.5), Some((from_end, n - 1 - from_end)), "{n}");
        }
        assert_eq!(enclosing(5, 0.5), None);
    }

    #[test]
    fn the_99th_percentile_needs_368_values() {
        assert_eq!(enclosing(367, 0.99), None);
        assert_eq!(enclosing(368, 0.99).map(|e| e.1), Some(367));
        assert!(enclosing(100_000, 0.99).is_some());
    }

    #[test]
    fn intervals_hold_the_truth_at_least_as_often_as_they_say() {
        for (p, n, truth) in [(0.5, 15, 0.0), (0.99, 1000, 0.98)] {
            let held = (0..400u64)
                .filter(|&trial| {
                    let mut random = Random::new(3, &[trial]);
                    let values: Vec<f64> = (0..n).map(|_| f64::from(random.unit())).collect();
                    let (low, high) = quantile(&values, p).unwrap().interval.unwrap();
                    low <= truth && truth <= high
                })
                .count();
            assert!((372..=399).contains(&held), "{p}: {held} of 400");
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(median(&[]), None);
        assert_eq!(quantile(&[1.0], 1.0), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]).unwrap().value, 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).unwrap().value, 2.5);
    }
}
