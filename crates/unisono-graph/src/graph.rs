//! The graph itself: values, and nodes that make values out of values.
//!
//! The one idea: static single assignment. A value is a graph input, a constant, or one output of one node, and nodes
//! stand in an order in which every node comes after the nodes that make its inputs. There is no reference from a
//! subgraph to the outside; see [`crate::attribute::Subgraph`].

use crate::{Dim, Operator};
use std::fmt;
use std::sync::Arc;
use unisono_tensor::{DType, Tensor};

/// Names a value of one [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValueId(u32);

/// Names a node of one [`Graph`]: its position in the order of execution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(u32);

impl ValueId {
    /// Position in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Element type and shape of a value, as far as known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The lengths of the axes; `None` if not even the rank is known.
    pub shape: Option<Vec<Dim>>,
}

/// One value.
#[derive(Clone, Debug)]
pub struct Value {
    /// The model's name for it; unique in the graph, empty for values that a rewrite made.
    pub name: String,
    /// What the model declares. Trusted for graph inputs only: exporters declare wrong output shapes.
    pub declared: Option<TensorType>,
    /// Its contents, if it is a constant.
    pub constant: Option<Tensor>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// The model's name for it, or one made up; the path of enclosing nodes and functions, joined by `/`.
    pub name: String,
    /// What it does.
    pub op: Arc<dyn Operator>,
    /// What it reads; `None` for an optional input that is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes; `None` for an optional output that nobody wants.
    pub outputs: Vec<Option<ValueId>>,
}

/// A model's graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    name: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

/// A graph that breaks one of its own rules. Reached only by building one wrongly in code or from a hostile file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError(pub String);

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GraphError {}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph {
            name: name.into(),
            ..Graph::default()
        }
    }

    /// The model's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// All nodes, each after those that make its inputs.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes with their ids.
    pub fn nodes_with_ids(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(i, n)| (NodeId(i as u32), n))
    }

    /// The ids of all values.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// What the graph is given, in the model's order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// What it gives back, in the model's order. One value may be several outputs, and an input or a constant may be
    /// an output.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// One value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// One value, to be changed.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.index()]
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The contents of a constant value.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id).constant.as_ref()
    }

    /// Adds a value that nothing makes yet.
    pub fn add_value(&mut self, name: impl Into<String>, declared: Option<TensorType>) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(Value {
            name: name.into(),
            declared,
            constant: None,
        });
        id
    }

    /// Adds an input with its declared type.
    pub fn add_input(&mut self, name: impl Into<String>, declared: TensorType) -> ValueId {
        let id = self.add_value(name, Some(declared));
        self.inputs.push(id);
        id
    }

    /// Makes an existing value an input.
    pub fn push_input(&mut self, id: ValueId) {
        self.inputs.push(id);
    }

    /// Replaces all inputs: for rewrites of bodies, whose inputs may become constants.
    pub fn set_inputs(&mut self, inputs: Vec<ValueId>) {
        self.inputs = inputs;
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let declared = TensorType {
            dtype: tensor.dtype(),
            shape: Some(tensor.shape().iter().map(|&n| Dim::from(n)).collect()),
        };
        let id = self.add_value(name, Some(declared));
        self.values[id.index()].constant = Some(tensor);
        id
    }

    /// Appends a node. Its inputs must exist; [`Graph::check`] finds the rest.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Arc<dyn Operator>,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Option<ValueId>>,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node {
            name: name.into(),
            op,
            inputs,
            outputs,
        });
        id
    }

    /// Appends a node with `count` new unnamed outputs and gives those.
    pub fn append(
        &mut self,
        name: impl Into<String>,
        op: Arc<dyn Operator>,
        inputs: &[ValueId],
        count: usize,
    ) -> Vec<ValueId> {
        let outputs: Vec<ValueId> = (0..count).map(|_| self.add_value("", None)).collect();
        self.add_node(
            name,
            op,
            inputs.iter().map(|&i| Some(i)).collect(),
            outputs.iter().map(|&o| Some(o)).collect(),
        );
        outputs
    }

    /// Declares the outputs.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// Replaces all nodes: for rewrites, which then call [`Graph::check`] in their tests.
    pub fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.nodes = nodes;
    }

    /// Takes the nodes out, to be put back with [`Graph::set_nodes`].
    pub fn take_nodes(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.nodes)
    }

    /// The node that makes each value, and at which of its outputs.
    pub fn producers(&self) -> Vec<Option<(NodeId, usize)>> {
        let mut made = vec![None; self.values.len()];
        for (id, node) in self.nodes_with_ids() {
            for (i, output) in node.outputs.iter().enumerate() {
                if let Some(slot) = output.and_then(|o| made.get_mut(o.index())) {
                    *slot = Some((id, i));
                }
            }
        }
        made
    }

    /// The nodes that read each value (one entry per reading input), not counting graph outputs.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut read = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes_with_ids() {
            for input in node.inputs.iter().flatten() {
                if let Some(slot) = read.get_mut(input.index()) {
                    slot.push(id);
                }
            }
        }
        read
    }

    /// Checks the rules of this type: ids exist, one maker per value, makers before readers, outputs made.
    pub fn check(&self) -> Result<(), GraphError> {
        let mut ready = vec![false; self.values.len()];
        for (i, v) in self.values.iter().enumerate() {
            ready[i] = v.constant.is_some();
        }
        for &input in &self.inputs {
            match ready.get_mut(input.index()) {
                Some(r) if !*r => *r = true,
                Some(_) => return Err(GraphError(format!("input {input:?} is made twice"))),
                None => return Err(GraphError(format!("input {input:?} does not exist"))),
            }
        }
        for node in &self.nodes {
            for input in node.inputs.iter().flatten() {
                if ready.get(input.index()) != Some(&true) {
                    return Err(GraphError(format!(
                        "node \"{}\" reads {input:?} before it is made",
                        node.name
                    )));
                }
            }
            for output in node.outputs.iter().flatten() {
                match ready.get_mut(output.index()) {
                    Some(r) if !*r => *r = true,
                    _ => {
                        return Err(GraphError(format!(
                            "node \"{}\" makes {output:?}, which is made already or does not exist",
                            node.name
                        )));
                    }
                }
            }
        }
        for &output in &self.outputs {
            if ready.get(output.index()) != Some(&true) {
                return Err(GraphError(format!("output {output:?} is never made")));
            }
        }
        Ok(())
    }
}
