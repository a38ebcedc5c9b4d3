//! The operators of a model that Unisono does not have: all of them, so that a user learns it in one go.

use super::opsets::domain_name;
use crate::error::{OnnxError, OnnxErrorKind, printable, quoted};
use std::collections::BTreeMap;
use unisono_graph::Attributes;
use unisono_graph::ops::{self, NodeSpec};

/// Domain, operator and opset, with how often and where first.
#[derive(Default)]
pub(super) struct Unsupported(BTreeMap<(String, String, i64), (usize, String)>);

impl Unsupported {
    /// Notes one node; `place` is asked only for the first of its sort.
    pub(super) fn note(
        &mut self,
        domain: &str,
        operator: &str,
        opset: i64,
        place: impl FnOnce() -> String,
    ) {
        let entry = self
            .0
            .entry((domain.to_owned(), operator.to_owned(), opset))
            .or_insert_with(|| (0, place()));
        entry.0 += 1;
    }

    /// The error that lists them, if there are any.
    pub(super) fn into_result(self) -> Result<(), OnnxError> {
        const SHOWN: usize = 20;
        let Some((_, first)) = self.0.values().next() else {
            return Ok(());
        };
        let first = first.clone();
        let total: usize = self.0.values().map(|(count, _)| count).sum();
        let mut what = match (self.0.len(), total) {
            (1, 1) => "one node uses an operator that Unisono does not have".to_owned(),
            (1, _) => format!("{total} nodes use an operator that Unisono does not have"),
            (operators, _) => {
                format!("{total} nodes use {operators} operators that Unisono does not have")
            }
        };
        for ((domain, operator, opset), (count, place)) in self.0.iter().take(SHOWN) {
            let nodes = if *count == 1 { "node" } else { "nodes" };
            what.push_str(&format!(
                "\n    {} ({}, opset {opset}): {count} {nodes}, first {place}: {}",
                quoted(operator).trim_matches('"'),
                quoted(domain_name(domain)).trim_matches('"'),
                reason(domain, operator, *opset)
            ));
        }
        if self.0.len() > SHOWN {
            what.push_str(&format!("\n    … and {} more", self.0.len() - SHOWN));
        }
        Err(OnnxError::new(OnnxErrorKind::UnsupportedOperator, what)
            .within(first)
            .help("export the model with other operators or for another opset, or define the operator as a model-local function"))
    }
}

/// The registry's own words on why the operator is not there.
fn reason(domain: &str, operator: &str, opset: i64) -> String {
    // Looking for similar names costs the length of the name.
    const LONGEST: usize = 64;
    if domain.len() > LONGEST || operator.len() > LONGEST {
        return "no operator has such a long name".into();
    }
    let mut spec = NodeSpec {
        attributes: &mut Attributes::new(),
        opset,
        inputs: &[],
        output_count: 0,
    };
    match ops::build(domain, operator, &mut spec) {
        Err(error) => printable(&error.to_string()),
        Ok(_) => String::new(),
    }
}
