//! Gunther's universal scalability law, fitted to throughput over callers.
//!
//! ```text
//! X(N) = λ N / (1 + σ (N - 1) + κ N (N - 1))
//! ```
//!
//! λ is what one caller gets, σ the share of the work that callers must wait for each other with (*contention*), κ what each pair of
//! them costs (*coherence*), because of which more callers may get less (Gunther, "Guerrilla capacity planning", 2007, chapter 4).
//!
//! The one idea: N / X(N) is linear in 1/λ, σ/λ and κ/λ. So the fit has one answer, found without a start and without steps: least squares of
//! relative errors, each point counting alike whatever its size. Intervals come from the covariance of the linear
//! fit (Student's t at 95 %), carried over to quotients to first order (the delta method). They hold what the law itself does not explain,
//! because the residuals do.
//!
//! It must never give numbers that the points do not determine: then it says why.

use std::fmt;

/// A number with the interval in which it lies at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The law that fits best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalability {
    /// Throughput of one caller, in the unit of the points.
    pub lambda: Estimate,
    /// Contention, without a unit. 0: callers do not wait for each other. 1: one at a time. Below 0: together they get more
    /// than so many times one.
    pub sigma: Estimate,
    /// Coherence, without a unit. 0: throughput never falls.
    pub kappa: Estimate,
    /// The root of the mean squared relative residual.
    pub residual: f64,
}

/// Why there is no fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Undetermined {
    /// Fewer than four different numbers of callers, or a throughput that is no positive number.
    TooFewPoints,
    /// The points lie so far from any such law that even the throughput of one caller is not told from nothing.
    TooFarOff,
}

impl fmt::Display for Undetermined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Undetermined::TooFewPoints => {
                "three coefficients need throughput at four different numbers of callers at least"
            }
            Undetermined::TooFarOff => {
                "throughput follows no such law: the interval of what one caller gets reaches zero"
            }
        })
    }
}

impl std::error::Error for Undetermined {}

/// Fits the law to pairs of callers and throughput.
///
/// ```
/// use unisono_verify::stats::scalability::fit;
///
/// // Everything behind one lock.
/// let law = fit(&[(1, 100.0), (2, 100.0), (4, 100.0), (8, 100.0), (16, 100.0)])?;
/// assert!((law.sigma.value - 1.0).abs() < 1e-9 && law.kappa.value.abs() < 1e-9);
/// # Ok::<(), unisono_verify::stats::scalability::Undetermined>(())
/// ```
///
/// # Errors
/// The points do not determine it.
pub fn fit(points: &[(usize, f64)]) -> Result<Scalability, Undetermined> {
    let mut callers: Vec<usize> = points.iter().map(|point| point.0).collect();
    callers.sort_unstable();
    callers.dedup();
    let usable = |&(n, x): &(usize, f64)| n > 0 && x.is_finite() && x > 0.0;
    if callers.len() < 4 || !points.iter().all(usable) {
        return Err(Undetermined::TooFewPoints);
    }
    // Rows of the design, divided by N / X, so that the right side is 1 and residuals are relative.
    let rows: Vec<[f64; 3]> = points.iter().map(|&(n, x)| design(n, x)).collect();
    let mut normal = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for row in &rows {
        for (i, a) in row.iter().enumerate() {
            right[i] += a;
            for (j, b) in row.iter().enumerate() {
                normal[i][j] += a * b;
            }
        }
    }
    let inverse = inverse(normal).ok_or(Undetermined::TooFewPoints)?;
    let [a, b, c] = inverse.map(|row| dot(row, right));
    let squares: f64 = rows
        .iter()
        .map(|row| (1.0 - dot(*row, [a, b, c])).powi(2))
        .sum();
    let freedom = points.len() - 3;
    let variance = squares / freedom as f64;
    let width = students_t(freedom);
    // How far a function of a, b and c with this gradient may be off.
    let within = |value: f64, gradient: [f64; 3]| {
        let spread = dot(gradient, inverse.map(|row| dot(row, gradient)));
        let off = width * (variance * spread.max(0.0)).sqrt();
        Estimate {
            value,
            low: value - off,
            high: value + off,
        }
    };
    let one = within(a, [1.0, 0.0, 0.0]);
    if one.low <= 0.0 {
        return Err(Undetermined::TooFarOff);
    }
    let (sigma, kappa) = (b / a, c / a);
    Ok(Scalability {
        // The ends of a reciprocal are the reciprocals of the ends.
        lambda: Estimate {
            value: 1.0 / a,
            low: 1.0 / one.high,
            high: 1.0 / one.low,
        },
        sigma: within(sigma, [-sigma / a, 1.0 / a, 0.0]),
        kappa: within(kappa, [-kappa / a, 0.0, 1.0 / a]),
        residual: (squares / points.len() as f64).sqrt(),
    })
}

impl Scalability {
    /// What the law says that so many callers get. `None` where it says nothing: noise can make the fit negative outside of its points.
    pub fn throughput(&self, callers: usize) -> Option<f64> {
        let n = callers as f64;
        let slower = 1.0 + self.sigma.value * (n - 1.0) + self.kappa.value * n * (n - 1.0);
        (slower > 0.0).then(|| self.lambda.value * n / slower)
    }

    /// The number of callers beyond which throughput falls, if κ is certainly above zero: √((1 - σ) / κ).
    pub fn best_callers(&self) -> Option<f64> {
        let certain = self.kappa.low > 0.0 && self.sigma.value < 1.0;
        certain.then(|| {
            ((1.0 - self.sigma.value) / self.kappa.value)
                .sqrt()
                .max(1.0)
        })
    }
}

fn design(callers: usize, throughput: f64) -> [f64; 3] {
    let n = callers as f64;
    let relative = throughput / n;
    [relative, (n - 1.0) * relative, n * (n - 1.0) * relative]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The inverse of a symmetric matrix, by cofactors after scaling its diagonal to 1; `None` if it has none in numbers of this size.
fn inverse(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let scale = [0, 1, 2].map(|i: usize| 1.0 / m[i][i].sqrt());
    if scale.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let at = |i: usize, j: usize| m[i % 3][j % 3] * scale[i % 3] * scale[j % 3];
    // Indices that wrap around carry the signs of the cofactors.
    let cofactor = |i: usize, j: usize| {
        at(i + 1, j + 1) * at(i + 2, j + 2) - at(i + 1, j + 2) * at(i + 2, j + 1)
    };
    let determinant: f64 = (0..3).map(|j| at(0, j) * cofactor(0, j)).sum();
    if determinant < 1e-13 {
        return None;
    }
    let entry = |i: usize, j: usize| cofactor(j, i) / determinant * scale[i] * scale[j];
    Some([0, 1, 2].map(|i| [0, 1, 2].map(|j| entry(i, j))))
}

/// Student's t: 95 % lie within so many standard errors either way, with so many degrees of freedom.
fn students_t(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    match freedom.checked_sub(1).and_then(|i| TABLE.get(i)) {
        Some(t) => *t,
        // The first terms of its expansion around the normal distribution (Abramowitz, Stegun: 26.7.5).
        None => 1.95996 + 2.37227 / freedom as f64 + 2.8225 / (freedom as f64).powi(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const CALLERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

    fn law(lambda: f64, sigma: f64, kappa: f64, n: usize) -> f64 {
        let n = n as f64;
        lambda * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
    }

    fn points(
        lambda: f64,
        sigma: f64,
        kappa: f64,
        noise: impl Fn(usize) -> f64,
    ) -> Vec<(usize, f64)> {
        let at = |(i, n): (usize, usize)| (n, law(lambda, sigma, kappa, n) * (1.0 + noise(i)));
        CALLERS.into_iter().enumerate().map(at).collect()
    }

    #[test]
    fn points_without_noise_give_their_coefficients_back() {
        for (lambda, sigma, kappa) in [
            (1000.0, 0.03, 0.0002),
            (8.5, 1.0, 0.0),
            (1e6, 0.0, 0.0),
            // Together more than alone, as batches give.
            (40.0, -0.01, 0.001),
        ] {
            let found = fit(&points(lambda, sigma, kappa, |_| 0.0)).unwrap();
            assert!(
                (found.lambda.value / lambda - 1.0).abs() < 1e-9,
                "{found:?}"
            );
            assert!((found.sigma.value - sigma).abs() < 1e-9, "{found:?}");
            assert!((found.kappa.value - kappa).abs() < 1e-9, "{found:?}");
            assert!(found.residual < 1e-9, "{found:?}");
            for n in CALLERS {
                let said = found.throughput(n).unwrap();
                assert!((said / law(lambda, sigma, kappa, n) - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let (lambda, sigma, kappa) = (1000.0, 0.05, 0.0005);
        let trials = 400;
        let mut held = [0; 3];
        for trial in 0..trials {
            let mut random = Random::new(11, &[trial]);
            let noise: Vec<f64> = CALLERS
                .iter()
                .map(|_| f64::from(random.normal()) * 0.03)
                .collect();
            let found = fit(&points(lambda, sigma, kappa, |i| noise[i])).unwrap();
            let of = [found.lambda, found.sigma, found.kappa];
            for ((count, e), truth) in held.iter_mut().zip(of).zip([lambda, sigma, kappa]) {
                *count += u32::from(e.low <= truth && truth <= e.high);
            }
        }
        // 380 of 400 expected; the delta method is an approximation.
        assert!(held.iter().all(|&h| (365..=395).contains(&h)), "{held:?}");
    }

    #[test]
    fn noise_shows_in_the_width_and_in_the_residual() {
        let wiggle = |size: f64| {
            let noise = move |i: usize| if i.is_multiple_of(2) { size } else { -size };
            fit(&points(500.0, 0.1, 0.001, noise)).unwrap()
        };
        let (calm, rough) = (wiggle(0.005), wiggle(0.05));
        let width = |e: Estimate| e.high - e.low;
        assert!(width(rough.sigma) > 5.0 * width(calm.sigma));
        assert!(rough.residual > 5.0 * calm.residual);
    }

    #[test]
    fn too_few_callers_or_senseless_numbers_determine_nothing() {
        let three = [(1, 1.0), (2, 2.0), (4, 3.0), (4, 3.1), (2, 2.1)];
        assert_eq!(fit(&three), Err(Undetermined::TooFewPoints));
        assert_eq!(fit(&[]), Err(Undetermined::TooFewPoints));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut points = points(10.0, 0.1, 0.0, |_| 0.0);
            points[3].1 = wrong;
            assert_eq!(fit(&points), Err(Undetermined::TooFewPoints));
        }
    }

    #[test]
    fn points_that_follow_no_such_law_are_said_to() {
        let wild = [(1, 1.0), (2, 900.0), (4, 2.0), (8, 1500.0), (16, 1.0)];
        assert_eq!(fit(&wild), Err(Undetermined::TooFarOff));
    }

    #[test]
    fn throughput_is_said_to_fall_only_if_it_certainly_does() {
        let falls = fit(&points(100.0, 0.02, 0.01, |_| 0.0)).unwrap();
        assert!((falls.best_callers().unwrap() - (0.98f64 / 0.01).sqrt()).abs() < 1e-6);
        let noise = |i: usize| if i.is_multiple_of(2) { 0.05 } else { -0.05 };
        let flat = fit(&points(100.0, 1.0, 0.0, noise)).unwrap();
        assert_eq!(flat.best_callers(), None);
    }

    #[test]
    fn students_t_falls_to_the_normal_distribution_without_a_step() {
        let mut before = f64::INFINITY;
        for freedom in 1..200 {
            let t = students_t(freedom);
            assert!(t < before, "{freedom}");
            before = t;
        }
        assert!((students_t(30) - 2.042).abs() < 1e-3);
        assert!(students_t(1_000_000) < 1.96);
    }
}
