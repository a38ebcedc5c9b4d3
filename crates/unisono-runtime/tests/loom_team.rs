//! The worker team under every interleaving and every reordering that the memory model allows.
//!
//! Runs only with `RUSTFLAGS="--cfg loom"`; in other builds this file is empty. Tile results are plain cells which loom
//! watches: a result that the leader could read before its writer is ordered before it fails the model.
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use unisono_runtime::sync::atomic::{AtomicUsize, Ordering};
use unisono_runtime::sync::{Arc, UnsafeCell, thread};
use unisono_runtime::team::{Team, TeamOptions};

const BIG: u64 = u64::MAX;

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(f);
}

fn team(threads: usize) -> Team {
    let options = TeamOptions::default().threads(threads).spin(Duration::ZERO);
    Team::new(options).expect("loom has threads")
}

/// Results that tiles write without synchronisation of their own.
struct Results(Vec<UnsafeCell<usize>>);

// SAFETY: that every cell is written by one tile and read after the job is what the tests prove.
unsafe impl Sync for Results {}

impl Results {
    fn new(n: usize) -> Self {
        Self((0..n).map(|_| UnsafeCell::new(0)).collect())
    }

    fn count(&self, tile: usize) {
        // SAFETY: loom fails the model if another access is not ordered before or after this one.
        self.0[tile].with_mut(|p| unsafe { *p += 1 });
    }

    fn get(&self, tile: usize) -> usize {
        // SAFETY: as in `count`.
        self.0[tile].with(|p| unsafe { *p })
    }

    fn check(&self) {
        (0..self.0.len()).for_each(|tile| assert_eq!(self.get(tile), 1));
    }
}

/// Evidence: same-bits-threads
#[test]
fn a_job_is_done_once_and_its_results_are_seen_by_the_leader() {
    model(3, || {
        let team = team(2);
        let results = Results::new(2);
        team.run(2, BIG, |tile, _| results.count(tile));
        results.check();
    });
}

#[test]
fn a_slot_can_be_used_again_while_a_late_worker_looks_at_it() {
    model(2, || {
        let team = team(2);
        for tiles in [2, 3] {
            let results = Results::new(tiles);
            team.run(tiles, BIG, |tile, _| results.count(tile));
            results.check();
        }
    });
}

#[test]
fn two_workers_and_one_leader() {
    model(1, || {
        let team = team(3);
        let results = Results::new(3);
        team.run(3, BIG, |tile, _| results.count(tile));
        results.check();
    });
}

#[test]
fn two_leaders_share_a_worker() {
    model(1, || {
        let team = Arc::new(team(2));
        let other = Arc::clone(&team);
        let leader = thread::spawn(move || {
            let results = Results::new(2);
            other.run(2, BIG, |tile, _| results.count(tile));
            results.check();
        });
        let results = Results::new(2);
        team.run(2, BIG, |tile, _| results.count(tile));
        results.check();
        leader.join().expect("the other leader");
    });
}

#[test]
fn a_helper_from_outside_joins_or_finds_nothing() {
    model(2, || {
        let team = Arc::new(team(2));
        let other = Arc::clone(&team);
        let helper = thread::spawn(move || other.help());
        let results = Results::new(2);
        team.run(2, BIG, |tile, seat| {
            assert!(seat < 2);
            results.count(tile);
        });
        results.check();
        helper.join().expect("the helper");
    });
}

/// Evidence: every-call-ends
#[test]
fn a_panic_reaches_the_leader_after_all_helpers_have_left() {
    model(2, || {
        let team = team(2);
        let results = Results::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            team.run(2, BIG, |tile, _| {
                results.count(tile);
                if tile == 1 {
                    // Not `panic!`: no message for each of thousands of interleavings.
                    std::panic::resume_unwind(Box::new("tile"));
                }
            });
        }));
        assert_eq!(
            caught.expect_err("must go on").downcast_ref::<&str>(),
            Some(&"tile")
        );
        // The other one is done before, or not at all.
        assert_eq!(results.get(1), 1);
        assert!(results.get(0) <= 1);
    });
}

/// Every tile waits until the other one has begun, so the job ends only if the worker comes: a lost wake-up is a
/// deadlock, which loom reports.
/// Evidence: every-call-ends
#[test]
fn no_wake_up_is_lost() {
    model(2, || {
        let team = team(2);
        let begun = AtomicUsize::new(0);
        team.run(2, BIG, |_, _| {
            begun.fetch_add(1, Ordering::Relaxed);
            while begun.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
        });
    });
}

#[test]
fn dropping_a_team_wakes_and_joins_its_workers() {
    model(3, || drop(team(3)));
}
