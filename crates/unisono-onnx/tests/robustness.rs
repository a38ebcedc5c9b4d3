//! Whatever the bytes are, loading ends in a model or an error: never in a panic.
//!
//! Evidence: hostile-files

mod common;

use common::{rich, small};
use proptest::prelude::*;
use unisono_onnx::{LoadOptions, load_bytes};

/// Small limits, so that a lucky mutation cannot make a test slow.
fn options() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.limits.nodes = 10_000;
    options.limits.copied_bytes = 16 << 20;
    options
}

/// One change to a file.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0x7f), Just(0x80), Just(0xff)];
    prop_oneof![
        (any::<usize>(), byte.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<usize>(), prop::collection::vec(byte, 1..12))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<usize>(), 1usize..20).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<usize>(), 1usize..40).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let length = bytes.len().max(1);
    match change {
        Change::Set(at, byte) => {
            if let Some(slot) = bytes.get_mut(at % length) {
                *slot = *byte;
            }
        }
        Change::Flip(at, bit) => {
            if let Some(slot) = bytes.get_mut(at % length) {
                *slot ^= 1 << bit;
            }
        }
        Change::Insert(at, new) => {
            let at = at % length;
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Remove(at, count) => {
            let start = at % length;
            let end = (start + count).min(bytes.len());
            bytes.drain(start..end);
        }
        Change::Repeat(at, count) => {
            let start = at % length;
            let end = (start + count).min(bytes.len());
            let copy = bytes[start..end].to_vec();
            bytes.splice(start..start, copy);
        }
    }
}

/// A loaded graph keeps its own rules, also one that came out of a mutation.
fn check(bytes: Vec<u8>) {
    match load_bytes(bytes, None, &options()) {
        Ok(model) => model.graph.check().unwrap(),
        Err(error) => {
            assert!(
                !error
                    .to_string()
                    .chars()
                    .any(|c| c.is_control() && c != '\n'),
                "{error:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(bytes);
    }

    #[test]
    fn mutated_models_never_panic(changes in prop::collection::vec(change(), 1..6), rich_one in any::<bool>()) {
        let mut bytes = if rich_one { rich() } else { small() }.to_bytes();
        for change in &changes {
            apply(&mut bytes, change);
        }
        check(bytes);
    }
}
