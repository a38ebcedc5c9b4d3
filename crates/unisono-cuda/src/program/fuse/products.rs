//! Products of one left-hand side with constants of one shape, such as the projections to queries, keys and values.

use std::sync::Arc;

use unisono_cpu::fuse::{Groups, Wanted};
use unisono_graph::ValueId;
use unisono_graph::ops::linear::Linear;

use crate::kernels::gemm::SIBLINGS;
use crate::lower::linear::Products;

/// How many readers of the left-hand side are looked at behind a product, so that looking takes time in proportion to the graph.
const NEIGHBOURS: usize = 16;

/// The group that begins with the product with this number: it runs then, since all that its nodes read is there.
pub(super) fn wanted(groups: &Groups<'_>, index: usize) -> Option<Wanted> {
    let op = groups.op::<Linear>(index)?;
    let a = groups.input(index, 0)?;
    let first = Weights::of(groups, index)?;
    let is_alike = |other: &Linear| {
        let gemm = op.gemm;
        Linear { gemm, ..*other } == *op
    };
    let mut nodes = vec![index];
    let (mut inputs, mut outputs) = (vec![Some(a), Some(first.b), first.c], Vec::new());
    outputs.push(Some(groups.output(index)?));
    let readers = groups.readers_of(a);
    let behind = readers.partition_point(|&reader| reader <= index);
    for &node in readers.iter().skip(behind).take(NEIGHBOURS) {
        let Some(other) = groups.op::<Linear>(node) else {
            continue;
        };
        let weights = Weights::of(groups, node);
        let weights = weights.filter(|weights| weights.are_as_long_as(groups, &first));
        let (Some(weights), Some(y)) = (weights, groups.output(node)) else {
            continue;
        };
        let reads_it = groups.input(node, 0) == Some(a);
        if reads_it && is_alike(other) && nodes.len() <= SIBLINGS {
            nodes.push(node);
            inputs.extend([Some(weights.b), weights.c]);
            outputs.push(Some(y));
        }
    }
    let (product, count) = (*op, nodes.len());
    Some(Wanted {
        nodes,
        turn: index,
        op: Arc::new(Products { product, count }),
        inputs,
        outputs,
    })
}

/// The constants of a product.
struct Weights {
    b: ValueId,
    c: Option<ValueId>,
}

impl Weights {
    fn of(groups: &Groups<'_>, node: usize) -> Option<Weights> {
        let (b, c) = (groups.input(node, 1)?, groups.input(node, 2));
        let is_constant = |value: ValueId| groups.graph().constant(value).is_some();
        (is_constant(b) && c.is_none_or(is_constant)).then_some(Weights { b, c })
    }

    fn are_as_long_as(&self, groups: &Groups<'_>, other: &Weights) -> bool {
        let shape = |value: Option<ValueId>| value.map(|value| groups.floats(value));
        groups.floats(self.b).is_some()
            && shape(Some(self.b)) == shape(Some(other.b))
            && shape(self.c) == shape(other.c)
    }
}
