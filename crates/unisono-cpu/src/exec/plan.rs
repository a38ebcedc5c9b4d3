//! A plan: what is known of a model for one set of per-row shapes, and a program for each number of rows seen.
//!
//! The one idea: inference, the dear part, runs once with the number of rows as a symbol. A program for a number of
//! rows is made from its answer by putting the number in, so another batch size costs no inference.

use std::sync::Arc;

use unisono_graph::Fact;
use unisono_graph::infer::infer;
use unisono_runtime::lane::Lane;
use unisono_runtime::plan::{Cost, Plan, PlanKey};
use unisono_runtime::plan_cache::{PlanCache, Weigh};
use unisono_runtime::profile::Profile;
use unisono_runtime::program::concretise;
use unisono_runtime::program::outputs::RowOutputs;
use unisono_runtime::program::staging::TensorSink;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{Tensor, mutant};

use crate::exec::batch::run_rows_apart;
use crate::exec::cost::{Counted, cost};
use crate::exec::lane::CpuLane;
use crate::exec::model::{CpuModel, other_device};
use crate::exec::profile::profile;
use crate::exec::program::{ByRows, Program};
use crate::exec::run::execute;
use crate::simd::FpEnv;

/// Bytes of programs (one per number of rows) that a plan keeps; the least recently used go first.
const PROGRAM_BYTES: u64 = 8 << 20;

pub(crate) struct CpuPlan {
    model: Arc<CpuModel>,
    facts: Vec<Option<Fact>>,
    counted: Counted,
    outputs: RowOutputs,
    /// By number of rows, and whether it may run in passes.
    programs: PlanCache<(usize, bool), Arc<Program>, Error>,
}

impl Weigh for Program {
    fn bytes(&self) -> u64 {
        Program::bytes(self)
    }
}

impl CpuPlan {
    pub(crate) fn compile(model: &Arc<CpuModel>, key: &PlanKey) -> Result<CpuPlan, Error> {
        let ports = model.model.inputs();
        let inputs: Vec<Fact> = ports
            .iter()
            .zip(key.shapes(&model.rows))
            .map(|(port, shape)| Fact::new(port.dtype, shape))
            .collect();
        let facts = infer(model.model.graph(), &inputs).map_err(|e| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("these input shapes do not fit the model: {e}"),
            )
        })?;
        let graph = model.model.graph();
        let known = concretise(&facts, &model.rows, 1);
        Ok(CpuPlan {
            outputs: RowOutputs::new(&model.model, graph.outputs(), &known),
            counted: cost(graph, &facts, &model.rows, &model.engine),
            model: Arc::clone(model),
            facts,
            programs: PlanCache::new(PROGRAM_BYTES),
        })
    }

    /// [`Plan::run`] under an environment and an attendance that the caller has set up.
    pub(crate) fn run_in(
        &self,
        lane: &mut CpuLane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        if run_rows_apart(&self.model, self, lane, rows, inputs, outputs)? {
            return Ok(());
        }
        let program = self.program(rows)?;
        let mut sink = TensorSink { outputs };
        execute(&program, &self.model.engine, lane, inputs, &mut sink, None)?;
        if mutant!(OutputLeaked, 1 in 1000) {
            std::mem::forget(outputs.to_vec());
        }
        Ok(())
    }

    /// See [`Counted::work_apart`].
    pub(crate) fn work_apart(&self, rows: usize) -> Option<u64> {
        self.counted.work_apart(rows)
    }

    /// See [`Counted::in_shares`].
    pub(crate) fn runs_in_shares(&self) -> bool {
        self.counted.in_shares
    }

    /// The program for a number of rows.
    pub(crate) fn program(&self, rows: usize) -> Result<Arc<Program>, Error> {
        self.program_of(rows, true)
    }

    /// The same with every step for all rows at once, as those need it that walk several programs together.
    pub(crate) fn program_in_one(&self, rows: usize) -> Result<Arc<Program>, Error> {
        self.program_of(rows, false)
    }

    fn program_of(&self, rows: usize, in_passes: bool) -> Result<Arc<Program>, Error> {
        let build = || {
            let known = |rows| concretise(&self.facts, &self.model.rows, rows);
            let by_rows = ByRows {
                rows,
                known: &known,
            };
            let (model, graph) = (&self.model, self.model.model.graph());
            let by_rows = in_passes.then_some(by_rows);
            Program::build(graph, known(rows), &model.store, &model.engine, by_rows).map(Arc::new)
        };
        let orphaned = || {
            Error::new(
                ErrorKind::Panic,
                "preparing the program panicked on another thread; try again",
            )
        };
        self.programs
            .get_or_compile(&(rows, in_passes), build, orphaned)
    }
}

impl Plan for CpuPlan {
    fn run(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
    ) -> Result<(), Error> {
        let _default_rounding = FpEnv::new();
        let _attendance = self.model.engine.team.attend();
        let lane = lane.downcast_mut().ok_or_else(other_device)?;
        self.run_in(lane, rows, inputs, outputs)
    }

    fn profile(
        &self,
        lane: &mut dyn Lane,
        rows: usize,
        inputs: &[Tensor],
        outputs: &mut [Option<Tensor>],
        runs: usize,
    ) -> Result<Profile, Error> {
        let _default_rounding = FpEnv::new();
        let _attendance = self.model.engine.team.attend();
        let lane = lane.downcast_mut().ok_or_else(other_device)?;
        let program = self.program(rows)?;
        let known = concretise(&self.facts, &self.model.rows, rows);
        let mut profile = profile(&self.model, &program, &known, lane, inputs, outputs, runs)?;
        profile.rows = rows;
        Ok(profile)
    }

    fn allocate(&self, rows: usize, outputs: &mut [Option<Tensor>]) {
        self.outputs.allocate(rows, outputs);
    }

    fn cost(&self) -> Cost {
        self.counted.cost
    }

    fn bytes(&self) -> u64 {
        (self.facts.len() * size_of::<Option<Fact>>()) as u64
    }
}
