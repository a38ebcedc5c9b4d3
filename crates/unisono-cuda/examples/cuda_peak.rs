//! How long the kernels of products and convolutions take on this machine's device.
//!
//! Device time of one launch: a captured graph of many launches one after the other, the median of several runs. Operands that
//! fit stay in the second-level cache. Give no arguments:
//!
//! ```text
//! cargo run --release -p unisono-cuda --example cuda_peak
//! ```

use std::time::Duration;

use unisono_cuda::driver::{Context, DevicePool, Driver, Event, Kernels, Source, Stream, Timing};
use unisono_cuda::kernels::conv::{self, Convolution, Weights};
use unisono_cuda::kernels::functions::Function;
use unisono_cuda::kernels::gemm::{self, Finish, Matrix, Product, Right};
use unisono_cuda::kernels::tile::Extent;
use unisono_cuda::launch::{Buffer, Launch, Place};
use unisono_reference::arith::ConvShape;
use unisono_runtime::Error;

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

const FINISH: Finish = Finish {
    alpha: 1.0,
    beta: 1.0,
    function: Function::IDENTITY,
};

/// Launches in a graph, runs that the median is taken of.
const LAUNCHES: usize = 50;
const RUNS: usize = 15;

/// So many floats of both signs.
fn values(count: usize) -> Vec<u8> {
    let value = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
    (0..count).flat_map(|i| value(i).to_le_bytes()).collect()
}

struct Bench {
    context: Context,
    pool: DevicePool,
    kernels: Kernels,
    stream: Stream,
}

impl Bench {
    /// Microseconds of one launch. `operands` are the contents of `Place::Arena` by number.
    fn microseconds(&self, launch: &Launch, operands: &[Vec<u8>]) -> Result<f64, Error> {
        let memory = operands
            .iter()
            .map(|bytes| self.pool.allocate(bytes.len()))
            .collect::<Result<Vec<_>, Error>>()?;
        for (memory, bytes) in memory.iter().zip(operands) {
            // SAFETY: as many bytes as were allocated, and nobody else has them.
            unsafe { self.stream.upload(memory.address(), bytes) }?;
        }
        let resolve = |buffer: Buffer| match buffer.place {
            Place::Arena(n) => memory.get(n).map_or(0, |m| m.address()) + buffer.offset as u64,
            _ => 0,
        };
        self.kernels.prepare([launch])?;
        let graph = self.stream.capture(|stream| {
            for _ in 0..LAUNCHES {
                // SAFETY: the memory lives until the end of this function, which waits for all runs.
                unsafe { self.kernels.launch(stream, launch, &resolve) }?;
            }
            Ok(())
        })?;
        let graph = graph.instantiate()?;
        graph.upload(&self.stream)?;
        let mut times = Vec::new();
        for run in 0..RUNS + 3 {
            let (start, end) = (
                Event::new(&self.context, Timing::On)?,
                Event::new(&self.context, Timing::On)?,
            );
            start.record(&self.stream)?;
            // SAFETY: as above.
            unsafe { self.stream.launch_graph(&graph) }?;
            end.record(&self.stream)?;
            end.wait(Duration::ZERO)?;
            if run >= 3 {
                times.push(end.nanoseconds_since(&start)?);
            }
        }
        self.stream.synchronize()?;
        times.sort_unstable();
        Ok(times[times.len() / 2] as f64 / 1e3 / LAUNCHES as f64)
    }

    fn line(
        &self,
        name: &str,
        launch: Option<Launch>,
        operands: &[Vec<u8>],
        flops: f64,
    ) -> Result<(), Error> {
        let Some(launch) = launch else {
            println!("{name:<34} no launch");
            return Ok(());
        };
        let took = self.microseconds(&launch, operands)?;
        let registers = self.kernels.function(launch.kernel)?.registers();
        println!(
            "{name:<34} {took:>9.2} us {:>7.2} TFLOP/s  {:<26} {:>6} x {:<4} {registers:>3} registers",
            flops / took / 1e6,
            launch.kernel,
            launch.grid[0],
            launch.block[0],
        );
        Ok(())
    }

    fn product(&self, m: usize, n: usize, k: usize) -> Result<(), Error> {
        let at = |n| Buffer::at(Place::Arena(n));
        let product = Product {
            extent: Extent { m, n, k, batch: 1 },
            a: Matrix {
                buffer: at(0),
                strides: [k, 1],
            },
            b: Right::Packed(at(1)),
            bias: Some(Matrix {
                buffer: at(2),
                strides: [0, 1],
            }),
            c: at(3),
            members: None,
            even: true,
            finish: FINISH,
            siblings: [None; gemm::SIBLINGS],
        };
        let properties = self.context.properties();
        let launch = gemm::launch(&product, properties.processors, properties.shared_bytes);
        let operands = [m * k, n.next_multiple_of(gemm::PANEL) * k, n, m * n].map(values);
        let flops = 2.0 * m as f64 * n as f64 * k as f64;
        self.line(
            &format!("product M {m} N {n} K {k}"),
            launch,
            &operands,
            flops,
        )
    }

    /// A convolution with square images and kernels, padded to keep the size; `height` 1 makes it one-dimensional.
    fn convolution(
        &self,
        batch: usize,
        [ci, co]: [usize; 2],
        [height, width]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Result<(), Error> {
        let at = |n| Buffer::at(Place::Arena(n));
        let flat = height == 1;
        let tall = if flat { 1 } else { kernel };
        let shape = ConvShape {
            batch,
            in_channels: ci,
            out_channels: co,
            groups: 1,
            input: [1, height, width],
            output: [
                1,
                height.div_ceil(if flat { 1 } else { stride }),
                width.div_ceil(stride),
            ],
            kernel: [1, tall, kernel],
            strides: [1, if flat { 1 } else { stride }, stride],
            dilations: [1; 3],
            pads: [0, tall / 2, kernel / 2],
        };
        let convolution = Convolution {
            shape,
            transposed: false,
            x: at(0),
            weights: Weights::Packed(at(1)),
            bias: Some(at(2)),
            y: at(3),
            finish: FINISH,
        };
        let properties = self.context.properties();
        let launch = conv::launch(&convolution, properties.processors, properties.shared_bytes);
        let operands = [
            shape.input_len(),
            co * shape.terms().next_multiple_of(4),
            co,
            shape.output_len(),
        ]
        .map(values);
        let flops = 2.0 * shape.output_len() as f64 * shape.terms() as f64;
        let name = format!("conv {batch} x {ci}-{co} {height}x{width} k{kernel} s{stride}");
        self.line(&name, launch, &operands, flops)
    }

    /// Q x K^T of attention: many small matrices.
    fn attention(&self, batch: usize, length: usize, head: usize) -> Result<(), Error> {
        let at = |n| Buffer::at(Place::Arena(n));
        let product = Product {
            extent: Extent {
                m: length,
                n: length,
                k: head,
                batch,
            },
            a: Matrix {
                buffer: at(0),
                strides: [head, 1],
            },
            b: Right::Strided(Matrix {
                buffer: at(1),
                strides: [1, head],
            }),
            bias: None,
            c: at(2),
            members: Some(at(3)),
            even: true,
            finish: FINISH,
            siblings: [None; gemm::SIBLINGS],
        };
        let offsets: Vec<[usize; 4]> = (0..batch)
            .map(|i| [i * length * head, i * length * head, i * length * length, 0])
            .collect();
        let properties = self.context.properties();
        let launch = gemm::launch(&product, properties.processors, properties.shared_bytes);
        let operand = batch * length * head;
        let bytes = [operand, operand, batch * length * length].map(values);
        let bytes: Vec<Vec<u8>> = bytes.into_iter().chain([gemm::members(&offsets)]).collect();
        let flops = 2.0 * (operand * length) as f64;
        self.line(
            &format!("{batch} x {length}x{head} x {head}x{length}"),
            launch,
            &bytes,
            flops,
        )
    }
}

fn main() -> Result<(), Error> {
    let context = Context::open(Driver::load()?, 0)?;
    let bench = Bench {
        pool: DevicePool::new(&context, None),
        kernels: Kernels::new(&context, &SOURCES)?,
        stream: Stream::new(&context)?,
        context,
    };
    let properties = bench.context.properties();
    println!(
        "{}: {} processors\n",
        properties.name, properties.processors
    );
    for (n, k) in [(1024, 512), (1024, 1024), (512, 1024), (768, 256)] {
        for m in [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096] {
            bench.product(m, n, k)?;
        }
    }
    bench.product(1, 4096, 4096)?;
    bench.product(8, 4096, 4096)?;
    bench.product(4096, 4096, 4096)?;
    for batch in [8, 256, 2048] {
        bench.attention(batch, 32, 64)?;
    }
    for batch in [1, 8, 64, 256] {
        bench.convolution(batch, [64, 128], [1, 128], 3, 1)?;
        bench.convolution(batch, [128, 128], [1, 128], 3, 1)?;
    }
    for batch in [1, 8] {
        bench.convolution(batch, [3, 64], [224, 224], 7, 2)?;
        bench.convolution(batch, [64, 64], [56, 56], 3, 1)?;
        bench.convolution(batch, [256, 512], [28, 28], 1, 1)?;
        bench.convolution(batch, [512, 512], [7, 7], 3, 1)?;
        bench.convolution(batch, [2048, 512], [7, 7], 1, 1)?;
    }
    Ok(())
}
