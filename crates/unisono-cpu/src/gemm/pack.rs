//! Matrices in the order in which the microkernels read them.
//!
//! * B is cut into *panels* of as many columns as a microkernel has (the last one padded with zeros); within a panel, k rises and a
//!   row's columns lie side by side: one stream from front to back, in steps of one cache line or two.
//! * A is cut into *strips* of at most as many rows as a microkernel has, all of nearly equal height; within a strip, k rises and a
//!   column's rows lie side by side. A strip's slice is read from front to back as well, so it occupies as many lines as it has
//!   values, however the rows of A are spaced (rows 4 KiB apart would share one set of the first-level cache).
//!
//! Slices of K need no mark in either: 256 rows of a panel follow each other.

use std::ops::Range;

use unisono_reference::arith::MatrixRef;
use unisono_tensor::TensorError;

use super::microkernel::Microkernels;
use crate::memory::AlignedBuf;
use crate::simd::Isa;

/// A constant right-hand side (weights), packed once for one instruction set.
///
/// Other element types (f16, bf16, int8) get panels of their own beside these, widened as a panel is read; the cutting into panels
/// is the same for all.
#[derive(Debug)]
pub struct PackedB {
    panels: AlignedBuf,
    isa: Isa,
    k: usize,
    n: usize,
}

impl PackedB {
    /// Packs `b` of k x n.
    ///
    /// # Errors
    /// There is no memory for it.
    ///
    /// # Panics
    /// If `b` does not cover k x n.
    pub fn pack(isa: Isa, k: usize, n: usize, b: MatrixRef<'_, f32>) -> Result<Self, TensorError> {
        assert_covers(&b, k, n, "B");
        let cols = Microkernels::of(isa).cols;
        let mut panels = AlignedBuf::zeroed(n.div_ceil(cols) * cols * k)?;
        if k > 0 {
            for (panel, out) in panels.as_mut_slice().chunks_exact_mut(cols * k).enumerate() {
                let first = panel * cols;
                pack_panel(&b, 0..k, first..n.min(first + cols), cols, out);
            }
        }
        Ok(Self { panels, isa, k, n })
    }

    /// Packs the k x n values `b(k, n)`.
    ///
    /// # Errors
    /// There is no memory for them.
    pub(crate) fn from_fn(
        isa: Isa,
        k: usize,
        n: usize,
        b: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, TensorError> {
        let cols = Microkernels::of(isa).cols;
        let mut panels = AlignedBuf::zeroed(n.div_ceil(cols) * cols * k)?;
        for (row, out) in panels.as_mut_slice().chunks_exact_mut(cols).enumerate() {
            let (panel, kk) = (row / k, row % k);
            for (value, j) in out.iter_mut().zip(panel * cols..n) {
                *value = b(kk, j);
            }
        }
        Ok(Self { panels, isa, k, n })
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The instruction set that it was packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory that the panels take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// The rows from `k0` on of a panel.
    pub(crate) fn panel(&self, panel: usize, k0: usize) -> &[f32] {
        let cols = Microkernels::of(self.isa).cols;
        &self.panels.as_slice()[(panel * self.k + k0) * cols..(panel + 1) * self.k * cols]
    }
}

/// A constant left-hand side (the weights of a convolution), packed once for one instruction set.
#[derive(Debug)]
pub struct PackedA {
    strips: AlignedBuf,
    isa: Isa,
    m: usize,
    k: usize,
}

impl PackedA {
    /// Packs the m x k values `a(row, k)`.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn pack(
        isa: Isa,
        m: usize,
        k: usize,
        a: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, TensorError> {
        let mut strips = AlignedBuf::zeroed(m * k)?;
        let mut out = strips.as_mut_slice().iter_mut();
        for strip in 0..strip_count(m, isa) {
            let rows = strip_rows(0..m, strip, isa);
            for kk in 0..k {
                for row in rows.clone() {
                    if let Some(value) = out.next() {
                        *value = a(row, kk);
                    }
                }
            }
        }
        Ok(Self { strips, isa, m, k })
    }

    /// Rows.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Columns: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The instruction set that it was packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory that the strips take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.strips.as_slice())
    }

    /// How many strips there are.
    pub(crate) fn strips(&self) -> usize {
        strip_count(self.m, self.isa)
    }

    /// The rows of a strip, and its values from `k0` on.
    pub(crate) fn strip(&self, strip: usize, k0: usize) -> (Range<usize>, &[f32]) {
        let rows = strip_rows(0..self.m, strip, self.isa);
        let values = &self.strips.as_slice()[rows.start * self.k..rows.end * self.k];
        let skip = k0 * rows.len();
        (rows, &values[skip..])
    }
}

/// Into how many strips `m` rows are cut.
pub(crate) fn strip_count(m: usize, isa: Isa) -> usize {
    m.div_ceil(Microkernels::of(isa).rows())
}

/// The rows of a strip out of those that `rows` is cut into: heights differ by one at most, so that no strip is too low to keep the
/// multipliers busy.
pub(crate) fn strip_rows(rows: Range<usize>, strip: usize, isa: Isa) -> Range<usize> {
    let (m, count) = (rows.len(), strip_count(rows.len(), isa));
    rows.start + strip * m / count..rows.start + (strip + 1) * m / count
}

/// Panics unless `matrix` covers rows x cols.
pub(crate) fn assert_covers(matrix: &MatrixRef<'_, f32>, rows: usize, cols: usize, name: &str) {
    if rows == 0 || cols == 0 {
        return;
    }
    let last = (rows - 1)
        .checked_mul(matrix.row_stride)
        .zip((cols - 1).checked_mul(matrix.col_stride))
        .and_then(|(r, c)| r.checked_add(c));
    assert!(
        last.is_some_and(|last| last < matrix.data.len()),
        "{name} of {rows} x {cols} with strides {} and {} does not fit {} elements",
        matrix.row_stride,
        matrix.col_stride,
        matrix.data.len()
    );
}

/// Packs rows `ks` and columns `js` of `b` as one panel of `width` columns, zeros in the columns that are missing.
///
/// `b` covers the range (see [`assert_covers`]), `out` holds `ks.len() * width` elements.
pub(crate) fn pack_panel(
    b: &MatrixRef<'_, f32>,
    ks: Range<usize>,
    js: Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let cols = js.len();
    let out = &mut out[..ks.len() * width];
    if b.col_stride == 1 {
        for (row, kk) in out.chunks_exact_mut(width).zip(ks) {
            let from = kk * b.row_stride + js.start;
            row[..cols].copy_from_slice(&b.data[from..from + cols]);
            row[cols..].fill(0.0);
        }
        return;
    }
    match width {
        32 => pack_apart::<32>(b, ks, js, out),
        16 => pack_apart::<16>(b, ks, js, out),
        8 => pack_apart::<8>(b, ks, js, out),
        _ => {
            for (row, kk) in out.chunks_exact_mut(width).zip(ks) {
                row.fill(0.0);
                for (value, j) in row.iter_mut().zip(js.clone()) {
                    *value = b.data[kk * b.row_stride + j * b.col_stride];
                }
            }
        }
    }
}

/// A panel of W columns whose elements lie apart in `b`: a few rows of the panel at a time, so that what is written stays in the nearest
/// cache.
fn pack_apart<const W: usize>(
    b: &MatrixRef<'_, f32>,
    ks: Range<usize>,
    js: Range<usize>,
    out: &mut [f32],
) {
    const ROWS: usize = 16;
    let rows = out.as_chunks_mut::<W>().0;
    if js.len() < W {
        rows.iter_mut().for_each(|row| row[js.len()..].fill(0.0));
    }
    for (rows, k0) in rows.chunks_mut(ROWS).zip(ks.step_by(ROWS)) {
        for (c, j) in js.clone().take(W).enumerate() {
            let from = k0 * b.row_stride + j * b.col_stride;
            if b.row_stride == 1 {
                let column = &b.data[from..from + rows.len()];
                for (row, &value) in rows.iter_mut().zip(column) {
                    row[c] = value;
                }
            } else {
                for (i, row) in rows.iter_mut().enumerate() {
                    row[c] = b.data[from + i * b.row_stride];
                }
            }
        }
    }
}

/// Packs rows `rows` of `a`, at most as many as a microkernel has, from k = `ks.start` to `ks.end` as one strip.
///
/// `a` covers the range, `out` holds `rows.len() * ks.len()` elements.
pub(crate) fn pack_strip(
    a: &MatrixRef<'_, f32>,
    rows: Range<usize>,
    ks: Range<usize>,
    out: &mut [f32],
) {
    macro_rules! by_height {
        ($($h:literal)*) => {
            match rows.len() {
                $($h => pack_strip_of::<$h>(a, rows.start, ks, out),)*
                h => {
                    for (group, kk) in out.chunks_exact_mut(h).zip(ks) {
                        for (value, row) in group.iter_mut().zip(rows.clone()) {
                            *value = a.data[row * a.row_stride + kk * a.col_stride];
                        }
                    }
                }
            }
        };
    }
    by_height!(1 2 3 4 5 6 7 8 9 10 11 12)
}

fn pack_strip_of<const H: usize>(
    a: &MatrixRef<'_, f32>,
    row: usize,
    ks: Range<usize>,
    out: &mut [f32],
) {
    if ks.is_empty() {
        return;
    }
    if a.col_stride == 1 {
        let rows: [&[f32]; H] = std::array::from_fn(|h| {
            let from = (row + h) * a.row_stride + ks.start;
            &a.data[from..from + ks.len()]
        });
        // Four rows by four columns at a time; alone, a value costs a load and a store.
        const WIDE: usize = 4;
        let groups = &mut out.as_chunks_mut::<H>().0[..ks.len()];
        let (wide, rest) = groups.as_chunks_mut::<WIDE>();
        let quads = rows.map(|row| row.as_chunks::<WIDE>().0);
        for (i, wide) in wide.iter_mut().enumerate() {
            for quad in (0..H - H % WIDE).step_by(WIDE) {
                let block = std::array::from_fn(|h| quads[quad + h][i]);
                for (group, column) in wide.iter_mut().zip(transpose(block)) {
                    group[quad..quad + WIDE].copy_from_slice(&column);
                }
            }
            for (c, group) in wide.iter_mut().enumerate() {
                for h in H - H % WIDE..H {
                    group[h] = quads[h][i][c];
                }
            }
        }
        let done = ks.len() - rest.len();
        for (i, group) in rest.iter_mut().enumerate() {
            for h in 0..H {
                group[h] = rows[h][done + i];
            }
        }
    } else {
        for (group, kk) in out.as_chunks_mut::<H>().0.iter_mut().zip(ks) {
            let from = row * a.row_stride + kk * a.col_stride;
            for (h, value) in group.iter_mut().enumerate() {
                *value = a.data[from + h * a.row_stride];
            }
        }
    }
}

/// Rows become columns.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::{__m128, _mm_unpackhi_ps, _mm_unpacklo_ps};
    // SAFETY: arrays and vectors are both 16 `f32`s without padding, and SSE is part of every x86-64.
    unsafe {
        let [a, b, c, d] = std::mem::transmute::<[[f32; 4]; 4], [__m128; 4]>(rows);
        let (low_ac, low_bd) = (_mm_unpacklo_ps(a, c), _mm_unpacklo_ps(b, d));
        let (high_ac, high_bd) = (_mm_unpackhi_ps(a, c), _mm_unpackhi_ps(b, d));
        std::mem::transmute::<[__m128; 4], [[f32; 4]; 4]>([
            _mm_unpacklo_ps(low_ac, low_bd),
            _mm_unpackhi_ps(low_ac, low_bd),
            _mm_unpacklo_ps(high_ac, high_bd),
            _mm_unpackhi_ps(high_ac, high_bd),
        ])
    }
}

/// Rows become columns.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    std::array::from_fn(|c| rows.map(|row| row[c]))
}
