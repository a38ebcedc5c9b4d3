//! LSTM layers on a GPU, held against the processor bit for bit. `cargo xtask gpu-test` runs them.

mod devices;

use std::sync::Arc;

use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::recurrent::{Cell, Direction, Recurrent};
use unisono_graph::{Graph, ValueId};
use unisono_tensor::{DType, Tensor};

use devices::{Bench, input, numbers};

/// [`numbers`] of such a size that gates are neither open nor shut.
fn weights(shape: &[usize], seed: usize) -> Tensor {
    let scale = 3.0 / (shape[shape.len() - 1] as f32).sqrt();
    let values = numbers(shape, seed);
    let values = values.as_slice::<f32>().unwrap().iter();
    let values: Vec<f32> = values.map(|x| x * scale).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// How a layer is used.
#[derive(Clone, Copy)]
struct Use {
    direction: Direction,
    is_biased: bool,
    /// The first states that are given.
    initial: [bool; 2],
    /// Which outputs somebody reads.
    read: [bool; 3],
}

/// All directions, with and without all that a layer may have or lack.
fn uses() -> Vec<Use> {
    let mut uses = Vec::new();
    for direction in [
        Direction::Forward,
        Direction::Reverse,
        Direction::Bidirectional,
    ] {
        for (is_biased, initial, read) in [
            (true, [true, true], [true, true, true]),
            (false, [true, true], [true, false, false]),
            (true, [false, false], [false, true, false]),
            (false, [false, false], [true, false, true]),
            (true, [true, false], [false, true, true]),
            (true, [false, true], [false, false, true]),
        ] {
            uses.push(Use {
                direction,
                is_biased,
                initial,
                read,
            });
        }
    }
    uses
}

/// A layer for each use, all of them over the same `x`. Inputs: `x`, then `h` and `c` for one direction, then those for two.
fn layers(size: usize, hidden: usize, uses: &[Use]) -> Graph {
    let mut graph = Graph::new("layers");
    let (size_text, hidden_text) = (size.to_string(), hidden.to_string());
    let x = input(&mut graph, "x", DType::F32, &["time", "rows", &size_text]);
    let states: Vec<ValueId> = ["1", "1", "2", "2"]
        .iter()
        .map(|&count| {
            let shape = [count, "rows", &hidden_text];
            input(&mut graph, "state", DType::F32, &shape)
        })
        .collect();
    let mut read = Vec::new();
    for (seed, of) in uses.iter().enumerate() {
        let count = of.direction.count();
        let mut constant = |shape: &[usize], n: usize| {
            Some(graph.add_constant("constant", weights(shape, 10 * seed + n)))
        };
        let w = constant(&[count, 4 * hidden, size], 0);
        let r = constant(&[count, 4 * hidden, hidden], 1);
        let b = match of.is_biased {
            true => constant(&[count, 8 * hidden], 2),
            false => None,
        };
        let first = |n: usize| of.initial[n].then(|| states[2 * (count - 1) + n]);
        let inputs = vec![Some(x), w, r, b, None, first(0), first(1)];
        let outputs: Vec<Option<ValueId>> = of
            .read
            .iter()
            .map(|is_read| is_read.then(|| graph.add_value("", None)))
            .collect();
        read.extend(outputs.iter().flatten());
        let activations = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
        let op = Recurrent {
            cell: Cell::Lstm {
                input_forget: false,
            },
            direction: of.direction,
            hidden_size: Some(hidden),
            activations: activations.repeat(count),
            clip: None,
            batch_first: false,
        };
        graph.add_node(format!("layer{seed}"), Arc::new(op), inputs, outputs);
    }
    graph.set_outputs(read);
    graph
}

/// What goes into [`layers`].
fn inputs(time: usize, rows: usize, size: usize, hidden: usize) -> Vec<Tensor> {
    let states = [1, 1, 2, 2].iter().enumerate();
    let states = states.map(|(n, &count)| numbers(&[count, rows, hidden], 100 + n));
    [numbers(&[time, rows, size], time)]
        .into_iter()
        .chain(states)
        .collect()
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn layers_of_any_size_have_the_bits_of_the_processor() {
    for hidden in [5, 64, 128, 200] {
        for size in [3, 128, 576] {
            let bench = Bench::new(layers(size, hidden, &uses()));
            for time in [1, 7] {
                for rows in [1, 3] {
                    bench.check_all(&inputs(time, rows, size, hidden));
                }
            }
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn more_rows_than_processors_and_states_of_several_slices_have_the_bits_of_the_processor() {
    let uses = &uses()[..1];
    for (hidden, size, rows, time) in [
        (128, 20, 700, 5),
        (64, 20, 1000, 3),
        (31, 7, 301, 4),
        (300, 20, 9, 5),
        (600, 20, 1, 5),
        (1100, 20, 2, 2),
    ] {
        let bench = Bench::new(layers(size, hidden, uses));
        bench.check_all(&inputs(time, rows, size, hidden));
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_row_that_is_not_a_number_stays_the_only_one() {
    let (size, hidden, time, rows) = (20, 64, 6, 5);
    let bench = Bench::new(layers(size, hidden, &uses()));
    let mut given = inputs(time, rows, size, hidden);
    let mut x = given[0].as_slice::<f32>().unwrap().to_vec();
    // One from the third step on, one by a state that no sum survives; steps and rows of others are as they were.
    x[(2 * rows + 1) * size + 3] = f32::NAN;
    x[(4 * rows + 3) * size + 7] = f32::INFINITY;
    given[0] = Tensor::from_slice(given[0].shape(), &x).unwrap();
    let mut c = given[2].as_slice::<f32>().unwrap().to_vec();
    c[2 * hidden + 5] = f32::NEG_INFINITY;
    c[4 * hidden + 6] = 3e38;
    given[2] = Tensor::from_slice(given[2].shape(), &c).unwrap();
    bench.check_all(&given);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_long_sequence_is_two_launches() {
    let (size, hidden) = (128, 128);
    let bench = Bench::new(layers(size, hidden, &uses()[..1]));
    let given = inputs(3000, 1, size, hidden);
    bench.check_all(&given);
    let kernels = bench.kernels(&given);
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    let (product, walk) = kernels[0].split_once(", ").unwrap();
    assert!(product.starts_with("gemm_"), "{kernels:?}");
    assert_eq!(walk, "unisono_lstm_narrow");
}
