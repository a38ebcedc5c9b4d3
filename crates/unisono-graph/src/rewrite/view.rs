//! What a pattern may ask of a graph.
//!
//! The one idea: a pattern is matched from its last node backwards. Every step that it would absorb must be read by the
//! pattern alone and be no output of the model; the questions here answer with `None` otherwise.

use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::shape::{Flatten, Reshape, Squeeze, Unsqueeze};
use crate::{Dim, Fact, Graph, Node, NodeId, Operator, ValueId, infer};
use unisono_tensor::{DType, Tensor};

/// A graph with what a matcher needs to know of it. It holds for the graph at one moment.
pub struct View<'g> {
    graph: &'g Graph,
    producers: Vec<Option<(NodeId, usize)>>,
    /// How many inputs of nodes read each value; an output of the model counts as many.
    uses: Vec<usize>,
    facts: Vec<Option<Fact>>,
}

impl<'g> View<'g> {
    /// Looks at a graph.
    pub fn new(graph: &'g Graph) -> View<'g> {
        let mut uses: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
        for output in graph.outputs() {
            if let Some(n) = uses.get_mut(output.index()) {
                *n = usize::MAX;
            }
        }
        View {
            graph,
            producers: graph.producers(),
            uses,
            facts: facts(graph),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// What is known of a value; `None` if nothing is.
    pub fn fact(&self, value: ValueId) -> Option<&Fact> {
        self.facts.get(value.index())?.as_ref()
    }

    /// The shape of a value, if its rank is known.
    pub fn shape(&self, value: ValueId) -> Option<&[Dim]> {
        self.fact(value)?.shape.as_deref()
    }

    /// Is it read by one input of one node and no output of the model?
    pub fn is_private(&self, value: ValueId) -> bool {
        self.uses.get(value.index()) == Some(&1)
    }

    /// How many inputs of nodes read the value; `usize::MAX` for an output of the model.
    pub fn uses(&self, value: ValueId) -> usize {
        self.uses.get(value.index()).copied().unwrap_or(0)
    }

    /// The node that makes a value.
    pub fn maker(&self, value: ValueId) -> Option<(NodeId, &'g Node)> {
        let (id, _) = (*self.producers.get(value.index())?)?;
        Some((id, self.graph.node(id)))
    }

    /// The node that makes a value as its only wanted output, with its operator, if that is a `T`.
    pub fn made_by<T: Operator>(&self, value: ValueId) -> Option<(NodeId, &'g Node, &'g T)> {
        let (id, node) = self.maker(value)?;
        let op = node.op.downcast_ref::<T>()?;
        let others = node.outputs.iter().flatten().count();
        (others == 1).then_some((id, node, op))
    }

    /// [`View::made_by`] for a value that nothing else reads.
    pub fn private<T: Operator>(&self, value: ValueId) -> Option<(NodeId, &'g Node, &'g T)> {
        if !self.is_private(value) {
            return None;
        }
        self.made_by(value)
    }

    /// The operands of a private value that a function of two makes.
    pub fn private_binary(
        &self,
        value: ValueId,
        function: BinaryFunction,
    ) -> Option<(NodeId, [ValueId; 2])> {
        let (id, node, op) = self.private::<Binary>(value)?;
        if op.function != function {
            return None;
        }
        Some((id, operands(node)?))
    }

    /// The contents of a constant.
    pub fn constant(&self, value: ValueId) -> Option<&'g Tensor> {
        self.graph.constant(value)
    }

    /// The number in a float constant of one element. Its rank may be larger than that of what it is combined with: compare
    /// shapes.
    pub fn number(&self, value: ValueId) -> Option<f64> {
        let tensor = self.constant(value)?;
        if tensor.len() != 1 {
            return None;
        }
        tensor.to_f64s()?.first().copied()
    }

    /// The value in front of steps that only change the shape, as long as nothing else reads what is between. Adds these
    /// steps to `absorbed`.
    pub fn behind_views(&self, mut value: ValueId, absorbed: &mut Vec<NodeId>) -> ValueId {
        while self.is_private(value)
            && let Some((id, node)) = self.maker(value)
            && is_view(&*node.op)
            && let Some(source) = input(node, 0)
        {
            absorbed.push(id);
            value = source;
        }
        value
    }

    /// Is the value a float constant of one element, as near to this number as its type allows?
    pub fn is_number(&self, value: ValueId, number: f64) -> bool {
        self.number(value)
            .is_some_and(|n| self.tolerance(value).near(n, number))
    }

    /// How exactly constants of the value's type say what an exporter meant.
    pub fn tolerance(&self, value: ValueId) -> Tolerance {
        Tolerance(match self.fact(value).map(|f| f.dtype) {
            Some(DType::F16) => 1e-3,
            Some(DType::BF16) => 8e-3,
            _ => 1e-6,
        })
    }
}

/// A relative difference that counts as none.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance(f64);

impl Tolerance {
    /// Equal within the tolerance?
    pub fn near(self, a: f64, b: f64) -> bool {
        (a - b).abs() <= self.0 * b.abs()
    }
}

/// Equal up to a part in a million.
pub fn near(a: f64, b: f64) -> bool {
    Tolerance(1e-6).near(a, b)
}

/// Does the operator change the shape and nothing else?
pub fn is_view(op: &dyn Operator) -> bool {
    op.is::<Reshape>() || op.is::<Flatten>() || op.is::<Squeeze>() || op.is::<Unsqueeze>()
}

/// The two inputs of a node.
pub fn operands(node: &Node) -> Option<[ValueId; 2]> {
    match node.inputs.as_slice() {
        [Some(a), Some(b)] => Some([*a, *b]),
        _ => None,
    }
}

/// The first input of a node.
pub fn input(node: &Node, index: usize) -> Option<ValueId> {
    *node.inputs.get(index)?
}

/// What is known of every value. Of the outputs of a node that is wrong nothing is; whoever needs an error infers on
/// their own.
fn facts(graph: &Graph) -> Vec<Option<Fact>> {
    let mut facts: Vec<Option<Fact>> = graph
        .values()
        .iter()
        .map(|v| v.constant.as_ref().map(Fact::constant))
        .collect();
    for (input, fact) in graph.inputs().iter().zip(infer::declared_inputs(graph)) {
        facts[input.index()] = fact;
    }
    let mut given = Vec::new();
    for node in graph.nodes() {
        given.clear();
        given.extend(
            node.inputs
                .iter()
                .map(|id| id.and_then(|id| facts[id.index()].clone())),
        );
        let Ok(outputs) = infer::infer_node(node, &given) else {
            continue;
        };
        for (id, fact) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                facts[id.index()] = fact;
            }
        }
    }
    facts
}
