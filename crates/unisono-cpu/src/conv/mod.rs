//! Convolution, transposed convolution and pooling in the canonical arithmetic, on N x C x spatial data.
//!
//! Every output of a convolution is a long sum over (kz, ky, kx, ci), ci fastest (see `unisono_reference::arith`), so a convolution is
//! a matrix product of the weights with a matrix of input patches. Values come in two forms. Programs prefer that which has channels
//! last, see [`last`]. Here are the kernels for the model's own: output positions lie in the lanes, the weights are the packed
//! left-hand side, a tile gathers the patches of a few dozen positions as panels of the right-hand side, and the product's own
//! microkernels write finished rows of the output in the order in which it is stored.
//!
//! * [`ConvWeights`] packs the weights once; [`conv`] runs them. Few outputs per group skip the panels and read a zero-padded copy of
//!   the input instead, see the `direct` module; depthwise convolutions of narrow maps have channels in the lanes, see `channels`.
//! * [`max_pool`], [`average_pool`] and their global forms stand beside it because they walk the same windows.
//!
//! It must never let padding, position or tile change the order of a sum: padding takes part as zeros, so that `0 * inf` is NaN there
//! too. Taps are left out only if all weights are finite, which is found out once, when they are packed: those of a transposed
//! convolution that fall between its inputs, and those of a depthwise one of [`last`] that fall outside.

mod channels;
mod dense;
mod direct;
mod gather;
pub mod last;
mod passes;
mod pool;

#[cfg(test)]
mod tests;

pub use pool::{average_pool, global_average_pool, global_max_pool, max_pool};
pub use unisono_reference::arith::{ConvShape, PoolShape};

use unisono_tensor::TensorError;

use crate::gemm::microkernel::Microkernels;
use crate::gemm::{Cores, Epilogue, MatrixRef, PackedA, Unary};
use crate::memory::Seats;
use crate::simd::Isa;
use passes::Pass;

/// What a convolution's weights are made for, independent of the spatial sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvKind {
    /// Whether it is a transposed convolution.
    pub transposed: bool,
    /// Channels of the input, all groups together.
    pub in_channels: usize,
    /// Channels of the output, all groups together.
    pub out_channels: usize,
    /// Groups; both channel counts are multiples of it.
    pub groups: usize,
    /// The kernel's spatial size; missing leading axes are 1.
    pub kernel: [usize; 3],
    /// Strides; 1 on missing leading axes.
    pub strides: [usize; 3],
    /// Dilations; 1 on missing leading axes.
    pub dilations: [usize; 3],
}

impl ConvKind {
    /// The kind that a shape belongs to.
    pub fn of(shape: &ConvShape, transposed: bool) -> Self {
        Self {
            transposed,
            in_channels: shape.in_channels,
            out_channels: shape.out_channels,
            groups: shape.groups,
            kernel: shape.kernel,
            strides: shape.strides,
            dilations: shape.dilations,
        }
    }

    fn in_per_group(&self) -> usize {
        self.in_channels / self.groups
    }

    fn out_per_group(&self) -> usize {
        self.out_channels / self.groups
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// What it is in words: `depthwise 3x3`.
    fn in_words(&self) -> String {
        self.in_words_as(
            match (self.in_per_group(), self.out_per_group(), self.groups) {
                (1, 1, 2..) => "depthwise",
                (_, _, 2..) => "grouped",
                _ if self.taps() == 1 => "pointwise",
                _ => "dense",
            },
        )
    }

    fn in_words_as(&self, what: &str) -> String {
        let [depth, height, width] = self.kernel;
        let window = match depth {
            1 => format!("{height}x{width}"),
            _ => format!("{depth}x{height}x{width}"),
        };
        let transposed = if self.transposed { ", transposed" } else { "" };
        format!("{what} {window}{transposed}")
    }

    /// Where the weight of output channel `co` and the `ci`-th input channel of its group for a tap stands in ONNX's order.
    fn weight_index(&self, co: usize, ci: usize, tap: usize) -> usize {
        let (ins, outs) = (self.in_per_group(), self.out_per_group());
        let pair = if self.transposed {
            (co / outs * ins + ci) * outs + co % outs
        } else {
            co * ins + ci
        };
        pair * self.taps() + tap
    }
}

/// Weights of a convolution, packed once for one instruction set.
#[derive(Debug)]
pub struct ConvWeights {
    isa: Isa,
    kind: ConvKind,
    method: Method,
}

#[derive(Debug)]
enum Method {
    /// As a matrix product over gathered panels.
    Dense(Vec<Pass>),
    /// One chain per output and lane over a padded copy of the input.
    Direct {
        /// The weights by output channel, (ky, kx, ci).
        ordered: Vec<f32>,
        /// Those of a depthwise convolution by 16 channels, tap and channel, for maps that suit the `channels` module.
        turned: Option<Vec<f32>>,
    },
}

/// Outputs per group up to which a row of the output is computed directly: a panel's values would be used too few times to be worth
/// gathering.
const DIRECT_OUTPUTS: usize = 3;

impl ConvWeights {
    /// Packs weights in ONNX's order: M x C/groups x kernel, or C x M/groups x kernel for a transposed convolution.
    ///
    /// # Errors
    /// There is no memory for them.
    ///
    /// # Panics
    /// If the channel counts are not multiples of the groups, a stride is 0, or `w` has not the length that the kind asks for.
    pub fn pack(isa: Isa, kind: ConvKind, w: &[f32]) -> Result<Self, TensorError> {
        assert!(
            kind.groups > 0
                && kind.in_channels.is_multiple_of(kind.groups)
                && kind.out_channels.is_multiple_of(kind.groups),
            "channels must be multiples of the groups"
        );
        assert!(kind.strides.iter().all(|&s| s > 0), "strides must not be 0");
        assert_eq!(
            w.len(),
            kind.in_per_group() * kind.out_channels * kind.taps(),
            "weights"
        );
        let direct =
            !kind.transposed && kind.kernel[0] == 1 && kind.out_per_group() <= DIRECT_OUTPUTS;
        let method = if direct {
            let turned = channels::serves(&kind).then(|| channels::turn_weights(&kind, w));
            Method::Direct {
                ordered: direct::order_weights(&kind, w)?,
                turned: turned.transpose()?,
            }
        } else {
            Method::Dense(passes::pack(isa, &kind, w)?)
        };
        Ok(Self { isa, kind, method })
    }

    /// What they are weights of.
    pub fn kind(&self) -> &ConvKind {
        &self.kind
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        match &self.method {
            Method::Dense(passes) => passes
                .iter()
                .flat_map(|pass| &pass.weights)
                .map(PackedA::bytes)
                .sum(),
            Method::Direct { ordered, turned } => {
                size_of_val(ordered.as_slice())
                    + turned.as_ref().map_or(0, |w| size_of_val(w.as_slice()))
            }
        }
    }

    /// The algorithm that they are packed for, in words.
    pub(crate) fn in_words(&self) -> String {
        let what = match (&self.method, self.kind.in_per_group()) {
            (Method::Direct { .. }, 2..) => self.kind.in_words_as("few outputs"),
            _ => self.kind.in_words(),
        };
        let isa = self.isa;
        match &self.method {
            Method::Direct { turned: None, .. } => {
                format!("{what}, direct from a padded copy, {isa}")
            }
            Method::Direct { .. } => format!(
                "{what}, direct from a padded copy or, on narrow maps, 16 channels at a time, {isa}"
            ),
            Method::Dense(_) => {
                let tile = Microkernels::of(isa).in_words(isa);
                format!("{what}, product with gathered panels, {tile}")
            }
        }
    }

    fn check(&self, isa: Isa, shape: &ConvShape) {
        assert_eq!(
            self.isa, isa,
            "the weights are packed for another instruction set"
        );
        check_shape(&self.kind, shape);
    }
}

/// Panics unless the shape is of this kind and its positions can be computed with 32 bits.
fn check_shape(kind: &ConvKind, shape: &ConvShape) {
    assert_eq!(
        *kind,
        ConvKind::of(shape, kind.transposed),
        "the weights are packed for another convolution"
    );
    let plane = |size: [usize; 3]| {
        size.iter()
            .try_fold(1_usize, |n, &d| n.checked_mul(d))
            .filter(|&n| n < 1 << 30)
    };
    assert!(
        plane(shape.input).is_some() && plane(shape.output).is_some(),
        "a channel of 2^30 or more elements"
    );
    let reach = (0..3)
        .map(|axis| shape.pads[axis].max(shape.kernel[axis].saturating_mul(shape.dilations[axis])));
    assert!(
        reach.max() < Some(1 << 30),
        "a kernel or padding of 2^30 or more elements"
    );
    if !kind.transposed {
        // Positions are computed with 32 bits.
        let far = (0..3).map(|axis| shape.output[axis].saturating_mul(shape.strides[axis]));
        assert!(
            far.max() < Some(1 << 30),
            "an output that reaches 2^30 or more elements"
        );
    }
}

/// What happens to a convolution's sums: `activation(total + bias + residual)`, each step only where present.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvEpilogue<'a> {
    /// One value per output channel.
    pub bias: Option<&'a [f32]>,
    /// As many values as the output, in its order. Not for transposed convolutions.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Option<Unary>,
}

impl<'a> ConvEpilogue<'a> {
    /// What happens to planes of the output, one a row: those from `channel` on, of which the first begins at element `first`. Planes have `len`
    /// elements.
    fn of_planes(&self, channel: usize, first: usize, len: usize) -> Epilogue<'a> {
        let bias = |bias: &'a [f32]| MatrixRef::repeat_col(&bias[channel..]);
        let residual = |residual: &'a [f32]| MatrixRef::row_major(&residual[first..], len);
        Epilogue {
            bias: self.bias.map(bias),
            residual: self.residual.map(residual),
            activation: self.activation,
            ..Epilogue::default()
        }
    }
}

/// Elements of scratch memory for a [`conv`].
pub fn conv_scratch(cores: Cores<'_>, shape: &ConvShape, weights: &ConvWeights) -> usize {
    let per_seat = match &weights.method {
        Method::Dense(passes) => dense::Cut::new(cores, shape, &weights.kind, passes).area,
        Method::Direct {
            turned: Some(_), ..
        } if channels::suits(shape) => channels::Cut::new(cores, shape).area,
        Method::Direct { .. } => direct::Cut::new(cores, shape).area,
    };
    Seats::scratch_len(cores.team.threads(), per_seat)
}

/// Convolution or transposed convolution: `x` is N x C x spatial, `y` is N x M x spatial, dense and row-major.
///
/// # Panics
/// If the weights are of another kind or instruction set, a slice has not the length that the shape asks for, or the scratch is too
/// small.
pub fn conv(
    cores: Cores<'_>,
    shape: &ConvShape,
    x: &[f32],
    weights: &ConvWeights,
    y: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
    scratch: &mut [f32],
) {
    cores.check();
    weights.check(cores.isa, shape);
    assert_eq!(x.len(), shape.input_len(), "input");
    assert_eq!(y.len(), shape.output_len(), "output");
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), shape.out_channels, "bias");
    }
    if let Some(residual) = epilogue.residual {
        assert_eq!(residual.len(), y.len(), "residual");
        assert!(
            !weights.kind.transposed,
            "no residual for transposed convolutions"
        );
    }
    if y.is_empty() {
        return;
    }
    match &weights.method {
        Method::Dense(passes) => {
            let cut = dense::Cut::new(cores, shape, &weights.kind, passes);
            dense::run(
                cores,
                shape,
                &weights.kind,
                passes,
                &cut,
                x,
                y,
                epilogue,
                scratch,
            );
        }
        Method::Direct {
            turned: Some(turned),
            ..
        } if channels::suits(shape) => {
            let cut = channels::Cut::new(cores, shape);
            channels::run(cores, shape, turned, &cut, x, y, epilogue, scratch);
        }
        Method::Direct { ordered, .. } => {
            let cut = direct::Cut::new(cores, shape);
            direct::run(cores, shape, ordered, &cut, x, y, epilogue, scratch);
        }
    }
}

/// The part `i` of `parts` nearly equal ones of `0..n`.
pub(crate) fn part(i: usize, n: usize, parts: usize) -> std::ops::Range<usize> {
    i * n / parts..(i + 1) * n / parts
}
