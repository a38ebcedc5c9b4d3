//! Reading a weight for the last time: to pack it, or to copy it to where it is aligned.
//!
//! The one idea: what is read once leaves nothing behind. Pages of a mapped file that were read stay in memory until the system
//! needs it, and would make every packed weight count twice. A copy for alignment, were it on the heap, would leave a
//! hole there that the next weight, a little larger, does not fit in; so it has a mapping of its own.

use memmap2::MmapMut;

use crate::storage::Storage;
use crate::{Element, Tensor, TensorError, fault};

/// Copies of at least this many bytes get a mapping of their own; below, a system call costs more than the hole.
const OWN_MAPPING: usize = 64 << 10;

impl Tensor {
    /// Lends the elements, aligned, to `read`, and then [releases](Tensor::release) them.
    ///
    /// ```
    /// use unisono_tensor::Tensor;
    /// let weights = Tensor::from_slice(&[3], &[1f32, 2.0, 3.0])?;
    /// assert_eq!(weights.read_once(|w: &[f32]| w.iter().sum::<f32>())?, 6.0);
    /// # Ok::<(), unisono_tensor::TensorError>(())
    /// ```
    ///
    /// # Errors
    /// Another type; no memory for an aligned copy.
    pub fn read_once<T: Element, R>(&self, read: impl FnOnce(&[T]) -> R) -> Result<R, TensorError> {
        let (dtype, bytes) = (self.dtype(), self.bytes());
        if !T::matches(dtype) {
            return Err(TensorError::Type {
                expected: T::DTYPE,
                actual: dtype,
            });
        }
        let answer = if self.is_aligned() || bytes.len() < OWN_MAPPING {
            read(self.to_aligned()?.as_slice()?)
        } else {
            let out_of_memory = || TensorError::OutOfMemory { bytes: bytes.len() };
            if fault!(allocation) {
                return Err(out_of_memory());
            }
            let mut copy = MmapMut::map_anon(bytes.len()).map_err(|_| out_of_memory())?;
            copy.copy_from_slice(bytes);
            let aligned = bytemuck::try_cast_slice(&copy);
            read(aligned.map_err(|_| TensorError::Misaligned { dtype })?)
        };
        self.release();
        Ok(answer)
    }

    /// Says that the elements are not likely to be read again soon: those in a mapped file give up their place in memory, and come
    /// back from the file when somebody reads them. Changes nothing else.
    pub fn release(&self) {
        if let Storage::Foreign(owner) = self.storage() {
            let start = self.offset();
            owner.release(start..start + self.bytes().len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{DType, ForeignBytes};

    /// Floats at an odd address, and what was released of them.
    struct Odd {
        bytes: Vec<u8>,
        released: Mutex<Vec<Range<usize>>>,
    }

    impl ForeignBytes for Odd {
        fn bytes(&self) -> &[u8] {
            let odd = usize::from(self.bytes.as_ptr().addr().is_multiple_of(2));
            &self.bytes[odd..]
        }

        fn release(&self, range: Range<usize>) {
            self.released.lock().unwrap().push(range);
        }
    }

    #[test]
    fn misaligned_elements_of_any_number_are_lent_aligned_and_then_released() {
        for count in [1, 1000, OWN_MAPPING / 4, OWN_MAPPING] {
            let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let mut bytes = vec![0; 4 * count + 9];
            let odd = usize::from(bytes.as_ptr().addr().is_multiple_of(2));
            bytes[odd + 8..][..4 * count].copy_from_slice(bytemuck::cast_slice(&values));
            let owner = Arc::new(Odd {
                bytes,
                released: Mutex::default(),
            });
            let foreign = Arc::<Odd>::clone(&owner);
            let tensor = Tensor::from_foreign(DType::F32, &[count], foreign, 8).unwrap();
            assert!(!tensor.is_aligned());
            let read = tensor.read_once(|lent: &[f32]| {
                assert!(owner.released.lock().unwrap().is_empty());
                lent.to_vec()
            });
            assert_eq!(read.unwrap(), values);
            let released = owner.released.lock().unwrap();
            assert_eq!(
                released.as_slice(),
                std::slice::from_ref(&(8..8 + 4 * count))
            );
            drop(released);
            assert!(tensor.read_once(|_: &[i64]| ()).is_err());
        }
    }

    /// Bytes of the file that this process has in memory.
    #[cfg(target_os = "linux")]
    fn resident(path: &std::path::Path) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let name = path.to_str().unwrap();
        let of_file = maps.lines().skip_while(|line| !line.ends_with(name));
        let mut sizes = of_file.filter_map(|line| line.strip_prefix("Rss:"));
        let kib = sizes.next().unwrap().trim().trim_end_matches(" kB");
        kib.parse::<usize>().unwrap() << 10
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn released_pages_of_a_mapped_file_leave_memory_and_come_back_unchanged() {
        let name = format!("unisono-released-{}.bin", std::process::id());
        let path = std::env::temp_dir().join(name);
        let bytes: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = Arc::new(crate::MappedFile::open(&path).unwrap());
        let owner = Arc::<crate::MappedFile>::clone(&file);
        let tensor = Tensor::from_foreign(DType::U8, &[bytes.len()], owner, 0).unwrap();
        assert!(tensor.bytes() == bytes);
        assert!(resident(&path) >= bytes.len());
        tensor.release();
        assert_eq!(resident(&path), 0);
        assert!(tensor.bytes() == bytes);
        // Ranges that nobody could have read are no reason to fail.
        file.release(0..usize::MAX);
        file.release(5..5);
        std::fs::remove_file(&path).unwrap();
    }
}
