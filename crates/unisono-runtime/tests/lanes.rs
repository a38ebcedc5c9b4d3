//! Contract C7 for requests that share no batch: who waits for a lane is bounded as who waits in the queue is, and leaves at its deadline.
//!
//! Evidence: bounded-alone-callers
#![cfg(not(any(loom, shuttle)))]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::*;
use unisono_runtime::census::Resource;
use unisono_runtime::request::{Outputs, RunOptions};
use unisono_runtime::session::{SessionOptions, WhenFull};
use unisono_runtime::{Error, ErrorKind, Session};

fn alone(when_full: WhenFull) -> SessionOptions {
    SessionOptions::default()
        .coalesce(false)
        .queue_capacity(2)
        .when_full(when_full)
}

/// Holds both lanes in a run, lets `waiting` more requests wait for one, does `meanwhile`, lets go, and gives their answers.
fn behind_both_lanes(
    session: &Session,
    control: &Control,
    waiting: usize,
    meanwhile: impl FnOnce(),
) -> Vec<Result<Outputs, Error>> {
    control.close();
    let before = control.begun.load(Ordering::SeqCst);
    let requests = session.stats().requests as usize;
    std::thread::scope(|scope| {
        let call = |i: usize| scope.spawn(move || session.run(&row(i as f32)));
        let mut callers: Vec<_> = (0..2).map(call).collect();
        control.wait_for_begun(before + 2);
        for i in 2..2 + waiting {
            callers.push(call(i));
        }
        until(|| session.stats().requests as usize == requests + 2 + waiting);
        // What is between a request's entry and its place in the line is short, and nothing tells that it is over.
        std::thread::sleep(Duration::from_millis(50));
        meanwhile();
        control.open();
        callers.into_iter().map(|c| c.join().unwrap()).collect()
    })
}

fn assert_all_released(session: &Session) {
    let census = session.device().census();
    for resource in [Resource::Request, Resource::Batch] {
        assert_eq!(census.get(resource).alive(), 0, "{}", resource.name());
    }
}

#[test]
fn a_full_line_for_a_lane_refuses_or_waits_as_it_is_told() {
    let (refusing, control) = session(&alone(WhenFull::Error));
    let answers = behind_both_lanes(&refusing, &control, 2, || {
        let error = refusing.run(&row(9.0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.is_retryable() && error.to_string().contains("queue_capacity"));
    });
    assert!(answers.iter().all(Result::is_ok));
    assert!(is_answer(&refusing.run(&row(9.0)).unwrap(), 9.0));
    assert_all_released(&refusing);

    let (patient, control) = session(&alone(WhenFull::WaitAtMost(Duration::from_millis(20))));
    let answers = behind_both_lanes(&patient, &control, 2, || {
        assert_eq!(patient.run(&row(9.0)).unwrap_err().kind(), ErrorKind::Limit);
    });
    assert!(answers.iter().all(Result::is_ok));
    assert_all_released(&patient);

    let (waiting_for_ever, control) = session(&alone(WhenFull::Wait));
    let answers = behind_both_lanes(&waiting_for_ever, &control, 7, || ());
    for (i, answer) in answers.into_iter().enumerate() {
        assert!(is_answer(&answer.unwrap(), i as f32));
    }
    assert_all_released(&waiting_for_ever);
}

#[test]
fn a_deadline_ends_the_wait_for_a_lane_and_for_a_place_in_the_line() {
    for waiting in [0, 2] {
        let (session, control) = session(&alone(WhenFull::Wait));
        let answers = behind_both_lanes(&session, &control, waiting, || {
            // Comes back although no lane comes free.
            let soon = RunOptions::new().deadline(Instant::now() + Duration::from_millis(20));
            let error = session.run_with(&row(9.0), &soon).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        });
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(control.batches.lock().unwrap().len(), 2 + waiting);
        assert_eq!(session.stats().late, 1);
        assert_all_released(&session);
    }
}

#[test]
fn a_leader_whose_deadline_passes_while_it_waits_for_a_lane_leaves_its_followers_to_the_next() {
    let (device, control) = device(1);
    let [holding, waiting] = [(); 2].map(|()| {
        let options = SessionOptions::default();
        Session::new(model(), &device, &options).unwrap()
    });
    control.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| holding.run(&row(1.0)));
        control.wait_for_begun(1);
        let soon = RunOptions::new().deadline(Instant::now() + Duration::from_millis(200));
        let leader = scope.spawn({
            let waiting = &waiting;
            move || waiting.run_with(&row(2.0), &soon)
        });
        until(|| waiting.stats().requests == 1);
        let follower = scope.spawn(|| waiting.run(&row(3.0)));
        let error = leader.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        control.open();
        assert!(is_answer(&first.join().unwrap().unwrap(), 1.0));
        assert!(is_answer(&follower.join().unwrap().unwrap(), 3.0));
    });
    assert_all_released(&waiting);
}
