//! Programs whose early steps run for a few rows at a time.

use unisono_graph::Graph;
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::conv::Conv;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::{Concat, Transpose};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::shape::Squeeze;
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_graph::ops::window::{Padding, Window};
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::Tensor;

use super::{Bench, input, node, numbers};
use crate::exec::model::Engine;
use crate::exec::plan::CpuPlan;
use crate::simd::Isa;

/// A device whose cache holds 128 KiB.
fn bench(graph: Graph, isa: Isa, threads: usize) -> Bench {
    let engine = Engine {
        team: Team::new(TeamOptions::default().threads(threads)).unwrap(),
        solo: Team::solo(),
        isa,
        arena_limit: 1 << 30,
        near_bytes: 128 << 10,
    };
    Bench::on(graph, engine)
}

fn conv(stride: usize) -> Conv {
    Conv {
        groups: 1,
        window: Window {
            strides: vec![stride; 2],
            padding: Padding::Explicit(vec![1; 4]),
            ..Window::default()
        },
        activation: None,
    }
}

fn add() -> Binary {
    Binary {
        function: BinaryFunction::Add,
    }
}

/// How often each step runs.
fn passes(
    bench: &mut Bench,
    rows: usize,
    request: &dyn Fn(usize, usize) -> Vec<Tensor>,
) -> Vec<usize> {
    let member = bench.member(&request(rows, 0));
    let plan: &CpuPlan = member.plan.downcast_ref().unwrap();
    let program = plan.program(rows).unwrap();
    (0..program.steps.len())
        .map(|i| program.passes(i))
        .collect()
}

fn check(graph: &Graph, request: &dyn Fn(usize, usize) -> Vec<Tensor>) {
    let interpreter = Interpreter::new(Precision::Canonical);
    for isa in Isa::available() {
        for threads in [1, 8] {
            let mut bench = bench(graph.clone(), isa, threads);
            for rows in 1..=6 {
                let inputs = request(rows, rows);
                let expected = interpreter.run(graph, &inputs).unwrap();
                for (output, (got, expected)) in
                    bench.alone(&inputs).iter().zip(&expected).enumerate()
                {
                    assert_eq!(got.shape(), expected.shape(), "output {output}");
                    assert!(
                        got.bytes() == expected.bytes(),
                        "output {output}, {rows} rows, {isa:?}, {threads} threads"
                    );
                }
            }
            bench.check(&[request(1, 5), request(4, 6), request(1, 7)]);
        }
    }
}

/// A small network for images: a residual block at full size, whose values are large, then a smaller half with large weights.
/// The block's values are an output too if `seen`.
fn images(seen: bool) -> Graph {
    let mut graph = Graph::new("images");
    let x = input(&mut graph, "x", &[Err("b"), Ok(3), Ok(20), Ok(19)]);
    let stem = graph.add_constant("stem", numbers(&[24, 3, 3, 3], 1));
    let bias = graph.add_constant("bias", numbers(&[24], 2));
    let inner = graph.add_constant("inner", numbers(&[24, 24, 3, 3], 3));
    let narrow = graph.add_constant("narrow", numbers(&[8, 48, 3, 3], 4));
    let head = graph.add_constant("head", numbers(&[8, 300], 5));
    let y = node(&mut graph, conv(1), &[x, stem, bias]);
    let branch = node(&mut graph, conv(1), &[y, inner]);
    let sum = node(&mut graph, add(), &[branch, y]);
    let erf = Unary {
        function: UnaryFunction::Erf,
    };
    let sum = node(&mut graph, erf, &[sum]);
    let both = node(&mut graph, Concat { axis: 1 }, &[sum, y]);
    let y = node(&mut graph, conv(2), &[both, narrow]);
    let pool = Pool {
        function: PoolFunction::Max {
            column_major_indices: false,
        },
        window: Window {
            kernel: vec![2, 2],
            ..Window::default()
        },
    };
    let y = node(&mut graph, pool, &[y]);
    let function = PoolFunction::Average {
        count_include_pad: false,
    };
    let y = node(&mut graph, GlobalPool { function }, &[y]);
    let flat = Squeeze {
        axes: Some(vec![2, 3]),
    };
    let y = node(&mut graph, flat, &[y]);
    let y = node(&mut graph, Linear::default(), &[y, head]);
    graph.set_outputs(if seen { vec![y, sum] } else { vec![y] });
    graph
}

fn image(rows: usize, seed: usize) -> Vec<Tensor> {
    vec![numbers(&[rows, 3, 20, 19], seed)]
}

#[test]
fn passes_have_the_bits_of_the_interpreter() {
    for seen in [false, true] {
        let graph = images(seen);
        check(&graph, &image);
        let mut bench = bench(graph, Isa::detect(), 1);
        let counts = passes(&mut bench, 6, &image);
        assert!(counts.iter().any(|&n| n > 1), "{counts:?}");
        // The product with the large weights reads them once.
        assert_eq!(
            counts.last().filter(|_| !seen),
            (!seen).then_some(&1),
            "{counts:?}"
        );
        assert!(passes(&mut bench, 1, &image).iter().all(|&n| n == 1));
    }
}

#[test]
fn what_lives_within_a_pass_takes_the_memory_of_one_pass() {
    let arena = |rows: usize| {
        let mut bench = bench(images(false), Isa::detect(), 1);
        bench.alone(&image(rows, 1));
        bench.lane.arena.len()
    };
    assert!(arena(8) < 2 * arena(1), "{} and {}", arena(8), arena(1));
}

#[test]
fn steps_that_mix_rows_up_do_not_run_in_passes() {
    // Rows become columns, and columns rows, in between.
    let mut graph = Graph::new("turned");
    let x = input(&mut graph, "x", &[Err("b"), Ok(4096)]);
    let function = UnaryFunction::Erf;
    let y = node(&mut graph, Unary { function }, &[x]);
    let turn = Transpose {
        perm: Some(vec![1, 0]),
    };
    let y = node(&mut graph, turn.clone(), &[y]);
    let y = node(&mut graph, Unary { function }, &[y]);
    let y = node(&mut graph, turn, &[y]);
    let y = node(&mut graph, Unary { function }, &[y]);
    graph.set_outputs(vec![y]);
    let request = |rows, seed| vec![numbers(&[rows, 4096], seed)];
    check(&graph, &request);
    let mut bench = bench(graph, Isa::detect(), 1);
    let counts = passes(&mut bench, 6, &request);
    assert_eq!(counts[1..4], [1, 1, 1], "{counts:?}");
    assert!(counts[0] > 1 || counts[4] > 1, "{counts:?}");
}
