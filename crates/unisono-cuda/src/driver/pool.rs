//! One pool for all memory of a device: bounded, counted, and slow only when it has to ask the driver.
//!
//! The one idea: a block that comes back is kept under its size class and given to the next who wants that class, because the driver
//! takes a thousand times longer and stops the device. What is kept counts against the bound; it goes back to the driver when
//! somebody asks, when the bound is reached, or when the driver has no more.
//!
//! It knows nothing of CUDA: below it is a [`Backing`], in tests a model of memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::fault;

/// Where memory comes from.
pub trait Backing: Send + Sync {
    /// A block of its own, aligned to 256 bytes.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if there is no more; then the pool gives back what it keeps and asks once more.
    fn allocate(&self, bytes: usize) -> Result<u64, Error>;

    /// Takes a block back, with the bytes that were asked for.
    fn free(&self, address: u64, bytes: usize);
}

/// The smallest class, in bytes; every class is a multiple of it.
const SMALLEST: usize = 512;
/// Classes are at most so far apart: the driver itself gives memory in such pieces.
const WIDEST_STEP: usize = 2 << 20;

/// The class of a size: the next multiple of an eighth of its power of two, so that at most one part in eight is wasted.
pub fn class(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(1);
    let step = (1usize << (usize::BITS - 1 - bytes.leading_zeros())) / 8;
    bytes.checked_next_multiple_of(step.clamp(SMALLEST, WIDEST_STEP))
}

/// What a pool holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Blocks that somebody has.
    pub blocks: u64,
    /// Their bytes.
    pub in_use_bytes: u64,
    /// Bytes that nobody has, kept for the next.
    pub kept_bytes: u64,
    /// The most bytes that were ever had from the backing.
    pub peak_bytes: u64,
    /// The most bytes that may be had from it.
    pub limit_bytes: u64,
}

impl PoolStats {
    /// Bytes had from the backing now.
    pub fn held_bytes(&self) -> u64 {
        self.in_use_bytes + self.kept_bytes
    }
}

#[derive(Default)]
struct State {
    stats: PoolStats,
    /// Blocks that nobody has, by class.
    kept: BTreeMap<usize, Vec<u64>>,
}

/// A pool over a backing.
pub struct Pool<B: Backing> {
    backing: B,
    state: Mutex<State>,
}

impl<B: Backing> Pool<B> {
    /// A pool of at most `limit` bytes.
    pub fn new(backing: B, limit: u64) -> Arc<Pool<B>> {
        let state = State {
            stats: PoolStats {
                limit_bytes: limit,
                ..PoolStats::default()
            },
            kept: BTreeMap::new(),
        };
        Arc::new(Pool {
            backing,
            state: Mutex::new(state),
        })
    }

    /// Where its memory comes from.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// What it holds.
    pub fn stats(&self) -> PoolStats {
        self.lock().stats
    }

    /// A block of at least so many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] beyond the bound; the backing's.
    pub fn allocate(self: &Arc<Pool<B>>, bytes: usize) -> Result<Block<B>, Error> {
        if fault!(allocation) {
            return Err(not_given(bytes));
        }
        let mut state = self.lock();
        let class = class(bytes).ok_or_else(|| beyond(bytes, &state.stats))?;
        let address = match state.take(class) {
            Some(address) => address,
            None => self.fetch(&mut state, bytes, class)?,
        };
        state.stats.blocks += 1;
        state.stats.in_use_bytes += class as u64;
        state.stats.peak_bytes = state.stats.peak_bytes.max(state.stats.held_bytes());
        Ok(Block {
            pool: Arc::clone(self),
            address,
            bytes: class,
        })
    }

    /// A block from the backing. The lock is held meanwhile, so that the bound is exact.
    fn fetch(&self, state: &mut State, bytes: usize, class: usize) -> Result<u64, Error> {
        let fits = |stats: &PoolStats| {
            let held = stats.held_bytes().checked_add(class as u64);
            held.is_some_and(|held| held <= stats.limit_bytes)
        };
        if !fits(&state.stats) {
            self.give_back(state);
        }
        if !fits(&state.stats) {
            return Err(beyond(bytes, &state.stats));
        }
        match self.backing.allocate(class) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory && state.stats.kept_bytes > 0 => {
                self.give_back(state);
                self.backing.allocate(class)
            }
            other => other,
        }
    }

    /// Gives the backing what nobody has, and says how many bytes.
    pub fn trim(&self) -> u64 {
        self.give_back(&mut self.lock())
    }

    fn give_back(&self, state: &mut State) -> u64 {
        for (class, addresses) in std::mem::take(&mut state.kept) {
            for address in addresses {
                self.backing.free(address, class);
            }
        }
        std::mem::take(&mut state.stats.kept_bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked below it did so in the backing, before anything was counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, class: usize) -> Option<u64> {
        let addresses = self.kept.get_mut(&class)?;
        let address = addresses.pop()?;
        if addresses.is_empty() {
            self.kept.remove(&class);
        }
        self.stats.kept_bytes -= class as u64;
        Some(address)
    }
}

/// Only on purpose: what the backing says of it is the backing's.
fn not_given(bytes: usize) -> Error {
    Error::new(
        ErrorKind::OutOfMemory,
        format!("{bytes} bytes of device memory were not given"),
    )
}

fn beyond(bytes: usize, stats: &PoolStats) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "{bytes} more bytes of device memory would be beyond the bound of {}; {} are in use",
            stats.limit_bytes, stats.in_use_bytes
        ),
    )
    .with_advice("raise the device's memory limit, or use smaller batches or fewer lanes")
}

impl<B: Backing> Drop for Pool<B> {
    fn drop(&mut self) {
        // Every block holds the pool, so all are kept ones now.
        self.trim();
    }
}

impl<B: Backing> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.stats()).finish()
    }
}

/// A block that somebody has; its drop gives it back to the pool.
pub struct Block<B: Backing> {
    pool: Arc<Pool<B>>,
    address: u64,
    bytes: usize,
}

impl<B: Backing> Block<B> {
    /// Where it is.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How large it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<B: Backing> Drop for Block<B> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.stats.blocks -= 1;
        state.stats.in_use_bytes -= self.bytes as u64;
        state.stats.kept_bytes += self.bytes as u64;
        state.kept.entry(self.bytes).or_default().push(self.address);
    }
}

#[cfg(test)]
mod tests;
