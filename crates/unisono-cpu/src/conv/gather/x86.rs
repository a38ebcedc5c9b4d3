//! Copying places with masked loads: whole panels, the ends of rows, every second element.
//!
//! The places of a panel's columns are cut into *pieces*: columns whose places rise by one, or all by two (a stride of 2). A few pieces
//! are fetched with one or two masked loads each; many pieces with the instruction that gathers single elements. Masked-off lanes touch no
//! memory, so a load may begin before a plane or reach beyond it.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_castsi256_ps, _mm256_i32gather_ps, _mm256_loadu_si256,
    _mm256_mask_i32gather_ps, _mm256_maskload_ps, _mm256_or_ps, _mm256_setzero_ps,
    _mm256_storeu_ps, _mm512_add_epi32, _mm512_cmpeq_epi32_mask, _mm512_cmpneq_epi32_mask,
    _mm512_loadu_si512, _mm512_mask_blend_ps, _mm512_mask_i32gather_ps, _mm512_mask_loadu_ps,
    _mm512_maskz_loadu_ps, _mm512_permutex2var_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

use super::{OUTSIDE, Panel, Sources};
use crate::gemm::microkernel::MAX_COLS;

/// Columns of a panel on AVX-512.
const WIDE: usize = 32;
/// Columns of a panel on AVX2.
const NARROW: usize = 16;
/// Pieces up to which masked loads are cheaper than gathering.
const MOST_PIECES: usize = 4;

/// Columns `mask`, of which column c reads place `shift + step * c`.
#[derive(Clone, Copy, Default)]
struct Piece {
    mask: u32,
    shift: isize,
}

/// All columns of a panel, if they form few pieces.
struct Pieces {
    pieces: [Piece; MOST_PIECES],
    count: usize,
    /// 1 or 2.
    step: isize,
}

impl Pieces {
    /// Cuts columns into pieces. `inside` are those whose places lie in the input, `follows` those whose place is that of the column
    /// before plus `step`.
    #[inline(always)]
    fn of(places: &[i32], inside: u32, follows: u32, step: isize) -> Option<Self> {
        let mut found = Self {
            pieces: [Piece::default(); MOST_PIECES],
            count: 0,
            step,
        };
        // The column before the first does not exist, and one that follows an outside column starts anew.
        let continues = inside & follows & inside << 1;
        let mut starts = inside & !continues;
        while starts != 0 {
            let column = starts.trailing_zeros();
            starts &= starts - 1;
            // Later columns that continue, as far as they are neighbours; the column itself.
            let length = 1 + (!(u64::from(continues) >> (column + 1))).trailing_zeros();
            let piece = found.pieces.get_mut(found.count)?;
            piece.mask = (((1_u64 << length) - 1) << column) as u32;
            piece.shift = places[column as usize] as isize - step * column as isize;
            found.count += 1;
        }
        Some(found)
    }

    #[inline(always)]
    fn iter(&self) -> std::slice::Iter<'_, Piece> {
        self.pieces[..self.count].iter()
    }
}

/// Fills a panel of [`WIDE`] columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub(super) fn fill_avx512(panel: Panel<'_>) {
    let step = panel.columns.step;
    panel.fill(WIDE, |places, sources, out| {
        // SAFETY: places are `OUTSIDE` or lie within a plane.
        unsafe { copy_avx512(places, step, sources, out) };
    });
}

/// # Safety
/// Places are [`OUTSIDE`] or below the sources' plane length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
unsafe fn copy_avx512(places: &[i32; MAX_COLS], step: i32, sources: Sources<'_>, out: &mut [f32]) {
    // The places of the columns before; the first has none.
    let mut before = [OUTSIDE; WIDE + 1];
    before[1..].copy_from_slice(places);
    // SAFETY: both arrays have 32 elements and more.
    let [index, before]: [[__m512i; 2]; 2] = unsafe {
        [places.as_ptr(), before.as_ptr()]
            .map(|p| [0, 1].map(|half| _mm512_loadu_si512(p.add(16 * half).cast())))
    };
    let (mut inside, mut follows) = (0, 0);
    for half in 0..2 {
        let next = _mm512_add_epi32(before[half], _mm512_set1_epi32(step));
        let outside = _mm512_set1_epi32(OUTSIDE);
        inside |= u32::from(_mm512_cmpneq_epi32_mask(index[half], outside)) << (16 * half);
        follows |= u32::from(_mm512_cmpeq_epi32_mask(index[half], next)) << (16 * half);
    }
    let rows = out
        .as_chunks_mut::<WIDE>()
        .0
        .iter_mut()
        .zip(sources.data.chunks_exact(sources.plane));
    let pieces = match step {
        1 | 2 => Pieces::of(places, inside, follows, step as isize),
        _ => None,
    };
    match pieces {
        Some(pieces) if pieces.step == 1 => {
            for (row, source) in rows {
                for half in 0..2 {
                    let mut lanes = _mm512_setzero_ps();
                    for piece in pieces.iter() {
                        let mask = (piece.mask >> (16 * half)) as u16;
                        let from = source
                            .as_ptr()
                            .wrapping_offset(piece.shift + 16 * half as isize);
                        // SAFETY: the lanes of the mask are places of the source.
                        lanes = unsafe { _mm512_mask_loadu_ps(lanes, mask, from) };
                    }
                    // SAFETY: a row has 32 elements.
                    unsafe { _mm512_storeu_ps(row.as_mut_ptr().add(16 * half), lanes) };
                }
            }
        }
        Some(pieces) => {
            const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
            // SAFETY: 16 integers.
            let even: __m512i = unsafe { _mm512_loadu_si512(EVEN.as_ptr().cast()) };
            let spreads = pieces
                .pieces
                .map(|piece| [spread(piece.mask & 0xffff), spread(piece.mask >> 16)]);
            for (row, source) in rows {
                for half in 0..2 {
                    let mut lanes = _mm512_setzero_ps();
                    for (piece, spread) in pieces.iter().zip(&spreads) {
                        let mask = piece.mask >> (16 * half);
                        let spread = spread[half];
                        let from = source
                            .as_ptr()
                            .wrapping_offset(piece.shift + 32 * half as isize);
                        // SAFETY: the lanes of the masks are places of the source.
                        let (low, high) = unsafe {
                            (
                                _mm512_maskz_loadu_ps(spread as u16, from),
                                _mm512_maskz_loadu_ps((spread >> 16) as u16, from.wrapping_add(16)),
                            )
                        };
                        let both = _mm512_permutex2var_ps(low, even, high);
                        lanes = _mm512_mask_blend_ps(mask as u16, lanes, both);
                    }
                    // SAFETY: a row has 32 elements.
                    unsafe { _mm512_storeu_ps(row.as_mut_ptr().add(16 * half), lanes) };
                }
            }
        }
        None => {
            for (row, source) in rows {
                for (half, &index) in index.iter().enumerate() {
                    let mask = (inside >> (16 * half)) as u16;
                    // SAFETY: the lanes of the mask are places of the source; a row has 32 elements.
                    unsafe {
                        let lanes = _mm512_mask_i32gather_ps::<4>(
                            _mm512_setzero_ps(),
                            mask,
                            index,
                            source.as_ptr().cast(),
                        );
                        _mm512_storeu_ps(row.as_mut_ptr().add(16 * half), lanes);
                    }
                }
            }
        }
    }
}

/// The lower 16 bits, spread to every second of 32.
#[inline(always)]
fn spread(mut mask: u32) -> u32 {
    for (shift, keep) in [
        (8, 0x00ff_00ff),
        (4, 0x0f0f_0f0f),
        (2, 0x3333_3333),
        (1, 0x5555_5555),
    ] {
        mask = (mask | mask << shift) & keep;
    }
    mask
}

/// The columns for which `test(place, place before)` holds.
#[inline(always)]
fn mask_of(places: &[i32], test: impl Fn(i32, i32) -> bool) -> u32 {
    let mut before = OUTSIDE;
    let mut mask = 0;
    for (column, &place) in places.iter().enumerate() {
        mask |= u32::from(test(place, before)) << column;
        before = place;
    }
    mask
}

/// Fills a panel of [`NARROW`] columns.
#[target_feature(enable = "avx2,fma")]
pub(super) fn fill_avx2(panel: Panel<'_>) {
    let step = panel.columns.step;
    panel.fill(NARROW, |places, sources, out| {
        // SAFETY: places are `OUTSIDE` or lie within a plane.
        unsafe { copy_avx2(places, step, sources, out) };
    });
}

/// # Safety
/// Places are [`OUTSIDE`] or below the sources' plane length.
#[target_feature(enable = "avx2,fma")]
unsafe fn copy_avx2(places: &[i32; MAX_COLS], step: i32, sources: Sources<'_>, out: &mut [f32]) {
    let places = &places[..NARROW];
    let rows = out
        .as_chunks_mut::<NARROW>()
        .0
        .iter_mut()
        .zip(sources.data.chunks_exact(sources.plane));
    // Lanes are selected by their sign bits.
    let selector = |mask: u32, half: usize| {
        let lanes: [i32; 8] = std::array::from_fn(|lane| -((mask >> (8 * half + lane) & 1) as i32));
        // SAFETY: 8 integers.
        unsafe { _mm256_loadu_si256(lanes.as_ptr().cast::<__m256i>()) }
    };
    let inside = mask_of(places, |place, _| place != OUTSIDE);
    let follows = mask_of(places, |place, before| place == before + 1);
    let pieces = match step {
        1 => Pieces::of(places, inside, follows, 1),
        _ => None,
    };
    if let Some(pieces) = pieces {
        let masks: [[__m256i; 2]; MOST_PIECES] = std::array::from_fn(|i| {
            std::array::from_fn(|half| selector(pieces.pieces[i].mask, half))
        });
        for (row, source) in rows {
            for half in 0..2 {
                let mut lanes = _mm256_setzero_ps();
                for (piece, masks) in pieces.iter().zip(&masks) {
                    let from = source
                        .as_ptr()
                        .wrapping_offset(piece.shift + 8 * half as isize);
                    // SAFETY: the selected lanes are places of the source; others come as zeros.
                    lanes = _mm256_or_ps(lanes, unsafe { _mm256_maskload_ps(from, masks[half]) });
                }
                // SAFETY: a row has 16 elements.
                unsafe { _mm256_storeu_ps(row.as_mut_ptr().add(8 * half), lanes) };
            }
        }
        return;
    }
    let masks: [__m256i; 2] = std::array::from_fn(|half| selector(inside, half));
    // SAFETY: `places` has 16 elements.
    let index: [__m256i; 2] = std::array::from_fn(|half| unsafe {
        _mm256_loadu_si256(places.as_ptr().add(8 * half).cast())
    });
    let everywhere = inside == (1 << NARROW) - 1;
    for (row, source) in rows {
        for half in 0..2 {
            // SAFETY: the selected lanes are places of the source; a row has 16 elements.
            unsafe {
                let lanes = if everywhere {
                    _mm256_i32gather_ps::<4>(source.as_ptr(), index[half])
                } else {
                    _mm256_mask_i32gather_ps::<4>(
                        _mm256_setzero_ps(),
                        source.as_ptr(),
                        index[half],
                        _mm256_castsi256_ps(masks[half]),
                    )
                };
                _mm256_storeu_ps(row.as_mut_ptr().add(8 * half), lanes);
            }
        }
    }
}
