//! Streams: what is put into one runs in order, and beside what is in others.

use std::ffi::c_void;
use std::fmt;
use std::ptr;

use unisono_runtime::Error;

use super::context::Context;
use super::counts::{down, up};
use super::event::Event;
use super::graph::{Graph, GraphExec};
use super::pinned::{Pinned, Word};
use super::status::Status;
use super::sys::{self, Handle};

/// A stream.
pub struct Stream {
    context: Context,
    raw: Handle,
}

// SAFETY: the driver's streams may be used from all threads; the handle is never looked into here.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream that waits for no other.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(context: &Context) -> Result<Stream, Error> {
        let mut raw = ptr::null_mut();
        context.call(format_args!("make a stream"), |api| {
            // SAFETY: writes one handle, which the drop gives back.
            unsafe { (api.create_stream)(&mut raw, sys::STREAM_NON_BLOCKING) }
        })?;
        up(&context.counts().streams);
        Ok(Stream {
            context: context.clone(),
            raw,
        })
    }

    /// The context that it is in.
    pub fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn raw(&self) -> Handle {
        self.raw
    }

    /// Copies page-locked bytes from `offset` on to an address on the device.
    ///
    /// # Safety
    /// [The contract of the queue](super#the-contract-of-the-queue).
    ///
    /// # Errors
    /// The driver's; the range does not lie in `from`.
    pub unsafe fn copy_in(
        &self,
        to: u64,
        from: &Pinned,
        offset: usize,
        bytes: usize,
    ) -> Result<(), Error> {
        let from = from.range(offset, bytes)?;
        self.context
            .call(format_args!("copy {bytes} bytes to the device"), |api| {
                // SAFETY: by the contract.
                unsafe { (api.copy_in)(to, from.cast::<c_void>(), bytes, self.raw) }
            })
    }

    /// Copies from an address on the device to page-locked bytes from `offset` on.
    ///
    /// # Safety
    /// [The contract of the queue](super#the-contract-of-the-queue).
    ///
    /// # Errors
    /// The driver's; the range does not lie in `to`.
    pub unsafe fn copy_out(
        &self,
        to: &Pinned,
        offset: usize,
        from: u64,
        bytes: usize,
    ) -> Result<(), Error> {
        let to = to.range(offset, bytes)?;
        self.context
            .call(format_args!("copy {bytes} bytes from the device"), |api| {
                // SAFETY: by the contract.
                unsafe { (api.copy_out)(to.cast::<c_void>(), from, bytes, self.raw) }
            })
    }

    /// Copies from one address on the device to another. The ranges do not overlap.
    ///
    /// # Safety
    /// [The contract of the queue](super#the-contract-of-the-queue).
    ///
    /// # Errors
    /// The driver's.
    pub unsafe fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        self.context
            .call(format_args!("copy {bytes} bytes on the device"), |api| {
                // SAFETY: by the contract.
                unsafe { (api.copy)(to, from, bytes, self.raw) }
            })
    }

    /// Sets bytes on the device.
    ///
    /// # Safety
    /// [The contract of the queue](super#the-contract-of-the-queue).
    ///
    /// # Errors
    /// The driver's.
    pub unsafe fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<(), Error> {
        self.context
            .call(format_args!("set {bytes} bytes on the device"), |api| {
                // SAFETY: by the contract.
                unsafe { (api.fill)(to, byte, bytes, self.raw) }
            })
    }

    /// Copies ordinary bytes to the device and waits until they are there. For what is done once, such as weights.
    ///
    /// # Safety
    /// Nothing else uses the bytes from `to` on while this runs, and they have room for `from`.
    ///
    /// # Errors
    /// The driver's.
    pub unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<(), Error> {
        let _current = self.context.enter()?;
        if from.is_empty() {
            return Ok(());
        }
        let bytes = from.len();
        self.context
            .call(format_args!("copy {bytes} bytes to the device"), |api| {
                // SAFETY: `from` is borrowed until the stream has been waited for.
                unsafe { (api.copy_in)(to, from.as_ptr().cast(), bytes, self.raw) }
            })?;
        self.synchronize()
    }

    /// Copies bytes of the device into ordinary ones and waits until they are there. For tests and tables.
    ///
    /// # Safety
    /// Nothing else writes the bytes from `from` on while this runs, and there are as many as `to` has.
    ///
    /// # Errors
    /// The driver's.
    pub unsafe fn download(&self, to: &mut [u8], from: u64) -> Result<(), Error> {
        let _current = self.context.enter()?;
        if to.is_empty() {
            return Ok(());
        }
        let bytes = to.len();
        self.context
            .call(format_args!("copy {bytes} bytes from the device"), |api| {
                // SAFETY: `to` is borrowed until the stream has been waited for.
                unsafe { (api.copy_out)(to.as_mut_ptr().cast(), from, bytes, self.raw) }
            })?;
        self.synchronize()
    }

    /// Lets what is enqueued from now on wait for an event that was recorded in another stream.
    ///
    /// # Errors
    /// The driver's.
    pub fn wait_for(&self, event: &Event) -> Result<(), Error> {
        self.context
            .call(format_args!("let a stream wait for another"), |api| {
                // SAFETY: both handles are alive.
                unsafe { (api.wait_for_event)(self.raw, event.raw(), 0) }
            })
    }

    /// Writes a value into a word that the host can look at, when all that was enqueued before has ended and can be seen. Not
    /// while it is captured. Look with [`Word::wait`].
    ///
    /// # Errors
    /// The driver's: some systems cannot do that. Then wait for an event.
    pub fn write_word(&self, word: &Word, value: u32) -> Result<(), Error> {
        self.context
            .call(format_args!("write a word behind a stream"), |api| {
                // SAFETY: the word's memory is mapped, and its drop waits for the stream that it was made for.
                unsafe { (api.write_word)(self.raw, word.address(), value, 0) }
            })
    }

    /// Has everything ended that was enqueued?
    ///
    /// # Errors
    /// The driver's, and those of what was enqueued.
    pub fn is_idle(&self) -> Result<bool, Error> {
        let _current = self.context.enter()?;
        // SAFETY: the handle is alive.
        let status = unsafe { (self.context.api().query_stream)(self.raw) };
        if status == Status::NOT_READY {
            return Ok(false);
        }
        self.context
            .judge(status, format_args!("run what is in a stream"))?;
        Ok(true)
    }

    /// Waits until everything has ended that was enqueued.
    ///
    /// # Errors
    /// The driver's, and those of what was enqueued.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.context
            .call(format_args!("run what is in a stream"), |api| {
                // SAFETY: the handle is alive.
                unsafe { (api.synchronize_stream)(self.raw) }
            })
    }

    /// Writes down what `record` enqueues, instead of running it. `record` must not wait for anything, allocate or load kernels.
    ///
    /// # Errors
    /// Those of `record`, and the driver's. The stream can be used as before then.
    pub fn capture(
        &self,
        record: impl FnOnce(&Stream) -> Result<(), Error>,
    ) -> Result<Graph, Error> {
        let _current = self.context.enter()?;
        self.context.call(format_args!("begin a capture"), |api| {
            // SAFETY: the handle is alive; the guard below ends the capture on every way out.
            unsafe { (api.begin_capture)(self.raw, sys::CAPTURE_THREAD_LOCAL) }
        })?;
        let capture = Capture {
            stream: self,
            open: true,
        };
        let recorded = record(self);
        let graph = capture.end();
        recorded?;
        graph
    }

    /// Enqueues a captured graph.
    ///
    /// # Safety
    /// [The contract of the queue](super#the-contract-of-the-queue). The graph lives until the stream has been waited for.
    ///
    /// # Errors
    /// The driver's.
    pub unsafe fn launch_graph(&self, graph: &GraphExec) -> Result<(), Error> {
        self.context
            .call(format_args!("launch a captured graph"), |api| {
                // SAFETY: both handles are alive; the rest by the contract.
                unsafe { (api.launch_graph)(graph.raw(), self.raw) }
            })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The driver lets what is in it end by itself.
        self.context
            .release(format_args!("destroy a stream"), |api| {
                // SAFETY: made by `new`, and not used after this.
                unsafe { (api.destroy_stream)(self.raw) }
            });
        down(&self.context.counts().streams);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// A capture that has begun.
struct Capture<'a> {
    stream: &'a Stream,
    open: bool,
}

impl Capture<'_> {
    fn end(mut self) -> Result<Graph, Error> {
        self.open = false;
        self.end_now()
    }

    fn end_now(&self) -> Result<Graph, Error> {
        let mut raw = ptr::null_mut();
        let context = &self.stream.context;
        context.call(format_args!("end a capture"), |api| {
            // SAFETY: writes one handle, which `Graph`'s drop gives back; null if the capture was no good.
            unsafe { (api.end_capture)(self.stream.raw, &mut raw) }
        })?;
        if raw.is_null() {
            return Err(Status::INVALID_VALUE
                .error(context.api(), format_args!("make a graph of a capture")));
        }
        Ok(Graph::new(context, raw))
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if self.open {
            // `record` panicked: the stream must not stay in capture. Its error is the panic.
            let _ = self.end_now();
        }
    }
}
