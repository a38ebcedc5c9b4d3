//! Pooling of `f32`: windows and whole planes, by maximum and by mean.

use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::window::WindowAxis;
use unisono_reference::arith::{ConvShape, PoolShape};
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::conv::{average_pool, global_average_pool, global_max_pool, max_pool};
use crate::exec::kernel::{Build, Context, Kernel, failed};
use crate::gemm::Cores;
use crate::kernels::operands::{operand, result};

struct PoolKernel {
    shape: PoolShape,
    function: PoolFunction,
}

struct GlobalPoolKernel {
    function: PoolFunction,
}

/// Builds a pooling by windows, unless positions of winners are wanted.
pub fn build_pool(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Pool>() else {
        return Ok(None);
    };
    let x = build.shape(0);
    let (Some(planes), Some(spatial)) = (x.get(..2), x.get(2..)) else {
        return Ok(None);
    };
    if !build.all_of(DType::F32)
        || build.output(1).is_some()
        || spatial.is_empty()
        || spatial.len() > 3
        || matches!(op.function, PoolFunction::Lp { .. })
    {
        return Ok(None);
    }
    let axes = op
        .window
        .place(spatial, &op.window.kernel)
        .map_err(|e| failed(e.to_string()))?;
    let pick = |pick: fn(&WindowAxis) -> usize, neutral: usize| {
        let values: Vec<usize> = axes.iter().map(pick).collect();
        ConvShape::from_spatial(&values, neutral)
    };
    let shape = PoolShape {
        planes: planes.iter().product(),
        input: pick(|a| a.input, 1),
        output: pick(|a| a.output, 1),
        kernel: pick(|a| a.kernel, 1),
        strides: pick(|a| a.stride, 1),
        dilations: pick(|a| a.dilation, 1),
        pads: pick(|a| a.pad_begin, 0),
        pads_end: pick(|a| a.pad_end, 0),
    };
    // Positions are computed without checks for overflow; an absurd geometry goes to the reference, which has them.
    let limits = [
        shape.input,
        shape.output,
        shape.kernel,
        shape.strides,
        shape.dilations,
        shape.pads,
        shape.pads_end,
    ];
    if limits.iter().flatten().any(|&n| n >= 1 << 20) {
        return Ok(None);
    }
    Ok(Some(Box::new(PoolKernel {
        shape,
        function: op.function,
    })))
}

/// Builds a pooling of whole planes.
pub fn build_global_pool(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<GlobalPool>() else {
        return Ok(None);
    };
    let empty = build.shape(0).contains(&0);
    if !build.all_of(DType::F32) || empty || matches!(op.function, PoolFunction::Lp { .. }) {
        return Ok(None);
    }
    Ok(Some(Box::new(GlobalPoolKernel {
        function: op.function,
    })))
}

impl Kernel for PoolKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("windows, {}", cx.isa)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let (x, y) = (operand(inputs, 0)?, result(outputs)?);
        match self.function {
            PoolFunction::Average { count_include_pad } => {
                average_pool(cores, &self.shape, count_include_pad, x, y);
            }
            // `build_pool` left the norms out.
            PoolFunction::Max { .. } | PoolFunction::Lp { .. } => {
                max_pool(cores, &self.shape, x, y)
            }
        }
        Ok(())
    }
}

impl Kernel for GlobalPoolKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("whole planes, {}", cx.isa)
    }

    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        _scratch: &mut [f32],
    ) -> Result<(), Error> {
        let cores = Cores {
            isa: cx.isa,
            team: cx.team,
        };
        let (x, y) = (operand(inputs, 0)?, result(outputs)?);
        match self.function {
            PoolFunction::Average { .. } => global_average_pool(cores, x, y),
            // `build_global_pool` left the norms out.
            PoolFunction::Max { .. } | PoolFunction::Lp { .. } => global_max_pool(cores, x, y),
        }
        Ok(())
    }
}
