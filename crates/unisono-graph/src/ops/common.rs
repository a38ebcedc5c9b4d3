//! Small things that many operators need: axes, lengths, element types by ONNX's numbers.

use crate::{Dim, OpError};
use unisono_tensor::DType;

/// An axis as a position: negative ones count from the end.
pub fn resolve_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let count = i64::try_from(rank).unwrap_or(i64::MAX);
    let at = if axis < 0 {
        axis.saturating_add(count)
    } else {
        axis
    };
    match usize::try_from(at) {
        Ok(at) if at < rank => Ok(at),
        _ => Err(OpError::attribute(
            "axis",
            format!("is {axis}, but the value has {rank} axes"),
        )),
    }
}

/// The same for a list of axes, which must all be different. In the order given.
pub fn resolve_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut resolved = Vec::with_capacity(axes.len().min(rank));
    for &axis in axes {
        let at = resolve_axis(axis, rank).map_err(|e| OpError::attribute("axes", e.message))?;
        if resolved.contains(&at) {
            return Err(OpError::attribute(
                "axes",
                format!("names axis {at} more than once"),
            ));
        }
        resolved.push(at);
    }
    Ok(resolved)
}

/// The element type that ONNX gives this number, if it is one of ours.
pub fn dtype_from_onnx(code: i64) -> Option<DType> {
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

/// Refuses a length that is known to be negative.
pub(crate) fn check_length(length: &Dim, what: &str) -> Result<(), OpError> {
    match length.as_const() {
        Some(n) if n < 0 => Err(OpError::new(format!("{what} has the length {n}"))),
        _ => Ok(()),
    }
}
