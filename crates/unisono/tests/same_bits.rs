//! Contract C1 through the public interface: a row's answer depends on the row alone.

mod common;

use common::{Sample, input, mlp, row, samples};
use unisono::{Device, Isa, Session, Tensor};

const ROWS: usize = 16;

/// Sixteen different rows, and each of them as a request of its own.
fn rows(sample: &Sample) -> (Tensor, Vec<Tensor>) {
    let all = sample.request(ROWS, 7);
    let alone = (0..ROWS).map(|i| sample.part(&all, i, 1)).collect();
    (all, alone)
}

fn answers(session: &Session, requests: &[Tensor]) -> Vec<Vec<u8>> {
    let answer = |x| row(&session.run(x).unwrap(), 0).to_vec();
    requests.iter().map(answer).collect()
}

/// Evidence: same-bits-callers
#[test]
fn eight_threads_get_the_bits_that_each_gets_alone() {
    let device = Device::cpu().unwrap();
    for sample in samples() {
        let session = sample.model.session(&device).unwrap();
        let (_, alone) = rows(&sample);
        let expected = answers(&session, &alone);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (session, alone, expected) = (&session, &alone, &expected);
                scope.spawn(move || {
                    for i in 0..100 {
                        let which = (i * 7 + thread) % ROWS;
                        let got = session.run(&alone[which]).unwrap();
                        assert_eq!(
                            row(&got, 0),
                            expected[which],
                            "{}, thread {thread}, request {i}",
                            sample.name
                        );
                    }
                });
            }
        });
    }
}

/// Evidence: same-bits-rows
#[test]
fn a_row_has_the_same_bits_in_any_batch_at_any_position() {
    let device = Device::cpu().unwrap();
    for sample in samples() {
        let session = sample.model.session(&device).unwrap();
        let (all, alone) = rows(&sample);
        let expected = answers(&session, &alone);
        for count in 1..=ROWS {
            for first in [0, ROWS - count] {
                let batch = session.run(&sample.part(&all, first, count)).unwrap();
                for i in 0..count {
                    assert_eq!(
                        row(&batch, i),
                        expected[first + i],
                        "{}, {count} rows from {first}, row {i}",
                        sample.name
                    );
                }
            }
        }
        // The number of rows is no part of a plan's key.
        assert_eq!(session.plans().compiles, 1, "{}", sample.name);
    }
}

/// Evidence: same-bits-threads, same-bits-isa
#[test]
fn threads_and_instruction_sets_do_not_show() {
    for sample in samples() {
        let (all, _) = rows(&sample);
        let mut seen: Option<Vec<u8>> = None;
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                let device = Device::builder().isa(isa).threads(threads).build().unwrap();
                let session = sample.model.session(&device).unwrap();
                let bytes = session.run(&all).unwrap()["y"].bytes().to_vec();
                let expected = seen.get_or_insert_with(|| bytes.clone());
                assert_eq!(
                    &bytes,
                    expected,
                    "{}, {} with {threads} threads",
                    sample.name,
                    isa.name()
                );
            }
        }
    }
}

/// Evidence: same-bits-callers
#[cfg(target_arch = "x86_64")]
#[test]
fn a_callers_flush_to_zero_does_not_reach_an_answer_and_is_the_callers_again() {
    use std::arch::asm;

    /// Flush-to-zero and denormals-are-zero.
    const FLUSH: u32 = 0x8040;
    let read = || {
        let mut control = 0u32;
        // SAFETY: stores the control register into a local variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack)) };
        control
    };
    let write = |control: u32| {
        // SAFETY: loads the control register with a value that it had, with two defined bits more.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack)) };
    };
    let session = common::halving().session(&Device::cpu().unwrap()).unwrap();
    let least = Tensor::from_slice(&[1, 40], &[f32::MIN_POSITIVE; 40]).unwrap();
    let before = read();
    write(before | FLUSH);
    let outputs = session.run(&least);
    let after = read();
    write(before);
    assert_eq!(after & FLUSH, FLUSH);
    let halves = [f32::MIN_POSITIVE / 2.0; 40];
    assert_eq!(outputs.unwrap()["y"].as_slice::<f32>().unwrap(), halves);
}

/// Evidence: compile-once
#[test]
fn the_first_call_of_many_threads_compiles_once() {
    let session = mlp(37, 64, 5).session(&Device::cpu().unwrap()).unwrap();
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (session, barrier) = (&session, &barrier);
            scope.spawn(move || {
                let x = input(1, 37, seed);
                barrier.wait();
                session.run(&x).unwrap();
            });
        }
    });
    assert_eq!(session.plans().compiles, 1);
}
