//! Constants on the device: what all programs of a model share.
//!
//! The one idea: whatever is made of a constant (its bytes as they are, packed for a kernel) is made once per model and device,
//! under the value's number in the model and the name of what was made. It lives as long as the model or a program that refers to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use unisono_runtime::Error;

/// Bytes on the device that a program refers to.
pub trait Resident: Send + Sync {
    /// Where they begin.
    fn address(&self) -> u64;

    /// How many there are.
    fn len(&self) -> usize;

    /// Are there none?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts bytes onto the device.
pub trait Upload: Send + Sync {
    /// The bytes, at an address that is a multiple of [`super::ALIGNMENT`].
    fn upload(&self, bytes: &[u8]) -> Result<Arc<dyn Resident>, Error>;
}

/// By value, and by the name of what was made of it.
type Made = HashMap<(usize, &'static str), Arc<dyn Resident>>;

/// The constants of one model.
pub struct Weights {
    device: Arc<dyn Upload>,
    made: Mutex<Made>,
    bytes: AtomicU64,
}

impl Weights {
    /// None yet.
    pub fn new(device: Arc<dyn Upload>) -> Weights {
        Weights {
            device,
            made: Mutex::default(),
            bytes: AtomicU64::new(0),
        }
    }

    /// What `make` makes of value `value`, under the name `key`; made on first use.
    ///
    /// # Errors
    /// Those of `make`; no memory on the device.
    pub fn get(
        &self,
        value: usize,
        key: &'static str,
        make: &mut dyn FnMut() -> Result<Vec<u8>, Error>,
    ) -> Result<Arc<dyn Resident>, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&(value, key)) {
            return Ok(Arc::clone(known));
        }
        // Under the lock: a second program that needs the same weight waits for it instead of packing it too.
        let resident = self.device.upload(&make()?)?;
        // Relaxed: a count that orders nothing.
        self.bytes
            .fetch_add(resident.len() as u64, Ordering::Relaxed);
        made.insert((value, key), Arc::clone(&resident));
        Ok(resident)
    }

    /// Bytes for one program alone.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn own(&self, bytes: &[u8]) -> Result<Arc<dyn Resident>, Error> {
        self.device.upload(bytes)
    }

    /// Bytes on the device, without what programs have for themselves.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
