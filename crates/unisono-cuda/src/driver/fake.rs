//! A driver without a device, for tests: it keeps the books that a driver keeps, and can fail at any call.
//!
//! The one idea: a state of its own for each thread, so that tests do not see each other. Copies and settings happen at once, or
//! when a graph is launched that they were captured into; kernels leave their arguments behind, and do what a test says they do. A handle that is used wrongly is refused, as is a call without the context.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use super::library::Driver;
use super::ptx::entries;
use super::status::Status;
use super::sys::{self, Address, Api, Handle, LaunchAttribute, LaunchConfig, device_attribute};

const INVALID_HANDLE: Status = Status(400);
const INVALID_CONTEXT: Status = Status(201);
/// The context's handle.
pub const CONTEXT: usize = 0xC0;

/// A device of the driver.
#[derive(Clone, Debug)]
pub struct FakeDevice {
    pub name: &'static CStr,
    pub capability: (c_int, c_int),
    pub memory: usize,
}

/// Something that a stream does, now or when a graph is launched.
#[derive(Clone, Debug)]
pub enum Deed {
    CopyIn(Address, usize, usize),
    CopyOut(usize, Address, usize),
    Copy(Address, Address, usize),
    Fill(Address, u8, usize),
    Launch(String, Launched),
}

/// How a kernel was launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// The bytes of its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Whether it may begin while the one before it ends.
    pub begins_early: bool,
}

/// What kernels do, by name and with their arguments.
pub type Simulate = fn(&mut State, &str, &[Vec<u8>]);

/// All that the driver knows.
pub struct State {
    pub version: c_int,
    pub devices: Vec<FakeDevice>,
    /// Names of the calls so far, except those that only explain.
    pub calls: Vec<&'static str>,
    /// Which call fails, counted from 0, and how.
    pub fail_at: Option<(usize, Status)>,
    /// The status of everything after one that is sticky.
    pub dead: Option<Status>,
    /// How often the context is retained.
    pub retained: usize,
    /// The context that is current.
    pub current: usize,
    /// What was made and not unmade, by handle.
    pub alive: BTreeMap<usize, &'static str>,
    pub memory: BTreeMap<Address, Vec<u8>>,
    pub host: BTreeMap<usize, Box<[u64]>>,
    /// The stream that is captured, and what it would have done.
    pub capturing: Option<(usize, Vec<Deed>)>,
    /// What graphs and executables do, by handle.
    pub graphs: BTreeMap<usize, Vec<Deed>>,
    /// Names of functions, by handle.
    pub functions: BTreeMap<usize, String>,
    /// What kernels do, by name and with their arguments.
    pub simulate: Option<Simulate>,
    /// Sizes of the arguments of kernels, which a driver knows from its modules.
    pub argument_sizes: BTreeMap<String, Vec<usize>>,
    /// The launches that have run.
    pub launched: Vec<Launched>,
    /// The texts of modules.
    pub texts: Vec<String>,
    /// Whether work counts as unfinished, so many times yet.
    pub not_ready: usize,
    pub next: usize,
}

impl Default for State {
    fn default() -> Self {
        State {
            version: 12040,
            devices: vec![FakeDevice {
                name: c"Fake 100",
                capability: (9, 0),
                memory: 1 << 20,
            }],
            calls: Vec::new(),
            fail_at: None,
            dead: None,
            retained: 0,
            current: 0,
            alive: BTreeMap::new(),
            memory: BTreeMap::new(),
            host: BTreeMap::new(),
            capturing: None,
            graphs: BTreeMap::new(),
            functions: BTreeMap::new(),
            simulate: None,
            argument_sizes: BTreeMap::new(),
            launched: Vec::new(),
            texts: Vec::new(),
            not_ready: 0,
            next: 0x1000,
        }
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Begins anew.
pub fn reset(state: State) {
    STATE.set(state);
}

/// Looks into the state.
pub fn with<T>(look: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(look)
}

/// The driver.
pub fn driver() -> Result<&'static Driver, unisono_runtime::Error> {
    Driver::new(api()).map(|driver| &*Box::leak(Box::new(driver)))
}

impl State {
    fn make(&mut self, what: &'static str) -> usize {
        self.next += 0x1000;
        self.alive.insert(self.next, what);
        self.next
    }

    fn unmake(&mut self, handle: Handle, what: &'static str) -> Status {
        match self.is(handle, what) {
            Status::SUCCESS => {
                self.alive.remove(&handle.addr());
                Status::SUCCESS
            }
            other => other,
        }
    }

    fn is(&self, handle: Handle, what: &'static str) -> Status {
        match self.alive.get(&handle.addr()) == Some(&what) {
            true => Status::SUCCESS,
            false => INVALID_HANDLE,
        }
    }

    fn used(&self) -> usize {
        self.memory.values().map(Vec::len).sum()
    }

    /// The bytes from an address on, on the device or in page-locked memory.
    pub fn at(&mut self, address: Address, bytes: usize) -> Option<&mut [u8]> {
        let on_host = usize::try_from(address).ok()?;
        if let Some((start, block)) = self.host.range_mut(..=on_host).next_back() {
            let block: &mut [u8] = bytemuck::cast_slice_mut(block);
            let offset = on_host - start;
            if offset < block.len() {
                return block.get_mut(offset..offset.checked_add(bytes)?);
            }
        }
        let (start, block) = self.memory.range_mut(..=address).next_back()?;
        let offset = usize::try_from(address - start).ok()?;
        block.get_mut(offset..offset.checked_add(bytes)?)
    }

    /// Does what a stream is given, or writes it down if the stream is captured.
    fn enqueue(&mut self, stream: Handle, deed: Deed) -> Status {
        match &mut self.capturing {
            Some((captured, deeds)) if *captured == stream.addr() => {
                deeds.push(deed);
                Status::SUCCESS
            }
            _ => self.act(deed),
        }
    }

    fn act(&mut self, deed: Deed) -> Status {
        let done = match deed {
            Deed::CopyIn(to, from, bytes) => self.at(to, bytes).map(|to| {
                // SAFETY: callers keep the contract of the queue.
                unsafe {
                    let from = std::ptr::with_exposed_provenance::<u8>(from);
                    std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), bytes);
                }
            }),
            Deed::CopyOut(to, from, bytes) => self.at(from, bytes).map(|from| {
                // SAFETY: callers keep the contract of the queue.
                unsafe {
                    let to = std::ptr::with_exposed_provenance_mut::<u8>(to);
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, bytes);
                }
            }),
            Deed::Copy(to, from, bytes) => {
                let from = self.at(from, bytes).map(|from| from.to_vec());
                from.and_then(|from| {
                    let to = self.at(to, bytes)?;
                    to.copy_from_slice(&from);
                    Some(())
                })
            }
            Deed::Fill(to, byte, bytes) => self.at(to, bytes).map(|to| to.fill(byte)),
            Deed::Launch(kernel, launched) => {
                if let Some(simulate) = self.simulate {
                    simulate(self, &kernel, &launched.arguments);
                }
                self.launched.push(launched);
                Some(())
            }
        };
        done.map_or(Status::INVALID_VALUE, |()| Status::SUCCESS)
    }
}

/// A call that needs no context.
fn call(name: &'static str, act: impl FnOnce(&mut State) -> Status) -> Status {
    with(|state| {
        let number = state.calls.len();
        state.calls.push(name);
        if let Some((at, status)) = state.fail_at
            && at == number
        {
            if status.is_sticky() {
                state.dead = Some(status);
            }
            return status;
        }
        match state.dead {
            Some(status) => status,
            None => act(state),
        }
    })
}

/// A call that needs the context.
fn inside(name: &'static str, act: impl FnOnce(&mut State) -> Status) -> Status {
    call(name, |state| {
        if state.current != CONTEXT || state.retained == 0 {
            return INVALID_CONTEXT;
        }
        act(state)
    })
}

fn put<T>(place: *mut T, value: T) -> Status {
    // SAFETY: callers give places of their own, as the driver demands.
    unsafe { place.write(value) };
    Status::SUCCESS
}

fn handle(number: usize) -> Handle {
    std::ptr::without_provenance_mut(number)
}

extern "system" fn init(_: c_uint) -> Status {
    call("init", |state| match state.devices.is_empty() {
        true => Status::NO_DEVICE,
        false => Status::SUCCESS,
    })
}

extern "system" fn driver_version(version: *mut c_int) -> Status {
    call("driver_version", |state| put(version, state.version))
}

extern "system" fn error_name(status: Status, name: *mut *const c_char) -> Status {
    let text = match status.0 {
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        100 => c"CUDA_ERROR_NO_DEVICE",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        _ => return Status::INVALID_VALUE,
    };
    put(name, text.as_ptr())
}

extern "system" fn error_text(_: Status, text: *mut *const c_char) -> Status {
    put(text, c"in words".as_ptr())
}

extern "system" fn device_count(count: *mut c_int) -> Status {
    call("device_count", |state| {
        put(count, state.devices.len() as c_int)
    })
}

extern "system" fn device(device: *mut sys::Device, index: c_int) -> Status {
    call("device", |state| {
        match (index as usize) < state.devices.len() {
            true => put(device, index),
            false => Status(101),
        }
    })
}

extern "system" fn device_name(name: *mut c_char, length: c_int, device: sys::Device) -> Status {
    call("device_name", |state| {
        let text = state.devices[device as usize].name.to_bytes_with_nul();
        let length = text.len().min(length as usize);
        // SAFETY: there is room for `length` characters.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, length) };
        Status::SUCCESS
    })
}

extern "system" fn device_attribute(
    value: *mut c_int,
    attribute: c_int,
    device: sys::Device,
) -> Status {
    let name = match attribute {
        device_attribute::CLOCK_KHZ
        | device_attribute::MEMORY_CLOCK_KHZ
        | device_attribute::MEMORY_BUS_BITS => "device_attribute for reports",
        _ => "device_attribute",
    };
    call(name, |state| {
        let capability = state.devices[device as usize].capability;
        put(
            value,
            match attribute {
                device_attribute::CAPABILITY_MAJOR => capability.0,
                device_attribute::CAPABILITY_MINOR => capability.1,
                device_attribute::PROCESSORS => 132,
                device_attribute::LARGEST_SHARED_MEMORY => 227 << 10,
                device_attribute::ECC => 1,
                _ => 1000,
            },
        )
    })
}

extern "system" fn device_memory(bytes: *mut usize, device: sys::Device) -> Status {
    call("device_memory", |state| {
        put(bytes, state.devices[device as usize].memory)
    })
}

extern "system" fn device_uuid(uuid: *mut [u8; 16], device: sys::Device) -> Status {
    call("device_uuid", |_| {
        put(uuid, std::array::from_fn(|i| (device as u8) << 4 | i as u8))
    })
}

extern "system" fn retain_context(context: *mut Handle, _: sys::Device) -> Status {
    call("retain_context", |state| {
        state.retained += 1;
        put(context, handle(CONTEXT))
    })
}

extern "system" fn release_context(_: sys::Device) -> Status {
    call("release_context", |_| Status::SUCCESS);
    with(|state| match state.retained.checked_sub(1) {
        None => INVALID_CONTEXT,
        Some(left) => {
            state.retained = left;
            Status::SUCCESS
        }
    })
}

extern "system" fn current_context(context: *mut Handle) -> Status {
    call("current_context", |state| {
        put(context, handle(state.current))
    })
}

extern "system" fn set_current_context(context: Handle) -> Status {
    call("set_current_context", |state| {
        state.current = context.addr();
        Status::SUCCESS
    })
}

extern "system" fn allocate(address: *mut Address, bytes: usize) -> Status {
    inside("allocate", |state| {
        if bytes == 0 {
            return Status::INVALID_VALUE;
        }
        if state.used() + bytes > state.devices[0].memory {
            return Status::OUT_OF_MEMORY;
        }
        let at = 0x7_0000_0000 + state.make("device memory") as Address * 0x1000;
        state.memory.insert(at, vec![0xEE; bytes]);
        put(address, at)
    })
}

extern "system" fn free(address: Address) -> Status {
    inside("free", |state| match state.memory.remove(&address) {
        None => Status::INVALID_VALUE,
        Some(_) => state.unmake(
            handle((address - 0x7_0000_0000) as usize / 0x1000),
            "device memory",
        ),
    })
}

extern "system" fn memory_info(free: *mut usize, total: *mut usize) -> Status {
    inside("memory_info", |state| {
        let all = state.devices[0].memory;
        put(free, all - state.used());
        put(total, all)
    })
}

extern "system" fn allocate_host(pointer: *mut *mut c_void, bytes: usize, _: c_uint) -> Status {
    inside("allocate_host", |state| {
        if bytes == 0 {
            return Status::INVALID_VALUE;
        }
        // Words, so that an atomic word lies well in it.
        let mut block = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        let at = block.as_mut_ptr();
        state.host.insert(at.addr(), block);
        state.alive.insert(at.addr(), "host memory");
        put(pointer, at.cast())
    })
}

extern "system" fn free_host(pointer: *mut c_void) -> Status {
    inside("free_host", |state| {
        match state.host.remove(&pointer.addr()) {
            None => Status::INVALID_VALUE,
            Some(_) => state.unmake(pointer, "host memory"),
        }
    })
}

extern "system" fn device_address(
    address: *mut Address,
    pointer: *mut c_void,
    _: c_uint,
) -> Status {
    inside("device_address", |state| {
        match state.is(pointer, "host memory") {
            Status::SUCCESS => put(address, pointer.addr() as Address),
            other => other,
        }
    })
}

extern "system" fn copy_in(
    to: Address,
    from: *const c_void,
    bytes: usize,
    stream: Handle,
) -> Status {
    let from = from.expose_provenance();
    inside("copy_in", |state| {
        state.enqueue(stream, Deed::CopyIn(to, from, bytes))
    })
}

extern "system" fn copy_out(
    to: *mut c_void,
    from: Address,
    bytes: usize,
    stream: Handle,
) -> Status {
    let to = to.expose_provenance();
    inside("copy_out", |state| {
        state.enqueue(stream, Deed::CopyOut(to, from, bytes))
    })
}

extern "system" fn copy(to: Address, from: Address, bytes: usize, stream: Handle) -> Status {
    inside("copy", |state| {
        state.enqueue(stream, Deed::Copy(to, from, bytes))
    })
}

extern "system" fn fill(to: Address, byte: u8, bytes: usize, stream: Handle) -> Status {
    inside("fill", |state| {
        state.enqueue(stream, Deed::Fill(to, byte, bytes))
    })
}

extern "system" fn create_stream(stream: *mut Handle, _: c_uint) -> Status {
    inside("create_stream", |state| {
        put(stream, handle(state.make("stream")))
    })
}

extern "system" fn destroy_stream(stream: Handle) -> Status {
    inside("destroy_stream", |state| state.unmake(stream, "stream"))
}

extern "system" fn synchronize_stream(stream: Handle) -> Status {
    inside("synchronize_stream", |state| state.is(stream, "stream"))
}

extern "system" fn query_stream(stream: Handle) -> Status {
    inside("query_stream", |state| ready(state, stream, "stream"))
}

fn ready(state: &mut State, handle: Handle, what: &'static str) -> Status {
    match state.not_ready.checked_sub(1) {
        None => state.is(handle, what),
        Some(left) => {
            state.not_ready = left;
            Status::NOT_READY
        }
    }
}

extern "system" fn wait_for_event(stream: Handle, event: Handle, _: c_uint) -> Status {
    inside("wait_for_event", |state| match state.is(event, "event") {
        Status::SUCCESS => state.is(stream, "stream"),
        other => other,
    })
}

extern "system" fn write_word(stream: Handle, to: Address, value: u32, _: c_uint) -> Status {
    inside("write_word", |state| {
        let Some(block) = state.host.get_mut(&(to as usize)) else {
            return Status::INVALID_VALUE;
        };
        bytemuck::cast_slice_mut::<u64, u32>(block)[0] = value;
        state.is(stream, "stream")
    })
}

extern "system" fn begin_capture(stream: Handle, _: c_int) -> Status {
    inside("begin_capture", |state| {
        if state.capturing.is_some() {
            return Status(900);
        }
        state.capturing = Some((stream.addr(), Vec::new()));
        state.is(stream, "stream")
    })
}

extern "system" fn end_capture(stream: Handle, graph: *mut Handle) -> Status {
    // As in the driver, it ends whatever comes of it.
    let was = with(|state| state.capturing.take());
    inside("end_capture", |state| match was {
        Some((captured, deeds)) if captured == stream.addr() => {
            let made = state.make("graph");
            state.graphs.insert(made, deeds);
            put(graph, handle(made))
        }
        _ => Status(903),
    })
}

extern "system" fn create_event(event: *mut Handle, _: c_uint) -> Status {
    inside("create_event", |state| {
        put(event, handle(state.make("event")))
    })
}

extern "system" fn destroy_event(event: Handle) -> Status {
    inside("destroy_event", |state| state.unmake(event, "event"))
}

extern "system" fn record_event(event: Handle, stream: Handle) -> Status {
    inside("record_event", |state| match state.is(stream, "stream") {
        Status::SUCCESS => state.is(event, "event"),
        other => other,
    })
}

extern "system" fn query_event(event: Handle) -> Status {
    inside("query_event", |state| ready(state, event, "event"))
}

extern "system" fn synchronize_event(event: Handle) -> Status {
    inside("synchronize_event", |state| state.is(event, "event"))
}

extern "system" fn elapsed_time(milliseconds: *mut f32, start: Handle, end: Handle) -> Status {
    inside("elapsed_time", |state| match state.is(start, "event") {
        Status::SUCCESS => {
            put(milliseconds, 1.5);
            state.is(end, "event")
        }
        other => other,
    })
}

extern "system" fn load_module(
    module: *mut Handle,
    image: *const c_void,
    count: c_uint,
    options: *mut c_int,
    values: *mut *mut c_void,
) -> Status {
    inside("load_module", |state| {
        // SAFETY: the caller's text ends with a zero; its options and values are as many as it says.
        let (text, options, values) = unsafe {
            (
                CStr::from_ptr(image.cast()),
                std::slice::from_raw_parts(options, count as usize),
                std::slice::from_raw_parts(values, count as usize),
            )
        };
        let text = text.to_string_lossy();
        if !text.contains("broken") {
            let declared = entries(&text).into_iter();
            let sizes = declared.map(|entry| (entry.name, entry.arguments));
            state.argument_sizes.extend(sizes);
            state.texts.push(text.into_owned());
            return put(module, handle(state.make("module")));
        }
        let value = |option: c_int| values[options.iter().position(|o| *o == option).unwrap()];
        let said = b"ptxas fatal   : broken on purpose\n\n\0";
        assert!(said.len() < value(sys::jit::ERROR_LOG_BYTES).addr());
        // SAFETY: the log has room, as asserted.
        unsafe {
            std::ptr::copy_nonoverlapping(
                said.as_ptr(),
                value(sys::jit::ERROR_LOG).cast(),
                said.len(),
            );
        }
        Status(218)
    })
}

extern "system" fn unload_module(module: Handle) -> Status {
    inside("unload_module", |state| {
        // A driver lets that happen, and crashes later: what was captured must go first.
        match state.alive.values().any(|what| *what == "executable") {
            true => INVALID_HANDLE,
            false => state.unmake(module, "module"),
        }
    })
}

extern "system" fn function(function: *mut Handle, module: Handle, name: *const c_char) -> Status {
    // SAFETY: the caller's text ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned();
    inside("function", |state| {
        // A little behind its module, so that it is known whose it is.
        let number = module.addr() + 1 + state.functions.len() % 0xFFE;
        state.functions.insert(number, name);
        put(function, handle(number));
        state.is(module, "module")
    })
}

/// The module that a function is in: handles are multiples of 0x1000, functions lie behind theirs.
fn module_of(function: Handle) -> Handle {
    handle(function.addr() / 0x1000 * 0x1000)
}

extern "system" fn function_attribute(value: *mut c_int, _: c_int, function: Handle) -> Status {
    inside("function_attribute", |state| {
        put(value, 40);
        state.is(module_of(function), "module")
    })
}

extern "system" fn set_function_attribute(function: Handle, _: c_int, _: c_int) -> Status {
    inside("set_function_attribute", |state| {
        state.is(module_of(function), "module")
    })
}

extern "system" fn launch(
    config: *const LaunchConfig,
    function: Handle,
    arguments: *mut *mut c_void,
    _: *mut *mut c_void,
) -> Status {
    // SAFETY: the caller's.
    let config = unsafe { &*config };
    let begins_early = config.attribute_count > 0;
    if begins_early {
        // SAFETY: there are as many as are counted.
        let attribute = unsafe { &*config.attributes };
        assert_eq!(attribute.id, LaunchAttribute::BEGINS_EARLY.id);
    }
    let stream = config.stream;
    inside("launch", |state| {
        let name = state.functions.get(&function.addr()).cloned();
        let name = name.unwrap_or_default();
        let sizes = state.argument_sizes.get(&name).cloned();
        let sizes = sizes.unwrap_or_default().into_iter().enumerate();
        let argument = |(number, size): (usize, usize)| {
            // SAFETY: the caller gives an address for each argument, with the bytes that the kernel declares.
            unsafe { std::slice::from_raw_parts((*arguments.add(number)).cast::<u8>(), size) }
                .to_vec()
        };
        let launched = Launched {
            arguments: sizes.map(argument).collect(),
            begins_early,
        };
        state.enqueue(stream, Deed::Launch(name, launched));
        match state.is(module_of(function), "module") {
            Status::SUCCESS => state.is(stream, "stream"),
            other => other,
        }
    })
}

extern "system" fn instantiate_graph(executable: *mut Handle, graph: Handle, _: u64) -> Status {
    inside("instantiate_graph", |state| {
        if state.is(graph, "graph") != Status::SUCCESS {
            return INVALID_HANDLE;
        }
        let made = state.make("executable");
        let deeds = state.graphs.get(&graph.addr()).cloned();
        state.graphs.insert(made, deeds.unwrap_or_default());
        put(executable, handle(made))
    })
}

extern "system" fn upload_graph(executable: Handle, _: Handle) -> Status {
    inside("upload_graph", |state| state.is(executable, "executable"))
}

extern "system" fn launch_graph(executable: Handle, stream: Handle) -> Status {
    inside("launch_graph", |state| {
        if state.is(stream, "stream") != Status::SUCCESS {
            return INVALID_HANDLE;
        }
        if state.is(executable, "executable") != Status::SUCCESS {
            return INVALID_HANDLE;
        }
        let deeds = state.graphs.get(&executable.addr()).cloned();
        let mut deeds = deeds.unwrap_or_default().into_iter();
        let failed = deeds.find_map(|deed| {
            let status = state.act(deed);
            (status != Status::SUCCESS).then_some(status)
        });
        failed.unwrap_or(Status::SUCCESS)
    })
}

extern "system" fn destroy_executable(executable: Handle) -> Status {
    inside("destroy_executable", |state| {
        state.unmake(executable, "executable")
    })
}

extern "system" fn destroy_graph(graph: Handle) -> Status {
    inside("destroy_graph", |state| state.unmake(graph, "graph"))
}

extern "system" fn graph_nodes(graph: Handle, _: *mut Handle, count: *mut usize) -> Status {
    inside("graph_nodes", |state| {
        put(count, 7);
        state.is(graph, "graph")
    })
}

fn api() -> Api {
    Api {
        init,
        driver_version,
        error_name,
        error_text,
        device_count,
        device,
        device_name,
        device_attribute,
        device_memory,
        device_uuid,
        retain_context,
        release_context,
        current_context,
        set_current_context,
        allocate,
        free,
        memory_info,
        allocate_host,
        free_host,
        device_address,
        copy_in,
        copy_out,
        copy,
        fill,
        create_stream,
        destroy_stream,
        synchronize_stream,
        query_stream,
        wait_for_event,
        write_word,
        begin_capture,
        end_capture,
        create_event,
        destroy_event,
        record_event,
        query_event,
        synchronize_event,
        elapsed_time,
        load_module,
        unload_module,
        function,
        function_attribute,
        set_function_attribute,
        launch,
        instantiate_graph,
        upload_graph,
        launch_graph,
        destroy_executable,
        destroy_graph,
        graph_nodes,
    }
}
