//! Whole graphs: order and lifetime of values, bodies, limits, and the wide precision.

use super::*;
use std::sync::Arc;
use unisono_graph::attribute::Subgraph;
use unisono_graph::ops::binary::{Binary, BinaryFunction, Compare, Comparison};
use unisono_graph::ops::cast::Cast;
use unisono_graph::ops::control::ScanAxis;
use unisono_graph::ops::indexing::NonZero;
use unisono_graph::ops::movement::{Split, SplitParts};
use unisono_graph::ops::unary::{Identity, Unary, UnaryFunction};
use unisono_graph::{TensorType, ValueId};

fn binary(function: BinaryFunction) -> Arc<dyn Operator> {
    Arc::new(Binary { function })
}

fn of(dtype: DType) -> TensorType {
    TensorType { dtype, shape: None }
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::from_slice(&[values.len()], values).unwrap()
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, InterpretError> {
    graph.check().unwrap();
    Interpreter::new(Precision::Canonical).run(graph, inputs)
}

#[test]
fn inputs_constants_and_repeated_outputs_are_given_back() {
    let mut g = Graph::new("root");
    let x = g.add_input("x", of(DType::F32));
    let c = g.add_constant("c", floats(&[10.0]));
    let y = g.append("add", binary(BinaryFunction::Add), &[x, c], 1)[0];
    let z = g.append("add again", binary(BinaryFunction::Add), &[y, y], 1)[0];
    g.set_outputs(vec![z, x, c, z]);
    let found = run(&g, &[floats(&[1.0, 2.0])]).unwrap();
    let found: Vec<&[f32]> = found.iter().map(|t| t.as_slice().unwrap()).collect();
    assert_eq!(
        found,
        [&[22.0, 24.0][..], &[1.0, 2.0], &[10.0], &[22.0, 24.0]]
    );
    let error = run(&g, &[]).unwrap_err();
    assert_eq!(
        error.reason,
        Reason::InputCount {
            expected: 1,
            found: 0
        }
    );
}

#[test]
fn shapes_that_depend_on_data_are_found_on_the_way() {
    let mut g = Graph::new("root");
    let x = g.add_input("x", of(DType::F32));
    let at = g.append("nz", Arc::new(NonZero), &[x], 1)[0];
    let twice = g.append("add", binary(BinaryFunction::Add), &[at, at], 1);
    g.set_outputs(twice);
    let found = run(&g, &[floats(&[0.0, 1.0, 0.0, 2.0])]).unwrap();
    assert_eq!(found[0].shape(), [1, 2]);
    assert_eq!(found[0].to_i64s().unwrap(), [2, 6]);
}

#[test]
fn errors_name_the_node() {
    let mut g = Graph::new("root");
    let (a, b) = (
        g.add_input("a", of(DType::I32)),
        g.add_input("b", of(DType::I32)),
    );
    let y = g.append("quotient", binary(BinaryFunction::Div), &[a, b], 1);
    g.set_outputs(y);
    let (one, zero) = (Tensor::scalar(1i32), Tensor::scalar(0i32));
    let error = run(&g, &[one, zero]).unwrap_err();
    assert_eq!(error.reason, Reason::Eval(EvalError::DivisionByZero));
    assert_eq!(
        error.to_string(),
        "node \"quotient\" (Div): an integer was divided by zero"
    );
}

/// A body `x op captured`, where both come from outside.
fn captured_body(function: BinaryFunction) -> Subgraph {
    let mut body = Graph::new("body");
    let (x, y) = (
        body.add_input("x", of(DType::F32)),
        body.add_input("y", of(DType::F32)),
    );
    let z = body.append("inner", binary(function), &[x, y], 1);
    body.set_outputs(z);
    Subgraph {
        graph: body,
        captures: vec![1, 2],
    }
}

#[test]
fn only_the_chosen_branch_runs() {
    let mut g = Graph::new("root");
    let condition = g.add_input("condition", of(DType::Bool));
    let (x, y) = (
        g.add_input("x", of(DType::F32)),
        g.add_input("y", of(DType::F32)),
    );
    let choice = If {
        then_branch: captured_body(BinaryFunction::Add),
        else_branch: captured_body(BinaryFunction::Mul),
    };
    let z = g.append("choice", Arc::new(choice), &[condition, x, y], 1);
    g.set_outputs(z);
    for (condition, expected) in [(true, 5.0), (false, 6.0)] {
        let condition = Tensor::from_bools(&[1], &[condition]).unwrap();
        let found = run(&g, &[condition, floats(&[2.0]), floats(&[3.0])]).unwrap();
        assert_eq!(found[0].as_slice::<f32>().unwrap(), [expected]);
    }
    let condition = Tensor::from_bools(&[1], &[true]).unwrap();
    let error = run(
        &g,
        &[condition, floats(&[2.0]), floats(&[3.0, 4.0, 5.0][..2])],
    )
    .unwrap();
    assert_eq!(error[0].shape(), [2]);
    let condition = Tensor::from_bools(&[1], &[true]).unwrap();
    let misfit = run(
        &g,
        &[condition, floats(&[2.0, 1.0]), floats(&[3.0, 4.0, 5.0])],
    )
    .unwrap_err();
    assert_eq!(
        (misfit.node.as_str(), misfit.operator),
        ("choice/inner", "Add")
    );
}

/// `carried + captured` while that is below `limit`; collects the iteration's number and the sum.
fn counting_loop(limit: f32, ends: bool) -> Loop {
    let mut body = Graph::new("body");
    let i = body.add_input("i", of(DType::I64));
    let go = body.add_input("go", of(DType::Bool));
    let x = body.add_input("x", of(DType::F32));
    let step = body.add_input("step", of(DType::F32));
    let limit = body.add_constant("limit", Tensor::scalar(limit));
    let next = body.append("next", binary(BinaryFunction::Add), &[x, step], 1)[0];
    let less = Compare {
        comparison: Comparison::Less,
    };
    let on = body.append("on", Arc::new(less), &[next, limit], 1)[0];
    let number = body.append("number", Arc::new(Identity), &[i], 1)[0];
    body.set_outputs(vec![if ends { on } else { go }, next, number, next]);
    body.value_mut(number).declared = Some(TensorType {
        dtype: DType::I64,
        shape: Some(vec![]),
    });
    body.value_mut(next).declared = Some(TensorType {
        dtype: DType::F32,
        shape: Some(vec![]),
    });
    Loop {
        body: Subgraph {
            graph: body,
            captures: vec![3],
        },
        carried: 1,
    }
}

fn loop_graph(op: Loop, trips: Option<i64>) -> Graph {
    let mut g = Graph::new("root");
    let x = g.add_input("x", of(DType::F32));
    let step = g.add_input("step", of(DType::F32));
    let trips = trips.map(|n| g.add_constant("trips", Tensor::scalar(n)));
    let outputs: Vec<ValueId> = (0..3).map(|_| g.add_value("", None)).collect();
    g.add_node(
        "repeat",
        Arc::new(op),
        vec![trips, None, Some(x), Some(step)],
        outputs.iter().map(|&o| Some(o)).collect(),
    );
    g.set_outputs(outputs);
    g
}

#[test]
fn loops_end_by_count_or_by_condition_and_collect() {
    let (x, step) = (Tensor::scalar(0f32), Tensor::scalar(2f32));
    let given = [x, step];
    let by_condition = run(&loop_graph(counting_loop(5.0, true), None), &given).unwrap();
    assert_eq!(by_condition[0].as_slice::<f32>().unwrap(), [6.0]);
    assert_eq!(by_condition[1].to_i64s().unwrap(), [0, 1, 2]);
    assert_eq!(by_condition[2].as_slice::<f32>().unwrap(), [2.0, 4.0, 6.0]);
    let by_count = run(&loop_graph(counting_loop(5.0, true), Some(2)), &given).unwrap();
    assert_eq!(by_count[0].as_slice::<f32>().unwrap(), [4.0]);
    let never = run(&loop_graph(counting_loop(5.0, true), Some(0)), &given).unwrap();
    assert_eq!(never[0].as_slice::<f32>().unwrap(), [0.0]);
    assert_eq!((never[1].dtype(), never[1].shape()), (DType::I64, &[0][..]));
}

#[test]
fn a_loop_that_does_not_end_meets_the_budget() {
    let g = loop_graph(counting_loop(5.0, false), None);
    let given = [Tensor::scalar(0f32), Tensor::scalar(2f32)];
    let limited = Interpreter::new(Precision::Canonical).budget(1000);
    let error = limited.run(&g, &given).unwrap_err();
    assert_eq!(error.reason, Reason::Budget { nodes: 1000 });
    assert!(error.node.starts_with("repeat"));
    let small = Interpreter::new(Precision::Canonical).largest_tensor(16);
    let mut wide = Graph::new("root");
    let x = wide.add_input("x", of(DType::F32));
    let y = wide.append("copy", Arc::new(Identity), &[x], 1);
    wide.set_outputs(y);
    assert!(small.run(&wide, &[floats(&[0.0; 4])]).is_ok());
    let error = small.run(&wide, &[floats(&[0.0; 5])]).unwrap_err();
    assert_eq!(error.reason, Reason::TooLarge { limit: 16 });
}

#[test]
fn a_scan_cuts_and_joins_along_its_axes_in_both_directions() {
    // Carried: the sum so far. Each step adds a column and collects the sum, both backwards.
    let mut body = Graph::new("body");
    let (sum, column) = (
        body.add_input("sum", of(DType::F32)),
        body.add_input("column", of(DType::F32)),
    );
    let next = body.append("next", binary(BinaryFunction::Add), &[sum, column], 1)[0];
    body.set_outputs(vec![next, next]);
    let back = ScanAxis {
        axis: -1,
        reverse: true,
    };
    let scan = Scan {
        body: Subgraph {
            graph: body,
            captures: vec![],
        },
        carried: 1,
        inputs: vec![back],
        outputs: vec![back],
    };
    let mut g = Graph::new("root");
    let (start, x) = (
        g.add_input("start", of(DType::F32)),
        g.add_input("x", of(DType::F32)),
    );
    let y = g.append("scan", Arc::new(scan), &[start, x], 2);
    g.set_outputs(y);
    let x = Tensor::from_slice(&[2, 3], &[1f32, 2.0, 3.0, 10.0, 20.0, 30.0]).unwrap();
    let found = run(&g, &[floats(&[0.0, 0.0]), x]).unwrap();
    assert_eq!(found[0].as_slice::<f32>().unwrap(), [6.0, 60.0]);
    assert_eq!(found[1].shape(), [2, 3]);
    assert_eq!(
        found[1].as_slice::<f32>().unwrap(),
        [6.0, 5.0, 3.0, 60.0, 50.0, 30.0]
    );
}

#[test]
fn the_wide_precision_never_rounds_on_the_way() {
    let mut g = Graph::new("root");
    let x = g.add_input("x", of(DType::F16));
    let third = g.add_constant("third", floats(&[1.0 / 3.0]));
    let wide = g.append("to f32", Arc::new(Cast { to: DType::F32 }), &[x], 1)[0];
    let y = g.append("mul", binary(BinaryFunction::Mul), &[wide, third], 1)[0];
    let narrow = g.append("to f16", Arc::new(Cast { to: DType::F16 }), &[y], 1)[0];
    let root = g.append(
        "sqrt",
        Arc::new(Unary {
            function: UnaryFunction::Sqrt,
        }),
        &[narrow],
        1,
    )[0];
    let whole = g.append("to i32", Arc::new(Cast { to: DType::I32 }), &[root], 1)[0];
    g.set_outputs(vec![root, whole]);
    let x = Tensor::from_slice(&[1], &[unisono_tensor::f16::from_f32(7.0)]).unwrap();
    let found = Interpreter::new(Precision::Float64)
        .run(&g, std::slice::from_ref(&x))
        .unwrap();
    let exact = (7.0 * f64::from(1.0f32 / 3.0)).sqrt();
    assert_eq!(found[0].as_slice::<f64>().unwrap(), [exact]);
    assert_eq!(found[1].as_slice::<i32>().unwrap(), [1]);
    let narrow = run(&g, &[x]).unwrap();
    assert_eq!(narrow[0].dtype(), DType::F16);
}

#[test]
fn constants_are_folded_with_all_outputs_of_the_operator() {
    let interpreter = Interpreter::new(Precision::Canonical);
    let fold = |op: &dyn Operator, inputs: &[Tensor]| {
        let inputs: Vec<_> = inputs.iter().cloned().map(Some).collect();
        ConstantEvaluator::evaluate(&interpreter, op, &inputs)
    };
    let x = floats(&[1.0, 2.0, 3.0]);
    let split = Split {
        axis: 0,
        parts: SplitParts::Equal(3),
    };
    let parts = fold(&split, std::slice::from_ref(&x)).unwrap();
    let parts: Vec<&[f32]> = parts.iter().map(|t| t.as_slice().unwrap()).collect();
    assert_eq!(parts, [&[1.0][..], &[2.0], &[3.0]]);
    assert_eq!(fold(&Identity, std::slice::from_ref(&x)).unwrap().len(), 1);
    assert!(
        fold(
            &Binary {
                function: BinaryFunction::Div
            },
            &[x]
        )
        .is_none()
    );
}
