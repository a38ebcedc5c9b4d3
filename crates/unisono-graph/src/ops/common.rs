//! Small things that operators of several families need: axes, element types by ONNX's numbers, checks of lengths and counts.

use crate::{Dim, Fact, OpError};
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

/// The largest number of axes of any value. Larger ranks come from hostile files alone.
pub const MAX_RANK: usize = 64;

/// Refuses lengths that are known to be negative, and too many of them.
pub(crate) fn check_shape(shape: &[Dim]) -> Result<(), OpError> {
    if shape.len() > MAX_RANK {
        return Err(OpError::new(format!(
            "the output would have {} axes; at most {MAX_RANK} are supported",
            shape.len()
        )));
    }
    match shape.iter().find(|d| d.as_const().is_some_and(|n| n < 0)) {
        Some(_) => Err(OpError::new(format!(
            "the output would have the shape {shape:?}, with a negative length"
        ))),
        None => Ok(()),
    }
}

/// The largest number of elements whose contents inference follows.
pub(crate) const MAX_CONTENTS: usize = 1024;

/// Numbers that are parameters: fixed by the node, or the contents of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// Neither the node nor an input gives them.
    Absent,
    /// They are an input whose contents are not known yet; its length, if that is.
    Unknown(Option<usize>),
    /// Known.
    Known(Vec<Dim>),
}

impl Parameter {
    /// What is known of an input that is a list of integers (or a scalar).
    ///
    /// # Errors
    /// It has more than one axis.
    pub(crate) fn of_input(
        inputs: &[Option<Fact>],
        index: usize,
        name: &str,
    ) -> Result<Parameter, OpError> {
        let Some(fact) = inputs.get(index).and_then(Option::as_ref) else {
            return Ok(Parameter::Absent);
        };
        if let Some(rank) = fact.rank().filter(|&r| r > 1) {
            return Err(OpError::new(format!(
                "input {index} ({name}) has {rank} axes; it should be a list"
            )));
        }
        if let Some(known) = &fact.integers {
            return Ok(Parameter::Known(known.clone()));
        }
        if let Some(known) = fact.constant.as_ref().and_then(|c| c.to_i64s()) {
            return Ok(Parameter::Known(
                known.into_iter().map(Dim::constant).collect(),
            ));
        }
        let length = match fact.shape.as_deref() {
            Some([]) => Some(1),
            Some([n]) => n.as_len(),
            _ => None,
        };
        Ok(Parameter::Unknown(length))
    }

    /// Numbers fixed by the node if it fixes them, else what is known of the input.
    pub(crate) fn fixed_or_input(
        fixed: Option<&[i64]>,
        inputs: &[Option<Fact>],
        index: usize,
        name: &str,
    ) -> Result<Parameter, OpError> {
        match fixed {
            Some(list) => Ok(Parameter::Known(
                list.iter().map(|&n| Dim::constant(n)).collect(),
            )),
            None => Parameter::of_input(inputs, index, name),
        }
    }

    /// The numbers, if all are known.
    pub(crate) fn numbers(&self) -> Option<Vec<i64>> {
        match self {
            Parameter::Known(dims) => dims.iter().map(Dim::as_const).collect(),
            _ => None,
        }
    }
}
