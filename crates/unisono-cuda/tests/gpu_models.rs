//! Whole models on a GPU, held against the processor bit for bit: alone, padded, and with many callers. `cargo xtask gpu-test` runs
//! them.

mod devices;

use unisono_graph::Graph;
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::indexing::{Gather, NonZero};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::{Transpose, Trilu};
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_runtime::ErrorKind;
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

/// Three layers with long sums, and a softmax.
fn perceptron() -> Graph {
    let mut graph = Graph::new("perceptron");
    let mut x = input(&mut graph, "x", DType::F32, &["rows", "700"]);
    for (layer, (k, n)) in [(700, 300), (300, 300), (300, 37)].into_iter().enumerate() {
        let weights = graph.add_constant("w", numbers(&[k, n], layer));
        let bias = graph.add_constant("b", numbers(&[n], 10 + layer));
        x = node(&mut graph, PRODUCT, &[x, weights, bias]);
        let function = UnaryFunction::Erf;
        x = node(&mut graph, Unary { function }, &[x]);
    }
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let y = node(&mut graph, softmax, &[x]);
    graph.set_outputs(vec![y, x]);
    graph
}

/// Nodes on the device, on the processor, and a value that is passed on.
fn mixed() -> Graph {
    let mut graph = Graph::new("mixed");
    let x = input(&mut graph, "x", DType::F32, &["rows", "17", "17"]);
    let perm = Some(vec![0, 2, 1]);
    let a = node(&mut graph, Transpose { perm }, &[x]);
    let b = node(&mut graph, Trilu { upper: true }, &[a]);
    let function = BinaryFunction::Add;
    let c = node(&mut graph, Binary { function }, &[b, x]);
    let d = node(&mut graph, Trilu { upper: false }, &[c]);
    let e = node(&mut graph, Binary { function }, &[d, a]);
    graph.set_outputs(vec![e, x, d]);
    graph
}

fn picking() -> Graph {
    let mut graph = Graph::new("picking");
    let x = input(&mut graph, "x", DType::I64, &["rows", "3"]);
    let table = graph.add_constant("table", numbers(&[50, 8], 3));
    let y = node(&mut graph, Gather { axis: 0 }, &[table, x]);
    graph.set_outputs(vec![y]);
    graph
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn models_have_the_bits_of_the_processor_whatever_the_number_of_rows() {
    for graph in [perceptron(), mixed()] {
        let columns: Vec<usize> = match graph.name() {
            "mixed" => vec![17, 17],
            _ => vec![700],
        };
        let bench = Bench::new(graph);
        for rows in [
            1, 2, 3, 7, 8, 9, 11, 12, 16, 17, 33, 64, 100, 257, 1, 9, 1500,
        ] {
            let shape = [&[rows], &columns[..]].concat();
            bench.check(&numbers(&shape, rows));
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn many_callers_get_the_bits_that_each_gets_alone_and_share_batches() {
    const CALLERS: usize = 32;
    const REQUESTS: usize = 50;
    for (graph, columns) in [(perceptron(), vec![700]), (mixed(), vec![17, 17])] {
        let bench = Bench::new(graph);
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (bench, columns) = (&bench, &columns);
                scope.spawn(move || {
                    for request in 0..REQUESTS {
                        let rows = 1 + (caller + request) % 3;
                        let shape = [&[rows], &columns[..]].concat();
                        bench.check(&numbers(&shape, caller * REQUESTS + request));
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
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_bad_index_reaches_its_own_caller_alone_and_is_told_as_on_the_processor() {
    let bench = Bench::new(picking());
    let bad = Tensor::from_slice(&[1, 3], &[0i64, 50, 1]).unwrap();
    let told = bench.on_cpu.run(&bad).unwrap_err();
    std::thread::scope(|scope| {
        for caller in 0..16 {
            let (bench, bad, told) = (&bench, &bad, &told);
            scope.spawn(move || {
                for request in 0..20i64 {
                    if caller % 4 == 0 {
                        let error = bench.on_gpu.run(bad).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Execution);
                        assert_eq!(error.to_string(), told.to_string());
                        continue;
                    }
                    let picks: Vec<i64> = (0..6).map(|n| (n * 7 + request) % 100 - 50).collect();
                    bench.check(&Tensor::from_slice(&[2, 3], &picks).unwrap());
                }
            });
        }
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn shapes_that_depend_on_data_run_on_the_processor() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "5"]);
    let y = node(&mut graph, NonZero, &[x]);
    graph.set_outputs(vec![y]);
    let bench = Bench::new(graph);
    bench.check(&numbers(&[4, 5], 1));
    let placement = bench.on_gpu.placement_for(&numbers(&[4, 5], 1)).unwrap();
    assert!(placement.iter().all(|place| place.device == "cpu"));
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_profile_tells_every_step() {
    let bench = Bench::new(perceptron());
    let profile = bench.on_gpu.profile(&numbers(&[16, 700], 1), 5).unwrap();
    assert!(profile.steps.len() >= 7);
    for step in &profile.steps {
        println!("{} {} {:?}", step.name, step.kernel, step.times);
    }
    println!("whole {:?}", profile.whole);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn what_the_device_can_do_at_best_is_within_what_its_clock_allows_and_leaves_nothing_behind() {
    let bench = Bench::new(perceptron());
    let device = bench.on_gpu.device();
    let before = device.memory().unwrap().in_use_bytes;
    let found = device.ceilings(6 << 20).unwrap();
    println!("{found:#?}");
    assert_eq!(found.unit, "processor");
    // Two operations on 128 lanes in each cycle of at most 3 GHz, and hardly less than half of a gigahertz.
    let most = found.units as f64 * 128.0 * 2.0 * 3e9;
    assert!(found.all_units.best < most && found.all_units.best > most / 6.0);
    assert!(found.one_unit.best * found.units as f64 > found.all_units.best * 0.5);
    assert!(found.one_unit.best * (found.units as f64) < found.all_units.best * 2.0);
    assert!(found.weights.best > found.memory.best * 0.9 && found.memory.best > 1e11);
    let after = device.memory().unwrap();
    assert_eq!(after.in_use_bytes, before);
    assert!(after.kept_bytes < 1 << 20, "{after:?}");
}
