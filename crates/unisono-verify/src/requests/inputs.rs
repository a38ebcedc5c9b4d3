//! What each input of a model is to be given: shape, role, values.
//!
//! The one idea: every number that the model leaves open is decided by the first that knows it: the user, the model, a
//! default; and what a default decided is printed, because a check on a length that nobody chose says less.

use std::collections::BTreeMap;

use unisono::graph::infer::anonymous_name;
use unisono::graph::ops::indexing::Gather;
use unisono::graph::{Graph, Node, ValueId};
use unisono::{DType, Dim, Model, Port};

use super::Values;
use crate::options::{InputOptions, OptionError};

/// What an input is to the rows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rows lie along this axis.
    Rows(usize),
    /// The same for every caller, as the batch contract demands of what has no rows.
    Shared,
    /// Part of a request that cannot be divided.
    Whole,
}

/// One input, with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPlan {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// The shape of one row.
    pub shape: Vec<usize>,
    /// What it is to the rows.
    pub role: Role,
    /// Its values.
    pub values: Values,
    /// The length of the table that its values pick from, if they are known to: larger ones are refused.
    pub picks_from: Option<usize>,
}

impl InputPlan {
    /// The axis along which rows lie.
    pub fn rows_axis(&self) -> Option<usize> {
        match self.role {
            Role::Rows(axis) => Some(axis),
            Role::Shared | Role::Whole => None,
        }
    }

    /// Is it the same in all requests?
    pub fn is_shared(&self) -> bool {
        self.role == Role::Shared
    }

    /// Do rows of it differ from each other?
    pub fn can_vary(&self) -> bool {
        self.values.vary()
    }
}

/// Lengths that neither the model nor the user chose, by symbol.
pub type DefaultLengths = BTreeMap<String, usize>;

/// Decides what every input is given. Lengths that nobody knows become `default_length`.
///
/// # Errors
/// An input whose rank the model does not tell.
pub fn plan(
    model: &Model,
    options: &InputOptions,
    default_length: usize,
) -> Result<(Vec<InputPlan>, DefaultLengths), OptionError> {
    let ports = model.inputs();
    let coalescible = ports.iter().any(|port| port.rows_axis.is_some());
    let mut lengths = DefaultLengths::new();
    let ids = model.graph().inputs();
    let mut plans = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let role = match port.rows_axis {
            Some(axis) => Role::Rows(axis),
            None if coalescible => Role::Shared,
            None => Role::Whole,
        };
        let shape = shape(port, role, options, default_length, &mut lengths)?;
        let wanted = ids.get(i).filter(|_| port.dtype.is_int());
        let wanted = wanted.and_then(|id| use_of(model.graph(), *id));
        plans.push(InputPlan {
            name: port.name.to_string(),
            dtype: port.dtype,
            shape,
            role,
            values: options
                .values_of(&port.name)
                .or_else(|| wanted.map(|Use { low, high, .. }| Values::Integers { low, high }))
                .unwrap_or_else(|| Values::default_for(port.dtype)),
            picks_from: wanted.and_then(|wanted| wanted.table),
        });
    }
    Ok((plans, lengths))
}

fn shape(
    port: &Port,
    role: Role,
    options: &InputOptions,
    default_length: usize,
    lengths: &mut DefaultLengths,
) -> Result<Vec<usize>, OptionError> {
    let Some(dims) = &port.shape else {
        return Err(OptionError::new(format!(
            "the model does not say how many axes input \"{}\" has, so no request can be made up for it",
            port.name
        )));
    };
    let decide = |(axis, dim): (usize, &Dim)| {
        if role == Role::Rows(axis) {
            return 1;
        }
        if let Some(n) = dim.as_len() {
            return n;
        }
        let name = open_name(port, axis, dim);
        options.length_of(&name).unwrap_or_else(|| {
            lengths.insert(name, default_length);
            default_length
        })
    };
    Ok(dims.iter().enumerate().map(decide).collect())
}

/// What an open length is called by `--dim`: its symbol, or input and axis if it has no name.
fn open_name(port: &Port, axis: usize, dim: &Dim) -> String {
    match dim.as_symbol() {
        Some(symbol) => symbol.name().to_owned(),
        None => anonymous_name(&port.name, axis),
    }
}

/// The open lengths of a model that requests may choose: all but the number of rows.
pub fn open_lengths(model: &Model) -> Vec<String> {
    let mut names = Vec::new();
    for port in model.inputs() {
        for (axis, dim) in port.shape.iter().flatten().enumerate() {
            let name = open_name(port, axis, dim);
            let open = dim.as_len().is_none() && port.rows_axis != Some(axis);
            if open && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// What a model does with integers that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    /// The least that makes sense.
    low: i64,
    /// The most.
    high: i64,
    /// How long the table is that they pick from, if others are refused.
    table: Option<usize>,
}

/// Operators behind which integers still are the same numbers in the same order.
const TRANSPARENT: &[&str] = &[
    "Cast",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
];

/// What integers given as this value are for, if that can be seen: they pick from a constant (`Gather`), are spread over
/// a constant depth (`OneHot`), or are clipped to constants. The narrowest use decides.
fn use_of(graph: &Graph, value: ValueId) -> Option<Use> {
    let consumers = graph.consumers();
    let mut pending = vec![value];
    let mut seen = Vec::new();
    let mut narrowest: Option<Use> = None;
    while let Some(id) = pending.pop() {
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        for node in consumers.get(id.index()).into_iter().flatten() {
            let node = graph.node(*node);
            if TRANSPARENT.contains(&node.op.name()) && node.inputs.first() == Some(&Some(id)) {
                pending.extend(node.outputs.iter().flatten());
            }
            let Some(found) = use_by(graph, node, id) else {
                continue;
            };
            let span = |u: &Use| u.high.abs_diff(u.low);
            if narrowest
                .as_ref()
                .is_none_or(|known| span(&found) < span(known))
            {
                narrowest = Some(found);
            }
        }
    }
    narrowest
}

/// What this node uses the value for.
fn use_by(graph: &Graph, node: &Node, id: ValueId) -> Option<Use> {
    let constant = |at: usize| graph.constant(node.inputs.get(at).copied().flatten()?);
    let integer = |at: usize| match constant(at)?.to_i64s()?.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let is_input = |at: usize| node.inputs.get(at) == Some(&Some(id));
    if let Some(gather) = node.op.downcast_ref::<Gather>() {
        let table = constant(0).filter(|_| is_input(1))?;
        let rank = i64::try_from(table.rank()).ok()?;
        let axis = if gather.axis < 0 {
            gather.axis + rank
        } else {
            gather.axis
        };
        let length = *table.shape().get(usize::try_from(axis).ok()?)?;
        let high = i64::try_from(length)
            .ok()?
            .checked_sub(1)
            .filter(|high| *high >= 0)?;
        return Some(Use {
            low: 0,
            high,
            table: Some(length),
        });
    }
    let (low, high) = match node.op.name() {
        "OneHot" if is_input(0) => (0, integer(1)?.checked_sub(1)?),
        // Below zero there is rarely anything but "unknown".
        "Clip" if is_input(0) => (integer(1)?.max(0), integer(2)?),
        _ => return None,
    };
    (low <= high).then_some(Use {
        low,
        high,
        table: None,
    })
}
