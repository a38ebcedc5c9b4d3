//! Declared types: what the file says a value is.

use crate::error::{OnnxError, OnnxErrorKind};
use crate::limits::{LoadLimits, exceeded};
use crate::proto::{Dimension, Type, TypeValue, data_type_name};
use unisono_graph::{Dim, Symbol, TensorType};
use unisono_tensor::DType;

/// ONNX's data type as ours, if there is one.
pub(super) fn dtype(code: i32) -> Option<DType> {
    Some(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        8 => DType::String,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => return None,
    })
}

/// A data type that Unisono does not have, for people.
pub(super) fn unsupported_name(code: i32) -> String {
    match data_type_name(code) {
        Some(name) => format!("data type {name}"),
        None => format!("data type {code}, which ONNX does not define"),
    }
}

/// What a file declares of a value.
pub(super) enum Declared {
    Tensor(TensorType),
    /// No type, or one without an element type.
    Nothing,
    /// Something that is not a supported tensor; a phrase for messages.
    Other(String),
}

/// Reads a declared type.
///
/// # Errors
/// The rank is over the limit, or the fixed lengths multiply to more than an address space holds.
pub(super) fn declared(
    value_type: Option<&Type<'_>>,
    limits: &LoadLimits,
) -> Result<Declared, OnnxError> {
    let tensor = match value_type.and_then(|value_type| value_type.value.as_ref()) {
        None => return Ok(Declared::Nothing),
        Some(TypeValue::Tensor(tensor)) => tensor,
        Some(other) => {
            return Ok(Declared::Other(format!(
                "of type {}, and only tensors are supported",
                other.name()
            )));
        }
    };
    if tensor.elem_type == 0 {
        return Ok(Declared::Nothing);
    }
    let Some(dtype) = dtype(tensor.elem_type) else {
        return Ok(Declared::Other(format!(
            "of {}, which is not supported",
            unsupported_name(tensor.elem_type)
        )));
    };
    let Some(shape) = &tensor.shape else {
        return Ok(Declared::Tensor(TensorType { dtype, shape: None }));
    };
    if shape.dims.len() > limits.rank {
        return Err(exceeded("dimensions of a tensor", "rank", limits.rank));
    }
    let mut fixed = 1i64;
    let mut dims = Vec::with_capacity(shape.dims.len());
    for dim in &shape.dims {
        dims.push(match *dim {
            Dimension::Fixed(length) if length >= 0 => {
                fixed = fixed.checked_mul(length.max(1)).ok_or_else(|| {
                    OnnxError::new(
                        OnnxErrorKind::InvalidTensor,
                        "the declared dimensions multiply to more than 2^63",
                    )
                    .help("the file is damaged or hostile; no machine could hold this value")
                })?;
                Dim::constant(length)
            }
            // Some exporters write -1 for a length that is left open.
            Dimension::Fixed(_) | Dimension::Unknown => Dim::unknown(),
            Dimension::Symbol(name) => Dim::symbol(&Symbol::new(name)),
        });
    }
    Ok(Declared::Tensor(TensorType {
        dtype,
        shape: Some(dims),
    }))
}
