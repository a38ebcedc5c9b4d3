//! Graphs whose names, order or types contradict themselves.

use crate::common::{rows, small, x_to_y};
use crate::table::{Table, around, with_node, with_weight};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Dim, Encoder, Graph, Model, Node, Tensor, Type, ValueInfo};

/// Evidence: hostile-files
#[test]
fn graphs_that_contradict_themselves_are_refused() {
    let relu = |from: &'static str, to: &'static str| {
        Node::new("Relu").name(to).inputs([from]).outputs([to])
    };
    let mut table = Table::default();
    table.model(
        "no graph",
        &Model {
            graph: None,
            ..small()
        },
        Kind::MissingGraph,
        "no field of the file is a graph",
    );
    table.graph(
        "cycle of three",
        x_to_y()
            .node(relu("c", "a"))
            .node(relu("a", "b"))
            .node(relu("b", "c"))
            .node(relu("c", "y")),
        Kind::Cycle,
        "node[0] \"a\" (Relu)",
    );
    table.graph(
        "node that reads itself",
        with_node(relu("y", "y")),
        Kind::Cycle,
        "node[0] \"y\" (Relu) -> node[0]",
    );
    table.graph(
        "two nodes make one value",
        x_to_y().node(relu("x", "y")).node(relu("x", "y")),
        Kind::DuplicateName,
        "the value \"y\" is made here and by node[0]",
    );
    table.graph(
        "a node makes one value twice",
        with_node(Node::new("Split").inputs(["x"]).outputs(["y", "y"])),
        Kind::DuplicateName,
        "the value \"y\" is made here and by node[0]",
    );
    table.graph(
        "a node makes an input",
        x_to_y().node(relu("y", "x")).node(relu("x", "y")),
        Kind::DuplicateName,
        "by an input or initializer",
    );
    table.graph(
        "two inputs of one name",
        x_to_y().input(rows("x")).node(relu("x", "y")),
        Kind::DuplicateName,
        "two graph inputs have the name \"x\"",
    );
    table.graph(
        "two outputs of one name",
        x_to_y().output(rows("y")).node(relu("x", "y")),
        Kind::DuplicateName,
        "two graph outputs have the name \"y\"",
    );
    table.graph(
        "two initializers of one name",
        with_weight(Tensor::of("w", &[4], &[0f32; 4])).initializer(Tensor::of(
            "w",
            &[4],
            &[1f32; 4],
        )),
        Kind::DuplicateName,
        "two initializers have the name \"w\"",
    );
    table.graph(
        "initializer without a name",
        with_weight(Tensor::of("", &[4], &[0f32; 4])),
        Kind::InvalidGraph,
        "an initializer has no name",
    );
    table.graph(
        "missing initializer",
        with_node(
            Node::new("Add")
                .name("add")
                .inputs(["x", "w"])
                .outputs(["y"]),
        ),
        Kind::UndefinedValue,
        "graph.node[0] \"add\" (Add, opset 17)",
    );
    table.graph(
        "undefined input",
        with_node(relu("nowhere", "y")),
        Kind::UndefinedValue,
        "input 0 is \"nowhere\"",
    );
    table.graph(
        "output that nothing makes",
        with_node(relu("x", "z")),
        Kind::UndefinedValue,
        "output[0] \"y\"",
    );
    table.graph(
        "no outputs",
        Graph::new("g").input(rows("x")),
        Kind::InvalidGraph,
        "has no outputs",
    );
    table.graph(
        "input without a name",
        x_to_y().input(rows("")).node(relu("x", "y")),
        Kind::InvalidGraph,
        "a graph input has no name",
    );
    table.graph(
        "input without a type",
        Graph::new("g")
            .input(ValueInfo::untyped("x"))
            .output(rows("y"))
            .node(relu("x", "y")),
        Kind::InvalidGraph,
        "no element type",
    );
    let typed = |value_type: Type| {
        Graph::new("g")
            .input(ValueInfo::of_type("x", value_type))
            .output(rows("y"))
            .node(relu("x", "y"))
    };
    let float = || Box::new(Type::Tensor(1, None));
    table.graph(
        "sequence input",
        typed(Type::Sequence(float())),
        Kind::UnsupportedType,
        "of type sequence",
    );
    table.graph(
        "map input",
        typed(Type::Map(7, float())),
        Kind::UnsupportedType,
        "of type map",
    );
    table.graph(
        "optional input",
        typed(Type::Optional(float())),
        Kind::UnsupportedType,
        "of type optional",
    );
    table.graph(
        "sparse input",
        typed(Type::SparseTensor(1, None)),
        Kind::UnsupportedType,
        "of type sparse tensor",
    );
    table.graph(
        "input of float8",
        typed(Type::Tensor(19, None)),
        Kind::UnsupportedType,
        "FLOAT8E5M2",
    );
    table.graph(
        "sequence output",
        Graph::new("g")
            .input(rows("x"))
            .output(ValueInfo::of_type("y", Type::Sequence(float())))
            .node(relu("x", "y")),
        Kind::UnsupportedType,
        "the graph output is of type sequence",
    );
    table.graph(
        "input whose dimensions overflow",
        typed(Type::Tensor(
            1,
            Some(vec![Dim::fixed(1 << 62), Dim::fixed(1 << 62)]),
        )),
        Kind::InvalidTensor,
        "more than 2^63",
    );
    table.graph(
        "input of 17 dimensions",
        typed(Type::Tensor(1, Some(vec![Dim::Unknown; 17]))),
        Kind::LimitExceeded,
        "LoadLimits::rank",
    );
    let mut graph = Encoder::new();
    graph.message(15, |_| {});
    table.bytes(
        "sparse initializer",
        around(&graph.into_bytes()),
        Kind::UnsupportedType,
        "sparse initializer",
    );
    let mut graph = Encoder::new();
    graph.message(1, |out| {
        out.text(4, "Relu");
        out.bytes(3, b"\xf0\x28\x8c\x28");
    });
    table.bytes(
        "node name that is not UTF-8",
        around(&graph.into_bytes()),
        Kind::InvalidUtf8,
        "graph.node[0]",
    );
    let mut graph = Encoder::new();
    graph.message(1, |out| out.bytes(1, b"\xff"));
    table.bytes(
        "value name that is not UTF-8",
        around(&graph.into_bytes()),
        Kind::InvalidUtf8,
        "input[0]",
    );
    table.check();
}
