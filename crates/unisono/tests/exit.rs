//! A process that ends with work in flight ends well: no signal, no hang.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{input, mlp};
use unisono::Device;

const CHILD: &str = "UNISONO_TEST_EXIT_CHILD";

/// In the child: threads and futures in flight, and the end of the process in the middle of it.
#[test]
fn child() {
    let Ok(round) = std::env::var(CHILD) else {
        return;
    };
    let device = Device::cpu().unwrap();
    let session = mlp(64, 256, 32).session(&device).unwrap();
    for seed in 0..4 {
        let session = session.clone();
        std::thread::spawn(move || {
            loop {
                session.run(&input(2, 64, seed)).unwrap();
            }
        });
    }
    let futures: Vec<_> = (0..50)
        .map(|i| session.run_async(&input(1, 64, i)))
        .collect();
    // Another moment each time.
    let moment = Duration::from_micros(50 * round.parse::<u64>().unwrap());
    let started = Instant::now();
    while started.elapsed() < moment {
        std::thread::yield_now();
    }
    std::mem::forget(futures);
    std::process::exit(0);
}

/// Evidence: every-call-ends
#[test]
fn a_process_that_exits_with_work_in_flight_ends_well_a_hundred_times() {
    let program = std::env::current_exe().unwrap();
    for round in 0..100 {
        let ended = Command::new(&program)
            .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
            .env(CHILD, round.to_string())
            .output()
            .unwrap();
        assert!(
            ended.status.success(),
            "round {round}: {}\n{}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}
