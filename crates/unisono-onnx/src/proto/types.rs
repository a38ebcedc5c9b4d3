//! `ValueInfoProto`, `TypeProto` and shapes with symbolic dimensions.

use super::{Context, Parse, push, set};
use crate::error::{Located, OnnxError};
use crate::wire::{Message, Span};

/// `ValueInfoProto`: what the exporter says about a value.
#[derive(Debug, Default)]
pub(crate) struct ValueInfo<'a> {
    pub name: &'a str,
    pub value_type: Option<Type<'a>>,
}

impl<'a> Parse<'a> for ValueInfo<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut info = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => info.name = field.text().within("name")?,
                2 => set(&mut info.value_type, &field, "type", context)?,
                _ => {}
            }
        }
        Ok(info)
    }
}

/// `TypeProto`.
#[derive(Debug, Default)]
pub(crate) struct Type<'a> {
    /// Absent if the file gives the type no content at all.
    pub value: Option<TypeValue<'a>>,
}

/// The content of a [`Type`].
#[derive(Debug)]
pub(crate) enum TypeValue<'a> {
    Tensor(TensorType<'a>),
    Sequence,
    Map,
    Optional,
    SparseTensor,
    Opaque,
}

impl TypeValue<'_> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tensor(_) => "tensor",
            Self::Sequence => "sequence",
            Self::Map => "map",
            Self::Optional => "optional",
            Self::SparseTensor => "sparse tensor",
            Self::Opaque => "opaque type",
        }
    }
}

impl<'a> Parse<'a> for Type<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut result = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            // What is inside the other kinds is not needed to refuse them, and not reading it keeps them from nesting.
            let value = match field.number {
                1 => {
                    let mut tensor = None;
                    set(&mut tensor, &field, "tensor_type", context)?;
                    tensor.map(TypeValue::Tensor)
                }
                4 => Some(TypeValue::Sequence),
                5 => Some(TypeValue::Map),
                7 => Some(TypeValue::Opaque),
                8 => Some(TypeValue::SparseTensor),
                9 => Some(TypeValue::Optional),
                _ => continue,
            };
            // A later member of the union replaces an earlier one, as protobuf defines.
            result.value = value;
        }
        Ok(result)
    }
}

/// `TypeProto.Tensor`.
#[derive(Debug, Default)]
pub(crate) struct TensorType<'a> {
    pub elem_type: i32,
    /// Absent if the rank is unknown.
    pub shape: Option<Shape<'a>>,
}

impl<'a> Parse<'a> for TensorType<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut tensor = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => tensor.elem_type = field.int32().within("elem_type")?,
                2 => set(&mut tensor.shape, &field, "shape", context)?,
                _ => {}
            }
        }
        Ok(tensor)
    }
}

/// `TensorShapeProto`.
#[derive(Debug, Default)]
pub(crate) struct Shape<'a> {
    pub dims: Vec<Dimension<'a>>,
}

impl<'a> Parse<'a> for Shape<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut shape = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            if field.number == 1 {
                push(&mut shape.dims, &field, "dim", context)?;
            }
        }
        Ok(shape)
    }
}

/// One dimension of a declared shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension<'a> {
    Fixed(i64),
    Symbol(&'a str),
    Unknown,
}

impl<'a> Parse<'a> for Dimension<'a> {
    fn parse(span: Span<'a>, _context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut dimension = Self::Unknown;
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => dimension = Self::Fixed(field.int64().within("dim_value")?),
                2 => {
                    dimension = match field.text().within("dim_param")? {
                        "" => Self::Unknown,
                        symbol => Self::Symbol(symbol),
                    }
                }
                _ => {}
            }
        }
        Ok(dimension)
    }
}
