//! The driver's functions, as they stand in `cuda.h` of CUDA 12.
//!
//! The one idea: a table of function pointers. The real one is filled from the driver's library, once and for the life of the
//! process; tests fill another with functions of their own.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libloading::Library;

use super::status::Status;

/// A device's number in the driver.
pub type Device = c_int;
/// An address on the device.
pub type Address = u64;
/// Handles, which only the driver understands.
pub type Handle = *mut c_void;

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal ($($argument:ident: $type:ty),*);)*) => {
        /// The functions.
        // On Windows the driver's calling convention is that of the system.
        pub struct Api {
            $($(#[$doc])* pub $name: unsafe extern "system" fn($($argument: $type),*) -> Status,)*
        }

        impl Api {
            /// All functions of the driver's library, or the name of one that it lacks.
            pub fn of(library: &Library) -> Result<Api, &'static str> {
                Ok(Api {
                    // SAFETY: the type is that of the function with this name in `cuda.h`, whose interface is frozen under
                    // that name: a changed function gets another one (`_v2`).
                    $($name: *unsafe {
                        library.get(concat!($symbol, "\0").as_bytes())
                    }.map_err(|_| $symbol)?,)*
                })
            }
        }
    };
}

table! {
    init = "cuInit"(flags: c_uint);
    driver_version = "cuDriverGetVersion"(version: *mut c_int);
    error_name = "cuGetErrorName"(status: Status, name: *mut *const c_char);
    error_text = "cuGetErrorString"(status: Status, text: *mut *const c_char);

    device_count = "cuDeviceGetCount"(count: *mut c_int);
    device = "cuDeviceGet"(device: *mut Device, index: c_int);
    device_name = "cuDeviceGetName"(name: *mut c_char, length: c_int, device: Device);
    device_attribute = "cuDeviceGetAttribute"(value: *mut c_int, attribute: c_int, device: Device);
    device_memory = "cuDeviceTotalMem_v2"(bytes: *mut usize, device: Device);
    device_uuid = "cuDeviceGetUuid_v2"(uuid: *mut [u8; 16], device: Device);

    retain_context = "cuDevicePrimaryCtxRetain"(context: *mut Handle, device: Device);
    release_context = "cuDevicePrimaryCtxRelease_v2"(device: Device);
    current_context = "cuCtxGetCurrent"(context: *mut Handle);
    set_current_context = "cuCtxSetCurrent"(context: Handle);

    allocate = "cuMemAlloc_v2"(address: *mut Address, bytes: usize);
    free = "cuMemFree_v2"(address: Address);
    memory_info = "cuMemGetInfo_v2"(free: *mut usize, total: *mut usize);
    allocate_host = "cuMemHostAlloc"(pointer: *mut *mut c_void, bytes: usize, flags: c_uint);
    free_host = "cuMemFreeHost"(pointer: *mut c_void);
    device_address = "cuMemHostGetDevicePointer_v2"(address: *mut Address, pointer: *mut c_void, flags: c_uint);

    copy_in = "cuMemcpyHtoDAsync_v2"(to: Address, from: *const c_void, bytes: usize, stream: Handle);
    copy_out = "cuMemcpyDtoHAsync_v2"(to: *mut c_void, from: Address, bytes: usize, stream: Handle);
    copy = "cuMemcpyDtoDAsync_v2"(to: Address, from: Address, bytes: usize, stream: Handle);
    fill = "cuMemsetD8Async"(to: Address, byte: u8, bytes: usize, stream: Handle);

    create_stream = "cuStreamCreate"(stream: *mut Handle, flags: c_uint);
    destroy_stream = "cuStreamDestroy_v2"(stream: Handle);
    synchronize_stream = "cuStreamSynchronize"(stream: Handle);
    query_stream = "cuStreamQuery"(stream: Handle);
    wait_for_event = "cuStreamWaitEvent"(stream: Handle, event: Handle, flags: c_uint);
    write_word = "cuStreamWriteValue32_v2"(stream: Handle, to: Address, value: u32, flags: c_uint);
    begin_capture = "cuStreamBeginCapture_v2"(stream: Handle, mode: c_int);
    end_capture = "cuStreamEndCapture"(stream: Handle, graph: *mut Handle);

    create_event = "cuEventCreate"(event: *mut Handle, flags: c_uint);
    destroy_event = "cuEventDestroy_v2"(event: Handle);
    record_event = "cuEventRecord"(event: Handle, stream: Handle);
    query_event = "cuEventQuery"(event: Handle);
    synchronize_event = "cuEventSynchronize"(event: Handle);
    elapsed_time = "cuEventElapsedTime"(milliseconds: *mut f32, start: Handle, end: Handle);

    load_module = "cuModuleLoadDataEx"(
        module: *mut Handle, image: *const c_void, count: c_uint, options: *mut c_int, values: *mut *mut c_void
    );
    unload_module = "cuModuleUnload"(module: Handle);
    function = "cuModuleGetFunction"(function: *mut Handle, module: Handle, name: *const c_char);
    function_attribute = "cuFuncGetAttribute"(value: *mut c_int, attribute: c_int, function: Handle);
    set_function_attribute = "cuFuncSetAttribute"(function: Handle, attribute: c_int, value: c_int);
    launch = "cuLaunchKernelEx"(
        config: *const LaunchConfig, function: Handle, arguments: *mut *mut c_void, extra: *mut *mut c_void
    );

    instantiate_graph = "cuGraphInstantiateWithFlags"(executable: *mut Handle, graph: Handle, flags: u64);
    upload_graph = "cuGraphUpload"(executable: Handle, stream: Handle);
    launch_graph = "cuGraphLaunch"(executable: Handle, stream: Handle);
    destroy_executable = "cuGraphExecDestroy"(executable: Handle);
    destroy_graph = "cuGraphDestroy"(graph: Handle);
    graph_nodes = "cuGraphGetNodes"(graph: Handle, nodes: *mut Handle, count: *mut usize);
}

/// `CU_DEVICE_ATTRIBUTE_…`
pub mod device_attribute {
    use std::ffi::c_int;

    pub const CLOCK_KHZ: c_int = 13;
    pub const PROCESSORS: c_int = 16;
    pub const ECC: c_int = 32;
    pub const MEMORY_CLOCK_KHZ: c_int = 36;
    pub const MEMORY_BUS_BITS: c_int = 37;
    pub const L2_BYTES: c_int = 38;
    pub const CAPABILITY_MAJOR: c_int = 75;
    pub const CAPABILITY_MINOR: c_int = 76;
    pub const LARGEST_SHARED_MEMORY: c_int = 97;
}

/// `CU_FUNC_ATTRIBUTE_…`
pub mod function_attribute {
    use std::ffi::c_int;

    pub const REGISTERS: c_int = 4;
    pub const LARGEST_DYNAMIC_SHARED_MEMORY: c_int = 8;
}

/// `CU_JIT_…`
pub mod jit {
    use std::ffi::c_int;

    pub const ERROR_LOG: c_int = 5;
    pub const ERROR_LOG_BYTES: c_int = 6;
}

/// A stream that does not wait for the driver's default one.
pub const STREAM_NON_BLOCKING: c_uint = 1;
/// Calls of other threads do not disturb a capture.
pub const CAPTURE_THREAD_LOCAL: c_int = 1;
/// A thread that waits for the event sleeps.
pub const EVENT_BLOCKING_SYNC: c_uint = 1;
/// The event has no clock.
pub const EVENT_DISABLE_TIMING: c_uint = 2;
/// Page-locked for all contexts, and mapped into the device's address space.
pub const HOST_PORTABLE_AND_MAPPED: c_uint = 1 | 2;

/// `CUlaunchConfig`
#[repr(C)]
pub struct LaunchConfig {
    pub grid: [c_uint; 3],
    pub block: [c_uint; 3],
    /// Bytes of dynamic shared memory.
    pub shared: c_uint,
    pub stream: Handle,
    pub attributes: *const LaunchAttribute,
    pub attribute_count: c_uint,
}

/// `CUlaunchAttribute`
#[repr(C)]
pub struct LaunchAttribute {
    pub id: c_int,
    pub padding: [u8; 4],
    /// A union of so many bytes; numbers lie at its beginning.
    pub value: [c_int; 16],
}

impl LaunchAttribute {
    /// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`: the kernel may begin while the one before it ends.
    pub const BEGINS_EARLY: LaunchAttribute = LaunchAttribute {
        id: 6,
        padding: [0; 4],
        value: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    };
}

// As a compiler for C lays them out.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<LaunchConfig>() == 56 && size_of::<LaunchAttribute>() == 72);
