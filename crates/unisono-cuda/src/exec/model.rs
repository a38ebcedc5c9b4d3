//! A model on a device: what all its plans and sessions share.

use std::sync::Arc;

use unisono_cpu::exec::model::Store;
use unisono_graph::Symbol;
use unisono_runtime::lane::Lane;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Executable, Group, Member, Plan, PlanKey};
use unisono_runtime::{Error, ErrorKind};

use crate::exec::engine::Engine;
use crate::exec::lane::CudaLane;
use crate::exec::plan::{CudaPlan, Prepared, done};
use crate::program::{Upload, Weights};

pub(crate) struct CudaModel {
    pub(crate) model: Arc<ModelGraph>,
    pub(crate) engine: Arc<Engine>,
    /// On the device.
    pub(crate) weights: Weights,
    /// For single nodes that run on the processor.
    pub(crate) store: Store,
    /// For plans that run on the processor. Nothing is packed before there is one.
    pub(crate) on_host: Arc<dyn Executable>,
    /// Stands for the number of rows in plans; no model's symbol has this character.
    pub(crate) rows: Symbol,
}

/// The executable handed to the runtime.
pub(crate) struct CudaExecutable(pub(crate) Arc<CudaModel>);

impl CudaExecutable {
    pub(crate) fn new(
        model: Arc<ModelGraph>,
        engine: &Arc<Engine>,
    ) -> Result<CudaExecutable, Error> {
        engine.context.check()?;
        let uploads: Arc<dyn Upload> = engine.uploads.clone();
        Ok(CudaExecutable(Arc::new(CudaModel {
            // Says as well whether every operator has an implementation.
            on_host: engine.host.prepare(Arc::clone(&model))?,
            model,
            engine: Arc::clone(engine),
            weights: Weights::new(uploads),
            store: Store::default(),
            rows: Symbol::new("\u{1}rows"),
        })))
    }
}

impl Executable for CudaExecutable {
    fn compile(&self, key: &PlanKey) -> Result<Arc<dyn Plan>, Error> {
        Ok(Arc::new(CudaPlan::compile(&self.0, key)?))
    }

    fn bytes(&self) -> u64 {
        self.0.weights.bytes() + self.0.store.bytes() + self.0.on_host.bytes()
    }

    fn run_batch(
        &self,
        lane: &mut dyn Lane,
        members: &mut [&mut Member],
        groups: &[Group],
    ) -> Result<(), Error> {
        let lane = lane.downcast_mut::<CudaLane>().ok_or_else(other_device)?;
        for group in groups {
            let members = members.get_mut(group.members.clone());
            run_group(lane, members.ok_or_else(not_there)?)?;
        }
        Ok(())
    }
}

/// Runs members that have one plan: together, as far as one program has room and the device has memory.
fn run_group(lane: &mut CudaLane, members: &mut [&mut Member]) -> Result<(), Error> {
    let Some(plan) = members.first().map(|member| Arc::clone(&member.plan)) else {
        return Ok(());
    };
    let plan = plan.downcast_ref::<CudaPlan>().ok_or_else(foreign)?;
    let rows = members.iter().map(|member| member.rows).sum();
    if let [member] = members {
        let Member {
            inputs, outputs, ..
        } = &mut **member;
        return plan.run_one(lane, rows, inputs, outputs);
    }
    let most = plan.model().engine.options.max_bucket_rows;
    if rows <= most {
        match run_together(lane, plan, members, rows) {
            Err(error) if is_too_large(&error) => {}
            done => return done,
        }
    }
    // Half of them need half of the memory; the last one alone says what is wrong.
    let (front, back) = members.split_at_mut(members.len() / 2);
    run_group(lane, front)?;
    run_group(lane, back)
}

fn run_together(
    lane: &mut CudaLane,
    plan: &CudaPlan,
    members: &mut [&mut Member],
    rows: usize,
) -> Result<(), Error> {
    // Equal for all: they differ in rows alone, and those choose nothing.
    let inputs = members.first().map_or(&[][..], |member| &member.inputs);
    let bucket = match plan.bucket_for(rows, inputs, &mut lane.choice)? {
        Prepared::Here(bucket) => bucket,
        Prepared::Elsewhere(_) => return run_on_host(lane, plan, members, rows),
    };
    done(plan.run_requests(lane, &bucket, members)?)
}

/// Runs members of one plan on the processor, as a batch.
fn run_on_host(
    lane: &mut CudaLane,
    plan: &CudaPlan,
    members: &mut [&mut Member],
    rows: usize,
) -> Result<(), Error> {
    let on_host = plan.on_host()?;
    let mut own = Vec::with_capacity(members.len());
    for member in members.iter_mut() {
        own.push(std::mem::replace(&mut member.plan, Arc::clone(&on_host)));
    }
    let group = Group {
        members: 0..members.len(),
        rows,
    };
    let executable = &plan.model().on_host;
    let done = executable.run_batch(lane.on_host()?, members, &[group]);
    for (member, plan) in members.iter_mut().zip(own) {
        member.plan = plan;
    }
    done
}

/// May less of it be possible?
pub(crate) fn is_too_large(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::Limit)
}

/// A lane that is not ours.
pub(crate) fn other_device() -> Error {
    Error::new(ErrorKind::Device, "the lane belongs to another device")
}

fn foreign() -> Error {
    Error::new(ErrorKind::Device, "the plan belongs to another device")
}

fn not_there() -> Error {
    unisono_runtime::program::staging::broken("a group has members that are not there")
}
