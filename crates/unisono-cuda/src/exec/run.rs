//! One batch on a lane: capture, launch, wait, and nodes on the processor in between.
//!
//! This module holds the `unsafe` of the executor. What it keeps of the driver's [contract of the queue](crate::driver):
//!
//! - *Room.* Addresses come from [`Program::address`], for blocks that [`CudaLane::make_room`] has made at least as large as the program
//!   says; a program's buffers lie within what it says, by its construction (`program::tests` looks at every one of them).
//! - *Lifetime.* Whoever enqueues waits before it returns, whatever happens, so what is in the stream ends before anybody else
//!   gets the lane, its memory, the program or the weights.
//! - *Nobody else.* A lane is borrowed exclusively for a batch, and its memory is its own. Weights are never written after they
//!   were uploaded.
//! - *Graphs.* One is launched on the lane that captured it, and only in the generation of memory that it was captured with.
//!
//! A captured graph hides its nodes from the processor: whatever goes wrong with one of them shows where the graph is launched or
//! where the batch is waited for. So these are the places at which faults on purpose strike, not each node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{TensorMut, TensorRef, fault};

use crate::driver::{DeviceMemory, Event, GraphExec, Kernels, Stream, Timing};
use crate::exec::lane::{CudaLane, LaneMemory};
use crate::exec::variant::Variant;
use crate::kernels::staging;
use crate::launch::{Buffer, Launch};
use crate::program::{
    Blocks, HostInput, HostStep, Placed, Program, STATUS_BYTES, Segment, Step, Work,
};

/// A program with what was captured of it.
pub(crate) struct Bucket {
    pub(crate) program: Program,
    /// What it is a program of.
    pub(crate) variant: Arc<Variant>,
    segments: Vec<Segment>,
    /// By lane. The lock is never waited for: a lane has one holder.
    captured: Box<[Mutex<Option<Captured>>]>,
}

/// The graphs of a program on one lane, one for each segment on the device.
struct Captured {
    generation: u64,
    graphs: Vec<GraphExec>,
}

/// Bytes that an executable graph takes for each of its nodes, roughly, on host and device together.
const NODE_BYTES: u64 = 2 << 10;

impl Bucket {
    pub(crate) fn new(program: Program, variant: Arc<Variant>, lanes: usize) -> Bucket {
        Bucket {
            segments: program.segments(),
            program,
            variant,
            captured: (0..lanes).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Do some of its nodes run on the processor?
    pub(crate) fn has_host_steps(&self) -> bool {
        self.segments.len() > 1
    }

    /// Bytes that it holds, captured graphs included, and the graph that it may be the last to have.
    pub(crate) fn bytes(&self) -> u64 {
        let nodes = self.program.launches().count() + 2 * self.segments.len();
        let variant = self.variant.taken().map_or(0, |_| self.variant.bytes());
        variant + self.program.bytes() + nodes as u64 * NODE_BYTES * self.captured.len() as u64
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The outputs are in the lane's page-locked memory.
    Done,
    /// A kernel could not compute with its data; see [`crate::launch::status`]. Outputs are void.
    Refused(u32),
}

/// A lane with its memory taken out of it. However it goes out of scope, the stream has been waited for, and the lane has its memory.
struct Flight<'a> {
    lane: &'a mut CudaLane,
    memory: Option<LaneMemory>,
    is_over: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // Its error is the one that led here, or the device is lost and nothing runs any more.
            let _ = self.lane.stream.synchronize();
            if let Some(memory) = &self.memory {
                // What the kernels that did run had to say must not be taken for the next batch's.
                let _ = clear(&self.lane.stream, &memory.outputs, STATUS_BYTES);
            }
        }
        self.lane.memory = self.memory.take();
    }
}

/// Runs a program on inputs that `fill` writes into the lane's page-locked memory. `meanwhile` is called while the device is at work.
pub(crate) fn run(
    lane: &mut CudaLane,
    bucket: &Bucket,
    fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    meanwhile: impl FnOnce() -> Result<(), Error>,
) -> Result<Outcome, Error> {
    let context = lane.engine.context.clone();
    let _current = context.enter()?;
    lane.make_room(&bucket.program)?;
    let mut flight = Flight {
        memory: lane.memory.take(),
        lane,
        is_over: true,
    };
    let memory = flight.memory.as_mut().ok_or_else(no_memory)?;
    fill(memory.input.bytes_mut())?;
    flight.is_over = false;
    enqueue_all(flight.lane, bucket, memory)?;
    // All of it is under way.
    strike()?;
    meanwhile()?;
    flight.lane.wait_for_end()?;
    flight.is_over = true;
    let status = match bucket.program.may_refuse {
        true => memory.output.bytes().first_chunk().copied(),
        // It may be what another program left there.
        false => None,
    };
    match u32::from_le_bytes(status.unwrap_or_default()) {
        0 => Ok(Outcome::Done),
        bits => {
            clear(&flight.lane.stream, &memory.outputs, STATUS_BYTES)?;
            Ok(Outcome::Refused(bits))
        }
    }
}

/// All of a program's parts in order.
fn enqueue_all(lane: &mut CudaLane, bucket: &Bucket, memory: &mut LaneMemory) -> Result<(), Error> {
    let slot = bucket.captured.get(lane.number).ok_or_else(no_lane)?;
    let mut captured = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if captured.as_ref().map(|c| c.generation) != Some(lane.generation) {
        *captured = None;
        *captured = Some(capture(lane, bucket, memory)?);
    }
    let graphs = captured.as_ref().map_or(&[][..], |c| &c.graphs[..]);
    let mut graphs = graphs.iter();
    for segment in &bucket.segments {
        match segment {
            Segment::Device(_) => {
                let graph = graphs.next().ok_or_else(no_lane)?;
                strike()?;
                lane.ended.set(0);
                // SAFETY: captured on this lane in this generation, as looked at above; the lock is held until all is enqueued,
                // and the caller waits before it gives the bucket back.
                unsafe { lane.stream.launch_graph(graph) }?;
            }
            Segment::Host(index) => {
                let step = bucket.program.steps.get(*index);
                if let Some(Work::Host(host)) = step.map(|step| &step.work) {
                    on_host(lane, &bucket.program, host, memory)?;
                }
            }
        }
    }
    Ok(())
}

/// Where a fault on purpose may strike: see the [module](self).
fn strike() -> Result<(), Error> {
    match fault!(node) {
        None => Ok(()),
        Some(why) => Err(Error::new(
            ErrorKind::Execution,
            format!("the kernels of a batch: {why}"),
        )),
    }
}

/// Runs a program step by step, and gives each step's time: by the device's clock, by the processor's for what runs there. Nothing
/// is copied back.
pub(crate) fn run_step_by_step(
    lane: &mut CudaLane,
    bucket: &Bucket,
    fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) -> Result<Vec<Duration>, Error> {
    let context = lane.engine.context.clone();
    let _current = context.enter()?;
    let program = &bucket.program;
    lane.make_room(program)?;
    let event = || Event::new(&context, Timing::On);
    let events = (0..=program.steps.len()).map(|_| event());
    let events = events.collect::<Result<Vec<Event>, Error>>()?;
    let mut on_processor: Vec<Option<Duration>> = vec![None; program.steps.len()];
    let mut flight = Flight {
        memory: lane.memory.take(),
        lane,
        is_over: true,
    };
    let memory = flight.memory.as_mut().ok_or_else(no_memory)?;
    prepare(flight.lane, program, memory)?;
    fill(memory.input.bytes_mut())?;
    flight.is_over = false;
    Queue::new(flight.lane, &flight.lane.stream, program, memory).bring_in()?;
    let steps = program.steps.iter().zip(&events).zip(&mut on_processor);
    for ((step, before), on_processor) in steps {
        before.record(&flight.lane.stream)?;
        match &step.work {
            Work::Host(host) => {
                let began = Instant::now();
                on_host(flight.lane, program, host, memory)?;
                *on_processor = Some(began.elapsed());
            }
            // Each is timed by itself, so none begins early.
            _ => Queue::new(flight.lane, &flight.lane.stream, program, memory).step(step)?,
        }
    }
    if let Some(last) = events.last() {
        last.record(&flight.lane.stream)?;
    }
    flight.lane.wait()?;
    flight.is_over = true;
    let mut times = Vec::new();
    for (pair, on_processor) in events.windows(2).zip(on_processor) {
        times.push(match (on_processor, pair) {
            (Some(time), _) => time,
            (None, [before, after]) => Duration::from_nanos(after.nanoseconds_since(before)?),
            (None, _) => Duration::ZERO,
        });
    }
    Ok(times)
}

/// Captures every segment of a program.
fn capture(lane: &CudaLane, bucket: &Bucket, memory: &LaneMemory) -> Result<Captured, Error> {
    let program = &bucket.program;
    prepare(lane, program, memory)?;
    let last = bucket.segments.len().saturating_sub(1);
    let mut graphs = Vec::new();
    for (number, segment) in bucket.segments.iter().enumerate() {
        let Segment::Device(range) = segment else {
            continue;
        };
        let steps = program.steps.get(range.clone()).unwrap_or_default();
        let graph = lane.stream.capture(|stream| {
            let mut queue = Queue::new(lane, stream, program, memory);
            if number == 0 {
                queue.bring_in()?;
            }
            for step in steps {
                queue.step(step)?;
            }
            if number == last {
                queue.bring_out()?;
                let ended = ended(lane)?;
                // SAFETY: the word is the lane's.
                unsafe { queue.kernel(&ended, &|_| 0) }?;
            }
            Ok(())
        })?;
        let executable = graph.instantiate()?;
        executable.upload(&lane.stream)?;
        graphs.push(executable);
    }
    Ok(Captured {
        generation: lane.generation,
        graphs,
    })
}

/// Loads all kernels that a program needs.
fn prepare(lane: &CudaLane, program: &Program, memory: &LaneMemory) -> Result<(), Error> {
    let kernels = &lane.engine.kernels;
    kernels.prepare(program.launches())?;
    kernels.prepare([&ended(lane)?])?;
    kernels.prepare(&copy_in(program, memory))?;
    kernels.prepare(&copy_out(program, memory))
}

/// What a program's last graph ends with.
fn ended(lane: &CudaLane) -> Result<Launch, Error> {
    staging::ended(lane.ended.address()).ok_or_else(no_lane)
}

/// Bytes up to which a kernel copies a batch. What is larger is left to the copy engines, beside which other lanes can compute: it takes
/// so long that a few microseconds are nothing.
pub(super) const MOST_BY_KERNEL: usize = 32 << 20;

/// The kernel that brings the inputs to the device, where one does.
fn copy_in(program: &Program, memory: &LaneMemory) -> Option<Launch> {
    let (from, to) = (memory.input.address(), memory.inputs.address());
    by_kernel(from, to, program.input_bytes)
}

/// The same for what is to be brought back.
fn copy_out(program: &Program, memory: &LaneMemory) -> Option<Launch> {
    let (from, to) = (memory.outputs.address(), memory.output.address());
    by_kernel(from, to, program.bytes_to_bring())
}

fn by_kernel(from: u64, to: u64, bytes: usize) -> Option<Launch> {
    match bytes {
        1..=MOST_BY_KERNEL => staging::copy(from, to, bytes),
        _ => None,
    }
}

/// Puts what a program does into a stream, in order.
struct Queue<'a> {
    kernels: &'a Kernels,
    stream: &'a Stream,
    program: &'a Program,
    memory: &'a LaneMemory,
    /// Is the last thing in it a kernel? While that ends, the next one may begin.
    is_behind_kernel: bool,
}

impl<'a> Queue<'a> {
    /// Behind anything.
    fn new(
        lane: &'a CudaLane,
        stream: &'a Stream,
        program: &'a Program,
        memory: &'a LaneMemory,
    ) -> Queue<'a> {
        Queue {
            kernels: &lane.engine.kernels,
            stream,
            program,
            memory,
            is_behind_kernel: false,
        }
    }

    /// # Safety
    /// As for [`Kernels::launch`].
    unsafe fn kernel(
        &mut self,
        launch: &Launch,
        resolve: &dyn Fn(Buffer) -> u64,
    ) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.is_behind_kernel {
                true => self.kernels.launch_early(self.stream, launch, resolve),
                false => self.kernels.launch(self.stream, launch, resolve),
            }
        }?;
        self.is_behind_kernel = true;
        Ok(())
    }

    /// Brings the inputs to the device.
    fn bring_in(&mut self) -> Result<(), Error> {
        if let Some(launch) = copy_in(self.program, self.memory) {
            // SAFETY: see the module's contract; a block is made of whole pieces, as it is of whole `ALIGNMENT`s.
            return unsafe { self.kernel(&launch, &|_| 0) };
        }
        let to = self.memory.inputs.address();
        match self.program.input_bytes {
            0 => Ok(()),
            bytes => {
                self.is_behind_kernel = false;
                // SAFETY: see the module's contract; both sides are as large as the program's inputs.
                unsafe { self.stream.copy_in(to, &self.memory.input, 0, bytes) }
            }
        }
    }

    /// Brings back what kernels have not written into the host's memory: the outputs and the status word, or that alone, or nothing.
    fn bring_out(&mut self) -> Result<(), Error> {
        if let Some(launch) = copy_out(self.program, self.memory) {
            // SAFETY: as above.
            return unsafe { self.kernel(&launch, &|_| 0) };
        }
        let from = self.memory.outputs.address();
        match self.program.bytes_to_bring() {
            0 => Ok(()),
            bytes => {
                self.is_behind_kernel = false;
                // SAFETY: see the module's contract; both sides are as large as the program's outputs.
                unsafe { self.stream.copy_out(&self.memory.output, 0, from, bytes) }
            }
        }
    }

    /// A step on the device.
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        let (program, blocks) = (self.program, self.memory.blocks());
        let resolve = |buffer: Buffer| address(program, blocks, buffer).unwrap_or_default();
        match &step.work {
            Work::Launches(launches) => {
                for launch in launches {
                    // SAFETY: see the module's contract.
                    unsafe { self.kernel(launch, &resolve) }?;
                }
                Ok(())
            }
            Work::Copy { from, to, bytes } if *bytes > 0 => {
                self.is_behind_kernel = false;
                // SAFETY: see the module's contract; an output's place overlaps nothing else.
                unsafe { self.stream.copy(resolve(*to), resolve(*from), *bytes) }
            }
            Work::Copy { .. } | Work::Host(_) => Ok(()),
        }
    }
}

fn address(program: &Program, blocks: Blocks, buffer: Buffer) -> Option<u64> {
    Some(program.address(buffer.place, blocks)? + buffer.offset as u64)
}

/// Runs a node on the processor: what it reads is brought over, what it writes is brought back.
fn on_host(
    lane: &mut CudaLane,
    program: &Program,
    host: &HostStep,
    memory: &mut LaneMemory,
) -> Result<(), Error> {
    let blocks = memory.blocks();
    let place = |placed: &Placed| address(program, blocks, placed.buffer).ok_or_else(no_lane);
    for input in host.inputs.iter().flatten() {
        if let HostInput::Device { from, at, .. } = input
            && from.bytes > 0
        {
            let address = place(from)?;
            // SAFETY: see the module's contract; the program has counted the bytes of `exchange`.
            unsafe {
                lane.stream
                    .copy_out(&memory.exchange, *at, address, from.bytes)
            }?;
        }
    }
    // Also where nothing is brought over: what the node before wrote may still be on its way to the device.
    lane.wait()?;
    let LaneMemory {
        input, exchange, ..
    } = &mut *memory;
    let (input, exchange) = (input.bytes(), exchange.bytes_mut());
    // Inputs lie before outputs in the exchange memory.
    let first_output = host.outputs.iter().flatten().map(|output| output.at).min();
    let cut = first_output.unwrap_or(exchange.len()).min(exchange.len());
    let (read, mut write) = exchange.split_at_mut(cut);
    let mut inputs: SmallVec<[Option<TensorRef<'_>>; 8]> = SmallVec::new();
    for source in &host.inputs {
        inputs.push(match source {
            None => None,
            Some(HostInput::Constant(tensor)) => Some(tensor.view()?),
            Some(HostInput::Input(n, dtype, shape)) => {
                let port = program.inputs.get(*n);
                let bytes = port.and_then(|port| input.get(port.offset..port.offset + port.bytes));
                Some(TensorRef::new(*dtype, shape, bytes.unwrap_or_default())?)
            }
            Some(HostInput::Device {
                from,
                at,
                dtype,
                shape,
            }) => {
                let bytes = read.get(*at..at + from.bytes).unwrap_or_default();
                Some(TensorRef::new(*dtype, shape, bytes)?)
            }
        });
    }
    let mut outputs: SmallVec<[Option<TensorMut<'_>>; 4]> = SmallVec::new();
    let mut begin = cut;
    for target in &host.outputs {
        let Some(target) = target else {
            outputs.push(None);
            continue;
        };
        // They lie in order.
        let skip = target.at - begin;
        let rest = std::mem::take(&mut write)
            .get_mut(skip..)
            .unwrap_or_default();
        let (own, rest) = rest
            .split_at_mut_checked(target.to.bytes)
            .unwrap_or_default();
        (write, begin) = (rest, target.at + target.to.bytes);
        outputs.push(Some(TensorMut::new(target.dtype, &target.shape, own)?));
    }
    host.node.run(&inputs, &mut outputs, &mut lane.scratch)?;
    drop((inputs, outputs));
    for target in host.outputs.iter().flatten() {
        if target.to.bytes > 0 {
            let address = place(&target.to)?;
            // SAFETY: see the module's contract; the next node on the processor waits before it touches `exchange`.
            unsafe {
                lane.stream
                    .copy_in(address, &memory.exchange, target.at, target.to.bytes)
            }?;
        }
    }
    Ok(())
}

/// Puts constants onto the device, and waits until they are there.
pub(crate) fn upload(stream: &Stream, to: &DeviceMemory, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > to.len() {
        return Err(no_memory());
    }
    // SAFETY: the memory is new and has room, as looked at.
    unsafe { stream.upload(to.address(), bytes) }
}

/// Sets the first bytes of a block to zero, and waits until they are.
pub(crate) fn clear(stream: &Stream, block: &DeviceMemory, bytes: usize) -> Result<(), Error> {
    let bytes = bytes.min(block.len());
    // SAFETY: the block is the lane's, nothing is in its stream, and it is waited for.
    unsafe { stream.fill(block.address(), 0, bytes) }?;
    stream.synchronize()
}

fn no_memory() -> Error {
    Error::new(
        ErrorKind::Panic,
        "a lane has no memory for its batch; please report this",
    )
}

fn no_lane() -> Error {
    Error::new(
        ErrorKind::Panic,
        "a program does not know the lane that it runs on, or one of its places; please report this",
    )
}
