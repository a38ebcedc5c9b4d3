//! Device memory: from the driver through a bounded pool.

use std::fmt;
use std::sync::Arc;

use unisono_runtime::{Error, ErrorKind};

use super::context::Context;
use super::counts::{add, down, subtract, up};
use super::pool::{Backing, Block, Pool, PoolStats};
use super::status::Status;

/// How much memory the device has, and how much of it nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Bytes that nobody uses, whichever process.
    pub free: u64,
    /// All.
    pub total: u64,
}

impl Context {
    /// The state of the device's memory.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<MemoryInfo, Error> {
        let (mut free, mut total) = (0, 0);
        self.call(format_args!("tell how much memory is free"), |api| {
            // SAFETY: writes two numbers.
            unsafe { (api.memory_info)(&mut free, &mut total) }
        })?;
        Ok(MemoryInfo {
            free: free as u64,
            total: total as u64,
        })
    }
}

impl Backing for Context {
    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        let mut address = 0;
        let current = self.enter()?;
        // SAFETY: writes one address, which the pool gives back.
        let status = unsafe { (self.api().allocate)(&mut address, bytes) };
        drop(current);
        if status == Status::OUT_OF_MEMORY {
            let in_use = self.counts().snapshot().device_bytes;
            let state = self.memory()?;
            return Err(Error::new(
                ErrorKind::OutOfMemory,
                format!(
                    "the device did not give {bytes} bytes: {} of its {} are free, {in_use} are in use here",
                    state.free, state.total
                ),
            )
            .with_advice("use smaller batches or fewer lanes, or end other programs on the device"));
        }
        self.judge(status, format_args!("give {bytes} bytes of device memory"))?;
        up(&self.counts().device_blocks);
        add(&self.counts().device_bytes, bytes as u64);
        Ok(address)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.release(format_args!("take device memory back"), |api| {
            // SAFETY: the pool gives back what it got, once.
            unsafe { (api.free)(address) }
        });
        down(&self.counts().device_blocks);
        subtract(&self.counts().device_bytes, bytes as u64);
    }
}

/// The pool that all memory of a device comes from. Cheap to clone.
#[derive(Clone)]
pub struct DevicePool(Arc<Pool<Context>>);

impl DevicePool {
    /// What is left to others if nobody says how much may be used: one part in so many.
    const LEFT_TO_OTHERS: u64 = 10;

    /// A pool of at most `limit` bytes; without a limit, 90 % of the device's.
    pub fn new(context: &Context, limit: Option<u64>) -> DevicePool {
        let all = context.properties().memory_bytes;
        let limit = limit.unwrap_or(all - all / DevicePool::LEFT_TO_OTHERS);
        DevicePool(Pool::new(context.clone(), limit))
    }

    /// So many bytes, aligned to 256. They hold anything.
    ///
    /// Before they are dropped, what uses them has been waited for: they may be given to the next who asks.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if that is more than the pool may have, [`ErrorKind::OutOfMemory`] if the device has no more.
    pub fn allocate(&self, bytes: usize) -> Result<DeviceMemory, Error> {
        Ok(DeviceMemory(self.0.allocate(bytes)?))
    }

    /// What it holds.
    pub fn stats(&self) -> PoolStats {
        self.0.stats()
    }

    /// Gives the driver back what nobody uses, and says how many bytes.
    pub fn trim(&self) -> u64 {
        self.0.trim()
    }

    /// The context that the memory is in.
    pub fn context(&self) -> &Context {
        self.0.backing()
    }
}

impl fmt::Debug for DevicePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DevicePool").field(&self.stats()).finish()
    }
}

/// Bytes on the device; its drop gives them back to the pool.
pub struct DeviceMemory(Block<Context>);

impl DeviceMemory {
    /// Where they are.
    pub fn address(&self) -> u64 {
        self.0.address()
    }

    /// How many there are: at least as many as were asked for.
    pub fn len(&self) -> usize {
        self.0.bytes()
    }

    /// Are there none? Never: a block has room even where nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DeviceMemory({:#x}, {} bytes)",
            self.address(),
            self.len()
        )
    }
}
