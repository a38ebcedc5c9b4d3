//! How much a model file may ask for, and what happens when it asks for more.
//!
//! Every limit has a default that real models stay far below, a field to set it by, and an error of kind
//! [`LimitExceeded`](crate::OnnxErrorKind::LimitExceeded) that names it. Limits bound work and memory; they are not what keeps a
//! lying file from allocating, which the reader prevents by believing no length whose bytes are not there.

use crate::error::{OnnxError, OnnxErrorKind};
use std::path::PathBuf;

/// The deepest nesting that can be allowed, whatever [`LoadLimits::nesting`] says: deeper models could exhaust a thread's stack.
pub const DEEPEST_NESTING: usize = 128;

/// Bounds on what a model may contain.
///
/// ```
/// let mut limits = unisono_onnx::LoadLimits::default();
/// limits.nodes = 10_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadLimits {
    /// Bytes of the model file itself, without external data. Default 2 GiB, protobuf's own limit.
    pub file_bytes: u64,
    /// Protobuf messages of any sort (nodes, attributes, tensors, types, …), and names; eight numbers of an attribute's list
    /// count as one. Default 8 million.
    pub messages: usize,
    /// Nodes, counted with those of subgraphs and after functions are inlined. Default 1 million.
    pub nodes: usize,
    /// Initializers, counted with those of subgraphs. Default 1 million.
    pub initializers: usize,
    /// Depth of graphs within graphs, types within types, and functions that call functions. Default 32; at most [`DEEPEST_NESTING`].
    pub nesting: usize,
    /// Dimensions of a tensor. Default 16.
    pub rank: usize,
    /// Elements of all constants together. Default 2^38.
    pub elements: u64,
    /// Bytes that are copied out of the file: attributes, small or misaligned tensors, strings. Default 4 GiB.
    pub copied_bytes: u64,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            file_bytes: 2 << 30,
            messages: 8_000_000,
            nodes: 1_000_000,
            initializers: 1_000_000,
            nesting: 32,
            rank: 16,
            elements: 1 << 38,
            copied_bytes: 4 << 30,
        }
    }
}

impl LoadLimits {
    pub(crate) fn deepest(&self) -> usize {
        self.nesting.min(DEEPEST_NESTING)
    }
}

/// How a model is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Bounds on what the model may contain.
    pub limits: LoadLimits,
    /// Whether tensors may keep their data in other files of the model's folder. Default true.
    pub external_data: bool,
    /// The folder that external data must not leave; the model's own if this is `None`. Caches that keep every file
    /// elsewhere and link to it (as Hugging Face's does) need the cache's folder here.
    pub external_root: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            limits: LoadLimits::default(),
            external_data: true,
            external_root: None,
        }
    }
}

/// The error for a limit: `what` is counted, `setting` is the field of [`LoadLimits`].
pub(crate) fn exceeded(what: &str, setting: &str, limit: impl std::fmt::Display) -> OnnxError {
    OnnxError::new(
        OnnxErrorKind::LimitExceeded,
        format!("more than {limit} {what}"),
    )
    .help(format!(
        "if you trust the file, raise `LoadLimits::{setting}`"
    ))
}
