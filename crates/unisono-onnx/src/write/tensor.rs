//! Constant tensors, in each form in which ONNX stores them.

use super::encoder::Encoder;
use unisono_tensor::{DType, Element};

/// ONNX's code of an element type.
pub fn element_code(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::String => 8,
        DType::Bool => 9,
        DType::F16 => 10,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::BF16 => 16,
        // The type is non-exhaustive towards other crates; 0 is ONNX's "undefined".
        _ => 0,
    }
}

/// The element type of one of ONNX's codes, if Unisono has it.
pub fn data_type_of(code: i32) -> Option<DType> {
    DType::ALL
        .into_iter()
        .find(|dtype| element_code(*dtype) == code)
}

/// Where a tensor's data is.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Nowhere.
    None,
    /// In `raw_data`: little-endian bytes.
    Raw(Vec<u8>),
    /// In `float_data`.
    Floats(Vec<f32>),
    /// In `int32_data`, which also holds all narrower types and the bits of halves.
    Int32s(Vec<i32>),
    /// In `int64_data`.
    Int64s(Vec<i64>),
    /// In `double_data`.
    Doubles(Vec<f64>),
    /// In `uint64_data`.
    Uint64s(Vec<u64>),
    /// In `string_data`.
    Strings(Vec<Vec<u8>>),
    /// In another file; the pairs are usually `location`, `offset` and `length`.
    External(Vec<(String, String)>),
}

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name, needed by initializers.
    pub name: String,
    /// ONNX's code of the element type.
    pub data_type: i32,
    /// The dimensions, as they will be claimed.
    pub dims: Vec<i64>,
    /// The data.
    pub data: Data,
}

impl Tensor {
    /// A tensor with anything in it.
    pub fn new(name: &str, data_type: i32, dims: &[i64], data: Data) -> Self {
        Self {
            name: name.into(),
            data_type,
            dims: dims.to_vec(),
            data,
        }
    }

    /// A tensor of `T` with its elements in `raw_data`.
    pub fn of<T: Element>(name: &str, dims: &[i64], elements: &[T]) -> Self {
        let bytes = bytemuck_bytes(elements);
        Self::new(name, element_code(T::DTYPE), dims, Data::Raw(bytes))
    }

    /// A scalar with its element in `raw_data`.
    pub fn scalar<T: Element>(name: &str, element: T) -> Self {
        Self::of(name, &[], &[element])
    }

    /// A boolean tensor.
    pub fn bools(name: &str, dims: &[i64], elements: &[bool]) -> Self {
        let bytes = elements.iter().map(|element| u8::from(*element)).collect();
        Self::new(name, element_code(DType::Bool), dims, Data::Raw(bytes))
    }

    /// A string tensor.
    pub fn strings(name: &str, dims: &[i64], elements: &[&str]) -> Self {
        let strings = elements
            .iter()
            .map(|element| element.as_bytes().to_vec())
            .collect();
        Self::new(
            name,
            element_code(DType::String),
            dims,
            Data::Strings(strings),
        )
    }

    /// A tensor of `T` whose elements are `length` bytes at `offset` of the file `location`.
    pub fn external<T: Element>(
        name: &str,
        dims: &[i64],
        location: &str,
        offset: u64,
        length: u64,
    ) -> Self {
        let entries = vec![
            ("location".into(), location.into()),
            ("offset".into(), offset.to_string()),
            ("length".into(), length.to_string()),
        ];
        Self::new(name, element_code(T::DTYPE), dims, Data::External(entries))
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.packed_varints(1, self.dims.iter().copied());
        out.varint(2, self.data_type.into());
        out.text_if_any(8, &self.name);
        match &self.data {
            Data::None => {}
            Data::Raw(bytes) => out.bytes(9, bytes),
            Data::Floats(values) => {
                out.packed_fixed(4, values.iter().map(|value| value.to_le_bytes()))
            }
            Data::Int32s(values) => {
                out.packed_varints(5, values.iter().map(|value| (*value).into()))
            }
            Data::Int64s(values) => out.packed_varints(7, values.iter().copied()),
            Data::Doubles(values) => {
                out.packed_fixed(10, values.iter().map(|value| value.to_le_bytes()))
            }
            Data::Uint64s(values) => {
                out.packed_varints(11, values.iter().map(|value| *value as i64))
            }
            Data::Strings(values) => values.iter().for_each(|value| out.bytes(6, value)),
            Data::External(entries) => {
                for (key, value) in entries {
                    out.message(13, |out| {
                        out.text(1, key);
                        out.text(2, value);
                    });
                }
                out.varint(14, 1);
            }
        }
    }
}

fn bytemuck_bytes<T: Element>(elements: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(elements));
    for element in elements {
        let mut one = bytemuck::bytes_of(element).to_vec();
        if cfg!(target_endian = "big") {
            one.reverse();
        }
        bytes.extend(one);
    }
    bytes
}
