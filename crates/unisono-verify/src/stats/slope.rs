//! A slope that a few wild points do not bend: does memory grow?
//!
//! Theil and Sen: the median of the slopes of all pairs of points (Theil 1950, Sen 1968). Its interval is Sen's, from the ranks of those slopes under
//! Kendall's tau, which assumes nothing about how points scatter but that they do so independently.

use super::interval::{Z95, between};

/// A slope and what is known about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The slope, in units of y by units of x.
    pub slope: f64,
    /// Where the true one lies at 95 %.
    pub interval: (f64, f64),
    /// The smallest true slope that would most likely have been told from none: half the interval's width and as much again, so that with 95 %
    /// the whole interval would lie above zero.
    pub detectable: f64,
    /// How many points there were.
    pub points: usize,
}

/// The most points that are looked at: all pairs of more would take too long. They are thinned out evenly.
const MOST: usize = 600;

/// The slope through these points. `None` with fewer than eight, of which nothing can be said.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    if points.len() < 8 {
        return None;
    }
    let step = points.len().div_ceil(MOST);
    let kept: Vec<(f64, f64)> = points.iter().step_by(step).copied().collect();
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
    // The deviation of Kendall's sum of signs, without ties.
    let deviation = (size * (size - 1.0) * (2.0 * size + 5.0) / 18.0).sqrt();
    let half = Z95 * deviation / 2.0;
    let at = |rank: f64| between(&slopes, (rank / (count - 1.0).max(1.0)).clamp(0.0, 1.0));
    let interval = (at(count / 2.0 - half), at(count / 2.0 + half));
    Some(Slope {
        slope: between(&slopes, 0.5),
        interval,
        detectable: interval.1 - interval.0,
        points: points.len(),
    })
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
        let found = theil_sen(&line).unwrap();
        assert!((found.slope - 2.5).abs() < 1e-9, "{found:?}");
        assert_eq!(theil_sen(&line[..7]), None);
    }

    #[test]
    fn the_interval_holds_the_true_slope_as_often_as_it_says() {
        let mut random = Random::new(2, &[1]);
        let rounds = 400;
        let mut held = 0;
        for _ in 0..rounds {
            let found = theil_sen(&points(60, 0.3, 4.0, &mut random)).unwrap();
            held += u32::from(found.interval.0 <= 0.3 && 0.3 <= found.interval.1);
        }
        assert!(held >= rounds * 92 / 100, "{held} of {rounds}");
    }

    #[test]
    fn a_leak_as_large_as_is_said_to_be_detectable_is_detected() {
        let mut random = Random::new(3, &[1]);
        let flat = theil_sen(&points(60, 0.0, 4.0, &mut random)).unwrap();
        let mut seen = 0;
        for _ in 0..100 {
            let leak = theil_sen(&points(60, flat.detectable, 4.0, &mut random)).unwrap();
            seen += u32::from(leak.interval.0 > 0.0);
        }
        assert!(seen >= 90, "{seen} of 100");
    }
}
