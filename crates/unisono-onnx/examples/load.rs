//! Loads model files and says what is in them: `cargo run -p unisono-onnx --example load -- MODEL…`

use unisono_onnx::{LoadOptions, load_file};

fn main() {
    for path in std::env::args().skip(1) {
        let start = std::time::Instant::now();
        match load_file(&path, &LoadOptions::default()) {
            Ok(model) => {
                let constants = model
                    .graph
                    .values()
                    .iter()
                    .filter(|value| value.constant.is_some())
                    .count();
                println!(
                    "{path}: {} nodes, {} values, {constants} constants, {:?}, {:?}",
                    model.graph.nodes().len(),
                    model.graph.values().len(),
                    model.info.opsets,
                    start.elapsed()
                );
            }
            Err(error) => println!("{path}: {error}"),
        }
    }
}
