//! Contract C8 for ThreadSanitizer: a race that the machine hides is reported, so a run without a report means something.
//!
//! Runs only in `cargo xtask tsan`, which builds with `--cfg tsan` and the feature `mutants`; in other builds this file is empty.
#![cfg(all(tsan, feature = "mutants"))]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use unisono_runtime::team::{Team, TeamOptions};
use unisono_tensor::mutant::{Mutant, activate};

const BROKEN: &str = "UNISONO_TEST_BROKEN";

/// A race shows where a worker comes upon a job before it has seen it announced: on two cores about once in 30,000 jobs, of which
/// these are many times as many. The first report ends it.
const JOBS: usize = 500_000;

/// In a process of its own, since what is broken is a matter of the whole process and a report ends it.
#[test]
#[ignore = "run by the other tests of this file"]
fn workers_join_the_jobs_of_two_leaders() {
    let broken = std::env::var(BROKEN).expect("run by the other tests of this file");
    activate(Mutant::named(&broken));
    let options = TeamOptions::default().threads(4);
    let team = Team::new(options.spin(Duration::from_millis(1))).expect("there are threads");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..JOBS {
                    let tiles = AtomicUsize::new(0);
                    team.run(4, u64::MAX, |_, _| {
                        tiles.fetch_add(1, Ordering::Relaxed);
                    });
                    assert_eq!(tiles.into_inner(), 4);
                }
            });
        }
    });
}

/// Did it end well, and what did it say?
fn run(broken: &str) -> (bool, String) {
    let output = Command::new(std::env::current_exe().expect("we run"))
        .args([
            "--exact",
            "workers_join_the_jobs_of_two_leaders",
            "--ignored",
        ])
        .args(["--nocapture", "--test-threads", "1"])
        .env(BROKEN, broken)
        .env("TSAN_OPTIONS", "halt_on_error=1 atexit_sleep_ms=20")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn with_nothing_broken_no_race_is_reported() {
    let (well, said) = run("");
    assert!(well, "{said}");
}

#[test]
fn a_relaxed_signal_is_caught() {
    let (well, said) = run(Mutant::RelaxedSignal.name());
    assert!(!well, "no race was reported");
    assert!(
        said.contains("ThreadSanitizer: data race") && said.contains("unisono_runtime::team"),
        "{said}"
    );
}
