//! Layer, root-mean-square, group and batch normalisation.

use super::InOut;
use super::chain::{Sum, SumSquares, SumSquaresFrom, fold_lanes};
use super::in_out::Part;
use crate::simd::{Isa, Kernel, Simd, dispatch};

/// Layer normalisation of each row of `scale.len()` values: `y = fma(d * r, scale, bias)` with `d = x - mean` and
/// `r = 1 / sqrt(variance + epsilon)`; `(d * r) * scale` without a bias. `moments`, if wanted, receives each row's mean and r.
///
/// # Panics
///
/// If the data is not a whole number of rows, `bias` has not the length of `scale`, or `moments` not one value per row in each slice.
pub fn layer_norm_rows<'a>(
    isa: Isa,
    scale: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    data: impl Into<InOut<'a>>,
    moments: Option<[&mut [f32]; 2]>,
) {
    let data = data.into();
    let n = scale.len();
    assert!(
        data.is_empty() || data.len().is_multiple_of(n),
        "not whole rows of {n}"
    );
    assert!(
        bias.is_none_or(|bias| bias.len() == n),
        "a bias of {n} values"
    );
    let rows = data.len().checked_div(n).unwrap_or(0);
    assert!(
        moments
            .as_ref()
            .is_none_or(|[mean, r]| mean.len() == rows && r.len() == rows),
        "moments of {rows} rows"
    );
    dispatch(
        isa,
        LayerNorm {
            scale,
            bias,
            epsilon,
            data,
            moments,
        },
    );
}

/// Root-mean-square normalisation of each row of `scale.len()` values: `y = (x * r) * scale` with `r = 1 / sqrt(mean(x^2) + epsilon)`.
///
/// # Panics
///
/// If the data is not a whole number of rows.
pub fn rms_norm_rows<'a>(isa: Isa, scale: &[f32], epsilon: f32, data: impl Into<InOut<'a>>) {
    let data = data.into();
    let n = scale.len();
    assert!(
        data.is_empty() || data.len().is_multiple_of(n),
        "not whole rows of {n}"
    );
    dispatch(
        isa,
        RmsNorm {
            scale,
            epsilon,
            data,
        },
    );
}

/// Group normalisation of samples x channels x `plane` values with `channels = scale.len()`; mean and variance are taken over the channels
/// of a group together. As many groups as channels make it instance normalisation.
///
/// # Panics
///
/// If the data is not a whole number of samples, `bias` has not the length of `scale`, or the channels are not a multiple of `groups`.
pub fn group_norm<'a>(
    isa: Isa,
    groups: usize,
    plane: usize,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
    data: impl Into<InOut<'a>>,
) {
    let data = data.into();
    let channels = scale.len();
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "{channels} channels in {groups} groups"
    );
    assert!(
        data.is_empty() || data.len().is_multiple_of(channels * plane),
        "not whole samples of {channels} x {plane}"
    );
    assert_eq!(bias.len(), channels, "a bias per channel");
    dispatch(
        isa,
        GroupNorm {
            per_group: channels / groups,
            plane,
            scale,
            bias,
            epsilon,
            data,
        },
    );
}

/// `y = fma(x, scale, bias)` with one pair per channel, over samples x channels x `plane` values: batch normalisation in inference.
///
/// # Panics
///
/// If the data is not a whole number of samples or `bias` has not the length of `scale`.
pub fn scale_shift_planes<'a>(
    isa: Isa,
    plane: usize,
    scale: &[f32],
    bias: &[f32],
    data: impl Into<InOut<'a>>,
) {
    let data = data.into();
    assert!(
        data.is_empty() || data.len().is_multiple_of(scale.len() * plane),
        "not whole samples of {} x {plane}",
        scale.len()
    );
    assert_eq!(bias.len(), scale.len(), "a bias per channel");
    dispatch(
        isa,
        ScaleShift {
            plane,
            scale,
            bias,
            data,
        },
    );
}

/// Mean and `1 / sqrt(variance + epsilon)` of a row.
#[inline(always)]
fn moments<S: Simd>(s: S, row: Part<'_>, epsilon: f32) -> (f32, f32) {
    let n = row.len();
    let mean = fold_lanes(s, Sum, n, &row) / n as f32;
    let squares = fold_lanes(s, SumSquaresFrom(s.splat(mean)), n, &row);
    (mean, 1.0 / (squares / n as f32 + epsilon).sqrt())
}

/// The values of `x` at `at ..`, as many as a vector has or as are left.
#[inline(always)]
fn load<S: Simd>(s: S, x: &[f32], at: usize) -> S::F {
    let rest = &x[at..];
    if rest.len() >= S::LANES {
        s.load(rest)
    } else {
        s.load_part(rest)
    }
}

struct LayerNorm<'a, 'b> {
    scale: &'b [f32],
    bias: Option<&'b [f32]>,
    epsilon: f32,
    data: InOut<'a>,
    moments: Option<[&'b mut [f32]; 2]>,
}

impl Kernel for LayerNorm<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let n = self.scale.len();
        for (i, start) in (0..self.data.len()).step_by(n.max(1)).enumerate() {
            let row = self.data.part(start, n);
            let (mean, r) = moments(s, row, self.epsilon);
            if let Some([means, rs]) = &mut self.moments {
                means[i] = mean;
                rs[i] = r;
            }
            let (mean, r) = (s.splat(mean), s.splat(r));
            let mut at = 0;
            while at < n {
                let normal = s.mul(s.sub(row.load(s, at), mean), r);
                let scale = load(s, self.scale, at);
                let y = match self.bias {
                    Some(bias) => s.fma(normal, scale, load(s, bias, at)),
                    None => s.mul(normal, scale),
                };
                row.store(s, y, at);
                at += S::LANES;
            }
        }
    }
}

struct RmsNorm<'a, 'b> {
    scale: &'b [f32],
    epsilon: f32,
    data: InOut<'a>,
}

impl Kernel for RmsNorm<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.scale.len();
        for start in (0..self.data.len()).step_by(n.max(1)) {
            let row = self.data.part(start, n);
            let squares = fold_lanes(s, SumSquares, n, &row) / n as f32;
            let r = s.splat(1.0 / (squares + self.epsilon).sqrt());
            let mut at = 0;
            while at < n {
                let y = s.mul(s.mul(row.load(s, at), r), load(s, self.scale, at));
                row.store(s, y, at);
                at += S::LANES;
            }
        }
    }
}

struct GroupNorm<'a, 'b> {
    per_group: usize,
    plane: usize,
    scale: &'b [f32],
    bias: &'b [f32],
    epsilon: f32,
    data: InOut<'a>,
}

impl Kernel for GroupNorm<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (plane, group) = (self.plane, self.per_group * self.plane);
        for (i, start) in (0..self.data.len()).step_by(group.max(1)).enumerate() {
            let (mean, r) = moments(s, self.data.part(start, group), self.epsilon);
            let (mean, r) = (s.splat(mean), s.splat(r));
            for c in 0..self.per_group {
                let channel = (i * self.per_group + c) % self.scale.len();
                let (scale, bias) = (s.splat(self.scale[channel]), s.splat(self.bias[channel]));
                let row = self.data.part(start + c * plane, plane);
                let mut at = 0;
                while at < plane {
                    let normal = s.mul(s.sub(row.load(s, at), mean), r);
                    row.store(s, s.fma(normal, scale, bias), at);
                    at += S::LANES;
                }
            }
        }
    }
}

struct ScaleShift<'a, 'b> {
    plane: usize,
    scale: &'b [f32],
    bias: &'b [f32],
    data: InOut<'a>,
}

impl Kernel for ScaleShift<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let plane = self.plane;
        for (i, start) in (0..self.data.len()).step_by(plane.max(1)).enumerate() {
            let channel = i % self.scale.len();
            let (scale, bias) = (s.splat(self.scale[channel]), s.splat(self.bias[channel]));
            let row = self.data.part(start, plane);
            let mut at = 0;
            while at < plane {
                row.store(s, s.fma(row.load(s, at), scale, bias), at);
                at += S::LANES;
            }
        }
    }
}
