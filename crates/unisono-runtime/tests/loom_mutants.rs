//! Contract C8 for what only a model checker sees: a job that is published with a relaxed store is caught, here, where the
//! machine would hide it.
//!
//! Runs only with `RUSTFLAGS="--cfg loom"` and the feature `mutants`; in other builds this file is empty.
#![cfg(all(loom, feature = "mutants"))]

use std::sync::Mutex;
use std::time::Duration;

use unisono_runtime::sync::UnsafeCell;
use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::mutant::{Mutant, activate};

/// What is broken is a matter of the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// A worker that reads the job which the leader published.
fn a_worker_sees_the_job_that_it_joins(broken: Option<Mutant>) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    activate(broken);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let options = TeamOptions::default().threads(2).spin(Duration::ZERO);
        let team = Team::new(options).expect("loom has threads");
        let results = [Cell::default(), Cell::default()];
        // SAFETY: a tile has one thread; loom fails the model if it has more.
        team.run(2, u64::MAX, |tile, _| {
            results[tile].0.with_mut(|p| unsafe { *p += 1 });
        });
    });
}

/// A result that a tile writes without synchronisation of its own.
struct Cell(UnsafeCell<usize>);

// SAFETY: every cell is written by one tile, which loom checks.
unsafe impl Sync for Cell {}

impl Default for Cell {
    fn default() -> Cell {
        Cell(UnsafeCell::new(0))
    }
}

#[test]
fn the_check_passes_with_nothing_broken() {
    a_worker_sees_the_job_that_it_joins(None);
}

/// Evidence: checks-can-fail
#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_signal_is_caught() {
    a_worker_sees_the_job_that_it_joins(Some(Mutant::RelaxedSignal));
}
