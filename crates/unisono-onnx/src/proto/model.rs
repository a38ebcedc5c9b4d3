//! `ModelProto` and what only it holds: operator-set imports and functions.

use super::graph::push_node;
use super::{
    Attribute, Context, Graph, Node, Parse, StringStringEntry, parse_field, push, push_text, set,
};
use crate::error::{Located, OnnxError};
use crate::wire::{Message, Span};

/// `ModelProto`.
#[derive(Debug, Default)]
pub(crate) struct Model<'a> {
    pub ir_version: i64,
    pub opset_imports: Vec<OperatorSetId<'a>>,
    pub producer_name: &'a str,
    pub producer_version: &'a str,
    pub domain: &'a str,
    pub model_version: i64,
    pub doc_string: &'a str,
    pub graph: Option<Graph<'a>>,
    pub metadata: Vec<StringStringEntry<'a>>,
    pub functions: Vec<Function<'a>>,
}

impl<'a> Model<'a> {
    /// Reads a whole file.
    pub(crate) fn read(bytes: &'a [u8], context: &mut Context<'_>) -> Result<Self, OnnxError> {
        Self::parse(Span::new(bytes), context)
    }
}

impl<'a> Parse<'a> for Model<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut model = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => model.ir_version = field.int64().within("ir_version")?,
                2 => model.producer_name = field.text().within("producer_name")?,
                3 => model.producer_version = field.text().within("producer_version")?,
                4 => model.domain = field.text().within("domain")?,
                5 => model.model_version = field.int64().within("model_version")?,
                6 => model.doc_string = field.text().within("doc_string")?,
                7 => set(&mut model.graph, &field, "graph", context)?,
                8 => push(&mut model.opset_imports, &field, "opset_import", context)?,
                14 => push(&mut model.metadata, &field, "metadata_props", context)?,
                25 => push(&mut model.functions, &field, "functions", context)?,
                _ => {}
            }
        }
        Ok(model)
    }
}

/// `OperatorSetIdProto`: a domain and the version of it that is meant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OperatorSetId<'a> {
    pub domain: &'a str,
    pub version: i64,
}

impl<'a> Parse<'a> for OperatorSetId<'a> {
    fn parse(span: Span<'a>, _context: &mut Context<'_>) -> Result<Self, OnnxError> {
        let mut id = Self::default();
        let mut message = Message::new(span);
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => id.domain = field.text().within("domain")?,
                2 => id.version = field.int64().within("version")?,
                _ => {}
            }
        }
        Ok(id)
    }
}

/// `FunctionProto`: an operator that the model defines by other operators.
#[derive(Debug, Default)]
pub(crate) struct Function<'a> {
    pub name: &'a str,
    pub domain: &'a str,
    pub overload: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    /// Attributes that a call must give.
    pub attributes: Vec<&'a str>,
    /// Attributes that have a default.
    pub attribute_defaults: Vec<Attribute<'a>>,
    pub nodes: Vec<Node<'a>>,
    pub opset_imports: Vec<OperatorSetId<'a>>,
}

impl<'a> Parse<'a> for Function<'a> {
    fn parse(span: Span<'a>, context: &mut Context<'_>) -> Result<Self, OnnxError> {
        context.nested(|context| {
            let mut function = Self::default();
            let mut message = Message::new(span);
            while let Some(field) = message.next_field()? {
                match field.number {
                    1 => function.name = field.text().within("name")?,
                    4 => push_text(&mut function.inputs, &field, "input", context)?,
                    5 => push_text(&mut function.outputs, &field, "output", context)?,
                    6 => push_text(&mut function.attributes, &field, "attribute", context)?,
                    7 => {
                        context.node()?;
                        push_node(&mut function.nodes, &field, context)?;
                    }
                    9 => push(&mut function.opset_imports, &field, "opset_import", context)?,
                    10 => function.domain = field.text().within("domain")?,
                    11 => function
                        .attribute_defaults
                        .push(parse_field(&field, context)?),
                    13 => function.overload = field.text().within("overload")?,
                    _ => {}
                }
            }
            Ok(function)
        })
    }
}
