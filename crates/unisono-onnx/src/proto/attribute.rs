//! `AttributeProto`: a named value in one of many forms, of which exactly one may be present.

use super::{Context, Graph, Parse, Tensor, Type, parse_field, push, set};
use crate::error::{Located, OnnxError, OnnxErrorKind, quoted};
use crate::wire::{Message, Span};

/// `AttributeProto.AttributeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeType {
    Float,
    Int,
    String,
    Tensor,
    Graph,
    Floats,
    Ints,
    Strings,
    Tensors,
    Graphs,
    SparseTensor,
    SparseTensors,
    Type,
    Types,
}

impl AttributeType {
    fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Float,
            2 => Self::Int,
            3 => Self::String,
            4 => Self::Tensor,
            5 => Self::Graph,
            6 => Self::Floats,
            7 => Self::Ints,
            8 => Self::Strings,
            9 => Self::Tensors,
            10 => Self::Graphs,
            11 => Self::SparseTensor,
            12 => Self::SparseTensors,
            13 => Self::Type,
            14 => Self::Types,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float => "FLOAT",
            Self::Int => "INT",
            Self::String => "STRING",
            Self::Tensor => "TENSOR",
            Self::Graph => "GRAPH",
            Self::Floats => "FLOATS",
            Self::Ints => "INTS",
            Self::Strings => "STRINGS",
            Self::Tensors => "TENSORS",
            Self::Graphs => "GRAPHS",
            Self::SparseTensor => "SPARSE_TENSOR",
            Self::SparseTensors => "SPARSE_TENSORS",
            Self::Type => "TYPE_PROTO",
            Self::Types => "TYPE_PROTOS",
        }
    }
}

/// The value of an attribute.
#[derive(Debug)]
pub(crate) enum AttributeValue<'a> {
    Float(f32),
    Int(i64),
    String(Span<'a>),
    Tensor(Box<Tensor<'a>>),
    Graph(Box<Graph<'a>>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<Span<'a>>),
    Tensors(Vec<Tensor<'a>>),
    Graphs(Vec<Graph<'a>>),
    Type(Type<'a>),
    Types(Vec<Type<'a>>),
    /// Inside a function: the attribute of the call that this name stands for.
    Reference(&'a str, Option<AttributeType>),
}

impl AttributeValue<'_> {
    /// The form of the value, for messages and for checking a reference against what it stands for.
    pub(crate) fn form(&self) -> Option<AttributeType> {
        Some(match self {
            Self::Float(_) => AttributeType::Float,
            Self::Int(_) => AttributeType::Int,
            Self::String(_) => AttributeType::String,
            Self::Tensor(_) => AttributeType::Tensor,
            Self::Graph(_) => AttributeType::Graph,
            Self::Floats(_) => AttributeType::Floats,
            Self::Ints(_) => AttributeType::Ints,
            Self::Strings(_) => AttributeType::Strings,
            Self::Tensors(_) => AttributeType::Tensors,
            Self::Graphs(_) => AttributeType::Graphs,
            Self::Type(_) => AttributeType::Type,
            Self::Types(_) => AttributeType::Types,
            Self::Reference(_, form) => return *form,
        })
    }
}

/// `AttributeProto`.
#[derive(Debug)]
pub(crate) struct Attribute<'a> {
    pub name: &'a str,
    pub value: AttributeValue<'a>,
}

/// The fields as they stand in the file, before it is clear which one counts.
#[derive(Default)]
struct Fields<'a> {
    name: &'a str,
    reference: &'a str,
    code: i32,
    float: Option<f32>,
    int: Option<i64>,
    string: Option<Span<'a>>,
    tensor: Option<Tensor<'a>>,
    graph: Option<Graph<'a>>,
    type_proto: Option<Type<'a>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    strings: Vec<Span<'a>>,
    tensors: Vec<Tensor<'a>>,
    graphs: Vec<Graph<'a>>,
    types: Vec<Type<'a>>,
}

impl<'a> Parse<'a> for Attribute<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        // The name helps every error inside, so it is looked for first: it need not be stored first.
        let mut fields = Fields::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            if field.number == 1 {
                fields.name = field.text().within("name")?;
            }
        }
        let place = |error: OnnxError| error.within(quoted(fields.name));
        let name = fields.name;
        let value = Fields::read(span, context, &mut fields)
            .and_then(|()| fields_value(fields))
            .map_err(|error| error.within(quoted(name)));
        let _ = place;
        Ok(Self { name, value: value? })
    }
}
