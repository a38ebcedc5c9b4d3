//! Attributes of nodes.

use super::encoder::Encoder;
use super::graph::Graph;
use super::tensor::Tensor;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A float.
    Float(f32),
    /// An integer.
    Int(i64),
    /// A byte string.
    String(Vec<u8>),
    /// A tensor.
    Tensor(Tensor),
    /// A body of control flow.
    Graph(Graph),
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Byte strings.
    Strings(Vec<Vec<u8>>),
    /// In a function: the attribute of the call that this stands for, and its ONNX type code.
    Reference(String, i32),
}

macro_rules! from {
    ($($source:ty => |$value:ident| $made:expr),* $(,)?) => {
        $(impl From<$source> for AttributeValue {
            fn from($value: $source) -> Self {
                $made
            }
        })*
    };
}
from! {
    f32 => |value| Self::Float(value),
    i64 => |value| Self::Int(value),
    &str => |value| Self::String(value.as_bytes().to_vec()),
    Tensor => |value| Self::Tensor(value),
    Graph => |value| Self::Graph(value),
    Vec<f32> => |value| Self::Floats(value),
    Vec<i64> => |value| Self::Ints(value),
    &[i64] => |value| Self::Ints(value.to_vec()),
}

impl<const N: usize> From<[i64; N]> for AttributeValue {
    fn from(value: [i64; N]) -> Self {
        Self::Ints(value.to_vec())
    }
}

impl<const N: usize> From<[f32; N]> for AttributeValue {
    fn from(value: [f32; N]) -> Self {
        Self::Floats(value.to_vec())
    }
}

impl<const N: usize> From<[&str; N]> for AttributeValue {
    fn from(value: [&str; N]) -> Self {
        Self::Strings(value.iter().map(|text| text.as_bytes().to_vec()).collect())
    }
}

/// A named attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The value.
    pub value: AttributeValue,
}

impl Attribute {
    /// An attribute.
    pub fn new(name: &str, value: impl Into<AttributeValue>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.text_if_any(1, &self.name);
        let code = match &self.value {
            AttributeValue::Float(value) => {
                out.float(2, *value);
                1
            }
            AttributeValue::Int(value) => {
                out.varint(3, *value);
                2
            }
            AttributeValue::String(value) => {
                out.bytes(4, value);
                3
            }
            AttributeValue::Tensor(value) => {
                out.message(5, |out| value.encode(out));
                4
            }
            AttributeValue::Graph(value) => {
                out.message(6, |out| value.encode(out));
                5
            }
            AttributeValue::Floats(values) => {
                values.iter().for_each(|value| out.float(7, *value));
                6
            }
            AttributeValue::Ints(values) => {
                values.iter().for_each(|value| out.varint(8, *value));
                7
            }
            AttributeValue::Strings(values) => {
                values.iter().for_each(|value| out.bytes(9, value));
                8
            }
            AttributeValue::Reference(name, code) => {
                out.text(21, name);
                *code
            }
        };
        out.varint(20, code.into());
    }
}
