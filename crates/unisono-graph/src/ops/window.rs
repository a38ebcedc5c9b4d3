//! Windows that slide over spatial axes: what convolutions and pooling share.
//!
//! The one idea: [`Window`] holds what the node says, [`Window::place`] turns it into numbers for concrete shapes, and the
//! symbolic formula of `infer` is the same one over [`crate::Dim`].

use super::NodeSpec;
use crate::{Dim, OpError};

/// How the input is padded at the ends of its spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Before every axis, then behind every axis; empty for none. Never negative.
    Explicit(Vec<usize>),
    /// As much as makes the output `ceil(input / stride)`, the odd one behind.
    SameUpper,
    /// As much as makes the output `ceil(input / stride)`, the odd one in front.
    SameLower,
}

/// A window over the spatial axes (all but the first two) of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The kernel's lengths; empty if they are the weights' to say (convolutions).
    pub kernel: Vec<usize>,
    /// How far the window moves; empty for 1 everywhere.
    pub strides: Vec<usize>,
    /// How far the taps are apart; empty for 1 everywhere.
    pub dilations: Vec<usize>,
    /// The padding.
    pub padding: Padding,
    /// The output's length is rounded up (pooling); a window that would start behind the input and its padding in front
    /// is dropped.
    pub ceil_mode: bool,
}

/// One spatial axis of a placed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAxis {
    /// The kernel's length.
    pub kernel: usize,
    /// How far the window moves.
    pub stride: usize,
    /// How far the taps are apart.
    pub dilation: usize,
    /// Padding in front.
    pub pad_begin: usize,
    /// Padding behind, as the node or its padding rule says; `ceil_mode` may let windows reach beyond it.
    pub pad_end: usize,
    /// The input's length.
    pub input: usize,
    /// The output's length.
    pub output: usize,
}

impl Default for Window {
    /// A window that takes its kernel from the weights, moves by 1 and is not padded.
    fn default() -> Window {
        Window {
            kernel: Vec::new(),
            strides: Vec::new(),
            dilations: Vec::new(),
            padding: Padding::Explicit(Vec::new()),
            ceil_mode: false,
        }
    }
}

/// Entry `i` of a list that is empty where all entries are the default.
fn entry(list: &[usize], i: usize, default: usize) -> usize {
    list.get(i).copied().unwrap_or(default)
}

/// The distance from the first to behind the last tap.
fn extent(kernel: &Dim, dilation: usize) -> Dim {
    let one = Dim::constant(1);
    &(&(kernel - &one) * &Dim::from(dilation)) + &one
}

impl Window {
    /// Checks that every list has one entry per spatial axis.
    pub(super) fn check(&self, spatial: usize) -> Result<(), OpError> {
        let lists = [
            ("kernel_shape", self.kernel.len(), spatial),
            ("strides", self.strides.len(), spatial),
            ("dilations", self.dilations.len(), spatial),
            ("pads", self.padding.len(), 2 * spatial),
        ];
        check_lengths(&lists, spatial)
    }

    /// The spatial lengths of the output for those of the input and the kernel.
    ///
    /// # Errors
    /// A list has the wrong length, or the window does not fit into the padded input.
    pub fn output(&self, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>, OpError> {
        self.check(input.len())?;
        let one = Dim::constant(1);
        input
            .iter()
            .zip(kernel)
            .enumerate()
            .map(|(i, (length, kernel))| {
                let stride = Dim::from(entry(&self.strides, i, 1));
                let (begin, end) = match &self.padding {
                    Padding::SameUpper | Padding::SameLower => {
                        return Ok(length.ceil_div(&stride));
                    }
                    Padding::Explicit(pads) => (
                        Dim::from(entry(pads, i, 0)),
                        Dim::from(entry(pads, input.len() + i, 0)),
                    ),
                };
                let extent = extent(kernel, entry(&self.dilations, i, 1));
                let in_front = length + &begin;
                let room = &(&in_front + &end) - &extent;
                if room.as_const().is_some_and(|n| n < 0) {
                    return Err(OpError::new(format!(
                        "a window of {extent} does not fit into axis {} of length {length}, padded by {begin} and {end}",
                        i + 2
                    )));
                }
                if !self.ceil_mode {
                    return Ok(&room.floor_div(&stride) + &one);
                }
                let rounded_up = &room.ceil_div(&stride) + &one;
                // A window that starts behind the input and the padding in front of it holds nothing. That cannot
                // happen where the padding behind and a stride fit into the window.
                if (&extent - &(&end + &stride)).lower_bound() >= Some(0) {
                    return Ok(rounded_up);
                }
                Ok(rounded_up.smaller(&in_front.ceil_div(&stride)))
            })
            .collect()
    }

    /// The geometry in numbers for the spatial lengths of the input and the kernel.
    ///
    /// # Errors
    /// As [`Window::output`].
    pub fn place(&self, input: &[usize], kernel: &[usize]) -> Result<Vec<WindowAxis>, OpError> {
        let dims = |lengths: &[usize]| lengths.iter().map(|&n| Dim::from(n)).collect::<Vec<_>>();
        let output = self.output(&dims(input), &dims(kernel))?;
        let mut axes = Vec::with_capacity(input.len());
        for (i, (output, (&input_length, &kernel))) in
            output.iter().zip(input.iter().zip(kernel)).enumerate()
        {
            let too_large = || OpError::new(format!("axis {} is too large", i + 2));
            let output = output.as_len().ok_or_else(too_large)?;
            let stride = entry(&self.strides, i, 1);
            let dilation = entry(&self.dilations, i, 1);
            let (pad_begin, pad_end) = match &self.padding {
                Padding::Explicit(pads) => (entry(pads, i, 0), entry(pads, input.len() + i, 0)),
                side => {
                    let extent = kernel
                        .saturating_sub(1)
                        .checked_mul(dilation)
                        .and_then(|n| n.checked_add(1));
                    let reach = output
                        .saturating_sub(1)
                        .checked_mul(stride)
                        .zip(extent)
                        .and_then(|(start, extent)| start.checked_add(extent));
                    let total = reach.ok_or_else(too_large)?.saturating_sub(input_length);
                    split(total, *side == Padding::SameUpper)
                }
            };
            axes.push(WindowAxis {
                kernel,
                stride,
                dilation,
                pad_begin,
                pad_end,
                input: input_length,
                output,
            });
        }
        Ok(axes)
    }

    /// Reads the attributes that convolutions and pooling share. Dilations and `ceil_mode` are left to the caller: pooling
    /// has not always had them. The flag is false if `auto_pad` keeps windows inside, whatever `ceil_mode` says.
    pub(super) fn read(spec: &mut NodeSpec<'_>) -> Result<(Window, bool), OpError> {
        let automatic = spec.attributes.string("auto_pad")?;
        let window = Window {
            kernel: positive(spec, "kernel_shape")?,
            strides: positive(spec, "strides")?,
            padding: Padding::new(numbers(spec, "pads", 0)?, automatic.as_deref())?,
            ..Window::default()
        };
        let may_reach_out = matches!(automatic.as_deref(), None | Some("NOTSET" | ""));
        Ok((window, may_reach_out))
    }
}

/// Halves; the odd one goes behind if `upper`, else in front.
pub(super) fn split(total: usize, upper: bool) -> (usize, usize) {
    let small = total / 2;
    if upper {
        (small, total - small)
    } else {
        (total - small, small)
    }
}

/// Refuses lists that are neither empty nor as long as they should be: `(name, found, needed)`.
pub(super) fn check_lengths(lists: &[(&str, usize, usize)], spatial: usize) -> Result<(), OpError> {
    for &(name, found, needed) in lists {
        if found != 0 && found != needed {
            return Err(OpError::attribute(
                name,
                format!("has {found} entries; needed: {needed} for {spatial} spatial axes"),
            ));
        }
    }
    Ok(())
}

/// A list of positive numbers; empty if it is not there.
pub(super) fn positive(spec: &mut NodeSpec<'_>, name: &str) -> Result<Vec<usize>, OpError> {
    numbers(spec, name, 1)
}

/// A list of numbers from `least`; empty if it is not there.
pub(super) fn numbers(
    spec: &mut NodeSpec<'_>,
    name: &str,
    least: usize,
) -> Result<Vec<usize>, OpError> {
    let list = spec.attributes.ints(name)?.unwrap_or_default();
    list.iter()
        .map(|&n| {
            // Beyond 2^31 lengths no longer multiply safely, and no model means it.
            usize::try_from(n)
                .ok()
                .filter(|&n| n >= least && n <= i32::MAX as usize)
                .ok_or_else(|| {
                    OpError::attribute(name, format!("holds {n}; allowed: {least} to {}", i32::MAX))
                })
        })
        .collect()
}

impl Padding {
    fn len(&self) -> usize {
        match self {
            Padding::Explicit(pads) => pads.len(),
            Padding::SameUpper | Padding::SameLower => 0,
        }
    }

    /// What `pads` and `auto_pad` mean together.
    pub(super) fn new(pads: Vec<usize>, automatic: Option<&str>) -> Result<Padding, OpError> {
        match automatic {
            None | Some("NOTSET" | "") => Ok(Padding::Explicit(pads)),
            Some("VALID") => Ok(Padding::Explicit(Vec::new())),
            Some("SAME_UPPER") => Ok(Padding::SameUpper),
            Some("SAME_LOWER") => Ok(Padding::SameLower),
            Some(other) => Err(OpError::attribute(
                "auto_pad",
                format!("should be NOTSET, VALID, SAME_UPPER or SAME_LOWER but is \"{other}\""),
            )),
        }
    }
}
