//! The one error type that users see from everything behind `Model` and `Session`.

use std::fmt;
use std::sync::Arc;

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request does not fit the model: a name, type or shape. Mend the request.
    InvalidInput,
    /// The model file is broken or lies about itself. Mend the model.
    InvalidModel,
    /// The model needs an operator, an opset or a data type that is not supported.
    Unsupported,
    /// A file could not be read or written.
    Io,
    /// The request's data made an operator fail: an index out of range, a division by zero. Mend the data.
    Execution,
    /// A kernel panicked. A bug of ours; the session stays usable.
    Panic,
    /// Memory could not be allocated. Retry when there is more.
    OutOfMemory,
    /// A configured limit was reached: queue, plan cache, arena, batch rows, model size. Retry later or raise it.
    Limit,
    /// The deadline passed before the answer was ready.
    DeadlineExceeded,
    /// The session was shut down.
    ShutDown,
    /// The device does not exist or cannot be used.
    Device,
}

impl ErrorKind {
    /// The kind in words.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::InvalidModel => "invalid model",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Io => "input/output error",
            ErrorKind::Execution => "execution failed",
            ErrorKind::Panic => "a kernel panicked",
            ErrorKind::OutOfMemory => "out of memory",
            ErrorKind::Limit => "limit reached",
            ErrorKind::DeadlineExceeded => "deadline exceeded",
            ErrorKind::ShutDown => "session shut down",
            ErrorKind::Device => "device error",
        }
    }
}

/// An error: its [`kind`](Error::kind) says what to do, its text says what, where and how to mend it.
///
/// Cheap to clone, since one failed compile fails every caller that waits for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    node: Option<String>,
    shapes: Vec<String>,
    advice: Option<String>,
}

impl Error {
    /// An error of this kind; the message is a clause without the kind's name.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            node: None,
            shapes: Vec::new(),
            advice: None,
        }))
    }

    /// The same at a node: its path and operator, and the shapes of its inputs.
    pub fn at_node(
        kind: ErrorKind,
        message: impl Into<String>,
        node: impl Into<String>,
        shapes: Vec<String>,
    ) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            node: Some(node.into()),
            shapes,
            advice: None,
        }))
    }

    /// The same with what the caller can do about it, an imperative clause.
    #[must_use]
    pub fn with_advice(self, advice: impl Into<String>) -> Error {
        Error(Arc::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            node: self.0.node.clone(),
            shapes: self.0.shapes.clone(),
            advice: Some(advice.into()),
        }))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// May the same request succeed if it is sent again?
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::OutOfMemory | ErrorKind::Limit | ErrorKind::DeadlineExceeded
        )
    }

    /// The text without kind, node and shapes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The node at which it happened: its path in the model and its operator.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// Types and shapes of that node's inputs, `f32[8, 128]`.
    pub fn shapes(&self) -> &[String] {
        &self.0.shapes
    }

    /// What the caller can do about it, if that is more than the kind and the message say.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.kind.name())?;
        if let Some(node) = &self.0.node {
            write!(f, "at node {node}: ")?;
        }
        f.write_str(&self.0.message)?;
        if !self.0.shapes.is_empty() {
            write!(f, " (inputs: {})", self.0.shapes.join(", "))?;
        }
        if let Some(advice) = &self.0.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<unisono_tensor::TensorError> for Error {
    fn from(e: unisono_tensor::TensorError) -> Error {
        let kind = match e {
            unisono_tensor::TensorError::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            _ => ErrorKind::InvalidInput,
        };
        Error::new(kind, e.to_string())
    }
}
