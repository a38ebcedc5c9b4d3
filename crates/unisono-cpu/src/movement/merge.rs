//! Axes along which several operands advance as one.

use smallvec::SmallVec;

/// Axes that are left after merging, at most.
pub const MAX_AXES: usize = 8;

/// A merged axis of several operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis<const N: usize> {
    /// Its length.
    pub len: usize,
    /// Elements from one position to the next, for every operand.
    pub steps: [isize; N],
}

/// Merged axes, innermost first.
pub type Axes<const N: usize> = SmallVec<[Axis<N>; MAX_AXES]>;

/// The axes of `shape` with those merged along which all operands advance as one; those of length 1 are left out. `None` if more than
/// [`MAX_AXES`] are left. No axis may be empty.
pub fn merge<const N: usize>(shape: &[usize], steps: [&[isize]; N]) -> Option<Axes<N>> {
    let mut axes: Axes<N> = SmallVec::new();
    for (a, &len) in shape.iter().enumerate().rev().filter(|(_, len)| **len != 1) {
        let mut axis = Axis { len, steps: [0; N] };
        for (step, steps) in axis.steps.iter_mut().zip(&steps) {
            *step = *steps.get(a)?;
        }
        // The outer axis goes on where the inner one ends, for every operand: one axis.
        match axes.last_mut() {
            Some(inner)
                if (0..N).all(|k| {
                    inner.steps[k].checked_mul(inner.len as isize) == Some(axis.steps[k])
                }) =>
            {
                inner.len = inner.len.checked_mul(len)?;
            }
            _ => axes.push(axis),
        }
    }
    (axes.len() <= MAX_AXES).then_some(axes)
}
