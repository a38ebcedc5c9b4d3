//! What can go wrong while a model is read, told so that a person can act on it.
//!
//! One opaque type carries four things: the *kind* (for programs), *what* is wrong, *where* (the path inside the
//! file, `graph.node[12] "conv1" (Conv, opset 13).attribute "pads"`, and a byte offset where there is one), and *what
//! to do*. The path is put together while the error travels outwards, so reading a good file costs nothing for it.

use std::fmt;
use std::sync::Arc;

/// The class of an [`OnnxError`], for programs that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnnxErrorKind {
    /// A file could not be opened, mapped or read.
    Io,
    /// The bytes are not an ONNX model: broken protobuf, or a field of the wrong wire type.
    Malformed,
    /// The bytes end before the structure that they announce.
    Truncated,
    /// A name or text is not valid UTF-8.
    InvalidUtf8,
    /// One of the [`LoadLimits`](crate::LoadLimits) was reached.
    LimitExceeded,
    /// The model has no graph.
    MissingGraph,
    /// The model imports an operator set whose version is missing, too old or too new.
    UnsupportedOpset,
    /// Nodes use operators, domains or versions that Unisono does not have.
    UnsupportedOperator,
    /// A data type or a kind of value (sequence, map, sparse tensor, …) that Unisono does not have.
    UnsupportedType,
    /// A tensor contradicts itself: dimensions, data type and data do not fit together.
    InvalidTensor,
    /// External data is missing, too short, or described wrongly.
    ExternalData,
    /// External data would be read from outside the model's folder.
    ExternalDataEscapes,
    /// Two values, initializers, functions or attributes of one scope share a name.
    DuplicateName,
    /// A value is used that nothing produces.
    UndefinedValue,
    /// Nodes depend on each other in a circle.
    Cycle,
    /// An attribute is missing, unknown, of the wrong type, or out of its range.
    InvalidAttribute,
    /// A node breaks its operator's signature: too few or too many inputs or outputs.
    InvalidNode,
    /// A model-local function is called wrongly, defined twice, or calls itself.
    InvalidFunction,
    /// The graph contradicts itself: an output without a name, an initializer without one, a wrong declared type.
    InvalidGraph,
}

impl fmt::Display for OnnxErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "cannot read the model",
            Self::Malformed => "not a valid ONNX file",
            Self::Truncated => "the ONNX file is truncated",
            Self::InvalidUtf8 => "invalid text in the ONNX file",
            Self::LimitExceeded => "the model exceeds a limit",
            Self::MissingGraph => "the model has no graph",
            Self::UnsupportedOpset => "unsupported operator set",
            Self::UnsupportedOperator => "unsupported operator",
            Self::UnsupportedType => "unsupported type",
            Self::InvalidTensor => "invalid tensor",
            Self::ExternalData => "bad external data",
            Self::ExternalDataEscapes => "external data outside the model's folder",
            Self::DuplicateName => "duplicate name",
            Self::UndefinedValue => "undefined value",
            Self::Cycle => "the graph has a cycle",
            Self::InvalidAttribute => "invalid attribute",
            Self::InvalidNode => "invalid node",
            Self::InvalidFunction => "invalid function",
            Self::InvalidGraph => "invalid graph",
        })
    }
}

/// Why a model could not be read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OnnxError(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: OnnxErrorKind,
    what: String,
    /// Innermost segment first, because the path grows outwards.
    path: Vec<String>,
    offset: Option<u64>,
    help: Option<String>,
    file: Option<String>,
}

impl OnnxError {
    pub(crate) fn new(kind: OnnxErrorKind, what: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            path: Vec::new(),
            offset: None,
            help: None,
            file: None,
        }))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Says what the caller can do.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.edit(|inner| inner.help = Some(help.into()))
    }

    /// Says at which byte of the file.
    pub(crate) fn at_byte(self, offset: usize) -> Self {
        self.edit(|inner| inner.offset = Some(offset as u64))
    }

    /// Adds one step to the path, outside those it has.
    pub(crate) fn within(self, segment: impl Into<String>) -> Self {
        self.edit(|inner| inner.path.push(segment.into()))
    }

    /// Adds the step `name[index]` to the path.
    pub(crate) fn within_item(self, name: &str, index: usize) -> Self {
        self.within(format!("{name}[{index}]"))
    }

    /// Names the file on disk, if no file was named yet.
    pub(crate) fn in_file(self, file: impl Into<String>) -> Self {
        self.edit(|inner| {
            inner.file.get_or_insert_with(|| file.into());
        })
    }

    /// The class of the error.
    pub fn kind(&self) -> OnnxErrorKind {
        self.0.kind
    }

    /// What is wrong, without place or advice.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Where in the model, e.g. `graph.node[12] "conv1" (Conv, opset 13).attribute "pads"`; empty if the whole file is meant.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.0.path.iter().rev() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(segment);
        }
        path
    }

    /// The byte of the file at which reading stopped, where that says anything.
    pub fn byte_offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// What the caller can do about it, where there is advice to give.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The file that was being read, if the model came from a file.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }
}

impl fmt::Display for OnnxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{}: {}", inner.kind, inner.what)?;
        let path = self.path();
        if !path.is_empty() {
            write!(f, "\n  where: {path}")?;
        }
        if let Some(offset) = inner.offset {
            write!(f, "\n  at byte: {offset}")?;
        }
        if let Some(file) = &inner.file {
            write!(f, "\n  file: {file}")?;
        }
        if let Some(help) = &inner.help {
            write!(f, "\n  what to do: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for OnnxError {}

/// Adds path segments to the error of a result; spelled once so that call sites stay short.
pub(crate) trait Located<T> {
    fn within(self, segment: &str) -> Result<T, OnnxError>;
    fn within_item(self, name: &str, index: usize) -> Result<T, OnnxError>;
}

impl<T> Located<T> for Result<T, OnnxError> {
    fn within(self, segment: &str) -> Self {
        self.map_err(|error| error.within(segment))
    }

    fn within_item(self, name: &str, index: usize) -> Self {
        self.map_err(|error| error.within_item(name, index))
    }
}

/// Text from the file, shortened and escaped so that a hostile name can neither flood a log nor steer a terminal.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut out = String::from("\"");
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        out.extend(character.escape_debug());
    }
    out.push('"');
    out
}

/// A message that may contain names from the file, with control characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            out.extend(character.escape_debug());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        let error = OnnxError::new(
            OnnxErrorKind::InvalidAttribute,
            "`pads` has 3 values, 4 are needed",
        )
        .help("export the model again")
        .within("attribute \"pads\"")
        .within_item("node", 12)
        .within("graph");
        assert_eq!(
            error.to_string(),
            "invalid attribute: `pads` has 3 values, 4 are needed\n  where: graph.node[12].attribute \"pads\"\n  what to do: export the model again"
        );
        assert_eq!(error.kind(), OnnxErrorKind::InvalidAttribute);
    }

    #[test]
    fn hostile_names_are_escaped_and_shortened() {
        let name = format!("\u{1b}[2J{}", "a".repeat(1000));
        let shown = quoted(&name);
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.chars().count() < 140);
    }
}
