//! [`If`].

use super::{body_inputs, body_outputs, inside, join};
use crate::attribute::Subgraph;
use crate::infer;
use crate::{Batch, BatchContext, Blocker, Fact, InferContext, OpError, Operator};
use unisono_tensor::DType;

/// The outputs of one of two bodies. Inputs: `condition` (a boolean of one element), then the values that the bodies
/// capture. Kind `If`.
///
/// The bodies have no formal inputs: all their inputs are captured. Only the chosen one runs.
#[derive(Clone, Debug)]
pub struct If {
    /// Runs if the condition is true.
    pub then_branch: Subgraph,
    /// Runs if it is false.
    pub else_branch: Subgraph,
}

impl If {
    /// The condition, if it is known.
    pub fn condition(inputs: &[Option<Fact>]) -> Option<bool> {
        match inputs.first()?.as_ref()?.known_ints()?.as_slice() {
            [flag] => Some(*flag != 0),
            _ => None,
        }
    }

    /// The branches that may run, with what they are called.
    pub(crate) fn possible(&self, inputs: &[Option<Fact>]) -> Vec<(&'static str, &Subgraph)> {
        let then_branch = ("then-branch", &self.then_branch);
        let else_branch = ("else-branch", &self.else_branch);
        match If::condition(inputs) {
            Some(true) => vec![then_branch],
            Some(false) => vec![else_branch],
            None => vec![then_branch, else_branch],
        }
    }
}

impl Operator for If {
    fn kind(&self) -> &'static str {
        "If"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let condition = cx.input(0)?;
        let one = condition.shape.as_ref().is_none_or(|s| {
            s.iter()
                .all(|n| n.equals(&crate::Dim::constant(1)) != Some(false))
        });
        if condition.dtype != DType::Bool || !one {
            return Err(OpError::new(
                "input 0 (condition) should be a boolean of one element",
            ));
        }
        let mut joined: Option<Vec<Option<Fact>>> = None;
        let mut failed = None;
        for (name, branch) in self.possible(cx.inputs()) {
            let inputs = body_inputs(branch, [], cx.inputs());
            // A branch that cannot work with these shapes is never the one that a run which succeeds has taken.
            match body_outputs(branch, &inputs) {
                Err(error) => failed = failed.or(Some(inside(name, &error))),
                Ok(outputs) => {
                    joined = Some(match joined {
                        None => outputs,
                        Some(others) => others
                            .into_iter()
                            .zip(outputs)
                            .map(|(a, b)| join(&a?, &b?))
                            .collect(),
                    });
                }
            }
        }
        match (joined, failed) {
            (Some(outputs), _) => {
                for (i, fact) in outputs.into_iter().enumerate() {
                    if let Some(fact) = fact {
                        cx.set(i, fact);
                    }
                }
                Ok(())
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        super::batch(self, cx)
    }

    /// The dearer branch.
    fn flops(&self, inputs: &[Option<Fact>], _: &[Option<Fact>]) -> Option<u64> {
        self.possible(inputs)
            .into_iter()
            .filter_map(|(_, branch)| {
                let facts =
                    infer::infer_partial(&branch.graph, &body_inputs(branch, [], inputs)).ok()?;
                infer::flops(&branch.graph, &facts)
            })
            .max()
    }

    fn subgraphs(&self) -> Vec<&Subgraph> {
        vec![&self.then_branch, &self.else_branch]
    }
}
