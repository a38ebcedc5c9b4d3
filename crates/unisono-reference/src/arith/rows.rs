//! Softmax and the normalisations: what is computed along a row of values and gives a row.
//!
//! Each is a few reductions in the canonical order followed by one formula per element. Softmax takes the row's maximum first and never
//! rescales a running sum, so that attention computed in one piece equals MatMul, Softmax, MatMul.

use super::reduce::{Order, maximum, sum, sum_squares};
use super::{Real, Reduction, reduce_last};

/// Softmax of the `n` elements of `x` at `at(0)`, `at(1)`, …, written to the same places of `y`:
/// `m = max(x)`, `e = exp(x - m)`, `y = e * (1 / sum(e))`.
///
/// A row that holds NaN or +infinity, or only -infinity, becomes NaN.
///
/// # Panics
///
/// If a place lies outside of `x` or `y`.
pub fn softmax<R: Real>(order: Order, n: usize, at: impl Fn(usize) -> usize, x: &[R], y: &mut [R]) {
    let m = maximum(n, |i| x[at(i)]);
    for i in 0..n {
        y[at(i)] = (x[at(i)] - m).exp();
    }
    let scale = R::ONE / sum(order, n, |i| y[at(i)]);
    for i in 0..n {
        y[at(i)] = y[at(i)] * scale;
    }
}

/// The logarithm of softmax, `(x - m) - log(sum(exp(x - m)))`, over the same places as [`softmax`].
///
/// # Panics
///
/// If a place lies outside of `x` or `y`.
pub fn log_softmax<R: Real>(
    order: Order,
    n: usize,
    at: impl Fn(usize) -> usize,
    x: &[R],
    y: &mut [R],
) {
    let m = maximum(n, |i| x[at(i)]);
    let log_sum = sum(order, n, |i| (x[at(i)] - m).exp()).log();
    for i in 0..n {
        y[at(i)] = (x[at(i)] - m) - log_sum;
    }
}

/// [`softmax`] over a dense row: the case of the last axes.
///
/// # Panics
///
/// If `y` is shorter than `x`.
pub fn softmax_row<R: Real>(x: &[R], y: &mut [R]) {
    softmax(Order::Lanes, x.len(), |i| i, x, y);
}

/// [`log_softmax`] over a dense row.
///
/// # Panics
///
/// If `y` is shorter than `x`.
pub fn log_softmax_row<R: Real>(x: &[R], y: &mut [R]) {
    log_softmax(Order::Lanes, x.len(), |i| i, x, y);
}

/// The mean and `1 / sqrt(variance + epsilon)` of a dense row; the variance is the mean of the squared distances from the mean, taken in
/// a second pass.
pub fn moments<R: Real>(x: &[R], epsilon: f32) -> (R, R) {
    let mean = reduce_last(Reduction::Mean, x);
    let squares = sum_squares(Order::Lanes, x.len(), |i| x[i] - mean);
    let variance = squares / R::from_count(x.len());
    (mean, R::ONE / (variance + R::from_f32(epsilon)).sqrt())
}

/// Layer normalisation of a row, `y = fma(d * r, scale, bias)` with `d = x - mean` and `r` from [`moments`]; without a bias
/// `(d * r) * scale`. `scale` and `bias` have the row's length. Returns mean and r.
///
/// # Panics
///
/// If `scale`, `bias` or `y` is shorter than `x`.
pub fn layer_norm_row<R: Real>(
    x: &[R],
    scale: &[R],
    bias: Option<&[R]>,
    epsilon: f32,
    y: &mut [R],
) -> (R, R) {
    let (mean, r) = moments(x, epsilon);
    for i in 0..x.len() {
        let normal = (x[i] - mean) * r;
        y[i] = match bias {
            Some(bias) => normal.fma(scale[i], bias[i]),
            None => normal * scale[i],
        };
    }
    (mean, r)
}

/// Instance (or group) normalisation of the values that share a scale and a bias: [`layer_norm_row`] with both constant along the row.
/// `mean` and `r` are those of the whole group.
///
/// # Panics
///
/// If `y` is shorter than `x`.
pub fn instance_norm_row<R: Real>(x: &[R], (mean, r): (R, R), scale: R, bias: R, y: &mut [R]) {
    for i in 0..x.len() {
        y[i] = ((x[i] - mean) * r).fma(scale, bias);
    }
}

/// Root-mean-square normalisation, `y = (x * r) * scale` with `r = 1 / sqrt(mean(x^2) + epsilon)`.
///
/// # Panics
///
/// If `scale` or `y` is shorter than `x`.
pub fn rms_norm_row<R: Real>(x: &[R], scale: &[R], epsilon: f32, y: &mut [R]) {
    let squares = reduce_last(Reduction::SumSquare, x) / R::from_count(x.len());
    let r = R::ONE / (squares + R::from_f32(epsilon)).sqrt();
    for i in 0..x.len() {
        y[i] = (x[i] * r) * scale[i];
    }
}

/// Batch normalisation in inference is `y = fma(x, s, b)` per channel. These are `s = scale / sqrt(variance + epsilon)` and
/// `b = fma(-mean, s, bias)`.
pub fn batch_norm_factors<R: Real>(
    scale: R,
    bias: R,
    mean: R,
    variance: R,
    epsilon: f32,
) -> (R, R) {
    let s = scale / (variance + R::from_f32(epsilon)).sqrt();
    (s, (-mean).fma(s, bias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_survives_large_values() {
        let x = [1000.0f32, 1001.0, 999.0, f32::NEG_INFINITY];
        let mut y = [0.0; 4];
        softmax_row(&x, &mut y);
        assert!((y.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(y[3], 0.0);
        let mut logs = [0.0; 4];
        log_softmax_row(&x, &mut logs);
        for (p, l) in y.iter().zip(logs) {
            assert!((p.ln() - l).abs() < 1e-5 || *p == 0.0 && l == f32::NEG_INFINITY);
        }
        softmax_row(&[f32::NEG_INFINITY; 4], &mut y);
        assert!(y.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn a_strided_softmax_touches_its_places_only() {
        let x = [1.0f32, 5.0, 2.0, 6.0];
        let mut y = [-1.0; 4];
        softmax(Order::Slices, 2, |i| 2 * i, &x, &mut y);
        assert!((y[0] + y[2] - 1.0).abs() < 1e-6 && y[2] > y[0]);
        assert_eq!([y[1], y[3]], [-1.0, -1.0]);
    }

    #[test]
    fn normalisations_agree_with_their_formulas() {
        let x: Vec<f64> = (0..77).map(|i| ((i * 31 % 19) as f64) - 7.0).collect();
        let ones = vec![1.0; 77];
        let twos = vec![2.0; 77];
        let mut y = vec![0.0; 77];
        let (mean, r) = layer_norm_row(&x, &twos, Some(&ones), 1e-5, &mut y);
        assert!((mean - x.iter().sum::<f64>() / 77.0).abs() < 1e-12);
        assert!((y.iter().sum::<f64>() / 77.0 - 1.0).abs() < 1e-12);
        let variance = y.iter().map(|v| (v - 1.0) * (v - 1.0)).sum::<f64>() / 77.0;
        assert!((variance - 4.0).abs() < 1e-4, "{variance}");
        let mut z = vec![0.0; 77];
        instance_norm_row(&x, (mean, r), 2.0, 1.0, &mut z);
        assert_eq!(y, z);
        rms_norm_row(&x, &ones, 0.0, &mut z);
        assert!((z.iter().map(|v| v * v).sum::<f64>() / 77.0 - 1.0).abs() < 1e-12);
        let (s, b) = batch_norm_factors(3.0f64, 1.0, 2.0, 4.0, 0.0);
        assert_eq!((s, b), (1.5, -2.0));
    }
}
