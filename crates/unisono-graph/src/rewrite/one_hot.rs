//! Looks rows up instead of multiplying by them.
//!
//! Before: `Linear(Cast(Equal(id, [s, s + 1, …, s + n - 1])), w, bias)`: an embedding as JAX and TensorFlow export it, a product with a matrix
//! of zeros and a single one per row. After: `Gather(table, Clip(id, s - 1, s + n) - (s - 1))`, where the table is the same product with
//! the identity matrix between two rows of zeros, which are what an id outside of the list encodes to.
//!
//! Pays everywhere: of each row's `n` products one is not zero, and the encoding is `n` times as large as the ids. Values stay equal,
//! even where weights are infinite, because the table is computed by the very product that is replaced: a row of it does not
//! know which rows stand beside it.

use super::edit::{self, Edit, Input};
use super::view::{View, input, operands};
use crate::ops::activation::Clip;
use crate::ops::binary::{Binary, BinaryFunction, Compare, Comparison};
use crate::ops::cast::Cast;
use crate::ops::indexing::Gather;
use crate::ops::linear::Linear;
use crate::ops::shape::Squeeze;
use crate::{Dim, Graph, Node};
use unisono_tensor::{DType, Tensor};

/// Shorter lists are not worth a table.
const LEAST: usize = 8;
/// Entries of the identity matrix at most.
const MOST: usize = 1 << 24;

/// Applies the rewrite everywhere; gives how often it did.
pub fn apply(graph: &mut Graph) -> usize {
    edit::for_each_node(graph, |view, _, node| lookup(view, node))
}

fn lookup(view: &View<'_>, node: &Node) -> Option<Edit> {
    let op = *node.op.downcast_ref::<Linear>()?;
    let (encoded, weights) = (input(node, 0)?, input(node, 1)?);
    if op.transpose_a || view.constant(weights)?.rank() != 2 {
        return None;
    }
    let bias = match input(node, 2) {
        None => None,
        Some(bias) => Some(row(view.constant(bias)?)?),
    };
    let (cast_id, cast, to) = view.private::<Cast>(encoded)?;
    let (equal_id, equal, compare) = view.private::<Compare>(input(cast, 0)?)?;
    if compare.comparison != Comparison::Equal || to.to != view.constant(weights)?.dtype() {
        return None;
    }
    let [a, b] = operands(equal)?;
    let (ids, list) = match (view.constant(a), view.constant(b)) {
        (None, Some(list)) => (a, list),
        (Some(list), None) => (b, list),
        _ => return None,
    };
    let (start, n) = consecutive(list)?;
    let dtype = view.fact(ids)?.dtype;
    // The ids bring all axes but the last, which is the list's.
    let (last, front) = view.shape(ids)?.split_last()?;
    let expected = front.iter().cloned().chain([Dim::from(n)]);
    if *last != Dim::constant(1) || !view.shape(encoded)?.iter().cloned().eq(expected) {
        return None;
    }
    let identity = framed_identity(to.to, n)?;
    let below = start.checked_sub(1)?;
    let above = start.checked_add(i64::try_from(n).ok()?)?;
    let number = |x: i64| integer(dtype, x);
    let (low, high, shift) = (number(below)?, number(above)?, number(below)?);

    let mut edit = Edit::new(Gather { axis: 0 }, Vec::new(), vec![cast_id, equal_id]);
    let mut product: Vec<Input> = vec![identity.into(), weights.into()];
    product.extend(bias.map(Input::New));
    let table = edit.step(op, product);
    let ids = edit.step(
        Squeeze {
            axes: Some(vec![-1]),
        },
        vec![ids.into()],
    );
    let ids = edit.step(Clip, vec![ids, low.into(), high.into()]);
    let function = BinaryFunction::Sub;
    let rows = edit.step(Binary { function }, vec![ids, shift.into()]);
    edit.inputs = vec![Some(table), Some(rows)];
    Some(edit)
}

/// A bias that is the same for all rows, without the axes that say so: the table has only two.
fn row(bias: &Tensor) -> Option<Tensor> {
    let (&last, front) = match bias.shape().split_last() {
        None => return Some(bias.clone()),
        Some(split) => split,
    };
    front
        .iter()
        .all(|&n| n == 1)
        .then(|| bias.reshaped(&[last]).ok())?
}

/// The first number and the length of a list of consecutive integers along the last axis.
fn consecutive(list: &Tensor) -> Option<(i64, usize)> {
    let (&n, front) = list.shape().split_last()?;
    if n < LEAST || front.iter().any(|&n| n != 1) {
        return None;
    }
    let values = list.to_i64s()?;
    let start = *values.first()?;
    let rising = values
        .iter()
        .enumerate()
        .all(|(i, &v)| i64::try_from(i).ok().and_then(|i| start.checked_add(i)) == Some(v));
    rising.then_some((start, n))
}

/// The identity matrix with a row of zeros above and below.
fn framed_identity(dtype: DType, n: usize) -> Option<Tensor> {
    let count = n.checked_add(2)?.checked_mul(n).filter(|&c| c <= MOST)?;
    let shape = [n + 2, n];
    let is_one = |i: usize| i / n == i % n + 1;
    match dtype {
        DType::F32 => {
            let values: Vec<f32> = (0..count).map(|i| f32::from(u8::from(is_one(i)))).collect();
            Tensor::from_slice(&shape, &values).ok()
        }
        DType::F64 => {
            let values: Vec<f64> = (0..count).map(|i| f64::from(u8::from(is_one(i)))).collect();
            Tensor::from_slice(&shape, &values).ok()
        }
        _ => None,
    }
}

/// A scalar of the ids' type, if it is one that counts rows.
fn integer(dtype: DType, x: i64) -> Option<Tensor> {
    match dtype {
        DType::I64 => Some(Tensor::scalar(x)),
        DType::I32 => Some(Tensor::scalar(i32::try_from(x).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{NoFolding, optimize};
    use super::*;
    use crate::{ValueId, infer};

    /// `Linear(Cast(Equal(ids, list)), w, bias)` with ids `[n, 5, 1]`.
    fn embedding(b: &mut Builder, list: &[i32], ids: &[&str]) -> ValueId {
        let ids = b.typed_input("ids", DType::I32, ids);
        let list = b.constant(Tensor::from_slice(&[1, list.len()], list).unwrap());
        let comparison = Comparison::Equal;
        let equal = b.op(Compare { comparison }, &[ids, list]);
        let encoded = b.op(Cast { to: DType::F32 }, &[equal]);
        let w = b.floats(&[8, 2], &[1.0; 16]);
        let y = b.op(Linear::default(), &[encoded, w]);
        let bias = b.floats(&[1, 1, 2], &[0.5; 2]);
        b.add(y, bias)
    }

    fn output_shape(g: &Graph) -> Vec<Dim> {
        let facts = infer::infer_partial(g, &infer::declared_inputs(g)).unwrap();
        let fact = facts[g.outputs()[0].index()].clone().unwrap();
        fact.shape.unwrap()
    }

    #[test]
    fn a_product_with_an_encoding_becomes_a_lookup() {
        let list: Vec<i32> = (3..11).collect();
        let mut b = Builder::new();
        let y = embedding(&mut b, &list, &["n", "5", "1"]);
        let mut g = b.finish(&[y]);
        let before = output_shape(&g);
        let report = optimize(&mut g, &NoFolding);
        g.check().unwrap();
        assert_eq!(report.count("one_hot"), 1);
        assert_eq!(kinds(&g), ["MatMul", "Squeeze", "Clip", "Sub", "Gather"]);
        assert_eq!(output_shape(&g), before);
        assert_eq!(output_names(&g), ["out_0"]);
        // Ids 2 and below read row 0, ids 3 to 10 rows 1 to 8, ids 11 and above row 9.
        let number = |node: usize, input: usize| {
            let id = g.nodes()[node].inputs[input].unwrap();
            g.constant(id).unwrap().to_i64s().unwrap()[0]
        };
        assert_eq!((number(2, 1), number(2, 2), number(3, 1)), (2, 11, 2));
        let identity = g.constant(g.nodes()[0].inputs[0].unwrap()).unwrap();
        let values = identity.as_slice::<f32>().unwrap();
        for (row, values) in values.chunks(8).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                assert_eq!(value, f32::from(u8::from(row == column + 1)));
            }
        }
    }

    #[test]
    fn other_lists_and_shapes_stay_products() {
        let rising: Vec<i32> = (0..8).collect();
        let holes: Vec<i32> = (0..8).map(|i| 2 * i).collect();
        let rows: &[(&str, &[i32], &[&str])] = &[
            ("a list with holes", &holes, &["n", "5", "1"]),
            ("ids along the list", &rising, &["n", "5", "8"]),
        ];
        let mut failures = Vec::new();
        for (name, list, ids) in rows {
            let mut b = Builder::new();
            let y = embedding(&mut b, list, ids);
            let mut g = b.finish(&[y]);
            if apply(&mut g) != 0 {
                failures.push(*name);
            }
        }
        assert!(failures.is_empty(), "{failures:?}");
    }
}
