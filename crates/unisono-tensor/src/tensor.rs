//! The owned tensor.

use crate::storage::{ForeignBytes, Storage};
use crate::{DType, Element, Shape, TensorError, TensorMut, TensorRef, element_count};
use std::fmt;
use std::sync::Arc;

/// Which device a tensor's bytes live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceId {
    /// Host memory.
    Cpu,
    /// Memory of the CUDA device with this ordinal.
    Cuda(u32),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Cpu => f.write_str("cpu"),
            DeviceId::Cuda(i) => write!(f, "cuda:{i}"),
        }
    }
}

/// A reference-counted, dense, row-major tensor whose element type is known at run time.
///
/// Cloning shares the bytes. Reading is by borrowed typed slices:
///
/// ```
/// use unisono_tensor::Tensor;
/// let t = Tensor::from_slice(&[2, 3], &[1f32, 2., 3., 4., 5., 6.])?;
/// assert_eq!(t.shape(), [2, 3]);
/// assert_eq!(t.as_slice::<f32>()?[4], 5.0);
/// assert!(t.as_slice::<i64>().is_err());
/// # Ok::<(), unisono_tensor::TensorError>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    device: DeviceId,
    /// First byte of the tensor within the storage.
    offset: usize,
    storage: Storage,
}

impl Tensor {
    /// A tensor of zeros (or `false`) on the host.
    ///
    /// # Errors
    /// The size overflows or cannot be allocated; strings have no zero and give a type error.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor, TensorError> {
        if dtype == DType::String {
            return Err(TensorError::Type {
                expected: DType::U8,
                actual: DType::String,
            });
        }
        let bytes = byte_count(dtype, shape)?;
        Ok(Tensor {
            dtype,
            shape: Shape::from_slice(shape),
            device: DeviceId::Cpu,
            offset: 0,
            storage: Storage::zeroed(bytes)?,
        })
    }

    /// A tensor with a copy of `data`, whose length must be the product of `shape`.
    pub fn from_slice<T: Element>(shape: &[usize], data: &[T]) -> Result<Tensor, TensorError> {
        check_length(shape, data.len())?;
        let mut tensor = Tensor::zeros(T::DTYPE, shape)?;
        tensor.fill_bytes(bytemuck::cast_slice(data));
        Ok(tensor)
    }

    /// A boolean tensor.
    pub fn from_bools(shape: &[usize], data: &[bool]) -> Result<Tensor, TensorError> {
        let bytes: Vec<u8> = data.iter().map(|&b| u8::from(b)).collect();
        let mut tensor = Tensor::from_slice(shape, &bytes)?;
        tensor.dtype = DType::Bool;
        Ok(tensor)
    }

    /// A scalar: rank 0, one element.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        // One element of at most eight bytes: neither overflow nor a length mismatch is possible, and memory for it
        // is allocated on the same terms as any small Rust value.
        Tensor::from_slice(&[], &[value]).unwrap_or_else(|e| panic!("a scalar needs 64 bytes: {e}"))
    }

    /// A string tensor.
    pub fn from_strings(shape: &[usize], data: Vec<String>) -> Result<Tensor, TensorError> {
        check_length(shape, data.len())?;
        Ok(Tensor {
            dtype: DType::String,
            shape: Shape::from_slice(shape),
            device: DeviceId::Cpu,
            offset: 0,
            storage: Storage::Strings(data.into()),
        })
    }

    /// A tensor with a copy of little-endian `bytes`, aligned.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, TensorError> {
        check_bytes(dtype, shape, bytes.len())?;
        let mut tensor = Tensor::zeros(dtype, shape)?;
        tensor.fill_bytes(bytes);
        Ok(tensor)
    }

    /// A tensor that views `len` bytes at `offset` of memory owned by somebody else, without a copy. The bytes are
    /// little-endian and may be misaligned: [`Tensor::as_slice`] then refuses, [`Tensor::bytes`] does not.
    pub fn from_foreign(
        dtype: DType,
        shape: &[usize],
        owner: Arc<dyn ForeignBytes>,
        offset: usize,
    ) -> Result<Tensor, TensorError> {
        let bytes = byte_count(dtype, shape)?;
        let available = owner.bytes().len();
        let end = offset.checked_add(bytes).filter(|&end| end <= available);
        if end.is_none() || dtype == DType::String {
            let size = dtype.size().max(1);
            return Err(TensorError::Length {
                expected: bytes / size,
                actual: available.saturating_sub(offset) / size,
            });
        }
        Ok(Tensor {
            dtype,
            shape: Shape::from_slice(shape),
            device: DeviceId::Cpu,
            offset,
            storage: Storage::Foreign(owner),
        })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        // Checked when the tensor was made; a plain product could overflow before it meets a zero.
        element_count(&self.shape).unwrap_or(0)
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Where the bytes live.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The first byte within the storage.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The elements as little-endian bytes; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        let len = self.len() * self.dtype.size();
        &self.storage.bytes()[self.offset..][..len]
    }

    /// The elements of a tensor that nobody else shares, for writing; `None` if it is shared, foreign or strings.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let len = self.len() * self.dtype.size();
        let offset = self.offset;
        self.storage.bytes_mut().map(|b| &mut b[offset..][..len])
    }

    /// The elements as a typed slice.
    ///
    /// # Errors
    /// Another type, or foreign bytes that are not aligned for it.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        if !T::matches(self.dtype) {
            return Err(TensorError::Type {
                expected: T::DTYPE,
                actual: self.dtype,
            });
        }
        bytemuck::try_cast_slice(self.bytes())
            .map_err(|_| TensorError::Misaligned { dtype: self.dtype })
    }

    /// The elements as a typed slice for writing; see [`Tensor::bytes_mut`] for when there is none.
    pub fn as_slice_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        if !T::matches(self.dtype) {
            return None;
        }
        self.bytes_mut().map(bytemuck::cast_slice_mut)
    }

    /// The strings of a string tensor.
    pub fn strings(&self) -> Option<&[String]> {
        match &self.storage {
            Storage::Strings(s) => Some(s),
            _ => None,
        }
    }

    /// Is the first byte aligned for the element type?
    pub fn is_aligned(&self) -> bool {
        self.bytes()
            .as_ptr()
            .addr()
            .is_multiple_of(self.dtype.size().max(1))
    }

    /// The same tensor with aligned bytes: itself if they are, else a copy.
    pub fn to_aligned(&self) -> Result<Tensor, TensorError> {
        if self.is_aligned() {
            return Ok(self.clone());
        }
        Tensor::from_bytes(self.dtype, &self.shape, self.bytes())
    }

    /// The same bytes under another shape with as many elements.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Tensor, TensorError> {
        check_length(shape, self.len())?;
        Ok(Tensor {
            shape: Shape::from_slice(shape),
            ..self.clone()
        })
    }

    /// Integers of any width (and booleans) as `i64`; `None` for other types.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        fn read<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
        }
        let b = self.bytes();
        Some(match self.dtype {
            DType::I64 => read(b, i64::from_le_bytes),
            DType::I32 => read(b, |c| i32::from_le_bytes(c).into()),
            DType::I16 => read(b, |c| i16::from_le_bytes(c).into()),
            DType::I8 => read(b, |c| i8::from_le_bytes(c).into()),
            // Shapes and indices never reach 2^63; a value that does becomes negative and is refused downstream.
            DType::U64 => read(b, |c| u64::from_le_bytes(c) as i64),
            DType::U32 => read(b, |c| u32::from_le_bytes(c).into()),
            DType::U16 => read(b, |c| u16::from_le_bytes(c).into()),
            DType::U8 | DType::Bool => read(b, |c: [u8; 1]| c[0].into()),
            _ => return None,
        })
    }

    /// Floats of any width as `f64`; `None` for other types.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        let b = self.bytes();
        Some(match self.dtype {
            DType::F64 => b
                .as_chunks()
                .0
                .iter()
                .map(|c| f64::from_le_bytes(*c))
                .collect(),
            DType::F32 => b
                .as_chunks()
                .0
                .iter()
                .map(|c| f32::from_le_bytes(*c).into())
                .collect(),
            DType::F16 => b
                .as_chunks()
                .0
                .iter()
                .map(|c| half::f16::from_le_bytes(*c).into())
                .collect(),
            DType::BF16 => b
                .as_chunks()
                .0
                .iter()
                .map(|c| half::bf16::from_le_bytes(*c).into())
                .collect(),
            _ => return None,
        })
    }

    /// A view for kernels. Misaligned bytes can then be read as bytes only; see [`Tensor::to_aligned`].
    pub fn view(&self) -> Result<TensorRef<'_>, TensorError> {
        TensorRef::new(self.dtype, &self.shape, self.bytes())
    }

    /// A view for kernels to write to; `None` if the tensor is shared, foreign or strings.
    pub fn view_mut(&mut self) -> Option<TensorMut<'_>> {
        let len = self.len() * self.dtype.size();
        let (dtype, offset) = (self.dtype, self.offset);
        let bytes = self.storage.bytes_mut()?;
        TensorMut::new(dtype, &self.shape, &mut bytes[offset..][..len]).ok()
    }

    fn fill_bytes(&mut self, bytes: &[u8]) {
        if let Some(own) = self.bytes_mut() {
            own.copy_from_slice(bytes);
        }
    }
}

fn byte_count(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    element_count(shape)
        .and_then(|n| n.checked_mul(dtype.size()))
        .filter(|&n| n <= isize::MAX as usize - 64)
        .ok_or_else(|| TensorError::Overflow {
            shape: shape.to_vec(),
        })
}

fn check_length(shape: &[usize], actual: usize) -> Result<(), TensorError> {
    let expected = element_count(shape).ok_or_else(|| TensorError::Overflow {
        shape: shape.to_vec(),
    })?;
    if expected != actual {
        return Err(TensorError::Length { expected, actual });
    }
    Ok(())
}

fn check_bytes(dtype: DType, shape: &[usize], actual: usize) -> Result<(), TensorError> {
    let expected = byte_count(dtype, shape)?;
    if expected != actual {
        let size = dtype.size().max(1);
        return Err(TensorError::Length {
            expected: expected / size,
            actual: actual / size,
        });
    }
    Ok(())
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tensor({} {:?} on {})",
            self.dtype,
            self.shape.as_slice(),
            self.device
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_overflow_beside_a_zero_make_an_empty_tensor() {
        let huge = 1 << (usize::BITS - 2);
        let tensor = Tensor::zeros(DType::F32, &[huge, huge, 0]).unwrap();
        assert_eq!(tensor.len(), 0);
        assert!(tensor.bytes().is_empty());
    }

    #[test]
    fn a_tensor_holds_what_it_was_given_whatever_the_type() {
        let t = Tensor::from_slice(&[2, 2], &[1i64, -2, 3, i64::MIN]).unwrap();
        assert_eq!(t.to_i64s().unwrap(), [1, -2, 3, i64::MIN]);
        assert_eq!(t.to_f64s(), None);
        let t = Tensor::from_bools(&[3], &[true, false, true]).unwrap();
        assert_eq!(
            (t.dtype(), t.as_slice::<u8>().unwrap()),
            (DType::Bool, &[1u8, 0, 1][..])
        );
        let t = Tensor::scalar(half::f16::from_f32(0.5));
        assert_eq!((t.rank(), t.len(), t.to_f64s().unwrap()), (0, 1, vec![0.5]));
        let t = Tensor::from_strings(&[1], vec!["ü".to_owned()]).unwrap();
        assert_eq!(
            (t.strings().unwrap()[0].as_str(), t.bytes().len()),
            ("ü", 0)
        );
    }

    #[test]
    fn every_own_allocation_starts_a_cache_line() {
        for n in [1, 3, 17, 1000] {
            let t = Tensor::zeros(DType::I16, &[n]).unwrap();
            assert_eq!(t.bytes().as_ptr().addr() % crate::storage::ALIGNMENT, 0);
            assert_eq!(t.bytes().len(), 2 * n);
        }
    }

    #[test]
    fn foreign_bytes_are_viewed_where_they_are_and_copied_only_when_misaligned() {
        let owner: Arc<dyn ForeignBytes> = Arc::new((0..64u8).collect::<Vec<u8>>());
        let start = owner.bytes().as_ptr().addr();
        let off = (1..5).find(|o| !(start + o).is_multiple_of(4)).unwrap();
        let t = Tensor::from_foreign(DType::F32, &[4], Arc::clone(&owner), off).unwrap();
        assert_eq!(t.bytes().as_ptr().addr(), start + off, "no copy");
        assert_eq!(
            t.as_slice::<f32>(),
            Err(TensorError::Misaligned { dtype: DType::F32 })
        );
        assert!(t.view().unwrap().as_slice::<f32>().is_err());
        let aligned = t.to_aligned().unwrap();
        assert_eq!(aligned.bytes(), t.bytes());
        assert_eq!(aligned.as_slice::<f32>().unwrap().len(), 4);
    }

    #[test]
    fn sizes_that_lie_are_refused() {
        let owner: Arc<dyn ForeignBytes> = Arc::new(vec![0u8; 16]);
        let huge = [usize::MAX / 2, 3];
        let cases: [(&[usize], usize); 4] = [(&[5], 0), (&[4], 1), (&[1], usize::MAX), (&huge, 0)];
        for (shape, offset) in cases {
            let t = Tensor::from_foreign(DType::F32, shape, Arc::clone(&owner), offset);
            assert!(t.is_err(), "{shape:?} at {offset}");
        }
        assert!(Tensor::from_slice(&[3], &[1f32, 2.0]).is_err());
        assert!(Tensor::zeros(DType::F64, &huge).is_err());
        assert!(
            Tensor::from_slice(&[0, usize::MAX], &[0f32; 0]).is_ok(),
            "no elements at all"
        );
    }

    #[test]
    fn a_shared_tensor_cannot_be_written() {
        let mut t = Tensor::from_slice(&[2], &[1f32, 2.0]).unwrap();
        assert!(t.as_slice_mut::<f32>().is_some());
        let other = t.clone();
        assert!(t.bytes_mut().is_none());
        drop(other);
        assert!(t.bytes_mut().is_some());
        assert!(t.as_slice_mut::<i32>().is_none(), "another type");
    }
}
