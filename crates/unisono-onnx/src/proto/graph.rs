//! `GraphProto` and `NodeProto`.

use super::{Attribute, Context, Parse, Tensor, ValueInfo, parse_field, push, push_text};
use crate::error::{Located, OnnxError, OnnxErrorKind, quoted};
use crate::wire::{Field, Message, Span};

/// `GraphProto`.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    pub name: &'a str,
    pub nodes: Vec<Node<'a>>,
    pub initializers: Vec<Tensor<'a>>,
    pub inputs: Vec<ValueInfo<'a>>,
    pub outputs: Vec<ValueInfo<'a>>,
    pub value_infos: Vec<ValueInfo<'a>>,
    pub doc_string: &'a str,
}

impl<'a> Parse<'a> for Graph<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        context.nested(|context| {
            let mut graph = Self::default();
            let mut message = Message::new(span);
            while let Some(field) = message.next_field()? {
                match field.number {
                    1 => {
                        context.node()?;
                        push_node(&mut graph.nodes, &field, context)?;
                    }
                    2 => graph.name = field.text().within("name")?,
                    5 => {
                        context.initializer()?;
                        push(&mut graph.initializers, &field, "initializer", context)?;
                    }
                    10 => graph.doc_string = field.text().within("doc_string")?,
                    11 => push(&mut graph.inputs, &field, "input", context)?,
                    12 => push(&mut graph.outputs, &field, "output", context)?,
                    13 => push(&mut graph.value_infos, &field, "value_info", context)?,
                    15 => {
                        return Err(OnnxError::new(
                            OnnxErrorKind::UnsupportedType,
                            "the graph has a sparse initializer, and sparse tensors are not supported",
                        )
                        .at_byte(field.offset)
                        .help("export the model with dense initializers"));
                    }
                    _ => {}
                }
            }
            Ok(graph)
        })
    }
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub name: &'a str,
    pub op_type: &'a str,
    pub domain: &'a str,
    pub overload: &'a str,
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Parse<'a> for Node<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut node = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => push_text(&mut node.inputs, &field, "input", context)?,
                2 => push_text(&mut node.outputs, &field, "output", context)?,
                3 => node.name = field.text().within("name")?,
                4 => node.op_type = field.text().within("op_type")?,
                5 => node.attributes.push(parse_field(&field, context)?),
                7 => node.domain = field.text().within("domain")?,
                8 => node.overload = field.text().within("overload")?,
                _ => {}
            }
        }
        Ok(node)
    }
}

/// Appends a node; an error names it as far as it can be read, however damaged the rest is.
pub(super) fn push_node<'a>(
    nodes: &mut Vec<Node<'a>>,
    field: &Field<'a>,
    context: &mut Context<'_>,
) -> Result<(), OnnxError> {
    let node = parse_field(field, context).map_err(|error| {
        let (mut name, mut op_type) = ("", "");
        if let Ok(span) = field.span() {
            let mut message = Message::new(span);
            while let Ok(Some(field)) = message.next_field() {
                match field.number {
                    3 => name = field.text().unwrap_or(""),
                    4 => op_type = field.text().unwrap_or(""),
                    _ => {}
                }
            }
        }
        error.within(node_label(nodes.len(), name, op_type, None))
    })?;
    nodes.push(node);
    Ok(())
}

/// A node as errors name it: `node[12] "conv1" (Conv, opset 13)`.
pub(crate) fn node_label(index: usize, name: &str, op_type: &str, opset: Option<i64>) -> String {
    let mut label = format!("node[{index}]");
    if !name.is_empty() {
        label.push(' ');
        label.push_str(&quoted(name));
    }
    if !op_type.is_empty() {
        label.push_str(" (");
        label.push_str(quoted(op_type).trim_matches('"'));
        if let Some(opset) = opset {
            label.push_str(&format!(", opset {opset}"));
        }
        label.push(')');
    }
    label
}
