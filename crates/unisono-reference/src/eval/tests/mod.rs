//! Tests of the evaluator: worked examples by family, laws that hold for all data, and data that fits nothing.

mod arithmetic;
mod hostile;
mod indexing;
mod laws;
mod layers;
mod layout;
mod normalizations;
mod reductions;
mod sequences;

use super::{EvalError, evaluate, output_types};
use unisono_graph::Operator;
use unisono_tensor::{DType, Tensor};

/// The outputs of `op`, `count` of them, with shapes from its own inference.
fn outputs(
    op: &dyn Operator,
    inputs: &[Option<Tensor>],
    count: usize,
) -> Result<Vec<Tensor>, EvalError> {
    let views: Vec<_> = inputs
        .iter()
        .map(|t| t.as_ref().map(|t| t.view().unwrap()))
        .collect();
    let types = output_types(op, &views, count)?;
    let mut made: Vec<Tensor> = types
        .into_iter()
        .flatten()
        .map(|(dtype, shape)| Tensor::zeros(dtype, &shape).unwrap())
        .collect();
    let mut out: Vec<_> = made.iter_mut().map(|t| t.view_mut()).collect();
    evaluate(op, &views, &mut out)?;
    Ok(made)
}

/// The first output of `op` for inputs that are all there.
fn output(op: &dyn Operator, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let inputs: Vec<_> = inputs.iter().map(|&t| Some(t.clone())).collect();
    Ok(outputs(op, &inputs, 1)?.remove(0))
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(shape, values).unwrap()
}

fn longs(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_slice(shape, values).unwrap()
}

fn bools(shape: &[usize], values: &[bool]) -> Tensor {
    Tensor::from_bools(shape, values).unwrap()
}

/// `0, 1, 2, ...` in this shape.
fn count_up(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
    floats(shape, &values)
}

/// One row of a table: what it shows, the operator, its inputs, its first output.
type Row = (&'static str, Box<dyn Operator>, Vec<Tensor>, Tensor);

fn row(name: &'static str, op: impl Operator, inputs: &[&Tensor], expected: Tensor) -> Row {
    let inputs = inputs.iter().map(|&t| t.clone()).collect();
    (name, Box::new(op), inputs, expected)
}

/// Runs every row and reports all that differ: by bits, NaN being equal to NaN.
fn check(rows: Vec<Row>) {
    let mut failures = Vec::new();
    for (name, op, inputs, expected) in rows {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        match output(&*op, &inputs) {
            Err(e) => failures.push(format!("{name}: {e}")),
            Ok(found) if !same(&found, &expected) => failures.push(format!(
                "{name}: {found:?} {} instead of {expected:?} {}",
                contents(&found),
                contents(&expected)
            )),
            Ok(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// An f32 tensor with exactly these bits.
fn same_as(found: &Tensor, expected: &[f32]) {
    let found = found.as_slice::<f32>().unwrap();
    assert_eq!(crate::arith::first_difference(found, expected), None);
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return false;
    }
    match (a.to_f64s(), b.to_f64s()) {
        (Some(x), Some(y)) => x
            .iter()
            .zip(&y)
            .all(|(x, y)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())),
        _ => a.bytes() == b.bytes(),
    }
}

fn contents(t: &Tensor) -> String {
    match (t.to_f64s(), t.to_i64s()) {
        (Some(x), _) => format!("{x:?}"),
        (None, x) => format!("{:?}", x.unwrap_or_default()),
    }
}

/// Deterministic numbers that look random, for tests that need many.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn floats(&mut self, shape: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.float()).collect();
        floats(shape, &values)
    }
}

/// A tensor of any type with small numbers, or for floats all kinds of numbers.
fn anything(numbers: &mut Numbers, dtype: DType, shape: &[usize]) -> Tensor {
    let mut t = Tensor::zeros(dtype, shape).unwrap();
    let size = dtype.size();
    let wild = numbers.below(3) == 0;
    if let Some(bytes) = t.bytes_mut() {
        for element in bytes.chunks_exact_mut(size) {
            let bits = numbers.next().to_le_bytes();
            if wild && dtype != DType::Bool {
                element.copy_from_slice(&bits[..size]);
            } else if dtype.is_float() || dtype == DType::Bool {
                element[0] = bits[0] & 1;
            } else {
                element.fill(if bits[1] & 3 == 0 { 0xff } else { 0 });
                element[0] = element[0].wrapping_add(bits[0] & 3);
            }
        }
    }
    t
}
