//! Who waits for what, as a session tells it: by its watchdog, and when asked.
//!
//! Evidence: stalls-told
#![cfg(not(any(loom, shuttle)))]

mod common;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use common::*;
use unisono_runtime::Session;
use unisono_runtime::census::Resource;
use unisono_runtime::request::RunOptions;
use unisono_runtime::session::{SessionOptions, Shutdown};
use unisono_runtime::stall::{Caller, StallReport, Wait, WaitsFor};

const NOW: Duration = Duration::ZERO;

/// Long enough to be over in no test.
const LONG: Duration = Duration::from_secs(3600);

fn name(caller: &Caller) -> &str {
    match caller {
        Caller::Thread { name, .. } => name.as_deref().unwrap_or("without a name"),
        _ => "a future",
    }
}

/// Runs a request on a thread of this name.
fn call<'s>(
    scope: &'s Scope<'s, '_>,
    session: &Session,
    name: &str,
    value: f32,
) -> ScopedJoinHandle<'s, ()> {
    let session = session.clone();
    let run = move || assert!(is_answer(&session.run(&row(value)).unwrap(), value));
    Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, run)
        .unwrap()
}

/// Asks until somebody waits as described, and gives the report with the wait.
fn ask_until(session: &Session, wanted: impl Fn(&Wait) -> bool) -> (StallReport, Wait) {
    let mut found = None;
    until(|| {
        let report = session.stalled(NOW);
        let wait = report.waits.iter().find(|wait| wanted(wait)).cloned();
        found = wait.map(|wait| (report, wait));
        found.is_some()
    });
    found.unwrap()
}

fn assert_nothing_noted(session: &Session) {
    let report = session.stalled(NOW);
    assert!(report.is_empty(), "{report}");
    assert!(report.lane_holders.is_empty(), "{report:?}");
    assert_eq!((report.inside, report.unknown), (0, 0));
}

/// The reports of a watchdog.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<StallReport>>>);

impl Told {
    fn watch(&self, older_than: Duration) -> SessionOptions {
        let told = self.clone();
        SessionOptions::default()
            .stall_watchdog(older_than)
            .on_stall(move |report| told.0.lock().unwrap().push(report.clone()))
    }

    fn last(&self) -> Option<StallReport> {
        self.0.lock().unwrap().last().cloned()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[test]
fn a_watchdog_tells_of_the_batch_that_runs_and_of_those_behind_it_until_it_ends() {
    let told = Told::default();
    let (session, control) = session(&told.watch(Duration::from_millis(10)));
    control.close();
    std::thread::scope(|scope| {
        call(scope, &session, "first", 1.0);
        control.wait_for_begun(1);
        call(scope, &session, "second", 2.0);
        call(scope, &session, "third", 3.0);
        until(|| told.last().is_some_and(|report| report.waits.len() == 2));
        let report = told.last().unwrap();
        assert_eq!(report.batches.len(), 1, "{report}");
        let batch = &report.batches[0];
        assert_eq!(name(&batch.leader), "first");
        assert_eq!((batch.requests, batch.rows, batch.own), (1, 1, true));
        assert!(batch.age >= Duration::from_millis(10));
        for wait in &report.waits {
            let WaitsFor::Batch { leaders } = &wait.waits_for else {
                panic!("{report}");
            };
            assert_eq!(leaders, std::slice::from_ref(&batch.leader));
            assert!(["second", "third"].contains(&name(&wait.caller)));
            assert!(wait.waited >= Duration::from_millis(10) && wait.age >= wait.waited);
        }
        let text = report.to_string();
        assert!(text.contains("led by thread \"first\""), "{text}");
        assert!(text.contains("wait for the next batch"), "{text}");

        // The two of them are a batch now, which one of them leads.
        control.let_one_through();
        control.wait_for_begun(2);
        let is_new = |report: StallReport| report.batches.iter().any(|b| b.requests == 2);
        until(|| told.last().is_some_and(is_new));
        until(|| told.last().unwrap().waits.len() == 1);
        let report = told.last().unwrap();
        let leader = &report.batches[0].leader;
        let WaitsFor::End { batch: Some(batch) } = &report.waits[0].waits_for else {
            panic!("{report}");
        };
        assert_eq!((&batch.leader, batch.rows), (leader, 2));
        assert_ne!(&report.waits[0].caller, leader);
        control.open();
    });
    assert_nothing_noted(&session);
    let count = told.count();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(told.count(), count, "{}", told.last().unwrap());
}

#[test]
fn what_stands_still_is_told_once() {
    let told = Told::default();
    let (session, control) = session(&told.watch(Duration::from_millis(5)));
    control.close();
    std::thread::scope(|scope| {
        call(scope, &session, "first", 1.0);
        until(|| told.last().is_some_and(|report| !report.batches.is_empty()));
        let count = told.count();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(told.count(), count);
        control.open();
    });
}

#[test]
fn nothing_is_told_of_requests_that_are_answered_and_nothing_stays_noted() {
    let told = Told::default();
    let (session, _) = session(&told.watch(LONG));
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let session = &session;
            scope.spawn(move || {
                for turn in 0..200 {
                    let past = RunOptions::new().deadline(Instant::now());
                    let value = if turn % 7 == 0 { PANIC } else { turn as f32 };
                    match (caller, turn % 3) {
                        (0, 0) => drop(session.run_async(&row(value))),
                        (_, 0) => drop(session.run_with(&row(value), &past)),
                        _ => drop(session.run(&row(value))),
                    }
                    assert!(session.stalled(LONG).is_empty());
                }
            });
        }
    });
    until(|| session.device().census().get(Resource::Batch).alive() == 0);
    until(|| session.device().census().get(Resource::Request).alive() == 0);
    until(|| session.stalled(NOW).lane_holders.is_empty());
    assert_nothing_noted(&session);
    assert_eq!(told.count(), 0);
}

#[test]
fn the_watchdogs_thread_is_there_only_if_it_is_wanted_and_goes_with_the_session() {
    let (device, _) = device(1);
    let watchdogs = || device.census().get(Resource::Watchdog);
    let plain = Session::new(model(), &device, &SessionOptions::default()).unwrap();
    plain.run(&row(1.0)).unwrap();
    plain.stalled(NOW);
    assert_eq!(watchdogs().created, 0);

    let session = Session::new(model(), &device, &Told::default().watch(LONG)).unwrap();
    session.run(&row(1.0)).unwrap();
    assert_eq!(watchdogs().alive(), 1);
    let future = session.run_async(&row(2.0));
    drop(session);
    assert_eq!(watchdogs().alive(), 1, "a future is still to be watched");
    let mut future = Box::pin(future);
    let mut cx = Context::from_waker(Waker::noop());
    until(|| future.as_mut().poll(&mut cx).is_ready());
    // The answer keeps nothing of the session; the future does until it goes.
    drop(future);
    until(|| watchdogs().alive() == 0);
}

#[test]
fn dropping_a_watched_session_leaves_the_census_equal_at_once() {
    let (device, _) = device(1);
    for _ in 0..50 {
        let session = Session::new(model(), &device, &Told::default().watch(NOW)).unwrap();
        session.run(&row(1.0)).unwrap();
        drop(session);
        for resource in Resource::ALL.into_iter().filter(|r| !r.is_kept_by_device()) {
            assert_eq!(
                device.census().get(resource).alive(),
                0,
                "{}",
                resource.name()
            );
        }
    }
    assert_eq!(device.census().get(Resource::Watchdog).created, 50);
}

#[test]
fn a_callback_may_panic_and_may_drop_the_last_handle() {
    let (device, control) = device(1);
    let last: Arc<Mutex<Option<Session>>> = Arc::default();
    let calls = Arc::new(Mutex::new(0));
    let options = SessionOptions::default()
        .stall_watchdog(Duration::from_millis(2))
        .on_stall({
            let (last, calls) = (Arc::clone(&last), Arc::clone(&calls));
            move |_| {
                *calls.lock().unwrap() += 1;
                drop(last.lock().unwrap().take());
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        });
    let session = Session::new(model(), &device, &options).unwrap();
    control.close();
    let future = session.run_async(&row(1.0));
    control.wait_for_begun(1);
    *last.lock().unwrap() = Some(session);
    drop(future);
    until(|| last.lock().unwrap().is_none());
    control.open();
    until(|| device.census().get(Resource::Session).alive() == 0);
    until(|| device.census().get(Resource::Watchdog).alive() == 0);
    assert!(*calls.lock().unwrap() >= 1);
}

#[test]
fn one_who_waits_for_anothers_compile_is_told_whose() {
    let (session, control) = session(&SessionOptions::default());
    session.stalled(NOW);
    let compiling = unisono_runtime::sync::lock(&control.compiling);
    std::thread::scope(|scope| {
        call(scope, &session, "compiler", 1.0);
        let own = |w: &Wait| matches!(w.waits_for, WaitsFor::OwnCompile { .. });
        let (_, wait) = ask_until(&session, own);
        assert_eq!(name(&wait.caller), "compiler");
        call(scope, &session, "waiter", 2.0);
        let (report, wait) = ask_until(&session, |w| name(&w.caller) == "waiter");
        let WaitsFor::Plan { shapes, compiler } = &wait.waits_for else {
            panic!("{report}");
        };
        assert_eq!(shapes, "x[rows, 2]");
        assert_eq!(name(&compiler.as_ref().unwrap().0), "compiler");
        drop(compiling);
    });
    assert_nothing_noted(&session);
}

#[test]
fn one_who_waits_for_room_is_told_so() {
    for coalesce in [true, false] {
        let options = SessionOptions::default()
            .queue_capacity(1)
            .coalesce(coalesce);
        let (session, control) = session(&options);
        session.stalled(NOW);
        control.close();
        std::thread::scope(|scope| {
            for value in 0..5 {
                call(scope, &session, "caller", value as f32);
            }
            let in_room = |w: &Wait| w.waits_for == WaitsFor::Room { capacity: 1 };
            let (report, _) = ask_until(&session, in_room);
            assert!(report.to_string().contains("queue_capacity"), "{report}");
            control.open();
        });
        assert_nothing_noted(&session);
    }
}

#[test]
fn one_who_waits_for_a_lane_is_told_who_holds_it_also_if_that_is_another_session() {
    let (device, control) = device(1);
    let options = SessionOptions::default();
    let [holding, waiting] = [(); 2].map(|()| Session::new(model(), &device, &options).unwrap());
    waiting.stalled(NOW);
    control.close();
    std::thread::scope(|scope| {
        call(scope, &holding, "holder", 1.0);
        control.wait_for_begun(1);
        call(scope, &waiting, "waiter", 2.0);
        let (report, wait) = ask_until(&waiting, |w| w.waits_for == WaitsFor::Lane);
        assert_eq!(name(&wait.caller), "waiter");
        assert!(report.batches.is_empty());
        let [holder] = &report.lane_holders[..] else {
            panic!("{report}");
        };
        assert_eq!((name(&holder.leader), holder.own), ("holder", false));
        assert_eq!((report.lanes, report.free_lanes), (1, 0));
        let text = report.to_string();
        assert!(
            text.contains("thread \"holder\"") && text.contains("another session"),
            "{text}"
        );
        // Behind the leader that waits for the lane.
        call(scope, &waiting, "follower", 3.0);
        let (_, wait) = ask_until(&waiting, |w| name(&w.caller) == "follower");
        let WaitsFor::Batch { leaders } = &wait.waits_for else {
            panic!("{wait:?}");
        };
        assert_eq!(name(&leaders[0]), "waiter");
        control.open();
    });
    assert_nothing_noted(&waiting);
}

#[test]
fn an_answer_that_nobody_looks_at_and_a_drain_that_waits_are_told() {
    let (session, control) = session(&SessionOptions::default());
    session.stalled(NOW);
    let mut answered = Box::pin(session.run_async(&row(1.0)));
    let (_, wait) = ask_until(&session, |w| w.waits_for == WaitsFor::Pickup);
    assert_eq!((wait.caller, wait.rows), (Caller::Future, 1));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(
        answered.as_mut().poll(&mut cx),
        Poll::Ready(Ok(_))
    ));
    assert_nothing_noted(&session);

    control.close();
    let begun = control.begun.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        call(scope, &session, "last", 2.0);
        control.wait_for_begun(begun + 1);
        scope.spawn(|| session.shutdown(Shutdown::Drain));
        let (report, _) = ask_until(&session, |w| w.waits_for == WaitsFor::Drain { inside: 1 });
        assert_eq!(name(&report.batches[0].leader), "last");
        control.open();
    });
    assert_nothing_noted(&session);
}

#[test]
fn requests_that_came_before_anybody_watched_are_counted() {
    let (session, control) = session(&SessionOptions::default());
    control.close();
    std::thread::scope(|scope| {
        call(scope, &session, "early", 1.0);
        control.wait_for_begun(1);
        let report = session.stalled(NOW);
        assert_eq!((report.inside, report.unknown), (1, 1));
        assert_eq!(report.free_lanes, report.lanes - 1);
        control.open();
    });
    assert_nothing_noted(&session);
}

#[cfg(unix)]
#[test]
fn a_forked_child_can_drop_a_watched_session() {
    let (session, _) = session(&Told::default().watch(LONG));
    session.run(&row(1.0)).unwrap();
    // SAFETY: the child only drops the session, which is what is tested, and leaves without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(session);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was made above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    assert!(session.run(&row(2.0)).is_ok());
}
