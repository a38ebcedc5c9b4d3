//! Interpolation of `f32`.
//!
//! The one idea: the reference says once, when a kernel is built, which samples an output index has along each axis and what they weigh; what is
//! left for the run is copying lines, or chains over lines. Axes that change nothing are taken together in front of the others and behind them, so both layouts
//! of an image, with channels first or last, are the same work with another length of what stays together.
//!
//! It must never change the order of the chains: those of a later axis lie inside of those of an earlier one.

mod copy;
mod table;
#[cfg(test)]
mod tests;
mod weigh;

use unisono_graph::ops::resize::{AspectRatio, Coordinates, Resize};
use unisono_reference::eval::{ResizeParameters, resize_axes};
use unisono_runtime::Error;
use unisono_tensor::{DType, Tensor};

use crate::exec::kernel::{Build, Kernel, Known};
use copy::Copy;
use table::FEW;
pub use table::Table;
use weigh::Weigh;

/// What is resampled: outer x (three axes) x inner.
pub struct Layout {
    /// Elements before the axes.
    pub outer: usize,
    /// Of fewer than three axes the first ones have length 1.
    pub axes: [Table; 3],
    /// Elements that stay together.
    pub inner: usize,
}

impl Layout {
    /// Axes that change nothing are taken together in front of the others and behind them. `None` if more than three axes lie between the
    /// first and the last one that changes something.
    pub fn new(mut tables: Vec<Table>) -> Option<Layout> {
        let len = |tables: &[Table]| tables.iter().map(|t| t.output).product::<usize>();
        let changes = |t: &Table| !t.changes_nothing();
        let end = tables.iter().rposition(changes).map_or(0, |last| last + 1);
        let inner = len(&tables[end..]);
        tables.truncate(end);
        let start = tables.iter().position(changes).unwrap_or(end);
        let outer = len(&tables[..start]);
        let mut between = tables.into_iter().skip(start).rev();
        let mut next = || between.next().unwrap_or_else(Table::single);
        let (cols, rows, depth) = (next(), next(), next());
        between.next().is_none().then_some(Layout {
            outer,
            axes: [depth, rows, cols],
            inner,
        })
    }
}

/// Builds an interpolation whose parameters are known. Regions of interest are left to the reference.
pub fn build_resize(build: &Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error> {
    let Some(op) = build.op::<Resize>() else {
        return Ok(None);
    };
    let of_floats = |known: Option<&Known>| {
        known.is_some_and(|known| known.dtype == DType::F32 && known.shape.is_some())
    };
    if !of_floats(build.input(0))
        || !of_floats(build.output(0))
        || op.coordinates == Coordinates::TfCropAndResize
    {
        return Ok(None);
    }
    let (from, to) = (build.shape(0), build.output_shape(0));
    if from.contains(&0) || to.contains(&0) || from.len() != to.len() {
        return Ok(None);
    }
    let input = |index: usize| build.input(index).cloned();
    let Some(tables) = tables(op, from, to, build.channels_last, &input)? else {
        return Ok(None);
    };
    let only_picks = tables.iter().all(Table::only_picks);
    // The chains over channels lie outside of those over spatial axes, which are in front of them here.
    let inside_out = build.channels_last && tables.last().is_some_and(|t| !t.only_picks());
    let Some(mut layout) = Layout::new(tables).filter(|_| only_picks || !inside_out) else {
        return Ok(None);
    };
    if (2..=FEW).contains(&layout.inner)
        && let Some(spread) = layout.axes[2].spread(layout.inner)
    {
        (layout.axes[2], layout.inner) = (spread, 1);
    }
    if only_picks {
        return Ok(Some(Box::new(Copy::new(layout))));
    }
    let weigh = Weigh::new(build, layout);
    Ok(weigh.map(|kernel| Box::new(kernel) as Box<dyn Kernel>))
}

/// The tables of all axes, in the order of memory, for an interpolation from one shape to another; `input` says what is known of the
/// operator's inputs. `None` if parameters are not known, or if an axis should be left to the reference.
///
/// # Errors
/// A parameter could not be copied.
pub fn tables(
    op: &Resize,
    from: &[usize],
    to: &[usize],
    channels_last: bool,
    input: &dyn Fn(usize) -> Option<Known>,
) -> Result<Option<Vec<Table>>, Error> {
    let mut order: Vec<usize> = (0..from.len()).collect();
    if channels_last && order.len() > 2 {
        // Axis 1 of the model is the last one here.
        order[1..].rotate_left(1);
    }
    // The lengths of the model's axes.
    let logical = |shape: &[usize]| {
        let mut lengths = vec![0; order.len()];
        for (&axis, &len) in order.iter().zip(shape) {
            lengths[axis] = len;
        }
        lengths
    };
    // What is left out or empty; of an input with an unknown shape nobody can say.
    let is_unclear = |index: Option<usize>| {
        let known = index.and_then(input);
        known.is_some_and(|known| known.shape.is_none())
    };
    if is_unclear(op.sizes_input) || is_unclear(op.scales_input) {
        return Ok(None);
    }
    let given = |index: Option<usize>| {
        let known = index.and_then(input);
        known.filter(|known| known.shape.as_ref().is_some_and(|s| !s.contains(&0)))
    };
    let (mut scales, mut sizes) = (None, None);
    if op.scales.is_some() {
        // The node says them.
    } else if let Some(known) = given(op.sizes_input) {
        // Where the aspect ratio is not kept, the shapes say the same.
        if op.aspect_ratio != AspectRatio::Stretch {
            let constant = || known.constant.as_ref()?.to_i64s();
            let Some(known) = known.integers.clone().or_else(constant) else {
                return Ok(None);
            };
            sizes = Some(Tensor::from_slice(&[known.len()], &known)?);
        }
    } else if let Some(known) = given(op.scales_input) {
        let Some(constant) = &known.constant else {
            return Ok(None);
        };
        scales = Some(constant.to_aligned()?);
    }
    let parameters = ResizeParameters {
        region: None,
        scales: scales.as_ref().map(Tensor::view).transpose()?,
        sizes: sizes.as_ref().map(Tensor::view).transpose()?,
    };
    // What the reference refuses it refuses when it runs.
    let Ok(axes) = resize_axes(op, &logical(from), &logical(to), parameters) else {
        return Ok(None);
    };
    let lengths = from.iter().zip(to);
    Ok(order
        .iter()
        .zip(lengths)
        .map(|(&axis, (&from, &to))| Table::new(op, axes.get(axis)?, from, to))
        .collect())
}
