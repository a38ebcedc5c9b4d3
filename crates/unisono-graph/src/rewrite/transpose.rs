//! Joins transposes, and lets products read their operands transposed.
//!
//! | before | after |
//! | --- | --- |
//! | a transpose of a transpose | one, or none if they cancel |
//! | a product with an operand whose last two axes were swapped | a product that reads it swapped |
//!
//! Pays everywhere: a transpose is a pass over memory with bad locality, and a product packs its operands anyway. Values
//! stay equal: the sums run over the same products in the same order. (A transposed constant needs no rewrite: it is folded.)

use super::edit::{self, Edit, Input};
use super::view::{View, input};
use crate::ops::linear::Linear;
use crate::ops::movement::Transpose;
use crate::{Graph, Node, NodeId, ValueId};

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| {
        joined(view, node).or_else(|| absorbed(view, node))
    })
}

/// The transpose that makes a value: its node, input and permutation.
fn transpose(view: &View<'_>, value: ValueId) -> Option<(NodeId, ValueId, Vec<usize>)> {
    let (id, node, op) = view.made_by::<Transpose>(value)?;
    let x = input(node, 0)?;
    let perm = op.permutation(view.shape(x)?.len()).ok()?;
    Some((id, x, perm))
}

/// A transpose of a transpose. The inner one may have other readers: the outer one then reads past it.
fn joined(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = node.op.downcast_ref::<Transpose>()?;
    let inner = input(node, 0)?;
    let (id, x, first) = transpose(view, inner)?;
    let second = op.permutation(first.len()).ok()?;
    let perm = second.iter().map(|&axis| first[axis]).collect();
    // What cancels is an identity, which another rewrite removes.
    let op = Transpose { perm: Some(perm) };
    Some(Edit::new(op, vec![Some(Input::Value(x))], vec![id]))
}

/// A product of which an operand's last two axes were swapped for it alone.
fn absorbed(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = node.op.downcast_ref::<Linear>()?;
    for index in 0..2 {
        let Some(operand) = input(node, index) else {
            continue;
        };
        let other_rank = view.shape(input(node, 1 - index)?)?.len();
        let Some((id, x, perm)) = transpose(view, operand) else {
            continue;
        };
        let rank = perm.len();
        let swapped = rank >= 2
            && perm[rank - 1] == rank - 2
            && perm[rank - 2] == rank - 1
            && perm[..rank - 2].iter().copied().eq(0..rank - 2);
        if !swapped || !view.is_private(operand) || other_rank < 2 {
            continue;
        }
        let mut op = *op;
        if index == 0 {
            op.transpose_a = !op.transpose_a;
        } else {
            op.transpose_b = !op.transpose_b;
        }
        let mut inputs: Vec<Option<Input>> =
            node.inputs.iter().map(|i| i.map(Input::Value)).collect();
        inputs[index] = Some(x.into());
        return Some(Edit::new(op, inputs, vec![id]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;

    fn transposed(b: &mut Builder, x: ValueId, perm: &[usize]) -> ValueId {
        let perm = Some(perm.to_vec());
        b.op(Transpose { perm }, &[x])
    }

    #[test]
    fn transposes_in_a_row_become_one_or_none() {
        for (second, left) in [
            (&[1, 2, 0][..], &["Relu", "Transpose"][..]),
            (&[1, 0, 2][..], &["Relu"][..]),
        ] {
            let mut b = Builder::new();
            let x = b.input("x", &["a", "b", "c"]);
            let x = b.relu(x);
            let y = transposed(&mut b, x, &[1, 0, 2]);
            let z = transposed(&mut b, y, second);
            let mut g = b.finish(&[z]);
            let _ = optimize(&mut g, &NoFolding);
            g.check().unwrap();
            assert_eq!(kinds(&g), left);
            assert_eq!(output_names(&g), ["out_0"]);
            if left.len() == 2 {
                // Axis 0 of the result is axis 1 of the middle, which is axis 0 of x; and so on.
                assert_eq!(only::<Transpose>(&g).perm, Some(vec![0, 2, 1]));
            }
        }
    }

    #[test]
    fn a_product_reads_swapped_operands_by_itself() {
        let mut b = Builder::new();
        let q = b.input("q", &["b", "t", "8"]);
        let k = b.input("k", &["b", "s", "8"]);
        let swapped = transposed(&mut b, k, &[0, 2, 1]);
        let y = b.op(Linear::default(), &[q, swapped]);
        let mut g = b.finish(&[y]);
        assert_eq!(apply(&mut g), 1);
        let op = only::<Linear>(&g);
        assert!(op.transpose_b && !op.transpose_a);
        super::super::dead::apply(&mut g);
        g.check().unwrap();
        assert_eq!(g.nodes()[0].inputs, [Some(q), Some(k)]);
    }

    #[test]
    fn other_orders_and_shared_transposes_stay() {
        let mut b = Builder::new();
        let q = b.input("q", &["b", "t", "8"]);
        let k = b.input("k", &["s", "b", "8"]);
        let moved = transposed(&mut b, k, &[1, 2, 0]);
        let y = b.op(Linear::default(), &[q, moved]);
        let shared = transposed(&mut b, q, &[0, 2, 1]);
        let z = b.op(Linear::default(), &[q, shared]);
        let mut g = b.finish(&[y, z, shared]);
        assert_eq!(apply(&mut g), 0);
    }
}
