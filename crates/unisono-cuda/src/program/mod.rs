//! A program: a graph for concrete shapes, as launches over buffers whose places are known.
//!
//! The one idea: inputs lie in one block on the device and outputs in another, each at a fixed offset, so that one copy brings a
//! batch in and one brings its answers out, where kernels do not write them to the host themselves. Everything else has a place before
//! the first batch comes: constants are the model's and shared by all its programs, views are the place of what they view, all the
//! rest shares an arena by lifetime. A node for which there is no kernel runs on the processor, between two launches; what is between
//! two such nodes is a *segment*, which a lane captures as one graph.
//!
//! It is plain data: built and tested without a device. Building never trusts the graph: sizes are checked for overflow and
//! against the limit.

mod build;
mod fuse;
mod straight;
#[cfg(test)]
mod tests;
mod weights;

use std::ops::Range;
use std::sync::Arc;

use unisono_cpu::host::HostNode;
use unisono_tensor::{DType, Shape, Tensor};

use crate::launch::{Arg, Buffer, Launch, Place};

pub use build::{Built, Reason, Target, build};
pub use weights::{Resident, Upload, Weights};

/// Alignment of every place, in bytes: what the driver gives, and the widest load of a warp.
pub const ALIGNMENT: usize = 256;

/// Bytes in front of the first output in the block of outputs; the first four are the status word.
pub const STATUS_BYTES: usize = ALIGNMENT;

/// An input or output of a program.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
    /// Where it begins in its block.
    pub offset: usize,
    /// How many bytes it has.
    pub bytes: usize,
}

/// What a step does.
pub enum Work {
    /// Kernels on the device, one after the other.
    Launches(Vec<Launch>),
    /// A copy on the device: an output that is an input, a constant or another output.
    Copy {
        /// From here.
        from: Buffer,
        /// To here.
        to: Buffer,
        /// So many bytes.
        bytes: usize,
    },
    /// A kernel on the processor.
    Host(HostStep),
}

/// What stands in [`Placed::value`] for scratch memory.
pub const NO_VALUE: usize = usize::MAX;

/// A value in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The number of the value whose bytes they are, [`NO_VALUE`] for scratch memory. A view has the bytes of what it views.
    pub value: usize,
    /// Where.
    pub buffer: Buffer,
    /// How many bytes.
    pub bytes: usize,
}

/// One node, a group of nodes that one launch serves, or a copy.
pub struct Step {
    /// Paths and operators of the nodes, for errors.
    pub name: String,
    /// The nodes' numbers in their graph, rising; none for what the program itself adds.
    pub nodes: Vec<usize>,
    /// What it does.
    pub work: Work,
    /// What it reads and has a place on the device.
    pub inputs: Vec<Placed>,
    /// What it writes.
    pub outputs: Vec<Placed>,
    /// Scratch memory of its own.
    pub scratch: Vec<Placed>,
}

/// Where a step on the processor finds an input.
pub enum HostInput {
    /// The model has it.
    Constant(Tensor),
    /// It is copied from the device into the lane's exchange memory, to this offset there.
    Device {
        /// Where it is on the device.
        from: Placed,
        /// Where it goes.
        at: usize,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Shape,
    },
    /// Input number n of the program, which the lane has anyway.
    Input(usize, DType, Shape),
}

/// Where a step on the processor puts an output, which is then copied to the device.
pub struct HostOutput {
    /// Where it is on the device.
    pub to: Placed,
    /// Where it is in the lane's exchange memory.
    pub at: usize,
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
}

/// A node that runs on the processor.
pub struct HostStep {
    /// The node.
    pub node: HostNode,
    /// Its inputs; `None` for those left out, or not read.
    pub inputs: Vec<Option<HostInput>>,
    /// Its outputs; `None` for those left out.
    pub outputs: Vec<Option<HostOutput>>,
}

/// A part of a program that runs in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// These steps, on the device.
    Device(Range<usize>),
    /// This step, on the processor.
    Host(usize),
}

/// See the [module](self).
pub struct Program {
    /// In the order in which they run.
    pub steps: Vec<Step>,
    /// What [`Place::Constant`] counts: the program's own tables first, then what it shares.
    pub constants: Vec<Arc<dyn Resident>>,
    /// The inputs.
    pub inputs: Vec<Port>,
    /// The outputs.
    pub outputs: Vec<Port>,
    /// Size of the block of inputs, a multiple of [`ALIGNMENT`].
    pub input_bytes: usize,
    /// Size of the block of outputs, the status word included; a multiple of [`ALIGNMENT`].
    pub output_bytes: usize,
    /// Do kernels write the outputs into the host's memory, so that nothing but the status word is copied back?
    pub writes_to_host: bool,
    /// May a kernel refuse its data? Only then anybody writes or reads the status word.
    pub may_refuse: bool,
    /// Size of the arena.
    pub arena: usize,
    /// Page-locked bytes through which steps on the processor exchange values with the device.
    pub exchange: usize,
}

impl Program {
    /// The program's parts in order: device and processor in turn, beginning and ending with the device, so that the first brings the
    /// inputs in and the last the outputs out.
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut from = 0;
        for (index, step) in self.steps.iter().enumerate() {
            if matches!(step.work, Work::Host(_)) {
                segments.push(Segment::Device(from..index));
                segments.push(Segment::Host(index));
                from = index + 1;
            }
        }
        segments.push(Segment::Device(from..self.steps.len()));
        segments
    }

    /// All launches in order.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.steps.iter().flat_map(|step| match &step.work {
            Work::Launches(launches) => &launches[..],
            _ => &[],
        })
    }

    /// Bytes of the block of outputs that have to be copied back after a run.
    pub fn bytes_to_bring(&self) -> usize {
        match self.writes_to_host {
            true if self.may_refuse => STATUS_BYTES,
            true => 0,
            false => self.output_bytes,
        }
    }

    /// Bytes that the program itself holds, roughly: steps and tables, not weights.
    pub fn bytes(&self) -> u64 {
        let of_step = |step: &Step| {
            let placed = step.inputs.len() + step.outputs.len() + step.scratch.len();
            let work = match &step.work {
                Work::Launches(launches) => launches
                    .iter()
                    .map(|launch| size_of::<Launch>() + launch.args.len() * size_of::<Arg>())
                    .sum(),
                Work::Copy { .. } | Work::Host(_) => 0,
            };
            size_of::<Step>()
                + step.name.len()
                + step.nodes.len() * size_of::<usize>()
                + placed * size_of::<Placed>()
                + work
        };
        let steps: usize = self.steps.iter().map(of_step).sum();
        let tables = self.constants.first().map_or(0, |tables| tables.len());
        (steps + tables + self.constants.len() * size_of::<Arc<dyn Resident>>()) as u64
    }

    /// Where a place begins, for blocks that begin at these addresses. `None` for a place that the program does not have.
    pub fn address(&self, place: Place, blocks: Blocks) -> Option<u64> {
        let at = |base: u64, offset: usize| Some(base + offset as u64);
        match place {
            Place::Input(n) => at(blocks.inputs, self.inputs.get(n)?.offset),
            Place::Output(n) => {
                let block = match self.writes_to_host {
                    true => blocks.on_host,
                    false => blocks.outputs,
                };
                at(block, self.outputs.get(n)?.offset)
            }
            Place::Constant(n) => Some(self.constants.get(n)?.address()),
            Place::Arena(offset) => at(blocks.arena, offset),
            Place::Status => Some(blocks.outputs),
        }
    }
}

/// Addresses of a lane's blocks, as the device sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Of inputs.
    pub inputs: u64,
    /// Of outputs, which begins with the status word.
    pub outputs: u64,
    /// Of outputs in the host's page-locked memory, as the device sees it.
    pub on_host: u64,
    /// The arena.
    pub arena: u64,
}
