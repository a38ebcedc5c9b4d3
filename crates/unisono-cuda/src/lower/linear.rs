//! `Linear`: MatMul, Gemm and their fused forms, as launches of matrix products.

use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::product::Product;
use unisono_reference::eval::canonical_activation;
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::Lowering;
use crate::kernels::functions::{self, Function};
use crate::kernels::gemm::{self, Finish, Matrix, Right};
use crate::kernels::tile::Extent;

/// Lowers a product of `f32`.
pub fn linear(lowering: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(op) = lowering.op::<Linear>().copied() else {
        return Ok(false);
    };
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
    };
    let (processors, limit) = (lowering.processors, lowering.site.shared_limit());
    if gemm::launch(&launch, processors, limit).is_none() {
        return Ok(false);
    }
    launch.b = match (flat, weights) {
        (Some(_), Some(tensor)) => {
            let [row, col] = product.b;
            let make = &mut || {
                let pack =
                    |data: &[f32]| gemm::pack(product.k, product.n, |k, n| data[k * row + n * col]);
                Ok(tensor.read_once(pack)?)
            };
            let key = if op.transpose_b {
                "packed, transposed"
            } else {
                "packed"
            };
            Right::Packed(lowering.site.constant(value, key, make)?)
        }
        _ => match lowering.buffer(1)? {
            Some(buffer) => Right::Strided(Matrix {
                buffer,
                strides: product.b,
            }),
            None => return Ok(false),
        },
    };
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
