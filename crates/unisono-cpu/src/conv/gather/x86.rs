//! Copying places with masked loads: whole panels, the ends of rows, every second element.
//!
//! The places of a panel's columns are cut into *pieces*: columns whose places rise by one, or all by two (a stride of 2). A few pieces
//! are fetched with one or two masked loads each; many pieces with the instruction that gathers single elements. Masked-off lanes touch no
//! memory, so a load may begin before a plane or reach beyond it.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_castsi256_ps, _mm256_i32gather_ps, _mm256_loadu_si256,
    _mm256_mask_i32gather_ps, _mm256_maskload_ps, _mm256_or_ps, _mm256_setzero_ps,
    _mm256_storeu_ps, _mm512_loadu_si512, _mm512_mask_blend_ps, _mm512_mask_i32gather_ps,
    _mm512_mask_loadu_ps, _mm512_maskz_loadu_ps, _mm512_permutex2var_ps, _mm512_setzero_ps,
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
    #[inline(always)]
    fn of(places: &[i32], step: i32) -> Option<Self> {
        let mut found = Self {
            pieces: [Piece::default(); MOST_PIECES],
            count: 0,
            step: step as isize,
        };
        let mut before = OUTSIDE;
        for (column, &place) in places.iter().enumerate() {
            if place != OUTSIDE {
                if before == OUTSIDE || place != before + step {
                    let piece = found.pieces.get_mut(found.count)?;
                    piece.shift = place as isize - found.step * column as isize;
                    found.count += 1;
                }
                found.pieces[found.count - 1].mask |= 1 << column;
            }
            before = place;
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
    panel.fill(WIDE, |places, sources, out| {
        // SAFETY: places are `OUTSIDE` or lie within a plane.
        unsafe { copy_avx512(places, sources, out) };
    });
}

/// # Safety
/// Places are [`OUTSIDE`] or below the sources' plane length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
unsafe fn copy_avx512(places: &[i32; MAX_COLS], sources: Sources<'_>, out: &mut [f32]) {
    let rows = out
        .as_chunks_mut::<WIDE>()
        .0
        .iter_mut()
        .zip(sources.data.chunks_exact(sources.plane));
    let pieces = Pieces::of(places, 1).or_else(|| Pieces::of(places, 2));
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
            let inside = mask_of(places);
            // SAFETY: `places` has 32 elements.
            let index: [__m512i; 2] = std::array::from_fn(|half| unsafe {
                _mm512_loadu_si512(places.as_ptr().add(16 * half).cast())
            });
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

/// The columns whose places lie in the input.
#[inline(always)]
fn mask_of(places: &[i32]) -> u32 {
    places.iter().enumerate().fold(0, |mask, (c, &place)| {
        mask | u32::from(place != OUTSIDE) << c
    })
}

/// Fills a panel of [`NARROW`] columns.
#[target_feature(enable = "avx2,fma")]
pub(super) fn fill_avx2(panel: Panel<'_>) {
    panel.fill(NARROW, |places, sources, out| {
        // SAFETY: places are `OUTSIDE` or lie within a plane.
        unsafe { copy_avx2(places, sources, out) };
    });
}

/// # Safety
/// Places are [`OUTSIDE`] or below the sources' plane length.
#[target_feature(enable = "avx2,fma")]
unsafe fn copy_avx2(places: &[i32; MAX_COLS], sources: Sources<'_>, out: &mut [f32]) {
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
    if let Some(pieces) = Pieces::of(places, 1) {
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
    let inside = mask_of(places);
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
