//! Matrix products.

use super::activation::epilogue;
use super::element::{Float, Wide, with_float, with_int};
use super::io::{Indices, Io, concrete, ensure};
use super::walk::{Nest, at, broadcast_strides, strides};
use super::{EvalError, Strides};
use crate::arith::{Epilogue, MatrixRef, Unary, long_sum};
use unisono_graph::Operator;
use unisono_graph::ops::linear::Linear;
use unisono_tensor::TensorRef;

/// One operand seen as matrices: how to step along its rows, its columns and the leading axes of the output.
struct Operand {
    rows: usize,
    cols: usize,
    row_step: isize,
    col_step: isize,
    /// One stride per leading axis of the output.
    leading: Strides,
}

/// The geometry of a batched product.
struct Product {
    m: usize,
    n: usize,
    k: usize,
    a: Operand,
    b: Operand,
    /// The leading axes of the output.
    leading: super::Dims,
    /// Does the output have an axis for the rows, and one for the columns? Not where a factor is a vector.
    matrix_axes: [bool; 2],
}

fn operand(
    x: TensorRef<'_>,
    transpose: bool,
    is_left: bool,
    leading: &[usize],
) -> Result<Operand, EvalError> {
    let shape = x.shape();
    let own = strides(shape);
    match *shape {
        [] => Err(EvalError::Shape {
            what: "a factor should have at least one axis",
        }),
        [len] => {
            let (rows, cols) = if is_left { (1, len) } else { (len, 1) };
            let (row_step, col_step) = if is_left { (0, 1) } else { (1, 0) };
            Ok(Operand {
                rows,
                cols,
                row_step,
                col_step,
                leading: Strides::from_elem(0, leading.len()),
            })
        }
        [ref lead @ .., rows, cols] => {
            // Strides of the leading axes count whole matrices.
            let matrix = rows.wrapping_mul(cols) as isize;
            let mut steps = broadcast_strides(lead, leading)?;
            steps.iter_mut().for_each(|s| *s = s.wrapping_mul(matrix));
            let (row_step, col_step) = (own[lead.len()], 1);
            Ok(if transpose {
                Operand {
                    rows: cols,
                    cols: rows,
                    row_step: col_step,
                    col_step: row_step,
                    leading: steps,
                }
            } else {
                Operand {
                    rows,
                    cols,
                    row_step,
                    col_step,
                    leading: steps,
                }
            })
        }
    }
}

impl Product {
    fn new(
        a: TensorRef<'_>,
        b: TensorRef<'_>,
        [transpose_a, transpose_b]: [bool; 2],
        out: &[usize],
    ) -> Result<Product, EvalError> {
        let matrix_axes = [a.rank() > 1, b.rank() > 1];
        let lead = out
            .len()
            .checked_sub(matrix_axes.into_iter().filter(|&a| a).count());
        let leading: super::Dims = match lead {
            Some(lead) => out[..lead].into(),
            None => {
                return Err(EvalError::Shape {
                    what: "a product's output should have the axes of its factors",
                });
            }
        };
        let a = operand(a, transpose_a, true, &leading)?;
        let b = operand(b, transpose_b, false, &leading)?;
        ensure(
            a.cols == b.rows,
            "the columns of the left factor should be the rows of the right one",
        )?;
        Ok(Product {
            m: a.rows,
            n: b.cols,
            k: a.cols,
            a,
            b,
            leading,
            matrix_axes,
        })
    }

    /// Strides of the output, or of something that broadcasts to it, by leading axis, row and column.
    fn steps_of(
        &self,
        shape: &[usize],
        out: &[usize],
    ) -> Result<(Strides, isize, isize), EvalError> {
        let all = broadcast_strides(shape, out)?;
        let (leading, matrix) = all.split_at(self.leading.len());
        let (row, col) = match (self.matrix_axes, matrix) {
            ([true, true], &[row, col]) => (row, col),
            ([true, false], &[row]) => (row, 0),
            ([false, true], &[col]) => (0, col),
            _ => (0, 0),
        };
        Ok((leading.into(), row, col))
    }
}

pub(super) fn linear(op: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let op = concrete::<Linear>(op)?;
    let (a, b, c) = (io.input(0)?, io.input(1)?, io.optional(2));
    let mut out = io.output(0)?;
    let product = Product::new(a, b, [op.transpose_a, op.transpose_b], out.shape())?;
    let plan = Plan::new(&product, c, out.shape(), [a.len(), b.len(), out.len()])?;
    let dtype = a.dtype();
    if dtype.is_float() {
        let activation = epilogue(op.activation)?;
        return with_float!(dtype, "a factor", T => {
            let c = c.map(|c| c.as_slice::<T>()).transpose()?;
            let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
            floats(&product, &plan, a, b, c, op, activation, out.as_slice_mut::<T>()?)
        });
    }
    ensure(
        op.activation.is_none(),
        "a product of integers has no activation",
    )?;
    with_int!(dtype, "a factor", T => {
        let c = c.map(|c| c.as_slice::<T>()).transpose()?;
        let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        let out = out.as_slice_mut::<T>()?;
        let (alpha, beta) = (op.alpha as T, op.beta as T);
        plan.each(&product, |o, p, q, r| {
            let mut sum: T = 0;
            for k in 0..product.k {
                let (x, y) = (a[at(p, k, product.a.col_step)], b[at(q, k, product.b.row_step)]);
                sum = Wide::add(sum, Wide::mul(x, y));
            }
            sum = Wide::mul(alpha, sum);
            if let Some(c) = c {
                sum = Wide::add(sum, Wide::mul(beta, c[r]));
            }
            out[o] = sum;
        })
    })
}

/// Where each output element and its row, column and summand lie.
struct Plan {
    nest: Nest<4>,
    /// Steps along rows and columns of: output, summand.
    out: (isize, isize),
    c: (isize, isize),
}

impl Plan {
    fn new(
        product: &Product,
        c: Option<TensorRef<'_>>,
        out: &[usize],
        [a_len, b_len, out_len]: [usize; 3],
    ) -> Result<Plan, EvalError> {
        let (out_leading, out_row, out_col) = product.steps_of(out, out)?;
        let (c_leading, c_row, c_col) = product.steps_of(c.map_or(&[], |c| c.shape()), out)?;
        // Checked with the matrices' own axes, walked without them.
        let mut shape = product.leading.clone();
        shape.extend([product.m, product.n]);
        let with = |leading: &Strides, row, col| {
            let mut all = leading.clone();
            all.extend([row, col]);
            all
        };
        let full = Nest::new(
            &shape,
            [
                &with(&out_leading, out_row, out_col),
                &with(&product.a.leading, product.a.row_step, 0),
                &with(&product.b.leading, 0, product.b.col_step),
                &with(&c_leading, c_row, c_col),
            ],
            [0; 4],
        );
        // Without products nothing is read of the factors.
        let readable = |len: usize| if product.k == 0 { usize::MAX } else { len };
        full.check([
            out_len,
            readable(a_len),
            readable(b_len),
            c.map_or(1, |c| c.len()),
        ])?;
        Ok(Plan {
            nest: Nest::new(
                &product.leading,
                [
                    &out_leading,
                    &product.a.leading,
                    &product.b.leading,
                    &c_leading,
                ],
                [0; 4],
            ),
            out: (out_row, out_col),
            c: (c_row, c_col),
        })
    }

    /// Calls `f` with the offsets of every output element, of its row in `a`, its column in `b`, and its summand.
    fn each(
        &self,
        product: &Product,
        mut f: impl FnMut(usize, usize, usize, usize),
    ) -> Result<(), EvalError> {
        self.nest.runs(|starts, len, steps| {
            for l in 0..len {
                let [o, p, q, r] = std::array::from_fn(|x| at(starts[x], l, steps[x]));
                for i in 0..product.m {
                    for j in 0..product.n {
                        f(
                            at(at(o, i, self.out.0), j, self.out.1),
                            at(p, i, product.a.row_step),
                            at(q, j, product.b.col_step),
                            at(at(r, i, self.c.0), j, self.c.1),
                        );
                    }
                }
            }
            Ok(())
        })
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, made once per element type"
)]
fn floats<T: Float>(
    product: &Product,
    plan: &Plan,
    a: &[T],
    b: &[T],
    c: Option<&[T]>,
    op: &Linear,
    activation: Option<Unary>,
    out: &mut [T],
) -> Result<(), EvalError> {
    plan.each(product, |o, p, q, r| {
        let total = long_sum(product.k, |k| {
            (
                a[at(p, k, product.a.col_step)].widen(),
                b[at(q, k, product.b.row_step)].widen(),
            )
        });
        let summand = c.map(|c| [c[r].widen()]);
        let epilogue = Epilogue {
            alpha: op.alpha,
            beta: op.beta,
            bias: summand.as_ref().map(|c| MatrixRef::repeat_row(c)),
            activation,
        };
        out[o] = T::narrow(epilogue.finish(total, 0, 0));
    })
}

/// 8-bit integers minus their zero points, summed exactly in i32.
pub(super) fn matmul_integer(_: &dyn Operator, mut io: Io<'_, '_>) -> Result<(), EvalError> {
    let (a, b) = (io.input(0)?, io.input(1)?);
    let (a_zero, b_zero) = (io.optional(2), io.optional(3));
    let mut out = io.output(0)?;
    let product = Product::new(a, b, [false; 2], out.shape())?;
    let plan = Plan::new(&product, None, out.shape(), [a.len(), b.len(), out.len()])?;
    let (x, y) = (Indices::of(a)?, Indices::of(b)?);
    let a_zero = ZeroPoints::new(a_zero, product.m)?;
    let b_zero = ZeroPoints::new(b_zero, product.n)?;
    let out = out.as_slice_mut::<i32>()?;
    let (m, n) = (product.m, product.n);
    let mut done = 0;
    plan.each(&product, |o, p, q, _| {
        // `each` goes through matrices, rows and columns in this order.
        let (matrix, i, j) = (done / (m * n), done / n % m, done % n);
        done += 1;
        let (za, zb) = (a_zero.of(matrix, i), b_zero.of(matrix, j));
        let mut sum = 0i32;
        for k in 0..product.k {
            let l = x.get(at(p, k, product.a.col_step)) - za;
            let r = y.get(at(q, k, product.b.row_step)) - zb;
            sum = sum.wrapping_add((l * r) as i32);
        }
        out[o] = sum;
    })
}

/// One zero point, or one per row or column, perhaps different for every matrix.
struct ZeroPoints<'a> {
    values: Option<Indices<'a>>,
    /// 1 for a single one.
    per_matrix: usize,
    matrices: usize,
}

impl<'a> ZeroPoints<'a> {
    fn new(t: Option<TensorRef<'a>>, per_matrix: usize) -> Result<Self, EvalError> {
        let Some(t) = t else {
            return Ok(ZeroPoints {
                values: None,
                per_matrix: 1,
                matrices: 1,
            });
        };
        let values = Some(Indices::of(t)?);
        if t.len() == 1 {
            return Ok(ZeroPoints {
                values,
                per_matrix: 1,
                matrices: 1,
            });
        }
        ensure(
            per_matrix > 0 && t.len().is_multiple_of(per_matrix) && !t.is_empty(),
            "zero points should be one, or one per row or column",
        )?;
        Ok(ZeroPoints {
            values,
            per_matrix,
            matrices: t.len() / per_matrix,
        })
    }

    fn of(&self, matrix: usize, i: usize) -> i64 {
        let index = matrix % self.matrices * self.per_matrix + i % self.per_matrix;
        self.values.as_ref().map_or(0, |v| v.get(index))
    }
}
