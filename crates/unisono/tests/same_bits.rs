//! Contract C1 through the public interface: a row's answer depends on the row alone.

mod common;

use common::{input, mlp, row};
use unisono::{Device, Isa, Session, Tensor};

const WIDTH: usize = 37;
const ROWS: usize = 16;

/// Sixteen different rows, and each of them as a request of its own.
fn rows() -> (Tensor, Vec<Tensor>) {
    let all = input(ROWS, WIDTH, 7);
    let values = all.as_slice::<f32>().unwrap();
    let alone = values
        .chunks(WIDTH)
        .map(|v| Tensor::from_slice(&[1, WIDTH], v).unwrap());
    let alone = alone.collect();
    (all, alone)
}

fn answers(session: &Session, requests: &[Tensor]) -> Vec<Vec<u8>> {
    let answer = |x| row(&session.run(x).unwrap(), 0).to_vec();
    requests.iter().map(answer).collect()
}

#[test]
fn eight_threads_get_the_bits_that_each_gets_alone() {
    let session = mlp(WIDTH, 301, 19)
        .session(&Device::cpu().unwrap())
        .unwrap();
    let (_, alone) = rows();
    let expected = answers(&session, &alone);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (session, alone, expected) = (&session, &alone, &expected);
            scope.spawn(move || {
                for i in 0..200 {
                    let which = (i * 7 + thread) % ROWS;
                    let got = session.run(&alone[which]).unwrap();
                    assert_eq!(
                        row(&got, 0),
                        expected[which],
                        "thread {thread}, request {i}"
                    );
                }
            });
        }
    });
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_at_any_position() {
    let session = mlp(WIDTH, 301, 19)
        .session(&Device::cpu().unwrap())
        .unwrap();
    let (all, alone) = rows();
    let expected = answers(&session, &alone);
    let values = all.as_slice::<f32>().unwrap();
    for count in 1..=ROWS {
        for first in [0, ROWS - count] {
            let part = &values[first * WIDTH..][..count * WIDTH];
            let batch = session
                .run(&Tensor::from_slice(&[count, WIDTH], part).unwrap())
                .unwrap();
            for i in 0..count {
                assert_eq!(
                    row(&batch, i),
                    expected[first + i],
                    "{count} rows from {first}, row {i}"
                );
            }
        }
    }
    // The number of rows is no part of a plan's key.
    assert_eq!(session.plans().compiles, 1);
}

#[test]
fn threads_and_instruction_sets_do_not_show() {
    let model = mlp(WIDTH, 301, 19);
    let (all, _) = rows();
    let mut seen: Option<Vec<u8>> = None;
    for isa in Isa::available() {
        for threads in [1, 2] {
            let device = Device::builder().isa(isa).threads(threads).build().unwrap();
            let outputs = model.session(&device).unwrap().run(&all).unwrap();
            let bytes = outputs["y"].bytes().to_vec();
            let expected = seen.get_or_insert_with(|| bytes.clone());
            assert_eq!(&bytes, expected, "{} with {threads} threads", isa.name());
        }
    }
}

#[test]
fn the_first_call_of_many_threads_compiles_once() {
    let session = mlp(WIDTH, 64, 5).session(&Device::cpu().unwrap()).unwrap();
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (session, barrier) = (&session, &barrier);
            scope.spawn(move || {
                let x = input(1, WIDTH, seed);
                barrier.wait();
                session.run(&x).unwrap();
            });
        }
    });
    assert_eq!(session.plans().compiles, 1);
}
