//! One plane, rows to columns.
//!
//! The one idea: a plane is turned in squares of as many rows as a vector has lanes. A square reads and writes whole cache lines, so neither
//! side has to stay in a cache while the other is walked. Squares at an edge overlap their neighbours, or go through a buffer where the plane is
//! narrower than one.

use super::piece;
use crate::simd::{Isa, Kernel, Simd, dispatch};

/// Elements of a part of a plane: what one thread turns in one go. Few enough that all of its pages are known to the processor.
pub(crate) const PART: usize = 16 << 10;
/// Rows or columns of a part on the plane's shorter side.
const SHORT: usize = 128;
/// The widest square.
const WIDEST: usize = 16;
/// Rows whose steps are multiples of this many elements share the few places of a near cache that their addresses allow: a line must be read at once.
const FAR: usize = 512;
/// Edge of the squares in which elements of other sizes are turned: all their cache lines fit, whatever the steps.
const TILE: usize = 8;

/// A plane to turn: element (r, c) of the source is element (c, r) of the destination. Columns of the source and rows of the destination lie side
/// by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    pub rows: usize,
    pub cols: usize,
    /// Elements from one row of the source to the next.
    pub from_step: usize,
    /// Elements from one column to the next in the destination.
    pub to_step: usize,
}

impl Plane {
    /// With nothing between rows.
    pub fn dense(rows: usize, cols: usize) -> Plane {
        Plane {
            rows,
            cols,
            from_step: cols,
            to_step: rows,
        }
    }

    /// Rows and columns of a part.
    fn part_size(&self) -> [usize; 2] {
        let short = self.rows.min(self.cols).clamp(1, SHORT);
        let long = (PART / short).next_multiple_of(WIDEST);
        if self.rows <= self.cols {
            [short, long]
        } else {
            [long, short]
        }
    }

    /// How many parts the plane is cut into.
    pub fn parts(&self) -> usize {
        let [rows, cols] = self.part_size();
        self.rows.div_ceil(rows) * self.cols.div_ceil(cols)
    }

    /// Part number `part` as a plane of its own, and where its first element is in source and destination.
    fn part(&self, part: usize) -> (Plane, usize, usize) {
        let [part_rows, part_cols] = self.part_size();
        let across = self.cols.div_ceil(part_cols);
        let rows = piece(part / across, part_rows, self.rows);
        let cols = piece(part % across, part_cols, self.cols);
        let plane = Plane {
            rows: rows.len(),
            cols: cols.len(),
            ..*self
        };
        (
            plane,
            rows.start * self.from_step + cols.start,
            cols.start * self.to_step + rows.start,
        )
    }
}

/// How planes of elements of one size are turned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    isa: Isa,
    size: usize,
}

impl Turn {
    /// For elements of `size` bytes: 1, 2, 4, 8 or 16.
    pub fn new(isa: Isa, size: usize) -> Turn {
        Turn { isa, size }
    }

    /// Where the widest squares do not fit but narrower ones do, those are faster than a buffer.
    fn isa_for(self, plane: &Plane) -> Isa {
        match self.isa {
            Isa::Avx512 if plane.rows.min(plane.cols) < WIDEST => Isa::Avx2,
            isa => isa,
        }
    }

    /// Turns one part of a plane whose first elements are at `from` and `to`.
    ///
    /// # Safety
    /// All elements of the part are readable in the source and writable in the destination, which do not overlap; nobody else uses those of the
    /// destination meanwhile.
    pub unsafe fn part(self, plane: &Plane, part: usize, from: *const u8, to: *mut u8) {
        let (plane, from_first, to_first) = plane.part(part);
        // SAFETY: the part's first elements, and what the caller promises.
        unsafe {
            let (from, to) = (
                from.add(from_first * self.size),
                to.add(to_first * self.size),
            );
            match self.size {
                1 => turn_elements::<[u8; 1]>(&plane, from, to),
                2 => turn_elements::<[u8; 2]>(&plane, from, to),
                4 if from.cast::<f32>().is_aligned() && to.cast::<f32>().is_aligned() => {
                    let squares = Squares::new(plane, from.cast(), to.cast());
                    dispatch(self.isa_for(&plane), squares)
                }
                4 => turn_elements::<[u8; 4]>(&plane, from, to),
                8 => turn_elements::<[u8; 8]>(&plane, from, to),
                _ => turn_elements::<[u8; 16]>(&plane, from, to),
            }
        }
    }
}

/// A plane of elements of 4 bytes. The pointers keep [`Turn::part`]'s promises.
struct Squares {
    plane: Plane,
    from: *const f32,
    to: *mut f32,
}

impl Squares {
    /// # Safety
    /// As [`Turn::part`].
    unsafe fn new(plane: Plane, from: *const f32, to: *mut f32) -> Squares {
        Squares { plane, from, to }
    }
}

impl Kernel for Squares {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (rows, cols) = (self.plane.rows, self.plane.cols);
        if rows == 0 || cols == 0 {
            return;
        }
        if self.thin(s) {
            return;
        }
        // The shorter side first: its lines of both sides are finished while they are near.
        let (row_starts, col_starts) = (rows.div_ceil(S::LANES), cols.div_ceil(S::LANES));
        if rows <= cols {
            for j in 0..col_starts {
                for i in 0..row_starts {
                    self.square(s, i * S::LANES, j * S::LANES);
                }
            }
        } else {
            for i in 0..row_starts {
                for j in 0..col_starts {
                    self.square(s, i * S::LANES, j * S::LANES);
                }
            }
        }
    }
}

impl Squares {
    /// Turns a plane of 2 to 4 dense rows or columns, element by element in loops of fixed width, which compilers know to do in vectors. `false` for
    /// any other.
    #[inline(always)]
    fn thin<S: Simd>(&self, _: S) -> bool {
        let plane = &self.plane;
        match (plane.rows, plane.cols) {
            (_, 2) if plane.from_step == 2 => self.part_columns::<2>(),
            (_, 3) if plane.from_step == 3 => self.part_columns::<3>(),
            (_, 4) if plane.from_step == 4 => self.part_columns::<4>(),
            (2, _) if plane.to_step == 2 => self.join_rows::<2>(),
            (3, _) if plane.to_step == 3 => self.join_rows::<3>(),
            (4, _) if plane.to_step == 4 => self.join_rows::<4>(),
            _ => return false,
        }
        true
    }

    /// Takes K columns apart.
    #[inline(always)]
    fn part_columns<const K: usize>(&self) {
        let (rows, to_step) = (self.plane.rows, self.plane.to_step);
        // SAFETY: K columns without anything between them; the rows of the destination are ours alone, and disjoint.
        let (from, to): (&[[f32; K]], [&mut [f32]; K]) = unsafe {
            let from = std::slice::from_raw_parts(self.from.cast(), rows);
            let row = |c: usize| std::slice::from_raw_parts_mut(self.to.add(c * to_step), rows);
            (from, std::array::from_fn(row))
        };
        let mut to = to.map(|row| &mut row[..rows]);
        for (r, values) in from.iter().enumerate() {
            for (row, &value) in to.iter_mut().zip(values) {
                row[r] = value;
            }
        }
    }

    /// Puts K rows together, element beside element.
    #[inline(always)]
    fn join_rows<const K: usize>(&self) {
        let (cols, from_step) = (self.plane.cols, self.plane.from_step);
        // SAFETY: K rows to columns without anything between them, which are ours alone.
        let (from, to): ([&[f32]; K], &mut [[f32; K]]) = unsafe {
            let row = |r: usize| std::slice::from_raw_parts(self.from.add(r * from_step), cols);
            let to = std::slice::from_raw_parts_mut(self.to.cast(), cols);
            (std::array::from_fn(row), to)
        };
        let from = from.map(|row| &row[..cols]);
        for (c, values) in to.iter_mut().enumerate() {
            *values = std::array::from_fn(|r| from[r][c]);
        }
    }

    /// The square whose first element is in this row and column.
    #[inline(always)]
    fn square<S: Simd>(&self, s: S, row: usize, col: usize) {
        let plane = &self.plane;
        if plane.rows < S::LANES || plane.cols < S::LANES {
            return self.narrow(s, row, col);
        }
        // At an edge it moves back until it fits, and writes again what its neighbour wrote.
        let (row, col) = (
            row.min(plane.rows - S::LANES),
            col.min(plane.cols - S::LANES),
        );
        if plane.from_step.is_multiple_of(FAR) {
            return self.buffered(s, (row, S::LANES), (col, S::LANES));
        }
        // SAFETY: the square is inside of the plane.
        unsafe {
            s.turn_square_raw(
                self.from.add(row * plane.from_step + col),
                plane.from_step,
                self.to.add(col * plane.to_step + row),
                plane.to_step,
            );
        }
    }

    /// What there is of a square of a plane that is too narrow for a whole one.
    #[inline(always)]
    fn narrow<S: Simd>(&self, s: S, row: usize, col: usize) {
        let rows = (self.plane.rows - row).min(S::LANES);
        let cols = (self.plane.cols - col).min(S::LANES);
        self.buffered(s, (row, rows), (col, cols));
    }

    /// Some rows from one on, of these some columns, at most a square, through memory that is near.
    #[inline(always)]
    fn buffered<S: Simd>(&self, s: S, (row, rows): (usize, usize), (col, cols): (usize, usize)) {
        let plane = &self.plane;
        let mut near = [0.0_f32; WIDEST * WIDEST];
        for r in 0..rows {
            // SAFETY: `cols` elements from this one on are inside of the plane, and a row of the buffer has `LANES`.
            unsafe {
                let from = self.from.add((row + r) * plane.from_step + col);
                let values = s.load_part_raw(from, cols);
                s.store_raw(values, near.as_mut_ptr().add(r * S::LANES));
            }
        }
        // SAFETY: the first element to write is inside of the plane.
        let to = unsafe { self.to.add(col * plane.to_step + row) };
        if rows == S::LANES && cols == S::LANES {
            // SAFETY: the buffer holds a square, and a whole one is inside of the plane.
            unsafe { s.turn_square_raw(near.as_ptr(), S::LANES, to, plane.to_step) };
            return;
        }
        let mut turned = [0.0_f32; WIDEST * WIDEST];
        // SAFETY: both buffers hold a square.
        unsafe { s.turn_square_raw(near.as_ptr(), S::LANES, turned.as_mut_ptr(), S::LANES) };
        for c in 0..cols {
            // SAFETY: `rows` elements from this one on are inside of the plane.
            unsafe {
                let values = s.load_raw(turned.as_ptr().add(c * S::LANES));
                s.store_part_raw(values, to.add(c * plane.to_step), rows);
            }
        }
    }
}

/// Turns a plane of elements that are arrays of bytes.
///
/// # Safety
/// As [`Turn::part`].
unsafe fn turn_elements<T: Copy>(plane: &Plane, from: *const u8, to: *mut u8) {
    let (from, to) = (from.cast::<T>(), to.cast::<T>());
    for row in (0..plane.rows).step_by(TILE) {
        let rows = row..plane.rows.min(row + TILE);
        for col in (0..plane.cols).step_by(TILE) {
            for c in col..plane.cols.min(col + TILE) {
                for r in rows.clone() {
                    // SAFETY: inside of the plane; arrays of bytes are never misaligned.
                    unsafe {
                        let element = from.add(r * plane.from_step + c).read();
                        to.add(c * plane.to_step + r).write(element);
                    }
                }
            }
        }
    }
}
