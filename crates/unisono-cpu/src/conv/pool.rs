//! Pooling on planes (samples times channels), in the canonical order.
//!
//! One idea: an output row is swept once for every tap of the window, in the window's row-major order, so lanes lie across outputs and
//! each output is one chain. Taps in the padding add nothing, and nothing is what leaving them out adds: a chain starts at +0 and so is
//! never -0. A window of more than one slice is left to the reference, which is slow and right.

use std::ops::Range;

use unisono_reference::arith::{self, PoolShape};

use super::part;
use crate::gemm::{Cores, SLICE};
use crate::memory::SharedMut;
use crate::simd::Isa;

/// Planes that a global pooling sums side by side.
const SIDE_BY_SIDE: usize = 8;

/// Max pooling: the greatest of each window, NaN if it holds one, +0 above -0; -infinity of an empty window.
///
/// # Panics
/// If a slice has not the length that the shape asks for.
pub fn max_pool(cores: Cores<'_>, shape: &PoolShape, x: &[f32], y: &mut [f32]) {
    each_plane(cores, shape, x, y, |x, y| {
        y.fill(f32::NEG_INFINITY);
        sweep(cores.isa, shape, x, y, Fold::Max);
    });
}

/// Average pooling: the sum of each window divided by the count of its elements, with `count_padding` including those in the padding.
///
/// # Panics
/// If a slice has not the length that the shape asks for.
pub fn average_pool(
    cores: Cores<'_>,
    shape: &PoolShape,
    count_padding: bool,
    x: &[f32],
    y: &mut [f32],
) {
    let one = PoolShape {
        planes: 1,
        ..*shape
    };
    let slow = shape.kernel.iter().product::<usize>() > SLICE;
    each_plane(cores, shape, x, y, |x, y| {
        if slow {
            arith::average_pool(&one, count_padding, x, y);
            return;
        }
        y.fill(0.0);
        sweep(cores.isa, shape, x, y, Fold::Sum);
        let counted = |axis: usize, o: usize| {
            let pad = shape.pads[axis];
            let (low, high) = if count_padding {
                (0, pad + shape.input[axis] + shape.pads_end[axis])
            } else {
                (pad, pad + shape.input[axis])
            };
            let first = o * shape.strides[axis];
            (0..shape.kernel[axis])
                .map(|tap| first + tap * shape.dilations[axis])
                .filter(|at| (low..high).contains(at))
                .count()
        };
        let [depth, rows, cols] = shape.output;
        let mut y = y.iter_mut();
        for z in 0..depth {
            for row in 0..rows {
                let beside = counted(0, z) * counted(1, row);
                for (col, sum) in y.by_ref().take(cols).enumerate() {
                    *sum /= (beside * counted(2, col)) as f32;
                }
            }
        }
    });
}

/// The greatest element of each of `planes` planes, see [`max_pool`].
///
/// # Panics
/// If `x` cannot be cut into as many planes as `y` has elements.
pub fn global_max_pool(cores: Cores<'_>, x: &[f32], y: &mut [f32]) {
    let plane = global_plane(x, y);
    global(cores, x, y, plane, |x, y| {
        for (y, x) in y.iter_mut().zip(x.chunks_exact(plane)) {
            *y = x.iter().fold(f32::NEG_INFINITY, |m, &v| greater(m, v));
        }
    });
}

/// The mean of each of `planes` planes.
///
/// # Panics
/// If `x` cannot be cut into as many planes as `y` has elements.
pub fn global_average_pool(cores: Cores<'_>, x: &[f32], y: &mut [f32]) {
    let plane = global_plane(x, y);
    global(cores, x, y, plane, |x, y| {
        let sets = x
            .chunks(SIDE_BY_SIDE * plane)
            .zip(y.chunks_mut(SIDE_BY_SIDE));
        for (x, y) in sets {
            // A set that is not full repeats its last plane; the copies' sums are dropped.
            let planes: [&[f32]; SIDE_BY_SIDE] = std::array::from_fn(|i| {
                let i = i.min(y.len() - 1);
                &x[i * plane..(i + 1) * plane]
            });
            let mut totals = [0.0_f32; SIDE_BY_SIDE];
            for start in (0..plane).step_by(SLICE) {
                let slice = start..plane.min(start + SLICE);
                let slices = planes.map(|p| &p[slice.clone()]);
                let mut sums = [0.0_f32; SIDE_BY_SIDE];
                for i in 0..slice.len() {
                    for (sum, slice) in sums.iter_mut().zip(&slices) {
                        *sum += slice[i];
                    }
                }
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total += sum;
                }
            }
            for (y, total) in y.iter_mut().zip(totals) {
                *y = total / plane as f32;
            }
        }
    });
}

/// Elements of a plane of `x`, of which there are as many as elements of `y`.
fn global_plane(x: &[f32], y: &[f32]) -> usize {
    let plane = x.len() / y.len().max(1);
    assert_eq!(x.len(), plane * y.len(), "input");
    assert!(plane > 0 || y.is_empty(), "planes must not be empty");
    plane
}

fn global(
    cores: Cores<'_>,
    x: &[f32],
    y: &mut [f32],
    plane: usize,
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    let planes = y.len();
    tiles(cores, planes, x.len() as u64 / 2, y, 1, |range, y| {
        work(&x[range.start * plane..range.end * plane], y);
    });
}

fn each_plane(
    cores: Cores<'_>,
    shape: &PoolShape,
    x: &[f32],
    y: &mut [f32],
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    cores.check();
    let input: usize = shape.input.iter().product();
    let output: usize = shape.output.iter().product();
    assert_eq!(x.len(), shape.planes * input, "input");
    assert_eq!(y.len(), shape.planes * output, "output");
    if y.is_empty() {
        return;
    }
    let window: usize = shape.kernel.iter().product();
    let ns = (y.len() as u64).saturating_mul(window as u64) / 2;
    tiles(cores, shape.planes, ns, y, output, |planes, y| {
        for (plane, y) in planes.zip(y.chunks_exact_mut(output)) {
            work(&x[plane * input..(plane + 1) * input], y);
        }
    });
}

/// Shares `planes` planes of `output` elements each between the threads.
fn tiles(
    cores: Cores<'_>,
    planes: usize,
    estimated_ns: u64,
    y: &mut [f32],
    output: usize,
    work: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let wanted = (estimated_ns / 8_000).clamp(1, 4 * cores.team.threads() as u64) as usize;
    let tiles = wanted.min(planes);
    let y = SharedMut::new(y);
    cores.team.run(tiles, estimated_ns, |tile, _| {
        let range = part(tile, planes, tiles);
        // SAFETY: the tiles' ranges of planes are disjoint and lie in the output.
        let y = unsafe {
            std::slice::from_raw_parts_mut(y.ptr().add(range.start * output), range.len() * output)
        };
        work(range, y);
    });
}

#[derive(Clone, Copy)]
enum Fold {
    Max,
    Sum,
}

/// The canonical maximum, without branches.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    // Equal numbers have equal bits, except zeros: of these, +0 unless both are -0. A NaN in b is not below a.
    let equal = f32::from_bits(a.to_bits() & b.to_bits());
    let other = if a > b || a.is_nan() { a } else { b };
    if a == b { equal } else { other }
}

/// Folds every tap of a plane into the outputs.
fn sweep(isa: Isa, shape: &PoolShape, x: &[f32], y: &mut [f32], fold: Fold) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available, `each_plane` checked it.
        Isa::Avx512 => unsafe { sweep_avx512(shape, x, y, fold) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { sweep_avx2(shape, x, y, fold) },
        _ => sweep_any(shape, x, y, fold),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn sweep_avx512(shape: &PoolShape, x: &[f32], y: &mut [f32], fold: Fold) {
    sweep_any(shape, x, y, fold);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn sweep_avx2(shape: &PoolShape, x: &[f32], y: &mut [f32], fold: Fold) {
    sweep_any(shape, x, y, fold);
}

#[inline(always)]
fn sweep_any(shape: &PoolShape, x: &[f32], y: &mut [f32], fold: Fold) {
    match fold {
        Fold::Max => sweep_with(shape, x, y, greater),
        Fold::Sum => sweep_with(shape, x, y, |a, b| a + b),
    }
}

#[inline(always)]
fn sweep_with(shape: &PoolShape, x: &[f32], y: &mut [f32], fold: impl Fn(f32, f32) -> f32 + Copy) {
    let [_, h, w] = shape.input;
    let [_, rows, cols] = shape.output;
    let stride = shape.strides[2];
    // Where along an axis a tap of an output reads, if it does.
    let source = |axis: usize, o: usize, tap: usize| {
        (o * shape.strides[axis] + tap * shape.dilations[axis])
            .checked_sub(shape.pads[axis])
            .filter(|&at| at < shape.input[axis])
    };
    for (index, y) in y.chunks_exact_mut(cols).enumerate() {
        let (z, row) = (index / rows, index % rows);
        for kz in 0..shape.kernel[0] {
            let Some(from_z) = source(0, z, kz) else {
                continue;
            };
            for ky in 0..shape.kernel[1] {
                let Some(from_y) = source(1, row, ky) else {
                    continue;
                };
                let line = &x[(from_z * h + from_y) * w..][..w];
                for kx in 0..shape.kernel[2] {
                    let ahead = kx * shape.dilations[2];
                    let low = shape.pads[2]
                        .saturating_sub(ahead)
                        .div_ceil(stride)
                        .min(cols);
                    let high = (w + shape.pads[2])
                        .saturating_sub(ahead)
                        .div_ceil(stride)
                        .clamp(low, cols);
                    if low == high {
                        continue;
                    }
                    let values = &line[low * stride + ahead - shape.pads[2]..];
                    let y = &mut y[low..high];
                    match stride {
                        1 => y
                            .iter_mut()
                            .zip(values)
                            .for_each(|(y, &v)| *y = fold(*y, v)),
                        2 => {
                            // The last pair may lack its second half.
                            let pairs = values.as_chunks::<2>().0;
                            let (most, last) = y.split_at_mut(pairs.len().min(y.len()));
                            most.iter_mut()
                                .zip(pairs)
                                .for_each(|(y, pair)| *y = fold(*y, pair[0]));
                            if let (Some(y), Some(&v)) = (last.first_mut(), values.last()) {
                                *y = fold(*y, v);
                            }
                        }
                        _ => y
                            .iter_mut()
                            .zip(values.iter().step_by(stride))
                            .for_each(|(y, &v)| *y = fold(*y, v)),
                    }
                }
            }
        }
    }
}
