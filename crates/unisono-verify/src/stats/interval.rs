//! Intervals in which a true value lies at 95 %.
//!
//! None assumes a distribution of the measurements: medians come from order statistics, rates from the binomial law.

/// The normal quantile for 95 %, both sides.
pub const Z95: f64 = 1.959_963_984_540_054;

/// The interval of a rate of which `hits` of `trials` were seen: Wilson's score interval (Wilson 1927; recommended for small numbers by
/// Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001). `(0, 1)` without trials.
pub fn rate(hits: u64, trials: u64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (trials as f64, hits as f64 / trials as f64);
    let z2 = Z95 * Z95;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// The median of some values, and the interval of the true median. `None` without values.
///
/// The interval lies between two order statistics, found by the binomial law (Conover, "Practical Nonparametric Statistics"). With fewer than
/// six values no pair of them reaches 95 %, and the interval is from the lowest to the highest: as much as is known.
pub fn median(values: &[f64]) -> Option<(f64, (f64, f64))> {
    quantile(values, 0.5)
}

/// The same for any quantile from 0 to 1.
pub fn quantile(values: &[f64], share: f64) -> Option<(f64, (f64, f64))> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let last = n.checked_sub(1)?;
    let at = |index: usize| sorted.get(index.min(last)).copied().unwrap_or(f64::NAN);
    let (low, high) = ranks(n as u64, share);
    Some((
        between(&sorted, share),
        (at(low as usize), at(high as usize)),
    ))
}

/// A quantile of sorted values, interpolated between the two next to it.
pub fn between(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    low + (high - low) * (place - below as f64)
}

/// The ranks (from 0) of the order statistics between which the quantile lies at 95 %, as far as so many values allow.
///
/// Up to 1,000 values by the binomial law itself, beyond by its normal approximation.
pub fn ranks(n: u64, share: f64) -> (u64, u64) {
    let last = n.saturating_sub(1);
    if n > 1_000 {
        let (mean, deviation) = (n as f64 * share, (n as f64 * share * (1.0 - share)).sqrt());
        let low = (mean - Z95 * deviation).floor().max(0.0) as u64;
        let high = (mean + Z95 * deviation).ceil() as u64;
        return (low.min(last), high.min(last));
    }
    // The number of values below the quantile is binomial. Rank r is below it if more than r values are.
    let (mut low, mut high) = (0, last);
    let mut below = 0.0;
    let mut found_low = false;
    for k in 0..=n {
        below += binomial(n, k, share);
        if !found_low && below > 0.025 {
            low = k.saturating_sub(1);
            found_low = true;
        }
        if below >= 0.975 {
            high = k.min(last);
            break;
        }
    }
    (low.min(last), high)
}

fn binomial(n: u64, k: u64, p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        let certain = if p <= 0.0 { 0 } else { n };
        return f64::from(u8::from(k == certain));
    }
    let choose = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    (choose + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln()).exp()
}

fn ln_factorial(n: u64) -> f64 {
    (2..=n).map(|i| (i as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn rates_have_the_intervals_of_the_textbook() {
        // Brown, Cai, DasGupta: n = 10, 5 hits gives 0.237 to 0.763; 0 of 10 ends at 0.278.
        let (low, high) = rate(5, 10);
        assert!((low - 0.2366).abs() < 1e-3 && (high - 0.7634).abs() < 1e-3);
        let (low, high) = rate(0, 10);
        assert!(low == 0.0 && (high - 0.2775).abs() < 1e-3);
        assert_eq!(rate(0, 0), (0.0, 1.0));
    }

    #[test]
    fn few_values_give_all_that_is_known() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some((7.0, (7.0, 7.0))));
        let (middle, (low, high)) = median(&[5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((middle, low, high), (3.0, 1.0, 5.0));
    }

    #[test]
    fn intervals_of_medians_hold_the_true_one_as_often_as_they_say() {
        let mut random = Random::new(3, &[1]);
        for n in [9, 25, 101] {
            let rounds = 2_000;
            let mut held = 0;
            for _ in 0..rounds {
                let values: Vec<f64> = (0..n).map(|_| f64::from(random.unit())).collect();
                let (_, (low, high)) = median(&values).unwrap();
                held += u32::from(low <= 0.0 && 0.0 <= high);
            }
            let share = f64::from(held) / f64::from(rounds);
            assert!(share > 0.94, "{n}: {share}");
        }
    }

    #[test]
    fn ranks_of_high_quantiles_end_at_the_last_value() {
        let (low, high) = ranks(200, 0.99);
        assert!(low >= 194 && high == 199, "{low} {high}");
        let (low, high) = ranks(100_000, 0.99);
        assert!(low < 99_000 && high > 99_000);
    }
}
