//! Model-local functions, inlined where they are called.
//!
//! A call gives the function's body a scope of its own: its inputs stand for the caller's values, its attribute
//! references for the call's attributes or their defaults. Nodes go straight into the caller's graph, under names that
//! begin with the call's, so nothing that runs a graph needs to know of functions.

use super::Lowerer;
use super::opsets::{Imports, domain, domain_name};
use super::scope::{CallAttributes, Opened, Scope, Site};
use crate::error::{Located, OnnxError, OnnxErrorKind, quoted};
use crate::proto::{AttributeValue, Function, Node};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use unisono_graph::ops::{self, NodeSpec};
use unisono_graph::{Attributes, ValueId};

/// A function with what each of its calls looks up.
pub(super) struct Definition<'p> {
    proto: &'p Function<'p>,
    imports: Rc<Imports<'p>>,
    inputs: HashSet<&'p str>,
    /// Attributes without a default.
    attributes: HashSet<&'p str>,
    defaults: CallAttributes<'p>,
}

impl Definition<'_> {
    pub(super) fn has_attribute(&self, name: &str) -> bool {
        self.attributes.contains(name) || self.defaults.contains_key(name)
    }
}

/// The functions that a model defines, by domain, name and overload.
pub(super) struct Functions<'p>(HashMap<(&'p str, &'p str, &'p str), Rc<Definition<'p>>>);

/// A function for people.
pub(super) fn function_name(function: &Function<'_>) -> String {
    let mut name = format!("{}.{}", domain_name(domain(function.domain)), function.name);
    if !function.overload.is_empty() {
        name.push(':');
        name.push_str(function.overload);
    }
    quoted(&name)
}

fn invalid(what: String) -> OnnxError {
    OnnxError::new(OnnxErrorKind::InvalidFunction, what)
        .help("export the model again, or inline its functions with `onnx.inliner` to see which one is wrong")
}

fn duplicate(what: String) -> OnnxError {
    OnnxError::new(OnnxErrorKind::DuplicateName, what)
        .help("export the model again with a current exporter")
}

impl<'p> Functions<'p> {
    /// Reads the definitions; domains that a function does not import are those of the model.
    pub(super) fn new(
        functions: &'p [Function<'p>],
        imports: &Imports<'p>,
    ) -> Result<Self, OnnxError> {
        let mut map = HashMap::new();
        for (index, function) in functions.iter().enumerate() {
            let place = |error: OnnxError| error.within_item("functions", index);
            if function.name.is_empty() {
                return Err(place(invalid("the function has no name".into())));
            }
            let definition = Definition::new(function, imports).map_err(place)?;
            let key = (domain(function.domain), function.name, function.overload);
            if map.insert(key, Rc::new(definition)).is_some() {
                return Err(place(duplicate(format!(
                    "the function {} is defined twice",
                    function_name(function)
                ))));
            }
        }
        Ok(Self(map))
    }

    /// The function that a node calls, if it calls one. A function hides an operator of the same name.
    pub(super) fn find(&self, node: &Node<'_>) -> Option<Rc<Definition<'p>>> {
        if self.0.is_empty() {
            return None;
        }
        self.0
            .get(&(domain(node.domain), node.op_type, node.overload))
            .cloned()
    }
}

impl<'p> Definition<'p> {
    fn new(function: &'p Function<'p>, imports: &Imports<'p>) -> Result<Self, OnnxError> {
        let mut inputs = HashSet::new();
        for name in &function.inputs {
            if !inputs.insert(*name) {
                return Err(duplicate(format!(
                    "two inputs of {} are called {}",
                    function_name(function),
                    quoted(name)
                )));
            }
        }
        let mut outputs = HashSet::new();
        for name in &function.outputs {
            if !outputs.insert(*name) {
                return Err(duplicate(format!(
                    "two outputs of {} are called {}",
                    function_name(function),
                    quoted(name)
                )));
            }
        }
        let mut defaults = CallAttributes::new();
        for default in &function.attribute_defaults {
            if matches!(default.value, AttributeValue::Reference(..)) {
                return Err(invalid(format!(
                    "the default of the attribute {} of {} is a reference",
                    quoted(default.name),
                    function_name(function)
                )));
            }
            if defaults.insert(default.name, &default.value).is_some() {
                return Err(duplicate(format!(
                    "two attributes of {} are called {}",
                    function_name(function),
                    quoted(default.name)
                )));
            }
        }
        Ok(Self {
            proto: function,
            imports: Rc::new(Imports::new(&function.opset_imports)?.or(imports)),
            inputs,
            attributes: function.attributes.iter().copied().collect(),
            defaults,
        })
    }
}

impl<'p> Lowerer<'p> {
    /// Inlines a function at a node that calls it.
    pub(super) fn call(
        &mut self,
        definition: Rc<Definition<'p>>,
        node: &'p Node<'p>,
        index: usize,
        inputs: &[Option<ValueId>],
    ) -> Result<(), OnnxError> {
        let function = definition.proto;
        self.check_call(function, node)?;
        let names = function.inputs.len() + function.outputs.len() + definition.defaults.len();
        let prefix = self.node_name(node, index);
        self.budget.charge(names * 32 + prefix.len())?;
        let mut scope = Scope::model(definition.imports.clone());
        scope.building = self.scope.building;
        scope.attributes = Rc::new(self.call_attributes(&definition, node)?);
        scope.prefix = prefix;
        scope.is_function = true;
        scope.site = Some(Site {
            node,
            index,
            opened: Opened::Function(function),
        });
        for (position, name) in function.inputs.iter().enumerate() {
            scope
                .values
                .insert(name, inputs.get(position).copied().flatten());
        }
        for (formal, actual) in function.outputs.iter().zip(&node.outputs) {
            if !actual.is_empty() {
                scope.claims.insert(formal, self.target(actual)?);
            }
        }
        let mut made = Vec::new();
        self.calls.push(definition.clone());
        let result = self.scoped(scope, |this| {
            this.nodes(&function.nodes, &definition.inputs)?;
            for (formal, actual) in function.outputs.iter().zip(&node.outputs) {
                if !actual.is_empty() {
                    made.push((*actual, this.function_output(&definition, formal)?));
                }
            }
            Ok(())
        });
        self.calls.pop();
        result.within(&format!("function {}", function_name(function)))?;
        for (actual, value) in made {
            self.scope.values.insert(actual, Some(value));
        }
        Ok(())
    }

    fn check_call(&self, function: &'p Function<'p>, node: &Node<'_>) -> Result<(), OnnxError> {
        let running = self
            .calls
            .iter()
            .position(|outer| std::ptr::eq(outer.proto, function));
        if let Some(start) = running {
            let mut names: Vec<String> = self
                .calls
                .iter()
                .skip(start)
                .map(|f| function_name(f.proto))
                .collect();
            names.push(function_name(function));
            return Err(OnnxError::new(
                OnnxErrorKind::InvalidFunction,
                format!("the function calls itself: {}", names.join(" -> ")),
            )
            .help(
                "ONNX functions must not be recursive; loops are written with the Loop operator",
            ));
        }
        if node.inputs.len() > function.inputs.len() || node.outputs.len() > function.outputs.len()
        {
            return Err(OnnxError::new(
                OnnxErrorKind::InvalidNode,
                format!(
                    "the function {} has {} inputs and {} outputs, but is called with {} and {}",
                    function_name(function),
                    function.inputs.len(),
                    function.outputs.len(),
                    node.inputs.len(),
                    node.outputs.len()
                ),
            )
            .help("the call and the function do not fit together; export the model again"));
        }
        Ok(())
    }

    /// The attributes that the body's references stand for: those of the call, else the defaults.
    fn call_attributes(
        &self,
        definition: &Definition<'p>,
        node: &'p Node<'p>,
    ) -> Result<CallAttributes<'p>, OnnxError> {
        let mut attributes = definition.defaults.clone();
        let mut given = HashSet::new();
        for attribute in &node.attributes {
            let place =
                |error: OnnxError| error.within(format!("attribute {}", quoted(attribute.name)));
            if !definition.has_attribute(attribute.name) {
                return Err(place(
                    OnnxError::new(
                        OnnxErrorKind::InvalidAttribute,
                        format!("the function {} has no such attribute", function_name(definition.proto)),
                    )
                    .help("an attribute that is ignored would give wrong answers; export the model without it"),
                ));
            }
            if !given.insert(attribute.name) {
                return Err(place(duplicate(
                    "the node has two attributes of this name".into(),
                )));
            }
            if let Some(value) = self.bound(&attribute.value).map_err(place)? {
                attributes.insert(attribute.name, value);
            }
        }
        Ok(attributes)
    }

    /// The value of a function's output under the name that the caller wants.
    fn function_output(
        &mut self,
        definition: &Definition<'p>,
        formal: &'p str,
    ) -> Result<ValueId, OnnxError> {
        let value = self.resolve(formal)?.flatten().ok_or_else(|| {
            OnnxError::new(
                OnnxErrorKind::UndefinedValue,
                format!(
                    "no node of the function makes its output {}",
                    quoted(formal)
                ),
            )
            .help("the function is incomplete; export the model again")
        })?;
        if !definition.inputs.contains(formal) {
            return Ok(value);
        }
        // An input that is handed through needs a value of its own, under the caller's name.
        let mut spec = NodeSpec {
            attributes: &mut Attributes::new(),
            opset: *super::OPSETS.end(),
            inputs: &[true],
            output_count: 1,
        };
        let identity = ops::build("", "Identity", &mut spec)
            .map_err(|error| invalid(format!("an input is also an output, and {error}")))?;
        let (name, declared) = self.target(formal)?;
        let node_name = format!("{}/Identity", self.scope.prefix);
        let graph = &mut self.building.graph;
        let output = graph.add_value(name, declared);
        graph.add_node(node_name, identity, vec![Some(value)], vec![Some(output)]);
        Ok(output)
    }
}
