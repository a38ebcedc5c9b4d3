//! A plan: what is known of a model for one set of per-row shapes, and a program for each bucket of rows seen.
//!
//! The one idea: as on the processor, inference runs once with the number of rows as a symbol. A request or batch then runs in the
//! program of its bucket, of the graph that has the branches which it takes ([`super::variant`]); one that cannot run here (shapes that
//! depend on data, strings, bodies of loops) runs on the processor, which gives the same bits. So does one that takes a branch which cannot
//! work with its shapes: the error is the processor's, and others are none the worse.
//!
//! What goes wrong on the device is told by the processor: a request whose data a kernel refuses, alone, is run there again, and
//! has the error that it has on any device, at its node.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use unisono_graph::{Fact, Node, ValueId};
use unisono_runtime::lane::Lane;
use unisono_runtime::plan::{Cost, NodePlacement, Plan, PlanKey};
use unisono_runtime::plan_cache::{PlanCache, Weigh};
use unisono_runtime::profile::Profile;
use unisono_runtime::program::concretise;
use unisono_runtime::program::facts::title;
use unisono_runtime::program::outputs::RowOutputs;
use unisono_runtime::program::staging::{Asks, Inputs, Request, Rows, Staging};
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::Tensor;

use crate::exec::bucket::bucket;
use crate::exec::choice::{Choice, ChoiceScratch};
use crate::exec::cost::cost;
use crate::exec::lane::CudaLane;
use crate::exec::model::{CudaModel, is_too_large, other_device};
use crate::exec::profile::Measured;
use crate::exec::run::{Bucket, Outcome, run};
use crate::exec::variant::{Branches, Variant};
use crate::launch::status;
use crate::program::{ALIGNMENT, Built, Program, STATUS_BYTES, Target, Work, build};

/// Bytes of programs and captured graphs that a plan keeps; the least recently used go first.
const PROGRAM_BYTES: u64 = 256 << 20;

/// Bytes of graphs with branches taken that a plan keeps for programs to come, likewise.
const VARIANT_BYTES: u64 = 64 << 20;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BucketKey {
    rows: usize,
    branches: Branches,
}

pub(crate) struct CudaPlan {
    /// First: captured graphs must go before the kernels in them, which the model's device has.
    buckets: PlanCache<BucketKey, Way, Error>,
    /// All but the first.
    variants: PlanCache<Branches, Arc<Variant>, Error>,
    first: Arc<Variant>,
    model: Arc<CudaModel>,
    key: PlanKey,
    /// What is known of the inputs.
    inputs: Vec<Fact>,
    cost: Cost,
    outputs: RowOutputs,
    /// Whether batches may be padded, as far as that follows from the shapes.
    has_rows: bool,
    on_host: Mutex<Option<Arc<dyn Plan>>>,
}

/// Where a request or batch runs.
#[derive(Clone)]
pub(crate) enum Prepared {
    /// On the device.
    Here(Arc<Bucket>),
    /// On the processor, and why.
    Elsewhere(Arc<str>),
}

/// What the branches that were taken lead to, for a number of rows.
#[derive(Clone)]
enum Way {
    To(Prepared),
    /// To further choices.
    Through(Arc<Variant>),
}

impl Weigh for Way {
    fn bytes(&self) -> u64 {
        match self {
            Way::To(Prepared::Here(bucket)) => bucket.bytes(),
            Way::To(Prepared::Elsewhere(why)) => why.len() as u64,
            Way::Through(variant) => variant.bytes(),
        }
    }
}

impl CudaPlan {
    pub(crate) fn compile(model: &Arc<CudaModel>, key: &PlanKey) -> Result<CudaPlan, Error> {
        let ports = model.model.inputs();
        let inputs: Vec<Fact> = ports
            .iter()
            .zip(key.shapes(&model.rows))
            .map(|(port, shape)| Fact::new(port.dtype, shape))
            .collect();
        let first = Variant::first(model, &inputs)?;
        let (graph, facts) = (first.graph(model), &first.facts);
        let known = concretise(facts, &model.rows, 1);
        let outputs = RowOutputs::new(&model.model, graph.outputs(), &known);
        Ok(CudaPlan {
            outputs,
            cost: cost(graph, facts, &model.rows),
            has_rows: key.has_rows() && model.model.contract().is_coalescible(),
            model: Arc::clone(model),
            key: key.clone(),
            first: Arc::new(first),
            inputs,
            buckets: PlanCache::new(PROGRAM_BYTES),
            variants: PlanCache::new(VARIANT_BYTES),
            on_host: Mutex::new(None),
        })
    }

    pub(crate) fn model(&self) -> &CudaModel {
        &self.model
    }

    /// The same plan on the processor.
    pub(crate) fn on_host(&self) -> Result<Arc<dyn Plan>, Error> {
        let mut made = self.on_host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = &*made {
            return Ok(Arc::clone(plan));
        }
        let plan = self.model.on_host.compile(&self.key)?;
        *made = Some(Arc::clone(&plan));
        Ok(plan)
    }

    /// What runs so many rows of requests that may be padded and have these inputs, as far as inputs have no rows.
    pub(crate) fn bucket_for(
        &self,
        rows: usize,
        inputs: &[Tensor],
        scratch: &mut ChoiceScratch,
    ) -> Result<Prepared, Error> {
        let rows = bucket(rows, self.model.engine.options.max_bucket_rows);
        self.exactly(rows, inputs, scratch)
    }

    /// What runs just so many rows.
    fn exactly(
        &self,
        rows: usize,
        inputs: &[Tensor],
        scratch: &mut ChoiceScratch,
    ) -> Result<Prepared, Error> {
        let key = BucketKey {
            rows,
            branches: self.first.branches,
        };
        self.behind(&self.first, key, inputs, scratch)
    }

    /// What runs requests with these inputs that have come to `variant`.
    fn behind(
        &self,
        variant: &Arc<Variant>,
        mut key: BucketKey,
        inputs: &[Tensor],
        scratch: &mut ChoiceScratch,
    ) -> Result<Prepared, Error> {
        let way = match &variant.choice {
            None => {
                let build = || self.build(variant, key.rows).map(Way::To);
                self.buckets.get_or_compile(&key, build, orphaned)?
            }
            Some(choice) => {
                let conditions = choice.conditions(inputs, scratch)?;
                key.branches = key.branches.then(conditions, choice.count());
                let build = || match self.next(variant, choice, conditions) {
                    Ok(next) if next.choice.is_some() => Ok(Way::Through(next)),
                    Ok(next) => self.build(&next, key.rows).map(Way::To),
                    // What is wrong with them the processor says, when it runs.
                    Err(error) if error.kind() == ErrorKind::InvalidInput => {
                        Ok(Way::To(Prepared::Elsewhere(DOES_NOT_FIT.into())))
                    }
                    Err(error) => Err(error),
                };
                self.buckets.get_or_compile(&key, build, orphaned)?
            }
        };
        match way {
            Way::To(prepared) => Ok(prepared),
            Way::Through(next) => self.behind(&next, key, inputs, scratch),
        }
    }

    /// What a choice of `variant` leads to.
    fn next(
        &self,
        variant: &Variant,
        choice: &Choice,
        conditions: u64,
    ) -> Result<Arc<Variant>, Error> {
        let branches = variant.branches.then(conditions, choice.count());
        let take = || {
            let next = variant.next(&self.model, &self.inputs, choice, conditions);
            next.map(Arc::new)
        };
        self.variants.get_or_compile(&branches, take, orphaned)
    }

    /// The nodes that tell which branches a request with these inputs takes.
    fn choosing(&self, inputs: &[Tensor], scratch: &mut ChoiceScratch) -> Result<Vec<Node>, Error> {
        let mut variant = Arc::clone(&self.first);
        let mut found = Vec::new();
        while let Some(choice) = &variant.choice {
            let nodes = variant.graph(&self.model).nodes();
            found.extend(choice.nodes().filter_map(|index| nodes.get(index).cloned()));
            let conditions = choice.conditions(inputs, scratch)?;
            variant = self.next(&variant, choice, conditions)?;
        }
        Ok(found)
    }

    fn build(&self, variant: &Arc<Variant>, rows: usize) -> Result<Prepared, Error> {
        let (model, engine) = (&self.model, &self.model.engine);
        let graph = variant.graph(model);
        let known = concretise(&variant.facts, &model.rows, rows);
        let properties = engine.context.properties();
        let target = Target {
            lower: &engine.lower,
            processors: properties.processors,
            shared_limit: properties.shared_bytes,
            arena_limit: engine.options.arena_limit,
            weights: &model.weights,
            host: &engine.host,
            store: &model.store,
            taken: variant.taken(),
        };
        Ok(match build(graph, &known, &target)? {
            Built::Program(program) => {
                let variant = Arc::clone(variant);
                let bucket = Bucket::new(*program, variant, engine.options.lanes);
                Prepared::Here(Arc::new(bucket))
            }
            Built::Elsewhere(reason) => {
                let node = reason.node.and_then(|node| graph.nodes().get(node));
                let why = match node {
                    Some(node) => {
                        format!("the whole model, for node {}: {}", title(node), reason.why)
                    }
                    None => format!("the whole model: {}", reason.why),
                };
                Prepared::Elsewhere(why.into())
            }
        })
    }

    /// Runs one request.
    pub(crate) fn run_one(
        &self,
        lane: &mut CudaLane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        let contract = self.model.model.contract();
        let may_be_padded =
            self.has_rows && contract.lengths(inputs.iter().map(Tensor::shape)).is_some();
        let (mut prepared, mut is_exact) = match may_be_padded {
            true => (self.bucket_for(rows, inputs, &mut lane.choice), false),
            false => (self.exactly(rows, inputs, &mut lane.choice), true),
        };
        // Whether nodes run on the processor, which say themselves what is wrong with their data.
        let mut may_refuse = false;
        loop {
            let done = match prepared {
                Ok(Prepared::Elsewhere(_)) => {
                    return self.run_on_host(lane, rows, inputs, outputs);
                }
                Ok(Prepared::Here(bucket)) => {
                    may_refuse = bucket.has_host_steps();
                    let outputs = &mut *outputs;
                    let mut request = [Request {
                        rows,
                        inputs,
                        outputs,
                    }];
                    match may_be_padded {
                        true => self.run_requests(lane, &bucket, &mut request),
                        false => self.run_alone(lane, &bucket, &mut request),
                    }
                }
                Err(error) => Err(error),
            };
            match done {
                Err(error) if is_too_large(&error) && !is_exact => {
                    prepared = self.exactly(rows, inputs, &mut lane.choice);
                    is_exact = true;
                }
                // What a kernel found in the data, the processor finds as well, and says where.
                Ok(Outcome::Refused(_)) => return self.run_on_host(lane, rows, inputs, outputs),
                // A node on the processor said it of padded rows. An answer of theirs does not undo the error.
                Err(error) if may_refuse && error.kind() == ErrorKind::Execution => {
                    let own = self.run_on_host(lane, rows, inputs, outputs).err();
                    return Err(own
                        .filter(|own| own.kind() == ErrorKind::Execution)
                        .unwrap_or(error));
                }
                Ok(Outcome::Done) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn run_on_host(
        &self,
        lane: &mut CudaLane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        let plan = self.on_host()?;
        plan.run(lane.on_host()?, rows, inputs, outputs)
    }

    /// Runs requests that may be padded in a program that has room for their rows.
    pub(crate) fn run_requests(
        &self,
        lane: &mut CudaLane,
        bucket: &Bucket,
        requests: &mut [impl Asks],
    ) -> Result<Outcome, Error> {
        let Some(first) = requests.first() else {
            return Ok(Outcome::Done);
        };
        let used = requests.iter().map(Asks::rows).sum();
        let rows = Rows {
            used,
            program: program_rows(&self.model, &bucket.program).unwrap_or(used),
        };
        let staging = Staging::new(
            &self.model.model,
            first.inputs(),
            outputs_of(&bucket.program),
            rows,
            Inputs::Staged,
        );
        self.run_staged(lane, bucket, staging, requests)
    }

    /// Runs one request in a program for just its shapes.
    fn run_alone(
        &self,
        lane: &mut CudaLane,
        bucket: &Bucket,
        request: &mut [Request<'_>; 1],
    ) -> Result<Outcome, Error> {
        let [one] = request;
        let staging = Staging::alone(one.inputs, outputs_of(&bucket.program), one.rows);
        self.run_staged(lane, bucket, staging, request)
    }

    fn run_staged(
        &self,
        lane: &mut CudaLane,
        bucket: &Bucket,
        staging: Option<Staging>,
        requests: &mut [impl Asks],
    ) -> Result<Outcome, Error> {
        let mut staging = staging.ok_or_else(cannot_stage)?;
        let input_bytes = staging.place_inputs(0, ALIGNMENT)?;
        let output_bytes = staging.place_outputs(STATUS_BYTES, ALIGNMENT)?;
        let program = &bucket.program;
        if (input_bytes, output_bytes) != (program.input_bytes, program.output_bytes) {
            return Err(cannot_stage());
        }
        let (model, copiers) = (&self.model.model, &self.model.engine.copiers);
        let requests = RefCell::new(requests);
        let fill = |memory: &mut [u8]| {
            let requests = requests.borrow();
            staging.gather(requests.iter().map(Asks::inputs), memory, Some(copiers))
        };
        let meanwhile = || {
            let mut requests = requests.borrow_mut();
            staging.allocate(model, requests.iter_mut().map(Asks::request))
        };
        let outcome = run(lane, bucket, fill, meanwhile)?;
        if outcome != Outcome::Done {
            return Ok(outcome);
        }
        let memory = lane.memory.as_ref().map_or(&[][..], |m| m.output.bytes());
        let mut requests = requests.borrow_mut();
        let requests = requests.iter_mut().map(Asks::request);
        staging.scatter(model, requests, memory, Some(copiers))?;
        Ok(Outcome::Done)
    }
}

impl Plan for CudaPlan {
    fn run(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        let lane = lane.downcast_mut().ok_or_else(other_device)?;
        self.run_one(lane, rows, inputs, outputs)
    }

    fn profile(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
        runs: usize,
    ) -> Result<Profile, Error> {
        let lane: &mut CudaLane = lane.downcast_mut().ok_or_else(other_device)?;
        // A program for just these rows: what padding costs is no step's.
        let bucket = match self.exactly(rows, inputs, &mut lane.choice)? {
            Prepared::Here(bucket) => bucket,
            Prepared::Elsewhere(_) => {
                let plan = self.on_host()?;
                return plan.profile(lane.on_host()?, rows, inputs, outputs, runs);
            }
        };
        let program = &bucket.program;
        let mut staging =
            Staging::alone(inputs, outputs_of(program), rows).ok_or_else(cannot_stage)?;
        staging.place_inputs(0, ALIGNMENT)?;
        let run = |lane: &mut CudaLane| {
            let outputs = &mut *outputs;
            let mut request = [Request {
                rows,
                inputs,
                outputs,
            }];
            done(self.run_alone(lane, &bucket, &mut request)?)
        };
        let fill = |memory: &mut [u8]| staging.gather(std::iter::once(inputs), memory, None);
        let measured = Measured::new(lane, &bucket, runs, run, fill)?;
        let variant = &bucket.variant;
        let known = concretise(&variant.facts, &self.model.rows, rows);
        let mut profile = measured.profile(variant.graph(&self.model), program, &known);
        profile.rows = rows;
        Ok(profile)
    }

    fn placement(&self, rows: usize, inputs: &[Tensor]) -> Result<Vec<NodePlacement>, Error> {
        let scratch = &mut ChoiceScratch::default();
        let prepared = match self.has_rows {
            true => self.bucket_for(rows, inputs, scratch),
            false => self.exactly(rows, inputs, scratch),
        };
        let device = format!("cuda:{}", self.model.engine.context.properties().index);
        let place = |node: &Node, device: &str, why: Option<&str>| {
            let (name, operator) = (node.name.clone(), node.op.name().to_owned());
            NodePlacement::new(name, operator, device.to_owned(), why)
        };
        let bucket = match prepared? {
            Prepared::Here(bucket) => bucket,
            Prepared::Elsewhere(why) => {
                let all = self.model.model.graph().nodes().iter();
                return Ok(all.map(|node| place(node, "cpu", Some(&why))).collect());
            }
        };
        // In the order of the graph, whatever runs together.
        let nodes = bucket.variant.graph(&self.model).nodes();
        let mut placed = Vec::new();
        for step in &bucket.program.steps {
            for &index in &step.nodes {
                let Some(node) = nodes.get(index) else {
                    continue;
                };
                let place = match step.work {
                    Work::Host(_) => place(node, "cpu", Some(NO_KERNEL)),
                    _ => place(node, &device, None),
                };
                placed.push((index, place));
            }
        }
        placed.sort_by_key(|(index, _)| *index);
        let placed = placed.into_iter().map(|(_, place)| place);
        // What others need as well runs in the program, too. Values keep their numbers when branches are taken.
        let made: HashSet<&Option<ValueId>> = nodes.iter().flat_map(|n| &n.outputs).collect();
        let mut all = self.choosing(inputs, scratch)?;
        let is_made = |id: &Option<ValueId>| id.is_some() && made.contains(id);
        all.retain(|node| !node.outputs.iter().any(is_made));
        let all = all.iter().map(|node| place(node, "cpu", Some(CHOOSES)));
        Ok(all.chain(placed).collect())
    }

    fn allocate(&self, rows: usize, outputs: &mut [Option<Tensor>]) {
        self.outputs.allocate(rows, outputs);
    }

    fn cost(&self) -> Cost {
        self.cost
    }

    fn bytes(&self) -> u64 {
        self.first.bytes()
    }
}

const NO_KERNEL: &str = "no kernel on the device takes these types and shapes";
const DOES_NOT_FIT: &str = "the whole model: a branch that it takes does not fit these shapes";
const CHOOSES: &str = "it is part of what tells which branch runs, before the batch does";

fn orphaned() -> Error {
    Error::new(
        ErrorKind::Panic,
        "preparing the program panicked on another thread; try again",
    )
}

/// How many rows a program is for; `None` if no input says.
fn program_rows(model: &CudaModel, program: &Program) -> Option<usize> {
    let ports = model.model.inputs().iter().zip(&program.inputs);
    ports
        .filter_map(|(port, built)| built.shape.get(port.rows_axis?).copied())
        .next()
}

fn outputs_of(
    program: &Program,
) -> impl ExactSizeIterator<Item = (unisono_tensor::DType, Option<&unisono_tensor::Shape>)> {
    let outputs = program.outputs.iter();
    outputs.map(|port| (port.dtype, Some(&port.shape)))
}

fn cannot_stage() -> Error {
    Error::new(
        ErrorKind::Panic,
        "a request does not fit the program that was built for it; please report this",
    )
}

/// It must have been done.
pub(crate) fn done(outcome: Outcome) -> Result<(), Error> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Refused(bits) => Err(refused(bits)),
    }
}

/// What a kernel found in the data, in words.
fn refused(bits: u32) -> Error {
    let message = if bits & status::BAD_INDEX != 0 {
        "an index lies outside of its axis"
    } else if bits & status::DIVISION_BY_ZERO != 0 {
        "an integer was divided by zero"
    } else {
        "a kernel on the device could not compute with its data"
    };
    Error::new(ErrorKind::Execution, message)
}
