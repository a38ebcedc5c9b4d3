//! Operators, domains and operator sets that are not there.

use crate::common::{small, x_to_y};
use crate::table::{Table, with_node};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Graph, Model, Node};

#[test]
fn operators_and_opsets_that_are_not_supported_are_refused_by_name() {
    let with_opset = |opset: i64| Model {
        opset_imports: vec![(String::new(), opset)],
        ..small()
    };
    let mut table = Table::default();
    table.graph(
        "unknown operator",
        with_node(
            Node::new("Frobnicate")
                .name("f")
                .inputs(["x"])
                .outputs(["y"]),
        ),
        Kind::UnsupportedOperator,
        "Frobnicate (ai.onnx, opset 17): 1 node, first graph.node[0] \"f\"",
    );
    table.graph(
        "two unknown operators, one of them twice",
        x_to_y()
            .node(Node::new("Frobnicate").inputs(["x"]).outputs(["a"]))
            .node(Node::new("Frobnicate").inputs(["a"]).outputs(["b"]))
            .node(Node::new("Zorkify").inputs(["b"]).outputs(["y"])),
        Kind::UnsupportedOperator,
        "3 nodes use 2 operators",
    );
    table.graph(
        "unknown operator inside a body of an unknown operator",
        with_node(
            Node::new("Frobnicate").name("f").inputs(["x"]).outputs(["y"]).attribute(
                "body",
                Graph::new("b").node(Node::new("Zorkify").name("z").inputs(["x"]).outputs(["v"])),
            ),
        ),
        Kind::UnsupportedOperator,
        "first graph.node[0] \"f\" (Frobnicate, opset 17).attribute \"body\".node[0] \"z\" (Zorkify, opset 17)",
    );
    table.model(
        "unknown domain",
        &Model::new(
            17,
            with_node(
                Node::new("Relu")
                    .domain("com.example")
                    .inputs(["x"])
                    .outputs(["y"]),
            ),
        )
        .import("com.example", 1),
        Kind::UnsupportedOperator,
        "com.example",
    );
    table.graph(
        "domain that is not imported",
        with_node(
            Node::new("Relu")
                .domain("com.example")
                .inputs(["x"])
                .outputs(["y"]),
        ),
        Kind::UnsupportedOpset,
        "\"com.example\"",
    );
    table.model(
        "opset 6",
        &with_opset(6),
        Kind::UnsupportedOpset,
        "7 to 28 are supported",
    );
    table.model(
        "opset 29",
        &with_opset(29),
        Kind::UnsupportedOpset,
        "uses opset 29",
    );
    table.model(
        "opset -1",
        &with_opset(-1),
        Kind::UnsupportedOpset,
        "uses opset -1",
    );
    table.model(
        "no opset",
        &Model {
            opset_imports: Vec::new(),
            ..small()
        },
        Kind::UnsupportedOpset,
        "does not say which version",
    );
    table.model(
        "two versions of one domain",
        &small().import("", 18),
        Kind::DuplicateName,
        "version 17 and as version 18",
    );
    table.model(
        "one domain under both its names",
        &small().import("ai.onnx", 18),
        Kind::DuplicateName,
        "ai.onnx",
    );
    table.graph(
        "operator without a name",
        with_node(Node::new("").inputs(["x"]).outputs(["y"])),
        Kind::InvalidNode,
        "names no operator",
    );
    table.graph(
        "too many inputs",
        with_node(
            Node::new("Relu")
                .name("r")
                .inputs(["x", "x"])
                .outputs(["y"]),
        ),
        Kind::InvalidNode,
        "graph.node[0] \"r\" (Relu, opset 17)",
    );
    table.graph(
        "too few inputs",
        with_node(Node::new("Add").inputs(["x"]).outputs(["y"])),
        Kind::InvalidNode,
        "Add",
    );
    table.graph(
        "too many outputs",
        with_node(Node::new("Relu").inputs(["x"]).outputs(["y", "z"])),
        Kind::InvalidNode,
        "Relu",
    );
    table.check();
}
