//! What the rules of several families share: which types an input may have, which axis a number means, and the most
//! common ways in which a batch passes.
//!
//! The one idea: a message names the input, what it is, and what it may be, so that it can be acted upon without reading
//! this code.

use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError};
use unisono_tensor::DType::{self, *};

/// Floats.
pub const FLOATS: &[DType] = &[F32, F64, F16, BF16];
/// Integers, without booleans.
pub const INTEGERS: &[DType] = &[I8, I16, I32, I64, U8, U16, U32, U64];
/// Floats and signed integers.
pub const SIGNED: &[DType] = &[F32, F64, F16, BF16, I8, I16, I32, I64];
/// Floats and integers.
pub const NUMBERS: &[DType] = &[F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64];
/// Floats, and integers of 32 and 64 bits.
pub const WIDE_NUMBERS: &[DType] = &[F32, F64, F16, BF16, I32, I64, U32, U64];
/// Numbers and booleans.
pub const NUMBERS_AND_BOOL: &[DType] = &[
    F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool,
];
/// Integers that hold axes, counts and indices.
pub const INDICES: &[DType] = &[I64, I32];
/// Booleans.
pub const BOOL: &[DType] = &[Bool];
/// Every type.
pub const ANY: &[DType] = &DType::ALL;

/// A required input of one of these types.
pub fn typed<'a>(
    cx: &InferContext<'a>,
    index: usize,
    name: &str,
    allowed: &[DType],
) -> Result<&'a Fact, OpError> {
    match optional(cx, index, name, allowed)? {
        Some(fact) => Ok(fact),
        None => Err(OpError::new(format!(
            "input {index} ({name}) is required but is not there"
        ))),
    }
}

/// An optional input of one of these types.
pub fn optional<'a>(
    cx: &InferContext<'a>,
    index: usize,
    name: &str,
    allowed: &[DType],
) -> Result<Option<&'a Fact>, OpError> {
    let Some(fact) = cx.optional(index) else {
        return Ok(None);
    };
    if allowed.contains(&fact.dtype) {
        return Ok(Some(fact));
    }
    let names: Vec<&str> = allowed.iter().map(|d| d.name()).collect();
    Err(OpError::new(format!(
        "input {index} ({name}) is {}; allowed: {}",
        fact.dtype,
        names.join(", ")
    )))
}

/// An optional input of rank at most one with this many elements (as far as known) and of this type.
pub fn vector<'a>(
    cx: &InferContext<'a>,
    index: usize,
    name: &str,
    dtype: DType,
    length: &Dim,
) -> Result<Option<&'a Fact>, OpError> {
    let Some(fact) = optional(cx, index, name, &[dtype])? else {
        return Ok(None);
    };
    match fact.shape.as_deref() {
        None => Ok(Some(fact)),
        Some([n]) if n.equals(length) != Some(false) => Ok(Some(fact)),
        Some(shape) => Err(OpError::new(format!(
            "input {index} ({name}) has shape {shape:?}; needed: [{length}]"
        ))),
    }
}

/// A type and shape like this one's, contents unknown.
pub fn like(fact: &Fact) -> Fact {
    of_shape(fact.dtype, fact.shape.clone())
}

/// A value of this type and perhaps known shape.
pub fn of_shape(dtype: DType, shape: Option<Vec<Dim>>) -> Fact {
    Fact {
        dtype,
        shape,
        integers: None,
        constant: None,
    }
}

/// Several axes in rising order, negative ones counting from the end.
///
/// # Errors
/// One does not exist or is there twice.
pub fn sorted_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut resolved = super::common::resolve_axes(axes, rank)?;
    resolved.sort_unstable();
    Ok(resolved)
}

/// The shape of an input in a batch rule.
pub fn batch_shape<'a>(cx: &BatchContext<'a>, index: usize) -> Result<&'a [Dim], Blocker> {
    known_shape(cx.input_facts, index)
        .ok_or_else(|| Blocker::new(format!("has an input {index} of unknown rank")))
}

/// The shape of an output in a batch rule.
pub fn output_shape<'a>(cx: &BatchContext<'a>, index: usize) -> Result<&'a [Dim], Blocker> {
    known_shape(cx.output_facts, index)
        .ok_or_else(|| Blocker::new(format!("has an output {index} of unknown rank")))
}

fn known_shape(facts: &[Option<Fact>], index: usize) -> Option<&[Dim]> {
    facts.get(index)?.as_ref()?.shape.as_deref()
}

/// The batch of an input; `Shared` if it is left out.
pub fn batch_of<'a>(cx: &BatchContext<'a>, index: usize) -> &'a Batch {
    static SHARED: Batch = Batch::Shared;
    cx.inputs
        .get(index)
        .and_then(Option::as_ref)
        .unwrap_or(&SHARED)
}

/// The batch axis of the first input, if all others are shared: the case of operators whose other inputs are parameters.
/// `names` are those of all inputs.
pub fn axis_of_data(cx: &BatchContext<'_>, names: &[&str]) -> Result<usize, Blocker> {
    for (i, batch) in cx.inputs.iter().enumerate().skip(1) {
        if !matches!(batch, None | Some(Batch::Shared)) {
            let name = names.get(i).copied().unwrap_or("parameters");
            return Err(Blocker::new(format!(
                "has an input {i} ({name}) that depends on the batch"
            )));
        }
    }
    match batch_of(cx, 0) {
        Batch::Rows { axis, .. } => Ok(*axis),
        _ => Err(Blocker::new("depends on the batch in no way that is known")),
    }
}

/// The same rows on another axis.
pub fn moved(batch: &Batch, axis: usize) -> Batch {
    match batch {
        Batch::Rows { outer, inner, .. } => Batch::Rows {
            axis,
            outer: outer.clone(),
            inner: inner.clone(),
        },
        other => other.clone(),
    }
}

/// The same batch for every output of the node.
pub fn for_all(cx: &BatchContext<'_>, batch: &Batch) -> Vec<Batch> {
    vec![batch.clone(); cx.output_facts.len()]
}

/// A product of counts, `None` if it overflows.
pub fn count(factors: &[u64]) -> Option<u64> {
    factors.iter().try_fold(1u64, |n, &f| n.checked_mul(f))
}
