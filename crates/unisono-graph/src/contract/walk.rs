//! Following the rows through a graph, node by node.

use super::control;
use super::{Obstacle, OutputRows, Verdict};
use crate::graph::Node;
use crate::infer::infer_partial;
use crate::{Batch, BatchContext, Blocker, Dim, Fact, Graph, Symbol};

/// What a value is; see the table in [`crate::contract`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Shared or rows; never mixed.
    Batch(Batch),
    Counted,
    Blocked(Obstacle),
}

impl State {
    pub(super) const SHARED: State = State::Batch(Batch::Shared);
}

/// Tries one choice of batch axes. Gives what it supposes of the inputs along with the verdict.
pub(super) fn attempt(
    graph: &Graph,
    inputs: &[Option<Fact>],
    axes: &[Option<usize>],
    rows: &Symbol,
) -> Result<(Verdict, Vec<Option<Fact>>), Obstacle> {
    let mut supposed = inputs.to_vec();
    for (fact, axis) in supposed.iter_mut().zip(axes) {
        let shape = fact.as_mut().and_then(|f| f.shape.as_mut());
        if let Some(length) = shape.zip(*axis).and_then(|(s, a)| s.get_mut(a)) {
            *length = Dim::symbol(rows);
        }
    }
    let batches: Vec<Batch> = axes
        .iter()
        .map(|a| a.map_or(Batch::Shared, Batch::axis))
        .collect();
    let states = batches
        .iter()
        .cloned()
        .map(State::Batch)
        .collect::<Vec<_>>();
    let facts = infer_partial(graph, &supposed).map_err(|e| Obstacle {
        reason: format!(
            "does not allow rows along {}: {}",
            place(graph, axes),
            e.error
        ),
        node: e.node,
        operator: e.operator,
    })?;
    let states = walk(graph, &facts, &states, rows);
    let outputs = graph
        .outputs()
        .iter()
        .map(|&id| {
            let fact = facts.get(id.index()).and_then(Option::as_ref);
            let name = graph
                .values()
                .get(id.index())
                .map_or("", |v| v.name.as_str());
            output(name, states.get(id.index()), fact, rows)
        })
        .collect::<Result<Vec<_>, _>>()?;
    if !outputs.iter().any(|o| matches!(o, OutputRows::Rows { .. })) {
        return Err(about_output(format!(
            "no output has rows if {} is the batch",
            place(graph, axes)
        )));
    }
    let verdict = Verdict::Coalescible {
        inputs: batches,
        outputs,
    };
    Ok((verdict, supposed))
}

/// `axis 0 of "input"`, for messages.
fn place(graph: &Graph, axes: &[Option<usize>]) -> String {
    let chosen = graph.inputs().iter().zip(axes);
    let places: Vec<String> = chosen
        .filter_map(|(&id, axis)| {
            let name = &graph.values().get(id.index())?.name;
            Some(format!("axis {} of \"{name}\"", (*axis)?))
        })
        .collect();
    places.join(", ")
}

fn about_output(reason: String) -> Obstacle {
    Obstacle {
        node: None,
        operator: None,
        reason,
    }
}

/// How an output is told apart, if it can be.
fn output(
    name: &str,
    state: Option<&State>,
    fact: Option<&Fact>,
    rows: &Symbol,
) -> Result<OutputRows, Obstacle> {
    match state {
        Some(State::Batch(Batch::Shared)) => Ok(OutputRows::Shared),
        Some(State::Batch(Batch::Rows { axis, outer, inner })) => {
            if *outer != Dim::constant(1) {
                return Err(about_output(format!(
                    "output \"{name}\" has the batch folded behind {outer} other elements of axis {axis}"
                )));
            }
            Ok(OutputRows::Rows {
                axis: *axis,
                inner: inner.clone(),
            })
        }
        Some(State::Counted) => {
            let known = fact.and_then(|f| {
                let (shape, contents) = (f.shape.clone()?, f.integers.clone()?);
                let exact = shape.iter().all(|d| !d.mentions(rows) && !d.has_unknown())
                    && contents.iter().all(|d| !d.has_unknown());
                exact.then_some(OutputRows::Counted { shape, contents })
            });
            known.ok_or_else(|| {
                about_output(format!(
                    "output \"{name}\" depends on how many rows there are"
                ))
            })
        }
        Some(State::Blocked(obstacle)) => Err(obstacle.clone()),
        Some(State::Batch(Batch::Mixed)) | None => Err(about_output(format!(
            "output \"{name}\" depends on all rows"
        ))),
    }
}

/// The state of every value. `facts` are those of all values, in which `rows` stands for the number of rows.
pub(super) fn walk(
    graph: &Graph,
    facts: &[Option<Fact>],
    inputs: &[State],
    rows: &Symbol,
) -> Vec<State> {
    let mut states = vec![State::SHARED; graph.values().len()];
    for (&id, state) in graph.inputs().iter().zip(inputs) {
        if let Some(slot) = states.get_mut(id.index()) {
            *slot = state.clone();
        }
    }
    for node in graph.nodes() {
        let known =
            |id: &Option<crate::ValueId>| -> Option<Fact> { facts.get((*id)?.index())?.clone() };
        let given = Given {
            node,
            states: node
                .inputs
                .iter()
                .map(|id| states.get((*id)?.index()).cloned())
                .collect(),
            input_facts: node.inputs.iter().map(known).collect(),
            output_facts: node.outputs.iter().map(known).collect(),
            rows,
        };
        let made = given.outputs();
        for (id, state) in node.outputs.iter().zip(made) {
            if let Some(slot) = id.and_then(|id| states.get_mut(id.index())) {
                *slot = state;
            }
        }
    }
    states
}

/// A node with all that is known of what it is given.
pub(super) struct Given<'a> {
    pub(super) node: &'a Node,
    pub(super) states: Vec<Option<State>>,
    pub(super) input_facts: Vec<Option<Fact>>,
    pub(super) output_facts: Vec<Option<Fact>>,
    pub(super) rows: &'a Symbol,
}

impl Given<'_> {
    fn obstacle(&self, reason: impl Into<String>) -> State {
        State::Blocked(Obstacle {
            node: Some(self.node.name.clone()),
            operator: Some(self.node.op.name()),
            reason: reason.into(),
        })
    }

    /// The state of each output.
    fn outputs(&self) -> Vec<State> {
        let states = self.by_rule();
        states
            .into_iter()
            .enumerate()
            .map(|(i, state)| self.checked(i, state))
            .collect()
    }

    /// What an output is by its contents alone: lengths are numbers or expressions of lengths, whatever the node.
    fn by_contents(&self, fact: Option<&Fact>) -> Option<State> {
        let fact = fact?;
        let (shape, contents) = (fact.shape.as_ref()?, fact.integers.as_ref()?);
        let mut all = shape.iter().chain(contents);
        if all.clone().any(Dim::has_unknown) {
            return None;
        }
        Some(match all.any(|d| d.mentions(self.rows)) {
            true => State::Counted,
            false => State::SHARED,
        })
    }

    fn by_rule(&self) -> Vec<State> {
        let count = self.output_facts.len();
        let everywhere = |state: State| vec![state; count];
        let present = || self.states.iter().flatten();
        if let Some(blocked) = present().find(|s| matches!(s, State::Blocked(_))) {
            return everywhere(blocked.clone());
        }
        if !self.node.op.is_pure() {
            return everywhere(self.obstacle("gives something else every time it runs"));
        }
        if let Some(states) = control::outputs(self) {
            return states.unwrap_or_else(|reason| everywhere(self.obstacle(reason.0)));
        }
        if present().all(|s| *s == State::SHARED) {
            return everywhere(State::SHARED);
        }
        let setting = self.node.op.shape_inputs();
        let counted = |i: &usize| self.states[*i] == Some(State::Counted);
        let reads = (0..self.states.len())
            .filter(counted)
            .find(|i| !setting.contains(i));
        let no_rows = present().all(|s| !matches!(s, State::Batch(Batch::Rows { .. })));
        if let Some(input) = reads {
            return everywhere(if no_rows {
                // Still a function of nothing but lengths and what is shared.
                State::Counted
            } else {
                self.obstacle(format!(
                    "combines rows with input {input}, which depends on how many rows there are"
                ))
            });
        }
        let batches: Vec<Option<Batch>> = self
            .states
            .iter()
            .map(|s| {
                s.as_ref().map(|s| match s {
                    State::Batch(batch) => batch.clone(),
                    // The rule sees what it sets in the shapes.
                    _ => Batch::Shared,
                })
            })
            .collect();
        let cx = BatchContext {
            inputs: &batches,
            input_facts: &self.input_facts,
            output_facts: &self.output_facts,
            rows: self.rows,
        };
        match self.node.op.batch(&cx) {
            Ok(made) => (0..count)
                .map(|i| match made.get(i) {
                    Some(Batch::Mixed) | None => {
                        self.obstacle("makes something that depends on all rows")
                    }
                    Some(batch) => State::Batch(batch.clone()),
                })
                .collect(),
            Err(_) if no_rows => everywhere(State::Counted),
            Err(Blocker(reason)) => everywhere(self.obstacle(reason)),
        }
    }

    /// Holds a claim against what was inferred.
    fn checked(&self, index: usize, state: State) -> State {
        if self.node.outputs.get(index).is_none_or(Option::is_none) {
            return State::SHARED;
        }
        let fact = self.output_facts.get(index).and_then(Option::as_ref);
        if let Some(better) = self.by_contents(fact) {
            return better;
        }
        match &state {
            State::Batch(Batch::Shared) => {
                let mentions =
                    |dims: &Option<Vec<Dim>>| dims.iter().flatten().any(|d| d.mentions(self.rows));
                match fact {
                    Some(f) if mentions(&f.shape) || mentions(&f.integers) => State::Counted,
                    _ => state,
                }
            }
            State::Batch(Batch::Rows { axis, outer, inner }) => {
                let Some(shape) = fact.and_then(|f| f.shape.as_ref()) else {
                    return self.obstacle("makes something whose shape is not known");
                };
                let claimed = &(outer * &Dim::symbol(self.rows)) * inner;
                let others = shape.iter().enumerate().filter(|(i, _)| i != axis);
                let stray = others.clone().find(|(_, d)| d.mentions(self.rows));
                match (shape.get(*axis), stray) {
                    (_, Some((i, length))) => self.obstacle(format!(
                        "makes axis {i} of length {length}, which depends on how many rows there are"
                    )),
                    (Some(length), None) if *length == claimed => state,
                    (length, None) => self.obstacle(format!(
                        "makes axis {axis} of length {}, but its rows need {claimed}",
                        length.map_or_else(|| "none".to_owned(), Dim::to_string)
                    )),
                }
            }
            _ => state,
        }
    }
}
