//! Rows through the bodies of control flow.
//!
//! The one idea: which body runs, and how often, must be the same for all rows; then a body is walked like any graph. What
//! a loop carries must be in the same state after a round as before it.

use super::walk::{Given, State, walk};
use crate::attribute::Subgraph;
use crate::infer::infer_partial;
use crate::ops::common::resolve_axis;
use crate::ops::control::{If, Loop, Scan, body_inputs};
use crate::ops::rules::moved;
use crate::{Batch, BatchContext, Blocker, Fact, Operator, Symbol};

/// The states of the node's outputs, if it is one with bodies.
pub(super) fn outputs(given: &Given<'_>) -> Option<Result<Vec<State>, Blocker>> {
    control(
        &*given.node.op,
        &given.states,
        &given.input_facts,
        given.output_facts.len(),
        given.rows,
    )
}

/// The same as a batch rule.
pub(crate) fn batch_of_control(
    op: &dyn Operator,
    cx: &BatchContext<'_>,
) -> Result<Vec<Batch>, Blocker> {
    let states: Vec<Option<State>> = cx
        .inputs
        .iter()
        .map(|b| b.clone().map(State::Batch))
        .collect();
    let states = control(op, &states, cx.input_facts, cx.output_facts.len(), cx.rows)
        .unwrap_or_else(|| Err(Blocker::new("has no bodies")))?;
    states
        .into_iter()
        .map(|state| match state {
            State::Batch(batch) => Ok(batch),
            State::Counted => Err(Blocker::new("depends on how many rows there are")),
            State::Blocked(obstacle) => Err(Blocker::new(obstacle.to_string())),
        })
        .collect()
}

fn control(
    op: &dyn Operator,
    states: &[Option<State>],
    facts: &[Option<Fact>],
    outputs: usize,
    rows: &Symbol,
) -> Option<Result<Vec<State>, Blocker>> {
    if let Some(op) = op.downcast_ref::<If>() {
        Some(branches(op, states, facts, outputs, rows))
    } else if let Some(op) = op.downcast_ref::<Loop>() {
        Some(rounds(op, states, facts, rows))
    } else {
        op.downcast_ref::<Scan>()
            .map(|op| scan(op, states, facts, rows))
    }
}

/// The states of a body's outputs.
fn body(
    body: &Subgraph,
    facts: &[Option<Fact>],
    states: &[Option<State>],
    rows: &Symbol,
) -> Result<Vec<State>, Blocker> {
    let facts = infer_partial(&body.graph, facts).map_err(|e| Blocker::new(e.to_string()))?;
    let states: Vec<State> = states
        .iter()
        .map(|s| s.clone().unwrap_or(State::SHARED))
        .collect();
    let states = walk(&body.graph, &facts, &states, rows);
    let outputs = body.graph.outputs().iter();
    Ok(outputs
        .map(|o| states.get(o.index()).cloned().unwrap_or(State::SHARED))
        .collect())
}

/// Refuses a parameter of control flow that is not the same for all.
fn shared(states: &[Option<State>], index: usize, what: &str) -> Result<(), Blocker> {
    match states.get(index).and_then(Option::as_ref) {
        None | Some(State::Batch(Batch::Shared)) => Ok(()),
        Some(State::Blocked(obstacle)) => Err(Blocker::new(obstacle.to_string())),
        Some(State::Counted) => Err(Blocker::new(format!(
            "{what} depends on how many rows there are"
        ))),
        Some(State::Batch(_)) => Err(Blocker::new(format!("{what} depends on the data of a row"))),
    }
}

fn branches(
    op: &If,
    states: &[Option<State>],
    facts: &[Option<Fact>],
    outputs: usize,
    rows: &Symbol,
) -> Result<Vec<State>, Blocker> {
    let possible = op.possible(facts);
    if possible.len() > 1 {
        shared(states, 0, "chooses a branch by a condition that")?;
    }
    let mut joined: Option<Vec<State>> = None;
    let mut failed = None;
    for (_, branch) in possible {
        let inner_facts = body_inputs(branch, [], facts);
        let inner_states = body_inputs(branch, [], states);
        let made = match body(branch, &inner_facts, &inner_states, rows) {
            Ok(made) => made,
            // A branch that cannot work with these shapes runs in no request that succeeds.
            Err(blocker) => {
                failed = Some(blocker);
                continue;
            }
        };
        joined = Some(match joined {
            None => made,
            Some(others) => others
                .into_iter()
                .zip(made)
                .map(|(a, b)| match (a, b) {
                    (a, b) if a == b => Ok(a),
                    (blocked @ State::Blocked(_), _) | (_, blocked @ State::Blocked(_)) => {
                        Ok(blocked)
                    }
                    _ => Err(Blocker::new(
                        "has branches that hold the batch in different ways",
                    )),
                })
                .collect::<Result<_, _>>()?,
        });
    }
    match (joined, failed) {
        (Some(states), _) => Ok(states),
        (None, Some(blocker)) => Err(blocker),
        (None, None) => Ok(vec![State::SHARED; outputs]),
    }
}

/// Refuses a carried value that a round leaves in another state.
fn carried(before: &[Option<State>], after: &[State]) -> Result<(), Blocker> {
    for (before, after) in before.iter().zip(after) {
        if let State::Blocked(obstacle) = after {
            return Err(Blocker::new(obstacle.to_string()));
        }
        if before.as_ref().unwrap_or(&State::SHARED) != after {
            return Err(Blocker::new(
                "carries a value that holds the batch in another way after a round",
            ));
        }
    }
    Ok(())
}

/// The state of slices that are joined along a new axis.
fn joined(slice: &State, axis: usize) -> State {
    match slice {
        State::Batch(rows @ Batch::Rows { axis: at, .. }) => {
            State::Batch(moved(rows, if *at >= axis { at + 1 } else { *at }))
        }
        other => other.clone(),
    }
}

fn rounds(
    op: &Loop,
    states: &[Option<State>],
    facts: &[Option<Fact>],
    rows: &Symbol,
) -> Result<Vec<State>, Blocker> {
    shared(states, 0, "repeats a body as often as a number says that")?;
    shared(states, 1, "repeats a body while a condition holds that")?;
    let entered = op.enter(facts).map_err(|e| Blocker::new(e.to_string()))?;
    let before: Vec<Option<State>> = (2..2 + op.carried)
        .map(|i| states.get(i).cloned().flatten())
        .collect();
    let formal = [Some(State::SHARED), Some(State::SHARED)];
    let inner = body_inputs(&op.body, formal.into_iter().chain(before.clone()), states);
    let after = body(&op.body, &entered, &inner, rows)?;
    let (condition, after) = after
        .split_first()
        .ok_or_else(|| Blocker::new("has a body without a condition"))?;
    shared(
        &[Some(condition.clone())],
        0,
        "repeats a body while a condition holds that",
    )?;
    carried(&before, after)?;
    let collected = after.iter().skip(op.carried).map(|s| joined(s, 0));
    Ok(after
        .iter()
        .take(op.carried)
        .cloned()
        .chain(collected)
        .collect())
}

fn scan(
    op: &Scan,
    states: &[Option<State>],
    facts: &[Option<Fact>],
    rows: &Symbol,
) -> Result<Vec<State>, Blocker> {
    let entered = op.enter(facts).map_err(|e| Blocker::new(e.to_string()))?;
    let before: Vec<Option<State>> = (0..op.carried)
        .map(|i| states.get(i).cloned().flatten())
        .collect();
    let mut formal = before.clone();
    for (i, cut) in op.inputs.iter().enumerate() {
        let i = op.carried + i;
        let rank = facts.get(i).and_then(|f| f.as_ref()?.rank());
        let state = states.get(i).cloned().flatten().unwrap_or(State::SHARED);
        let (State::Batch(batch @ Batch::Rows { axis, .. }), Some(rank)) = (&state, rank) else {
            formal.push(Some(state));
            continue;
        };
        let along = resolve_axis(cut.axis, rank).map_err(|e| Blocker::new(e.to_string()))?;
        if along == *axis {
            return Err(Blocker::new(format!(
                "goes through input {i} along axis {axis}, which is the batch, step by step"
            )));
        }
        let at = if *axis > along { axis - 1 } else { *axis };
        formal.push(Some(State::Batch(moved(batch, at))));
    }
    let inner = body_inputs(&op.body, formal, states);
    let after = body(&op.body, &entered, &inner, rows)?;
    carried(&before, &after)?;
    let mut made: Vec<State> = after.iter().take(op.carried).cloned().collect();
    let slices = body_output_ranks(&op.body, &entered);
    for (i, out) in op.outputs.iter().enumerate() {
        let i = op.carried + i;
        let slice = after.get(i).unwrap_or(&State::SHARED);
        let axis = match slices.get(i).copied().flatten() {
            Some(rank) => {
                resolve_axis(out.axis, rank + 1).map_err(|e| Blocker::new(e.to_string()))?
            }
            None => return Err(Blocker::new("makes something of unknown rank")),
        };
        made.push(joined(slice, axis));
    }
    Ok(made)
}

fn body_output_ranks(body: &Subgraph, facts: &[Option<Fact>]) -> Vec<Option<usize>> {
    let facts = infer_partial(&body.graph, facts).unwrap_or_default();
    let outputs = body.graph.outputs().iter();
    outputs
        .map(|o| facts.get(o.index())?.as_ref()?.rank())
        .collect()
}
