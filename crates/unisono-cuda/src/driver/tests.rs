//! The driver's objects over a driver that can fail at any call.

use std::time::Duration;

use smallvec::smallvec;
use unisono_runtime::{Error, ErrorKind};

use super::fake::{self, FakeDevice, Launched, State};
use super::status::Status;
use super::*;
use crate::launch::{Arg, Buffer, Launch, Place};

const PTX: &str = "
.version 8.0
.target sm_80
.visible .entry scale(.param .u64 a, .param .u64 b, .param .align 4 .b8 c[12], .param .u64 d) { ret; }
.visible .entry other() { ret; }
";

const SOURCE: Source = Source {
    name: "test.ptx",
    ptx: PTX,
};

fn context() -> Result<Context, Error> {
    Context::open(fake::driver()?, 0)
}

fn scale() -> Launch {
    Launch {
        kernel: "scale",
        grid: [4, 2, 1],
        block: [128, 1, 1],
        shared: 64 << 10,
        args: smallvec![
            Arg::Buffer(Buffer::at(Place::Input(1)).plus(16)),
            Arg::Null,
            Arg::value(&[1.0f32, 2.0, 3.0]),
            Arg::Buffer(Buffer::at(Place::Arena(0))),
        ],
    }
}

fn resolve(buffer: Buffer) -> u64 {
    match buffer.place {
        Place::Input(n) => 0xA000 * n as u64 + buffer.offset as u64,
        _ => 0xB000 + buffer.offset as u64,
    }
}

/// Uses everything once.
fn everything(context: &Context) -> Result<(), Error> {
    let pool = DevicePool::new(context, None);
    let (stream, other) = (Stream::new(context)?, Stream::new(context)?);
    let (start, end) = (
        Event::new(context, Timing::On)?,
        Event::new(context, Timing::On)?,
    );
    let kernels = Kernels::new(context, &[SOURCE])?;
    let (a, b) = (pool.allocate(100)?, pool.allocate(200)?);
    let (mut input, output) = (Pinned::new(context, 100)?, Pinned::new(context, 100)?);
    let word = Word::new(context)?;
    let launch = scale();
    kernels.prepare([&launch])?;
    input.bytes_mut().fill(7);
    start.record(&stream)?;
    // SAFETY: all memory lives until the stream has been waited for, and is large enough.
    unsafe {
        stream.upload(b.address(), &[5; 60])?;
        stream.copy_in(a.address(), &input, 10, 90)?;
        stream.copy(b.address(), a.address(), 50)?;
        stream.fill(b.address(), 9, 10)?;
        kernels.launch(&stream, &launch, &resolve)?;
        stream.copy_out(&output, 0, b.address(), 100)?;
    }
    end.record(&stream)?;
    other.wait_for(&end)?;
    end.wait(Duration::ZERO)?;
    assert_eq!(output.bytes()[..10], [9; 10]);
    assert_eq!(output.bytes()[10..50], [7; 40]);
    assert_eq!(output.bytes()[50..60], [5; 10]);
    let mut three = [0; 3];
    // SAFETY: as above.
    unsafe { stream.download(&mut three, b.address() + 9)? };
    assert_eq!(three, [9, 7, 7]);
    assert_eq!(end.nanoseconds_since(&start)?, 1_500_000);
    let graph = stream.capture(|stream| {
        // SAFETY: as above; the graph is launched while all of it lives.
        unsafe {
            kernels.launch(stream, &launch, &resolve)?;
            stream.copy_out(&output, 0, a.address(), 100)
        }
    })?;
    let executable = graph.instantiate()?;
    assert_eq!(graph.nodes()?, 7);
    drop(graph);
    executable.upload(&stream)?;
    // SAFETY: as above.
    unsafe { stream.launch_graph(&executable)? };
    stream.write_word(&word, 3)?;
    word.wait(3, &stream, Duration::ZERO)?;
    stream.synchronize()?;
    assert!(stream.is_idle()?);
    assert!(context.memory()?.free < context.memory()?.total);
    drop((a, b));
    assert!(pool.trim() > 0);
    Ok(())
}

#[test]
fn everything_that_is_made_is_counted_and_unmade() {
    fake::reset(State::default());
    let context = context().unwrap();
    let stream = Stream::new(&context).unwrap();
    let pool = DevicePool::new(&context, None);
    let (memory, pinned) = (
        pool.allocate(1000).unwrap(),
        Pinned::new(&context, 5).unwrap(),
    );
    let counts = context.counts().snapshot();
    assert_eq!(
        (counts.streams, counts.device_blocks, counts.pinned_blocks),
        (1, 1, 1)
    );
    assert_eq!((counts.device_bytes, counts.pinned_bytes), (1024, 5));
    drop((stream, memory, pool, pinned));
    everything(&context).unwrap();
    context.check().unwrap();
    assert_eq!(context.counts().snapshot(), Snapshot::default());
    assert_eq!(fake::with(|state| state.alive.clone()), Default::default());
    drop(context);
    assert_eq!(fake::with(|state| state.retained), 0);
}

#[test]
fn whatever_call_fails_there_is_an_error_and_nothing_is_left() {
    fake::reset(State::default());
    everything(&context().unwrap()).unwrap();
    let calls = fake::with(|state| state.calls.clone());
    let mut wrong = Vec::new();
    for (number, name) in calls.iter().enumerate() {
        for status in [1, 2, 700, 999].map(Status) {
            fake::reset(State {
                fail_at: Some((number, status)),
                ..State::default()
            });
            let (result, kept, counts) = match context() {
                Err(error) => (Err(error), Ok(()), Snapshot::default()),
                Ok(context) => {
                    let result = everything(&context);
                    (result, context.check(), context.counts().snapshot())
                }
            };
            let mut complain =
                |what: &str| wrong.push(format!("call {number}, {name}, {status:?}: {what}"));
            // A thread's context is put back where it was, or cleared; reports do without; the last release has nobody to tell.
            let may_be_ignored = [
                "set_current_context",
                "device_attribute for reports",
                "release_context",
            ];
            match result.as_ref().err().or(kept.as_ref().err()) {
                None if may_be_ignored.contains(name) => {}
                None => complain("nobody is told"),
                Some(error) => {
                    if !matches!(error.kind(), ErrorKind::Device | ErrorKind::OutOfMemory) {
                        complain(&format!("an error of another kind: {error}"));
                    }
                    if status.0 == 700 && !error.message().contains("CUDA_ERROR_ILLEGAL_ADDRESS") {
                        complain(&format!(
                            "an error without the driver's name for it: {error}"
                        ));
                    }
                }
            }
            if status.is_sticky() && number > 20 && kept.is_ok() && !may_be_ignored.contains(name) {
                complain("the context counts as good");
            }
            if counts != Snapshot::default() {
                complain(&format!("counted and not released: {counts:?}"));
            }
            let (alive, dead, retained, current) = fake::with(|state| {
                (
                    state.alive.clone(),
                    state.dead,
                    state.retained,
                    state.current,
                )
            });
            // What the driver would not take back stays, and so does all in a context that is given up.
            let is_release =
                name.starts_with("destroy") || name.starts_with("free") || *name == "unload_module";
            if dead.is_none() && kept.is_ok() && !is_release && !alive.is_empty() {
                complain(&format!("not given back: {alive:?}"));
            }
            if retained != 0 {
                complain("the context was not released");
            }
            if dead.is_none() && current != 0 {
                complain("the thread was left with another context");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn after_a_fault_on_the_device_every_call_answers_with_it_at_once() {
    fake::reset(State::default());
    let context = context().unwrap();
    let (stream, event) = (
        Stream::new(&context).unwrap(),
        Event::new(&context, Timing::Off).unwrap(),
    );
    let number = fake::with(|state| state.calls.len());
    // Entering asks for and sets the context.
    fake::with(|state| state.fail_at = Some((number + 2, Status(700))));
    let first = stream.synchronize().unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Device);
    assert!(!first.is_retryable());
    for text in [
        "run what is in a stream",
        "CUDA_ERROR_ILLEGAL_ADDRESS",
        "in words",
    ] {
        assert!(first.message().contains(text), "{first}");
    }
    assert!(first.advice().unwrap().contains("restart the process"));
    let number = fake::with(|state| state.calls.len());
    for later in [
        event.record(&stream).unwrap_err(),
        event.wait(Duration::from_secs(1)).unwrap_err(),
        Stream::new(&context).unwrap_err(),
        Pinned::new(&context, 8).unwrap_err(),
        DevicePool::new(&context, None).allocate(8).unwrap_err(),
        context.check().unwrap_err(),
    ] {
        assert_eq!(later.to_string(), first.to_string());
    }
    assert_eq!(
        fake::with(|state| state.calls.len()),
        number,
        "the driver was asked again"
    );
}

#[test]
fn a_status_that_the_driver_itself_cannot_name_is_told_by_its_number() {
    fake::reset(State {
        fail_at: Some((0, Status(98_765))),
        ..State::default()
    });
    let error = context().unwrap_err();
    assert!(error.message().contains("98765"), "{error}");
}

#[test]
fn drivers_and_devices_that_cannot_be_used_are_named_with_what_is_needed() {
    let old = FakeDevice {
        name: c"Fake 70",
        capability: (7, 0),
        memory: 1 << 20,
    };
    let rows: [(State, usize, &[&str]); 4] = [
        (
            State {
                version: 11080,
                ..State::default()
            },
            0,
            &["11.8", "12.0", "newer driver"],
        ),
        (
            State {
                devices: vec![],
                ..State::default()
            },
            0,
            &["CUDA_ERROR_NO_DEVICE", "CUDA_VISIBLE_DEVICES", "\"cpu\""],
        ),
        (
            State::default(),
            3,
            &["no device cuda:3", "cuda:0, Fake 100"],
        ),
        (
            State {
                devices: vec![old],
                ..State::default()
            },
            0,
            &["Fake 70", "compute capability 7.0", "8.0"],
        ),
    ];
    for (state, index, says) in rows {
        fake::reset(state);
        let error = fake::driver()
            .and_then(|driver| Context::open(driver, index))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        for text in says {
            assert!(error.to_string().contains(text), "{error}: {text}");
        }
    }
}

#[test]
fn a_device_says_what_it_is() {
    fake::reset(State::default());
    let context = context().unwrap();
    let device = context.properties();
    assert_eq!(device.name, "Fake 100");
    assert_eq!(device.architecture(), "sm_90");
    assert_eq!(device.driver.to_string(), "12.4");
    assert_eq!(
        device.uuid_text(),
        "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    );
    assert!(device.ecc);
}

#[test]
fn the_context_of_the_caller_is_current_again_afterwards() {
    const THEIRS: usize = 0x77;
    fake::reset(State::default());
    let context = context().unwrap();
    for before in [0, THEIRS] {
        fake::with(|state| state.current = before);
        let current = context.enter().unwrap();
        assert_eq!(fake::with(|state| state.current), fake::CONTEXT);
        let calls = fake::with(|state| state.calls.len());
        drop(context.enter().unwrap());
        assert_eq!(
            fake::with(|state| state.calls.len()),
            calls,
            "cheap below a guard"
        );
        drop(Stream::new(&context).unwrap());
        assert_eq!(fake::with(|state| state.current), fake::CONTEXT);
        drop(current);
        assert_eq!(fake::with(|state| state.current), before);
    }
}

#[test]
fn memory_that_the_device_does_not_have_is_an_error_with_figures() {
    fake::reset(State::default());
    let context = context().unwrap();
    let pool = DevicePool::new(&context, Some(u64::MAX));
    let _some = pool.allocate(600_000).unwrap();
    let error = pool.allocate(700_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.is_retryable());
    let in_use = pool::class(600_000).unwrap();
    for number in [
        pool::class(700_000).unwrap(),
        in_use,
        (1 << 20) - in_use,
        1 << 20,
    ] {
        assert!(
            error.message().contains(&number.to_string()),
            "{error}: {number}"
        );
    }
    context.check().unwrap();
    // The default bound is below all that there is.
    let pool = DevicePool::new(&context, None);
    assert_eq!(pool.stats().limit_bytes, 943_719);
    assert_eq!(
        pool.allocate(1_000_000).unwrap_err().kind(),
        ErrorKind::Limit
    );
}

#[test]
fn a_capture_that_goes_wrong_leaves_the_stream_as_it_was() {
    fake::reset(State::default());
    let context = context().unwrap();
    let stream = Stream::new(&context).unwrap();
    let error = stream
        .capture(|_| Err(Error::new(ErrorKind::Unsupported, "on purpose")))
        .unwrap_err();
    assert_eq!(error.message(), "on purpose");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stream.capture(|_| std::panic::resume_unwind(Box::new("on purpose")))
    }));
    assert!(panicked.is_err());
    assert!(fake::with(|state| state.capturing.is_none()));
    assert_eq!(context.counts().snapshot().graphs, 0);
    stream.capture(|_| Ok(())).unwrap();
}

#[test]
fn a_kernel_gets_its_arguments_in_order_and_is_given_its_shared_memory_once() {
    fake::reset(State::default());
    let context = context().unwrap();
    let stream = Stream::new(&context).unwrap();
    let kernels = Kernels::new(&context, &[SOURCE]).unwrap();
    for _ in 0..2 {
        // SAFETY: the fake's kernels touch nothing.
        unsafe { kernels.launch(&stream, &scale(), &resolve) }.unwrap();
    }
    let arguments = vec![
        0xA010u64.to_ne_bytes().to_vec(),
        vec![0; 8],
        bytemuck::bytes_of(&[1.0f32, 2.0, 3.0]).to_vec(),
        0xB000u64.to_ne_bytes().to_vec(),
    ];
    let expected = Launched {
        arguments,
        begins_early: false,
    };
    assert_eq!(
        fake::with(|state| state.launched.clone()),
        [expected.clone(), expected]
    );
    let times = |name| fake::with(|state| state.calls.iter().filter(|call| **call == name).count());
    assert_eq!((times("load_module"), times("function")), (1, 1));
    assert_eq!(times("set_function_attribute"), 1);

    let mut greedy = scale();
    greedy.shared = 300 << 10;
    let error = kernels.prepare([&greedy]).unwrap_err();
    assert!(error.message().contains("307200"), "{error}");
    // The fake must not read what is not there, should it come that far.
    fake::with(|state| state.argument_sizes.clear());
    let mut short = scale();
    short.args.pop();
    // SAFETY: as above.
    assert!(unsafe { kernels.launch(&stream, &short, &resolve) }.is_err());
    let mut unknown = scale();
    unknown.kernel = "no_such";
    assert!(
        kernels
            .prepare([&unknown])
            .unwrap_err()
            .message()
            .contains("no_such")
    );
}

#[test]
fn ptx_that_does_not_compile_is_an_error_with_what_the_compiler_says() {
    fake::reset(State::default());
    let context = context().unwrap();
    let source = Source {
        name: "bad.ptx",
        ptx: ".entry broken() { }",
    };
    let kernels = Kernels::new(&context, &[SOURCE, source]).unwrap();
    kernels.function("other").unwrap();
    let error = kernels.function("broken").unwrap_err();
    for text in ["bad.ptx", "ptxas fatal", "broken on purpose"] {
        assert!(error.message().contains(text), "{error}");
    }
    let twice = Kernels::new(&context, &[SOURCE, SOURCE]).unwrap_err();
    assert!(twice.message().contains("two kernels"), "{twice}");
}

#[test]
fn an_event_is_looked_at_before_the_thread_sleeps() {
    fake::reset(State::default());
    let context = context().unwrap();
    let event = Event::new(&context, Timing::Off).unwrap();
    let slept = || fake::with(|state| state.calls.contains(&"synchronize_event"));
    fake::with(|state| state.not_ready = 3);
    event.wait(Duration::from_secs(3600)).unwrap();
    assert!(!slept());
    fake::with(|state| state.not_ready = usize::MAX);
    assert!(!event.has_happened().unwrap());
    event.wait(Duration::from_nanos(1)).unwrap();
    assert!(slept());
}

#[test]
fn a_copy_that_leaves_its_page_locked_bytes_is_refused() {
    fake::reset(State::default());
    let context = context().unwrap();
    let (stream, pinned) = (
        Stream::new(&context).unwrap(),
        Pinned::new(&context, 10).unwrap(),
    );
    let memory = DevicePool::new(&context, None).allocate(100).unwrap();
    for (offset, bytes) in [(0, 11), (10, 1), (usize::MAX, 2)] {
        // SAFETY: refused before anything is enqueued.
        let copied = unsafe { stream.copy_in(memory.address(), &pinned, offset, bytes) };
        assert!(copied.is_err(), "{offset}, {bytes}");
    }
}

#[test]
fn kernels_begin_early_and_wait_by_themselves_only_where_the_device_can() {
    for (capability, can) in [((8, 9), false), ((9, 0), true), ((10, 0), true)] {
        fake::reset(State {
            devices: vec![FakeDevice {
                name: c"Fake",
                capability,
                memory: 1 << 20,
            }],
            ..State::default()
        });
        let context = context().unwrap();
        let stream = Stream::new(&context).unwrap();
        let kernels = Kernels::new(&context, &[SOURCE]).unwrap();
        // SAFETY: the fake's kernels touch nothing.
        unsafe {
            kernels.launch(&stream, &scale(), &resolve).unwrap();
            kernels.launch_early(&stream, &scale(), &resolve).unwrap();
        }
        let (launched, texts) = fake::with(|state| (state.launched.clone(), state.texts.clone()));
        let early: Vec<bool> = launched.iter().map(|one| one.begins_early).collect();
        assert_eq!(early, [false, can], "{capability:?}");
        let waits = texts[0].matches("griddepcontrol.wait;").count();
        let kernels = if can { ptx::entries(PTX).len() } else { 0 };
        assert_eq!(waits, kernels, "{capability:?}");
    }
}
