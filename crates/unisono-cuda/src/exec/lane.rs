//! A lane: a stream, the memory of one batch on both sides, and the graphs that were captured on it.
//!
//! The one idea: memory grows to what the largest program needs and is kept. Captured graphs hold addresses, so each remembers
//! the *generation* of the memory that it was captured with, and is captured again if that has changed. Sizes grow to powers of
//! two, so that a lane which sees ever larger batches captures a bucket again a few times, not for each of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use unisono_cpu::host::HostScratch;
use unisono_runtime::Error;
use unisono_runtime::lane::Lane;

use crate::driver::{DeviceMemory, Event, Pinned, Stream, Timing, Word};
use crate::exec::choice::ChoiceScratch;
use crate::exec::engine::Engine;
use crate::exec::run::clear;
use crate::kernels::staging::ENDED;
use crate::program::{Blocks, Program, STATUS_BYTES};

/// The least that is asked for, in bytes: little programs fit into it whatever their number of rows.
const LEAST_BYTES: usize = 64 << 10;

/// See the [module](self).
pub(crate) struct CudaLane {
    pub(crate) engine: Arc<Engine>,
    /// Its number among the device's lanes.
    pub(crate) number: usize,
    pub(crate) stream: Stream,
    pub(crate) memory: Option<LaneMemory>,
    /// Changes whenever addresses do.
    pub(crate) generation: u64,
    /// Written at the end of a program's last graph.
    pub(crate) ended: Word,
    /// Written behind what was put into the stream one by one, with the number of such waits.
    word: Option<Word>,
    waits: u32,
    event: Event,
    pub(crate) scratch: HostScratch,
    /// For finding out which branches a request takes.
    pub(crate) choice: ChoiceScratch,
    /// For plans that run on the processor, there once there was one.
    on_host: Option<Box<dyn Lane>>,
}

/// The memory of one batch.
pub(crate) struct LaneMemory {
    pub(crate) input: Pinned,
    pub(crate) output: Pinned,
    pub(crate) exchange: Pinned,
    pub(crate) inputs: DeviceMemory,
    pub(crate) outputs: DeviceMemory,
    pub(crate) arena: DeviceMemory,
}

impl LaneMemory {
    fn bytes(&self) -> u64 {
        let device = [&self.inputs, &self.outputs, &self.arena];
        let host = [&self.input, &self.output, &self.exchange];
        let device = device.iter().map(|memory| memory.len());
        let host = host.iter().map(|memory| memory.len());
        device.chain(host).sum::<usize>() as u64
    }

    fn has_room(&self, need: &Need) -> bool {
        self.input.len() >= need.input
            && self.output.len() >= need.output
            && self.exchange.len() >= need.exchange
            && self.arena.len() >= need.arena
    }

    /// Where the blocks on the device are.
    pub(crate) fn blocks(&self) -> Blocks {
        Blocks {
            inputs: self.inputs.address(),
            outputs: self.outputs.address(),
            on_host: self.output.address(),
            arena: self.arena.address(),
        }
    }
}

/// Bytes of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    input: usize,
    output: usize,
    exchange: usize,
    arena: usize,
}

impl Need {
    fn of(program: &Program) -> Need {
        Need {
            input: program.input_bytes,
            output: program.output_bytes,
            exchange: program.exchange,
            arena: program.arena,
        }
    }

    /// What to ask for, if so much is there already.
    fn grown(&self, memory: Option<&LaneMemory>) -> Need {
        let size = |need: usize, has: usize| {
            let need = need.max(LEAST_BYTES).checked_next_power_of_two();
            need.unwrap_or(usize::MAX).max(has)
        };
        let has = memory.map_or(
            Need {
                input: 0,
                output: 0,
                exchange: 0,
                arena: 0,
            },
            |memory| Need {
                input: memory.input.len(),
                output: memory.output.len(),
                exchange: memory.exchange.len(),
                arena: memory.arena.len(),
            },
        );
        Need {
            input: size(self.input, has.input),
            output: size(self.output, has.output),
            exchange: match self.exchange.max(has.exchange) {
                0 => 0,
                _ => size(self.exchange, has.exchange),
            },
            arena: size(self.arena, has.arena),
        }
    }
}

impl CudaLane {
    pub(crate) fn new(engine: &Arc<Engine>) -> Result<CudaLane, Error> {
        let context = &engine.context;
        let stream = Stream::new(context)?;
        // Some systems cannot write words behind a stream; an event takes a little longer to be seen.
        let word = Word::new(context)?;
        let word = stream.write_word(&word, 0).is_ok().then_some(word);
        context.check()?;
        stream.synchronize()?;
        Ok(CudaLane {
            engine: Arc::clone(engine),
            // Relaxed: numbers that differ are all that is wanted.
            number: engine.lanes.fetch_add(1, Ordering::Relaxed),
            stream,
            ended: Word::new(context)?,
            memory: None,
            generation: 0,
            word,
            waits: 0,
            event: Event::new(context, Timing::Off)?,
            scratch: HostScratch::default(),
            choice: ChoiceScratch::default(),
            on_host: None,
        })
    }

    /// Sees to it that there is memory for a program. Nothing is in the stream.
    pub(crate) fn make_room(&mut self, program: &Program) -> Result<(), Error> {
        let need = Need::of(program);
        if self.memory.as_ref().is_some_and(|m| m.has_room(&need)) {
            return Ok(());
        }
        let grown = need.grown(self.memory.as_ref());
        self.generation += 1;
        // Give the old back first: both at once may be more than there is.
        self.memory = None;
        let allocated = self.allocate(&grown).or_else(|error| {
            // Just what is needed may be there where a power of two is not.
            if grown == need {
                return Err(error);
            }
            self.allocate(&need)
        })?;
        self.memory = Some(allocated);
        Ok(())
    }

    fn allocate(&self, need: &Need) -> Result<LaneMemory, Error> {
        let (context, pool) = (&self.engine.context, &self.engine.pool);
        let memory = LaneMemory {
            input: Pinned::new(context, need.input)?,
            output: Pinned::new(context, need.output)?,
            exchange: Pinned::new(context, need.exchange)?,
            inputs: pool.allocate(need.input)?,
            outputs: pool.allocate(need.output)?,
            arena: pool.allocate(need.arena)?,
        };
        clear(&self.stream, &memory.outputs, STATUS_BYTES)?;
        Ok(memory)
    }

    /// Waits until everything in the stream has ended: spins, then sleeps.
    pub(crate) fn wait(&mut self) -> Result<(), Error> {
        let spin = self.engine.options.spin;
        let Some(word) = self.word.as_ref().filter(|_| !spin.is_zero()) else {
            self.event.record(&self.stream)?;
            return self.event.wait(spin);
        };
        self.waits = self.waits.wrapping_add(1);
        self.stream.write_word(word, self.waits)?;
        word.wait(self.waits, &self.stream, spin)
    }

    /// Waits until a program's last graph has ended. [`CudaLane::ended`] was 0 before it was launched.
    pub(crate) fn wait_for_end(&self) -> Result<(), Error> {
        let spin = self.engine.options.spin;
        self.ended.wait(ENDED, &self.stream, spin)
    }

    /// A lane of the processor, for plans that run there.
    pub(crate) fn on_host(&mut self) -> Result<&mut dyn Lane, Error> {
        let lane = match self.on_host.take() {
            Some(lane) => lane,
            None => self.engine.host.new_lane()?,
        };
        Ok(&mut **self.on_host.insert(lane))
    }
}

impl Lane for CudaLane {
    fn bytes(&self) -> u64 {
        let memory = self.memory.as_ref().map_or(0, LaneMemory::bytes);
        let on_host = self.on_host.as_ref().map_or(0, |lane| lane.bytes());
        memory + self.scratch.bytes() + self.choice.bytes() + on_host
    }
}
