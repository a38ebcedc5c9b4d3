//! ONNX's messages as views of the file.
//!
//! Names are `&str`, data are slices, and nothing is copied but the lists that hold them. Fields that Unisono has no use
//! for (documentation of nodes, training, device placement) are passed over unread. Meaning is not checked here: that is
//! [`lower`](crate::lower)'s work. This layer must never trust a count and must never recurse deeper than the limit.
//!
//! Schema: `onnx.proto` of ONNX 1.23 (IR version 14), read from <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

mod attribute;
mod graph;
mod model;
mod tensor;
mod types;

pub(crate) use attribute::{Attribute, AttributeType, AttributeValue};
pub(crate) use graph::{Graph, Node, node_label};
pub(crate) use model::{Function, Model, OperatorSetId};
pub(crate) use tensor::{DataLocation, Tensor, TypedField, data_type_name};
pub(crate) use types::{Dimension, Type, TypeValue, ValueInfo};

use crate::error::{Located, OnnxError, OnnxErrorKind};
use crate::limits::{LoadLimits, exceeded};
use crate::wire::{Field, Span};

/// What is counted while a file is read.
pub(crate) struct Context<'l> {
    limits: &'l LoadLimits,
    messages: usize,
    elements: usize,
    nodes: usize,
    initializers: usize,
    depth: usize,
}

impl<'l> Context<'l> {
    pub(crate) fn new(limits: &'l LoadLimits) -> Self {
        Self {
            limits,
            messages: 0,
            elements: 0,
            nodes: 0,
            initializers: 0,
            depth: 0,
        }
    }

    /// Counts one message.
    fn message(&mut self) -> Result<(), OnnxError> {
        self.messages += 1;
        if self.messages > self.limits.messages {
            return Err(exceeded(
                "protobuf messages",
                "messages",
                self.limits.messages,
            ));
        }
        Ok(())
    }

    /// Counts one number of an attribute's list. Eight of them count as a message, whose size in memory they have.
    fn element(&mut self) -> Result<(), OnnxError> {
        self.elements += 1;
        if self.elements.is_multiple_of(8) {
            self.message()?;
        }
        Ok(())
    }

    fn node(&mut self) -> Result<(), OnnxError> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(exceeded("nodes", "nodes", self.limits.nodes));
        }
        Ok(())
    }

    fn initializer(&mut self) -> Result<(), OnnxError> {
        self.initializers += 1;
        if self.initializers > self.limits.initializers {
            return Err(exceeded(
                "initializers",
                "initializers",
                self.limits.initializers,
            ));
        }
        Ok(())
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, OnnxError>,
    ) -> Result<T, OnnxError> {
        if self.depth >= self.limits.deepest() {
            return Err(exceeded(
                "levels of nesting",
                "nesting",
                self.limits.deepest(),
            ));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }
}

/// A message that can be read from its bytes.
trait Parse<'a>: Sized {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError>;
}

/// Appends a repeated message field, naming its index in errors.
fn push<'a, T: Parse<'a>>(
    list: &mut Vec<T>,
    field: &Field<'a>,
    name: &str,
    context: &mut Context<'_>,
) -> Result<(), OnnxError> {
    let index = list.len();
    let item = parse_field(field, context).within_item(name, index)?;
    list.push(item);
    Ok(())
}

/// Sets a message field that may occur once.
///
/// Protobuf would merge a second occurrence into the first; no writer does that, and readers that disagree about
/// what a file says are a hole, so it is refused.
fn set<'a, T: Parse<'a>>(
    slot: &mut Option<T>,
    field: &Field<'a>,
    name: &str,
    context: &mut Context<'_>,
) -> Result<(), OnnxError> {
    if slot.is_some() {
        return Err(
            OnnxError::new(OnnxErrorKind::Malformed, format!("`{name}` occurs twice"))
                .at_byte(field.offset)
                .help("the file is damaged or two files were joined; fetch it again and compare its checksum"),
        );
    }
    *slot = Some(parse_field(field, context).within(name)?);
    Ok(())
}

fn parse_field<'a, T: Parse<'a>>(
    field: &Field<'a>,
    context: &mut Context<'_>,
) -> Result<T, OnnxError> {
    let span = field.span()?;
    context.message()?;
    T::parse(span, context)
}

/// Appends a repeated text, which counts as a message: an empty one takes two bytes of the file and eight times that here.
fn push_text<'a>(
    list: &mut Vec<&'a str>,
    field: &Field<'a>,
    name: &str,
    context: &mut Context<'_>,
) -> Result<(), OnnxError> {
    context.message()?;
    list.push(field.text().within_item(name, list.len())?);
    Ok(())
}

/// A key with its value, both text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StringStringEntry<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

impl<'a> Parse<'a> for StringStringEntry<'a> {
    fn parse(span: Span<'a>, _context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut entry = Self::default();
        let mut message = crate::wire::Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => entry.key = field.text().within("key")?,
                2 => entry.value = field.text().within("value")?,
                _ => {}
            }
        }
        Ok(entry)
    }
}
