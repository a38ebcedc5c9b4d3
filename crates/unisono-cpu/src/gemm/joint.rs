//! Products with one packed right-hand side, several as one.
//!
//! The one idea: constant weights are read once for all left-hand sides. The strips of all of them stand in one list, and
//! the list is cut into blocks as the rows of one product would be; no strip holds rows of two. An element's chain is
//! the one that it has in a product of its own.

use smallvec::SmallVec;
use unisono_reference::arith::MatrixRef;

use super::block::{Block, Rhs, Strip, Strips};
use super::blocking::JointBlocking;
use super::pack::{PackedB, assert_covers};
use super::{Cores, Epilogue};
use crate::memory::{Seats, SharedMut};

/// One of the left-hand sides, with its part of the result.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Rows.
    pub m: usize,
    /// m x k, with any strides.
    pub a: MatrixRef<'a, f32>,
    /// m x n; row i is `c[i * c_step ..][..n]`, and elements between rows are left alone.
    pub c: &'a mut [f32],
    /// Distance between rows of C.
    pub c_step: usize,
    /// What follows the sums; its bias and residual begin at the segment's first row.
    pub epilogue: Epilogue<'a>,
}

/// More segments than this cost an allocation.
pub const SEGMENTS: usize = 16;

/// Segments of one product.
pub type Segments<'a> = SmallVec<[Segment<'a>; SEGMENTS]>;

/// A segment as the tiles share it.
struct Side<'a> {
    m: usize,
    /// Strips, and rows, of the segments in front of it.
    before: [usize; 2],
    a: MatrixRef<'a, f32>,
    c: SharedMut<'a, f32>,
    c_step: usize,
    epilogue: Epilogue<'a>,
}

/// Elements of scratch memory for a [`gemm_joint`] of segments with so many rows.
pub fn gemm_joint_scratch(
    cores: Cores<'_>,
    rows: impl Iterator<Item = usize>,
    n: usize,
    k: usize,
) -> usize {
    let blocking = JointBlocking::new(cores, rows, n, k);
    Seats::scratch_len(cores.team.threads(), blocking.area)
}

/// `C_i = activation(alpha * A_i x B + ...)` for every segment i, as [`super::gemm`] computes it.
///
/// # Panics
/// If an operand does not cover its extent, the scratch is too small, or B was packed for another instruction set.
pub fn gemm_joint(cores: Cores<'_>, b: &PackedB, segments: Segments<'_>, scratch: &mut [f32]) {
    assert_eq!(
        b.isa(),
        cores.isa,
        "B is packed for another instruction set"
    );
    cores.check();
    let (n, k, isa) = (b.n(), b.k(), cores.isa);
    let blocking = JointBlocking::new(cores, segments.iter().map(|s| s.m), n, k);
    let mut before = [0; 2];
    let mut sides: SmallVec<[Side<'_>; SEGMENTS]> = SmallVec::new();
    for segment in segments {
        let Segment {
            m,
            a,
            c,
            c_step,
            epilogue,
        } = segment;
        assert_covers(&a, m, k, "A");
        let extent = (m.max(1) - 1)
            .checked_mul(c_step)
            .and_then(|rows| rows.checked_add(n));
        assert!(
            m == 0 || n == 0 || extent.is_some_and(|len| len <= c.len()) && (m == 1 || c_step >= n),
            "C of {m} x {n}, rows {c_step} apart, does not fit {} elements",
            c.len()
        );
        epilogue.check(m, n);
        let c = SharedMut::new(c);
        sides.push(Side {
            m,
            before,
            a,
            c,
            c_step,
            epilogue,
        });
        before = [before[0] + blocking.strip_count(m), before[1] + m];
    }
    if before[0] == 0 || n == 0 {
        return;
    }
    // The segment of a strip of the list, the strip's rows there, and all rows in front of it.
    let find = |strip: usize| {
        // The last that begins at the strip or before it; one without rows begins where the next does.
        let side = &sides[sides.partition_point(|s| s.before[0] <= strip) - 1];
        let rows = blocking.strip(strip - side.before[0], side.m);
        let before = side.before[1] + rows.start;
        (side, rows, before)
    };
    let seats = Seats::new(scratch, cores.team.threads(), blocking.area);
    let compute = |tile: usize, seat: usize| {
        let (strips, cols) = blocking.block(tile);
        let Some(first) = strips.clone().next().map(|strip| find(strip).2) else {
            return;
        };
        let mut block_strips = Strips::new();
        for (side, rows, before) in strips.map(find) {
            block_strips.push(Strip {
                rows,
                before: before - first,
                a: &side.a,
                c: side.c.ptr(),
                c_step: side.c_step,
                epilogue: &side.epilogue,
            });
        }
        let block = Block {
            isa,
            k,
            k_group: blocking.k_group,
            cols,
            b: Rhs::Packed(b),
        };
        // SAFETY: a seat has one holder at a time.
        let area = unsafe { seats.area(seat) };
        let (totals, a_area) = area.split_at_mut(blocking.totals_area);
        // SAFETY: A, C, bias and residual of every segment cover their extents, as checked above. Each C is an exclusive
        // borrow, and blocks are disjoint ranges of strips and columns. The instruction set is available.
        unsafe { block.compute(&block_strips, a_area, totals, &mut []) };
    };
    let (blocks, estimated_ns) = (blocking.blocks(), blocking.estimated_ns);
    cores.team.run(blocks, estimated_ns, compute);
}
