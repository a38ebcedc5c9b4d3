//! `AttributeProto`: a named value in one of many forms, of which exactly one may be present.

use super::{Context, Graph, Parse, Tensor, set};
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
    /// A form that no supported operator has; not read further.
    Other(AttributeType),
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
            Self::Other(form) => *form,
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
    floats: Vec<f32>,
    ints: Vec<i64>,
    strings: Vec<Span<'a>>,
    other: Option<AttributeType>,
}

impl<'a> Parse<'a> for Attribute<'a> {
    /// Errors carry the step `attribute "name"`, so callers add none.
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut fields = Fields::default();
        fields
            .read(span, context)
            .and_then(|()| fields.value())
            .map_err(|error| error.within(format!("attribute {}", quoted(name_of(span)))))
    }
}

/// The attribute's name, found however damaged the rest is.
fn name_of(span: Span<'_>) -> &str {
    let mut message = Message::new(span);
    while let Ok(Some(field)) = message.next_field() {
        if field.number == 1 {
            return field.text().unwrap_or("");
        }
    }
    ""
}

impl<'a> Fields<'a> {
    fn read(&mut self, span: Span<'a>, context: &mut Context<'_>) -> Result<(), OnnxError> {
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => self.name = field.text().within("name")?,
                2 => self.float = Some(field.float().within("f")?),
                3 => self.int = Some(field.int64().within("i")?),
                4 => self.string = Some(field.span().within("s")?),
                5 => set(&mut self.tensor, &field, "t", context)?,
                6 => set(&mut self.graph, &field, "g", context)?,
                7 => field
                    .each_fixed32(|bits| {
                        context.element()?;
                        self.floats.push(f32::from_bits(bits));
                        Ok(())
                    })
                    .within("floats")?,
                8 => field
                    .each_varint(|value| {
                        context.element()?;
                        self.ints.push(value as i64);
                        Ok(())
                    })
                    .within("ints")?,
                9 => {
                    context.message()?;
                    self.strings.push(field.span().within("strings")?);
                }
                10 => self.other = Some(AttributeType::Tensors),
                11 => self.other = Some(AttributeType::Graphs),
                14 => self.other = Some(AttributeType::Type),
                15 => self.other = Some(AttributeType::Types),
                22 => self.other = Some(AttributeType::SparseTensor),
                23 => self.other = Some(AttributeType::SparseTensors),
                20 => self.code = field.int32().within("type")?,
                21 => self.reference = field.text().within("ref_attr_name")?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The forms that are present. Lists without elements leave no trace in a file, so this is a lower bound.
    fn present(&self) -> Vec<AttributeType> {
        [
            (self.float.is_some(), AttributeType::Float),
            (self.int.is_some(), AttributeType::Int),
            (self.string.is_some(), AttributeType::String),
            (self.tensor.is_some(), AttributeType::Tensor),
            (self.graph.is_some(), AttributeType::Graph),
            (!self.floats.is_empty(), AttributeType::Floats),
            (!self.ints.is_empty(), AttributeType::Ints),
            (!self.strings.is_empty(), AttributeType::Strings),
        ]
        .into_iter()
        .filter_map(|(present, form)| present.then_some(form))
        .chain(self.other)
        .collect()
    }

    fn value(self) -> Result<Attribute<'a>, OnnxError> {
        let invalid = |what: String| {
            OnnxError::new(OnnxErrorKind::InvalidAttribute, what)
                .help("the exporter wrote an invalid attribute; export the model again with a current exporter")
        };
        if self.name.is_empty() {
            return Err(invalid("the attribute has no name".into()));
        }
        let present = self.present();
        let declared = match self.code {
            0 => None,
            code => Some(
                AttributeType::from_code(code)
                    .ok_or_else(|| invalid(format!("{code} is no attribute type of ONNX")))?,
            ),
        };
        if !self.reference.is_empty() {
            if let Some(form) = present.first() {
                return Err(invalid(format!(
                    "the attribute refers to {} and has a value of its own ({})",
                    quoted(self.reference),
                    form.name()
                )));
            }
            return Ok(Attribute {
                name: self.name,
                value: AttributeValue::Reference(self.reference, declared),
            });
        }
        let form = match (declared, present.as_slice()) {
            (Some(declared), []) => declared,
            (Some(declared), [one]) if *one == declared => declared,
            (Some(declared), others) => {
                let others: Vec<_> = others.iter().map(|form| form.name()).collect();
                return Err(invalid(format!(
                    "the attribute is declared as {} but holds {}",
                    declared.name(),
                    others.join(" and ")
                )));
            }
            // Files older than IR version 2 do not say the type.
            (None, [one]) => *one,
            (None, []) => {
                return Err(invalid(
                    "the attribute has neither a type nor a value".into(),
                ));
            }
            (None, _) => {
                return Err(invalid(
                    "the attribute has several values and no type".into(),
                ));
            }
        };
        let missing = || {
            invalid(format!(
                "the attribute is declared as {} but holds nothing",
                form.name()
            ))
        };
        let value = match form {
            // Writers of protobuf 3 leave zeros and empty strings out.
            AttributeType::Float => AttributeValue::Float(self.float.unwrap_or(0.0)),
            AttributeType::Int => AttributeValue::Int(self.int.unwrap_or(0)),
            AttributeType::String => AttributeValue::String(self.string.unwrap_or(Span::new(&[]))),
            AttributeType::Tensor => {
                AttributeValue::Tensor(Box::new(self.tensor.ok_or_else(missing)?))
            }
            AttributeType::Graph => {
                AttributeValue::Graph(Box::new(self.graph.ok_or_else(missing)?))
            }
            AttributeType::Floats => AttributeValue::Floats(self.floats),
            AttributeType::Ints => AttributeValue::Ints(self.ints),
            AttributeType::Strings => AttributeValue::Strings(self.strings),
            form => AttributeValue::Other(form),
        };
        Ok(Attribute {
            name: self.name,
            value,
        })
    }
}
