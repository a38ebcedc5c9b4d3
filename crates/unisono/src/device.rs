//! Where models run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use unisono_cpu::{CpuOptions, Isa};
use unisono_runtime::census::Census;
use unisono_runtime::plan::{DeviceInfo, DeviceMemory};
use unisono_runtime::roofline::Ceilings;
use unisono_runtime::{Error, ErrorKind};

/// A handle to a device. It owns worker threads and memory, which all its sessions share; the last handle (a
/// [`Session`](crate::Session) holds one) ends them. Cheap to clone.
///
/// A program usually makes one and keeps it: two devices on the same cores get in each other's way.
///
/// ```
/// use unisono::Device;
///
/// let device: Device = "cpu".parse()?;
/// assert!(device.info().threads >= 1);
///
/// let quiet = Device::builder().threads(1).build()?;
/// assert_eq!(quiet.info().threads, 1);
///
/// let error = "abacus".parse::<Device>().unwrap_err();
/// assert_eq!(error.kind(), unisono::ErrorKind::Device);
/// # Ok::<(), unisono::Error>(())
/// ```
#[derive(Clone)]
pub struct Device(pub(crate) unisono_runtime::device::Device);

impl Device {
    /// All cores that this process may use, with the widest vector instructions that they have.
    ///
    /// # Errors
    /// Threads or memory for the device cannot be had.
    pub fn cpu() -> Result<Device, Error> {
        Device::builder().build()
    }

    /// The CPU with settings.
    pub fn builder() -> DeviceBuilder {
        DeviceBuilder {
            options: CpuOptions::default(),
            threads: None,
        }
    }

    /// What the device is: its name, threads or multiprocessors, instruction set.
    pub fn info(&self) -> DeviceInfo {
        self.0.info()
    }

    /// What the device holds of memory of its own; `None` for the CPU, whose memory is the process's.
    ///
    /// ```
    /// assert_eq!(unisono::Device::cpu()?.memory(), None);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn memory(&self) -> Option<DeviceMemory> {
        self.0.memory()
    }

    /// Measures what the device can do at best, to set measured speeds beside it: multiply-adds a second, and bytes read a second from
    /// memory and from where `weight_bytes` lie. Takes some tenths of a second, in which nothing else should run on it.
    ///
    /// ```
    /// let ceilings = unisono::Device::cpu()?.ceilings(1 << 20)?;
    /// assert!(ceilings.all_units.best > 0.0);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is not so much memory, or the device failed.
    pub fn ceilings(&self, weight_bytes: usize) -> Result<Ceilings, Error> {
        self.0.ceilings(weight_bytes)
    }

    /// Does the device still work? Some errors of a GPU end it for this process: from then on every call on it ends with the same
    /// one.
    ///
    /// # Errors
    /// That error; its advice says what to do.
    pub fn check(&self) -> Result<(), Error> {
        self.0.check()
    }

    /// How many batches of one session may be in flight at once, where batching pays. Few callers have fewer.
    pub fn batches_in_flight(&self) -> usize {
        self.0.leader_count(usize::MAX)
    }

    /// Exact counts of what was made and unmade on the device: sessions, requests, packed models, plans, lanes.
    pub fn census(&self) -> &Census {
        self.0.census()
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `"cpu"`, `"cuda:0"`, `"cuda:1"`, …, or `"cuda"` for the first of these.
    fn from_str(name: &str) -> Result<Device, Error> {
        let number = match name {
            "cpu" => return Device::cpu(),
            "cuda" => Some(0),
            // Digits alone: `parse` takes a sign as well.
            _ => name
                .strip_prefix("cuda:")
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok()),
        };
        match number {
            Some(index) => Device::cuda(index),
            None => Err(Error::new(
                ErrorKind::Device,
                format!("there is no device \"{}\"", name.escape_debug()),
            )
            .with_advice("use \"cpu\", or \"cuda:0\" for the first CUDA device")),
        }
    }
}

/// Settings of a device; made by [`Device::builder`].
///
/// None of them can change a bit of an answer.
#[derive(Clone, Debug)]
#[must_use]
pub struct DeviceBuilder {
    options: CpuOptions,
    threads: Option<usize>,
}

impl DeviceBuilder {
    /// How many threads compute at once, that of the caller among them. Default: the cores that this process may use.
    pub fn threads(mut self, threads: usize) -> DeviceBuilder {
        self.threads = Some(threads);
        self
    }

    /// Which vector instructions to use. Default: the widest that the machine has.
    pub fn isa(mut self, isa: Isa) -> DeviceBuilder {
        self.options.isa = isa;
        self
    }

    /// How long an idle worker thread looks for new work before it sleeps. Zero is allowed. Default: 200 µs.
    pub fn spin(mut self, spin: Duration) -> DeviceBuilder {
        self.options.spin = spin;
        self
    }

    /// How many bytes of intermediate values one run may need; a request that needs more is refused with
    /// [`ErrorKind::Limit`]. Default: 4 GiB.
    pub fn arena_limit(mut self, bytes: usize) -> DeviceBuilder {
        self.options.arena_limit = bytes;
        self
    }

    /// Makes the device.
    ///
    /// # Errors
    /// No threads were asked for, the machine lacks the instruction set, or threads or memory cannot be had.
    pub fn build(mut self) -> Result<Device, Error> {
        if self.threads == Some(0) {
            return Err(
                Error::new(ErrorKind::Device, "a device needs at least one thread")
                    .with_advice("leave the number of threads out to use all cores"),
            );
        }
        if let Some(threads) = self.threads {
            self.options.threads = threads;
        }
        unisono_cpu::device(&self.options).map(Device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_has_are_refused_with_what_there_is() {
        for name in [
            "",
            "CPU",
            "cpu:0",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:x",
            "cuda:0 ",
            "cuda:1:2",
            "cuda:99999999999999999999999",
            "tpu",
        ] {
            let error = name.parse::<Device>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Device, "{name}");
            assert!(
                error.message().contains("there is no device"),
                "{name}: {error}"
            );
            let advice = error.advice().unwrap_or_default();
            assert!(
                advice.contains("\"cpu\"") && advice.contains("cuda:0"),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn a_cuda_device_that_is_not_there_is_an_error_that_says_what_to_do() {
        // No machine has so many.
        let error = "cuda:4000000000".parse::<Device>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(!error.is_retryable());
        assert!(
            error.to_string().contains("\"cpu\"") || error.message().contains("there is cuda:0"),
            "{error}"
        );
        assert!(error.advice().is_some(), "{error}");
    }
}
