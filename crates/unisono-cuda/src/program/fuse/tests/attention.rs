//! Which attention is one launch.

use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::ops::shape::Reshape;
use unisono_graph::{Graph, ValueId};
use unisono_tensor::{DType, Tensor};

use super::{bench, check_all, nodes};
use crate::launch::{Arg, Launch};
use crate::program::Program;
use crate::testing::{input, negate, node, sum};

fn softmax() -> Softmax {
    Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    }
}

fn swap() -> Transpose {
    Transpose {
        perm: Some(vec![0, 2, 1, 3]),
    }
}

fn scores() -> Linear {
    Linear {
        transpose_b: true,
        alpha: 0.125,
        ..Linear::default()
    }
}

/// Projections of 4 heads, 32 x 64, and what splits them: nodes 0 to 8.
fn projected(graph: &mut Graph) -> [ValueId; 3] {
    let shape = Tensor::from_slice(&[4], &[0i64, 0, 4, 64]).unwrap();
    let shape = graph.add_constant("shape", shape);
    ["q", "k", "v"].map(|name| {
        let x = input(graph, name, DType::F32, &["rows", "32", "256"]);
        let x = node(graph, negate(), &[x]);
        let x = node(graph, Reshape { allow_zero: false }, &[x, shape]);
        node(graph, swap(), &[x])
    })
}

/// The numbers that a launch of attention gives its kernel.
fn words(launch: &Launch) -> Vec<u32> {
    match launch.args.last() {
        Some(Arg::Bytes(bytes)) => {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|word| u32::from_le_bytes(*word)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn attention_of(program: &Program) -> Option<&Launch> {
    program
        .launches()
        .find(|launch| launch.kernel.starts_with("unisono_attention"))
}

#[test]
fn attention_reads_and_writes_where_projections_lie() {
    for rows in [1, 3, 500] {
        let mut graph = Graph::new("test");
        let [q, k, v] = projected(&mut graph);
        let products = node(&mut graph, scores(), &[q, k]);
        let weights = node(&mut graph, softmax(), &[products]);
        let mixed = node(&mut graph, Linear::default(), &[weights, v]);
        let back = node(&mut graph, swap(), &[mixed]);
        let y = node(&mut graph, negate(), &[back]);
        graph.set_outputs(vec![y]);
        let program = bench().program(&graph, rows);
        check_all(&program, &graph);
        let expected = [
            vec![0],
            vec![3],
            vec![6],
            vec![2, 5, 8, 9, 10, 11, 12],
            vec![13],
        ];
        assert_eq!(nodes(&program), expected);
        let words = words(attention_of(&program).unwrap());
        assert_eq!(attention_of(&program).unwrap().grid[..2], [rows as u32, 4]);
        // Rows, keys, widths.
        assert_eq!(words[..4], [32, 32, 64, 64]);
        assert_eq!(words[6], 1, "all is read in quads");
        for operand in 0..4 {
            // By member, by head, by row.
            let member = if rows == 1 { 0 } else { 32 * 256 };
            let steps = &words[8 + 3 * operand..][..3];
            assert_eq!(steps, [member, 64, 256], "operand {operand}");
        }
        assert_eq!(words[20..24], [0; 4]);
    }
}

#[test]
fn a_mask_is_added_on_the_way() {
    for (shape, expected) in [
        (&["rows", "1", "1", "32"][..], [32, 0, 0, 1]),
        (&["rows", "4", "32", "32"], [4096, 1024, 32, 1]),
        (&["1", "1", "32", "32"], [0, 0, 32, 1]),
        (&["4", "1", "1"], [0, 1, 0, 0]),
        (&["32"], [0, 0, 0, 1]),
    ] {
        for swapped in [false, true] {
            let mut graph = Graph::new("test");
            let [q, k, v] = projected(&mut graph);
            let mask = input(&mut graph, "mask", DType::F32, shape);
            let products = node(&mut graph, scores(), &[q, k]);
            let summands = if swapped {
                [mask, products]
            } else {
                [products, mask]
            };
            let masked = node(&mut graph, sum(), &summands);
            let weights = node(&mut graph, softmax(), &[masked]);
            let mixed = node(&mut graph, Linear::default(), &[weights, v]);
            graph.set_outputs(vec![mixed]);
            let program = bench().program(&graph, 3);
            check_all(&program, &graph);
            assert_eq!(nodes(&program)[3], [2, 5, 8, 9, 10, 11, 12]);
            let words = words(attention_of(&program).unwrap());
            assert_eq!(words[20..24], expected, "{shape:?}");
        }
    }
}

#[test]
fn a_transpose_that_others_read_is_made_and_read_past() {
    let mut graph = Graph::new("test");
    let [q, k, v] = projected(&mut graph);
    let products = node(&mut graph, scores(), &[q, k]);
    let weights = node(&mut graph, softmax(), &[products]);
    let mixed = node(&mut graph, Linear::default(), &[weights, v]);
    let other = node(&mut graph, negate(), &[k]);
    graph.set_outputs(vec![mixed, other]);
    let program = bench().program(&graph, 3);
    check_all(&program, &graph);
    let expected = [
        vec![0],
        vec![3],
        vec![5],
        vec![6],
        vec![2, 8, 9, 10, 11],
        vec![12],
    ];
    assert_eq!(nodes(&program), expected);
}

#[test]
fn what_others_see_of_it_keeps_attention_apart() {
    // What is seen besides: the products or the weights, by the caller or by a node.
    for (seen, by_caller) in [(0, true), (1, true), (0, false), (1, false)] {
        let mut graph = Graph::new("test");
        let [q, k, v] = projected(&mut graph);
        let products = node(&mut graph, scores(), &[q, k]);
        let weights = node(&mut graph, softmax(), &[products]);
        let mixed = node(&mut graph, Linear::default(), &[weights, v]);
        let mut other = [products, weights][seen];
        if !by_caller {
            other = node(&mut graph, negate(), &[other]);
        }
        graph.set_outputs(vec![mixed, other]);
        let program = bench().program(&graph, 3);
        check_all(&program, &graph);
        assert!(attention_of(&program).is_none(), "{seen}");
    }
}

#[test]
fn only_softmax_over_the_last_axis_and_plain_products_are_attention() {
    let plain = (scores(), softmax(), Linear::default());
    let cases = [
        (plain, true),
        ((scores(), Softmax { axis: 2, ..plain.1 }, plain.2), false),
        (
            (
                scores(),
                Softmax {
                    function: SoftmaxFunction::LogSoftmax,
                    ..plain.1
                },
                plain.2,
            ),
            false,
        ),
        (
            (
                scores(),
                plain.1,
                Linear {
                    alpha: 2.0,
                    ..plain.2
                },
            ),
            false,
        ),
        (
            (
                scores(),
                plain.1,
                Linear {
                    transpose_a: true,
                    ..plain.2
                },
            ),
            false,
        ),
    ];
    for ((first, softmax, last), fuses) in cases {
        let mut graph = Graph::new("test");
        let [q, k, v] = projected(&mut graph);
        let products = node(&mut graph, first, &[q, k]);
        let weights = node(&mut graph, softmax, &[products]);
        let mixed = node(&mut graph, last, &[weights, v]);
        graph.set_outputs(vec![mixed]);
        let program = bench().program(&graph, 3);
        check_all(&program, &graph);
        assert_eq!(
            attention_of(&program).is_some(),
            fuses,
            "{softmax:?} {last:?}"
        );
    }
}

#[test]
fn keys_too_many_for_shared_memory_leave_the_nodes_apart() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "8000", "8"]);
    let products = node(&mut graph, scores(), &[x, x]);
    let weights = node(&mut graph, softmax(), &[products]);
    let mixed = node(&mut graph, Linear::default(), &[weights, x]);
    graph.set_outputs(vec![mixed]);
    let program = bench().program(&graph, 1);
    check_all(&program, &graph);
    assert_eq!(nodes(&program), [[0], [1], [2]]);
}
