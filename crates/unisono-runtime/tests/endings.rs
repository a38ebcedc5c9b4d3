//! Contract C6 on a device whose troubles are on order: every call ends, and nobody pays for a neighbour.
#![cfg(not(any(loom, shuttle)))]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::*;
use unisono_runtime::census::Resource;
use unisono_runtime::request::{Outputs, RunOptions};
use unisono_runtime::session::{SessionOptions, Shutdown, WhenFull};
use unisono_runtime::{Error, ErrorKind, Session};

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut ready = None;
    until(|| {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(output) => {
                ready = Some(output);
                true
            }
            Poll::Pending => false,
        }
    });
    ready.expect("it is ready")
}

fn waiting(session: &Session) -> u64 {
    session.stats().waiting
}

/// Holds a first request in its run, lets `values` wait behind it, does `meanwhile`, lets go, and gives their answers.
fn behind_one(
    session: &Session,
    control: &Control,
    values: &[f32],
    meanwhile: impl FnOnce(),
) -> Vec<Result<Outputs, Error>> {
    control.close();
    let before = control.begun.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| session.run(&row(-1.0)));
        control.wait_for_begun(before + 1);
        let mut callers = Vec::new();
        for (i, &value) in values.iter().enumerate() {
            callers.push(scope.spawn(move || session.run(&row(value))));
            until(|| waiting(session) > i as u64);
        }
        meanwhile();
        control.open();
        assert!(is_answer(
            &first.join().expect("no panic").expect("an answer"),
            -1.0
        ));
        callers
            .into_iter()
            .map(|c| c.join().expect("no panic"))
            .collect()
    })
}

fn assert_all_released(session: &Session) {
    let census = session.device().census();
    for resource in [Resource::Request, Resource::Batch] {
        assert_eq!(census.get(resource).alive(), 0, "{}", resource.name());
    }
    assert_eq!(waiting(session), 0);
}

/// Evidence: no-timer
#[test]
fn what_waits_when_the_lane_is_ready_is_the_next_batch() {
    let (session, control) = session(&SessionOptions::default());
    let values = [1.0, 2.0, 3.0, 4.0, 5.0];
    let answers = behind_one(&session, &control, &values, || ());
    for (answer, value) in answers.iter().zip(values) {
        assert!(is_answer(answer.as_ref().expect("an answer"), value));
    }
    let stats = session.stats();
    assert_eq!((stats.requests, stats.batches, stats.failed), (6, 2, 0));
    assert_eq!(stats.batch_rows.sum(), 6);
    assert_all_released(&session);
}

#[test]
fn a_device_that_cannot_look_into_its_runs_says_so_and_goes_on() {
    let (session, _) = session(&SessionOptions::default());
    let x = row(1.0);
    let error = session.profile(&x, 3).expect_err("the mock has no steps");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(is_answer(&session.run(&x).expect("an answer"), 1.0));
}

/// Evidence: alone-without-proof
#[test]
fn without_coalescing_everybody_runs_alone() {
    let (session, control) = session(&SessionOptions::default().coalesce(false));
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let session = &session;
            scope.spawn(move || {
                assert!(is_answer(
                    &session.run(&row(caller as f32)).unwrap(),
                    caller as f32
                ))
            });
        }
    });
    assert!(control.batches.lock().unwrap().iter().all(|&n| n == 1));
}

/// Evidence: neighbours-untouched
#[test]
fn only_the_poisoned_request_of_a_batch_fails() {
    let (session, control) = session(&SessionOptions::default());
    let answers = behind_one(&session, &control, &[1.0, POISON, 3.0], || ());
    assert!(is_answer(answers[0].as_ref().unwrap(), 1.0));
    assert_eq!(
        answers[1].as_ref().unwrap_err().kind(),
        ErrorKind::Execution
    );
    assert!(is_answer(answers[2].as_ref().unwrap(), 3.0));
    let stats = session.stats();
    assert_eq!((stats.rerun_batches, stats.failed), (1, 1));
    assert_all_released(&session);
}

#[test]
fn a_thousand_failed_requests_among_good_ones_leave_nothing() {
    let (session, _) = session(&SessionOptions::default());
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let session = &session;
            scope.spawn(move || {
                for turn in 0..250 {
                    let value = if caller % 2 == 0 { POISON } else { turn as f32 };
                    match session.run(&row(value)) {
                        Ok(outputs) => assert!(is_answer(&outputs, value)),
                        Err(error) => {
                            assert!(value == POISON && error.kind() == ErrorKind::Execution);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(session.stats().failed, 1_000);
    assert_all_released(&session);
}

/// Evidence: every-call-ends, neighbours-untouched
#[test]
fn only_the_request_at_which_a_kernel_panics_fails_and_the_session_stays_usable() {
    let (session, control) = session(&SessionOptions::default());
    for _ in 0..100 {
        let answers = behind_one(&session, &control, &[1.0, 2.0, PANIC], || ());
        assert!(is_answer(answers[0].as_ref().unwrap(), 1.0));
        assert!(is_answer(answers[1].as_ref().unwrap(), 2.0));
        assert_eq!(answers[2].as_ref().unwrap_err().kind(), ErrorKind::Panic);
    }
    assert!(is_answer(&session.run(&row(9.0)).unwrap(), 9.0));
    assert_all_released(&session);
}

/// Evidence: every-call-ends
#[test]
fn a_leader_that_goes_down_outside_of_the_model_wakes_its_followers() {
    let (session, control) = session(&SessionOptions::default());
    control.close();
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| session.run(&row(-1.0)));
        control.wait_for_begun(1);
        let callers: Vec<_> = [LEADER_PANIC, 1.0, 2.0]
            .map(|value| {
                let (session, answered) = (&session, &answered);
                scope.spawn(move || {
                    let answer = session.run(&row(value));
                    answered.fetch_add(1, Ordering::SeqCst);
                    answer
                })
            })
            .into_iter()
            .collect();
        until(|| waiting(&session) == 3);
        control.open();
        assert!(first.join().unwrap().is_ok());
        // One led and went down; the others were in its batch and got their answers all the same.
        let ends: Vec<_> = callers.into_iter().map(|c| c.join()).collect();
        assert_eq!(ends.iter().filter(|e| e.is_err()).count(), 1);
        for end in ends.iter().flatten() {
            assert!(end.is_ok() || end.as_ref().unwrap_err().kind() == ErrorKind::Panic);
        }
    });
    assert!(is_answer(&session.run(&row(4.0)).unwrap(), 4.0));
    assert_all_released(&session);
}

#[test]
fn a_request_whose_deadline_passes_while_it_waits_is_not_run() {
    let (session, control) = session(&SessionOptions::default());
    control.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| session.run(&row(1.0)));
        control.wait_for_begun(1);
        let soon = RunOptions::new().deadline(Instant::now() + Duration::from_millis(30));
        let error = session.run_with(&row(2.0), &soon).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!(error.is_retryable());
        control.open();
        assert!(first.join().unwrap().is_ok());
    });
    assert_eq!(
        *control.batches.lock().unwrap(),
        [1],
        "the late one did not run"
    );
    assert_eq!(session.stats().late, 1);
    assert_all_released(&session);
}

/// Evidence: every-call-ends
#[test]
fn an_answer_that_comes_after_the_deadline_is_an_error() {
    let (session, control) = session(&SessionOptions::default());
    control.close();
    let deadline = Instant::now() + Duration::from_millis(40);
    let late = std::thread::scope(|scope| {
        let late =
            scope.spawn(|| session.run_with(&row(1.0), &RunOptions::new().deadline(deadline)));
        control.wait_for_begun(1);
        until(|| Instant::now() > deadline);
        control.open();
        late.join().unwrap()
    });
    assert_eq!(late.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_all_released(&session);
}

/// Evidence: bounded-queue
#[test]
fn a_full_queue_refuses_or_waits_as_it_is_told() {
    let options = |when_full| {
        SessionOptions::default()
            .queue_capacity(2)
            .when_full(when_full)
    };
    let (refusing, control) = session(&options(WhenFull::Error));
    let answers = behind_one(&refusing, &control, &[1.0, 2.0], || {
        let error = refusing.run(&row(3.0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.is_retryable() && error.to_string().contains("queue_capacity"));
        let error = block_on(refusing.run_async(&row(3.0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    });
    assert!(answers.iter().all(Result::is_ok));
    assert_all_released(&refusing);

    let (patient, control) = session(&options(WhenFull::WaitAtMost(Duration::from_millis(20))));
    behind_one(&patient, &control, &[1.0, 2.0], || {
        assert_eq!(patient.run(&row(3.0)).unwrap_err().kind(), ErrorKind::Limit);
    });
    assert_all_released(&patient);

    let (waiting_for_ever, control) = session(&options(WhenFull::Wait));
    let other = waiting_for_ever.clone();
    let mut outside = None;
    behind_one(&waiting_for_ever, &control, &[1.0, 2.0], || {
        outside = Some(std::thread::spawn(move || {
            let future = other.run_async(&row(4.0));
            (other.run(&row(3.0)), block_on(future))
        }));
        std::thread::sleep(Duration::from_millis(20));
    });
    let (thread, future) = outside.unwrap().join().unwrap();
    assert!(is_answer(&thread.unwrap(), 3.0) && is_answer(&future.unwrap(), 4.0));
    assert_all_released(&waiting_for_ever);
}

#[test]
fn futures_are_answered_together_with_threads() {
    let (session, control) = session(&SessionOptions::default());
    let mut futures = Vec::new();
    let answers = behind_one(&session, &control, &[1.0, 2.0], || {
        futures.extend((10..20).map(|i| session.run_async(&row(i as f32))));
        until(|| waiting(&session) == 12);
    });
    assert!(answers.iter().all(Result::is_ok));
    for (future, i) in futures.into_iter().zip(10..) {
        assert!(is_answer(&block_on(future).unwrap(), i as f32));
    }
    assert_eq!(control.batches.lock().unwrap()[..2], [1, 12]);
    assert_all_released(&session);
}

#[test]
fn futures_alone_need_no_thread_of_the_caller() {
    let (session, _) = session(&SessionOptions::default());
    for round in 0..50 {
        let futures: Vec<_> = (0..20)
            .map(|i| session.run_async(&row((round * i) as f32)))
            .collect();
        for (i, future) in futures.into_iter().enumerate() {
            assert!(is_answer(&block_on(future).unwrap(), (round * i) as f32));
        }
    }
    assert_eq!(session.stats().requests, 1000);
    assert_all_released(&session);
}

#[test]
fn a_dropped_future_takes_its_request_back() {
    let (session, control) = session(&SessionOptions::default().queue_capacity(64));
    control.close();
    let held = session.run_async(&row(1.0));
    control.wait_for_begun(1);
    for i in 0..10_000 {
        drop(session.run_async(&row(i as f32)));
    }
    assert_eq!(waiting(&session), 0);
    control.open();
    assert!(is_answer(&block_on(held).unwrap(), 1.0));
    assert_eq!(*control.batches.lock().unwrap(), [1]);
    assert_eq!(session.stats().cancelled, 10_000);
    // One that runs is left to itself.
    control.close();
    let begun = control.begun.load(Ordering::SeqCst);
    let running = session.run_async(&row(2.0));
    control.wait_for_begun(begun + 1);
    drop(running);
    control.open();
    assert!(is_answer(&session.run(&row(3.0)).unwrap(), 3.0));
    until(|| session.device().census().get(Resource::Batch).alive() == 0);
    assert_all_released(&session);
}

/// Evidence: every-call-ends
#[test]
fn shutting_down_refuses_those_who_wait_and_answers_those_who_run() {
    let (session, control) = session(&SessionOptions::default());
    let mut future = None;
    let answers = behind_one(&session, &control, &[1.0, 2.0], || {
        future = Some(session.run_async(&row(3.0)));
        session.shutdown(Shutdown::Refuse);
    });
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::ShutDown);
    }
    assert_eq!(
        block_on(future.unwrap()).unwrap_err().kind(),
        ErrorKind::ShutDown
    );
    assert_eq!(
        session.run(&row(1.0)).unwrap_err().kind(),
        ErrorKind::ShutDown
    );
    session.shutdown(Shutdown::Drain);
    assert_all_released(&session);
}

#[test]
fn draining_waits_for_answers_and_not_for_those_who_look_at_them() {
    let (session, control) = session(&SessionOptions::default().queue_capacity(2));
    control.close();
    let first = session.run_async(&row(1.0));
    control.wait_for_begun(1);
    let second = session.run_async(&row(2.0));
    let outside = session.run_async(&row(3.0));
    let draining = std::thread::spawn({
        let session = session.clone();
        move || session.shutdown(Shutdown::Drain)
    });
    std::thread::sleep(Duration::from_millis(10));
    control.open();
    draining.join().unwrap();
    assert!(is_answer(&block_on(first).unwrap(), 1.0));
    assert!(is_answer(&block_on(second).unwrap(), 2.0));
    let error = block_on(outside).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
}

#[test]
fn dropping_the_last_handle_drains_or_refuses_by_choice() {
    for how in [Shutdown::Drain, Shutdown::Refuse] {
        let (session, control) = session(&SessionOptions::default().on_drop(how));
        let census = session.device().census().clone();
        control.close();
        let first = session.run_async(&row(1.0));
        control.wait_for_begun(1);
        let second = session.run_async(&row(2.0));
        drop(session);
        control.open();
        assert!(is_answer(&block_on(first).unwrap(), 1.0));
        match how {
            Shutdown::Drain => assert!(is_answer(&block_on(second).unwrap(), 2.0)),
            Shutdown::Refuse => {
                assert_eq!(block_on(second).unwrap_err().kind(), ErrorKind::ShutDown);
            }
        }
        until(|| census.get(Resource::Session).alive() == 0);
        for resource in Resource::ALL {
            if !resource.is_kept_by_device() {
                until(|| census.get(resource).alive() == 0);
            }
        }
    }
}

#[test]
fn requests_of_different_shapes_share_a_batch_where_that_pays() {
    let (session, control) = session(&SessionOptions::default());
    control.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| session.run(&row(0.0)));
        control.wait_for_begun(1);
        let callers: Vec<_> = (1..=4usize)
            .map(|width| {
                let session = &session;
                let x = unisono_tensor::Tensor::from_slice(&[2, width], &vec![1.5f32; 2 * width]);
                scope.spawn(move || session.run(&x.unwrap()).unwrap()[0].shape().to_vec())
            })
            .collect();
        until(|| waiting(&session) == 4);
        control.open();
        first.join().unwrap().unwrap();
        for (caller, width) in callers.into_iter().zip(1..) {
            assert_eq!(caller.join().unwrap(), [2, width]);
        }
    });
    assert_eq!(*control.batches.lock().unwrap(), [1, 4]);
    assert_eq!(session.stats().batch_rows.sum(), 9);
}

/// Evidence: bounded-batch-rows
#[test]
fn a_request_may_ask_for_small_batches() {
    let (session, control) = session(&SessionOptions::default().max_batch_rows(3));
    behind_one(&session, &control, &[1.0, 2.0, 3.0, 4.0], || ());
    assert_eq!(*control.batches.lock().unwrap(), [1, 3, 1]);
    let alone = RunOptions::new().max_batch_rows(1);
    assert!(is_answer(
        &session.run_with(&row(5.0), &alone).unwrap(),
        5.0
    ));
}

#[test]
fn one_session_does_not_keep_another_from_its_turn() {
    let (device, _) = device(1);
    let options = SessionOptions::default();
    let sessions = [(); 2].map(|()| Session::new(model(), &device, &options).unwrap());
    std::thread::scope(|scope| {
        for session in &sessions {
            for caller in 0..3 {
                scope.spawn(move || {
                    for _ in 0..200 {
                        assert!(is_answer(
                            &session.run(&row(caller as f32)).unwrap(),
                            caller as f32
                        ));
                    }
                });
            }
        }
    });
    sessions.iter().for_each(assert_all_released);
}

#[cfg(unix)]
#[test]
fn a_forked_child_is_told_that_it_has_no_threads() {
    let (session, _) = session(&SessionOptions::default());
    session.run(&row(1.0)).unwrap();
    // SAFETY: the child calls nothing but a session, which is what is tested, and leaves without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = session
            .run(&row(1.0))
            .is_err_and(|e| e.kind() == ErrorKind::Device);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was made above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "status {status}"
    );
    assert!(session.run(&row(1.0)).is_ok());
}

/// Each place keeps one future in flight and sends the next as soon as one is answered, so the queue is never left with room.
#[test]
fn futures_outside_of_a_queue_that_stays_full_get_their_turn() {
    let (session, _) = session(&SessionOptions::default().queue_capacity(4));
    let mut cx = Context::from_waker(Waker::noop());
    let mut flying: Vec<_> = (0..8).map(|i| session.run_async(&row(i as f32))).collect();
    let mut answers = [0u32; 8];
    let started = Instant::now();
    while answers.iter().sum::<u32>() < 2_000 {
        for (i, future) in flying.iter_mut().enumerate() {
            if let Poll::Ready(answer) = std::pin::Pin::new(&mut *future).poll(&mut cx) {
                assert!(is_answer(&answer.unwrap(), i as f32));
                answers[i] += 1;
                *future = session.run_async(&row(i as f32));
            }
        }
        // Not a matter of speed: it would be over at once.
        assert!(started.elapsed() < Duration::from_secs(60), "{answers:?}");
        std::thread::yield_now();
    }
    assert!(answers.iter().all(|&n| n > 100), "{answers:?}");
    drop(flying);
    until(|| session.device().census().get(Resource::Request).alive() == 0);
    until(|| session.device().census().get(Resource::Batch).alive() == 0);
    assert_all_released(&session);
}
