//! Any bytes: loading ends in an error or in a graph that keeps its own rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unisono_onnx::{LoadOptions, load_bytes};

fuzz_target!(|bytes: &[u8]| {
    let mut options = LoadOptions::default();
    options.limits.nodes = 10_000;
    options.limits.copied_bytes = 64 << 20;
    match load_bytes(bytes, None, &options) {
        Ok(model) => model.graph.check().expect("a loaded graph keeps its rules"),
        Err(error) => {
            let text = error.to_string();
            assert!(
                !text.chars().any(|c| c.is_control() && c != '\n'),
                "control characters in {text:?}"
            );
        }
    }
});
