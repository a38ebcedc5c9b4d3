//! How fast planes are turned, beside a plain copy of as many bytes, one thread.
//!
//! ```text
//! cargo run --release -p unisono-cpu --example turn_speed [avx512]
//! ```
//!
//! Prints gigabytes read and written per second, the best of many repetitions with the operands where they were left by the last one.

use std::hint::black_box;
use std::time::{Duration, Instant};

use unisono_cpu::gemm::Cores;
use unisono_cpu::movement::turn_planes;
use unisono_runtime::team::Team;

#[path = "support/peak.rs"]
#[allow(dead_code, reason = "only the instruction sets are of use here")]
mod support;

/// Rows and columns: maps of networks for images, and what such a network reads.
const PLANES: [[usize; 2]; 11] = [
    [64, 3136],
    [3136, 64],
    [3, 50_176],
    [50_176, 3],
    [960, 49],
    [49, 960],
    [12, 3136],
    [3136, 12],
    [128, 128],
    [4, 20_000],
    [1024, 1024],
];

/// Gigabytes per second of work on `len` elements.
fn best(len: usize, mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(60) {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    (2 * len * size_of::<f32>()) as f64 / best.as_nanos() as f64
}

fn main() {
    let team = Team::solo();
    print!("{:>16} {:>10}", "GB/s", "copy");
    support::instruction_sets().for_each(|isa| print!("{isa:>10}"));
    println!();
    for [rows, cols] in PLANES {
        let len = rows * cols;
        let x = vec![1.0_f32; len];
        let mut y = vec![0.0_f32; len];
        let copy = best(len, || black_box(&mut y).copy_from_slice(black_box(&x)));
        print!("{:>16} {copy:>10.1}", format!("{rows} x {cols}"));
        for isa in support::instruction_sets() {
            let cores = Cores { isa, team: &team };
            let rate = best(len, || {
                turn_planes(cores, 1, rows, cols, black_box(&x), black_box(&mut y));
            });
            print!("{rate:>10.1}");
        }
        println!();
    }
}
