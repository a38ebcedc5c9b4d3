//! Batches against lone runs, byte for byte.

mod apart;
mod attention;
mod forms;
mod passes;
mod ragged;
mod sums;
mod uniform;

use std::sync::Arc;

use unisono_graph::contract::contract;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::{Dim, Graph, Operator, Symbol, TensorType, ValueId};
use unisono_runtime::Error;
use unisono_runtime::model::ModelGraph;
use unisono_runtime::plan::{Executable, Group, Member, Plan, PlanKey};
use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::{DType, Tensor};

use crate::exec::cost::NEAR_BYTES;
use crate::exec::lane::CpuLane;
use crate::exec::model::{CpuExecutable, CpuModel, Engine};
use crate::simd::Isa;

/// A model on a device with a lane of its own, and the plans made so far.
pub(super) struct Bench {
    pub(super) model: Arc<ModelGraph>,
    pub(super) executable: CpuExecutable,
    plans: Vec<(PlanKey, Arc<dyn Plan>)>,
    pub(super) lane: CpuLane,
}

impl Bench {
    pub(super) fn new(graph: Graph, isa: Isa, threads: usize) -> Bench {
        Bench::with_limit(graph, isa, threads, 1 << 30)
    }

    pub(super) fn with_limit(graph: Graph, isa: Isa, threads: usize, arena_limit: usize) -> Bench {
        Bench::on(
            graph,
            Engine {
                team: Team::new(TeamOptions::default().threads(threads)).unwrap(),
                solo: Team::solo(),
                isa,
                arena_limit,
                near_bytes: NEAR_BYTES,
            },
        )
    }

    pub(super) fn on(graph: Graph, engine: Engine) -> Bench {
        graph.check().unwrap();
        let contract = contract(&graph);
        assert!(contract.is_coalescible(), "{:?}", contract.verdict);
        let facts = infer_partial(&graph, &declared_inputs(&graph)).unwrap();
        let outputs: Vec<_> = graph
            .outputs()
            .iter()
            .map(|id| facts[id.index()].clone())
            .collect();
        let model = Arc::new(ModelGraph::new(graph, contract, &outputs).unwrap());
        let executable = CpuExecutable(Arc::new(
            CpuModel::new(Arc::clone(&model), Arc::new(engine)).unwrap(),
        ));
        Bench {
            model,
            executable,
            plans: Vec::new(),
            lane: CpuLane::default(),
        }
    }

    /// A request as a member of a batch. Plans are shared by what has one key, as in a session.
    pub(super) fn member(&mut self, inputs: &[Tensor]) -> Member {
        let (key, rows) = self.model.admit(inputs).unwrap();
        let known = self.plans.iter().position(|(k, _)| *k == key);
        let at = known.unwrap_or_else(|| {
            let plan = self.executable.compile(&key).unwrap();
            self.plans.push((key, plan));
            self.plans.len() - 1
        });
        Member {
            plan: Arc::clone(&self.plans[at].1),
            rows,
            inputs: inputs.iter().cloned().collect(),
            outputs: vec![None; self.model.outputs().len()],
        }
    }

    /// What the request gets alone.
    pub(super) fn alone(&mut self, inputs: &[Tensor]) -> Vec<Tensor> {
        let mut member = self.member(inputs);
        member
            .plan
            .run(
                &mut self.lane,
                member.rows,
                &member.inputs,
                &mut member.outputs,
            )
            .unwrap();
        member.outputs.into_iter().map(Option::unwrap).collect()
    }

    /// Runs members, of which those with one plan lie behind each other, as a batch.
    pub(super) fn batch(&mut self, members: &mut [Member]) -> Result<(), Error> {
        let mut groups: Vec<Group> = Vec::new();
        for (i, member) in members.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if Arc::ptr_eq(&members[group.members.start].plan, &member.plan) => {
                    group.members.end = i + 1;
                    group.rows += member.rows;
                }
                _ => groups.push(Group {
                    members: i..i + 1,
                    rows: member.rows,
                }),
            }
        }
        let mut members: Vec<&mut Member> = members.iter_mut().collect();
        self.executable
            .run_batch(&mut self.lane, &mut members, &groups)
    }

    /// Runs the requests alone and as a batch, and compares.
    pub(super) fn check(&mut self, requests: &[Vec<Tensor>]) {
        let mut members: Vec<Member> = requests.iter().map(|r| self.member(r)).collect();
        self.batch(&mut members).unwrap();
        for (i, (member, request)) in members.iter().zip(requests).enumerate() {
            for (j, (got, expected)) in member.outputs.iter().zip(self.alone(request)).enumerate() {
                let got = got.as_ref().unwrap();
                assert_eq!(got.shape(), expected.shape(), "request {i}, output {j}");
                assert_eq!(got.dtype(), expected.dtype(), "request {i}, output {j}");
                assert!(
                    got.bytes() == expected.bytes(),
                    "request {i}, output {j} has other bits"
                );
            }
        }
    }
}

/// Numbers without a pattern in which a row that is repeated or misplaced could hide.
pub(super) fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// An `f32` input; letters stand for lengths.
pub(super) fn input(graph: &mut Graph, name: &str, shape: &[Result<usize, &str>]) -> ValueId {
    let dim = |n: &Result<usize, &str>| match n {
        Ok(n) => Dim::from(*n),
        Err(name) => Dim::symbol(&Symbol::new(name)),
    };
    let declared = TensorType {
        dtype: DType::F32,
        shape: Some(shape.iter().map(dim).collect()),
    };
    graph.add_input(name, declared)
}

/// A node with one output.
pub(super) fn node(graph: &mut Graph, op: impl Operator, inputs: &[ValueId]) -> ValueId {
    let name = format!("node{}", graph.nodes().len());
    graph.append(name, Arc::new(op), inputs, 1)[0]
}
