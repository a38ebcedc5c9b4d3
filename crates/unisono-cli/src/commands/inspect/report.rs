//! What `unisono inspect` says, as data: the shape of its JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::Serializer;
use unisono::{Dim, Model, Port};

use super::contract::Contract;
use super::cost::Cost;
use super::plan::{Plan, Runs};

/// Everything about a model.
#[derive(Serialize)]
pub struct Report<'a> {
    pub model: String,
    pub graph: &'a str,
    pub producer: String,
    pub ir_version: i64,
    pub opsets: BTreeMap<&'a str, i64>,
    pub functions: usize,
    pub file_bytes: u64,
    pub inputs: Vec<PortReport<'a>>,
    pub outputs: Vec<PortReport<'a>>,
    /// Elements and bytes of the weights in the file.
    pub parameters: u64,
    pub parameter_bytes: u64,
    pub operators: Operators<'a>,
    /// How often each rewrite applied; those that never did are left out.
    pub rewrites: BTreeMap<&'static str, usize>,
    /// The cost of one row; null with `cost_unknown` saying why.
    pub cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_unknown: Option<String>,
    pub contract: Contract,
    /// How a request of one row runs on the device; null with `plan_unknown` saying why.
    pub plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_unknown: Option<String>,
    /// With `--run`, what the session's statistics say afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Runs>,
}

/// How many nodes there are of each operator.
#[derive(Serialize)]
pub struct Operators<'a> {
    /// In the file, functions inlined.
    pub loaded: &'a BTreeMap<&'static str, usize>,
    /// After folding, fusing and cleaning up: what devices run.
    pub rewritten: &'a BTreeMap<&'static str, usize>,
}

/// An input or output.
#[derive(Serialize)]
pub struct PortReport<'a> {
    pub name: &'a str,
    #[serde(rename = "type")]
    pub dtype: &'static str,
    /// Lengths, symbolic ones as text; null if not even the rank is known.
    pub shape: Option<Vec<Length>>,
    /// The axis that holds the rows; null if there is none or the contract does not hold.
    pub rows_axis: Option<usize>,
}

/// A number if it is one, else an expression.
pub struct Length(Dim);

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_const() {
            Some(n) => serializer.serialize_i64(n),
            None => serializer.collect_str(&self.0),
        }
    }
}

impl PortReport<'_> {
    fn of(port: &Port) -> PortReport<'_> {
        PortReport {
            name: &port.name,
            dtype: port.dtype.name(),
            shape: port
                .shape
                .as_ref()
                .map(|shape| shape.iter().cloned().map(Length).collect()),
            rows_axis: port.rows_axis,
        }
    }

    /// `f32[batch, 4]`.
    pub fn type_and_shape(&self) -> String {
        match &self.shape {
            Some(shape) => {
                let lengths: Vec<String> =
                    shape.iter().map(|length| length.0.to_string()).collect();
                format!("{}[{}]", self.dtype, lengths.join(", "))
            }
            None => format!("{} of unknown rank", self.dtype),
        }
    }
}

impl Report<'_> {
    /// The report on a model.
    pub fn new(
        name: String,
        model: &Model,
        cost: Result<Cost, String>,
        plan: Result<Plan, String>,
        session: Option<Runs>,
    ) -> Report<'_> {
        let info = model.info();
        let (loaded, rewritten) = (model.summary_as_loaded(), model.summary());
        let (cost, cost_unknown) = match cost {
            Ok(cost) => (Some(cost), None),
            Err(why) => (None, Some(why)),
        };
        let (plan, plan_unknown) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(why) => (None, Some(why)),
        };
        Report {
            model: name,
            graph: model.graph().name(),
            producer: format!("{} {}", info.producer_name, info.producer_version)
                .trim()
                .to_owned(),
            ir_version: info.ir_version,
            opsets: info
                .opsets
                .iter()
                .map(|(domain, version)| (&**domain, *version))
                .collect(),
            functions: info.functions,
            file_bytes: info.file_bytes,
            inputs: model.inputs().iter().map(PortReport::of).collect(),
            outputs: model.outputs().iter().map(PortReport::of).collect(),
            parameters: loaded.parameters,
            parameter_bytes: loaded.parameter_bytes,
            operators: Operators {
                loaded: &loaded.operators,
                rewritten: &rewritten.operators,
            },
            rewrites: model.rewrites().applied.iter().copied().collect(),
            cost,
            cost_unknown,
            contract: Contract::of(model),
            plan,
            plan_unknown,
            session,
        }
    }
}
