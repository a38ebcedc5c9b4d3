//! Limits, and files made to run into them.

use crate::common::{rich, small, x_to_y};
use crate::table::{Table, with_node};
use unisono_onnx::OnnxErrorKind as Kind;
use unisono_onnx::write::{Function, Graph, Model, Node, Type, ValueInfo};
use unisono_onnx::{LoadOptions, load_bytes};

/// Evidence: bounded-loading, hostile-files
#[test]
fn every_limit_is_enforced() {
    let small = || small().to_bytes();
    let rich = || rich().to_bytes();
    let mut table = Table::default();
    let t = &mut table;
    t.limited(
        "file",
        small(),
        |o| o.limits.file_bytes = 10,
        Kind::LimitExceeded,
        "LoadLimits::file_bytes",
    );
    t.limited(
        "messages",
        small(),
        |o| o.limits.messages = 5,
        Kind::LimitExceeded,
        "LoadLimits::messages",
    );
    t.limited(
        "nodes",
        small(),
        |o| o.limits.nodes = 1,
        Kind::LimitExceeded,
        "LoadLimits::nodes",
    );
    t.limited(
        "initializers",
        small(),
        |o| o.limits.initializers = 0,
        Kind::LimitExceeded,
        "LoadLimits::initializers",
    );
    t.limited(
        "nesting",
        rich(),
        |o| o.limits.nesting = 1,
        Kind::LimitExceeded,
        "LoadLimits::nesting",
    );
    t.limited(
        "rank",
        small(),
        |o| o.limits.rank = 0,
        Kind::LimitExceeded,
        "LoadLimits::rank",
    );
    t.limited(
        "elements",
        small(),
        |o| o.limits.elements = 3,
        Kind::LimitExceeded,
        "LoadLimits::elements",
    );
    t.limited(
        "copies",
        rich(),
        |o| o.limits.copied_bytes = 64,
        Kind::LimitExceeded,
        "LoadLimits::copied_bytes",
    );

    // 2^40 nodes out of 40 functions that each call the one before twice.
    let mut bomb = Model::new(
        17,
        with_node(Node::new("F39").domain("f").inputs(["x"]).outputs(["y"])),
    )
    .import("f", 1);
    for level in 0..40 {
        let inner = match level {
            0 => Node::new("Relu"),
            _ => Node::new(&format!("F{}", level - 1)).domain("f"),
        };
        bomb = bomb.function(
            Function::new("f", &format!("F{level}"), 17)
                .inputs(["a"])
                .outputs(["b"])
                .node(inner.clone().inputs(["a"]).outputs(["c"]))
                .node(inner.inputs(["c"]).outputs(["b"])),
        );
    }
    t.limited(
        "functions that double",
        bomb.to_bytes(),
        |o| {
            o.limits.nesting = 64;
            o.limits.nodes = 10_000;
        },
        Kind::LimitExceeded,
        "nodes after functions are inlined",
    );

    let nested = |depth: usize| {
        let mut body = Graph::new("b")
            .node(Node::new("Relu").inputs(["x"]).outputs(["v"]))
            .output(ValueInfo::untyped("v"));
        for _ in 0..depth {
            body = Graph::new("b")
                .node(
                    Node::new("If")
                        .inputs(["flag"])
                        .outputs(["v"])
                        .attribute("then_branch", body.clone())
                        .attribute(
                            "else_branch",
                            Graph::new("e").output(ValueInfo::untyped("x")),
                        ),
                )
                .output(ValueInfo::untyped("v"));
        }
        let graph = x_to_y()
            .input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))))
            .node(
                Node::new("If")
                    .inputs(["flag"])
                    .outputs(["y"])
                    .attribute("then_branch", body)
                    .attribute(
                        "else_branch",
                        Graph::new("e").output(ValueInfo::untyped("x")),
                    ),
            );
        Model::new(17, graph).to_bytes()
    };
    t.limited(
        "bodies within bodies",
        nested(40),
        |_| {},
        Kind::LimitExceeded,
        "levels of nesting",
    );
    t.limited(
        "bodies deeper than any setting allows",
        nested(200),
        |o| o.limits.nesting = usize::MAX,
        Kind::LimitExceeded,
        "128 levels of nesting",
    );
    // The deepest that is allowed must fit on a thread's stack.
    let mut options = LoadOptions::default();
    options.limits.nesting = usize::MAX;
    if let Err(error) = load_bytes(nested(125), None, &options) {
        panic!("{error}");
    }
    table.check();
}
