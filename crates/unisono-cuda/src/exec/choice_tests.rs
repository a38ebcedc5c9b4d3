//! Models with choices over a driver without a device, byte for byte against the processor.

use std::sync::Arc;

use unisono_graph::attribute::Subgraph;
use unisono_graph::ops::activation::{Activate, Activation};
use unisono_graph::ops::binary::{Compare, Comparison};
use unisono_graph::ops::control::If;
use unisono_graph::ops::indexing::{Gather, NonZero};
use unisono_graph::ops::linear::Linear;
use unisono_graph::ops::reduce::{Reduce, ReduceFunction};
use unisono_graph::ops::shape::{Reshape, Shape};
use unisono_graph::{Graph, Operator, ValueId};
use unisono_runtime::Error;
use unisono_tensor::{DType, Tensor};

use crate::device::CudaOptions;
use crate::driver::fake::{self, State};
use crate::exec::tests::{Bench, calls, compare, forget_calls, state};
use crate::testing::{input, model, negate, node, numbers, pick, sum};

/// A body that captures these inputs of its node, the n-th as `captured[n]`.
fn body(
    captures: &[usize],
    types: &[(DType, &[&str])],
    make: impl FnOnce(&mut Graph, &[ValueId]) -> Vec<ValueId>,
) -> Subgraph {
    let mut graph = Graph::new("body");
    let captured: Vec<ValueId> = types
        .iter()
        .enumerate()
        .map(|(n, (dtype, shape))| input(&mut graph, &format!("captured{n}"), *dtype, shape))
        .collect();
    let outputs = make(&mut graph, &captured);
    graph.set_outputs(outputs);
    graph.check().unwrap();
    Subgraph {
        graph,
        captures: captures.to_vec(),
    }
}

fn choose(
    graph: &mut Graph,
    then_branch: Subgraph,
    else_branch: Subgraph,
    inputs: &[ValueId],
    outputs: usize,
) -> Vec<ValueId> {
    let op = If {
        then_branch,
        else_branch,
    };
    let name = format!("choice{}", graph.nodes().len());
    graph.append(name, Arc::new(op), inputs, outputs)
}

fn equal() -> Compare {
    Compare {
        comparison: Comparison::Equal,
    }
}

const FLOATS: (DType, &[&str]) = (DType::F32, &["rows", "10"]);
const OF_ANY_WIDTH: (DType, &[&str]) = (DType::F32, &["rows", "columns"]);
const INDICES: (DType, &[&str]) = (DType::I64, &["rows"]);

/// Picks from a table that the branch has and from one that both have, and adds or negates.
fn picking(table: &Tensor, shared: &Tensor, adds: bool) -> Subgraph {
    body(&[1, 2], &[OF_ANY_WIDTH, INDICES], |graph, captured| {
        let own = graph.add_constant("table", table.clone());
        let both = graph.add_constant("shared", shared.clone());
        let own = node(graph, pick(), &[own, captured[1]]);
        let both = node(graph, pick(), &[both, captured[1]]);
        let y = match adds {
            true => node(graph, sum(), &[captured[0], captured[0]]),
            false => node(graph, negate(), &[captured[0]]),
        };
        vec![y, own, both]
    })
}

/// Of `rate`, which is equal in a batch, it asks for 16,000. What both branches pick from are 1,024 numbers each.
fn by_rate() -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", OF_ANY_WIDTH.0, OF_ANY_WIDTH.1);
    let rate = input(&mut graph, "rate", DType::I64, &[]);
    let indices = input(&mut graph, "indices", INDICES.0, INDICES.1);
    let wanted = Tensor::from_slice(&[], &[16_000i64]).unwrap();
    let wanted = graph.add_constant("wanted", wanted);
    let condition = node(&mut graph, equal(), &[rate, wanted]);
    let before = node(&mut graph, negate(), &[x]);
    let shared = numbers(&[1024], 3);
    let branches = [(1, true), (2, false)].map(|(seed, adds)| {
        let table = numbers(&[1024], seed);
        picking(&table, &shared, adds)
    });
    let [then, otherwise] = branches;
    let inputs = [condition, before, indices];
    let made = choose(&mut graph, then, otherwise, &inputs, 3);
    let after = node(&mut graph, sum(), &[made[0], x]);
    graph.set_outputs(vec![after, made[1], made[2]]);
    graph
}

fn request(rows: usize, rate: i64) -> Vec<Tensor> {
    request_of_width(rows, 10, rate)
}

fn request_of_width(rows: usize, columns: usize, rate: i64) -> Vec<Tensor> {
    let indices: Vec<i64> = (0..rows as i64).map(|n| (n * 7 + rate) % 1024).collect();
    vec![
        numbers(&[rows, columns], rows + rate as usize),
        Tensor::from_slice(&[], &[rate]).unwrap(),
        Tensor::from_slice(&[rows], &indices).unwrap(),
    ]
}

#[test]
fn both_branches_have_the_bits_of_the_processor_in_turn_with_different_rows() {
    let mut bench = Bench::new(by_rate());
    for rows in [1, 2, 9, 12, 2000, 3, 1] {
        for rate in [16_000, 8_000, 16_000, 0] {
            forget_calls();
            bench.check_alone(&request(rows, rate));
            // All of it on the device, in one go.
            assert_eq!(calls("launch_graph"), 1, "{rows} rows at {rate}");
        }
    }
}

#[test]
fn members_of_a_batch_take_the_branch_that_they_all_choose() {
    let mut bench = Bench::new(by_rate());
    for rate in [8_000, 16_000, 8_000] {
        for sizes in [&[1, 1][..], &[2, 3, 4], &[700, 500]] {
            let requests: Vec<_> = sizes.iter().map(|&rows| request(rows, rate)).collect();
            bench.check_batch(&requests);
        }
    }
}

#[test]
fn a_branch_is_prepared_when_it_is_taken_first_and_not_again() {
    let mut bench = Bench::new(by_rate());
    forget_calls();
    bench.check_alone(&request(4, 16_000));
    assert_eq!(calls("begin_capture"), 1);
    let one = bench.executable.bytes();
    forget_calls();
    bench.check_alone(&request(4, 8_000));
    assert_eq!(calls("begin_capture"), 1);
    let both = bench.executable.bytes();
    // Its own table is on the device now; the one that both have was there.
    assert_eq!(both - one, 4 * 1024);
    forget_calls();
    for rate in [16_000, 8_000, 44_100, 16_000] {
        bench.check_alone(&request(4, rate));
    }
    for name in ["begin_capture", "allocate", "allocate_host", "launch"] {
        assert_eq!(calls(name), 0, "{name}");
    }
    assert_eq!(calls("launch_graph"), 4);
    // Other buckets have captures of their own and share all constants.
    for rate in [16_000, 8_000] {
        bench.check_alone(&request(30, rate));
    }
    assert_eq!(calls("begin_capture"), 2);
    assert_eq!(bench.executable.bytes(), both);
}

#[test]
fn constants_are_on_the_device_once_whatever_shapes_requests_have() {
    let mut bench = Bench::new(by_rate());
    for rate in [16_000, 8_000] {
        bench.check_alone(&request_of_width(2, 10, rate));
    }
    let bytes = bench.executable.bytes();
    // Each width has a plan of its own, with graphs of its own.
    for columns in [3, 4, 5] {
        for rate in [8_000, 16_000] {
            bench.check_alone(&request_of_width(2, columns, rate));
        }
    }
    assert_eq!(bench.executable.bytes(), bytes);
}

/// Takes `x` as it is, or adds a constant whose shape fits no request of more than one column.
fn failing() -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", FLOATS.0, FLOATS.1);
    let condition = input(&mut graph, "condition", DType::Bool, &[]);
    let then = body(&[1], &[FLOATS], |graph, captured| {
        vec![node(graph, negate(), captured)]
    });
    let otherwise = body(&[1], &[FLOATS], |graph, captured| {
        let other = graph.add_constant("other", numbers(&[7], 1));
        vec![node(graph, sum(), &[captured[0], other])]
    });
    let made = choose(&mut graph, then, otherwise, &[condition, x], 1);
    graph.set_outputs(made);
    graph
}

fn flagged(rows: usize, flag: bool) -> Vec<Tensor> {
    let x = numbers(&[rows, 10], rows);
    vec![x, Tensor::from_bools(&[], &[flag]).unwrap()]
}

#[test]
fn a_branch_that_cannot_work_fails_who_takes_it_as_on_the_processor_and_nobody_else() {
    let mut bench = Bench::new(failing());
    for round in 0..3 {
        forget_calls();
        bench.check_alone(&flagged(2 + round, true));
        assert_eq!(calls("launch_graph"), 1);
        let bad = flagged(2 + round, false);
        let (error, expected) = (
            bench.alone(&bad).unwrap_err(),
            bench.expected(&bad).unwrap_err(),
        );
        assert_eq!(error.kind(), expected.kind());
        assert_eq!(error.to_string(), expected.to_string());
        bench.batch(&[bad.clone(), bad.clone()]).unwrap_err();
        let why = bench.placement(&bad)[0].why.clone().unwrap();
        assert!(why.contains("a branch that it takes"), "{why}");
    }
    bench.check_batch(&[flagged(1, true), flagged(2, true)]);
}

/// Chooses by the largest number in `x` if `by_rows`, else by whether there are ten columns.
fn by_itself(by_rows: bool) -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", DType::F32, &["rows", "columns"]);
    let condition = match by_rows {
        true => {
            let all = Reduce {
                function: ReduceFunction::Max,
                axes: None,
                keepdims: false,
                noop_with_empty_axes: false,
            };
            let largest = node(&mut graph, all, &[x]);
            let limit = Tensor::from_slice(&[], &[0.5f32]).unwrap();
            let limit = graph.add_constant("limit", limit);
            let comparison = Comparison::Less;
            node(&mut graph, Compare { comparison }, &[largest, limit])
        }
        false => {
            let columns = Shape {
                start: 1,
                end: None,
            };
            let columns = node(&mut graph, columns, &[x]);
            let ten = Tensor::from_slice(&[1], &[10i64]).unwrap();
            let ten = graph.add_constant("ten", ten);
            node(&mut graph, equal(), &[columns, ten])
        }
    };
    let floats: (DType, &[&str]) = (DType::F32, &["rows", "columns"]);
    let then = body(&[1], &[floats], |graph, captured| {
        vec![node(graph, negate(), captured)]
    });
    let otherwise = body(&[1], &[floats], |graph, captured| {
        vec![node(graph, sum(), &[captured[0], captured[0]])]
    });
    let made = choose(&mut graph, then, otherwise, &[condition, x], 1);
    graph.set_outputs(made);
    graph
}

#[test]
fn a_condition_out_of_the_data_stays_with_the_processor_which_is_told() {
    let mut bench = Bench::new(by_itself(true));
    for (rows, seed) in [(40, 1), (41, 2), (40, 3)] {
        forget_calls();
        let request = [numbers(&[rows, 3], seed)];
        bench.check_alone(&request);
        assert_eq!(calls("launch_graph"), 0);
        for place in bench.placement(&request) {
            let why = place.why.unwrap();
            assert!(
                why.contains("which branch it takes follows from rows"),
                "{why}"
            );
        }
    }
}

#[test]
fn a_condition_out_of_lengths_is_no_choice_any_more() {
    let mut bench = Bench::new(by_itself(false));
    for (columns, expected) in [(10, "Neg"), (3, "Add")] {
        for rows in [1, 5] {
            forget_calls();
            let request = [numbers(&[rows, columns], rows)];
            bench.check_alone(&request);
            assert_eq!(calls("launch_graph"), 1);
            let placement = bench.placement(&request);
            let told: Vec<_> = placement
                .iter()
                .map(|p| (&*p.operator, &*p.device))
                .collect();
            assert_eq!(told, [(expected, "cuda:0")]);
        }
    }
}

/// Four outcomes: what a branch does it chooses by `mode[1]`, and what follows is chosen by what the branch says of `mode[2]`.
fn nested() -> Graph {
    let modes: (DType, &[&str]) = (DType::I64, &["3"]);
    let is_one = |graph: &mut Graph, modes: ValueId, at: i64| {
        let at = graph.add_constant("", Tensor::from_slice(&[], &[at]).unwrap());
        let one = graph.add_constant("", Tensor::from_slice(&[], &[1i64]).unwrap());
        let mode = node(graph, Gather { axis: 0 }, &[modes, at]);
        node(graph, equal(), &[mode, one])
    };
    let leaf = |adds: bool, captures: &[usize]| {
        body(captures, &[FLOATS], |graph, captured| {
            vec![match adds {
                true => node(graph, sum(), &[captured[0], captured[0]]),
                false => node(graph, negate(), captured),
            }]
        })
    };
    let branch = |at: i64| {
        body(&[1, 2], &[FLOATS, modes], |graph, captured| {
            let condition = is_one(graph, captured[1], 1);
            let table = graph.add_constant("table", numbers(&[10], at as usize));
            let x = node(graph, sum(), &[captured[0], table]);
            let (adds, negates) = (leaf(true, &[1]), leaf(false, &[1]));
            let made = choose(graph, adds, negates, &[condition, x], 1);
            let other = is_one(graph, captured[1], at);
            vec![made[0], other]
        })
    };
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", FLOATS.0, FLOATS.1);
    let mode = input(&mut graph, "mode", modes.0, modes.1);
    let condition = is_one(&mut graph, mode, 0);
    let (then, otherwise) = (branch(1), branch(2));
    let made = choose(&mut graph, then, otherwise, &[condition, x, mode], 2);
    let inputs = [made[1], made[0]];
    let made = choose(&mut graph, leaf(false, &[1]), leaf(true, &[1]), &inputs, 1);
    graph.set_outputs(made);
    graph
}

#[test]
fn choices_within_branches_and_by_what_branches_make_are_found_out_one_after_the_other() {
    let mut bench = Bench::new(nested());
    for round in 0..2 {
        for modes in 0..8i64 {
            let modes = [0, 1, 2].map(|bit| modes >> bit & 1);
            for rows in [1, 3] {
                let x = numbers(&[rows, 10], rows + round);
                let request = [x, Tensor::from_slice(&[3], &modes).unwrap()];
                forget_calls();
                bench.check_alone(&request);
                // The sum with a table of other shape has no kernel here, so there are two segments.
                assert_eq!(calls("launch_graph"), 2, "{modes:?}");
                let captures = calls("begin_capture");
                assert!(round == 0 || captures == 0, "{modes:?}: {captures}");
            }
        }
    }
}

#[test]
fn where_nodes_run_is_told_of_the_branch_that_a_request_takes() {
    let mut bench = Bench::new(by_rate());
    for (rate, operator) in [(16_000, "Add"), (8_000, "Neg")] {
        let placement = bench.placement(&request(2, rate));
        let told: Vec<_> = placement
            .iter()
            .map(|p| (&*p.operator, &*p.device))
            .collect();
        let device = "cuda:0";
        let expected = [
            ("Equal", "cpu"),
            ("Neg", device),
            ("Gather", device),
            ("Gather", device),
            (operator, device),
            ("Add", device),
        ];
        assert_eq!(told, expected);
        let why = placement[0].why.as_ref().unwrap();
        assert!(why.contains("which branch runs"), "{why}");
    }
}

#[test]
fn a_profile_is_one_of_the_branch_that_a_request_takes() {
    let mut bench = Bench::new(by_rate());
    for (rate, kernel) in [(16_000, "sum"), (8_000, "negate")] {
        let request = request(3, rate);
        let (profile, outputs) = bench.profile(&request, 2);
        let kernels: Vec<&str> = profile.steps.iter().map(|step| &*step.kernel).collect();
        assert_eq!(kernels, ["negate", "pick", "pick", kernel, "sum"]);
        assert!(profile.steps.iter().all(|step| step.flops.is_some()));
        compare(&outputs, &bench.expected(&request).unwrap());
    }
}

/// A branch that hands a value and a constant through, and one whose shape depends on data.
fn handing_through() -> Graph {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", FLOATS.0, FLOATS.1);
    let condition = input(&mut graph, "condition", DType::Bool, &[]);
    let before = node(&mut graph, negate(), &[x]);
    let outputs = |graph: &mut Graph, x: ValueId, seed: usize| {
        let constant = graph.add_constant("constant", numbers(&[10], seed));
        vec![x, constant]
    };
    let then = body(&[1], &[FLOATS], |graph, captured| {
        outputs(graph, captured[0], 1)
    });
    let otherwise = body(&[1], &[FLOATS], |graph, captured| {
        // Nobody wants it, so it prevents nothing.
        node(graph, NonZero, captured);
        let x = node(graph, sum(), &[captured[0], captured[0]]);
        outputs(graph, x, 2)
    });
    let made = choose(&mut graph, then, otherwise, &[condition, before], 2);
    graph.set_outputs(vec![made[0], made[1], before]);
    graph
}

#[test]
fn what_a_branch_hands_through_is_an_output_like_any_other() {
    let mut bench = Bench::new(handing_through());
    for (rows, flag) in [(1, true), (2, false), (9, true), (1, false), (9, true)] {
        forget_calls();
        bench.check_alone(&flagged(rows, flag));
        assert_eq!(calls("launch_graph"), 1);
    }
    bench.check_batch(&[flagged(2, true), flagged(3, true)]);
    bench.check_batch(&[flagged(2, false), flagged(3, false)]);
}

#[test]
fn a_weight_that_branches_choose_is_not_taken_for_the_other_one() {
    // Reshaped behind the choice, where it is no constant of the model, and as it is.
    for is_reshaped in [true, false] {
        let mut graph = Graph::new("test");
        let x = input(&mut graph, "x", DType::F32, &["rows", "4"]);
        let condition = input(&mut graph, "condition", DType::Bool, &[]);
        let shape: &[usize] = if is_reshaped { &[16] } else { &[4, 4] };
        let weight = |seed| {
            body(&[], &[], |graph, _| {
                vec![graph.add_constant("w", numbers(shape, seed))]
            })
        };
        let made = choose(&mut graph, weight(1), weight(2), &[condition], 1);
        let target = Tensor::from_slice(&[2], &[4i64, 4]).unwrap();
        let target = graph.add_constant("target", target);
        let weight = match is_reshaped {
            true => node(
                &mut graph,
                Reshape { allow_zero: false },
                &[made[0], target],
            ),
            false => made[0],
        };
        // No kernel here: the processor packs the weights.
        let product = node(&mut graph, Linear::default(), &[x, weight]);
        let y = node(&mut graph, negate(), &[product]);
        graph.set_outputs(vec![y]);
        let mut bench = Bench::new(graph);
        for (rows, flag) in [(2, true), (2, false), (3, true), (3, false)] {
            let flag = Tensor::from_bools(&[], &[flag]).unwrap();
            forget_calls();
            bench.check_alone(&[numbers(&[rows, 4], rows), flag]);
            assert_eq!(calls("launch_graph"), 2);
        }
    }
}

#[test]
fn a_branch_without_kernels_runs_on_the_processor_and_the_other_does_not() {
    let mut graph = Graph::new("test");
    let x = input(&mut graph, "x", FLOATS.0, FLOATS.1);
    let condition = input(&mut graph, "condition", DType::Bool, &[]);
    let branch = |op: Arc<dyn Operator>| {
        body(&[1], &[FLOATS], |graph, captured| {
            graph.append("inner", op, captured, 1)
        })
    };
    let then = branch(Arc::new(negate()));
    let function = Activation::Sigmoid;
    let otherwise = branch(Arc::new(Activate { function }));
    let made = choose(&mut graph, then, otherwise, &[condition, x], 1);
    graph.set_outputs(made);
    let mut bench = Bench::new(graph);
    for (flag, launches) in [(true, 1), (false, 0), (true, 1)] {
        forget_calls();
        bench.check_alone(&flagged(3, flag));
        assert_eq!(calls("launch_graph"), launches);
    }
}

/// Both branches, alone and in batches; then everything goes.
fn everything() -> Result<(), Error> {
    let mut bench = Bench::on_this_driver(model(by_rate()), &CudaOptions::default())?;
    for rate in [16_000, 8_000] {
        let requests = [request(1, rate), request(2, rate)];
        for request in &requests {
            compare(&bench.alone(request)?, &bench.expected(request).unwrap());
        }
        for (got, request) in bench.batch(&requests)?.iter().zip(&requests) {
            compare(got, &bench.expected(request).unwrap());
        }
    }
    Ok(())
}

#[test]
fn everything_that_is_made_for_branches_is_unmade() {
    fake::reset(state(64 << 20));
    everything().unwrap();
    fake::with(|state| {
        assert!(state.alive.is_empty(), "{:?}", state.alive);
        assert_eq!(state.retained, 0);
    });
}

#[test]
fn whatever_call_fails_no_branch_gives_a_wrong_answer_and_nothing_is_left() {
    use crate::driver::status::Status;
    fake::reset(state(64 << 20));
    everything().unwrap();
    let count = fake::with(|state| state.calls.len());
    let mut failed = 0;
    for number in 0..count {
        fake::reset(State {
            fail_at: Some((number, Status::INVALID_VALUE)),
            ..state(64 << 20)
        });
        // Right, or an error: `everything` compares.
        failed += usize::from(everything().is_err());
        fake::with(|state| {
            let call = state.calls.get(number).copied().unwrap_or_default();
            // A call that gives something back and fails leaves it where it is.
            let gives_back = ["free", "destroy", "unload", "release", "current_context"];
            if !gives_back.iter().any(|what| call.contains(what)) {
                let alive = &state.alive;
                assert!(alive.is_empty(), "{call}, number {number}: {alive:?}");
            }
        });
    }
    assert!(failed > count / 3, "{failed} of {count} calls");
}

#[test]
fn a_branch_that_could_not_be_prepared_is_prepared_for_who_asks_next() {
    use crate::driver::status::Status;
    let mut failed = 0;
    for number in 0..16 {
        let mut bench = Bench::new(by_rate());
        bench.check_alone(&request(2, 16_000));
        fake::with(|state| {
            state.fail_at = Some((state.calls.len() + number, Status::INVALID_VALUE));
        });
        failed += usize::from(bench.alone(&request(2, 8_000)).is_err());
        bench.check_alone(&request(2, 16_000));
        bench.check_alone(&request(2, 8_000));
    }
    assert!(failed > 4, "{failed}");
}
