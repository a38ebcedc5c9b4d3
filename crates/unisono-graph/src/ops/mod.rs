//! The operators, one file per family, and the registry by which a model file's names are found.
//!
//! An operator is registered by one line in its family's `OPERATORS` table, and a family by one line in `FAMILIES`.
//! The registry answers three questions: is there such an operator, is there one for this opset, and what would be
//! supported instead.
//!
//! Differences between opsets (axes as an attribute or as an input, defaults that changed) end in the constructor: an
//! operator's type holds what is meant, never the opset that it was written in.

pub mod activation;
pub mod binary;
pub mod broadcast;
pub mod cast;
pub mod common;
pub mod control;
pub mod conv;
pub mod generate;
pub mod indexing;
pub mod linear;
pub mod movement;
pub mod normalize;
pub mod pool;
pub mod product;
pub mod quantize;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod rows;
pub mod rules;
pub mod shape;
pub mod unary;
pub mod window;

use crate::{Attributes, OpError, Operator};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What an operator's constructor is given.
pub struct NodeSpec<'a> {
    /// Attributes; those not taken by the constructor are an error.
    pub attributes: &'a mut Attributes,
    /// The version of the operator's domain that the model imports.
    pub opset: i64,
    /// Which inputs are there.
    pub inputs: &'a [bool],
    /// How many outputs the node names (including ones left empty at the front).
    pub output_count: usize,
}

impl NodeSpec<'_> {
    /// Is there an input at this position?
    pub fn has_input(&self, index: usize) -> bool {
        self.inputs.get(index) == Some(&true)
    }
}

/// One line of the registry. An operator may have several, for opsets that do not overlap.
pub struct Definition {
    /// `""` for the standard's default domain.
    pub domain: &'static str,
    /// The name in model files.
    pub name: &'static str,
    /// The first and last opset (inclusive) whose meaning the constructor knows; `i64::MAX` for no known end.
    pub opsets: (i64, i64),
    /// Makes the operator.
    pub build: Build,
    /// Smallest and largest number of inputs. Values that bodies capture count as inputs of control flow.
    pub inputs: (usize, usize),
    /// Smallest and largest number of outputs.
    pub outputs: (usize, usize),
}

/// What makes an operator: see [`Definition::build`].
pub type Build = fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>;

impl Definition {
    /// An operator of the default domain, from one opset on and with no known end.
    pub const fn since(
        first: i64,
        name: &'static str,
        inputs: (usize, usize),
        outputs: (usize, usize),
        build: Build,
    ) -> Definition {
        Definition {
            domain: "",
            name,
            opsets: (first, i64::MAX),
            build,
            inputs,
            outputs,
        }
    }

    /// The same, up to and with an opset.
    pub const fn until(mut self, last: i64) -> Definition {
        self.opsets.1 = last;
        self
    }
}

/// Every family, one line each.
const FAMILIES: &[&[Definition]] = &[
    activation::OPERATORS,
    binary::OPERATORS,
    cast::OPERATORS,
    control::OPERATORS,
    conv::OPERATORS,
    generate::OPERATORS,
    indexing::gather::OPERATORS,
    indexing::scatter::OPERATORS,
    indexing::select::OPERATORS,
    linear::OPERATORS,
    movement::OPERATORS,
    movement::blocks::OPERATORS,
    movement::pad::OPERATORS,
    movement::slice::OPERATORS,
    normalize::OPERATORS,
    normalize::plain::OPERATORS,
    normalize::softmax::OPERATORS,
    pool::OPERATORS,
    quantize::OPERATORS,
    recurrent::OPERATORS,
    reduce::OPERATORS,
    resize::OPERATORS,
    shape::OPERATORS,
    unary::OPERATORS,
];

/// The definition of an operator for an opset. `"ai.onnx"` is the default domain `""`.
pub fn lookup(domain: &str, name: &str, opset: i64) -> Option<&'static Definition> {
    definitions(domain, name)
        .iter()
        .find(|d| d.opsets.0 <= opset && opset <= d.opsets.1)
        .copied()
}

/// Everything that can be built, sorted by domain and name: for documentation and messages.
pub fn supported() -> impl Iterator<Item = &'static Definition> {
    registry()
        .values()
        .flat_map(BTreeMap::values)
        .flatten()
        .copied()
}

/// Builds an operator from what a model file says of it.
///
/// The attributes that the constructor understands are taken out of `spec`; any that are left are an error, because an
/// attribute that is ignored would be a wrong answer.
pub fn build(
    domain: &str,
    name: &str,
    spec: &mut NodeSpec<'_>,
) -> Result<Arc<dyn Operator>, BuildError> {
    let Some(definition) = lookup(domain, name, spec.opset) else {
        return Err(unknown(domain, name, spec.opset));
    };
    // Trailing inputs that are left out are no inputs.
    let inputs = spec.inputs.iter().rposition(|&i| i).map_or(0, |i| i + 1);
    let given = spec.inputs.len();
    if given < definition.inputs.0 || inputs > definition.inputs.1 {
        return Err(BuildError::InputCount {
            operator: definition.name,
            found: given,
            allowed: definition.inputs,
        });
    }
    if spec.output_count < definition.outputs.0 || spec.output_count > definition.outputs.1 {
        return Err(BuildError::OutputCount {
            operator: definition.name,
            found: spec.output_count,
            allowed: definition.outputs,
        });
    }
    let op = (definition.build)(spec).map_err(|error| BuildError::Operator {
        operator: definition.name,
        error,
    })?;
    let left: Vec<String> = spec.attributes.names().map(str::to_owned).collect();
    if !left.is_empty() {
        return Err(BuildError::UnknownAttributes {
            operator: definition.name,
            opset: spec.opset,
            attributes: left,
        });
    }
    Ok(op)
}

/// Why an operator cannot be built. The reader adds where in the model the node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// No operator of this domain is known.
    UnknownDomain {
        /// The domain of the node.
        domain: String,
        /// The operator of the node.
        operator: String,
        /// The domains that are known.
        known: Vec<&'static str>,
    },
    /// The domain is known, the operator is not.
    UnknownOperator {
        /// The domain of the node.
        domain: String,
        /// The operator of the node.
        operator: String,
        /// Known operators with similar names, nearest first; at most three.
        nearest: Vec<&'static str>,
    },
    /// The operator is known, but not in this opset.
    UnsupportedOpset {
        /// The domain of the node.
        domain: String,
        /// The operator of the node.
        operator: &'static str,
        /// The opset that the model imports.
        opset: i64,
        /// The ranges that are supported, inclusive; `i64::MAX` for no known end.
        supported: Vec<(i64, i64)>,
    },
    /// Too few or too many inputs.
    InputCount {
        /// The operator.
        operator: &'static str,
        /// How many the node has.
        found: usize,
        /// Smallest and largest number.
        allowed: (usize, usize),
    },
    /// Too few or too many outputs.
    OutputCount {
        /// The operator.
        operator: &'static str,
        /// How many the node has.
        found: usize,
        /// Smallest and largest number.
        allowed: (usize, usize),
    },
    /// The operator refuses its attributes or inputs.
    Operator {
        /// The operator.
        operator: &'static str,
        /// What it says.
        error: OpError,
    },
    /// Attributes that the operator does not know in this opset.
    UnknownAttributes {
        /// The operator.
        operator: &'static str,
        /// The opset that the model imports.
        opset: i64,
        /// Their names.
        attributes: Vec<String>,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::UnknownDomain {
                domain,
                operator,
                known,
            } => {
                write!(
                    f,
                    "operator {operator} is of the unknown domain \"{domain}\"; known are "
                )?;
                list(f, known.iter().map(|d| format!("\"{d}\"")))
            }
            BuildError::UnknownOperator {
                domain,
                operator,
                nearest,
            } => {
                write!(f, "operator {operator}")?;
                if !domain.is_empty() {
                    write!(f, " of domain \"{domain}\"")?;
                }
                f.write_str(" is not supported")?;
                if !nearest.is_empty() {
                    f.write_str("; similar names are ")?;
                    list(f, nearest.iter().map(|n| (*n).to_owned()))?;
                }
                Ok(())
            }
            BuildError::UnsupportedOpset {
                operator,
                opset,
                supported,
                ..
            } => {
                write!(
                    f,
                    "operator {operator} is not supported in opset {opset}; supported are "
                )?;
                list(
                    f,
                    supported.iter().map(|&(first, last)| match last {
                        i64::MAX => format!("{first} and later"),
                        _ => format!("{first} to {last}"),
                    }),
                )
            }
            BuildError::InputCount {
                operator,
                found,
                allowed,
            } => count(f, operator, "input", *found, *allowed),
            BuildError::OutputCount {
                operator,
                found,
                allowed,
            } => count(f, operator, "output", *found, *allowed),
            BuildError::Operator { operator, error } => write!(f, "operator {operator}: {error}"),
            BuildError::UnknownAttributes {
                operator,
                opset,
                attributes,
            } => {
                write!(f, "operator {operator} has no attribute ")?;
                list(f, attributes.iter().map(|a| format!("\"{a}\"")))?;
                write!(f, " in opset {opset}")
            }
        }
    }
}

impl std::error::Error for BuildError {}

fn list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = String>) -> fmt::Result {
    for (i, item) in items.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        f.write_str(&item)?;
    }
    Ok(())
}

fn count(
    f: &mut fmt::Formatter<'_>,
    operator: &str,
    what: &str,
    found: usize,
    (least, most): (usize, usize),
) -> fmt::Result {
    write!(f, "operator {operator} takes ")?;
    match most {
        _ if least == most => write!(f, "{least}")?,
        usize::MAX => write!(f, "at least {least}")?,
        _ => write!(f, "{least} to {most}")?,
    }
    let plural = if least == 1 && (most == 1 || most == usize::MAX) {
        ""
    } else {
        "s"
    };
    write!(f, " {what}{plural} but has {found}")
}

/// Domain, name, and the definitions of that name in the order of their tables.
type Registry = BTreeMap<&'static str, BTreeMap<&'static str, Vec<&'static Definition>>>;

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut registry = Registry::new();
        for definition in FAMILIES.iter().copied().flatten() {
            registry
                .entry(definition.domain)
                .or_default()
                .entry(definition.name)
                .or_default()
                .push(definition);
        }
        registry
    })
}

fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn definitions(domain: &str, name: &str) -> &'static [&'static Definition] {
    registry()
        .get(canonical(domain))
        .and_then(|names| names.get(name))
        .map_or(&[], Vec::as_slice)
}

fn unknown(domain: &str, name: &str, opset: i64) -> BuildError {
    let domain = canonical(domain);
    let defined = definitions(domain, name);
    if let Some(first) = defined.first() {
        return BuildError::UnsupportedOpset {
            domain: domain.to_owned(),
            operator: first.name,
            opset,
            supported: defined.iter().map(|d| d.opsets).collect(),
        };
    }
    let Some(names) = registry().get(domain) else {
        return BuildError::UnknownDomain {
            domain: domain.to_owned(),
            operator: name.to_owned(),
            known: registry().keys().copied().collect(),
        };
    };
    let mut nearest: Vec<(usize, &'static str)> = names
        .keys()
        .map(|&n| (edit_distance(name, n), n))
        .filter(|&(distance, n)| distance <= 1 + n.len() / 3)
        .collect();
    nearest.sort_unstable();
    BuildError::UnknownOperator {
        domain: domain.to_owned(),
        operator: name.to_owned(),
        nearest: nearest.into_iter().take(3).map(|(_, n)| n).collect(),
    }
}

/// Levenshtein's distance, upper and lower case being equal. Names beyond 64 bytes are far from everything.
fn edit_distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.bytes().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            left = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            *cell = left;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(usize::MAX)
}
