//! Panels of input patches: for a few dozen output positions, the inputs that each tap reads.
//!
//! A panel's row is one term of the sums (a tap and a channel), its columns are positions. For one tap, all channels read the same
//! places of their planes, so the places are found once per tap and then copied channel by channel: as one piece where the positions
//! follow each other in the input, as a few pieces where rows end, one by one otherwise. Places outside of the input are +0.

use std::ops::Range;

use super::passes::{Lattice, Pass};
use crate::gemm::microkernel::MAX_COLS;
use crate::simd::Isa;

/// A place outside of the input.
const OUTSIDE: i32 = -1;

/// The input as seen by one image and group.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    /// All channels of the group, one plane after the other.
    pub data: &'a [f32],
    pub channels: usize,
    /// The spatial size.
    pub size: [usize; 3],
}

/// The input positions of a panel's columns before a tap is added.
pub(super) struct Columns {
    at: [[i32; MAX_COLS]; 3],
}

impl Columns {
    /// The positions `from..to` of a lattice, at most [`MAX_COLS`]. Columns beyond read zeros.
    pub fn new(lattice: &Lattice, from: usize, to: usize) -> Self {
        // So far outside that no tap leads in.
        let mut at = [[i32::MIN / 2; MAX_COLS]; 3];
        let mut q = lattice.unravel(from);
        for lane in 0..to - from {
            for axis in 0..3 {
                at[axis][lane] = lattice.in_start[axis] + q[axis] as i32 * lattice.in_step[axis];
            }
            q[2] += 1;
            if q[2] == lattice.count[2] {
                q[2] = 0;
                q[1] += 1;
                if q[1] == lattice.count[1] {
                    q[1] = 0;
                    q[0] += 1;
                }
            }
        }
        Self { at }
    }

    /// Where in a plane of `size` each column reads for a tap; [`OUTSIDE`] for zeros.
    fn places(&self, tap: Option<[i32; 3]>, size: [usize; 3]) -> [i32; MAX_COLS] {
        let mut places = [OUTSIDE; MAX_COLS];
        let Some(tap) = tap else { return places };
        let [d, h, w] = size.map(|s| s as i32);
        for (lane, place) in places.iter_mut().enumerate() {
            let z = self.at[0][lane] + tap[0];
            let y = self.at[1][lane] + tap[1];
            let x = self.at[2][lane] + tap[2];
            // Negative numbers are large when read without sign.
            let inside = (z as u32) < d as u32 && (y as u32) < h as u32 && (x as u32) < w as u32;
            let index = z
                .wrapping_mul(h)
                .wrapping_add(y)
                .wrapping_mul(w)
                .wrapping_add(x);
            *place = if inside { index } else { OUTSIDE };
        }
        places
    }
}

/// Writes rows `terms` of a panel of `width` columns to `out`.
///
/// # Panics
/// If `out` is shorter than that.
pub(super) fn fill(
    isa: Isa,
    pass: &Pass,
    columns: &Columns,
    planes: Planes<'_>,
    terms: Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let channels = planes.channels;
    let mut rest = &mut out[..terms.len() * width];
    let mut term = terms.start;
    while term < terms.end {
        let (tap, first) = (term / channels, term % channels);
        let last = channels.min(first + terms.end - term);
        let places = columns.places(pass.taps[tap], planes.size);
        let (rows, later) = std::mem::take(&mut rest).split_at_mut((last - first) * width);
        rest = later;
        copy(isa, &places, planes, first..last, width, rows);
        term += last - first;
    }
}

/// Copies the same places of the planes `channels` into rows of `width` columns.
fn copy(
    isa: Isa,
    places: &[i32; MAX_COLS],
    planes: Planes<'_>,
    channels: Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let plane: usize = planes.size.iter().product();
    let places = &places[..width];
    let sources = planes.data[channels.start * plane..channels.end * plane].chunks_exact(plane);
    if places.iter().all(|&p| p == OUTSIDE) {
        out.fill(0.0);
        return;
    }
    let in_a_row = places[0] != OUTSIDE && places.windows(2).all(|p| p[1] == p[0] + 1);
    if in_a_row {
        let from = places[0] as usize;
        for (row, source) in out.chunks_exact_mut(width).zip(sources) {
            row.copy_from_slice(&source[from..from + width]);
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && width == 32 {
        // SAFETY: the instruction set is available; every place that is not `OUTSIDE` lies within a plane, as `places` saw to.
        unsafe { avx512::copy(places, plane, sources.map(<[f32]>::as_ptr), out) };
        return;
    }
    let _ = isa;
    for (row, source) in out.chunks_exact_mut(width).zip(sources) {
        for (value, &place) in row.iter_mut().zip(places) {
            *value = source.get(place as usize).copied().unwrap_or(0.0);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_mask_i32gather_ps, _mm512_mask_loadu_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::OUTSIDE;

    /// Pieces up to which masked loads are cheaper than fetching elements one by one.
    const PIECES: usize = 4;

    /// Lanes `mask` read what follows each other from `shift` on, counted from lane 0.
    #[derive(Clone, Copy, Default)]
    struct Piece {
        mask: u32,
        shift: isize,
    }

    /// Copies 32 places of each source.
    ///
    /// # Safety
    /// Places are [`OUTSIDE`] or below the sources' length, which is below 2^31.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn copy(
        places: &[i32],
        _plane: usize,
        sources: impl Iterator<Item = *const f32>,
        out: &mut [f32],
    ) {
        let mut pieces = [Piece::default(); PIECES];
        let mut count = 0;
        let mut before = OUTSIDE;
        let mut inside = 0_u32;
        for (lane, &place) in places[..32].iter().enumerate() {
            if place != OUTSIDE {
                inside |= 1 << lane;
                if before == OUTSIDE || place != before + 1 {
                    if let Some(piece) = pieces.get_mut(count) {
                        piece.shift = place as isize - lane as isize;
                    }
                    count += 1;
                }
                if let Some(piece) = pieces.get_mut(count - 1) {
                    piece.mask |= 1 << lane;
                }
            }
            before = place;
        }
        let rows = out.as_chunks_mut::<32>().0.iter_mut().zip(sources);
        if count <= PIECES {
            // SAFETY: masked loads touch the selected lanes only, and each of those is a place of the source.
            unsafe {
                for (row, source) in rows {
                    for half in 0..2 {
                        let mut lanes = _mm512_setzero_ps();
                        for piece in &pieces[..count] {
                            let mask = (piece.mask >> (16 * half)) as u16;
                            let from = source.wrapping_offset(piece.shift + 16 * half as isize);
                            lanes = _mm512_mask_loadu_ps(lanes, mask, from);
                        }
                        _mm512_storeu_ps(row.as_mut_ptr().add(16 * half), lanes);
                    }
                }
            }
            return;
        }
        // SAFETY: as above; `places` has 32 elements.
        unsafe {
            let index: [__m512i; 2] =
                std::array::from_fn(|half| _mm512_loadu_si512(places.as_ptr().add(16 * half).cast()));
            for (row, source) in rows {
                for half in 0..2 {
                    let mask = (inside >> (16 * half)) as u16;
                    let zero = _mm512_setzero_ps();
                    let lanes = _mm512_mask_i32gather_ps::<4>(zero, mask, index[half], source.cast());
                    _mm512_storeu_ps(row.as_mut_ptr().add(16 * half), lanes);
                }
            }
        }
    }
}
