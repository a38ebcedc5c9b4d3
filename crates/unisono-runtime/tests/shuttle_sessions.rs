//! Whole sessions under random schedules: requests, cancellations, deadlines, panics and shutdowns interleaved at every lock, atomic
//! and park. Runs only with `RUSTFLAGS="--cfg shuttle"`; in other builds this file is empty.
#![cfg(shuttle)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use common::*;
use unisono_runtime::census::Resource;
use unisono_runtime::request::RunOptions;
use unisono_runtime::session::{RunFuture, SessionOptions, Shutdown, WhenFull};
use unisono_runtime::sync::thread;
use unisono_runtime::{Error, ErrorKind, Session};

fn explore(schedules: usize, f: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(f, schedules);
}

fn poll(future: &mut RunFuture) -> Poll<Result<unisono_runtime::request::Outputs, Error>> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn assert_at_rest(session: &Session) {
    let census = session.device().census();
    until(|| census.get(Resource::Batch).alive() == 0);
    assert_eq!(census.get(Resource::Request).alive(), 0);
    assert_eq!(session.stats().waiting, 0);
}

/// Evidence: every-call-ends, neighbours-untouched
#[test]
fn callers_with_and_without_deadlines_poison_and_panics_all_get_their_own_answer() {
    explore(3_000, || {
        let (session, _) = session(&SessionOptions::default());
        let callers: Vec<_> = [1.0, 2.0, POISON, PANIC]
            .into_iter()
            .enumerate()
            .map(|(i, value)| {
                let session = session.clone();
                thread::spawn(move || {
                    let options = match i % 2 {
                        0 => RunOptions::new(),
                        // In the far future for the clock, any moment for shuttle.
                        _ => RunOptions::new()
                            .deadline(Instant::now() + std::time::Duration::from_secs(3600)),
                    };
                    for _ in 0..2 {
                        match session.run_with(&row(value), &options) {
                            Ok(outputs) => assert!(is_answer(&outputs, value)),
                            Err(error) => assert!(match error.kind() {
                                ErrorKind::DeadlineExceeded => i % 2 == 1,
                                ErrorKind::Execution => value == POISON,
                                ErrorKind::Panic => value == PANIC,
                                _ => false,
                            }),
                        }
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().unwrap());
        assert_at_rest(&session);
    });
}

/// Evidence: every-call-ends
#[test]
fn futures_answered_or_dropped_among_threads() {
    explore(3_000, || {
        let (session, _) = session(&SessionOptions::default().queue_capacity(2));
        let caller = {
            let session = session.clone();
            thread::spawn(move || {
                for value in [1.0, 2.0] {
                    assert!(is_answer(&session.run(&row(value)).unwrap(), value));
                }
            })
        };
        let mut kept = session.run_async(&row(3.0));
        let dropped = session.run_async(&row(4.0));
        let moved = session.run_async(&row(5.0));
        let dropper = thread::spawn(move || drop(moved));
        drop(dropped);
        until(|| match poll(&mut kept) {
            Poll::Ready(answer) => {
                assert!(is_answer(&answer.unwrap(), 3.0));
                true
            }
            Poll::Pending => false,
        });
        drop(kept);
        caller.join().unwrap();
        dropper.join().unwrap();
        assert_at_rest(&session);
    });
}

/// Evidence: every-call-ends
#[test]
fn a_session_shut_down_or_dropped_under_load_ends_every_call() {
    for how in [Shutdown::Drain, Shutdown::Refuse] {
        explore(2_000, move || {
            let (session, _) = session(&SessionOptions::default().on_drop(how));
            let census = session.device().census().clone();
            let callers: Vec<_> = (0..3)
                .map(|i| {
                    let session = session.clone();
                    thread::spawn(move || match session.run(&row(i as f32)) {
                        Ok(outputs) => assert!(is_answer(&outputs, i as f32)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::ShutDown),
                    })
                })
                .collect();
            let mut future = session.run_async(&row(9.0));
            session.shutdown(how);
            drop(session);
            until(|| match poll(&mut future) {
                Poll::Ready(Ok(outputs)) => is_answer(&outputs, 9.0),
                Poll::Ready(Err(error)) => error.kind() == ErrorKind::ShutDown,
                Poll::Pending => false,
            });
            drop(future);
            callers.into_iter().for_each(|c| c.join().unwrap());
            until(|| census.get(Resource::Session).alive() == 0);
            assert_eq!(census.get(Resource::Request).alive(), 0);
        });
    }
}

/// Evidence: every-call-ends
#[test]
fn a_leader_that_goes_down_leaves_nobody_asleep() {
    explore(3_000, || {
        let (session, _) = session(&SessionOptions::default());
        let callers: Vec<_> = [LEADER_PANIC, 1.0, 2.0]
            .into_iter()
            .map(|value| {
                let session = session.clone();
                thread::spawn(move || {
                    // Whoever leads goes down; everybody else ends.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        drop(session.run(&row(value)));
                    }));
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().unwrap());
        assert!(is_answer(&session.run(&row(4.0)).unwrap(), 4.0));
        assert_at_rest(&session);
    });
}

/// Evidence: every-call-ends, bounded-queue
#[test]
fn patience_with_a_full_queue_ends_in_an_answer() {
    explore(2_000, || {
        let (session, _) = session(
            &SessionOptions::default()
                .queue_capacity(1)
                .when_full(WhenFull::Wait),
        );
        let callers: Vec<_> = (0..4)
            .map(|i| {
                let session = session.clone();
                thread::spawn(move || {
                    assert!(is_answer(&session.run(&row(i as f32)).unwrap(), i as f32))
                })
            })
            .collect();
        callers.into_iter().for_each(|c| c.join().unwrap());
        assert_at_rest(&session);
    });
}
