//! Convolution and transposed convolution over one to three spatial axes.
//!
//! The one idea: the samples along axis 0 never meet, so a batch there passes whatever factors it carries.

use super::activation::Activation;
use super::rules::{self, FLOATS};
use super::window::{self, Padding, Window, WindowAxis};
use super::{Definition, NodeSpec};
use crate::{Batch, BatchContext, Blocker, Dim, Fact, InferContext, OpError, Operator};
use std::sync::Arc;

/// `activation(conv(x, w) + b)` (cross-correlation). Inputs: `x` (N x C x spatial), `w` (M x C/groups x kernel), optionally `b` (M). Output: N x M
/// x spatial. Kind `Conv`. [`Window::place`] gives the geometry in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Into how many groups the channels are divided.
    pub groups: usize,
    /// How the kernel moves. `window.kernel` may be empty: the weights say it.
    pub window: Window,
    /// Applied last.
    pub activation: Option<Activation>,
}

/// `activation(conv_transpose(x, w) + b)`. Inputs: `x` (N x C x spatial), `w` (C x M/groups x kernel), optionally `b` (M). Output: N x M x spatial with
/// `stride * (input - 1) + output_padding + dilation * (kernel - 1) + 1 - pad_begin - pad_end` per axis. Kind `ConvTranspose`.
/// [`ConvTranspose::place`] gives the geometry in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Into how many groups the channels are divided.
    pub groups: usize,
    /// The kernel's lengths; empty if only the weights say them.
    pub kernel: Vec<usize>,
    /// Distance between inputs in the output; empty for 1 everywhere.
    pub strides: Vec<usize>,
    /// How far the taps are apart; empty for 1 everywhere.
    pub dilations: Vec<usize>,
    /// What is cut off the full output; unused if `output_shape` is set, except for its side.
    pub padding: Padding,
    /// Added behind; empty for none.
    pub output_padding: Vec<usize>,
    /// The spatial lengths of the output, from which the padding follows; empty if not given.
    pub output_shape: Vec<usize>,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Default for Conv {
    /// One group, a window that moves by 1 without padding, no activation.
    fn default() -> Conv {
        Conv {
            groups: 1,
            window: Window::default(),
            activation: None,
        }
    }
}

impl Default for ConvTranspose {
    /// One group, stride 1, no padding, no activation.
    fn default() -> ConvTranspose {
        ConvTranspose {
            groups: 1,
            kernel: Vec::new(),
            strides: Vec::new(),
            dilations: Vec::new(),
            padding: Padding::Explicit(Vec::new()),
            output_padding: Vec::new(),
            output_shape: Vec::new(),
            activation: None,
        }
    }
}

/// The shapes of `x` and `w`.
type Shapes<'a> = (&'a [Dim], &'a [Dim]);

/// Checks the types and ranks that both kinds share; gives the shapes if both are known.
fn operands<'a>(cx: &InferContext<'a>) -> Result<(&'a Fact, Option<Shapes<'a>>), OpError> {
    let x = rules::typed(cx, 0, "x", FLOATS)?;
    let w = rules::typed(cx, 1, "w", &[x.dtype])?;
    for (i, name, fact) in [(0, "x", x), (1, "w", w)] {
        if let Some(shape) = &fact.shape
            && !(3..=5).contains(&shape.len())
        {
            return Err(OpError::new(format!(
                "input {i} ({name}) has shape {shape:?}; needed: two axes and one to three spatial ones"
            )));
        }
    }
    let shapes = match (&x.shape, &w.shape) {
        (Some(x), Some(w)) if x.len() != w.len() => {
            return Err(OpError::new(format!(
                "x of shape {x:?} and w of shape {w:?} differ in the number of spatial axes"
            )));
        }
        (Some(x), Some(w)) => Some((x.as_slice(), w.as_slice())),
        _ => None,
    };
    Ok((x, shapes))
}

/// Refuses weights whose kernel is not the one that the attribute says.
fn check_kernel(attribute: &[usize], weights: &[Dim]) -> Result<(), OpError> {
    let agrees = attribute.is_empty()
        || attribute.len() == weights.len()
            && attribute
                .iter()
                .zip(weights)
                .all(|(&a, w)| w.equals(&Dim::from(a)) != Some(false));
    if agrees {
        return Ok(());
    }
    Err(OpError::attribute(
        "kernel_shape",
        format!("is {attribute:?}, but the weights have the kernel {weights:?}"),
    ))
}

fn check_channels(what: &str, found: &Dim, groups: usize) -> Result<(), OpError> {
    let groups = i64::try_from(groups).unwrap_or(i64::MAX);
    match found.as_const() {
        Some(n) if n % groups != 0 => Err(OpError::attribute(
            "group",
            format!("is {groups}, which does not divide {n} {what} channels"),
        )),
        _ => Ok(()),
    }
}

fn batch_of_samples(cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
    match rules::axis_of_data(cx, &["x", "w", "b"])? {
        0 => Ok(rules::for_all(cx, rules::batch_of(cx, 0))),
        1 => Err(Blocker::new("sums over the batch axis 1")),
        axis => Err(Blocker::new(format!("slides along the batch axis {axis}"))),
    }
}

impl Operator for Conv {
    fn kind(&self) -> &'static str {
        "Conv"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let (x, shapes) = operands(cx)?;
        let mut shape = None;
        if let Some((from, w)) = shapes {
            check_kernel(&self.window.kernel, &w[2..])?;
            check_channels("input", &from[1], self.groups)?;
            check_channels("output", &w[0], self.groups)?;
            let per_group = &w[1] * &Dim::from(self.groups);
            if per_group.equals(&from[1]) == Some(false) {
                return Err(OpError::new(format!(
                    "x has {} channels, but w takes {per_group} ({} in each of {} groups)",
                    from[1], w[1], self.groups
                )));
            }
            rules::vector(cx, 2, "b", x.dtype, &w[0])?;
            let mut to = vec![from[0].clone(), w[0].clone()];
            to.extend(self.window.output(&from[2..], &w[2..])?);
            shape = Some(to);
        }
        rules::optional(cx, 2, "b", &[x.dtype])?;
        cx.set(0, rules::of_shape(x.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        batch_of_samples(cx)
    }

    /// Two per tap and channel of the group, padding included; one per element for each of bias and activation.
    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let w = inputs.get(1)?.as_ref()?.concrete_shape()?;
        let taps = w.get(1..)?.iter().map(|&n| n as u64).collect::<Vec<_>>();
        let elements = outputs.first()?.as_ref()?.element_count()?;
        let each = rules::count(&taps)?
            .checked_mul(2)?
            .checked_add(epilogue(inputs, self.activation))?;
        rules::count(&[elements, each])
    }
}

fn epilogue(inputs: &[Option<Fact>], activation: Option<Activation>) -> u64 {
    u64::from(matches!(inputs.get(2), Some(Some(_)))) + u64::from(activation.is_some())
}

impl ConvTranspose {
    fn check(&self, spatial: usize) -> Result<(), OpError> {
        let window = Window {
            kernel: self.kernel.clone(),
            strides: self.strides.clone(),
            dilations: self.dilations.clone(),
            padding: self.padding.clone(),
            ceil_mode: false,
        };
        window.check(spatial)?;
        let lists = [
            ("output_padding", self.output_padding.len(), spatial),
            ("output_shape", self.output_shape.len(), spatial),
        ];
        window::check_lengths(&lists, spatial)
    }

    /// The length of spatial axis `i` before anything is cut off.
    fn full(&self, i: usize, input: &Dim, kernel: &Dim) -> Dim {
        let at =
            |list: &[usize], default: usize| Dim::from(list.get(i).copied().unwrap_or(default));
        let one = Dim::constant(1);
        let steps = &(input - &one) * &at(&self.strides, 1);
        let taps = &(kernel - &one) * &at(&self.dilations, 1);
        &(&(&steps + &at(&self.output_padding, 0)) + &taps) + &one
    }

    /// The spatial lengths of the output for those of the input and the kernel.
    ///
    /// # Errors
    /// A list has the wrong length, or the padding is larger than the output.
    pub fn output(&self, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>, OpError> {
        self.check(input.len())?;
        input
            .iter()
            .zip(kernel)
            .enumerate()
            .map(|(i, (length, kernel))| {
                if let Some(&fixed) = self.output_shape.get(i) {
                    return Ok(Dim::from(fixed));
                }
                let out = match &self.padding {
                    Padding::SameUpper | Padding::SameLower => {
                        length * &Dim::from(self.strides.get(i).copied().unwrap_or(1))
                    }
                    Padding::Explicit(pads) => {
                        let at = |j: usize| Dim::from(pads.get(j).copied().unwrap_or(0));
                        &(&self.full(i, length, kernel) - &at(i)) - &at(input.len() + i)
                    }
                };
                match out.as_const() {
                    Some(n) if n < 0 => Err(OpError::attribute(
                        "pads",
                        format!(
                            "cut more off axis {} than there is: its length would be {n}",
                            i + 2
                        ),
                    )),
                    _ => Ok(out),
                }
            })
            .collect()
    }

    /// The geometry in numbers for the spatial lengths of the input and the kernel. `pad_begin` is what is cut off the
    /// beginning of the full output; an output that is asked to be longer than the full one ends with positions that
    /// no tap reaches.
    ///
    /// # Errors
    /// As [`ConvTranspose::output`].
    pub fn place(&self, input: &[usize], kernel: &[usize]) -> Result<Vec<WindowAxis>, OpError> {
        let dims = |lengths: &[usize]| lengths.iter().map(|&n| Dim::from(n)).collect::<Vec<_>>();
        let (input_dims, kernel_dims) = (dims(input), dims(kernel));
        let output = self.output(&input_dims, &kernel_dims)?;
        let mut axes = Vec::with_capacity(input.len());
        for (i, (&input_length, &kernel)) in input.iter().zip(kernel).enumerate() {
            let too_large = || OpError::new(format!("axis {} is too large", i + 2));
            let full = self.full(i, &input_dims[i], &kernel_dims[i]);
            let full = full.as_const().ok_or_else(too_large)?;
            let output = output[i].as_len().ok_or_else(too_large)?;
            let (pad_begin, pad_end) = match &self.padding {
                Padding::Explicit(pads) if self.output_shape.is_empty() => {
                    let at = |j: usize| pads.get(j).copied().unwrap_or(0);
                    (at(i), at(input.len() + i))
                }
                side => {
                    let wanted = i64::try_from(output).map_err(|_| too_large())?;
                    let total = usize::try_from(full.saturating_sub(wanted)).unwrap_or(0);
                    window::split(total, *side == Padding::SameUpper)
                }
            };
            axes.push(WindowAxis {
                kernel,
                stride: self.strides.get(i).copied().unwrap_or(1),
                dilation: self.dilations.get(i).copied().unwrap_or(1),
                pad_begin,
                pad_end,
                input: input_length,
                output,
            });
        }
        Ok(axes)
    }
}

impl Operator for ConvTranspose {
    fn kind(&self) -> &'static str {
        "ConvTranspose"
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<(), OpError> {
        let (x, shapes) = operands(cx)?;
        let mut shape = None;
        if let Some((from, w)) = shapes {
            check_kernel(&self.kernel, &w[2..])?;
            check_channels("input", &from[1], self.groups)?;
            if w[0].equals(&from[1]) == Some(false) {
                return Err(OpError::new(format!(
                    "x has {} channels, but w takes {}",
                    from[1], w[0]
                )));
            }
            let channels = &w[1] * &Dim::from(self.groups);
            rules::vector(cx, 2, "b", x.dtype, &channels)?;
            let mut to = vec![from[0].clone(), channels];
            to.extend(self.output(&from[2..], &w[2..])?);
            shape = Some(to);
        }
        rules::optional(cx, 2, "b", &[x.dtype])?;
        cx.set(0, rules::of_shape(x.dtype, shape));
        Ok(())
    }

    fn batch(&self, cx: &BatchContext<'_>) -> Result<Vec<Batch>, Blocker> {
        batch_of_samples(cx)
    }

    /// Two per input element, tap and output channel of the group; one per output element for each of bias and activation.
    fn flops(&self, inputs: &[Option<Fact>], outputs: &[Option<Fact>]) -> Option<u64> {
        let w = inputs.get(1)?.as_ref()?.concrete_shape()?;
        let taps = w.get(1..)?.iter().map(|&n| n as u64).collect::<Vec<_>>();
        let from = inputs.first()?.as_ref()?.element_count()?;
        let to = outputs.first()?.as_ref()?.element_count()?;
        let products = rules::count(&[from, rules::count(&taps)?, 2])?;
        products.checked_add(rules::count(&[to, epilogue(inputs, self.activation)])?)
    }
}

fn groups(spec: &mut NodeSpec<'_>) -> Result<usize, OpError> {
    let groups = spec.attributes.int_or("group", 1)?;
    usize::try_from(groups)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| OpError::attribute("group", format!("should be positive but is {groups}")))
}

fn conv(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let groups = groups(spec)?;
    let (mut window, _) = Window::read(spec)?;
    window.dilations = window::positive(spec, "dilations")?;
    Ok(Arc::new(Conv {
        groups,
        window,
        activation: None,
    }))
}

fn conv_transpose(spec: &mut NodeSpec<'_>) -> Result<Arc<dyn Operator>, OpError> {
    let groups = groups(spec)?;
    let (window, _) = Window::read(spec)?;
    Ok(Arc::new(ConvTranspose {
        groups,
        kernel: window.kernel,
        strides: window.strides,
        dilations: window::positive(spec, "dilations")?,
        padding: window.padding,
        output_padding: window::numbers(spec, "output_padding", 0)?,
        output_shape: window::positive(spec, "output_shape")?,
        activation: None,
    }))
}

/// The registry's lines of this family.
pub const OPERATORS: &[Definition] = &[
    Definition {
        domain: "",
        name: "Conv",
        opsets: (7, i64::MAX),
        build: conv,
        inputs: (2, 3),
        outputs: (1, 1),
    },
    Definition {
        domain: "",
        name: "ConvTranspose",
        opsets: (7, i64::MAX),
        build: conv_transpose,
        inputs: (2, 3),
        outputs: (1, 1),
    },
];
