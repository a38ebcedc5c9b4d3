//! A request with a clock around every step.

mod common;

use common::load;
use unisono::onnx::write::{Dim, Graph, Node, ValueInfo};
use unisono::profile::Profile;
use unisono::{Device, ErrorKind, Outputs, Tensor};

fn names(profile: &Profile) -> Vec<(&str, &str)> {
    let steps = profile.steps.iter();
    steps.map(|s| (&*s.name, &*s.operator)).collect()
}

fn bytes(outputs: &Outputs) -> Vec<(&str, &[u8])> {
    outputs.iter().map(|(n, t)| (n, t.bytes())).collect()
}

#[test]
fn the_answer_under_the_clock_has_the_bits_of_one_without() {
    for threads in [1, 2] {
        let device = Device::builder().threads(threads).build().unwrap();
        for sample in common::samples() {
            let session = sample.model.session(&device).unwrap();
            for rows in [1, 5] {
                let request = sample.request(rows, 3);
                let expected = session.run(&request).unwrap();
                let profile = session.profile(&request, 3).unwrap();
                assert_eq!(bytes(&profile.outputs), bytes(&expected), "{}", sample.name);
                assert_eq!((profile.rows, profile.runs), (rows, 3));
            }
            // Two requests, and those under the clock are not counted.
            assert_eq!(session.stats().requests, 2, "{}", sample.name);
        }
    }
}

#[test]
fn steps_are_told_by_name_and_never_take_longer_than_the_run() {
    let device = Device::builder().threads(2).build().unwrap();
    let session = common::mlp(37, 301, 19).session(&device).unwrap();
    let profile = session.profile(&common::input(4, 37, 1), 5).unwrap();
    // The activation and the bias are fused: a fused node has the name of its last one.
    let expected = [("relu", "Gemm"), ("bias", "MatMul"), ("softmax", "Softmax")];
    assert_eq!(names(&profile), expected);
    assert!(profile.within_steps.lowest_ns <= profile.whole.lowest_ns);
    assert!(profile.within_steps.median_ns <= profile.whole.median_ns);
    assert!(profile.within_steps.highest_ns <= profile.whole.highest_ns);
    let lowest: u64 = profile.steps.iter().map(|s| s.times.lowest_ns).sum();
    assert!(lowest <= profile.whole.lowest_ns);
    let first = &profile.steps[0];
    assert!(first.times.lowest_ns <= first.times.median_ns);
    assert!(first.times.median_ns <= first.times.highest_ns);
    assert!(first.kernel.contains("Relu fused"), "{}", first.kernel);
    assert!(first.kernel.contains("bias fused"), "{}", first.kernel);
    assert!(first.flops >= Some(2 * 4 * 37 * 301), "{:?}", first.flops);
    assert_eq!(first.input_bytes, 4 * 37 * 4);
    assert_eq!(first.weight_bytes, (37 * 301 + 301) * 4);
    assert_eq!(first.output_bytes, 4 * 301 * 4);
    assert!((1..=2).contains(&first.threads));
}

#[test]
fn views_and_constants_are_no_steps() {
    let device = Device::builder().threads(1).build().unwrap();
    for sample in common::samples() {
        let session = sample.model.session(&device).unwrap();
        let profile = session.profile(&sample.request(2, 1), 1).unwrap();
        let views = ["Flatten", "Reshape", "Squeeze", "Identity"];
        let shown = names(&profile);
        let is_view = |(_, operator): &(&str, &str)| views.contains(operator);
        assert!(!shown.iter().any(is_view), "{shown:?}");
        assert!(!shown.is_empty());
    }
}

#[test]
fn what_depends_on_data_is_counted_as_it_was_found() {
    let model = load(
        Graph::new("found")
            .input(ValueInfo::tensor::<f32>("x", [Dim::symbol("n")]))
            .node(
                Node::new("NonZero")
                    .name("where")
                    .inputs(["x"])
                    .outputs(["places"]),
            )
            .output(ValueInfo::tensor::<i64>(
                "places",
                [Dim::fixed(1), Dim::symbol("found")],
            )),
    );
    let session = model.session(&Device::cpu().unwrap()).unwrap();
    let x = Tensor::from_slice(&[5], &[0f32, 1.0, 2.0, 0.0, 3.0]).unwrap();
    let profile = session.profile(&x, 2).unwrap();
    assert_eq!(names(&profile), [("where", "NonZero")]);
    assert_eq!(profile.steps[0].output_bytes, 3 * 8);
    assert_eq!(profile.steps[0].input_bytes, 5 * 4);
}

#[test]
fn a_request_that_does_not_fit_is_refused() {
    let session = common::halving().session(&Device::cpu().unwrap()).unwrap();
    let error = session.profile(&common::input(1, 41, 1), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    session.shutdown(unisono::Shutdown::Drain);
    let error = session.profile(&common::input(1, 40, 1), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
}
