//! Page-locked host memory, which the device copies from and to by itself.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::fault;

use super::context::Context;
use super::counts::{add, down, subtract, up};
use super::status::Status;
use super::stream::Stream;
use super::sys;

/// Page-locked bytes. At first they are zero.
pub struct Pinned {
    context: Context,
    pointer: NonNull<u8>,
    address: u64,
    bytes: usize,
}

// SAFETY: it owns its bytes as a `Box<[u8]>` does. What the device does with them is the contract of the queue.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// So many bytes, aligned to a page.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if the system does not give them; else the driver's.
    pub fn new(context: &Context, bytes: usize) -> Result<Pinned, Error> {
        // The driver refuses to give nothing.
        let size = bytes.max(1);
        let mut pointer = ptr::null_mut();
        let _current = context.enter()?;
        let status = match fault!(allocation) {
            true => Status::OUT_OF_MEMORY,
            // SAFETY: writes one pointer, which the drop gives back.
            false => unsafe {
                (context.api().allocate_host)(&mut pointer, size, sys::HOST_PORTABLE_AND_MAPPED)
            },
        };
        if status == Status::OUT_OF_MEMORY {
            let in_use = context.counts().snapshot().pinned_bytes;
            return Err(Error::new(
                ErrorKind::OutOfMemory,
                format!(
                    "{bytes} bytes of page-locked host memory were not given; {in_use} are in use"
                ),
            )
            .with_advice(
                "see `ulimit -l` and free memory, or use fewer lanes or smaller batches",
            ));
        }
        context.judge(
            status,
            format_args!("give {bytes} bytes of page-locked host memory"),
        )?;
        let pointer = NonNull::new(pointer.cast::<u8>()).ok_or_else(|| {
            Status::INVALID_VALUE.error(context.api(), format_args!("give page-locked host memory"))
        })?;
        // SAFETY: so many bytes were given, and nobody else has them.
        unsafe { ptr::write_bytes(pointer.as_ptr(), 0, size) };
        up(&context.counts().pinned_blocks);
        add(&context.counts().pinned_bytes, size as u64);
        let mut pinned = Pinned {
            context: context.clone(),
            pointer,
            address: 0,
            bytes: size,
        };
        let mut address = 0;
        context.call(format_args!("map page-locked host memory"), |api| {
            // SAFETY: the memory is alive and mapped; writes one address.
            unsafe { (api.device_address)(&mut address, pointer.as_ptr().cast(), 0) }
        })?;
        pinned.address = address;
        pinned.bytes = bytes;
        Ok(pinned)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where kernels on the device find the bytes.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are owned and initialised; the device writes none meanwhile, by the contract of the queue.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.bytes) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.bytes) }
    }

    /// The start of a range that lies in it.
    pub(super) fn range(&self, offset: usize, bytes: usize) -> Result<*mut u8, Error> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes);
        if end.is_none() {
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "a copy of {bytes} bytes at {offset} does not lie in {} page-locked ones",
                    self.bytes
                ),
            ));
        }
        // SAFETY: the offset lies in the allocation.
        Ok(unsafe { self.pointer.as_ptr().add(offset) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context
            .release(format_args!("take page-locked host memory back"), |api| {
                // SAFETY: made by `new`, and not used after this.
                unsafe { (api.free_host)(self.pointer.as_ptr().cast()) }
            });
        down(&self.context.counts().pinned_blocks);
        subtract(
            &self.context.counts().pinned_bytes,
            self.bytes.max(1) as u64,
        );
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} bytes)", self.bytes)
    }
}

/// A word of page-locked memory that a stream writes and the host looks at: the fastest way to learn that a stream is done.
#[derive(Debug)]
pub struct Word(Pinned);

impl Word {
    /// A word of 0.
    ///
    /// # Errors
    /// As [`Pinned::new`].
    pub fn new(context: &Context) -> Result<Word, Error> {
        Ok(Word(Pinned::new(context, size_of::<u32>())?))
    }

    /// Where the device finds it.
    pub fn address(&self) -> u64 {
        self.0.address
    }

    fn cell(&self) -> &AtomicU32 {
        // SAFETY: four bytes, aligned to a page, that are only looked at as an atomic here.
        unsafe { AtomicU32::from_ptr(self.0.pointer.as_ptr().cast()) }
    }

    /// Lets it hold `value`. Nothing that writes it is under way.
    pub fn set(&self, value: u32) {
        // Release: who writes it on the device is launched after this.
        self.cell().store(value, Ordering::Release);
    }

    /// What it holds.
    pub fn get(&self) -> u32 {
        // Acquire: what the device wrote before it is to be seen by who reads after this.
        self.cell().load(Ordering::Acquire)
    }

    /// Waits until it holds `value`, which the stream writes behind what is waited for: looks for at most `spin`, and lets
    /// others have the core now and then, then sleeps until the stream is done.
    ///
    /// # Errors
    /// Those of what is in the stream.
    pub fn wait(&self, value: u32, stream: &Stream, spin: Duration) -> Result<(), Error> {
        /// How often the word is looked at before the clock and the driver are: an error never writes it.
        const LOOKS: u32 = 256;
        let begin = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if self.get() == value {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
            if begin.elapsed() >= spin {
                return stream.synchronize();
            }
            // Leaders hold a good part of the cores, and who has just been woken may be waiting for one.
            std::thread::yield_now();
        }
    }
}
