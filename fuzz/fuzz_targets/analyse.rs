//! What happens to a model after it is loaded, without running it: shapes are inferred, the graph is rewritten (with
//! constants folded by the reference), and the batch is followed. The fuzzer's bytes are a file if they read as one, else
//! choices that make a model.
//!
//! Evidence: hostile-files
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use unisono_graph::infer::{declared_inputs, infer_partial};
use unisono_graph::rewrite::optimize;
use unisono_onnx::load_bytes;
use unisono_reference::interpret::{Interpreter, Precision};

fuzz_target!(|bytes: &[u8]| {
    let options = unisono_fuzz::options();
    let loaded = load_bytes(bytes, None, &options).or_else(|error| {
        match unisono_fuzz::model(&mut Unstructured::new(bytes)) {
            Ok(model) => load_bytes(model.to_bytes(), None, &options),
            Err(_) => Err(error),
        }
    });
    if let Ok(mut model) = loaded {
        let _ = infer_partial(&model.graph, &declared_inputs(&model.graph));
        let _ = unisono_graph::contract(&model.graph);
        optimize(&mut model.graph, &Interpreter::new(Precision::Canonical));
        model
            .graph
            .check()
            .expect("a rewritten graph keeps its rules");
        let _ = unisono_graph::contract(&model.graph);
    }
});
