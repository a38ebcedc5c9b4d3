//! A device's context: what all calls go through.
//!
//! The one idea: a call is made with the context current on its thread, and its status is judged in one place. What was current
//! before is current again afterwards: callers may use CUDA themselves, on another device.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Arc, OnceLock};

use unisono_runtime::Error;

use super::counts::Counts;
use super::library::Driver;
use super::properties::{self, Properties};
use super::status::Status;
use super::sys::{self, Api, Handle};

/// The primary context of a device, which all CUDA code of the process shares. Cheap to clone; the last handle releases it.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    driver: &'static Driver,
    device: sys::Device,
    raw: Handle,
    properties: Properties,
    counts: Counts,
    /// The error after which nothing works any more.
    dead: OnceLock<Error>,
}

// SAFETY: the driver's contexts may be used from all threads; the handle is never looked into here.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Context {
    /// The context of device number `index`.
    ///
    /// # Errors
    /// As [`Driver::usable_device`], or the driver cannot make the context.
    pub fn open(driver: &'static Driver, index: usize) -> Result<Context, Error> {
        let properties = driver.usable_device(index)?;
        let device = properties::handle(driver, index)?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one handle, which `Inner`'s drop gives back.
        let status = unsafe { (driver.api().retain_context)(&mut raw, device) };
        driver.check(
            status,
            format_args!("make a context on cuda:{index}, {}", properties.name),
        )?;
        Ok(Context(Arc::new(Inner {
            driver,
            device,
            raw,
            properties,
            counts: Counts::default(),
            dead: OnceLock::new(),
        })))
    }

    /// The driver.
    pub fn driver(&self) -> &'static Driver {
        self.0.driver
    }

    /// What the device is.
    pub fn properties(&self) -> &Properties {
        &self.0.properties
    }

    /// How many of the driver's objects there are.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Does it still work?
    ///
    /// # Errors
    /// The error after which nothing works any more.
    pub fn check(&self) -> Result<(), Error> {
        match self.0.dead.get() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Makes the context current on this thread for as long as the guard lives. Every call does that by itself; who makes several
    /// holds a guard around them, which makes it cheap for each.
    ///
    /// # Errors
    /// The context is dead.
    pub fn enter(&self) -> Result<Current<'_>, Error> {
        self.check()?;
        self.enter_anyway()
    }

    fn enter_anyway(&self) -> Result<Current<'_>, Error> {
        let raw = self.0.raw;
        let entered = ENTERED.get();
        if entered == raw {
            // A guard further up made it current.
            return Ok(Current::new(self, entered, None));
        }
        let mut before = ptr::null_mut();
        // SAFETY: writes one handle, null if there is none.
        let status = unsafe { (self.api().current_context)(&mut before) };
        self.judge(status, format_args!("tell the thread's context"))?;
        if before == raw {
            ENTERED.set(raw);
            return Ok(Current::new(self, entered, None));
        }
        // SAFETY: the handle is alive as long as `self`, which the guard borrows.
        let status = unsafe { (self.api().set_current_context)(raw) };
        self.judge(status, format_args!("use its context on a thread"))?;
        ENTERED.set(raw);
        Ok(Current::new(self, entered, Some(before)))
    }

    pub(super) fn api(&self) -> &'static Api {
        self.0.driver.api()
    }

    /// Makes a call and judges its status.
    pub(super) fn call(
        &self,
        doing: fmt::Arguments<'_>,
        call: impl FnOnce(&Api) -> Status,
    ) -> Result<(), Error> {
        let _current = self.enter()?;
        self.judge(call(self.api()), doing)
    }

    /// Makes a call of a drop. What goes wrong is kept, and is what later calls answer.
    pub(super) fn release(&self, doing: fmt::Arguments<'_>, call: impl FnOnce(&Api) -> Status) {
        if self.0.dead.get().is_some() {
            // With the context went all that was in it.
            return;
        }
        if let Err(error) = self.call(doing, call) {
            // Of two errors the first one counts.
            let _ = self.0.dead.set(error);
        }
    }

    /// Tells success from error, and keeps an error after which nothing works.
    pub(super) fn judge(&self, status: Status, doing: fmt::Arguments<'_>) -> Result<(), Error> {
        if status == Status::SUCCESS {
            return Ok(());
        }
        let error = status.error(self.api(), doing);
        if status.is_sticky() {
            return Err(self.0.dead.get_or_init(|| error).clone());
        }
        Err(error)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: retained by `open`. A status other than success leaves nobody to tell: all that lived in it is gone.
        let _ = unsafe { (self.driver.api().release_context)(self.device) };
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("device", &self.0.properties.index)
            .field("counts", &self.0.counts.snapshot())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// The context for which a guard lives on this thread. No code of others runs below a guard, so it is the current one.
    static ENTERED: Cell<Handle> = const { Cell::new(ptr::null_mut()) };
}

/// The context is current on this thread; see [`Context::enter`].
pub struct Current<'a> {
    context: &'a Context,
    /// What [`ENTERED`] held before.
    entered: Handle,
    /// What was current in the driver before, if that was another one.
    before: Option<Handle>,
    /// It speaks of one thread.
    thread: PhantomData<*const ()>,
}

impl<'a> Current<'a> {
    fn new(context: &'a Context, entered: Handle, before: Option<Handle>) -> Current<'a> {
        Current {
            context,
            entered,
            before,
            thread: PhantomData,
        }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let _ = self.thread;
        ENTERED.set(self.entered);
        let Some(before) = self.before else { return };
        let set = self.context.api().set_current_context;
        // SAFETY: null, or what the driver said was current.
        if unsafe { set(before) } != Status::SUCCESS {
            // Its owner has destroyed it meanwhile. Ours must not stay in its place.
            // SAFETY: null is always allowed.
            let _ = unsafe { set(ptr::null_mut()) };
        }
    }
}
