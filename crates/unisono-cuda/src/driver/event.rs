//! Events: a moment in a stream that others can wait for.

use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

use unisono_runtime::Error;

use super::context::Context;
use super::counts::{down, up};
use super::status::Status;
use super::stream::Stream;
use super::sys::{self, Handle};

/// Does an event have a clock?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// No: it is for waiting, and cheap.
    Off,
    /// Yes: [`Event::nanoseconds_since`] works.
    On,
}

/// An event.
pub struct Event {
    context: Context,
    raw: Handle,
}

// SAFETY: the driver's events may be used from all threads; the handle is never looked into here.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that has not been recorded: who waits for it need not wait.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(context: &Context, timing: Timing) -> Result<Event, Error> {
        let flags = sys::EVENT_BLOCKING_SYNC
            | match timing {
                Timing::Off => sys::EVENT_DISABLE_TIMING,
                Timing::On => 0,
            };
        let mut raw = ptr::null_mut();
        context.call(format_args!("make an event"), |api| {
            // SAFETY: writes one handle, which the drop gives back.
            unsafe { (api.create_event)(&mut raw, flags) }
        })?;
        up(&context.counts().events);
        Ok(Event {
            context: context.clone(),
            raw,
        })
    }

    pub(super) fn raw(&self) -> Handle {
        self.raw
    }

    /// Happens when everything has ended that the stream holds now.
    ///
    /// # Errors
    /// The driver's.
    pub fn record(&self, stream: &Stream) -> Result<(), Error> {
        self.context.call(format_args!("record an event"), |api| {
            // SAFETY: both handles are alive.
            unsafe { (api.record_event)(self.raw, stream.raw()) }
        })
    }

    /// Has it happened?
    ///
    /// # Errors
    /// The driver's, and those of what is before it in the stream.
    pub fn has_happened(&self) -> Result<bool, Error> {
        let _current = self.context.enter()?;
        // SAFETY: the handle is alive.
        let status = unsafe { (self.context.api().query_event)(self.raw) };
        if status == Status::NOT_READY {
            return Ok(false);
        }
        self.context
            .judge(status, format_args!("run what is before an event"))?;
        Ok(true)
    }

    /// Waits for it: looks again and again for at most `spin`, then sleeps.
    ///
    /// # Errors
    /// As [`Event::has_happened`].
    pub fn wait(&self, spin: Duration) -> Result<(), Error> {
        let _current = self.context.enter()?;
        if !spin.is_zero() {
            let begin = Instant::now();
            loop {
                if self.has_happened()? {
                    return Ok(());
                }
                if begin.elapsed() >= spin {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        self.context
            .call(format_args!("run what is before an event"), |api| {
                // SAFETY: the handle is alive.
                unsafe { (api.synchronize_event)(self.raw) }
            })
    }

    /// The time from another event to this one, by the device's clock, in nanoseconds; its resolution is about half a
    /// microsecond. Both have [`Timing::On`] and have happened.
    ///
    /// # Errors
    /// The driver's.
    pub fn nanoseconds_since(&self, start: &Event) -> Result<u64, Error> {
        let mut milliseconds = 0.0f32;
        self.context
            .call(format_args!("tell the time between two events"), |api| {
                // SAFETY: both handles are alive; writes one number.
                unsafe { (api.elapsed_time)(&mut milliseconds, start.raw, self.raw) }
            })?;
        Ok((f64::from(milliseconds) * 1e6) as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.context
            .release(format_args!("destroy an event"), |api| {
                // SAFETY: made by `new`, and not used after this. The driver keeps one that is still under way.
                unsafe { (api.destroy_event)(self.raw) }
            });
        down(&self.context.counts().events);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}
