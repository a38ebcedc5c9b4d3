//! What a kernel's fault does to a process. `cargo xtask gpu-test` runs it.
//!
//! The one test here leaves the process without a usable device, hence a program of its own.

use smallvec::smallvec;
use unisono_cuda::driver::{
    Context, DevicePool, Driver, Event, Kernels, Pinned, Snapshot, Source, Stream, Timing,
};
use unisono_cuda::launch::{Arg, Launch};
use unisono_runtime::ErrorKind;

/// `write_wild` writes to an address that is given as a number.
const SOURCE: Source = Source {
    name: "gpu_fault",
    ptx: "
.version 8.0
.target sm_80
.address_size 64

.visible .entry write_wild(.param .u64 nowhere)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<2>;
	ld.param.u64 %rd1, [nowhere];
	mov.u32 %r1, 7;
	st.global.u32 [%rd1], %r1;
	ret;
}
",
};

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_kernels_fault_is_a_typed_error_in_every_later_call() {
    let context = Context::open(Driver::load().unwrap(), 0).unwrap();
    let stream = Stream::new(&context).unwrap();
    let event = Event::new(&context, Timing::Off).unwrap();
    let kernels = Kernels::new(&context, &[SOURCE]).unwrap();
    let pool = DevicePool::new(&context, None);
    let memory = pool.allocate(100).unwrap();
    let pinned = Pinned::new(&context, 100).unwrap();
    let launch = Launch {
        kernel: "write_wild",
        grid: [1; 3],
        block: [1; 3],
        shared: 0,
        args: smallvec![Arg::value(&0x10u64)],
    };
    // SAFETY: it breaks the contract on purpose, on the device alone, and the driver says so.
    unsafe { kernels.launch(&stream, &launch, &|_| 0) }.unwrap();
    let first = stream.synchronize().unwrap_err();
    println!("{first}");
    assert_eq!(first.kind(), ErrorKind::Device);
    assert!(
        first.message().contains("CUDA_ERROR_ILLEGAL_ADDRESS"),
        "{first}"
    );
    assert!(
        first
            .advice()
            .is_some_and(|advice| advice.contains("restart the process"))
    );
    for later in [
        Stream::new(&context).unwrap_err(),
        event.record(&stream).unwrap_err(),
        pool.allocate(1 << 20).unwrap_err(),
        Pinned::new(&context, 8).unwrap_err(),
        context.memory().unwrap_err(),
        context.check().unwrap_err(),
    ] {
        assert_eq!(later.to_string(), first.to_string());
    }
    drop((memory, pinned, pool, kernels, event, stream));
    assert_eq!(context.counts().snapshot(), Snapshot::default());
}
