//! Arrays in numpy's `.npy` format, the program's way in and out.
//!
//! The one idea: a file either says exactly what it holds, and is exactly as long as that, or it is refused with the
//! reason. Nothing is allocated because a header claims it: memory is asked for only after the file's own length agrees.
//!
//! Read: versions 1 to 3, both byte orders, C and Fortran order, booleans, integers, floats, fixed-width Unicode strings.
//! Not read: complex numbers, longdouble, dates, byte strings, structures, pickled objects.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

mod header;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use header::{ByteOrder, Descr, Header};
use unisono::{DType, Tensor, TensorError, bf16};

/// Why a file could not be read: what is wrong, and what to do about it where that is not obvious.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyError {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl NpyError {
    fn new(what: impl Into<String>) -> NpyError {
        NpyError {
            what: what.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> NpyError {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for NpyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<TensorError> for NpyError {
    fn from(error: TensorError) -> NpyError {
        NpyError::new(error.to_string())
    }
}

/// Reads a file.
///
/// # Errors
/// The file cannot be read, or is not an array that a tensor can hold.
pub fn read(path: &Path) -> Result<Tensor, NpyError> {
    let bytes = std::fs::read(path).map_err(|e| NpyError::new(format!("cannot read it: {e}")))?;
    parse(&bytes)
}

/// Reads a file's bytes.
///
/// # Errors
/// The bytes are not an array that a tensor can hold.
pub fn parse(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let (header, data) = header::split(bytes)?;
    let Header {
        descr,
        fortran_order,
        shape,
    } = header;
    let count = unisono::element_count(&shape)
        .ok_or_else(|| NpyError::new(format!("the size of shape {shape:?} overflows")))?;
    let expected = count
        .checked_mul(descr.item_bytes())
        .ok_or_else(|| NpyError::new(format!("the size of shape {shape:?} overflows")))?;
    if expected != data.len() {
        return Err(NpyError::new(format!(
            "shape {shape:?} of '{descr}' takes {expected} bytes but the file has {} after its header",
            data.len()
        ))
        .help("the file was cut short or damaged; write it again with numpy.save"));
    }
    let mut owned;
    let mut data = data;
    if fortran_order && shape.len() > 1 && count > 0 {
        owned = to_row_major(data, &shape, descr.item_bytes());
        data = &owned;
    }
    match descr {
        Descr::Number(dtype, order) => {
            let swap = order == ByteOrder::Big && dtype.size() > 1;
            if swap || dtype == DType::Bool {
                owned = data.to_vec();
                if swap {
                    owned
                        .chunks_exact_mut(dtype.size())
                        .for_each(<[u8]>::reverse);
                } else {
                    // numpy takes every byte but 0 for true; tensors hold 0 and 1.
                    owned.iter_mut().for_each(|b| *b = u8::from(*b != 0));
                }
                data = &owned;
            }
            Ok(Tensor::from_bytes(dtype, &shape, data)?)
        }
        Descr::Unicode(width, order) => {
            if width == 0 {
                return Ok(Tensor::from_strings(&shape, vec![String::new(); count])?);
            }
            let strings: Result<Vec<String>, NpyError> = data
                .chunks_exact(width * 4)
                .map(|item| unicode(item, order))
                .collect();
            Ok(Tensor::from_strings(&shape, strings?)?)
        }
    }
}

/// Writes a tensor in row-major order, little-endian. `bf16`, which numpy does not have, is written as `f32`: the same
/// numbers, since every `bf16` is an `f32`.
///
/// # Errors
/// What `out` says.
pub fn write(out: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    let shape = tensor.shape();
    match tensor.dtype() {
        DType::String => {
            let strings = tensor.strings().unwrap_or(&[]);
            let width = strings.iter().map(|s| s.chars().count()).max();
            let width = width.unwrap_or(0).max(1);
            out.write_all(&header::bytes(&format!("<U{width}"), shape))?;
            for string in strings {
                let mut written = 0;
                for c in string.chars() {
                    out.write_all(&u32::from(c).to_le_bytes())?;
                    written += 1;
                }
                for _ in written..width {
                    out.write_all(&[0; 4])?;
                }
            }
            Ok(())
        }
        DType::BF16 => {
            out.write_all(&header::bytes("<f4", shape))?;
            for half in tensor.bytes().as_chunks::<2>().0 {
                // A bf16 is the upper half of the f32 of the same value.
                out.write_all(&[0, 0, half[0], half[1]])?;
            }
            Ok(())
        }
        dtype => {
            out.write_all(&header::bytes(&header::number_descr(dtype), shape))?;
            out.write_all(tensor.bytes())
        }
    }
}

/// An `f32` array as `bf16`, which numpy does not have.
///
/// # Errors
/// A number that is no `bf16`: rounding is the user's to decide.
pub fn to_bf16(tensor: &Tensor) -> Result<Tensor, NpyError> {
    let mut halves = Vec::with_capacity(tensor.len());
    for &value in tensor.as_slice::<f32>()? {
        let half = bf16::from_f32(value);
        if half.to_f32() != value && !value.is_nan() {
            return Err(NpyError::new(format!("{value} is no bf16"))
                .help("round the array to bf16 before saving it as float32"));
        }
        halves.push(half);
    }
    Ok(Tensor::from_slice(tensor.shape(), &halves)?)
}

/// What numpy calls a type, if it has it.
pub fn python_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::F16 => "float16",
        DType::I8 => "int8",
        DType::I16 => "int16",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::U8 => "uint8",
        DType::U16 => "uint16",
        DType::U32 => "uint32",
        DType::U64 => "uint64",
        DType::Bool => "bool",
        DType::String => "str",
        _ => return None,
    })
}

/// Fixed-width UTF-32, padded with zeros.
fn unicode(item: &[u8], order: ByteOrder) -> Result<String, NpyError> {
    let points = item.as_chunks::<4>().0;
    let points = points.iter().map(|&b| match order {
        ByteOrder::Little => u32::from_le_bytes(b),
        ByteOrder::Big => u32::from_be_bytes(b),
    });
    let mut text = String::new();
    for point in points {
        let c = char::from_u32(point)
            .ok_or_else(|| NpyError::new(format!("{point:#x} is no Unicode character")))?;
        text.push(c);
    }
    let end = text.trim_end_matches('\0').len();
    text.truncate(end);
    Ok(text)
}

/// Items of `size` bytes from column-major to row-major order. `data` has exactly the items of `shape`, at least one.
fn to_row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = size;
    for &n in shape {
        strides.push(stride);
        stride *= n;
    }
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; shape.len()];
    let mut at = 0;
    while out.len() < data.len() {
        out.extend_from_slice(&data[at..at + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests;
