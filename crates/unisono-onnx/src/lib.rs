//! ONNX bytes to a [`Graph`](unisono_graph::Graph).
//!
//! A model file is hostile input until it has been read to the end. The reader works in two layers: one views the file's
//! messages in place, the other gives them meaning. Weights stay in the mapped file. What a file merely claims (a length, a
//! shape, a count) never allocates, and whatever is wrong with it ends in an [`OnnxError`] that says what, where, and what
//! to do; never in a panic or a hang.
//!
//! ```no_run
//! use unisono_onnx::{LoadOptions, load_file};
//!
//! let model = load_file("model.onnx", &LoadOptions::default())?;
//! println!("{} nodes from {}", model.graph.nodes().len(), model.info.producer_name);
//! # Ok::<(), unisono_onnx::OnnxError>(())
//! ```
//!
//! # What is read
//!
//! - Opsets [`OPSETS`] of ONNX's own domain, and whatever other domains the operators of `unisono-graph` belong to.
//! - Tensors of f16, bf16, f32, f64, signed and unsigned integers of 8 to 64 bits, booleans and strings, in `raw_data`, in
//!   typed lists or in other files of the model's folder. Narrower types, complex numbers, sparse tensors, sequences, maps
//!   and optional values are refused by name.
//! - `Constant` nodes and initializers, which both become constants. An initializer that is also a graph input is a constant
//!   too: a caller cannot override it.
//! - Model-local functions, which are inlined; inlined names begin with the name of the call.
//! - Bodies of `If`, `Loop` and `Scan`, which are closed: what they read from outside becomes their input, except constants,
//!   which they share.
//! - Nodes in any order. They are sorted if the file's order is not one of execution.
//!
//! Declared types of inner values are passed on as they are: exporters get them wrong, so nothing here relies on them.
//!
//! # What is bounded
//!
//! See [`LoadLimits`]. Time and memory are proportional to the file's size as long as no function is called more often than
//! the file is long; beyond that the limits on nodes and copied bytes stop the load.
#![forbid(unsafe_code)]

mod error;
mod foreign;
mod limits;
mod lower;
mod model;
mod proto;
mod wire;
pub mod write;

pub use error::{OnnxError, OnnxErrorKind};
pub use limits::{DEEPEST_NESTING, LoadLimits, LoadOptions};
pub use lower::OPSETS;
pub use model::{ModelBytes, ModelInfo, OnnxModel, SourceFile, load_bytes, load_file};
