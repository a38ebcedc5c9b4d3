//! Runs a whole graph, node after node, with the plain implementations of [`crate::eval`].
//!
//! One idea: no plan, no memory reuse, no threads; every value is a tensor of its own. That makes it slow and easy to believe, which is
//! what an oracle is for. With [`Precision::Float64`] the same graph is computed with more digits: every float is widened to f64 when it enters
//! (inputs, constants, results of casts) and never rounded to a narrower type on the way.
//!
//! It never runs longer than its [budget](Interpreter::budget), because it also folds constants of files that nobody vouches for.

mod control;
#[cfg(test)]
mod tests;

use crate::eval::{self, EvalError};
use control::captured;
use std::fmt;
use unisono_graph::ops::control::{If, Loop, Scan};
use unisono_graph::ops::movement::{Split, SplitParts};
use unisono_graph::rewrite::ConstantEvaluator;
use unisono_graph::{Fact, Graph, Node, Operator};
use unisono_tensor::{DType, Tensor, TensorError, TensorRef};

/// In which arithmetic a graph is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The canonical arithmetic, in the types that the model asks for.
    Canonical,
    /// The same structure with every float in f64. Float outputs are f64.
    Float64,
}

/// Runs graphs. See the [module](self).
///
/// ```
/// use std::sync::Arc;
/// use unisono_graph::ops::unary::{Unary, UnaryFunction};
/// use unisono_graph::{Graph, TensorType};
/// use unisono_reference::interpret::{Interpreter, Precision};
/// use unisono_tensor::{DType, Tensor};
///
/// let mut graph = Graph::new("root");
/// let x = graph.add_input("x", TensorType { dtype: DType::F32, shape: None });
/// let sqrt = Arc::new(Unary { function: UnaryFunction::Sqrt });
/// let y = graph.append("sqrt", sqrt, &[x], 1);
/// graph.set_outputs(y);
///
/// let x = Tensor::from_slice(&[2], &[4f32, 2.0])?;
/// let exact = Interpreter::new(Precision::Float64).run(&graph, &[x])?;
/// assert_eq!(exact[0].as_slice::<f64>()?, [2.0, 2f64.sqrt()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Interpreter {
    precision: Precision,
    budget: u64,
    largest: usize,
}

/// A graph that could not be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpretError {
    /// The name of the node, after those of the nodes around it and a `/` each. Empty if it is about the graph itself.
    pub node: String,
    /// The operator's name; empty if it is about the graph itself.
    pub operator: &'static str,
    /// What went wrong.
    pub reason: Reason,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// One operator could not be evaluated.
    Eval(EvalError),
    /// The graph has another number of inputs.
    InputCount {
        /// How many it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A value is read before it is made, or never made.
    NotMade,
    /// More nodes, loop iterations included, than the budget allows.
    Budget {
        /// The budget.
        nodes: u64,
    },
    /// A tensor larger than the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Eval(e) => e.fmt(f),
            Reason::InputCount { expected, found } => {
                write!(f, "the graph has {expected} inputs but {found} were given")
            }
            Reason::NotMade => f.write_str("a value is read that no node has made"),
            Reason::Budget { nodes } => write!(
                f,
                "more than {nodes} nodes would run; a loop may not end, or a larger budget is needed"
            ),
            Reason::TooLarge { limit } => {
                write!(f, "a tensor of more than {limit} bytes would be made")
            }
        }
    }
}

impl fmt::Display for InterpretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operator.is_empty() {
            write!(f, "node \"{}\" ({}): ", self.node, self.operator)?;
        }
        self.reason.fmt(f)
    }
}

impl std::error::Error for InterpretError {}

impl<E: Into<EvalError>> From<E> for Reason {
    fn from(e: E) -> Reason {
        Reason::Eval(e.into())
    }
}

/// A value on its way: the tensor, and the type that the model gives it, which differs where floats are widened.
#[derive(Clone, Debug)]
struct Value {
    tensor: Tensor,
    dtype: DType,
}

/// Why a run ended early, before the path to the node is known.
type Failure = Box<InterpretError>;

impl Interpreter {
    /// With a budget of 2^32 nodes and no limit on tensors.
    pub fn new(precision: Precision) -> Interpreter {
        Interpreter {
            precision,
            budget: 1 << 32,
            largest: usize::MAX,
        }
    }

    /// How many nodes may run, those of every iteration of a loop counted.
    pub fn budget(self, nodes: u64) -> Interpreter {
        Interpreter {
            budget: nodes,
            ..self
        }
    }

    /// How many bytes a tensor may have that a node makes.
    pub fn largest_tensor(self, bytes: usize) -> Interpreter {
        Interpreter {
            largest: bytes,
            ..self
        }
    }

    /// The graph's outputs for these inputs, in the graph's order.
    ///
    /// # Errors
    ///
    /// The node that could not be evaluated and why; the budget or the limit on tensors is exceeded.
    pub fn run(&self, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, InterpretError> {
        let whole = |reason| InterpretError {
            node: String::new(),
            operator: "",
            reason,
        };
        let inputs = inputs
            .iter()
            .map(|t| self.enter(t))
            .collect::<Result<Vec<_>, _>>()
            .map_err(whole)?;
        let mut left = self.budget;
        let outputs = self.graph(graph, inputs, &mut left).map_err(|e| *e)?;
        Ok(outputs.into_iter().map(|v| v.tensor).collect())
    }

    /// The outputs of one operator, `None` for those that it does not make. `count` is how many outputs the node has.
    ///
    /// # Errors
    ///
    /// As [`Interpreter::run`]; the node has no name then.
    pub fn run_operator(
        &self,
        op: &dyn Operator,
        inputs: &[Option<Tensor>],
        count: usize,
    ) -> Result<Vec<Option<Tensor>>, InterpretError> {
        let fail = |reason| InterpretError {
            node: String::new(),
            operator: op.name(),
            reason,
        };
        let inputs = inputs
            .iter()
            .map(|t| t.as_ref().map(|t| self.enter(t)).transpose())
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        let mut left = self.budget;
        let outputs = self.operator(op, "", &inputs, count, &mut left);
        let outputs = outputs.map_err(|e| *e)?;
        Ok(outputs.into_iter().map(|v| v.map(|v| v.tensor)).collect())
    }

    /// A tensor from outside, widened if this precision asks for it.
    fn enter(&self, tensor: &Tensor) -> Result<Value, Reason> {
        let dtype = tensor.dtype();
        let tensor = tensor.to_aligned()?;
        let wanted = self.stored(dtype);
        if wanted == dtype {
            return Ok(Value { tensor, dtype });
        }
        let mut wide = Tensor::zeros(wanted, tensor.shape())?;
        if let Some(mut out) = wide.view_mut() {
            eval::convert(tensor.view()?, &mut out)?;
        }
        Ok(Value {
            tensor: wide,
            dtype,
        })
    }

    /// The type in which values of a model's type are held.
    fn stored(&self, dtype: DType) -> DType {
        match self.precision {
            Precision::Float64 if dtype.is_float() => DType::F64,
            _ => dtype,
        }
    }

    fn graph(
        &self,
        graph: &Graph,
        inputs: Vec<Value>,
        left: &mut u64,
    ) -> Result<Vec<Value>, Failure> {
        let whole = |reason| {
            Box::new(InterpretError {
                node: String::new(),
                operator: "",
                reason,
            })
        };
        if inputs.len() != graph.inputs().len() {
            return Err(whole(Reason::InputCount {
                expected: graph.inputs().len(),
                found: inputs.len(),
            }));
        }
        // How often each value is still read: it is let go after the last time.
        let mut readers = vec![0usize; graph.values().len()];
        let read = graph.nodes().iter().flat_map(|n| n.inputs.iter().flatten());
        for id in read.chain(graph.outputs()) {
            if let Some(n) = readers.get_mut(id.index()) {
                *n += 1;
            }
        }
        let mut values: Vec<Option<Value>> = vec![None; graph.values().len()];
        for (&id, value) in graph.inputs().iter().zip(inputs) {
            if let Some(slot) = values.get_mut(id.index()) {
                *slot = Some(value);
            }
        }
        let find = |values: &[Option<Value>], id: unisono_graph::ValueId| {
            if let Some(Some(value)) = values.get(id.index()) {
                return Ok(value.clone());
            }
            let constant = graph
                .values()
                .get(id.index())
                .and_then(|v| v.constant.as_ref());
            self.enter(constant.ok_or(Reason::NotMade)?)
        };
        for node in graph.nodes() {
            let at = |reason| Box::new(locate(node, reason));
            let mut given = Vec::with_capacity(node.inputs.len());
            for id in &node.inputs {
                given.push(id.map(|id| find(&values, id)).transpose().map_err(at)?);
            }
            for id in node.inputs.iter().flatten() {
                if let (Some(n), Some(slot)) =
                    (readers.get_mut(id.index()), values.get_mut(id.index()))
                {
                    *n -= 1;
                    if *n == 0 {
                        *slot = None;
                    }
                }
            }
            let made = self.operator(&*node.op, &node.name, &given, node.outputs.len(), left)?;
            for (&id, value) in node.outputs.iter().zip(made) {
                if let (Some(id), Some(value)) = (id, value)
                    && readers.get(id.index()).is_some_and(|&n| n > 0)
                    && let Some(slot) = values.get_mut(id.index())
                {
                    *slot = Some(value);
                }
            }
        }
        graph
            .outputs()
            .iter()
            .map(|&id| find(&values, id).map_err(whole))
            .collect()
    }

    fn operator(
        &self,
        op: &dyn Operator,
        name: &str,
        inputs: &[Option<Value>],
        count: usize,
        left: &mut u64,
    ) -> Result<Vec<Option<Value>>, Failure> {
        let fail = |reason| {
            Box::new(InterpretError {
                node: name.to_owned(),
                operator: op.name(),
                reason,
            })
        };
        *left = left
            .checked_sub(1)
            .ok_or_else(|| fail(Reason::Budget { nodes: self.budget }))?;
        // A failure inside of a body is already located there: the path gets this node in front.
        let inside = |mut e: Failure| {
            e.node = format!("{name}/{}", e.node);
            if e.operator.is_empty() {
                e.operator = op.name();
            }
            e
        };
        if let Some(op) = op.downcast_ref::<If>() {
            let branch = self.chosen(op, inputs).map_err(fail)?;
            let inputs = captured(branch, inputs).map_err(fail)?;
            let outputs = self.graph(&branch.graph, inputs, left).map_err(inside)?;
            return Ok(outputs.into_iter().map(Some).collect());
        }
        if let Some(body) = op.downcast_ref::<Loop>() {
            return self.run_loop(body, inputs, count, left, &fail, &inside);
        }
        if let Some(body) = op.downcast_ref::<Scan>() {
            return self.run_scan(body, inputs, count, left, &fail, &inside);
        }
        self.evaluate(op, inputs, count).map_err(fail)
    }

    /// Any operator without a body.
    fn evaluate(
        &self,
        op: &dyn Operator,
        inputs: &[Option<Value>],
        count: usize,
    ) -> Result<Vec<Option<Value>>, Reason> {
        let views = inputs
            .iter()
            .map(|v| v.as_ref().map(|v| v.tensor.view()).transpose())
            .collect::<Result<Vec<Option<TensorRef<'_>>>, TensorError>>()?;
        let facts = inputs
            .iter()
            .zip(&views)
            .map(|(v, t)| match (v, t) {
                (Some(v), Some(t)) => eval::fact(*t, v.dtype).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Vec<Option<Fact>>, EvalError>>()?;
        let types = eval::output_types_from(op, &views, &facts, count)?;
        let mut made = Vec::with_capacity(types.len());
        for output in types {
            made.push(match output {
                None => None,
                Some((dtype, shape)) => Some(Value {
                    tensor: self.make(self.stored(dtype), &shape)?,
                    dtype,
                }),
            });
        }
        let mut out = made
            .iter_mut()
            .map(|v| v.as_mut().and_then(|v| v.tensor.view_mut()))
            .collect::<Vec<_>>();
        eval::evaluate(op, &views, &mut out)?;
        Ok(made)
    }

    fn make(&self, dtype: DType, shape: &[usize]) -> Result<Tensor, Reason> {
        let bytes = unisono_tensor::element_count(shape).and_then(|n| n.checked_mul(dtype.size()));
        if bytes.is_none_or(|b| b > self.largest) {
            return Err(Reason::TooLarge {
                limit: self.largest,
            });
        }
        Ok(Tensor::zeros(dtype, shape)?)
    }
}

fn locate(node: &Node, reason: Reason) -> InterpretError {
    InterpretError {
        node: node.name.clone(),
        operator: node.op.name(),
        reason,
    }
}

fn input(inputs: &[Option<Value>], index: usize) -> Result<&Value, Reason> {
    inputs
        .get(index)
        .and_then(Option::as_ref)
        .ok_or(Reason::Eval(EvalError::Missing {
            what: "input",
            index,
        }))
}

/// Folds constants in this interpreter's precision.
impl ConstantEvaluator for Interpreter {
    fn evaluate(&self, op: &dyn Operator, inputs: &[Option<Tensor>]) -> Option<Vec<Tensor>> {
        let outputs = self
            .run_operator(op, inputs, output_count(op, inputs)?)
            .ok()?;
        // Outputs are stated from the first on; what follows the first that is not made is none.
        Some(outputs.into_iter().map_while(|t| t).collect())
    }
}

/// How many outputs an operator without a body can make for these inputs.
fn output_count(op: &dyn Operator, inputs: &[Option<Tensor>]) -> Option<usize> {
    let Some(split) = op.downcast_ref::<Split>() else {
        // More than any other operator has.
        return op.subgraphs().is_empty().then_some(8);
    };
    match &split.parts {
        SplitParts::Lengths(lengths) => Some(lengths.len()),
        SplitParts::Equal(parts) => Some(*parts),
        SplitParts::Input => Some(inputs.get(1)?.as_ref()?.len()),
    }
}
