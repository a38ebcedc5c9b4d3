//! Attention that is one step, and what must not be one.

use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::ops::shape::Reshape;
use unisono_graph::{Graph, ValueId};
use unisono_tensor::Tensor;

use super::forms::{check, steps};
use super::{Bench, input, node, numbers};
use crate::simd::Isa;

/// Heads and the width of each.
const HEADS: usize = 3;
const WIDTH: usize = 20;

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

fn add() -> Binary {
    Binary {
        function: BinaryFunction::Add,
    }
}

/// Positions x all heads side by side, cut into heads.
fn heads(graph: &mut Graph, name: &str, positions: usize) -> ValueId {
    let all = HEADS * WIDTH;
    let x = input(graph, name, &[Err("b"), Ok(positions), Ok(all)]);
    let shape = [0, 0, HEADS as i64, WIDTH as i64];
    let shape = Tensor::from_slice(&[4], &shape).unwrap();
    let shape = graph.add_constant(format!("heads of {name}"), shape);
    let x = node(graph, Reshape { allow_zero: false }, &[x, shape]);
    node(graph, swap(), &[x])
}

/// The nodes of each step.
fn joined(graph: &Graph, request: &[Tensor]) -> Vec<String> {
    let names = steps(&mut Bench::new(graph.clone(), Isa::detect(), 1), request);
    names.iter().map(|name| name.replace('"', "")).collect()
}

fn request(lengths: [usize; 3]) -> impl Fn(usize, usize) -> Vec<Tensor> {
    move |rows, seed| {
        let shape = |length| [rows, length, HEADS * WIDTH];
        let inputs = lengths.into_iter().enumerate();
        inputs
            .map(|(i, length)| numbers(&shape(length), 3 * seed + i))
            .collect()
    }
}

#[test]
fn attention_with_its_transposes_is_one_step_and_has_the_bits_of_the_interpreter() {
    // A strip that is not whole, several strips, several slices of keys; more rows than a job has.
    for (rows, keys) in [(5, 5), (32, 32), (30, 300), (200, 600)] {
        let mut graph = Graph::new("attention");
        let [q, k, v] =
            [("q", rows), ("k", keys), ("v", keys)].map(|(name, n)| heads(&mut graph, name, n));
        let products = node(&mut graph, scores(), &[q, k]);
        let weights = node(&mut graph, softmax(), &[products]);
        let mixed = node(&mut graph, Linear::default(), &[weights, v]);
        let back = node(&mut graph, swap(), &[mixed]);
        graph.set_outputs(vec![back]);
        let request = request([rows, keys, keys]);
        check(&graph, &request, 0);
        let expected = "node1 (Transpose) + node3 (Transpose) + node5 (Transpose) + node6 (Linear) + node7 (Softmax) + node8 \
                        (Linear) + node9 (Transpose)";
        assert_eq!(joined(&graph, &request(2, 0)), [expected]);
    }
}

#[test]
fn a_mask_is_added_before_softmax() {
    for mask_shape in [
        &[Err("b"), Ok(1), Ok(1), Ok(17)][..],
        &[Err("b"), Ok(HEADS), Ok(16), Ok(17)],
    ] {
        for mask_first in [false, true] {
            let mut graph = Graph::new("mask");
            let [q, k, v] =
                [("q", 16), ("k", 17), ("v", 17)].map(|(name, n)| heads(&mut graph, name, n));
            let mask = input(&mut graph, "mask", mask_shape);
            let products = node(&mut graph, scores(), &[q, k]);
            let summands = match mask_first {
                true => [mask, products],
                false => [products, mask],
            };
            let masked = node(&mut graph, add(), &summands);
            let weights = node(&mut graph, softmax(), &[masked]);
            let mixed = node(&mut graph, Linear::default(), &[weights, v]);
            graph.set_outputs(vec![mixed]);
            let unmasked = request([16, 17, 17]);
            let request = |rows: usize, seed: usize| {
                let mut inputs = unmasked(rows, seed);
                let shape: Vec<usize> = mask_shape.iter().map(|n| n.unwrap_or(rows)).collect();
                inputs.push(numbers(&shape, seed + 7));
                inputs
            };
            check(&graph, &request, 0);
            assert_eq!(joined(&graph, &request(2, 0)).len(), 1);
        }
    }
}

#[test]
fn what_others_read_is_made_for_them() {
    // Scores that the caller gets are no secret of one step; keys that somebody else reads are there for both.
    for others_read_scores in [false, true] {
        let mut graph = Graph::new("others");
        let [q, k, v] = ["q", "k", "v"].map(|name| heads(&mut graph, name, 9));
        let products = node(&mut graph, scores(), &[q, k]);
        let weights = node(&mut graph, softmax(), &[products]);
        let mixed = node(&mut graph, Linear::default(), &[weights, v]);
        let other = match others_read_scores {
            true => weights,
            false => k,
        };
        graph.set_outputs(vec![mixed, other]);
        let request = request([9, 9, 9]);
        check(&graph, &request, 0);
        let names = joined(&graph, &request(2, 0));
        let together = names.iter().any(|name| name.contains("Softmax) +"));
        assert_eq!(together, !others_read_scores, "{names:?}");
    }
}
