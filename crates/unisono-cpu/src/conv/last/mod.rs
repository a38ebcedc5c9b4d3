//! Convolutions and pools of values whose channels come last: N x spatial x C.
//!
//! One idea: with channels side by side, a convolution is a product of positions with weights that reads its left-hand side where it
//! lies, and everything else has channels in its lanes. Nothing is gathered, small maps fill tiles as well as large ones do, and the
//! images of a batch are more positions. The sums are those of [`super`], term by term.
//!
//! It must never serve weights that are not finite where it leaves out taps: what it leaves out is a product with +0.

mod depthwise;
pub(crate) mod pool;
mod product;

use std::sync::Arc;

use unisono_tensor::TensorError;

use super::{ConvEpilogue, ConvKind, ConvShape, passes};
use crate::gemm::microkernel::Microkernels;
use crate::gemm::{Cores, PackedB};
use crate::simd::Isa;

/// Outputs below which values would have to be turned for too little: the plain form has a kernel for them.
const LEAST_OUTPUTS: usize = 4;

/// Weights of a convolution of values with their channels last, packed once for one instruction set.
#[derive(Debug)]
pub struct LastWeights {
    isa: Isa,
    kind: ConvKind,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Product(Vec<passes::Pass<PackedB>>),
    Depthwise(depthwise::Weights),
}

impl LastWeights {
    /// Is there a kernel for weights `w` of this kind?
    pub fn serve(kind: &ConvKind, w: &[f32]) -> bool {
        let finite = || w.iter().all(|w| w.is_finite());
        if kind.groups == 1 {
            return kind.taps() > 0
                && kind.in_channels > 0
                && kind.out_channels >= LEAST_OUTPUTS.min(kind.in_channels)
                && (!kind.transposed || every_output_has_taps(kind) && finite());
        }
        depthwise::serves(kind) && finite()
    }

    /// Packs weights in ONNX's order, for which [`LastWeights::serve`] holds.
    ///
    /// # Errors
    /// There is no memory for them.
    ///
    /// # Panics
    /// If `w` has not the length that the kind asks for.
    pub fn pack(isa: Isa, kind: ConvKind, w: &[f32]) -> Result<Self, TensorError> {
        assert_eq!(
            w.len(),
            kind.in_per_group() * kind.out_channels * kind.taps(),
            "weights"
        );
        let method = match kind.groups {
            1 => Method::Product(passes::pack(isa, &kind, w)?),
            _ => Method::Depthwise(depthwise::Weights::pack(&kind, w)?),
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
            Method::Product(passes) => {
                let weights = passes.iter().flat_map(|pass| &pass.weights);
                weights.map(PackedB::bytes).sum()
            }
            Method::Depthwise(weights) => weights.bytes(),
        }
    }
}

/// Does every output of a transposed convolution have a tap that reaches it?
fn every_output_has_taps(kind: &ConvKind) -> bool {
    (0..3).all(|axis| kind.dilations[axis] == 1 && kind.kernel[axis] >= kind.strides[axis])
}

/// A convolution of values with their channels last, prepared for a shape.
#[derive(Debug)]
pub struct LastConv {
    shape: ConvShape,
    weights: Arc<LastWeights>,
    walks: Vec<product::Walk>,
    frame: product::Frame,
}

impl LastConv {
    /// For a shape of the weights' kind whose sizes [`super::ConvWeights`] would take.
    ///
    /// # Panics
    /// If it is of another kind, or too large.
    pub fn new(weights: &Arc<LastWeights>, shape: &ConvShape) -> Self {
        super::check_shape(&weights.kind, shape);
        let (frame, walks) = match &weights.method {
            Method::Product(passes) => product::prepare(shape, &weights.kind, passes),
            Method::Depthwise(_) => (product::Frame::of(shape), Vec::new()),
        };
        Self {
            shape: *shape,
            weights: Arc::clone(weights),
            walks,
            frame,
        }
    }

    /// The algorithm in words.
    pub fn in_words(&self) -> String {
        let what = self.weights.kind.in_words();
        let isa = self.weights.isa;
        match &self.weights.method {
            Method::Product(_) => {
                let tile = Microkernels::of(isa).in_words(isa);
                let padded = match self.frame.is_padded() {
                    true => " of a padded copy",
                    false if self.walks.iter().any(product::Walk::has_edges) => ", edges copied",
                    false => "",
                };
                format!("{what}, channels last, product{padded}, {tile}, weights packed once")
            }
            Method::Depthwise(_) => format!("{what}, channels last, {isa}"),
        }
    }

    /// Elements of scratch memory for a [`LastConv::run`].
    pub fn scratch_len(&self, cores: Cores<'_>) -> usize {
        let patches = self.walks.iter().map(|walk| walk.scratch_len(cores));
        patches.max().unwrap_or(0) + self.frame.scratch_len()
    }

    /// May something be added to the sums before they are written? Only to whole panels: kernels do it while a tile is near, and what has
    /// fewer columns is slower that way than with a sum of its own.
    pub fn takes_residual(&self) -> bool {
        let LastWeights { isa, kind, method } = &*self.weights;
        let panel = Microkernels::of(*isa).cols;
        matches!(method, Method::Product(_))
            && !kind.transposed
            && kind.out_channels.is_multiple_of(panel)
    }

    /// `x` is N x spatial x C, `y` is N x spatial x M, dense and row-major.
    ///
    /// # Panics
    /// If the instruction set is another one, a slice has not the length that the shape asks for, the scratch is too small, or
    /// there is a residual where [`LastConv::takes_residual`] does not hold.
    pub fn run(
        &self,
        cores: Cores<'_>,
        x: &[f32],
        y: &mut [f32],
        epilogue: &ConvEpilogue<'_>,
        scratch: &mut [f32],
    ) {
        cores.check();
        let shape = &self.shape;
        assert_eq!(self.weights.isa, cores.isa, "packed for another set");
        assert_eq!(x.len(), shape.input_len(), "input");
        assert_eq!(y.len(), shape.output_len(), "output");
        if let Some(bias) = epilogue.bias {
            assert_eq!(bias.len(), shape.out_channels, "bias");
        }
        if let Some(residual) = epilogue.residual {
            assert!(self.takes_residual(), "no residual");
            assert_eq!(residual.len(), y.len(), "residual");
        }
        if y.is_empty() {
            return;
        }
        match &self.weights.method {
            Method::Product(passes) => {
                let (frame, patches) = scratch.split_at_mut(self.frame.scratch_len());
                let x = self.frame.fill(cores, shape, x, frame);
                for (pass, walk) in passes.iter().zip(&self.walks) {
                    walk.run(cores, &pass.weights[0], x, y, epilogue, patches);
                }
            }
            Method::Depthwise(weights) => weights.run(cores, shape, x, y, epilogue),
        }
    }
}
