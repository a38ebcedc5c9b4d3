//! Conversions between element types.
//!
//! The one idea: ONNX leaves float to integer undefined outside of the target's range; here it truncates, saturates, and
//! turns NaN into 0, on every device. Integer to narrower integer wraps; everything but zero is true; true is 1.

use super::common::dtype_from_onnx;
use super::rules::{self, ANY};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// Converts to a fixed type. Kind `Cast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The type of the output.
    pub to: DType,
}

/// Converts to the type of the second input, whose contents do not matter. Kind `CastLike`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CastLike;

/// The element type of a number in ONNX's `TensorProto.DataType`, from the attribute of that name.
///
/// # Errors
/// The number is unknown, or is a type that no tensor here can hold.
pub fn dtype_attribute(name: &str, code: i64) -> Result<DType, OpError> {
    dtype_from_onnx(code).ok_or_else(|| {
        let what = match code {
            14 | 15 => "a complex number",
            17..=20 | 24 => "an 8-bit float",
            23 | 27 | 28 => "a float narrower than 8 bits",
            21 | 22 | 25 | 26 => "an integer narrower than 8 bits",
            _ => "no element type that is known",
        };
        let names: Vec<&str> = DType::ALL.iter().map(|d| d.name()).collect();
        OpError::attribute(
            name,
            format!("is {code}, {what}; supported: {}", names.join(", ")),
        )
    })
}

/// Contents after a conversion between integers and booleans. An expression is a length or small arithmetic on lengths:
/// it passes to 32 and 64 bits unchanged, to narrower types only as a number that fits.
fn integers(from: &Fact, to: DType) -> Option<Vec<Dim>> {
    let convert = |n: &Dim| match (n.as_const(), to) {
        (_, DType::I64 | DType::I32) => match (to, n.as_const()) {
            (DType::I32, Some(c)) if i32::try_from(c).is_err() => None,
            _ => Some(n.clone()),
        },
        (Some(c), DType::Bool) => Some(Dim::constant(i64::from(c != 0))),
        (None, DType::Bool) if n.lower_bound() >= Some(1) => Some(Dim::constant(1)),
        (Some(c), _) => {
            let (low, high) = match to {
                DType::I8 => (i8::MIN.into(), i8::MAX.into()),
                DType::I16 => (i16::MIN.into(), i16::MAX.into()),
                DType::U8 => (0, u8::MAX.into()),
                DType::U16 => (0, u16::MAX.into()),
                DType::U32 => (0, u32::MAX.into()),
                DType::U64 => (0, i64::MAX),
                _ => return None,
            };
            (low..=high).contains(&c).then(|| n.clone())
        }
        _ => None,
    };
    from.integers.as_ref()?.iter().map(convert).collect()
}

fn converted(from: &Fact, to: DType) -> Fact {
    if from.dtype == to {
        return from.clone();
    }
    Fact {
        integers: integers(from, to),
        ..rules::of_shape(to, from.shape.clone())
    }
}

impl Operator for Cast {
    fn kind(&self) -> &'static str {
        "Cast"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "input", ANY)?;
        cx.set(0, converted(x, self.to));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }
}

impl Operator for CastLike {
    fn kind(&self) -> &'static str {
        "CastLike"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "input", ANY)?;
        let like = rules::typed(cx, 1, "target_type", ANY)?;
        cx.set(0, converted(x, like.dtype));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        Ok(rules::for_all(cx, rules::batch_of(cx, 0)))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// `saturate` and `round_mode` speak of 8-bit floats only, which are refused where they appear.
fn drop_narrow_float_attributes(spec: &mut NodeSpec<'_>) -> Result<(), OpError> {
    if spec.opset >= 19 {
        spec.attributes.int("saturate")?;
    }
    if spec.opset >= 24 {
        spec.attributes.string("round_mode")?;
    }
    Ok(())
}

fn cast(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    drop_narrow_float_attributes(spec)?;
    let code = spec.attributes.int("to")?;
    let code = code.ok_or_else(|| OpError::attribute("to", "is missing"))?;
    let to = dtype_attribute("to", code)?;
    Ok(Arc::new(Cast { to }))
}

fn cast_like(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    drop_narrow_float_attributes(spec)?;
    Ok(Arc::new(CastLike))
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    Definition {
        domain: "",
        name: "Cast",
        opsets: (7, i64::MAX),
        build: cast,
        inputs: (1, 1),
        outputs: (1, 1),
    },
    Definition {
        domain: "",
        name: "CastLike",
        opsets: (15, i64::MAX),
        build: cast_like,
        inputs: (2, 2),
        outputs: (1, 1),
    },
];
