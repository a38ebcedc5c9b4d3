//! Matrix products and convolutions: their launches, and on a device their bits.

#[path = "support/products.rs"]
mod cases;
mod support;

use support::Case;
use unisono_cuda::driver::ptx::{self, Entry};
use unisono_cuda::driver::{Context, DevicePool, Driver, Kernels, Source, Stream};
use unisono_cuda::launch::{Arg, Place};
use unisono_reference::arith::first_difference;

const SOURCES: [Source; 3] = [
    Source {
        name: "gemm",
        ptx: include_str!("../ptx/gemm.ptx"),
    },
    Source {
        name: "gemm_strided",
        ptx: include_str!("../ptx/gemm_strided.ptx"),
    },
    Source {
        name: "conv",
        ptx: include_str!("../ptx/conv.ptx"),
    },
];

fn all() -> Vec<Case> {
    let mut cases = cases::products();
    cases.extend(cases::convolutions());
    cases
}

#[test]
fn every_case_becomes_one_launch_of_a_kernel_with_these_arguments() {
    let entries: Vec<Entry> = SOURCES.iter().flat_map(|s| ptx::entries(s.ptx)).collect();
    for case in all() {
        for processors in [1, 30, 132] {
            let lowered = case.lowered(processors);
            let lowered = lowered.unwrap_or_else(|| panic!("{} has no launch", case.name));
            let [launch] = &lowered.launches[..] else {
                panic!("{} has {} launches", case.name, lowered.launches.len());
            };
            let entry = entries.iter().find(|e| e.name == launch.kernel);
            entry
                .expect("the kernel is in the PTX")
                .check(launch)
                .unwrap();
            let inputs = launch.args.iter().filter_map(|arg| match arg {
                Arg::Buffer(buffer) => Some(buffer.place),
                _ => None,
            });
            let places: Vec<Place> = inputs.collect();
            assert!(places.contains(&Place::Input(0)) && places.contains(&Place::Output(0)));
        }
    }
}

#[test]
fn the_kernels_and_tiles_of_all_sizes_have_a_case() {
    let mut used: Vec<&str> = Vec::new();
    for case in all() {
        for processors in [1, 30, 132] {
            used.extend(
                case.lowered(processors)
                    .unwrap()
                    .launches
                    .iter()
                    .map(|l| l.kernel),
            );
        }
    }
    let missing: Vec<String> = SOURCES
        .iter()
        .flat_map(|s| ptx::entries(s.ptx))
        .map(|entry| entry.name)
        .filter(|name| !used.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "no case uses {missing:?}");
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn products_and_convolutions_have_the_bits_of_the_reference() {
    let context = Context::open(Driver::load().unwrap(), 0).unwrap();
    let pool = DevicePool::new(&context, None);
    let kernels = Kernels::new(&context, &SOURCES).unwrap();
    let stream = Stream::new(&context).unwrap();
    let mut wrong = Vec::new();
    for case in all() {
        let expected = case.expected();
        // How work is split follows from the number of processors; the bits must not.
        for processors in [1, 30, context.properties().processors] {
            let found = on_device(&case, processors, &pool, &kernels, &stream);
            if let Some(difference) = first_difference(&found, &expected) {
                wrong.push(format!(
                    "{} as for {processors} processors: {difference:?}",
                    case.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn on_device(
    case: &Case,
    processors: u32,
    pool: &DevicePool,
    kernels: &Kernels,
    stream: &Stream,
) -> Vec<f32> {
    let lowered = case.lowered(processors).expect("a launch");
    let put = |bytes: &[u8]| {
        let memory = pool.allocate(bytes.len().max(4)).unwrap();
        // SAFETY: the memory is as long as the bytes and nobody else has it.
        unsafe { stream.upload(memory.address(), bytes) }.unwrap();
        memory
    };
    let inputs: Vec<_> = case
        .inputs
        .iter()
        .map(|input| input.as_ref().map(|i| put(i.tensor.bytes())))
        .collect();
    let constants: Vec<_> = lowered.constants.iter().map(|bytes| put(bytes)).collect();
    let scratch: Vec<_> = lowered
        .scratch
        .iter()
        .map(|&bytes| pool.allocate(bytes).unwrap())
        .collect();
    let mut out = vec![0xff; case.output.iter().product::<usize>() * size_of::<f32>()];
    // An element that nobody writes stays NaN.
    let output = put(&out);
    let resolve = |buffer: unisono_cuda::launch::Buffer| {
        let start = match buffer.place {
            Place::Input(n) => inputs[n].as_ref().unwrap().address(),
            Place::Output(_) => output.address(),
            Place::Constant(n) => constants[n].address(),
            Place::Arena(n) => scratch[n].address(),
            Place::Status => panic!("products have nothing to note"),
        };
        start + buffer.offset as u64
    };
    for launch in &lowered.launches {
        // SAFETY: all places live until the stream has been waited for, and are as large as the lowering was told.
        unsafe { kernels.launch(stream, launch, &resolve) }.unwrap();
    }
    stream.synchronize().unwrap();
    // SAFETY: the stream is idle, and the output as long as `out`.
    unsafe { stream.download(&mut out, output.address()) }.unwrap();
    out.chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}
