//! Graphs and nodes.

use super::attribute::{Attribute, AttributeValue};
use super::encoder::Encoder;
use super::tensor::Tensor;
use super::types::ValueInfo;

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// The node's own name; may be empty.
    pub name: String,
    /// The operator.
    pub op_type: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// Which overload of a function is meant.
    pub overload: String,
    /// Names of inputs; empty for optional ones that are left out.
    pub inputs: Vec<String>,
    /// Names of outputs; empty for optional ones that are not wanted.
    pub outputs: Vec<String>,
    /// The attributes.
    pub attributes: Vec<Attribute>,
}

impl Node {
    /// A node of ONNX's own domain without anything.
    pub fn new(op_type: &str) -> Self {
        Self {
            op_type: op_type.into(),
            ..Self::default()
        }
    }

    /// Sets the name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the domain.
    pub fn domain(mut self, domain: &str) -> Self {
        self.domain = domain.into();
        self
    }

    /// Sets the overload.
    pub fn overload(mut self, overload: &str) -> Self {
        self.overload = overload.into();
        self
    }

    /// Adds inputs.
    pub fn inputs<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.inputs.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds outputs.
    pub fn outputs<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.outputs.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds an attribute.
    pub fn attribute(mut self, name: &str, value: impl Into<AttributeValue>) -> Self {
        self.attributes.push(Attribute::new(name, value));
        self
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        self.inputs.iter().for_each(|name| out.text(1, name));
        self.outputs.iter().for_each(|name| out.text(2, name));
        out.text_if_any(3, &self.name);
        out.text_if_any(4, &self.op_type);
        for attribute in &self.attributes {
            out.message(5, |out| attribute.encode(out));
        }
        out.text_if_any(7, &self.domain);
        out.text_if_any(8, &self.overload);
    }
}

/// A graph: the model's, or a body of control flow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The graph's name.
    pub name: String,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Constants.
    pub initializers: Vec<Tensor>,
    /// What the graph is given.
    pub inputs: Vec<ValueInfo>,
    /// What the graph gives back.
    pub outputs: Vec<ValueInfo>,
    /// Declared types of values in between.
    pub value_infos: Vec<ValueInfo>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a node.
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }

    /// Adds a constant.
    pub fn initializer(mut self, tensor: Tensor) -> Self {
        self.initializers.push(tensor);
        self
    }

    /// Adds an input.
    pub fn input(mut self, info: ValueInfo) -> Self {
        self.inputs.push(info);
        self
    }

    /// Adds an output.
    pub fn output(mut self, info: ValueInfo) -> Self {
        self.outputs.push(info);
        self
    }

    /// Declares the type of a value in between.
    pub fn value_info(mut self, info: ValueInfo) -> Self {
        self.value_infos.push(info);
        self
    }

    /// The bytes of the `GraphProto`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        self.encode(&mut out);
        out.into_bytes()
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        for node in &self.nodes {
            out.message(1, |out| node.encode(out));
        }
        out.text_if_any(2, &self.name);
        for tensor in &self.initializers {
            out.message(5, |out| tensor.encode(out));
        }
        for (number, infos) in [
            (11, &self.inputs),
            (12, &self.outputs),
            (13, &self.value_infos),
        ] {
            for info in infos {
                out.message(number, |out| info.encode(out));
            }
        }
    }
}
