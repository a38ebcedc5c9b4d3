//! The matrix product in the canonical arithmetic.
//!
//! `C = activation(alpha * A x B + beta * bias + residual)`, where every element of A x B is a long sum: slices of 256 fused multiply-adds,
//! each from +0 in rising k, added in order to a total that starts at +0 (see `unisono_reference::arith`). Its one idea: the chain runs
//! along K inside a register, so M, N, tiles, threads and instruction sets are free, and the bits are the same for all of them.
//!
//! * [`PackedB`] holds constant weights in the order in which they are read; [`gemm`] multiplies by it.
//! * [`gemm_joint`] multiplies several matrices by it, reading it once.
//! * [`gemm_batched`] multiplies matrices that are both variable (attention).
//!
//! How the work is cut follows from shapes and the number of threads, never from a clock. Nothing is allocated: scratch memory comes from
//! the caller, who asks [`gemm_scratch`] or [`gemm_batched_scratch`] for its size.
//!
//! It must never choose another algorithm for small M: one row runs through the same panels with the same chains.

use unisono_runtime::team::Team;

mod block;
mod blocking;
mod epilogue;
mod joint;
pub(crate) mod microkernel;
pub(crate) mod pack;
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
pub use joint::{SEGMENTS, Segment, Segments, gemm_joint, gemm_joint_scratch};
pub use pack::{PackedA, PackedB};
pub use unisono_reference::arith::{MatrixRef, SLICE, Unary};

pub(crate) use blocking::{estimated_ns, products_per_ns};
pub(crate) use pack::assert_covers;

use crate::memory::{Seats, SharedMut};
use crate::simd::Isa;
use block::{Block, Rhs, Strip, Strips};
use blocking::Blocking;
use pack::{strip_count, strip_rows};

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
    gemm_joint_scratch(cores, std::iter::once(m), n, k)
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
    let only = Segment {
        m,
        a,
        c,
        c_step,
        epilogue: *epilogue,
    };
    gemm_joint(cores, b, Segments::from_iter([only]), scratch);
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
    let blocking = Blocking::new(cores, batch, m, n, k);
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
        blocking: Blocking::new(cores, batch, m, n, k),
        cores,
        a,
        b,
        c_step,
    };
    problem.run(offsets, c, epilogue, scratch);
}

struct Problem<'a> {
    blocking: Blocking,
    cores: Cores<'a>,
    a: MatrixRef<'a, f32>,
    b: MatrixRef<'a, f32>,
    c_step: usize,
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
            let (member, ..) = blocking.block(block);
            let [a0, b0, c0] = offsets(member);
            let a = skip(self.a, a0);
            assert_covers(&a, m, k, "A");
            let b = skip(self.b, b0);
            assert_covers(&b, k, n, "B");
            assert!(
                c0.checked_add(extent).is_some_and(|end| end <= c_len)
                    && (m == 1 || self.c_step >= n),
                "C of {m} x {n} at {c0}, rows {} apart, does not fit {c_len} elements",
                self.c_step
            );
            let epilogue = epilogue(member);
            epilogue.check(m, n);
            // SAFETY: checked just above; blocks are disjoint ranges of C, and members are disjoint by the promise of `gemm_batched`'s
            // caller.
            unsafe {
                let c = c.ptr().add(c0);
                compute_block(
                    self.cores.isa,
                    blocking,
                    block,
                    [a, b],
                    (c, self.c_step),
                    &epilogue,
                    area,
                );
            }
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
}

/// Computes one block of a product in one thread.
///
/// # Safety
/// A and B cover their extents, which was checked, as was the epilogue. The block of the C whose first element and distance of rows are
/// given is the caller's alone. The instruction set is available.
unsafe fn compute_block(
    isa: Isa,
    blocking: &Blocking,
    block: usize,
    [a, b]: [MatrixRef<'_, f32>; 2],
    (c, c_step): (*mut f32, usize),
    epilogue: &Epilogue<'_>,
    area: &mut [f32],
) {
    let (_, rows, cols) = blocking.block(block);
    let mut strips = Strips::new();
    for strip in 0..strip_count(rows.len(), isa) {
        let strip = strip_rows(rows.clone(), strip, isa);
        strips.push(Strip {
            before: strip.start - rows.start,
            rows: strip,
            a: &a,
            c,
            c_step,
            epilogue,
        });
    }
    let block = Block {
        isa,
        k: blocking.k,
        k_group: blocking.k_group,
        cols,
        b: Rhs::Dense(b),
    };
    let (totals, rest) = area.split_at_mut(blocking.totals_area);
    let (a_area, b_area) = rest.split_at_mut(blocking.a_area);
    // SAFETY: the caller's promise.
    unsafe { block.compute(&strips, a_area, totals, b_area) };
}

/// A product of variable matrices that one thread computes, with the sums of a [`gemm_batched`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone {
    isa: Isa,
    blocking: Blocking,
}

impl Alone {
    /// Of an m x k and a k x n matrix.
    pub fn new(isa: Isa, m: usize, n: usize, k: usize) -> Alone {
        Alone {
            isa,
            blocking: Blocking::on(isa, 1, [1, m, n, k]),
        }
    }

    /// Elements of scratch memory.
    pub fn area(&self) -> usize {
        self.blocking.area
    }

    /// Counted work, in nanoseconds.
    pub fn estimated_ns(&self) -> u64 {
        self.blocking.estimated_ns
    }

    /// `C = alpha * A x B + ...`, at `c`, its rows `c_step` elements apart.
    ///
    /// # Panics
    /// If A, B or the epilogue's operands do not cover their extents.
    ///
    /// # Safety
    /// The elements of C are there and the caller's alone. The instruction set is available.
    pub unsafe fn run(
        &self,
        [a, b]: [MatrixRef<'_, f32>; 2],
        (c, c_step): (*mut f32, usize),
        epilogue: &Epilogue<'_>,
        area: &mut [f32],
    ) {
        let (m, n, k) = (self.blocking.m, self.blocking.n, self.blocking.k);
        if m == 0 || n == 0 {
            return;
        }
        assert_covers(&a, m, k, "A");
        assert_covers(&b, k, n, "B");
        epilogue.check(m, n);
        for block in 0..self.blocking.blocks() {
            // SAFETY: checked just now, and by the caller's promise.
            unsafe {
                compute_block(
                    self.isa,
                    &self.blocking,
                    block,
                    [a, b],
                    (c, c_step),
                    epilogue,
                    area,
                );
            }
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
