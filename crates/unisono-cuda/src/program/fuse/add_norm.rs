//! A sum, and the normalisation behind it. Others may read the sum: it is then written on the way.

use std::sync::Arc;

use unisono_cpu::fuse::{Groups, Wanted};
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::common::resolve_axis;
use unisono_graph::ops::normalize::{LayerNormalization, RmsNormalization};

use crate::lower::add_norm::{AddNorm, Norm, summand_rows};

/// The group of the normalisation with this number.
pub(super) fn wanted(groups: &Groups<'_>, index: usize) -> Option<Wanted> {
    let norm = match groups.op::<LayerNormalization>(index) {
        Some(norm) => Norm::Layer(*norm),
        None => Norm::Rms(*groups.op::<RmsNormalization>(index)?),
    };
    let axis = match norm {
        Norm::Layer(norm) => norm.axis,
        Norm::Rms(norm) => norm.axis,
    };
    let (sum, y) = (groups.input(index, 0)?, groups.output(index)?);
    let (add, op) = groups.made_by::<Binary>(sum)?;
    let shape = groups.floats(sum)?;
    let n = shape[resolve_axis(axis, shape.len()).ok()?..]
        .iter()
        .product();
    let (a, b) = (groups.input(add, 0)?, groups.input(add, 1)?);
    let (of_a, of_b) = (groups.floats(a)?, groups.floats(b)?);
    // The order of two summands is none: the one that is as the sum comes first.
    let (a, b, other) = match of_a == shape {
        true => (a, b, of_b),
        false if of_b == shape => (b, a, of_a),
        false => return None,
    };
    if op.function != BinaryFunction::Add || summand_rows(shape, other, n).is_none() {
        return None;
    }
    let is_wanted = groups.has_other_readers(sum, index);
    let parameters = [groups.input(index, 1), groups.input(index, 2)];
    Some(Wanted {
        nodes: vec![add, index],
        turn: index,
        op: Arc::new(AddNorm { norm }),
        inputs: [&[Some(a), Some(b)], &parameters[..]].concat(),
        outputs: vec![Some(y), is_wanted.then_some(sum)],
    })
}
