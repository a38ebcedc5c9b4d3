//! A slope that a few wild points do not bend: does memory grow?
//!
//! Theil and Sen: the median of the slopes of all pairs of points (Theil 1950, Sen 1968). Its interval is Sen's, from the ranks of those slopes under
//! Kendall's tau, which assumes nothing about how points scatter but that they do so independently.
//!
//! Memory in use does not: what is a little too high now will be so a moment later, and an interval that took such points for independent can be
//! several times too narrow. So the variance is widened by the correlation of the ranks of what is left after the slope (Hamed and Rao, "A
//! modified Mann-Kendall trend test for autocorrelated data", Journal of Hydrology 204, 1998). It is never narrowed.

use super::interval::{Z95, between};

/// A slope and what is known about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The slope, in units of y by units of x.
    pub slope: f64,
    /// Where the true one lies at 95 %.
    pub interval: (f64, f64),
    /// The smallest true slope that would most likely have been told from none: half the interval's width and as much again, so that with 95 %
    /// the whole interval would lie above zero. At least one step of y over the whole length of x: less cannot show.
    pub detectable: f64,
    /// How many points there were.
    pub points: usize,
}

/// The most points that are looked at: all pairs of more would take too long. They are thinned out evenly.
const MOST: usize = 600;

/// The slope through these points, in the order of x, of which y moves in steps of `step` (a page of memory; 0 for none). `None` with fewer than
/// eight, of which nothing can be said.
pub fn theil_sen(points: &[(f64, f64)], step: f64) -> Option<Slope> {
    if points.len() < 8 {
        return None;
    }
    let every = points.len().div_ceil(MOST);
    let kept: Vec<(f64, f64)> = points.iter().step_by(every).copied().collect();
    let n = kept.len();
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (i, a) in kept.iter().enumerate() {
        let later = kept[i + 1..].iter().filter(|b| b.0 != a.0);
        slopes.extend(later.map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    if slopes.is_empty() {
        return None;
    }
    let (count, size) = (slopes.len() as f64, n as f64);
    let slope = between(&slopes, 0.5);
    let rest: Vec<f64> = kept.iter().map(|(x, y)| y - slope * x).collect();
    // The variance of Kendall's sum of signs, without ties.
    let variance = size * (size - 1.0) * (2.0 * size + 5.0) / 18.0;
    let deviation = (variance * widening(&rest)).sqrt();
    let half = Z95 * deviation / 2.0;
    let at = |rank: f64| between(&slopes, (rank / (count - 1.0).max(1.0)).clamp(0.0, 1.0));
    let interval = (at(count / 2.0 - half), at(count / 2.0 + half));
    let length = match (kept.first(), kept.last()) {
        (Some(first), Some(last)) => (last.0 - first.0).abs(),
        _ => return None,
    };
    Some(Slope {
        slope,
        interval,
        detectable: (interval.1 - interval.0).max(step / length),
        points: points.len(),
    })
}

/// By how much correlation over time widens the variance of Kendall's sum (Hamed and Rao), at least 1.
fn widening(rest: &[f64]) -> f64 {
    let ranks = ranks(rest);
    let n = ranks.len() as f64;
    let mean = (n + 1.0) / 2.0;
    let covariance = |lag: usize| -> f64 {
        let pairs = ranks.iter().zip(ranks.iter().skip(lag));
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let variance = covariance(0);
    if variance <= 0.0 {
        return 1.0;
    }
    let noise = Z95 / n.sqrt();
    let correlations = (1..ranks.len() / 2).map(|lag| (lag as f64, covariance(lag) / variance));
    // From the first lag on at which it is not told from none, what follows is noise.
    let sum: f64 = correlations
        .take_while(|(_, correlation)| correlation.abs() >= noise)
        .map(|(lag, correlation)| (n - lag) * (n - lag - 1.0) * (n - lag - 2.0) * correlation)
        .sum();
    (1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum).max(1.0)
}

/// The ranks of values, from 1; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|a, b| a.1 == b.1) {
        let shared = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        for (at, _) in equal {
            ranks[*at] = shared;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn points(n: usize, slope: f64, noise: f64, random: &mut Random) -> Vec<(f64, f64)> {
        let point = |i: usize| {
            let x = i as f64;
            (x, 5.0 + slope * x + noise * f64::from(random.normal()))
        };
        (0..n).map(point).collect()
    }

    #[test]
    fn a_line_has_its_slope_even_with_wild_points() {
        let mut random = Random::new(1, &[1]);
        let mut line = points(100, 2.5, 0.0, &mut random);
        for i in (0..100).step_by(9) {
            line[i].1 = 1e6;
        }
        let found = theil_sen(&line, 0.0).unwrap();
        assert!((found.slope - 2.5).abs() < 1e-9, "{found:?}");
        assert_eq!(theil_sen(&line[..7], 0.0), None);
    }

    #[test]
    fn the_interval_holds_the_true_slope_as_often_as_it_says() {
        let mut random = Random::new(2, &[1]);
        let rounds = 400;
        let mut held = 0;
        for _ in 0..rounds {
            let found = theil_sen(&points(60, 0.3, 4.0, &mut random), 0.0).unwrap();
            held += u32::from(found.interval.0 <= 0.3 && 0.3 <= found.interval.1);
        }
        assert!(held >= rounds * 92 / 100, "{held} of {rounds}");
    }

    #[test]
    fn a_leak_as_large_as_is_said_to_be_detectable_is_detected() {
        let mut random = Random::new(3, &[1]);
        let flat = theil_sen(&points(60, 0.0, 4.0, &mut random), 0.0).unwrap();
        let mut seen = 0;
        for _ in 0..100 {
            let leak = theil_sen(&points(60, flat.detectable, 4.0, &mut random), 0.0).unwrap();
            seen += u32::from(leak.interval.0 > 0.0);
        }
        assert!(seen >= 90, "{seen} of 100");
    }

    #[test]
    fn the_interval_of_points_that_remember_is_wide_enough() {
        let mut random = Random::new(4, &[1]);
        let rounds = 400;
        let mut held = 0;
        for _ in 0..rounds {
            let mut memory = 0.0;
            let mut line = points(100, 0.3, 0.0, &mut random);
            for point in &mut line {
                memory = 0.7 * memory + f64::from(random.normal());
                point.1 += memory;
            }
            let (low, high) = theil_sen(&line, 0.0).unwrap().interval;
            held += u32::from(low <= 0.3 && 0.3 <= high);
        }
        // Without widening it is so in fewer than 60 of 100.
        assert!(held >= rounds * 85 / 100, "{held} of {rounds}");
    }

    #[test]
    fn what_does_not_move_could_have_moved_by_one_step() {
        let flat: Vec<(f64, f64)> = (0..101).map(|i| (f64::from(i), 8_192.0)).collect();
        let found = theil_sen(&flat, 4_096.0).unwrap();
        assert_eq!((found.slope, found.interval), (0.0, (0.0, 0.0)));
        assert_eq!(found.detectable, 40.96);
        assert_eq!(theil_sen(&[(1.0, 1.0); 20], 1.0), None);
    }
}
