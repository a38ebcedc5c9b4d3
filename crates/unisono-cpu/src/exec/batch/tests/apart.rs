//! Batches whose members run beside each other.

use unisono_graph::Graph;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_runtime::lane::Lane;
use unisono_runtime::plan::Member;
use unisono_tensor::Tensor;

use super::{Bench, input, node, numbers};
use crate::simd::Isa;

/// Much work in each row, and few weights.
fn heavy_rows() -> Graph {
    let mut graph = Graph::new("heavy");
    let x = input(&mut graph, "x", &[Err("b"), Ok(64), Ok(32)]);
    let w = graph.add_constant("w", numbers(&[32, 32], 99));
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
    let request = |(i, &rows): (usize, &usize)| vec![numbers(&[rows, 64, 32], i)];
    rows.iter().enumerate().map(request).collect()
}

#[test]
fn every_member_gets_what_it_gets_alone() {
    for isa in Isa::available() {
        for threads in [2, 3] {
            let mut bench = Bench::new(heavy_rows(), isa, threads);
            for rows in [&[8, 8][..], &[9, 7, 8, 8], &[16; 5], &[40, 7, 8, 8, 9, 30]] {
                bench.check(&requests(rows));
            }
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
    assert_eq!(run(&mut bench, &[80, 80, 80, 80]), 0);
    let beside = bench.lane.bytes();
    // One whose work is not worth reading the weights for: together.
    assert!(run(&mut bench, &[80, 80, 1]) > 0);
    assert!(bench.lane.bytes() > beside);
}

#[test]
fn members_that_do_not_fit_into_memory_side_by_side_are_put_together() {
    // Neither an arena for each of two members fits nor one for both together: the error is the batch's, and each runs alone.
    let of_one = {
        let mut bench = Bench::new(heavy_rows(), Isa::detect(), 2);
        bench.alone(&requests(&[80])[0]);
        bench.lane.arena.len()
    };
    let mut bench = Bench::with_limit(heavy_rows(), Isa::detect(), 2, of_one + of_one / 2);
    let requests = requests(&[80, 80]);
    let mut members: Vec<Member> = requests.iter().map(|r| bench.member(r)).collect();
    assert!(bench.batch(&mut members).is_err());
    bench.alone(&requests[0]);
}
