//! Answers by plain computations, which share nothing with a device but the definition of the arithmetic.
//!
//! The one idea: the interpreter walks the graph node by node with readable code. It gives the bits that every device must
//! give, or the same in 64-bit floats, and, for models that amplify small errors, how much they do: the walk in 64 bits
//! is repeated with every intermediate value moved at random by as much as rounding to 32 bits would move it ("Monte Carlo
//! arithmetic", Parker 1997). How far answers then scatter is how far an honest answer in 32 bits may be off.

use unisono::graph::ops::control::If;
use unisono::graph::{Fact, Graph, Node};
use unisono::reference::interpret::{Interpreter, Precision};
use unisono::{DType, Dim, Model, Tensor};

use crate::accuracy::{UNIT, chain};
use crate::random::Random;

/// Answers that a device is held against.
pub trait Oracle {
    /// The bits that every device must give.
    ///
    /// # Errors
    /// The operator that could not be evaluated.
    fn canonical(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String>;

    /// The same in 64-bit floats.
    ///
    /// # Errors
    /// As [`Oracle::canonical`].
    fn float64(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String>;

    /// The same in 64-bit floats, with every intermediate value moved at random as rounding to 32 bits would.
    ///
    /// # Errors
    /// As [`Oracle::canonical`].
    fn scattered(&self, inputs: &[Tensor], seed: u64) -> Result<Vec<Tensor>, String>;
}

/// The interpreter of the canonical arithmetic.
pub struct Interpreted(pub Model);

impl Oracle for Interpreted {
    fn canonical(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let interpreter = Interpreter::new(Precision::Canonical);
        interpreter
            .run(self.0.graph(), inputs)
            .map_err(|error| error.to_string())
    }

    fn float64(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let interpreter = Interpreter::new(Precision::Float64);
        interpreter
            .run(self.0.graph(), inputs)
            .map_err(|error| error.to_string())
    }

    fn scattered(&self, inputs: &[Tensor], seed: u64) -> Result<Vec<Tensor>, String> {
        scattered(self.0.graph(), inputs, &mut Random::new(seed, &[]))
    }
}

/// Floats of any width in 64 bits, other tensors as they are.
fn widened(tensor: &Tensor) -> Result<Tensor, String> {
    match tensor.to_f64s() {
        Some(values) if tensor.dtype() != DType::F64 => {
            Tensor::from_slice(tensor.shape(), &values).map_err(|error| error.to_string())
        }
        _ => Ok(tensor.clone()),
    }
}

fn scattered(graph: &Graph, inputs: &[Tensor], random: &mut Random) -> Result<Vec<Tensor>, String> {
    let interpreter = Interpreter::new(Precision::Float64);
    // How often each value is still read: it is let go after the last time.
    let mut readers = vec![0usize; graph.values().len()];
    let read = graph
        .nodes()
        .iter()
        .flat_map(|node| node.inputs.iter().flatten());
    for id in read.chain(graph.outputs()) {
        readers[id.index()] += 1;
    }
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values().len()];
    for (id, tensor) in graph.inputs().iter().zip(inputs) {
        values[id.index()] = Some(widened(tensor)?);
    }
    let find = |values: &[Option<Tensor>], id: unisono::graph::ValueId| {
        if let Some(tensor) = &values[id.index()] {
            return Ok(tensor.clone());
        }
        graph
            .constant(id)
            .ok_or_else(|| "a value is never made".to_owned())
            .and_then(widened)
    };
    for node in graph.nodes() {
        let given: Vec<Option<Tensor>> = node
            .inputs
            .iter()
            .map(|id| id.map(|id| find(&values, id)).transpose())
            .collect::<Result<_, _>>()?;
        for id in node.inputs.iter().flatten() {
            readers[id.index()] -= 1;
            if readers[id.index()] == 0 {
                values[id.index()] = None;
            }
        }
        let made = match node.op.downcast_ref::<If>() {
            Some(choice) => branch(choice, &given, random)?
                .into_iter()
                .map(Some)
                .collect(),
            None => {
                let made = interpreter.run_operator(&*node.op, &given, node.outputs.len());
                let mut made = made.map_err(|error| format!("node \"{}\": {error}", node.name))?;
                scatter(node, &given, &mut made, random);
                made
            }
        };
        for (id, tensor) in node.outputs.iter().zip(made) {
            if let Some(id) = id {
                values[id.index()] = tensor;
            }
        }
    }
    graph
        .outputs()
        .iter()
        .map(|id| find(&values, *id))
        .collect()
}

/// Scatters what is inside of the branch that is taken.
fn branch(
    choice: &If,
    given: &[Option<Tensor>],
    random: &mut Random,
) -> Result<Vec<Tensor>, String> {
    let tensor = |at: usize| given.get(at).and_then(Option::as_ref);
    let condition = tensor(0).and_then(Tensor::to_i64s);
    let taken = match condition.as_deref() {
        Some([0]) => &choice.else_branch,
        Some([_]) => &choice.then_branch,
        _ => return Err("a condition is not one boolean".to_owned()),
    };
    let captured = taken.captures.iter().map(|at| tensor(*at).cloned());
    let captured: Option<Vec<Tensor>> = captured.collect();
    let captured = captured.ok_or_else(|| "a branch captures what is not there".to_owned())?;
    scattered(&taken.graph, &captured, random)
}

/// Moves what a node made by as much as rounding may.
fn scatter(
    node: &Node,
    given: &[Option<Tensor>],
    made: &mut [Option<Tensor>],
    random: &mut Random,
) {
    let fact = |tensor: &Option<Tensor>| {
        let tensor = tensor.as_ref()?;
        Some(Fact::new(
            tensor.dtype(),
            tensor.shape().iter().map(|&n| Dim::from(n)).collect(),
        ))
    };
    let inputs: Vec<Option<Fact>> = given.iter().map(fact).collect();
    let outputs: Vec<Option<Fact>> = made.iter().map(fact).collect();
    let elements = outputs
        .iter()
        .flatten()
        .filter_map(Fact::element_count)
        .sum();
    let work = node.op.flops(&inputs, &outputs).unwrap_or(elements);
    if work == 0 {
        // It moves data, so it rounds nothing.
        return;
    }
    let roundings = chain(work, elements);
    for tensor in made.iter_mut().flatten() {
        let Some(values) = tensor.as_slice_mut::<f64>() else {
            continue;
        };
        let count = values.iter().filter(|v| v.is_finite()).count().max(1);
        let squares: f64 = values.iter().filter(|v| v.is_finite()).map(|v| v * v).sum();
        // Where many terms meet, what was lost on the way is a share of typical sums, also if this one is small.
        let typical = if roundings > 1.0 {
            (squares / count as f64).sqrt()
        } else {
            0.0
        };
        for value in values {
            // Functions err by up to two units, a sum by the root of its roundings.
            let share = UNIT * roundings.sqrt().max(2.0) * f64::from(random.unit());
            if value.is_finite() && *value != 0.0 {
                *value += share * value.abs().max(typical);
            }
        }
    }
}
