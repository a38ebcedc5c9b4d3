//! `TensorProto`: a constant whose data stays where it is.
//!
//! ONNX can store a tensor's data in `raw_data`, in one of six typed lists, or in another file. The view notes which of
//! them are present; the typed lists are read only when they are asked for, so a tensor costs the same however large it is.

use super::{Context, Parse, StringStringEntry, push};
use crate::error::{Located, OnnxError, OnnxErrorKind};
use crate::limits::exceeded;
use crate::wire::{Field, Message, Span};

/// `TensorProto.DataLocation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DataLocation {
    #[default]
    Here,
    External,
}

/// The typed lists of `TensorProto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypedField {
    Float,
    Int32,
    String,
    Int64,
    Double,
    Uint64,
}

impl TypedField {
    const ALL: [Self; 6] = [
        Self::Float,
        Self::Int32,
        Self::String,
        Self::Int64,
        Self::Double,
        Self::Uint64,
    ];

    fn number(self) -> u32 {
        match self {
            Self::Float => 4,
            Self::Int32 => 5,
            Self::String => 6,
            Self::Int64 => 7,
            Self::Double => 10,
            Self::Uint64 => 11,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float => "float_data",
            Self::Int32 => "int32_data",
            Self::String => "string_data",
            Self::Int64 => "int64_data",
            Self::Double => "double_data",
            Self::Uint64 => "uint64_data",
        }
    }
}

/// `TensorProto`.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    pub name: &'a str,
    pub dims: Vec<i64>,
    pub data_type: i32,
    pub raw_data: Option<Span<'a>>,
    pub data_location: DataLocation,
    pub external_data: Vec<StringStringEntry<'a>>,
    /// The whole message, to read the typed lists from.
    body: Span<'a>,
    /// One bit for each of [`TypedField::ALL`].
    typed: u8,
}

impl<'a> Parse<'a> for Tensor<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut tensor = Self {
            name: "",
            dims: Vec::new(),
            data_type: 0,
            raw_data: None,
            data_location: DataLocation::Here,
            external_data: Vec::new(),
            body: span,
            typed: 0,
        };
        let rank = context.limits.rank;
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => field
                    .each_varint(|dim| {
                        if tensor.dims.len() >= rank {
                            return Err(exceeded("dimensions of a tensor", "rank", rank));
                        }
                        tensor.dims.push(dim as i64);
                        Ok(())
                    })
                    .within("dims")?,
                2 => tensor.data_type = field.int32().within("data_type")?,
                3 => {
                    return Err(OnnxError::new(
                        OnnxErrorKind::UnsupportedType,
                        "the tensor is stored in segments, which ONNX no longer uses",
                    )
                    .at_byte(field.offset)
                    .help("export the model again with a current exporter"));
                }
                8 => tensor.name = field.text().within("name")?,
                9 => tensor.raw_data = Some(field.span().within("raw_data")?),
                13 => push(&mut tensor.external_data, &field, "external_data", context)?,
                14 => {
                    tensor.data_location = match field.int32().within("data_location")? {
                        0 => DataLocation::Here,
                        1 => DataLocation::External,
                        other => {
                            return Err(OnnxError::new(
                                OnnxErrorKind::Malformed,
                                format!("{other} is no data location of ONNX"),
                            )
                            .at_byte(field.offset)
                            .help("the file is damaged; fetch it again and compare its checksum"));
                        }
                    }
                }
                number => {
                    for (bit, typed) in TypedField::ALL.into_iter().enumerate() {
                        // An empty packed list says nothing.
                        let empty = matches!(field.value, crate::wire::Value::Bytes(span) if span.bytes.is_empty());
                        if typed.number() == number && (typed == TypedField::String || !empty) {
                            tensor.typed |= 1 << bit;
                        }
                    }
                }
            }
        }
        Ok(tensor)
    }
}

impl<'a> Tensor<'a> {
    /// The typed lists that hold something.
    pub(crate) fn typed_fields(&self) -> impl Iterator<Item = TypedField> + '_ {
        TypedField::ALL
            .into_iter()
            .enumerate()
            .filter_map(|(bit, field)| (self.typed & (1 << bit) != 0).then_some(field))
    }

    fn each_field(
        &self,
        typed: TypedField,
        mut each: impl FnMut(Field<'a>) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        let mut message = Message::new(self.body);
        while let Some(field) = message.next_field()? {
            if field.number == typed.number() {
                each(field).within(typed.name())?;
            }
        }
        Ok(())
    }

    /// Every number of `int32_data`, `int64_data` or `uint64_data`, as the bits of a 64-bit integer.
    pub(crate) fn each_integer(
        &self,
        typed: TypedField,
        mut each: impl FnMut(u64) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        self.each_field(typed, |field| field.each_varint(&mut each))
    }

    /// The bits of every number of `float_data`.
    pub(crate) fn each_float(
        &self,
        mut each: impl FnMut(u32) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        self.each_field(TypedField::Float, |field| field.each_fixed32(&mut each))
    }

    /// The bits of every number of `double_data`.
    pub(crate) fn each_double(
        &self,
        mut each: impl FnMut(u64) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        self.each_field(TypedField::Double, |field| field.each_fixed64(&mut each))
    }

    /// Every element of `string_data`.
    pub(crate) fn each_string(
        &self,
        mut each: impl FnMut(Span<'a>) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        self.each_field(TypedField::String, |field| each(field.span()?))
    }

    /// Bytes of the whole message: no list in it can have more elements.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.body.bytes.len()
    }

    /// Where the tensor begins in the file; no two tensors share it.
    pub(crate) fn offset(&self) -> usize {
        self.body.offset
    }
}

/// ONNX's name of a `TensorProto.DataType`.
pub(crate) fn data_type_name(code: i32) -> Option<&'static str> {
    Some(match code {
        0 => "UNDEFINED",
        1 => "FLOAT",
        2 => "UINT8",
        3 => "INT8",
        4 => "UINT16",
        5 => "INT16",
        6 => "INT32",
        7 => "INT64",
        8 => "STRING",
        9 => "BOOL",
        10 => "FLOAT16",
        11 => "DOUBLE",
        12 => "UINT32",
        13 => "UINT64",
        14 => "COMPLEX64",
        15 => "COMPLEX128",
        16 => "BFLOAT16",
        17 => "FLOAT8E4M3FN",
        18 => "FLOAT8E4M3FNUZ",
        19 => "FLOAT8E5M2",
        20 => "FLOAT8E5M2FNUZ",
        21 => "UINT4",
        22 => "INT4",
        23 => "FLOAT4E2M1",
        24 => "FLOAT8E8M0",
        25 => "UINT2",
        26 => "INT2",
        27 => "FLOAT6E2M3",
        28 => "FLOAT6E3M2",
        _ => return None,
    })
}
