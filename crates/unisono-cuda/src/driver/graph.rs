//! Captured graphs: everything that a batch enqueues, launched at once.

use std::fmt;
use std::ptr;

use unisono_runtime::Error;

use super::context::Context;
use super::counts::{down, up};
use super::stream::Stream;
use super::sys::Handle;

/// What a capture wrote down; made by [`Stream::capture`].
pub struct Graph {
    context: Context,
    raw: Handle,
}

// SAFETY: a graph may be used from one thread after another; all that changes it takes it by value or once.
unsafe impl Send for Graph {}

impl Graph {
    pub(super) fn new(context: &Context, raw: Handle) -> Graph {
        up(&context.counts().graphs);
        Graph {
            context: context.clone(),
            raw,
        }
    }

    /// How many nodes it has: kernels, copies and settings.
    ///
    /// # Errors
    /// The driver's.
    pub fn nodes(&self) -> Result<usize, Error> {
        let mut count = 0;
        self.context
            .call(format_args!("count the nodes of a graph"), |api| {
                // SAFETY: without room for nodes the driver writes their number alone.
                unsafe { (api.graph_nodes)(self.raw, ptr::null_mut(), &mut count) }
            })?;
        Ok(count)
    }

    /// Makes it ready to be launched, any number of times. It holds its kernels' module for as long as it lives only if its maker
    /// does: [`Kernels`](super::Kernels) must outlive it.
    ///
    /// # Errors
    /// The driver's.
    pub fn instantiate(&self) -> Result<GraphExec, Error> {
        let mut raw = ptr::null_mut();
        self.context
            .call(format_args!("make a captured graph executable"), |api| {
                // SAFETY: writes one handle, which `GraphExec`'s drop gives back.
                unsafe { (api.instantiate_graph)(&mut raw, self.raw, 0) }
            })?;
        up(&self.context.counts().executables);
        Ok(GraphExec {
            context: self.context.clone(),
            raw,
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.context
            .release(format_args!("destroy a graph"), |api| {
                // SAFETY: from the driver, and not used after this.
                unsafe { (api.destroy_graph)(self.raw) }
            });
        down(&self.context.counts().graphs);
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Graph")
    }
}

/// A graph that can be launched with [`Stream::launch_graph`]; one launch at a time.
pub struct GraphExec {
    context: Context,
    raw: Handle,
}

// SAFETY: it may be launched from one thread after another; the handle is never looked into here.
unsafe impl Send for GraphExec {}

impl GraphExec {
    pub(super) fn raw(&self) -> Handle {
        self.raw
    }

    /// Brings it to the device before the first launch, which is then as fast as all others.
    ///
    /// # Errors
    /// The driver's.
    pub fn upload(&self, stream: &Stream) -> Result<(), Error> {
        self.context
            .call(format_args!("bring a graph to the device"), |api| {
                // SAFETY: both handles are alive.
                unsafe { (api.upload_graph)(self.raw, stream.raw()) }
            })
    }
}

impl Drop for GraphExec {
    fn drop(&mut self) {
        self.context
            .release(format_args!("destroy an executable graph"), |api| {
                // SAFETY: made by `instantiate`, and not used after this.
                unsafe { (api.destroy_executable)(self.raw) }
            });
        down(&self.context.counts().executables);
    }
}

impl fmt::Debug for GraphExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GraphExec")
    }
}
