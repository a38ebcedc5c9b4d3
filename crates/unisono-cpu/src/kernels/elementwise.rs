//! Functions of one and of two `f32` values per element, with the common ways of broadcasting.

use unisono_graph::ops::activation::Activate;
use unisono_graph::ops::binary::{Binary, Variadic, VariadicFunction};
use unisono_graph::ops::unary::Unary;
use unisono_reference::arith;
use unisono_reference::eval::{canonical_activation, canonical_binary, canonical_unary};
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::exec::kernel::{Build, Context, Kernel};
use crate::kernels::operands::{operand, result};
use crate::kernels::rowwise::{self, Operand};
use crate::kernels::split;

/// Nanoseconds for 16 elements of a function of one value, roughly: polynomials against plain arithmetic.
const FUNCTION_COST: usize = 16;
const ARITHMETIC_COST: usize = 4;

/// Columns of flat work: long enough for vectors, short enough to be shared.
const FLAT: usize = 4 << 10;

struct UnaryKernel(arith::Unary);

/// Builds a function of one value.
pub fn build_unary(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let function = match (build.op::<Unary>(), build.op::<Activate>()) {
        (Some(op), _) => canonical_unary(op.function),
        (_, Some(op)) => canonical_activation(op.function),
        _ => None,
    };
    let Some(function) = function.filter(|_| build.all_of(DType::F32)) else {
        return Ok(None);
    };
    Ok(Some(Box::new(UnaryKernel(function))))
}

impl Kernel for UnaryKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("element by element, {}", cx.isa)
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let x: &[f32] = operand(inputs, 0)?;
        split::rows(
            cx.team,
            result(outputs)?,
            1,
            1,
            FUNCTION_COST,
            |first, y: &mut [f32]| {
                rowwise::unary(cx.isa, self.0, (&x[first..first + y.len()], y));
            },
        );
        Ok(())
    }
}

/// How an operand repeats over rows x columns of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Full,
    Row,
    Column,
    Scalar,
}

impl Repeat {
    fn in_words(self) -> &'static str {
        match self {
            Repeat::Full => "whole",
            Repeat::Row => "row",
            Repeat::Column => "column",
            Repeat::Scalar => "scalar",
        }
    }
}

struct BinaryKernel {
    function: arith::Binary,
    /// Blocks of rows x columns, one behind the other.
    blocks: usize,
    /// How far each operand moves from block to block: 0 if it repeats.
    steps: [usize; 2],
    rows: usize,
    columns: usize,
    repeats: [Repeat; 2],
}

/// Builds a function of two values, if both operands repeat in one of the four common ways.
pub fn build_binary(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let function = match (build.op::<Binary>(), build.op::<Variadic>()) {
        (Some(op), _) => canonical_binary(op.function),
        (_, Some(op)) if build.inputs.len() == 2 => match op.function {
            VariadicFunction::Sum => Some(arith::Binary::Add),
            VariadicFunction::Max => Some(arith::Binary::Max),
            VariadicFunction::Min => Some(arith::Binary::Min),
            VariadicFunction::Mean => None,
        },
        _ => None,
    };
    let Some(function) = function.filter(|_| build.all_of(DType::F32)) else {
        return Ok(None);
    };
    let out = build.output_shape(0);
    let shapes = [build.shape(0), build.shape(1)];
    // The output is cut into blocks of rows x columns; within a block, and from block to block, each operand must follow
    // the output along all axes or along none. Fewest blocks first, then the longest rows.
    for lead in 0..=out.len() {
        let steps = shapes.map(|shape| lead_step(shape, out, lead));
        let [Some(step_a), Some(step_b)] = steps else {
            continue;
        };
        let block = &out[lead..];
        for cut in 0..=block.len() {
            let inner = shapes.map(|shape| &shape[shape.len().saturating_sub(block.len())..]);
            let [Some(a), Some(b)] = inner.map(|shape| repeat(shape, block, cut)) else {
                continue;
            };
            let mut rows: usize = block[..cut].iter().product();
            let mut columns: usize = block[cut..].iter().product();
            if [a, b]
                .iter()
                .all(|r| matches!(r, Repeat::Full | Repeat::Scalar))
            {
                (rows, columns) = (1, rows * columns);
            }
            return Ok(Some(Box::new(BinaryKernel {
                function,
                blocks: out[..lead].iter().product(),
                steps: [step_a, step_b],
                rows,
                columns,
                repeats: [a, b],
            })));
        }
    }
    Ok(None)
}

/// How far `shape`, right-aligned, moves along the first `lead` axes of `out` taken as one: the size of the rest if it
/// follows them, 0 if it repeats along all of them; `None` if it does neither.
fn lead_step(shape: &[usize], out: &[usize], lead: usize) -> Option<usize> {
    let missing = out.len().checked_sub(shape.len())?;
    let len = |axis: usize| axis.checked_sub(missing).map_or(1, |i| shape[i]);
    if (0..lead).all(|axis| len(axis) == 1) {
        return Some(0);
    }
    (0..lead)
        .all(|axis| len(axis) == out[axis])
        .then(|| (lead..out.len()).map(len).product())
}

/// How `shape`, right-aligned, repeats over `out` cut in front of axis `cut`; `None` if in no simple way.
fn repeat(shape: &[usize], out: &[usize], cut: usize) -> Option<Repeat> {
    let missing = out.len().checked_sub(shape.len())?;
    let len = |axis: usize| axis.checked_sub(missing).map_or(1, |i| shape[i]);
    let (mut front, mut back) = ([true; 2], [true; 2]);
    for (axis, &n) in out.iter().enumerate() {
        let part = if axis < cut { &mut front } else { &mut back };
        // Follows the output, and is constant along it: an axis of length 1 does both.
        part[0] &= len(axis) == n;
        part[1] &= len(axis) == 1;
    }
    match (front, back) {
        ([true, _], [true, _]) => Some(Repeat::Full),
        ([_, true], [_, true]) => Some(Repeat::Scalar),
        ([_, true], [true, _]) => Some(Repeat::Row),
        ([true, _], [_, true]) => Some(Repeat::Column),
        _ => None,
    }
}

impl Repeat {
    /// How many values one block of rows x columns sees.
    fn len(self, rows: usize, columns: usize) -> usize {
        match self {
            Repeat::Full => rows * columns,
            Repeat::Row => columns,
            Repeat::Column => rows,
            Repeat::Scalar => 1,
        }
    }

    /// The part of `data` that `rows` rows from `first` on see.
    fn part<'a>(self, data: &'a [f32], first: usize, rows: usize, columns: usize) -> Operand<'a> {
        match self {
            Repeat::Full => Operand::Full(&data[first * columns..(first + rows) * columns]),
            Repeat::Row => Operand::Row(data),
            Repeat::Column => Operand::Column(&data[first..first + rows]),
            Repeat::Scalar => Operand::Scalar(data[0]),
        }
    }
}

impl Kernel for BinaryKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        let repeats = self.repeats.map(Repeat::in_words).join(" with ");
        let blocks = match self.blocks {
            1 => String::new(),
            n => format!(" in {n} blocks"),
        };
        format!("{repeats}{blocks}, {}", cx.isa)
    }

    fn keeps_rows(&self) -> bool {
        true
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let (a, b): (&[f32], &[f32]) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let [ra, rb] = self.repeats;
        let y: &mut [f32] = result(outputs)?;
        if y.is_empty() {
            return Ok(());
        }
        if self.blocks > 1 {
            let block = self.rows * self.columns;
            split::rows(
                cx.team,
                y,
                block,
                block,
                ARITHMETIC_COST,
                |first, y: &mut [f32]| {
                    for (i, y) in y.chunks_exact_mut(block).enumerate() {
                        let range = |repeat: Repeat, step: usize| {
                            let start = (first + i) * step;
                            start..start + repeat.len(self.rows, self.columns)
                        };
                        let (at_a, at_b) = (range(ra, self.steps[0]), range(rb, self.steps[1]));
                        let a = ra.part(&a[at_a], 0, self.rows, self.columns);
                        let b = rb.part(&b[at_b], 0, self.rows, self.columns);
                        rowwise::binary(cx.isa, self.function, [self.rows, self.columns], a, b, y);
                    }
                },
            );
            return Ok(());
        }
        // Flat work has one long row; it is cut by elements.
        let columns = if self.rows == 1 { 1 } else { self.columns };
        let whole_row = self.rows == 1
            && self
                .repeats
                .iter()
                .any(|r| matches!(r, Repeat::Row | Repeat::Column));
        if self.rows == 1 && (whole_row || y.len() < FLAT) {
            let part = |r: Repeat, data| r.part(data, 0, 1, self.columns);
            rowwise::binary(
                cx.isa,
                self.function,
                [1, self.columns],
                part(ra, a),
                part(rb, b),
                y,
            );
            return Ok(());
        }
        split::rows(
            cx.team,
            y,
            columns,
            columns,
            ARITHMETIC_COST,
            |first, y: &mut [f32]| {
                let rows = y.len() / columns;
                let part = |r: Repeat, data| r.part(data, first, rows, columns);
                rowwise::binary(
                    cx.isa,
                    self.function,
                    [rows, columns],
                    part(ra, a),
                    part(rb, b),
                    y,
                );
            },
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_broadcasts_are_told_apart() {
        let out = [4, 3, 5];
        let cases: [(&[usize], usize, Option<Repeat>); 8] = [
            (&[4, 3, 5], 0, Some(Repeat::Full)),
            (&[5], 2, Some(Repeat::Row)),
            (&[3, 5], 1, Some(Repeat::Row)),
            (&[4, 3, 1], 2, Some(Repeat::Column)),
            (&[4, 1, 1], 1, Some(Repeat::Column)),
            (&[1], 0, Some(Repeat::Scalar)),
            (&[], 2, Some(Repeat::Scalar)),
            (&[1, 3, 1], 2, None),
        ];
        for (shape, cut, expected) in cases {
            assert_eq!(repeat(shape, &out, cut), expected, "{shape:?} cut at {cut}");
        }
    }
}
