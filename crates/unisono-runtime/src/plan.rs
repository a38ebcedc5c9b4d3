//! What a device makes of a model, and what a request needs to find its plan.

use smallvec::SmallVec;
use unisono_graph::{Dim, Symbol};
use unisono_tensor::{DeviceId, Tensor};

use crate::error::Error;
use crate::lane::Lane;
use crate::model::ModelGraph;
use crate::plan_cache::Weigh;
use std::sync::Arc;

/// Stands in a [`PlanKey`] for the length of the rows axis.
const ROWS: usize = usize::MAX;

/// The input shapes that a plan serves, the number of rows left open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanKey {
    /// For each input its rank, then its lengths.
    packed: SmallVec<[usize; 20]>,
}

impl PlanKey {
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

/// The trait that a device implements: it makes lanes, and executables out of models.
///
/// A device follows the canonical arithmetic; what it must never do is let the number of rows, the lane, the number of
/// threads or the load reach a bit of an answer (contract C1).
pub trait Backend: Send + Sync + 'static {
    /// What it is.
    fn info(&self) -> DeviceInfo;

    /// How many lanes it wants.
    fn lane_count(&self) -> usize;

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
}

/// A model compiled for one device and one [`PlanKey`].
pub trait Plan: Send + Sync {
    /// Runs `rows` rows. `inputs` are in the model's order and fit the key. An output that is `None` is allocated;
    /// one that is a tensor nobody shares, with the right type and shape, is written in place; any other is replaced.
    fn run(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error>;

    /// Bytes that the plan holds.
    fn bytes(&self) -> u64;
}

impl Weigh for CountedPlan {
    fn bytes(&self) -> u64 {
        self.plan.bytes()
    }
}

/// A plan with its entry in the census, released with the last handle.
#[derive(Clone)]
pub(crate) struct CountedPlan {
    pub(crate) plan: Arc<dyn Plan>,
    _token: Arc<crate::census::Token>,
}

impl CountedPlan {
    pub(crate) fn new(plan: Arc<dyn Plan>, token: crate::census::Token) -> CountedPlan {
        CountedPlan {
            plan,
            _token: Arc::new(token),
        }
    }
}
