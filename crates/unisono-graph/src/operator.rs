//! What it takes to be an operator.
//!
//! The one idea: an operator's meaning stands in one type. It says which types, shapes and shape-valued data its
//! outputs have ([`Operator::infer`]), and how the batch axis passes through it ([`Operator::batch`]). Devices find
//! their kernel by [`Operator::kind`] and read the attributes by downcasting to the concrete type.

use crate::{Dim, TensorType};
use std::any::Any;
use std::fmt;
use unisono_tensor::{DType, Tensor};

/// An operator with its attributes.
pub trait Operator: Any + fmt::Debug + Send + Sync {
    /// What devices know it by: the ONNX name (`Conv`), or the name of the family where operators share everything but a
    /// formula (`Unary`, `Binary`, `Reduce`). Equal kinds have equal concrete types.
    fn kind(&self) -> &'static str;

    /// What a person knows it by, for messages and listings: the ONNX name where there is one (`Add`, where the kind is
    /// the family `Binary`).
    fn name(&self) -> &'static str {
        self.kind()
    }

    /// Types, shapes and, where they are computable without running anything, contents of the outputs.
    ///
    /// Called with whatever is known: symbolic shapes when the model is loaded, concrete ones (perhaps but for the
    /// batch) when a plan is made, and fully concrete ones with all contents where a shape depends on data.
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError>;

    /// How the batch axis passes from inputs to outputs; see [`Batch`]. Called only if some input is not `Shared` and
    /// none is `Mixed`. Gives one entry per output.
    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker>;

    /// Arithmetic done for these shapes, in multiply-and-add = 2 operations. Data movement counts as none.
    fn flops(&self, _inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let mut sum = 0u64;
        for fact in outputs.iter().flatten() {
            sum = sum.checked_add(fact.element_count()?)?;
        }
        Some(sum)
    }

    /// Inputs whose contents only set shapes or parameters (`Reshape`'s second). A device whose plan has them as known
    /// facts need not compute them.
    fn shape_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Bodies of control flow.
    fn subgraphs(&self) -> Vec<&crate::attribute::Subgraph> {
        Vec::new()
    }

    /// Does the output depend on anything but the inputs (random numbers, time)? Such nodes are never folded.
    fn is_pure(&self) -> bool {
        true
    }
}

impl dyn Operator {
    /// The concrete operator.
    pub fn downcast_ref<T: Operator>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }

    /// Is it a `T`?
    pub fn is<T: Operator>(&self) -> bool {
        (self as &dyn Any).is::<T>()
    }
}

/// What is known of one value.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The element type.
    pub dtype: DType,
    /// The lengths of the axes; `None` if the rank is not known.
    pub shape: Option<Vec<Dim>>,
    /// Contents of an integer (or boolean) value of rank 0 or 1, as expressions; row-major. Only for small ones.
    pub integers: Option<Vec<Dim>>,
    /// Contents, if it is a constant of the model.
    pub constant: Option<Tensor>,
}

impl Fact {
    /// A value of this type and shape, contents unknown.
    pub fn new(dtype: DType, shape: Vec<Dim>) -> Fact {
        Fact {
            dtype,
            shape: Some(shape),
            integers: None,
            constant: None,
        }
    }

    /// A value of this type, rank unknown.
    pub fn of_unknown_rank(dtype: DType) -> Fact {
        Fact {
            dtype,
            shape: None,
            integers: None,
            constant: None,
        }
    }

    /// A constant. Small integers (rank 0 or 1, at most 1,024 elements) become known contents too.
    pub fn constant(tensor: &Tensor) -> Fact {
        let integers = (tensor.rank() <= 1 && tensor.len() <= 1024)
            .then(|| tensor.to_i64s())
            .flatten()
            .map(|v| v.into_iter().map(Dim::constant).collect());
        Fact {
            dtype: tensor.dtype(),
            shape: Some(tensor.shape().iter().map(|&n| Dim::from(n)).collect()),
            integers,
            constant: Some(tensor.clone()),
        }
    }

    /// What the model declares of an input.
    pub fn declared(declared: &TensorType) -> Fact {
        Fact {
            dtype: declared.dtype,
            shape: declared.shape.clone(),
            integers: None,
            constant: None,
        }
    }

    /// The number of axes, if known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The shape as numbers, if all are known.
    pub fn concrete_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::as_len).collect()
    }

    /// The number of elements, if the shape is concrete and it does not overflow.
    pub fn element_count(&self) -> Option<u64> {
        let shape = self.concrete_shape()?;
        unisono_tensor::element_count(&shape).and_then(|n| u64::try_from(n).ok())
    }

    /// Known integer contents as numbers, from either source.
    pub fn known_ints(&self) -> Option<Vec<i64>> {
        if let Some(values) = &self.integers {
            return values.iter().map(Dim::as_const).collect();
        }
        self.constant.as_ref()?.to_i64s()
    }
}

/// What [`Operator::infer`] reads and writes.
pub struct InferContext<'a> {
    inputs: &'a [Option<Fact>],
    outputs: Vec<Option<Fact>>,
}

impl<'a> InferContext<'a> {
    /// A context for a node with these inputs and that many outputs.
    pub fn new(inputs: &'a [Option<Fact>], output_count: usize) -> Self {
        InferContext {
            inputs,
            outputs: vec![None; output_count],
        }
    }

    /// All inputs.
    pub fn inputs(&self) -> &'a [Option<Fact>] {
        self.inputs
    }

    /// How many outputs the node has.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// A required input.
    pub fn input(&self, index: usize) -> Result<&'a Fact, OpError> {
        self.optional(index)
            .ok_or_else(|| OpError::new(format!("input {index} is required but is not there")))
    }

    /// An optional input.
    pub fn optional(&self, index: usize) -> Option<&'a Fact> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// States an output. Outputs beyond those that the node has are ignored, so that optional ones can be stated always.
    pub fn set(&mut self, index: usize, fact: Fact) {
        if let Some(slot) = self.outputs.get_mut(index) {
            *slot = Some(fact);
        }
    }

    /// What was stated.
    pub fn into_outputs(self) -> Vec<Option<Fact>> {
        self.outputs
    }
}

/// Where the batch is in a value (contract C2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Every element may depend on every row, or the dependence is not of the form below.
    Mixed,
    /// No element depends on any row: the same for every caller, whatever the batch size.
    Shared,
    /// The axis has length `outer * B * inner`: row `r` owns the indices `(o*B + r)*inner + i`, and nothing else.
    Rows {
        /// Which axis.
        axis: usize,
        /// Blocks before the batch in that axis.
        outer: Dim,
        /// Elements of one row within a block.
        inner: Dim,
    },
}

impl Batch {
    /// The plain case: the axis is the batch.
    pub fn axis(axis: usize) -> Batch {
        Batch::Rows {
            axis,
            outer: Dim::constant(1),
            inner: Dim::constant(1),
        }
    }
}

/// What [`Operator::batch`] reads.
pub struct BatchContext<'a> {
    /// The batch of each input; `None` for inputs left out. None is `Mixed`.
    pub inputs: &'a [Option<Batch>],
    /// Symbolic facts of the inputs, in which [`BatchContext::rows`] stands for the batch size.
    pub input_facts: &'a [Option<Fact>],
    /// Symbolic facts of the outputs.
    pub output_facts: &'a [Option<Fact>],
    /// The symbol for the number of rows.
    pub rows: &'a crate::Symbol,
}

/// Why a node prevents coalescing: said to the user by `unisono inspect`, after the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker(pub String);

impl Blocker {
    /// A blocker with this reason, a clause such as "takes a maximum over the batch axis".
    pub fn new(reason: impl Into<String>) -> Blocker {
        Blocker(reason.into())
    }
}

/// A node that is wrong: attributes or inputs that its operator does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    /// The attribute that is at fault, if it is one.
    pub attribute: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl OpError {
    /// An error that is not about an attribute.
    pub fn new(message: impl Into<String>) -> OpError {
        OpError {
            attribute: None,
            message: message.into(),
        }
    }

    /// An error about an attribute; the message follows its name ("should be positive but is -1").
    pub fn attribute(name: &str, message: impl Into<String>) -> OpError {
        OpError {
            attribute: Some(name.to_owned()),
            message: message.into(),
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attribute {
            Some(name) => write!(f, "attribute \"{name}\" {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for OpError {}
