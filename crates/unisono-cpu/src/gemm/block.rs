//! One block of a product: some strips of A by some panels of B.
//!
//! Its one idea: A is packed once for all panels, or read where it lies if they are too few to be worth it, and each slice of a panel
//! stays in the nearest cache while all strips pass by. Where a strip comes from and goes to is its own affair, so that the strips of
//! a block may belong to different matrices.

use std::ops::Range;

use smallvec::SmallVec;
use unisono_reference::arith::{MatrixRef, SLICE};
use unisono_tensor::mutant;

use super::epilogue::Epilogue;
use super::microkernel::{Ahead, Ending, Microkernels, Piece, Residual, Tile, WIDE_PANELS};
use super::pack::{PackedB, pack_panel, pack_strip};
use crate::simd::Isa;

/// The right-hand side.
#[derive(Clone, Copy)]
pub(super) enum Rhs<'a> {
    Packed(&'a PackedB),
    Dense(MatrixRef<'a, f32>),
}

/// At most as many rows as a microkernel has, of one A and one C.
pub(super) struct Strip<'a> {
    /// Its rows in A and C.
    pub rows: Range<usize>,
    /// Rows of the block's strips in front of it.
    pub before: usize,
    pub a: &'a MatrixRef<'a, f32>,
    /// The first element of C.
    pub c: *mut f32,
    /// Distance between rows of C.
    pub c_step: usize,
    pub epilogue: &'a Epilogue<'a>,
}

/// What is to be computed.
pub(super) struct Block<'a> {
    pub isa: Isa,
    /// Length of the sums.
    pub k: usize,
    /// Terms packed at a time, a multiple of the slice.
    pub k_group: usize,
    /// Columns, beginning at a panel.
    pub cols: Range<usize>,
    pub b: Rhs<'a>,
}

/// Panels from which on packing A costs less than reading rows that lie apart. Measured on one core with AVX-512, in shares of its peak: with one
/// panel 69 % packed and 87 in place, with 4 panels 89 and 94, with 12 panels 93 and 95, with 24 panels 94 and 95, with 32 the same.
const WORTH_PACKING: usize = 32;

/// The same for rows that share a set of the first-level cache, which does not hold a strip of them: 4 panels gain, 8 lose.
const WORTH_PACKING_ALIASED: usize = 5;

/// Rows of A as many elements apart as this (4 KiB) share a set.
const ALIASED: usize = 1024;

/// Most strips of a block: a list of so many is short enough for the stack.
pub(super) const MOST_STRIPS: usize = 64;

/// The strips of a block.
pub(super) type Strips<'a> = SmallVec<[Strip<'a>; MOST_STRIPS]>;

impl Block<'_> {
    /// Computes it. `a_area` holds a group of terms of all strips, `totals` a panel's columns of all their rows, `b_area` the terms of one
    /// panel if B is not packed.
    ///
    /// # Safety
    /// The instruction set is available. Every A covers its strip, B covers the columns, every epilogue's operands cover
    /// what they are applied to. The strips' rows and the columns lie in their Cs, do not overlap, and nobody else touches them.
    pub(super) unsafe fn compute(
        &self,
        strips: &[Strip<'_>],
        a_area: &mut [f32],
        totals: &mut [f32],
        b_area: &mut [f32],
    ) {
        let (isa, k, cols) = (self.isa, self.k, self.cols.clone());
        let kernels = Microkernels::of(isa);
        let width = kernels.cols;
        if k == 0 {
            for strip in strips {
                for row in strip.rows.clone() {
                    // SAFETY: the row's part lies in C and is ours alone.
                    unsafe {
                        let start = strip.c.add(row * strip.c_step + cols.start);
                        std::slice::from_raw_parts_mut(start, cols.len()).fill(0.0);
                    }
                }
                // SAFETY: as above.
                unsafe {
                    strip.epilogue.apply(
                        isa,
                        strip.c,
                        strip.c_step,
                        strip.rows.clone(),
                        cols.clone(),
                    )
                };
            }
            return;
        }
        let is_one_row = matches!(strips, [only] if only.rows.len() == 1);
        let panels = cols.len().div_ceil(width);
        let lies_well = |strip: &Strip<'_>| {
            let worth_packing = match strip.a.row_stride.is_multiple_of(ALIASED) {
                true => WORTH_PACKING_ALIASED,
                false => WORTH_PACKING,
            };
            strip.a.col_stride == 1 && (is_one_row || panels < worth_packing)
        };
        let is_packed = !strips.iter().all(lies_well);
        let are_low = strips.iter().all(|s| s.rows.len() <= kernels.wide.len());
        for group in (0..k).step_by(self.k_group) {
            let ks = group..k.min(group + self.k_group);
            if is_packed {
                for strip in strips {
                    let place = strip.before * ks.len();
                    let out = &mut a_area[place..place + strip.rows.len() * ks.len()];
                    pack_strip(strip.a, strip.rows.clone(), ks.clone(), out);
                }
            }
            // A strip's value in its first row and term `k0`, and the distances between rows and terms.
            let place = |strip: &Strip<'_>, k0: usize| match is_packed {
                true => {
                    let height = strip.rows.len();
                    let first = strip.before * ks.len() + (k0 - ks.start) * height;
                    (a_area[first..].as_ptr(), 1, height)
                }
                false => {
                    let first = strip.rows.start * strip.a.row_stride + k0;
                    (strip.a.data[first..].as_ptr(), strip.a.row_stride, 1)
                }
            };
            let mut j = cols.start;
            while j < cols.end {
                let mut count = width.min(cols.end - j);
                let (b, b_panel) = match &self.b {
                    Rhs::Packed(b) => {
                        if are_low && cols.end - j >= WIDE_PANELS * width {
                            count = WIDE_PANELS * width;
                        }
                        (b.panel(j / width, ks.start).as_ptr(), k * width)
                    }
                    Rhs::Dense(b) => {
                        pack_panel(b, ks.clone(), j..j + count, width, b_area);
                        (b_area.as_ptr(), 0)
                    }
                };
                let slice = match mutant!(SumSplitByRows) && !is_one_row {
                    true => SLICE / 2,
                    false => SLICE,
                };
                for k0 in ks.clone().step_by(slice) {
                    let done = k0 - ks.start;
                    let last = k - k0 <= slice;
                    let terms = slice.min(ks.end - k0);
                    // The strips ask for what is read next: another slice of the panel, or the next panel.
                    let mut next = match k0 + slice < ks.end {
                        true => b.wrapping_add((done + slice) * width),
                        false => b.wrapping_add(b_panel),
                    };
                    let mut lines = match self.b {
                        Rhs::Packed(_) => terms * width / Ahead::LINE,
                        Rhs::Dense(_) => 0,
                    };
                    let mut tile = Tile {
                        pieces: &[Piece { a: 0, k: terms }],
                        a: a_area.as_ptr(),
                        a_row: 1,
                        a_col: 1,
                        // SAFETY: the panel holds all k of the group.
                        b: unsafe { b.add(done * width) },
                        b_step: width,
                        b_panel,
                        ahead: Ahead::nothing(b),
                        c: totals.as_mut_ptr(),
                        c_step: width,
                        before: totals.as_ptr(),
                        before_step: width,
                        cols: count,
                        first: k0 == 0,
                        ending: Ending::NONE,
                    };
                    // Totals wait side by side, however far apart the rows of C are. In C they are from one group to the next.
                    let wait = count <= width;
                    let (from_c, to_c) = (!wait || done == 0, !wait || k0 + slice >= ks.end);
                    for strip in strips {
                        let height = strip.rows.len();
                        tile.ahead = match lines {
                            0 => Ahead::nothing(b),
                            _ => Ahead {
                                line: next,
                                step: Ahead::LINE,
                            },
                        };
                        next = next.wrapping_add(terms * Ahead::LINE);
                        lines = lines.saturating_sub(terms);
                        (tile.a, tile.a_row, tile.a_col) = place(strip, k0);
                        // SAFETY: the strip's rows and the columns lie in C.
                        let c = unsafe { strip.c.add(strip.rows.start * strip.c_step + j) };
                        if to_c {
                            (tile.c, tile.c_step) = (c, strip.c_step);
                        } else {
                            tile.c = totals[strip.before * width..].as_mut_ptr();
                        }
                        if from_c {
                            (tile.before, tile.before_step) = (c, strip.c_step);
                        } else {
                            tile.before = totals[strip.before * width..].as_ptr();
                        }
                        let row = strip.rows.start;
                        // Kernels of sums have whole panels.
                        let sums = kernels.full_sum.filter(|_| last && count == width);
                        let sum = sums.zip(strip.epilogue.as_sum());
                        let is_ending = last && (sum.is_some() || strip.epilogue.is_ending());
                        tile.ending = match (&sum, is_ending) {
                            (Some((_, (ending, _))), _) => ending.ending(row, j),
                            (None, true) => strip.epilogue.ending(row, j),
                            (None, false) => Ending::NONE,
                        };
                        // SAFETY: strips and panels hold what the kernel reads, the tile lies in C or has a row of the totals for each of
                        // its own; the instruction set is available.
                        unsafe {
                            if let Some((sums, (_, residual))) = sum {
                                let first = residual.data[row * residual.row_stride + j..].as_ptr();
                                let step = residual.row_stride;
                                sums[height - 1](&tile, Residual { first, step });
                            } else if count > width {
                                kernels.wide[height - 1](&tile);
                            } else {
                                kernels.run(&tile, height);
                            }
                            if last && !is_ending {
                                // The strip's totals have just been written, so they are near.
                                strip.epilogue.apply(
                                    isa,
                                    strip.c,
                                    strip.c_step,
                                    strip.rows.clone(),
                                    j..j + count,
                                );
                            }
                        }
                    }
                }
                j += count;
            }
        }
    }
}
