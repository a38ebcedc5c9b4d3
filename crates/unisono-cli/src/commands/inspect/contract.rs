//! The batch contract as a report: the axis of every input and output, or the node that stands in the way.

use serde::Serialize;
use unisono::graph::Batch;
use unisono::{Model, OutputRows, Port, Verdict};

/// May requests be coalesced?
#[derive(Debug, Serialize)]
pub struct Contract {
    pub coalescible: bool,
    /// Where the rows are; empty if not coalescible.
    pub inputs: Vec<Place>,
    pub outputs: Vec<Place>,
    /// What stands in the way; null if coalescible.
    pub obstacle: Option<Obstacle>,
}

/// Where the rows of one input or output are.
#[derive(Debug, Serialize)]
pub struct Place {
    pub name: String,
    /// `rows`, `shared` (equal in all requests) or `counted` (from lengths alone, told for each request).
    pub kind: &'static str,
    /// The axis of the rows; null without rows.
    pub axis: Option<usize>,
    /// How many indices of the axis a row has; null without rows.
    pub per_row: Option<String>,
}

/// The node that stands in the way, and why.
#[derive(Debug, Serialize)]
pub struct Obstacle {
    /// Null if it is about inputs or outputs.
    pub node: Option<String>,
    pub operator: Option<String>,
    pub reason: String,
}

impl Contract {
    /// The contract of a model.
    pub fn of(model: &Model) -> Contract {
        let names = |ports: &[Port]| -> Vec<String> {
            ports.iter().map(|port| port.name.to_string()).collect()
        };
        match &model.contract().verdict {
            Verdict::Coalescible { inputs, outputs } => Contract {
                coalescible: true,
                inputs: names(model.inputs())
                    .into_iter()
                    .zip(inputs)
                    .map(|(name, batch)| match batch {
                        Batch::Rows { axis, inner, .. } => Place {
                            name,
                            kind: "rows",
                            axis: Some(*axis),
                            per_row: Some(inner.to_string()),
                        },
                        _ => Place {
                            name,
                            kind: "shared",
                            axis: None,
                            per_row: None,
                        },
                    })
                    .collect(),
                outputs: names(model.outputs())
                    .into_iter()
                    .zip(outputs)
                    .map(|(name, rows)| match rows {
                        OutputRows::Rows { axis, inner } => Place {
                            name,
                            kind: "rows",
                            axis: Some(*axis),
                            per_row: Some(inner.to_string()),
                        },
                        OutputRows::Shared => Place {
                            name,
                            kind: "shared",
                            axis: None,
                            per_row: None,
                        },
                        OutputRows::Counted { .. } => Place {
                            name,
                            kind: "counted",
                            axis: None,
                            per_row: None,
                        },
                    })
                    .collect(),
                obstacle: None,
            },
            Verdict::Alone(obstacle) => Contract {
                coalescible: false,
                inputs: Vec::new(),
                outputs: Vec::new(),
                obstacle: Some(Obstacle {
                    node: obstacle.node.clone(),
                    operator: obstacle.operator.map(str::to_owned),
                    reason: obstacle.reason.clone(),
                }),
            },
        }
    }

    /// The contract for people.
    pub fn lines(&self) -> Vec<String> {
        let Some(obstacle) = &self.obstacle else {
            let mut lines =
                vec!["coalescible: rows are proven not to influence each other".to_owned()];
            lines.extend(
                self.inputs.iter().map(|place| {
                    place.line("input", "must be equal in requests that share a batch")
                }),
            );
            lines.extend(
                self.outputs
                    .iter()
                    .map(|place| place.line("output", "the same for every request")),
            );
            return lines;
        };
        let mut place = match (&obstacle.node, &obstacle.operator) {
            (Some(node), Some(operator)) => format!("node \"{node}\" ({operator}) "),
            (Some(node), None) => format!("node \"{node}\" "),
            _ => String::new(),
        };
        place += &obstacle.reason;
        vec![
            "not coalescible: each request runs alone".to_owned(),
            format!("what stands in the way: {place}"),
        ]
    }
}

impl Place {
    fn line(&self, what: &str, shared: &str) -> String {
        let name = &self.name;
        match (self.axis, self.per_row.as_deref()) {
            (Some(axis), Some("1")) => format!("{what} \"{name}\": rows on axis {axis}"),
            (Some(axis), Some(n)) => {
                format!("{what} \"{name}\": rows on axis {axis}, {n} indices each")
            }
            _ if self.kind == "counted" => {
                format!("{what} \"{name}\": follows from lengths, told for each request")
            }
            _ => format!("{what} \"{name}\": {shared}"),
        }
    }
}
