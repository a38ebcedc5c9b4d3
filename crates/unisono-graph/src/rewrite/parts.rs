//! Computes the parts of a product each by itself instead of cutting the product apart.
//!
//! Before: `Split(Linear(x, w, bias))` along the columns of constant weights: queries, keys and values as PyTorch exports them, projected
//! together. After: a `Linear` for each part, with its columns of `w` and `bias`.
//!
//! Pays everywhere for matrices of rows: the product is written once and not copied, steps behind a part can become the part's own, and
//! a device that computes products of one left-hand side together still does. A single row for each request (rank 2: the gates of
//! a recurrent cell) stays as it is: several small products cost more than a copy of one row. Values are equal, because a column
//! of a product does not know which columns stand beside it.

use super::view::{View, input};
use crate::ops::linear::Linear;
use crate::ops::movement::Split;
use crate::{Graph, Node, NodeId, ValueId};
use std::ops::Range;
use std::sync::Arc;
use unisono_tensor::Tensor;

/// More parts than this stay one product.
const MOST: usize = 4;
/// A product of fewer columns for a part would not fill a device's registers.
const LEAST_COLUMNS: usize = 32;

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    let found: Vec<(NodeId, Divided)> = {
        let view = View::new(graph);
        let nodes = graph.nodes_with_ids();
        let found = nodes.filter_map(|(id, node)| Some((id, divided(&view, node)?)));
        found.collect()
    };
    let count = found.len();
    if count == 0 {
        return 0;
    }
    let old = graph.take_nodes();
    let mut nodes = Vec::with_capacity(old.len() + count * MOST);
    let mut found = found.into_iter().peekable();
    for (i, node) in old.into_iter().enumerate() {
        match found.next_if(|(id, _)| id.index() == i) {
            None => nodes.push(node),
            Some((_, divided)) => divided.put_into(graph, &node.name, &mut nodes),
        }
    }
    graph.set_nodes(nodes);
    count
}

/// Products that stand for one.
struct Divided {
    op: Linear,
    x: ValueId,
    parts: Vec<Part>,
}

/// One of them.
struct Part {
    weights: Tensor,
    bias: Option<Tensor>,
    output: ValueId,
}

impl Divided {
    fn put_into(self, graph: &mut Graph, name: &str, nodes: &mut Vec<Node>) {
        for (i, part) in self.parts.into_iter().enumerate() {
            let mut constant = |tensor| Some(graph.add_constant("", tensor));
            let mut inputs = vec![Some(self.x), constant(part.weights)];
            inputs.extend(part.bias.map(constant));
            nodes.push(Node {
                name: format!("{name}/{i}"),
                op: Arc::new(self.op),
                inputs,
                outputs: vec![Some(part.output)],
            });
        }
    }
}

fn divided(view: &View<'_>, node: &Node) -> Option<Divided> {
    let split = node.op.downcast_ref::<Split>()?;
    let whole = input(node, 0)?;
    let shape = view.shape(whole)?;
    let last = i64::try_from(shape.len()).ok()? - 1;
    if shape.len() < 3 || (split.axis != -1 && split.axis != last) {
        return None;
    }
    let columns = shape.last()?.as_len()?;
    let (_, product, op) = view.private::<Linear>(whole)?;
    let weights = view.constant(input(product, 1)?)?;
    let bias = match input(product, 2) {
        None => None,
        Some(bias) => Some(view.constant(bias)?),
    };
    // The axis of the weights that is the product's last.
    let axis = usize::from(!op.transpose_b);
    if weights.rank() != 2 || weights.shape()[axis] != columns {
        return None;
    }
    let mut parts = Vec::new();
    let mut end = 0;
    for output in &node.outputs {
        let output = (*output)?;
        let range = end..end + view.shape(output)?.last()?.as_len()?;
        end = range.end;
        parts.push(Part {
            weights: cut(weights, axis, &range)?,
            bias: match bias {
                None => None,
                Some(bias) => Some(cut_row(bias, columns, &range)?),
            },
            output,
        });
        if range.len() < LEAST_COLUMNS || parts.len() > MOST || end > columns {
            return None;
        }
    }
    (end == columns).then_some(Divided {
        op: Linear { gemm: false, ..*op },
        x: input(product, 0)?,
        parts,
    })
}

/// What is added to a part: all of a bias that is the same in every column.
fn cut_row(bias: &Tensor, columns: usize, range: &Range<usize>) -> Option<Tensor> {
    match bias.shape().split_last() {
        None | Some((1, _)) => Some(bias.clone()),
        Some((&n, front)) if n == columns => cut(bias, front.len(), range),
        Some(_) => None,
    }
}

/// A range of a tensor along an axis; `None` if it has none, or no bytes.
fn cut(tensor: &Tensor, axis: usize, range: &Range<usize>) -> Option<Tensor> {
    let (front, back) = tensor.shape().split_at_checked(axis)?;
    let (&length, back) = back.split_first()?;
    if tensor.strings().is_some() || range.end > length {
        return None;
    }
    let size = back.iter().product::<usize>() * tensor.dtype().size();
    let mut bytes = Vec::with_capacity(front.iter().product::<usize>() * range.len() * size);
    if length * size > 0 {
        for block in tensor.bytes().chunks_exact(length * size) {
            bytes.extend_from_slice(block.get(range.start * size..range.end * size)?);
        }
    }
    let mut shape = tensor.shape().to_vec();
    shape[axis] = range.len();
    Tensor::from_bytes(tensor.dtype(), &shape, &bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::ops::movement::SplitParts;

    const COLUMNS: usize = 3 * LEAST_COLUMNS;

    /// `Split(x w + bias)` into parts of these lengths.
    fn projected(b: &mut Builder, shape: &[&str], op: Linear, lengths: &[i64]) -> Vec<ValueId> {
        let x = b.input("x", shape);
        let numbers: Vec<f32> = (0..2 * COLUMNS).map(|i| i as f32).collect();
        let w = match op.transpose_b {
            false => b.floats(&[2, COLUMNS], &numbers),
            true => b.floats(&[COLUMNS, 2], &numbers),
        };
        let bias = b.floats(&[COLUMNS], &numbers[..COLUMNS]);
        let y = b.op(op, &[x, w, bias]);
        let split = Split {
            axis: -1,
            parts: SplitParts::Lengths(lengths.to_vec()),
        };
        b.ops(split, &[y], lengths.len())
    }

    fn values(g: &Graph, node: usize, input: usize) -> &[f32] {
        let id = g.nodes()[node].inputs[input].unwrap();
        g.constant(id).unwrap().as_slice::<f32>().unwrap()
    }

    #[test]
    fn a_product_that_is_cut_apart_becomes_a_product_for_each_part() {
        for transpose_b in [false, true] {
            let mut b = Builder::new();
            let op = Linear {
                transpose_b,
                ..Linear::default()
            };
            let parts = projected(&mut b, &["n", "5", "2"], op, &[32, 64]);
            let mut g = b.finish(&parts);
            let report = optimize(&mut g, &NoFolding);
            g.check().unwrap();
            assert_eq!(report.count("parts"), 1);
            assert_eq!(kinds(&g), ["MatMul", "MatMul"]);
            assert_eq!(output_names(&g), ["out_0", "out_1"]);
            for (node, columns) in [(0, 0..32), (1, 32..96)] {
                let column = |row: usize, column: usize| match transpose_b {
                    false => row * COLUMNS + column,
                    true => column * 2 + row,
                };
                let expected: Vec<f32> = match transpose_b {
                    false => (0..2)
                        .flat_map(|row| columns.clone().map(move |c| column(row, c) as f32))
                        .collect(),
                    true => columns
                        .clone()
                        .flat_map(|c| (0..2).map(move |row| column(row, c) as f32))
                        .collect(),
                };
                assert_eq!(values(&g, node, 1), expected);
                let bias: Vec<f32> = columns.map(|c| c as f32).collect();
                assert_eq!(values(&g, node, 2), bias);
            }
        }
    }

    #[test]
    fn single_rows_narrow_parts_and_products_that_others_read_stay_whole() {
        let plain = Linear::default();
        let mut failures = Vec::new();
        let cases: [(&str, &[&str], &[i64]); 2] = [
            ("one row for each request", &["n", "2"], &[32, 64]),
            ("a narrow part", &["n", "5", "2"], &[16, 80]),
        ];
        for (name, shape, lengths) in cases {
            let mut b = Builder::new();
            let parts = projected(&mut b, shape, plain, lengths);
            let mut g = b.finish(&parts);
            if apply(&mut g) != 0 {
                failures.push(name);
            }
        }
        let mut b = Builder::new();
        let mut outputs = projected(&mut b, &["n", "5", "2"], plain, &[32, 64]);
        let mut g = b.finish(&outputs.clone());
        outputs.push(g.nodes()[0].outputs[0].unwrap());
        g.set_outputs(outputs);
        if apply(&mut g) != 0 {
            failures.push("an output of the model");
        }
        assert!(failures.is_empty(), "{failures:?}");
    }
}
