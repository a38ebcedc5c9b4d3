//! What changed between two reports: of two machines, two drivers, two versions.
//!
//! The one idea: only what can be said for certain is said. Answers to the same requests must be the same bits everywhere, so
//! a digest that differs breaks the contract and comes first; a verdict is worse or not; a figure has changed if the
//! intervals of its two measurements have nothing in common. Whether a figure that has changed still suffices is a verdict's
//! business.

mod text;

use std::fmt;

use serde::Serialize;

use super::format::printable;
use super::{Check, Figure, ModelRecord, Report, SCHEMA_VERSION, words};
use crate::verdict::Verdict;

/// Why a text is not a report that this program can read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// It is no JSON.
    NotJson(String),
    /// It is JSON, but no report.
    NotAReport,
    /// It is a report of another version of the schema.
    OtherSchema(u64),
    /// It claims to be a report of this version and is not; what is wrong.
    Broken(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NotJson(why) => write!(f, "not JSON: {why}"),
            ReadError::NotAReport => {
                f.write_str("not a report of `unisono verify`: it has no schema_version")
            }
            ReadError::OtherSchema(version) => write!(
                f,
                "a report with schema version {version}; this program reads version {SCHEMA_VERSION}"
            ),
            ReadError::Broken(why) => write!(f, "not a valid report: {why}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl Report {
    /// Reads what [`to_json`](Report::to_json) has written.
    ///
    /// # Errors
    /// It is no report, or one of another version.
    pub fn from_json(text: &str) -> Result<Report, ReadError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| ReadError::NotJson(error.to_string()))?;
        let version = value
            .get("schema_version")
            .and_then(serde_json::Value::as_u64);
        match version {
            None => Err(ReadError::NotAReport),
            Some(version) if version != u64::from(SCHEMA_VERSION) => {
                Err(ReadError::OtherSchema(version))
            }
            // From the text once more, so that the error knows line and column.
            Some(_) => {
                serde_json::from_str(text).map_err(|error| ReadError::Broken(error.to_string()))
            }
        }
    }
}

/// What changed from a report A to a report B.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changes {
    /// Is something worse in B: a verdict, or an answer that is not the one that it has to be?
    pub worse: bool,
    /// The verdicts on everything.
    pub verdict: Pair<Verdict>,
    /// Answers that differ although they must not.
    pub broken_contract: Vec<DigestChange>,
    /// Requests that differ, so that nothing follows from their answers; why, if that is known.
    pub not_comparable: Vec<DigestChange>,
    /// What is different about the runs.
    pub header: Vec<HeaderChange>,
    /// Verdicts that changed, the worse ones first.
    pub verdicts: Vec<VerdictChange>,
    /// Figures whose intervals have nothing in common.
    pub figures: Vec<FigureChange>,
    /// Checks that only A has.
    pub only_in_a: Vec<String>,
    /// Checks that only B has.
    pub only_in_b: Vec<String>,
}

/// The same thing in both reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// In the first.
    pub a: T,
    /// In the second.
    pub b: T,
}

/// A fact about the run that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderChange {
    /// Which.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub values: Pair<String>,
}

/// A digest that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestChange {
    /// The section.
    pub section: String,
    /// The model.
    pub model: String,
    /// What differs and what that means.
    pub what: String,
    /// The digests.
    #[serde(flatten)]
    pub values: Pair<String>,
}

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerdictChange {
    /// The check, or the section.
    pub id: String,
    /// What is checked.
    pub what: String,
    /// Is it worse in B?
    pub worse: bool,
    /// The verdicts.
    #[serde(flatten)]
    pub values: Pair<Verdict>,
}

/// A figure that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureChange {
    /// The check.
    pub id: String,
    /// The figure.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// B's value divided by A's, if A's is not zero.
    pub ratio: Option<f64>,
    /// Is it better in B? None if the unit does not tell.
    pub better: Option<bool>,
    /// The figures.
    #[serde(flatten)]
    pub values: Pair<Figure>,
}

impl Changes {
    /// What changed from `a` to `b`.
    pub fn between(a: &Report, b: &Report) -> Changes {
        let (broken_contract, not_comparable) = digests(a, b);
        let verdicts = verdicts(a, b);
        let ids = |of: &Report, other: &Report| {
            let missing = of
                .checks()
                .filter(|check| !other.checks().any(|o| o.id == check.id));
            missing.map(|check| check.id.clone()).collect()
        };
        Changes {
            worse: !broken_contract.is_empty() || verdicts.iter().any(|change| change.worse),
            verdict: Pair {
                a: a.verdict,
                b: b.verdict,
            },
            broken_contract,
            not_comparable,
            header: header(a, b),
            verdicts,
            figures: figures(a, b),
            only_in_a: ids(a, b),
            only_in_b: ids(b, a),
        }
    }

    /// In words, in lines of at most 100 columns.
    pub fn to_text(&self) -> String {
        text::changes(self)
    }
}

fn header(a: &Report, b: &Report) -> Vec<HeaderChange> {
    let (of_a, of_b) = (words::facts(a), words::facts(b));
    let mut names: Vec<&str> = of_a.iter().chain(&of_b).map(|(name, _)| *name).collect();
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    let fact = |facts: &[(&str, String)], name: &str| {
        let found = facts.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| "none".to_owned(), |(_, fact)| fact.clone())
    };
    names
        .into_iter()
        .map(|name| HeaderChange {
            name: name.to_owned(),
            values: Pair {
                a: fact(&of_a, name),
                b: fact(&of_b, name),
            },
        })
        .filter(|change| change.values.a != change.values.b)
        .collect()
}

fn digests(a: &Report, b: &Report) -> (Vec<DigestChange>, Vec<DigestChange>) {
    let (mut broken, mut other) = (Vec::new(), Vec::new());
    for (in_a, in_b) in common(&a.sections, &b.sections, |section| section.id) {
        for (of_a, of_b) in common(&in_a.digests, &in_b.digests, |digest| digest.model.clone()) {
            let change = |what: String, a: &str, b: &str| DigestChange {
                section: in_a.id.name().to_owned(),
                model: printable(&of_a.model),
                what,
                values: Pair {
                    a: a.to_owned(),
                    b: b.to_owned(),
                },
            };
            let why = why_not_comparable(a, b, &of_a.model);
            if of_a.requests != of_b.requests {
                let of = (&*of_a.requests, &*of_b.requests);
                match why {
                    Some(why) => other.push(change(format!("requests differ: {why}"), of.0, of.1)),
                    None => broken.push(change(
                        "requests differ although seed, effort and model are the same".to_owned(),
                        of.0,
                        of.1,
                    )),
                }
            } else if of_a.answers != of_b.answers {
                let of = (&*of_a.answers, &*of_b.answers);
                match why {
                    Some(why) => other.push(change(format!("answers differ: {why}"), of.0, of.1)),
                    None => broken.push(change(
                        "answers to the same requests differ, with the same arithmetic".to_owned(),
                        of.0,
                        of.1,
                    )),
                }
            }
        }
    }
    (broken, other)
}

/// What in the runs makes other digests for a model, if anything does.
fn why_not_comparable(a: &Report, b: &Report, name: &str) -> Option<&'static str> {
    let (ha, hb) = (&a.header, &b.header);
    let model = |report: &Report| {
        report
            .models
            .iter()
            .find(|model| model.name == name)
            .cloned()
    };
    // Paths may differ; what is computed may not.
    let same = |a: &ModelRecord, b: &ModelRecord| {
        (a.parameters, a.flops_per_row, &a.inputs) == (b.parameters, b.flops_per_row, &b.inputs)
    };
    let (model_a, model_b) = (model(a), model(b));
    if ha.seed != hb.seed {
        Some("the seeds differ")
    } else if ha.effort != hb.effort {
        Some("one run did more work than the other")
    } else if ha.arithmetic_version != hb.arithmetic_version {
        Some("the versions of the arithmetic differ")
    } else if !matches!((&model_a, &model_b), (Some(a), Some(b)) if same(a, b)) {
        Some("the models or their inputs differ")
    } else if ha.version != hb.version {
        Some("another version of Unisono may ask other requests")
            .filter(|_| requests_differ(a, b, name))
    } else {
        None
    }
}

fn requests_differ(a: &Report, b: &Report, name: &str) -> bool {
    let requests = |report: &Report| -> Vec<String> {
        let all = report.sections.iter().flat_map(|section| &section.digests);
        all.filter(|digest| digest.model == name)
            .map(|digest| digest.requests.clone())
            .collect()
    };
    requests(a) != requests(b)
}

fn verdicts(a: &Report, b: &Report) -> Vec<VerdictChange> {
    let mut changes = Vec::new();
    for (in_a, in_b) in common(&a.sections, &b.sections, |section| section.id) {
        let mut of_checks = Vec::new();
        for (of_a, of_b) in common(&in_a.checks, &in_b.checks, |check| check.id.clone()) {
            of_checks.extend(changed(&of_a.id, &of_a.what, of_a.verdict, of_b.verdict));
        }
        // A section speaks for itself only if none of its checks does: its process died, or checks came or went.
        if !of_checks
            .iter()
            .any(|change| change.worse == is_worse(in_a.verdict, in_b.verdict))
        {
            of_checks.extend(changed(
                in_a.id.name(),
                &in_a.title,
                in_a.verdict,
                in_b.verdict,
            ));
        }
        changes.append(&mut of_checks);
    }
    // A stable sort: the order of the report is kept within.
    changes.sort_by_key(|change| !change.worse);
    changes
}

fn changed(id: &str, what: &str, a: Verdict, b: Verdict) -> Option<VerdictChange> {
    (a != b).then(|| VerdictChange {
        id: id.to_owned(),
        what: what.to_owned(),
        worse: is_worse(a, b),
        values: Pair { a, b },
    })
}

fn is_worse(a: Verdict, b: Verdict) -> bool {
    a != b && Verdict::of_all([a, b]) == b
}

fn figures(a: &Report, b: &Report) -> Vec<FigureChange> {
    let checks_a: Vec<&Check> = a.checks().collect();
    let checks_b: Vec<&Check> = b.checks().collect();
    let mut changes = Vec::new();
    for (of_a, of_b) in common(&checks_a, &checks_b, |check| check.id.clone()) {
        let key = |figure: &Figure| (figure.name.clone(), figure.unit.clone());
        for (fa, fb) in common(&of_a.figures, &of_b.figures, key) {
            let (Some(ia), Some(ib)) = (fa.interval, fb.interval) else {
                continue;
            };
            if ia.1 >= ib.0 && ib.1 >= ia.0 {
                continue;
            }
            changes.push(FigureChange {
                id: of_a.id.clone(),
                name: fa.name.clone(),
                unit: fa.unit.clone(),
                ratio: Some(fb.value / fa.value).filter(|ratio| ratio.is_finite()),
                better: more_is_better(&fa.unit).map(|more| more == (fb.value > fa.value)),
                values: Pair {
                    a: fa.clone(),
                    b: fb.clone(),
                },
            });
        }
    }
    // The worse first.
    changes.sort_by_key(|change| change.better.map_or(1, |better| if better { 2 } else { 0 }));
    changes
}

/// Does a unit tell? A rate is better when it is high; a time, or memory, when it is low.
fn more_is_better(unit: &str) -> Option<bool> {
    match unit {
        "ns" | "µs" | "us" | "ms" | "s" | "bytes" | "B" | "KiB" | "MiB" | "GiB" | "MB/h"
        | "bytes/h" | "MiB/h" => Some(false),
        unit if unit.ends_with("/s") => Some(true),
        _ => None,
    }
}

/// What both have under the same key, in the order of the first.
fn common<'a, T, K: PartialEq>(
    a: &'a [T],
    b: &'a [T],
    key: impl Fn(&T) -> K,
) -> Vec<(&'a T, &'a T)> {
    let partner = |of: &T| b.iter().find(|other| key(other) == key(of));
    a.iter().filter_map(|of| Some((of, partner(of)?))).collect()
}
