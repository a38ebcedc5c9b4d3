//! Groups with different plans.

use proptest::prelude::*;
use unisono_graph::Graph;
use unisono_graph::ops::activation::{Activate, Activation};
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::indexing::Gather;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::movement::Transpose;
use unisono_graph::ops::normalize::{LayerNormalization, Softmax, SoftmaxFunction};
use unisono_graph::ops::reduce::{Reduce, ReduceFunction};
use unisono_graph::{Dim, Symbol, TensorType};
use unisono_tensor::{DType, Tensor};

use super::{Bench, input, node, numbers};
use crate::exec::plan::CpuPlan;
use crate::exec::run::{MOST_RUNS, can_join};
use crate::simd::Isa;

const WIDTH: usize = 24;
const WORDS: usize = 50;

/// One head of attention over words and features, with residuals, norms and a feed-forward part, and its rows' means.
fn transformer() -> Graph {
    let mut graph = Graph::new("transformer");
    let g = &mut graph;
    let dims = ["b", "s"].map(|n| Dim::symbol(&Symbol::new(n))).to_vec();
    let words = g.add_input(
        "words",
        TensorType {
            dtype: DType::I64,
            shape: Some(dims),
        },
    );
    let features = input(g, "features", &[Err("b"), Err("s"), Ok(WIDTH)]);
    let mut constants = 0;
    let mut weights = |g: &mut Graph, shape: &[usize]| {
        constants += 1;
        g.add_constant(format!("w{constants}"), numbers(shape, 100 + constants))
    };
    let add = || Binary {
        function: BinaryFunction::Add,
    };
    let norm = || LayerNormalization {
        axis: -1,
        epsilon: 1e-5,
        stash: DType::F32,
    };
    let table = weights(g, &[WORDS, WIDTH]);
    let words = node(g, Gather { axis: 0 }, &[table, words]);
    let x = node(g, add(), &[words, features]);
    let [q, k, v] = std::array::from_fn(|_| {
        let (w, bias) = (weights(g, &[WIDTH, WIDTH]), weights(g, &[WIDTH]));
        node(g, Linear::default(), &[x, w, bias])
    });
    let turn = Transpose {
        perm: Some(vec![0, 2, 1]),
    };
    let k = node(g, turn, &[k]);
    let scores = node(g, Linear::default(), &[q, k]);
    let softmax = Softmax {
        function: SoftmaxFunction::Softmax,
        axis: -1,
        flatten: false,
    };
    let scores = node(g, softmax, &[scores]);
    let mixed = node(g, Linear::default(), &[scores, v]);
    let x = node(g, add(), &[x, mixed]);
    let (scale, bias) = (weights(g, &[WIDTH]), weights(g, &[WIDTH]));
    let x = node(g, norm(), &[x, scale, bias]);
    let (up, down) = (weights(g, &[WIDTH, 300]), weights(g, &[300, WIDTH]));
    let y = node(g, Linear::default(), &[x, up]);
    let silu = Activate {
        function: Activation::Sigmoid,
    };
    let y = node(g, silu, &[y]);
    let y = node(g, Linear::default(), &[y, down]);
    let y = node(g, add(), &[x, y]);
    let mean = Reduce {
        function: ReduceFunction::Mean,
        axes: Some(vec![1]),
        keepdims: false,
        noop_with_empty_axes: false,
    };
    let means = node(g, mean, &[y]);
    let last = weights(g, &[WIDTH, 5]);
    let means = node(g, Linear::default(), &[means, last]);
    graph.set_outputs(vec![y, means]);
    graph
}

fn request(rows: usize, length: usize, seed: usize) -> Vec<Tensor> {
    let words: Vec<i64> = (0..rows * length)
        .map(|i| ((i * 7 + seed * 13) % WORDS) as i64)
        .collect();
    vec![
        Tensor::from_slice(&[rows, length], &words).unwrap(),
        numbers(&[rows, length, WIDTH], seed),
    ]
}

/// Requests by groups: for each its length, and how many rows each member has.
fn requests(groups: &[(usize, Vec<usize>)]) -> Vec<Vec<Tensor>> {
    let members = groups
        .iter()
        .flat_map(|(length, rows)| rows.iter().map(move |&n| (n, *length)));
    members
        .enumerate()
        .map(|(i, (n, length))| request(n, length, i))
        .collect()
}

fn benches() -> impl Iterator<Item = Bench> {
    let threads = |isa| [1, 2].map(|threads| Bench::new(transformer(), isa, threads));
    Isa::available().flat_map(threads)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn members_of_any_lengths_get_what_they_get_alone(
        groups in prop::collection::vec((1..40_usize, prop::collection::vec(1..4_usize, 1..4)), 1..7)
    ) {
        for mut bench in benches() {
            bench.check(&requests(&groups));
        }
    }
}

#[test]
fn more_groups_than_one_walk_takes_are_walked_in_turn() {
    let groups: Vec<_> = (1..=MOST_RUNS + 3)
        .map(|length| (length, vec![1]))
        .collect();
    for mut bench in benches() {
        bench.check(&requests(&groups));
    }
}

#[test]
fn one_long_group_among_short_ones_gives_the_same_bits() {
    for mut bench in benches() {
        bench.check(&requests(&[(3, vec![1]), (200, vec![2]), (5, vec![1, 1])]));
    }
}

#[test]
fn programs_for_other_lengths_can_be_joined_and_those_of_other_models_cannot() {
    let mut bench = Bench::new(transformer(), Isa::detect(), 1);
    let mut other = Bench::new(transformer(), Isa::detect(), 1);
    let program = |bench: &mut Bench, length| {
        let member = bench.member(&request(2, length, 1));
        member
            .plan
            .downcast_ref::<CpuPlan>()
            .unwrap()
            .program(2)
            .unwrap()
    };
    let programs = [3, 17, 40].map(|n| program(&mut bench, n));
    assert!(can_join(programs.iter().map(|p| &**p)));
    // Other weights, though the same steps.
    let foreign = program(&mut other, 5);
    assert!(!can_join([&*programs[0], &*foreign].into_iter()));
    // Shared time is what joining saves.
    let plan = bench.member(&request(1, 9, 1)).plan;
    let cost = plan.cost();
    assert!(
        cost.shared_ns >= 6_000 && cost.shared_ns < cost.fixed_ns,
        "{cost:?}"
    );
}

#[test]
fn a_group_that_fails_fails_the_batch_and_leaves_the_lane_usable() {
    for mut bench in benches() {
        let mut all = requests(&[(4, vec![1]), (9, vec![1, 1]), (30, vec![1])]);
        let wrong = Tensor::from_slice(&[1, 9], &[WORDS as i64; 9]).unwrap();
        let right = std::mem::replace(&mut all[1][0], wrong);
        let mut members: Vec<_> = all.iter().map(|r| bench.member(r)).collect();
        let error = bench.batch(&mut members).unwrap_err();
        assert!(error.to_string().contains("Gather"), "{error}");
        all[1][0] = right;
        bench.check(&all);
    }
}

#[test]
fn arenas_that_do_not_fit_together_run_group_by_group() {
    let limit = 128 << 10;
    let mut bench = Bench::with_limit(transformer(), Isa::detect(), 2, limit);
    let groups = [30, 31, 32];
    let mut arena = |length| {
        let member = bench.member(&request(1, length, 1));
        let plan = member.plan.downcast_ref::<CpuPlan>().unwrap();
        plan.program(1).unwrap().arena
    };
    assert!(groups.map(&mut arena).iter().sum::<usize>() > limit);
    bench.check(&requests(&groups.map(|length| (length, vec![1]))));
    assert!(bench.lane.arena.len() <= limit);
}

#[test]
fn memory_is_kept_from_batch_to_batch() {
    use unisono_runtime::lane::Lane;
    let mut bench = Bench::new(transformer(), Isa::detect(), 2);
    let all = requests(&[(30, vec![1, 2]), (31, vec![1]), (7, vec![3])]);
    bench.check(&all);
    let bytes = bench.lane.bytes();
    bench.check(&all);
    bench.check(&all[..3]);
    assert_eq!(bench.lane.bytes(), bytes);
}
