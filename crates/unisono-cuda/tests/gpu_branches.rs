//! Models that choose between branches on a GPU, held against the processor bit for bit: both outcomes in turn, and many callers who choose
//! differently. `cargo xtask gpu-test` runs them.

mod devices;

use std::sync::Arc;

use unisono_graph::attribute::Subgraph;
use unisono_graph::ops::binary::{Binary, BinaryFunction, Compare, Comparison};
use unisono_graph::ops::control::If;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_graph::{Graph, ValueId};
use unisono_runtime::census::Resource;
use unisono_runtime::session::Shutdown;
use unisono_tensor::{DType, Tensor};

use devices::{Bench, input, node, numbers};

const PRODUCT: Linear = Linear {
    transpose_a: false,
    transpose_b: false,
    alpha: 1.0,
    beta: 1.0,
    activation: None,
    gemm: false,
};

/// A network of `layers` layers over inputs 1 (300 columns) and 2 (40 columns) of the node. The last weights are those of both.
fn network(layers: usize, seed: usize, last: &Tensor) -> Subgraph {
    let mut graph = Graph::new("network");
    let x = input(&mut graph, "x", DType::F32, &["rows", "300"]);
    let state = input(&mut graph, "state", DType::F32, &["rows", "40"]);
    let mut y = x;
    for layer in 0..layers {
        let weights = graph.add_constant("w", numbers(&[300, 300], seed + layer));
        let bias = graph.add_constant("b", numbers(&[300], seed + 10 + layer));
        y = node(&mut graph, PRODUCT, &[y, weights, bias]);
        let function = UnaryFunction::Erf;
        y = node(&mut graph, Unary { function }, &[y]);
    }
    let last = graph.add_constant("last", last.clone());
    let y = node(&mut graph, PRODUCT, &[y, last]);
    let function = BinaryFunction::Add;
    let y = node(&mut graph, Binary { function }, &[y, state]);
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let z = node(&mut graph, softmax, &[y]);
    graph.set_outputs(vec![z, y]);
    graph.check().unwrap();
    Subgraph {
        graph,
        captures: vec![1, 2],
    }
}

/// Two networks, of which the rate chooses one; a step in front of them and one behind.
fn detector() -> Graph {
    let mut graph = Graph::new("detector");
    let x = input(&mut graph, "x", DType::F32, &["rows", "300"]);
    let rate = input(&mut graph, "rate", DType::I64, &[]);
    let state = input(&mut graph, "state", DType::F32, &["rows", "40"]);
    let wanted = Tensor::from_slice(&[], &[16_000i64]).unwrap();
    let wanted = graph.add_constant("wanted", wanted);
    let comparison = Comparison::Equal;
    let condition = node(&mut graph, Compare { comparison }, &[rate, wanted]);
    let function = UnaryFunction::Erf;
    let before = node(&mut graph, Unary { function }, &[x]);
    let last = numbers(&[300, 40], 7);
    let op = If {
        then_branch: network(2, 20, &last),
        else_branch: network(1, 40, &last),
    };
    let inputs = [condition, before, state];
    let made: Vec<ValueId> = graph.append("choice", Arc::new(op), &inputs, 2);
    let function = BinaryFunction::Add;
    let after = node(&mut graph, Binary { function }, &[made[1], state]);
    graph.set_outputs(vec![made[0], after]);
    graph
}

fn request(rows: usize, rate: i64, seed: usize) -> Vec<Tensor> {
    vec![
        numbers(&[rows, 300], seed),
        Tensor::from_slice(&[], &[rate]).unwrap(),
        numbers(&[rows, 40], seed + 1),
    ]
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn each_branch_has_the_bits_of_the_processor_whatever_the_number_of_rows() {
    let bench = Bench::new(detector());
    for rows in [1, 2, 3, 8, 9, 12, 17, 64, 100, 1, 9, 1500] {
        for rate in [16_000, 8_000, 16_000] {
            bench.check_all(&request(rows, rate, rows));
        }
    }
    // All of it runs on the device: a product more for one rate than for the other.
    let steps = |rate| bench.kernels(&request(2, rate, 1));
    let (more, fewer) = (steps(16_000), steps(8_000));
    assert!(more.len() > fewer.len(), "{more:?}, {fewer:?}");
    for kernels in [more, fewer] {
        assert!(!kernels.iter().any(|k| k == "on the CPU"), "{kernels:?}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn where_nodes_run_is_told_of_the_branch_that_a_request_takes() {
    let bench = Bench::new(detector());
    let placement = |rate| {
        let request = request(2, rate, 1);
        bench.on_gpu.placement_for(&request[..]).unwrap()
    };
    let (more, fewer) = (placement(16_000), placement(8_000));
    assert_eq!(more.len(), fewer.len() + 2);
    for place in more.iter().chain(&fewer) {
        let chooses = place.operator == "Equal";
        assert_eq!(place.device == "cpu", chooses, "{place:?}");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn callers_who_choose_differently_get_the_bits_that_each_gets_alone() {
    const CALLERS: usize = 24;
    const REQUESTS: usize = 50;
    let bench = Bench::new(detector());
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let bench = &bench;
            scope.spawn(move || {
                for n in 0..REQUESTS {
                    let rows = 1 + (caller + n) % 3;
                    // Some stay with one branch, others go to and fro.
                    let rate = match caller % 3 {
                        0 => 16_000,
                        1 => 8_000,
                        _ => [16_000, 8_000, 44_100][n % 3],
                    };
                    bench.check_all(&request(rows, rate, caller * REQUESTS + n));
                }
            });
        }
    });
    let stats = bench.on_gpu.stats();
    assert_eq!(stats.requests, (CALLERS * REQUESTS) as u64);
    assert_eq!((stats.failed, stats.rerun_batches), (0, 0));
    println!("{} requests in {} batches", stats.requests, stats.batches);
    bench.on_gpu.shutdown(Shutdown::Drain);
    let census = bench.gpu.census().clone();
    drop(bench.on_gpu);
    for resource in [
        Resource::Session,
        Resource::Model,
        Resource::Plan,
        Resource::Batch,
    ] {
        let count = census.get(resource);
        assert_eq!((count.alive(), count.bytes), (0, 0), "{}", resource.name());
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_branch_that_cannot_work_fails_who_takes_it_and_no_neighbour() {
    // The other branch wants 41 columns of the state.
    let mut graph = Graph::new("failing");
    let x = input(&mut graph, "x", DType::F32, &["rows", "300"]);
    let flag = input(&mut graph, "flag", DType::Bool, &[]);
    let state = input(&mut graph, "state", DType::F32, &["rows", "40"]);
    let mut other = Graph::new("other");
    let wide = input(&mut other, "state", DType::F32, &["rows", "40"]);
    let weights = other.add_constant("w", numbers(&[41, 40], 1));
    let made = node(&mut other, PRODUCT, &[wide, weights]);
    other.set_outputs(vec![made, made]);
    let op = If {
        then_branch: network(1, 20, &numbers(&[300, 40], 7)),
        else_branch: Subgraph {
            graph: other,
            captures: vec![2],
        },
    };
    let made = graph.append("choice", Arc::new(op), &[flag, x, state], 2);
    graph.set_outputs(made);
    let bench = Bench::new(graph);
    let request = |flag: bool, seed| {
        let mut inputs = request(2, 0, seed);
        inputs[1] = Tensor::from_bools(&[], &[flag]).unwrap();
        inputs
    };
    let told = bench.on_cpu.run(&request(false, 1)[..]).unwrap_err();
    std::thread::scope(|scope| {
        for caller in 0..12 {
            let (bench, told, request) = (&bench, &told, &request);
            scope.spawn(move || {
                for n in 0..20 {
                    if caller % 4 == 0 {
                        let error = bench.on_gpu.run(&request(false, 1)[..]).unwrap_err();
                        assert_eq!(error.to_string(), told.to_string());
                    } else {
                        bench.check_all(&request(true, caller * 20 + n));
                    }
                }
            });
        }
    });
}
