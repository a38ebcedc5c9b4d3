//! Constants: data that stays in the file where it can, and is copied where it must.
//!
//! `raw_data` and external data are viewed in place, except that a small tensor is copied: the copy is cheaper than what every
//! user would pay for its misalignment, and than the piece of the file, up to megabytes, that the system puts into memory
//! around whatever is read of it. Typed lists are decoded. Every size
//! is compared with bytes that are really there before anything is allocated.

use super::budget::Budget;
use super::external::ExternalData;
use super::types::{dtype, unsupported_name};
use crate::error::{OnnxError, OnnxErrorKind};
use crate::model::SourceFile;
use crate::proto::{self, DataLocation, TypedField};
use std::collections::HashMap;
use std::sync::Arc;
use unisono_tensor::{DType, ForeignBytes, Tensor, TensorError, element_count};

/// Tensors of at least this many bytes stay where they are.
const STAYS_MAPPED: usize = 64 << 10;

/// Makes tensors out of the file's.
pub(crate) struct Constants<'p> {
    /// The model file.
    file: Arc<dyn ForeignBytes>,
    external: ExternalData<'p>,
    /// Tensors by their place in the file: a function that is inlined twice shares its constants.
    made: HashMap<usize, Tensor>,
}

pub(super) fn tensor_error(error: TensorError) -> OnnxError {
    OnnxError::new(OnnxErrorKind::InvalidTensor, error.to_string())
        .help("the tensor's dimensions and data do not fit together; export the model again")
}

fn invalid(what: String) -> OnnxError {
    OnnxError::new(OnnxErrorKind::InvalidTensor, what)
        .help("the tensor's dimensions and data do not fit together; export the model again")
}

impl<'p> Constants<'p> {
    pub(crate) fn new(file: Arc<dyn ForeignBytes>, external: ExternalData<'p>) -> Self {
        Self {
            file,
            external,
            made: HashMap::new(),
        }
    }

    /// The files of external data that were read.
    pub(super) fn into_files(self) -> impl Iterator<Item = SourceFile> {
        self.external.into_files()
    }

    /// The tensor, made at most once.
    pub(super) fn tensor(
        &mut self,
        tensor: &'p proto::Tensor<'p>,
        budget: &mut Budget<'_>,
    ) -> Result<Tensor, OnnxError> {
        if let Some(made) = self.made.get(&tensor.offset()) {
            return Ok(made.clone());
        }
        let made = self.make(tensor, budget)?;
        self.made.insert(tensor.offset(), made.clone());
        Ok(made)
    }

    fn make(
        &mut self,
        tensor: &'p proto::Tensor<'p>,
        budget: &mut Budget<'_>,
    ) -> Result<Tensor, OnnxError> {
        let dtype = dtype(tensor.data_type).ok_or_else(|| {
            let known: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
            OnnxError::new(
                OnnxErrorKind::UnsupportedType,
                format!(
                    "the tensor has {}, which is not supported",
                    unsupported_name(tensor.data_type)
                ),
            )
            .help(format!("export the model with one of {}", known.join(", ")))
        })?;
        let shape = shape(&tensor.dims)?;
        let count = count(&shape, dtype).ok_or_else(|| {
            invalid(format!(
                "the dimensions {:?} multiply to more than memory can hold",
                tensor.dims
            ))
        })?;
        budget.elements(count)?;

        let mut typed = tensor.typed_fields();
        let (first, second) = (typed.next(), typed.next());
        drop(typed);
        if let (Some(first), Some(second)) = (first, second) {
            return Err(invalid(format!(
                "the tensor has data in {} and in {}",
                first.name(),
                second.name()
            )));
        }
        if tensor.data_location == DataLocation::External {
            if first.is_some() || tensor.raw_data.is_some_and(|raw| !raw.bytes.is_empty()) {
                return Err(invalid(
                    "the tensor has external data and data of its own".into(),
                ));
            }
            return self.external_tensor(tensor, dtype, &shape, count, budget);
        }
        match (tensor.raw_data, first) {
            (Some(raw), Some(typed)) if !raw.bytes.is_empty() => Err(invalid(format!(
                "the tensor has data in raw_data and in {}",
                typed.name()
            ))),
            (_, Some(typed)) => decode(tensor, typed, dtype, &shape, count, budget),
            (Some(_), None) if dtype == DType::String => Err(invalid(
                "strings cannot be stored in raw_data, only in string_data".into(),
            )),
            (Some(raw), None) => {
                if raw.bytes.len() != count * dtype.size() {
                    return Err(invalid(format!(
                        "{dtype} {:?} needs {} bytes, raw_data has {}",
                        tensor.dims,
                        count * dtype.size(),
                        raw.bytes.len()
                    ))
                    .at_byte(raw.offset));
                }
                let file = self.file.clone();
                view(file, raw.offset, dtype, &shape, budget)
            }
            (None, None) if count == 0 => empty(dtype, &shape),
            (None, None) => Err(invalid(format!(
                "{dtype} {:?} needs {count} elements, but the tensor has no data",
                tensor.dims
            ))),
        }
    }

    fn external_tensor(
        &mut self,
        tensor: &'p proto::Tensor<'p>,
        dtype: DType,
        shape: &[usize],
        count: usize,
        budget: &mut Budget<'_>,
    ) -> Result<Tensor, OnnxError> {
        if dtype == DType::String {
            return Err(invalid("strings cannot be stored as external data".into()));
        }
        let (file, offset) = self
            .external
            .range(&tensor.external_data, count * dtype.size())?;
        view(file, offset, dtype, shape, budget)
    }
}

fn shape(dims: &[i64]) -> Result<Vec<usize>, OnnxError> {
    dims.iter()
        .map(|&dim| {
            usize::try_from(dim).map_err(|_| {
                invalid(format!(
                    "the dimensions {dims:?} contain the impossible length {dim}"
                ))
            })
        })
        .collect()
}

/// The number of elements, if their bytes and those of every part of the shape fit in memory.
///
/// Lengths beside a zero must fit as well: whoever multiplies some of them later must not overflow.
fn count(shape: &[usize], dtype: DType) -> Option<usize> {
    let lengths: Vec<usize> = shape.iter().map(|&length| length.max(1)).collect();
    let bytes = element_count(&lengths)?.checked_mul(dtype.size().max(1))?;
    isize::try_from(bytes).ok()?;
    element_count(shape)
}

fn empty(dtype: DType, shape: &[usize]) -> Result<Tensor, OnnxError> {
    match dtype {
        DType::String => Tensor::from_strings(shape, Vec::new()),
        _ => Tensor::zeros(dtype, shape),
    }
    .map_err(tensor_error)
}

/// A tensor over bytes of a file whose length has been checked.
fn view(
    file: Arc<dyn ForeignBytes>,
    offset: usize,
    dtype: DType,
    shape: &[usize],
    budget: &mut Budget<'_>,
) -> Result<Tensor, OnnxError> {
    let tensor = Tensor::from_foreign(dtype, shape, file, offset).map_err(tensor_error)?;
    let bytes = tensor.bytes().len();
    // Kernels rely on booleans being 0 or 1; files may hold any byte.
    if dtype == DType::Bool && tensor.bytes().iter().any(|byte| *byte > 1) {
        budget.charge(bytes)?;
        let clean: Vec<u8> = tensor
            .bytes()
            .iter()
            .map(|byte| u8::from(*byte != 0))
            .collect();
        return Tensor::from_bytes(dtype, shape, &clean).map_err(tensor_error);
    }
    if bytes >= STAYS_MAPPED {
        return Ok(tensor);
    }
    budget.charge(bytes)?;
    Tensor::from_bytes(dtype, shape, tensor.bytes()).map_err(tensor_error)
}

/// Decodes a typed list.
fn decode(
    tensor: &proto::Tensor<'_>,
    typed: TypedField,
    dtype: DType,
    shape: &[usize],
    count: usize,
    budget: &mut Budget<'_>,
) -> Result<Tensor, OnnxError> {
    let home = match dtype {
        DType::F32 => TypedField::Float,
        DType::F64 => TypedField::Double,
        DType::I64 => TypedField::Int64,
        DType::U32 | DType::U64 => TypedField::Uint64,
        DType::String => TypedField::String,
        _ => TypedField::Int32,
    };
    if typed != home {
        return Err(invalid(format!(
            "data of type {dtype} must be stored in {} or raw_data, not in {}",
            home.name(),
            typed.name()
        )));
    }
    let too_short = |found: usize| {
        invalid(format!(
            "{dtype} {shape:?} needs {count} elements, {} has {found}",
            typed.name()
        ))
    };
    // No element takes less than a byte, so a claim beyond the message's own size is false.
    if count > tensor.stored_bytes() {
        return Err(invalid(format!(
            "{dtype} {shape:?} needs {count} elements, and the whole tensor has {} bytes",
            tensor.stored_bytes()
        )));
    }
    if dtype == DType::String {
        return strings(tensor, shape, count, budget, too_short);
    }
    budget.charge(count.saturating_mul(dtype.size()))?;
    let mut made = Tensor::zeros(dtype, shape).map_err(tensor_error)?;
    let mut found = 0usize;
    {
        let Some(bytes) = made.bytes_mut() else {
            return Err(invalid("the new tensor cannot be written".into()));
        };
        let mut slots = bytes.chunks_exact_mut(dtype.size());
        let mut put = |value: &[u8]| {
            found += 1;
            // What is too much is only counted, for the message.
            if let Some(slot) = slots.next() {
                slot.copy_from_slice(value);
            }
            Ok(())
        };
        match home {
            TypedField::Float => tensor.each_float(|bits| put(&bits.to_le_bytes()))?,
            TypedField::Double => tensor.each_double(|bits| put(&bits.to_le_bytes()))?,
            TypedField::Int32 => tensor.each_integer(home, |bits| {
                let (value, size) = narrow(dtype, i64::from(bits as i32))?;
                put(value.get(..size).unwrap_or_default())
            })?,
            TypedField::Uint64 if dtype == DType::U32 => tensor.each_integer(home, |bits| {
                let value = u32::try_from(bits).map_err(|_| out_of_range(dtype, bits))?;
                put(&value.to_le_bytes())
            })?,
            _ => tensor.each_integer(home, |bits| put(&bits.to_le_bytes()))?,
        }
    }
    if found != count {
        return Err(too_short(found));
    }
    Ok(made)
}

fn strings(
    tensor: &proto::Tensor<'_>,
    shape: &[usize],
    count: usize,
    budget: &mut Budget<'_>,
    too_short: impl Fn(usize) -> OnnxError,
) -> Result<Tensor, OnnxError> {
    let mut strings = Vec::new();
    tensor.each_string(|span| {
        budget.charge(span.bytes.len() + size_of::<String>())?;
        strings.push(span.text()?.to_owned());
        Ok(())
    })?;
    if strings.len() != count {
        return Err(too_short(strings.len()));
    }
    Tensor::from_strings(shape, strings).map_err(tensor_error)
}

fn out_of_range(dtype: DType, value: impl std::fmt::Display) -> OnnxError {
    invalid(format!("the value {value} does not fit in {dtype}"))
}

/// A value of `int32_data` in the width that it stands for: its bytes, and how many of them count. Halves are stored as
/// their 16 bits.
fn narrow(dtype: DType, value: i64) -> Result<([u8; 4], usize), OnnxError> {
    let fits = match dtype {
        DType::I8 => i8::try_from(value).is_ok(),
        DType::U8 => u8::try_from(value).is_ok(),
        DType::I16 => i16::try_from(value).is_ok(),
        DType::U16 | DType::F16 | DType::BF16 => u16::try_from(value).is_ok(),
        DType::Bool => value == 0 || value == 1,
        _ => true,
    };
    if !fits {
        return Err(out_of_range(dtype, value));
    }
    Ok(((value as i32).to_le_bytes(), dtype.size()))
}
