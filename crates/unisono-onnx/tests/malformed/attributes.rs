//! Attributes and bodies.

use crate::common::x_to_y;
use crate::table::{Table, around, with_node, with_weight};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{AttributeValue, Encoder, Graph, Node, Tensor, Type, ValueInfo};

#[test]
fn wrong_attributes_are_refused_with_their_name() {
    let conv = |value: AttributeValue| {
        with_weight(Tensor::of("w", &[1, 1, 1, 1], &[1f32])).node(
            Node::new("Conv")
                .name("conv1")
                .inputs(["x", "w"])
                .outputs(["z"])
                .attribute("pads", value),
        )
    };
    let constant = |node: Node| with_node(node.outputs(["y"]));
    let mut table = Table::default();
    table.graph(
        "attribute of the wrong type",
        conv(AttributeValue::Float(1.0)),
        Kind::InvalidAttribute,
        "graph.node[1] \"conv1\" (Conv, opset 17).attribute \"pads\"",
    );
    table.graph(
        "unknown attribute",
        with_node(
            Node::new("Relu")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("slope", 1i64),
        ),
        Kind::InvalidAttribute,
        "slope",
    );
    table.graph(
        "attribute given twice",
        with_node(
            Node::new("LeakyRelu")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("alpha", 0.1f32)
                .attribute("alpha", 0.2f32),
        ),
        Kind::DuplicateName,
        "two attributes of this name",
    );
    table.graph(
        "reference outside a function",
        with_node(
            Node::new("LeakyRelu")
                .inputs(["x"])
                .outputs(["y"])
                .attribute("alpha", AttributeValue::Reference("a".into(), 1)),
        ),
        Kind::InvalidAttribute,
        "only functions may have references",
    );
    table.graph(
        "If without a branch",
        x_to_y()
            .input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))))
            .node(
                Node::new("If")
                    .name("if")
                    .inputs(["flag"])
                    .outputs(["y"])
                    .attribute(
                        "then_branch",
                        Graph::new("t")
                            .node(Node::new("Relu").inputs(["x"]).outputs(["v"]))
                            .output(ValueInfo::untyped("v")),
                    ),
            ),
        Kind::InvalidAttribute,
        "else_branch",
    );
    table.graph(
        "body that reads what nothing makes",
        x_to_y().node(
            Node::new("If").name("if").inputs(["x"]).outputs(["y"]).attribute(
                "then_branch",
                Graph::new("t")
                    .node(Node::new("Relu").name("r").inputs(["nowhere"]).outputs(["v"]))
                    .output(ValueInfo::untyped("v")),
            ),
        ),
        Kind::UndefinedValue,
        "graph.node[0] \"if\" (If, opset 17).attribute \"then_branch\".node[0] \"r\" (Relu, opset 17)",
    );
    table.graph(
        "Constant without a value",
        constant(Node::new("Constant")),
        Kind::InvalidAttribute,
        "a Constant has one attribute, this has 0",
    );
    table.graph(
        "Constant with a value of the wrong type",
        constant(Node::new("Constant").attribute("value_int", 1f32)),
        Kind::InvalidAttribute,
        "no attribute \"value_int\" of type FLOAT",
    );
    table.graph(
        "Constant with an input",
        constant(
            Node::new("Constant")
                .inputs(["x"])
                .attribute("value_int", 1i64),
        ),
        Kind::InvalidNode,
        "a Constant has no inputs",
    );
    let raw_attribute = |write: &dyn Fn(&mut Encoder)| {
        let mut graph = Encoder::new();
        graph.message(1, |out| {
            out.text(1, "x");
            out.text(2, "y");
            out.text(4, "LeakyRelu");
            out.message(5, |out| write(out));
        });
        graph.message(11, |out| {
            out.text(1, "x");
            out.message(2, |out| out.message(1, |out| out.varint(1, 1)));
        });
        graph.message(12, |out| out.text(1, "y"));
        around(&graph.into_bytes())
    };
    table.bytes(
        "attribute without a name",
        raw_attribute(&|out| out.float(2, 1.0)),
        Kind::InvalidAttribute,
        "the attribute has no name",
    );
    table.bytes(
        "attribute with neither type nor value",
        raw_attribute(&|out| out.text(1, "alpha")),
        Kind::InvalidAttribute,
        "neither a type nor a value",
    );
    table.bytes(
        "attribute that is declared as something else",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.float(2, 1.0);
            out.varint(20, 2);
        }),
        Kind::InvalidAttribute,
        "declared as INT but holds FLOAT",
    );
    table.bytes(
        "attribute of an unknown type",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.varint(20, 77);
        }),
        Kind::InvalidAttribute,
        "77 is no attribute type",
    );
    table.bytes(
        "tensor attribute without a tensor",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.varint(20, 4);
        }),
        Kind::InvalidAttribute,
        "declared as TENSOR but holds nothing",
    );
    table.bytes(
        "sparse tensor attribute",
        raw_attribute(&|out| {
            out.text(1, "alpha");
            out.message(22, |_| {});
            out.varint(20, 11);
        }),
        Kind::UnsupportedType,
        "SPARSE_TENSOR",
    );
    table.check();
}
