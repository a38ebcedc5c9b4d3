//! What can be wrong with a tensor's description.

use crate::DType;
use std::fmt;

/// Why a tensor could not be made or viewed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape asks for a different number of elements or bytes than there are.
    Length {
        /// What the shape and type ask for, in elements.
        expected: usize,
        /// What was given, in elements.
        actual: usize,
    },
    /// The product of the dimensions, or of it and the element size, overflows.
    Overflow {
        /// The shape in question.
        shape: Vec<usize>,
    },
    /// The tensor has another element type than the one asked for.
    Type {
        /// What was asked for.
        expected: DType,
        /// What the tensor has.
        actual: DType,
    },
    /// The bytes are not aligned for the element type; [`crate::Tensor::to_aligned`] makes a copy that is.
    Misaligned {
        /// The element type.
        dtype: DType,
    },
    /// Memory for the tensor could not be allocated.
    OutOfMemory {
        /// How many bytes were asked for.
        bytes: usize,
    },
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorError::Length { expected, actual } => {
                write!(
                    f,
                    "the shape has {expected} elements but {actual} were given"
                )
            }
            TensorError::Overflow { shape } => write!(f, "the size of shape {shape:?} overflows"),
            TensorError::Type { expected, actual } => {
                write!(f, "the tensor holds {actual}, not {expected}")
            }
            TensorError::Misaligned { dtype } => {
                write!(
                    f,
                    "the bytes are not aligned for {dtype}; copy them with to_aligned()"
                )
            }
            TensorError::OutOfMemory { bytes } => write!(f, "could not allocate {bytes} bytes"),
        }
    }
}

impl std::error::Error for TensorError {}
