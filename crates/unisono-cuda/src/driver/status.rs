//! What the driver's statuses mean for those who called.

use std::ffi::{CStr, c_char};
use std::fmt;

use unisono_runtime::{Error, ErrorKind};

use super::sys::Api;

/// What a function of the driver returns. A number, not an enum: drivers add to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub u32);

impl Status {
    pub const SUCCESS: Status = Status(0);
    pub const INVALID_VALUE: Status = Status(1);
    pub const OUT_OF_MEMORY: Status = Status(2);
    pub const NO_DEVICE: Status = Status(100);
    pub const NOT_READY: Status = Status(600);

    /// Is the context dead after it? From then on the driver answers every call with the same status.
    pub fn is_sticky(self) -> bool {
        matches!(
            self.0,
            4       // the driver was shut down
            | 46    // the device is not available any more
            | 201   // no such context
            | 214   // memory error that could not be corrected
            | 220   // the same on NVLink
            | 226   // contained memory error
            | 700   // illegal address
            | 702   // launch timeout
            | 709   // the context was destroyed
            | 710   // assertion on the device
            | 714   // stack error
            | 715   // illegal instruction
            | 716   // misaligned address
            | 717   // invalid address space
            | 718   // invalid program counter
            | 719   // launch failure
            | 810   // the MPS client was ended
            | 999 // unknown
        )
    }

    /// What to do about it.
    fn advice(self) -> Option<&'static str> {
        match self.0 {
            3 => Some(
                "the driver does not work in a forked child of a process that has used it: start the child anew, or let the \
                 child be the first to ask for the device",
            ),
            34 => Some(
                "put the directory of the driver's own library before that of the toolkit's stub",
            ),
            46 => Some("another process has the device for itself; see `nvidia-smi`"),
            100 => Some(
                "see whether `nvidia-smi` lists a device, and what CUDA_VISIBLE_DEVICES says; or use \"cpu\"",
            ),
            214 | 220 | 226 => Some(
                "restart the process; if it comes again, reset or replace the device: `nvidia-smi -q -d ECC` counts such errors",
            ),
            222 => Some("install a driver for CUDA 12.4 or later"),
            802 | 803 => Some(
                "the driver's kernel module and its library do not fit, or it is still starting; restart the machine",
            ),
            805..=809 => Some("see whether the Multi-Process Service runs and has room"),
            _ if self.is_sticky() => Some(
                "restart the process: the driver answers nothing more in this one. A kernel that fails is a bug of ours; \
                 please report it with this message",
            ),
            _ => None,
        }
    }

    /// The error for those who wanted something done.
    pub fn error(self, api: &Api, doing: fmt::Arguments<'_>) -> Error {
        let name = self.word(api.error_name);
        let text = self.word(api.error_text);
        let named = match (name, text) {
            (Some(name), Some(text)) => format!("{name} ({text})"),
            (Some(name), None) => name,
            _ => format!("status {}", self.0),
        };
        let kind = match self {
            Status::OUT_OF_MEMORY => ErrorKind::OutOfMemory,
            _ => ErrorKind::Device,
        };
        let error = Error::new(kind, format!("the CUDA driver could not {doing}: {named}"));
        match self.advice() {
            Some(advice) => error.with_advice(advice),
            None => error,
        }
    }

    fn word(
        self,
        ask: unsafe extern "system" fn(Status, *mut *const c_char) -> Status,
    ) -> Option<String> {
        let mut text = std::ptr::null();
        // SAFETY: the driver writes a pointer, null for a status that it does not know.
        let found = unsafe { ask(self, &mut text) } == Status::SUCCESS && !text.is_null();
        if !found {
            return None;
        }
        // SAFETY: what it points to is a constant of the driver's, with a zero at its end.
        let text = unsafe { CStr::from_ptr(text) };
        Some(text.to_string_lossy().into_owned())
    }
}
