//! A module: PTX that the driver has compiled for its device.

use std::ffi::{CString, c_int, c_uint, c_void};
use std::fmt;
use std::ptr;

use unisono_runtime::{Error, ErrorKind};

use super::allowance::Allowance;
use super::context::Context;
use super::counts::{down, up};
use super::status::Status;
use super::sys::{Handle, function_attribute, jit};

/// A module on a device.
pub struct Module {
    context: Context,
    name: &'static str,
    raw: Handle,
}

// SAFETY: the driver's modules may be used from all threads; the handle is never looked into here.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Room for what the compiler says.
    const LOG_BYTES: usize = 8 << 10;

    /// Lets the driver compile PTX. `name` stands in errors.
    ///
    /// # Errors
    /// The driver cannot; with what its compiler says.
    pub fn load(context: &Context, name: &'static str, ptx: &str) -> Result<Module, Error> {
        let text = CString::new(ptx).map_err(|_| {
            Error::new(
                ErrorKind::Device,
                format!("the PTX of {name} has a zero in it"),
            )
        })?;
        let mut log = vec![0u8; Module::LOG_BYTES];
        let mut options: [c_int; 2] = [jit::ERROR_LOG, jit::ERROR_LOG_BYTES];
        // The driver takes numbers as pointers.
        let mut values: [*mut c_void; 2] = [
            log.as_mut_ptr().cast(),
            ptr::without_provenance_mut(Module::LOG_BYTES),
        ];
        let mut raw = ptr::null_mut();
        let _current = context.enter()?;
        // SAFETY: the text ends with a zero; there are as many options as values; the log has the size that is told.
        let status = unsafe {
            (context.api().load_module)(
                &mut raw,
                text.as_ptr().cast(),
                options.len() as c_uint,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        if status != Status::SUCCESS {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[..end]);
            let said: Vec<&str> = said
                .lines()
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .collect();
            return context
                .judge(
                    status,
                    format_args!("compile the kernels of {name} [{}]", said.join(" | ")),
                )
                .and(Err(Error::new(ErrorKind::Device, "no module")));
        }
        up(&context.counts().modules);
        Ok(Module {
            context: context.clone(),
            name,
            raw,
        })
    }

    /// One of its kernels.
    ///
    /// # Errors
    /// It has none of this name.
    pub fn function(&self, kernel: &str) -> Result<Function, Error> {
        let text = CString::new(kernel).unwrap_or_default();
        let mut raw = ptr::null_mut();
        self.context.call(
            format_args!("find kernel {kernel} in {}", self.name),
            |api| {
                // SAFETY: the name ends with a zero; writes one handle, which lives as long as the module.
                unsafe { (api.function)(&mut raw, self.raw, text.as_ptr()) }
            },
        )?;
        let mut registers: c_int = 0;
        // Where modules are loaded lazily, this is what loads the kernel: a capture must not be the first to need it.
        self.context
            .call(format_args!("load kernel {kernel}"), |api| {
                // SAFETY: the handle is alive; writes one number.
                unsafe {
                    (api.function_attribute)(&mut registers, function_attribute::REGISTERS, raw)
                }
            })?;
        Ok(Function {
            raw,
            registers: u32::try_from(registers).unwrap_or(0),
            shared: Allowance::new(Function::SHARED_WITHOUT_ASKING),
        })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.context.release(format_args!("unload kernels"), |api| {
            // SAFETY: made by `load`; functions do not outlive it, by `Kernels`.
            unsafe { (api.unload_module)(self.raw) }
        });
        down(&self.context.counts().modules);
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.name)
    }
}

/// A kernel of a [`Module`], good for as long as that lives.
pub struct Function {
    raw: Handle,
    registers: u32,
    /// The most dynamic shared memory that it may be launched with so far.
    shared: Allowance,
}

// SAFETY: the driver's functions may be used from all threads; the handle is never looked into here.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    /// So many bytes of dynamic shared memory a kernel may have by itself.
    const SHARED_WITHOUT_ASKING: u32 = 48 << 10;

    /// Registers of a thread.
    pub fn registers(&self) -> u32 {
        self.registers
    }

    pub(super) fn raw(&self) -> Handle {
        self.raw
    }

    /// Lets it be launched with so much dynamic shared memory.
    pub(super) fn allow_shared(
        &self,
        context: &Context,
        kernel: &str,
        bytes: u32,
    ) -> Result<(), Error> {
        let most = context.properties().shared_bytes;
        if bytes > most {
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "kernel {kernel} wants {bytes} bytes of shared memory; a block has {most} on {}",
                    context.properties().name
                ),
            ));
        }
        self.shared.at_least(bytes, || {
            context.call(
                format_args!("give kernel {kernel} {bytes} bytes of shared memory"),
                |api| {
                    // SAFETY: the handle is alive.
                    unsafe {
                        (api.set_function_attribute)(
                            self.raw,
                            function_attribute::LARGEST_DYNAMIC_SHARED_MEMORY,
                            c_int::try_from(bytes).unwrap_or(c_int::MAX),
                        )
                    }
                },
            )
        })
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({} registers)", self.registers)
    }
}
