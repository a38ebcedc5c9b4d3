//! Borrowed tensors: what kernels read and write.

use crate::{DType, Element, TensorError, element_count};

/// A borrowed, dense, row-major tensor. Usually aligned; a weight that is read as bytes alone may not be.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorRef<'a> {
    /// A view of `bytes`, whose length must be what shape and type ask for. If they are misaligned for the type, the view
    /// still gives them as bytes, and [`TensorRef::as_slice`] refuses.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self, TensorError> {
        check_length(dtype, shape, bytes)?;
        Ok(TensorRef {
            dtype,
            shape,
            bytes,
        })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The length of each axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size().max(1)
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements. `u8` also views booleans.
    ///
    /// # Errors
    /// The view holds another type, or misaligned bytes.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], TensorError> {
        if !T::matches(self.dtype) {
            return Err(TensorError::Type {
                expected: T::DTYPE,
                actual: self.dtype,
            });
        }
        bytemuck::try_cast_slice(self.bytes)
            .map_err(|_| TensorError::Misaligned { dtype: self.dtype })
    }
}

/// A borrowed tensor to be written.
#[derive(Debug)]
pub struct TensorMut<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a mut [u8],
}

impl<'a> TensorMut<'a> {
    /// A view of `bytes`, whose length must be what shape and type ask for and whose address must be aligned.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a mut [u8]) -> Result<Self, TensorError> {
        check(dtype, shape, bytes)?;
        Ok(TensorMut {
            dtype,
            shape,
            bytes,
        })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The length of each axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size().max(1)
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The raw bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements. `u8` also views booleans.
    ///
    /// # Errors
    /// The view holds another type.
    pub fn as_slice_mut<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        if !T::matches(self.dtype) {
            return Err(TensorError::Type {
                expected: T::DTYPE,
                actual: self.dtype,
            });
        }
        let dtype = self.dtype;
        bytemuck::try_cast_slice_mut(self.bytes).map_err(|_| TensorError::Misaligned { dtype })
    }

    /// The same view, borrowed for reading.
    pub fn as_ref(&self) -> TensorRef<'_> {
        TensorRef {
            dtype: self.dtype,
            shape: self.shape,
            bytes: self.bytes,
        }
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> TensorMut<'_> {
        TensorMut {
            dtype: self.dtype,
            shape: self.shape,
            bytes: self.bytes,
        }
    }
}

fn check(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<(), TensorError> {
    check_length(dtype, shape, bytes)?;
    if !bytes.as_ptr().addr().is_multiple_of(dtype.size().max(1)) {
        return Err(TensorError::Misaligned { dtype });
    }
    Ok(())
}

fn check_length(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<(), TensorError> {
    let size = dtype.size().max(1);
    let expected = element_count(shape)
        .filter(|n| n.checked_mul(size).is_some())
        .ok_or_else(|| TensorError::Overflow {
            shape: shape.to_vec(),
        })?;
    if bytes.len() != expected * size {
        return Err(TensorError::Length {
            expected,
            actual: bytes.len() / size,
        });
    }
    Ok(())
}
