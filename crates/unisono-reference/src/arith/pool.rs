//! Pooling: one reduction per window, in the order of [`Order::Slices`].
//!
//! The window's elements count in row-major order, those in the padding included: they add nothing, but keep their place, so that the
//! cuts between slices do not depend on the position.

use super::reduce::{Order, sum};
use super::{Real, max};

/// The geometry of a pooling over up to three spatial axes; missing leading ones are neutral as in
/// [`ConvShape`](super::ConvShape).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Samples times channels.
    pub planes: usize,
    /// The input's spatial size.
    pub input: [usize; 3],
    /// The output's spatial size.
    pub output: [usize; 3],
    /// The window's spatial size.
    pub kernel: [usize; 3],
    /// Strides.
    pub strides: [usize; 3],
    /// Dilations.
    pub dilations: [usize; 3],
    /// Padding before the first element.
    pub pads: [usize; 3],
    /// Padding after the last element.
    pub pads_end: [usize; 3],
}

impl PoolShape {
    /// The window of output position `o`: for each tap in row-major order whether it lies within input or padding, and if it is in the
    /// input its index within the plane.
    fn taps(&self, o: usize) -> impl Fn(usize) -> (bool, Option<usize>) + use<> {
        let shape = *self;
        let o = unravel(o, shape.output);
        move |tap| {
            let tap = unravel(tap, shape.kernel);
            let mut index = Some(0);
            let mut counted = true;
            for axis in 0..3 {
                let at = o[axis] * shape.strides[axis] + tap[axis] * shape.dilations[axis];
                counted &= at < shape.pads[axis] + shape.input[axis] + shape.pads_end[axis];
                index = match (index, at.checked_sub(shape.pads[axis])) {
                    (Some(i), Some(at)) if at < shape.input[axis] => {
                        Some(i * shape.input[axis] + at)
                    }
                    _ => None,
                };
            }
            (counted, index)
        }
    }

    fn window(&self) -> usize {
        self.kernel.iter().product()
    }

    fn each_output<R>(&self, x: &[R], y_len: usize, mut visit: impl FnMut(usize, usize, &[R])) {
        let plane: usize = self.input.iter().product();
        let outputs: usize = self.output.iter().product();
        assert_eq!(x.len(), self.planes * plane, "input");
        assert_eq!(y_len, self.planes * outputs, "output");
        for p in 0..self.planes {
            for o in 0..outputs {
                visit(p * outputs + o, o, &x[p * plane..(p + 1) * plane]);
            }
        }
    }
}

fn unravel(i: usize, size: [usize; 3]) -> [usize; 3] {
    [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]]
}

/// Average pooling: the sum of the window's elements divided by their count. With `count_padding` the count includes the padding, but
/// never what a rounded-up output size reaches beyond it. A window without elements gives NaN.
///
/// # Panics
///
/// If a slice has not the length that the shape asks for.
pub fn average_pool<R: Real>(shape: &PoolShape, count_padding: bool, x: &[R], y: &mut [R]) {
    shape.each_output(x, y.len(), |out, o, plane| {
        let tap = shape.taps(o);
        let total = sum(Order::Slices, shape.window(), |t| {
            tap(t).1.map_or(R::ZERO, |i| plane[i])
        });
        let count = (0..shape.window())
            .filter(|&t| match tap(t) {
                (counted, _) if count_padding => counted,
                (_, index) => index.is_some(),
            })
            .count();
        y[out] = total / R::from_count(count);
    });
}

/// Max pooling: the greatest element of the window by [`max`], -infinity if it has none. `indices`, if wanted, receives the position
/// within the plane of the first greatest element (of the first NaN if there is one; 0 for an empty window).
///
/// # Panics
///
/// If a slice has not the length that the shape asks for.
pub fn max_pool<R: Real>(
    shape: &PoolShape,
    x: &[R],
    y: &mut [R],
    mut indices: Option<&mut [usize]>,
) {
    shape.each_output(x, y.len(), |out, o, plane| {
        let tap = shape.taps(o);
        let mut best: Option<(R, usize)> = None;
        for i in (0..shape.window()).filter_map(|t| tap(t).1) {
            let v = plane[i];
            best = match best {
                None => Some((v, i)),
                Some((m, at)) => {
                    let at = if v > m || (v.is_nan() && !m.is_nan()) {
                        i
                    } else {
                        at
                    };
                    Some((max(m, v), at))
                }
            };
        }
        let (value, at) = best.unwrap_or((-R::INFINITY, 0));
        y[out] = value;
        if let Some(indices) = indices.as_deref_mut() {
            indices[out] = at;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        pads: [usize; 2],
    ) -> PoolShape {
        PoolShape {
            planes: 1,
            input: [1, 1, input],
            output: [1, 1, output],
            kernel: [1, 1, kernel],
            strides: [1, 1, stride],
            dilations: [1; 3],
            pads: [0, 0, pads[0]],
            pads_end: [0, 0, pads[1]],
        }
    }

    #[test]
    fn the_count_follows_the_padding_rule() {
        let x = [1.0f32, 2.0, 3.0, 4.0];
        // Five padded elements and a stride of 2 with the size rounded up: the last window reaches beyond the padding.
        let shape = line(4, 3, 2, 2, [1, 0]);
        let mut y = [0.0; 3];
        average_pool(&shape, false, &x, &mut y);
        assert_eq!(y, [1.0, 2.5, 4.0]);
        average_pool(&shape, true, &x, &mut y);
        assert_eq!(y, [0.5, 2.5, 4.0]);
    }

    #[test]
    fn max_pool_reports_the_first_greatest_and_keeps_nan() {
        let x = [2.0f32, 2.0, f32::NAN, 1.0, -1.0, -1.0];
        let (mut y, mut at) = ([0.0; 3], [9; 3]);
        max_pool(&line(6, 3, 2, 2, [0, 0]), &x, &mut y, Some(&mut at));
        assert_eq!(y[0], 2.0);
        assert!(y[1].is_nan());
        assert_eq!(y[2], -1.0);
        assert_eq!(at, [0, 2, 4]);
        let shape = PoolShape {
            planes: 2,
            input: [1, 2, 3],
            output: [1, 1, 2],
            kernel: [1, 2, 2],
            ..line(0, 0, 0, 1, [0, 0])
        };
        let x: Vec<f32> = [5, 1, 2, 3, 4, 9, 0, 7, 0, 0, 0, 8]
            .map(|v| v as f32)
            .to_vec();
        let (mut y, mut at) = ([0.0; 4], [0; 4]);
        max_pool(&shape, &x, &mut y, Some(&mut at));
        assert_eq!(y, [5.0, 9.0, 7.0, 8.0]);
        assert_eq!(at, [0, 5, 1, 5]);
        average_pool(&shape, false, &x, &mut y);
        assert_eq!(y, [13.0 / 4.0, 4.0, 7.0 / 4.0, 15.0 / 4.0]);
    }
}
