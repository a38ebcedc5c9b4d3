//! Which products share a launch.

use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::linear::Linear;
use unisono_graph::{Graph, ValueId};
use unisono_tensor::DType;

use super::{bench, check_all, nodes};
use crate::testing::{input, negate, node, numbers, sum};

/// A product with constants of its own; `n` columns.
fn projected(graph: &mut Graph, op: Linear, x: ValueId, n: usize, biased: bool) -> ValueId {
    let seed = graph.nodes().len();
    let weights = graph.add_constant("w", numbers(&[64, n], seed));
    let bias = graph.add_constant("b", numbers(&[n], 100 + seed));
    match biased {
        true => node(graph, op, &[x, weights, bias]),
        false => node(graph, op, &[x, weights]),
    }
}

fn plain() -> Linear {
    Linear::default()
}

#[test]
fn products_of_one_left_hand_side_share_a_launch_at_the_turn_of_the_first() {
    for rows in [1, 3, 30, 2000] {
        for biased in [false, true] {
            let mut graph = Graph::new("test");
            let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
            let a = projected(&mut graph, plain(), x, 32, biased);
            let b = node(&mut graph, negate(), &[a]);
            let c = projected(&mut graph, plain(), x, 32, biased);
            let d = projected(&mut graph, plain(), x, 32, biased);
            let e = node(&mut graph, sum(), &[c, d]);
            graph.set_outputs(vec![b, e, c]);
            let bench = bench();
            let program = bench.program(&graph, rows);
            check_all(&program, &graph);
            assert_eq!(nodes(&program), [vec![0, 2, 3], vec![1], vec![4]]);
            let launch = program.launches().next().unwrap();
            assert_eq!(launch.grid[1], 3);
            // Every product has weights of its own, which other programs share.
            let bytes = bench.weights();
            drop(bench.program(&graph, 7));
            assert_eq!(bench.weights(), bytes);
        }
    }
}

#[test]
fn more_products_than_a_launch_takes_are_several_launches() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
    let all = (0..5).map(|_| projected(&mut graph, plain(), x, 8, true));
    let all: Vec<ValueId> = all.collect();
    graph.set_outputs(all);
    let program = bench().program(&graph, 3);
    check_all(&program, &graph);
    assert_eq!(nodes(&program), [vec![0, 1, 2], vec![3, 4]]);
}

#[test]
fn products_that_differ_in_anything_else_stay_apart() {
    let relu = Linear {
        activation: Some(Activation::Relu),
        ..plain()
    };
    let scaled = Linear {
        alpha: 2.0,
        ..plain()
    };
    for (op, n, biased) in [
        (relu, 32, true),
        (scaled, 32, true),
        (plain(), 40, true),
        (plain(), 32, false),
    ] {
        let mut graph = Graph::new("test");
        let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
        let a = projected(&mut graph, plain(), x, 32, true);
        let b = projected(&mut graph, op, x, n, biased);
        graph.set_outputs(vec![a, b]);
        let program = bench().program(&graph, 3);
        check_all(&program, &graph);
        assert_eq!(nodes(&program), [[0], [1]], "{op:?}");
    }
}

#[test]
fn a_product_of_another_product_and_one_without_constants_stay_apart() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
    let w = input(&mut graph, "w", DType::F32, &["64", "64"]);
    let a = projected(&mut graph, plain(), x, 64, true);
    let b = projected(&mut graph, plain(), a, 64, true);
    let c = node(&mut graph, plain(), &[x, w]);
    graph.set_outputs(vec![b, c]);
    let program = bench().program(&graph, 3);
    check_all(&program, &graph);
    assert_eq!(nodes(&program), [[0], [1], [2]]);
}
