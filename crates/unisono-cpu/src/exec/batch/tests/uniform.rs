//! Groups of one plan.

use unisono_graph::Graph;
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::shape::{Reshape, Shape};
use unisono_graph::ops::unary::{Unary, UnaryFunction};
use unisono_runtime::lane::Lane;
use unisono_tensor::Tensor;

use super::{Bench, input, node, numbers};
use crate::simd::Isa;

/// Rows on axis 0 and on axis 1 of the inputs; among the outputs rows on axis 0, on axis 1 and twofold, what is the
/// same for all, and what depends on lengths alone.
fn of_all_kinds() -> Graph {
    let mut graph = Graph::new("kinds");
    let x = input(&mut graph, "x", &[Err("b"), Ok(6)]);
    let t = input(&mut graph, "t", &[Ok(3), Err("b"), Err("s")]);
    let s = input(&mut graph, "shared", &[Ok(7)]);
    let w = graph.add_constant("w", numbers(&[6, 6], 99));
    let halves = graph.add_constant("halves", Tensor::from_slice(&[2], &[-1i64, 3]).unwrap());
    let function = |function| Unary { function };
    let y = node(&mut graph, Linear::default(), &[x, w]);
    let t = node(&mut graph, function(UnaryFunction::Erf), &[t]);
    let twice = node(&mut graph, Reshape { allow_zero: false }, &[y, halves]);
    let twice = node(&mut graph, function(UnaryFunction::Exp), &[twice]);
    let shared = node(&mut graph, function(UnaryFunction::Exp), &[s]);
    let shape = node(
        &mut graph,
        Shape {
            start: 0,
            end: None,
        },
        &[t],
    );
    graph.set_outputs(vec![y, t, twice, shared, shape]);
    graph
}

fn request(rows: usize, seed: usize) -> Vec<Tensor> {
    vec![
        numbers(&[rows, 6], seed),
        numbers(&[3, rows, 5], seed + 1000),
        numbers(&[7], 7),
    ]
}

#[test]
fn every_member_gets_what_it_gets_alone() {
    for isa in Isa::available() {
        for threads in [1, 2] {
            let mut bench = Bench::new(of_all_kinds(), isa, threads);
            let axes: Vec<_> = bench.model.inputs().iter().map(|p| p.rows_axis).collect();
            assert_eq!(axes, [Some(0), Some(1), None]);
            for rows in [&[1, 1][..], &[3, 1, 2], &[1; 9], &[40, 7], &[5]] {
                let requests: Vec<_> = rows
                    .iter()
                    .enumerate()
                    .map(|(i, &n)| request(n, i))
                    .collect();
                bench.check(&requests);
            }
        }
    }
}

#[test]
fn outputs_that_fit_are_written_in_place_and_others_are_replaced() {
    let mut bench = Bench::new(of_all_kinds(), Isa::detect(), 1);
    let requests = [request(2, 1), request(3, 2)];
    let mut members = requests.each_ref().map(|r| bench.member(r));
    bench.batch(&mut members).unwrap();
    let addresses = |members: &[unisono_runtime::plan::Member]| -> Vec<usize> {
        let outputs = members.iter().flat_map(|m| m.outputs.iter().flatten());
        outputs.map(|t| t.bytes().as_ptr().addr()).collect()
    };
    let before = addresses(&members);
    let kept = members[0].outputs[0].clone();
    members[1].outputs[1] = Some(numbers(&[4], 0));
    bench.batch(&mut members).unwrap();
    let moved: Vec<usize> = before
        .iter()
        .zip(addresses(&members))
        .enumerate()
        .filter(|(_, (a, b))| **a != *b)
        .map(|(i, _)| i)
        .collect();
    // Output 0 of the first member is shared with `kept`; output 1 of the second has another shape.
    assert_eq!(moved, [0, 6]);
    assert_eq!(
        kept.unwrap().bytes(),
        members[0].outputs[0].as_ref().unwrap().bytes()
    );
    let expected = bench.alone(&requests[1]);
    assert_eq!(
        members[1].outputs[1].as_ref().unwrap().bytes(),
        expected[1].bytes()
    );
}

#[test]
fn staging_memory_is_kept_and_counted() {
    let mut bench = Bench::new(of_all_kinds(), Isa::detect(), 1);
    bench.check(&[request(4, 1), request(4, 2)]);
    let (staging, bytes) = (bench.lane.staging.len(), bench.lane.bytes());
    assert!(staging > 0 && bytes >= staging as u64);
    bench.check(&[request(2, 3), request(1, 4), request(1, 5)]);
    assert_eq!(
        (bench.lane.staging.len(), bench.lane.bytes()),
        (staging, bytes)
    );
}

#[test]
fn members_that_do_not_add_up_to_their_group_are_an_error() {
    use unisono_runtime::plan::{Executable, Group};
    let mut bench = Bench::new(of_all_kinds(), Isa::detect(), 1);
    for rows in [3, 5, 7] {
        let mut members = [bench.member(&request(2, 1)), bench.member(&request(3, 2))];
        let groups = [Group {
            members: 0..2,
            rows,
        }];
        let mut members: Vec<_> = members.iter_mut().collect();
        let result = bench
            .executable
            .run_batch(&mut bench.lane, &mut members, &groups);
        assert_eq!(result.is_ok(), rows == 5, "{rows} rows");
    }
    let groups = [Group {
        members: 0..2,
        rows: 1,
    }];
    assert!(
        bench
            .executable
            .run_batch(&mut bench.lane, &mut [], &groups)
            .is_err()
    );
}

#[test]
fn a_plan_costs_what_was_counted() {
    let bench = &mut Bench::new(of_all_kinds(), Isa::detect(), 1);
    let cost = bench.member(&request(1, 1)).plan.cost();
    // Four steps; one of them is the product with constant weights.
    assert!((4_000..6_000).contains(&cost.fixed_ns), "{cost:?}");
    assert!((1_000..1_100).contains(&cost.shared_ns), "{cost:?}");
    assert!((1..1_000).contains(&cost.row_ns), "{cost:?}");
}
