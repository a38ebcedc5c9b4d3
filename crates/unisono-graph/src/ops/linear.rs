//! Matrix products: `MatMul`, `Gemm`, their fused forms, and the integer product.
//!
//! The one idea: one operator, [`Linear`], says everything that a product may carry, so one kernel serves `MatMul`, `Gemm`
//! and what rewrites make of a product, its bias and its activation.

use super::activation::Activation;
use super::broadcast::{self, Operand};
use super::rules::{self, FLOATS, WIDE_NUMBERS};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// `activation(alpha * (a' b') + beta * c)`. Inputs: `a`, `b`, optionally `c`. Kind `Linear`.
///
/// `a` is `[..., M, K]` (`[..., K, M]` if `transpose_a`), `b` is `[..., K, N]` (`[..., N, K]` if `transpose_b`); leading axes
/// broadcast; the output is `[..., M, N]`. Without transposes an operand of rank 1 is a row on the left and a column on
/// the right, and its axis is missing from the output (numpy's `matmul`). `c` stretches to the output's shape and never
/// the other way.
///
/// The order is that of the canonical arithmetic: the total, times alpha if it is not 1, plus `c` (or `fma(beta, c, total)` if beta is
/// not 1), the activation. Types: floats; without an activation also i32, i64, u32 and u64, which wrap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Read `a` with its last two axes swapped.
    pub transpose_a: bool,
    /// Read `b` with its last two axes swapped.
    pub transpose_b: bool,
    /// The factor of the product.
    pub alpha: f32,
    /// The factor of `c`.
    pub beta: f32,
    /// Applied last.
    pub activation: Option<Activation>,
    /// The model wrote `Gemm`: both operands have rank 2. Only [`name`](crate::Operator::name) and checks look at it.
    pub gemm: bool,
}

/// `(a - a_zero_point) (b - b_zero_point)` of 8-bit integers, summed exactly in i32. Inputs: `a`, `b` (shapes as for [`Linear`]
/// without transposes), optionally their zero points: scalars, or for `a` one per row (`[M]` or `[..., M, 1]`), for `b` one per column (`[N]`
/// or `[..., 1, N]`). Kind `MatMulInteger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulInteger;

impl Default for Linear {
    /// A plain matrix product.
    fn default() -> Linear {
        Linear {
            transpose_a: false,
            transpose_b: false,
            alpha: 1.0,
            beta: 1.0,
            activation: None,
            gemm: false,
        }
    }
}

/// The axes of a product's two operands, whatever they are transposed to.
///
/// `None` stands for an axis that an operand of rank 1 does not have.
struct Axes {
    /// M in `a`.
    rows: Option<usize>,
    /// K in `a`.
    sum_a: usize,
    /// K in `b`.
    sum_b: usize,
    /// N in `b`.
    columns: Option<usize>,
}

impl Axes {
    fn new(op: &Linear, a: usize, b: usize) -> Result<Axes, OpError> {
        let check = |rank: usize, transposed: bool, name: &str| {
            let least = if op.gemm || transposed { 2 } else { 1 };
            if rank < least || (op.gemm && rank != 2) {
                return Err(OpError::new(format!(
                    "{name} has {rank} axes; needed: {}{least}",
                    if op.gemm { "" } else { "at least " }
                )));
            }
            Ok(())
        };
        check(a, op.transpose_a, "input 0 (a)")?;
        check(b, op.transpose_b, "input 1 (b)")?;
        let (rows, sum_a) = match (a, op.transpose_a) {
            (1, _) => (None, 0),
            (r, false) => (Some(r - 2), r - 1),
            (r, true) => (Some(r - 1), r - 2),
        };
        let (sum_b, columns) = match (b, op.transpose_b) {
            (1, _) => (0, None),
            (r, false) => (r - 2, Some(r - 1)),
            (r, true) => (r - 1, Some(r - 2)),
        };
        Ok(Axes {
            rows,
            sum_a,
            sum_b,
            columns,
        })
    }
}

/// The shape of `a' b'`.
fn product(op: &Linear, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let axes = Axes::new(op, a.len(), b.len())?;
    let (ka, kb) = (&a[axes.sum_a], &b[axes.sum_b]);
    if ka.equals(kb) == Some(false) {
        return Err(OpError::new(format!(
            "shapes {a:?} and {b:?} do not multiply: {ka} columns against {kb} rows"
        )));
    }
    let leading = |s: &[Dim]| s[..s.len().saturating_sub(2)].to_vec();
    let mut shape = broadcast::shapes(&leading(a), &leading(b))?;
    shape.extend(axes.rows.map(|i| a[i].clone()));
    shape.extend(axes.columns.map(|i| b[i].clone()));
    Ok(shape)
}

/// The length over which a product sums, from what is known of `a`.
fn sum_length(op: &Linear, a: &Fact, b: &Fact) -> Option<u64> {
    let axes = Axes::new(op, a.rank()?, b.rank()?).ok()?;
    u64::try_from(a.shape.as_ref()?[axes.sum_a].as_len()?).ok()
}

/// Where the batch of one operand is in the product: on which axis, counted from the end.
fn place(
    batch: &Batch,
    rank: usize,
    sum: usize,
    free: Option<(usize, usize)>,
    missing: usize,
    name: &str,
) -> Result<Option<usize>, Blocker> {
    let Batch::Rows { axis, .. } = batch else {
        return Ok(None);
    };
    if *axis == sum {
        return Err(Blocker::new(format!(
            "sums over the batch axis {axis} of {name}"
        )));
    }
    match free {
        Some((own, from_end)) if own == *axis => Ok(Some(from_end)),
        // Leading axes align from the end, in front of what is left of the last two.
        _ => Ok(Some((rank - 1 - axis) - missing)),
    }
}

fn product_batch(op: &Linear, cx: &BatchContext<'_>) -> Result<(Batch, Vec<Dim>), Blocker> {
    let (a, b) = (rules::batch_shape(cx, 0)?, rules::batch_shape(cx, 1)?);
    let wrong = |e: OpError| Blocker::new(e.to_string());
    let axes = Axes::new(op, a.len(), b.len()).map_err(wrong)?;
    let shape = product(op, a, b).map_err(wrong)?;
    // Axes of the output behind the leading ones: M, N, both or none.
    let tail = usize::from(axes.rows.is_some()) + usize::from(axes.columns.is_some());
    let columns = usize::from(axes.columns.is_some());
    let (batch_a, batch_b) = (rules::batch_of(cx, 0), rules::batch_of(cx, 1));
    let at_a = place(
        batch_a,
        a.len(),
        axes.sum_a,
        axes.rows.map(|i| (i, columns)),
        2 - tail,
        "input 0 (a)",
    )?;
    let at_b = place(
        batch_b,
        b.len(),
        axes.sum_b,
        axes.columns.map(|i| (i, 0)),
        2 - tail,
        "input 1 (b)",
    )?;
    let is_leading = |at: usize| at >= tail;
    let moved = |batch: &Batch, at: usize| rules::moved(batch, shape.len() - 1 - at);
    match (at_a, at_b) {
        (None, None) => Ok((Batch::Shared, shape)),
        (Some(at), None) | (None, Some(at)) => {
            let (own, other, name) = match at_a {
                Some(_) => (batch_a, b, "input 1 (b)"),
                None => (batch_b, a, "input 0 (a)"),
            };
            // The other operand reaches a leading axis only if it has that many axes.
            let other_length = is_leading(at)
                .then(|| other.len().checked_sub(at + (2 - tail) + 1))
                .flatten()
                .map(|i| &other[i]);
            match other_length {
                Some(n) if *n != Dim::constant(1) => Err(Blocker::new(format!(
                    "multiplies rows with {name}, which is the same for all and has length {n} on the batch axis"
                ))),
                _ => Ok((moved(own, at), shape)),
            }
        }
        (Some(x), Some(y)) => {
            let alike = match (batch_a, batch_b) {
                (
                    Batch::Rows { outer, inner, .. },
                    Batch::Rows {
                        outer: o, inner: i, ..
                    },
                ) => outer == o && inner == i,
                _ => false,
            };
            if x == y && is_leading(x) && alike {
                Ok((moved(batch_a, x), shape))
            } else {
                Err(Blocker::new(
                    "multiplies every row of one operand with every row of the other",
                ))
            }
        }
    }
}

impl Operator for Linear {
    fn kind(&self) -> &'static str {
        "Linear"
    }

    fn name(&self) -> &'static str {
        if self.gemm { "Gemm" } else { "MatMul" }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let allowed = match self.activation {
            None => WIDE_NUMBERS,
            Some(_) => FLOATS,
        };
        let a = rules::typed(cx, 0, "a", allowed)?;
        let b = rules::typed(cx, 1, "b", &[a.dtype])?;
        let c = rules::optional(cx, 2, "c", &[a.dtype])?;
        let shape = match (&a.shape, &b.shape) {
            (Some(x), Some(y)) => Some(product(self, x, y)?),
            _ if self.gemm => Some(vec![Dim::unknown(), Dim::unknown()]),
            _ => None,
        };
        if let (Some(shape), Some(c)) = (&shape, c.and_then(|c| c.shape.as_deref())) {
            broadcast::stretches_to(c, shape, "input 2 (c)")?;
        }
        cx.set(0, rules::of_shape(a.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        let (batch, shape) = product_batch(self, cx)?;
        if !matches!(cx.inputs.get(2), Some(Some(_))) {
            return Ok(vec![batch]);
        }
        let operands = [
            Operand {
                name: "the product".to_owned(),
                batch: &batch,
                shape: &shape,
            },
            Operand {
                name: "input 2 (c)".to_owned(),
                batch: rules::batch_of(cx, 2),
                shape: rules::batch_shape(cx, 2)?,
            },
        ];
        Ok(vec![broadcast::combine(&operands)?])
    }

    /// Two per product and sum; one per element for each of bias and activation.
    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let (a, b) = (inputs.first()?.as_ref()?, inputs.get(1)?.as_ref()?);
        let elements = outputs.first()?.as_ref()?.element_count()?;
        let extra = u64::from(matches!(inputs.get(2), Some(Some(_))))
            + u64::from(self.activation.is_some());
        let each = sum_length(self, a, b)?.checked_mul(2)?.checked_add(extra)?;
        rules::count(&[elements, each])
    }
}

impl Operator for MatMulInteger {
    fn kind(&self) -> &'static str {
        "MatMulInteger"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let bytes = [DType::I8, DType::U8];
        let a = rules::typed(cx, 0, "a", &bytes)?;
        let b = rules::typed(cx, 1, "b", &bytes)?;
        rules::optional(cx, 2, "a_zero_point", &[a.dtype])?;
        rules::optional(cx, 3, "b_zero_point", &[b.dtype])?;
        let shape = match (&a.shape, &b.shape) {
            (Some(x), Some(y)) => Some(product(&Linear::default(), x, y)?),
            _ => None,
        };
        cx.set(0, rules::of_shape(DType::I32, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        for (i, name) in [(2, "a_zero_point"), (3, "b_zero_point")] {
            let one = |shape: &[Dim]| shape.iter().all(|n| *n == Dim::constant(1));
            match cx.input_facts.get(i).and_then(Option::as_ref) {
                None => {}
                Some(_) if *rules::batch_of(cx, i) != Batch::Shared => {
                    return Err(Blocker::new(format!(
                        "has an input {i} ({name}) that depends on the batch"
                    )));
                }
                // Several zero points are one per index of an axis of the operand, which may be the batch.
                Some(fact)
                    if *rules::batch_of(cx, i - 2) != Batch::Shared
                        && !fact.shape.as_deref().is_some_and(one) =>
                {
                    return Err(Blocker::new(format!(
                        "has more than one zero point in input {i} ({name})"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(vec![product_batch(&Linear::default(), cx)?.0])
    }

    /// Two per product and sum.
    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        Linear::default().flops(inputs.get(..2)?, outputs)
    }
}

fn gemm(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(Linear {
        transpose_a: spec.attributes.flag("transA", false)?,
        transpose_b: spec.attributes.flag("transB", false)?,
        alpha: spec.attributes.float_or("alpha", 1.0)?,
        beta: spec.attributes.float_or("beta", 1.0)?,
        activation: None,
        gemm: true,
    }))
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    Definition {
        domain: "",
        name: "MatMul",
        opsets: (7, i64::MAX),
        build: |_| Ok(Arc::new(Linear::default())),
        inputs: (2, 2),
        outputs: (1, 1),
    },
    Definition {
        domain: "",
        name: "Gemm",
        opsets: (7, i64::MAX),
        build: gemm,
        inputs: (2, 3),
        outputs: (1, 1),
    },
    Definition {
        domain: "",
        name: "MatMulInteger",
        opsets: (10, i64::MAX),
        build: |_| Ok(Arc::new(MatMulInteger)),
        inputs: (2, 4),
        outputs: (1, 1),
    },
];
