//! Operators whose outputs' lengths depend on data and that sort or search: `Unique` and `NonMaxSuppression`.
//!
//! Both need scratch memory for an order of their candidates; nothing in the outputs could hold it.

use super::EvalError;
use super::element::{Number, Wide, with_number};
use super::io::{Io, around, axis, concrete, ensure, int};
use super::movement::same_type;
use std::cmp::Ordering;
use unisono_graph::Operator;
use unisono_graph::ops::indexing::{NonMaxSuppression, Unique};
use unisono_tensor::{DType, TensorRef};

/// Equal elements or slices of a tensor.
struct Classes {
    /// Of each class, the first member and how many there are; in the order of the output.
    classes: Vec<(usize, usize)>,
    /// The class of every element.
    class_of: Vec<usize>,
}

/// NaN comes after everything and equals itself, so that one of them stays.
fn compare<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| {
        let is_nan = |x: &T| x.partial_cmp(x).is_none();
        is_nan(a).cmp(&is_nan(b))
    })
}

/// Elements are slices of the tensor seen as outer x n x inner.
fn classes(op: Unique, x: TensorRef<'_>) -> Result<(Classes, [usize; 3]), EvalError> {
    let around = match op.axis {
        Some(a) => around(x.shape(), axis(a, x.rank())?),
        None => [1, x.len(), 1],
    };
    if x.dtype() == DType::Bool {
        return Ok((classify(x.as_slice::<u8>()?, around, op.sorted), around));
    }
    with_number!(x.dtype(), "a searched tensor", T => {
        Ok((classify(x.as_slice::<T>()?, around, op.sorted), around))
    })
}

fn classify<T: PartialOrd>(x: &[T], [outer, n, inner]: [usize; 3], sorted: bool) -> Classes {
    let order = |a: usize, b: usize| {
        (0..outer)
            .flat_map(|o| (0..inner).map(move |i| (o, i)))
            .map(|(o, i)| compare(&x[(o * n + a) * inner + i], &x[(o * n + b) * inner + i]))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    let mut ranked: Vec<usize> = (0..n).collect();
    // Stable: equal elements stay in their order, so the first of a class comes first.
    ranked.sort_by(|&a, &b| order(a, b));
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut class_of = vec![0; n];
    let mut previous = None;
    for i in ranked {
        match (previous, found.last_mut()) {
            (Some(p), Some(class)) if order(p, i).is_eq() => class.1 += 1,
            _ => found.push((i, 1)),
        }
        class_of[i] = found.len() - 1;
        previous = Some(i);
    }
    if sorted {
        return Classes {
            classes: found,
            class_of,
        };
    }
    let mut by_first: Vec<usize> = (0..found.len()).collect();
    by_first.sort_by_key(|&c| found[c].0);
    let mut renamed = vec![0; found.len()];
    for (new, &old) in by_first.iter().enumerate() {
        renamed[old] = new;
    }
    Classes {
        classes: by_first.iter().map(|&c| found[c]).collect(),
        class_of: class_of.iter().map(|&c| renamed[c]).collect(),
    }
}

/// How many different elements there are, and of how many the input consists.
pub(super) fn unique_count(
    op: &dyn Operator,
    x: TensorRef<'_>,
) -> Result<(usize, usize), EvalError> {
    let (found, [_, n, _]) = classes(*concrete::<Unique>(op)?, x)?;
    Ok((found.classes.len(), n))
}

pub(super) fn unique(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let x = io.input(0)?;
    let (found, [outer, n, inner]) = classes(*concrete::<Unique>(op)?, x)?;
    let m = found.classes.len();
    if let Some(mut out) = io.wanted(0) {
        same_type(x, &out)?;
        let row = inner * x.dtype().size();
        ensure(
            out.len() == outer * m * inner,
            "there should be room for every different element",
        )?;
        if row > 0 {
            for (k, to) in out.bytes_mut().chunks_exact_mut(row).enumerate() {
                let from = (k / m * n + found.classes[k % m].0) * row;
                to.copy_from_slice(&x.bytes()[from..from + row]);
            }
        }
    }
    let mut list = |index: usize, values: &mut dyn ExactSizeIterator<Item = usize>| {
        let Some(mut out) = io.wanted(index) else {
            return Ok(());
        };
        let out = out.as_slice_mut::<i64>()?;
        ensure(
            out.len() == values.len(),
            "lists about different elements should have their length",
        )?;
        for (slot, value) in out.iter_mut().zip(values) {
            *slot = value as i64;
        }
        Ok(())
    };
    list(1, &mut found.classes.iter().map(|c| c.0))?;
    list(2, &mut found.class_of.iter().copied())?;
    list(3, &mut found.classes.iter().map(|c| c.1))
}

/// Corners in rising order and area of a box.
fn corners<R: Wide>(b: &[R], center: bool, half: R) -> [R; 4] {
    if center {
        let (x, y, w, h) = (b[0], b[1], b[2].mul(half), b[3].mul(half));
        [y.sub(h), x.sub(w), y.add(h), x.add(w)]
    } else {
        [
            b[0].min(b[2]),
            b[1].min(b[3]),
            b[0].max(b[2]),
            b[1].max(b[3]),
        ]
    }
}

/// The area of the intersection over that of the union; 0 where one of the boxes has no area.
fn overlap<R: Wide>(a: [R; 4], b: [R; 4]) -> R {
    let area = |c: [R; 4]| c[2].sub(c[0]).mul(c[3].sub(c[1]));
    let (area_a, area_b) = (area(a), area(b));
    let height = a[2].min(b[2]).sub(a[0].max(b[0]));
    let width = a[3].min(b[3]).sub(a[1].max(b[1]));
    if !(area_a > R::ZERO && area_b > R::ZERO && height > R::ZERO && width > R::ZERO) {
        return R::ZERO;
    }
    let shared = height.mul(width);
    shared
        .div(area_a.add(area_b).sub(shared))
        .unwrap_or(R::ZERO)
}

/// Calls `pick(image, class, box)` for every picked box, in the order of the output.
fn suppress<T: Number>(
    op: NonMaxSuppression,
    inputs: &Io<'_, '_>,
    half: T::Wide,
    mut pick: impl FnMut([usize; 3]),
) -> Result<(), EvalError> {
    let (boxes, scores) = (inputs.input(0)?, inputs.input(1)?);
    let rule = "boxes should be [images, n, 4] and scores [images, classes, n]";
    let (&[images, n, 4], &[score_images, classes, score_n]) = (boxes.shape(), scores.shape())
    else {
        return Err(EvalError::Shape { what: rule });
    };
    ensure(images == score_images && n == score_n, rule)?;
    let most = inputs.optional(2).map(int).transpose()?.unwrap_or(0);
    let threshold = |i: usize| match inputs.optional(i) {
        None => Ok(None),
        Some(t) => Ok::<_, EvalError>(t.as_slice::<T>()?.first().map(|t| t.load())),
    };
    let (iou, least) = (threshold(3)?.unwrap_or(T::Wide::ZERO), threshold(4)?);
    let most = usize::try_from(most).unwrap_or(0);
    let (boxes, scores) = (boxes.as_slice::<T>()?, scores.as_slice::<T>()?);
    let wide = |i: usize| -> [T::Wide; 4] { std::array::from_fn(|k| boxes[i * 4 + k].load()) };
    let mut order: Vec<usize> = Vec::new();
    let mut picked: Vec<[T::Wide; 4]> = Vec::new();
    for image in 0..images {
        for class in 0..classes {
            let score = |b: usize| scores[(image * classes + class) * n + b].load();
            order.clear();
            order.extend((0..n).filter(|&b| least.is_none_or(|least| score(b) > least)));
            // Stable: of equal scores the first box wins. NaN loses against everything.
            order.sort_by(|&a, &b| match score(b).partial_cmp(&score(a)) {
                Some(order) => order,
                None => {
                    let is_nan = |s: T::Wide| s.partial_cmp(&s).is_none();
                    is_nan(score(a)).cmp(&is_nan(score(b)))
                }
            });
            picked.clear();
            for &b in &order {
                if picked.len() == most {
                    break;
                }
                let candidate = corners(&wide(image * n + b), op.center_point_box, half);
                let covered = picked.iter().any(|&other| overlap(candidate, other) > iou);
                if !covered {
                    picked.push(candidate);
                    pick([image, class, b]);
                }
            }
        }
    }
    Ok(())
}

/// How many boxes are picked.
pub(super) fn picked_count(op: &dyn Operator, io: &Io<'_, '_>) -> Result<usize, EvalError> {
    let op = *concrete::<NonMaxSuppression>(op)?;
    let mut count = 0;
    each_picked(op, io, |_| count += 1)?;
    Ok(count)
}

fn each_picked(
    op: NonMaxSuppression,
    io: &Io<'_, '_>,
    pick: impl FnMut([usize; 3]),
) -> Result<(), EvalError> {
    match io.input(0)?.dtype() {
        DType::F64 => suppress::<f64>(op, io, 0.5, pick),
        _ => suppress::<f32>(op, io, 0.5, pick),
    }
}

pub(super) fn non_max_suppression(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = *concrete::<NonMaxSuppression>(op)?;
    let mut found: Vec<i64> = Vec::new();
    each_picked(op, &io, |at| found.extend(at.map(|i| i as i64)))?;
    let mut out = io.output(0)?;
    super::walk::map1(&found, out.as_slice_mut::<i64>()?, |i| i)
}
