//! Batches whose members run beside each other.

use unisono_graph::Graph;
use unisono_graph::ops::binary::{Binary, BinaryFunction};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::reduce::{Reduce, ReduceFunction};
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_runtime::plan::Member;
use unisono_tensor::Tensor;

use super::{Bench, input, node, numbers};
use crate::exec::plan::CpuPlan;
use crate::simd::Isa;

/// Much work in each row, and few weights.
fn heavy_rows() -> Graph {
    let mut graph = Graph::new("heavy");
    let x = input(&mut graph, "x", &[Err("b"), Ok(256), Ok(64)]);
    let w = graph.add_constant("w", numbers(&[64, 64], 99));
    let mut y = x;
    for _ in 0..3 {
        let function = UnaryFunction::Erf;
        y = node(&mut graph, Linear::default(), &[y, w]);
        y = node(&mut graph, Unary { function }, &[y]);
    }
    graph.set_outputs(vec![y]);
    graph
}

fn requests(rows: &[usize]) -> Vec<Vec<Tensor>> {
    let request = |(i, &rows): (usize, &usize)| vec![numbers(&[rows, 256, 64], i)];
    rows.iter().enumerate().map(request).collect()
}

#[test]
fn every_member_gets_what_it_gets_alone() {
    for isa in Isa::available() {
        for threads in [2, 3] {
            let mut bench = Bench::new(heavy_rows(), isa, threads);
            for rows in [&[1, 1][..], &[1, 2, 1, 1], &[2; 5], &[5, 1, 1, 2, 3, 1]] {
                bench.check(&requests(rows));
            }
            // More than are listed at a time.
            bench.check(&requests(&[1; 70]));
        }
    }
}

#[test]
fn nothing_is_staged_where_there_are_threads_for_all() {
    let mut bench = Bench::new(heavy_rows(), Isa::detect(), 2);
    let run = |bench: &mut Bench, rows: &[usize]| {
        let requests = requests(rows);
        let mut members: Vec<Member> = requests.iter().map(|r| bench.member(r)).collect();
        bench.batch(&mut members).unwrap();
        bench.lane.staging.len()
    };
    assert_eq!(run(&mut bench, &[2, 2, 2, 2]), 0);
    // Five on four threads would keep three of them idle: together.
    let mut bench = Bench::new(heavy_rows(), Isa::detect(), 4);
    assert!(run(&mut bench, &[2; 5]) > 0);
}

#[test]
fn members_that_do_not_fit_into_memory_side_by_side_are_put_together() {
    // Neither an arena for each of two members fits nor one for both together: the error is the batch's, and each runs alone.
    let of_one = {
        let mut bench = Bench::new(heavy_rows(), Isa::detect(), 2);
        bench.alone(&requests(&[4])[0]);
        bench.lane.arena.len()
    };
    let mut bench = Bench::with_limit(heavy_rows(), Isa::detect(), 2, of_one + of_one / 2);
    let requests = requests(&[4, 4]);
    let mut members: Vec<Member> = requests.iter().map(|r| bench.member(r)).collect();
    assert!(bench.batch(&mut members).is_err());
    bench.alone(&requests[0]);
}

/// Much work in each row, and behind a mean large weights with which a row does little.
fn heavy_rows_and_a_wide_head() -> Graph {
    let mut graph = Graph::new("head");
    let x = input(&mut graph, "x", &[Err("b"), Ok(512), Ok(256)]);
    let w = graph.add_constant("w", numbers(&[256, 256], 99));
    let head = graph.add_constant("head", numbers(&[256, 8192], 98));
    let mut y = x;
    for _ in 0..3 {
        let function = UnaryFunction::Erf;
        y = node(&mut graph, Linear::default(), &[y, w]);
        y = node(&mut graph, Unary { function }, &[y]);
    }
    let mean = Reduce {
        function: ReduceFunction::Mean,
        axes: Some(vec![1]),
        keepdims: false,
        noop_with_empty_axes: false,
    };
    let y = node(&mut graph, mean, &[y]);
    let y = node(&mut graph, Linear::default(), &[y, head]);
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn a_threads_share_of_the_members_is_run_as_one() {
    let isa = Isa::detect();
    let requests = |rows: &[usize]| -> Vec<Vec<Tensor>> {
        let request = |(i, &rows): (usize, &usize)| vec![numbers(&[rows, 512, 256], i)];
        rows.iter().enumerate().map(request).collect()
    };
    // How many rows the programs are for that two threads have arenas of.
    let at_once = |rows: &[usize]| {
        let mut bench = Bench::new(heavy_rows_and_a_wide_head(), isa, 2);
        let request = &requests(&[1])[0];
        let member = bench.member(request);
        let plan: &CpuPlan = member.plan.downcast_ref().unwrap();
        let arena = |rows: usize| {
            let arena = plan.program(rows).unwrap().arena;
            2 * arena.next_multiple_of(64)
        };
        let arenas: Vec<usize> = (0..11).map(|rows| arena(rows.max(1))).collect();
        let requests = requests(rows);
        let mut members: Vec<Member> = requests.iter().map(|r| bench.member(r)).collect();
        bench.batch(&mut members).unwrap();
        let used = bench.lane.arena.len();
        bench.check(&requests);
        arenas.iter().rposition(|&arena| arena == used)
    };
    assert_eq!(at_once(&[1, 1, 1, 1]), Some(2));
    assert_eq!(at_once(&[1, 1, 1]), Some(2));
    assert_eq!(at_once(&[2, 1, 1, 3]), Some(4));
    assert_eq!(at_once(&[1; 7]), Some(4));
    // One member a thread, and members with many rows of their own, run where they lie.
    assert_eq!(at_once(&[1, 1]), Some(1));
    assert_eq!(at_once(&[1, 10, 10, 1]), Some(10));
    for rows in [2, 3, 4] {
        let [one, two] = [1, 2].map(|threads| {
            let mut bench = Bench::new(heavy_rows_and_a_wide_head(), isa, threads);
            bench.alone(&requests(&[rows])[0])
        });
        assert!(one[0].bytes() == two[0].bytes(), "{rows} rows");
    }
}

#[test]
fn rows_for_whose_shares_there_is_no_memory_run_one_by_one() {
    let arena = |limit: usize, rows: usize| {
        let mut bench = Bench::with_limit(heavy_rows_and_a_wide_head(), Isa::detect(), 2, limit);
        let output = bench.alone(&[numbers(&[rows, 512, 256], 3)]).remove(0);
        (output, bench.lane.arena.len())
    };
    let of_rows = |rows: usize| arena(1 << 30, 2 * rows).1;
    assert!(
        of_rows(4) > 3 * of_rows(1),
        "{} and {}",
        of_rows(4),
        of_rows(1)
    );
    // No more than four rows a share, however many there are.
    assert_eq!(of_rows(8), of_rows(4));
    let (expected, _) = arena(1 << 30, 8);
    let (got, used) = arena(of_rows(1), 8);
    assert_eq!(used, of_rows(1));
    assert!(got.bytes() == expected.bytes());
}

/// As [`heavy_rows`], with an input that all rows share, and rows of the output that begin anywhere in a cache line.
fn uneven_rows() -> Graph {
    let mut graph = Graph::new("uneven");
    let x = input(&mut graph, "x", &[Err("b"), Ok(251), Ok(63)]);
    let shared = input(&mut graph, "shared", &[Ok(63)]);
    let w = graph.add_constant("w", numbers(&[63, 63], 99));
    let function = BinaryFunction::Add;
    let mut y = node(&mut graph, Binary { function }, &[x, shared]);
    for _ in 0..3 {
        let function = UnaryFunction::Erf;
        y = node(&mut graph, Linear::default(), &[y, w]);
        y = node(&mut graph, Unary { function }, &[y]);
    }
    graph.set_outputs(vec![y]);
    graph
}

#[test]
fn rows_of_one_request_get_what_one_thread_gives_them() {
    for isa in Isa::available() {
        for rows in [2, 3, 7] {
            let request = [numbers(&[rows, 251, 63], rows), numbers(&[63], 7)];
            let [one, two] = [1, 2].map(|threads| {
                let mut bench = Bench::new(uneven_rows(), isa, threads);
                (bench.alone(&request), bench.lane.arena.len())
            });
            assert!(one.0[0].bytes() == two.0[0].bytes(), "{isa:?}, {rows} rows");
            assert_eq!(one.0[0].shape(), two.0[0].shape());
        }
    }
}

#[test]
fn rows_of_one_request_take_an_arena_a_thread_and_no_more() {
    let arena = |threads: usize, rows: usize| {
        let mut bench = Bench::new(heavy_rows(), Isa::detect(), threads);
        bench.alone(&requests(&[rows])[0]);
        bench.lane.arena.len()
    };
    // On one thread the values of all rows are there at once.
    assert!(arena(2, 40) < arena(1, 40) / 8);
    assert_eq!(arena(2, 40), 2 * arena(2, 1).next_multiple_of(64));
}

#[test]
fn a_plan_says_how_many_of_its_rows_run_beside_each_other() {
    for (threads, expected) in [(1, [0, 1]), (2, [2, 2]), (4, [4, 4])] {
        let mut bench = Bench::new(heavy_rows(), Isa::detect(), threads);
        let cost = bench.member(&requests(&[1])[0]).plan.cost();
        assert!(
            expected.contains(&cost.beside),
            "{threads} threads: {cost:?}"
        );
        assert!(
            threads == 1 || cost.worthwhile_rows().is_multiple_of(threads),
            "{cost:?}"
        );
    }
    // Four of each thread where rows share some weights.
    let mut bench = Bench::new(heavy_rows_and_a_wide_head(), Isa::detect(), 2);
    let request = [numbers(&[1, 512, 256], 0)];
    assert_eq!(bench.member(&request).plan.cost().beside, 8);
}
