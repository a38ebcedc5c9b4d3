//! The innermost loops of the matrix product: one tile of C, one slice of K.
//!
//! One idea: a tile of H rows and one panel's columns lives in registers for a whole slice. Its lanes run across N, so every element
//! is one chain of fused multiply-adds in rising k, from +0, whatever H and whatever the width of a register: that is why the bits
//! do not depend on M, on the tile's shape or on the instruction set. H = 12 rows of two 16-lane registers fill 24 of AVX-512's 32
//! registers and leave the loads (14 per step) well below the multiplications (24).
//!
//! It must never have another algorithm for few rows or for the last columns: rows below H are the same code with a smaller H, the
//! last columns are computed on zero padding.

use crate::simd::Isa;

/// Most rows of a tile on any instruction set.
pub(crate) const MAX_ROWS: usize = 12;
/// Most columns of a panel on any instruction set.
pub(crate) const MAX_COLS: usize = 32;
/// Panels that a [`Microkernels::wide`] kernel computes side by side.
pub(crate) const WIDE_PANELS: usize = 4;

/// What a tile does to its totals before it writes them: the steps of most layers, done while the totals are in registers. The same
/// operations as the epilogue's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// The bias of the tile's first element; null for none.
    pub bias: *const f32,
    /// Distance between the biases of two rows.
    pub bias_row: usize,
    /// Distance between the biases of two columns, 0 or 1.
    pub bias_col: usize,
    /// Whether negative totals become +0.
    pub relu: bool,
}

impl Ending {
    /// Leaves totals as they are.
    pub(crate) const NONE: Ending = Ending {
        bias: std::ptr::null(),
        bias_row: 0,
        bias_col: 0,
        relu: false,
    };
}

/// One slice of one tile: `c[r][j] = (first ? +0 : c[r][j]) + chain over k of a[k][r] * b[k][j]`, then its ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// Terms of the chain, at most a slice.
    pub k: usize,
    /// The first value of A.
    pub a: *const f32,
    /// Distance between values of A one below the other: 1 in a packed strip.
    pub a_row: usize,
    /// Distance between values of A side by side: the height of a packed strip.
    pub a_col: usize,
    /// The panel of B: `k` rows, `b_step` apart.
    pub b: *const f32,
    /// Distance between rows of B in elements.
    pub b_step: usize,
    /// Distance between panels in elements; read by wide kernels only.
    pub b_panel: usize,
    /// The first element of the tile in C.
    pub c: *mut f32,
    /// Distance between rows of C in elements.
    pub c_step: usize,
    /// Whether this is the first slice of K.
    pub first: bool,
    /// What follows the last slice; nothing after the others.
    pub ending: Ending,
}

/// A kernel for a fixed number of rows.
///
/// # Safety
///
/// * The instruction set that the kernel was written for is available.
/// * `a` is readable for H rows of `k` elements, as far apart as `a_row` and `a_col` say, `b` for rows of as many elements as the kernel has columns, `k` of them, `b_step` apart (and
///   so for each panel), and `c` is readable and writable for H rows of that many elements, `c_step` apart, by nobody else.
/// * The ending's bias is null or readable at `bias_row` and `bias_col` times the positions of these elements.
pub(crate) type TileFn = unsafe fn(&Tile);

/// The kernels of an instruction set.
#[derive(Debug)]
pub(crate) struct Microkernels {
    /// Columns of a panel.
    pub cols: usize,
    /// Columns of the narrow kernels: what a panel's last columns are computed with if they fit.
    pub narrow_cols: usize,
    /// `full[h - 1]` computes h rows of a whole panel.
    pub full: &'static [TileFn],
    /// `narrow[h - 1]` computes h rows of the first `narrow_cols` columns.
    pub narrow: &'static [TileFn],
    /// `wide[h - 1]` computes h rows of [`WIDE_PANELS`] panels, so that few rows still have enough chains in flight to hide the latency of
    /// a multiply-add. The same chains as `full`'s.
    pub wide: &'static [TileFn],
}

impl Microkernels {
    /// The kernels of `isa`.
    pub(crate) fn of(isa: Isa) -> &'static Microkernels {
        match isa {
            Isa::Scalar => &super::scalar::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &super::avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &super::avx512::KERNELS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &super::neon::KERNELS,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => &super::scalar::KERNELS,
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon => &super::scalar::KERNELS,
        }
    }

    /// Most rows of a tile.
    pub(crate) fn rows(&self) -> usize {
        self.full.len()
    }

    /// The instruction set and the tile: `avx2 6x16`.
    pub(crate) fn in_words(&self, isa: Isa) -> String {
        format!("{isa} {}x{}", self.rows(), self.cols)
    }

    /// Computes `rows` rows and the first `cols` columns of a panel. Columns beyond are neither read nor written in C.
    ///
    /// # Safety
    ///
    /// As for [`TileFn`], with C's rows of `cols` elements and B's rows of a whole panel; `rows` is 1 to [`Microkernels::rows`], `cols` is 1 to
    /// [`Microkernels::cols`].
    #[inline]
    pub(crate) unsafe fn run(&self, tile: &Tile, rows: usize, cols: usize) {
        debug_assert!(rows >= 1 && rows <= self.rows() && cols >= 1 && cols <= self.cols);
        let (kernel, width) = if cols <= self.narrow_cols {
            (self.narrow[rows - 1], self.narrow_cols)
        } else {
            (self.full[rows - 1], self.cols)
        };
        if cols == width {
            // SAFETY: the caller's promise is the kernel's.
            unsafe { kernel(tile) };
            return;
        }
        // The kernel computes padding too, so it works on a copy of the tile.
        let mut copy = [0.0_f32; MAX_ROWS * MAX_COLS];
        let ending = tile.ending;
        // SAFETY: the copy holds `rows` rows of `width` elements; C and the bias are touched in their first `cols` columns only.
        unsafe {
            if !tile.first {
                for r in 0..rows {
                    let from = tile.c.add(r * tile.c_step);
                    std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr().add(r * width), cols);
                }
            }
            kernel(&Tile {
                c: copy.as_mut_ptr(),
                c_step: width,
                ending: Ending::NONE,
                ..*tile
            });
            for r in 0..rows {
                let totals = &mut copy[r * width..][..cols];
                if !ending.bias.is_null() {
                    let bias = ending.bias.add(r * ending.bias_row);
                    for (c, total) in totals.iter_mut().enumerate() {
                        *total += *bias.add(c * ending.bias_col);
                    }
                }
                if ending.relu {
                    // A NaN is unordered and stays.
                    totals
                        .iter_mut()
                        .for_each(|total| *total = if *total <= 0.0 { 0.0 } else { *total });
                }
                let to = tile.c.add(r * tile.c_step);
                std::ptr::copy_nonoverlapping(totals.as_ptr(), to, cols);
            }
        }
    }
}

/// Asks for the line of a later write.
#[inline(always)]
pub(crate) fn prefetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect on what a program computes, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Writes a vector kernel over H rows, P panels and V registers of each panel. What differs between instruction sets comes as names, so
/// that there is one place where the order of operations stands. The maximum is asked for (+0, total): a total is never -0, so an
/// instruction will do that answers with its second operand if that is NaN.
macro_rules! vector_tile {
    ($(#[$attribute:meta])* $name:ident, $lanes:expr, $vector:ty, $zero:expr, $load:path, $store:path, $splat:path, $add:path, $max:path,
     |$x:ident, $y:ident, $z:ident| $fma:expr) => {
        $(#[$attribute])*
        unsafe fn $name<const H: usize, const P: usize, const V: usize>(tile: &$crate::gemm::microkernel::Tile) {
            /// Rows of A that one pointer serves: none, one and two row distances from it are addressing modes.
            const TOGETHER: usize = 3;
            let mut b = tile.b;
            let (a_row, a_col) = (tile.a_row, tile.a_col);
            let mut a = [tile.a; $crate::gemm::microkernel::MAX_ROWS / TOGETHER];
            for h in (0..H).step_by(TOGETHER) {
                // SAFETY: the first value of a row that is there.
                a[h / TOGETHER] = unsafe { tile.a.add(h * a_row) };
            }
            let mut sums: [[[$vector; V]; P]; H] = [[[$zero; V]; P]; H];
            // SAFETY: the caller's promise: H rows of `k` values of A, `k` rows of V registers in each of P panels of B, and a tile of
            // H rows by P * V registers in C.
            unsafe {
                for h in 0..H {
                    for p in 0..P * V * $lanes / 16 {
                        $crate::gemm::microkernel::prefetch(tile.c.add(h * tile.c_step + p * 16));
                    }
                }
                for _ in 0..tile.k {
                    for p in 0..P {
                        let mut row: [$vector; V] = [$zero; V];
                        for v in 0..V {
                            row[v] = $load(b.add(p * tile.b_panel + v * $lanes));
                        }
                        for h in 0..H {
                            let $x = $splat(*a[h / TOGETHER].add(h % TOGETHER * a_row));
                            for v in 0..V {
                                let ($y, $z) = (row[v], sums[h][p][v]);
                                sums[h][p][v] = $fma;
                            }
                        }
                    }
                    for h in (0..H).step_by(TOGETHER) {
                        a[h / TOGETHER] = a[h / TOGETHER].add(a_col);
                    }
                    b = b.add(tile.b_step);
                }
                for h in 0..H {
                    for p in 0..P {
                        for v in 0..V {
                            let c = tile.c.add(h * tile.c_step + (p * V + v) * $lanes);
                            let total = if tile.first { $zero } else { $load(c) };
                            let mut total = $add(total, sums[h][p][v]);
                            let ending = &tile.ending;
                            if !ending.bias.is_null() {
                                let row = ending.bias.add(h * ending.bias_row);
                                let bias = if ending.bias_col == 0 {
                                    $splat(*row)
                                } else {
                                    $load(row.add((p * V + v) * $lanes))
                                };
                                total = $add(total, bias);
                            }
                            if ending.relu {
                                total = $max($zero, total);
                            }
                            $store(c, total);
                        }
                    }
                }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use vector_tile;
