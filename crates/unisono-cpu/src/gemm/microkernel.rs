//! The innermost loops of the matrix product: one tile of C, one slice of K.
//!
//! One idea: a tile of H rows and one panel's columns lives in registers for a whole slice. Its lanes run across N, so every element
//! is one chain of fused multiply-adds in rising k, from +0, whatever H and whatever the width of a register: that is why the bits
//! do not depend on M, on the tile's shape or on the instruction set. H = 12 rows of two 16-lane registers fill 24 of AVX-512's 32
//! registers and leave the loads (14 per step) well below the multiplications (24).
//!
//! It must never have another algorithm for few rows or for the last columns: rows below H are the same code with a smaller H, the
//! last columns are computed on zero padding.

use unisono_reference::arith::Unary;

use crate::simd::{Function, HardSwish, Isa, Simd};

/// Most rows of a tile on any instruction set.
pub(crate) const MAX_ROWS: usize = 12;
/// Most columns of a panel on any instruction set.
pub(crate) const MAX_COLS: usize = 32;
/// Panels that a [`Microkernels::wide`] kernel computes side by side.
pub(crate) const WIDE_PANELS: usize = 4;

/// An activation that takes a few instructions, done right behind its tile. The same operations as [`Unary`]'s.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Simple {
    /// None.
    None,
    /// [`Unary::Relu`].
    Relu,
    /// [`Unary::Clip`] from 0 to this, which is above 0.
    UpTo(f32),
    /// [`Unary::HardSwish`].
    HardSwish,
}

impl Simple {
    /// The activation, if it is a simple one.
    pub(crate) fn of(activation: Option<Unary>) -> Option<Self> {
        match activation {
            None => Some(Self::None),
            Some(Unary::Relu) => Some(Self::Relu),
            // -0 would be another bound: the greater of it and -0 is -0.
            Some(Unary::Clip { low, high }) if low.to_bits() == 0 && high > 0.0 => {
                Some(Self::UpTo(high))
            }
            Some(Unary::HardSwish) => Some(Self::HardSwish),
            Some(_) => None,
        }
    }

    /// Its values for what is not -0: a total, which begins at +0, and whatever is added to one.
    #[inline(always)]
    fn of_total<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Relu => s.at_least(x, s.zero()),
            Self::UpTo(high) => s.at_most(s.at_least(x, s.zero()), s.splat(high)),
            Self::None | Self::HardSwish => self.eval(s, x),
        }
    }

    /// Its values.
    #[inline(always)]
    pub(crate) fn eval<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::None => x,
            Self::Relu => s.relu(x),
            Self::UpTo(high) => s.at_most(s.relu(x), s.splat(high)),
            Self::HardSwish => HardSwish {}.eval(s, x),
        }
    }
}

/// What a tile does to its totals: the steps of most layers, done while C is in the nearest cache. The same operations as the
/// epilogue's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// The bias of the tile's first element; null for none.
    pub bias: *const f32,
    /// Distance between the biases of two rows.
    pub bias_row: usize,
    /// Distance between the biases of two columns, 0 or 1.
    pub bias_col: usize,
    /// What follows.
    pub activation: Simple,
}

impl Ending {
    /// Leaves totals as they are.
    pub(crate) const NONE: Ending = Ending {
        bias: std::ptr::null(),
        bias_row: 0,
        bias_col: 0,
        activation: Simple::None,
    };

    /// Whether all rows share a bias, if there is one.
    #[inline(always)]
    fn is_by_column(&self) -> bool {
        self.bias.is_null() || (self.bias_row == 0 && self.bias_col == 1)
    }

    /// Whether totals stay as they are.
    #[inline(always)]
    fn is_none(&self) -> bool {
        self.bias.is_null() && matches!(self.activation, Simple::None)
    }
}

/// Terms that follow each other in A.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Where the first row's begin, in elements from the tile's `a`.
    pub a: usize,
    /// How many there are.
    pub k: usize,
}

/// Lines to ask for. Any address will do: it is not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// The first line.
    pub line: *const f32,
    /// How far the next one is away, in elements: [`Ahead::LINE`], or 0 for the same again.
    pub step: usize,
}

impl Ahead {
    /// Elements of a line.
    pub(crate) const LINE: usize = 16;

    /// Nothing: what is near anyway.
    pub(crate) fn nothing(near: *const f32) -> Self {
        Self {
            line: near,
            step: 0,
        }
    }
}

/// One slice of one tile: `c[r][j] = (first ? +0 : before[r][j]) + chain over k of a[k][r] * b[k][j]`, then its ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a> {
    /// The terms of the chain, in their order; together at most a slice.
    pub pieces: &'a [Piece],
    /// The first value of A.
    pub a: *const f32,
    /// Distance between values of A one below the other: 1 in a packed strip.
    pub a_row: usize,
    /// Distance between values of A side by side: the height of a packed strip.
    pub a_col: usize,
    /// The panel of B: a row for each term, `b_step` apart.
    pub b: *const f32,
    /// Distance between rows of B in elements.
    pub b_step: usize,
    /// Distance between panels in elements; read by wide kernels only.
    pub b_panel: usize,
    /// What is asked for meanwhile, with a line for each term: what the next tiles will read.
    pub ahead: Ahead,
    /// The first element of the tile in C.
    pub c: *mut f32,
    /// Distance between rows of C in elements.
    pub c_step: usize,
    /// The totals of the slices before this one: the tile in C, or wherever they were left.
    pub before: *const f32,
    /// Distance between rows of `before` in elements.
    pub before_step: usize,
    /// Columns of the tile in C; wide kernels have all of theirs.
    pub cols: usize,
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
/// * `a` is readable at H rows of all terms of the pieces, as far apart as `a_row` and `a_col` say, `b` for as many rows of as many
///   elements as the kernel has columns, `b_step` apart (and so for each panel), and `c` is readable and writable for H rows of `cols`
///   elements, `c_step` apart, by nobody else; unless this is the first slice, so is `before`, which may be `c`.
/// * The ending's bias is null or readable at `bias_row` and `bias_col` times the positions of these elements.
pub(crate) type TileFn = unsafe fn(&Tile<'_>);

/// Values that are added to a tile between its bias and its activation: the other branch of a residual block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residual {
    /// That of the tile's first element; columns lie side by side.
    pub first: *const f32,
    /// Distance between rows in elements.
    pub step: usize,
}

/// A kernel that adds a residual as part of its ending.
///
/// # Safety
///
/// As for [`TileFn`]; the residual is readable for as many rows and columns as the tile has in C.
pub(crate) type SumFn = unsafe fn(&Tile<'_>, Residual);

/// The kernels of an instruction set.
#[derive(Debug)]
pub(crate) struct Microkernels {
    /// Columns of a panel.
    pub cols: usize,
    /// Columns of the narrow kernels: what a panel's last columns are computed with if they fit.
    pub narrow_cols: usize,
    /// `full[h - 1]` computes h rows of a whole panel.
    pub full: &'static [TileFn],
    /// The same with a residual; none where the epilogue adds it. Kernels of their own, as those without one would pay for it.
    pub full_sum: Option<&'static [SumFn]>,
    /// The same as `full` for tiles that have fewer columns.
    pub full_part: &'static [TileFn],
    /// `narrow[h - 1]` computes h rows of the first `narrow_cols` columns.
    pub narrow: &'static [TileFn],
    /// The same for tiles that have fewer columns.
    pub narrow_part: &'static [TileFn],
    /// Half as many columns as the narrow kernels have, or fewer: at half their time, on sets of which half a register multiplies twice as
    /// often. None on the others.
    pub half: Option<&'static Half>,
    /// `wide[h - 1]` computes h rows of [`WIDE_PANELS`] panels, so that few rows still have enough chains in flight to hide the latency of
    /// a multiply-add. The same chains as `full`'s.
    pub wide: &'static [TileFn],
}

/// See [`Microkernels::half`].
#[derive(Debug)]
pub(crate) struct Half {
    /// Columns.
    pub cols: usize,
    /// `full[h - 1]` computes h rows.
    pub full: &'static [TileFn],
    /// The same for tiles that have fewer columns.
    pub part: &'static [TileFn],
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

    /// Computes `rows` rows of the tile. Columns beyond its own are neither read nor written in C.
    ///
    /// # Safety
    ///
    /// As for [`TileFn`], with B's rows of a whole panel; `rows` is 1 to [`Microkernels::rows`], the tile has 1 to [`Microkernels::cols`]
    /// columns.
    #[inline]
    pub(crate) unsafe fn run(&self, tile: &Tile<'_>, rows: usize) {
        let cols = tile.cols;
        debug_assert!(rows >= 1 && rows <= self.rows() && cols >= 1 && cols <= self.cols);
        if let Some(half) = self.half {
            let beyond = cols.saturating_sub(self.narrow_cols);
            if cols <= half.cols || (1..=half.cols).contains(&beyond) {
                // SAFETY: the caller's promise; what the narrow kernel does not compute is left to the other.
                unsafe { return self.run_half(half, tile, rows) };
            }
        }
        let kernels = if cols == self.cols {
            self.full
        } else if cols > self.narrow_cols {
            self.full_part
        } else if cols == self.narrow_cols {
            self.narrow
        } else {
            self.narrow_part
        };
        // SAFETY: the caller's promise is the kernel's.
        unsafe { kernels[rows - 1](tile) }
    }

    /// Columns that end within half a register.
    ///
    /// # Safety
    /// As for [`Microkernels::run`]; the tile has at most `half.cols` columns, or so many beyond a narrow kernel's.
    unsafe fn run_half(&self, half: &Half, tile: &Tile<'_>, rows: usize) {
        let mut rest = *tile;
        // SAFETY: the caller's promise: both parts of the tile are the tile's.
        unsafe {
            if tile.cols > half.cols {
                let cols = self.narrow_cols;
                self.narrow[rows - 1](&Tile { cols, ..*tile });
                rest.cols -= cols;
                rest.b = tile.b.wrapping_add(cols);
                rest.c = tile.c.add(cols);
                rest.before = tile.before.wrapping_add(cols);
                if !tile.ending.bias.is_null() {
                    rest.ending.bias = tile.ending.bias.add(cols * tile.ending.bias_col);
                }
            }
            let kernels = match rest.cols == half.cols {
                true => half.full,
                false => half.part,
            };
            kernels[rows - 1](&rest);
        }
    }
}

/// The same pointer, of which the compiler does not know where it comes from. What is computed from it is then computed where it is used, not
/// early for several uses: that takes registers, and what it has on the stack instead are stores, of which a processor holds few.
#[inline(always)]
#[allow(
    clippy::pointers_in_nomem_asm_block,
    reason = "nothing is read or written through it"
)]
fn by_itself(mut row: *mut f32) -> *mut f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: no instruction.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) row, options(nomem, nostack, preserves_flags));
    }
    row
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

/// Asks for a line of a later read, for the second-level cache.
#[inline(always)]
fn prefetch_far(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect on what a program computes, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The sums of a slice of a tile of H rows and P panels of V registers each. The one place where the order of operations stands.
///
/// # Safety
/// As for [`TileFn`] and [`SumFn`], for a kernel of `P * V * S::LANES` columns, all of which the tile has.
#[inline(always)]
pub(super) unsafe fn slice_of_tile<S: Simd, const H: usize, const P: usize, const V: usize>(
    s: S,
    tile: &Tile<'_>,
) -> [[[S::F; V]; P]; H] {
    let mut sums = [[[s.zero(); V]; P]; H];
    // SAFETY: the caller's promise: H rows of the pieces' terms of A and as many rows of V registers in each of P panels of B.
    unsafe {
        let mut at = Cursor {
            a: [tile.a; MAX_ROWS / TOGETHER],
            b: tile.b,
            ahead: tile.ahead.line,
            c: by_itself(tile.c),
        };
        // Meanwhile the tile's lines in C are asked for, a row with each term of the first piece: all at once they would stand in the way of
        // the first terms. A piece that has fewer terms than the tile has rows asks for as many.
        let mut done = tile.pieces.first().map_or(0, |piece| piece.k.min(H));
        if done > 0 {
            at.begin::<H>(tile, tile.pieces[0].a);
            add_terms::<S, H, P, V, true>(s, tile, done, &mut at, &mut sums);
        }
        for piece in tile.pieces {
            at.begin::<H>(tile, piece.a + done * tile.a_col);
            add_terms::<S, H, P, V, false>(s, tile, piece.k - done, &mut at, &mut sums);
            done = 0;
        }
    }
    sums
}

/// Rows of A that one pointer serves: none, one and two row distances from it are addressing modes.
const TOGETHER: usize = 3;

/// How far a slice of a tile is.
struct Cursor {
    /// The next term of A: every so many rows.
    a: [*const f32; MAX_ROWS / TOGETHER],
    /// That of B.
    b: *const f32,
    /// What is asked for with it.
    ahead: *const f32,
    /// The row of C that is asked for with it.
    c: *mut f32,
}

impl Cursor {
    /// Goes on with terms of A that begin there, if there are any.
    #[inline(always)]
    fn begin<const H: usize>(&mut self, tile: &Tile<'_>, first: usize) {
        for h in (0..H).step_by(TOGETHER) {
            self.a[h / TOGETHER] = tile.a.wrapping_add(first + h * tile.a_row);
        }
    }
}

/// Adds so many terms that follow each other in A to the chains; `ASKS` for a row of C with each.
///
/// # Safety
/// As for [`slice_of_tile`]; the terms are the tile's.
#[inline(always)]
unsafe fn add_terms<S: Simd, const H: usize, const P: usize, const V: usize, const ASKS: bool>(
    s: S,
    tile: &Tile<'_>,
    terms: usize,
    at: &mut Cursor,
    sums: &mut [[[S::F; V]; P]; H],
) {
    /// Rows that are not worth asking for more.
    const FEW_ROWS: usize = 3;
    // SAFETY: the caller's promise.
    unsafe {
        for _ in 0..terms {
            for p in 0..P {
                let mut row = [s.zero(); V];
                for (v, row) in row.iter_mut().enumerate() {
                    *row = s.load_raw(at.b.add(p * tile.b_panel + v * S::LANES));
                }
                for (h, sums) in sums.iter_mut().enumerate() {
                    let x = s.splat(*at.a[h / TOGETHER].add(h % TOGETHER * tile.a_row));
                    for (sum, &y) in sums[p].iter_mut().zip(&row) {
                        *sum = s.fma(x, y, *sum);
                    }
                }
            }
            for h in (0..H).step_by(TOGETHER) {
                at.a[h / TOGETHER] = at.a[h / TOGETHER].wrapping_add(tile.a_col);
            }
            at.b = at.b.wrapping_add(tile.b_step);
            if ASKS {
                for line in 0..(P * V * S::LANES).div_ceil(16) {
                    prefetch(at.c.wrapping_add(line * 16));
                }
                at.c = at.c.wrapping_add(tile.c_step);
            }
            // Few rows read as fast as memory gives: there is no time to ask.
            if H > FEW_ROWS {
                prefetch_far(at.ahead);
                at.ahead = at.ahead.wrapping_add(tile.ahead.step);
            }
        }
    }
}

/// What a tile does with the sums of its slice: adds them to what came before and, behind the last slice, ends. Called with a constant
/// `None` or with a residual.
///
/// Works on the registers, each of which is stored once: with 64 terms a copy of them in the cache cost 5 % of the tile.
///
/// # Safety
/// As for [`TileFn`] and [`SumFn`], for a kernel of `P * V * S::LANES` columns, all of which the tile has.
#[inline(always)]
pub(super) unsafe fn end_of_tile<S: Simd, const H: usize, const P: usize, const V: usize>(
    s: S,
    tile: &Tile<'_>,
    residual: Option<Residual>,
    sums: [[[S::F; V]; P]; H],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.first {
            true => end_behind(s, tile, residual, sums, First),
            false => {
                let (before, step) = (tile.before, tile.before_step);
                end_behind(s, tile, residual, sums, Later { before, step });
            }
        }
    }
}

/// [`end_of_tile`] for one of the two kinds of `totals`.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn end_behind<S: Simd, const H: usize, const P: usize, const V: usize>(
    s: S,
    tile: &Tile<'_>,
    residual: Option<Residual>,
    sums: [[[S::F; V]; P]; H],
    totals: impl Last<S>,
) {
    let ending = &tile.ending;
    // SAFETY: the caller's promise.
    unsafe {
        if ending.is_none() && residual.is_none() {
            store_each(s, tile, sums, totals);
        } else if ending.is_by_column() {
            let mut columns = [[s.zero(); V]; P];
            for (p, columns) in columns.iter_mut().enumerate() {
                for (v, bias) in columns.iter_mut().enumerate() {
                    if !ending.bias.is_null() {
                        let at = ending.bias.add((p * V + v) * S::LANES);
                        *bias = s.add(*bias, s.load_raw(at));
                    }
                }
            }
            end_with(s, tile, residual, sums, Columns { totals, columns });
        } else {
            let (first, row, col) = (ending.bias, ending.bias_row, ending.bias_col);
            let biased = Anywhere {
                totals,
                first,
                row,
                col,
            };
            end_with(s, tile, residual, sums, biased);
        }
    }
}

/// [`end_of_tile`] for one of the ways in which a bias lies.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn end_with<S: Simd, const H: usize, const P: usize, const V: usize>(
    s: S,
    tile: &Tile<'_>,
    residual: Option<Residual>,
    sums: [[[S::F; V]; P]; H],
    biased: impl Last<S>,
) {
    let with = |activation| Ended {
        biased,
        residual,
        activation,
    };
    // Every kind of activation is a constant to the code that is made for it.
    // SAFETY: the caller's promise.
    unsafe {
        match tile.ending.activation {
            Simple::None => store_each(s, tile, sums, with(Simple::None)),
            Simple::Relu => store_each(s, tile, sums, with(Simple::Relu)),
            Simple::UpTo(high) => store_each(s, tile, sums, with(Simple::UpTo(high))),
            Simple::HardSwish => store_each(s, tile, sums, with(Simple::HardSwish)),
        }
    }
}

/// Stores what becomes of every register of sums.
///
/// The rows are written out, as the compiler leaves loops over so many standing, and then keeps the sums in memory.
///
/// # Safety
/// As for [`end_of_tile`].
#[inline(always)]
unsafe fn store_each<S: Simd, const H: usize, const P: usize, const V: usize>(
    s: S,
    tile: &Tile<'_>,
    sums: [[[S::F; V]; P]; H],
    last: impl Last<S>,
) {
    let mut c = by_itself(tile.c);
    macro_rules! rows {
        ($($h:literal)*) => {
            $(if $h < H {
                for p in 0..P {
                    for v in 0..V {
                        let place = Place { h: $h, p, v, col: (p * V + v) * S::LANES };
                        // SAFETY: the caller's promise: the place is the tile's.
                        unsafe {
                            let value = last.value(s, sums[$h][p][v], place);
                            s.store_raw(value, c.add(place.col));
                        }
                    }
                }
                c = c.wrapping_add(tile.c_step);
            })*
        };
    }
    const { assert!(H <= MAX_ROWS && MAX_ROWS == 12) };
    rows!(0 1 2 3 4 5 6 7 8 9 10 11);
}

/// Where a register of sums belongs: its row, its panel, its place in the panel, and its first column.
#[derive(Clone, Copy)]
struct Place {
    h: usize,
    p: usize,
    v: usize,
    col: usize,
}

/// What becomes of a register of sums.
trait Last<S: Simd>: Copy {
    /// It.
    ///
    /// # Safety
    /// The place is the tile's, so that what is read there of totals, bias and residual is readable.
    unsafe fn value(self, s: S, sum: S::F, at: Place) -> S::F;

    /// The same, but perhaps -0 where it is +0.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn value_but_for_zero(self, s: S, sum: S::F, at: Place) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { self.value(s, sum, at) }
    }
}

/// The total of the first slice.
#[derive(Clone, Copy)]
struct First;

impl<S: Simd> Last<S> for First {
    #[inline(always)]
    unsafe fn value(self, s: S, sum: S::F, _: Place) -> S::F {
        s.add(s.zero(), sum)
    }
    #[inline(always)]
    unsafe fn value_but_for_zero(self, _: S, sum: S::F, _: Place) -> S::F {
        sum
    }
}

/// The total of a later slice: what came before, with rows so far apart, and the sum.
#[derive(Clone, Copy)]
struct Later {
    before: *const f32,
    step: usize,
}

impl<S: Simd> Last<S> for Later {
    #[inline(always)]
    unsafe fn value(self, s: S, sum: S::F, at: Place) -> S::F {
        // SAFETY: the caller's promise.
        let before = unsafe { s.load_raw(self.before.add(at.h * self.step + at.col)) };
        s.add(before, sum)
    }
}

/// A total and a bias that all rows share; none of them is -0, so a sum with it is the same for a total of either zero.
#[derive(Clone, Copy)]
struct Columns<T, F, const P: usize, const V: usize> {
    totals: T,
    columns: [[F; V]; P],
}

impl<S: Simd, T: Last<S>, const P: usize, const V: usize> Last<S> for Columns<T, S::F, P, V> {
    #[inline(always)]
    unsafe fn value(self, s: S, sum: S::F, at: Place) -> S::F {
        // SAFETY: the caller's promise.
        let total = unsafe { self.totals.value_but_for_zero(s, sum, at) };
        s.add(total, self.columns[at.p][at.v])
    }
}

/// A total and a bias that lies as an [`Ending`] says.
#[derive(Clone, Copy)]
struct Anywhere<T> {
    totals: T,
    first: *const f32,
    row: usize,
    col: usize,
}

impl<S: Simd, T: Last<S>> Last<S> for Anywhere<T> {
    #[inline(always)]
    unsafe fn value(self, s: S, sum: S::F, at: Place) -> S::F {
        // SAFETY: the caller's promise.
        let (total, bias) = unsafe {
            let row = self.first.add(at.h * self.row);
            let bias = match self.col {
                0 => s.splat(*row),
                _ => s.load_raw(row.add(at.col)),
            };
            (self.totals.value(s, sum, at), bias)
        };
        s.add(total, bias)
    }
}

/// What follows a total and its bias.
#[derive(Clone, Copy)]
struct Ended<T> {
    biased: T,
    residual: Option<Residual>,
    activation: Simple,
}

impl<S: Simd, T: Last<S>> Last<S> for Ended<T> {
    #[inline(always)]
    unsafe fn value(self, s: S, sum: S::F, at: Place) -> S::F {
        // SAFETY: the caller's promise.
        let total = unsafe {
            let total = self.biased.value(s, sum, at);
            match self.residual {
                None => total,
                Some(r) => s.add(total, s.load_raw(r.first.add(at.h * r.step + at.col))),
            }
        };
        self.activation.of_total(s, total)
    }
}

/// The same for a tile that has fewer columns in C: the chains' sums go by way of a copy.
///
/// # Safety
/// As for [`TileFn`], for a kernel of `V * S::LANES` columns.
#[inline(always)]
pub(super) unsafe fn part_tile<S: Simd, const H: usize, const V: usize>(s: S, tile: &Tile<'_>) {
    let mut sums = [0.0_f32; MAX_ROWS * MAX_COLS];
    let width = V * S::LANES;
    let whole = Tile {
        c: sums.as_mut_ptr(),
        c_step: width,
        first: true,
        ending: Ending::NONE,
        ..*tile
    };
    // SAFETY: the copy has room for H rows of V registers; otherwise the caller's promise.
    unsafe {
        let in_registers = slice_of_tile::<S, H, 1, V>(s, &whole);
        end_of_tile(s, &whole, None, in_registers);
    }
    let ending = &tile.ending;
    for h in 0..H {
        for at in (0..tile.cols).step_by(S::LANES) {
            let n = S::LANES.min(tile.cols - at);
            // SAFETY: n columns from `at` on are the tile's, and the copy has whole registers.
            unsafe {
                let c = tile.c.add(h * tile.c_step + at);
                let total = match tile.first {
                    true => s.zero(),
                    false => s.load_part_raw(tile.before.add(h * tile.before_step + at), n),
                };
                let mut total = s.add(total, s.load_raw(sums.as_ptr().add(h * width + at)));
                if !ending.bias.is_null() {
                    let row = ending.bias.add(h * ending.bias_row);
                    let bias = match ending.bias_col {
                        0 => s.splat(*row),
                        _ => s.load_part_raw(row.add(at), n),
                    };
                    total = s.add(total, bias);
                }
                let total = ending.activation.eval(s, total);
                match n == S::LANES {
                    true => s.store_raw(total, c),
                    false => s.store_part_raw(total, c, n),
                }
            }
        }
    }
}

/// Where a tile's sums are in registers of this class, whatever follows. Without it the compiler makes room for what follows by
/// keeping sums on the stack, in the loop before it, too: AVX-512 then reaches 39 % of its peak. No instruction, but to
/// the compiler one that may read and write any memory, so no reading or writing is moved across.
macro_rules! hold {
    ($sums:ident in vreg) => {
        $crate::gemm::microkernel::hold!($sums in vreg, "/* {0:v} */")
    };
    ($sums:ident in $class:ident) => {
        $crate::gemm::microkernel::hold!($sums in $class, "/* {0} */")
    };
    ($sums:ident in $class:ident, $nothing:literal) => {
        for sum in $sums.as_flattened_mut().as_flattened_mut() {
            core::arch::asm!($nothing, inout($class) *sum, options(nostack, preserves_flags));
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use hold;

/// Writes the kernels of an instruction set, for panels of `$cols` columns in `$full` registers of the `$class`.
macro_rules! vector_kernels {
    ($(#[$attribute:meta])* token: $token:expr, class: $class:ident, cols: $cols:literal, registers: [$full:literal, $narrow:literal], rows: [$($h:literal)*], wide: [$($low:literal)*], half: $half:expr) => {
        $(#[$attribute])*
        unsafe fn tile<const H: usize, const P: usize, const V: usize>(
            tile: &$crate::gemm::microkernel::Tile<'_>,
        ) {
            // SAFETY: the caller's promise; it includes that the machine has the instructions.
            unsafe {
                let mut sums = $crate::gemm::microkernel::slice_of_tile::<_, H, P, V>($token, tile);
                $crate::gemm::microkernel::hold!(sums in $class);
                $crate::gemm::microkernel::end_of_tile($token, tile, None, sums);
            }
        }

        $(#[$attribute])*
        unsafe fn sum<const H: usize, const V: usize>(
            tile: &$crate::gemm::microkernel::Tile<'_>,
            residual: $crate::gemm::microkernel::Residual,
        ) {
            // SAFETY: as above.
            unsafe {
                let mut sums = $crate::gemm::microkernel::slice_of_tile::<_, H, 1, V>($token, tile);
                $crate::gemm::microkernel::hold!(sums in $class);
                $crate::gemm::microkernel::end_of_tile($token, tile, Some(residual), sums);
            }
        }

        $(#[$attribute])*
        unsafe fn part<const H: usize, const V: usize>(
            tile: &$crate::gemm::microkernel::Tile<'_>,
        ) {
            // SAFETY: as above.
            unsafe { $crate::gemm::microkernel::part_tile::<_, H, V>($token, tile) }
        }

        pub(super) static KERNELS: $crate::gemm::microkernel::Microkernels =
            $crate::gemm::microkernel::Microkernels {
                cols: $cols,
                narrow_cols: $cols / $full * $narrow,
                full: &[$(tile::<$h, 1, $full>),*],
                full_sum: Some(&[$(sum::<$h, $full>),*]),
                full_part: &[$(part::<$h, $full>),*],
                narrow: &[$(tile::<$h, 1, $narrow>),*],
                narrow_part: &[$(part::<$h, $narrow>),*],
                wide: &[$(tile::<$low, { $crate::gemm::microkernel::WIDE_PANELS }, $full>),*],
                half: $half,
            };
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use vector_kernels;
