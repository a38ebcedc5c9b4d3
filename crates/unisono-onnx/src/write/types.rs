//! Types, shapes and declared values.

use super::encoder::Encoder;
use super::tensor::element_code;
use unisono_tensor::Element;

/// A dimension of a declared shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A number.
    Fixed(i64),
    /// A name, such as `batch`.
    Symbol(String),
    /// Left open.
    Unknown,
}

impl Dim {
    /// A number.
    pub fn fixed(length: i64) -> Self {
        Self::Fixed(length)
    }

    /// A name.
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(name.into())
    }
}

impl From<i64> for Dim {
    fn from(length: i64) -> Self {
        Self::Fixed(length)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::symbol(name)
    }
}

/// The type of a value. The element types are ONNX's codes; see [`element_code`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A dense tensor; without a shape, its rank is unknown.
    Tensor(i32, Option<Vec<Dim>>),
    /// A sparse tensor.
    SparseTensor(i32, Option<Vec<Dim>>),
    /// A list of values of one type.
    Sequence(Box<Type>),
    /// A map from the key type to values.
    Map(i32, Box<Type>),
    /// A value that may be absent.
    Optional(Box<Type>),
}

impl Type {
    pub(super) fn encode(&self, out: &mut Encoder) {
        let tensor = |out: &mut Encoder, element: i32, shape: &Option<Vec<Dim>>| {
            out.varint(1, element.into());
            if let Some(dims) = shape {
                out.message(2, |out| {
                    for dim in dims {
                        out.message(1, |out| match dim {
                            Dim::Fixed(length) => out.varint(1, *length),
                            Dim::Symbol(name) => out.text(2, name),
                            Dim::Unknown => {}
                        });
                    }
                });
            }
        };
        match self {
            Type::Tensor(element, shape) => out.message(1, |out| tensor(out, *element, shape)),
            Type::SparseTensor(element, shape) => {
                out.message(8, |out| tensor(out, *element, shape))
            }
            Type::Sequence(inner) => out.message(4, |out| out.message(1, |out| inner.encode(out))),
            Type::Map(key, inner) => out.message(5, |out| {
                out.varint(1, (*key).into());
                out.message(2, |out| inner.encode(out));
            }),
            Type::Optional(inner) => out.message(9, |out| out.message(1, |out| inner.encode(out))),
        }
    }
}

/// A named value with its declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// The value's name.
    pub name: String,
    /// Its type, if it is declared.
    pub value_type: Option<Type>,
}

impl ValueInfo {
    /// A value whose type is not declared.
    pub fn untyped(name: &str) -> Self {
        Self {
            name: name.into(),
            value_type: None,
        }
    }

    /// A value of any type.
    pub fn of_type(name: &str, value_type: Type) -> Self {
        Self {
            name: name.into(),
            value_type: Some(value_type),
        }
    }

    /// A tensor with elements of `T` (for booleans and strings see [`ValueInfo::of_type`]).
    pub fn tensor<T: Element>(name: &str, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        let shape = shape.into_iter().map(Into::into).collect();
        Self::of_type(name, Type::Tensor(element_code(T::DTYPE), Some(shape)))
    }

    /// A scalar.
    pub fn scalar<T: Element>(name: &str) -> Self {
        Self::tensor::<T>(name, [0i64; 0])
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.text_if_any(1, &self.name);
        if let Some(value_type) = &self.value_type {
            out.message(2, |out| value_type.encode(out));
        }
    }
}
