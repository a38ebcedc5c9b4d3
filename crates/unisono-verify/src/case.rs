//! One model under verification, with everything that the sections need to know about it.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use unisono::graph::contract::OutputRows as ContractRows;
use unisono::graph::{Dim, Fact};
use unisono::{Error, ErrorKind, Isa, Model, Verdict as BatchVerdict};

use crate::accuracy::{Bound, cost};
use crate::callers::Answer;
use crate::compare::{OutputRows, OutputSpec};
use crate::digest::Digest;
use crate::options::Options;
use crate::oracle::{Interpreted, Oracle};
use crate::report::{InputRecord, ModelRecord};
use crate::requests::{self, InputPlan, RequestMaker, RowId};
use crate::seed::SeedModel;
use crate::subject::{Lab, ModelLab, Rig, Setup, Subject};

/// The machine's choices that correctness is checked across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What "all threads" means.
    pub threads: usize,
    /// Instruction sets, narrowest first. None where there are none to choose, nor threads: on every device but the CPU.
    pub isas: Vec<Isa>,
}

impl Machine {
    /// Can threads and instruction sets be chosen?
    pub fn is_cpu(&self) -> bool {
        !self.isas.is_empty()
    }
}

/// One model under verification.
pub struct Case {
    /// Its name in the report.
    pub name: String,
    /// Makes its requests.
    pub maker: RequestMaker,
    /// Its outputs.
    pub outputs: Arc<[OutputSpec]>,
    /// Floating-point operations for one row.
    pub flops_per_row: u64,
    /// How far answers may be from 64-bit floats.
    pub bound: Bound,
    /// Sets devices up for it.
    pub lab: Box<dyn Lab>,
    /// Its independent answers.
    pub oracle: Box<dyn Oracle>,
    /// What to check across.
    pub machine: Machine,
    /// After how long without any answer callers count as hung.
    pub patience: Duration,
    /// Its entry in the report.
    pub record: ModelRecord,
    /// Digests of all requests that expected answers were computed for, and of those answers.
    pub digests: (Digest, Digest),
    /// An idle session, on which nothing ever runs at the same time.
    idle: OnceCell<Idle>,
}

struct Idle {
    subject: Arc<dyn Subject>,
    /// Keeps the device.
    _rig: Box<dyn Rig>,
    known: RefCell<BTreeMap<Vec<RowId>, Answer>>,
}

/// Everything that [`Case::new`] is made from.
pub struct Parts {
    /// See [`Case::maker`].
    pub maker: RequestMaker,
    /// See [`Case::outputs`].
    pub outputs: Vec<OutputSpec>,
    /// See [`Case::flops_per_row`].
    pub flops_per_row: u64,
    /// See [`Case::bound`].
    pub bound: Bound,
    /// See [`Case::lab`].
    pub lab: Box<dyn Lab>,
    /// See [`Case::oracle`].
    pub oracle: Box<dyn Oracle>,
    /// See [`Case::machine`].
    pub machine: Machine,
    /// See [`Case::record`].
    pub record: ModelRecord,
}

impl Case {
    /// A case of these parts.
    pub fn new(parts: Parts) -> Case {
        Case {
            name: parts.record.name.clone(),
            maker: parts.maker,
            outputs: parts.outputs.into(),
            flops_per_row: parts.flops_per_row.max(1),
            bound: parts.bound,
            lab: parts.lab,
            oracle: parts.oracle,
            machine: parts.machine,
            patience: patience(parts.flops_per_row),
            record: parts.record,
            digests: (Digest::new(), Digest::new()),
            idle: OnceCell::new(),
        }
    }

    /// One of the seed's models.
    ///
    /// # Errors
    /// It cannot be loaded, which is a fault of ours.
    pub fn of_seed(seed: SeedModel, options: &Options, machine: &Machine) -> Result<Case, Error> {
        let model = Model::from_bytes(seed.to_bytes())?;
        Case::of_model(
            &seed.name(),
            &format!("built in: {}", seed.describe()),
            model,
            options,
            machine,
        )
    }

    /// A user's model.
    ///
    /// # Errors
    /// The file cannot be loaded, or no requests can be made up for it.
    pub fn of_file(
        name: &str,
        path: &Path,
        options: &Options,
        machine: &Machine,
    ) -> Result<Case, Error> {
        let model = Model::load(path)?;
        Case::of_model(name, &path.display().to_string(), model, options, machine)
    }

    /// Lengths to try, in this order, for axes about which nobody says anything. Many models of images and sounds refuse
    /// short ones.
    const DEFAULT_LENGTHS: [usize; 4] = [16, 32, 64, 128];

    fn of_model(
        name: &str,
        source: &str,
        model: Model,
        options: &Options,
        machine: &Machine,
    ) -> Result<Case, Error> {
        let given = |name: &String| options.inputs.length_of(name).is_some();
        let open = !requests::open_lengths(&model).iter().all(given);
        let mut refused = None;
        for length in Case::DEFAULT_LENGTHS {
            let made = Case::with_lengths(name, source, &model, options, machine, length);
            let asked = made.and_then(|case| {
                case.alone(&[RowId::ordinary(0)])?;
                Ok(case)
            });
            let error = match asked {
                Ok(case) => return Ok(case),
                Err(error) => error,
            };
            // Another length helps only against a request that the model refuses.
            if !matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Execution) {
                return Err(error);
            }
            refused.get_or_insert(error);
            if !open {
                break;
            }
        }
        // There is at least one length to try.
        let refused = refused
            .unwrap_or_else(|| Error::new(ErrorKind::InvalidInput, "no request could be made up"));
        Err(refused.with_advice(
            "choose lengths with --dim SYMBOL=N and values with --value NAME=X or --range NAME=LO..HI",
        ))
    }

    fn with_lengths(
        name: &str,
        source: &str,
        model: &Model,
        options: &Options,
        machine: &Machine,
        length: usize,
    ) -> Result<Case, Error> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let (plans, defaults) = requests::plan(model, &options.inputs, length)
            .map_err(|error| invalid(error.to_string()))?;
        let facts: Vec<Fact> = plans.iter().map(fact).collect();
        let cost = cost(model.graph(), &facts).map_err(invalid)?;
        let independent = matches!(model.contract().verdict, BatchVerdict::Coalescible { .. });
        let record = ModelRecord {
            name: name.to_owned(),
            source: source.to_owned(),
            parameters: model.summary_as_loaded().parameters,
            flops_per_row: cost.flops,
            rows_are_independent: independent,
            inputs: plans.iter().map(input_record).collect(),
            default_lengths: defaults.into_iter().collect(),
            requests_digest: None,
            answers_digest: None,
        };
        Ok(Case::new(Parts {
            maker: RequestMaker::new(options.seed, plans),
            outputs: output_specs(model),
            flops_per_row: cost.flops,
            bound: cost.bound,
            lab: Box::new(ModelLab::of(model.clone(), options)),
            oracle: Box::new(Interpreted(model.clone())),
            machine: machine.clone(),
            record,
        }))
    }

    /// The answer to a request of these rows, alone on an idle session. Remembered.
    ///
    /// # Errors
    /// As a session's.
    pub fn alone(&self, rows: &[RowId]) -> Result<Answer, Error> {
        let idle = match self.idle.get() {
            Some(idle) => idle,
            None => {
                let rig = self.lab.rig(Setup::DEFAULT)?;
                let subject = rig.open()?;
                self.idle.get_or_init(|| Idle {
                    subject,
                    _rig: rig,
                    known: Default::default(),
                })
            }
        };
        if let Some(answer) = idle.known.borrow().get(rows) {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(idle.subject.run(&self.maker.request(rows)?.tensors)?);
        idle.known
            .borrow_mut()
            .insert(rows.to_vec(), Arc::clone(&answer));
        Ok(answer)
    }

    /// Forgets the answers that are remembered, which may be large.
    pub fn forget(&self) {
        if let Some(idle) = self.idle.get() {
            idle.known.borrow_mut().clear();
        }
    }

    /// The same, and enters request and answer into the digests. What is entered, and in which order, must not depend on
    /// the machine.
    ///
    /// # Errors
    /// As [`Case::alone`].
    pub fn alone_for_the_record(&mut self, rows: &[RowId]) -> Result<Answer, Error> {
        let answer = self.alone(rows)?;
        for tensor in &self.maker.request(rows)?.tensors {
            self.digests.0.tensor(tensor);
        }
        for tensor in answer.iter() {
            self.digests.1.tensor(tensor);
        }
        self.record.requests_digest = Some(self.digests.0.to_string());
        self.record.answers_digest = Some(self.digests.1.to_string());
        Ok(answer)
    }
}

/// After how long without any answer callers count as hung: a minute, and longer for models of which one request may take
/// that long on the slowest instruction set.
fn patience(flops_per_row: u64) -> Duration {
    /// Fewer operations a second than any machine does without vector instructions.
    const SLOWEST: u64 = 10_000_000;
    Duration::from_secs(60 + 16 * flops_per_row / SLOWEST)
}

fn fact(plan: &InputPlan) -> Fact {
    Fact::new(
        plan.dtype,
        plan.shape.iter().map(|&n| Dim::from(n)).collect(),
    )
}

fn input_record(plan: &InputPlan) -> InputRecord {
    InputRecord {
        name: plan.name.clone(),
        dtype: plan.dtype.name().to_owned(),
        shape: plan.shape.clone(),
        rows_axis: plan.rows_axis(),
        values: plan.values.to_string(),
    }
}

fn output_specs(model: &Model) -> Vec<OutputSpec> {
    let proven: &[ContractRows] = match &model.contract().verdict {
        BatchVerdict::Coalescible { outputs, .. } => outputs,
        BatchVerdict::Alone(_) => &[],
    };
    let spec = |(i, port): (usize, &unisono::Port)| OutputSpec {
        name: port.name.to_string(),
        rows: match proven.get(i) {
            Some(ContractRows::Rows { axis, .. }) => OutputRows::Along(*axis),
            Some(ContractRows::Counted { .. }) => OutputRows::Counted,
            // A request that cannot be divided is one row, which all its outputs belong to.
            Some(ContractRows::Shared) | None => OutputRows::Shared,
        },
    };
    model.outputs().iter().enumerate().map(spec).collect()
}
