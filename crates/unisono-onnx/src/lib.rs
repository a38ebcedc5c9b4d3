//! ONNX bytes to a [`Graph`](unisono_graph::Graph).
//!
//! A model file is hostile input until it has been read to the end. The reader works in two layers: [`proto`] views the
//! file's messages in place, and [`lower`] gives them meaning. Weights stay in the mapped file. What a file merely claims
//! (a length, a shape, a count) never allocates, and whatever is wrong with it ends in an [`OnnxError`] that says what,
//! where, and what to do; never in a panic or a hang.
#![forbid(unsafe_code)]

mod error;
mod limits;
mod lower;
mod model;
mod proto;
mod wire;
pub mod write;

pub use error::{OnnxError, OnnxErrorKind};
pub use limits::{DEEPEST_NESTING, LoadLimits, LoadOptions};
pub use lower::OPSETS;
pub use model::{ModelBytes, ModelInfo, OnnxModel, load_bytes, load_file};
