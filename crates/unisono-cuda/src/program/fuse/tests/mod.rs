//! What runs together and what does not, and that every value is in its place either way.

mod attention;
mod products;

use std::collections::HashMap;

use proptest::prelude::*;
use unisono_graph::ops::normalize::{LayerNormalization, RmsNormalization};
use unisono_graph::{Graph, Operator, ValueId};
use unisono_tensor::DType;

use crate::driver::ptx::entries;
use crate::kernels::SOURCES;
use crate::program::tests::{Bench, check};
use crate::program::{Program, Work};
use crate::testing::{input, negate, node, numbers, sum};

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.lower = crate::lower::lower;
    bench
}

/// The nodes of each step.
fn nodes(program: &Program) -> Vec<Vec<usize>> {
    program
        .steps
        .iter()
        .map(|step| step.nodes.clone())
        .collect()
}

/// Looks at a program as the program's own tests do, and at its launches as a device does.
fn check_all(program: &Program, graph: &Graph) {
    check(program, graph);
    let entries: HashMap<_, _> = SOURCES
        .iter()
        .flat_map(|source| entries(source.ptx))
        .map(|entry| (entry.name.clone(), entry))
        .collect();
    for launch in program.launches() {
        entries[launch.kernel].check(launch).unwrap();
        let threads: u32 = launch.block.iter().product();
        assert!((1..=1024).contains(&threads), "{launch:?}");
        assert!(launch.shared <= 227 << 10, "{launch:?}");
    }
}

fn layer_norm() -> LayerNormalization {
    LayerNormalization {
        axis: -1,
        epsilon: 1e-5,
        stash: DType::F32,
    }
}

fn rms_norm() -> RmsNormalization {
    RmsNormalization {
        axis: -1,
        epsilon: 1e-5,
    }
}

/// A normalisation of `x` with a scale of `n` elements.
fn normalised(graph: &mut Graph, norm: impl Operator, x: ValueId, n: usize) -> ValueId {
    let scale = graph.add_constant("scale", numbers(&[n], 1));
    node(graph, norm, &[x, scale])
}

#[test]
fn a_sum_and_its_normalisation_are_one_launch_and_the_sum_has_no_place() {
    for n in [8, 384, 512, 513, 1024, 1025, 4000] {
        for with_bias in [false, true] {
            let mut graph = Graph::new("test");
            let n_text = n.to_string();
            let x = input(&mut graph, "x", DType::F32, &["rows", "5", &n_text]);
            let a = node(&mut graph, negate(), &[x]);
            let b = node(&mut graph, sum(), &[x, a]);
            let scale = graph.add_constant("scale", numbers(&[n], 1));
            let bias = graph.add_constant("bias", numbers(&[n], 2));
            let inputs: &[ValueId] = match with_bias {
                true => &[b, scale, bias],
                false => &[b, scale],
            };
            let y = node(&mut graph, layer_norm(), inputs);
            graph.set_outputs(vec![y]);
            let program = bench().program(&graph, 3);
            check_all(&program, &graph);
            assert_eq!(nodes(&program), [vec![0], vec![1, 2]]);
            let group = &program.steps[1];
            assert_eq!(group.outputs.len(), 1);
            assert!(group.name.contains("node1") && group.name.contains("node2"));
            assert_eq!(program.launches().count(), 2);
            // What is negated alone needs memory of its own.
            assert_eq!(program.arena, (4 * 3 * 5 * n).next_multiple_of(256));
        }
    }
}

#[test]
fn a_sum_that_others_read_as_well_is_written_on_the_way() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
    let a = node(&mut graph, negate(), &[x]);
    let b = node(&mut graph, sum(), &[x, a]);
    let c = normalised(&mut graph, rms_norm(), b, 64);
    let d = node(&mut graph, sum(), &[b, c]);
    let e = normalised(&mut graph, layer_norm(), d, 64);
    graph.set_outputs(vec![e, d]);
    let program = bench().program(&graph, 3);
    check_all(&program, &graph);
    assert_eq!(nodes(&program), [vec![0], vec![1, 2], vec![3, 4]]);
    for step in &program.steps[1..] {
        assert_eq!(step.outputs.len(), 2, "{}", step.name);
    }
}

#[test]
fn a_summand_may_be_repeated_in_whole_rows() {
    for (shape, fuses) in [
        (&["1", "5", "64"][..], true),
        (&["5", "64"], true),
        (&["64"], true),
        (&["rows", "1", "64"], false),
        (&["5", "1"], false),
        (&["1"], false),
    ] {
        for swapped in [false, true] {
            let mut graph = Graph::new("test");
            let x = input(&mut graph, "x", DType::F32, &["rows", "5", "64"]);
            let other = input(&mut graph, "other", DType::F32, shape);
            let summands = if swapped { [other, x] } else { [x, other] };
            let a = node(&mut graph, sum(), &summands);
            let y = normalised(&mut graph, layer_norm(), a, 64);
            graph.set_outputs(vec![y]);
            let program = bench().program(&graph, 3);
            check_all(&program, &graph);
            assert_eq!(program.steps.len() == 1, fuses, "{shape:?}");
        }
    }
}

#[test]
fn nodes_stay_apart_where_somebody_wants_the_sum_before_its_normalisation() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
    let a = node(&mut graph, sum(), &[x, x]);
    let b = node(&mut graph, negate(), &[a]);
    let c = normalised(&mut graph, layer_norm(), a, 64);
    graph.set_outputs(vec![b, c]);
    let program = bench().program(&graph, 3);
    check_all(&program, &graph);
    assert_eq!(nodes(&program), [[0], [1], [2]]);
}

#[test]
fn a_group_whose_lowering_refuses_runs_as_its_nodes() {
    // Kernels for sums alone: the normalisation goes to the processor.
    let bench = Bench::new();
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "64"]);
    let a = node(&mut graph, sum(), &[x, x]);
    let b = normalised(&mut graph, layer_norm(), a, 64);
    let c = node(&mut graph, sum(), &[b, a]);
    graph.set_outputs(vec![c, a]);
    let program = bench.program(&graph, 3);
    check(&program, &graph);
    assert_eq!(nodes(&program), [[0], [1], [2]]);
    assert!(matches!(program.steps[1].work, Work::Host(_)));
}

proptest! {
    #[test]
    fn whatever_is_fused_every_value_is_there_when_it_is_read(
        choices in prop::collection::vec((0usize..4, 0usize..100, 0usize..100), 1..25),
        outputs in prop::collection::vec(0usize..100, 1..5),
        real in any::<bool>(),
    ) {
        let bench = if real { bench() } else { Bench::new() };
        let mut graph = Graph::new("test");
        let x = input(&mut graph, "x", DType::F32, &["rows", "3", "8"]);
        let mut values = vec![x, node(&mut graph, negate(), &[x])];
        for &(what, a, b) in &choices {
            // The newest values are read most, as in models.
            let near = |n: usize| values[values.len() - 1 - n % values.len().min(4)];
            let (a, b) = (near(a), near(b));
            let value = match what {
                0 => node(&mut graph, negate(), &[a]),
                1 => node(&mut graph, sum(), &[a, b]),
                2 => normalised(&mut graph, layer_norm(), a, 8),
                _ => {
                    let both = node(&mut graph, sum(), &[a, b]);
                    normalised(&mut graph, rms_norm(), both, 8)
                }
            };
            values.push(value);
        }
        let outputs = outputs.iter().map(|&n| values[n % values.len()]);
        let outputs: Vec<ValueId> = outputs.chain([values[1]]).collect();
        graph.set_outputs(outputs);
        let program = bench.program(&graph, 2);
        check(&program, &graph);
    }
}
