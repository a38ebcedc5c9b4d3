//! What can go wrong when one operator is evaluated.

use std::fmt;
use unisono_graph::OpError;
use unisono_tensor::{DType, TensorError};

/// Why an operator could not be evaluated. It names no node: whoever runs the graph adds that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvalError {
    /// No implementation of this operator is known here.
    Unsupported {
        /// [`unisono_graph::Operator::kind`].
        kind: &'static str,
    },
    /// A required input was not given, or an output that the operator must write.
    Missing {
        /// "input" or "output".
        what: &'static str,
        /// Which one.
        index: usize,
    },
    /// The operator does not compute on this element type.
    Type {
        /// What has the wrong type.
        what: &'static str,
        /// The type that it has.
        found: DType,
    },
    /// Shapes that do not fit each other or the attributes.
    Shape {
        /// Which rule is broken.
        what: &'static str,
    },
    /// An index points outside of its axis.
    Index {
        /// What indexes.
        what: &'static str,
        /// The index as given.
        index: i64,
        /// The length of the axis that it indexes; valid are `-limit ..= limit - 1`, or `0 ..= limit - 1` where the operator counts from
        /// the front only.
        limit: usize,
    },
    /// A parameter read from an input has a value that the operator does not allow.
    Value {
        /// Which parameter, and what it should be.
        what: &'static str,
        /// What it is.
        found: i64,
    },
    /// An integer was divided by zero.
    DivisionByZero,
    /// The operator itself refused the inputs.
    Operator(OpError),
    /// A tensor could not be made or viewed.
    Tensor(TensorError),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::Unsupported { kind } => {
                write!(f, "operator {kind} has no implementation here")
            }
            EvalError::Missing { what, index } => write!(f, "{what} {index} is missing"),
            EvalError::Type { what, found } => write!(f, "{what} cannot be of type {found}"),
            EvalError::Shape { what } => f.write_str(what),
            EvalError::Index { what, index, limit } => {
                write!(
                    f,
                    "{what} holds {index}, which is outside of an axis of length {limit}"
                )
            }
            EvalError::Value { what, found } => write!(f, "{what}, but is {found}"),
            EvalError::DivisionByZero => f.write_str("an integer was divided by zero"),
            EvalError::Operator(e) => e.fmt(f),
            EvalError::Tensor(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for EvalError {}

impl From<OpError> for EvalError {
    fn from(e: OpError) -> Self {
        EvalError::Operator(e)
    }
}

impl From<TensorError> for EvalError {
    fn from(e: TensorError) -> Self {
        EvalError::Tensor(e)
    }
}
