//! Where a tensor's bytes live.

use crate::{TensorError, fault};
use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Alignment of every allocation of ours, in bytes: a cache line, and one AVX-512 register.
pub const ALIGNMENT: usize = 64;

/// One unit of aligned storage.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; ALIGNMENT]);

// SAFETY: `Line` is an array of 64 bytes, for which the all-zero pattern is a value.
unsafe impl Zeroable for Line {}
// SAFETY: `Line` is `repr(C)`, as large as its alignment, holds only `u8`: no padding, no invalid bit pattern.
unsafe impl Pod for Line {}

/// Bytes that belong to somebody else and outlive every tensor that views them through an `Arc` of this.
///
/// The slice must be the same at every call: same address, same length.
pub trait ForeignBytes: Send + Sync + 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];

    /// This part of the bytes is not likely to be read again soon. An owner that can have them back from where they came from may
    /// give up the memory that they take; whoever reads them after all must find them unchanged, also if they are read meanwhile.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }
}

impl ForeignBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

#[derive(Clone)]
pub(crate) enum Storage {
    /// Our own aligned allocation. `Box<[Line]>` so that `Arc::get_mut` gives unique access to it.
    Owned(Arc<Box<[Line]>>),
    Foreign(Arc<dyn ForeignBytes>),
    Strings(Arc<[String]>),
}

impl Storage {
    /// An aligned, zeroed allocation; an error, not an abort, when there is no memory.
    pub(crate) fn zeroed(bytes: usize) -> Result<Storage, TensorError> {
        if fault!(allocation) {
            return Err(TensorError::OutOfMemory { bytes });
        }
        let lines = bytes.div_ceil(ALIGNMENT);
        let owned = bytemuck::allocation::try_zeroed_slice_box::<Line>(lines)
            .map_err(|()| TensorError::OutOfMemory { bytes })?;
        Ok(Storage::Owned(Arc::new(owned)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Storage::Owned(lines) => bytemuck::cast_slice(lines),
            Storage::Foreign(owner) => owner.bytes(),
            Storage::Strings(_) => &[],
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Storage::Owned(lines) => Arc::get_mut(lines).map(|l| bytemuck::cast_slice_mut(l)),
            Storage::Foreign(_) | Storage::Strings(_) => None,
        }
    }
}

/// A file mapped read-only into memory: the home of a model's weights.
///
/// The file must not be changed or truncated while it is mapped. Replacing it by renaming another file over it is
/// fine, since the map keeps the old one. A truncated file makes later reads fail with `SIGBUS`, against which no
/// process can defend a map; where that is a danger, read the file into memory instead.
pub struct MappedFile {
    map: memmap2::Mmap,
    /// `None` where files cannot be told apart.
    version: Option<FileVersion>,
}

/// Which file, and which state of it: its place (device and number), its length, and when its bytes and its entry last
/// changed, each in seconds and nanoseconds. As long as the file is mapped, no other file can get its number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    place: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileVersion {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Option<FileVersion> {
        use std::os::unix::fs::MetadataExt;
        Some(FileVersion {
            place: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<FileVersion> {
        None
    }
}

impl MappedFile {
    /// Maps the whole file. An empty file gives an empty slice.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        // SAFETY: the map is private to this value and read-only. That no other process changes the file's bytes
        // under us is a documented requirement on the user; all readers treat the contents as hostile anyway, and
        // only ever copy scalars out or read them as plain numbers, for which every bit pattern is valid.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(MappedFile {
            map,
            version: FileVersion::of(&metadata),
        })
    }

    /// Whether the file at `path` is this one, unchanged since it was mapped. `false` where that cannot be known.
    pub fn is_at(&self, path: &Path) -> bool {
        let there = || FileVersion::of(&path.metadata().ok()?);
        self.version.is_some() && self.version == there()
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("len", &self.map.len())
            .finish_non_exhaustive()
    }
}

impl ForeignBytes for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.map
    }

    #[cfg(unix)]
    fn release(&self, range: Range<usize>) {
        if range.is_empty() || range.end > self.map.len() {
            return;
        }
        // All of it, not the range alone: the system keeps files in pieces of up to megabytes, and who reads a byte may get the whole
        // piece, so that the next weight's first byte would bring this one back. Who needs another part finds it again in no time.
        // SAFETY: nothing can write to the map, so none of its pages differs from the file: one that is taken out of memory comes
        // back from the file with the same bytes when it is next read, by whichever thread. (What this advice would destroy are pages
        // that were written to.)
        let released = unsafe {
            self.map
                .unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        };
        // Refused for memory that is locked, for example. Then it stays.
        let _ = released;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_file_is_known_again_until_it_is_changed_or_replaced() {
        let folder = std::env::temp_dir();
        let name = |what| folder.join(format!("unisono-{what}-{}.bin", std::process::id()));
        let (path, other) = (name("known"), name("other"));
        let write = |path: &Path, byte: u8| std::fs::write(path, [byte; 100]).unwrap();
        write(&path, 1);
        let file = MappedFile::open(&path).unwrap();
        assert!(file.is_at(&path) && !file.is_at(&other));
        // The same bytes and the same length, and yet another file.
        write(&other, 1);
        assert!(!file.is_at(&other));
        std::fs::rename(&other, &path).unwrap();
        assert!(!file.is_at(&path) && file.bytes() == [1; 100]);

        let file = MappedFile::open(&path).unwrap();
        let earlier = std::time::SystemTime::UNIX_EPOCH;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(earlier)
            .unwrap();
        assert!(!file.is_at(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!file.is_at(&path));
    }
}
