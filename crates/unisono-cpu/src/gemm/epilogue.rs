//! What happens to a finished sum before it leaves the cache: scale, bias, residual, activation.
//!
//! The order is the canonical one, and every step is an elementwise operation of its own with its own rounding, so it does not matter
//! into which pieces C is cut, nor whether a step is done here or by an operator of its own.

use std::ops::Range;

use unisono_reference::arith::{MatrixRef, Unary};

use super::microkernel::{Ending, Simple};
use super::pack::assert_covers;
use crate::simd::{Function, Isa, Kernel, Simd, UnaryVisitor, dispatch, visit_unary};

/// More than the lanes of any instruction set.
const MAX_LANES: usize = 16;

/// `activation(alpha * total + beta * bias + residual)`, each step only where present.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Scales the total; 1 means that no multiplication takes place.
    pub alpha: f32,
    /// Scales the bias; 1 means a plain addition, anything else one fused multiply-add.
    pub beta: f32,
    /// Added next. Strides of 0 broadcast it: [`MatrixRef::repeat_row`], [`MatrixRef::repeat_col`].
    pub bias: Option<MatrixRef<'a, f32>>,
    /// Added after the bias: the other branch of a residual block. Row strides of its own.
    pub residual: Option<MatrixRef<'a, f32>>,
    /// Applied last.
    pub activation: Option<Unary>,
}

impl Default for Epilogue<'_> {
    /// Leaves a total as it is.
    fn default() -> Self {
        Self {
            alpha: 1.0,
            beta: 1.0,
            bias: None,
            residual: None,
            activation: None,
        }
    }
}

impl Epilogue<'_> {
    /// Panics unless bias and residual cover m x n.
    pub(crate) fn check(&self, m: usize, n: usize) {
        if let Some(bias) = &self.bias {
            assert_covers(bias, m, n, "the bias");
        }
        if let Some(residual) = &self.residual {
            assert_covers(residual, m, n, "the residual");
        }
    }

    fn is_identity(&self) -> bool {
        self.alpha == 1.0
            && self.bias.is_none()
            && self.residual.is_none()
            && self.activation.is_none()
    }

    /// Whether a tile's [`Ending`] does all of it.
    pub(crate) fn is_ending(&self) -> bool {
        self.alpha == 1.0
            && self.beta == 1.0
            && self.bias.is_none_or(|bias| bias.col_stride <= 1)
            && self.residual.is_none()
            && Simple::of(self.activation).is_some()
    }

    /// What is left to an [`Ending`], and the residual that a kernel of sums adds on the way; none if they cannot do all of it.
    pub(crate) fn as_sum(&self) -> Option<(Self, MatrixRef<'_, f32>)> {
        let residual = self.residual.filter(|residual| residual.col_stride == 1)?;
        let ending = Self {
            residual: None,
            ..*self
        };
        ending.is_ending().then_some((ending, residual))
    }

    /// The ending of a tile that begins at (i, j); for epilogues that [are one](Epilogue::is_ending).
    pub(crate) fn ending(&self, i: usize, j: usize) -> Ending {
        let activation = Simple::of(self.activation).unwrap_or(Simple::None);
        match &self.bias {
            None => Ending {
                activation,
                ..Ending::NONE
            },
            Some(bias) => Ending {
                bias: bias.data[i * bias.row_stride + j * bias.col_stride..].as_ptr(),
                bias_row: bias.row_stride,
                bias_col: bias.col_stride,
                activation,
            },
        }
    }

    /// Finishes `rows` x `cols` of C, of which `c` is the element (0, 0).
    ///
    /// # Safety
    /// The range of C (rows `c_step` apart) is writable by this caller alone, and [`Epilogue::check`] passed for a C
    /// that contains the range.
    pub(crate) unsafe fn apply(
        &self,
        isa: Isa,
        c: *mut f32,
        c_step: usize,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        if self.is_identity() {
            return;
        }
        let region = Region {
            epilogue: self,
            c,
            c_step,
            rows,
            cols,
        };
        match self.activation {
            None => dispatch(
                isa,
                Finish {
                    region,
                    activation: Identity,
                },
            ),
            Some(activation) => visit_unary(activation, OnRegion { isa, region }),
        }
    }
}

/// A part of C to be finished, all of it writable by its holder alone.
struct Region<'a> {
    epilogue: &'a Epilogue<'a>,
    c: *mut f32,
    c_step: usize,
    rows: Range<usize>,
    cols: Range<usize>,
}

/// No activation.
#[derive(Clone, Copy)]
struct Identity;

impl Function for Identity {
    #[inline(always)]
    fn eval<S: Simd>(self, _: S, x: S::F) -> S::F {
        x
    }
}

struct OnRegion<'a> {
    isa: Isa,
    region: Region<'a>,
}

impl UnaryVisitor for OnRegion<'_> {
    type Output = ();

    fn visit<F: Function>(self, activation: F) {
        dispatch(
            self.isa,
            Finish {
                region: self.region,
                activation,
            },
        );
    }
}

/// All steps on one register of C at a time.
struct Finish<'a, F> {
    region: Region<'a>,
    activation: F,
}

impl<F: Function> Kernel for Finish<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Region {
            epilogue,
            c,
            c_step,
            rows,
            cols,
        } = self.region;
        let alpha = (epilogue.alpha != 1.0).then(|| s.splat(epilogue.alpha));
        let beta = (epilogue.beta != 1.0).then(|| s.splat(epilogue.beta));
        for i in rows {
            // SAFETY: the row's part of C is the region's holder's alone.
            let row = unsafe {
                std::slice::from_raw_parts_mut(c.add(i * c_step + cols.start), cols.len())
            };
            let steps = Steps {
                alpha,
                beta,
                bias: Row::of(s, epilogue.bias.as_ref(), i, &cols),
                residual: Row::of(s, epilogue.residual.as_ref(), i, &cols),
                activation: self.activation,
            };
            let mut at = 0;
            // Two at a time: an activation is one long chain, beside which there is room for another.
            while at + 2 * S::LANES <= row.len() {
                let (first, second) = row[at..at + 2 * S::LANES].split_at_mut(S::LANES);
                let y = steps.finish(s, at, S::LANES, s.load(first));
                let z = steps.finish(s, at + S::LANES, S::LANES, s.load(second));
                s.store(y, first);
                s.store(z, second);
                at += 2 * S::LANES;
            }
            while at < row.len() {
                let n = S::LANES.min(row.len() - at);
                let lanes = &mut row[at..at + n];
                match n == S::LANES {
                    true => s.store(steps.finish(s, at, n, s.load(lanes)), lanes),
                    false => s.store_part(steps.finish(s, at, n, s.load_part(lanes)), lanes),
                }
                at += n;
            }
        }
    }
}

/// The steps for one row.
struct Steps<'a, V, F> {
    alpha: Option<V>,
    beta: Option<V>,
    bias: Row<'a, V>,
    residual: Row<'a, V>,
    activation: F,
}

impl<V: Copy, F: Function> Steps<'_, V, F> {
    /// Finishes `n` totals from column `at` of the region on. Not a closure: those are not inlined for sure, and only what is inlined
    /// is compiled for the instruction set.
    #[inline(always)]
    fn finish<S: Simd<F = V>>(&self, s: S, at: usize, n: usize, mut y: V) -> V {
        if let Some(alpha) = self.alpha {
            y = s.mul(alpha, y);
        }
        if let Some(c) = self.bias.load(s, at, n) {
            y = match self.beta {
                None => s.add(y, c),
                Some(beta) => s.fma(beta, c, y),
            };
        }
        if let Some(c) = self.residual.load(s, at, n) {
            y = s.add(y, c);
        }
        self.activation.eval(s, y)
    }
}

/// A row of a bias or residual, from the region's first column on.
enum Row<'a, V> {
    /// There is none.
    None,
    /// The same value in every column.
    Same(V),
    /// Columns side by side.
    Dense(&'a [f32]),
    /// Columns that lie apart.
    Apart(&'a [f32], usize),
}

impl<'a, V: Copy> Row<'a, V> {
    #[inline(always)]
    fn of<S: Simd<F = V>>(
        s: S,
        m: Option<&MatrixRef<'a, f32>>,
        i: usize,
        cols: &Range<usize>,
    ) -> Self {
        let Some(m) = m else { return Row::None };
        let data = &m.data[i * m.row_stride + cols.start * m.col_stride..];
        match m.col_stride {
            0 => Row::Same(s.splat(data[0])),
            1 => Row::Dense(data),
            stride => Row::Apart(data, stride),
        }
    }

    /// The `n` values from column `at` on.
    #[inline(always)]
    fn load<S: Simd<F = V>>(&self, s: S, at: usize, n: usize) -> Option<V> {
        Some(match *self {
            Row::None => return None,
            Row::Same(value) => value,
            Row::Dense(data) if n == S::LANES => s.load(&data[at..at + n]),
            Row::Dense(data) => s.load_part(&data[at..at + n]),
            Row::Apart(data, stride) => {
                let mut lanes = [0.0; MAX_LANES];
                for (lane, value) in lanes[..n].iter_mut().enumerate() {
                    *value = data[(at + lane) * stride];
                }
                s.load(&lanes)
            }
        })
    }
}
