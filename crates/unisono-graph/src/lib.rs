//! The device-independent meaning of a model: a graph of operators, what they do to shapes, which rows of it depend on
//! which, and the rewrites that make it smaller.
//!
//! The one idea: everything that decides *what* is computed happens here, once, the same for every device. A device
//! only decides *how*, and may never change a bit of the result (see `unisono-reference` for the arithmetic).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`graph`] | [`Graph`], [`Node`], values, constants |
//! | [`dim`] | lengths as expressions |
//! | [`operator`] | the trait that every operator implements |
//! | [`ops`] | the operators, by family, and the registry |
//! | [`mod@infer`] | types, shapes and shape-valued data of every value |
//! | [`mod@contract`] | which axis of every value is the batch, or the node that prevents it |
//! | [`rewrite`] | constant folding, fusions, clean-up |
//!
//! It never touches a file, a device or a thread, and never panics on a hostile graph.
#![forbid(unsafe_code)]

pub mod attribute;
pub mod contract;
pub mod dim;
pub mod graph;
pub mod infer;
pub mod operator;
pub mod ops;
pub mod rewrite;

pub use attribute::{Attribute, Attributes};
pub use contract::{Contract, OutputRows, Verdict, contract};
pub use dim::{Dim, Symbol};
pub use graph::{Graph, GraphError, Node, NodeId, TensorType, Value, ValueId};
pub use infer::{InferError, infer};
pub use operator::{Batch, BatchContext, Blocker, Fact, InferContext, OpError, Operator};
