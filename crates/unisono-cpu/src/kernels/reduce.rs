//! Reductions of `f32` over trailing axes, or over neighbouring axes in the middle.

use unisono_graph::ops::reduce::Reduce;
use unisono_reference::arith::Reduction;
use unisono_reference::eval::canonical_reduction;
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::exec::kernel::{Build, Context, Kernel};
use crate::kernels::operands::{operand, result};
use crate::kernels::rowwise;
use crate::kernels::split;

/// Nanoseconds for 16 elements, roughly.
const COST: usize = 4;

struct ReduceKernel {
    reduction: Reduction,
    /// Outer x folded x inner; an inner of `None` says that the folded axes are exactly the last ones, which is not the
    /// same as an inner length of 1: the order of the sum follows from the axes.
    outer_n: [usize; 2],
    inner: Option<usize>,
}

/// Builds a reduction over axes that follow each other.
pub fn build_reduce(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Reduce>() else {
        return Ok(None);
    };
    let shape = build.shape(0);
    if build.input(0).map(|k| k.dtype) != Some(DType::F32) || shape.contains(&0) {
        return Ok(None);
    }
    let from_input = if build.input(1).is_some() {
        match build.integers(1) {
            Some(axes) => Some(axes),
            None => return Ok(None),
        }
    } else {
        None
    };
    let Ok(axes) = op.resolve_axes(shape.len(), from_input.as_deref()) else {
        return Ok(None);
    };
    let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else {
        return Ok(None);
    };
    if axes.len() != last - first + 1 {
        return Ok(None);
    }
    let n = shape[first..=last].iter().product();
    let outer = shape[..first].iter().product();
    let inner = (last + 1 < shape.len()).then(|| shape[last + 1..].iter().product());
    let reduction = canonical_reduction(op.function);
    Ok(Some(Box::new(ReduceKernel {
        reduction,
        outer_n: [outer, n],
        inner,
    })))
}

impl Kernel for ReduceKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        match self.inner {
            None => format!("row by row, {}", cx.isa),
            Some(_) => format!("across rows, {}", cx.isa),
        }
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let x: &[f32] = operand(inputs, 0)?;
        let [_, n] = self.outer_n;
        let width = self.inner.unwrap_or(1);
        let block = n * width;
        split::rows(
            cx.team,
            result(outputs)?,
            width,
            block,
            COST,
            |first, y: &mut [f32]| {
                let rows = y.len() / width;
                let x = &x[first * block..][..rows * block];
                match self.inner {
                    None => rowwise::reduce_rows(cx.isa, self.reduction, n, x, y),
                    Some(inner) => {
                        rowwise::reduce_middle(cx.isa, self.reduction, [rows, n, inner], x, y)
                    }
                }
            },
        );
        Ok(())
    }
}
