//! Any bytes: loading ends in an error or in a graph that keeps its own rules.
//!
//! Evidence: hostile-files
#![no_main]

use libfuzzer_sys::fuzz_target;
use unisono_onnx::load_bytes;

fuzz_target!(|bytes: &[u8]| {
    match load_bytes(bytes, None, &unisono_fuzz::options()) {
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
