//! Values that have their channels last among those that have not.

use unisono_graph::Graph;
use unisono_graph::ops::activation::Activation;
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::conv::Conv;
use unisono_graph::ops::movement::{Concat, Transpose};
use unisono_graph::ops::normalize::{Softmax, SoftmaxFunction};
use unisono_graph::ops::pool::{GlobalPool, Pool, PoolFunction};
use unisono_graph::ops::shape::Squeeze;
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_graph::ops::window::{Padding, Window};
use unisono_reference::interpret::{Interpreter, Precision};
use unisono_tensor::Tensor;

use super::{Bench, input, node, numbers};
use crate::exec::plan::CpuPlan;
use crate::simd::Isa;

fn conv(groups: usize, stride: usize, pad: usize) -> Conv {
    Conv {
        groups,
        window: Window {
            strides: vec![stride; 2],
            padding: Padding::Explicit(vec![pad; 4]),
            ..Window::default()
        },
        activation: Some(Activation::Relu),
    }
}

fn add() -> Binary {
    Binary {
        function: BinaryFunction::Add,
    }
}

fn mean() -> PoolFunction {
    PoolFunction::Average {
        count_include_pad: false,
    }
}

fn greatest() -> PoolFunction {
    PoolFunction::Max {
        column_major_indices: false,
    }
}

/// The names of the steps that `rows` rows take.
pub(super) fn steps(bench: &mut Bench, request: &[Tensor]) -> Vec<String> {
    let member = bench.member(request);
    let plan: &CpuPlan = member.plan.downcast_ref().unwrap();
    let program = plan.program(member.rows).unwrap();
    program.steps.iter().map(|step| step.name.clone()).collect()
}

/// Compares with the interpreter, alone and in batches; `turns` is how many values are turned.
pub(super) fn check(graph: &Graph, request: &dyn Fn(usize, usize) -> Vec<Tensor>, turns: usize) {
    let interpreter = Interpreter::new(Precision::Canonical);
    for isa in Isa::available() {
        for threads in [1, 2] {
            let mut bench = Bench::new(graph.clone(), isa, threads);
            let names = steps(&mut bench, &request(2, 0));
            let turned = names.iter().filter(|name| name.contains(", channels "));
            assert_eq!(turned.count(), turns, "{names:?}");
            for rows in [1, 3] {
                let inputs = request(rows, rows);
                let expected = interpreter.run(graph, &inputs).unwrap();
                let got = bench.alone(&inputs);
                for (output, (got, expected)) in got.iter().zip(&expected).enumerate() {
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

#[test]
fn values_that_are_read_in_both_forms_have_the_bits_of_the_interpreter() {
    let mut graph = Graph::new("both");
    let x = input(&mut graph, "x", &[Err("b"), Ok(3), Ok(9), Ok(8)]);
    let w = graph.add_constant("w", numbers(&[20, 3, 3, 3], 1));
    let bias = graph.add_constant("bias", numbers(&[20], 2));
    let by_channel = graph.add_constant("by channel", numbers(&[20, 1, 1], 3));
    let deep = graph.add_constant("deep", numbers(&[40, 1, 3, 3], 4));
    let squeeze = graph.add_constant("squeeze", numbers(&[40, 40, 1, 1], 5));
    let first = node(&mut graph, conv(1, 1, 1), &[x, w, bias]);
    let shifted = node(&mut graph, add(), &[first, by_channel]);
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: 1,
        flatten: false,
    };
    let plain = node(&mut graph, softmax, &[first]);
    let mixed = node(&mut graph, add(), &[plain, shifted]);
    let joined = node(&mut graph, Concat { axis: 1 }, &[mixed, first]);
    let deep = node(&mut graph, conv(40, 2, 1), &[joined, deep]);
    let pool = Pool {
        function: greatest(),
        window: Window {
            kernel: vec![2, 2],
            ..Window::default()
        },
    };
    let pooled = node(&mut graph, pool, &[deep]);
    let mean = node(&mut graph, GlobalPool { function: mean() }, &[pooled]);
    let gate = node(&mut graph, conv(1, 1, 0), &[mean, squeeze]);
    let exp = Unary {
        function: UnaryFunction::Exp,
    };
    let gate = node(&mut graph, exp, &[gate]);
    let gated = Binary {
        function: BinaryFunction::Mul,
    };
    let gated = node(&mut graph, gated, &[pooled, gate]);
    let flat = node(
        &mut graph,
        Squeeze {
            axes: Some(vec![2, 3]),
        },
        &[mean],
    );
    graph.set_outputs(vec![gated, first, flat]);
    // The input and the softmax's result one way, the first convolution's (softmax and output) and the gated ones the other.
    check(
        &graph,
        &|rows, seed| vec![numbers(&[rows, 3, 9, 8], seed)],
        4,
    );
}

#[test]
fn transposes_around_convolutions_are_no_steps() {
    let mut graph = Graph::new("last");
    let x = input(&mut graph, "x", &[Err("b"), Ok(9), Ok(8), Ok(3)]);
    let w = graph.add_constant("w", numbers(&[20, 3, 3, 3], 1));
    let transpose = |perm: [usize; 4]| Transpose {
        perm: Some(perm.to_vec()),
    };
    let y = node(&mut graph, transpose([0, 3, 1, 2]), &[x]);
    let y = node(&mut graph, conv(1, 2, 1), &[y, w]);
    let y = node(&mut graph, transpose([0, 2, 3, 1]), &[y]);
    let exp = Unary {
        function: UnaryFunction::Exp,
    };
    let y = node(&mut graph, exp, &[y]);
    graph.set_outputs(vec![y]);
    let request = |rows, seed| vec![numbers(&[rows, 9, 8, 3], seed)];
    check(&graph, &request, 0);
    let mut bench = Bench::new(graph, Isa::detect(), 1);
    assert_eq!(steps(&mut bench, &request(1, 0)).len(), 2);
}

#[test]
fn a_transpose_that_others_read_too_is_a_value_in_both_forms() {
    let mut graph = Graph::new("read twice");
    let x = input(&mut graph, "x", &[Err("b"), Ok(3), Ok(9), Ok(8)]);
    let w = graph.add_constant("w", numbers(&[20, 3, 3, 3], 1));
    let y = node(&mut graph, conv(1, 1, 1), &[x, w]);
    let perm = Some(vec![0, 2, 3, 1]);
    let last = node(&mut graph, Transpose { perm }, &[y]);
    graph.set_outputs(vec![last, y]);
    check(
        &graph,
        &|rows, seed| vec![numbers(&[rows, 3, 9, 8], seed)],
        2,
    );
}

#[test]
fn views_between_positions_keep_the_channels_last() {
    let mut graph = Graph::new("view");
    let x = input(&mut graph, "x", &[Err("b"), Ok(5), Ok(30), Ok(1)]);
    let w = graph.add_constant("w", numbers(&[24, 5, 5, 1], 1));
    let y = node(&mut graph, conv(1, 1, 0), &[x, w]);
    let flat = node(
        &mut graph,
        Squeeze {
            axes: Some(vec![3]),
        },
        &[y],
    );
    let most = node(
        &mut graph,
        GlobalPool {
            function: greatest(),
        },
        &[flat],
    );
    graph.set_outputs(vec![most, flat]);
    // The input, and the output that is the view.
    check(
        &graph,
        &|rows, seed| vec![numbers(&[rows, 5, 30, 1], seed)],
        2,
    );
}
