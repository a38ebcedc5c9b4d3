//! Panels of input patches: for a few dozen output positions, the inputs that each tap reads.
//!
//! A panel's row is one term of the sums (a tap and a channel), its columns are positions. For one tap, all channels read the same
//! places of their planes, so the places are found once per tap and then copied channel by channel: as one piece where the positions
//! follow each other in the input, as a few pieces where rows end, one by one otherwise. Places outside of the input are +0.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use unisono_tensor::mutant;

use crate::conv::passes::{Lattice, Pass};
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
    /// How far neighbours in a row lie apart.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "only masked loads ask for it")
    )]
    step: i32,
}

impl Columns {
    /// The positions `from..to` of a lattice, at most [`MAX_COLS`]. Columns beyond read zeros.
    pub fn new(lattice: &Lattice, from: usize, to: usize) -> Self {
        // So far outside that no tap leads in.
        let mut at = [[i32::MIN / 2; MAX_COLS]; 3];
        let mut q = lattice.unravel(from);
        for lane in 0..to - from {
            for (axis, at) in at.iter_mut().enumerate() {
                at[lane] = lattice.in_start[axis] + q[axis] as i32 * lattice.in_step[axis];
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
        Self {
            at,
            step: lattice.in_step[2],
        }
    }

    /// Where in a plane of `size` each column reads for a tap; [`OUTSIDE`] for zeros.
    #[inline(always)]
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
            *place = if inside {
                index
            } else if mutant!(PaddingReadsInput) {
                0
            } else {
                OUTSIDE
            };
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
    let panel = Panel {
        pass,
        columns,
        planes,
        terms,
        out,
    };
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `conv` checked the instruction set.
        Isa::Avx512 => unsafe { x86::fill_avx512(panel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { x86::fill_avx2(panel) },
        _ => panel.fill(width, |places, sources, out| {
            copy(places, sources, width, out)
        }),
    }
}

/// A panel to be filled.
struct Panel<'a> {
    pass: &'a Pass,
    columns: &'a Columns,
    planes: Planes<'a>,
    terms: Range<usize>,
    out: &'a mut [f32],
}

/// Channel planes of equal length, one after the other.
#[derive(Clone, Copy)]
struct Sources<'a> {
    data: &'a [f32],
    plane: usize,
}

impl Panel<'_> {
    /// Finds each tap's places and has `copy` fetch them from the planes of the tap's channels.
    #[inline(always)]
    fn fill(self, width: usize, copy: impl Fn(&[i32; MAX_COLS], Sources<'_>, &mut [f32])) {
        let channels = self.planes.channels;
        let plane: usize = self.planes.size.iter().product();
        let mut rest = &mut self.out[..self.terms.len() * width];
        let mut term = self.terms.start;
        while term < self.terms.end {
            let (tap, first) = (term / channels, term % channels);
            let last = channels.min(first + self.terms.end - term);
            let places = self.columns.places(self.pass.taps[tap], self.planes.size);
            let (rows, later) = std::mem::take(&mut rest).split_at_mut((last - first) * width);
            rest = later;
            if places[..width].iter().all(|&place| place == OUTSIDE) {
                rows.fill(0.0);
            } else {
                let data = &self.planes.data[first * plane..last * plane];
                copy(&places, Sources { data, plane }, rows);
            }
            term += last - first;
        }
    }
}

/// Copies the same places of all sources into rows of `width` columns.
fn copy(places: &[i32; MAX_COLS], sources: Sources<'_>, width: usize, out: &mut [f32]) {
    let places = &places[..width];
    let rows = out
        .chunks_exact_mut(width)
        .zip(sources.data.chunks_exact(sources.plane));
    let in_a_row = places[0] != OUTSIDE && places.windows(2).all(|p| p[1] == p[0] + 1);
    if in_a_row {
        let from = places[0] as usize;
        rows.for_each(|(row, source)| row.copy_from_slice(&source[from..from + width]));
        return;
    }
    for (row, source) in rows {
        for (value, &place) in row.iter_mut().zip(places) {
            // `OUTSIDE` as an index is beyond every plane.
            *value = source.get(place as usize).copied().unwrap_or(0.0);
        }
    }
}
