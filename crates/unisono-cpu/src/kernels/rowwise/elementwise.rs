//! Functions of one and of two values.

use unisono_reference::arith::{Binary, Unary};

use super::InOut;
use crate::simd::{
    BinaryFunction, BinaryVisitor, Function, Isa, Kernel, Simd, UnaryVisitor, dispatch,
    visit_binary, visit_unary,
};

/// `y[i] = f(x[i])`.
pub fn unary<'a>(isa: Isa, f: Unary, data: impl Into<InOut<'a>>) {
    let data = data.into();
    visit_unary(f, Map { isa, data });
}

struct Map<'a> {
    isa: Isa,
    data: InOut<'a>,
}

impl UnaryVisitor for Map<'_> {
    type Output = ();

    fn visit<F: Function>(self, f: F) {
        let data = self.data;
        dispatch(self.isa, MapKernel { f, data });
    }
}

struct MapKernel<'a, F> {
    f: F,
    data: InOut<'a>,
}

impl<F: Function> Kernel for MapKernel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.data.part(0, self.data.len()).map(s, self.f);
    }
}

/// An operand of a function of two values over `rows` x `n` outputs.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// `rows` x `n` values.
    Full(&'a [f32]),
    /// `n` values, the same for every row.
    Row(&'a [f32]),
    /// `rows` values, each for a whole row.
    Column(&'a [f32]),
    /// One value.
    Scalar(f32),
}

impl Operand<'_> {
    /// Where row 0 starts, how far rows are apart, and whether a row is one value.
    ///
    /// # Panics
    ///
    /// If there are not as many values as the kind has.
    fn source(&self, rows: usize, n: usize) -> Source {
        let (data, expected, row_stride, single) = match self {
            Operand::Full(data) => (*data, rows * n, n, false),
            Operand::Row(data) => (*data, n, 0, false),
            Operand::Column(data) => (*data, rows, 1, true),
            Operand::Scalar(value) => (std::slice::from_ref(value), 1, 0, true),
        };
        assert_eq!(data.len(), expected, "values of an operand of {rows} x {n}");
        Source {
            data: data.as_ptr(),
            row_stride,
            single,
        }
    }

    /// Whether the values follow each other across rows as they do within one.
    fn is_flat(&self) -> bool {
        matches!(self, Operand::Full(_) | Operand::Scalar(_))
    }
}

/// `y = f(a, b)` over `rows` x `n` outputs, each operand full or broadcast.
///
/// # Panics
///
/// If an operand or `y` has not the number of values that its kind and `rows` x `n` ask for.
pub fn binary(
    isa: Isa,
    f: Binary,
    [rows, n]: [usize; 2],
    a: Operand<'_>,
    b: Operand<'_>,
    y: &mut [f32],
) {
    assert_eq!(y.len(), rows * n, "outputs of {rows} x {n}");
    if let (Binary::Pow, Operand::Scalar(exponent), Operand::Full(x)) = (f, b, a)
        && power(isa, exponent, (x, &mut *y))
    {
        return;
    }
    // Without a row or a column everything is one row.
    let [rows, n] = match a.is_flat() && b.is_flat() {
        true => [1, rows * n],
        false => [rows, n],
    };
    let kernel = ZipKernel {
        f: (),
        a: a.source(rows, n),
        b: b.source(rows, n),
        y: y.as_mut_ptr(),
        rows,
        n,
    };
    visit_binary(f, Zip { isa, kernel });
}

/// [`binary`] with `ay` both the first operand, full, and the output; with `swapped` the second.
///
/// # Panics
///
/// If an operand has not the number of values that its kind and `rows` x `n` ask for.
pub fn binary_in_place(
    isa: Isa,
    f: Binary,
    [rows, n]: [usize; 2],
    ay: &mut [f32],
    b: Operand<'_>,
    swapped: bool,
) {
    assert_eq!(ay.len(), rows * n, "outputs of {rows} x {n}");
    if let (Binary::Pow, Operand::Scalar(exponent), false) = (f, b, swapped)
        && power(isa, exponent, &mut *ay)
    {
        return;
    }
    let [rows, n] = if b.is_flat() {
        [1, rows * n]
    } else {
        [rows, n]
    };
    let y = ay.as_mut_ptr();
    let own = Source {
        data: y,
        row_stride: n,
        single: false,
    };
    let other = b.source(rows, n);
    let (a, b) = if swapped { (other, own) } else { (own, other) };
    let kernel = ZipKernel {
        f: (),
        a,
        b,
        y,
        rows,
        n,
    };
    visit_binary(f, Zip { isa, kernel });
}

/// Raises to one of the powers that the canonical arithmetic defines without a logarithm; false if `exponent` is none of them.
fn power<'a>(isa: Isa, exponent: f32, data: impl Into<InOut<'a>>) -> bool {
    let map = Map {
        isa,
        data: data.into(),
    };
    if exponent == 2.0 {
        visit_unary(Unary::Square, map);
    } else if exponent == 3.0 {
        map.visit(Cube);
    } else if exponent == -1.0 {
        visit_unary(Unary::Reciprocal, map);
    } else if exponent == 0.5 {
        map.visit(SquareRootPower);
    } else {
        return false;
    }
    true
}

/// `(x * x) * x`.
#[derive(Clone, Copy)]
struct Cube;

impl Function for Cube {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: S::F) -> S::F {
        s.mul(s.mul(x, x), x)
    }
}

/// The power 1/2, which unlike a square root has no -0 and takes -infinity to infinity.
#[derive(Clone, Copy)]
struct SquareRootPower;

impl Function for SquareRootPower {
    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: S::F) -> S::F {
        let root = s.add(s.sqrt(x), s.zero());
        let lowest = s.eq(x, s.splat(f32::NEG_INFINITY));
        s.select(lowest, s.splat(f32::INFINITY), root)
    }
}

struct Zip {
    isa: Isa,
    kernel: ZipKernel<()>,
}

impl BinaryVisitor for Zip {
    type Output = ();

    fn visit<F: BinaryFunction>(self, f: F) {
        let ZipKernel {
            a, b, y, rows, n, ..
        } = self.kernel;
        dispatch(
            self.isa,
            ZipKernel {
                f,
                a,
                b,
                y,
                rows,
                n,
            },
        );
    }
}

#[derive(Clone, Copy)]
struct Source {
    data: *const f32,
    row_stride: usize,
    single: bool,
}

/// Made by [`binary`] and [`binary_in_place`] only, while they borrow what the pointers point at: `y` to `rows` x `n` values, the sources to what
/// their kind has for `rows` x `n`. A source may be `y` itself, value for value.
struct ZipKernel<F> {
    f: F,
    a: Source,
    b: Source,
    y: *mut f32,
    rows: usize,
    n: usize,
}

impl<F: BinaryFunction> Kernel for ZipKernel<F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ZipKernel {
            f,
            a,
            b,
            y,
            rows,
            n,
        } = self;
        for row in 0..rows {
            // SAFETY: see the type.
            unsafe {
                let y = y.add(row * n);
                let (pa, pb) = (
                    a.data.add(row * a.row_stride),
                    b.data.add(row * b.row_stride),
                );
                match (a.single, b.single) {
                    (false, false) => zip(s, f, Each(pa), Each(pb), y, n),
                    (false, true) => zip(s, f, Each(pa), Same(s.splat(*pb)), y, n),
                    (true, false) => zip(s, f, Same(s.splat(*pa)), Each(pb), y, n),
                    (true, true) => zip(s, f, Same(s.splat(*pa)), Same(s.splat(*pb)), y, n),
                }
            }
        }
    }
}

trait Values<S: Simd>: Copy {
    /// # Safety
    ///
    /// A whole vector is readable at `at`.
    unsafe fn load(self, s: S, at: usize) -> S::F;
    /// # Safety
    ///
    /// `n` values are readable at `at`.
    unsafe fn load_part(self, s: S, at: usize, n: usize) -> S::F;
}

#[derive(Clone, Copy)]
struct Each(*const f32);

impl<S: Simd> Values<S> for Each {
    #[inline(always)]
    unsafe fn load(self, s: S, at: usize) -> S::F {
        // SAFETY: promised by the caller.
        unsafe { s.load_raw(self.0.add(at)) }
    }
    #[inline(always)]
    unsafe fn load_part(self, s: S, at: usize, n: usize) -> S::F {
        // SAFETY: promised by the caller.
        unsafe { s.load_part_raw(self.0.add(at), n) }
    }
}

#[derive(Clone, Copy)]
struct Same<F>(F);

impl<S: Simd> Values<S> for Same<S::F> {
    #[inline(always)]
    unsafe fn load(self, _: S, _: usize) -> S::F {
        self.0
    }
    #[inline(always)]
    unsafe fn load_part(self, _: S, _: usize, _: usize) -> S::F {
        self.0
    }
}

/// # Safety
///
/// `n` values are readable at both operands, where those read memory, and writable at `y`.
#[inline(always)]
unsafe fn zip<S: Simd, F: BinaryFunction>(
    s: S,
    f: F,
    a: impl Values<S>,
    b: impl Values<S>,
    y: *mut f32,
    n: usize,
) {
    let mut at = 0;
    // SAFETY: promised by the caller.
    unsafe {
        while at + S::LANES <= n {
            s.store_raw(f.eval(s, a.load(s, at), b.load(s, at)), y.add(at));
            at += S::LANES;
        }
        if at < n {
            let left = n - at;
            let v = f.eval(s, a.load_part(s, at, left), b.load_part(s, at, left));
            s.store_part_raw(v, y.add(at), left);
        }
    }
}
