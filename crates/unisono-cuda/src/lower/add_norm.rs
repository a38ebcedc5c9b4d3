//! A normalisation of a sum in one launch.

use unisono_graph::ops::normalize::{LayerNormalization, RmsNormalization};
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::rows::{dense_parameter, trailing};
use super::{Lowering, of_the_device};
use crate::kernels::map::elements;
use crate::kernels::rows::{self as kernels};

/// How the sum is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// With mean and variance.
    Layer(LayerNormalization),
    /// With the mean of the squares.
    Rms(RmsNormalization),
}

/// A normalisation of `a + b`. Inputs: `a`, `b` (as `a`, or the last axes of it, the normalised ones among them), scale, optionally bias.
/// Outputs: the result, and the sum if somebody else reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddNorm {
    /// What happens to the sum.
    pub norm: Norm,
}

of_the_device!(AddNorm, "AddNorm");

/// The rows of a summand that covers the last axes of the sum and whole rows of `n`; leading axes of length 1 do not count.
pub fn summand_rows(sum: &[usize], summand: &[usize], n: usize) -> Option<usize> {
    let leading = summand.iter().take_while(|&&len| len == 1).count();
    if summand.len() > sum.len() || !sum.ends_with(&summand[leading..]) {
        return None;
    }
    let elements = elements(summand)?;
    (n > 0 && elements > 0 && elements.is_multiple_of(n)).then(|| elements / n)
}

pub(super) fn add_norm(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(&op), Some(shape)) = (cx.op::<AddNorm>(), cx.shape(0)) else {
        return Ok(false);
    };
    if !cx.all_of(DType::F32) {
        return Ok(false);
    }
    if cx.is_empty() {
        return Ok(true);
    }
    let (axis, epsilon) = match op.norm {
        Norm::Layer(norm) => (norm.axis, norm.epsilon),
        Norm::Rms(norm) => (norm.axis, norm.epsilon),
    };
    let rows = trailing(&shape, axis);
    let b_rows = rows
        .zip(cx.shape(1))
        .and_then(|(rows, b)| summand_rows(&shape, &b, rows.n));
    let scale = dense_parameter(&shape, cx.shape(2));
    let has_bias = cx.input(3).is_some();
    let agrees = !has_bias || dense_parameter(&shape, cx.shape(3)) == scale;
    let (Some(rows), Some(b_rows), Some(parameters)) = (rows, b_rows, scale.filter(|_| agrees))
    else {
        return Ok(false);
    };
    let buffers = kernels::AddNorm {
        a: cx.read(0)?,
        b: cx.read(1)?,
        b_rows,
        scale: cx.read(2)?,
        bias: if has_bias { Some(cx.read(3)?) } else { None },
        y: cx.write(0)?,
        sum: cx.output(1).and_then(|sum| sum.buffer),
    };
    let launch = match op.norm {
        Norm::Layer(_) => kernels::add_layer_norm,
        Norm::Rms(_) => kernels::add_rms_norm,
    };
    Ok(cx.emit(launch(rows, parameters, epsilon, cx.processors, buffers)))
}
