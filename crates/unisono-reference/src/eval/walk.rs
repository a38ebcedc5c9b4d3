//! Walking several tensors at once, each by its own strides: broadcasting, transposing, slicing and padding are all this.
//!
//! The one idea: a loop nest is a list of lengths and, for each operand, a base offset and a stride per axis. Axes along which all operands
//! advance as one are merged first, so that the innermost loop, a *run*, is as long as it can be. Before anything is read, the nest is
//! checked against the operands' lengths: a walk never leaves them.

use super::EvalError;
use smallvec::SmallVec;

/// One axis of a nest.
#[derive(Clone, Copy, Debug)]
struct Axis<const N: usize> {
    len: usize,
    strides: [isize; N],
}

/// A loop nest over `N` operands. Up to eight axes it lives on the stack.
#[derive(Clone, Debug)]
pub(super) struct Nest<const N: usize> {
    /// Outermost first. None of length 1, unless it is the only one.
    axes: SmallVec<[Axis<N>; 8]>,
    bases: [isize; N],
    empty: bool,
}

/// Row-major strides of a shape, in elements.
pub(super) fn strides(shape: &[usize]) -> SmallVec<[isize; 8]> {
    let mut out: SmallVec<[isize; 8]> = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for (s, &len) in out.iter_mut().zip(shape).rev() {
        *s = step;
        // A tensor's size never overflows, except beside an axis of length zero, where no stride is ever used.
        step = step.wrapping_mul(len as isize);
    }
    out
}

/// Strides with which a tensor of `shape` is read under a broadcast `target` shape (NumPy's rule: right-aligned, length 1 repeats).
pub(super) fn broadcast_strides(
    shape: &[usize],
    target: &[usize],
) -> Result<SmallVec<[isize; 8]>, EvalError> {
    let misfit = EvalError::Shape {
        what: "an input's shape does not broadcast to the output's",
    };
    let lead = target
        .len()
        .checked_sub(shape.len())
        .ok_or(misfit.clone())?;
    let own = strides(shape);
    let mut out: SmallVec<[isize; 8]> = SmallVec::from_elem(0, target.len());
    for (i, (&len, &stride)) in shape.iter().zip(&own).enumerate() {
        match target.get(lead + i) {
            Some(&t) if t == len => out[lead + i] = stride,
            Some(_) if len == 1 => {}
            _ => return Err(misfit),
        }
    }
    Ok(out)
}

impl<const N: usize> Nest<N> {
    /// A nest over the axes of `shape`. `strides` has one slice per operand, each as long as `shape`.
    pub fn new(shape: &[usize], strides: [&[isize]; N], bases: [isize; N]) -> Nest<N> {
        let mut axes: SmallVec<[Axis<N>; 8]> = SmallVec::new();
        for (i, &len) in shape.iter().enumerate() {
            let axis = Axis {
                len,
                strides: strides.map(|s| s.get(i).copied().unwrap_or(0)),
            };
            if len == 1 {
                continue;
            }
            // The outer axis continues where the inner one ends, for every operand: one axis.
            match axes.last_mut() {
                Some(outer)
                    if (0..N).all(|o| {
                        outer.strides[o] == axis.strides[o].wrapping_mul(len as isize)
                    }) =>
                {
                    *outer = Axis {
                        len: outer.len.wrapping_mul(len),
                        strides: axis.strides,
                    };
                }
                _ => axes.push(axis),
            }
        }
        if axes.is_empty() {
            axes.push(Axis {
                len: 1,
                strides: [0; N],
            });
        }
        Nest {
            axes,
            bases,
            empty: shape.contains(&0),
        }
    }

    /// An error unless operand `o` stays inside of a slice of `len` elements.
    pub fn check(&self, lens: [usize; N]) -> Result<(), EvalError> {
        if self.empty {
            return Ok(());
        }
        for (o, &limit) in lens.iter().enumerate() {
            let (mut low, mut high) = (self.bases[o] as i128, self.bases[o] as i128);
            for axis in &self.axes {
                let reach = axis.strides[o] as i128 * (axis.len as i128 - 1);
                if reach < 0 {
                    low += reach;
                } else {
                    high += reach;
                }
            }
            if low < 0 || high >= limit as i128 {
                return Err(EvalError::Shape {
                    what: "an operand is smaller than its shape asks for",
                });
            }
        }
        Ok(())
    }

    /// Calls `f(starts, len, steps)` for every run, in row-major order: operand `o` is at `starts[o] + i * steps[o]` for `i` in `0..len`.
    pub fn runs(
        &self,
        mut f: impl FnMut([usize; N], usize, [isize; N]) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if self.empty {
            return Ok(());
        }
        let Some((inner, outer)) = self.axes.split_last() else {
            return Ok(());
        };
        let mut at: SmallVec<[usize; 8]> = SmallVec::from_elem(0, outer.len());
        let mut offsets = self.bases;
        loop {
            f(offsets.map(|o| o as usize), inner.len, inner.strides)?;
            // The odometer: the innermost of the outer axes turns fastest.
            let mut turning = outer.len();
            loop {
                if turning == 0 {
                    return Ok(());
                }
                turning -= 1;
                let axis = &outer[turning];
                at[turning] += 1;
                if at[turning] < axis.len {
                    for (o, s) in offsets.iter_mut().zip(axis.strides) {
                        *o += s;
                    }
                    break;
                }
                at[turning] = 0;
                for (o, s) in offsets.iter_mut().zip(axis.strides) {
                    *o -= s * (axis.len as isize - 1);
                }
            }
        }
    }
}

/// `base + i * step`, for offsets that [`Nest::check`] has found to be inside.
#[inline(always)]
pub(super) fn at(base: usize, i: usize, step: isize) -> usize {
    base.wrapping_add_signed(step.wrapping_mul(i as isize))
}

/// Copies elements of `N` bytes from operand 1 (`src`) to operand 0 (`dst`) along a nest.
pub(super) fn copy<const S: usize>(
    nest: &Nest<2>,
    dst: &mut [u8],
    src: &[u8],
) -> Result<(), EvalError> {
    let (dst, _) = dst.as_chunks_mut::<S>();
    let (src, _) = src.as_chunks::<S>();
    nest.check([dst.len(), src.len()])?;
    if let Some((rest, plane)) = nest.transposed_plane() {
        return rest.runs(|[d, s], len, [to, from]| {
            for i in 0..len {
                copy_plane(plane, dst, at(d, i, to), src, at(s, i, from));
            }
            Ok(())
        });
    }
    nest.runs(|[d, s], len, steps| {
        match steps {
            [1, 1] => dst[d..d + len].copy_from_slice(&src[s..s + len]),
            [1, 0] => dst[d..d + len].fill(src[s]),
            [1, step] => {
                for (i, slot) in dst[d..d + len].iter_mut().enumerate() {
                    *slot = src[at(s, i, step)];
                }
            }
            [to, from] => {
                for i in 0..len {
                    dst[at(d, i, to)] = src[at(s, i, from)];
                }
            }
        }
        Ok(())
    })
}

/// A matrix that is copied transposed: along `rows` the source is dense, along `cols` the destination.
#[derive(Clone, Copy)]
struct Plane {
    /// Length, and stride in the destination.
    rows: (usize, isize),
    /// Length, and stride in the source.
    cols: (usize, isize),
}

/// Edge of the squares in which a plane is copied: small enough that all their cache lines fit, whatever the strides.
const TILE: usize = 16;

impl Nest<2> {
    /// The innermost axis and one of the others, if the destination (operand 0) is dense along the first and the source along the second;
    /// and what is left of the nest without them.
    fn transposed_plane(&self) -> Option<(Nest<2>, Plane)> {
        let (inner, outer) = self.axes.split_last()?;
        let dense = outer.iter().position(|a| a.strides[1] == 1)?;
        if inner.strides[0] != 1 || inner.len < TILE || outer[dense].len < TILE || self.empty {
            return None;
        }
        let plane = Plane {
            rows: (outer[dense].len, outer[dense].strides[0]),
            cols: (inner.len, inner.strides[1]),
        };
        let mut rest = self.clone();
        rest.axes.pop();
        rest.axes.remove(dense);
        if rest.axes.is_empty() {
            rest.axes.push(Axis {
                len: 1,
                strides: [0; 2],
            });
        }
        Some((rest, plane))
    }
}

fn copy_plane<T: Copy>(plane: Plane, dst: &mut [T], d: usize, src: &[T], s: usize) {
    let ((rows, to), (cols, from)) = (plane.rows, plane.cols);
    for row in (0..rows).step_by(TILE) {
        for col in (0..cols).step_by(TILE) {
            for i in row..rows.min(row + TILE) {
                let line = &mut dst[at(d, i, to) + col..][..TILE.min(cols - col)];
                for (j, slot) in line.iter_mut().enumerate() {
                    *slot = src[at(s, col + j, from) + i];
                }
            }
        }
    }
}

/// `out[i] = f(a[i])`.
pub(super) fn map1<A: Copy, O>(
    a: &[A],
    out: &mut [O],
    mut f: impl FnMut(A) -> O,
) -> Result<(), EvalError> {
    if a.len() != out.len() {
        return Err(EvalError::Shape {
            what: "input and output should have equally many elements",
        });
    }
    for (o, &a) in out.iter_mut().zip(a) {
        *o = f(a);
    }
    Ok(())
}

/// `out[i] = f(a[i], b[i])` with `a` and `b` broadcast to `shape`, which is `out`'s.
pub(super) fn map2<A: Copy, B: Copy, O>(
    shape: &[usize],
    out: &mut [O],
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    mut f: impl FnMut(A, B) -> O,
) -> Result<(), EvalError> {
    let nest = Nest::new(
        shape,
        [
            &strides(shape),
            &broadcast_strides(a_shape, shape)?,
            &broadcast_strides(b_shape, shape)?,
        ],
        [0; 3],
    );
    nest.check([out.len(), a.len(), b.len()])?;
    nest.runs(|[o, p, q], len, steps| {
        let out = &mut out[o..o + len];
        match steps {
            [1, 1, 1] => {
                let (a, b) = (&a[p..p + len], &b[q..q + len]);
                for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *o = f(a, b);
                }
            }
            [1, 1, 0] => {
                let b = b[q];
                for (o, &a) in out.iter_mut().zip(&a[p..p + len]) {
                    *o = f(a, b);
                }
            }
            [1, 0, 1] => {
                let a = a[p];
                for (o, &b) in out.iter_mut().zip(&b[q..q + len]) {
                    *o = f(a, b);
                }
            }
            [_, sa, sb] => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f(a[at(p, i, sa)], b[at(q, i, sb)]);
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_advance_together_become_one_run() {
        let shape = [2, 3, 4];
        let s = strides(&shape);
        let nest = Nest::new(&shape, [&s, &s], [0, 0]);
        let mut runs = Vec::new();
        nest.runs(|starts, len, steps| {
            runs.push((starts, len, steps));
            Ok(())
        })
        .unwrap();
        assert_eq!(runs, [([0, 0], 24, [1, 1])]);
    }

    #[test]
    fn a_walk_follows_negative_strides_and_stays_inside() {
        let nest = Nest::<1>::new(&[3], [&[-2]], [5]);
        assert!(nest.check([6]).is_ok());
        assert!(nest.check([5]).is_err());
        assert!(Nest::<1>::new(&[4], [&[-2]], [5]).check([6]).is_err());
        let mut seen = Vec::new();
        nest.runs(|[s], len, [step]| {
            seen.extend((0..len).map(|i| at(s, i, step)));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [5, 3, 1]);
    }

    #[test]
    fn broadcasting_equals_naive_index_arithmetic() {
        let shapes: &[&[usize]] = &[
            &[],
            &[1],
            &[4],
            &[3, 1],
            &[3, 4],
            &[2, 1, 1],
            &[2, 3, 4],
            &[1, 3, 1],
        ];
        let target = [2usize, 3, 4];
        for a_shape in shapes {
            for b_shape in shapes {
                let a: Vec<i64> = (0..a_shape.iter().product::<usize>() as i64).collect();
                let b: Vec<i64> = (0..b_shape.iter().product::<usize>() as i64)
                    .map(|i| 100 * i)
                    .collect();
                let mut out = vec![0; 24];
                map2(&target, &mut out, (&a, a_shape), (&b, b_shape), |a, b| {
                    a + b
                })
                .unwrap();
                let naive = |shape: &[usize], at: [usize; 3]| {
                    let mut index = 0;
                    for (axis, &len) in shape.iter().enumerate() {
                        let i = at[3 - shape.len() + axis];
                        index = index * len + if len == 1 { 0 } else { i };
                    }
                    index
                };
                for (i, &found) in out.iter().enumerate() {
                    let at = [i / 12, i / 4 % 3, i % 4];
                    assert_eq!(found, a[naive(a_shape, at)] + b[naive(b_shape, at)]);
                }
            }
        }
        assert!(broadcast_strides(&[2], &[3]).is_err());
        assert!(broadcast_strides(&[2, 3], &[3]).is_err());
    }

    #[test]
    fn an_empty_axis_runs_nothing() {
        let mut out: [i32; 0] = [];
        map2(
            &[0, 3],
            &mut out,
            (&[1], &[1]),
            (&[], &[0, 1]),
            |a, b: i32| a + b,
        )
        .unwrap();
    }
}
