//! Many copies as one job: small ones together, large ones in pieces, on several threads where that is worth it.

use smallvec::SmallVec;

use crate::team::Team;

/// Bytes that one thread copies at a time. Larger copies are cut; smaller ones are put together until there are as many.
const TILE_BYTES: usize = 32 << 10;

/// Bytes below which one thread does all: handing them to another core takes as long.
const LEAST_BYTES: usize = 64 << 10;

/// Bytes that one core copies in a nanosecond if they lie in another core's cache or in memory. Cautious: a copy is shared early.
const BYTES_PER_NS: usize = 5;

/// One copy.
struct Piece {
    from: *const u8,
    to: *mut u8,
    bytes: usize,
}

/// Copies to be done. Without a team each is done when it is asked for.
pub(super) struct Copies<'a> {
    team: Option<&'a Team>,
    pieces: SmallVec<[Piece; 128]>,
    /// By tile: its first piece.
    tiles: SmallVec<[usize; 64]>,
    /// Bytes of the last tile, and of all.
    filled: usize,
    bytes: usize,
}

// SAFETY: the pointers are those of slices that `push`'s caller keeps alive and apart; pieces are read by several threads, and each
// piece is copied by one of them.
unsafe impl Sync for Copies<'_> {}

impl<'a> Copies<'a> {
    pub(super) fn new(team: Option<&'a Team>) -> Copies<'a> {
        Copies {
            team,
            pieces: SmallVec::new(),
            tiles: SmallVec::new(),
            filled: TILE_BYTES,
            bytes: 0,
        }
    }

    /// Copies all of `from` into `to`, now or in [`Copies::run`].
    ///
    /// # Safety
    /// Until `run` returns, both slices stay alive, nobody writes `from`, and nobody else touches `to`; both are of one length.
    pub(super) unsafe fn push(&mut self, to: &mut [u8], from: &[u8]) {
        if self.team.is_none() {
            return to.copy_from_slice(from);
        }
        assert_eq!(to.len(), from.len(), "a copy's lengths");
        for (to, from) in to.chunks_mut(TILE_BYTES).zip(from.chunks(TILE_BYTES)) {
            if self.filled >= TILE_BYTES {
                self.tiles.push(self.pieces.len());
                self.filled = 0;
            }
            self.filled += to.len();
            self.bytes += to.len();
            self.pieces.push(Piece {
                from: from.as_ptr(),
                to: to.as_mut_ptr(),
                bytes: to.len(),
            });
        }
    }

    /// Does what has been put off.
    pub(super) fn run(self) {
        let Some(team) = self.team else { return };
        let all = &self;
        let estimated_ns = match self.bytes {
            few if few < LEAST_BYTES => 0,
            many => many / BYTES_PER_NS,
        };
        team.run(self.tiles.len(), estimated_ns as u64, |tile, _| {
            let end = all.tiles.get(tile + 1).copied();
            let pieces = all.tiles[tile]..end.unwrap_or(all.pieces.len());
            for piece in &all.pieces[pieces] {
                // SAFETY: both sides are alive and apart, as `push`'s caller promised; a piece is in one tile.
                unsafe { std::ptr::copy_nonoverlapping(piece.from, piece.to, piece.bytes) };
            }
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::team::TeamOptions;

    #[test]
    fn everything_arrives_whatever_the_sizes_and_whoever_copies() {
        let team = Team::new(TeamOptions::default().threads(3)).unwrap();
        let sizes = [
            0,
            1,
            2_000,
            TILE_BYTES,
            5 * TILE_BYTES + 3,
            7,
            100_000,
            100_000,
        ];
        for team in [None, Some(&team)] {
            let from: Vec<u8> = (0..sizes.iter().sum())
                .map(|i: usize| (i * 7 + i / 251) as u8)
                .collect();
            let mut to = vec![0; from.len()];
            let mut copies = Copies::new(team);
            let mut at = 0;
            let mut rest = &mut to[..];
            for size in sizes {
                let (own, behind) = rest.split_at_mut(size);
                // SAFETY: both vectors outlive the run, and the parts are disjoint.
                unsafe { copies.push(own, &from[at..at + size]) };
                (rest, at) = (behind, at + size);
            }
            copies.run();
            assert!(to == from, "{}", team.is_some());
        }
    }
}
