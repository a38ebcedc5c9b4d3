//! Coalescing on the real device: bits, counts and memory, also when much goes wrong.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use common::{input, mlp};
use unisono::{Device, ErrorKind, Resource, Session, SessionOptions, Shutdown, Tensor};

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

/// What a device holds of each class that is not kept by the device itself.
fn held(device: &Device) -> Vec<(Resource, u64, u64)> {
    let classes = Resource::ALL.into_iter().filter(|r| !r.is_kept_by_device());
    let count = |r| device.census().get(r);
    classes
        .map(|r| (r, count(r).alive(), count(r).bytes))
        .collect()
}

fn any_width() -> unisono::Model {
    common::load({
        use unisono::onnx::write::{Dim, Graph, Node, ValueInfo};
        let info =
            |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::symbol("width")]);
        Graph::new("any width")
            .input(info("x"))
            .node(Node::new("Relu").inputs(["x"]).outputs(["y"]))
            .output(info("y"))
    })
}

/// Evidence: same-bits-callers, same-bits-rows
#[test]
fn callers_that_share_batches_get_the_bits_of_their_lone_runs() {
    let device = Device::cpu().unwrap();
    let model = mlp(64, 256, 32);
    let alone = model
        .session_with(&device, &SessionOptions::default().coalesce(false))
        .unwrap();
    let session = model.session(&device).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..16u32 {
            let (session, alone) = (&session, &alone);
            scope.spawn(move || {
                for turn in 0..50 {
                    let x = input(1 + (turn % 3) as usize, 64, caller * 1000 + turn);
                    let expected = alone.run(&x).unwrap();
                    let threads = session.run(&x).unwrap();
                    assert_eq!(threads["y"].bytes(), expected["y"].bytes());
                    let future = block_on(session.run_async(&x)).unwrap();
                    assert_eq!(future["y"].bytes(), expected["y"].bytes());
                }
            });
        }
    });
    let stats = session.stats();
    assert_eq!(stats.requests, 16 * 50 * 2);
    assert!(
        stats.mean_batch_rows() > 2.0,
        "requests did share batches: {stats:?}"
    );
}

/// Evidence: compile-once
#[test]
fn sixteen_threads_with_one_new_shape_at_the_same_instant_compile_it_once() {
    let device = Device::cpu().unwrap();
    let session = any_width().session(&device).unwrap();
    let barrier = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                session.run(&input(1, 33, 1)).unwrap();
            });
        }
    });
    assert_eq!(session.stats().plans.compiles, 1);
}

/// Evidence: plans-bounded, bounded-plans, census-closes
#[test]
fn a_thousand_shapes_under_a_small_bound_are_answered_right_and_leave_nothing() {
    let device = Device::cpu().unwrap();
    let base = held(&device);
    let session = any_width()
        .session_with(
            &device,
            &SessionOptions::default().plan_cache_bytes(4 << 10),
        )
        .unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8usize {
            let session = &session;
            scope.spawn(move || {
                for width in (1..=1000).skip(caller).step_by(8) {
                    let x = input(2, width, width as u32);
                    let y = session.run(&x).unwrap();
                    let expected: Vec<f32> = x
                        .as_slice::<f32>()
                        .unwrap()
                        .iter()
                        .map(|v| v.max(0.0))
                        .collect();
                    assert_eq!(y["y"].as_slice::<f32>().unwrap(), expected);
                }
            });
        }
    });
    let plans = session.stats().plans;
    assert_eq!(plans.compiles, 1000);
    assert!(plans.bytes <= 4 << 10 && plans.evictions > 900, "{plans:?}");
    drop(session);
    assert_eq!(
        held(&device),
        base.iter().map(|&(r, _, _)| (r, 0, 0)).collect::<Vec<_>>()
    );
}

/// Evidence: census-closes
#[test]
fn whatever_happens_the_census_returns_to_its_base() {
    let device = Device::cpu().unwrap();
    let model = mlp(64, 128, 32);
    let session = model.session(&device).unwrap();
    session.run(&input(1, 64, 0)).unwrap();
    let base = held(&device);
    let churned = AtomicU64::new(0);
    // A thousand threads, each asking once.
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for i in 0..50 {
                let (session, churned) = (&session, &churned);
                scope.spawn(move || {
                    session.run(&input(1, 64, i)).unwrap();
                    churned.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    }
    assert_eq!(churned.into_inner(), 1000);
    // Ten thousand cancelled, some of them while they run, with a caller among them.
    std::thread::scope(|scope| {
        let (session, x) = (&session, input(1, 64, 1));
        scope.spawn(move || (0..200).for_each(|i| drop(session.run(&input(2, 64, i)).unwrap())));
        for _ in 0..100 {
            let futures: Vec<_> = (0..100).map(|_| session.run_async(&x)).collect();
            drop(futures);
        }
    });
    // A thousand refused.
    for _ in 0..1000 {
        assert!(session.run(&input(1, 63, 1)).is_err());
    }
    // Claimed futures are thrown away by their leader, which may still be at it.
    while device.census().get(Resource::Batch).alive() > 0
        || device.census().get(Resource::Request).alive() > 0
    {
        std::thread::yield_now();
    }
    // Weights may be packed for more shapes by now; everything else is where it was.
    let all_but_weights = |held: &[(Resource, u64, u64)]| -> Vec<_> {
        held.iter()
            .copied()
            .filter(|h| h.0 != Resource::Model)
            .collect()
    };
    assert_eq!(all_but_weights(&held(&device)), all_but_weights(&base));
    drop(session);
    assert!(
        held(&device)
            .iter()
            .all(|&(_, alive, bytes)| (alive, bytes) == (0, 0))
    );
}

/// Evidence: every-call-ends, census-closes
#[test]
fn a_session_dropped_under_load_answers_or_refuses_everybody() {
    for how in [Shutdown::Drain, Shutdown::Refuse] {
        let device = Device::cpu().unwrap();
        let session = mlp(64, 256, 32)
            .session_with(&device, &SessionOptions::default().on_drop(how))
            .unwrap();
        let futures: Vec<_> = (0..500)
            .map(|i| session.run_async(&input(1, 64, i)))
            .collect();
        drop(session);
        let mut refused = 0;
        for future in futures {
            match block_on(future) {
                Ok(outputs) => assert_eq!(outputs["y"].shape(), [1, 32]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ShutDown);
                    refused += 1;
                }
            }
        }
        assert!(how == Shutdown::Refuse || refused == 0);
        while device.census().get(Resource::Session).alive() > 0 {
            std::thread::yield_now();
        }
        assert!(
            held(&device)
                .iter()
                .all(|&(_, alive, bytes)| (alive, bytes) == (0, 0))
        );
    }
}

/// Requests that differ in what has no rows must not see each other's.
/// Evidence: coalesce-on-proof, neighbours-untouched
#[test]
fn inputs_without_rows_that_differ_are_each_ones_own() {
    use unisono::onnx::write::{Dim, Graph, Node, ValueInfo};
    let rows = |name| ValueInfo::tensor::<f32>(name, [Dim::symbol("batch"), Dim::fixed(8)]);
    let model = common::load(
        Graph::new("scaled")
            .input(rows("x"))
            .input(ValueInfo::tensor::<f32>("scale", [Dim::fixed(8)]))
            .node(Node::new("Mul").inputs(["x", "scale"]).outputs(["y"]))
            .output(rows("y")),
    );
    let device = Device::cpu().unwrap();
    let session: Session = model.session(&device).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8u8 {
            let session = &session;
            scope.spawn(move || {
                let factor = f32::from(caller % 3) + 1.0;
                let scale = Tensor::from_slice(&[8], &[factor; 8]).unwrap();
                for turn in 0..200 {
                    let x = input(1, 8, turn);
                    let y = session.run([("x", &x), ("scale", &scale)]).unwrap();
                    let expected: Vec<f32> = x
                        .as_slice::<f32>()
                        .unwrap()
                        .iter()
                        .map(|v| v * factor)
                        .collect();
                    assert_eq!(y["y"].as_slice::<f32>().unwrap(), expected);
                }
            });
        }
    });
}
