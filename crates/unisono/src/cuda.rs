//! CUDA devices, seen from outside. All of it is here in every build; one without the feature `cuda` says so when asked.

use std::time::Duration;

use unisono_runtime::Error;
#[cfg(not(feature = "cuda"))]
use unisono_runtime::ErrorKind;
use unisono_tensor::DeviceId;

use crate::device::Device;

/// A CUDA device of this machine, for lists; made by [`Device::list_cuda`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaInfo {
    /// The name under which it can be had: `cuda:0`.
    pub id: DeviceId,
    /// The hardware's own name.
    pub name: String,
    /// Multiprocessors.
    pub processors: u32,
    /// Its compute capability: `sm_90`.
    pub architecture: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Does it correct errors of its memory?
    pub ecc: bool,
    /// Its identity: `GPU-1b2c…`.
    pub uuid: String,
    /// The newest CUDA that the driver is for: `12.4`.
    pub driver: String,
}

/// Settings of a CUDA device; made by [`Device::cuda_builder`].
///
/// None of them can change a bit of an answer.
#[derive(Clone, Debug)]
#[must_use]
pub struct CudaBuilder {
    index: usize,
    memory_limit: Option<u64>,
    lanes: Option<usize>,
    spin: Option<Duration>,
    max_bucket_rows: Option<usize>,
    arena_limit: Option<usize>,
}

impl Device {
    /// A CUDA device, by its number in the driver's order.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device): there is no driver, no such device, it is too old, or this build has no
    /// CUDA. The message says which, and what there is.
    pub fn cuda(index: usize) -> Result<Device, Error> {
        Device::cuda_builder(index).build()
    }

    /// A CUDA device with settings.
    pub fn cuda_builder(index: usize) -> CudaBuilder {
        CudaBuilder {
            index,
            memory_limit: None,
            lanes: None,
            spin: None,
            max_bucket_rows: None,
            arena_limit: None,
        }
    }

    /// The CUDA devices of this machine, whether or not they can be used.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device): there is no driver, it does not work, or this build has no CUDA.
    pub fn list_cuda() -> Result<Vec<CudaInfo>, Error> {
        list()
    }
}

impl CudaBuilder {
    /// The most bytes of device memory that may be used, for weights, intermediate values and all; a request or model that
    /// needs more is refused with [`ErrorKind::Limit`](crate::ErrorKind::Limit). Default: 90 % of what the device has.
    pub fn memory_limit(mut self, bytes: u64) -> CudaBuilder {
        self.memory_limit = Some(bytes);
        self
    }

    /// Batches in flight at once. Default: 6. A session has at most one for every 3 of its callers and for every 2 cores, but 2 in any case,
    /// so that one is copied while the other is computed. Each lane that is used has memory for a batch, on the device and page-locked, and
    /// captured graphs.
    pub fn lanes(mut self, lanes: usize) -> CudaBuilder {
        self.lanes = Some(lanes);
        self
    }

    /// How long a thread looks whether its batch is done before it sleeps. Zero is allowed. Default: 200 µs.
    pub fn spin(mut self, spin: Duration) -> CudaBuilder {
        self.spin = Some(spin);
        self
    }

    /// The most rows for which several requests run together; a larger batch runs in pieces, cut between requests. A single request with more rows
    /// runs as a whole. Default: 1,024.
    pub fn max_bucket_rows(mut self, rows: usize) -> CudaBuilder {
        self.max_bucket_rows = Some(rows);
        self
    }

    /// How many bytes of intermediate values one run may need; a request that needs more is refused with
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit). Default: 4 GiB.
    pub fn arena_limit(mut self, bytes: usize) -> CudaBuilder {
        self.arena_limit = Some(bytes);
        self
    }

    /// Makes the device.
    ///
    /// # Errors
    /// As [`Device::cuda`]; a setting makes no sense.
    pub fn build(self) -> Result<Device, Error> {
        build(&self)
    }
}

#[cfg(feature = "cuda")]
fn build(settings: &CudaBuilder) -> Result<Device, Error> {
    let mut options = unisono_cuda::CudaOptions::default();
    options.index = settings.index;
    options.memory_limit = settings.memory_limit;
    options.lanes = settings.lanes.unwrap_or(options.lanes);
    options.spin = settings.spin.unwrap_or(options.spin);
    options.max_bucket_rows = settings.max_bucket_rows.unwrap_or(options.max_bucket_rows);
    options.arena_limit = settings.arena_limit.unwrap_or(options.arena_limit);
    unisono_cuda::device(&options).map(Device)
}

#[cfg(feature = "cuda")]
fn list() -> Result<Vec<CudaInfo>, Error> {
    let info = |device: &unisono_cuda::driver::Properties| CudaInfo {
        id: DeviceId::Cuda(u32::try_from(device.index).unwrap_or(u32::MAX)),
        name: device.name.clone(),
        processors: device.processors,
        architecture: device.architecture(),
        memory_bytes: device.memory_bytes,
        ecc: device.ecc,
        uuid: device.uuid_text(),
        driver: device.driver.to_string(),
    };
    Ok(unisono_cuda::devices()?.iter().map(info).collect())
}

#[cfg(not(feature = "cuda"))]
fn build(settings: &CudaBuilder) -> Result<Device, Error> {
    Err(left_out(&format!("\"cuda:{}\"", settings.index)))
}

#[cfg(not(feature = "cuda"))]
fn list() -> Result<Vec<CudaInfo>, Error> {
    Err(left_out("CUDA"))
}

#[cfg(not(feature = "cuda"))]
fn left_out(what: &str) -> Error {
    Error::new(
        ErrorKind::Device,
        format!("{what} is not in this build, which has the CPU alone"),
    )
    .with_advice("use \"cpu\", or build with the Cargo feature `cuda`")
}
