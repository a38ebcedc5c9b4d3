//! Rewrites the bodies of control flow.
//!
//! The one idea: a body is a graph like any other, of whose inputs less is known. Constants that it captures become its
//! own first, so that products in it find their weights. Declared shapes of a loop's own inputs are not trusted: a value
//! may change its shape from round to round.

use super::view::View;
use super::{ConstantEvaluator, RewriteReport, optimize_nested};
use crate::attribute::Subgraph;
use crate::ops::control::{If, Loop, Scan};
use crate::{Fact, Graph, Node, Operator, TensorType};
use std::sync::Arc;

/// Bodies within bodies are rewritten to this depth.
const DEPTH: usize = 8;

/// Rewrites all bodies; gives what was done in them, summed.
pub(super) fn apply(
    graph: &mut Graph,
    evaluator: &dyn ConstantEvaluator,
    depth: usize,
) -> RewriteReport {
    let mut total = RewriteReport::default();
    let has_bodies = |node: &Node| !node.op.subgraphs().is_empty();
    if depth >= DEPTH || !graph.nodes().iter().any(has_bodies) {
        return total;
    }
    let facts: Vec<Vec<Option<Fact>>> = {
        let view = View::new(graph);
        let inputs = |node: &Node| -> Vec<Option<Fact>> {
            let ids = node.inputs.iter();
            ids.map(|id| view.fact((*id)?).cloned()).collect()
        };
        graph.nodes().iter().map(inputs).collect()
    };
    let mut nodes = graph.take_nodes();
    for (node, facts) in nodes.iter_mut().zip(&facts) {
        let mut rewrite = |body: &Subgraph| {
            let mut body = body.clone();
            let report = rewrite_body(&mut body, facts, evaluator, depth);
            for (name, count) in report.applied {
                match total.applied.iter_mut().find(|(n, _)| *n == name) {
                    Some((_, sum)) => *sum += count,
                    None => total.applied.push((name, count)),
                }
            }
            body
        };
        let op = &*node.op;
        let (op, formal): (Arc<dyn Operator>, usize) = if let Some(op) = op.downcast_ref::<If>() {
            let then_branch = rewrite(&op.then_branch);
            let else_branch = rewrite(&op.else_branch);
            let op = If {
                then_branch,
                else_branch,
            };
            (Arc::new(op), 1)
        } else if let Some(op) = op.downcast_ref::<Loop>() {
            let body = rewrite(&op.body);
            (Arc::new(Loop { body, ..op.clone() }), 2 + op.carried)
        } else if let Some(op) = op.downcast_ref::<Scan>() {
            let body = rewrite(&op.body);
            let formal = op.carried + op.inputs.len();
            (Arc::new(Scan { body, ..op.clone() }), formal)
        } else {
            continue;
        };
        // What no body captures any more need not be handed to the node.
        for (i, slot) in node.inputs.iter_mut().enumerate().skip(formal) {
            if !op.subgraphs().iter().any(|b| b.captures.contains(&i)) {
                *slot = None;
            }
        }
        node.op = op;
    }
    graph.set_nodes(nodes);
    super::dead::apply(graph);
    total
}

fn rewrite_body(
    body: &mut Subgraph,
    facts: &[Option<Fact>],
    evaluator: &dyn ConstantEvaluator,
    depth: usize,
) -> RewriteReport {
    take_over_constants(body, facts);
    let inputs = body.graph.inputs().to_vec();
    let formal = inputs.len().saturating_sub(body.captures.len());
    // While rewrites look, inputs are declared to be what is known of them.
    let mut declared = Vec::with_capacity(inputs.len());
    for (i, &id) in inputs.iter().enumerate() {
        let known = i.checked_sub(formal).and_then(|at| body.captures.get(at));
        let known = known.and_then(|&c| facts.get(c)?.as_ref());
        let value = body.graph.value_mut(id);
        let during = match (known, &value.declared) {
            (Some(fact), _) => Some(TensorType {
                dtype: fact.dtype,
                shape: fact.shape.clone(),
            }),
            (None, Some(own)) => Some(TensorType {
                dtype: own.dtype,
                shape: None,
            }),
            (None, None) => None,
        };
        declared.push(std::mem::replace(&mut value.declared, during));
    }
    let report = optimize_nested(&mut body.graph, evaluator, depth + 1);
    for (id, declared) in inputs.into_iter().zip(declared) {
        body.graph.value_mut(id).declared = declared;
    }
    report
}

/// Captured constants become constants of the body instead of inputs.
fn take_over_constants(body: &mut Subgraph, facts: &[Option<Fact>]) {
    let inputs = body.graph.inputs().to_vec();
    let Some(formal) = inputs.len().checked_sub(body.captures.len()) else {
        return;
    };
    let mut kept_inputs = inputs[..formal].to_vec();
    let mut kept_captures = Vec::new();
    for (&id, &capture) in inputs[formal..].iter().zip(&body.captures) {
        let fact = facts.get(capture).and_then(Option::as_ref);
        match fact.and_then(|f| f.constant.clone()) {
            Some(tensor) => body.graph.value_mut(id).constant = Some(tensor),
            None => {
                kept_inputs.push(id);
                kept_captures.push(capture);
            }
        }
    }
    body.graph.set_inputs(kept_inputs);
    body.captures = kept_captures;
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::ops::linear::Linear;
    use unisono_tensor::DType;

    /// `relu(x w + b)` with all three captured from inputs 1 to 3 of the node.
    fn branch() -> Subgraph {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "2"]);
        let w = b.input("w", &["2", "2"]);
        let bias = b.input("b", &["2"]);
        let y = b.op(Linear::default(), &[x, w]);
        let y = b.add(y, bias);
        let y = b.relu(y);
        Subgraph {
            graph: b.finish(&[y]),
            captures: vec![1, 2, 3],
        }
    }

    #[test]
    fn captured_constants_move_in_and_bodies_are_rewritten() {
        let mut b = Builder::new();
        let condition = b.typed_input("condition", DType::Bool, &[]);
        let x = b.input("x", &["n", "2"]);
        let w = b.floats(&[2, 2], &[1.0; 4]);
        let bias = b.floats(&[2], &[1.0; 2]);
        let op = If {
            then_branch: branch(),
            else_branch: branch(),
        };
        let y = b.op(op, &[condition, x, w, bias]);
        let mut g = b.finish(&[y]);
        let report = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(report.count("linear"), 4);
        let op = only::<If>(&g);
        for body in [&op.then_branch, &op.else_branch] {
            body.graph.check().unwrap();
            assert_eq!(kinds(&body.graph), ["MatMul"]);
            assert_eq!(body.captures, [1]);
            assert_eq!(body.graph.inputs().len(), 1);
        }
        assert_eq!(g.nodes()[0].inputs, [Some(condition), Some(x), None, None]);
    }
}
