//! Where the time of a run goes: a clock around every step, and what each step cannot do without.
//!
//! The one idea: the run is the usual one. A [`Probe`] is handed down to the loop over the steps, which asks it once a step
//! whether there is one. Everything else (names, operations, bytes, the kernels' words) follows from the program afterwards.
//!
//! It must never decide anything: no kernel, tile or thread count depends on what is measured here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use unisono_graph::ops::indexing::Gather;
use unisono_graph::ops::movement::Slice;
use unisono_graph::{Dim, Fact, Node, ValueId};
use unisono_runtime::Error;
use unisono_runtime::profile::{Profile, StepProfile, Times};
use unisono_runtime::program::staging::TensorSink;
use unisono_runtime::team::Team;
use unisono_tensor::{DType, Shape, Tensor, element_count};

use crate::exec::kernel::{Context, Known};
use crate::exec::lane::CpuLane;
use crate::exec::model::CpuModel;
use crate::exec::program::{Action, Operand, Program, Step};
use crate::exec::run::execute;

/// Sees a run from inside.
pub(crate) struct Probe {
    /// By step.
    seen: Vec<Seen>,
    /// By value: shapes that were found while running.
    found: HashMap<usize, (DType, Shape)>,
    /// All steps of the run under way.
    sum: Duration,
    /// How many runs have begun.
    runs: usize,
}

#[derive(Default)]
struct Seen {
    /// By run.
    times: Vec<Duration>,
    /// By run and pass.
    threads: Vec<usize>,
    /// The number of the run that the last time is of.
    runs: usize,
}

impl Probe {
    fn new(program: &Program) -> Probe {
        let mut seen = Vec::new();
        seen.resize_with(program.steps.len(), Seen::default);
        Probe {
            seen,
            found: HashMap::new(),
            sum: Duration::ZERO,
            runs: 0,
        }
    }

    /// A run begins.
    pub(crate) fn begin(&mut self) {
        self.runs += 1;
        self.sum = Duration::ZERO;
    }

    /// Does step number `index` under the clock; what it takes in the passes of one run is added up.
    pub(crate) fn time<T>(&mut self, index: usize, step: impl FnOnce() -> T) -> T {
        Team::took_part();
        let began = Instant::now();
        let result = step();
        let took = began.elapsed();
        self.sum += took;
        if let Some(seen) = self.seen.get_mut(index) {
            match seen.times.last_mut() {
                Some(sum) if seen.runs == self.runs => *sum += took,
                _ => seen.times.push(took),
            }
            seen.runs = self.runs;
            seen.threads.push(Team::took_part());
        }
        result
    }

    /// Takes note of a shape that was found while running.
    pub(crate) fn found(&mut self, operand: &Operand, dtype: DType, shape: &[usize]) {
        self.found
            .insert(operand.value, (dtype, Shape::from_slice(shape)));
    }
}

/// Runs a program once, then `runs` times under the clock.
pub(crate) fn profile(
    model: &CpuModel,
    program: &Program,
    known: &[Option<Known>],
    lane: &mut CpuLane,
    inputs: &[Tensor],
    outputs: &mut [Option<Tensor>],
    runs: usize,
) -> Result<Profile, Error> {
    let mut run = |outputs: &mut [Option<Tensor>], probe: Option<&mut Probe>| {
        let mut sink = TensorSink { outputs };
        execute(program, &model.engine, lane, inputs, &mut sink, probe)
    };
    // What only the first run does: touching new memory, waking threads.
    run(outputs, None)?;
    let mut probe = Probe::new(program);
    let (mut whole, mut within) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let began = Instant::now();
        run(outputs, Some(&mut probe))?;
        whole.push(began.elapsed());
        within.push(probe.sum);
    }
    let looked_at = Looked {
        model,
        known,
        probe: &probe,
    };
    let mut profile = Profile::default();
    profile.runs = runs;
    profile.whole = Times::of(whole);
    profile.within_steps = Times::of(within);
    profile.arena_bytes = program.arena as u64;
    profile.steps = program
        .steps
        .iter()
        .zip(&probe.seen)
        .enumerate()
        .map(|(i, (step, seen))| looked_at.step(step, seen, program.passes(i)))
        .collect();
    Ok(profile)
}

/// A program that has been run, and what is known of its values.
struct Looked<'a> {
    model: &'a CpuModel,
    known: &'a [Option<Known>],
    probe: &'a Probe,
}

impl Looked<'_> {
    fn step(&self, step: &Step, seen: &Seen, passes: usize) -> StepProfile {
        let mut profile = StepProfile::default();
        profile.times = Times::of(seen.times.iter().copied());
        profile.threads = median(&seen.threads).max(1);
        let graph = self.model.model.graph();
        let nodes = step.nodes.iter().filter_map(|&n| graph.nodes().get(n));
        let nodes: Vec<&Node> = nodes.collect();
        if nodes.is_empty() {
            profile.name = step.name.clone();
            profile.operator = match &step.action {
                Action::Copy => "Copy".to_owned(),
                Action::Kernel { .. } | Action::Dynamic { .. } => "Turn".to_owned(),
            };
            profile.kernel = self.kernel(step, passes);
            profile.flops = Some(0);
            profile.input_bytes = self.operands(&step.inputs, passes);
            profile.output_bytes = self.operands(&step.outputs, passes);
            return profile;
        }
        let joined = |part: fn(&Node) -> &str| {
            let parts: Vec<&str> = nodes.iter().map(|node| part(node)).collect();
            parts.join(" + ")
        };
        profile.name = joined(|node| &node.name);
        profile.operator = joined(|node| node.op.name());
        profile.kernel = self.kernel(step, passes);
        profile.flops = nodes.iter().map(|node| self.flops(node)).sum();
        profile.output_bytes = self.operands(&step.outputs, passes);
        (profile.input_bytes, profile.weight_bytes) = self.inputs(&nodes, profile.output_bytes);
        profile
    }

    fn kernel(&self, step: &Step, passes: usize) -> String {
        let engine = &self.model.engine;
        let cx = Context {
            team: &engine.team,
            isa: engine.isa,
        };
        match &step.action {
            Action::Kernel { kernel, .. } if passes > 1 => {
                format!("{}, in {passes} passes", kernel.describe(&cx))
            }
            Action::Kernel { kernel, .. } => kernel.describe(&cx),
            Action::Copy => "copy to an output".to_owned(),
            Action::Dynamic { op } if op.subgraphs().is_empty() => {
                "built in each run, as its shape depends on data".to_owned()
            }
            Action::Dynamic { .. } => "interpreted, as its shape depends on data".to_owned(),
        }
    }

    fn flops(&self, node: &Node) -> Option<u64> {
        let facts = |ids: &[Option<ValueId>]| -> Vec<Option<Fact>> {
            ids.iter().map(|id| self.fact((*id)?)).collect()
        };
        let (inputs, outputs) = (facts(&node.inputs), facts(&node.outputs));
        node.op.flops(&inputs, &outputs)
    }

    fn shape(&self, id: ValueId) -> Option<(DType, &[usize])> {
        if let Some((dtype, shape)) = self.probe.found.get(&id.index()) {
            return Some((*dtype, shape));
        }
        let known = self.known.get(id.index())?.as_ref()?;
        Some((known.dtype, known.shape.as_deref()?))
    }

    fn constant(&self, id: ValueId) -> Option<&Tensor> {
        let known = self.known.get(id.index()).and_then(Option::as_ref);
        let graph = self.model.model.graph();
        graph
            .constant(id)
            .or(known.and_then(|k| k.constant.as_ref()))
    }

    fn fact(&self, id: ValueId) -> Option<Fact> {
        let (dtype, shape) = self.shape(id)?;
        let known = self.known.get(id.index()).and_then(Option::as_ref);
        let integers = known.and_then(|k| k.integers.as_ref());
        Some(Fact {
            dtype,
            shape: Some(shape.iter().map(|&n| Dim::from(n)).collect()),
            integers: integers.map(|all| all.iter().map(|&n| Dim::constant(n)).collect()),
            constant: self.constant(id).cloned(),
        })
    }

    fn bytes(&self, id: ValueId) -> u64 {
        let bytes = |(dtype, shape): (DType, &[usize])| {
            let elements = element_count(shape)?;
            Some(elements.checked_mul(dtype.size())? as u64)
        };
        self.shape(id).and_then(bytes).unwrap_or(0)
    }

    /// Bytes of the places of a step, each value once.
    fn operands(&self, operands: &[Option<Operand>], passes: usize) -> u64 {
        let found = |o: &Operand| {
            let (dtype, shape) = self.probe.found.get(&o.value)?;
            Some((element_count(shape)? * dtype.size()) as u64)
        };
        let all = operands.iter().flatten();
        let bytes: u64 = all.map(|o| found(o).unwrap_or(o.bytes as u64)).sum();
        bytes * passes as u64
    }

    /// Bytes of a step's inputs that are made by other steps or by the caller, and of those that the model holds.
    fn inputs(&self, nodes: &[&Node], output_bytes: u64) -> (u64, u64) {
        let (mut made, mut weights) = (0, 0);
        // What one node of a step makes for the next is nowhere in memory.
        let own = nodes.iter().flat_map(|node| &node.outputs);
        let mut counted: Vec<ValueId> = own.copied().flatten().collect();
        let inputs = nodes.iter().flat_map(|node| {
            let inputs = node.inputs.iter().enumerate();
            inputs.map(move |(index, id)| (node, index, id))
        });
        for (node, index, id) in inputs {
            let Some(id) = *id else { continue };
            if counted.contains(&id) {
                continue;
            }
            counted.push(id);
            let mut bytes = self.bytes(id);
            if index == 0 && (node.op.is::<Gather>() || node.op.is::<Slice>()) {
                // No more of a table is read than what is taken out of it.
                bytes = bytes.min(output_bytes);
            }
            let follows = || {
                let known = self.known.get(id.index()).and_then(Option::as_ref);
                known.is_some_and(|k| k.integers.is_some() && !k.dtype.is_float())
            };
            if self.constant(id).is_some() {
                weights += bytes;
            } else if !follows() {
                made += bytes;
            }
        }
        (made, weights)
    }
}

fn median(counts: &[usize]) -> usize {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(0)
}
