//! What is known of a value when kernels are built.

use unisono_graph::{Dim, Fact, Node, Symbol};
use unisono_tensor::{DType, Shape, Tensor};

use crate::error::Error;

/// What is known of one value when kernels are built: its shape, and its contents if they are fixed.
#[derive(Clone, Debug)]
pub struct Known {
    /// The element type.
    pub dtype: DType,
    /// The shape; `None` if it depends on data.
    pub shape: Option<Shape>,
    /// Contents of a small integer value, if they follow from shapes and constants.
    pub integers: Option<Vec<i64>>,
    /// Contents, if the value is a constant of the model.
    pub constant: Option<Tensor>,
    /// The value's number in its graph: the key under which packed weights are kept.
    pub value: usize,
}

/// The facts with the number of rows put in.
pub fn concretise(facts: &[Option<Fact>], symbol: &Symbol, rows: usize) -> Vec<Option<Known>> {
    let rows = Dim::from(rows);
    let number = |dim: &Dim| -> Option<i64> {
        dim.as_const().or_else(|| {
            dim.substitute(&|s| (s == symbol).then(|| rows.clone()))
                .as_const()
        })
    };
    facts
        .iter()
        .enumerate()
        .map(|(value, fact)| {
            let fact = fact.as_ref()?;
            let lengths = |dims: &Vec<Dim>| {
                dims.iter()
                    .map(|d| number(d).and_then(|n| usize::try_from(n).ok()))
                    .collect()
            };
            Some(Known {
                dtype: fact.dtype,
                shape: fact.shape.as_ref().and_then(lengths),
                integers: fact
                    .integers
                    .as_ref()
                    .and_then(|v| v.iter().map(number).collect()),
                constant: fact.constant.clone(),
                value,
            })
        })
        .collect()
}

/// Contents that follow from shapes, as a tensor.
///
/// # Errors
/// Memory for it is not there.
pub fn integer_tensor(dtype: DType, shape: &[usize], integers: &[i64]) -> Result<Tensor, Error> {
    let mut bytes: Vec<u8> = Vec::with_capacity(integers.len() * dtype.size());
    for &n in integers {
        // Contents were derived for values of this type; truncation would be a wrong inference.
        bytes.extend_from_slice(&n.to_le_bytes()[..dtype.size()]);
    }
    Ok(Tensor::from_bytes(dtype, shape, &bytes)?)
}

/// A node's path and operator, as errors show it.
pub fn title(node: &Node) -> String {
    format!("\"{}\" ({})", node.name, node.op.kind())
}

/// The same error, said at a node.
pub fn locate(e: &Error, node: &Node, inputs: &[Option<Known>]) -> Error {
    if e.node().is_some() {
        return e.clone();
    }
    let shapes = inputs.iter().flatten().map(|k| match &k.shape {
        Some(shape) => format!("{}{:?}", k.dtype, shape.as_slice()),
        None => format!("{}[?]", k.dtype),
    });
    Error::at_node(e.kind(), e.message(), title(node), shapes.collect())
}
