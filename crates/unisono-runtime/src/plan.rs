//! What a device makes of a model, and what a request needs to find its plan.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use smallvec::SmallVec;
use unisono_graph::{Dim, Symbol};
use unisono_tensor::{DeviceId, Tensor, mutant};

use crate::coalescer::Spin;
use crate::error::{Error, ErrorKind};
use crate::lane::Lane;
use crate::model::ModelGraph;
use crate::plan_cache::Weigh;
use crate::profile::Profile;
use crate::roofline::Ceilings;
use std::sync::Arc;

/// Stands in a [`PlanKey`] for the length of the rows axis.
const ROWS: usize = usize::MAX;

/// The input shapes that a plan serves, the number of rows left open.
#[derive(Clone, Debug)]
pub struct PlanKey {
    /// For each input its rank, then its lengths.
    packed: SmallVec<[usize; 20]>,
}

impl PartialEq for PlanKey {
    fn eq(&self, other: &PlanKey) -> bool {
        self.compared() == other.compared()
    }
}

impl Eq for PlanKey {}

impl Hash for PlanKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.compared().hash(state);
    }
}

impl PlanKey {
    /// What makes keys different: all of it.
    fn compared(&self) -> &[usize] {
        match mutant!(KeyIgnoresDimension) {
            true => &[],
            false => &self.packed,
        }
    }

    /// The key of inputs with these shapes, each with its rows axis if it has one.
    pub fn new<'a>(inputs: impl Iterator<Item = (&'a [usize], Option<usize>)>) -> PlanKey {
        let mut packed = SmallVec::new();
        for (shape, rows_axis) in inputs {
            packed.push(shape.len());
            let lengths = shape.iter().enumerate();
            packed.extend(lengths.map(|(i, &n)| if Some(i) == rows_axis { ROWS } else { n }));
        }
        PlanKey { packed }
    }

    /// The shapes as dimensions, in which `rows` stands for the number of rows.
    pub fn shapes(&self, rows: &Symbol) -> Vec<Vec<Dim>> {
        let mut shapes = Vec::new();
        let mut rest = self.packed.as_slice();
        while let Some((&rank, tail)) = rest.split_first() {
            let (shape, tail) = tail.split_at(rank.min(tail.len()));
            let dim = |&n: &usize| {
                if n == ROWS {
                    Dim::symbol(rows)
                } else {
                    Dim::from(n)
                }
            };
            shapes.push(shape.iter().map(dim).collect());
            rest = tail;
        }
        shapes
    }

    /// Is the number of rows left open?
    pub fn has_rows(&self) -> bool {
        self.packed.contains(&ROWS)
    }
}

/// What a device is, for reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Which device.
    pub id: DeviceId,
    /// The hardware's own name.
    pub name: String,
    /// Threads that compute, or multiprocessors.
    pub threads: usize,
    /// The instruction set in use, in the device's words.
    pub isa: String,
}

impl DeviceInfo {
    /// All of it.
    pub fn new(id: DeviceId, name: String, threads: usize, isa: String) -> DeviceInfo {
        DeviceInfo {
            id,
            name,
            threads,
            isa,
        }
    }
}

/// What a device holds of its own memory at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMemory {
    /// What models, lanes and captured work have.
    pub in_use_bytes: u64,
    /// What nobody has, kept for the next who asks.
    pub kept_bytes: u64,
    /// The most that both together ever were.
    pub peak_bytes: u64,
    /// The most that both together may be.
    pub limit_bytes: u64,
    /// Page-locked memory of the host, through which all goes to and fro.
    pub pinned_bytes: u64,
}

impl DeviceMemory {
    /// With so much in use of so much; the rest is to be set.
    pub fn new(in_use_bytes: u64, limit_bytes: u64) -> DeviceMemory {
        DeviceMemory {
            in_use_bytes,
            limit_bytes,
            ..DeviceMemory::default()
        }
    }
}

/// The trait that a device implements: it makes lanes, and executables out of models.
///
/// A device follows the canonical arithmetic; what it must never do is let the number of rows, the lane, the number of
/// threads or the load reach a bit of an answer (contract C1).
pub trait Backend: Send + Sync + 'static {
    /// What it is.
    fn info(&self) -> DeviceInfo;

    /// How many lanes it wants.
    fn lane_count(&self) -> usize;

    /// How many batches of one session may be in flight at once, where batching pays: a device that copies while it computes
    /// wants two, and more where many `callers` must be woken and put together. The batch behind is closed when its lane is ready.
    fn leaders(&self, callers: usize) -> usize {
        let _ = callers;
        1
    }

    /// Lets the calling thread, which would otherwise sleep, work on what is running on the device, if that is short of hands. Says
    /// whether it did.
    fn lend_a_hand(&self) -> bool {
        false
    }

    /// How long an idle thread of the device spins before it sleeps.
    fn spin(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// What it holds of memory of its own; `None` where it has none beside the host's.
    fn memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Measures what it can do at best, which takes some tenths of a second; nothing else should run on it meanwhile. `weight_bytes` is
    /// how much the model reads that the ceilings are for.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it has nothing to measure with; there is not so much memory; the device failed.
    fn ceilings(&self, weight_bytes: usize) -> Result<Ceilings, Error> {
        let _ = weight_bytes;
        let message = format!("what {} can do at best cannot be measured", self.info().id);
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Does it still work?
    ///
    /// # Errors
    /// The error after which nothing works on it any more.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// How a caller whose request waits looks for its answer before it sleeps, if the session has so many callers now. Not at all where
    /// the cores have better things to do.
    fn spin_of_a_follower(&self, callers: usize) -> Spin {
        let _ = callers;
        Spin::default()
    }

    /// How long a leader waits for callers of the batch before, who are about to ask again: a small part of what starting a batch
    /// costs. They are on the way; nobody waits for others.
    fn asking(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// A new lane.
    fn new_lane(&self) -> Result<Box<dyn Lane>, Error>;

    /// Prepares a model. Fails if an operator has no kernel.
    fn prepare(&self, model: Arc<ModelGraph>) -> Result<Arc<dyn Executable>, Error>;
}

/// A model on a device: what all sessions of it share, such as packed weights.
pub trait Executable: Send + Sync {
    /// Compiles a plan. Called once per key ([`crate::plan_cache`]).
    fn compile(&self, key: &PlanKey) -> Result<Arc<dyn Plan>, Error>;

    /// Bytes held beside the model's own.
    fn bytes(&self) -> u64;

    /// Runs several requests as one batch: gathers their rows, runs, and writes each request's own outputs, by the rules
    /// of [`Plan::run`]. `groups` covers `members` in order; the members of a group have one plan, and equal inputs where
    /// an input has no rows, so that they may be put behind each other.
    ///
    /// Only for models whose contract allows it. A row's bits are those that it gets alone, whoever else is there. After
    /// an error the outputs of all members are unspecified: which of them is to blame is found by running them singly.
    fn run_batch(
        &self,
        lane: &mut dyn Lane,
        members: &mut [&mut Member],
        groups: &[Group],
    ) -> Result<(), Error>;
}

/// One request of a batch.
pub struct Member {
    /// The plan for its shapes.
    pub plan: Arc<dyn Plan>,
    /// How many rows it has.
    pub rows: usize,
    /// Its inputs in the model's order.
    pub inputs: SmallVec<[Tensor; 4]>,
    /// Its outputs in the model's order, as in [`Plan::run`].
    pub outputs: Vec<Option<Tensor>>,
}

/// Members of a batch whose rows lie behind each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which members.
    pub members: Range<usize>,
    /// Rows of all of them.
    pub rows: usize,
}

/// What running a plan costs on the device as a whole, in nanoseconds, from counted work: a batch of one plan with r rows
/// costs `fixed_ns + r * row_ns`. It decides who shares a batch, never what is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// What a batch costs however many rows it has: steps to start, weights to read.
    pub fixed_ns: u64,
    /// The part of it that is paid once for all groups of a batch, also where their plans differ.
    pub shared_ns: u64,
    /// What each row adds.
    pub row_ns: u64,
    /// Rows that all cores together take at a time, each core its own, which share nothing or little with those of other cores; 0 or 1 where
    /// rows run together.
    pub beside: usize,
}

/// What the end of a batch costs where its rows run beside each other: its callers wake up, and one of those who wait begins the
/// next. Measured with 8 callers on two cores: 72 µs.
const TURN_NS: u64 = 72_000;

/// A batch is made larger as long as its fixed cost is more than one part in so many of its rows' cost.
const WORTHWHILE_PARTS: u64 = 100;

impl Cost {
    /// From how many rows on another one makes a batch no cheaper a row, to speak of: what all rows share is then
    /// 1 % of what they need each for themselves. 1 means that batching does not pay; `usize::MAX`, that it always does.
    ///
    /// Rows that run beside each other share only the end of their batch: enough of them, and as many as keep all cores busy, make
    /// a batch; more would make everybody in it wait for nothing.
    pub fn worthwhile_rows(&self) -> usize {
        if self.beside > 1 {
            let turn_ns = self.row_ns.saturating_mul(self.beside as u64).max(1);
            let turns = TURN_NS.saturating_mul(WORTHWHILE_PARTS).div_ceil(turn_ns);
            return usize::try_from(turns)
                .unwrap_or(usize::MAX)
                .saturating_mul(self.beside);
        }
        match self
            .fixed_ns
            .saturating_mul(WORTHWHILE_PARTS)
            .checked_div(self.row_ns)
        {
            None => usize::MAX,
            Some(rows) => usize::try_from(rows).unwrap_or(usize::MAX).max(1),
        }
    }

    /// Does it pay to run plans for different shapes in one batch? If what they share is at least 2 % of what a row needs
    /// by itself.
    pub fn mixes(&self) -> bool {
        let by_itself =
            (self.fixed_ns - self.shared_ns.min(self.fixed_ns)).saturating_add(self.row_ns);
        self.shared_ns > 0 && self.shared_ns.saturating_mul(50) >= by_itself
    }
}

/// What can be known of a request before it runs: made by [`Session::plan_for`](crate::Session::plan_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanInfo {
    /// Bytes that the plan holds, of those that a session keeps.
    pub bytes: u64,
    /// What running it costs, by estimate.
    pub cost: Cost,
    /// Rows of the request.
    pub rows: usize,
    /// May it share batches? It may not where the contract or the session does not allow it.
    pub shares: bool,
    /// No batch of several requests gets more rows than this: the session's bound, or the rows from which on more do not pay.
    pub row_limit: usize,
}

/// Where a node runs: an answer of [`Plan::placement`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodePlacement {
    /// The node's name, with the path of enclosing nodes and functions.
    pub name: String,
    /// The operator, as messages and listings name it.
    pub operator: String,
    /// The device's name: `cuda:0`, `cpu`.
    pub device: String,
    /// Why it runs there, if that is not the device that was asked for.
    pub why: Option<String>,
}

impl NodePlacement {
    /// All of it.
    pub fn new(name: String, operator: String, device: String, why: Option<&str>) -> NodePlacement {
        NodePlacement {
            name,
            operator,
            device,
            why: why.map(str::to_owned),
        }
    }
}

/// A model compiled for one device and one [`PlanKey`].
pub trait Plan: Any + Send + Sync {
    /// Runs `rows` rows. `inputs` are in the model's order and fit the key. An output that is `None` is allocated;
    /// one that is a tensor nobody shares, with the right type and shape, is written in place; any other is replaced.
    fn run(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error>;

    /// Runs the request once, then `runs` times with a clock around every step, by the rules of [`Plan::run`]. `outputs` are
    /// the last run's; [`Profile::outputs`] stays empty.
    ///
    /// By default the device cannot.
    fn profile(
        &self,
        _lane: &mut dyn Lane,
        _rows: usize,
        _inputs: &[Tensor],
        _outputs: &mut [Option<Tensor>],
        _runs: usize,
    ) -> Result<Profile, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "this device cannot tell the times of a run's steps",
        ))
    }

    /// Where each node of a request of so many rows with these inputs runs, and why if that is not the device itself; in the order in
    /// which they run, without nodes that make nothing at run time, nor those of branches that this request does not take. Empty if all
    /// run on the device.
    ///
    /// # Errors
    /// Those of preparing such a request.
    fn placement(&self, _rows: usize, _inputs: &[Tensor]) -> Result<Vec<NodePlacement>, Error> {
        Ok(Vec::new())
    }

    /// Allocates outputs of a request of so many rows where there are none and their shapes follow from that, so that who leads a
    /// batch need not do it for everybody. Whatever cannot be is left to the run.
    fn allocate(&self, rows: usize, outputs: &mut [Option<Tensor>]) {
        let _ = (rows, outputs);
    }

    /// Bytes that the plan holds.
    fn bytes(&self) -> u64;

    /// What running it costs.
    fn cost(&self) -> Cost;
}

impl dyn Plan {
    /// The device's own type.
    pub fn downcast_ref<T: Plan>(&self) -> Option<&T> {
        match (self as &dyn Any).downcast_ref::<CountedPlan>() {
            Some(counted) => counted.plan.downcast_ref(),
            None => (self as &dyn Any).downcast_ref(),
        }
    }

    /// A number that no other plan has as long as this one lives, whichever handle it is seen through.
    pub(crate) fn identity(&self) -> usize {
        match (self as &dyn Any).downcast_ref::<CountedPlan>() {
            Some(counted) => counted.plan.identity(),
            None => std::ptr::from_ref(self).cast::<()>().addr(),
        }
    }
}

/// A plan with its entry in the census, released with the last handle.
///
/// It is a plan itself, so that a request which runs by it keeps it in the census through the one handle that it needs anyway.
pub(crate) struct CountedPlan {
    plan: Arc<dyn Plan>,
    /// See [`Cost::worthwhile_rows`].
    pub(crate) worthwhile_rows: usize,
    /// See [`Cost::mixes`].
    pub(crate) mixes: bool,
    /// Of the plan and not of this handle, which may have copies.
    token: Arc<crate::census::Token>,
}

impl CountedPlan {
    pub(crate) fn new(plan: Arc<dyn Plan>, token: crate::census::Token) -> CountedPlan {
        let cost = plan.cost();
        CountedPlan {
            plan,
            worthwhile_rows: cost.worthwhile_rows(),
            mixes: cost.mixes(),
            token: Arc::new(token),
        }
    }
}

/// All of it is the plan's, defaults too.
impl Plan for CountedPlan {
    fn run(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        self.plan.run(lane, rows, inputs, outputs)
    }

    fn profile(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
        runs: usize,
    ) -> Result<Profile, Error> {
        self.plan.profile(lane, rows, inputs, outputs, runs)
    }

    fn placement(&self, rows: usize, inputs: &[Tensor]) -> Result<Vec<NodePlacement>, Error> {
        self.plan.placement(rows, inputs)
    }

    fn allocate(&self, rows: usize, outputs: &mut [Option<Tensor>]) {
        self.plan.allocate(rows, outputs);
    }

    fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    fn cost(&self) -> Cost {
        self.plan.cost()
    }
}

/// What the cache hands out.
#[derive(Clone)]
pub(crate) struct PlanHandle(pub(crate) Arc<CountedPlan>);

impl std::ops::Deref for PlanHandle {
    type Target = CountedPlan;

    fn deref(&self) -> &CountedPlan {
        &self.0
    }
}

impl Weigh for PlanHandle {
    fn bytes(&self) -> u64 {
        self.plan.bytes()
    }

    fn own_handle(&self) -> PlanHandle {
        PlanHandle(Arc::new(CountedPlan {
            plan: Arc::clone(&self.plan),
            worthwhile_rows: self.worthwhile_rows,
            mixes: self.mixes,
            token: Arc::clone(&self.token),
        }))
    }

    #[cfg(feature = "mutants")]
    fn revoke(&self) {
        // The one in hand comes from the cache; any other is somebody's who runs it.
        if Arc::strong_count(&self.0) > 1 || Arc::strong_count(&self.token) > 1 {
            self.token.release();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn beside(row_ns: u64, beside: usize) -> usize {
        let cost = Cost {
            fixed_ns: 1_000_000_000,
            row_ns,
            beside,
            ..Cost::default()
        };
        cost.worthwhile_rows()
    }

    #[test]
    fn rows_that_run_beside_each_other_fill_all_threads_and_no_more_than_that() {
        // Their end is below 1 % of one turn already.
        assert_eq!(beside(40_000_000, 2), 2);
        assert_eq!(beside(40_000_000, 16), 16);
        // Two turns, and many.
        assert_eq!(beside(3_000_000, 2), 4);
        assert_eq!(beside(72_000, 1), 1_388_888);
        assert_eq!(beside(36_000, 2), 200);
        assert_eq!(beside(0, 2), 14_400_000);
        assert_eq!(beside(u64::MAX, usize::MAX), usize::MAX);
    }
}
