//! What a graph costs, counted: the operators say how much arithmetic they do, the facts how many bytes move.
//!
//! A device turns both into time by rates of its own. It must never read a clock: what is decided with it (who shares a batch)
//! must not differ from run to run.

use unisono_graph::attribute::Subgraph;
use unisono_graph::infer::infer_partial;
use unisono_graph::ops::control::If;
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::recurrent::Recurrent;
use unisono_graph::{Dim, Fact, Graph, Node, Symbol, ValueId};
use unisono_tensor::DType;

use super::fate::is_view;

/// Weights of which a row makes at most so many products a byte take longer to read than to multiply with: one core reads some 50 bytes in a
/// nanosecond from the last-level cache and does some 60 products meanwhile.
pub const THIN_PRODUCTS: u64 = 1;

/// Work that takes time in proportion to itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    /// Multiplications with an addition, in products of matrices and their kin.
    pub products: u64,
    /// Bytes that all else reads and writes.
    pub moved: u64,
}

/// What the nodes of a graph add up to.
#[derive(Debug, Default)]
pub struct Work {
    /// How many nodes run.
    pub steps: u64,
    /// Steps of time that recurrent layers walk through, each behind the one before, however many rows there are.
    pub time_steps: u64,
    /// Bytes of constants that products read.
    pub weight_bytes: u64,
    /// Those of them with which a row does so little that reading them takes longer: see [`THIN_PRODUCTS`].
    pub thin_bytes: u64,
    /// The steps that are products with constant weights, which different plans can do together.
    pub linear_steps: u64,
    /// Bytes of those weights.
    pub linear_bytes: u64,
    /// What one row adds.
    pub per_row: Amount,
    /// What is done once, however many rows there are.
    pub shared: Amount,
}

impl Work {
    /// Adds a graph, of whose values `facts` tells shapes with the number of rows as the symbol `rows`.
    pub fn add_graph(&mut self, graph: &Graph, facts: &[Option<Fact>], rows: &Symbol) {
        let one_row: Vec<Option<Fact>> = facts
            .iter()
            .map(|f| Some(with_one_row(f.as_ref()?, rows)))
            .collect();
        for node in graph.nodes() {
            if let Some(branches) = node.op.downcast_ref::<If>() {
                self.add_branch(branches, &known(facts, &node.inputs), rows);
                continue;
            }
            let literal =
                |id: &ValueId| has_contents(facts.get(id.index()).and_then(Option::as_ref));
            if is_view(node) || node.outputs.iter().flatten().all(literal) {
                continue;
            }
            self.add_node(graph, node, facts, &one_row, rows);
        }
    }

    fn add_node(
        &mut self,
        graph: &Graph,
        node: &Node,
        facts: &[Option<Fact>],
        one_row: &[Option<Fact>],
        rows: &Symbol,
    ) {
        let (inputs, outputs) = (known(one_row, &node.inputs), known(one_row, &node.outputs));
        self.steps += 1;
        if let Some(layer) = node.op.downcast_ref::<Recurrent>() {
            self.time_steps += time_steps(layer, &inputs).unwrap_or(0);
        }
        let has_rows = node.outputs.iter().flatten().any(|id| {
            let shape = facts
                .get(id.index())
                .and_then(|f| f.as_ref()?.shape.as_ref());
            shape.is_some_and(|s| s.iter().any(|n| n.mentions(rows)))
        });
        let amount = if has_rows {
            &mut self.per_row
        } else {
            &mut self.shared
        };
        let multiplies = node.op.is::<Linear>()
            || node.op.is::<Conv>()
            || node.op.is::<ConvTranspose>()
            || node.op.is::<Recurrent>();
        if !multiplies {
            let weightless = inputs
                .iter()
                .chain(&outputs)
                .flatten()
                .filter(|f| f.constant.is_none());
            amount.moved += weightless.filter_map(bytes).sum::<u64>();
            return;
        }
        let products = node.op.flops(&inputs, &outputs).unwrap_or(0) / 2;
        amount.products += products;
        let weights = node.inputs.iter().zip(&inputs).filter_map(|(id, fact)| {
            let (id, fact) = ((*id)?, fact.as_ref()?);
            (fact.constant.is_some() || graph.constant(id).is_some()).then(|| bytes(fact))?
        });
        let weights: u64 = weights.sum();
        self.weight_bytes += weights;
        if has_rows && products <= weights.saturating_mul(THIN_PRODUCTS) {
            self.thin_bytes += weights;
        }
        if node.op.is::<Linear>() && has_rows && has_constant_matrix(graph, node, &inputs) {
            self.linear_steps += 1;
            self.linear_bytes += weights;
        }
    }

    /// The branch that is taken, or the dearer one if that depends on data.
    fn add_branch(&mut self, node: &If, inputs: &[Option<Fact>], rows: &Symbol) {
        let of = |body: &Subgraph| {
            let captured: Vec<Option<Fact>> = body
                .captures
                .iter()
                .map(|&i| inputs.get(i)?.clone())
                .collect();
            let mut work = Work::default();
            // A branch that cannot work on these shapes is not the one that is taken.
            if let Ok(facts) = infer_partial(&body.graph, &captured) {
                work.add_graph(&body.graph, &facts, rows);
            }
            // Its products are within one step of the program.
            (work.linear_steps, work.linear_bytes) = (0, 0);
            work
        };
        let taken = match If::condition(inputs) {
            Some(true) => of(&node.then_branch),
            Some(false) => of(&node.else_branch),
            None => {
                let [a, b] = [of(&node.then_branch), of(&node.else_branch)];
                if a.per_row.products >= b.per_row.products {
                    a
                } else {
                    b
                }
            }
        };
        self.steps += taken.steps;
        self.time_steps += taken.time_steps;
        self.weight_bytes += taken.weight_bytes;
        self.thin_bytes += taken.thin_bytes;
        for (sum, part) in [
            (&mut self.per_row, taken.per_row),
            (&mut self.shared, taken.shared),
        ] {
            sum.products += part.products;
            sum.moved += part.moved;
        }
    }
}

/// How many steps of time a layer walks through.
fn time_steps(layer: &Recurrent, inputs: &[Option<Fact>]) -> Option<u64> {
    let shape = inputs.first()?.as_ref()?.shape.as_ref()?;
    let time = shape.get(usize::from(layer.batch_first))?;
    u64::try_from(time.as_len()?).ok()
}

/// Is the right-hand side one matrix that the model holds?
fn has_constant_matrix(graph: &Graph, node: &Node, inputs: &[Option<Fact>]) -> bool {
    let (Some(Some(id)), Some(Some(fact))) = (node.inputs.get(1), inputs.get(1)) else {
        return false;
    };
    let constant = fact.constant.is_some() || graph.constant(*id).is_some();
    let lead = fact
        .shape
        .as_deref()
        .map_or(&[][..], |s| &s[..s.len().saturating_sub(2)]);
    constant && fact.dtype == DType::F32 && lead.iter().all(|n| n.as_len() == Some(1))
}

fn known(facts: &[Option<Fact>], ids: &[Option<ValueId>]) -> Vec<Option<Fact>> {
    ids.iter()
        .map(|id| facts.get((*id)?.index())?.clone())
        .collect()
}

/// Contents that a program has without running the node.
fn has_contents(fact: Option<&Fact>) -> bool {
    fact.is_some_and(|f| f.constant.is_some() || (f.integers.is_some() && !f.dtype.is_float()))
}

fn with_one_row(fact: &Fact, rows: &Symbol) -> Fact {
    let one = |n: &Dim| n.substitute(&|s| (s == rows).then(|| Dim::constant(1)));
    Fact {
        shape: fact.shape.as_ref().map(|s| s.iter().map(one).collect()),
        ..fact.clone()
    }
}

fn bytes(fact: &Fact) -> Option<u64> {
    fact.element_count()?.checked_mul(fact.dtype.size() as u64)
}
