//! How long the kernels of products and convolutions take on this machine's device.
//!
//! Device time of one launch: a captured graph of many launches one after the other, the median of several runs. Operands that
//! fit stay in the second-level cache. Without an argument: the kernels that the library chooses. With `tiles`: every tile with every
//! number of groups, and whether all of them gave the same bits; what the constants of `kernels::tile` were fitted to.
//!
//! ```text
//! cargo run --release -p unisono-cuda --example cuda_peak
//! cargo run --release -p unisono-cuda --example cuda_peak -- tiles
//! ```

use std::time::Duration;

use unisono_cuda::driver::{
    Context, DeviceMemory, DevicePool, Driver, Event, Kernels, Source, Stream, Timing,
};
use unisono_cuda::kernels::conv::{self, Convolution, Weights};
use unisono_cuda::kernels::functions::Function;
use unisono_cuda::kernels::gemm::{self, Finish, Matrix, Product, Right};
use unisono_cuda::kernels::pool;
use unisono_cuda::kernels::tile::{Choice, Extent, TILES, slices};
use unisono_cuda::launch::{Buffer, Launch, Place};
use unisono_reference::arith::ConvShape;
use unisono_runtime::Error;

const SOURCES: [Source; 4] = [
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
    Source {
        name: "pool",
        ptx: include_str!("../ptx/pool.ptx"),
    },
];

const FINISH: Finish = Finish {
    alpha: 1.0,
    beta: 1.0,
    function: Function::IDENTITY,
};

/// Operations of a graph, beyond which it has fewer launches; launches in a graph, runs that the median is taken of.
const MANY: f64 = 1e12;
const LAUNCHES: usize = 20;
const RUNS: usize = 9;

/// So many floats of both signs.
fn values(count: usize) -> Vec<u8> {
    let value = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
    (0..count).flat_map(|i| value(i).to_le_bytes()).collect()
}

/// A product or a convolution, and the contents of `Place::Arena` by number.
struct Work {
    name: String,
    flops: f64,
    operands: Vec<Vec<u8>>,
    /// Which operand is the result.
    result: usize,
    what: What,
}

enum What {
    Product(Product),
    Convolution(Convolution),
    /// So many planes of so many elements.
    Planes(usize, usize),
}

fn at(n: usize) -> Buffer {
    Buffer::at(Place::Arena(n))
}

fn product(m: usize, n: usize, k: usize) -> Work {
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
    Work {
        name: format!("product M {m} N {n} K {k}"),
        flops: 2.0 * m as f64 * n as f64 * k as f64,
        operands: [m * k, n.next_multiple_of(gemm::PANEL) * k, n, m * n]
            .map(values)
            .to_vec(),
        result: 3,
        what: What::Product(product),
    }
}

/// A convolution with square images and kernels, padded to keep the size; `height` 1 makes it one-dimensional.
fn convolution(
    batch: usize,
    [ci, co]: [usize; 2],
    [height, width]: [usize; 2],
    kernel: usize,
    stride: usize,
) -> Work {
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
    let operands = [
        shape.input_len(),
        co * shape.terms().next_multiple_of(4),
        co,
        shape.output_len(),
    ];
    Work {
        name: format!("conv {batch} x {ci}-{co} {height}x{width} k{kernel} s{stride}"),
        flops: 2.0 * shape.output_len() as f64 * shape.terms() as f64,
        operands: operands.map(values).to_vec(),
        result: 3,
        what: What::Convolution(convolution),
    }
}

/// Q x K^T of attention: many small matrices.
fn attention(batch: usize, length: usize, head: usize) -> Work {
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
    let operand = batch * length * head;
    let operands = [operand, operand, batch * length * length].map(values);
    Work {
        name: format!("{batch} x {length}x{head} x {head}x{length}"),
        flops: 2.0 * (operand * length) as f64,
        operands: operands
            .into_iter()
            .chain([gemm::members(&offsets)])
            .collect(),
        result: 2,
        what: What::Product(product),
    }
}

/// The averages of planes of at most a slice.
fn planes(count: usize, elements: usize) -> Work {
    Work {
        name: format!("averages of {count} x {elements}"),
        flops: (count * elements) as f64,
        operands: [count * elements, count].map(values).to_vec(),
        result: 1,
        what: What::Planes(count, elements),
    }
}

struct Bench {
    context: Context,
    pool: DevicePool,
    kernels: Kernels,
    stream: Stream,
}

impl Bench {
    fn upload(&self, operands: &[Vec<u8>]) -> Result<Vec<DeviceMemory>, Error> {
        operands
            .iter()
            .map(|bytes| {
                let memory = self.pool.allocate(bytes.len())?;
                // SAFETY: as many bytes as were allocated, and nobody else has them.
                unsafe { self.stream.upload(memory.address(), bytes) }?;
                Ok(memory)
            })
            .collect()
    }

    /// Microseconds of one launch of so many operations.
    fn microseconds(
        &self,
        launch: &Launch,
        memory: &[DeviceMemory],
        flops: f64,
    ) -> Result<f64, Error> {
        let launches = LAUNCHES.min((MANY / flops) as usize + 1);
        let resolve = |buffer: Buffer| match buffer.place {
            Place::Arena(n) => memory.get(n).map_or(0, |m| m.address()) + buffer.offset as u64,
            _ => 0,
        };
        self.kernels.prepare([launch])?;
        let graph = self.stream.capture(|stream| {
            for _ in 0..launches {
                // SAFETY: the caller's memory lives until the end of this function, which waits for all runs.
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
        Ok(times[times.len() / 2] as f64 / 1e3 / launches as f64)
    }

    fn chosen(&self, work: &Work) -> Option<Launch> {
        let properties = self.context.properties();
        let (processors, limit) = (properties.processors, properties.shared_bytes);
        match &work.what {
            What::Product(product) => gemm::launch(product, processors, limit),
            What::Convolution(conv) => conv::launch(conv, processors, limit),
            What::Planes(count, elements) => {
                pool::plane_averages(*count, *elements, at(0), None, at(1))?.pop()
            }
        }
    }

    /// How long the chosen kernel takes.
    fn line(&self, work: &Work) -> Result<(), Error> {
        let name = &work.name;
        let Some(launch) = self.chosen(work) else {
            println!("{name:<34} no launch");
            return Ok(());
        };
        let took = self.microseconds(&launch, &self.upload(&work.operands)?, work.flops)?;
        let registers = self.kernels.function(launch.kernel)?.registers();
        println!(
            "{name:<34} {took:>9.2} us {:>7.2} TFLOP/s  {:<26} {:>6} x {:<4} {registers:>3} registers",
            work.flops / took / 1e6,
            launch.kernel,
            launch.grid[0],
            launch.block[0],
        );
        Ok(())
    }

    /// How long every tile with every number of groups takes, and whether their bits are the same.
    fn tiles(&self, work: &Work) -> Result<(), Error> {
        let limit = self.context.properties().shared_bytes;
        let memory = self.upload(&work.operands)?;
        let mut all: Vec<Launch> = self.chosen(work).into_iter().collect();
        for (tile, most) in TILES.iter().map(|tile| tile.most_groups).enumerate() {
            let k = match &work.what {
                What::Product(product) => product.extent.k,
                What::Convolution(conv) => conv.shape.terms(),
                What::Planes(..) => continue,
            };
            for groups in 1..=most.min(slices(k)) {
                let choice = Choice { tile, groups };
                all.extend(match &work.what {
                    What::Product(product) => gemm::launch_tile(product, choice, limit),
                    What::Convolution(conv) => conv::launch_tile(conv, choice, limit),
                    What::Planes(..) => None,
                });
            }
        }
        // Small tiles of what is large have no chance.
        all.retain(|launch| launch.grid[0] < 20_000);
        println!("{}", work.name);
        let mut first: Option<Vec<u8>> = None;
        for launch in &all {
            let took = self.microseconds(launch, &memory, work.flops)?;
            let mut found = vec![0; work.operands[work.result].len()];
            // SAFETY: the stream is idle, and the result as long as its first contents.
            unsafe {
                self.stream
                    .download(&mut found, memory[work.result].address())
            }?;
            let same = *first.get_or_insert_with(|| found.clone()) == found;
            println!(
                "  {took:>9.2} us  {:<30} {:>6} x {:<4} {:>6} bytes{}",
                launch.kernel,
                launch.grid[0],
                launch.block[0],
                launch.shared,
                if same { "" } else { "  OTHER BITS" },
            );
        }
        Ok(())
    }
}

/// What `tiles` times: layers of transformers, perceptrons and convolutions for a few rows and for many.
fn layers() -> Vec<Work> {
    let mut all = Vec::new();
    for (n, k) in [(256, 256), (768, 256), (1024, 256), (256, 1024)] {
        all.extend([32, 64, 256, 512, 2048].map(|m| product(m, n, k)));
    }
    for (n, k) in [(1024, 512), (1024, 1024), (512, 1024)] {
        all.extend([1, 2, 3, 4, 8, 16, 32, 64, 128, 256].map(|m| product(m, n, k)));
    }
    all.extend([1, 4, 8, 16, 4096].map(|m| product(m, 4096, 4096)));
    all.extend([1024, 4096].map(|m| product(m, 1024, 1024)));
    all.push(product(4096, 1024, 512));
    all.extend([4, 32, 256].map(|batch| attention(batch, 32, 64)));
    for batch in [1, 8, 64, 256] {
        all.push(convolution(batch, [64, 128], [1, 128], 3, 1));
        all.push(convolution(batch, [128, 128], [1, 128], 3, 1));
    }
    all.push(convolution(1, [3, 64], [224, 224], 7, 2));
    all.push(convolution(1, [64, 64], [56, 56], 3, 1));
    all.push(convolution(8, [256, 512], [28, 28], 1, 1));
    for batch in [1, 8] {
        all.push(convolution(batch, [512, 512], [7, 7], 3, 1));
        all.push(convolution(batch, [2048, 512], [7, 7], 1, 1));
    }
    all.push(convolution(8, [64, 64], [56, 56], 3, 1));
    all.push(convolution(8, [3, 64], [224, 224], 7, 2));
    all.extend([planes(128, 128), planes(8192, 128), planes(2048, 49)]);
    all
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
    if std::env::args().nth(1).as_deref() == Some("tiles") {
        return layers().iter().try_for_each(|work| bench.tiles(work));
    }
    let mut all = Vec::new();
    for (n, k) in [
        (1024, 512),
        (1024, 1024),
        (512, 1024),
        (768, 256),
        (256, 256),
        (1024, 256),
        (256, 1024),
    ] {
        all.extend([1, 8, 64, 256, 2048, 4096].map(|m| product(m, n, k)));
    }
    all.extend([1, 8, 4096].map(|m| product(m, 4096, 4096)));
    all.extend([8, 256, 2048].map(|batch| attention(batch, 32, 64)));
    for batch in [1, 8, 64, 256] {
        all.push(convolution(batch, [64, 128], [1, 128], 3, 1));
        all.push(convolution(batch, [128, 128], [1, 128], 3, 1));
    }
    for batch in [1, 8] {
        all.push(convolution(batch, [3, 64], [224, 224], 7, 2));
        all.push(convolution(batch, [64, 64], [56, 56], 3, 1));
        all.push(convolution(batch, [256, 512], [28, 28], 1, 1));
        all.push(convolution(batch, [512, 512], [7, 7], 3, 1));
        all.push(convolution(batch, [2048, 512], [7, 7], 1, 1));
    }
    all.extend([128, 8192].map(|count| planes(count, 128)));
    all.extend([256, 2048].map(|count| planes(count, 49)));
    all.iter().try_for_each(|work| bench.line(work))
}
