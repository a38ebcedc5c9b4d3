//! Copying along a nest of loops, each side by its own steps: transposing, cutting, joining, repeating and padding are all this.
//!
//! The one idea: axes along which both sides advance as one are merged when the nest is built, so that what is moved is as long a run as there
//! is. Where a run is a single element and rows become columns, two axes become a plane to [`turn`](super::turn). The nest is checked against
//! the lengths of both sides when it is built: it never leaves them.

use std::ops::Range;

use smallvec::SmallVec;

use super::run::{Copier, MoveRuns, with_copier};
use super::turn::{PART, Plane, Turn};
use crate::simd::Isa;

/// Axes of more than one element that a tensor can have: the sizes of more overflow.
const MAX_AXES: usize = 64;
/// Bytes that one thread moves in one go.
const TILE: usize = 64 << 10;
/// Bytes from which on a run is cut into pieces.
const LONG: usize = 2 * TILE;
/// Rows and columns that a plane has at least, unless its elements have 4 bytes.
const LEAST: usize = 8;
/// Bytes that one core takes in and gives out in a nanosecond; for the decision to share alone.
const BYTES_PER_NS: usize = 10;

/// Steps along axes, in elements.
pub type Steps = SmallVec<[isize; 8]>;

/// The steps of a dense tensor.
pub fn steps(shape: &[usize]) -> Steps {
    let mut steps = Steps::from_elem(0, shape.len());
    let mut step = 1isize;
    for (slot, &len) in steps.iter_mut().zip(shape).rev() {
        *slot = step;
        // Sizes never overflow, except beside an axis of length zero, where no step is ever used.
        step = step.wrapping_mul(len as isize);
    }
    steps
}

/// The steps of a dense tensor of `shape` along the axes of `out`, to which it is stretched: 0 along axes that it lacks or that have
/// length 1 in it. `None` if it cannot be stretched so.
pub fn stretched(shape: &[usize], out: &[usize]) -> Option<Steps> {
    let lead = out.len().checked_sub(shape.len())?;
    let mut stretched = Steps::from_elem(0, out.len());
    for (a, (&len, step)) in shape.iter().zip(steps(shape)).enumerate() {
        match out.get(lead + a) {
            Some(&wide) if wide == len => *stretched.get_mut(lead + a)? = step,
            Some(_) if len == 1 => {}
            _ => return None,
        }
    }
    Some(stretched)
}

/// One side of a nest.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Elements from one to the next, for every axis.
    pub steps: &'a [isize],
    /// The first element.
    pub first: isize,
    /// Elements in all.
    pub len: usize,
}

/// One loop, with steps in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    len: usize,
    to: isize,
    from: isize,
}

/// What is moved in the innermost loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// This many bytes that lie side by side.
    Run(usize),
    /// Rows to columns, of elements of this many bytes.
    Plane(Plane, usize),
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    /// Outermost first.
    axes: SmallVec<[Axis; 4]>,
    unit: Unit,
    /// First bytes.
    to: isize,
    from: isize,
    units: usize,
    /// How many parts a unit is cut into, to be moved one by one; more than one only for large units.
    parts: usize,
    /// How many parts go together.
    per_tile: usize,
    bytes: usize,
}

impl Nest {
    /// A nest over the axes of `shape` for elements of `size` bytes. `None` if it would leave one of the sides.
    pub fn new(size: usize, shape: &[usize], to: Side<'_>, from: Side<'_>) -> Option<Nest> {
        if shape.len() != to.steps.len() || shape.len() != from.steps.len() || size == 0 {
            return None;
        }
        let empty = shape.contains(&0);
        let fits = empty || (inside(shape, to) && inside(shape, from));
        if !fits {
            return None;
        }
        let bytes_of = |elements: isize| elements.checked_mul(isize::try_from(size).ok()?);
        let mut axes: SmallVec<[Axis; 4]> = SmallVec::new();
        let mut count = 1usize;
        let steps = to.steps.iter().zip(from.steps);
        for (&len, (&to, &from)) in shape.iter().zip(steps).filter(|(len, _)| **len != 1) {
            if empty {
                break;
            }
            count = count.checked_mul(len)?;
            let axis = Axis {
                len,
                to: bytes_of(to)?,
                from: bytes_of(from)?,
            };
            // The outer axis goes on where the inner one ends, on both sides: one axis.
            let whole = |step: isize| step.checked_mul(isize::try_from(len).ok()?);
            match axes.last_mut() {
                Some(outer)
                    if Some(outer.to) == whole(axis.to) && Some(outer.from) == whole(axis.from) =>
                {
                    outer.len *= len;
                    (outer.to, outer.from) = (axis.to, axis.from);
                }
                _ => axes.push(axis),
            }
        }
        let step = isize::try_from(size).ok()?;
        let mut run = size;
        if let Some(&inner) = axes.last()
            && (inner.to, inner.from) == (step, step)
        {
            run = size.checked_mul(inner.len)?;
            axes.pop();
        }
        let unit = plane(&mut axes, run).unwrap_or(Unit::Run(run));
        if axes.len() > MAX_AXES {
            return None;
        }
        let units = if empty {
            0
        } else {
            axes.iter().map(|axis| axis.len).product()
        };
        let (parts, part_bytes) = match unit {
            Unit::Run(bytes) if bytes >= LONG => (bytes.div_ceil(TILE), TILE),
            Unit::Run(bytes) => (1, bytes),
            Unit::Plane(plane, size) => {
                let area = plane.rows * plane.cols;
                (plane.parts(), (area / plane.parts()).min(PART) * size)
            }
        };
        Some(Nest {
            axes,
            unit,
            to: bytes_of(to.first)?,
            from: bytes_of(from.first)?,
            units,
            parts,
            per_tile: (TILE / part_bytes.max(1)).max(1),
            bytes: if empty { 0 } else { count.checked_mul(size)? },
        })
    }

    /// How many tiles the work is cut into; follows from the shapes alone.
    pub fn tiles(&self) -> usize {
        (self.units * self.parts).div_ceil(self.per_tile)
    }

    /// Counted work on one core, in nanoseconds.
    pub fn estimated_ns(&self) -> u64 {
        let loops = match self.unit {
            Unit::Run(_) => self.units,
            Unit::Plane(..) => 0,
        };
        (2 * self.bytes / BYTES_PER_NS + loops) as u64
    }

    /// What is moved, in words.
    pub fn describe(&self) -> String {
        match self.unit {
            Unit::Run(bytes) => format!("runs of {bytes} bytes"),
            Unit::Plane(plane, size) => format!(
                "planes of {} x {} turned, {size} bytes each",
                plane.rows, plane.cols
            ),
        }
    }

    /// Moves tile number `tile`.
    ///
    /// # Safety
    /// The sides are as long as the nest was built for, they do not overlap, and nobody else uses the tile's elements of the destination
    /// meanwhile. Tiles are disjoint if no two positions of the nest are the same element of the destination.
    pub unsafe fn tile(&self, isa: Isa, tile: usize, from: *const u8, to: *mut u8) {
        let items = super::piece(tile, self.per_tile, self.units * self.parts);
        match self.unit {
            Unit::Run(bytes) if self.parts == 1 => {
                let runs = Runs {
                    nest: self,
                    bytes,
                    units: items,
                    from,
                    to,
                };
                with_copier(bytes, runs);
            }
            unit => {
                for item in items {
                    let (unit_to, unit_from) = self.place(item / self.parts);
                    let part = item % self.parts;
                    // SAFETY: a unit's first bytes, and as promised to this function; a piece of a run is inside of it.
                    unsafe {
                        let (from, to) = (from.offset(unit_from), to.offset(unit_to));
                        match unit {
                            Unit::Run(bytes) => {
                                let piece = super::piece(part, TILE, bytes);
                                let (from, to) = (from.add(piece.start), to.add(piece.start));
                                std::ptr::copy_nonoverlapping(from, to, piece.len());
                            }
                            Unit::Plane(plane, size) => {
                                Turn::new(isa, size).part(&plane, part, from, to);
                            }
                        }
                    }
                }
            }
        }
    }

    /// First bytes of unit number `unit`.
    fn place(&self, unit: usize) -> (isize, isize) {
        let (mut to, mut from, mut rest) = (self.to, self.from, unit);
        for axis in self.axes.iter().rev() {
            let at = (rest % axis.len) as isize;
            rest /= axis.len;
            to += at * axis.to;
            from += at * axis.from;
        }
        (to, from)
    }
}

/// Some of the runs of a nest, with the promises of [`Nest::tile`].
struct Runs<'a> {
    nest: &'a Nest,
    bytes: usize,
    units: Range<usize>,
    from: *const u8,
    to: *mut u8,
}

impl MoveRuns for Runs<'_> {
    #[inline(always)]
    fn run<C: Copier>(self, copier: C) {
        let (mut to, mut from) = self.nest.place(self.units.start);
        let Some((line, outer)) = self.nest.axes.split_last() else {
            if !self.units.is_empty() {
                // SAFETY: the only run.
                unsafe { copier.copy(self.from.offset(from), self.to.offset(to)) };
            }
            return;
        };
        // A copy, which stores through pointers are known not to change.
        let line = *line;
        let mut at = [0usize; MAX_AXES];
        let mut rest = self.units.start / line.len;
        for (slot, axis) in at.iter_mut().zip(outer).rev() {
            (*slot, rest) = (rest % axis.len, rest / axis.len);
        }
        let mut begin = self.units.start % line.len;
        let mut left = self.units.len();
        while left > 0 {
            let count = left.min(line.len - begin);
            // SAFETY: `count` runs of a line are inside of both sides, as was checked when the nest was built.
            unsafe {
                let (source, target) = (self.from.offset(from), self.to.offset(to));
                if line.from == 0 && line.to == self.bytes as isize {
                    copier.repeat(source, target, count);
                } else {
                    for i in 0..count as isize {
                        copier.copy(source.offset(i * line.from), target.offset(i * line.to));
                    }
                }
            }
            left -= count;
            to -= begin as isize * line.to;
            from -= begin as isize * line.from;
            begin = 0;
            // The odometer: the innermost of the outer axes turns fastest.
            for (slot, axis) in at.iter_mut().zip(outer).rev() {
                *slot += 1;
                to += axis.to;
                from += axis.from;
                if *slot < axis.len {
                    break;
                }
                *slot = 0;
                to -= axis.len as isize * axis.to;
                from -= axis.len as isize * axis.from;
            }
        }
    }
}

/// Do all positions stay inside of the side?
pub fn inside(shape: &[usize], side: Side<'_>) -> bool {
    let (mut low, mut high) = (side.first as i128, side.first as i128);
    for (&len, &step) in shape.iter().zip(side.steps) {
        let reach = (step as i128).saturating_mul(len as i128 - 1);
        let end = if reach < 0 { &mut low } else { &mut high };
        *end = end.saturating_add(reach);
    }
    low >= 0 && high < side.len as i128
}

/// Takes two axes out of the nest, if runs are single elements and rows become columns.
fn plane(axes: &mut SmallVec<[Axis; 4]>, run: usize) -> Option<Unit> {
    if !matches!(run, 1 | 2 | 4 | 8 | 16) {
        return None;
    }
    // Elements of 4 bytes are turned well whatever the shape, others in squares alone.
    let least = if run == 4 { 2 } else { LEAST };
    let step = isize::try_from(run).ok()?;
    let (&inner, outer) = axes.split_last()?;
    let dense = outer.iter().position(|axis| axis.from == step)?;
    let across = outer[dense];
    let in_elements = |bytes: isize| {
        let bytes = usize::try_from(bytes).ok()?;
        bytes.is_multiple_of(run).then_some(bytes / run)
    };
    let plane = Plane {
        rows: inner.len,
        cols: across.len,
        from_step: in_elements(inner.from)?,
        to_step: in_elements(across.to)?,
    };
    if plane.rows.min(plane.cols) < least {
        return None;
    }
    // Neither side may write or read over itself.
    if inner.to != step || plane.from_step < plane.cols || plane.to_step < plane.rows {
        return None;
    }
    axes.pop();
    axes.remove(dense);
    Some(Unit::Plane(plane, run))
}
