//! What a kernel is, and what it is built from.

use std::sync::Arc;

use unisono_graph::Operator;
use unisono_reference::arith::Unary;
pub use unisono_runtime::program::Known;
use unisono_runtime::team::Team;
use unisono_runtime::{Error, ErrorKind};
use unisono_tensor::{DType, TensorMut, TensorRef};

use crate::exec::model::{Engine, Store};
use crate::gemm::Cores;
use crate::kernels::linear::PackedLinear;
use crate::simd::Isa;

/// What a kernel may use while it runs.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The threads.
    pub team: &'a Team,
    /// The instruction set.
    pub isa: Isa,
}

/// How a kernel reads one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// As a slice of its element type: the bytes must be aligned.
    Typed,
    /// As bytes only; a weight may stay misaligned in its file.
    Bytes,
    /// Not at all: its contents were taken when the kernel was built (packed weights).
    Unused,
}

/// One operator for one set of shapes. Built once, run by many threads at the same time.
///
/// It must not allocate, must write every element of its outputs, and must give the bits of the canonical arithmetic
/// whatever the context.
pub trait Kernel: Send + Sync {
    /// `f32`s of scratch memory that one run needs, for all threads together: whether it runs on the team that it was
    /// built for or on one thread alone. See [`Build::scratch`].
    fn scratch_len(&self) -> usize {
        0
    }

    /// The kernel as a product with constant weights, which different programs can do together.
    fn as_packed_linear(&self) -> Option<&PackedLinear> {
        None
    }

    /// The same kernel with one more input behind all that its operator may have, which is added to what it makes before `activation`: a
    /// value of the output's shape. None if it cannot, or does something behind its sums already.
    fn with_sum(&self, _activation: Option<Unary>) -> Option<Box<dyn Kernel>> {
        None
    }

    /// Does block i of the outputs, cut into equal blocks along axis 0, depend on nothing but block i of the inputs, cut likewise, and on inputs
    /// that are the same for every number of rows? Then a kernel built for fewer rows does the blocks one after another, with the same bits.
    fn keeps_rows(&self) -> bool {
        false
    }

    /// Counted work on one core in nanoseconds, beyond reading the inputs and writing the outputs; see
    /// [`Team::run`] for what it is good for.
    fn estimated_ns(&self) -> u64 {
        0
    }

    /// What it is, in words for those who look for lost time: the algorithm, the tile, what is packed, what is fused.
    fn describe(&self, _cx: &Context<'_>) -> String {
        "vector loop".to_owned()
    }

    /// How input `index` is read. Matters for constants only.
    fn access(&self, _index: usize) -> Access {
        Access::Typed
    }

    /// Computes the outputs. Inputs and outputs have the shapes for which the kernel was built; `scratch` is aligned to
    /// a cache line, at least as long as asked for, and holds anything.
    fn run(
        &self,
        cx: &Context<'_>,
        inputs: &[Option<TensorRef<'_>>],
        outputs: &mut [Option<TensorMut<'_>>],
        scratch: &mut [f32],
    ) -> Result<(), Error>;
}

/// What a kernel is built from.
pub struct Build<'a> {
    /// The operator.
    pub op: &'a Arc<dyn Operator>,
    /// Its inputs.
    pub inputs: &'a [Option<&'a Known>],
    /// Its outputs. All shapes are known.
    pub outputs: &'a [Option<&'a Known>],
    /// The node's number in its graph: the key of its bodies' stores.
    pub(crate) node: usize,
    /// Constants and packed weights of the graph that the node is in.
    pub store: &'a Store,
    pub(crate) engine: &'a Arc<Engine>,
    /// Whether values that are N x C x spatial in the model are N x spatial x C here: shapes say so already, attributes that name
    /// axes do not.
    pub channels_last: bool,
}

impl<'a> Build<'a> {
    /// The instruction set to build for.
    pub fn isa(&self) -> Isa {
        self.engine.isa
    }

    /// The length of scratch memory that does for what a kernel may run on: the whole team, or one thread alone.
    pub fn scratch(&self, len: impl Fn(Cores<'_>) -> usize) -> usize {
        let isa = self.isa();
        let on = |team: &Team| len(Cores { isa, team });
        on(&self.engine.team).max(on(&self.engine.solo))
    }

    /// The operator as its concrete type.
    pub fn op<T: Operator>(&self) -> Option<&'a T> {
        self.op.downcast_ref()
    }

    /// An input, if it is there.
    pub fn input(&self, index: usize) -> Option<&'a Known> {
        self.inputs.get(index).copied().flatten()
    }

    /// An output, if it is wanted.
    pub fn output(&self, index: usize) -> Option<&'a Known> {
        self.outputs.get(index).copied().flatten()
    }

    /// The shape of an input; empty for one that is not there.
    pub fn shape(&self, index: usize) -> &'a [usize] {
        self.input(index)
            .and_then(|k| k.shape.as_deref())
            .unwrap_or(&[])
    }

    /// The shape of an output; empty for one that is not wanted.
    pub fn output_shape(&self, index: usize) -> &'a [usize] {
        self.output(index)
            .and_then(|k| k.shape.as_deref())
            .unwrap_or(&[])
    }

    /// Do all inputs and outputs that are there hold this type?
    pub fn all_of(&self, dtype: DType) -> bool {
        self.inputs
            .iter()
            .chain(self.outputs)
            .flatten()
            .all(|k| k.dtype == dtype)
    }

    /// The contents of an input as integers, if they are fixed.
    pub fn integers(&self, index: usize) -> Option<Vec<i64>> {
        let known = self.input(index)?;
        known
            .integers
            .clone()
            .or_else(|| known.constant.as_ref()?.to_i64s())
    }
}

/// Makes a kernel for an operator, or gives `None` where it has none for these types and shapes; the reference
/// implementation then serves.
pub type Builder = fn(&Build<'_>) -> Result<Option<Box<dyn Kernel>>, Error>;

/// What a product does to its sums before they are written, each behind a comma, for [`Kernel::describe`].
pub(crate) fn ending_in_words(has_bias: bool, has_sum: bool, activation: Option<Unary>) -> String {
    let mut words = String::new();
    if has_bias {
        words += ", bias fused";
    }
    if has_sum {
        words += ", sum fused";
    }
    if let Some(activation) = activation {
        // Without its attributes, which the model tells.
        let debug = format!("{activation:?}");
        let name = debug.split([' ', '(', '{']).next().unwrap_or_default();
        words += &format!(", {name} fused");
    }
    words
}

/// An error of a kernel about its data.
pub fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Execution, message)
}
