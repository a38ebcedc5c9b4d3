//! The CPU's lane: memory for one run at a time.

use smallvec::SmallVec;
use unisono_runtime::lane::Lane;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, Shape, Tensor};

use crate::exec::run::RunMemory;

/// A value whose shape was found while running.
#[derive(Debug)]
pub(crate) struct Dynamic {
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) memory: Memory,
}

impl Dynamic {
    /// Makes room for a value of this type and shape.
    pub(crate) fn set(&mut self, dtype: DType, shape: &Shape, limit: usize) -> Result<(), Error> {
        let bytes = unisono_tensor::element_count(shape)
            .and_then(|n| n.checked_mul(dtype.size()))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Limit,
                    format!("the size of shape {shape:?} overflows"),
                )
            })?;
        self.memory.at_least(bytes, limit)?;
        self.dtype = dtype;
        self.shape.clone_from(shape);
        Ok(())
    }

    fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// The value's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[..self.len()]
    }

    /// The first byte, for writing.
    pub(crate) fn start(&mut self) -> *mut u8 {
        self.memory.start()
    }
}

/// Aligned bytes that grow and are kept.
#[derive(Debug, Default)]
pub(crate) struct Memory(Option<Tensor>);

impl Memory {
    /// At least `bytes` bytes, aligned to a cache line. Contents are lost when it grows.
    pub(crate) fn at_least(&mut self, bytes: usize, limit: usize) -> Result<&mut [u8], Error> {
        if bytes > limit {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "the run needs {bytes} bytes for intermediate values, over the limit of {limit}; \
                     raise the device's arena limit or send fewer rows"
                ),
            ));
        }
        // Even of no bytes there must be some memory, for its address: slices of it, empty ones too, are aligned.
        if self.0.is_none() || self.len() < bytes {
            // Free the old one first: both at once may be more than there is.
            self.0 = None;
            self.0 = Some(Tensor::zeros(DType::U8, &[bytes])?);
        }
        Ok(self
            .0
            .as_mut()
            .and_then(Tensor::bytes_mut)
            .unwrap_or_default())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Tensor::len)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Tensor::bytes)
    }

    pub(crate) fn start(&mut self) -> *mut u8 {
        match self.0.as_mut().and_then(Tensor::bytes_mut) {
            Some(bytes) => bytes.as_mut_ptr(),
            // Nothing is read or written through the pointer of an empty memory.
            None => std::ptr::NonNull::<u64>::dangling().as_ptr().cast(),
        }
    }
}

/// A lane of the CPU device.
#[derive(Debug, Default)]
pub struct CpuLane {
    pub(crate) arena: Memory,
    pub(crate) scratch: Memory,
    /// A batch's gathered inputs and its outputs before they are cut apart.
    pub(crate) staging: Memory,
    pub(crate) dynamic: SmallVec<[Dynamic; 4]>,
}

impl CpuLane {
    /// What a run takes of it.
    pub(crate) fn run_memory(&mut self) -> RunMemory<'_> {
        RunMemory {
            arena: &mut self.arena,
            scratch: &mut self.scratch,
            dynamic: &mut self.dynamic,
        }
    }
}

impl Lane for CpuLane {
    fn bytes(&self) -> u64 {
        let dynamic: usize = self.dynamic.iter().map(|d| d.memory.len()).sum();
        (self.arena.len() + self.scratch.len() + self.staging.len() + dynamic) as u64
    }
}
