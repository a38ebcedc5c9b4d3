//! A plain scalar implementation of every operator, on host views.
//!
//! One idea: an operator's kind leads through one table to one function, which reads borrowed inputs and writes borrowed outputs of the
//! right shape and type. It follows the [arithmetic](crate::arith) exactly for `f32`; for `f64` the structure is the same with more digits;
//! `f16` and `bf16` are computed in `f32` and rounded once per value; integers are exact or wrap.
//!
//! It serves four times: to fold constants when a model is loaded, as the oracle of every kernel, in `f64` as the reference for accuracy,
//! and as the CPU device's own kernel for operators that have no faster one. Because of the last, nothing here panics, whatever the data,
//! and nothing allocates, except:
//!
//! * tensors of more than eight axes, and parameter lists of more than eight entries;
//! * `Unique`, `NonMaxSuppression` and recurrent layers, which need scratch memory of their own;
//! * [`output_shapes`], which is called where a shape depends on data.

mod activation;
mod binary;
mod cast;
mod conv;
mod element;
mod error;
mod generate;
mod indexing;
mod io;
mod layout;
mod linear;
mod movement;
mod normalize;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod select;
mod shapes;
#[cfg(test)]
mod tests;
mod unary;
mod walk;
mod window;

pub use activation::{activate, canonical_activation};
pub use binary::{canonical_binary, floor_mod};
pub use error::EvalError;
pub use reduce::canonical_reduction;
pub use resize::{ResizeAxis, ResizeParameters, ResizeTaps, resize_axes};
pub use shapes::{output_shapes, output_types};
pub use unary::canonical_unary;

pub(crate) use cast::convert;
pub(crate) use io::axis as resolve_axis;
pub(crate) use movement::{cut, insert};
pub(crate) use shapes::{fact, output_types_from};

use io::Io;
use smallvec::SmallVec;
use unisono_graph::Operator;
use unisono_tensor::{TensorMut, TensorRef};

/// Lengths of axes; on the stack up to eight.
type Dims = SmallVec<[usize; 8]>;

/// Steps along axes, in elements.
type Strides = SmallVec<[isize; 8]>;

type Function = fn(&dyn Operator, Io<'_, '_>) -> Result<(), EvalError>;

/// Every operator that can be evaluated, sorted by kind.
const FUNCTIONS: &[(&str, Function)] = &[
    ("Activation", activation::activation),
    ("ArgReduce", reduce::arg_reduce),
    ("BatchNormalization", normalize::batch),
    ("Binary", binary::binary),
    ("Cast", cast::cast),
    ("CastLike", cast::cast),
    ("Clip", activation::clip),
    ("Compare", binary::compare),
    ("Compress", indexing::compress),
    ("Concat", layout::concat),
    ("ConstantOfShape", generate::constant_of_shape),
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("Cumulative", reduce::cumulative),
    ("DepthToSpace", layout::depth_to_space),
    ("DequantizeLinear", quantize::dequantize),
    ("Dropout", unary::dropout),
    ("DynamicQuantizeLinear", quantize::dynamic_quantize),
    ("Expand", layout::expand),
    ("EyeLike", generate::eye_like),
    ("Flatten", layout::view),
    ("Gather", indexing::gather),
    ("GatherElements", indexing::gather_elements),
    ("GatherNd", indexing::gather_nd),
    ("GlobalPool", pool::global_pool),
    ("GroupNormalization", normalize::group),
    ("Identity", unary::identity),
    ("InstanceNormalization", normalize::instance),
    ("LayerNormalization", normalize::layer),
    ("Linear", linear::linear),
    ("LocalResponseNormalization", normalize::local_response),
    ("LpNormalization", normalize::lp),
    ("MatMulInteger", linear::matmul_integer),
    ("MeanVarianceNormalization", normalize::mean_variance),
    ("NonMaxSuppression", select::non_max_suppression),
    ("NonZero", indexing::non_zero),
    ("OneHot", indexing::one_hot),
    ("Pad", layout::pad),
    ("Pool", pool::pool),
    ("QuantizeLinear", quantize::quantize),
    ("Range", generate::range),
    ("Recurrent", recurrent::recurrent),
    ("Reduce", reduce::reduce),
    ("Reshape", layout::view),
    ("Resize", resize::resize),
    ("ReverseSequence", layout::reverse_sequence),
    ("RmsNormalization", normalize::rms),
    ("ScatterElements", indexing::scatter_elements),
    ("ScatterNd", indexing::scatter_nd),
    ("Shape", layout::shape_of),
    ("Size", layout::size_of),
    ("Slice", layout::slice),
    ("Softmax", normalize::softmax),
    ("SpaceToDepth", layout::space_to_depth),
    ("Split", layout::split),
    ("Squeeze", layout::view),
    ("Tile", layout::tile),
    ("TopK", reduce::top_k),
    ("Transpose", layout::transpose),
    ("Trilu", layout::trilu),
    ("Unary", unary::unary),
    ("Unique", select::unique),
    ("Unsqueeze", layout::view),
    ("Variadic", binary::variadic),
    ("Where", binary::select),
];

fn function(op: &dyn Operator) -> Option<Function> {
    let at = FUNCTIONS
        .binary_search_by_key(&op.kind(), |&(kind, _)| kind)
        .ok()?;
    FUNCTIONS.get(at).map(|&(_, f)| f)
}

/// Can [`evaluate`] run this operator? Control flow needs an [interpreter](crate::interpret).
pub fn supports(op: &dyn Operator) -> bool {
    function(op).is_some()
}

/// Computes the outputs of one operator.
///
/// Outputs must have the types and shapes that the operator's own inference, or [`output_shapes`], gives for these inputs; one that
/// nobody wants is `None`. Their contents before are not read.
///
/// # Errors
///
/// The operator has no implementation here, a tensor does not fit, an index is outside of its axis, or an integer is divided by zero. What
/// the outputs then hold is not defined.
pub fn evaluate(
    op: &dyn Operator,
    inputs: &[Option<TensorRef<'_>>],
    outputs: &mut [Option<TensorMut<'_>>],
) -> Result<(), EvalError> {
    let f = function(op).ok_or(EvalError::Unsupported { kind: op.kind() })?;
    f(op, Io { inputs, outputs })
}
