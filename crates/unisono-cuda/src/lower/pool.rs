//! Pooling and interpolation.

use unisono_cpu::exec::kernel::Known;
use unisono_cpu::kernels::resize::{Layout, Table, tables};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::resize::{Coordinates, Resize};
use unisono_reference::arith::Reduction;
use unisono_runtime::Error;
use unisono_tensor::DType;

use super::{Lower, Lowering};
use crate::kernels::map::elements;
use crate::kernels::pool::{self as kernels, Pooled, Samples};
use crate::kernels::rows::{self, Rows};
use crate::launch::{Buffer, Place};

/// What this module lowers.
pub(super) const LOWERINGS: &[(&str, Lower)] = &[
    ("GlobalPool", global_pool),
    ("Pool", pool),
    ("Resize", resize),
];

fn pool(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(shape)) = (cx.op::<Pool>(), cx.shape(0)) else {
        return Ok(false);
    };
    if shape.len() < 3 || !cx.maps(DType::F32) {
        return Ok(false);
    }
    let Ok(axes) = op.window.place(&shape[2..], &op.window.kernel) else {
        return Ok(false);
    };
    let output = cx.output_shape(0);
    let fits =
        output.is_some_and(|y| y[..2] == shape[..2] && axes.iter().map(|a| &a.output).eq(&y[2..]));
    let positions = cx.output(1).and_then(|operand| operand.buffer);
    let (pooled, wants) = match op.function {
        PoolFunction::Average { count_include_pad } => {
            let counts_padding = count_include_pad;
            (Pooled::Average { counts_padding }, false)
        }
        PoolFunction::Max {
            column_major_indices,
        } => {
            let column_major = column_major_indices;
            let pooled = Pooled::Max {
                positions,
                column_major,
            };
            (pooled, cx.output(1).is_some())
        }
        PoolFunction::Lp { .. } => return Ok(false),
    };
    let planes = shape[0].saturating_mul(shape[1]);
    let make = |x, y| kernels::windows(planes, &axes, pooled, x, y);
    let nowhere = Buffer::at(Place::Status);
    if !fits || wants != positions.is_some() || make(nowhere, nowhere).is_none() {
        return Ok(false);
    }
    if cx.is_empty() {
        return Ok(true);
    }
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    Ok(cx.emit(make(x, y)))
}

fn global_pool(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(shape)) = (cx.op::<GlobalPool>(), cx.shape(0)) else {
        return Ok(false);
    };
    let function = op.function;
    let fits = shape.len() >= 2 && elements(&shape).is_some() && cx.maps(DType::F32);
    if !fits || matches!(function, PoolFunction::Lp { .. }) {
        return Ok(false);
    }
    if cx.is_empty() {
        return Ok(true);
    }
    let (planes, n) = (shape[0] * shape[1], shape[2..].iter().product::<usize>());
    let (x, y, processors) = (cx.read(0)?, cx.write(0)?, cx.processors);
    if matches!(function, PoolFunction::Max { .. }) {
        // The greatest is the same in any order.
        let rows = Rows { rows: planes, n };
        let launch = rows::reduce_rows(rows, Reduction::Max, processors, x, y);
        return Ok(cx.emit(launch));
    }
    let slices = kernels::slices(n);
    let chains = match slices {
        1 => None,
        _ => Some(cx.site.scratch(planes * slices * size_of::<f32>())?),
    };
    let launches = kernels::plane_averages(planes, n, x, chains, y);
    Ok(cx.emit(launches.into_iter().flatten()))
}

fn resize(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let (Some(op), Some(from), Some(to)) = (cx.op::<Resize>(), cx.shape(0), cx.output_shape(0))
    else {
        return Ok(false);
    };
    let crops = op.coordinates == Coordinates::TfCropAndResize;
    let fits = from.len() == to.len() && elements(&from).is_some() && elements(&to).is_some();
    if crops || !fits || from.contains(&0) || to.contains(&0) || !cx.maps(DType::F32) {
        return Ok(false);
    }
    let known = |index: usize| {
        let operand = cx.input(index)?;
        Some(Known {
            dtype: operand.dtype,
            shape: Some(operand.shape.clone()),
            integers: operand.integers.clone(),
            constant: operand.constant.clone(),
            value: operand.value,
        })
    };
    let tables = tables(op, &from, &to, false, &known)?;
    let Some(layout) = tables.and_then(Layout::new) else {
        return Ok(false);
    };
    let samples = |table: &Table, tables: [Buffer; 3]| Samples {
        tables,
        input: table.input,
        output: table.output,
        pitch: table.pitch(),
    };
    let make = |places: &[[Buffer; 3]; 3], x, y| {
        let axes = std::array::from_fn(|k| samples(&layout.axes[k], places[k]));
        kernels::resize(layout.outer, &axes, layout.inner, x, y)
    };
    let nowhere = Buffer::at(Place::Status);
    if make(&[[nowhere; 3]; 3], nowhere, nowhere).is_none() {
        return Ok(false);
    }
    let mut places = [[nowhere; 3]; 3];
    for (places, table) in places.iter_mut().zip(&layout.axes) {
        let (positions, weights, counts) = table.entries();
        *places = [
            cx.site.table(bytemuck::cast_slice(positions).to_vec())?,
            cx.site.table(bytemuck::cast_slice(weights).to_vec())?,
            cx.site.table(bytemuck::cast_slice(counts).to_vec())?,
        ];
    }
    let (x, y) = (cx.read(0)?, cx.write(0)?);
    Ok(cx.emit(make(&places, x, y)))
}
