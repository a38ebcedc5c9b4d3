//! What the device can do at best, measured on it.
//!
//! The one idea: the device's own clock around one launch that runs for milliseconds, so that starting it does not count. A device that has
//! been idle raises its clock first, which takes rounds that nobody looks at.
//!
//! It must never decide anything; see [`unisono_runtime::roofline`].

use std::time::Duration;

use unisono_runtime::roofline::{Ceilings, Rate};
use unisono_runtime::{Error, ErrorKind};

use crate::driver::{DeviceMemory, Event, Stream, Timing};
use crate::exec::engine::Engine;
use crate::kernels::roof;
use crate::launch::{Buffer, Launch, Place};

/// The stream that is read from memory: larger than the caches of devices of today.
const MEMORY_BYTES: usize = 512 << 20;

/// Bytes that a round reads of a stream that is short.
const ROUND_BYTES: usize = 4 << 30;

/// A part of a processor's caches would be measured if less were read.
const LEAST_BYTES: usize = 1 << 20;

/// Rounds of multiply-adds that a thread does: about two milliseconds.
const MULTIPLY_ROUNDS: usize = 1 << 15;

/// Blocks for each processor, one after the other, so that the last to end has little share.
const TURNS: usize = 4;

/// Rounds that are looked at, and rounds before.
const ROUNDS: usize = 7;
const WARM_UP: usize = 4;

struct Probe<'a> {
    engine: &'a Engine,
    stream: Stream,
    data: DeviceMemory,
    out: DeviceMemory,
}

/// Where what is read lies.
const DATA: Buffer = Buffer::at(Place::Arena(0));
/// Where results would go.
const OUT: Buffer = Buffer::at(Place::Arena(1));

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        // The memory goes back to the pool next. An error has been told already, or tells of the same.
        let _ = self.stream.synchronize();
    }
}

impl Probe<'_> {
    /// Units per second of a launch that does so many.
    fn rate(&self, launch: Option<Launch>, units: f64) -> Result<Rate, Error> {
        let too_large = || Error::new(ErrorKind::Limit, "too much to measure with for one launch");
        let launch = launch.ok_or_else(too_large)?;
        let resolve = |buffer: Buffer| match buffer.place {
            Place::Arena(0) => self.data.address() + buffer.offset as u64,
            _ => self.out.address() + buffer.offset as u64,
        };
        self.engine.kernels.prepare([&launch])?;
        let mut rates = Vec::new();
        for round in 0..WARM_UP + ROUNDS {
            let event = || Event::new(&self.engine.context, Timing::On);
            let (start, end) = (event()?, event()?);
            start.record(&self.stream)?;
            // SAFETY: the kernel reads no more than `data` has and writes at most one float of `out`; both live until the stream was
            // waited for, here or when the probe is dropped.
            unsafe { self.engine.kernels.launch(&self.stream, &launch, &resolve) }?;
            end.record(&self.stream)?;
            end.wait(Duration::ZERO)?;
            if round >= WARM_UP {
                rates.push(units / (end.nanoseconds_since(&start)?.max(1) as f64 / 1e9));
            }
        }
        Ok(Rate::of(rates))
    }

    fn multiply(&self, blocks: usize) -> Result<Rate, Error> {
        let each = 2 * roof::THREADS * roof::CHAINS * MULTIPLY_ROUNDS;
        let launch = roof::multiply_adds(blocks, MULTIPLY_ROUNDS, OUT);
        self.rate(launch, blocks as f64 * each as f64)
    }

    fn read(&self, bytes: usize) -> Result<Rate, Error> {
        let processors = self.engine.context.properties().processors as usize;
        let passes = (ROUND_BYTES / bytes.max(1)).max(1);
        let launch = roof::read(processors, bytes, passes, DATA, OUT);
        self.rate(launch, bytes as f64 * passes as f64)
    }
}

/// The ceilings, for a model that reads so many bytes.
///
/// # Errors
/// There is not so much device memory, or the device failed.
pub(crate) fn ceilings(engine: &Engine, weight_bytes: usize) -> Result<Ceilings, Error> {
    let found = measure(engine, weight_bytes);
    // So much is not to be kept for later.
    engine.pool.trim();
    found
}

fn measure(engine: &Engine, weight_bytes: usize) -> Result<Ceilings, Error> {
    let _current = engine.context.enter()?;
    let weight_bytes = weight_bytes.max(LEAST_BYTES).next_multiple_of(16);
    let probe = Probe {
        stream: Stream::new(&engine.context)?,
        data: engine.pool.allocate(weight_bytes.max(MEMORY_BYTES))?,
        out: engine.pool.allocate(16)?,
        engine,
    };
    // SAFETY: as many bytes as were allocated, of which nobody else knows.
    unsafe { probe.stream.fill(probe.data.address(), 0, probe.data.len()) }?;
    let properties = engine.context.properties();
    let processors = properties.processors as usize;
    Ok(Ceilings {
        isa: properties.architecture(),
        unit: "processor",
        units: processors,
        all_units: probe.multiply(TURNS * processors)?,
        one_unit: probe.multiply(1)?,
        memory: probe.read(MEMORY_BYTES)?,
        memory_bytes: MEMORY_BYTES,
        weights: probe.read(weight_bytes)?,
        weight_bytes,
    })
}
