//! A model's graph with branches taken: what a program is built of.
//!
//! The one idea: a graph with choices that can be found out before a batch runs stands for several graphs without them. Taking all that
//! are open gives the next graph, in which there may be others: those of the branches, and those whose condition a branch makes.
//! [`Branches`] tell how each was taken, from the model's own graph on, and name one graph among all.
//!
//! What follows from shapes and constants is taken at once and is no part of it.

use unisono_graph::infer::infer;
use unisono_graph::rewrite::branch::Taken;
use unisono_graph::{Fact, Graph, Node, ValueId};
use unisono_runtime::plan_cache::Weigh;
use unisono_runtime::{Error, ErrorKind};

use crate::exec::choice::{self, Choice};
use crate::exec::model::CudaModel;

/// Which branches were taken: the conditions of choices, the first in the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Branches {
    conditions: u64,
    count: u32,
}

impl Branches {
    /// Is there room for so many more?
    fn has_room(self, more: usize) -> bool {
        self.count as usize + more <= u64::BITS as usize
    }

    /// With so many more choices, taken by these conditions.
    pub(crate) fn then(self, conditions: u64, count: usize) -> Branches {
        let conditions = conditions.checked_shl(self.count).unwrap_or(0);
        Branches {
            conditions: self.conditions | conditions,
            count: self.count + count as u32,
        }
    }
}

/// See the [module](self).
pub(crate) struct Variant {
    /// `None` for the model's own graph.
    taken: Option<Taken>,
    pub(crate) facts: Vec<Option<Fact>>,
    /// What a request must find out before this has a program.
    pub(crate) choice: Option<Choice>,
    pub(crate) branches: Branches,
}

impl Variant {
    /// The first: nothing is taken but what follows from the shapes of `inputs` and from constants.
    ///
    /// # Errors
    /// Shapes that do not fit the model.
    pub(crate) fn first(model: &CudaModel, inputs: &[Fact]) -> Result<Variant, Error> {
        Variant::settle(model, inputs, None, Branches::default())
    }

    /// The one behind this for requests that found out `conditions`.
    ///
    /// # Errors
    /// Shapes that do not fit a branch that was taken.
    pub(crate) fn next(
        &self,
        model: &CudaModel,
        inputs: &[Fact],
        choice: &Choice,
        conditions: u64,
    ) -> Result<Variant, Error> {
        let taken = match &self.taken {
            Some(taken) => taken.take(&choice.settled(conditions)),
            None => Taken::nothing(model.model.graph()).take(&choice.settled(conditions)),
        };
        let branches = self.branches.then(conditions, choice.count());
        Variant::settle(model, inputs, Some(taken.ok_or_else(broken)?), branches)
    }

    /// Takes what follows from shapes and constants until nothing does.
    fn settle(
        model: &CudaModel,
        inputs: &[Fact],
        mut taken: Option<Taken>,
        branches: Branches,
    ) -> Result<Variant, Error> {
        let has_rows: Vec<bool> = {
            let ports = model.model.inputs().iter();
            ports.map(|port| port.rows_axis.is_some()).collect()
        };
        loop {
            let graph = taken.as_ref().map_or(model.model.graph(), Taken::graph);
            let facts = infer(graph, inputs).map_err(|e| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("these input shapes do not fit the model: {e}"),
                )
            })?;
            let found = choice::find(graph, &facts, &has_rows, &model.engine.host)?;
            if found.settled.is_empty() {
                let choice = found.open.filter(|open| branches.has_room(open.count()));
                return Ok(Variant {
                    taken,
                    facts,
                    choice,
                    branches,
                });
            }
            let all = taken.unwrap_or_else(|| Taken::nothing(model.model.graph()));
            taken = Some(all.take(&found.settled).ok_or_else(broken)?);
        }
    }

    /// The graph in which branches were taken; `None` for the model's own.
    pub(crate) fn taken(&self) -> Option<&Taken> {
        self.taken.as_ref()
    }

    /// The graph.
    pub(crate) fn graph<'a>(&'a self, model: &'a CudaModel) -> &'a Graph {
        self.taken().map_or(model.model.graph(), Taken::graph)
    }

    /// Bytes that it holds beside the model's own.
    pub(crate) fn bytes(&self) -> u64 {
        let facts = self.facts.len() * size_of::<Option<Fact>>();
        let graph = self.taken().map_or(0, |taken| {
            let values = taken.graph().values().iter();
            let values: usize = values.map(|v| size_of_val(v) + v.name.len()).sum();
            let node = |node: &Node| {
                let ids = node.inputs.len() + node.outputs.len();
                size_of_val(node) + node.name.len() + ids * size_of::<Option<ValueId>>()
            };
            values + taken.graph().nodes().iter().map(node).sum::<usize>()
        });
        (facts + graph) as u64
    }
}

impl Weigh for Variant {
    fn bytes(&self) -> u64 {
        Variant::bytes(self)
    }
}

fn broken() -> Error {
    Error::new(
        ErrorKind::Panic,
        "a branch of the model could not be put in its place; please report this",
    )
}
