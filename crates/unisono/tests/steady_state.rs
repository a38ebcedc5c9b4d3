//! Contract C5: in the steady state a run allocates its outputs and nothing else. A global allocator counts, on all
//! threads, which is why this test program holds one test.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Sample;
use unisono::{Device, Outputs, Session, Tensor};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on unchanged to the system's allocator, which keeps the trait's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        FREES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        FREES.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A tensor is its bytes and the count of its owners.
const PER_OUTPUT: u64 = 2;

/// The list of outputs.
const PER_RUN: u64 = 1;

/// How long a device works before it is in its steady state. Worker threads start, and take their own scratch memory with
/// the first tile that they get, whenever the system lets them.
const WARM_UP: Duration = Duration::from_millis(300);

/// Allocations and frees of `runs` calls, after some that warm up.
fn counted(runs: u64, mut call: impl FnMut()) -> (u64, u64) {
    (0..10).for_each(|_| call());
    let before = (
        ALLOCATIONS.load(Ordering::SeqCst),
        FREES.load(Ordering::SeqCst),
    );
    (0..runs).for_each(|_| call());
    let after = (
        ALLOCATIONS.load(Ordering::SeqCst),
        FREES.load(Ordering::SeqCst),
    );
    (after.0 - before.0, after.1 - before.1)
}

fn check(name: &str, session: &Session, x: &Tensor, wrong: &mut Vec<String>) {
    const RUNS: u64 = 100;
    let outputs = session.model().outputs().len() as u64;
    let expected = RUNS * (PER_RUN + PER_OUTPUT * outputs);
    let ran = counted(RUNS, || drop(session.run(x).unwrap()));
    if ran != (expected, expected) {
        wrong.push(format!(
            "{name}: {RUNS} calls of run allocate and free {ran:?}, not {expected}"
        ));
    }
    let mut kept = Outputs::new();
    let ran = counted(RUNS, || session.run_into(x, &mut kept).unwrap());
    if ran != (0, 0) {
        wrong.push(format!(
            "{name}: {RUNS} calls of run_into allocate and free {ran:?}, not 0"
        ));
    }
}

/// Evidence: steady-allocations
#[test]
fn a_run_allocates_its_outputs_and_nothing_else() {
    let sample = |name, model, width| Sample {
        name,
        model,
        row: vec![width],
    };
    // Large enough that worker threads take part.
    let wide = sample("wide mlp", common::mlp(256, 1024, 128), 256);
    let three = sample("three outputs", common::three_outputs(), 8);
    let all = common::samples().into_iter().chain([wide, three]);
    let all: Vec<Sample> = all.collect();
    let mut wrong = Vec::new();
    for threads in [1, 2] {
        let device = Device::builder().threads(threads).build().unwrap();
        let started = Instant::now();
        while started.elapsed() < WARM_UP {
            for sample in &all {
                let session = sample.model.session(&device).unwrap();
                (0..5).for_each(|seed| drop(session.run(&sample.request(32, seed)).unwrap()));
            }
        }
        for sample in &all {
            let session = sample.model.session(&device).unwrap();
            for rows in [1, 8] {
                let name = format!("{}, {rows} rows, {threads} threads", sample.name);
                check(&name, &session, &sample.request(rows, 1), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
