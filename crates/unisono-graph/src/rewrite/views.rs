//! Moves steps in front of changes of shape, to the products that can absorb them.
//!
//! Before: a product or convolution, then a reshape, then an activation, or a sum or product with a constant. After: the step on the
//! product itself, then the reshape. A constant is moved only past a change that adds or drops axes of length 1, where it is clear which
//! axis each of its own is. Pays everywhere: exporters write a one-dimensional convolution as a two-dimensional one with
//! such a change behind it, and the step would be a pass of its own. Values stay equal.

use super::edit::{self, Edit, Input};
use super::view::{View, input, is_view, operands};
use crate::ops::activation::Activate;
use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::conv::{Conv, ConvTranspose};
use crate::ops::linear::Linear;
use crate::{Dim, Graph, Node, NodeId, ValueId};
use unisono_tensor::Tensor;

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| {
        activation(view, node).or_else(|| constant(view, node))
    })
}

/// A private change of shape behind a private product: the node that changes, and the product's value.
fn changed<'g>(view: &View<'g>, value: ValueId) -> Option<(NodeId, &'g Node, ValueId)> {
    let (id, node) = view.maker(value).filter(|_| view.is_private(value))?;
    let source = input(node, 0)?;
    let (_, product) = view.maker(source).filter(|_| view.is_private(source))?;
    let absorbs =
        product.op.is::<Linear>() || product.op.is::<Conv>() || product.op.is::<ConvTranspose>();
    (is_view(&*node.op) && absorbs).then_some((id, node, source))
}

/// The change of shape behind a new step.
fn behind(view: &Node, id: NodeId) -> Edit {
    Edit {
        before: Vec::new(),
        op: view.op.clone(),
        inputs: view.inputs.iter().map(|i| i.map(Input::Value)).collect(),
        absorbed: vec![id],
    }
}

fn activation(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = *node.op.downcast_ref::<Activate>()?;
    let (id, change, source) = changed(view, input(node, 0)?)?;
    let mut edit = behind(change, id);
    let moved = edit.step(op, vec![source.into()]);
    edit.inputs[0] = Some(moved);
    Some(edit)
}

fn constant(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = *node.op.downcast_ref::<Binary>()?;
    if !matches!(op.function, BinaryFunction::Add | BinaryFunction::Mul) {
        return None;
    }
    let [a, b] = operands(node)?;
    let output = (*node.outputs.first()?)?;
    [(a, b), (b, a)].into_iter().find_map(|(value, other)| {
        let tensor = view.constant(other)?;
        let (id, change, source) = changed(view, value)?;
        let (from, to) = (view.shape(source)?, view.shape(value)?);
        if view.shape(output)? != to {
            return None;
        }
        let moved = realigned(tensor, from, to)?;
        let mut edit = behind(change, id);
        let moved = edit.step(op, vec![source.into(), moved.into()]);
        edit.inputs[0] = Some(moved);
        Some(edit)
    })
}

/// A constant that aligns with shape `to`, made to align with `from`, which has the same axes but for some of length 1.
fn realigned(tensor: &Tensor, from: &[Dim], to: &[Dim]) -> Option<Tensor> {
    let one = Dim::constant(1);
    let long =
        |shape: &[Dim]| -> Vec<usize> { (0..shape.len()).filter(|&i| shape[i] != one).collect() };
    let (own, other) = (long(from), long(to));
    let same = own.len() == other.len() && own.iter().zip(&other).all(|(&i, &j)| from[i] == to[j]);
    let offset = to.len().checked_sub(tensor.rank())?;
    if !same {
        return None;
    }
    let mut shape = vec![1; from.len()];
    for (i, &n) in tensor.shape().iter().enumerate() {
        if n == 1 {
            continue;
        }
        let at = other.iter().position(|&j| j == i + offset)?;
        shape[own[at]] = n;
    }
    tensor.reshaped(&shape).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::ops::activation::Activation;
    use crate::ops::shape::{Reshape, Squeeze};

    fn conv(b: &mut Builder) -> ValueId {
        let x = b.input("x", &["n", "2", "t", "1"]);
        let w = b.floats(&[3, 2, 1, 1], &[1.0; 6]);
        b.op(Conv::default(), &[x, w])
    }

    #[test]
    fn bias_and_activation_reach_the_convolution_past_a_squeeze() {
        let mut b = Builder::new();
        let y = conv(&mut b);
        let axes = Some(vec![3]);
        let y = b.op(Squeeze { axes }, &[y]);
        let bias = b.floats(&[3, 1], &[1.0, 2.0, 3.0]);
        let y = b.add(bias, y);
        let y = b.activate(Activation::GeluTanh, y);
        let mut g = b.finish(&[y]);
        let _ = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(kinds(&g), ["Conv", "Squeeze"]);
        assert_eq!(only::<Conv>(&g).activation, Some(Activation::GeluTanh));
        let bias = g.constant(g.nodes()[0].inputs[2].unwrap()).unwrap();
        assert_eq!(bias.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(output_names(&g), ["out_0"]);
    }

    #[test]
    fn a_constant_stays_behind_a_change_that_mixes_axes() {
        let mut b = Builder::new();
        let y = conv(&mut b);
        let target = b.ints(&[0, -1]);
        let y = b.op(Reshape { allow_zero: false }, &[y, target]);
        let scale = b.floats(&[1, 1], &[2.0]);
        let y = b.mul(y, scale);
        let mut g = b.finish(&[y]);
        assert_eq!(apply(&mut g), 0);
    }

    #[test]
    fn what_is_read_twice_or_has_no_product_behind_it_stays() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "1"]);
        let axes = Some(vec![1]);
        let plain = b.op(Squeeze { axes }, &[x]);
        let p = b.relu(plain);
        let y = conv(&mut b);
        let axes = Some(vec![3]);
        let y = b.op(Squeeze { axes }, &[y]);
        let q = b.relu(y);
        let mut g = b.finish(&[p, q, y]);
        assert_eq!(apply(&mut g), 0);
    }

    #[test]
    fn constants_are_realigned_by_their_long_axes() {
        type Row = (
            &'static [usize],
            &'static [&'static str],
            &'static [&'static str],
            Option<&'static [usize]>,
        );
        let rows: &[Row] = &[
            (
                &[3, 1],
                &["n", "3", "t", "1"],
                &["n", "3", "t"],
                Some(&[1, 3, 1, 1]),
            ),
            (&[5], &["n", "1", "5"], &["n", "5"], Some(&[1, 1, 5])),
            (&[1], &["n", "5"], &["n", "5", "1"], Some(&[1, 1])),
            (&[5], &["n", "5"], &["n", "5", "1"], None),
            (&[5], &["5", "n"], &["n", "5"], None),
        ];
        let mut failures = Vec::new();
        for (tensor, from, to, expected) in rows {
            let tensor = Tensor::zeros(unisono_tensor::DType::F32, tensor).unwrap();
            let found = realigned(&tensor, &dims(from), &dims(to));
            let found = found.as_ref().map(|t| t.shape());
            if found != *expected {
                failures.push(format!("{:?}: {from:?} {to:?}: {found:?}", tensor.shape()));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}
