//! All kernels of a device, and launching them.
//!
//! The one idea: PTX is compiled when a kernel of it is first wanted, so a device that runs one model pays for that model alone.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use unisono_runtime::{Error, ErrorKind};

use super::context::Context;
use super::early;
use super::module::{Function, Module};
use super::ptx::{self, Entry};
use super::stream::Stream;
use super::sys::{LaunchAttribute, LaunchConfig};
use crate::launch::{Arg, Buffer, Launch};

/// A file of kernels.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name, for errors.
    pub name: &'static str,
    /// The PTX.
    pub ptx: &'static str,
}

/// The kernels of a device. Cheap to clone. Captured graphs need them for as long as they live.
#[derive(Clone)]
pub struct Kernels(Arc<Inner>);

struct Inner {
    context: Context,
    sources: Vec<Source>,
    /// What the texts declare, and which source it is in.
    declared: HashMap<String, (usize, Entry)>,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    // Functions first: they must not outlive their modules.
    functions: HashMap<String, Arc<Function>>,
    modules: HashMap<usize, Module>,
}

impl Kernels {
    /// The kernels of these sources. Nothing is compiled yet.
    ///
    /// # Errors
    /// Two kernels have one name: a fault of ours.
    pub fn new(context: &Context, sources: &[Source]) -> Result<Kernels, Error> {
        Ok(Kernels(Arc::new(Inner {
            context: context.clone(),
            sources: sources.to_vec(),
            declared: declared(sources)?,
            loaded: Mutex::default(),
        })))
    }

    /// Compiles and loads what these launches need. After that, launching them allocates and loads nothing, so it may be captured.
    ///
    /// # Errors
    /// A kernel does not exist, does not compile, or has other arguments or more shared memory than there is.
    pub fn prepare<'a>(&self, launches: impl IntoIterator<Item = &'a Launch>) -> Result<(), Error> {
        for launch in launches {
            let (function, entry) = self.find(launch.kernel)?;
            entry.check(launch)?;
            function.allow_shared(&self.0.context, launch.kernel, launch.shared)?;
        }
        Ok(())
    }

    /// A kernel, compiled and loaded if it was not yet.
    ///
    /// # Errors
    /// It does not exist, or does not compile.
    pub fn function(&self, kernel: &str) -> Result<Arc<Function>, Error> {
        self.find(kernel).map(|(function, _)| function)
    }

    /// Puts a launch into a stream; `resolve` says where a buffer is.
    ///
    /// # Safety
    /// [The contract of the queue](super#the-contract-of-the-queue), for what `resolve` gives and the kernel does with it.
    ///
    /// # Errors
    /// As [`Kernels::prepare`], and the driver's.
    pub unsafe fn launch(
        &self,
        stream: &Stream,
        launch: &Launch,
        resolve: &dyn Fn(Buffer) -> u64,
    ) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { self.put(stream, launch, false, resolve) }
    }

    /// As [`Kernels::launch`], right behind another kernel in the stream. It may begin while that one ends, where the device can do
    /// that, and sees the same memory as if it had not.
    ///
    /// # Safety
    /// As for [`Kernels::launch`].
    ///
    /// # Errors
    /// As for [`Kernels::launch`].
    pub unsafe fn launch_early(
        &self,
        stream: &Stream,
        launch: &Launch,
        resolve: &dyn Fn(Buffer) -> u64,
    ) -> Result<(), Error> {
        let is_early = early::is_possible(self.0.context.properties());
        // SAFETY: the caller's promise. What begins early waits by itself.
        unsafe { self.put(stream, launch, is_early, resolve) }
    }

    /// # Safety
    /// As for [`Kernels::launch`].
    unsafe fn put(
        &self,
        stream: &Stream,
        launch: &Launch,
        is_early: bool,
        resolve: &dyn Fn(Buffer) -> u64,
    ) -> Result<(), Error> {
        let (function, entry) = self.find(launch.kernel)?;
        entry.check(launch)?;
        function.allow_shared(&self.0.context, launch.kernel, launch.shared)?;
        let addresses: SmallVec<[u64; 8]> = launch
            .args
            .iter()
            .map(|argument| match argument {
                Arg::Buffer(buffer) => resolve(*buffer),
                Arg::Null | Arg::Bytes(_) => 0,
            })
            .collect();
        let mut arguments: SmallVec<[*mut c_void; 8]> = launch
            .args
            .iter()
            .zip(&addresses)
            .map(|(argument, address)| match argument {
                Arg::Bytes(bytes) => bytes.as_ptr().cast_mut().cast(),
                Arg::Buffer(_) | Arg::Null => ptr::from_ref(address).cast_mut().cast(),
            })
            .collect();
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        let config = LaunchConfig {
            grid: launch.grid,
            block: launch.block,
            shared: launch.shared,
            stream: stream.raw(),
            attributes: &LaunchAttribute::BEGINS_EARLY,
            attribute_count: is_early.into(),
        };
        self.0.context.call(
            format_args!(
                "launch kernel {} on {gx} x {gy} x {gz} blocks of {bx} x {by} x {bz}",
                launch.kernel
            ),
            |api| {
                // SAFETY: the driver copies the arguments at once, as many and as large as the kernel declares, which was
                // checked; what it does with them is the caller's promise.
                unsafe {
                    (api.launch)(
                        &config,
                        function.raw(),
                        arguments.as_mut_ptr(),
                        ptr::null_mut(),
                    )
                }
            },
        )
    }

    /// The context that they are in.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    fn find(&self, kernel: &str) -> Result<(Arc<Function>, &Entry), Error> {
        let (source, entry) = self.0.declared.get(kernel).ok_or_else(|| {
            Error::new(
                ErrorKind::Device,
                format!("there is no kernel {kernel}; this is a bug"),
            )
        })?;
        let mut loaded = self.0.lock();
        if let Some(function) = loaded.functions.get(kernel) {
            return Ok((Arc::clone(function), entry));
        }
        if !loaded.modules.contains_key(source) {
            let text = self.0.sources.get(*source).ok_or_else(|| {
                Error::new(ErrorKind::Device, format!("the source of {kernel} is gone"))
            })?;
            let context = &self.0.context;
            let module = match early::is_possible(context.properties()) {
                true => Module::load(context, text.name, &early::waiting(text.ptx))?,
                false => Module::load(context, text.name, text.ptx)?,
            };
            loaded.modules.insert(*source, module);
        }
        let module = &loaded.modules[source];
        let function = Arc::new(module.function(kernel)?);
        loaded
            .functions
            .insert(kernel.to_owned(), Arc::clone(&function));
        Ok((function, entry))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Loaded> {
        // What a panic leaves behind is complete: entries are put in last.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.0.lock();
        write!(
            f,
            "Kernels({} of {} loaded)",
            loaded.functions.len(),
            self.0.declared.len()
        )
    }
}

/// What the sources declare.
fn declared(sources: &[Source]) -> Result<HashMap<String, (usize, Entry)>, Error> {
    let mut declared = HashMap::new();
    for (number, source) in sources.iter().enumerate() {
        for entry in ptx::entries(source.ptx) {
            let name = entry.name.clone();
            if declared.insert(name.clone(), (number, entry)).is_some() {
                return Err(Error::new(
                    ErrorKind::Device,
                    format!(
                        "there are two kernels {name}, one in {}; this is a bug",
                        source.name
                    ),
                ));
            }
        }
    }
    Ok(declared)
}
