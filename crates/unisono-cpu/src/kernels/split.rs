//! Cutting rows of a tensor into tiles for the team.
//!
//! The cut follows from counted work alone. Every kernel that uses it computes a row from that row only, so no cut can
//! be seen in a result.

use unisono_runtime::team::Team;

use crate::memory::SharedMut;

/// Elements of one tile at least: below that a tile's overhead shows.
const TILE: usize = 4 << 10;

/// Calls `work(first_row, rows_of_out)` for disjoint parts of `out`, which has rows of `width` elements, on the team's
/// threads. `cost` estimates nanoseconds per 16 elements of the rows' input or output, whichever is more.
pub(crate) fn rows<T: Send>(
    team: &Team,
    out: &mut [T],
    width: usize,
    elements_per_row: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if out.is_empty() || width == 0 {
        return;
    }
    let count = out.len() / width;
    let per_tile = (TILE / elements_per_row.max(1)).clamp(1, count);
    let tiles = count.div_ceil(per_tile);
    if tiles == 1 {
        return work(0, out);
    }
    let total = count.saturating_mul(elements_per_row).saturating_mul(cost) / 16;
    let shared = SharedMut::new(out);
    team.run(tiles, total as u64, |tile, _| {
        let first = tile * per_tile;
        let here = per_tile.min(count - first);
        // SAFETY: tiles are disjoint ranges of rows, and each tile runs once.
        let part = unsafe {
            std::slice::from_raw_parts_mut(shared.ptr().add(first * width), here * width)
        };
        work(first, part);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_runtime::team::TeamOptions;

    #[test]
    fn every_row_is_worked_on_once() {
        let team = Team::new(TeamOptions::default().threads(2)).unwrap();
        for (count, width) in [(1, 5), (7, 3), (1000, 37), (3, 20_000), (100_000, 1)] {
            let mut out = vec![0u32; count * width];
            rows(&team, &mut out, width, width, 100, |first, part| {
                for (i, row) in part.chunks_exact_mut(width).enumerate() {
                    row.iter_mut().for_each(|x| *x += (first + i) as u32 + 1);
                }
            });
            let expected = |i: usize| (i / width) as u32 + 1;
            assert!(
                out.iter().enumerate().all(|(i, &x)| x == expected(i)),
                "{count} x {width}"
            );
        }
    }
}
