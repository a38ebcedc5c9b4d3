//! Contract C6 through the public interface: every call ends, an error says what is wrong, and the session stays usable.

mod common;

use std::time::Instant;

use common::{input, load, mlp, three_outputs};
use unisono::onnx::write::{Dim, Graph, Node, Tensor as Weights, ValueInfo};
use unisono::{Device, ErrorKind, Inputs, Outputs, RunOptions, Session, Tensor};

fn session() -> Session {
    mlp(4, 8, 3).session(&Device::cpu().unwrap()).unwrap()
}

/// Evidence: every-call-ends, neighbours-untouched
#[test]
fn a_request_that_does_not_fit_is_refused_and_the_next_is_answered() {
    let session = session();
    let good = input(2, 4, 1);
    let expected = session.run(&good).unwrap();
    let wide = input(2, 5, 1);
    let deep = Tensor::from_slice(&[1, 2, 4], &[0f32; 8]).unwrap();
    let ints = Tensor::from_slice(&[2, 4], &[0i32; 8]).unwrap();
    let table: Vec<(&str, Inputs<'_>, &[&str])> = vec![
        ("no input", Inputs::new(), &["1 inputs", "\"x\""]),
        (
            "two inputs",
            (&[good.clone(), good.clone()]).into(),
            &["2 were given"],
        ),
        (
            "another name",
            [("z", &good)].into(),
            &["\"x\" is missing", "z"],
        ),
        (
            "too wide",
            (&wide).into(),
            &["\"x\"", "[2, 5]", "axis 1 should be 4"],
        ),
        ("too many axes", (&deep).into(), &["\"x\"", "[1, 2, 4]"]),
        (
            "another type",
            (&ints).into(),
            &["\"x\"", "should be f32 but is i32"],
        ),
    ];
    let mut wrong = Vec::new();
    for (case, inputs, says) in table {
        match session.run(inputs) {
            Ok(_) => wrong.push(format!("{case}: answered")),
            Err(error) => {
                let text = error.to_string();
                if error.kind() != ErrorKind::InvalidInput || error.is_retryable() {
                    wrong.push(format!("{case}: {:?}", error.kind()));
                }
                wrong.extend(
                    says.iter()
                        .filter(|s| !text.contains(**s))
                        .map(|s| format!("{case}: {text:?} does not say {s:?}")),
                );
            }
        }
        let again = session.run(&good).unwrap();
        assert_eq!(again["y"].bytes(), expected["y"].bytes(), "after {case}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inputs_that_disagree_on_a_length_are_refused() {
    let info = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(2)]);
    let model = load(
        Graph::new("sum")
            .input(info("a"))
            .input(info("b"))
            .node(Node::new("Add").inputs(["a", "b"]).outputs(["c"]))
            .output(info("c")),
    );
    let session = model.session(&Device::cpu().unwrap()).unwrap();
    let error = session.run(&[input(3, 2, 1), input(2, 2, 1)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(text.contains("\"a\"") && text.contains("\"b\""), "{text}");
    let twice = Inputs::new()
        .with("a", &input(1, 2, 1))
        .with("a", &input(1, 2, 1));
    assert!(
        session
            .run(twice)
            .unwrap_err()
            .to_string()
            .contains("\"a\" is given twice")
    );
}

/// Evidence: every-call-ends, neighbours-untouched
#[test]
fn data_that_an_operator_refuses_fails_that_request_alone_and_names_the_node() {
    let model = load(
        Graph::new("lookup")
            .input(ValueInfo::tensor::<i64>(
                "ids",
                [Dim::symbol("batch"), Dim::symbol("length")],
            ))
            .initializer(Weights::of("table", &[10, 4], &common::numbers(40, 1)))
            .node(
                Node::new("Gather")
                    .name("embed")
                    .inputs(["table", "ids"])
                    .outputs(["y"]),
            )
            .output(ValueInfo::tensor::<f32>(
                "y",
                [Dim::symbol("batch"), Dim::symbol("length"), Dim::fixed(4)],
            )),
    );
    let session = model.session(&Device::cpu().unwrap()).unwrap();
    let ids = |ids: &[i64]| Tensor::from_slice(&[1, ids.len()], ids).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let session = &session;
            scope.spawn(move || {
                for i in 0..50 {
                    if (i + thread) % 3 == 0 {
                        let error = session.run(&ids(&[1, 10])).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Execution);
                        let node = error.node().unwrap_or_default();
                        assert!(node.contains("embed"), "{error}");
                    } else {
                        let y = session.run(&ids(&[thread, 9])).unwrap();
                        assert_eq!(y["y"].shape(), [1, 2, 4]);
                    }
                }
            });
        }
    });
}

#[test]
fn empty_requests_have_empty_answers() {
    let session = session();
    let none = Tensor::from_slice::<f32>(&[0, 4], &[]).unwrap();
    assert_eq!(session.run(&none).unwrap()["y"].shape(), [0, 3]);
    assert_eq!(session.run(&input(1, 4, 1)).unwrap()["y"].shape(), [1, 3]);
}

#[test]
fn outputs_are_reused_only_by_those_who_own_them() {
    let session = three_outputs().session(&Device::cpu().unwrap()).unwrap();
    let (first, second) = (input(2, 8, 1), input(2, 8, 2));
    let mut outputs = session.run(&first).unwrap();
    let kept = outputs["b"].clone();
    let bytes = kept.bytes().to_vec();
    session.run_into(&second, &mut outputs).unwrap();
    assert_eq!(
        kept.bytes(),
        bytes,
        "a tensor that the caller still holds is not written"
    );
    let fresh = session.run(&second).unwrap();
    for (name, tensor) in fresh.iter() {
        assert_eq!(outputs[name].bytes(), tensor.bytes(), "{name}");
    }
    // Of another shape: replaced.
    session.run_into(&input(5, 8, 3), &mut outputs).unwrap();
    assert_eq!(outputs["a"].shape(), [5, 8]);
    // Of another model: replaced, names included.
    let other = self::session();
    other.run_into(&input(1, 4, 1), &mut outputs).unwrap();
    assert_eq!(
        outputs.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["y"]
    );
}

/// Evidence: every-call-ends
#[test]
fn a_late_request_is_refused_without_being_run() {
    let session = session();
    let past = RunOptions::new().deadline(Instant::now());
    let error = session.run_with(&input(1, 4, 1), &past).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.is_retryable());
    assert_eq!(session.plans().compiles, 0);
    let mut outputs = Outputs::new();
    assert!(
        session
            .run_into_with(&input(1, 4, 1), &mut outputs, &past)
            .is_err()
    );
}

/// Evidence: bounded-arena
#[test]
fn a_run_that_needs_more_memory_than_the_limit_is_an_error_and_the_next_is_answered() {
    let device = Device::builder().arena_limit(64 << 10).build().unwrap();
    let session = mlp(16, 512, 8).session(&device).unwrap();
    let few = session.run(&input(2, 16, 1)).unwrap();
    // 512 values of a row between the layers, 2 KiB.
    let error = session.run(&input(1_000, 16, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let again = session.run(&input(2, 16, 1)).unwrap();
    assert_eq!(few["y"].bytes(), again["y"].bytes());
}
