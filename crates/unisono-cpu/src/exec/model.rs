//! A model on the CPU: what all its plans and sessions share.
//!
//! The one idea: weights exist once more at most. Those that a kernel packs are packed once per model; those that are
//! read as they are stay in the mapped file, and only what is misaligned there and read as numbers is copied, once.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use unisono_graph::{Graph, Symbol};
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Executable, Group, Member, Plan, PlanKey};
use unisono_runtime::team::Team;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::Tensor;

use crate::exec::batch::run_batch;
use crate::exec::plan::CpuPlan;
use crate::simd::{FpEnv, Isa};

/// What kernels need of the device.
pub(crate) struct Engine {
    pub(crate) team: Team,
    /// For work that shares the threads by other tiles.
    pub(crate) solo: Team,
    pub(crate) isa: Isa,
    /// Bytes that an arena, or the values of data-dependent shape together, may have.
    pub(crate) arena_limit: usize,
    /// What a step may read and write so that the next one finds it in the cache; see [`NEAR_BYTES`](super::cost::NEAR_BYTES).
    pub(crate) near_bytes: u64,
}

type Packed = Arc<dyn Any + Send + Sync>;

/// Packed and aligned weights of one graph, and of the bodies inside it.
#[derive(Default)]
pub struct Store {
    /// By value and by what it was packed for.
    packed: Mutex<HashMap<(usize, u64), Packed>>,
    aligned: Mutex<HashMap<usize, Tensor>>,
    /// By node and by which of its bodies.
    bodies: Mutex<HashMap<(usize, usize), Arc<Store>>>,
    bytes: AtomicU64,
}

impl Store {
    /// The packed form of constant `value` for the purpose `tag` (layout, parameters: whatever makes two packings
    /// different), made by `pack` on first use. `pack` also says how many bytes the result has.
    pub fn packed<T: Any + Send + Sync>(
        &self,
        value: usize,
        tag: u64,
        pack: impl FnOnce() -> Result<(T, usize), Error>,
    ) -> Result<Arc<T>, Error> {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let mismatch = || {
            Error::new(
                ErrorKind::Panic,
                "two kernels packed a weight under one tag; please report this",
            )
        };
        if let Some(known) = packed.get(&(value, tag)) {
            return Arc::clone(known).downcast().map_err(|_| mismatch());
        }
        // Packing under the lock: a second plan that needs the same weight waits for it instead of packing it too.
        let (made, bytes) = pack()?;
        let made = Arc::new(made);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        packed.insert((value, tag), Arc::<T>::clone(&made));
        Ok(made)
    }

    /// The constant with aligned bytes: itself, or the one copy that is kept.
    pub fn aligned(&self, value: usize, constant: &Tensor) -> Result<Tensor, Error> {
        if constant.is_aligned() {
            return Ok(constant.clone());
        }
        let mut aligned = self.aligned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = aligned.get(&value) {
            return Ok(copy.clone());
        }
        let copy = constant.to_aligned()?;
        constant.release();
        self.bytes
            .fetch_add(copy.bytes().len() as u64, Ordering::Relaxed);
        aligned.insert(value, copy.clone());
        Ok(copy)
    }

    /// The store of a body of a control-flow node.
    pub(crate) fn body(&self, node: usize, which: usize) -> Arc<Store> {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bodies.entry((node, which)).or_default())
    }

    /// Bytes held, bodies included.
    pub fn bytes(&self) -> u64 {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        self.bytes.load(Ordering::Relaxed) + bodies.values().map(|b| b.bytes()).sum::<u64>()
    }
}

/// A model on the CPU device.
pub(crate) struct CpuModel {
    pub(crate) model: Arc<ModelGraph>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<Store>,
    /// Stands for the number of rows in plans. Its name contains a character that no model's symbol is likely to
    /// have; a clash would only make a plan's shapes a little more general than needed.
    pub(crate) rows: Symbol,
}

impl CpuModel {
    pub(crate) fn new(model: Arc<ModelGraph>, engine: Arc<Engine>) -> Result<CpuModel, Error> {
        check_operators(model.graph())?;
        Ok(CpuModel {
            model,
            engine,
            store: Arc::default(),
            rows: Symbol::new("\u{1}rows"),
        })
    }
}

/// Every operator must have an implementation, bodies included.
fn check_operators(graph: &Graph) -> Result<(), Error> {
    for node in graph.nodes() {
        if !crate::kernels::supports(&*node.op) {
            return Err(Error::at_node(
                ErrorKind::Unsupported,
                "the CPU device has no kernel for this operator",
                format!("\"{}\" ({})", node.name, node.op.kind()),
                Vec::new(),
            ));
        }
        for body in node.op.subgraphs() {
            check_operators(&body.graph)?;
        }
    }
    Ok(())
}

/// The executable handed to the runtime.
pub(crate) struct CpuExecutable(pub(crate) Arc<CpuModel>);

impl Executable for CpuExecutable {
    fn compile(&self, key: &PlanKey) -> Result<Arc<dyn Plan>, Error> {
        Ok(Arc::new(CpuPlan::compile(&self.0, key)?))
    }

    fn bytes(&self) -> u64 {
        self.0.store.bytes()
    }

    fn run_batch(
        &self,
        lane: &mut dyn Lane,
        members: &mut [&mut Member],
        groups: &[Group],
    ) -> Result<(), Error> {
        let _default_rounding = FpEnv::new();
        let _attendance = self.0.engine.team.attend();
        let lane = lane.downcast_mut().ok_or_else(other_device)?;
        run_batch(&self.0, lane, members, groups)
    }
}

/// A lane that is not ours.
pub(crate) fn other_device() -> Error {
    Error::new(ErrorKind::Device, "the lane belongs to another device")
}
