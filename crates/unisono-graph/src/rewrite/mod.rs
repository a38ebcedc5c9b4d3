//! Rewrites: the same model with fewer and larger steps.
//!
//! The one idea: a rewrite looks at the graph and at nothing else. No device, no request and no load has a say, so the
//! graph that comes out, and with it every bit of every answer, is fixed once for all devices. What pays on one kind of
//! device only has no place here.
//!
//! | rewrite | before | after | values |
//! | --- | --- | --- | --- |
//! | [`noop`] | steps that do nothing | their input | equal |
//! | [`fold`] | steps over constants, contents known from shapes | constants | equal |
//! | [`targets`] | shapes that are computed to be asked for | constants | equal |
//! | [`duplicates`] | the same step on the same inputs twice | once | equal |
//! | [`plain`] | bounds, sums and powers with constants | activations, `Add`, `Mul`, `Sqrt` | equal but for the last bit of powers |
//! | [`gelu`] | GELU and SiLU spelled out | one activation | rounded differently |
//! | [`hard`] | hard sigmoid and hard swish spelled out | one activation | rounded differently |
//! | [`layer_norm`] | layer norm spelled out | one operator | rounded differently |
//! | [`views`] | steps behind a product and a change of shape | in front of the change of shape | equal |
//! | [`transpose`] | transposes in a row, or in front of a product | fewer | equal |
//! | [`linear`] | a product between scales, bias, activation | one operator | rounded differently where operands were scaled |
//! | [`conv`] | a convolution between per-channel scales, bias, activation | one operator | rounded differently where weights are scaled |
//! | [`parts`] | a product that is cut into parts | a product for each part | equal |
//! | [`one_hot`] | a product with a one-hot encoding | a row of a table | equal |
//! | [`leads`] | leading axes merged in front of a product or softmax | merged behind it | equal |
//! | [`layout`] | transposes and reshapes in a row, also across a product | one transpose | equal |
//! | [`dead`] | what no output needs | nothing | equal |
//!
//! They run in this order, again and again until nothing changes or [`MAX_ROUNDS`] is reached (earlier for very large
//! graphs); bodies of control flow are rewritten by the same rules. Values that are rounded differently are as accurate as before: the difference is of the
//! size of one rounding of the replaced steps.
//!
//! [`branch`] is none of them: it makes another graph, for requests of which more is known than of the model.
//!
//! A rewrite never changes the model's inputs and outputs: their number, order, names and types stay. It never fails: what it
//! does not understand, it leaves alone.

pub mod branch;
pub mod conv;
pub mod dead;
pub mod duplicates;
pub mod fold;
pub mod gelu;
pub mod hard;
pub mod layer_norm;
pub mod layout;
pub mod leads;
pub mod linear;
pub mod noop;
pub mod one_hot;
pub mod parts;
pub mod plain;
pub mod targets;
pub mod transpose;
pub mod views;

mod body;
mod edit;
mod product;
mod view;

#[cfg(test)]
mod testing;

use crate::{Graph, Operator};
use std::fmt;
use unisono_tensor::Tensor;

/// Computes operators over constants: for folding, by the arithmetic that every device follows.
pub trait ConstantEvaluator {
    /// All outputs of the operator for these inputs (`None` for one that is left out), or `None` if it cannot compute them.
    fn evaluate(&self, op: &dyn Operator, inputs: &[Option<Tensor>]) -> Option<Vec<Tensor>>;
}

/// Folds nothing: for graphs that should keep all their steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFolding;

impl ConstantEvaluator for NoFolding {
    fn evaluate(&self, _op: &dyn Operator, _inputs: &[Option<Tensor>]) -> Option<Vec<Tensor>> {
        None
    }
}

/// How often all rewrites run at most. Real models settle after three or four rounds.
pub const MAX_ROUNDS: usize = 16;

/// Graphs of more nodes than this run through fewer rounds, so that loading takes time in proportion to the file.
const LARGE: usize = 50_000;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RewriteReport {
    /// How often each rewrite applied, bodies included, in the order in which they run; those that never applied are left out, and so is
    /// the removal of what is dead.
    pub applied: Vec<(&'static str, usize)>,
    /// How often all of them ran.
    pub rounds: usize,
    /// Nodes before and after, without those of bodies.
    pub nodes: (usize, usize),
}

impl RewriteReport {
    /// How often a rewrite applied.
    pub fn count(&self, name: &str) -> usize {
        let found = self.applied.iter().find(|(n, _)| *n == name);
        found.map_or(0, |(_, count)| *count)
    }
}

impl fmt::Display for RewriteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes became {}", self.nodes.0, self.nodes.1)?;
        for (i, (name, count)) in self.applied.iter().enumerate() {
            let before = if i == 0 { " (" } else { ", " };
            write!(f, "{before}{name} {count}")?;
        }
        if self.applied.is_empty() {
            return Ok(());
        }
        f.write_str(")")
    }
}

/// One rewrite: its name in reports, and what applies it everywhere once and says how often it did.
type Rewrite = (
    &'static str,
    fn(&mut Graph, &dyn ConstantEvaluator) -> usize,
);

const REWRITES: &[Rewrite] = &[
    ("noop", |g, _| noop::apply(g)),
    ("fold", fold::apply),
    ("targets", |g, _| targets::apply(g)),
    ("duplicates", |g, _| duplicates::apply(g)),
    ("plain", |g, _| plain::apply(g)),
    ("gelu", |g, _| gelu::apply(g)),
    ("hard", |g, _| hard::apply(g)),
    ("layer_norm", |g, _| layer_norm::apply(g)),
    ("views", |g, _| views::apply(g)),
    ("transpose", |g, _| transpose::apply(g)),
    ("linear", |g, _| linear::apply(g)),
    ("conv", |g, _| conv::apply(g)),
    // Behind `linear`: the parts take bias and activation along.
    ("parts", |g, _| parts::apply(g)),
    // Behind `linear`: the table takes bias and activation along.
    ("one_hot", |g, _| one_hot::apply(g)),
    ("leads", |g, _| leads::apply(g)),
    // Behind `linear`: a product takes bias and activation along.
    ("layout", |g, _| layout::apply(g)),
];

/// Rewrites a graph until nothing changes.
///
/// The graph must have passed [`Graph::check`]; it passes it afterwards.
pub fn optimize(graph: &mut Graph, evaluator: &dyn ConstantEvaluator) -> RewriteReport {
    optimize_nested(graph, evaluator, 0)
}

/// [`optimize`] for a graph inside of so many others.
fn optimize_nested(
    graph: &mut Graph,
    evaluator: &dyn ConstantEvaluator,
    depth: usize,
) -> RewriteReport {
    let mut counts = vec![0; REWRITES.len()];
    let before = graph.nodes().len();
    let mut report = RewriteReport::default();
    // What the file carries along for nothing would only be in the way.
    dead::apply(graph);
    let rounds = (MAX_ROUNDS * LARGE / before.max(1)).clamp(2, MAX_ROUNDS);
    for round in 1..=rounds {
        report.rounds = round;
        let mut changed = 0;
        for (i, (_, apply)) in REWRITES.iter().enumerate() {
            let applied = apply(graph, evaluator);
            if applied > 0 {
                dead::apply(graph);
            }
            counts[i] += applied;
            changed += applied;
        }
        if changed == 0 {
            break;
        }
    }
    let bodies = body::apply(graph, evaluator, depth);
    for (i, (name, _)) in REWRITES.iter().enumerate() {
        let count = counts[i] + bodies.count(name);
        if count > 0 {
            report.applied.push((name, count));
        }
    }
    report.nodes = (before, graph.nodes().len());
    report
}
