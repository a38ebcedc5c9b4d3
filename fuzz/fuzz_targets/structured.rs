//! Senseless models, sound as protobuf: loading ends in an error with advice, or in a graph that keeps its own rules.
//!
//! Evidence: hostile-files
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use unisono_onnx::load_bytes;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = unisono_fuzz::model(&mut Unstructured::new(bytes)) else {
        return;
    };
    match load_bytes(model.to_bytes(), None, &unisono_fuzz::options()) {
        Ok(model) => model.graph.check().expect("a loaded graph keeps its rules"),
        Err(error) => assert!(error.advice().is_some(), "no advice: {error}"),
    }
});
