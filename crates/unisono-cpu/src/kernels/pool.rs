//! Pooling of `f32`: windows and whole planes, by maximum and by mean.

use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::window::WindowAxis;
use unisono_reference::arith::{ConvShape, PoolShape};
use unisono_runtime::Error;
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::conv::{average_pool, global_average_pool, global_max_pool, last, max_pool};
use crate::exec::kernel::{Build, Context, Kernel, failed};
use crate::gemm::Cores;
use crate::kernels::operands::{operand, result};

struct PoolKernel {
    shape: PoolShape,
    function: PoolFunction,
    /// How many channels there are, if they are last.
    channels_last: Option<usize>,
}

struct GlobalPoolKernel {
    function: PoolFunction,
    /// How many channels there are, if they are last.
    channels_last: Option<usize>,
}

/// The channels of the input if they are its last axis; `None` if they are its second one.
fn channels_last(build: &Build<'_>) -> Option<usize> {
    let channels = build.shape(0).last().copied();
    channels.filter(|_| build.channels_last)
}

/// How the lanes are used, in words.
fn in_words(channels_last: Option<usize>) -> &'static str {
    match channels_last {
        Some(_) => ", channels last",
        None => "",
    }
}

/// Builds a pooling by windows, unless positions of winners are wanted.
pub fn build_pool(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Pool>() else {
        return Ok(None);
    };
    let x = build.shape(0);
    let (samples, channels, spatial) = match (x, build.channels_last) {
        ([samples, channels, spatial @ ..], false) => (samples, channels, spatial),
        ([samples, spatial @ .., channels], true) => (samples, channels, spatial),
        _ => return Ok(None),
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
        planes: samples * channels,
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
        channels_last: channels_last(build),
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
        channels_last: channels_last(build),
    })))
}

impl Kernel for PoolKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("windows{}, {}", in_words(self.channels_last), cx.isa)
    }

    fn keeps_rows(&self) -> bool {
        true
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
        let shape = &self.shape;
        // `build_pool` left the norms out.
        match (self.function, self.channels_last) {
            (PoolFunction::Average { count_include_pad }, None) => {
                average_pool(cores, shape, count_include_pad, x, y);
            }
            (PoolFunction::Average { count_include_pad }, Some(channels)) => {
                last::pool::average_pool(cores, shape, channels, count_include_pad, x, y);
            }
            (_, None) => max_pool(cores, shape, x, y),
            (_, Some(channels)) => last::pool::max_pool(cores, shape, channels, x, y),
        }
        Ok(())
    }
}

impl Kernel for GlobalPoolKernel {
    fn describe(&self, cx: &Context<'_>) -> String {
        format!("whole planes{}, {}", in_words(self.channels_last), cx.isa)
    }

    fn keeps_rows(&self) -> bool {
        true
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
        // `build_global_pool` left the norms out.
        match (self.function, self.channels_last) {
            (PoolFunction::Average { .. }, None) => global_average_pool(cores, x, y),
            (PoolFunction::Average { .. }, Some(channels)) => {
                last::pool::global_average_pool(cores, channels, x, y);
            }
            (_, None) => global_max_pool(cores, x, y),
            (_, Some(channels)) => last::pool::global_max_pool(cores, channels, x, y),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use unisono_graph::Operator;
    use unisono_graph::ops::window::{Padding, Window};
    use unisono_tensor::Tensor;

    use super::*;
    use crate::gemm::tests::values;
    use crate::kernels::layouts::{BOTH, Node};

    /// Evidence: canonical-arithmetic, same-bits-isa
    #[test]
    fn pooling_gives_the_references_bits_in_both_layouts() {
        let functions = [
            PoolFunction::Max {
                column_major_indices: false,
            },
            PoolFunction::Average {
                count_include_pad: false,
            },
            PoolFunction::Average {
                count_include_pad: true,
            },
        ];
        let mut failures = Vec::new();
        let mut check = |op: Arc<dyn Operator>, shape: &[usize]| {
            let x = values(7, shape.iter().product(), true);
            let node = Node {
                op,
                image: &Tensor::from_slice(shape, &x).unwrap(),
                constants: &[],
            };
            failures.extend(node.differences("pooling", &BOTH));
        };
        for function in functions {
            for (shape, kernel, strides, pads, ceil_mode) in [
                (&[2, 17, 31][..], &[4][..], &[3][..], &[2, 1][..], true),
                (&[2, 3, 11, 12], &[3, 2], &[2, 1], &[1, 0, 1, 1], false),
                (&[1, 40, 8, 7], &[3, 3], &[2, 2], &[1, 1, 0, 0], true),
                (&[1, 16, 4, 5, 6], &[2, 3, 2], &[1, 2, 2], &[], false),
            ] {
                let window = Window {
                    kernel: kernel.to_vec(),
                    strides: strides.to_vec(),
                    dilations: vec![],
                    padding: Padding::Explicit(pads.to_vec()),
                    ceil_mode,
                };
                check(Arc::new(Pool { function, window }), shape);
            }
            for shape in [&[2, 17, 31][..], &[2, 40, 17, 19], &[1, 3, 4, 5, 6]] {
                check(Arc::new(GlobalPool { function }), shape);
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
