//! Intervals of rates, and ranks of order statistics between which a quantile lies, at 95 %.
//!
//! Both come from the binomial law, whatever the measurements are like. [`super::order`] gives quantiles of few values with their intervals;
//! the ranks here are for counted ones.

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
    fn ranks_of_high_quantiles_end_at_the_last_value() {
        let (low, high) = ranks(200, 0.99);
        assert!(low >= 194 && high == 199, "{low} {high}");
        let (low, high) = ranks(100_000, 0.99);
        assert!(low < 99_000 && high > 99_000);
    }
}
