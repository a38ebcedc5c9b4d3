//! Models and their functions.

use super::attribute::Attribute;
use super::encoder::Encoder;
use super::graph::{Graph, Node};

fn encode_imports(out: &mut Encoder, number: u32, imports: &[(String, i64)]) {
    for (domain, version) in imports {
        out.message(number, |out| {
            out.text_if_any(1, domain);
            out.varint(2, *version);
        });
    }
}

/// A function that a model defines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// The domain under which nodes call it.
    pub domain: String,
    /// The operator name under which nodes call it.
    pub name: String,
    /// Tells functions of one name apart.
    pub overload: String,
    /// Names of formal inputs.
    pub inputs: Vec<String>,
    /// Names of formal outputs.
    pub outputs: Vec<String>,
    /// Names of attributes without a default.
    pub attributes: Vec<String>,
    /// Attributes with a default.
    pub attribute_defaults: Vec<Attribute>,
    /// The body.
    pub nodes: Vec<Node>,
    /// Operator sets that the body uses.
    pub opset_imports: Vec<(String, i64)>,
}

impl Function {
    /// A function without a body, which uses this version of ONNX's own operators.
    pub fn new(domain: &str, name: &str, opset: i64) -> Self {
        Self {
            domain: domain.into(),
            name: name.into(),
            opset_imports: vec![(String::new(), opset)],
            ..Self::default()
        }
    }

    /// Sets the overload.
    pub fn overload(mut self, overload: &str) -> Self {
        self.overload = overload.into();
        self
    }

    /// Adds formal inputs.
    pub fn inputs<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.inputs.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds formal outputs.
    pub fn outputs<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.outputs.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds an attribute without a default.
    pub fn attribute(mut self, name: &str) -> Self {
        self.attributes.push(name.into());
        self
    }

    /// Adds an attribute with a default.
    pub fn attribute_default(mut self, attribute: Attribute) -> Self {
        self.attribute_defaults.push(attribute);
        self
    }

    /// Adds a node to the body.
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }

    fn encode(&self, out: &mut Encoder) {
        out.text_if_any(1, &self.name);
        self.inputs.iter().for_each(|name| out.text(4, name));
        self.outputs.iter().for_each(|name| out.text(5, name));
        self.attributes.iter().for_each(|name| out.text(6, name));
        for node in &self.nodes {
            out.message(7, |out| node.encode(out));
        }
        encode_imports(out, 9, &self.opset_imports);
        out.text_if_any(10, &self.domain);
        for attribute in &self.attribute_defaults {
            out.message(11, |out| attribute.encode(out));
        }
        out.text_if_any(13, &self.overload);
    }
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// The exporter's name.
    pub producer_name: String,
    /// The exporter's version.
    pub producer_version: String,
    /// Free text.
    pub doc_string: String,
    /// Operator sets that the model uses; the empty domain is ONNX's own.
    pub opset_imports: Vec<(String, i64)>,
    /// The graph, without which a model is invalid.
    pub graph: Option<Graph>,
    /// The functions.
    pub functions: Vec<Function>,
    /// Free key and value pairs.
    pub metadata: Vec<(String, String)>,
}

impl Model {
    /// A model that uses this version of ONNX's own operators, in file format 10.
    pub fn new(opset: i64, graph: Graph) -> Self {
        Self {
            ir_version: 10,
            producer_name: "unisono".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            opset_imports: vec![(String::new(), opset)],
            graph: Some(graph),
            ..Self::default()
        }
    }

    /// Adds an operator set.
    pub fn import(mut self, domain: &str, version: i64) -> Self {
        self.opset_imports.push((domain.into(), version));
        self
    }

    /// Adds a function.
    pub fn function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        if self.ir_version != 0 {
            out.varint(1, self.ir_version);
        }
        out.text_if_any(2, &self.producer_name);
        out.text_if_any(3, &self.producer_version);
        out.text_if_any(6, &self.doc_string);
        if let Some(graph) = &self.graph {
            out.message(7, |out| graph.encode(out));
        }
        encode_imports(&mut out, 8, &self.opset_imports);
        for (key, value) in &self.metadata {
            out.message(14, |out| {
                out.text(1, key);
                out.text(2, value);
            });
        }
        for function in &self.functions {
            out.message(25, |out| function.encode(out));
        }
        out.into_bytes()
    }
}
