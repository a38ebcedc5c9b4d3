//! Moving elements without looking at them: transposing, cutting, joining, repeating, padding.
//!
//! Everything here works on bytes, by the size of an element alone, and copies the longest contiguous runs that there are. The operators
//! that call it stand at the end of [`super::layout`].

use super::element::with_size;
use super::io::{Io, around, count, ensure};
use super::walk::{self, Nest, broadcast_strides, strides};
use super::{Dims, EvalError};
use unisono_tensor::{TensorMut, TensorRef};

/// The same bytes under another shape, or under the same.
pub(super) fn same_bytes(x: TensorRef<'_>, out: &mut TensorMut<'_>) -> Result<(), EvalError> {
    same_type(x, out)?;
    ensure(
        x.bytes().len() == out.len() * x.dtype().size(),
        "input and output should have equally many elements",
    )?;
    out.bytes_mut().copy_from_slice(x.bytes());
    Ok(())
}

pub(super) fn same_type(x: TensorRef<'_>, out: &TensorMut<'_>) -> Result<(), EvalError> {
    if x.dtype() == out.dtype() {
        Ok(())
    } else {
        Err(EvalError::Type {
            what: "an output that copies elements of another type",
            found: out.dtype(),
        })
    }
}

/// Copies along a nest over `shape`: `to` and `from` are strides of output and input, in elements, with their offsets.
pub(super) fn copy_strided(
    shape: &[usize],
    x: TensorRef<'_>,
    (from, from_base): (&[isize], isize),
    out: &mut TensorMut<'_>,
    (to, to_base): (&[isize], isize),
) -> Result<(), EvalError> {
    same_type(x, out)?;
    let nest = Nest::new(shape, [to, from], [to_base, from_base]);
    let dtype = x.dtype();
    with_size!(dtype, "a moved tensor", N => walk::copy::<N>(&nest, out.bytes_mut(), x.bytes()))
}

/// Output axis `i` is input axis `perm[i]`.
pub(super) fn transpose(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    perm: impl Fn(usize) -> usize,
) -> Result<(), EvalError> {
    let own = strides(x.shape());
    let shape = out.shape();
    ensure(
        shape.len() == own.len(),
        "the permutation should name every axis once",
    )?;
    let mut from: smallvec::SmallVec<[isize; 8]> = smallvec::SmallVec::new();
    for (i, &len) in shape.iter().enumerate() {
        let p = perm(i);
        ensure(
            x.shape().get(p) == Some(&len),
            "the permutation should name every axis once",
        )?;
        from.push(own[p]);
    }
    copy_strided(shape, x, (&from, 0), out, (&strides(shape), 0))
}

/// Repeats axes of length 1, and leading ones, to the output's shape.
pub(super) fn expand(x: TensorRef<'_>, out: &mut TensorMut<'_>) -> Result<(), EvalError> {
    let shape = out.shape();
    let from = broadcast_strides(x.shape(), shape)?;
    copy_strided(shape, x, (&from, 0), out, (&strides(shape), 0))
}

/// Element `i` of the output's axis `a` is element `starts[a] + i * steps[a]` of the input's.
pub(super) fn slice(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    starts: &[isize],
    steps: &[isize],
) -> Result<(), EvalError> {
    let shape = out.shape();
    ensure(
        shape.len() == x.rank() && starts.len() == x.rank() && steps.len() == x.rank(),
        "a slice keeps the rank",
    )?;
    let own = strides(x.shape());
    let mut base = 0isize;
    let mut from = own.clone();
    for a in 0..shape.len() {
        if shape[a] > 0 {
            // Where the slice ends on its own axis: a nest's check alone would let one axis run into the next.
            let last = (shape[a] as i128 - 1) * steps[a] as i128 + starts[a] as i128;
            let inside = |at: i128| (0..x.shape()[a] as i128).contains(&at);
            ensure(
                inside(last) && inside(starts[a] as i128),
                "a slice should stay inside of its axis",
            )?;
        }
        base = base.wrapping_add(starts[a].wrapping_mul(own[a]));
        from[a] = own[a].wrapping_mul(steps[a]);
    }
    copy_strided(shape, x, (&from, base), out, (&strides(shape), 0))
}

/// Copies `x` to where the output's axis `axis` is `from ..`.
fn place(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    axis: usize,
    from: usize,
) -> Result<(), EvalError> {
    same_type(x, out)?;
    let size = x.dtype().size();
    let [outer, total, inner] = around(out.shape(), axis);
    let [x_outer, len, x_inner] = around(x.shape(), axis);
    if x.is_empty() {
        return Ok(());
    }
    ensure(
        x_outer == outer && x_inner == inner && from + len <= total && size > 0,
        "joined tensors should agree on all other axes",
    )?;
    let (row, total_row, skip) = (
        len * inner * size,
        total * inner * size,
        from * inner * size,
    );
    let target = out.bytes_mut().chunks_exact_mut(total_row);
    for (to, row) in target.zip(x.bytes().chunks_exact(row)) {
        to[skip..skip + row.len()].copy_from_slice(row);
    }
    Ok(())
}

/// Joins all inputs along `axis`.
pub(super) fn concat(io: &mut Io<'_, '_>, axis: usize) -> Result<(), EvalError> {
    let inputs = io.inputs;
    let mut out = io.output(0)?;
    let mut from = 0;
    for x in inputs.iter().flatten() {
        place(*x, &mut out, axis, from)?;
        from += x.shape().get(axis).copied().unwrap_or(0);
    }
    ensure(
        out.is_empty() || out.shape().get(axis) == Some(&from),
        "the joined lengths should add up to the output's",
    )
}

/// Cuts the input along `axis` into the outputs' lengths.
pub(super) fn split(io: &mut Io<'_, '_>, axis: usize, lens: &[usize]) -> Result<(), EvalError> {
    let x = io.input(0)?;
    let size = x.dtype().size();
    let [outer, total, inner] = around(x.shape(), axis);
    let mut from = 0usize;
    for (i, &len) in lens.iter().enumerate() {
        let end = from.checked_add(len).filter(|&end| end <= total);
        let Some(end) = end else {
            return Err(EvalError::Shape {
                what: "the parts should add up to the length of the axis",
            });
        };
        if let Some(mut out) = io.wanted(i) {
            same_type(x, &out)?;
            if len > 0 && !x.is_empty() {
                ensure(
                    out.len() == outer * len * inner,
                    "a part's shape should fit its length",
                )?;
                let row = len * inner * size;
                let source = x.bytes().chunks_exact(total * inner * size);
                for (to, row_in) in out.bytes_mut().chunks_exact_mut(row).zip(source) {
                    to.copy_from_slice(&row_in[from * inner * size..end * inner * size]);
                }
            }
        }
        from = end;
    }
    Ok(())
}

/// Slice number `at` along `axis`, which the output does not have.
pub(crate) fn cut(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    axis: usize,
    at: usize,
) -> Result<(), EvalError> {
    same_type(x, out)?;
    let [outer, len, inner] = around(x.shape(), axis);
    let row = inner.wrapping_mul(x.dtype().size());
    ensure(
        at < len && out.len() == outer.wrapping_mul(inner),
        "a slice should have the other axes' lengths",
    )?;
    if row > 0 {
        for (o, to) in out.bytes_mut().chunks_exact_mut(row).enumerate() {
            let from = (o * len + at) * row;
            to.copy_from_slice(&x.bytes()[from..from + row]);
        }
    }
    Ok(())
}

/// Writes a slice without the axis `axis` of the output as its number `at` along it.
pub(crate) fn insert(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    axis: usize,
    at: usize,
) -> Result<(), EvalError> {
    same_type(x, out)?;
    let [outer, len, inner] = around(out.shape(), axis);
    let row = inner.wrapping_mul(x.dtype().size());
    ensure(
        at < len && x.len() == outer.wrapping_mul(inner),
        "a slice should have the other axes' lengths",
    )?;
    if row > 0 {
        let places = out.bytes_mut().chunks_exact_mut(row).skip(at).step_by(len);
        for (to, from) in places.zip(x.bytes().chunks_exact(row)) {
            to.copy_from_slice(from);
        }
    }
    Ok(())
}

/// Repeats the whole tensor `out[a] / x[a]` times along every axis.
pub(super) fn tile(x: TensorRef<'_>, out: &mut TensorMut<'_>) -> Result<(), EvalError> {
    let (small, large) = (x.shape(), out.shape());
    let rule = "the repeated shape should be a multiple of the input's";
    ensure(small.len() == large.len(), rule)?;
    if out.is_empty() {
        return Ok(());
    }
    // Every axis becomes two: repetitions, along which the input does not advance, and its own length.
    let (own, wide) = (strides(small), strides(large));
    let (mut shape, mut from, mut to) = (Dims::new(), own.clone(), own.clone());
    from.clear();
    to.clear();
    for a in 0..small.len() {
        ensure(small[a] > 0 && large[a].is_multiple_of(small[a]), rule)?;
        shape.extend([large[a] / small[a], small[a]]);
        from.extend([0, own[a]]);
        to.extend([wide[a].wrapping_mul(small[a] as isize), wide[a]]);
    }
    copy_strided(&shape, x, (&from, 0), out, (&to, 0))
}

/// How elements outside of the input come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside<'a> {
    /// These bytes, one element.
    Constant(&'a [u8]),
    /// Mirrored at the edge's middle: `2 1 | 0 1 2`.
    Reflect,
    /// The edge itself.
    Edge,
    /// From the other end.
    Wrap,
}

/// Grows (or, where negative, shrinks) every axis `a` by `before[a]` at its beginning; the output's shape says what comes behind.
pub(super) fn pad(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    before: &[i64],
    outside: Outside<'_>,
) -> Result<(), EvalError> {
    same_type(x, out)?;
    let (shape, target) = (x.shape(), out.shape());
    ensure(
        before.len() == shape.len() && target.len() == shape.len(),
        "padding keeps the rank",
    )?;
    if let Outside::Constant(value) = outside {
        fill(out, value)?;
        // The part of the input that is inside of the output, and where it begins in both.
        let (own, wide) = (strides(shape), strides(target));
        let (mut lens, mut from, mut to) = (Dims::new(), 0isize, 0isize);
        for a in 0..shape.len() {
            let first = before[a].max(0);
            let cut = before[a].saturating_neg().max(0);
            let left = (shape[a] as i64 - cut).min(target[a] as i64 - first);
            lens.push(usize::try_from(left).unwrap_or(0));
            from = from.wrapping_add(own[a].wrapping_mul(cut as isize));
            to = to.wrapping_add(wide[a].wrapping_mul(first as isize));
        }
        return copy_strided(&lens, x, (&own, from), out, (&wide, to));
    }
    if out.is_empty() {
        return Ok(());
    }
    ensure(!x.is_empty(), "nothing can be padded by its own elements")?;
    let dtype = x.dtype();
    with_size!(dtype, "a padded tensor", N => {
        let (src, _) = x.bytes().as_chunks::<N>();
        let (dst, _) = out.bytes_mut().as_chunks_mut::<N>();
        pad_from_itself(src, shape, dst, target, before, outside)
    })
}

fn pad_from_itself<T: Copy>(
    src: &[T],
    shape: &[usize],
    dst: &mut [T],
    target: &[usize],
    before: &[i64],
    outside: Outside<'_>,
) -> Result<(), EvalError> {
    let source = |axis: usize, i: usize| {
        let at = (i as i64).saturating_sub(before[axis]);
        reflect(at, shape[axis], outside)
    };
    let Some(last) = shape.len().checked_sub(1) else {
        dst.copy_from_slice(src);
        return Ok(());
    };
    let row_len = shape[last];
    for (r, row) in dst.chunks_exact_mut(target[last]).enumerate() {
        // Which row of the input this one is made of.
        let (mut rest, mut from, mut step) = (r, 0, row_len);
        for a in (0..last).rev() {
            from += source(a, rest % target[a]) * step;
            rest /= target[a];
            step *= shape[a];
        }
        for (i, slot) in row.iter_mut().enumerate() {
            *slot = src[from + source(last, i)];
        }
    }
    Ok(())
}

/// The position within an axis of length `len > 0` that stands for `at`, which may lie outside.
fn reflect(at: i64, len: usize, outside: Outside<'_>) -> usize {
    let n = len as i64;
    let inside = match outside {
        Outside::Edge | Outside::Constant(_) => at.clamp(0, n - 1),
        Outside::Wrap => at.rem_euclid(n),
        Outside::Reflect if n == 1 => 0,
        Outside::Reflect => {
            let period = 2 * (n - 1);
            let within = at.rem_euclid(period);
            within.min(period - within)
        }
    };
    inside as usize
}

/// Fills a tensor with one element, given as its bytes.
pub(super) fn fill(out: &mut TensorMut<'_>, value: &[u8]) -> Result<(), EvalError> {
    let size = out.dtype().size();
    if size == 0 || value.len() != size {
        return Err(EvalError::Type {
            what: "a filled tensor",
            found: out.dtype(),
        });
    }
    if value.iter().all(|&b| b == value[0]) {
        out.bytes_mut().fill(value[0]);
        return Ok(());
    }
    for slot in out.bytes_mut().chunks_exact_mut(size) {
        slot.copy_from_slice(value);
    }
    Ok(())
}

/// Blocks of channels to blocks of space. `depth_last` is ONNX's `DCR` (channels count block rows, block columns, depth), else `CRD`.
pub(super) fn depth_to_space(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    block: usize,
    depth_last: bool,
) -> Result<(), EvalError> {
    let (&[n, c, h, w], &[_, oc, _, _]) = (x.shape(), out.shape()) else {
        return Err(EvalError::Shape {
            what: "a block rearrangement needs four axes",
        });
    };
    ensure(
        block > 0 && c == oc * block * block && out.len() == x.len(),
        "the channels should be a multiple of the block's area",
    )?;
    let (b, plane) = (block as isize, (h * w) as isize);
    let (by, bx, channel) = if depth_last {
        (b * oc as isize * plane, oc as isize * plane, plane)
    } else {
        (b * plane, plane, b * b * plane)
    };
    // Output order: n, oc, y, block row, x, block column.
    let shape = [n, oc, h, block, w, block];
    let from = [c as isize * plane, channel, w as isize, by, 1, bx];
    copy_strided(&shape, x, (&from, 0), out, (&strides(&shape), 0))
}

/// Blocks of space to blocks of channels: the reverse of [`depth_to_space`].
pub(super) fn space_to_depth(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    block: usize,
    depth_last: bool,
) -> Result<(), EvalError> {
    let (&[n, c, h, w], &[_, _, oh, ow]) = (x.shape(), out.shape()) else {
        return Err(EvalError::Shape {
            what: "a block rearrangement needs four axes",
        });
    };
    ensure(
        block > 0 && h == oh * block && w == ow * block && out.len() == x.len(),
        "height and width should be multiples of the block",
    )?;
    let (width, b) = (w as isize, block as isize);
    let (sample, plane) = (c as isize * h as isize * width, h as isize * width);
    if depth_last {
        // Output order: n, block row, block column, c, y, x.
        let shape = [n, block, block, c, oh, ow];
        let from = [sample, width, 1, plane, b * width, b];
        return copy_strided(&shape, x, (&from, 0), out, (&strides(&shape), 0));
    }
    let shape = [n, c, block, block, oh, ow];
    let from = [sample, plane, width, 1, b * width, b];
    copy_strided(&shape, x, (&from, 0), out, (&strides(&shape), 0))
}

/// Zeroes what is below (`upper`) or above the diagonal that is `k` above the main one, in every matrix of the last two axes.
pub(super) fn triangle(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    upper: bool,
    k: i64,
) -> Result<(), EvalError> {
    same_bytes(x, out)?;
    let &[.., rows, cols] = out.shape() else {
        return Err(EvalError::Shape {
            what: "a triangle needs two axes",
        });
    };
    if out.is_empty() {
        return Ok(());
    }
    let size = out.dtype().size();
    for (r, row) in out.bytes_mut().chunks_exact_mut(cols * size).enumerate() {
        // The first column on the diagonal's right side (upper), or right behind the diagonal (lower).
        let edge = k
            .saturating_add((r % rows) as i64)
            .saturating_add(i64::from(!upper));
        let edge = edge.clamp(0, cols as i64) as usize * size;
        if upper {
            row[..edge].fill(0);
        } else {
            row[edge..].fill(0);
        }
    }
    Ok(())
}

/// Reverses, for every batch entry, the first `lens(b)` steps of the time axis. Both axes are among the first two.
pub(super) fn reverse_sequence(
    x: TensorRef<'_>,
    out: &mut TensorMut<'_>,
    [time_axis, batch_axis]: [usize; 2],
    lens: impl Fn(usize) -> i64,
) -> Result<(), EvalError> {
    same_bytes(x, out)?;
    let shape = x.shape();
    ensure(
        time_axis < 2 && batch_axis < 2 && time_axis != batch_axis && shape.len() >= 2,
        "time and batch should be the first two axes",
    )?;
    let (times, batch) = (shape[time_axis], shape[batch_axis]);
    let row = count(&shape[2..]) * x.dtype().size();
    if x.is_empty() {
        return Ok(());
    }
    let at = |t: usize, b: usize| {
        let (first, second) = if time_axis == 0 { (t, b) } else { (b, t) };
        (first * shape[1] + second) * row
    };
    let bytes = out.bytes_mut();
    for b in 0..batch {
        let len = lens(b);
        let len = usize::try_from(len)
            .ok()
            .filter(|&l| l <= times)
            .ok_or(EvalError::Value {
                what: "a sequence's length should be between 0 and the length of the time axis",
                found: len,
            })?;
        for t in 0..len {
            let (to, from) = (at(t, b), at(len - 1 - t, b));
            bytes[to..to + row].copy_from_slice(&x.bytes()[from..from + row]);
        }
    }
    Ok(())
}
