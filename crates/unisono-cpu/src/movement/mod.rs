//! Moving elements without looking at them.
//!
//! The one idea: where an element goes follows from shapes alone, so all thinking is done before anything runs. What is left is to copy runs
//! of bytes, and to turn planes whose rows become columns. Bits are moved, never computed with: a NaN keeps its payload.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this one | [`turn_planes`]: `f32` planes, rows to columns |
//! | `turn` | one plane or a part of it, elements of any size |
//! | `merge` | axes along which several operands advance as one |
//! | `nest` | loops over axes, around runs and planes |
//! | `run` | one run of bytes |
//!
//! Nothing here allocates while it runs, and no element is written by two threads.

mod merge;
pub(crate) mod nest;
pub(crate) mod run;
mod turn;

use std::ops::Range;

use crate::gemm::Cores;
use crate::memory::SharedMut;
pub use merge::{Axes, Axis, MAX_AXES, merge};
pub use nest::{Side, Steps, inside, steps, stretched};
pub(crate) use turn::{Plane, Turn};

/// Bytes that one core takes in and gives out in a nanosecond when it turns planes; for the decision to share alone.
const BYTES_PER_NS: usize = 10;

/// `y[p][c][r] = x[p][r][c]` for every plane p: N x spatial x C of N x C x spatial, and back.
///
/// # Panics
/// If a slice does not have `planes * rows * cols` elements, or the machine lacks the instruction set.
pub fn turn_planes(
    cores: Cores<'_>,
    planes: usize,
    rows: usize,
    cols: usize,
    x: &[f32],
    y: &mut [f32],
) {
    cores.check();
    let area = rows.checked_mul(cols);
    let len = area.and_then(|area| area.checked_mul(planes));
    let (Some(area), Some(len)) = (area, len) else {
        // Beside an axis of length zero.
        assert!(
            x.is_empty() && y.is_empty(),
            "more elements than there can be"
        );
        return;
    };
    assert_eq!(x.len(), len, "input");
    assert_eq!(y.len(), len, "output");
    if len == 0 {
        return;
    }
    let plane = Plane::dense(rows, cols);
    let turn = Turn::new(cores.isa, size_of::<f32>());
    let parts = plane.parts();
    // Small planes go together.
    let items = planes * parts;
    let per_tile = (turn::PART / (area / parts).max(1)).clamp(1, items);
    let tiles = items.div_ceil(per_tile);
    let shared = SharedMut::new(y);
    let estimated_ns = 2 * size_of_val(x) / BYTES_PER_NS;
    cores.team.run(tiles, estimated_ns as u64, |tile, _| {
        for item in tile * per_tile..items.min((tile + 1) * per_tile) {
            let first = item / parts * area;
            // SAFETY: both have an element for every one of every plane; parts of planes are disjoint, and each is turned once.
            unsafe {
                let (x, y) = (x.as_ptr().add(first), shared.ptr().add(first));
                turn.part(&plane, item % parts, x.cast(), y.cast());
            }
        }
    });
}

/// Part `i` of `0..n` cut into pieces of `each`.
fn piece(i: usize, each: usize, n: usize) -> Range<usize> {
    i * each..n.min((i + 1) * each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;
    use unisono_runtime::team::{Team, TeamOptions};

    #[test]
    fn every_element_of_every_plane_finds_its_place() {
        let team = Team::new(TeamOptions::default().threads(2)).unwrap();
        let dims = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 49, 130, 1030];
        let mut shapes: Vec<[usize; 3]> = vec![
            [0, 3, 5],
            [2, 0, 5],
            [2, 3, 0],
            [1, 3, 50_176],
            [1, 50_176, 3],
            [3, 960, 49],
            [1, 4, 20_011],
            [1, 20_011, 4],
            [1, 2, 20_011],
            [1, 20_011, 2],
        ];
        for rows in dims {
            shapes.extend(dims.map(|cols| [3, rows, cols]));
        }
        for [planes, rows, cols] in shapes {
            // Bits of every kind, NaNs with payload among them.
            let x: Vec<f32> = (0..planes * rows * cols)
                .map(|i| f32::from_bits((i as u32).wrapping_mul(0x9E37_79B9)))
                .collect();
            for isa in Isa::available() {
                let mut y = vec![0.0; x.len()];
                let cores = Cores { isa, team: &team };
                turn_planes(cores, planes, rows, cols, &x, &mut y);
                for (i, value) in x.iter().enumerate() {
                    let (p, r, c) = (i / (rows * cols), i / cols % rows, i % cols);
                    assert_eq!(
                        y[(p * cols + c) * rows + r].to_bits(),
                        value.to_bits(),
                        "{planes} x {rows} x {cols} at {p}, {r}, {c} on {isa}"
                    );
                }
            }
        }
    }
}
