//! `Linear`: MatMul, Gemm and their fused forms, as launches of matrix products; several of one left-hand side in one launch.

use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::product::Product;
use unisono_reference::eval::canonical_activation;
use unisono_runtime::Error;
use unisono_tensor::{DType, Tensor};

use super::{Lowering, of_the_device};
use crate::kernels::functions::{self, Function};
use crate::kernels::gemm::{self, Finish, Matrix, Right, Sibling};
use crate::kernels::tile::Extent;
use crate::launch::Buffer;

/// Products of one left-hand side with constants of one shape. Inputs: `a`, then for each product its `b` and its `c`, left out for all or
/// for none. Outputs: one for each product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Products {
    /// What each of them is.
    pub product: Linear,
    /// How many.
    pub count: usize,
}

of_the_device!(Products, "Products");

/// Lowers a product of `f32`.
pub fn linear(lowering: &mut Lowering<'_>) -> Result<bool, Error> {
    match lowering.op::<Linear>().copied() {
        Some(op) => products_of(lowering, op, 1),
        None => Ok(false),
    }
}

/// Lowers several products of `f32`.
pub(super) fn products(lowering: &mut Lowering<'_>) -> Result<bool, Error> {
    match lowering.op::<Products>().copied() {
        Some(Products { product, count }) => products_of(lowering, product, count),
        None => Ok(false),
    }
}

/// Is the product with this number like the first one, so that their shapes need no second look?
fn is_like_the_first(lowering: &Lowering<'_>, number: usize) -> bool {
    let of_input = |index| lowering.input(index).map(|o| (o.dtype, &o.shape));
    let of_output = |index| lowering.output(index).map(|o| (o.dtype, &o.shape));
    let b = lowering.input(1 + 2 * number);
    b.is_some_and(|b| b.constant.is_some())
        && of_input(1) == of_input(1 + 2 * number)
        && of_input(2) == of_input(2 + 2 * number)
        && of_output(0) == of_output(number)
}

fn products_of(lowering: &mut Lowering<'_>, op: Linear, count: usize) -> Result<bool, Error> {
    if count > 1 + gemm::SIBLINGS || !(1..count).all(|n| is_like_the_first(lowering, n)) {
        return Ok(false);
    }
    let operands = [
        lowering.input(0),
        lowering.input(1),
        lowering.input(2),
        lowering.output(0),
    ];
    let [Some(a), Some(b), c, Some(out)] = operands else {
        return Ok(false);
    };
    let function = match op.activation.map(canonical_activation) {
        None => Some(Function::IDENTITY),
        Some(activation) => activation.and_then(functions::activation),
    };
    let product = Product::new(&op, &a.shape, &b.shape, c.map(|c| &c.shape[..]));
    let (Some(function), Some(product), Some(out_buffer)) = (function, product, out.buffer) else {
        return Ok(false);
    };
    if [Some(a), Some(b), c, Some(out)]
        .into_iter()
        .flatten()
        .any(|o| o.dtype != DType::F32)
    {
        return Ok(false);
    }
    if out.shape.iter().product::<usize>() == 0 {
        return Ok(true);
    }
    let has_bias = c.is_some();
    let (weights, value) = (b.constant.clone(), b.value);
    let finish = Finish {
        alpha: op.alpha,
        beta: op.beta,
        function,
    };
    let batched = Extent {
        m: product.m,
        n: product.n,
        k: product.k,
        batch: product.batch(),
    };
    // Constant weights are packed once; all leading axes of the left-hand side then count as rows.
    let flat = weights.as_ref().and_then(|_| product.flat());
    let (extent, c_strides) = match flat {
        Some(flat) => (
            Extent {
                m: flat.rows,
                batch: 1,
                ..batched
            },
            flat.c,
        ),
        None => (batched, product.c),
    };
    let offsets = if flat.is_none() && extent.batch > 1 {
        product.offsets()
    } else {
        Vec::new()
    };
    if count > 1 && flat.is_none() {
        return Ok(false);
    }
    let place = lowering.buffer(0)?;
    let (Some(a), bias) = (place, if has_bias { lowering.buffer(2)? } else { None }) else {
        return Ok(false);
    };
    if has_bias != bias.is_some() {
        return Ok(false);
    }
    let mut launch = gemm::Product {
        extent,
        a: Matrix {
            buffer: a,
            strides: product.a,
        },
        // Stands in until the launch is known to be possible: nothing is left behind where it is not.
        b: if flat.is_some() {
            Right::Packed(a)
        } else {
            Right::Strided(Matrix {
                buffer: a,
                strides: product.b,
            })
        },
        bias: bias
            .zip(c_strides)
            .map(|(buffer, strides)| Matrix { buffer, strides }),
        c: out_buffer,
        members: (!offsets.is_empty()).then_some(a),
        even: offsets
            .iter()
            .all(|o| o[0].is_multiple_of(4) && o[2].is_multiple_of(4)),
        finish,
        siblings: std::array::from_fn(|n| {
            (n + 1 < count).then_some(Sibling {
                b: a,
                bias,
                c: out_buffer,
            })
        }),
    };
    let (processors, limit) = (lowering.processors, lowering.site.shared_limit());
    if gemm::launch(&launch, processors, limit).is_none() {
        return Ok(false);
    }
    launch.b = match (flat, weights) {
        (Some(_), Some(tensor)) => {
            Right::Packed(packed(lowering, &op, &product, (value, &tensor))?)
        }
        _ => match lowering.buffer(1)? {
            Some(buffer) => Right::Strided(Matrix {
                buffer,
                strides: product.b,
            }),
            None => return Ok(false),
        },
    };
    for number in 1..count {
        let b = lowering.input(1 + 2 * number);
        let b = b.and_then(|b| Some((b.value, b.constant.clone()?)));
        let c = lowering.output(number).and_then(|c| c.buffer);
        let (Some((value, tensor)), Some(c)) = (b, c) else {
            return Ok(false);
        };
        launch.siblings[number - 1] = Some(Sibling {
            b: packed(lowering, &op, &product, (value, &tensor))?,
            bias: lowering.buffer(2 + 2 * number)?,
            c,
        });
    }
    if !offsets.is_empty() {
        launch.members = Some(lowering.site.table(gemm::members(&offsets))?);
    }
    match gemm::launch(&launch, processors, limit) {
        Some(launch) => {
            lowering.launches.push(launch);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// A constant right-hand side, packed once for all programs of a model.
fn packed(
    lowering: &mut Lowering<'_>,
    op: &Linear,
    product: &Product,
    (value, tensor): (usize, &Tensor),
) -> Result<Buffer, Error> {
    let [row, col] = product.b;
    let make = &mut || {
        let pack = |data: &[f32]| gemm::pack(product.k, product.n, |k, n| data[k * row + n * col]);
        Ok(tensor.read_once(pack)?)
    };
    let key = if op.transpose_b {
        "packed, transposed"
    } else {
        "packed"
    };
    lowering.site.constant(value, key, make)
}
