//! Convolutions and products that take over the sum behind them, and those that must not.

use unisono_graph::ops::activation::{Activate, Activation};
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::conv::{Conv, ConvTranspose};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::window::{Padding, Window};
use unisono_graph::{Graph, ValueId};
use unisono_tensor::Tensor;

use super::forms::{check, steps};
use super::{Bench, input, node, numbers};
use crate::simd::Isa;

/// Channels of all values: panels of every instruction set.
const CHANNELS: usize = 64;

fn request(rows: usize, seed: usize) -> Vec<Tensor> {
    vec![numbers(&[rows, CHANNELS, 5, 4], seed)]
}

fn image(graph: &mut Graph) -> ValueId {
    input(graph, "x", &[Err("b"), Ok(CHANNELS), Ok(5), Ok(4)])
}

fn window(pad: usize) -> Window {
    Window {
        padding: Padding::Explicit(vec![pad; 4]),
        ..Window::default()
    }
}

/// A convolution that keeps the shape, with weights of its own.
fn conv(graph: &mut Graph, x: ValueId, activation: Option<Activation>) -> ValueId {
    let seed = graph.values().len();
    let w = graph.add_constant(
        format!("w{seed}"),
        numbers(&[CHANNELS, CHANNELS, 3, 3], seed),
    );
    let bias = graph.add_constant(format!("bias{seed}"), numbers(&[CHANNELS], seed + 1));
    let op = Conv {
        groups: 1,
        window: window(1),
        activation,
    };
    node(graph, op, &[x, w, bias])
}

/// A first layer that takes over nothing, as it has an activation: what is added to.
fn stem(graph: &mut Graph) -> ValueId {
    let x = image(graph);
    conv(graph, x, Some(Activation::Relu))
}

fn add(graph: &mut Graph, a: ValueId, b: ValueId) -> ValueId {
    let op = Binary {
        function: BinaryFunction::Add,
    };
    node(graph, op, &[a, b])
}

fn activate(graph: &mut Graph, x: ValueId, function: Activation) -> ValueId {
    node(graph, Activate { function }, &[x])
}

fn relu(graph: &mut Graph, x: ValueId) -> ValueId {
    activate(graph, x, Activation::Relu)
}

/// Compares with the interpreter, and the nodes of each step with `expected`, turns apart.
fn check_steps(mut graph: Graph, outputs: Vec<ValueId>, turns: usize, expected: &[&str]) {
    graph.set_outputs(outputs);
    check(&graph, &request, turns);
    let names = steps(&mut Bench::new(graph, Isa::detect(), 1), &request(1, 0));
    let nodes = names.iter().filter(|name| name.contains(" ("));
    let nodes: Vec<String> = nodes.map(|name| name.replace('"', "")).collect();
    assert_eq!(nodes, expected);
}

#[test]
fn a_convolution_takes_the_sum_behind_it() {
    for conv_comes_first in [false, true] {
        let mut graph = Graph::new("sum");
        let x = stem(&mut graph);
        let y = conv(&mut graph, x, None);
        let (a, b) = if conv_comes_first { (y, x) } else { (x, y) };
        let sum = add(&mut graph, a, b);
        let expected = ["node0 (Conv)", "node1 (Conv) + node2 (Binary)"];
        check_steps(graph, vec![sum], 2, &expected);
    }
}

#[test]
fn a_convolution_takes_the_sum_and_the_activation_behind_it() {
    let functions = [Activation::Relu, Activation::HardSwish, Activation::Sigmoid];
    for function in functions {
        let mut graph = Graph::new("activation");
        let x = stem(&mut graph);
        let y = conv(&mut graph, x, None);
        let sum = add(&mut graph, y, x);
        // Something in between: what the block reads must last until its last node.
        let between = conv(&mut graph, x, Some(Activation::Relu));
        let last = activate(&mut graph, sum, function);
        let end = add(&mut graph, between, last);
        let expected = [
            "node0 (Conv)",
            "node3 (Conv)",
            "node1 (Conv) + node2 (Binary) + node4 (Activation)",
            "node5 (Binary)",
        ];
        check_steps(graph, vec![end], 2, &expected);
    }
}

#[test]
fn of_two_convolutions_the_later_one_takes_the_sum() {
    for swap in [false, true] {
        let mut graph = Graph::new("downsample");
        let x = stem(&mut graph);
        let first = conv(&mut graph, x, None);
        let second = conv(&mut graph, x, None);
        let (a, b) = if swap {
            (second, first)
        } else {
            (first, second)
        };
        let sum = add(&mut graph, a, b);
        let last = relu(&mut graph, sum);
        let expected = [
            "node0 (Conv)",
            "node1 (Conv)",
            "node2 (Conv) + node3 (Binary) + node4 (Activation)",
        ];
        check_steps(graph, vec![last], 2, &expected);
    }
}

#[test]
fn a_sum_that_others_see_too_is_taken_without_its_activation() {
    for is_output in [false, true] {
        let mut graph = Graph::new("seen");
        let x = stem(&mut graph);
        let y = conv(&mut graph, x, None);
        let sum = add(&mut graph, x, y);
        let last = relu(&mut graph, sum);
        let mut expected = vec![
            "node0 (Conv)",
            "node1 (Conv) + node2 (Binary)",
            "node3 (Activation)",
        ];
        if is_output {
            check_steps(graph, vec![last, sum], 3, &expected);
        } else {
            let end = relu(&mut graph, sum);
            expected.push("node4 (Activation)");
            check_steps(graph, vec![last, end], 3, &expected);
        }
    }
}

#[test]
fn convolutions_that_others_see_too_keep_their_values() {
    for is_output in [false, true] {
        let mut graph = Graph::new("seen");
        let x = stem(&mut graph);
        let y = conv(&mut graph, x, None);
        let sum = add(&mut graph, x, y);
        let mut expected = vec!["node0 (Conv)", "node1 (Conv)", "node2 (Binary)"];
        if is_output {
            check_steps(graph, vec![sum, y], 3, &expected);
        } else {
            let end = relu(&mut graph, y);
            expected.push("node3 (Activation)");
            check_steps(graph, vec![sum, end], 3, &expected);
        }
    }
}

#[test]
fn other_sums_are_steps_of_their_own() {
    // The same value twice.
    let mut graph = Graph::new("twice");
    let x = stem(&mut graph);
    let y = conv(&mut graph, x, None);
    let sum = add(&mut graph, y, y);
    let separate = ["node0 (Conv)", "node1 (Conv)", "node2 (Binary)"];
    check_steps(graph, vec![sum], 2, &separate);

    // A value per channel.
    let mut graph = Graph::new("broadcast");
    let x = stem(&mut graph);
    let y = conv(&mut graph, x, None);
    let shift = graph.add_constant("shift", numbers(&[CHANNELS, 1, 1], 9));
    let sum = add(&mut graph, y, shift);
    check_steps(graph, vec![sum], 2, &separate);

    // An activation in between.
    let mut graph = Graph::new("activation");
    let x = stem(&mut graph);
    let y = conv(&mut graph, x, Some(Activation::Relu));
    let sum = add(&mut graph, y, x);
    check_steps(graph, vec![sum], 2, &separate);

    // Another function.
    let mut graph = Graph::new("product");
    let x = stem(&mut graph);
    let y = conv(&mut graph, x, None);
    let op = Binary {
        function: BinaryFunction::Mul,
    };
    let product = node(&mut graph, op, &[y, x]);
    check_steps(graph, vec![product], 2, &separate);
}

#[test]
fn depthwise_transposed_and_ragged_convolutions_take_no_sum() {
    let mut graph = Graph::new("depthwise");
    let x = stem(&mut graph);
    let w = graph.add_constant("deep", numbers(&[CHANNELS, 1, 3, 3], 3));
    let op = Conv {
        groups: CHANNELS,
        window: window(1),
        activation: None,
    };
    let y = node(&mut graph, op, &[x, w]);
    let sum = add(&mut graph, y, x);
    let expected = ["node0 (Conv)", "node1 (Conv)", "node2 (Binary)"];
    check_steps(graph, vec![sum], 2, &expected);

    // Channels that leave a part of a panel.
    let mut graph = Graph::new("ragged");
    let x = stem(&mut graph);
    let mut narrow = |name: &str| {
        let w = graph.add_constant(name, numbers(&[CHANNELS + 1, CHANNELS, 1, 1], 3));
        let op = Conv {
            groups: 1,
            window: window(0),
            activation: None,
        };
        node(&mut graph, op, &[x, w])
    };
    let (a, b) = (narrow("a"), narrow("b"));
    let sum = add(&mut graph, a, b);
    let expected = [
        "node0 (Conv)",
        "node1 (Conv)",
        "node2 (Conv)",
        "node3 (Binary)",
    ];
    check_steps(graph, vec![sum], 2, &expected);

    let mut graph = Graph::new("transposed");
    let x = stem(&mut graph);
    let w = graph.add_constant("turned", numbers(&[CHANNELS, CHANNELS, 3, 3], 3));
    let op = ConvTranspose {
        groups: 1,
        kernel: vec![3; 2],
        strides: Vec::new(),
        dilations: Vec::new(),
        padding: Padding::Explicit(vec![1; 4]),
        output_padding: Vec::new(),
        output_shape: Vec::new(),
        activation: None,
    };
    let y = node(&mut graph, op, &[x, w]);
    let sum = add(&mut graph, y, x);
    let expected = ["node0 (Conv)", "node1 (ConvTranspose)", "node2 (Binary)"];
    check_steps(graph, vec![sum], 2, &expected);
}

#[test]
fn a_chain_of_blocks_has_one_step_for_each_convolution() {
    let mut graph = Graph::new("blocks");
    let mut x = stem(&mut graph);
    for _ in 0..3 {
        let y = conv(&mut graph, x, Some(Activation::Relu));
        let y = conv(&mut graph, y, None);
        let sum = add(&mut graph, y, x);
        x = relu(&mut graph, sum);
    }
    let block = |n: usize| {
        let joint = format!(
            "node{} (Conv) + node{} (Binary) + node{} (Activation)",
            n + 1,
            n + 2,
            n + 3
        );
        [format!("node{n} (Conv)"), joint]
    };
    let mut expected = vec!["node0 (Conv)".to_owned()];
    expected.extend([1, 5, 9].into_iter().flat_map(block));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_steps(graph, vec![x], 2, &expected);
}

/// A product with constant weights.
fn product(
    graph: &mut Graph,
    x: ValueId,
    [k, n]: [usize; 2],
    activation: Option<Activation>,
) -> ValueId {
    let seed = graph.values().len();
    let w = graph.add_constant(format!("w{seed}"), numbers(&[k, n], seed));
    let bias = graph.add_constant(format!("bias{seed}"), numbers(&[n], seed + 1));
    let op = Linear {
        activation,
        ..Linear::default()
    };
    node(graph, op, &[x, w, bias])
}

/// Compares with the interpreter, and the nodes of each step with `expected`, for values of so many columns.
fn check_products(mut graph: Graph, outputs: Vec<ValueId>, columns: usize, expected: &[&str]) {
    graph.set_outputs(outputs);
    // Rows of a tile and fewer, and several tiles.
    let request = |rows: usize, seed: usize| vec![numbers(&[rows, 11, columns], seed)];
    check(&graph, &request, 0);
    let names = steps(&mut Bench::new(graph, Isa::detect(), 1), &request(1, 0));
    let nodes: Vec<String> = names.iter().map(|name| name.replace('"', "")).collect();
    assert_eq!(nodes, expected);
}

#[test]
fn a_product_takes_the_sum_behind_it() {
    // Whole panels, and a part of one; one slice, and several.
    for columns in [64, 70, 320] {
        for product_comes_first in [false, true] {
            let mut graph = Graph::new("sum");
            let x = input(&mut graph, "x", &[Err("b"), Ok(11), Ok(columns)]);
            let x = product(&mut graph, x, [columns; 2], Some(Activation::Relu));
            let y = product(&mut graph, x, [columns; 2], None);
            let (a, b) = if product_comes_first { (y, x) } else { (x, y) };
            let sum = add(&mut graph, a, b);
            let expected = ["node0 (Linear)", "node1 (Linear) + node2 (Binary)"];
            check_products(graph, vec![sum], columns, &expected);
        }
    }
}

#[test]
fn of_two_products_the_later_one_takes_the_sum_if_nobody_else_sees_it() {
    for is_seen in [false, true] {
        let mut graph = Graph::new("two");
        let x = input(&mut graph, "x", &[Err("b"), Ok(11), Ok(64)]);
        let first = product(&mut graph, x, [64; 2], None);
        let second = product(&mut graph, x, [64; 2], None);
        let sum = add(&mut graph, second, first);
        let (outputs, expected) = match is_seen {
            // The other one does it, later than it stands in the graph.
            true => (
                vec![sum, second],
                ["node1 (Linear)", "node0 (Linear) + node2 (Binary)"],
            ),
            false => (
                vec![sum],
                ["node0 (Linear)", "node1 (Linear) + node2 (Binary)"],
            ),
        };
        check_products(graph, outputs, 64, &expected);
    }
}

#[test]
fn products_that_do_more_take_no_sum() {
    let separate = ["node0 (Linear)", "node1 (Linear)", "node2 (Binary)"];
    // An activation in between.
    let mut graph = Graph::new("activation");
    let x = input(&mut graph, "x", &[Err("b"), Ok(11), Ok(64)]);
    let x = product(&mut graph, x, [64; 2], Some(Activation::Relu));
    let y = product(&mut graph, x, [64; 2], Some(Activation::Relu));
    let sum = add(&mut graph, y, x);
    check_products(graph, vec![sum], 64, &separate);

    // A row that is added to all.
    let mut graph = Graph::new("broadcast");
    let x = input(&mut graph, "x", &[Err("b"), Ok(11), Ok(64)]);
    let x = product(&mut graph, x, [64; 2], None);
    let y = product(&mut graph, x, [64; 2], None);
    let shift = graph.add_constant("shift", numbers(&[64], 9));
    let sum = add(&mut graph, y, shift);
    check_products(graph, vec![sum], 64, &separate);
}
