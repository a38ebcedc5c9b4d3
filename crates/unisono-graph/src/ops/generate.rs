//! Operators that make values out of nothing but a shape or a few scalars.
//!
//! The one idea: a value that is made in a shape which mentions the number of rows belongs to the rows only if every row
//! gets the same. Filling does that; counting and diagonals do not, since a row's elements then depend on its position.

use super::Definition;
use super::common::{MAX_CONTENTS, MAX_RANK, Parameter, check_shape, dtype_from_onnx};
use super::rows;
use super::rules::{self, ANY, INDICES, of_shape, output_shape};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::{DType, Tensor};

/// The registry's lines.
pub const OPERATORS: &[Definition] = &[
    Definition::since(11, "Range", (3, 3), (1, 1), |_| Ok(Arc::new(Range))).until(26),
    Definition::since(27, "Range", (3, 3), (1, 1), |spec| {
        // The precision that half-precision ranges are computed in: f32, as here, is all that is asked for in practice.
        match spec.attributes.int_or("stash_type", 1)? {
            1 => Ok(Arc::new(Range)),
            other => Err(OpError::attribute(
                "stash_type",
                format!("is {other}; supported is 1 (f32)"),
            )),
        }
    }),
    Definition::since(9, "ConstantOfShape", (1, 1), (1, 1), |spec| {
        match spec.attributes.tensor("value")? {
            None => Ok(Arc::new(ConstantOfShape {
                value: Tensor::scalar(0f32),
            })),
            Some(value) if value.len() == 1 => Ok(Arc::new(ConstantOfShape { value })),
            Some(value) => Err(OpError::attribute(
                "value",
                format!("has {} elements; it should have one", value.len()),
            )),
        }
    }),
    Definition::since(9, "EyeLike", (1, 1), (1, 1), |spec| {
        let dtype = match spec.attributes.int("dtype")? {
            None => None,
            Some(code) => Some(dtype_from_onnx(code).ok_or_else(|| {
                OpError::attribute(
                    "dtype",
                    format!("is {code}, which is no supported element type"),
                )
            })?),
        };
        let k = spec.attributes.int_or("k", 0)?;
        Ok(Arc::new(EyeLike { dtype, k }))
    }),
];

/// `start + i * delta` for `i` in `0..max(ceil((limit - start) / delta), 0)`. Inputs: `start`, `limit`, `delta`, scalars of
/// one type. Kind `Range`.
///
/// f16 and bf16 are computed in f32 and rounded once per element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range;

impl Range {
    /// How many elements: exact for integers below 2^53, and in f64 for floats of all widths.
    ///
    /// # Errors
    /// A step of zero, or bounds that are no numbers.
    pub fn count(start: f64, limit: f64, delta: f64) -> Result<i64, OpError> {
        let count = ((limit - start) / delta).ceil();
        if delta == 0.0 || count.is_nan() {
            return Err(OpError::new(format!(
                "cannot count from {start} to {limit} in steps of {delta}"
            )));
        }
        // The cast saturates; no device can hold that many.
        Ok((count as i64).max(0))
    }
}

impl Operator for Range {
    fn kind(&self) -> &'static str {
        "Range"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        const TYPES: &[DType] = &[
            DType::F32,
            DType::F64,
            DType::F16,
            DType::BF16,
            DType::I16,
            DType::I32,
            DType::I64,
        ];
        let mut facts = Vec::with_capacity(3);
        for (index, name) in ["start", "limit", "delta"].into_iter().enumerate() {
            let fact = rules::typed(cx, index, name, TYPES)?;
            if fact.shape.as_ref().is_some_and(|s| {
                s.len() > 1 || s.iter().any(|n| n.equals(&Dim::constant(1)) == Some(false))
            }) {
                return Err(OpError::new(format!("input {index} ({name}) is no scalar")));
            }
            facts.push(fact);
        }
        let dtype = facts[0].dtype;
        if let Some(other) = facts.iter().find(|f| f.dtype != dtype) {
            return Err(OpError::new(format!(
                "start, limit and delta should be of one type, but are {dtype} and {}",
                other.dtype
            )));
        }
        let one = |fact: &Fact| match fact.integers.as_deref() {
            Some([n]) => Some(n.clone()),
            _ => None,
        };
        let mut fact = of_shape(dtype, None);
        if let (Some(start), Some(limit), Some(delta)) =
            (one(facts[0]), one(facts[1]), one(facts[2]))
        {
            let count = match delta.as_const() {
                Some(0) => return Err(OpError::new("the step is 0")),
                Some(1) => (&limit - &start).larger(&Dim::constant(0)),
                Some(_) => (&limit - &start).ceil_div(&delta).larger(&Dim::constant(0)),
                None => Dim::unknown(),
            };
            if let Some(n) = count.as_len().filter(|&n| n <= MAX_CONTENTS) {
                let element = |i: usize| &start + &(&Dim::from(i) * &delta);
                fact.integers = Some((0..n).map(element).collect());
            }
            fact.shape = Some(vec![count]);
        } else {
            let known = |fact: &Fact| match fact.constant.as_ref()?.to_f64s()?.as_slice() {
                [x] => Some(*x),
                _ => None,
            };
            let count = match (known(facts[0]), known(facts[1]), known(facts[2])) {
                (Some(start), Some(limit), Some(delta)) => {
                    Dim::constant(Range::count(start, limit, delta)?)
                }
                _ => Dim::unknown(),
            };
            fact.shape = Some(vec![count]);
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new("counts over the rows"))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        // Its inputs set more than its shape.
        &[]
    }
}

/// One value everywhere, in the shape that the input (a list of i64) gives. Kind `ConstantOfShape`.
#[derive(Clone, Debug)]
pub struct ConstantOfShape {
    /// The value: a tensor of one element, whose type is the output's.
    pub value: Tensor,
}

impl Operator for ConstantOfShape {
    fn kind(&self) -> &'static str {
        "ConstantOfShape"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        rules::typed(cx, 0, "shape", INDICES)?;
        let shape = match Parameter::of_input(cx.inputs(), 0, "shape")? {
            Parameter::Known(shape) => {
                check_shape(&shape)?;
                Some(shape)
            }
            Parameter::Unknown(Some(rank)) if rank <= MAX_RANK => {
                Some((0..rank).map(|_| Dim::unknown()).collect())
            }
            _ => None,
        };
        let mut fact = of_shape(self.value.dtype(), shape);
        let length = match fact.shape.as_deref() {
            Some([]) => Some(1),
            Some([n]) => n.as_len(),
            _ => None,
        };
        if let Some(n) = length.filter(|&n| n <= MAX_CONTENTS)
            && let Some([value]) = self.value.to_i64s().as_deref()
        {
            fact.integers = Some(vec![Dim::constant(*value); n]);
        }
        cx.set(0, fact);
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        rows::repeated(output_shape(cx, 0)?, cx.rows).map(|b| vec![b])
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0]
    }
}

/// A matrix of the input's shape with ones on a diagonal and zeros elsewhere. Kind `EyeLike`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EyeLike {
    /// The type of the output; `None` for the input's.
    pub dtype: Option<DType>,
    /// Which diagonal: element `(i, i + k)` is one.
    pub k: i64,
}

impl Operator for EyeLike {
    fn kind(&self) -> &'static str {
        "EyeLike"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let data = rules::typed(cx, 0, "data", ANY)?;
        if let Some(rank) = data.rank().filter(|&r| r != 2) {
            return Err(OpError::new(format!(
                "the input has {rank} axes; it should have two"
            )));
        }
        let dtype = self.dtype.unwrap_or(data.dtype);
        if dtype == DType::String {
            return Err(OpError::attribute("dtype", "is string, which has no one"));
        }
        let shape = data.shape.clone();
        cx.set(0, of_shape(dtype, shape));
        Ok(())
    }

    fn batch(&self, _: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Err(Blocker::new(
            "gives each row a one at a place that depends on the row's position",
        ))
    }

    fn flops(&self, _: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        Some(0)
    }
}
