//! One node: its inputs, attributes, bodies and outputs.

use super::opsets::{domain, domain_name};
use super::scope::{Opened, Site};
use super::{Captures, Lowerer};
use crate::error::{OnnxError, OnnxErrorKind, printable, quoted};
use crate::proto::{self, AttributeType, AttributeValue, node_label};
use std::collections::HashSet;
use unisono_graph::ops::{self, BuildError, NodeSpec};
use unisono_graph::{Attribute, Attributes, ValueId};
use unisono_tensor::Tensor;

impl<'p> Lowerer<'p> {
    /// Lowers one node, or the function that it calls.
    pub(super) fn node(
        &mut self,
        node: &'p proto::Node<'p>,
        index: usize,
    ) -> Result<(), OnnxError> {
        let opset = self.scope.imports.get(domain(node.domain));
        let label = || node_label(index, node.name, node.op_type, opset);
        self.node_inner(node, index)
            .map_err(|error| error.within(label()))
    }

    fn node_inner(&mut self, node: &'p proto::Node<'p>, index: usize) -> Result<(), OnnxError> {
        self.budget.node()?;
        let words = node.inputs.len() + node.outputs.len() + node.attributes.len() + 8;
        self.budget.charge(words * 16)?;
        self.budget
            .name(node.name.len() + self.scope.prefix.len())?;
        if node.op_type.is_empty() {
            return Err(
                OnnxError::new(OnnxErrorKind::InvalidNode, "the node names no operator")
                    .help("the file is damaged; export the model again"),
            );
        }
        let inputs = self.inputs(node)?;
        if let Some(function) = self.functions.find(node) {
            return self.call(function, node, index, &inputs);
        }
        let domain = domain(node.domain);
        let opset = self.scope.imports.version(domain)?;
        if domain.is_empty() && node.op_type == "Constant" {
            return self.constant_node(node);
        }
        if ops::lookup(domain, node.op_type, opset).is_none() {
            return self.unsupported_node(node, index, opset);
        }
        self.operator(node, index, opset, inputs)
    }

    fn inputs(&mut self, node: &'p proto::Node<'p>) -> Result<Vec<Option<ValueId>>, OnnxError> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (position, name) in node.inputs.iter().enumerate() {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            let value = self.resolve(name)?.ok_or_else(|| {
                OnnxError::new(
                    OnnxErrorKind::UndefinedValue,
                    format!(
                        "input {position} is {}, which no node, initializer or graph input makes",
                        quoted(name)
                    ),
                )
                .help("the model is incomplete; export it again")
            })?;
            inputs.push(value);
        }
        Ok(inputs)
    }

    fn operator(
        &mut self,
        node: &'p proto::Node<'p>,
        index: usize,
        opset: i64,
        mut inputs: Vec<Option<ValueId>>,
    ) -> Result<(), OnnxError> {
        let mut captures = Captures::default();
        let mut attributes = Attributes::new();
        let mut names = HashSet::new();
        let mut has_body = false;
        for attribute in &node.attributes {
            let place =
                |error: OnnxError| error.within(format!("attribute {}", quoted(attribute.name)));
            if !names.insert(attribute.name) {
                return Err(place(
                    OnnxError::new(
                        OnnxErrorKind::DuplicateName,
                        "the node has two attributes of this name",
                    )
                    .help("export the model again with a current exporter"),
                ));
            }
            let Some(value) = self.bound(&attribute.value).map_err(place)? else {
                continue;
            };
            let value = match value {
                AttributeValue::Graph(body) => {
                    has_body = true;
                    let prefix = self.node_name(node, index);
                    self.budget.name(prefix.len())?;
                    let site = Site {
                        node,
                        index,
                        opened: Opened::Body(attribute.name),
                    };
                    let (graph, captured) = self.body(body, prefix, site).map_err(place)?;
                    Attribute::Graph(captures.attach(graph, &captured, &mut inputs))
                }
                other => self.attribute(other).map_err(place)?,
            };
            attributes.insert(attribute.name, value);
        }
        if !has_body {
            while let Some(None) = inputs.last() {
                inputs.pop();
            }
        }
        let output_count = node
            .outputs
            .iter()
            .rposition(|name| !name.is_empty())
            .map_or(0, |last| last + 1);
        let present: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        let mut spec = NodeSpec {
            attributes: &mut attributes,
            opset,
            inputs: &present,
            output_count,
        };
        let op = ops::build(domain(node.domain), node.op_type, &mut spec).map_err(build_error)?;
        let mut outputs = Vec::with_capacity(output_count);
        for name in node.outputs.iter().take(output_count) {
            outputs.push(if name.is_empty() {
                None
            } else {
                Some(self.define(name)?)
            });
        }
        let name = self.node_name(node, index);
        self.building.graph.add_node(name, op, inputs, outputs);
        Ok(())
    }

    /// The node's name with the path of the functions that it was inlined from.
    pub(super) fn node_name(&self, node: &proto::Node<'_>, index: usize) -> String {
        let own = if node.name.is_empty() {
            format!("{}_{index}", node.op_type)
        } else {
            node.name.to_owned()
        };
        if self.scope.prefix.is_empty() {
            own
        } else {
            format!("{}/{own}", self.scope.prefix)
        }
    }

    /// The value itself, or what a reference stands for; `None` if the call of the function left it out.
    pub(super) fn bound(
        &self,
        value: &'p AttributeValue<'p>,
    ) -> Result<Option<&'p AttributeValue<'p>>, OnnxError> {
        let AttributeValue::Reference(name, form) = value else {
            return Ok(Some(value));
        };
        let function = self.calls.last().ok_or_else(|| {
            OnnxError::new(
                OnnxErrorKind::InvalidAttribute,
                format!(
                    "the value is a reference to {}, and only functions may have references",
                    quoted(name)
                ),
            )
            .help("export the model again with a current exporter")
        })?;
        let Some(bound) = self.scope.attributes.get(name).copied() else {
            if function.has_attribute(name) {
                return Ok(None);
            }
            return Err(OnnxError::new(
                OnnxErrorKind::InvalidFunction,
                format!(
                    "the value is a reference to {}, which is no attribute of the function",
                    quoted(name)
                ),
            )
            .help("the function is incomplete; export the model again"));
        };
        if let (Some(wanted), Some(found)) = (form, bound.form())
            && *wanted != found
        {
            return Err(OnnxError::new(
                OnnxErrorKind::InvalidAttribute,
                format!(
                    "the reference to {} wants {}, but the function was called with {}",
                    quoted(name),
                    wanted.name(),
                    found.name()
                ),
            )
            .help("call the function with an attribute of the type that it declares"));
        }
        if matches!(bound, AttributeValue::Graph(_)) {
            return Err(OnnxError::new(
                OnnxErrorKind::UnsupportedType,
                format!(
                    "the function is called with a graph as its attribute {}",
                    quoted(name)
                ),
            )
            .help("export the model with its functions inlined (`onnx.inliner`)"));
        }
        Ok(Some(bound))
    }

    fn attribute(&mut self, value: &'p AttributeValue<'p>) -> Result<Attribute, OnnxError> {
        Ok(match value {
            AttributeValue::Float(value) => Attribute::Float(*value),
            AttributeValue::Int(value) => Attribute::Int(*value),
            AttributeValue::String(text) => {
                self.budget.charge(text.bytes.len())?;
                Attribute::String(text.bytes.to_vec())
            }
            AttributeValue::Floats(values) => {
                self.budget.charge(size_of_val(values.as_slice()))?;
                Attribute::Floats(values.clone())
            }
            AttributeValue::Ints(values) => {
                self.budget.charge(size_of_val(values.as_slice()))?;
                Attribute::Ints(values.clone())
            }
            AttributeValue::Strings(texts) => {
                let mut strings = Vec::new();
                for text in texts {
                    self.budget
                        .charge(text.bytes.len() + size_of::<Vec<u8>>())?;
                    strings.push(text.bytes.to_vec());
                }
                Attribute::Strings(strings)
            }
            AttributeValue::Tensor(tensor) => {
                Attribute::Tensor(self.constants.tensor(tensor, &mut self.budget)?)
            }
            AttributeValue::Graph(_) | AttributeValue::Reference(..) | AttributeValue::Other(_) => {
                return Err(unsupported_form(value));
            }
        })
    }

    /// A `Constant` node becomes a constant of the graph.
    fn constant_node(&mut self, node: &'p proto::Node<'p>) -> Result<(), OnnxError> {
        let invalid = |what: String| {
            OnnxError::new(OnnxErrorKind::InvalidAttribute, what)
                .help("a Constant has exactly one of value, value_float(s), value_int(s), value_string(s)")
        };
        let [attribute] = node.attributes.as_slice() else {
            return Err(invalid(format!(
                "a Constant has one attribute, this has {}",
                node.attributes.len()
            )));
        };
        let [output] = node.outputs.as_slice() else {
            return Err(OnnxError::new(
                OnnxErrorKind::InvalidNode,
                format!("a Constant has one output, this has {}", node.outputs.len()),
            )
            .help("the file is damaged; export the model again"));
        };
        if !node.inputs.is_empty() {
            return Err(OnnxError::new(
                OnnxErrorKind::InvalidNode,
                format!("a Constant has no inputs, this has {}", node.inputs.len()),
            )
            .help("the file is damaged; export the model again"));
        }
        let place =
            |error: OnnxError| error.within(format!("attribute {}", quoted(attribute.name)));
        let value = self
            .bound(&attribute.value)
            .map_err(place)?
            .ok_or_else(|| place(invalid("the call of the function gives no value".into())))?;
        let tensor = self.constant_value(attribute.name, value).map_err(place)?;
        if !output.is_empty() {
            self.define_constant(output, tensor)?;
        }
        Ok(())
    }

    fn constant_value(
        &mut self,
        name: &str,
        value: &'p AttributeValue<'p>,
    ) -> Result<Tensor, OnnxError> {
        let made = match (name, value) {
            ("value", AttributeValue::Tensor(tensor)) => {
                return self.constants.tensor(tensor, &mut self.budget);
            }
            ("value_float", AttributeValue::Float(value)) => Tensor::from_slice(&[], &[*value]),
            ("value_int", AttributeValue::Int(value)) => Tensor::from_slice(&[], &[*value]),
            ("value_floats", AttributeValue::Floats(values)) => {
                self.budget.charge(size_of_val(values.as_slice()))?;
                Tensor::from_slice(&[values.len()], values)
            }
            ("value_ints", AttributeValue::Ints(values)) => {
                self.budget.charge(size_of_val(values.as_slice()))?;
                Tensor::from_slice(&[values.len()], values)
            }
            ("value_string", AttributeValue::String(text)) => {
                self.budget.charge(text.bytes.len())?;
                Tensor::from_strings(&[], vec![text.text()?.to_owned()])
            }
            ("value_strings", AttributeValue::Strings(texts)) => {
                let mut strings = Vec::new();
                for text in texts {
                    self.budget.charge(text.bytes.len() + size_of::<String>())?;
                    strings.push(text.text()?.to_owned());
                }
                Tensor::from_strings(&[strings.len()], strings)
            }
            (_, AttributeValue::Other(_)) => return Err(unsupported_form(value)),
            (_, value) => {
                let form = value.form().map_or("a reference", AttributeType::name);
                return Err(OnnxError::new(
                    OnnxErrorKind::InvalidAttribute,
                    format!("a Constant has no attribute {} of type {form}", quoted(name)),
                )
                .help("a Constant has exactly one of value, value_float(s), value_int(s), value_string(s)"));
            }
        };
        made.map_err(super::constants::tensor_error)
    }

    /// Notes an operator that Unisono does not have, and goes on so that all of them are found.
    fn unsupported_node(
        &mut self,
        node: &'p proto::Node<'p>,
        index: usize,
        opset: i64,
    ) -> Result<(), OnnxError> {
        let domain = domain(node.domain);
        let label = |this: &Self| {
            format!(
                "{}.{}",
                this.path(),
                node_label(index, node.name, node.op_type, Some(opset))
            )
        };
        if self.unsupported.count(domain, node.op_type, opset) {
            let place = label(self);
            self.unsupported.note(domain, node.op_type, opset, place);
        }
        for attribute in &node.attributes {
            if let AttributeValue::Graph(body) = &attribute.value {
                let path = format!("{}.attribute {}", label(self), quoted(attribute.name));
                self.unsupported_body(body, &path)?;
            }
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            self.define(name)?;
        }
        Ok(())
    }

    /// Notes the operators within a body that cannot be lowered because its node cannot.
    fn unsupported_body(
        &mut self,
        body: &'p proto::Graph<'p>,
        path: &str,
    ) -> Result<(), OnnxError> {
        for (index, node) in body.nodes.iter().enumerate() {
            self.budget.node()?;
            let domain = domain(node.domain);
            let known = self.functions.find(node).is_some()
                || (domain.is_empty() && node.op_type == "Constant");
            let opset = self.scope.imports.get(domain);
            let label = || {
                format!(
                    "{path}.{}",
                    node_label(index, node.name, node.op_type, opset)
                )
            };
            let version = opset.unwrap_or(0);
            if !known
                && ops::lookup(domain, node.op_type, version).is_none()
                && self.unsupported.count(domain, node.op_type, version)
            {
                self.unsupported
                    .note(domain, node.op_type, version, label());
            }
            for attribute in &node.attributes {
                if let AttributeValue::Graph(inner) = &attribute.value {
                    let path = format!("{}.attribute {}", label(), quoted(attribute.name));
                    self.unsupported_body(inner, &path)?;
                }
            }
        }
        Ok(())
    }
}

fn unsupported_form(value: &AttributeValue<'_>) -> OnnxError {
    let form = value.form().map_or("reference", AttributeType::name);
    OnnxError::new(
        OnnxErrorKind::UnsupportedType,
        format!("attributes of type {form} are not supported"),
    )
    .help("export the model for a newer opset, or without this attribute")
}

fn build_error(error: BuildError) -> OnnxError {
    let what = printable(&error.to_string());
    match error {
        BuildError::Operator { error, .. } => match error.attribute {
            Some(name) => OnnxError::new(OnnxErrorKind::InvalidAttribute, what)
                .within(format!("attribute {}", quoted(&name))),
            None => OnnxError::new(OnnxErrorKind::InvalidNode, what),
        }
        .help("the exporter wrote a node that its operator does not allow; export the model again"),
        BuildError::UnknownAttributes { .. } => OnnxError::new(
            OnnxErrorKind::InvalidAttribute,
            what,
        )
        .help("an attribute that is ignored would give wrong answers; export the model without it"),
        BuildError::InputCount { .. } | BuildError::OutputCount { .. } => OnnxError::new(
            OnnxErrorKind::InvalidNode,
            what,
        )
        .help("the exporter wrote a node that its operator does not allow; export the model again"),
        _ => OnnxError::new(OnnxErrorKind::UnsupportedOperator, what).help(format!(
            "use another operator of {} when exporting",
            domain_name("")
        )),
    }
}
