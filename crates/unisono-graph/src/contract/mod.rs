//! The batch contract: the proof that rows of a model do not influence each other, or the node that breaks it.
//!
//! The one idea: pretend that one axis of some inputs is the batch, call its length by a symbol of its own, infer all
//! shapes, and follow the rows from node to node by the operators' own rules ([`Operator::batch`](crate::Operator::batch)). If every output is made
//! of whole rows, or is the same for all, requests may be put behind each other along that axis and nobody can tell.
//!
//! What a value may be, in rising order of trouble:
//!
//! | state | meaning |
//! | --- | --- |
//! | shared | depends on no row, and not on how many there are |
//! | rows | each row owns its part of one axis: [`Batch::Rows`] |
//! | counted | depends on how many rows there are, but on the data of none: what exporters compute out of `Shape` |
//! | blocked | anything else; the node that is to blame is remembered |
//!
//! A counted value may set shapes (`Reshape`'s second input): the rules see the symbol in the shapes that result. It may not
//! reach data, because a row would then see how many neighbours it has. Where a model returns one (some exporters leave
//! shape vectors among the outputs), contract C1 asks for the value that each request would get alone. Its contents are then
//! known expressions of the input lengths, so it is [`OutputRows::Counted`]: to be evaluated for each request, not computed.
//!
//! Which axes to pretend about is found by trying: first lengths that the model gives one name in its inputs, then
//! combinations of open lengths, one for each input or none. What the model declares of its outputs is never trusted.
//!
//! A proof holds for the lengths that it is about ([`Contract::lengths`]). It must never claim rows that are not independent; where a rule does not
//! know, it blocks. As a second line, every claim of rows is checked against the inferred shape.

mod candidates;
mod control;
mod premises;
mod walk;

use crate::infer::declared_inputs;
use crate::{Batch, Dim, Fact, Graph, Symbol};
use std::fmt;

pub(crate) use control::batch_of_control;
pub use premises::Lengths;

/// What [`contract`] found.
#[derive(Clone, Debug)]
pub struct Contract {
    /// May requests be coalesced?
    pub verdict: Verdict,
    /// What stands for the number of rows in the verdict's expressions.
    pub rows: Symbol,
    /// How many choices of batch axes were tried.
    pub tried: usize,
    premises: premises::Premises,
}

/// May requests be coalesced?
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Yes: requests are put behind each other along the inputs' axes, and cut apart along the outputs'.
    Coalescible {
        /// For each input of the graph, the axis that is the batch; `Shared` if it must be equal in all requests. The
        /// proof is about some lengths and not about others: see [`Contract::lengths`].
        inputs: Vec<Batch>,
        /// For each output of the graph.
        outputs: Vec<OutputRows>,
    },
    /// No: each request runs alone.
    Alone(Obstacle),
}

/// How an output of coalesced requests is told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputRows {
    /// Row `r` owns the indices `r * inner .. (r + 1) * inner` of the axis.
    Rows {
        /// Which axis.
        axis: usize,
        /// How many indices a row has: 1, or an expression of the inputs' lengths that does not mention the number of
        /// rows.
        inner: Dim,
    },
    /// The same for all.
    Shared,
    /// An integer value that depends on lengths alone, the number of rows among them: each request gets the value for
    /// its own lengths.
    Counted {
        /// Its shape, of rank 0 or 1; does not mention the number of rows.
        shape: Vec<Dim>,
        /// Its contents, row-major.
        contents: Vec<Dim>,
    },
}

/// What prevents coalescing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The node's name, with the path of what encloses it; `None` if it is about inputs or outputs.
    pub node: Option<String>,
    /// The operator's name.
    pub operator: Option<&'static str>,
    /// Why, as a clause: "takes a maximum over the batch axis".
    pub reason: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "node \"{node}\"")?;
            if let Some(operator) = self.operator {
                write!(f, " ({operator})")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.reason)
    }
}

impl Contract {
    /// The lengths of a request whose inputs have these shapes, in the order of the graph's inputs; `None` if it must run
    /// alone, because the verdict says so or because the proof is not about such lengths: an empty axis, or two lengths that
    /// the model calls by one name and that differ.
    ///
    /// Cheap enough to be asked for every request.
    pub fn lengths<'s>(
        &self,
        shapes: impl IntoIterator<Item = &'s [usize]>,
    ) -> Option<Lengths<'_>> {
        match self.verdict {
            Verdict::Coalescible { .. } => self.premises.lengths(shapes, &self.rows),
            Verdict::Alone(_) => None,
        }
    }

    /// May requests be coalesced?
    pub fn is_coalescible(&self) -> bool {
        matches!(self.verdict, Verdict::Coalescible { .. })
    }

    /// What prevents it.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        match &self.verdict {
            Verdict::Alone(obstacle) => Some(obstacle),
            Verdict::Coalescible { .. } => None,
        }
    }
}

/// The batch contract of a graph whose inputs are as it declares them.
pub fn contract(graph: &Graph) -> Contract {
    contract_with(graph, &declared_inputs(graph))
}

/// The same for inputs of which more is known than the model declares: numbers for lengths, contents for scalars.
pub fn contract_with(graph: &Graph, inputs: &[Option<Fact>]) -> Contract {
    let rows = candidates::fresh_symbol(inputs);
    let choices = candidates::candidates(graph, inputs);
    // The reader of a report thinks of the first axis of the first input first.
    let (mut plain, mut first) = (None, None);
    for (tried, choice) in choices.iter().enumerate() {
        match walk::attempt(graph, inputs, &choice.axes, &rows) {
            Ok((verdict, supposed)) => {
                return Contract {
                    verdict,
                    rows,
                    tried: tried + 1,
                    premises: premises::Premises::new(&supposed),
                };
            }
            Err(obstacle) if choice.is_plain() => plain = plain.or(Some(obstacle)),
            Err(obstacle) => first = first.or(Some(obstacle)),
        }
    }
    let without_choice = || Obstacle {
        node: None,
        operator: None,
        reason: if graph.inputs().is_empty() {
            "the model has no inputs".to_owned()
        } else {
            "every input has a fixed shape".to_owned()
        },
    };
    Contract {
        verdict: Verdict::Alone(plain.or(first).unwrap_or_else(without_choice)),
        rows,
        tried: choices.len(),
        premises: premises::Premises::new(&[]),
    }
}
