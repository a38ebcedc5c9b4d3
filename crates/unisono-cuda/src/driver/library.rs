//! Finding the driver, and what it says of itself and of its devices.

use std::ffi::c_int;
use std::fmt;
use std::sync::OnceLock;

use libloading::Library;
use unisono_runtime::{Error, ErrorKind};

use super::properties::{LOWEST_CAPABILITY, Properties};
use super::status::Status;
use super::sys::Api;

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 12 of 12.4.
    pub major: u32,
    /// The 4 of 12.4.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The oldest driver that can be used: that of the first CUDA 12.
pub const OLDEST_DRIVER: Version = Version {
    major: 12,
    minor: 0,
};

/// Under which names the driver's library is looked for.
const LIBRARY_NAMES: &[&str] = if cfg!(windows) {
    &["nvcuda.dll"]
} else if cfg!(target_os = "macos") {
    // The last driver for macOS was one for CUDA 10.
    &[]
} else {
    &["libcuda.so.1", "libcuda.so"]
};

/// The CUDA driver of this machine.
pub struct Driver {
    api: Api,
    version: Version,
}

impl Driver {
    /// The driver. It is looked for once; what comes of it holds for the process.
    ///
    /// # Errors
    /// There is none, it is too old, or it does not work. Kind [`ErrorKind::Device`].
    pub fn load() -> Result<&'static Driver, Error> {
        static DRIVER: OnceLock<Result<Driver, Error>> = OnceLock::new();
        let found = DRIVER.get_or_init(|| find(LIBRARY_NAMES).and_then(Driver::new));
        found.as_ref().map_err(Clone::clone)
    }

    /// The driver behind these functions.
    pub(crate) fn new(api: Api) -> Result<Driver, Error> {
        let mut number: c_int = 0;
        // SAFETY: writes one number. It may be asked before everything else.
        let status = unsafe { (api.driver_version)(&mut number) };
        if status != Status::SUCCESS {
            return Err(status.error(&api, format_args!("tell its version")));
        }
        // 12040 is 12.4.
        let number = u32::try_from(number).unwrap_or(0);
        let version = Version {
            major: number / 1000,
            minor: number % 1000 / 10,
        };
        if version < OLDEST_DRIVER {
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "the CUDA driver is one for CUDA {version}; {OLDEST_DRIVER} or later is needed"
                ),
            )
            .with_advice("install a newer driver, or use \"cpu\""));
        }
        // SAFETY: the driver's own beginning; it may be called more than once, from any thread.
        let status = unsafe { (api.init)(0) };
        if status != Status::SUCCESS {
            return Err(status.error(&api, format_args!("start")));
        }
        Ok(Driver { api, version })
    }

    /// The newest CUDA that it is for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many devices it shows.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn device_count(&self) -> Result<usize, Error> {
        let mut count: c_int = 0;
        // SAFETY: writes one number.
        let status = unsafe { (self.api.device_count)(&mut count) };
        self.check(status, format_args!("count the devices"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// All devices that it shows, whether or not they can be used.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn devices(&self) -> Result<Vec<Properties>, Error> {
        (0..self.device_count()?)
            .map(|index| Properties::of(self, index))
            .collect()
    }

    /// What device number `index` is, if it can be used.
    ///
    /// # Errors
    /// There is no such device (the message lists those that there are), or it is too old.
    pub fn usable_device(&self, index: usize) -> Result<Properties, Error> {
        let devices = self.devices()?;
        let Some(device) = devices.get(index) else {
            return Err(self.no_such_device(index, &devices));
        };
        if device.capability < LOWEST_CAPABILITY {
            let ((major, minor), (lowest, _)) = (device.capability, LOWEST_CAPABILITY);
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "cuda:{index}, {}, has compute capability {major}.{minor}; {lowest}.0 or later is needed",
                    device.name
                ),
            )
            .with_advice("use a device of NVIDIA's Ampere generation or later, or \"cpu\""));
        }
        Ok(device.clone())
    }

    fn no_such_device(&self, index: usize, devices: &[Properties]) -> Error {
        if devices.is_empty() {
            return Status::NO_DEVICE.error(&self.api, format_args!("find a device"));
        }
        let list: Vec<String> = devices
            .iter()
            .map(|device| format!("cuda:{}, {}", device.index, device.name))
            .collect();
        Error::new(
            ErrorKind::Device,
            format!(
                "there is no device cuda:{index}; there is {}",
                list.join("; ")
            ),
        )
        .with_advice("choose one of these, or see what CUDA_VISIBLE_DEVICES hides")
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// The error of a status that belongs to no context.
    pub(crate) fn check(&self, status: Status, doing: fmt::Arguments<'_>) -> Result<(), Error> {
        match status {
            Status::SUCCESS => Ok(()),
            other => Err(other.error(&self.api, doing)),
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Loads the driver's library for the life of the process.
fn find(names: &[&str]) -> Result<Api, Error> {
    let mut tried = Vec::new();
    for name in names {
        // SAFETY: the library has its name from NVIDIA's driver, whose initialisers are made to run in any process.
        let library = match unsafe { Library::new(*name) } {
            Ok(library) => library,
            Err(error) => {
                // What the system says stands below.
                let said = std::error::Error::source(&error).map(ToString::to_string);
                let said = said.unwrap_or_else(|| error.to_string());
                // It often names the file itself.
                tried.push(match said.contains(name) {
                    true => said,
                    false => format!("{name}: {said}"),
                });
                continue;
            }
        };
        let api = Api::of(&library).map_err(|symbol| {
            Error::new(
                ErrorKind::Device,
                format!("the CUDA driver ({name}) lacks the function {symbol}; CUDA {OLDEST_DRIVER} or later is needed"),
            )
            .with_advice("install a newer driver, or use \"cpu\"")
        });
        // Its threads and handlers stay, so must its code.
        std::mem::forget(library);
        return api;
    }
    let message = if names.is_empty() {
        "there is no CUDA driver for this operating system".to_owned()
    } else {
        format!("there is no CUDA driver here ({})", tried.join("; "))
    };
    Err(Error::new(ErrorKind::Device, message)
        .with_advice("install NVIDIA's driver on a machine with one of its GPUs, or use \"cpu\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error_that_names_what_was_looked_for() {
        let error = find(&["surely-no-such-library.so.1", "nor-this-one.so"])
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Device);
        for name in ["surely-no-such-library.so.1", "nor-this-one.so"] {
            assert!(error.message().contains(name), "{error}");
        }
        assert!(
            error
                .advice()
                .is_some_and(|advice| advice.contains("\"cpu\""))
        );
        let error = find(&[]).err().unwrap();
        assert!(error.message().contains("this operating system"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_that_is_no_driver_is_an_error_that_names_a_function_it_lacks() {
        let error = find(&["libc.so.6"]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.message().contains("cuInit"), "{error}");
    }
}
