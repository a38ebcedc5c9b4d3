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
    /// Counts one more node of a sort; true if the sort is new and [`Unsupported::note`] wants to know where.
    pub(super) fn count(&mut self, domain: &str, operator: &str, opset: i64) -> bool {
        let key = (domain.to_owned(), operator.to_owned(), opset);
        match self.0.get_mut(&key) {
            Some((count, _)) => {
                *count += 1;
                false
            }
            None => true,
        }
    }

    /// Notes the first node of a sort.
    pub(super) fn note(&mut self, domain: &str, operator: &str, opset: i64, place: String) {
        let key = (domain.to_owned(), operator.to_owned(), opset);
        self.0.insert(key, (1, place));
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
