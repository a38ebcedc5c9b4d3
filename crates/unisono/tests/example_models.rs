//! The documentation's models are what the writer writes.

mod models {
    include!("../examples/support/models.rs");
}

#[test]
fn the_files_of_the_examples_are_up_to_date() {
    for (name, bytes) in models::all() {
        let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(&path).unwrap_or_default();
        assert!(
            file == bytes,
            "write {name} again: cargo run -p unisono --example write_models -- crates/unisono/examples"
        );
        unisono::Model::load(path).expect("the example loads");
    }
}
