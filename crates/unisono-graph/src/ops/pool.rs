//! Pooling: windows and whole spatial planes folded by maximum, average or norm.
//!
//! The one idea: as in convolutions the samples and channels (axes 0 and 1) never meet.

use super::rules::{self, FLOATS};
use super::window::{self, Window};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;
use unisono_tensor::DType;

/// How a window is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolFunction {
    /// The largest; padding never wins; NaN does. Floats and 8-bit integers.
    Max {
        /// The optional second output counts positions with the first spatial axis fastest instead of the last.
        column_major_indices: bool,
    },
    /// The mean. Floats.
    Average {
        /// Divide by the count of taps in the input and its padding (never those that `ceil_mode` adds beyond it) instead
        /// of by the count of taps in the input.
        count_include_pad: bool,
    },
    /// The `p`-norm: `(sum |x|^p)^(1/p)`. Floats.
    Lp {
        /// At least 1.
        p: u32,
    },
}

/// Pooling by windows. Input: `x` (N x C x spatial). Outputs: the result, and for `Max` optionally the position of each
/// winner in the flattened input (i64). Kind `Pool`. [`Window::place`] gives the geometry in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How a window is folded.
    pub function: PoolFunction,
    /// The windows.
    pub window: Window,
}

/// Pooling of every channel over all spatial axes, which stay with length 1. Input: `x` (N x C x spatial), floats. Kind
/// `GlobalPool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalPool {
    /// How the plane is folded. Flags about padding and indices mean nothing here.
    pub function: PoolFunction,
}

/// Types that a maximum may be taken of in windows.
const MAX_TYPES: &[DType] = &[
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I8,
    DType::U8,
];

fn check_rank(x: &Fact, most: usize) -> Result<(), OpError> {
    match &x.shape {
        Some(shape) if !(3..=most).contains(&shape.len()) => Err(OpError::new(format!(
            "input 0 (x) has shape {shape:?}; needed: samples, channels and one to {} spatial axes",
            most - 2
        ))),
        _ => Ok(()),
    }
}

fn batch_of_planes(cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
    match rules::axis_of_data(cx, &["x"])? {
        0 | 1 => Ok(rules::for_all(cx, rules::batch_of(cx, 0))),
        axis => Err(Blocker::new(format!("pools along the batch axis {axis}"))),
    }
}

impl Operator for Pool {
    fn kind(&self) -> &'static str {
        "Pool"
    }

    fn name(&self) -> &'static str {
        match self.function {
            PoolFunction::Max { .. } => "MaxPool",
            PoolFunction::Average { .. } => "AveragePool",
            PoolFunction::Lp { .. } => "LpPool",
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let is_max = matches!(self.function, PoolFunction::Max { .. });
        let x = rules::typed(cx, 0, "x", if is_max { MAX_TYPES } else { FLOATS })?;
        check_rank(x, 5)?;
        let mut shape = None;
        if let Some(from) = &x.shape {
            let kernel: Vec<Dim> = self.window.kernel.iter().map(|&n| Dim::from(n)).collect();
            let mut to = from[..2].to_vec();
            to.extend(self.window.output(&from[2..], &kernel)?);
            shape = Some(to);
        }
        cx.set(0, rules::of_shape(x.dtype, shape.clone()));
        cx.set(1, rules::of_shape(DType::I64, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        if cx.output_facts.len() > 1 && cx.output_facts[1].is_some() {
            return Err(Blocker::new(
                "gives positions that count from the first row of the batch",
            ));
        }
        batch_of_planes(cx)
    }

    /// One per tap, padding included.
    fn flops(&self, _inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let taps: Vec<u64> = self.window.kernel.iter().map(|&n| n as u64).collect();
        let elements = outputs.first()?.as_ref()?.element_count()?;
        rules::count(&[elements, rules::count(&taps)?])
    }
}

impl Operator for GlobalPool {
    fn kind(&self) -> &'static str {
        "GlobalPool"
    }

    fn name(&self) -> &'static str {
        match self.function {
            PoolFunction::Max { .. } => "GlobalMaxPool",
            PoolFunction::Average { .. } => "GlobalAveragePool",
            PoolFunction::Lp { .. } => "GlobalLpPool",
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let x = rules::typed(cx, 0, "x", FLOATS)?;
        check_rank(x, usize::MAX)?;
        let shape = x.shape.as_ref().map(|from| {
            let ones = from[2..].iter().map(|_| Dim::constant(1));
            from[..2].iter().cloned().chain(ones).collect()
        });
        cx.set(0, rules::of_shape(x.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        batch_of_planes(cx)
    }

    /// One per element of the input.
    fn flops(&self, inputs: &[Option<Fact>], _outputs: &[Option<Fact>]) -> Option<u64> {
        inputs.first()?.as_ref()?.element_count()
    }
}

/// Reads the window; `dilations_since` and `ceil_mode_since` are the opsets that brought those attributes.
fn read_window(
    spec: &mut NodeSpec<'_>,
    dilations_since: i64,
    ceil_mode_since: i64,
) -> Result<Window, OpError> {
    let (mut window, may_reach_out) = Window::read(spec)?;
    if window.kernel.is_empty() {
        return Err(OpError::attribute("kernel_shape", "is missing"));
    }
    if spec.opset >= dilations_since {
        window.dilations = window::positive(spec, "dilations")?;
    }
    if spec.opset >= ceil_mode_since {
        let ceil = spec.attributes.flag("ceil_mode", false)?;
        window.ceil_mode = ceil && may_reach_out;
    }
    Ok(window)
}

fn max_pool(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let column_major_indices = spec.opset >= 8 && spec.attributes.flag("storage_order", false)?;
    Ok(Arc::new(Pool {
        function: PoolFunction::Max {
            column_major_indices,
        },
        window: read_window(spec, 10, 10)?,
    }))
}

fn average_pool(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let count_include_pad = spec.attributes.flag("count_include_pad", false)?;
    Ok(Arc::new(Pool {
        function: PoolFunction::Average { count_include_pad },
        window: read_window(spec, 19, 10)?,
    }))
}

fn norm(spec: &mut NodeSpec<'_>) -> Result<PoolFunction, OpError> {
    let p = spec.attributes.int_or("p", 2)?;
    match u32::try_from(p) {
        Ok(p) if p > 0 => Ok(PoolFunction::Lp { p }),
        _ => Err(OpError::attribute(
            "p",
            format!("should be positive but is {p}"),
        )),
    }
}

fn lp_pool(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    Ok(Arc::new(Pool {
        function: norm(spec)?,
        window: read_window(spec, 18, 18)?,
    }))
}

const fn line(
    name: &'static str,
    build: fn(&mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError>,
    outputs: usize,
) -> Definition {
    Definition {
        domain: "",
        name,
        opsets: (7, i64::MAX),
        build,
        inputs: (1, 1),
        outputs: (1, outputs),
    }
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    line("MaxPool", max_pool, 2),
    line("AveragePool", average_pool, 1),
    line("LpPool", lp_pool, 1),
    line(
        "GlobalMaxPool",
        |_| {
            let function = PoolFunction::Max {
                column_major_indices: false,
            };
            Ok(Arc::new(GlobalPool { function }))
        },
        1,
    ),
    line(
        "GlobalAveragePool",
        |_| {
            let function = PoolFunction::Average {
                count_include_pad: false,
            };
            Ok(Arc::new(GlobalPool { function }))
        },
        1,
    ),
    line(
        "GlobalLpPool",
        |s| Ok(Arc::new(GlobalPool { function: norm(s)? })),
        1,
    ),
];
