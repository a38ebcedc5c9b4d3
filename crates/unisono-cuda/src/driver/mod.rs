//! The only module that talks to the CUDA driver.
//!
//! The one idea: every status is read, and becomes an [`Error`](unisono_runtime::Error) with the driver's own name for it, what
//! was being done, and what to do. An error after which the driver answers nothing more is kept: every later call gets it again, at
//! once. What is made is counted ([`Counts`]) and is unmade by its drop, which never panics; what goes wrong there is kept as well.
//!
//! # The contract of the queue
//!
//! What is put into a stream runs later, on addresses that the driver takes on trust. So whatever enqueues is `unsafe`, and its
//! caller promises all of this:
//!
//! - Addresses lie in [`DeviceMemory`] or [`Pinned`] memory with room for what is read or written there.
//! - That memory lives, and nobody else touches it, until the stream has been waited for ([`Stream::synchronize`], an
//!   [`Event`] behind it, a [`Word`] behind it).
//! - For graphs the same holds from the first launch to the wait for the last.
//!
//! The driver's library is looked for when somebody asks for a device, never linked, and never unloaded. It must never be needed
//! to build, test or run anything else. It is called through a table of exactly the functions that are used: the generated
//! bindings of `cudarc` panic where a library or a symbol is missing, and hold a status in an enum, which is undefined
//! behaviour for a status that a newer driver adds.

mod allowance;
mod context;
mod counts;
mod early;
mod event;
#[cfg(test)]
pub(crate) mod fake;
mod graph;
mod kernels;
mod library;
mod memory;
mod module;
mod pinned;
pub mod pool;
mod properties;
pub mod ptx;
pub(crate) mod status;
mod stream;
mod sys;
#[cfg(test)]
mod tests;

pub use context::{Context, Current};
pub use counts::{Counts, Snapshot};
pub use event::{Event, Timing};
pub use graph::{Graph, GraphExec};
pub use kernels::{Kernels, Source};
pub use library::{Driver, OLDEST_DRIVER, Version};
pub use memory::{DeviceMemory, DevicePool, MemoryInfo};
pub use module::{Function, Module};
pub use pinned::{Pinned, Word};
pub use pool::PoolStats;
pub use properties::{LOWEST_CAPABILITY, Properties};
#[cfg(test)]
pub(crate) use status::Status;
pub use stream::Stream;
