//! Attributes of a node as the model file gives them, before an operator has read them.

use crate::{Graph, OpError};
use std::collections::BTreeMap;
use unisono_tensor::Tensor;

/// One attribute's value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Attribute {
    /// A signed integer; booleans are 0 and 1.
    Int(i64),
    /// A float.
    Float(f32),
    /// A byte string, usually UTF-8.
    String(Vec<u8>),
    /// A constant tensor.
    Tensor(Tensor),
    /// A subgraph whose captured outer values have become its inputs; see [`Subgraph`].
    Graph(Subgraph),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of floats.
    Floats(Vec<f32>),
    /// A list of byte strings.
    Strings(Vec<Vec<u8>>),
}

/// The body of a control-flow node (`If`, `Loop`, `Scan`).
///
/// ONNX lets a body refer to values of the graphs around it. Here every body is closed: each outer value that it
/// mentions is an extra input *behind* its own formal inputs, and `captures` says, in the same order, which input of
/// the node carries it. (The node's inputs are its formal ones, then one per captured value.)
#[derive(Clone, Debug)]
pub struct Subgraph {
    /// The body. `graph.inputs()` are the formal inputs followed by the captured ones.
    pub graph: Graph,
    /// For each captured input of the body, the index of the node's input that carries it.
    pub captures: Vec<usize>,
}

impl Attribute {
    fn kind(&self) -> &'static str {
        match self {
            Attribute::Int(_) => "int",
            Attribute::Float(_) => "float",
            Attribute::String(_) => "string",
            Attribute::Tensor(_) => "tensor",
            Attribute::Graph(_) => "graph",
            Attribute::Ints(_) => "ints",
            Attribute::Floats(_) => "floats",
            Attribute::Strings(_) => "strings",
        }
    }
}

/// The attributes of one node, taken out one by one by the operator's constructor.
///
/// Every getter names the attribute in its error. What is left when the constructor is done was not understood, and
/// the registry refuses the node because of it: an attribute that is ignored would be a wrong answer.
#[derive(Clone, Debug, Default)]
pub struct Attributes(BTreeMap<String, Attribute>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Adds or replaces one; gives back what was there.
    pub fn insert(&mut self, name: impl Into<String>, value: Attribute) -> Option<Attribute> {
        self.0.insert(name.into(), value)
    }

    /// The same with one more attribute, for building nodes in code.
    pub fn with(mut self, name: &str, value: Attribute) -> Attributes {
        self.insert(name, value);
        self
    }

    /// Takes one out as it is.
    pub fn take(&mut self, name: &str) -> Option<Attribute> {
        self.0.remove(name)
    }

    /// Names of those that are left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An integer.
    pub fn int(&mut self, name: &str) -> Result<Option<i64>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Int(i)) => Ok(Some(i)),
            Some(other) => Err(wrong(name, "int", &other)),
        }
    }

    /// An integer with a default.
    pub fn int_or(&mut self, name: &str, default: i64) -> Result<i64, OpError> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// A flag: 0 is false, everything else true.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, OpError> {
        Ok(self.int(name)?.map_or(default, |i| i != 0))
    }

    /// A float.
    pub fn float(&mut self, name: &str) -> Result<Option<f32>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Float(x)) => Ok(Some(x)),
            Some(other) => Err(wrong(name, "float", &other)),
        }
    }

    /// A float with a default.
    pub fn float_or(&mut self, name: &str, default: f32) -> Result<f32, OpError> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// A UTF-8 string.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::String(s)) => String::from_utf8(s)
                .map(Some)
                .map_err(|_| OpError::attribute(name, "is not valid UTF-8")),
            Some(other) => Err(wrong(name, "string", &other)),
        }
    }

    /// A list of integers.
    pub fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v)),
            // An empty list has no type in some exporters' files.
            Some(Attribute::Floats(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(wrong(name, "ints", &other)),
        }
    }

    /// A list of floats.
    pub fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Floats(v)) => Ok(Some(v)),
            Some(Attribute::Ints(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(wrong(name, "floats", &other)),
        }
    }

    /// A list of UTF-8 strings.
    pub fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Strings(v)) => v
                .into_iter()
                .map(String::from_utf8)
                .collect::<Result<_, _>>()
                .map(Some)
                .map_err(|_| OpError::attribute(name, "is not valid UTF-8")),
            Some(other) => Err(wrong(name, "strings", &other)),
        }
    }

    /// A tensor.
    pub fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, OpError> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Tensor(t)) => Ok(Some(t)),
            Some(other) => Err(wrong(name, "tensor", &other)),
        }
    }

    /// A subgraph, which must be there.
    pub fn graph(&mut self, name: &str) -> Result<Subgraph, OpError> {
        match self.take(name) {
            None => Err(OpError::attribute(name, "is missing")),
            Some(Attribute::Graph(g)) => Ok(g),
            Some(other) => Err(wrong(name, "graph", &other)),
        }
    }
}

fn wrong(name: &str, expected: &str, found: &Attribute) -> OpError {
    OpError::attribute(
        name,
        format!("should be {expected} but is {}", found.kind()),
    )
}
