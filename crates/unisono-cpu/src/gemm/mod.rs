//! The matrix product in the canonical arithmetic.
//!
//! `C = activation(alpha * A x B + beta * bias + residual)`, where every element of A x B is a long sum: slices of 256 fused multiply-adds,
//! each from +0 in rising k, added in order to a total that starts at +0 (see `unisono_reference::arith`). Its one idea: the chain runs
//! along K inside a register, so M, N, tiles, threads and instruction sets are free, and the bits are the same for all of them.
//!
//! * [`PackedB`] holds constant weights in the order in which they are read; [`gemm`] multiplies by it.
//! * [`gemm_batched`] multiplies matrices that are both variable (attention).
//!
//! How the work is cut follows from shapes and the number of threads, never from a clock. Nothing is allocated: scratch memory comes from
//! the caller, who asks [`gemm_scratch`] or [`gemm_batched_scratch`] for its size.
//!
//! It must never choose another algorithm for small M: one row runs through the same panels with the same chains.

use std::ops::Range;

use unisono_runtime::team::Team;

mod blocking;
mod epilogue;
pub(crate) mod microkernel;
mod pack;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
pub(crate) mod tests;

pub use epilogue::Epilogue;
pub use pack::{PackedA, PackedB};
pub use unisono_reference::arith::{MatrixRef, SLICE, Unary};

pub(crate) use blocking::{estimated_ns, products_per_ns};
pub(crate) use pack::assert_covers;

use crate::memory::{Seats, SharedMut};
use crate::simd::Isa;
use blocking::Blocking;
use microkernel::{Ending, Microkernels, Tile, WIDE_PANELS};
use pack::{pack_panel, pack_strips, strip_count, strip_rows};

/// What a kernel runs on: an instruction set and a team of threads.
#[derive(Clone, Copy, Debug)]
pub struct Cores<'a> {
    /// The instruction set; kernels panic if this machine lacks it.
    pub isa: Isa,
    /// The threads.
    pub team: &'a Team,
}

impl Cores<'_> {
    /// Panics unless the instruction set is available: the microkernels rely on it.
    pub(crate) fn check(self) {
        assert!(
            self.isa.is_available(),
            "this machine has no {}",
            self.isa.name()
        );
    }
}

/// Elements of scratch memory for a [`gemm`] of m x k by k x n.
pub fn gemm_scratch(cores: Cores<'_>, m: usize, n: usize, k: usize) -> usize {
    let blocking = Blocking::new(cores, 1, m, n, k, false);
    Seats::scratch_len(cores.team.threads(), blocking.area)
}

/// `C = activation(alpha * A x B + beta * bias + residual)` with constant, packed B.
///
/// `a` is m x b.k() with any strides; row i of C is `c[i * c_step ..][..b.n()]`; elements of `c` between rows are left alone.
///
/// # Panics
/// If `a`, `c`, bias, residual or scratch do not cover their extents, or B was packed for another instruction set.
#[expect(
    clippy::too_many_arguments,
    reason = "a matrix product has that many operands"
)]
pub fn gemm(
    cores: Cores<'_>,
    m: usize,
    a: MatrixRef<'_, f32>,
    b: &PackedB,
    c: &mut [f32],
    c_step: usize,
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
) {
    assert_eq!(
        b.isa(),
        cores.isa,
        "B is packed for another instruction set"
    );
    let problem = Problem {
        blocking: Blocking::new(cores, 1, m, b.n(), b.k(), false),
        cores,
        a,
        b: Rhs::Packed(b),
        c_step,
    };
    problem.run(&|_| [0; 3], c, &|_| *epilogue, scratch);
}

/// The shape of a [`gemm_batched`].
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    /// How many products.
    pub batch: usize,
    /// Rows of each A and C.
    pub m: usize,
    /// Columns of each B and C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
}

/// Elements of scratch memory for a [`gemm_batched`].
pub fn gemm_batched_scratch(cores: Cores<'_>, shape: BatchShape) -> usize {
    let BatchShape { batch, m, n, k } = shape;
    let blocking = Blocking::new(cores, batch, m, n, k, true);
    Seats::scratch_len(cores.team.threads(), blocking.area)
}

/// Products of variable matrices: `C_i = activation(alpha * A_i x B_i + ...)` for every i in the batch.
///
/// `offsets(i)` says where A_i, B_i and C_i begin in `a`, `b` and `c` (so broadcast batches share an offset); strides are the same for all.
/// `epilogue(i)` finishes C_i. The ranges of the C_i in `c` must not overlap.
///
/// # Panics
/// If an operand does not cover its extent or the scratch is too small.
///
/// # Safety
/// No two C_i share an element: they are written by different threads at the same time.
#[expect(
    clippy::too_many_arguments,
    reason = "a matrix product has that many operands"
)]
pub unsafe fn gemm_batched<'e>(
    cores: Cores<'_>,
    shape: BatchShape,
    a: MatrixRef<'_, f32>,
    b: MatrixRef<'_, f32>,
    c: &mut [f32],
    c_step: usize,
    offsets: &(dyn Fn(usize) -> [usize; 3] + Sync),
    epilogue: &(dyn Fn(usize) -> Epilogue<'e> + Sync),
    scratch: &mut [f32],
) {
    let BatchShape { batch, m, n, k } = shape;
    let problem = Problem {
        blocking: Blocking::new(cores, batch, m, n, k, true),
        cores,
        a,
        b: Rhs::Dense(b),
        c_step,
    };
    problem.run(offsets, c, epilogue, scratch);
}

#[derive(Clone, Copy)]
enum Rhs<'a> {
    Packed(&'a PackedB),
    Dense(MatrixRef<'a, f32>),
}

struct Problem<'a> {
    blocking: Blocking,
    cores: Cores<'a>,
    a: MatrixRef<'a, f32>,
    b: Rhs<'a>,
    c_step: usize,
}

/// The matrices of one member of a batch.
struct Member<'a> {
    a: MatrixRef<'a, f32>,
    b: Rhs<'a>,
    c: *mut f32,
}

impl Problem<'_> {
    fn run<'e>(
        &self,
        offsets: &(dyn Fn(usize) -> [usize; 3] + Sync),
        c: &mut [f32],
        epilogue: &(dyn Fn(usize) -> Epilogue<'e> + Sync),
        scratch: &mut [f32],
    ) {
        self.cores.check();
        let blocking = &self.blocking;
        let (m, n, k) = (blocking.m, blocking.n, blocking.k);
        if m == 0 || n == 0 || blocking.batch == 0 {
            return;
        }
        let extent = (m - 1)
            .checked_mul(self.c_step)
            .and_then(|rows| rows.checked_add(n))
            .unwrap_or(usize::MAX);
        let c_len = c.len();
        let seats = Seats::new(scratch, self.cores.team.threads(), blocking.area);
        let c = SharedMut::new(c);
        let blocks = blocking.blocks();
        // Small members of a batch share a tile.
        let tiles = blocks.min(self.cores.team.threads() * blocking::TILES_PER_THREAD * 2);
        let compute = |block: usize, area: &mut [f32]| {
            let (member, rows, cols) = blocking.block(block);
            let [a0, b0, c0] = offsets(member);
            let a = skip(self.a, a0);
            assert_covers(&a, m, k, "A");
            let b = match self.b {
                Rhs::Packed(b) => Rhs::Packed(b),
                Rhs::Dense(b) => {
                    let b = skip(b, b0);
                    assert_covers(&b, k, n, "B");
                    Rhs::Dense(b)
                }
            };
            assert!(
                c0.checked_add(extent).is_some_and(|end| end <= c_len)
                    && (m == 1 || self.c_step >= n),
                "C of {m} x {n} at {c0}, rows {} apart, does not fit {c_len} elements",
                self.c_step
            );
            let epilogue = epilogue(member);
            epilogue.check(m, n);
            let member = Member {
                a,
                b,
                // SAFETY: checked just above.
                c: unsafe { c.ptr().add(c0) },
            };
            // SAFETY: A and B cover their extents and C's fits; blocks are disjoint ranges of C, and members are disjoint by the
            // promise of `gemm_batched`'s caller.
            unsafe { self.block(&member, rows, cols, &epilogue, area) };
        };
        let team = self.cores.team;
        team.run(tiles, blocking.estimated_ns, |tile, seat| {
            // SAFETY: a seat has one holder at a time.
            let area = unsafe { seats.area(seat) };
            for block in tile * blocks / tiles..(tile + 1) * blocks / tiles {
                compute(block, area);
            }
        });
    }

    /// Computes rows x cols of C, `cols` beginning at a panel.
    ///
    /// # Safety
    /// A and B cover their extents; the block lies in C and nobody else touches it.
    unsafe fn block(
        &self,
        member: &Member<'_>,
        rows: Range<usize>,
        cols: Range<usize>,
        epilogue: &Epilogue<'_>,
        area: &mut [f32],
    ) {
        let isa = self.cores.isa;
        let kernels = Microkernels::of(isa);
        let (k, width) = (self.blocking.k, kernels.cols);
        // SAFETY: the block lies in C.
        let c_at = |row: usize, col: usize| unsafe { member.c.add(row * self.c_step + col) };
        if k == 0 {
            for row in rows.clone() {
                // SAFETY: the row's part lies in C and is ours alone.
                unsafe { std::slice::from_raw_parts_mut(c_at(row, cols.start), cols.len()) }
                    .fill(0.0);
            }
        }
        let direct = rows.len() == 1 && member.a.col_stride == 1;
        let strips = strip_count(rows.len(), isa);
        let is_ending = epilogue.is_ending();
        let (a_area, b_area) = area.split_at_mut(self.blocking.a_area);
        for group in (0..k).step_by(self.blocking.k_group) {
            let ks = group..k.min(group + self.blocking.k_group);
            let a: *const f32 = if direct {
                member.a.data[rows.start * member.a.row_stride + ks.start..].as_ptr()
            } else {
                pack_strips(&member.a, rows.clone(), ks.clone(), isa, a_area);
                a_area.as_ptr()
            };
            let mut j = cols.start;
            while j < cols.end {
                let mut count = width.min(cols.end - j);
                let (b, b_panel) = match &member.b {
                    Rhs::Packed(b) => {
                        if rows.len() <= kernels.wide.len() && cols.end - j >= WIDE_PANELS * width {
                            count = WIDE_PANELS * width;
                        }
                        (b.panel(j / width, ks.start).as_ptr(), k * width)
                    }
                    Rhs::Dense(b) => {
                        pack_panel(b, ks.clone(), j..j + count, width, b_area);
                        (b_area.as_ptr(), 0)
                    }
                };
                for k0 in ks.clone().step_by(SLICE) {
                    let done = k0 - ks.start;
                    let last = k - k0 <= SLICE;
                    for strip in 0..strips {
                        let strip = strip_rows(rows.clone(), strip, isa);
                        let before = (strip.start - rows.start) * ks.len();
                        let tile = Tile {
                            k: SLICE.min(ks.end - k0),
                            // SAFETY: the strip begins after those above it, each with all k of the group.
                            a: unsafe { a.add(before + done * strip.len()) },
                            // SAFETY: the panel holds all k of the group.
                            b: unsafe { b.add(done * width) },
                            b_step: width,
                            b_panel,
                            c: c_at(strip.start, j),
                            c_step: self.c_step,
                            first: k0 == 0,
                            ending: if last && is_ending {
                                epilogue.ending(strip.start, j)
                            } else {
                                Ending::NONE
                            },
                        };
                        // SAFETY: strips and panels hold what the kernel reads, the tile lies in C; the instruction set is available,
                        // as `run` checked.
                        unsafe {
                            if count > width {
                                kernels.wide[strip.len() - 1](&tile);
                            } else {
                                kernels.run(&tile, strip.len(), count);
                            }
                            if last && !is_ending {
                                // The strip's totals have just been written, so they are near.
                                epilogue.apply(isa, member.c, self.c_step, strip, j..j + count);
                            }
                        }
                    }
                }
                j += count;
            }
        }
        if k == 0 {
            // SAFETY: as above.
            unsafe { epilogue.apply(isa, member.c, self.c_step, rows, cols) };
        }
    }
}

/// The matrix that begins `offset` elements later; empty if there is nothing.
fn skip(matrix: MatrixRef<'_, f32>, offset: usize) -> MatrixRef<'_, f32> {
    MatrixRef {
        data: matrix.data.get(offset..).unwrap_or(&[]),
        ..matrix
    }
}
