//! From operators to launches.
//!
//! The one idea: an operator becomes launches when its shapes are known, or it has none here and runs on the CPU inside the plan.
//! A lowering sees shapes, types and constants, never data; it must write every element of its outputs.
//!
//! A group of nodes that one launch serves (`crate::program::fuse`) comes as one operator, which no graph has: see `of_the_device`.

pub mod add_norm;
pub mod attention;
pub mod conv;
mod elementwise;
pub mod linear;
mod movement;
mod operands;
mod pool;
mod recurrent;
mod rows;

use std::sync::Arc;

use smallvec::SmallVec;
use unisono_graph::Operator;
use unisono_runtime::Error;
use unisono_tensor::{DType, Shape, Tensor};

use crate::kernels::tile::LEAST_SHARED;
use crate::launch::{Buffer, Launch};

/// An operand of a node: what is known of the value, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The element type.
    pub dtype: DType,
    /// The shape. Elements are dense, in row-major order; booleans are bytes of 0 or 1.
    pub shape: Shape,
    /// Where it is. An input that is a constant has a place only once [`Lowering::buffer`] has asked for it.
    pub buffer: Option<Buffer>,
    /// Contents, if the value is a constant of the model.
    pub constant: Option<Tensor>,
    /// Contents of a small integer value, if they follow from shapes and constants.
    pub integers: Option<Vec<i64>>,
    /// The value's number in its graph: the key under which what is made of a constant is kept.
    pub value: usize,
}

/// What a lowering may ask of the program that is being built.
pub trait Site {
    /// Scratch memory on the device for the launches of this node, aligned to 256 bytes; it holds anything.
    fn scratch(&mut self, bytes: usize) -> Result<Buffer, Error>;

    /// A constant on the device, made once per model: `key` names what is made of value `value`. All programs of a model
    /// share it.
    fn constant(
        &mut self,
        value: usize,
        key: &'static str,
        make: &mut dyn FnMut() -> Result<Vec<u8>, Error>,
    ) -> Result<Buffer, Error>;

    /// How much shared memory a block may have, in bytes. It may decide how work is split, never what is computed.
    fn shared_limit(&self) -> u32 {
        LEAST_SHARED
    }

    /// A table of this program alone, such as strides or offsets that do not fit into arguments.
    fn table(&mut self, bytes: Vec<u8>) -> Result<Buffer, Error>;
}

/// A node to be lowered.
pub struct Lowering<'a> {
    /// The operator.
    pub op: &'a Arc<dyn Operator>,
    /// Its inputs, `None` for those left out.
    pub inputs: SmallVec<[Option<Operand>; 8]>,
    /// Its outputs, `None` for those nobody wants. All have a buffer.
    pub outputs: SmallVec<[Option<Operand>; 4]>,
    /// Multiprocessors of the device: it may decide how work is split, never what is computed.
    pub processors: u32,
    /// The program that it is built into.
    pub site: &'a mut dyn Site,
    /// What it has become so far.
    pub launches: Vec<Launch>,
}

/// Lowers a node, or gives `false`, leaving nothing behind, where it has no kernel for these types and shapes.
pub type Lower = fn(&mut Lowering<'_>) -> Result<bool, Error>;

/// What lowers an operator, by its kind, one family after the other. A kind may stand in several; the first that takes the types and shapes
/// serves.
const FAMILIES: &[&[(&str, Lower)]] = &[
    &[
        ("AddNorm", add_norm::add_norm),
        ("Attention", attention::attention),
        ("Conv", conv::conv),
        ("ConvTranspose", conv::conv_transpose),
        ("Linear", linear::linear),
        ("Products", linear::products),
    ],
    elementwise::LOWERINGS,
    movement::LOWERINGS,
    pool::LOWERINGS,
    recurrent::LOWERINGS,
    rows::LOWERINGS,
];

/// Declares an operator that stands for several nodes of a graph on this device alone. It is made when all shapes are known, so nobody asks
/// it for any, nor for its batch.
macro_rules! of_the_device {
    ($operator:ty, $kind:literal) => {
        impl unisono_graph::Operator for $operator {
            fn kind(&self) -> &'static str {
                $kind
            }

            fn infer(
                &self,
                _: &mut unisono_graph::InferContext<'_>,
            ) -> Result<(), unisono_graph::OpError> {
                let why = "stands for nodes whose shapes were inferred";
                Err(unisono_graph::OpError::new(why))
            }

            fn batch(
                &self,
                _: &unisono_graph::BatchContext<'_>,
            ) -> Result<Vec<unisono_graph::Batch>, unisono_graph::Blocker> {
                let why = "stands for nodes whose contract was proven";
                Err(unisono_graph::Blocker::new(why))
            }
        }
    };
}
use of_the_device;

/// Lowers a node by the first family that takes it; `false` if none does.
///
/// # Errors
/// The site could not provide memory or constants.
pub fn lower(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let families = FAMILIES.iter().copied().flatten();
    for (_, lower) in families.filter(|(kind, _)| *kind == cx.op.kind()) {
        if lower(cx)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Lowering<'_> {
    /// The operator as its concrete type.
    pub fn op<T: Operator>(&self) -> Option<&T> {
        self.op.downcast_ref()
    }

    /// An input, if it is there.
    pub fn input(&self, index: usize) -> Option<&Operand> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// An output, if it is wanted.
    pub fn output(&self, index: usize) -> Option<&Operand> {
        self.outputs.get(index).and_then(Option::as_ref)
    }

    /// Where the bytes of an input are; puts a constant onto the device as it is.
    pub fn buffer(&mut self, index: usize) -> Result<Option<Buffer>, Error> {
        let Some(Some(operand)) = self.inputs.get_mut(index) else {
            return Ok(None);
        };
        if operand.buffer.is_none()
            && let Some(tensor) = operand.constant.clone()
        {
            let make = &mut || Ok(tensor.bytes().to_vec());
            operand.buffer = Some(self.site.constant(operand.value, "as it is", make)?);
        }
        Ok(operand.buffer)
    }
}
