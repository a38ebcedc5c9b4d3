//! Every layer's errors as the one that users see.
//!
//! The one idea: a layer's error keeps what it knows (place, advice) and gains a kind that says what the caller can do.

use unisono_graph::GraphError;
use unisono_graph::infer::InferError;
use unisono_onnx::{OnnxError, OnnxErrorKind};
use unisono_runtime::{Error, ErrorKind};

/// An error of the reader.
pub(crate) fn of_onnx(error: &OnnxError) -> Error {
    use OnnxErrorKind as K;
    let kind = match error.kind() {
        K::Io => ErrorKind::Io,
        K::LimitExceeded => ErrorKind::Limit,
        K::UnsupportedOpset | K::UnsupportedOperator | K::UnsupportedType => ErrorKind::Unsupported,
        _ => ErrorKind::InvalidModel,
    };
    let mut message = format!("{}: {}", error.kind(), error.what());
    if let Some(file) = error.file() {
        message = format!("{file}: {message}");
    }
    if let Some(offset) = error.byte_offset() {
        message += &format!(" at byte {offset}");
    }
    let path = error.path();
    let located = match () {
        () if path.is_empty() => Error::new(kind, message),
        () if path.contains("node[") => Error::at_node(kind, message, path, Vec::new()),
        () => Error::new(kind, format!("{message} ({path})")),
    };
    match error.advice() {
        Some(advice) => located.with_advice(advice),
        None => located,
    }
}

/// A graph that a rewrite left broken: ours to mend.
pub(crate) fn of_graph(error: &GraphError) -> Error {
    Error::new(ErrorKind::InvalidModel, error.to_string())
}

/// A node that cannot work on what the model gives it, whatever the request.
pub(crate) fn of_inference(error: InferError) -> Error {
    let message = error.error.to_string();
    match error.node {
        None => Error::new(ErrorKind::InvalidModel, message),
        Some(node) => {
            let node = match error.operator {
                Some(operator) => format!("\"{node}\" ({operator})"),
                None => format!("\"{node}\""),
            };
            Error::at_node(ErrorKind::InvalidModel, message, node, error.inputs)
        }
    }
}
