//! Contract C5 over the life of sessions: what is made is unmade, what can be shared is shared, shutdown ends all.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{input, mlp};
use unisono::{Device, ErrorKind, Resource, SessionOptions, Shutdown};

#[test]
fn sessions_of_one_model_share_its_packed_weights() {
    let device = Device::cpu().unwrap();
    let model = mlp(64, 128, 32);
    let x = input(2, 64, 1);
    let first = model.session(&device).unwrap();
    let answer = first.run(&x).unwrap();
    let one = device.census().get(Resource::Model);
    assert!(one.bytes > 0, "weights are packed by now");
    let second = model.session(&device).unwrap();
    assert_eq!(second.run(&x).unwrap()["y"].bytes(), answer["y"].bytes());
    let two = device.census().get(Resource::Model);
    assert_eq!((two.created, two.bytes), (1, one.bytes));
    assert_eq!(device.census().get(Resource::Session).alive(), 2);
    // Another load of the same model is another model.
    let other = mlp(64, 128, 32).session(&device).unwrap();
    other.run(&x).unwrap();
    assert_eq!(device.census().get(Resource::Model).created, 2);
}

/// Evidence: census-closes
#[test]
fn after_the_last_session_everything_is_released_but_the_lanes() {
    let device = Device::cpu().unwrap();
    let lanes = device.census().get(Resource::Lane).alive();
    let watched = SessionOptions::default().stall_watchdog(Duration::from_secs(3600));
    for _ in 0..3 {
        let session = mlp(16, 8, 4).session_with(&device, &watched).unwrap();
        for rows in [1, 5] {
            session.run(&input(rows, 16, 1)).unwrap();
            assert!(session.run(&input(rows, 17, 1)).is_err());
        }
    }
    for resource in Resource::ALL {
        let count = device.census().get(resource);
        if resource == Resource::Lane {
            assert_eq!(count.alive(), lanes);
        } else if !resource.is_kept_by_device() {
            assert!(count.created > 0, "{}", resource.name());
            assert_eq!((count.alive(), count.bytes), (0, 0), "{}", resource.name());
        }
    }
    // Refused ones are no requests.
    assert_eq!(device.census().get(Resource::Request).created, 6);
}

/// Evidence: every-call-ends
#[test]
fn a_drained_session_has_answered_everybody_and_refuses_the_rest() {
    let device = Device::cpu().unwrap();
    let session = mlp(64, 256, 32).session(&device).unwrap();
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let (handle, answered) = (session.clone(), &answered);
            scope.spawn(move || {
                let x = input(3, 64, seed);
                loop {
                    match handle.run(&x) {
                        Ok(_) => answered.fetch_add(1, Ordering::SeqCst),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::ShutDown, "{error}");
                            break;
                        }
                    };
                }
            });
        }
        while answered.load(Ordering::SeqCst) < 30 {
            std::thread::yield_now();
        }
        session.shutdown(Shutdown::Drain);
        assert_eq!(device.census().get(Resource::Request).alive(), 0);
    });
    assert_eq!(
        session.run(&input(1, 64, 1)).unwrap_err().kind(),
        ErrorKind::ShutDown
    );
    // The device and the model are untouched.
    let next = session.model().session(&device).unwrap();
    assert!(next.run(&input(1, 64, 1)).is_ok());
}

/// Evidence: plans-bounded, bounded-plans
#[test]
fn plans_are_forgotten_to_stay_within_their_bound_and_made_again() {
    let model = common::load({
        use unisono::onnx::write::{Dim, Graph, Node, ValueInfo};
        let info =
            |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::symbol("width")]);
        Graph::new("any width")
            .input(info("x"))
            .node(Node::new("Relu").inputs(["x"]).outputs(["y"]))
            .output(info("y"))
    });
    let device = Device::cpu().unwrap();
    let session = model
        .session_with(&device, &SessionOptions::default().plan_cache_bytes(1))
        .unwrap();
    for round in 0..2 {
        for width in 1..=10 {
            let y = session.run(&input(2, width, round)).unwrap();
            assert_eq!(y["y"].shape(), [2, width]);
        }
    }
    let counts = session.plans();
    assert_eq!(counts.compiles, 20);
    assert!(counts.evictions >= 18, "{counts:?}");
    assert!(device.census().get(Resource::Plan).alive() <= 1);
}
