//! Where the time of a run goes: an event around every step.
//!
//! The one idea: the steps are those of the program, put into the stream one by one instead of as a graph, with the device's clock
//! read between them. A run without clocks is a graph, which starts its kernels closer to each other, so [`Profile::whole`] is that
//! of graphs and steps may add up to more than they take there; the step's share is what is told.
//!
//! It must never decide anything: no launch depends on what is measured here.

use std::time::{Duration, Instant};

use unisono_graph::{Dim, Fact, Graph, Node, ValueId};
use unisono_runtime::Error;
use unisono_runtime::profile::{Profile, StepProfile, Times};
use unisono_runtime::program::Known;
use unisono_tensor::Tensor;

use crate::exec::lane::CudaLane;
use crate::exec::run::{Bucket, run_step_by_step};
use crate::launch::{Arg, Place};
use crate::program::{Placed, Program, Step, Work};

/// What was measured of a program.
pub(crate) struct Measured {
    /// Of whole runs, as graphs.
    pub(crate) whole: Vec<Duration>,
    /// By step, each by run.
    pub(crate) steps: Vec<Vec<Duration>>,
}

impl Measured {
    /// Runs a program `runs` times as graphs and `runs` times step by step. `run` runs it once as usual.
    pub(crate) fn new(
        lane: &mut CudaLane,
        bucket: &Bucket,
        runs: usize,
        mut run: impl FnMut(&mut CudaLane) -> Result<(), Error>,
        fill: impl Fn(&mut [u8]) -> Result<(), Error>,
    ) -> Result<Measured, Error> {
        // What only the first run does: compiling kernels, capturing.
        run(lane)?;
        let mut whole = Vec::new();
        let mut steps = vec![Vec::new(); bucket.program.steps.len()];
        for _ in 0..runs {
            let began = Instant::now();
            run(lane)?;
            whole.push(began.elapsed());
            let times = run_step_by_step(lane, bucket, &fill)?;
            for (step, time) in steps.iter_mut().zip(times) {
                step.push(time);
            }
        }
        Ok(Measured { whole, steps })
    }

    /// The profile of a program of `graph`, without rows.
    pub(crate) fn profile(
        &self,
        graph: &Graph,
        program: &Program,
        known: &[Option<Known>],
    ) -> Profile {
        let runs = self.whole.len();
        let all = |run: usize| -> Duration {
            let times = self.steps.iter().filter_map(|step| step.get(run));
            times.sum()
        };
        let mut profile = Profile::default();
        profile.runs = runs;
        profile.whole = Times::of(self.whole.iter().copied());
        // No more than the whole: what is over is the distance of launches outside of a graph.
        profile.within_steps = Times::of((0..runs).map(|run| all(run).min(self.whole[run])));
        profile.arena_bytes = program.arena as u64;
        let steps = program.steps.iter().zip(&self.steps);
        profile.steps = steps
            .map(|(step, times)| step_profile(graph, program, known, step, times))
            .collect();
        profile
    }
}

fn step_profile(
    graph: &Graph,
    program: &Program,
    known: &[Option<Known>],
    step: &Step,
    times: &[Duration],
) -> StepProfile {
    let bytes = |all: &[Placed]| all.iter().map(|placed| placed.bytes as u64).sum();
    let mut profile = StepProfile::default();
    profile.times = Times::of(times.iter().copied());
    profile.threads = 1;
    profile.input_bytes = bytes(&step.inputs);
    profile.output_bytes = bytes(&step.outputs);
    profile.kernel = match &step.work {
        Work::Launches(launches) => {
            let names: Vec<&str> = launches.iter().map(|launch| launch.kernel).collect();
            names.join(", ")
        }
        Work::Copy { .. } => "copy to an output".to_owned(),
        Work::Host(_) => "on the CPU".to_owned(),
    };
    profile.weight_bytes = weights(program, step);
    let nodes = step.nodes.iter().filter_map(|&n| graph.nodes().get(n));
    let nodes: Vec<&Node> = nodes.collect();
    if nodes.is_empty() {
        profile.name = step.name.clone();
        profile.operator = "Copy".to_owned();
        profile.flops = Some(0);
        return profile;
    }
    let joined = |part: fn(&Node) -> &str| {
        let parts: Vec<&str> = nodes.iter().map(|node| part(node)).collect();
        parts.join(" + ")
    };
    profile.name = joined(|node| &node.name);
    profile.operator = joined(|node| node.op.name());
    let facts = |ids: &[Option<ValueId>]| -> Vec<Option<Fact>> {
        let known = |id: ValueId| known.get(id.index())?.as_ref();
        let constant = |id: ValueId| graph.constant(id);
        let fact = |id: &Option<ValueId>| {
            let id = (*id)?;
            fact(known(id)?, constant(id))
        };
        ids.iter().map(fact).collect()
    };
    let flops = |node: &&Node| node.op.flops(&facts(&node.inputs), &facts(&node.outputs));
    profile.flops = nodes.iter().map(flops).sum();
    profile
}

fn fact(known: &Known, constant: Option<&Tensor>) -> Option<Fact> {
    let shape = known.shape.as_ref()?;
    let integers = known.integers.as_ref();
    Some(Fact {
        dtype: known.dtype,
        shape: Some(shape.iter().map(|&n| Dim::from(n)).collect()),
        integers: integers.map(|all| all.iter().map(|&n| Dim::constant(n)).collect()),
        constant: constant.or(known.constant.as_ref()).cloned(),
    })
}

/// Bytes of the shared constants that a step's kernels get.
fn weights(program: &Program, step: &Step) -> u64 {
    let Work::Launches(launches) = &step.work else {
        return 0;
    };
    let mut numbers: Vec<usize> = Vec::new();
    for arg in launches.iter().flat_map(|launch| &launch.args) {
        if let Arg::Buffer(buffer) = arg
            && let Place::Constant(number @ 1..) = buffer.place
            && !numbers.contains(&number)
        {
            numbers.push(number);
        }
    }
    let bytes = |number: &usize| program.constants.get(*number).map_or(0, |c| c.len() as u64);
    numbers.iter().map(bytes).sum()
}
