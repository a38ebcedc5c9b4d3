//! The row and moving families on a GPU, held against the reference bit for bit. `cargo xtask gpu-test` runs them.

mod rows;

use unisono_cuda::driver::{Context, DeviceMemory, DevicePool, Driver, Kernels, Stream};
use unisono_cuda::kernels::SOURCES;
use unisono_cuda::launch::{Buffer, Place, status};
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::indexing::Gather;
use unisono_reference::arith::first_difference;
use unisono_tensor::{DType, Tensor};

use rows::cases::{Case, cases};

/// What runs cases.
struct Gpu {
    pool: DevicePool,
    stream: Stream,
    kernels: Kernels,
    processors: u32,
}

impl Gpu {
    fn open() -> Gpu {
        let context = Context::open(Driver::load().unwrap(), 0).unwrap();
        Gpu {
            pool: DevicePool::new(&context, None),
            stream: Stream::new(&context).unwrap(),
            kernels: Kernels::new(&context, SOURCES).unwrap(),
            processors: context.properties().processors,
        }
    }

    /// Memory that holds bytes that no result has.
    fn poisoned(&self, bytes: usize) -> DeviceMemory {
        let memory = self.pool.allocate(bytes.max(1)).unwrap();
        // SAFETY: the memory has so many bytes, and is kept until the stream was waited for.
        unsafe { self.stream.fill(memory.address(), 0xCB, bytes.max(1)) }.unwrap();
        memory
    }

    fn holding(&self, bytes: &[u8]) -> DeviceMemory {
        let memory = self.poisoned(bytes.len());
        if !bytes.is_empty() {
            // SAFETY: the memory has so many bytes, and is kept until the stream was waited for.
            unsafe { self.stream.upload(memory.address(), bytes) }.unwrap();
        }
        memory
    }

    fn bytes(&self, memory: &DeviceMemory, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if len > 0 {
            // SAFETY: the memory has at least so many bytes, and is kept until the stream was waited for.
            unsafe { self.stream.download(&mut bytes, memory.address()) }.unwrap();
            self.stream.synchronize().unwrap();
        }
        bytes
    }

    /// The bytes of all outputs and the status word.
    fn run(&self, case: &Case, expected: &[Option<Tensor>]) -> (Vec<Vec<u8>>, u32) {
        let lowered = case.lowered(expected, self.processors);
        let (launches, memory) = lowered.unwrap_or_else(|| panic!("{}: refused", case.name()));
        let tensor = |t: &Option<Tensor>| self.holding(t.as_ref().map_or(&[], Tensor::bytes));
        let length = |t: &Option<Tensor>| t.as_ref().map_or(0, |t| t.bytes().len());
        let inputs: Vec<_> = case.inputs.iter().map(tensor).collect();
        let outputs: Vec<_> = expected.iter().map(|t| self.poisoned(length(t))).collect();
        let constants: Vec<_> = memory.constants.iter().map(|b| self.holding(b)).collect();
        let scratch: Vec<_> = memory.scratch.iter().map(|&n| self.poisoned(n)).collect();
        let word = self.holding(&[0; 4]);
        let resolve = |buffer: Buffer| {
            let memory = match buffer.place {
                Place::Input(n) => &inputs[n],
                Place::Output(n) => &outputs[n],
                Place::Constant(n) => &constants[n],
                Place::Arena(n) => &scratch[n],
                Place::Status => &word,
            };
            memory.address() + buffer.offset as u64
        };
        for launch in &launches {
            // SAFETY: all places have the sizes that the lowering was told, and live until the stream was waited for.
            unsafe { self.kernels.launch(&self.stream, launch, &resolve) }.unwrap();
        }
        self.stream.synchronize().unwrap();
        let results = outputs.iter().zip(expected);
        let results = results.map(|(memory, t)| self.bytes(memory, length(t)));
        let status = self.bytes(&word, 4);
        (
            results.collect(),
            u32::from_le_bytes([status[0], status[1], status[2], status[3]]),
        )
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|c| f32::from_le_bytes(*c)).collect()
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn every_node_has_the_bits_of_the_reference() {
    let gpu = Gpu::open();
    let mut failures = Vec::new();
    for case in cases() {
        let expected = case.expected();
        let (found, status) = gpu.run(&case, &expected);
        if status != 0 {
            failures.push(format!("{}: status {status}", case.name()));
        }
        for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let Some(expected) = expected else { continue };
            let difference = if expected.dtype() == DType::F32 {
                first_difference(&floats(found), &floats(expected.bytes()))
                    .map(|d| format!("{d:?}"))
            } else {
                (found != expected.bytes()).then(|| "other bytes".to_owned())
            };
            failures.extend(difference.map(|d| format!("{}, output {n}: {d}", case.name())));
        }
    }
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn data_that_cannot_be_computed_with_is_noted_and_nothing_else_happens() {
    let gpu = Gpu::open();
    let case = |op, inputs: [Tensor; 2]| Case {
        op,
        inputs: inputs.map(Some).into(),
        constants: Vec::new(),
        outputs: 1,
    };
    let x = Tensor::from_slice(&[4], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    for (indices, expected) in [
        ([0i64, -4, 3], 0),
        ([0, 4, 1], status::BAD_INDEX),
        ([0, -5, 1], status::BAD_INDEX),
        ([i64::MAX, i64::MIN, 1], status::BAD_INDEX),
    ] {
        let indices = Tensor::from_slice(&[3], &indices).unwrap();
        let case = case(
            std::sync::Arc::new(Gather { axis: 0 }),
            [x.clone(), indices],
        );
        let out = Tensor::zeros(DType::F32, &[3]).unwrap();
        assert_eq!(gpu.run(&case, &[Some(out)]).1, expected, "{}", case.name());
    }
    for (divisor, expected) in [(3i64, 0), (0, status::DIVISION_BY_ZERO)] {
        let function = BinaryFunction::Div;
        let a = Tensor::from_slice(&[2], &[7i64, -7]).unwrap();
        let b = Tensor::from_slice(&[2], &[-1, divisor]).unwrap();
        let case = case(std::sync::Arc::new(Binary { function }), [a, b]);
        let out = Tensor::zeros(DType::I64, &[2]).unwrap();
        assert_eq!(gpu.run(&case, &[Some(out)]).1, expected, "{}", case.name());
    }
}
