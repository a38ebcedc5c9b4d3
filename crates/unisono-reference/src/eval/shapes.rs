//! Types and shapes of an operator's outputs for concrete inputs, contents included: for shapes that depend on data.

use super::indexing::is_set;
use super::io::{Io, axis, concrete};
use super::{EvalError, generate, select};
use unisono_graph::ops::indexing::{Compress, Unique};
use unisono_graph::{Dim, Fact, InferContext, Operator};
use unisono_tensor::{DType, Shape, Tensor, TensorRef};

/// Contents up to this many elements are given to shape inference.
const SMALL: usize = 4096;

/// Type and shape of every output, `None` for those that the operator does not make. `count` is how many outputs the node has.
///
/// # Errors
///
/// The operator refuses its inputs, or the shape of an output does not follow from them.
pub fn output_types(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    count: usize,
) -> Result<Vec<Option<(DType, Shape)>>, EvalError> {
    let facts = inputs
        .iter()
        .map(|input| input.map(|t| fact(t, t.dtype())).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    output_types_from(op, inputs, &facts, count)
}

/// The shape of every output; see [`output_types`]. An output that the operator does not make gets no axes.
///
/// # Errors
///
/// As [`output_types`].
pub fn output_shapes(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    count: usize,
) -> Result<Vec<Shape>, EvalError> {
    let types = output_types(op, inputs, count)?;
    Ok(types
        .into_iter()
        .map(|t| t.map(|(_, shape)| shape).unwrap_or_default())
        .collect())
}

/// What shape inference may know of a tensor that stands for a value of type `dtype`.
pub(crate) fn fact(t: TensorRef<'_>, dtype: DType) -> Result<Fact, EvalError> {
    if t.len() > SMALL {
        return Ok(Fact::new(
            dtype,
            t.shape().iter().map(|&n| Dim::from(n)).collect(),
        ));
    }
    let mut own = Tensor::zeros(dtype, t.shape())?;
    if let Some(mut view) = own.view_mut() {
        super::cast::convert(t, &mut view)?;
    }
    Ok(Fact::constant(&own))
}

/// [`output_types`] for inputs of which `facts` says what inference may know.
pub(crate) fn output_types_from(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    facts: &[Option<Fact>],
    count: usize,
) -> Result<Vec<Option<(DType, Shape)>>, EvalError> {
    let mut cx = InferContext::new(facts, count);
    op.infer(&mut cx)?;
    let inferred = cx.into_outputs();
    inferred
        .into_iter()
        .enumerate()
        .map(|(i, fact)| {
            let Some(fact) = fact else { return Ok(None) };
            let shape = match fact.concrete_shape() {
                Some(shape) => Shape::from_vec(shape),
                None => by_data(op, inputs, i)?,
            };
            Ok(Some((fact.dtype, shape)))
        })
        .collect()
}

/// The shape of an output where it takes the whole contents of an input to know it.
fn by_data(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    output: usize,
) -> Result<Shape, EvalError> {
    let io = Io {
        inputs,
        outputs: &mut [],
    };
    let x = io.input(0)?;
    Ok(match op.kind() {
        "NonZero" => {
            let mut count = 0;
            is_set(x, |_| count += 1)?;
            Shape::from_slice(&[x.rank(), count])
        }
        "Compress" => {
            let op = concrete::<Compress>(op)?;
            let picked = io.input(1)?.as_slice::<u8>()?;
            let picked = picked.iter().filter(|&&c| c != 0).count();
            match op.axis {
                None => Shape::from_slice(&[picked]),
                Some(a) => with_length(x.shape(), axis(a, x.rank())?, picked),
            }
        }
        "Unique" => {
            let axis_of = concrete::<Unique>(op)?.axis;
            let (different, all) = select::unique_count(op, x)?;
            match (output, axis_of) {
                (0, Some(a)) => with_length(x.shape(), axis(a, x.rank())?, different),
                (2, _) => Shape::from_slice(&[all]),
                _ => Shape::from_slice(&[different]),
            }
        }
        "NonMaxSuppression" => Shape::from_slice(&[select::picked_count(op, &io)?, 3]),
        "Range" => Shape::from_slice(&[generate::range_length(x, io.input(1)?, io.input(2)?)?]),
        _ => {
            return Err(EvalError::Shape {
                what: "the shape of an output does not follow from the inputs",
            });
        }
    })
}

fn with_length(shape: &[usize], axis: usize, len: usize) -> Shape {
    let mut out = Shape::from_slice(shape);
    if let Some(slot) = out.get_mut(axis) {
        *slot = len;
    }
    out
}
