//! Files that are made to be slow: the work stays proportional to the file, or a limit stops it.
//!
//! Each case would take minutes if any step were quadratic in its size, and takes well below a second as things are.
//!
//! Evidence: hostile-files

mod common;

use common::x_to_y;
use std::time::{Duration, Instant};
use unisono_onnx::write::{Attribute, Function, Graph, Model, Node, Tensor, Type, ValueInfo};
use unisono_onnx::{LoadOptions, OnnxErrorKind as Kind, load_bytes};

const SIZE: usize = 100_000;

fn name(index: usize) -> String {
    format!("v{index}")
}

fn relu(from: &str, to: &str) -> Node {
    Node::new("Relu").inputs([from]).outputs([to])
}

/// Loads the model within the time and says how it ended.
fn load(what: &str, model: &Model) -> Option<Kind> {
    let bytes = model.to_bytes();
    let mut options = LoadOptions::default();
    options.limits.nodes = 3 * SIZE;
    let start = Instant::now();
    let result = load_bytes(bytes, None, &options);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(60), "{what} took {took:?}");
    result.err().map(|error| error.kind())
}

/// `SIZE` names, joined to one node.
fn joined(names: &[String]) -> Node {
    Node::new("Sum")
        .inputs(names.iter().map(String::as_str))
        .outputs(["z"])
}

#[test]
fn a_long_chain_in_the_reverse_order() {
    let mut graph = x_to_y();
    graph.nodes.push(relu(&name(SIZE), "y"));
    for index in (1..=SIZE).rev() {
        graph.nodes.push(relu(&name(index - 1), &name(index)));
    }
    graph.nodes.push(relu("x", &name(0)));
    assert_eq!(load("chain", &Model::new(17, graph)), None);
}

#[test]
fn a_cycle_through_all_nodes() {
    let mut graph = x_to_y();
    for index in 0..SIZE {
        graph
            .nodes
            .push(relu(&name((index + SIZE - 1) % SIZE), &name(index)));
    }
    assert_eq!(load("cycle", &Model::new(17, graph)), Some(Kind::Cycle));
}

#[test]
fn a_node_that_reads_everything_before_it_is_made() {
    let names: Vec<String> = (0..SIZE).map(name).collect();
    let mut graph = x_to_y().node(joined(&names)).node(relu("z", "y"));
    graph.nodes.extend(names.iter().map(|name| relu("x", name)));
    assert_eq!(load("star", &Model::new(17, graph)), None);
}

#[test]
fn captures_through_many_bodies() {
    let names: Vec<String> = (0..SIZE / 4).map(name).collect();
    let choice = |body: Graph| {
        Node::new("If")
            .inputs(["flag"])
            .outputs(["z"])
            .attribute("then_branch", body)
            .attribute(
                "else_branch",
                Graph::new("e").output(ValueInfo::untyped("x")),
            )
    };
    let mut body = Graph::new("b")
        .node(joined(&names))
        .output(ValueInfo::untyped("z"));
    for _ in 0..25 {
        body = Graph::new("b")
            .node(choice(body))
            .output(ValueInfo::untyped("z"));
    }
    let mut graph = x_to_y().input(ValueInfo::of_type("flag", Type::Tensor(9, Some(vec![]))));
    graph.nodes.extend(names.iter().map(|name| relu("x", name)));
    let graph = graph.node(choice(body)).node(relu("z", "y"));
    assert_eq!(load("captures", &Model::new(17, graph)), None);
}

#[test]
fn a_different_unknown_operator_in_every_node() {
    let mut graph = x_to_y().node(relu("x", "y"));
    for index in 0..SIZE {
        graph.nodes.push(
            Node::new(&format!("Op{index}"))
                .inputs(["x"])
                .outputs([name(index).as_str()]),
        );
    }
    assert_eq!(
        load("unsupported", &Model::new(17, graph)),
        Some(Kind::UnsupportedOperator)
    );
}

#[test]
fn names_that_collide_with_made_up_ones() {
    let function = Function::new("f", "F", 17)
        .inputs(["a"])
        .outputs(["b"])
        .node(relu("a", "t"))
        .node(relu("t", "b"));
    let mut graph = x_to_y().node(relu("x", "y"));
    for index in 0..SIZE / 2 {
        let call = Node::new("F").domain("f").name("c").inputs(["x"]);
        graph.nodes.push(call.outputs([name(index).as_str()]));
        graph
            .nodes
            .push(relu("x", &format!("c/t#{}", index + SIZE / 4)));
    }
    assert_eq!(
        load(
            "collisions",
            &Model::new(17, graph).import("f", 1).function(function)
        ),
        None
    );
}

#[test]
fn functions_with_long_lists_that_are_called_often() {
    let mut function = Function::new("f", "F", 17)
        .inputs(["a"])
        .outputs(["b"])
        .node(relu("a", "b"));
    for index in 0..SIZE / 10 {
        function = function.attribute_default(Attribute::new(&name(index), 1i64));
    }
    let mut graph = x_to_y().node(relu("x", "y"));
    for index in 0..SIZE {
        graph.nodes.push(
            Node::new("F")
                .domain("f")
                .inputs(["x"])
                .outputs([name(index).as_str()]),
        );
    }
    let model = Model::new(17, graph).import("f", 1).function(function);
    assert_eq!(load("defaults", &model), Some(Kind::LimitExceeded));
}

#[test]
fn functions_that_double() {
    let call = |level: usize| match level {
        0 => Node::new("Relu"),
        _ => Node::new(&format!("F{}", level - 1)).domain("f"),
    };
    let mut model =
        Model::new(17, x_to_y().node(call(26).inputs(["x"]).outputs(["y"]))).import("f", 1);
    for level in 0..26 {
        model = model.function(
            Function::new("f", &format!("F{level}"), 17)
                .inputs(["a"])
                .outputs(["b"])
                .node(call(level).inputs(["a"]).outputs(["c"]))
                .node(call(level).inputs(["c"]).outputs(["b"])),
        );
    }
    assert_eq!(load("doubling", &model), Some(Kind::LimitExceeded));
}

#[test]
fn many_small_tensors() {
    let mut graph = x_to_y().node(relu("x", "y"));
    for index in 0..SIZE {
        graph
            .initializers
            .push(Tensor::of(&name(index), &[1], &[0f32]));
    }
    assert_eq!(load("tensors", &Model::new(17, graph)), None);
}
