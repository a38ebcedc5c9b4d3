//! Sums that convolutions and products with constant weights take over.
//!
//! The one idea: the last of them in a residual block makes values which are read once, to be added to the block's other branch, and
//! what stands behind the sum of a convolution is often a ReLU. Their kernel does both to its sums before it writes them, at the place in
//! the order where the last of these nodes stood: both branches have been computed there.
//!
//! It must never join what somebody else wants to see, nor change the order of the operations: every step rounds on its own, as in
//! kernels of their own.

use smallvec::smallvec;
use unisono_graph::ops::activation::Activate;
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::conv::Conv;
use unisono_graph::ops::linear::Linear;
use unisono_graph::{Node, ValueId};
use unisono_reference::arith::Unary;
use unisono_reference::eval::canonical_activation;
use unisono_runtime::Error;
use unisono_runtime::program::Fate;

use super::Builder;
use super::forms::{Form, Last};

/// Who reads and makes the values of a graph.
struct Uses {
    /// By value: the nodes that read it, once for each time.
    readers: Vec<Vec<usize>>,
    /// By value: the node that makes it.
    maker: Vec<Option<usize>>,
    /// By value: whether the caller gets it.
    is_output: Vec<bool>,
}

impl Uses {
    /// The one node that reads a value, if it does so once and nobody else gets the value.
    fn only_reader(&self, id: ValueId) -> Option<usize> {
        match (
            self.readers.get(id.index())?.as_slice(),
            self.is_output.get(id.index())?,
        ) {
            (&[reader], false) => Some(reader),
            _ => None,
        }
    }
}

/// A sum that a convolution can take over. Numbers of nodes.
struct Joint {
    conv: usize,
    sum: usize,
    /// Which of the sum's inputs the convolution does not make.
    other: usize,
    /// What follows the sum, and its function.
    activation: Option<(usize, Unary)>,
}

impl Builder<'_> {
    /// Makes one step of every convolution and the sum behind it that can be one.
    pub(super) fn join_sums(&self, forms: &mut [Form]) {
        let uses = self.uses();
        for sum in 0..forms.len() {
            if let Some(joint) = self.joint(sum, forms, &uses) {
                joint.join(forms);
            }
        }
    }

    /// Makes one step of every product and the sum behind it that can be one.
    ///
    /// # Errors
    /// The kernel of a product cannot be built.
    pub(super) fn join_products(&self, fates: &[Fate], forms: &mut [Form]) -> Result<(), Error> {
        let uses = self.uses();
        for sum in 0..forms.len() {
            if let Some((product, joint)) = self.product(sum, fates, forms, &uses)? {
                forms[product] = Form::Nothing;
                forms[sum] = Form::Last(joint);
            }
        }
        Ok(())
    }

    /// The product that can take over the sum with this number, and both as one step.
    fn product(
        &self,
        sum: usize,
        fates: &[Fate],
        forms: &[Form],
        uses: &Uses,
    ) -> Result<Option<(usize, Last)>, Error> {
        let nodes = self.graph.nodes();
        let runs = |index: usize| {
            matches!(forms.get(index), Some(Form::Model)) && fates.get(index) == Some(&Fate::Static)
        };
        let Some([a, b, total]) = self.summands(sum).filter(|_| runs(sum)) else {
            return Ok(None);
        };
        let product = |id: ValueId| {
            uses.only_reader(id)?;
            let index = (*uses.maker.get(id.index())?)?;
            (runs(index) && nodes.get(index)?.op.is::<Linear>()).then_some(index)
        };
        // Of two products the later one: the other's values are there then.
        let (index, other) = match (product(a), product(b)) {
            (Some(a), Some(of_b)) if a > of_b => (a, b),
            (_, Some(of_b)) => (of_b, a),
            (Some(a), None) => (a, b),
            (None, None) => return Ok(None),
        };
        let Some(node) = nodes.get(index) else {
            return Ok(None);
        };
        let Some(kernel) = self.kernel(node, index)?.with_sum(None) else {
            return Ok(None);
        };
        let mut inputs: Vec<_> = node
            .inputs
            .iter()
            .map(|id| id.map(ValueId::index))
            .collect();
        inputs.resize(INPUTS, None);
        inputs.push(Some(other.index()));
        let joint = Last {
            nodes: smallvec![index, sum],
            kernel,
            inputs,
            outputs: vec![Some(total.index())],
        };
        Ok(Some((index, joint)))
    }

    /// The summands and the sum of a node that adds two values of one shape.
    fn summands(&self, sum: usize) -> Option<[ValueId; 3]> {
        let node = self.graph.nodes().get(sum)?;
        let op = node.op.downcast_ref::<Binary>()?;
        let (&[Some(a), Some(b)], &[Some(total)]) = (&*node.inputs, &*node.outputs) else {
            return None;
        };
        let shape = self.shape(total.index())?;
        let is_alike = |id: ValueId| self.shape(id.index()) == Some(shape);
        (op.function == BinaryFunction::Add && is_alike(a) && is_alike(b)).then_some([a, b, total])
    }

    fn uses(&self) -> Uses {
        let values = self.graph.values().len();
        let mut uses = Uses {
            readers: vec![Vec::new(); values],
            maker: vec![None; values],
            is_output: vec![false; values],
        };
        for (index, node) in self.graph.nodes().iter().enumerate() {
            for id in node.inputs.iter().flatten() {
                uses.readers[id.index()].push(index);
            }
            for id in node.outputs.iter().flatten() {
                uses.maker[id.index()] = Some(index);
            }
        }
        for id in self.graph.outputs() {
            uses.is_output[id.index()] = true;
        }
        uses
    }

    /// The node as a sum that a convolution can take over.
    fn joint(&self, sum: usize, forms: &[Form], uses: &Uses) -> Option<Joint> {
        let [a, b, total] = self.summands(sum)?;
        if !matches!(forms.get(sum), Some(Form::Last(_))) {
            return None;
        }
        // Of two convolutions the later one: the other's values are there then.
        let conv = |id: ValueId| self.free_conv(id, forms, uses);
        let (conv, other) = match (conv(a), conv(b)) {
            (Some(a), Some(b)) if a > b => (a, 1),
            (_, Some(b)) => (b, 0),
            (Some(a), None) => (a, 1),
            (None, None) => return None,
        };
        Some(Joint {
            conv,
            sum,
            other,
            activation: self.activation(total, forms, uses),
        })
    }

    /// The convolution that makes a value for one reader, and whose kernel can add something to it.
    fn free_conv(&self, id: ValueId, forms: &[Form], uses: &Uses) -> Option<usize> {
        uses.only_reader(id)?;
        let index = (*uses.maker.get(id.index())?)?;
        let Some(Form::Last(last)) = forms.get(index) else {
            return None;
        };
        let is_conv = self.graph.nodes().get(index)?.op.is::<Conv>();
        (is_conv && last.kernel.with_sum(None).is_some()).then_some(index)
    }

    /// The activation that alone reads a value.
    fn activation(&self, id: ValueId, forms: &[Form], uses: &Uses) -> Option<(usize, Unary)> {
        let index = uses.only_reader(id)?;
        let node: &Node = self.graph.nodes().get(index)?;
        let op = node.op.downcast_ref::<Activate>()?;
        let function = canonical_activation(op.function)?;
        matches!(forms.get(index), Some(Form::Last(_))).then_some((index, function))
    }
}

impl Joint {
    /// Puts the joint kernel where the last of the nodes stood.
    fn join(&self, forms: &mut [Form]) {
        let function = self.activation.map(|(_, function)| function);
        let last = self.activation.map_or(self.sum, |(index, _)| index);
        let Some(joint) = self.step(forms, function, last) else {
            return;
        };
        for index in [self.conv, self.sum] {
            forms[index] = Form::Nothing;
        }
        forms[last] = Form::Last(joint);
    }

    fn step(&self, forms: &[Form], function: Option<Unary>, last: usize) -> Option<Last> {
        let at = |index: usize| match forms.get(index) {
            Some(Form::Last(last)) => Some(last),
            _ => None,
        };
        let (conv, sum) = (at(self.conv)?, at(self.sum)?);
        let mut inputs = conv.inputs.clone();
        // Behind the bias, if there is one.
        inputs.resize(INPUTS, None);
        inputs.push(*sum.inputs.get(self.other)?);
        let mut nodes = conv.nodes.clone();
        nodes.push(self.sum);
        nodes.extend(self.activation.map(|(index, _)| index));
        Some(Last {
            nodes,
            kernel: conv.kernel.with_sum(function)?,
            inputs,
            outputs: at(last)?.outputs.clone(),
        })
    }
}

/// Inputs of a convolution or a product, the bias among them.
const INPUTS: usize = 3;
