//! Removes what no output needs.
//!
//! Before: a node none of whose outputs reaches an output of the graph, or an output of a node that nobody reads. After:
//! nothing, or a node with that output left out. Pays everywhere: what is not there costs nothing. Values stay equal.
//!
//! Inputs of the model stay, needed or not: callers give them. Contents of constants that nobody reads are let go, so that
//! weights which a rewrite has replaced do not occupy memory.

use crate::Graph;

/// Applies the rewrite everywhere; gives the number of removed nodes.
pub fn apply(graph: &mut Graph) -> usize {
    kept(graph).iter().filter(|kept| !**kept).count()
}

/// Applies the rewrite everywhere; says of each node that there was whether it is still there.
pub(super) fn kept(graph: &mut Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.values().len()];
    for output in graph.outputs() {
        needed[output.index()] = true;
    }
    let mut nodes = graph.take_nodes();
    let mut keep = vec![true; nodes.len()];
    for (i, node) in nodes.iter_mut().enumerate().rev() {
        for slot in &mut node.outputs {
            if slot.is_some_and(|id| !needed[id.index()]) {
                *slot = None;
            }
        }
        // A step may be kept for what it does besides its outputs only if it has outputs: there are no such operators.
        keep[i] = node.outputs.iter().any(Option::is_some);
        if keep[i] {
            for input in node.inputs.iter().flatten() {
                needed[input.index()] = true;
            }
        }
    }
    let mut flags = keep.iter();
    nodes.retain(|_| flags.next() == Some(&true));
    graph.set_nodes(nodes);
    for id in graph.value_ids() {
        if !needed[id.index()] && graph.constant(id).is_some() {
            graph.value_mut(id).constant = None;
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::apply;

    #[test]
    fn what_reaches_no_output_goes_and_its_constants_with_it() {
        let mut b = Builder::new();
        let x = b.input("x", &["n", "4"]);
        let weight = b.floats(&[4], &[1.0; 4]);
        let other = b.floats(&[4], &[2.0; 4]);
        let used = b.add(x, weight);
        let unused = b.mul(used, other);
        b.relu(unused);
        let mut g = b.finish(&[used]);
        assert_eq!(apply(&mut g), 2);
        assert_eq!(kinds(&g), ["Add"]);
        assert!(g.constant(weight).is_some());
        assert!(g.constant(other).is_none());
    }

    #[test]
    fn inputs_stay_although_nobody_reads_them() {
        let mut b = Builder::new();
        let x = b.input("x", &["n"]);
        b.input("unused", &["n"]);
        let y = b.relu(x);
        let mut g = b.finish(&[y]);
        assert_eq!(apply(&mut g), 0);
        assert_eq!(g.inputs().len(), 2);
    }
}
