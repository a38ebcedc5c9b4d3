//! Models that the tests start from.
#![allow(dead_code)] // each test binary uses its own part

use unisono_onnx::write::{Dim, Function, Graph, Model, Node, Tensor, ValueInfo};

/// A float tensor `[batch, 4]`.
pub fn rows(name: &str) -> ValueInfo {
    ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(4)])
}

/// A graph from `x` to `y`, both `[batch, 4]`, without nodes.
pub fn x_to_y() -> Graph {
    Graph::new("g").input(rows("x")).output(rows("y"))
}

/// `y = Relu(x + w)` with names, a typed list, an attribute and a declared value.
pub fn small() -> Model {
    let graph = x_to_y()
        .initializer(Tensor::of("w", &[4], &[0.5f32, -1.0, 2.0, 0.0]))
        .node(
            Node::new("Add")
                .name("add")
                .inputs(["x", "w"])
                .outputs(["s"]),
        )
        .node(Node::new("Relu").name("relu").inputs(["s"]).outputs(["y"]))
        .value_info(rows("s"));
    Model::new(17, graph)
}

/// A model with control flow that captures, a function that is called twice, and every form of constant.
pub fn rich() -> Model {
    let branch = |name: &str, op: &str| {
        Graph::new(name)
            .initializer(Tensor::of("half", &[1], &[0.5f32]))
            .node(Node::new(op).inputs(["s", "half"]).outputs(["picked"]))
            .output(ValueInfo::untyped("picked"))
    };
    let graph = x_to_y()
        .input(ValueInfo::of_type(
            "flag",
            unisono_onnx::write::Type::Tensor(9, Some(vec![])),
        ))
        .initializer(Tensor::of("w", &[4], &[0.5f32, -1.0, 2.0, 0.0]))
        .node(
            Node::new("Constant")
                .outputs(["c"])
                .attribute("value", Tensor::scalar("", 2f32)),
        )
        .node(
            Node::new("Constant")
                .outputs(["shape"])
                .attribute("value_ints", [-1i64, 4]),
        )
        .node(
            Node::new("Add")
                .name("add")
                .inputs(["x", "w"])
                .outputs(["s"]),
        )
        .node(
            Node::new("If")
                .name("choose")
                .inputs(["flag"])
                .outputs(["p"])
                .attribute("then_branch", branch("then", "Add"))
                .attribute("else_branch", branch("else", "Mul")),
        )
        .node(
            Node::new("Twice")
                .domain("local")
                .name("first")
                .inputs(["p"])
                .outputs(["q"]),
        )
        .node(
            Node::new("Twice")
                .domain("local")
                .name("second")
                .inputs(["q"])
                .outputs(["r"]),
        )
        .node(Node::new("Reshape").inputs(["r", "shape"]).outputs(["t"]))
        .node(Node::new("Mul").inputs(["t", "c"]).outputs(["y"]));
    let twice = Function::new("local", "Twice", 17)
        .inputs(["a"])
        .outputs(["b"])
        .node(Node::new("Add").inputs(["a", "a"]).outputs(["sum"]))
        .node(Node::new("Relu").inputs(["sum"]).outputs(["b"]));
    Model::new(17, graph).import("local", 1).function(twice)
}
