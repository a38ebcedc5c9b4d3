//! The driver's objects on a GPU. `cargo xtask gpu-test` runs them.

use std::sync::Mutex;
use std::time::Duration;

use smallvec::smallvec;
use unisono_cuda::driver::{
    Context, DeviceMemory, DevicePool, Driver, Event, Kernels, Pinned, Snapshot, Source, Stream,
    Timing, Word,
};
use unisono_cuda::launch::{Arg, Buffer, Launch, Place};
use unisono_runtime::ErrorKind;

/// `add_amount` adds a number to each of `count` words; `tell_shared` tells how much shared memory it has.
const PTX: &str = "
.version 8.0
.target sm_80
.address_size 64

.visible .entry add_amount(.param .u64 words, .param .u32 count, .param .u32 amount)
{
	.reg .pred %p;
	.reg .b32 %r<8>;
	.reg .b64 %rd<4>;
	ld.param.u64 %rd1, [words];
	ld.param.u32 %r1, [count];
	ld.param.u32 %r2, [amount];
	mov.u32 %r3, %ctaid.x;
	mov.u32 %r4, %ntid.x;
	mov.u32 %r5, %tid.x;
	mad.lo.u32 %r6, %r3, %r4, %r5;
	setp.ge.u32 %p, %r6, %r1;
	@%p bra done;
	cvta.to.global.u64 %rd1, %rd1;
	mad.wide.u32 %rd2, %r6, 4, %rd1;
	ld.global.u32 %r7, [%rd2];
	add.u32 %r7, %r7, %r2;
	st.global.u32 [%rd2], %r7;
done:
	ret;
}

.visible .entry tell_shared(.param .u64 word)
{
	.reg .b32 %r<2>;
	.reg .b64 %rd<2>;
	ld.param.u64 %rd1, [word];
	cvta.to.global.u64 %rd1, %rd1;
	mov.u32 %r1, %dynamic_smem_size;
	st.global.u32 [%rd1], %r1;
	ret;
}
";

const SOURCE: Source = Source {
    name: "gpu_driver",
    ptx: PTX,
};

/// Counts are those of a context, and tests run in threads of one process: one at a time, each with a context of its own.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn context() -> Context {
    Context::open(Driver::load().unwrap(), 0).unwrap()
}

fn add(count: u32, amount: u32) -> Launch {
    Launch {
        kernel: "add_amount",
        grid: [count.div_ceil(128), 1, 1],
        block: [128, 1, 1],
        shared: 0,
        args: smallvec![
            Arg::Buffer(Buffer::at(Place::Arena(0))),
            Arg::value(&count),
            Arg::value(&amount),
        ],
    }
}

fn at(memory: &DeviceMemory) -> impl Fn(Buffer) -> u64 + use<> {
    let address = memory.address();
    move |buffer| address + buffer.offset as u64
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
        .collect()
}

fn alone(test: impl FnOnce(&Context)) {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let context = context();
    test(&context);
    context.check().unwrap();
    assert_eq!(context.counts().snapshot(), Snapshot::default());
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_device_says_what_it_is_and_others_are_refused_by_name() {
    let _one = ONE_AT_A_TIME.lock();
    let driver = Driver::load().unwrap();
    let devices = driver.devices().unwrap();
    for device in &devices {
        println!(
            "{device:?}\n{} {}",
            device.architecture(),
            device.uuid_text()
        );
        assert!(device.processors > 0 && device.memory_bytes > 1 << 30);
        assert!(device.shared_bytes >= 48 << 10 && !device.name.is_empty());
    }
    let error = Context::open(driver, devices.len()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.message().contains(&devices[0].name), "{error}");
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn bytes_come_back_as_they_went() {
    alone(|context| {
        let pool = DevicePool::new(context, None);
        let stream = Stream::new(context).unwrap();
        let sizes = [1usize, 4, 255, 4096, 1_000_003];
        for bytes in sizes {
            let (a, b) = (pool.allocate(bytes).unwrap(), pool.allocate(bytes).unwrap());
            assert_eq!((a.address() % 256, b.address() % 256), (0, 0));
            let mut input = Pinned::new(context, bytes).unwrap();
            let output = Pinned::new(context, bytes).unwrap();
            for (i, byte) in input.bytes_mut().iter_mut().enumerate() {
                *byte = (i * 31 % 251) as u8;
            }
            // SAFETY: all memory lives until the stream has been waited for, and is large enough.
            unsafe {
                stream.copy_in(a.address(), &input, 0, bytes).unwrap();
                stream.copy(b.address(), a.address(), bytes).unwrap();
                stream.copy_out(&output, 0, b.address(), bytes).unwrap();
            }
            stream.synchronize().unwrap();
            assert_eq!(input.bytes(), output.bytes());
            let mut ordinary = vec![0; bytes];
            // SAFETY: as above.
            unsafe {
                stream.fill(b.address(), 0xAB, bytes).unwrap();
                stream.upload(a.address(), &vec![3; bytes]).unwrap();
                stream.download(&mut ordinary, b.address()).unwrap();
            }
            assert_eq!(ordinary, vec![0xAB; bytes]);
        }
        assert_eq!(pool.stats().blocks, 0);
        assert!(pool.trim() > 0);
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn kernels_are_launched_captured_and_replayed() {
    alone(|context| {
        let pool = DevicePool::new(context, None);
        let stream = Stream::new(context).unwrap();
        let kernels = Kernels::new(context, &[SOURCE]).unwrap();
        const COUNT: usize = 1000;
        let memory = pool.allocate(COUNT * 4).unwrap();
        let mut host = Pinned::new(context, COUNT * 4).unwrap();
        let resolve = at(&memory);
        let launch = add(COUNT as u32, 5);
        kernels.prepare([&launch]).unwrap();
        let (start, end) = (
            Event::new(context, Timing::On).unwrap(),
            Event::new(context, Timing::On).unwrap(),
        );
        // SAFETY: all memory lives until the stream has been waited for, and is large enough.
        unsafe {
            stream.fill(memory.address(), 0, COUNT * 4).unwrap();
            start.record(&stream).unwrap();
            kernels.launch(&stream, &launch, &resolve).unwrap();
            end.record(&stream).unwrap();
            stream
                .copy_out(&host, 0, memory.address(), COUNT * 4)
                .unwrap();
        }
        stream.synchronize().unwrap();
        assert_eq!(words(host.bytes()), vec![5; COUNT]);
        assert!(end.nanoseconds_since(&start).unwrap() < 1_000_000_000);

        // Copy in, two kernels, copy out.
        let graph = stream
            .capture(|stream| {
                // SAFETY: as above, for every launch of the graph.
                unsafe {
                    stream.copy_in(memory.address(), &host, 0, COUNT * 4)?;
                    kernels.launch(stream, &launch, &resolve)?;
                    kernels.launch(stream, &launch, &resolve)?;
                    stream.copy_out(&host, 0, memory.address(), COUNT * 4)
                }
            })
            .unwrap();
        assert_eq!(graph.nodes().unwrap(), 4);
        let executable = graph.instantiate().unwrap();
        drop(graph);
        executable.upload(&stream).unwrap();
        let done = Event::new(context, Timing::Off).unwrap();
        let word = Word::new(context).unwrap();
        for turn in 1..=20u32 {
            host.bytes_mut().fill(0);
            // SAFETY: as above.
            unsafe { stream.launch_graph(&executable) }.unwrap();
            let spin = Duration::from_micros(200);
            if turn % 2 == 0 {
                done.record(&stream).unwrap();
                done.wait(spin).unwrap();
            } else {
                stream.write_word(&word, turn).unwrap();
                word.wait(turn, &stream, spin).unwrap();
                stream.synchronize().unwrap();
                assert_eq!(word.get(), turn);
            }
            assert_eq!(words(host.bytes()), vec![10; COUNT]);
        }
        assert!(stream.is_idle().unwrap());
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn kernels_that_begin_early_see_what_those_before_them_wrote() {
    alone(|context| {
        let pool = DevicePool::new(context, None);
        let stream = Stream::new(context).unwrap();
        let kernels = Kernels::new(context, &[SOURCE]).unwrap();
        const KERNELS: u32 = 100;
        // Less than the device's processors hold at once, and more.
        for count in [1000, 100_000, 5_000_000] {
            let memory = pool.allocate(count * 4).unwrap();
            let host = Pinned::new(context, count * 4).unwrap();
            let narrow = add(count as u32, 1);
            // A word is another processor's turn in every other kernel.
            let mut wide = narrow.clone();
            wide.block = [1024, 1, 1];
            wide.grid = [count.div_ceil(1024) as u32, 1, 1];
            kernels.prepare([&narrow, &wide]).unwrap();
            let graph = stream.capture(|stream| {
                // SAFETY: all memory lives until the stream has been waited for, and is large enough.
                unsafe {
                    stream.fill(memory.address(), 0, count * 4)?;
                    kernels.launch(stream, &narrow, &at(&memory))?;
                    for number in 1..KERNELS {
                        let launch = if number % 2 == 0 { &narrow } else { &wide };
                        kernels.launch_early(stream, launch, &at(&memory))?;
                    }
                    stream.copy_out(&host, 0, memory.address(), count * 4)
                }
            });
            let executable = graph.unwrap().instantiate().unwrap();
            for _ in 0..5 {
                // SAFETY: as above.
                unsafe { stream.launch_graph(&executable) }.unwrap();
                stream.synchronize().unwrap();
                assert!(words(host.bytes()).iter().all(|word| *word == KERNELS));
            }
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_kernel_may_have_all_shared_memory_that_a_block_has_and_no_more() {
    alone(|context| {
        let pool = DevicePool::new(context, None);
        let stream = Stream::new(context).unwrap();
        let kernels = Kernels::new(context, &[SOURCE]).unwrap();
        let memory = pool.allocate(4).unwrap();
        let most = context.properties().shared_bytes;
        let mut launch = Launch {
            kernel: "tell_shared",
            grid: [1; 3],
            block: [1; 3],
            shared: most,
            args: smallvec![Arg::Buffer(Buffer::at(Place::Arena(0)))],
        };
        let mut word = [0; 4];
        // SAFETY: the memory lives until the stream has been waited for, and is large enough.
        unsafe {
            kernels.launch(&stream, &launch, &at(&memory)).unwrap();
            stream.download(&mut word, memory.address()).unwrap();
        }
        assert_eq!(u32::from_ne_bytes(word), most);
        launch.shared = most + 1;
        let error = kernels.prepare([&launch]).unwrap_err();
        assert!(error.message().contains(&most.to_string()), "{error}");
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn captures_and_launches_of_several_threads_do_not_disturb_each_other() {
    alone(|context| {
        let pool = DevicePool::new(context, None);
        let kernels = Kernels::new(context, &[SOURCE]).unwrap();
        std::thread::scope(|scope| {
            for thread in 1..=4u32 {
                let (pool, kernels) = (pool.clone(), kernels.clone());
                scope.spawn(move || {
                    let stream = Stream::new(context).unwrap();
                    for turn in 0..20 {
                        // Allocations and releases happen while others capture.
                        let memory = pool.allocate(4096).unwrap();
                        let other = pool.allocate(1 << (10 + turn % 8)).unwrap();
                        let graph = stream
                            .capture(|stream| {
                                // SAFETY: the memory lives until the stream has been waited for, and is large enough.
                                unsafe {
                                    stream.fill(memory.address(), 0, 4096)?;
                                    kernels.launch(stream, &add(1024, thread), &at(&memory))
                                }
                            })
                            .unwrap()
                            .instantiate()
                            .unwrap();
                        let mut found = vec![0; 4096];
                        // SAFETY: as above.
                        unsafe {
                            stream.launch_graph(&graph).unwrap();
                            stream.download(&mut found, memory.address()).unwrap();
                        }
                        assert_eq!(words(&found), vec![thread; 1024]);
                        drop(other);
                        pool.trim();
                    }
                });
            }
        });
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn memory_that_the_device_does_not_have_is_a_typed_error_and_the_process_lives() {
    alone(|context| {
        let total = context.properties().memory_bytes;
        let pool = DevicePool::new(context, Some(u64::MAX));
        let error = pool
            .allocate(usize::try_from(total).unwrap() * 2)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.message().contains("are free"), "{error}");
        // What is kept goes back before the device is given up on.
        let most_of_it = usize::try_from(context.memory().unwrap().free / 10 * 6).unwrap();
        drop(pool.allocate(most_of_it).unwrap());
        assert!(pool.stats().kept_bytes > 0);
        drop(pool.allocate(most_of_it / 10 * 11).unwrap());
        pool.trim();
        let bounded = DevicePool::new(context, Some(1 << 20));
        let error = bounded.allocate(2 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        let before = context.memory().unwrap().free;
        drop(bounded.allocate(1 << 19).unwrap());
        assert!(before > 0);
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn ptx_that_does_not_compile_is_an_error_with_what_the_compiler_says() {
    alone(|context| {
        let source = Source {
            name: "bad",
            ptx: ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry bad() { nonsense.f32 %x; }",
        };
        let kernels = Kernels::new(context, &[source]).unwrap();
        let error = kernels.function("bad").unwrap_err();
        println!("{error}");
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.message().contains("ptxas"), "{error}");
    });
}
